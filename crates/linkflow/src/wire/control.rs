//! Speaks to the control address of a rehearsal cloud.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use linkflow_rehearsal::cloud::Endpoints;
use serde_json::Value;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(5);
const LARGEST: usize = 16 << 20;

/// A client of one cloud's control API.
pub(crate) struct Control {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Control {
    /// A client of the cloud at `base`, `http://127.0.0.1:PORT`.
    pub(crate) fn at(base: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.trim_end_matches('/').to_owned(), client }
    }

    /// Where everything of the cloud answers.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) async fn endpoints(&self) -> Result<Endpoints, String> {
        let value = self.ask(Method::GET, "/v1/endpoints", None).await?;
        let not = |error| format!("{} is not a rehearsal cloud: {error}", self.base);
        serde_json::from_value(value).map_err(not)
    }

    /// Asks, and gives the JSON of the answer; null when there is none.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let about = |error: &dyn std::fmt::Display| {
            format!("the rehearsal cloud at {} does not answer: {error}", self.base)
        };
        let body = Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default()));
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json").body(body);
        let request = request.map_err(|error| format!("`{}` is no address: {error}", self.base))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|e| about(&e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok((status, body.map_err(|e| about(&e))?.to_bytes()))
        };
        let answer: Result<_, String> =
            timeout(WITHIN, exchange).await.map_err(|_| about(&"no answer in 5 s"))?;
        let (status, body) = answer?;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let why = value["error"].as_str().map(str::to_owned);
        Err(why.unwrap_or_else(|| format!("the rehearsal cloud answered {status}")))
    }
}
