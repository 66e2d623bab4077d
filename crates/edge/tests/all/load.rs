//! Requests at a steady rate, whatever becomes of them, and what became of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::Request;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::stage::{HttpClient, Stage, send};
use crate::upstream::{background, full};

/// One request of a load.
#[derive(Debug)]
pub(crate) struct Shot {
    pub(crate) write: bool,
    /// When it was sent, since the load began.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    /// Who answered with 200, or why not.
    pub(crate) result: Result<String, String>,
}

/// A load under way.
pub(crate) struct Load {
    begun: Instant,
    task: tokio::task::JoinHandle<Vec<Shot>>,
}

impl Load {
    /// `rate` requests a second, every tenth a write with an id of its own, for `lasts`.
    pub(crate) fn start(stage: &Stage, rate: u64, lasts: Duration) -> Self {
        let (client, url) = (stage.client.clone(), format!("http://{}", stage.edge.public()));
        let begun = Instant::now();
        let task = background(async move {
            let mut shots = JoinSet::new();
            let mut every = interval(Duration::from_micros(1_000_000 / rate));
            let mut number = 0;
            while begun.elapsed() < lasts {
                every.tick().await;
                number += 1;
                shots.spawn(shoot(client.clone(), url.clone(), number % 10 == 0, begun));
            }
            shots.join_all().await
        });
        Self { begun, task }
    }

    /// How long it has been going.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) async fn end(self) -> Shots {
        Shots(self.task.await.unwrap())
    }
}

async fn shoot(client: HttpClient, url: String, write: bool, begun: Instant) -> Shot {
    static IDS: AtomicU64 = AtomicU64::new(0);
    let at = begun.elapsed();
    let request = Request::builder().header("host", "api.example");
    let request = if write {
        let id = IDS.fetch_add(1, Relaxed).to_string();
        request.method("POST").uri(format!("{url}/write")).header("x-id", id).body(full("a write"))
    } else {
        request.uri(format!("{url}/read")).body(full(""))
    };
    let started = Instant::now();
    let read = tokio::time::timeout(Duration::from_secs(8), send(&client, request.unwrap())).await;
    let result = match read {
        Ok(Ok(read)) if read.status == 200 => Ok(read.text),
        Ok(Ok(read)) => Err(format!("{} {}", read.status, read.text)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err("no answer in 8 s".to_owned()),
    };
    Shot { write, at, took: started.elapsed(), result }
}

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Shots(pub(crate) Vec<Shot>);

impl Shots {
    #[track_caller]
    pub(crate) fn no_read_failed(&self) {
        let failed: Vec<&Shot> = self.0.iter().filter(|s| !s.write && s.result.is_err()).collect();
        assert!(failed.is_empty(), "{} reads failed: {failed:?}", failed.len());
        assert!(self.0.len() > 50, "only {} requests were made", self.0.len());
    }

    #[track_caller]
    pub(crate) fn no_write_failed(&self, from: Duration) {
        let failed: Vec<&Shot> =
            self.0.iter().filter(|s| s.write && s.at >= from && s.result.is_err()).collect();
        assert!(failed.is_empty(), "{} writes failed after {from:?}: {failed:?}", failed.len());
    }

    #[track_caller]
    pub(crate) fn none_answered_by(&self, name: &str, from: Duration, to: Duration) {
        let by = |s: &&Shot| s.result.as_deref() == Ok(name) && s.at >= from && s.at < to;
        let late: Vec<&Shot> = self.0.iter().filter(by).collect();
        assert!(late.is_empty(), "{name} still answered: {late:?}");
    }

    pub(crate) fn slowest_read(&self) -> Duration {
        self.0.iter().filter(|s| !s.write).map(|s| s.took).max().unwrap()
    }

    /// The last request that `name` answered was sent then.
    pub(crate) fn last_by(&self, name: &str) -> Duration {
        let by = self.0.iter().filter(|s| s.result.as_deref() == Ok(name));
        by.map(|s| s.at).max().unwrap_or_default()
    }
}

#[track_caller]
pub(crate) fn no_write_was_doubled(stage: &Stage) {
    let ledger = stage.ledger.lock().unwrap();
    let doubled: Vec<_> = ledger.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "carried out more than once: {doubled:?}");
}
