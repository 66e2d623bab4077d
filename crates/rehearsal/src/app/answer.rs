//! What a service answers, and what it reads of a request.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use serde_json::{Value, json};

/// A body that cannot fail.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer on its way out.
pub(super) type Answer = Response<Body>;

/// The largest request that is read.
const LARGEST: usize = 64 * 1024;

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::from(body.to_string()).boxed_unsync());
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    answer
}

/// An answer that says why not.
pub(super) fn refuse(status: StatusCode, reason: &str) -> Answer {
    let error = status.canonical_reason().unwrap_or("error");
    json(status, &json!({ "error": error, "reason": reason }))
}

/// The whole body of `request`, up to 64 KiB.
pub(super) async fn read_bytes(request: Request<Incoming>) -> Result<Bytes, String> {
    let length = request.body().size_hint().lower();
    if length > LARGEST as u64 {
        return Err(format!("a body of {length} bytes is too large"));
    }
    let body = Limited::new(request.into_body(), LARGEST).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| format!("the body broke off: {error}"))
}

/// The body of `request` as JSON.
pub(super) async fn read_json(request: Request<Incoming>) -> Result<Value, String> {
    let bytes = read_bytes(request).await?;
    serde_json::from_slice(&bytes).map_err(|error| format!("the body is not JSON: {error}"))
}

/// The header `name` as text; empty when absent.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
