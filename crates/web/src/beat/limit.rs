//! How often each heartbeat may report, or each vendor send a hook: a bucket for each that fills with time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use linkflow_model::Moment;

/// A bucket for each.
pub(crate) struct Limits {
    per_second: u64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// What is left, in thousandths of a report, as it was at a moment.
struct Bucket {
    left: u64,
    at: Moment,
}

impl Limits {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: u64::from(per_second.max(1)), buckets: Mutex::default() }
    }

    /// Whether `name` may report now. There are as many buckets as names that are known: nobody else comes here.
    pub(crate) fn allow(&self, name: &str, now: Moment) -> bool {
        let full = self.per_second * 2_000;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(name) {
            buckets.insert(name.to_owned(), Bucket { left: full, at: now });
        }
        let Some(bucket) = buckets.get_mut(name) else { return true };
        let came = now.since(bucket.at).saturating_mul(self.per_second);
        bucket.left = bucket.left.saturating_add(came).min(full);
        bucket.at = now;
        let may = bucket.left >= 1_000;
        bucket.left -= if may { 1_000 } else { 0 };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_twice_as_many_is_fine_and_then_only_as_many_as_a_second_has() {
        let limits = Limits::new(5);
        let come = |ms: u64| (0..20).filter(|_| limits.allow("job", Moment(ms))).count();
        assert_eq!((come(0), come(1_000), come(1_199), come(60_000)), (10, 5, 0, 10));
        assert!(limits.allow("other", Moment(0)), "each has its own");
    }
}
