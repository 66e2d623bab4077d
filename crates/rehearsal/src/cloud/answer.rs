//! What a simulated management API is asked, and what it answers.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use linkflow_model::Timestamp;
use serde_json::Value;

use super::door::Wire;

const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// One request to an API, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Names and values, percent-decoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// The first value of query parameter `name`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Header `name`, when it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The token of `Authorization: Bearer …`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization").and_then(|v| v.strip_prefix("Bearer "))
    }

    /// The same call with a token that nobody was given.
    pub(crate) fn with_revoked_token(mut self) -> Self {
        for name in ["authorization", "project-access-token", "x-api-key"] {
            let Some(held) = self.header(name) else { continue };
            let scheme = held.split_once(' ').map(|(scheme, _)| format!("{scheme} "));
            let revoked = format!("{}revoked", scheme.unwrap_or_default());
            if let Ok(revoked) = HeaderValue::try_from(revoked) {
                self.headers.insert(name, revoked);
            }
        }
        self
    }

    /// The body as JSON; `None` when it is none. An empty body is `null`.
    pub(crate) fn json(&self) -> Option<Value> {
        if self.body.is_empty() {
            Some(Value::Null)
        } else {
            serde_json::from_slice(&self.body).ok()
        }
    }

    /// The parts of the path, percent-decoded.
    pub(crate) fn parts(&self) -> Vec<String> {
        self.path.split('/').filter(|p| !p.is_empty()).map(decoded).collect()
    }
}

/// What an API answers.
pub(crate) struct Answer(Box<Response<Full<Bytes>>>);

impl Answer {
    /// A status and nothing else.
    pub(crate) fn empty(status: u16) -> Self {
        Self::bytes(status, "", Bytes::new())
    }

    /// JSON.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", Bytes::from(body.to_string()))
    }

    /// Anything.
    pub(crate) fn bytes(status: u16, kind: &str, body: Bytes) -> Self {
        let mut response = Response::new(Full::new(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let answer = Self(Box::new(response));
        if kind.is_empty() { answer } else { answer.with(CONTENT_TYPE.as_str(), kind) }
    }

    /// Whether it says that the caller asks too often: every vendor says so with this status.
    pub(crate) fn is_refused_for_rate(&self) -> bool {
        self.0.status() == StatusCode::TOO_MANY_REQUESTS
    }

    /// With the time at which it was made, as `at` has it.
    pub(crate) fn dated(self, at: Timestamp) -> Self {
        let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
        match at.and_then(|at| printer.timestamp_to_rfc9110_string(&at).ok()) {
            Some(text) => self.with(DATE.as_str(), &text),
            None => self,
        }
    }

    /// With one more header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }
}

/// Serves `answer` on one connection.
pub(crate) async fn serve<A, F>(wire: Wire, answer: Arc<A>)
where
    A: Fn(Call) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Arc::clone(&answer);
        async move {
            let told = match read(request).await {
                Some(call) => answer(call).await,
                None => Answer::empty(413),
            };
            Ok::<_, Infallible>(*told.0)
        }
    });
    let connection = auto::Builder::new(TokioExecutor::new());
    // A connection that breaks is its client's affair.
    connection.serve_connection(TokioIo::new(wire), service).await.ok();
}

async fn read(request: Request<Incoming>) -> Option<Call> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.ok()?.to_bytes();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().map(pairs).unwrap_or_default();
    Some(Call { method: head.method, path, query, headers: head.headers, body })
}

/// The names and values of a query or a form.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
    };
    query.split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

/// `text` with its percent escapes followed; what is no escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped =
            after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_with_its_escapes() {
        assert_eq!(
            pairs("a=b%20c&d=1+2&e&f=%zz"),
            [
                ("a".to_owned(), "b c".to_owned()),
                ("d".to_owned(), "1 2".to_owned()),
                ("e".to_owned(), String::new()),
                ("f".to_owned(), "%zz".to_owned()),
            ]
        );
    }
}
