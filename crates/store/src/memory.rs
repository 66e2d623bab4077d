//! The store in memory, without threads, clocks or waiting: for tests and simulations.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use linkflow_model::{Event, Timestamp};
use serde_json::Value;

use crate::codec::{check_body, check_sample, check_step};
use crate::{
    Bucket, Document, Fence, Job, KEEP_READINGS_MS, KEEP_ROLLUPS_MS, Lease, Reading, Rollup, Step,
    Store, StoreError,
};

/// A store that keeps the contract and forgets all when dropped.
#[derive(Debug, Default)]
pub struct Memory {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    events: BTreeMap<u64, Event>,
    newest: u64,
    documents: BTreeMap<String, Document>,
    /// How many writes of documents there were, and which was the last of each key.
    changes: u64,
    change_of: BTreeMap<String, u64>,
    queues: BTreeMap<String, Queue>,
    series: BTreeMap<String, BTreeMap<Timestamp, Bucket>>,
    readings: Vec<Reading>,
    /// Until when readings are added up.
    added_up: Timestamp,
    rollups: BTreeMap<(String, Step, Timestamp), Rollup>,
    leases: BTreeMap<String, Lease>,
}

/// The jobs of one queue: all by id, and the open ones in the order they are due.
#[derive(Debug, Default)]
struct Queue {
    all: BTreeMap<String, Kept>,
    open: BTreeSet<(Timestamp, usize, String)>,
}

#[derive(Debug)]
struct Kept {
    number: usize,
    due: Timestamp,
    /// `None` once finished: the id must never be taken again.
    body: Option<Value>,
    tries: u32,
    claim: u64,
}

impl Memory {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn holds(&self, fence: &Fence) -> Result<(), StoreError> {
        let lease = self.leases.get(&fence.lease);
        if lease.is_some_and(|lease| lease.held && lease.token == fence.token) {
            Ok(())
        } else {
            Err(StoreError::Fenced(fence.lease.clone()))
        }
    }

    fn expect_version(&self, key: &str, expected: Option<u64>) -> Result<(), StoreError> {
        let found = self.documents.get(key).map(|document| document.version);
        if found == expected {
            Ok(())
        } else {
            Err(StoreError::Conflict { key: key.to_owned(), expected, found })
        }
    }

    fn add_up(&mut self, reading: &Reading) {
        for step in Step::ALL {
            let at = step.of(reading.at);
            let sum = self.rollups.entry((reading.subject.clone(), step, at));
            sum.or_insert_with(|| Rollup::at(at)).add(reading);
        }
    }

    fn queue(&mut self, job: &Job) -> Result<&mut Queue, StoreError> {
        self.queues.get_mut(&job.queue).ok_or_else(|| fenced(job))
    }
}

fn fenced(job: &Job) -> StoreError {
    StoreError::Fenced(format!("job {}/{}", job.queue, job.id))
}

impl Queue {
    fn put(&mut self, id: &str, body: &Value, due: Timestamp) -> bool {
        let number = self.all.len();
        match self.all.entry(id.to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Kept { number, due, body: Some(body.clone()), tries: 0, claim: 0 });
                self.open.insert((due, number, id.to_owned()))
            }
        }
    }

    fn claim(&mut self, queue: &str, now: Timestamp, until: Timestamp) -> Option<Job> {
        let (_, number, id) = self.open.first().filter(|(due, ..)| *due <= now)?.clone();
        let kept = self.all.get_mut(&id)?;
        let body = kept.body.clone()?;
        // While claimed, a job is due when its claim runs out.
        self.open.pop_first();
        self.open.insert((until, number, id.clone()));
        kept.due = until;
        kept.tries += 1;
        kept.claim += 1;
        Some(Job { queue: queue.to_owned(), id, body, tries: kept.tries, claim: kept.claim })
    }

    fn finish(&mut self, job: &Job) -> Result<(), StoreError> {
        let kept = self.all.get_mut(&job.id).filter(|kept| kept.claim == job.claim);
        let kept = kept.ok_or_else(|| fenced(job))?;
        kept.body = None;
        self.open.remove(&(kept.due, kept.number, job.id.clone()));
        Ok(())
    }

    fn give_back(&mut self, job: &Job, due: Timestamp) -> Result<(), StoreError> {
        let kept = self.all.get_mut(&job.id);
        let kept = kept.filter(|kept| kept.claim == job.claim && kept.body.is_some());
        let kept = kept.ok_or_else(|| fenced(job))?;
        self.open.remove(&(kept.due, kept.number, job.id.clone()));
        self.open.insert((due, kept.number, job.id.clone()));
        kept.due = due;
        kept.claim += 1;
        Ok(())
    }
}

impl Bucket {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Adds `sample` to the bucket at `at`, made when there is none.
fn pour(buckets: &mut BTreeMap<Timestamp, Bucket>, at: Timestamp, sample: &Bucket) {
    match buckets.entry(at) {
        Entry::Occupied(mut bucket) => bucket.get_mut().add(sample),
        Entry::Vacant(free) => {
            free.insert(Bucket { at, ..sample.clone() });
        }
    }
}

#[async_trait]
impl Store for Memory {
    async fn append(&self, event: &Event) -> Result<u64, StoreError> {
        let mut held = self.held();
        held.newest += 1;
        let seq = held.newest;
        held.events.insert(seq, event.clone());
        Ok(seq)
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        let held = self.held();
        let later = held.events.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(later.take(limit).map(|(seq, event)| (*seq, event.clone())).collect())
    }

    async fn newest_event(&self) -> Result<u64, StoreError> {
        Ok(self.held().newest)
    }

    async fn read(&self, key: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.held().documents.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Document>, StoreError> {
        let held = self.held();
        let from = held.documents.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let found = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(_, document)| document.clone()).collect())
    }

    async fn last(&self, prefix: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.list(prefix).await?.pop())
    }

    async fn changed(
        &self,
        prefix: &str,
        after: Option<u64>,
    ) -> Result<(u64, Vec<Document>), StoreError> {
        let Some(after) = after else {
            let all = self.list(prefix).await?;
            return Ok((self.held().changes, all));
        };
        let held = self.held();
        let written = held.change_of.range(prefix.to_owned()..);
        let written = written.take_while(|(key, _)| key.starts_with(prefix));
        let new = written.filter(|(_, change)| **change > after);
        let found = new.filter_map(|(key, _)| held.documents.get(key).cloned());
        Ok((held.changes, found.collect()))
    }

    async fn write(
        &self,
        key: &str,
        expected: Option<u64>,
        body: &Value,
        fence: Option<&Fence>,
    ) -> Result<u64, StoreError> {
        check_body(body)?;
        let mut held = self.held();
        fence.map_or(Ok(()), |fence| held.holds(fence))?;
        held.expect_version(key, expected)?;
        let version = expected.unwrap_or(0) + 1;
        let document = Document { key: key.to_owned(), version, body: body.clone() };
        held.documents.insert(key.to_owned(), document);
        held.changes += 1;
        let change = held.changes;
        held.change_of.insert(key.to_owned(), change);
        Ok(version)
    }

    async fn remove(&self, key: &str, expected: u64) -> Result<(), StoreError> {
        let mut held = self.held();
        held.expect_version(key, Some(expected))?;
        held.documents.remove(key);
        held.change_of.remove(key);
        Ok(())
    }

    async fn put_job(
        &self,
        queue: &str,
        id: &str,
        body: &Value,
        due: Timestamp,
    ) -> Result<bool, StoreError> {
        check_body(body)?;
        Ok(self.held().queues.entry(queue.to_owned()).or_default().put(id, body, due))
    }

    async fn claim_job(
        &self,
        queue: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let mut held = self.held();
        Ok(held.queues.get_mut(queue).and_then(|jobs| jobs.claim(queue, now, until)))
    }

    async fn finish_job(&self, job: &Job) -> Result<(), StoreError> {
        self.held().queue(job)?.finish(job)
    }

    async fn return_job(&self, job: &Job, due: Timestamp) -> Result<(), StoreError> {
        self.held().queue(job)?.give_back(job, due)
    }

    async fn open_jobs(&self, queue: &str) -> Result<u64, StoreError> {
        let open = self.held().queues.get(queue).map_or(0, |jobs| jobs.open.len());
        Ok(u64::try_from(open).unwrap_or(u64::MAX))
    }

    async fn record(&self, name: &str, at: Timestamp, value: f64) -> Result<(), StoreError> {
        check_sample(value)?;
        let sample = Bucket { at, count: 1, sum: value, min: value, max: value };
        pour(self.held().series.entry(name.to_owned()).or_default(), at, &sample);
        Ok(())
    }

    async fn series(
        &self,
        name: &str,
        from: Timestamp,
        to: Timestamp,
        step_ms: u64,
    ) -> Result<Vec<Bucket>, StoreError> {
        check_step(step_ms)?;
        let held = self.held();
        let mut buckets = BTreeMap::new();
        let samples = held.series.get(name).filter(|_| from < to);
        for (at, sample) in samples.into_iter().flat_map(|samples| samples.range(from..to)) {
            let start = Timestamp(at.0 - (at.0 - from.0) % step_ms);
            pour(&mut buckets, start, sample);
        }
        Ok(buckets.into_values().collect())
    }

    async fn forget(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut held = self.held();
        let mut gone = held.events.extract_if(.., |_, event| event.at < before).count();
        for samples in held.series.values_mut() {
            gone += samples.extract_if(..before, |_, _| true).count();
        }
        Ok(u64::try_from(gone).unwrap_or(u64::MAX))
    }

    async fn keep_readings(&self, readings: &[Reading]) -> Result<(), StoreError> {
        let mut held = self.held();
        for reading in readings {
            if reading.at < held.added_up {
                held.add_up(reading);
            }
        }
        held.readings.extend_from_slice(readings);
        held.readings.sort_by_key(|reading| reading.at);
        Ok(())
    }

    async fn readings(
        &self,
        subject: &str,
        from: Timestamp,
        to: Timestamp,
        most: usize,
    ) -> Result<Vec<Reading>, StoreError> {
        let held = self.held();
        let of = held.readings.iter().filter(|reading| reading.subject == subject);
        let mut found: Vec<Reading> =
            of.filter(|reading| reading.at >= from && reading.at < to).cloned().collect();
        found.drain(..found.len().saturating_sub(most));
        Ok(found)
    }

    async fn add_up(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut held = self.held();
        let (from, until) = (held.added_up, Step::Minute.of(now));
        let due = held.readings.iter().filter(|reading| reading.at >= from && reading.at < until);
        for reading in due.cloned().collect::<Vec<_>>() {
            held.add_up(&reading);
        }
        held.added_up = from.max(until);
        Ok(())
    }

    async fn rollups(
        &self,
        subject: &str,
        step: Step,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Rollup>, StoreError> {
        let held = self.held();
        let all = held
            .rollups
            .iter()
            .filter(|((of, by, at), _)| of == subject && *by == step && *at >= from && *at < to);
        Ok(all.map(|(_, sum)| sum.clone()).collect())
    }

    async fn thin_out(&self, now: Timestamp) -> Result<bool, StoreError> {
        let mut held = self.held();
        held.readings.retain(|reading| reading.at.0 + KEEP_READINGS_MS >= now.0);
        held.rollups.retain(|(_, _, at), _| at.0 + KEEP_ROLLUPS_MS >= now.0);
        let fine = Step::Day.of(Timestamp(now.0.saturating_sub(KEEP_READINGS_MS)));
        for ((_, step, at), sum) in &mut held.rollups {
            if *step == Step::Minute && *at < fine {
                *sum = sum.coarse();
            }
        }
        Ok(false)
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        Ok(self.held().leases.get(name).cloned())
    }

    async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        replacing: Option<(u64, u64)>,
    ) -> Result<Fence, StoreError> {
        let mut held = self.held();
        let found = held.leases.get(name);
        let token = found.map_or(0, |lease| lease.token) + 1;
        if let Some(lease) = found
            && lease.held
            && replacing != Some((lease.token, lease.beat))
        {
            return Err(StoreError::Held(Box::new(lease.clone())));
        }
        let (name, owner) = (name.to_owned(), owner.to_owned());
        let lease = Lease { name: name.clone(), owner, token, beat: 0, held: true };
        held.leases.insert(name.clone(), lease);
        Ok(Fence { lease: name, token })
    }

    async fn beat_lease(&self, fence: &Fence) -> Result<(), StoreError> {
        let mut held = self.held();
        held.holds(fence)?;
        if let Some(lease) = held.leases.get_mut(&fence.lease) {
            lease.beat += 1;
        }
        Ok(())
    }

    async fn free_lease(&self, fence: &Fence) -> Result<(), StoreError> {
        let mut held = self.held();
        if held.holds(fence).is_ok()
            && let Some(lease) = held.leases.get_mut(&fence.lease)
        {
            lease.held = false;
            lease.owner.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract;

    #[tokio::test(start_paused = true)]
    async fn memory_keeps_the_contract_without_waiting() {
        let start = tokio::time::Instant::now();
        let fresh = || -> contract::BoxFuture<Arc<dyn Store>> {
            Box::pin(async { Arc::new(Memory::default()) as Arc<dyn Store> })
        };
        assert_eq!(contract::all(fresh).await, Ok(()));
        assert!(start.elapsed().is_zero());
    }
}
