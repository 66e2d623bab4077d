//! The last good copy of pages, for when nothing answers: few, small, and of nobody's own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use linkflow_model::Moment;

use crate::body::Answer;

/// How large one page may be, in bytes.
const PAGE_MOST: usize = 256 << 10;
/// A copy that is younger than this is not replaced, in milliseconds.
const FRESH: u64 = 10_000;
/// Says that an answer is a copy, and how many seconds old.
const STALE: HeaderName = HeaderName::from_static("x-linkflow-stale");

/// Copies of pages, of no more than so many bytes in all.
pub(crate) struct Pages {
    held: Mutex<Held>,
    most: usize,
}

#[derive(Default)]
struct Held {
    pages: HashMap<String, Page>,
    /// By the turn in which each was last used; the first one goes first.
    used: BTreeMap<u64, String>,
    turn: u64,
    bytes: usize,
}

struct Page {
    headers: HeaderMap,
    body: Bytes,
    at: Moment,
    turn: u64,
}

/// A copy that is being made of an answer on its way.
pub(crate) struct Copying {
    pages: Arc<Pages>,
    key: String,
    headers: HeaderMap,
    body: BytesMut,
    at: Moment,
}

impl Pages {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: Mutex::default(), most })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under what a copy for this request is kept; `None`: it gets none, because it may be for one visitor alone.
    pub(crate) fn key(
        method: &Method,
        host: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<String> {
        let personal = [header::AUTHORIZATION, header::COOKIE, header::RANGE];
        if *method != Method::GET || personal.iter().any(|name| headers.contains_key(name)) {
            return None;
        }
        let coded = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
        Some(format!("{host} {path} {}", coded.unwrap_or_default()))
    }

    /// Begins a copy of an answer that everybody may have, unless there is a fresh one.
    pub(crate) fn copy(
        self: &Arc<Self>,
        key: &str,
        status: StatusCode,
        headers: &HeaderMap,
        now: Moment,
    ) -> Option<Copying> {
        if status != StatusCode::OK || !is_for_all(headers) {
            return None;
        }
        if self.held().pages.get(key).is_some_and(|page| now.since(page.at) < FRESH) {
            return None;
        }
        let (pages, key) = (Arc::clone(self), key.to_owned());
        Some(Copying { pages, key, headers: headers.clone(), body: BytesMut::new(), at: now })
    }

    /// The copy, marked as one.
    pub(crate) fn answer(&self, key: &str, now: Moment) -> Option<Response<Answer>> {
        let mut held = self.held();
        held.turn += 1;
        let turn = held.turn;
        let page = held.pages.get_mut(key)?;
        let before = std::mem::replace(&mut page.turn, turn);
        let mut answer = Response::new(Answer::own(page.body.clone()));
        let headers = answer.headers_mut();
        *headers = page.headers.clone();
        headers.insert(STALE, HeaderValue::from(now.since(page.at) / 1_000));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        held.used.remove(&before);
        held.used.insert(turn, key.to_owned());
        Some(answer)
    }

    /// How many pages are held, and about how many bytes they take.
    pub(crate) fn size(&self) -> (usize, usize) {
        let held = self.held();
        (held.pages.len(), held.bytes)
    }

    fn keep(&self, key: String, headers: HeaderMap, body: Bytes, at: Moment) {
        let mut held = self.held();
        held.forget(&key);
        held.turn += 1;
        let turn = held.turn;
        let page = Page { headers, body, at, turn };
        held.bytes += page.weight(&key);
        held.used.insert(turn, key.clone());
        held.pages.insert(key, page);
        while held.bytes > self.most {
            let Some((_, oldest)) = held.used.pop_first() else { break };
            held.forget(&oldest);
        }
    }
}

impl Held {
    fn forget(&mut self, key: &str) {
        if let Some(page) = self.pages.remove(key) {
            self.bytes -= page.weight(key);
            self.used.remove(&page.turn);
        }
    }
}

impl Page {
    /// About how many bytes it takes.
    fn weight(&self, key: &str) -> usize {
        let headers =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        self.body.len() + 2 * key.len() + headers.sum::<usize>() + 256
    }
}

/// Whether an answer may be given to somebody else than who asked for it.
fn is_for_all(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase())
    };
    let own =
        |word: &str| ["private", "no-store"].contains(&word.split('=').next().unwrap_or(word));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    !headers.contains_key(header::SET_COOKIE)
        && !says(header::CACHE_CONTROL).any(|word| own(&word))
        && says(header::VARY).all(|word| word.is_empty() || word == "accept-encoding")
        && says(header::CONTENT_TYPE)
            .next()
            .is_none_or(|kind| !kind.starts_with("text/event-stream"))
        && length.is_none_or(|length: usize| length <= PAGE_MOST)
}

impl Copying {
    /// Takes a part of the body. `false`: it is too large, and no copy comes of it.
    pub(crate) fn take(&mut self, data: &[u8]) -> bool {
        self.body.extend_from_slice(data);
        self.body.len() <= PAGE_MOST
    }

    /// The body has ended as it should.
    pub(crate) fn done(self) {
        let Self { pages, key, mut headers, body, at } = self;
        headers.remove(header::DATE);
        headers.remove(header::TRANSFER_ENCODING);
        pages.keep(key, headers, body.freeze(), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let row = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        rows.iter().map(row).collect()
    }

    fn keep(pages: &Arc<Pages>, key: &str, size: usize, now: u64) {
        let mut copy = pages.copy(key, StatusCode::OK, &map(&[]), Moment(now)).unwrap();
        assert!(copy.take(&vec![b'x'; size]));
        copy.done();
    }

    #[test]
    fn only_what_is_for_everybody_is_kept() {
        let pages = Pages::new(1 << 20);
        let rows: [(&[(&str, &str)], bool); 8] = [
            (&[("content-type", "text/html")], true),
            (&[("cache-control", "public, max-age=0")], true),
            (&[("vary", "Accept-Encoding")], true),
            (&[("vary", "Cookie")], false),
            (&[("set-cookie", "a=b")], false),
            (&[("cache-control", "no-store")], false),
            (&[("cache-control", "max-age=0, private=\"x\"")], false),
            (&[("content-type", "text/event-stream")], false),
        ];
        for (headers, kept) in rows {
            let copy = pages.copy("k", StatusCode::OK, &map(headers), Moment(0));
            assert_eq!(copy.is_some(), kept, "{headers:?}");
        }
        assert!(pages.copy("k", StatusCode::NOT_FOUND, &map(&[]), Moment(0)).is_none());
        let key = |method, headers| Pages::key(&method, "a.example", "/", &map(headers));
        assert_eq!(key(Method::GET, &[]).as_deref(), Some("a.example / "));
        assert_eq!(key(Method::POST, &[]), None);
        assert_eq!(key(Method::GET, &[("cookie", "a=b")]), None);
        assert_eq!(key(Method::GET, &[("authorization", "x")]), None);
    }

    #[test]
    fn a_copy_says_its_age_and_is_made_anew_when_it_is_old() {
        let pages = Pages::new(1 << 20);
        keep(&pages, "k", 3, 1_000);
        let answer = pages.answer("k", Moment(95_500)).unwrap();
        assert_eq!(answer.headers()[&STALE], "94");
        assert!(pages.copy("k", StatusCode::OK, &map(&[]), Moment(10_999)).is_none());
        assert!(pages.copy("k", StatusCode::OK, &map(&[]), Moment(11_000)).is_some());
        assert!(pages.answer("other", Moment(0)).is_none());
    }

    #[test]
    fn memory_has_a_bound_and_what_is_not_asked_for_goes_first() {
        let pages = Pages::new(100_000);
        for (now, key) in ["a", "b", "c"].into_iter().enumerate() {
            keep(&pages, key, 30_000, now as u64);
        }
        assert!(pages.answer("a", Moment(5)).is_some());
        keep(&pages, "d", 30_000, 6);
        let there: Vec<&str> = ["a", "b", "c", "d"]
            .into_iter()
            .filter(|key| pages.answer(key, Moment(7)).is_some())
            .collect();
        assert_eq!(there, ["a", "c", "d"]);
        let held = pages.held();
        assert!(held.bytes <= 100_000 && held.used.len() == held.pages.len());
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let pages = Pages::new(1 << 20);
        let mut copy = pages.copy("k", StatusCode::OK, &map(&[]), Moment(0)).unwrap();
        assert!(copy.take(&[0; PAGE_MOST]));
        assert!(!copy.take(&[0]));
        let long = map(&[("content-length", "300000")]);
        assert!(pages.copy("k", StatusCode::OK, &long, Moment(0)).is_none());
    }
}
