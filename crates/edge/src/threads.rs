//! The threads that serve clients, each with a runtime of its own.
//!
//! A request, its client's connection and the one to its target stay on one thread, so that nothing about it wakes another.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The number of the thread that this is; no small one on a thread that is none of these.
pub(crate) fn number() -> usize {
    NUMBER.get()
}

/// How many there are when nobody says: one for each processor.
pub(crate) fn usual() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// They end when this is dropped, and with them whatever they still carry.
pub(crate) struct Threads {
    all: Vec<Thread>,
    running: TaskTracker,
    end: DropGuard,
}

struct Thread {
    runtime: Handle,
    connections: AtomicUsize,
}

impl Threads {
    /// Starts `count` of them, or one.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let (running, end) = (TaskTracker::new(), CancellationToken::new());
        let mut all = Vec::new();
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (ended, counted) = (end.clone(), running.token());
            thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
                NUMBER.set(number);
                runtime.block_on(ended.cancelled());
                drop((runtime, counted));
            })?;
            all.push(Thread { runtime: handle, connections: AtomicUsize::new(0) });
        }
        running.close();
        Ok(Self { all, running, end: end.drop_guard() })
    }

    /// Has them end, and waits until they have.
    pub(crate) async fn end(&self) {
        self.end.token().cancel();
        self.running.wait().await;
    }

    /// Takes the thread with the fewest connections for another one: its number and its runtime.
    pub(crate) fn take(&self) -> Option<(usize, &Handle)> {
        let load = |(_, thread): &(usize, &Thread)| thread.connections.load(Relaxed);
        let (number, thread) = self.all.iter().enumerate().min_by_key(load)?;
        thread.connections.fetch_add(1, Relaxed);
        Some((number, &thread.runtime))
    }

    /// A connection of the thread with this number has ended.
    pub(crate) fn give_back(&self, number: usize) {
        if let Some(thread) = self.all.get(number) {
            thread.connections.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_evenly_over_numbered_threads_which_end() {
        let threads = Threads::start(2).unwrap();
        let mut numbers = Vec::new();
        for _ in 0..4 {
            let (taken, runtime) = threads.take().unwrap();
            let number = runtime.spawn(async { number() }).await.unwrap();
            assert_eq!(number, taken);
            numbers.push(number);
        }
        assert_eq!(numbers, [0, 1, 0, 1]);
        threads.give_back(1);
        assert_eq!(threads.take().unwrap().0, 1);
        assert!(number() > numbers.len(), "the test itself runs on none of them");
        threads.end().await;
    }
}
