//! Writes each exchange with a vendor down as one JSON line, secrets masked.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Content};
use super::veil::Veil;

/// Response headers worth keeping; others say nothing about the exchange, or too much.
const KEPT: &[&str] = &[
    "content-type",
    "docker-content-digest",
    "retry-after",
    "www-authenticate",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

/// A recording under way.
pub(super) struct Recorder {
    file: File,
}

/// Masks what holds secrets by its nature, in a request's or an answer's body.
pub type Hide = fn(&mut Value);

/// What the line says beside the exchange itself.
pub(super) struct Place<'a> {
    pub(super) spec: &'a str,
    pub(super) production: &'a str,
    pub(super) auth: Option<&'static str>,
    pub(super) hide: Hide,
}

impl Recorder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// Appends one exchange. The line goes out in one write to a file opened for appending, so that several
    /// processes may share a recording.
    pub(super) fn note(&self, veil: &Veil, place: &Place<'_>, call: &Call, answer: &Answer) {
        let mut line = line(veil, place, call, answer).to_string();
        line.push('\n');
        if let Err(error) = (&self.file).write_all(line.as_bytes()) {
            tracing::warn!(%error, "an exchange could not be recorded");
        }
    }
}

fn line(veil: &Veil, place: &Place<'_>, call: &Call, answer: &Answer) -> Value {
    json!({
        "provider": place.spec,
        "base": place.production,
        "method": call.method.as_str(),
        "path": veil.mask(&path(call)),
        "request_headers": request_headers(veil, place, call),
        "request_body": request_body(veil, place, call),
        "status": answer.status.as_u16(),
        "response_headers": response_headers(veil, &answer.headers),
        "response_body": response_body(veil, place, answer),
    })
}

fn request_headers(veil: &Veil, place: &Place<'_>, call: &Call) -> Map<String, Value> {
    let mut headers = Map::new();
    if let Some(name) = place.auth {
        headers.insert(name.to_owned(), super::veil::MASK.into());
    }
    match &call.body {
        None => {}
        Some(Content::Json(_)) => {
            headers.insert("content-type".to_owned(), "application/json".into());
        }
        Some(Content::Bytes(kind, _)) => {
            headers.insert("content-type".to_owned(), kind.as_str().into());
        }
        Some(Content::Form(_)) => {
            headers.insert("content-type".to_owned(), super::FORM.into());
        }
    }
    for (name, text) in &call.headers {
        headers.insert((*name).to_owned(), veil.mask(text.shown()).into());
    }
    headers
}

fn path(call: &Call) -> String {
    match call.path.split_once('?') {
        Some((path, _)) if call.hides_query => format!("{path}?{}", super::veil::MASK),
        _ => call.path.clone(),
    }
}

fn request_body(veil: &Veil, place: &Place<'_>, call: &Call) -> Value {
    match &call.body {
        None => Value::Null,
        Some(Content::Form(_)) => super::veil::MASK.into(),
        Some(Content::Json(body)) => masked(veil, place, body.clone()),
        Some(Content::Bytes(_, bytes)) => match serde_json::from_slice(bytes) {
            Ok(body) => masked(veil, place, body),
            Err(_) => veil.mask(&String::from_utf8_lossy(bytes)).into(),
        },
    }
}

fn response_headers(veil: &Veil, headers: &HeaderMap) -> Map<String, Value> {
    KEPT.iter()
        .filter_map(|name| Some((*name, headers.get(*name)?.to_str().ok()?)))
        .map(|(name, text)| (name.to_owned(), veil.mask(text).into()))
        .collect()
}

fn response_body(veil: &Veil, place: &Place<'_>, answer: &Answer) -> Value {
    if answer.body.is_empty() {
        return Value::Null;
    }
    match serde_json::from_slice(&answer.body) {
        Ok(body) => masked(veil, place, body),
        Err(_) => veil.mask(&answer.text()).into(),
    }
}

fn masked(veil: &Veil, place: &Place<'_>, mut body: Value) -> Value {
    (place.hide)(&mut body);
    veil.mask_json(&mut body);
    body
}
