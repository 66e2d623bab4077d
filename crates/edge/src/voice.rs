//! The edge's own answers, in the form the client asked for.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use linkflow_model::ServiceName;
use serde_json::json;

use crate::body::Answer;

/// The form in which a client reads an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Text,
    Json,
    Grpc,
}

impl Voice {
    /// As `Accept` and `Content-Type` of a request say.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let says = |name, what: &str| {
            headers.get(name).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(what))
        };
        if says(header::CONTENT_TYPE, "application/grpc") {
            Self::Grpc
        } else if says(header::ACCEPT, "json") {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// An answer of the edge itself.
    pub(crate) fn say(
        self,
        status: StatusCode,
        service: Option<&ServiceName>,
        why: &str,
    ) -> Response<Answer> {
        let about = service.map_or_else(String::new, |s| format!("{s}: "));
        let (kind, text) = match self {
            Self::Grpc => return grpc(status, &format!("{about}{why}")),
            Self::Text => ("text/plain; charset=utf-8", format!("{status}\n{about}{why}\n")),
            Self::Json => {
                let body = json!({ "status": status.as_u16(), "service": service, "error": why });
                ("application/json", format!("{body}\n"))
            }
        };
        let mut response = Response::new(Answer::own(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// A gRPC answer without a message: the status is in the head.
fn grpc(status: StatusCode, why: &str) -> Response<Answer> {
    let code = match status.as_u16() {
        400 => "13",
        404 | 405 => "12",
        504 => "4",
        _ => "14",
    };
    let mut response = Response::new(Answer::own(""));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    let plain: String =
        why.chars().map(|c| if c == '%' || !(' '..='~').contains(&c) { '?' } else { c }).collect();
    if let Ok(message) = HeaderValue::from_str(&plain) {
        headers.insert("grpc-message", message);
    }
    response
}
