//! The edge's own answers, in the form the client asked for.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use linkflow_model::ServiceName;
use serde_json::json;

use crate::body::Answer;
use crate::page::page;

/// After so many seconds somebody may ask again for what is away.
const SOON: u64 = 2;

/// The form in which a client reads an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Text,
    Json,
    Grpc,
    /// A page for people, with the address where they are told more.
    Page(Option<Arc<str>>),
}

impl Voice {
    /// As `Accept` and `Content-Type` of a request say.
    pub(crate) fn of(headers: &HeaderMap, status_page: Option<&Arc<str>>) -> Self {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if text(header::CONTENT_TYPE).contains("application/grpc") {
            return Self::Grpc;
        }
        let accept = text(header::ACCEPT);
        if accept.contains("text/html") {
            Self::Page(status_page.cloned())
        } else if accept.contains("json") {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// An answer of the edge itself.
    pub(crate) fn say(
        &self,
        status: StatusCode,
        service: Option<&ServiceName>,
        why: &str,
    ) -> Response<Answer> {
        let soon = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON);
        self.say_when(status, service, why, soon)
    }

    /// The same, with the number of seconds after which to ask again.
    pub(crate) fn say_when(
        &self,
        status: StatusCode,
        service: Option<&ServiceName>,
        why: &str,
        retry_after: Option<u64>,
    ) -> Response<Answer> {
        let about = service.map_or_else(String::new, |s| format!("{s}: "));
        let (kind, text) = match self {
            Self::Grpc => return grpc(status, &format!("{about}{why}")),
            Self::Text => ("text/plain; charset=utf-8", format!("{status}\n{about}{why}\n")),
            Self::Page(more) => {
                let why = format!("{about}{why}");
                ("text/html; charset=utf-8", page(status, &why, more.as_deref(), retry_after))
            }
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
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
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
