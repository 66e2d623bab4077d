//! Documents of the store that others may write at the same time: made under the first id that is free, and changed as they are at
//! that very moment.

use jiff::tz::TimeZone;
use linkflow_model::Timestamp;
use linkflow_model::config::Config;
use linkflow_store::{Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::operator::{Refusal, Why};

/// How often a document is read again when somebody else wrote it meanwhile.
const TRIES: usize = 10;

/// The longest part of an id that is made of a title, in characters.
const SLUG: usize = 40;

/// Writes a new document under the id `first`, or with a number behind it. `made` gives its key and what is in it.
///
/// # Errors
/// When every id of that title is taken, or the store says no.
pub(super) async fn create<T: Serialize>(
    store: &dyn Store,
    first: &str,
    made: impl Fn(String) -> (String, T),
) -> Result<T, Refusal> {
    let ids = std::iter::once(first.to_owned()).chain((2..1_000).map(|n| format!("{first}-{n}")));
    for id in ids {
        let (key, value) = made(id);
        match store.write(&key, None, &json!(value), None).await {
            Ok(_) => return Ok(value),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::new(Why::Forbidden, "every id of that title is taken", "choose another title"))
}

/// Changes the document under `key`, as often as somebody else writes it meanwhile. `None`: there is none.
///
/// # Errors
/// What `how` refuses, and what the store says.
pub(super) async fn change<T: Serialize + DeserializeOwned>(
    store: &dyn Store,
    key: &str,
    mut how: impl FnMut(&mut T) -> Result<(), Refusal>,
) -> Result<Option<T>, Refusal> {
    for _ in 0..TRIES {
        let Some(document) = store.read(key).await? else { return Ok(None) };
        let newer = |error: serde_json::Error| {
            let what = format!("{key} cannot be read: {error}");
            Refusal::new(Why::Failed, what, "a newer LinkFlow may have written it")
        };
        let mut value: T = serde_json::from_value(document.body).map_err(newer)?;
        how(&mut value)?;
        match store.write(key, Some(document.version), &json!(value), None).await {
            Ok(_) => return Ok(Some(value)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let what = format!("`{key}` is being written by others all the time");
    Err(Refusal::new(Why::Busy, what, "try again"))
}

/// What an id begins with: the day of `at` in the zone of the status page, and `title`. `20261129-payments-fail`.
pub(super) fn id(config: &Config, at: Timestamp, title: &str) -> String {
    let zone = config.status_page.as_ref().map(|page| page.time_zone.rules());
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or(jiff::Timestamp::MAX);
    let day = zone.unwrap_or(TimeZone::UTC).to_datetime(at).strftime("%Y%m%d").to_string();
    format!("{day}-{}", slug(title))
}

/// `title` as a part of an id: small letters, digits and hyphens.
fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' if slug.len() < SLUG => slug.push(c),
            _ if !slug.is_empty() && slug.len() < SLUG && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "incident".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_becomes_a_part_of_an_id() {
        for (title, expected) in [
            ("Payments fail", "payments-fail"),
            ("  Zahlungen: 50 % schlagen fehl! ", "zahlungen-50-schlagen-fehl"),
            ("支付失败", "incident"),
            (&"long ".repeat(20), "long-long-long-long-long-long-long-long"),
        ] {
            assert_eq!(slug(title), expected);
        }
    }
}
