//! The threads that serve clients, each with a runtime of its own.
//!
//! A request, its client's connection and the one to its target stay on one thread, so that nothing about it wakes another.
//! Each thread keeps to a processor of its own where there is one: whoever wakes a thread pulls it to where it runs itself, so two
//! of them shared one processor again and again while the other had nothing to do (`benches/edge/README.md` has figures).

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

/// The processors on which `count` threads may keep to one each: all that this process may use, when there are as many of them.
/// A container that may use less than all of them has fewer threads, and they go where there is room.
#[cfg(target_os = "linux")]
fn processors(count: usize) -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    if count > 1 && all.len() == count { all } else { Vec::new() }
}

/// Has this thread run on the processor `cpu` alone. It is a wish.
#[cfg(target_os = "linux")]
fn keep_to(cpu: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut own = CpuSet::new();
    own.set(cpu);
    if let Err(error) = sched_setaffinity(None, &own) {
        tracing::debug!(%error, "a thread of the edge goes from processor to processor");
    }
}

#[cfg(not(target_os = "linux"))]
fn processors(_: usize) -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn keep_to(_: usize) {}

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
        let (mut all, own) = (Vec::new(), processors(count));
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (ended, counted) = (end.clone(), running.token());
            let own = own.get(number).copied();
            thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
                NUMBER.set(number);
                if let Some(cpu) = own {
                    keep_to(cpu);
                }
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

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn each_thread_has_a_processor_of_its_own_when_there_is_one_for_each() {
        use rustix::thread::{CpuSet, sched_getaffinity};
        let of_this = || {
            let allowed = sched_getaffinity(None).unwrap();
            (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect::<Vec<usize>>()
        };
        let all = of_this();
        let seen = async |count: usize| {
            let threads = Threads::start(count).unwrap();
            let mut seen = Vec::new();
            for _ in 0..count {
                seen.push(threads.take().unwrap().1.spawn(async move { of_this() }).await.unwrap());
            }
            threads.end().await;
            seen
        };
        if all.len() > 1 {
            let each: Vec<Vec<usize>> = all.iter().map(|cpu| vec![*cpu]).collect();
            assert_eq!(seen(all.len()).await, each);
        }
        assert_eq!(seen(all.len() + 1).await, vec![all.clone(); all.len() + 1]);
        assert_eq!(seen(1).await, [all]);
    }

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
