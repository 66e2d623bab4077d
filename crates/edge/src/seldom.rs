//! A future that is asked seldom: only when it was woken itself, not whenever its task is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::task::{Context, Poll, Wake, Waker};

/// Polls `future` only when it has something to say. For what is watched beside work that wakes the same task all the time.
pub(crate) struct Seldom<F> {
    future: Pin<Box<F>>,
    bell: Option<Arc<Bell>>,
}

/// Notes that the future was woken, and wakes the task.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.swap(true, AcqRel);
        self.task.wake_by_ref();
    }
}

impl<F: Future> Seldom<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), bell: None }
    }

    /// The bell that wakes this task, new when the task is another one than before.
    fn bell(&mut self, cx: &Context<'_>) -> Arc<Bell> {
        match self.bell.take().filter(|bell| bell.task.will_wake(cx.waker())) {
            Some(bell) => bell,
            None => Arc::new(Bell { rung: AtomicBool::new(true), task: cx.waker().clone() }),
        }
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let bell = self.bell(cx);
        let polled = if bell.rung.swap(false, AcqRel) {
            let waker = Waker::from(Arc::clone(&bell));
            self.future.as_mut().poll(&mut Context::from_waker(&waker))
        } else {
            Poll::Pending
        };
        self.bell = Some(bell);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::task::Waker;

    use super::*;

    #[test]
    fn it_is_polled_once_and_then_only_when_woken_by_whatever_task_has_it() {
        let (polls, held) = (Mutex::new(0), Mutex::new(None::<Waker>));
        let mut seldom = Seldom::new(poll_fn(|cx| {
            *polls.lock().unwrap() += 1;
            *held.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let mut poll = |waker: &Waker| {
            assert!(Pin::new(&mut seldom).poll(&mut Context::from_waker(waker)).is_pending());
            *polls.lock().unwrap()
        };
        let task =
            || Waker::from(Arc::new(Bell { rung: false.into(), task: Waker::noop().clone() }));
        let (task, other) = (task(), task());
        assert_eq!([poll(&task), poll(&task)], [1, 1]);
        held.lock().unwrap().as_ref().unwrap().wake_by_ref();
        assert_eq!([poll(&task), poll(&task)], [2, 2]);
        assert_eq!([poll(&other), poll(&other)], [3, 3], "another task is to be woken now");
    }
}
