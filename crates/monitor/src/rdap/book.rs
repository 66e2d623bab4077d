//! Which server answers for which ending: the list that IANA keeps (RFC 9224), a copy of it for when IANA is away.

use std::sync::Arc;

use linkflow_model::Timestamp;
use linkflow_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fetch;
use crate::probe::Prober;

/// For how long a list is good, in ms: a day.
const GOOD_MS: u64 = 86_400_000;

/// How long after one that did not come another is asked for, in ms.
const AGAIN_MS: u64 = 600_000;

/// How much of a list is read, in bytes. IANA's has some 70 KB.
const LARGEST: usize = 4 << 20;

/// The key of the copy.
const KEY: &str = "rdap/list";

/// The list, with when it was taken from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Copy {
    from: String,
    taken: Timestamp,
    book: Book,
}

/// Who answers for which ending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    /// Endings, and the addresses of those who answer for them.
    services: Vec<(Vec<String>, Vec<String>)>,
}

impl Book {
    /// Reads a list as RFC 9224, 4, has it.
    fn parse(body: &[u8]) -> Result<Self, String> {
        let book: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if book.services.is_empty() {
            return Err("it names nobody".to_owned());
        }
        Ok(book)
    }

    /// The address of whoever answers for `name`: of the longest ending, with TLS where there is a choice.
    pub(super) fn base(&self, name: &str) -> Option<&str> {
        let ends = |ending: &str| {
            let rest = name.len().checked_sub(ending.len());
            let (rest, end) = name.split_at_checked(rest?)?;
            let whole = rest.is_empty() || rest.ends_with('.');
            (whole && end.eq_ignore_ascii_case(ending) && !ending.is_empty())
                .then_some(ending.len())
        };
        let longest = |endings: &[String]| endings.iter().filter_map(|one| ends(one)).max();
        let fitting = self.services.iter().filter_map(|(all, at)| Some((longest(all)?, at)));
        let (_, addresses) = fitting.max_by_key(|(length, _)| *length)?;
        let safe = addresses.iter().find(|address| address.starts_with("https:"));
        safe.or_else(|| addresses.first()).map(String::as_str)
    }
}

/// Where the list is kept.
pub(super) struct Shelf {
    list: String,
    store: Arc<dyn Store>,
    copy: Option<Copy>,
    /// When a list that did not come is asked for again, and why it did not.
    waits: Option<(Timestamp, String)>,
}

impl Shelf {
    pub(super) fn new(list: String, store: Arc<dyn Store>) -> Self {
        Self { list, store, copy: None, waits: None }
    }

    /// The list. An old one does where no new one can be had.
    pub(super) async fn book(&mut self, prober: &Prober, now: Timestamp) -> Result<&Book, String> {
        if self.copy.is_none() {
            self.copy = self.kept().await;
        }
        let fresh = |copy: &Copy| now.0.abs_diff(copy.taken.0) < GOOD_MS;
        let waits = self.waits.as_ref().is_some_and(|(until, _)| now < *until);
        if !self.copy.as_ref().is_some_and(fresh) && !waits {
            match self.renewed(prober, now).await {
                Ok(copy) => (self.copy, self.waits) = (Some(copy), None),
                Err(why) => {
                    let why = format!("the list of registries cannot be read: {why}");
                    tracing::warn!("{}: {why}", self.list);
                    self.waits = Some((Timestamp(now.0 + AGAIN_MS), why));
                }
            }
        }
        let why = || self.waits.as_ref().map(|(_, why)| why.clone()).unwrap_or_default();
        self.copy.as_ref().map(|copy| &copy.book).ok_or_else(why)
    }

    /// The copy that the store has, if it is one of this list.
    async fn kept(&self) -> Option<Copy> {
        let document = match self.store.read(KEY).await {
            Ok(document) => document?,
            Err(error) => {
                tracing::error!("the list of registries cannot be read from the store: {error}");
                return None;
            }
        };
        let copy: Option<Copy> = serde_json::from_value(document.body).ok();
        copy.filter(|copy| copy.from == self.list)
    }

    async fn renewed(&self, prober: &Prober, now: Timestamp) -> Result<Copy, String> {
        let answer = fetch(prober, &self.list, "application/json", LARGEST).await?;
        if answer.status != 200 {
            return Err(format!("answered {}", answer.status));
        }
        let book = Book::parse(&answer.body)?;
        let copy = Copy { from: self.list.clone(), taken: now, book };
        if let Err(error) = self.keep(&copy).await {
            tracing::error!("the list of registries cannot be kept: {error}");
        }
        Ok(copy)
    }

    async fn keep(&self, copy: &Copy) -> Result<(), StoreError> {
        let version = self.store.read(KEY).await?.map(|document| document.version);
        match self.store.write(KEY, version, &json!(copy), None).await {
            // Another process keeps one as well.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in RFC 9224, 4, with what comes with it there.
    const LIST: &str = r#"{
        "version": "1.0",
        "publication": "2024-01-07T10:11:12Z",
        "description": "Some text",
        "services": [
            [["net", "com"], ["http://plain.example/x/", "https://registry.example.com/myrdap/"]],
            [["org", "mytld"], ["https://example.org/"]],
            [["co.uk"], ["https://deeper.example/"]],
            [["uk", "xn--zckzah"], ["http://example.net/rdap/xn--zckzah/"]]
        ]
    }"#;

    #[test]
    fn the_longest_ending_says_who_answers() {
        let book = Book::parse(LIST.as_bytes()).unwrap();
        let rows = [
            ("shop.com", Some("https://registry.example.com/myrdap/")),
            ("SHOP.COM", Some("https://registry.example.com/myrdap/")),
            ("shop.mytld", Some("https://example.org/")),
            ("shop.co.uk", Some("https://deeper.example/")),
            ("shop.org.uk", Some("http://example.net/rdap/xn--zckzah/")),
            ("shop.xn--zckzah", Some("http://example.net/rdap/xn--zckzah/")),
            ("notcom", None),
            ("shop.io", None),
            ("", None),
        ];
        for (name, expected) in rows {
            assert_eq!(book.base(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "{}", r#"{ "services": [] }"#, r#"{ "services": [[["com"]]] }"#, "<html>"]
        {
            assert!(Book::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
