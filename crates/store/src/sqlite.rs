//! The store in one `SQLite` file that several processes may share.
//!
//! Write-ahead log with `synchronous=FULL`: an acknowledged write survives a power cut, at the price of one `fsync` per
//! transaction. One thread writes; commands that wait together share a transaction. Readers do not wait for it.

mod fault;
mod open;
mod readers;
mod readings;
mod statements;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use linkflow_model::{Event, Timestamp};
use rusqlite::Connection;
use serde_json::Value;

use crate::codec::{check_body, check_sample, check_step};
use crate::{Bucket, Document, Fence, Job, Lease, Reading, Rollup, Step, Store, StoreError};

use readers::Readers;
use writer::Writer;

/// A store in an `SQLite` file.
///
/// Its calls must be awaited on a tokio runtime. Dropping it waits for the writes that were sent.
pub struct Sqlite {
    writer: Writer,
    readers: Readers,
}

/// Why a statement did not do.
enum Trouble {
    /// The contract says no.
    Refused(StoreError),
    /// `SQLite` says no.
    Broke(rusqlite::Error),
}

impl Trouble {
    fn said(self, path: &Path) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Broke(error) => fault::said(&error, path),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broke(error)
    }
}

impl Sqlite {
    /// Opens the store at `path`, made with its folder when there is none, and brings it up to this version.
    ///
    /// # Errors
    /// A file that is damaged, that is another program's, that a newer LinkFlow wrote, or that cannot be written; each
    /// named in the message. Blocks while another process migrates.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::over(open::writing(path.as_ref())?, path.as_ref())
    }

    fn over(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let writer = Writer::start(connection, path.to_owned())?;
        Ok(Self { writer, readers: Readers::new(path.to_owned()) })
    }
}

fn text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string()))
}

#[async_trait]
impl Store for Sqlite {
    async fn append(&self, event: &Event) -> Result<u64, StoreError> {
        let (at, body) = (event.at, text(event)?);
        self.writer.change(move |c| statements::append(c, at, &body)).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.readers.ask(move |c| statements::events(c, after, limit)).await
    }

    async fn newest_event(&self) -> Result<u64, StoreError> {
        self.readers.ask(statements::newest_event).await
    }

    async fn read(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let key = key.to_owned();
        self.readers.ask(move |c| statements::read(c, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Document>, StoreError> {
        let prefix = prefix.to_owned();
        self.readers.ask(move |c| statements::list(c, &prefix)).await
    }

    async fn last(&self, prefix: &str) -> Result<Option<Document>, StoreError> {
        let prefix = prefix.to_owned();
        self.readers.ask(move |c| statements::last(c, &prefix)).await
    }

    async fn changed(
        &self,
        prefix: &str,
        after: Option<u64>,
    ) -> Result<(u64, Vec<Document>), StoreError> {
        let prefix = prefix.to_owned();
        self.readers.ask(move |c| statements::changed(c, &prefix, after)).await
    }

    async fn write(
        &self,
        key: &str,
        expected: Option<u64>,
        body: &Value,
        fence: Option<&Fence>,
    ) -> Result<u64, StoreError> {
        check_body(body)?;
        let (key, body, fence) = (key.to_owned(), text(body)?, fence.cloned());
        self.writer
            .change(move |c| statements::write(c, &key, expected, &body, fence.as_ref()))
            .await
    }

    async fn remove(&self, key: &str, expected: u64) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.writer.change(move |c| statements::remove(c, &key, expected)).await
    }

    async fn put_job(
        &self,
        queue: &str,
        id: &str,
        body: &Value,
        due: Timestamp,
    ) -> Result<bool, StoreError> {
        check_body(body)?;
        let (queue, id, body) = (queue.to_owned(), id.to_owned(), text(body)?);
        self.writer.change(move |c| statements::put_job(c, &queue, &id, &body, due)).await
    }

    async fn claim_job(
        &self,
        queue: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let queue = queue.to_owned();
        self.writer.change(move |c| statements::claim_job(c, &queue, now, until)).await
    }

    async fn finish_job(&self, job: &Job) -> Result<(), StoreError> {
        let (queue, id, claim) = (job.queue.clone(), job.id.clone(), job.claim);
        self.writer.change(move |c| statements::finish_job(c, &queue, &id, claim)).await
    }

    async fn return_job(&self, job: &Job, due: Timestamp) -> Result<(), StoreError> {
        let (queue, id, claim) = (job.queue.clone(), job.id.clone(), job.claim);
        self.writer.change(move |c| statements::return_job(c, &queue, &id, claim, due)).await
    }

    async fn open_jobs(&self, queue: &str) -> Result<u64, StoreError> {
        let queue = queue.to_owned();
        self.readers.ask(move |c| statements::open_jobs(c, &queue)).await
    }

    async fn record(&self, name: &str, at: Timestamp, value: f64) -> Result<(), StoreError> {
        check_sample(value)?;
        let name = name.to_owned();
        self.writer.change(move |c| statements::record(c, &name, at, value)).await
    }

    async fn series(
        &self,
        name: &str,
        from: Timestamp,
        to: Timestamp,
        step_ms: u64,
    ) -> Result<Vec<Bucket>, StoreError> {
        check_step(step_ms)?;
        let name = name.to_owned();
        self.readers.ask(move |c| statements::series(c, &name, from, to, step_ms)).await
    }

    async fn forget(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.writer.change(move |c| statements::forget(c, before)).await
    }

    async fn keep_readings(&self, readings: &[Reading]) -> Result<(), StoreError> {
        if readings.is_empty() {
            return Ok(());
        }
        let readings = readings.to_owned();
        self.writer.change(move |c| readings::keep(c, &readings)).await
    }

    async fn readings(
        &self,
        subject: &str,
        from: Timestamp,
        to: Timestamp,
        most: usize,
    ) -> Result<Vec<Reading>, StoreError> {
        let subject = subject.to_owned();
        self.readers.ask(move |c| readings::readings(c, &subject, (from, to), most)).await
    }

    async fn add_up(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer.change(move |c| readings::add_up(c, now)).await
    }

    async fn rollups(
        &self,
        subject: &str,
        step: Step,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Rollup>, StoreError> {
        let subject = subject.to_owned();
        self.readers.ask(move |c| readings::rollups(c, &subject, step, (from, to))).await
    }

    async fn thin_out(&self, now: Timestamp) -> Result<bool, StoreError> {
        self.writer.change(move |c| readings::thin_out(c, now)).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        let name = name.to_owned();
        self.readers.ask(move |c| statements::lease(c, &name)).await
    }

    async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        replacing: Option<(u64, u64)>,
    ) -> Result<Fence, StoreError> {
        let (name, owner) = (name.to_owned(), owner.to_owned());
        self.writer.change(move |c| statements::take_lease(c, &name, &owner, replacing)).await
    }

    async fn beat_lease(&self, fence: &Fence) -> Result<(), StoreError> {
        let fence = fence.clone();
        self.writer.change(move |c| statements::beat_lease(c, &fence)).await
    }

    async fn free_lease(&self, fence: &Fence) -> Result<(), StoreError> {
        let fence = fence.clone();
        self.writer.change(move |c| statements::free_lease(c, &fence)).await
    }
}
