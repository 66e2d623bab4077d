//! The files of the operators' site: styles and scripts, which are part of the program.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Each file: its name, its type, its text.
const FILES: &[(&str, &str, &str)] = &[
    ("site.css", "text/css; charset=utf-8", include_str!("../assets/site.css")),
    ("passkeys.js", "text/javascript; charset=utf-8", include_str!("../assets/passkeys.js")),
    ("board.css", "text/css; charset=utf-8", include_str!("../assets/board.css")),
    ("board.js", "text/javascript; charset=utf-8", include_str!("../assets/board.js")),
];

/// What is answered.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{name}", get(file))
}

/// A file, or word that the one that is held is still the same.
async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(file, ..)| *file == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..12]));
    let held =
        headers.get(header::IF_NONE_MATCH).is_some_and(|held| held.as_bytes() == tag.as_bytes());
    let head = [
        (header::CONTENT_TYPE, (*kind).to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::ETAG, tag),
    ];
    if held {
        (StatusCode::NOT_MODIFIED, head).into_response()
    } else {
        (head, *text).into_response()
    }
}
