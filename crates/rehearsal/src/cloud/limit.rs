//! Rate limits: token buckets by name.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How fast one bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

/// Many buckets.
#[derive(Default)]
pub(crate) struct Limits(Mutex<BTreeMap<String, (f64, Instant)>>);

impl Limits {
    /// Takes one token from `bucket`. `Ok`: how many are left. `Err`: how long until the next.
    pub(crate) fn take(&self, bucket: String, rate: Rate) -> Result<f64, Duration> {
        let now = Instant::now();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, since) = buckets.entry(bucket).or_insert((rate.burst, now));
        *held =
            (*held + now.duration_since(*since).as_secs_f64() * rate.per_second).min(rate.burst);
        *since = now;
        if *held < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *held) / rate.per_second));
        }
        *held -= 1.0;
        Ok(*held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (limits, rate) = (Limits::default(), Rate { per_second: 1.0, burst: 3.0 });
        let take = || limits.take("a".to_owned(), rate);
        assert!((0..3).all(|_| take().is_ok()));
        assert_eq!(take(), Err(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(take().is_ok());
        assert!(take().is_err());
    }
}
