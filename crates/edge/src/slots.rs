//! How many requests a target takes at once, and the line of those that wait until one of several takes another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::select_all;
use linkflow_model::Queue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::steer::Id;

/// The right to have one request at a target.
pub(crate) type Slot = OwnedSemaphorePermit;

/// The requests that a target takes at once. Whoever waits is served in turn.
#[derive(Debug)]
pub(crate) struct Slots {
    most: u32,
    free: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new(most: u32) -> Self {
        let permits = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        Self { most, free: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))) }
    }

    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// One, if there is one.
    pub(crate) fn take(&self) -> Option<Slot> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    async fn wait(&self) -> Option<Slot> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

/// The requests of one service that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicU32);

/// A place among them.
struct Place<'a>(&'a AtomicU32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Waiters {
    /// Waits until one of the targets takes another request, as long as `queue` lets it. `None`: the line is too long, or
    /// its time is over.
    pub(crate) async fn wait(
        &self,
        queue: Queue,
        targets: &[(Id, Arc<Slots>)],
    ) -> Option<(Id, Slot)> {
        let before = self.0.fetch_add(1, Relaxed);
        let _place = Place(&self.0);
        if before >= queue.longest || targets.is_empty() {
            return None;
        }
        let waits = targets.iter().map(|(id, slots)| Box::pin(async { (*id, slots.wait().await) }));
        let first = timeout(Duration::from_millis(queue.wait_ms), select_all(waits)).await;
        let ((id, slot), ..) = first.ok()?;
        Some((id, slot?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_the_first_that_is_free_in_turn_and_no_longer_than_it_may() {
        let (a, b) = (Arc::new(Slots::new(1)), Arc::new(Slots::new(1)));
        let targets = [(Id(1), Arc::clone(&a)), (Id(2), Arc::clone(&b))];
        let (waiters, queue) = (Waiters::default(), Queue { longest: 2, wait_ms: 50 });
        let (held, other) = (a.take().unwrap(), b.take().unwrap());
        assert!(a.take().is_none() && b.take().is_none());
        assert!(waiters.wait(queue, &targets).await.is_none(), "50 ms are over");
        let freed = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(other);
        };
        let (one, two, three, ()) = tokio::join!(
            waiters.wait(queue, &targets),
            waiters.wait(queue, &targets),
            waiters.wait(queue, &targets),
            freed,
        );
        let (id, slot) = one.unwrap();
        assert_eq!(id, Id(2));
        assert!(two.is_none(), "nothing else became free");
        assert!(three.is_none(), "the line was full");
        drop((slot, held));
        assert_eq!(waiters.0.load(Relaxed), 0, "nobody waits any more");
        assert!(a.take().is_some(), "whoever gave up holds nothing");
    }
}
