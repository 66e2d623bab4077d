//! A site over a store in memory, with an operator that says what a test wants. For tests of this crate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use linkflow_model::access::{Caller, Means, Scope};
use linkflow_model::config::Config;
use linkflow_model::service::ServiceKind;
use linkflow_model::{
    Clock, Condition, Drain, Event, EventKind, Health, Level, Lifecycle, Moment, ReleaseId,
    StateSpan, Timestamp,
};
use linkflow_store::{Memory, Reading, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::beat::{Addresses, Intake};
use crate::door::Seal;
use crate::hook::Hooks;
use crate::operator::{
    Alerts, Begun, Certificate, Differs, Drift, Message, MessageState, Operator, Order, Outline,
    OutlineStage, OutlineStep, Placement, PlacementState, Post, ProviderUsage, Refusal,
    RouteTraffic, Service, Services, Stray, TargetTraffic, Traffic, Tried, Usage, Used, Watched,
    Why,
};
use crate::order::address::Source;
use crate::{Live, Site};

/// The moment of the tests: 30 November 2026, 02:41 UTC.
pub(crate) const NOW: u64 = 1_796_006_460_000;

/// A clock that a test moves.
#[derive(Default)]
pub(crate) struct Hand(AtomicU64);

impl Hand {
    /// Lets so many milliseconds pass.
    pub(crate) fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(NOW + self.0.load(Ordering::SeqCst))
    }
}

/// Says what a test wants.
pub(crate) struct Scripted {
    store: Arc<Memory>,
    /// How `api` stands on `a`.
    pub(crate) state: Mutex<PlacementState>,
    /// Whether something is under way.
    pub(crate) busy: Mutex<bool>,
    /// Whether an order that was begun is never answered.
    pub(crate) hangs: Mutex<bool>,
    /// What was ordered: what, by whom, why.
    pub(crate) orders: Mutex<Vec<(String, String, String)>>,
    /// Monitors beside the one.
    pub(crate) more: Mutex<Vec<Watched>>,
    /// Whether something differs from what is live.
    pub(crate) drifts: Mutex<bool>,
    /// Ways by which nobody could be told.
    pub(crate) untold: Mutex<Vec<Tried>>,
}

/// A monitor called `subject`.
pub(crate) fn watched(subject: &str, condition: Condition) -> Watched {
    Watched {
        subject: subject.to_owned(),
        what: format!("https://{subject}.example/health"),
        every_ms: 30_000,
        tags: vec!["shop".to_owned()],
        derived: false,
        condition,
        since: Some(NOW - 3_600_000),
        why: (condition == Condition::Down).then(|| "503".to_owned()),
        needs: Vec::new(),
        unable: None,
    }
}

impl Scripted {
    fn placement(&self, provider: &str, active: bool, state: PlacementState) -> Placement {
        Placement {
            provider: provider.parse().unwrap(),
            active,
            state,
            lifecycle: Lifecycle::Running,
            health: if state == PlacementState::Up { Health::Up } else { Health::Down },
            drained: None,
            release: Some(ReleaseId(2)),
            digest: Some(format!("sha256:{}", "a".repeat(64))),
            latency_ms: Some(12),
            address: Some(format!("https://{provider}.example")),
            running: 1,
            why: if active { "serves" } else { "standby: a is preferred" }.to_owned(),
        }
    }
}

#[async_trait]
impl Operator for Scripted {
    async fn services(&self) -> Result<Services, Refusal> {
        let state = *self.state.lock().unwrap();
        let is_up = state == PlacementState::Up;
        let mut placements = vec![
            self.placement("a", is_up, state),
            self.placement("b", !is_up, PlacementState::Up),
        ];
        for held in &mut placements {
            let key = Drain::key(&held.provider, None);
            let drain = self.store.read(&key).await?;
            held.drained = drain.map(|d| format!("{}: {}", d.body["by"], d.body["why"]));
        }
        let service = Service {
            service: "api".parse().unwrap(),
            kind: ServiceKind::Web,
            exclusive: false,
            active: Some(if is_up { "a" } else { "b" }.parse().unwrap()),
            image: "ghcr.io/acme/api:1.0".to_owned(),
            routes: vec!["shop.example".to_owned()],
            placements,
        };
        let live = Some(ReleaseId(2));
        Ok(Services { live, services: vec![service], silent: Vec::new() })
    }

    fn traffic(&self) -> Traffic {
        let target = TargetTraffic {
            service: "api".parse().unwrap(),
            provider: "a".parse().unwrap(),
            address: "https://a.example".to_owned(),
            state: "serving".to_owned(),
            why: None,
            share: Some(1.0),
            requests_per_s: 12.5,
            failures_per_s: 0.0,
            in_flight: 1,
            p50_ms: Some(4.0),
            p95_ms: Some(9.5),
        };
        let route = RouteTraffic {
            route: "shop.example".to_owned(),
            service: Some("api".parse().unwrap()),
            requests_per_s: 12.5,
            good_per_s: 12.5,
            refused_per_s: 0.0,
            failed_per_s: 0.0,
            retries_per_s: 0.0,
            p50_ms: Some(4.0),
            p95_ms: Some(9.5),
            requests: 4_000,
        };
        Traffic {
            over_ms: 2_000,
            requests_per_s: 12.5,
            in_flight: 1,
            connections: 3,
            routes: vec![route],
            targets: vec![target],
        }
    }

    fn watched(&self) -> Vec<Watched> {
        let mut all = vec![watched("monitor.api", Condition::Up)];
        all.extend(self.more.lock().unwrap().clone());
        all
    }

    fn usage(&self) -> Usage {
        let used = Used {
            what: "requests".to_owned(),
            used: 90.0,
            limit: Some(100.0),
            unit: String::new(),
            resets: None,
            percent: Some(90.0),
            much: true,
            sentence: "90 % of requests are used".to_owned(),
        };
        let provider = ProviderUsage {
            provider: "a".parse().unwrap(),
            kind: "fly".to_owned(),
            tells: true,
            used: vec![used],
            unable: None,
        };
        Usage { asked: Some(NOW), providers: vec![provider] }
    }

    async fn drift(&self) -> Result<Drift, Refusal> {
        let row = Differs {
            service: "api".parse().unwrap(),
            provider: "b".parse().unwrap(),
            what: "replicas".to_owned(),
            wanted: "1".to_owned(),
            found: "3".to_owned(),
        };
        let stray = Stray {
            service: "api".parse().unwrap(),
            providers: vec!["a".parse().unwrap(), "b".parse().unwrap()],
            names: vec!["secret.DB".to_owned(), "secret.TOKEN".to_owned()],
            unable: Some("T of api: `${secret.TOKEN}` leads nowhere".to_owned()),
        };
        let (release, silent) = (Some(ReleaseId(2)), Vec::new());
        let (rows, strays) = match *self.drifts.lock().unwrap() {
            true => (vec![row], vec![stray]),
            false => Default::default(),
        };
        Ok(Drift { release, rows, strays, silent })
    }

    async fn alerts(&self) -> Result<Alerts, Refusal> {
        let post = Post {
            name: "team".to_owned(),
            ways: vec!["slack".to_owned(), "sms-1".to_owned()],
            otherwise: Some("boss".to_owned()),
            unable: None,
        };
        let boss = Post {
            name: "boss".to_owned(),
            ways: Vec::new(),
            otherwise: None,
            unable: Some("its token is missing".to_owned()),
        };
        let message = |id: &str, state, failed: u32| Message {
            id: id.to_owned(),
            alert: "team".to_owned(),
            way: "slack".to_owned(),
            at: NOW,
            title: format!("{id} is down <b>"),
            state,
            failed,
            said: (failed > 0).then(|| "slack: token_revoked".to_owned()),
            may_have_come: failed > 1,
            passed_on: failed > 1,
        };
        let mut messages =
            vec![message("m2", MessageState::Waiting, 2), message("m1", MessageState::GivenUp, 40)];
        messages.extend((0..120).map(|n| message(&format!("old{n}"), MessageState::Sent, 0)));
        Ok(Alerts { posts: vec![boss, post], messages })
    }

    fn untold(&self) -> Vec<Tried> {
        self.untold.lock().unwrap().clone()
    }

    async fn try_alert(&self, alert: &str) -> Result<Vec<Tried>, Refusal> {
        if alert != "team" {
            let what = format!("there is no alert `{alert}`");
            return Err(Refusal::new(Why::Missing, what, ""));
        }
        let tried = |way: &str, failed: Option<&str>| Tried {
            alert: alert.to_owned(),
            way: way.to_owned(),
            failed: failed.map(str::to_owned),
        };
        Ok(vec![tried("slack", Some("slack: token_revoked")), tried("sms-1", None)])
    }

    fn certificates(&self) -> Vec<Certificate> {
        vec![Certificate {
            origin: "files main".to_owned(),
            names: vec!["shop.example".to_owned()],
            begins: NOW - 86_400_000,
            ends: NOW + 10 * 86_400_000,
            days_left: 10,
        }]
    }

    fn metrics(&self) -> String {
        "# HELP linkflow_edge_requests_in_flight Requests under way.\n\
         # TYPE linkflow_edge_requests_in_flight gauge\nlinkflow_edge_requests_in_flight 1\n"
            .to_owned()
    }

    async fn plan(&self, order: &Order) -> Result<Outline, Refusal> {
        if let Order::Restart(service, _) = order
            && service.as_str() != "api"
        {
            let what = format!("there is no service `{service}`");
            return Err(Refusal::new(Why::Missing, what, ""));
        }
        let step = OutlineStep {
            what: "serve api from a".to_owned(),
            why: "it is asked for".to_owned(),
            changes: vec!["image: 1.0 -> 1.1".to_owned()],
        };
        Ok(Outline {
            what: order.words(),
            release: Some(ReleaseId(3)),
            stages: vec![OutlineStage { name: "rollout".to_owned(), steps: vec![step] }],
            held: Vec::new(),
            findings: Vec::new(),
        })
    }

    async fn begin(&self, order: &Order, by: &str, why: &str) -> Result<Begun, Refusal> {
        self.plan(order).await?;
        if *self.busy.lock().unwrap() {
            let what = "run-000009 is under way: deploy";
            return Err(Refusal::new(Why::Busy, what, "wait until it has ended"));
        }
        let row = (order.words(), by.to_owned(), why.to_owned());
        self.orders.lock().unwrap().push(row);
        if *self.hangs.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        Ok(Begun { run: Some("run-000001".to_owned()), said: "run-000001 has begun".to_owned() })
    }
}

/// A site with something in its store.
pub(crate) struct Stage {
    pub(crate) site: Site,
    pub(crate) operator: Arc<Scripted>,
    pub(crate) store: Arc<Memory>,
}

impl Scripted {
    /// One that has done nothing yet.
    pub(crate) fn new(store: &Arc<Memory>) -> Self {
        Self {
            store: Arc::clone(store),
            state: Mutex::new(PlacementState::Up),
            busy: Mutex::default(),
            hangs: Mutex::default(),
            orders: Mutex::default(),
            more: Mutex::default(),
            drifts: Mutex::default(),
            untold: Mutex::default(),
        }
    }
}

/// Addresses of a heartbeat and a provider.
fn addresses() -> Source {
    Source {
        derive: Arc::new(|label| Sha256::digest(label).into()),
        base: "https://ops.example.com".to_owned(),
        given: None,
        uuids: BTreeMap::new(),
        heartbeats: ["backup".to_owned()].into(),
        hooks: BTreeMap::from([("sentry".to_owned(), "by hand")]),
    }
}

/// A site over `store`, of a process that has done nothing yet.
pub(crate) fn site(store: &Arc<Memory>, clock: Arc<dyn Clock>, config: Config) -> Site {
    let nobody = tokio::sync::watch::channel(Addresses::default()).1;
    let nowhere = tokio::sync::watch::channel(BTreeMap::new()).1;
    Site {
        store: Arc::clone(store) as _,
        clock,
        config: Arc::new(config),
        eyes: Arc::default(),
        operator: Arc::new(Scripted::new(store)),
        live: Live::default(),
        beats: Intake::new(nobody, 100, Arc::default()),
        seal: Seal::new(&[7; 32]),
        hooks: Arc::new(Hooks::new(nowhere, BTreeMap::new())),
        addresses: addresses(),
        desk: None,
    }
}

const CONFIG: &str = "[stack]\nname = \"shop\"\n[services.api]\nimage = \"ghcr.io/acme/api:1.0\"\nport = 80\n\
                      [monitors.api]\nhttp = \"https://shop.example/health\"\n\
                      [maintenance.backup]\ntitle = \"Backups\"\ncron = \"30 2 * * 0\"\n\
                      time_zone = \"Europe/Berlin\"\nlasts = \"1h\"\non = \"service.api\"\n";

impl Stage {
    /// A release, a run, events, an outage with its looks.
    pub(crate) async fn new() -> Self {
        let store = Arc::new(Memory::default());
        let files = BTreeMap::from([("linkflow.toml".to_owned(), CONFIG)]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let operator = Arc::new(Scripted::new(&store));
        let stage = Self {
            site: Site {
                operator: Arc::clone(&operator) as _,
                ..site(&store, Arc::new(Hand::default()), config)
            },
            operator,
            store,
        };
        stage.fill().await;
        stage
    }

    async fn fill(&self) {
        for (number, state) in [(1, "superseded"), (2, "live")] {
            let release = json!({
                "id": format!("r{number}"), "at": NOW - 7_200_000, "state": state, "why": "apply", "before": null, "services": {},
            });
            self.put(&format!("release/r{number}"), release).await;
        }
        let step = json!({
            "step": { "action": { "do": "activate", "service": "api", "provider": "a" }, "why": "a is preferred" },
            "state": "done", "said": "switched", "took_ms": 4,
        });
        let run = json!({
            "id": "run-000001", "kind": "apply", "why": "apply", "at": NOW - 7_200_000, "state": "done",
            "owner": { "id": "1", "host": "box", "pid": 1, "what": "linkflow up", "who": "ann" },
            "stages": [{ "name": "switch", "steps": [step] }],
        });
        self.put("run/run-000001", run).await;
        for n in 0..30_u64 {
            let at = Timestamp(NOW - 3_600_000 + n * 1_000);
            let message = format!("event number {n} of <api>");
            let level = if n % 10 == 0 { Level::Warning } else { Level::Info };
            let mut event = Event::new(at, EventKind::Control, level, message);
            event.service = Some("api".parse().unwrap());
            self.store.append(&event).await.unwrap();
        }
        let spans = [
            (Condition::Up, NOW - 86_400_000, Some(NOW - 3_720_000)),
            (Condition::Down, NOW - 3_720_000, Some(NOW - 3_600_000)),
            (Condition::Up, NOW - 3_600_000, None),
        ];
        for (condition, from, to) in spans {
            let why = (condition == Condition::Down).then(|| "503".to_owned());
            let span = StateSpan {
                subject: "monitor.api".to_owned(),
                condition,
                from: Timestamp(from),
                to: to.map(Timestamp),
                why,
            };
            self.put(&span.key(), json!(span)).await;
        }
        let looks: Vec<Reading> = (0..120_u64).map(look).collect();
        self.store.keep_readings(&looks).await.unwrap();
        self.store.add_up(Timestamp(NOW)).await.unwrap();
    }

    pub(crate) async fn put(&self, key: &str, body: Value) {
        self.store.write(key, None, &body, None).await.unwrap();
    }

    /// The router for somebody with `scope`; for nobody when there is none.
    pub(crate) fn router(&self, scope: Option<Scope>) -> Router {
        let caller = |scope| Caller { name: "ann".to_owned(), scope, means: Means::Token };
        match scope {
            Some(scope) => self.site.clone().router_for(caller(scope)),
            None => self.site.clone().router(),
        }
    }

    /// What is answered to somebody who may operate.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_as(Some(Scope::Operate), method, path, body).await
    }

    pub(crate) async fn ask_as(
        &self,
        scope: Option<Scope>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(scope, request.unwrap()).await
    }

    /// What is answered to a form.
    pub(crate) async fn form(&self, path: &str, fields: &str) -> Answer {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(fields.to_owned()));
        self.send(Some(Scope::Operate), request.unwrap()).await
    }

    pub(crate) async fn send(&self, scope: Option<Scope>, request: Request<Body>) -> Answer {
        let response = self.router(scope).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }
}

/// A look of every half minute; those of the outage are bad.
fn look(n: u64) -> Reading {
    let at = NOW - n * 60_000;
    let well = !(NOW - 3_720_000..NOW - 3_600_000).contains(&at);
    Reading {
        subject: "monitor.api".to_owned(),
        at: Timestamp(at),
        well,
        took_us: 40_000 + (n as u32 * 977) % 20_000,
        phases_us: [1_000, 4_000, 9_000, 38_000],
        why: (!well).then(|| "503".to_owned()),
    }
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
