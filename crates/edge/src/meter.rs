//! What is counted of requests, in atomics: a few additions for each, and no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use linkflow_model::ServiceName;

use crate::steer::Failure;
use crate::visit::{Reason, Tries};

/// Upper bounds of the histograms' buckets, in microseconds. What is slower is in one more bucket.
pub const BUCKETS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How many answers there were of each class of status, 1xx first.
pub type Classes = [u64; 5];

/// Adds what is not nothing, which is cheaper to look at than to add.
fn add(count: &AtomicU64, more: u64) {
    if more > 0 {
        count.fetch_add(more, Relaxed);
    }
}

/// How long things took.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, us: u64) {
        let at = BUCKETS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// How many fell into each bucket, each by itself.
    pub(crate) fn buckets(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect()
    }

    pub(crate) fn sum_us(&self) -> u64 {
        self.sum_us.load(Relaxed)
    }
}

/// Answers by class of status.
#[derive(Default)]
pub(crate) struct Answers([AtomicU64; 5]);

impl Answers {
    pub(crate) fn record(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| self.0.get(class)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> Classes {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

/// What came over one route of one service.
pub(crate) struct RouteMeter {
    /// `None`: requests that no route fits.
    pub(crate) service: Option<ServiceName>,
    /// The route as the config has it, or a word in brackets.
    pub(crate) route: String,
    pub(crate) answers: Answers,
    pub(crate) first_byte: Histogram,
    pub(crate) retries: AtomicU64,
    pub(crate) hedges: AtomicU64,
    /// Answers that broke off.
    pub(crate) broken: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
}

impl RouteMeter {
    pub(crate) fn new(service: Option<ServiceName>, route: &str) -> Self {
        Self {
            service,
            route: route.to_owned(),
            answers: Answers::default(),
            first_byte: Histogram::default(),
            retries: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    pub(crate) fn tried(&self, tries: Tries) {
        add(&self.retries, u64::from(tries.retries()));
        add(&self.hedges, u64::from(tries.hedges));
    }

    pub(crate) fn moved(&self, received: u64, sent: u64) {
        add(&self.received, received);
        add(&self.sent, sent);
    }
}

/// What has gone over a target so far.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    /// A moving average, in microseconds.
    pub(crate) latency_us: AtomicU64,
    pub(crate) answers: Answers,
    pub(crate) first_byte: Histogram,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) ejections: AtomicU64,
    kinds: [AtomicU64; KINDS.len()],
    ejected: Mutex<String>,
}

/// The ways a try fails, as [`Counts::kinds`] counts them.
pub(crate) const KINDS: [&str; 5] = ["refused", "unreachable", "cut", "broken", "silent"];

impl Counts {
    pub(crate) fn answered(&self, status: u16, micros: u64) {
        let before = self.latency_us.load(Relaxed);
        let after = if before == 0 { micros } else { (before * 7 + micros) / 8 };
        self.latency_us.store(after, Relaxed);
        self.answers.record(status);
        self.first_byte.record(micros);
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.failures.fetch_add(1, Relaxed);
        let kind = match failure {
            Failure::Refused => 0,
            Failure::Unreachable(_) => 1,
            Failure::Cut => 2,
            Failure::Broken => 3,
            Failure::Silent => 4,
        };
        if let Some(count) = self.kinds.get(kind) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn kinds(&self) -> [u64; KINDS.len()] {
        self.kinds.each_ref().map(|count| count.load(Relaxed))
    }

    pub(crate) fn moved(&self, received: u64, sent: u64) {
        add(&self.received, received);
        add(&self.sent, sent);
    }

    /// Notes an ejection, and why: seldom enough for a lock.
    pub(crate) fn ejected(&self, why: &str) {
        self.ejections.fetch_add(1, Relaxed);
        *self.ejected.lock().unwrap_or_else(PoisonError::into_inner) = why.to_owned();
    }

    /// Why it was ejected last.
    pub(crate) fn ejected_why(&self) -> String {
        self.ejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What belongs to no route and no target.
pub(crate) struct EdgeMeter {
    /// Requests that no route fits.
    pub(crate) unrouted: RouteMeter,
    /// Connections that were accepted.
    pub(crate) accepted: AtomicU64,
    /// Those of them that are open.
    pub(crate) open: AtomicU64,
    /// Those of the open ones that rest.
    pub(crate) resting: AtomicU64,
    own: [AtomicU64; Reason::ALL.len()],
}

impl Default for EdgeMeter {
    fn default() -> Self {
        Self {
            unrouted: RouteMeter::new(None, "(none)"),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            resting: AtomicU64::new(0),
            own: Default::default(),
        }
    }
}

/// A connection that is open, or rests, until this is dropped.
pub(crate) struct Open<'m>(&'m AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl EdgeMeter {
    /// Counts a connection that is served.
    pub(crate) fn connected(&self) -> Open<'_> {
        self.accepted.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Open(&self.open)
    }

    /// Counts a connection that rests.
    pub(crate) fn rests(&self) -> Open<'_> {
        self.resting.fetch_add(1, Relaxed);
        Open(&self.resting)
    }

    pub(crate) fn reason(&self, reason: Reason) {
        if let Some(count) = self.own.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How often each of [`Reason::ALL`] was the reason.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.own.iter().map(|count| count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bound_says_is_below_it() {
        let held = Histogram::default();
        for us in [0, 500, 501, 60_000_000, 60_000_001, 7_000_000_000] {
            held.record(us);
        }
        let mut expected = vec![0; BUCKETS_US.len() + 1];
        (expected[0], expected[1], expected[15], expected[16]) = (2, 1, 1, 2);
        assert_eq!(held.buckets(), expected);
        assert_eq!(held.sum_us(), 7_120_001_002);
    }

    #[test]
    fn statuses_that_there_are_not_are_in_no_class() {
        let held = Answers::default();
        for status in [0, 99, 100, 200, 204, 304, 404, 499, 500, 599, 600, 999] {
            held.record(status);
        }
        assert_eq!(held.counts(), [1, 2, 1, 2, 2]);
    }
}
