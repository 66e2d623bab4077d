//! Targets that take only so many requests at once.

use std::sync::Arc;
use std::time::Duration;

use linkflow_edge::Limits;
use linkflow_model::{Queue, Routes};
use tokio::task::JoinHandle;

use crate::stage::{Read, Setup, Stage, send, until};
use crate::upstream::{background, full};

/// Longer than any test waits: nothing here is to be given up, or tried elsewhere, because it takes long.
const AGES: u64 = 600_000;

/// `count` targets, of which the first takes one request at once.
async fn stage(count: usize, queue: Queue) -> Stage {
    let limits = Limits {
        first_byte_ms: AGES,
        first_byte_alone_ms: AGES,
        suspect_ms: AGES,
        silent_ms: AGES,
        hedge: false,
        name_target: true,
        ..Limits::default()
    };
    let stage = Stage::with(Setup { count, limits, ..Setup::default() }).await;
    stage.takes(Some(1), queue);
    stage.is_up(&[]).await;
    stage
}

impl Stage {
    /// New routes, in which the first target takes so many requests at once.
    fn takes(&self, most: Option<u32>, queue: Queue) {
        self.routes.send_modify(|held| {
            let mut routes = Routes::clone(held);
            routes.generation += 1;
            routes.services[0].queue = queue;
            routes.services[0].targets[0].most = most;
            *held = Arc::new(routes);
        });
    }

    /// A request on its way.
    fn begins(&self, path: &str) -> JoinHandle<Read> {
        let request = self.request("GET", path).body(full("")).unwrap();
        let client = self.client.clone();
        background(async move { send(&client, request).await.unwrap() })
    }

    /// A request that stays at the first target until it is let go.
    async fn busy(&self) -> JoinHandle<Read> {
        let before = self.ups[0].requests();
        let begun = self.begins("/wait");
        until(|| self.ups[0].requests() > before).await;
        begun
    }
}

const USUAL: Queue = Queue { longest: 100, wait_ms: AGES };

fn by(read: &Read) -> (u16, &str) {
    let named = read.headers.get("x-linkflow-target").map(|name| name.to_str().unwrap());
    (read.status.as_u16(), named.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_target_takes_goes_to_the_next_one() {
    let stage = stage(2, USUAL).await;
    let held = stage.busy().await;
    assert_eq!(by(&stage.get("/").await), (200, "b"));
    assert!(!stage.stats("a").ejected, "to be busy is no fault");
    stage.ups[0].ways.go.notify_one();
    assert_eq!(by(&held.await.unwrap()), (200, "a"));
    assert_eq!(by(&stage.get("/").await), (200, "a"), "it has room again");
    stage.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_other_requests_wait_in_line_and_what_is_beyond_it_is_told_at_once() {
    let stage = stage(1, Queue { longest: 1, wait_ms: AGES }).await;
    let held = stage.busy().await;
    let (one, two) = (stage.begins("/"), stage.begins("/"));
    // One of them waits, and the other one finds the line full.
    until(|| one.is_finished() || two.is_finished()).await;
    let (sent_away, waits) = if one.is_finished() { (one, two) } else { (two, one) };
    let sorry = sent_away.await.unwrap();
    assert_eq!(by(&sorry), (503, ""));
    assert_eq!(sorry.headers["retry-after"], "2");
    assert!(sorry.text.contains("api: every place of it is busy"), "{}", sorry.text);
    assert_eq!(stage.ups[0].requests(), 1);
    stage.ups[0].ways.go.notify_one();
    assert_eq!(by(&held.await.unwrap()), (200, "a"));
    assert_eq!(by(&waits.await.unwrap()), (200, "a"));
    stage.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_longer_than_is_said_and_whoever_leaves_holds_no_place() {
    let stage = stage(1, Queue { longest: 1, wait_ms: 30 }).await;
    let held = stage.busy().await;
    for _ in 0..3 {
        assert_eq!(by(&stage.get("/").await), (503, ""));
    }
    stage.takes(Some(1), Queue { longest: 1, wait_ms: AGES });
    let leaves = stage.begins("/");
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    stage.ups[0].ways.go.notify_one();
    assert_eq!(by(&held.await.unwrap()), (200, "a"));
    assert_eq!(by(&stage.get("/").await), (200, "a"));
    assert!(stage.stats("a").usable, "to be busy is no fault");
    stage.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_taken_until_the_answer_is_read_also_when_routes_change() {
    let stage = stage(2, USUAL).await;
    let stream = stage.client.request(stage.request("GET", "/events").body(full("")).unwrap());
    let stream = stream.await.unwrap();
    assert_eq!(stream.headers()["x-linkflow-target"], "a");
    assert_eq!(by(&stage.get("/").await), (200, "b"));
    stage.takes(Some(1), Queue { longest: 7, ..USUAL });
    assert_eq!(by(&stage.get("/").await), (200, "b"), "what is taken stays taken");
    stage.takes(Some(2), USUAL);
    assert_eq!(by(&stage.get("/").await), (200, "a"), "two at once");
    stage.takes(None, USUAL);
    assert_eq!(by(&stage.get("/").await), (200, "a"), "as many as come");
    stage.takes(Some(1), USUAL);
    drop(stream);
    until(|| stage.stats("a").in_flight == 0).await;
    assert_eq!(by(&stage.get("/").await), (200, "a"));
    stage.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_target_that_is_alone_sheds_what_it_cannot_take_and_stays_up() {
    let stage = stage(1, Queue { longest: 4, wait_ms: 200 }).await;
    stage.takes(Some(2), Queue { longest: 4, wait_ms: 200 });
    stage.ups[0].ways.delay.store(20, std::sync::atomic::Ordering::Relaxed);
    let crowd: Vec<_> = (0..200).map(|_| stage.begins("/")).collect();
    let mut served = 0;
    for begun in crowd {
        let read = begun.await.unwrap();
        match read.status.as_u16() {
            200 => served += 1,
            503 => assert_eq!(read.headers["retry-after"], "2"),
            other => panic!("{other}: {}", read.text),
        }
    }
    assert!(served >= 2, "{served}");
    assert_eq!(stage.ups[0].requests(), served);
    assert!(stage.stats("a").usable);
    assert_eq!(by(&stage.get("/").await), (200, "a"));
    stage.stop(Duration::from_secs(5)).await;
}
