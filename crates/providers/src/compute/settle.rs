//! How long something must have been seen running before it counts as started.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use linkflow_model::{Clock, Moment};

/// A container without health checks counts as started after this long, in milliseconds: a process that dies at start
/// does so sooner, and the provider still says "started" in between.
const LONG_ENOUGH_MS: u64 = 2_000;

/// Entries older than this are forgotten, in milliseconds.
const FORGET_MS: u64 = 3_600_000;

/// Remembers when each instance was first seen running.
///
/// It measures with the local clock alone, because a vendor's timestamps are of the vendor's clock. After a restart
/// of this process an instance merely has to be seen for that long again.
pub(crate) struct Settling {
    clock: Arc<dyn Clock>,
    first_seen: Mutex<BTreeMap<String, Moment>>,
}

impl Settling {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, first_seen: Mutex::default() }
    }

    /// Notes that `instance` runs, and tells whether it has for long enough.
    pub(crate) fn is_settled(&self, instance: &str) -> bool {
        let now = self.clock.now();
        let mut seen = self.first_seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, since| now.since(*since) < FORGET_MS);
        let since = *seen.entry(instance.to_owned()).or_insert(now);
        now.since(since) >= LONG_ENOUGH_MS
    }

    /// Notes that `instance` does not run.
    pub(crate) fn fell(&self, instance: &str) {
        self.first_seen.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
    }
}
