//! What the sample app has done, kept in tables that nobody but a drill counts afterwards.
//!
//! The app writes through [`Books`], to a `SQLite` file that all local processes share or to `PostgreSQL`; the tables are the
//! same. They are deliberately *not* unique where a mistake would be a second row: a write that was sent twice, a task
//! completed twice or a timer that fired twice must be seen, not prevented by the database.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub mod count;
pub mod postgres;
pub mod sqlite;

pub use count::{Ledger, LedgerCount, Span};

/// Why the ledger did not take or give something. Nothing was written, unless the connection broke meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger failed: {0}")]
pub struct LedgerError(pub String);

/// Who wrote a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// The release of the process, `r3`.
    pub release: String,
    /// The provider it runs on.
    pub provider: String,
    /// The process, machine or replica.
    pub instance: String,
}

/// A workflow that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// The caller's idempotency key.
    pub key: String,
    /// What the caller called it.
    pub name: String,
    /// Who appended it.
    #[serde(flatten)]
    pub maker: Maker,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
}

/// A task that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number.
    pub id: i64,
    /// The entry it belongs to.
    pub entry: i64,
}

/// The ledger as the app writes it. Every moment is in milliseconds since the Unix epoch.
#[async_trait]
pub trait Books: Send + Sync {
    /// Records that a POST with `key` reached an instance of `service`.
    async fn arrive(
        &self,
        key: &str,
        service: &str,
        maker: &Maker,
        at: i64,
    ) -> Result<(), LedgerError>;

    /// Appends an entry, unless one with `key` is there: looked up and written in one transaction. Gives the entry and
    /// whether it is new.
    async fn append(
        &self,
        key: &str,
        name: &str,
        maker: &Maker,
        at: i64,
    ) -> Result<(Entry, bool), LedgerError>;

    /// The entry `id`.
    async fn entry(&self, id: i64) -> Result<Option<Entry>, LedgerError>;

    /// The newest `limit` entries, newest first.
    async fn entries(&self, limit: i64) -> Result<Vec<Entry>, LedgerError>;

    /// Entries from before `before` that have no task, oldest first, up to 100.
    async fn without_task(&self, before: i64) -> Result<Vec<i64>, LedgerError>;

    /// Queues the task of `entry`. Says whether it is new.
    async fn enqueue(&self, entry: i64) -> Result<bool, LedgerError>;

    /// Claims up to `limit` tasks for `by` until `until`: queued ones, and ones whose claim ran out before `now`.
    async fn claim(
        &self,
        by: &str,
        now: i64,
        until: i64,
        limit: i64,
    ) -> Result<Vec<Task>, LedgerError>;

    /// Records that `instance` completed `task`, unless it is completed. Says whether this was the first time.
    async fn complete(&self, task: i64, instance: &str, at: i64) -> Result<bool, LedgerError>;

    /// Records that the timer fired for `period`. Inserts, whatever is there.
    async fn fire(&self, period: i64, maker: &Maker, at: i64) -> Result<(), LedgerError>;

    /// Records that a migration ran, with this command. Inserts, whatever is there.
    async fn migrate(&self, maker: &Maker, command: &str, at: i64) -> Result<(), LedgerError>;

    /// Queues a notification about `entry`. Says whether it is new.
    async fn notify(&self, entry: i64, message: &str, at: i64) -> Result<bool, LedgerError>;

    /// Takes up to `limit` queued notifications for `instance`: the entries they are about.
    async fn take_notifications(
        &self,
        instance: &str,
        at: i64,
        limit: i64,
    ) -> Result<Vec<i64>, LedgerError>;
}

/// Opens the books that `database_url` names, or else those in `file`. Connects when first used, and again whenever
/// the connection is lost.
///
/// # Errors
/// What is missing or cannot be read in the two texts.
pub fn open_books(
    database_url: Option<&str>,
    file: Option<&str>,
) -> Result<Arc<dyn Books>, String> {
    match (database_url, file) {
        (Some(url), _) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Ok(Arc::new(postgres::Postgres::new(url)?))
        }
        (_, Some(file)) => Ok(Arc::new(sqlite::Sqlite::start(file.into())?)),
        (_, None) => {
            Err("neither DATABASE_URL (postgres://…) nor LINKFLOW_LEDGER is set".to_owned())
        }
    }
}
