//! What a registry says of a domain, and what is known of it by that.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What the registry of a domain says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// When it ends. `None` where the registry does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// Its status words, as RFC 8056 has them, in lower case: `client hold`, `redemption period`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// Where it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrar: Option<String>,
}

/// The last word of a registry on a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum DomainWord {
    /// It is registered.
    Registered(Registration),
    /// There is no such domain, said so many times in a row.
    Nobody {
        /// How many times.
        times: u32,
    },
    /// No registry of its ending answers by RDAP.
    Unserved {
        /// The ending: `io`.
        ending: String,
    },
}

/// What is known of a domain; a document of the store, under [`DomainState::key`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainState {
    /// The last word on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<DomainWord>,
    /// When that was given.
    #[serde(default)]
    pub said: Timestamp,
    /// When it is asked again. A process that begins does not ask sooner.
    #[serde(default)]
    pub next: Timestamp,
    /// How often in a row nothing was said.
    #[serde(default)]
    pub failures: u32,
    /// Why nothing was said when it was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// At how many days before the end people were told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_days: Option<i64>,
}

impl DomainState {
    /// The key of the document for `name`.
    pub fn key(name: &str) -> String {
        format!("domain/{name}")
    }

    /// What the registry says of it, where it is registered.
    pub fn registration(&self) -> Option<&Registration> {
        match &self.word {
            Some(DomainWord::Registered(registration)) => Some(registration),
            Some(DomainWord::Nobody { .. } | DomainWord::Unserved { .. }) | None => None,
        }
    }
}

/// The day of `at` in UTC: `2026-12-24`.
pub fn day_text(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).ok();
    let at = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.strftime("%F").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_that_of_utc() {
        let rows = [
            (0, "1970-01-01"),
            (1_798_070_399_000, "2026-12-23"),
            (1_798_070_400_000, "2026-12-24"),
        ];
        for (ms, expected) in rows {
            assert_eq!(day_text(Timestamp(ms)), expected, "{ms}");
        }
    }
}
