//! Tokio's paused time as both clocks; the wall clock jumps when told to.

use std::sync::atomic::{AtomicU64, Ordering};

use linkflow_model::{Clock, Moment, Timestamp};
use tokio::time::Instant;

/// A pretend clock. Moments follow tokio's paused time; the wall clock can be set.
pub(crate) struct JumpingClock {
    start: Instant,
    wall: AtomicU64,
}

impl JumpingClock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), wall: AtomicU64::new(1_800_000_000_000) }
    }

    /// Sets the wall clock forward or back.
    pub(crate) fn jump(&self, ms: i64) {
        let held = self.wall.load(Ordering::Relaxed);
        self.wall.store(held.saturating_add_signed(ms), Ordering::Relaxed);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Moment {
        // Moments never start at 0, as on a machine that has been up for a while.
        Moment(1_000_000 + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed) + (self.now().0 - 1_000_000))
    }
}
