//! Whether a page of ours asked: what changes something by a cookie has to prove it.
//!
//! Two proofs are asked for. The browser's word (Fetch Metadata, and the Fetch standard's `Origin`), and a token that only a
//! page of ours can have read. OWASP's cheat sheet on CSRF calls the second one a synchronizer token.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::origin::Origin;

/// The field of a form, and the header of a script.
const FIELD: &[u8] = b"csrf=";
const HEADER: &str = "x-linkflow-csrf";

/// The largest form that is looked into: 64 KiB.
const FORM_BYTES: usize = 64 << 10;

/// The token of the session with this id. It tells nothing of the id.
pub(super) fn token(session: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"linkflow csrf\0");
    hash.update(session.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// Whether a method changes nothing (RFC 9110, 9.2.1).
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Whether the browser, if it says anything, says that a page of ours asks.
pub(super) fn is_ours(headers: &HeaderMap, origin: &Origin) -> bool {
    let says = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    says("sec-fetch-site").is_none_or(|site| site == "same-origin")
        && says(header::ORIGIN.as_str()).is_none_or(|from| from == origin.origin)
}

/// Whether `request` has the token of the session; gives the request back as it came.
pub(super) async fn has_token(request: Request, session: &str) -> (bool, Request) {
    let wanted = token(session);
    let is = |said: &[u8]| bool::from(said.ct_eq(wanted.as_bytes()));
    if let Some(said) = request.headers().get(HEADER) {
        return (is(said.as_bytes()), request);
    }
    let form = request.headers().get(header::CONTENT_TYPE);
    let form = form.and_then(|kind| kind.to_str().ok());
    if !form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        return (false, request);
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, FORM_BYTES).await else {
        return (false, Request::from_parts(parts, Body::empty()));
    };
    // A token is made of characters that a form does not escape.
    let said = body.split(|byte| *byte == b'&').find_map(|field| field.strip_prefix(FIELD));
    let found = said.is_some_and(is);
    (found, Request::from_parts(parts, Body::from(body)))
}
