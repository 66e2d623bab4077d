//! Asks the registry of a domain what it says of it, by RDAP: which server answers for an ending is IANA's to say (RFC 9224),
//! what it is asked is RFC 9082, over HTTP as in RFC 7480.

mod answer;
mod book;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, RETRY_AFTER};
use linkflow_decide::domain::Asked;
use linkflow_model::{Clock, Timestamp};
use linkflow_store::Store;

use crate::probe::{Answer, Prober};
use crate::target::HttpTarget;
use book::Shelf;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// How much of an answer is read, in bytes. Those of registries have some 10 KB.
const LARGEST: usize = 1 << 20;

/// How long a server is left alone that asked for it without saying how long, in ms.
const HELD_MS: u64 = 3_600_000;

/// How a registry's answer is asked for.
const ACCEPT: &str = "application/rdap+json";

/// All registries that answer by RDAP.
pub struct Registries {
    prober: Prober,
    clock: Arc<dyn Clock>,
    shelf: Shelf,
    /// Until when each server is left alone, because it asked for that.
    held: HashMap<String, Timestamp>,
}

impl Registries {
    /// Those that the list at `list` names: IANA's has the address `https://data.iana.org/rdap/dns.json`. It is kept in `store`
    /// for a day, and for longer where nobody gives a new one.
    pub fn new(prober: Prober, clock: Arc<dyn Clock>, store: Arc<dyn Store>, list: String) -> Self {
        Self { prober, shelf: Shelf::new(list, store), clock, held: HashMap::new() }
    }

    /// Asks the registry of `name`, the domain as it was registered, once.
    pub async fn ask(&mut self, name: &str) -> Asked {
        let now = self.clock.wall();
        let book = match self.shelf.book(&self.prober, now).await {
            Ok(book) => book,
            Err(why) => return Asked::Silent(why),
        };
        let Some(base) = book.base(name) else {
            let ending = name.rsplit('.').next().unwrap_or(name);
            return Asked::Unserved(ending.to_owned());
        };
        let base = base.to_owned();
        if let Some(until) = self.held.get(&base).filter(|until| **until > now) {
            return Asked::Later(Some(until.0 - now.0));
        }
        let url = format!("{}/domain/{name}", base.trim_end_matches('/'));
        let answer = match fetch(&self.prober, &url, ACCEPT, LARGEST).await {
            Ok(answer) => answer,
            Err(why) => return Asked::Silent(format!("its registry cannot be asked: {why}")),
        };
        let asked = read(&answer, name, now);
        if let Asked::Later(wait) = asked {
            let until = Timestamp(now.0.saturating_add(wait.unwrap_or(HELD_MS)));
            self.held.insert(base, until);
        }
        asked
    }
}

/// What `answer` says of `name`.
fn read(answer: &Answer, name: &str, now: Timestamp) -> Asked {
    let wait = retry_after(&answer.headers, now);
    match answer.status {
        200 => match answer::parse(&answer.body, name) {
            Ok(registration) => Asked::Registered(registration),
            Err(why) => Asked::Silent(format!("its registry cannot be understood: {why}")),
        },
        404 => Asked::Nobody,
        429 => Asked::Later(wait),
        503 if wait.is_some() => Asked::Later(wait),
        status => Asked::Silent(format!("its registry answered {status}")),
    }
}

/// What `url` answers, whatever that is.
async fn fetch(
    prober: &Prober,
    url: &str,
    accept: &'static str,
    largest: usize,
) -> Result<Answer, String> {
    let uri = url.parse().map_err(|_| format!("`{url}` is no web address"))?;
    let mut target = HttpTarget::get(uri);
    (target.accept, target.body_cap) = (accept, largest);
    // What dials is large, and whoever asks lives long.
    Box::pin(prober.fetch(&target, LIMIT)).await
}

/// How long is to be waited, in ms: `Retry-After` has seconds or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(u64::try_from(at).unwrap_or(0).saturating_sub(now.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_us_to_wait_says_seconds_or_a_date() {
        let now = Timestamp(1_798_070_400_000);
        let rows = [
            (Some("120"), Some(120_000)),
            (Some("Thu, 24 Dec 2026 00:01:00 GMT"), Some(60_000)),
            (Some("Wed, 23 Dec 2026 00:00:00 GMT"), Some(0)),
            (Some("soon"), None),
            (None, None),
        ];
        for (said, expected) in rows {
            let said = said.map(|said| (RETRY_AFTER, said.parse().unwrap()));
            assert_eq!(retry_after(&HeaderMap::from_iter(said.clone()), now), expected, "{said:?}");
        }
    }
}
