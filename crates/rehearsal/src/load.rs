//! Visitors: an open-loop load that asks at a fixed rate, whether or not earlier requests have been answered.
//!
//! Each request is due at its own moment and its latency counts from there, so a stall shows in every request that was
//! due meanwhile. Nothing is ever sent again. One of so many requests is a write with a key of its own; the others read
//! back what an earlier write was acknowledged with, and a wrong or missing answer counts as failed.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use linkflow_model::{Clock, Moment};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// Idle connections are given up after this, before an edge or provider would close them under a request.
const IDLE: Duration = Duration::from_secs(2);

/// How many acknowledged writes are remembered to be read back.
const REMEMBERED: usize = 4_096;

/// How many samples are kept (some 100 bytes each). The load ends by itself there, rather than forget any.
const MOST: usize = 2_000_000;

/// The largest answer that is read.
const LARGEST: usize = 256 * 1024;

/// Who asks what, and how often.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where requests are sent: the edge.
    pub target: SocketAddr,
    /// The host they ask for.
    pub host: String,
    /// Requests per second; 200 or more for figures worth reporting.
    pub rate: u32,
    /// Every so many requests is a write; 0: none.
    pub write_every: u32,
    /// How long a visitor waits, from when the request was due.
    pub timeout: Duration,
    /// What chance is thrown with: which entries are read back.
    pub seed: u64,
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A GET: it may be sent to a second provider when the first fails.
    Read,
    /// A POST: it may not.
    Write,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The connection was refused or could not be made.
    Refused,
    /// The connection broke before the whole answer was there.
    Broken,
    /// There was no whole answer in time.
    TimedOut,
    /// The answer was not 2xx; [`Sample::status`] says which.
    Status,
    /// The answer was 2xx but not the entry that was written.
    WrongAnswer,
}

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was due.
    pub due: Moment,
    /// From when it was due until the whole answer was there or it had failed, in milliseconds.
    pub latency_ms: f64,
    /// What it was.
    pub kind: Kind,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// How it failed; `None` when it did not.
    pub failure: Option<Failure>,
    /// The idempotency key of a write.
    pub key: Option<String>,
    /// The entry that was written or read.
    pub id: Option<i64>,
    /// The provider that answered, by its own word.
    pub provider: Option<Arc<str>>,
    /// The release that answered.
    pub release: Option<Arc<str>>,
    /// The instance that answered.
    pub instance: Option<Arc<str>>,
}

impl Sample {
    /// When it was over.
    pub fn ended(&self) -> Moment {
        self.due.plus(self.latency_ms.ceil() as u64)
    }
}

/// What a progress display shows of a running load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Requests that are over.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Requests that wait for an answer.
    pub in_flight: u64,
    /// Requests that were over within the last second.
    pub last_second: u64,
    /// Who answered last.
    pub provider: Option<Arc<str>>,
    /// The median latency of the last second, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile of the last second, in milliseconds.
    pub p99_ms: f64,
    /// Whether the load ended by itself because no more samples can be kept.
    pub full: bool,
}

/// A load that runs. Dropping it ends it at once.
pub struct Running {
    stop: CancellationToken,
    live: watch::Receiver<Live>,
    task: JoinSet<Vec<Sample>>,
}

impl Running {
    /// The counters, renewed four times a second.
    pub fn live(&self) -> watch::Receiver<Live> {
        self.live.clone()
    }

    /// Sends nothing more, waits for what is in flight, and gives every request in the order in which they were due.
    pub async fn stop(mut self) -> Vec<Sample> {
        self.stop.cancel();
        let mut samples = match self.task.join_next().await {
            Some(Ok(samples)) => samples,
            _ => Vec::new(),
        };
        samples.sort_by_key(|sample| sample.due);
        samples
    }
}

impl Load {
    /// Starts asking, now.
    pub fn start(self, clock: Arc<dyn Clock>) -> Running {
        let stop = CancellationToken::new();
        let (told, live) = watch::channel(Live::default());
        let mut task = JoinSet::new();
        task.spawn(run(self, clock, stop.clone(), told));
        Running { stop, live, task }
    }
}

async fn run(
    load: Load,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    told: watch::Sender<Live>,
) -> Vec<Sample> {
    let visitor = Arc::new(Visitor::new(&load));
    let (began, base) = (Instant::now(), clock.now());
    let prefix = format!("{:x}-{:x}", clock.wall().0, load.seed & 0xffff);
    let mut chance = load.seed;
    let mut book = Book::default();
    let mut flying = JoinSet::new();
    let mut tick = interval(Duration::from_millis(250));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_u64;
    loop {
        let since = Duration::from_nanos(number * 1_000_000_000 / u64::from(load.rate.max(1)));
        let full = book.samples.len() + flying.len() >= MOST;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(began + since), if !full => {
                let due = base.plus(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
                let is_write = load.write_every > 0 && number.is_multiple_of(load.write_every.into());
                let ask = match book.acknowledged.len() {
                    _ if is_write => Ask::Write(format!("{prefix}-{number}")),
                    0 => Ask::Health,
                    held => {
                        let any = throw(&mut chance) % held as u64;
                        let (id, key) = &book.acknowledged[usize::try_from(any).unwrap_or(0)];
                        Ask::Read(*id, key.clone())
                    }
                };
                flying.spawn(visitor.clone().visit(ask, due, began + since));
                number += 1;
            }
            Some(done) = flying.join_next() => if let Ok(sample) = done {
                book.keep(sample, Instant::now());
            },
            _ = tick.tick() => {
                told.send_replace(book.live(Instant::now(), flying.len(), full));
            }
        }
    }
    while let Some(done) = flying.join_next().await {
        if let Ok(sample) = done {
            book.keep(sample, Instant::now());
        }
    }
    told.send_replace(book.live(Instant::now(), 0, false));
    book.samples
}

/// What a visitor asks for.
enum Ask {
    Health,
    Read(i64, String),
    Write(String),
}

struct Visitor {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    host: HeaderValue,
    timeout: Duration,
}

impl Visitor {
    fn new(load: &Load) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .retry_canceled_requests(false)
            .build(connector);
        let local = || HeaderValue::from_static("localhost");
        let host = HeaderValue::from_str(&load.host).unwrap_or_else(|_| local());
        Self { client, base: format!("http://{}", load.target), host, timeout: load.timeout }
    }

    async fn visit(self: Arc<Self>, ask: Ask, due: Moment, at: Instant) -> Sample {
        let (kind, key) = match &ask {
            Ask::Write(key) => (Kind::Write, Some(key.clone())),
            Ask::Health | Ask::Read(..) => (Kind::Read, None),
        };
        let mut sample = Sample {
            due,
            latency_ms: 0.0,
            kind,
            status: None,
            failure: None,
            key,
            id: None,
            provider: None,
            release: None,
            instance: None,
        };
        let outcome = timeout_at(at + self.timeout, self.exchange(&ask, &mut sample)).await;
        sample.failure = outcome.unwrap_or(Err(Failure::TimedOut)).err();
        sample.latency_ms = at.elapsed().as_secs_f64() * 1_000.0;
        sample
    }

    async fn exchange(&self, ask: &Ask, sample: &mut Sample) -> Result<(), Failure> {
        let broken = |error: &Error| {
            if error.is_connect() { Failure::Refused } else { Failure::Broken }
        };
        let request = self.request(ask).map_err(|_| Failure::Broken)?;
        let answer = self.client.request(request).await.map_err(|error| broken(&error))?;
        let (head, body) = answer.into_parts();
        sample.status = Some(head.status.as_u16());
        sample.provider = named(&head.headers, "x-linkflow-provider");
        sample.release = named(&head.headers, "x-linkflow-release");
        sample.instance = named(&head.headers, "x-linkflow-instance");
        let body = Limited::new(body, LARGEST).collect().await.map_err(|_| Failure::Broken)?;
        if !head.status.is_success() {
            return Err(Failure::Status);
        }
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        match ask {
            Ask::Health => return Ok(()),
            Ask::Write(key) if body["key"] == *key => sample.id = body["id"].as_i64(),
            Ask::Read(id, key) if body["key"] == *key && body["name"] == name(key) => {
                sample.id = body["id"].as_i64().filter(|read| read == id);
            }
            Ask::Write(_) | Ask::Read(..) => {}
        }
        sample.id.map(|_| ()).ok_or(Failure::WrongAnswer)
    }

    fn request(&self, ask: &Ask) -> http::Result<Request<Full<Bytes>>> {
        let base = &self.base;
        let request = match ask {
            Ask::Health => Request::get(format!("{base}/api/v1/health")),
            Ask::Read(id, _) => Request::get(format!("{base}/api/v1/workflows/{id}")),
            Ask::Write(key) => {
                let request = Request::post(format!("{base}/api/v1/workflows"));
                request.header("idempotency-key", key).header(CONTENT_TYPE, "application/json")
            }
        };
        let body = match ask {
            Ask::Health | Ask::Read(..) => Full::default(),
            Ask::Write(key) => Full::from(json!({ "name": name(key) }).to_string()),
        };
        request.header(HOST, &self.host).body(body)
    }
}

/// What the entry with `key` is called: enough to know that what is read is what was written.
fn name(key: &str) -> String {
    format!("written as {key}")
}

fn named(headers: &HeaderMap, name: &str) -> Option<Arc<str>> {
    headers.get(name)?.to_str().ok().map(Arc::from)
}

/// The next number of a sequence that looks like chance (`SplitMix64`).
fn throw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What is kept of the requests that are over.
#[derive(Default)]
struct Book {
    samples: Vec<Sample>,
    failed: u64,
    acknowledged: VecDeque<(i64, String)>,
    recent: VecDeque<(Instant, f64)>,
    names: HashSet<Arc<str>>,
    provider: Option<Arc<str>>,
}

impl Book {
    fn keep(&mut self, mut sample: Sample, now: Instant) {
        for name in [&mut sample.provider, &mut sample.release, &mut sample.instance] {
            *name = name.take().map(|text| self.one(text));
        }
        self.failed += u64::from(sample.failure.is_some());
        if sample.provider.is_some() {
            self.provider.clone_from(&sample.provider);
        }
        if let (Some(key), Some(id), None) = (&sample.key, sample.id, sample.failure) {
            if self.acknowledged.len() == REMEMBERED {
                self.acknowledged.pop_front();
            }
            self.acknowledged.push_back((id, key.clone()));
        }
        self.recent.push_back((now, sample.latency_ms));
        while self.recent.front().is_some_and(|(at, _)| now - *at > Duration::from_secs(1)) {
            self.recent.pop_front();
        }
        self.samples.push(sample);
    }

    /// The one copy of `text`: there are few different names in very many samples.
    fn one(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(held) = self.names.get(&text) {
            return held.clone();
        }
        self.names.insert(text.clone());
        text
    }

    fn live(&self, now: Instant, in_flight: usize, full: bool) -> Live {
        let recent = self.recent.iter().filter(|(at, _)| now - *at <= Duration::from_secs(1));
        let mut latencies: Vec<f64> = recent.map(|(_, latency)| *latency).collect();
        latencies.sort_by(f64::total_cmp);
        Live {
            requests: self.samples.len() as u64,
            failed: self.failed,
            in_flight: in_flight as u64,
            last_second: latencies.len() as u64,
            provider: self.provider.clone(),
            p50_ms: percentile(&latencies, 50),
            p99_ms: percentile(&latencies, 99),
            full,
        }
    }
}

/// The smallest of `sorted` that `percent` of a hundred do not exceed (nearest rank); 0 when there is none.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Response, StatusCode};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use linkflow_model::clock::SystemClock;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers with what `answer` says to (path, key, how many asked before); `None` closes the connection.
    async fn serve(
        tasks: &mut JoinSet<()>,
        answer: impl Fn(&str, &str, usize) -> (Duration, Option<(u16, Value)>) + Send + Sync + 'static,
    ) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), asked.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, log) = (answer.clone(), log.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let key = request.headers().get("idempotency-key");
                    let key = key.map_or("", |key| key.to_str().unwrap()).to_owned();
                    let path = request.uri().path().to_owned();
                    let before = log.lock().unwrap().len();
                    log.lock().unwrap().push(if key.is_empty() {
                        path.clone()
                    } else {
                        key.clone()
                    });
                    let (wait, reply) = answer(&path, &key, before);
                    async move {
                        tokio::time::sleep(wait).await;
                        let (status, body) =
                            reply.ok_or_else(|| std::io::Error::other("closed"))?;
                        let mut answer = Response::new(Full::<Bytes>::from(body.to_string()));
                        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
                        answer
                            .headers_mut()
                            .insert("x-linkflow-provider", HeaderValue::from_static("fly"));
                        Ok::<_, std::io::Error>(answer)
                    }
                });
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    http.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        (target, asked)
    }

    fn load(target: SocketAddr, write_every: u32) -> Load {
        let timeout = Duration::from_secs(5);
        Load { target, host: "api.example.com".into(), rate: 200, write_every, timeout, seed: 7 }
    }

    async fn run_for(load: Load, ms: u64) -> Vec<Sample> {
        let running = load.start(Arc::new(SystemClock::start()));
        tokio::time::sleep(Duration::from_millis(ms)).await;
        running.stop().await
    }

    #[tokio::test]
    async fn a_slow_server_is_asked_as_often_as_a_fast_one() {
        let mut tasks = JoinSet::new();
        let (target, _) =
            serve(&mut tasks, |_, _, _| (Duration::from_millis(400), Some((200, json!({}))))).await;
        let samples = run_for(load(target, 0), 500).await;
        // One every 5 ms for 500 ms; a server that was waited for would have got one or two.
        assert!(samples.len() >= 60, "{}", samples.len());
        assert!(
            samples.iter().all(|sample| sample.latency_ms >= 400.0 && sample.failure.is_none())
        );
        let dues: Vec<u64> =
            samples.iter().map(|sample| sample.due.since(samples[0].due)).collect();
        let wanted: Vec<u64> = (0..samples.len() as u64).map(|number| number * 5).collect();
        assert_eq!(dues, wanted);
    }

    #[tokio::test]
    async fn latency_counts_from_when_a_request_was_due_not_from_when_it_was_sent() {
        let mut tasks = JoinSet::new();
        let (target, _) =
            serve(&mut tasks, |_, _, _| (Duration::ZERO, Some((200, json!({}))))).await;
        let running = load(target, 0).start(Arc::new(SystemClock::start()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        // The whole process stands still, so nothing can be sent.
        std::thread::sleep(Duration::from_millis(300));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let samples = running.stop().await;
        assert!(samples.len() >= 70, "{}", samples.len());
        let slow = samples.iter().filter(|sample| sample.latency_ms >= 100.0).count();
        assert!(slow >= 35, "{slow}");
    }

    #[tokio::test]
    async fn a_write_that_failed_is_not_sent_again_and_a_failure_has_its_kind() {
        let mut tasks = JoinSet::new();
        let (target, asked) = serve(&mut tasks, |_, key, before| {
            let wait = if before % 4 == 0 { Duration::from_secs(9) } else { Duration::ZERO };
            let reply = match before % 4 {
                1 => None,
                2 => Some((503, json!({}))),
                _ => Some((201, json!({ "id": before, "key": key }))),
            };
            (wait, reply)
        })
        .await;
        let asking = Load { timeout: Duration::from_millis(200), ..load(target, 1) };
        let samples = run_for(asking, 300).await;
        let mut keys = asked.lock().unwrap().clone();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!((keys.len(), samples.len()), (all, all));
        let has = |failure| samples.iter().any(|sample| sample.failure == failure);
        for failure in [Failure::TimedOut, Failure::Broken, Failure::Status] {
            assert!(has(Some(failure)), "{failure:?}");
        }
        assert!(has(None));
    }

    #[tokio::test]
    async fn nobody_there_is_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let samples = run_for(load(target, 2), 50).await;
        assert!(!samples.is_empty());
        assert!(samples.iter().all(|sample| sample.failure == Some(Failure::Refused)));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_what_was_written_is_wrong() {
        let mut tasks = JoinSet::new();
        let (target, _) = serve(&mut tasks, |path, key, _| {
            let body = match path.rsplit('/').next() {
                Some("workflows") => json!({ "id": 1, "key": key }),
                _ => json!({ "id": 1, "key": "somebody else's", "name": "x" }),
            };
            (Duration::ZERO, Some((200, body)))
        })
        .await;
        let running = load(target, 5).start(Arc::new(SystemClock::start()));
        let mut live = running.live();
        while live.borrow_and_update().requests < 40 {
            live.changed().await.unwrap();
        }
        assert_eq!(live.borrow().provider.as_deref(), Some("fly"));
        let samples = running.stop().await;
        let reads = samples.iter().filter(|s| s.kind == Kind::Read && s.id.is_none());
        let wrong = samples.iter().filter(|s| s.failure == Some(Failure::WrongAnswer)).count();
        // Health is asked for until the first write is acknowledged; every later read is wrong.
        assert!(wrong > 20 && wrong <= reads.count(), "{wrong}");
        assert!(samples.iter().all(|s| s.kind == Kind::Read || s.failure.is_none()));
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let rows: [(&[f64], usize, f64); 5] = [
            (&[], 50, 0.0),
            (&[7.0], 99, 7.0),
            (&[1.0, 2.0], 50, 1.0),
            (&hundred, 99, 99.0),
            (&hundred, 50, 50.0),
        ];
        for (sorted, percent, wanted) in rows {
            assert!(
                (percentile(sorted, percent) - wanted).abs() < f64::EPSILON,
                "{percent} of {sorted:?}"
            );
        }
    }
}
