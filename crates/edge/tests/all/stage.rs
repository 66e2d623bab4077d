//! An edge with upstreams behind it and a client in front.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use linkflow_edge::{Edge, Front, Limits, Options, Resolve, TargetStats, Watched};
use linkflow_model::clock::SystemClock;
use linkflow_model::{
    Event, EventKind, HostRoute, Policy, ProviderName, Queue, Routes, ServiceKind, ServiceName,
    ServiceRoute, Target, Timeouts,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::upstream::{Body, Ledger, Upstream, full};

pub(crate) type HttpClient = Client<HttpConnector, Body>;

/// An edge with upstreams `a`, `b`, … as providers of one service, in this order.
pub(crate) struct Stage {
    pub(crate) edge: Edge,
    pub(crate) ups: Vec<Upstream>,
    pub(crate) ledger: Ledger,
    pub(crate) routes: watch::Sender<Arc<Routes>>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) client: HttpClient,
    tracker: TaskTracker,
}

/// What a stage is set up with.
pub(crate) struct Setup {
    pub(crate) kind: ServiceKind,
    pub(crate) front: Front,
    pub(crate) count: usize,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) events: usize,
    pub(crate) watched: Watched,
}

impl Default for Setup {
    fn default() -> Self {
        let policy = Policy {
            probe_every_ms: 1_000,
            probe_timeout_ms: 500,
            probe_in_doubt_ms: 100,
            ..Policy::default()
        };
        let limits = Limits { name_target: true, ..Limits::default() };
        let front = Front::default();
        let watched = Watched::default();
        Self { kind: ServiceKind::Web, front, count: 2, limits, policy, events: 1_000, watched }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

pub(crate) fn service() -> ServiceName {
    ServiceName::new("api").unwrap()
}

pub(crate) fn provider(name: &str) -> ProviderName {
    ProviderName::new(name).unwrap()
}

pub(crate) fn target(name: &str, address: String, rank: usize) -> Target {
    Target { provider: provider(name), address, rank, sleeps: None, most: None }
}

pub(crate) fn route(kind: ServiceKind, targets: Vec<Target>) -> ServiceRoute {
    let hosts = vec![HostRoute::new("api.example", "/")];
    let health = (kind == ServiceKind::Web).then(|| "/healthz".to_owned());
    let (service, timeouts, queue) = (service(), Timeouts::default(), Queue::default());
    ServiceRoute { service, kind, hosts, health, idempotency_key: false, timeouts, queue, targets }
}

/// An edge for `routes`, running.
pub(crate) async fn edge(
    routes: watch::Receiver<Arc<Routes>>,
    events: mpsc::Sender<Event>,
    tracker: &TaskTracker,
    limits: Limits,
    policy: Policy,
    resolve: Resolve,
    front: Front,
) -> Edge {
    let watched = Watched::default();
    let options = options(limits, policy, resolve, front, watched);
    let edge = Edge::bind(options, routes, Arc::new(SystemClock::start()), events).await.unwrap();
    edge.run(tracker);
    edge
}

fn options(
    limits: Limits,
    policy: Policy,
    resolve: Resolve,
    front: Front,
    watched: Watched,
) -> Options {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let internal = BTreeMap::from([(service(), free)]);
    Options { public: free, front, internal, resolve, limits, policy, watched }
}

impl Setup {
    fn options(&self) -> Options {
        let (limits, policy) = (self.limits, self.policy);
        options(limits, policy, Resolve::default(), self.front.clone(), self.watched.clone())
    }
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let ledger = Ledger::default();
        let mut ups = Vec::new();
        for name in ["a", "b", "c"].into_iter().take(setup.count) {
            ups.push(Upstream::start(name, &ledger).await);
        }
        let targets = ups.iter().enumerate();
        let targets = targets.map(|(rank, up)| target(up.ways.name, up.url(), rank)).collect();
        let table = Routes { generation: 1, services: vec![route(setup.kind, targets)] };
        let (routes, watched) = watch::channel(Arc::new(table));
        let (sender, events) = mpsc::channel(setup.events);
        let tracker = TaskTracker::new();
        let clock = Arc::new(SystemClock::start());
        let edge = Edge::bind(setup.options(), watched, clock, sender).await.unwrap();
        edge.run(&tracker);
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { edge, ups, ledger, routes, events, client, tracker }
    }

    /// Why no edge comes of `setup`.
    pub(crate) async fn refused(setup: Setup) -> std::io::Error {
        let (_routes, watched) = watch::channel(Arc::default());
        let (sender, _events) = mpsc::channel(1);
        let clock = Arc::new(SystemClock::start());
        Edge::bind(setup.options(), watched, clock, sender).await.err().unwrap()
    }

    /// Waits until all upstreams but those named have been found up.
    pub(crate) async fn is_up(&self, but: &[&str]) {
        let wanted = self.ups.iter().filter(|up| !but.contains(&up.ways.name));
        let wanted: Vec<_> = wanted.map(|up| (service(), provider(up.ways.name))).collect();
        let mut probes = self.edge.probes();
        let all_up = probes.wait_for(|picture| {
            let up = |key| picture.get(key).is_some_and(|p| p.health == linkflow_model::Health::Up);
            wanted.iter().all(up)
        });
        drop(tokio::time::timeout(Duration::from_secs(10), all_up).await.unwrap().unwrap());
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let url = format!("http://{}{path}", self.edge.public());
        Request::builder().method(method).uri(url).header("host", "api.example")
    }

    pub(crate) async fn get(&self, path: &str) -> Read {
        self.send(self.request("GET", path).body(full("")).unwrap()).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Read, String> {
        send(&self.client, request).await
    }

    pub(crate) fn stats(&self, name: &str) -> TargetStats {
        let stats = self.edge.stats();
        stats.into_iter().find(|s| s.provider.as_str() == name).unwrap()
    }

    /// Waits for the first event of a kind.
    pub(crate) async fn event(&mut self, kind: EventKind) -> Event {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.events.recv());
            let event = next.await.unwrap().unwrap();
            if event.kind == kind {
                return event;
            }
        }
    }

    /// Stops the edge, and sees that its tasks end.
    pub(crate) async fn stop(self, grace: Duration) {
        self.edge.stop(grace).await;
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(2), self.tracker.wait()).await.unwrap();
    }
}

pub(crate) async fn send(client: &HttpClient, request: Request<Body>) -> Result<Read, String> {
    let response = client.request(request).await.map_err(|e| format!("{e:?}"))?;
    let (parts, body) = response.into_parts();
    let read = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
    let text = String::from_utf8_lossy(&read).into_owned();
    Ok(Read { status: parts.status, headers: parts.headers, text })
}

/// Waits until `what` holds, up to five seconds.
pub(crate) async fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it never came to be");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn zeros(size: usize) -> Bytes {
    Bytes::from(vec![0; size])
}
