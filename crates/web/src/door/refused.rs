//! Answers that refuse: with a sentence, as a page where a person asked and as JSON where a program did.

use askama::Template;
use axum::http::HeaderMap;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use linkflow_model::access::{Caller, Scope};
use serde_json::json;

use super::error::AccessError;
use crate::frame::{Frame, escaped, show};

/// An answer that refuses. The guard writes it in the form that whoever asked can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// How.
    pub(crate) status: StatusCode,
    /// Why, in one sentence.
    pub(crate) why: String,
    /// In how many seconds it may be tried again.
    pub(crate) wait_s: Option<u64>,
}

impl Refused {
    /// Refuses with `status` and a sentence.
    pub(crate) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), wait_s: None }
    }
}

/// Refuses what the caller's scope does not hold.
///
/// # Errors
/// 403, which says what it takes.
pub(crate) fn needs(caller: &Caller, scope: Scope) -> Result<(), Refused> {
    if caller.may(scope) {
        return Ok(());
    }
    let (wanted, held) = (scope.word(), caller.scope.word());
    let why = format!("this takes the scope `{wanted}`; `{}` has `{held}`", caller.name);
    Err(Refused::new(StatusCode::FORBIDDEN, why))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.why)).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AccessError> for Refused {
    fn from(error: AccessError) -> Self {
        let status = match &error {
            AccessError::Refused(_) => StatusCode::BAD_REQUEST,
            AccessError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            AccessError::NoRandom | AccessError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

/// Who asks: a person who wants a page, or a program.
pub(super) struct Asks {
    uri: Uri,
    method: Method,
    page: bool,
}

impl Asks {
    /// What a request says of it. Scripts of a page are programs: they can do nothing with a page.
    pub(super) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path();
        let says = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let program = path.starts_with("/api/")
            || path == "/metrics"
            || headers.contains_key(header::AUTHORIZATION)
            || says("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
            || says("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        Self { uri: uri.clone(), method: method.clone(), page: !program }
    }

    /// The answer to somebody who is not signed in.
    pub(super) fn stranger(&self) -> Response {
        if !self.page {
            let why = "sign in, or send `Authorization: Bearer lf_…`";
            let mut response = program(&Refused::new(StatusCode::UNAUTHORIZED, why));
            let scheme = HeaderValue::from_static("Bearer realm=\"linkflow\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            return response;
        }
        let here = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let safe = matches!(self.method, Method::GET | Method::HEAD);
        let next =
            if safe && here != "/" { format!("?next={}", escaped(here)) } else { String::new() };
        Redirect::to(&format!("/sign-in{next}")).into_response()
    }

    /// Writes a refusal in the form that whoever asked can read.
    pub(super) fn told(&self, refused: &Refused, frame: Frame) -> Response {
        let mut told = if self.page { page(refused, frame) } else { program(refused) };
        if let Some(wait) = refused.wait_s {
            told.headers_mut().insert(header::RETRY_AFTER, wait.into());
        }
        told
    }
}

#[derive(Template)]
#[template(path = "site/said.html")]
struct Said<'s> {
    frame: Frame,
    title: &'s str,
    text: &'s str,
}

fn page(refused: &Refused, frame: Frame) -> Response {
    let title = match refused.status {
        StatusCode::FORBIDDEN => "You may not do this",
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::TOO_MANY_REQUESTS => "Too many tries",
        status if status.is_server_error() => "This did not work",
        _ => "This was not taken",
    };
    show(refused.status, &Said { frame, title, text: &refused.why })
}

/// Problem details, RFC 9457.
fn program(refused: &Refused) -> Response {
    let status = refused.status;
    let body = json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": refused.why,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

/// Where to go after signing in: only a path of ours. Browsers take `//` and `/\` for another host, so these are none.
pub(super) fn local(next: &str) -> &str {
    let plain = next.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\');
    let path = next.starts_with('/') && !next.starts_with("//");
    // What only leads back here leads nowhere.
    let again = next.starts_with("/sign-in") || next.starts_with("/sign-out");
    if plain && path && !again { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_ours_is_gone_to_after_signing_in() {
        for good in ["/", "/people", "/board?q=a%20b&n=1#x"] {
            assert_eq!(local(good), good);
        }
        let bad = [
            "",
            "people",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "\\\\evil.example",
            "/a\r\nset-cookie: x=y",
            "javascript:alert(1)",
            "/sign-in?next=/sign-in",
            " /people",
            "/ä",
        ];
        for bad in bad {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
    }
}
