//! The time limit of a request, which the next one of the same connection goes on with.
//!
//! Every tokio timer goes through the lock of its runtime's wheel twice, and one that is due before all others wakes the
//! thread that is awake anyway. A timer that is set to a later time stays where it is in the wheel, and is looked at again
//! only when its old time comes.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a connection, while no request has it.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<Option<Pin<Box<Sleep>>>>);

/// A timer in use; it goes back when it is dropped.
pub(crate) struct Alarm<'a> {
    sleep: Option<Pin<Box<Sleep>>>,
    home: &'a Alarms,
}

impl Alarms {
    /// The timer that is there, or, for requests side by side, a new one.
    pub(crate) fn take(&self) -> Alarm<'_> {
        let sleep = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Alarm { sleep, home: self }
    }
}

impl Alarm<'_> {
    /// What `wanted` gives, unless that takes longer than `limit`.
    pub(crate) async fn within<T>(
        &mut self,
        limit: Duration,
        wanted: impl Future<Output = T>,
    ) -> Option<T> {
        let due = Instant::now() + limit;
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(due);
                sleep
            }
            none => none.insert(Box::pin(sleep_until(due))),
        };
        let mut wanted = std::pin::pin!(wanted);
        std::future::poll_fn(|cx| match wanted.as_mut().poll(cx) {
            Poll::Ready(got) => Poll::Ready(Some(got)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.sleep.take();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_limit_counts_from_its_own_beginning() {
        let alarms = Alarms::default();
        let ms = Duration::from_millis;
        for limit in [50, 10, 200, 10] {
            let began = Instant::now();
            let mut alarm = alarms.take();
            assert_eq!(alarm.within(ms(limit), ready(1)).await, Some(1));
            assert_eq!(alarm.within(ms(limit), sleep(ms(limit - 5))).await, Some(()));
            assert_eq!(alarm.within(ms(limit), pending::<()>()).await, None);
            assert_eq!(began.elapsed(), ms(2 * limit - 5));
        }
    }
}
