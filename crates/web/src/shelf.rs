//! The rendered page in memory, ready to be handed out: compressed once, with a mark for whoever has it already.

use std::collections::BTreeMap;
use std::io::Write;
use std::mem::replace;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use linkflow_model::role::media_type;
use sha2::{Digest, Sha256};

use crate::status::Bundle;

/// How long what was handed out may be shown again: shortly, and for a day when nothing answers any more.
const CACHE: &str = "max-age=15, stale-if-error=86400";

/// A file that is handed out.
#[derive(Debug)]
struct Item {
    plain: Bytes,
    gzip: Bytes,
    etag: HeaderValue,
    kind: &'static str,
}

/// The files of the page as they were rendered last. Whoever is answered meanwhile gets the one rendering or the next.
#[derive(Debug, Default)]
pub struct Shelf(RwLock<Arc<BTreeMap<String, Arc<Item>>>>);

impl Shelf {
    /// Puts `bundle` in place of what was there. What did not change is not compressed again.
    pub fn put(&self, bundle: &Bundle) {
        let held = self.held();
        let item = |(path, bytes): (&String, &Vec<u8>)| {
            let same = held.get(path).filter(|item| item.plain == bytes.as_slice());
            let item = same.map_or_else(|| Arc::new(Item::new(path, bytes)), Arc::clone);
            (path.clone(), item)
        };
        let fresh = Arc::new(bundle.0.iter().map(item).collect());
        let old = replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), fresh);
        // Taken apart when nobody waits for it any more.
        drop((held, old));
    }

    fn held(&self) -> Arc<BTreeMap<String, Arc<Item>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The answer to a request. That of `HEAD` has the body of `GET`, which the server leaves out.
    pub fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let held = self.held();
        let path = path.trim_start_matches('/');
        let file = match path.is_empty() || path.ends_with('/') {
            true => format!("{path}index.html"),
            false => path.to_owned(),
        };
        if let Some(item) = held.get(&file) {
            return item.answer(headers, StatusCode::OK);
        }
        // In the language of the address, where it has one.
        let language = path.split_once('/').map(|(folder, _)| format!("{folder}/404.html"));
        let missing = language.and_then(|page| held.get(&page)).or_else(|| held.get("404.html"));
        match missing {
            Some(page) => page.answer(headers, StatusCode::NOT_FOUND),
            None => {
                let mut response = Response::new(Bytes::from_static(b"not rendered yet\n"));
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }
        }
    }
}

impl Item {
    fn new(path: &str, bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let hex: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        // Weak: the same for both encodings.
        let etag = HeaderValue::from_str(&format!("W/\"{hex}\""));
        Self {
            gzip: gzip(bytes).into(),
            plain: Bytes::copy_from_slice(bytes),
            etag: etag.unwrap_or(HeaderValue::from_static("*")),
            kind: media_type(path),
        }
    }

    fn answer(&self, asked: &HeaderMap, status: StatusCode) -> Response<Bytes> {
        let seen = asked.get(header::IF_NONE_MATCH).is_some_and(|seen| self.is_in(seen));
        let zipped = accepts_gzip(asked);
        let mut response = Response::new(match (status == StatusCode::OK && seen, zipped) {
            (true, _) => Bytes::new(),
            (false, true) => self.gzip.clone(),
            (false, false) => self.plain.clone(),
        });
        *response.status_mut() =
            if status == StatusCode::OK && seen { StatusCode::NOT_MODIFIED } else { status };
        let headers = response.headers_mut();
        let mut say = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        say(header::CONTENT_TYPE, self.kind);
        say(header::CACHE_CONTROL, CACHE);
        say(header::VARY, "accept-encoding");
        say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if !self.kind.starts_with("text/html") {
            say(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
        if zipped {
            say(header::CONTENT_ENCODING, "gzip");
        }
        headers.insert(header::ETAG, self.etag.clone());
        response
    }

    /// Whether `If-None-Match` names this one (RFC 9110, 13.1.2).
    fn is_in(&self, seen: &HeaderValue) -> bool {
        let own = self.etag.to_str().unwrap_or_default().trim_start_matches("W/");
        let seen = seen.to_str().unwrap_or_default();
        seen.trim() == "*" || seen.split(',').any(|one| one.trim().trim_start_matches("W/") == own)
    }
}

/// Whether gzip is taken: named, and not with a weight of nothing.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    let mut each = accepted.flat_map(|value| value.split(','));
    each.any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.unwrap_or(1.0_f32) > 0.0
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory fails for no reason of ours.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shelf() -> Shelf {
        let files = [
            ("index.html", "<p>here</p>"),
            ("404.html", "<p>nothing</p>"),
            ("de/index.html", "<p>hier</p>"),
            ("de/404.html", "<p>nichts</p>"),
            ("api/v2/status.json", "{}"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        let shelf = Shelf::default();
        shelf.put(&Bundle(files.into()));
        shelf
    }

    fn asked(shelf: &Shelf, path: &str, with: &[(HeaderName, &str)]) -> Response<Bytes> {
        let with = with.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        shelf.answer(&Method::GET, path, &with.collect())
    }

    fn check(path: &str, expected: &str) {
        let answer = asked(&shelf(), path, &[]);
        let body = String::from_utf8(answer.body().to_vec()).unwrap();
        assert_eq!(format!("{} {body}", answer.status().as_u16()), expected, "{path}");
    }

    #[test]
    fn addresses_lead_to_files() {
        check("/", "200 <p>here</p>");
        check("/index.html", "200 <p>here</p>");
        check("/de/", "200 <p>hier</p>");
        check("/api/v2/status.json", "200 {}");
        check("/nowhere", "404 <p>nothing</p>");
        check("/de/nowhere.html", "404 <p>nichts</p>");
        check("/../Cargo.toml", "404 <p>nothing</p>");
    }

    #[test]
    fn whoever_has_it_already_is_told_so() {
        let shelf = shelf();
        let first = asked(&shelf, "/", &[]);
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for seen in [etag.as_str(), "*", &format!("\"x\", {etag}"), etag.trim_start_matches("W/")] {
            let again = asked(&shelf, "/", &[(header::IF_NONE_MATCH, seen)]);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{seen}");
            assert!(again.body().is_empty());
        }
        shelf.put(&Bundle([("index.html".to_owned(), b"new".to_vec())].into()));
        let changed = asked(&shelf, "/", &[(header::IF_NONE_MATCH, &etag)]);
        assert_eq!((changed.status(), changed.body().as_ref()), (StatusCode::OK, &b"new"[..]));
    }

    #[test]
    fn it_is_compressed_for_whoever_takes_it() {
        let shelf = shelf();
        let zipped = asked(&shelf, "/", &[(header::ACCEPT_ENCODING, "br, gzip;q=0.5")]);
        assert_eq!(zipped.headers()[header::CONTENT_ENCODING], "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(zipped.body().as_ref()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "<p>here</p>");
        for refused in ["br", "gzip;q=0", "identity"] {
            let plain = asked(&shelf, "/", &[(header::ACCEPT_ENCODING, refused)]);
            assert!(!plain.headers().contains_key(header::CONTENT_ENCODING), "{refused}");
        }
    }

    #[test]
    fn machines_may_read_it_from_elsewhere_and_nobody_writes() {
        let shelf = shelf();
        let json = asked(&shelf, "/api/v2/status.json", &[]);
        assert_eq!(json.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(json.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let refused = shelf.answer(&Method::POST, "/", &HeaderMap::new());
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        let early = Shelf::default().answer(&Method::GET, "/", &HeaderMap::new());
        assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
