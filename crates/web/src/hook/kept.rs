//! What is kept of webhooks before they are answered: when one came of each provider, and what signed ones tell of until that was
//! followed. A vendor that was answered sends nothing again.

use axum::http::StatusCode;
use linkflow_model::{Level, Timestamp};
use linkflow_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Report;

/// How many signed hooks of one provider wait at most. More are refused.
const WAITING: usize = 256;

/// When a provider's last hook came. A document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    /// When.
    pub at: Timestamp,
}

impl Came {
    /// The key of the document of `provider`.
    pub fn key(provider: &str) -> String {
        format!("hook/came/{provider}")
    }

    /// When the last hook of `provider` came; `None` when none ever did.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read(store: &dyn Store, provider: &str) -> Result<Option<Timestamp>, StoreError> {
        let document = store.read(&Self::key(provider)).await?;
        let came = document.and_then(|held| serde_json::from_value::<Self>(held.body).ok());
        Ok(came.map(|came| came.at))
    }

    /// Notes that one came of `provider` at `now`.
    pub(super) async fn note(
        store: &dyn Store,
        provider: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Self::key(provider);
        let version = store.read(&key).await?.map(|held| held.version);
        match store.write(&key, version, &json!(Self { at: now }), None).await {
            // Another one that came in the same moment was noted.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a signed hook tells of, until that was told or turned out to be nothing. A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// What it tells of.
    pub report: Report,
    /// When it came; of several that tell the same, the last one.
    pub at: Timestamp,
    /// How often the provider was asked for it and did not answer.
    #[serde(default)]
    pub tries: u32,
    /// When it is looked at again.
    pub next: Timestamp,
    /// What is told of it. It may have been told already: that is in the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saying: Option<Saying>,
}

/// What is told, written down before it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saying {
    /// The newest event before it.
    pub after: u64,
    /// How much it matters.
    pub level: Level,
    /// The whole message.
    pub message: String,
    /// What an incident says of it: the issue in a few words, while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
}

impl Due {
    /// Before the keys of what `provider` told of.
    pub fn prefix(provider: &str) -> String {
        format!("hook/due/{provider}/")
    }

    /// The key of its document.
    pub fn key(&self, provider: &str) -> String {
        format!("{}{}", Self::prefix(provider), self.report.id())
    }

    /// Whether its provider has to be asked before anything is told.
    fn is_asked_for(&self) -> bool {
        self.saying.is_none() && !matches!(self.report, Report::Metric { .. })
    }

    /// All of `provider` with their versions: what nobody is asked for first, then what is due first. What cannot be read is left
    /// out.
    ///
    /// # Errors
    /// What the store says.
    pub async fn all(store: &dyn Store, provider: &str) -> Result<Vec<(u64, Self)>, StoreError> {
        let documents = store.list(&Self::prefix(provider)).await?.into_iter();
        let read = documents.filter_map(|held| {
            let due = serde_json::from_value::<Self>(held.body).ok()?;
            Some((held.version, due))
        });
        let mut all: Vec<(u64, Self)> = read.collect();
        all.sort_by_key(|(_, due)| (due.is_asked_for(), due.next, due.at));
        Ok(all)
    }
}

/// Keeps what a hook of `provider` tells of. Gives how it is answered.
pub(super) async fn keep(
    store: &dyn Store,
    provider: &str,
    report: Report,
    now: Timestamp,
) -> Result<(StatusCode, &'static str), StoreError> {
    let fresh = Due { report, at: now, tries: 0, next: now, saying: None };
    let key = fresh.key(provider);
    let held = store.read(&key).await?;
    let (version, due) = match &held {
        // Written anew, so that whoever looks at it in this moment looks once more.
        Some(held) => match serde_json::from_value::<Due>(held.body.clone()) {
            Ok(before) => (Some(held.version), Due { at: now, ..before }),
            Err(_) => (Some(held.version), fresh),
        },
        None if store.list(&Due::prefix(provider)).await?.len() >= WAITING => {
            return Ok((StatusCode::SERVICE_UNAVAILABLE, "too many wait already\n"));
        }
        None => (None, fresh),
    };
    match store.write(&key, version, &json!(due), None).await {
        Ok(_) => Ok((StatusCode::OK, "OK\n")),
        // It was told or taken in this very moment: the sender comes again.
        Err(StoreError::Conflict { .. }) => {
            Ok((StatusCode::SERVICE_UNAVAILABLE, "it is being looked at\n"))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use linkflow_store::Memory;

    use super::*;

    fn issue(id: usize) -> Report {
        Report::Issue { id: id.to_string() }
    }

    async fn kept(store: &Memory, report: Report, now: u64) -> u16 {
        keep(store, "sentry", report, Timestamp(now)).await.unwrap().0.as_u16()
    }

    #[tokio::test]
    async fn what_tells_the_same_is_kept_once_and_stays_where_it_was() {
        let store = Memory::default();
        assert_eq!(kept(&store, issue(7), 5).await, 200);
        let (version, due) = Due::all(&store, "sentry").await.unwrap().remove(0);
        let tried = Due { tries: 3, next: Timestamp(90), ..due };
        store.write(&tried.key("sentry"), Some(version), &json!(tried), None).await.unwrap();
        assert_eq!(kept(&store, issue(7), 9).await, 200);
        assert_eq!(kept(&store, Report::Over { id: "7".to_owned() }, 9).await, 200);
        let all = Due::all(&store, "sentry").await.unwrap();
        let rows: Vec<_> =
            all.iter().map(|(v, due)| (*v, due.at.0, due.tries, due.next.0)).collect();
        assert_eq!(rows, [(1, 9, 0, 9), (3, 9, 3, 90)]);
        assert_eq!(Due::all(&store, "sentry-eu").await.unwrap(), []);
    }

    #[tokio::test]
    async fn more_than_can_wait_is_refused_and_what_waits_already_is_not() {
        let store = Memory::default();
        for id in 0..WAITING {
            assert_eq!(kept(&store, issue(id), 1).await, 200);
        }
        assert_eq!(kept(&store, issue(WAITING), 1).await, 503);
        assert_eq!(kept(&store, issue(0), 2).await, 200);
    }
}
