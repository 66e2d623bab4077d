//! Remembers: events, documents with compare-and-set, jobs, series, readings and leases.
//!
//! One contract ([`Store`]), kept by every backend and held by one suite ([`contract`]). Nothing above this crate
//! writes SQL for bookkeeping. [`Sqlite`] keeps it in a file that several processes share, [`Memory`] for tests and
//! simulations.

mod codec;
pub mod contract;
mod counting;
mod memory;
mod methods;
mod minutes;
mod reading;
mod sqlite;

pub use counting::Counting;
pub use memory::Memory;
pub use reading::{Histogram, Reading, Rollup, Step};
pub use sqlite::Sqlite;

use async_trait::async_trait;
use linkflow_model::{Event, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long single readings are kept: two days.
pub const KEEP_READINGS_MS: u64 = 2 * 86_400_000;

/// How long sums of readings are kept, by minute, by hour and by day: 13 months.
pub const KEEP_ROLLUPS_MS: u64 = 396 * 86_400_000;

/// Why the store could not.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// A document was not at the expected version.
    #[error("`{key}` is at version {found:?}, not {expected:?}: somebody else wrote it")]
    Conflict {
        /// The document.
        key: String,
        /// What the caller expected; `None`: no document.
        expected: Option<u64>,
        /// What is there; `None`: no document.
        found: Option<u64>,
    },
    /// The lease is held by another.
    #[error("held by {}", .0.owner)]
    Held(Box<Lease>),
    /// The caller's lease was taken over: it must stop.
    #[error("the lease `{0}` was taken over")]
    Fenced(String),
    /// The disk is full. Nothing was written.
    #[error("the disk of the store is full")]
    Full,
    /// Anything else the backend says.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// A document: a JSON value under a key, with a version that grows by one with each write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its key, `release/r12`.
    pub key: String,
    /// 1 for the first write.
    pub version: u64,
    /// The value.
    pub body: Value,
}

/// Proof of holding a lease, checked in the same transaction as the write it guards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The lease.
    pub lease: String,
    /// The token it was taken with.
    pub token: u64,
}

/// A lease as it stands. It has no time in it: whoever waits watches `beat` on its own clock, so a jumping wall clock
/// neither frees nor keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Who holds it, in JSON or words, for people and for telling whether the holder lives; empty when free.
    pub owner: String,
    /// Grows by one each time the lease is taken: the fencing token.
    pub token: u64,
    /// Grows by one with each sign of life.
    pub beat: u64,
    /// Whether it is held.
    pub held: bool,
}

/// A job that was claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its queue.
    pub queue: String,
    /// Its id within the queue.
    pub id: String,
    /// What to do.
    pub body: Value,
    /// How often it has been claimed, this time included.
    pub tries: u32,
    /// Proof of the claim.
    pub claim: u64,
}

/// Samples of one span of time, added up.
///
/// Spans of `step_ms` count from the `from` of the question; a bucket's `at` is `from` plus whole steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The start of the span.
    pub at: Timestamp,
    /// How many samples.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// Remembers.
///
/// What a call that returns `Ok` has written is on disk and survives kill -9 and a power cut. A call that returns an
/// error has written nothing. Any number of processes may share one store.
///
/// A future that is dropped before it ends leaves open whether its write was made, as a lost answer does.
#[async_trait]
pub trait Store: Send + Sync {
    /// Appends an event; gives its sequence number, which grows from 1 without gaps.
    async fn append(&self, event: &Event) -> Result<u64, StoreError>;

    /// Up to `limit` events after sequence number `after`, oldest first.
    ///
    /// Fewer than `limit` come only at the end. An event that this version cannot read (a newer one wrote it) comes as
    /// [`EventKind::Unknown`](linkflow_model::EventKind::Unknown), so that nobody stops at it.
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError>;

    /// The sequence number of the newest event ever appended, forgotten or not; 0 when there never was one.
    async fn newest_event(&self) -> Result<u64, StoreError>;

    /// The document under `key`.
    async fn read(&self, key: &str) -> Result<Option<Document>, StoreError>;

    /// Every document whose key starts with `prefix`, in the order of their keys' bytes. No character of `prefix` is
    /// special.
    async fn list(&self, prefix: &str) -> Result<Vec<Document>, StoreError>;

    /// The last of [`list`](Self::list), at the price of one document however many there are.
    async fn last(&self, prefix: &str) -> Result<Option<Document>, StoreError>;

    /// The documents of [`list`](Self::list) that were written since `after`, as they are now, and the number to ask with
    /// next; with `None` all of them. Costs what was written since, not what there is.
    ///
    /// A document may come once more without having been written; none that was written is left out. One that was removed
    /// does not come.
    async fn changed(
        &self,
        prefix: &str,
        after: Option<u64>,
    ) -> Result<(u64, Vec<Document>), StoreError>;

    /// Writes `body` under `key` if it is at version `expected` (`None`: if there is none), and, with a `fence`, if
    /// that lease is still held with that token. Gives the new version.
    ///
    /// [`StoreError::Fenced`] comes before [`StoreError::Conflict`]: who lost the lease has no say on versions. A
    /// document that was removed begins at version 1 again.
    async fn write(
        &self,
        key: &str,
        expected: Option<u64>,
        body: &Value,
        fence: Option<&Fence>,
    ) -> Result<u64, StoreError>;

    /// Removes `key` if it is at version `expected`.
    async fn remove(&self, key: &str, expected: u64) -> Result<(), StoreError>;

    /// Puts a job into `queue`, to be claimed from `due` on. A job with the same id that was ever put there is left as
    /// it is; says whether this one is new.
    async fn put_job(
        &self,
        queue: &str,
        id: &str,
        body: &Value,
        due: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Claims the job of `queue` that has been due longest, until `until`; a job whose claim ran out is due again.
    async fn claim_job(
        &self,
        queue: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Job>, StoreError>;

    /// Ends a claimed job. [`StoreError::Fenced`] when it was given back, or when the claim ran out and another has it;
    /// a claim that ran out and that nobody took since is still good. Doing it twice is fine.
    async fn finish_job(&self, job: &Job) -> Result<(), StoreError>;

    /// Gives a claimed job back, to be due again at `due`. [`StoreError::Fenced`] as above.
    async fn return_job(&self, job: &Job, due: Timestamp) -> Result<(), StoreError>;

    /// How many jobs of `queue` are not finished.
    async fn open_jobs(&self, queue: &str) -> Result<u64, StoreError>;

    /// Adds a sample to the series `name`. Refused when `value` is not a finite number.
    async fn record(&self, name: &str, at: Timestamp, value: f64) -> Result<(), StoreError>;

    /// The samples of `name` from `from` (included) to `to` (excluded) in spans of `step_ms`; empty spans are left out.
    async fn series(
        &self,
        name: &str,
        from: Timestamp,
        to: Timestamp,
        step_ms: u64,
    ) -> Result<Vec<Bucket>, StoreError>;

    /// Drops the samples of all series before `before` and the events that happened before it; gives how many rows went
    /// (samples of one series in the same millisecond are one). Sequence numbers are never given again.
    async fn forget(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Keeps `readings`, all or none of them.
    async fn keep_readings(&self, readings: &[Reading]) -> Result<(), StoreError>;

    /// The readings of `subject` from `from` (included) to `to` (excluded), oldest first; the newest `most` of them.
    async fn readings(
        &self,
        subject: &str,
        from: Timestamp,
        to: Timestamp,
        most: usize,
    ) -> Result<Vec<Reading>, StoreError>;

    /// Adds up the readings of every minute that is over at `now`. A reading that comes later still is added to the sums
    /// when it is kept. Each is counted once, however often this is called, and by however many processes.
    async fn add_up(&self, now: Timestamp) -> Result<(), StoreError>;

    /// The sums of `subject`'s readings in the spans that begin from `from` (included) to `to` (excluded), oldest first.
    async fn rollups(
        &self,
        subject: &str,
        step: Step,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Rollup>, StoreError>;

    /// Drops readings older than [`KEEP_READINGS_MS`] and sums older than [`KEEP_ROLLUPS_MS`]. Minutes of days that were over
    /// [`KEEP_READINGS_MS`] ago keep their counts; their times become the fastest, the middle, the 95th percentile and the
    /// slowest, right to an eighth.
    ///
    /// Does so much at once that nobody waits long for it; says whether there is more to do.
    async fn thin_out(&self, now: Timestamp) -> Result<bool, StoreError>;

    /// The lease `name` as it stands; `None` when it was never taken.
    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError>;

    /// Takes the lease `name` when it is free, or when it still stands exactly at `replacing` (token, beat), which the
    /// caller has watched for long enough. [`StoreError::Held`] otherwise.
    async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        replacing: Option<(u64, u64)>,
    ) -> Result<Fence, StoreError>;

    /// A sign of life. [`StoreError::Fenced`] when the lease was taken over.
    async fn beat_lease(&self, fence: &Fence) -> Result<(), StoreError>;

    /// Gives the lease back. Doing so without holding it any more is fine.
    async fn free_lease(&self, fence: &Fence) -> Result<(), StoreError>;
}
