//! The sample app as a whole: what goes through it appears once, whoever dies meanwhile.
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use linkflow_model::clock::SystemClock;
use linkflow_model::{Clock, Timestamp};
use linkflow_rehearsal::app;
use linkflow_rehearsal::ledger::{Ledger, LedgerCount, Span};
use linkflow_rehearsal::load::{Kind, Load, Sample};
use linkflow_rehearsal::report::measure::acknowledged;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

#[path = "support/books.rs"]
mod books;
#[path = "support/process.rs"]
mod process;

const SECRET: &str = "the engine's own";

/// Everything that ever happened.
const EVER: Span = Span { from: Timestamp(0), to: Timestamp(u64::MAX / 2) };

/// Services as tasks of this process, wired to each other directly. Aborting a task is as sudden as a kill.
struct Stack {
    folder: tempfile::TempDir,
    ports: BTreeMap<&'static str, u16>,
    database: Option<String>,
    tasks: JoinSet<Result<(), String>>,
    running: BTreeMap<&'static str, AbortHandle>,
}

const SERVED: [&str; 5] =
    ["api", "engine-frontend", "engine-history", "engine-matching", "engine-timer"];

impl Stack {
    /// All seven services.
    async fn start() -> Self {
        Self::start_on(None).await
    }

    async fn start_on(database: Option<String>) -> Self {
        let mut stack = Self {
            folder: tempfile::tempdir().unwrap(),
            ports: BTreeMap::new(),
            database,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
        };
        let mut listeners = BTreeMap::new();
        for service in SERVED {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            stack.ports.insert(service, listener.local_addr().unwrap().port());
            listeners.insert(service, listener);
        }
        for (service, listener) in listeners {
            let run = app::run_on(listener, service, stack.env(service));
            stack.running.insert(service, stack.tasks.spawn(run));
        }
        for service in ["engine-worker", "queue"] {
            let run = app::run(service, stack.env(service));
            stack.running.insert(service, stack.tasks.spawn(run));
        }
        stack
    }

    fn env(&self, service: &str) -> BTreeMap<String, String> {
        env(&self.ledger_path(), self.database.as_deref(), &self.ports, service)
    }

    fn ledger_path(&self) -> std::path::PathBuf {
        self.folder.path().join("ledger.db")
    }

    fn kill(&mut self, service: &str) {
        self.running.remove(service).unwrap().abort();
    }

    async fn start_again(&mut self, service: &'static str) {
        let listener = listen_again(self.ports[service]).await;
        let run = app::run_on(listener, service, self.env(service));
        self.running.insert(service, self.tasks.spawn(run));
    }

    fn url(&self, service: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[service])
    }

    async fn post(&self, key: &str, name: &str) -> Reply {
        post(&self.url("api", "/api/v1/workflows"), key, name).await
    }

    fn count(&self) -> LedgerCount {
        Ledger::open(&self.ledger_path()).unwrap().count(EVER, 0).unwrap()
    }
}

/// The environment of `service`, wired to the services at `ports`.
fn env(
    ledger: &Path,
    database: Option<&str>,
    ports: &BTreeMap<&'static str, u16>,
    service: &str,
) -> BTreeMap<String, String> {
    let at = |name: &str| format!("http://127.0.0.1:{}", ports.get(name).copied().unwrap_or(1));
    let mut env = BTreeMap::from([
        ("FRONTEND_ADDR", at("engine-frontend")),
        ("HISTORY_ADDR", at("engine-history")),
        ("MATCHING_ADDR", at("engine-matching")),
        ("API_BASE_URL", at("api")),
        ("LINKFLOW_SECRET", SECRET.to_owned()),
        ("LINKFLOW_LEDGER", ledger.display().to_string()),
        ("LINKFLOW_SERVICE", service.to_owned()),
        ("LINKFLOW_PROVIDER", "fly".to_owned()),
        ("LINKFLOW_RELEASE", "r1".to_owned()),
        ("LINKFLOW_INSTANCE", format!("{service}-1")),
        ("LINKFLOW_TIMER_MS", "100".to_owned()),
    ]);
    if let Some(url) = database {
        env.insert("DATABASE_URL", url.to_owned());
    }
    env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The connections of a server that was aborted may live for a moment longer.
async fn listen_again(port: u16) -> TcpListener {
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    trailers: HeaderMap,
    bytes: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

async fn send(request: Request<Full<Bytes>>, http2: bool) -> Option<Reply> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let (head, body) = client.request(request).await.ok()?.into_parts();
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Some(Reply { status: head.status, headers: head.headers, trailers, bytes: body.to_bytes() })
}

async fn get(url: &str) -> Reply {
    send(Request::get(url).body(Full::default()).unwrap(), false).await.unwrap()
}

fn a_post(url: &str, key: &str, name: &str) -> Request<Full<Bytes>> {
    let body = json!({ "name": name }).to_string();
    Request::post(url).header("idempotency-key", key).body(Full::from(body)).unwrap()
}

async fn post(url: &str, key: &str, name: &str) -> Reply {
    send(a_post(url, key, name), false).await.unwrap()
}

/// A gRPC call with raw bytes.
async fn call(url: &str, kind: &str, pass: Option<&str>, message: &[u8]) -> Reply {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let mut request = Request::post(url).header("content-type", kind).header("te", "trailers");
    if let Some(pass) = pass {
        request = request.header("authorization", format!("Bearer {pass}"));
    }
    send(request.body(Full::from(framed)).unwrap(), true).await.unwrap()
}

/// Looks every few milliseconds until `wanted` holds, up to 20 s.
async fn until(what: &str, mut wanted: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !wanted().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), looking).await;
    assert!(waited.is_ok(), "{what}: not within 20 s");
}

#[tokio::test]
async fn a_post_goes_through_every_service_and_appears_once() {
    let stack = Stack::start().await;
    let made = stack.post("k1", "first").await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.bytes);
    let entry = made.json();
    assert_eq!((&entry["key"], &entry["name"]), (&json!("k1"), &json!("first")));
    assert_eq!((&entry["release"], &entry["instance"]), (&json!("r1"), &json!("engine-history-1")));
    for (name, value) in
        [("service", "api"), ("release", "r1"), ("provider", "fly"), ("instance", "api-1")]
    {
        assert_eq!(made.headers[format!("x-linkflow-{name}")], value);
    }

    let read = get(&stack.url("api", &format!("/api/v1/workflows/{}", entry["id"]))).await;
    assert_eq!((read.status, read.json()), (StatusCode::OK, entry.clone()));
    let listed = get(&stack.url("api", "/api/v1/workflows?limit=5")).await;
    assert_eq!(listed.json()["workflows"], json!([entry]));

    until("the task is completed", async || stack.count().completions == 1).await;
    let connection = rusqlite::Connection::open(stack.ledger_path()).unwrap();
    until("the notification is sent", async || {
        let sql =
            "SELECT count(*) FROM notifications WHERE state = 'sent' AND taken_by = 'queue-1'";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    })
    .await;
    let counted = stack.count();
    assert_eq!((counted.entries, counted.arrivals, counted.completions), (1, 1, 1));
    assert_eq!((counted.doubled_writes(), counted.open_tasks), (0, 0));
}

#[tokio::test]
async fn the_same_key_again_gives_the_same_entry_and_the_second_arrival_is_seen() {
    let stack = Stack::start().await;
    let first = stack.post("k1", "first").await;
    let second = stack.post("k1", "again").await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.json(), second.json());
    let counted = stack.count();
    assert_eq!((counted.entries, counted.doubled_entries), (1, 0));
    assert_eq!((counted.arrivals, counted.doubled_arrivals, counted.doubled_keys), (2, 1, 1));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let stack = Stack::start().await;
    let url = stack.url("api", "/api/v1/workflows");
    let no_key = Request::post(&url).body(Full::from(r#"{"name":"x"}"#)).unwrap();
    let no_json = Request::post(&url).header("idempotency-key", "k").body(Full::from("{")).unwrap();
    let no_name =
        Request::post(&url).header("idempotency-key", "k").body(Full::from("{}")).unwrap();
    let too_large = a_post(&url, "k", &"x".repeat(70_000));
    for request in [no_key, no_json, no_name, too_large] {
        let reply = send(request, false).await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(!reply.json()["reason"].as_str().unwrap().is_empty());
    }
    assert_eq!(get(&format!("{url}/999")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&stack.url("api", "/elsewhere")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stack.count().arrivals, 0);
}

#[tokio::test]
async fn internal_calls_need_the_shared_secret() {
    let stack = Stack::start().await;
    let url = stack.url("engine-frontend", "/internal/workflows");
    assert_eq!(post(&url, "k1", "x").await.status, StatusCode::UNAUTHORIZED);
    let url = stack.url("api", "/internal/completed");
    assert_eq!(post(&url, "k1", "x").await.status, StatusCode::UNAUTHORIZED);
    let message = br#"{"key":"k1","name":"x"}"#;
    for (service, method) in
        [("engine-history", "History/Append"), ("engine-matching", "Matching/Poll")]
    {
        let url = stack.url(service, &format!("/linkflow.{method}"));
        for pass in [None, Some("the engine's owm"), Some("")] {
            let reply = call(&url, "application/grpc+json", pass, message).await;
            assert_eq!(reply.headers["grpc-status"], "16", "{service} {pass:?}");
        }
    }
    assert_eq!(stack.count().entries, 0);
}

#[tokio::test]
async fn a_dead_service_behind_is_named_and_used_again_once_it_is_back() {
    let mut stack = Stack::start().await;
    assert_eq!(stack.post("k0", "x").await.status, StatusCode::CREATED);
    let rows = [
        ("engine-frontend", StatusCode::BAD_GATEWAY),
        ("engine-history", StatusCode::SERVICE_UNAVAILABLE),
        ("engine-matching", StatusCode::SERVICE_UNAVAILABLE),
    ];
    for (service, status) in rows {
        stack.kill(service);
        until("it is gone", async || stack.post(service, "x").await.status == status).await;
        let reply = stack.post(service, "x").await;
        let reason = reply.json()["reason"].as_str().unwrap().to_owned();
        assert!(reply.status == status && reason.contains(service), "{service}: {reason}");
        stack.start_again(service).await;
        until("it is back", async || stack.post(service, "x").await.status.is_success()).await;
    }
    assert_eq!((stack.count().entries, stack.count().doubled_entries), (4, 0));
}

#[tokio::test]
async fn an_entry_whose_task_was_not_queued_gets_it_later() {
    let mut stack = Stack::start().await;
    stack.kill("engine-matching");
    until("it is gone", async || !stack.post("k1", "x").await.status.is_success()).await;
    let counted = stack.count();
    assert_eq!((counted.entries, counted.completions), (1, 0), "the entry is kept");
    stack.start_again("engine-matching").await;
    until("its task is done", async || stack.count().completions == 1).await;
}

#[tokio::test]
async fn a_broken_image_ends_with_a_reason_and_a_sick_one_says_so() {
    let stack = Stack::start().await;
    let mut env = stack.env("api");
    env.insert("PORT".into(), "0".into());
    env.insert("LINKFLOW_APP_BEHAVIOUR".into(), "crash".into());
    let reason = app::run("api", env.clone()).await.unwrap_err();
    assert!(reason.contains("cannot start"), "{reason}");

    let mut tasks = JoinSet::new();
    for (service, path) in [("api", "/api/v1/health"), ("engine-frontend", "/health")] {
        env.insert("LINKFLOW_APP_BEHAVIOUR".into(), "sick".into());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sick = format!("http://{}{path}", listener.local_addr().unwrap());
        tasks.spawn(app::run_on(listener, service, env.clone()));
        let reply = get(&sick).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.json()["status"], "sick");
        let reply = get(&stack.url(service, path)).await;
        assert_eq!((reply.status, &reply.json()["status"]), (StatusCode::OK, &json!("ok")));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sick = format!("http://{}/grpc.health.v1.Health/Check", listener.local_addr().unwrap());
    tasks.spawn(app::run_on(listener, "engine-history", env));
    let reply = call(&sick, "application/grpc", None, b"").await;
    assert_eq!(reply.bytes.as_ref(), b"\0\0\0\0\x02\x08\x02");
}

#[tokio::test]
async fn the_grpc_health_is_told_in_the_bytes_that_every_prober_reads() {
    let stack = Stack::start().await;
    for service in ["engine-history", "engine-matching", "engine-timer"] {
        let url = stack.url(service, "/grpc.health.v1.Health/Check");
        let reply = call(&url, "application/grpc", None, b"").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers["content-type"], "application/grpc");
        assert_eq!(reply.headers["x-linkflow-service"], service);
        assert_eq!(reply.bytes.as_ref(), b"\0\0\0\0\x02\x08\x01");
        assert_eq!(reply.trailers["grpc-status"], "0");
    }
}

#[tokio::test]
async fn what_is_no_setting_is_said_at_start() {
    let stack = Stack::start().await;
    let rows = [
        ("cron", "PORT", "0", "there is no service `cron`"),
        ("api", "PORT", "http", "PORT=`http` is not a port"),
        ("api", "FRONTEND_ADDR", "", "api needs FRONTEND_ADDR"),
        (
            "engine-worker",
            "HISTORY_ADDR",
            "https://h",
            "HISTORY_ADDR: `https://` is not spoken here",
        ),
        ("engine-timer", "LINKFLOW_TIMER_MS", "1s", "LINKFLOW_TIMER_MS=`1s` is not a number"),
        ("queue", "LINKFLOW_LEDGER", "", "neither DATABASE_URL"),
        ("queue", "LINKFLOW_APP_BEHAVIOUR", "odd", "is not good, crash, sick or bad-migration"),
    ];
    for (service, name, value, wanted) in rows {
        let mut env = stack.env(service);
        env.insert("PORT".into(), "0".into());
        env.insert(name.into(), value.into());
        let reason = app::run(service, env).await.unwrap_err();
        assert!(reason.contains(wanted), "{reason}");
    }
}

#[tokio::test]
async fn whatever_a_migration_is_called_it_writes_one_row_and_ends() {
    let stack = Stack::start().await;
    let mut env = stack.env("api");
    app::run("php artisan migrate --force", env.clone()).await.unwrap();
    env.insert("LINKFLOW_APP_BEHAVIOUR".into(), "bad-migration".into());
    let reason = app::run("migrate", env).await.unwrap_err();
    assert!(reason.contains("broken on purpose"), "{reason}");
    let ran = Ledger::open(&stack.ledger_path()).unwrap().migrations().unwrap();
    let commands: Vec<&str> = ran.iter().map(|(_, command)| command.as_str()).collect();
    assert_eq!(commands, ["php artisan migrate --force", "migrate"]);
}

#[tokio::test]
async fn the_timer_fires_once_per_period_also_when_it_is_restarted_within_one() {
    let mut stack = Stack::start().await;
    for service in SERVED.into_iter().filter(|service| *service != "engine-timer") {
        stack.kill(service);
    }
    let clock = SystemClock::start();
    let began = clock.wall();
    until("it fired", async || stack.count().fires >= 3).await;
    for _ in 0..5 {
        stack.kill("engine-timer");
        stack.start_again("engine-timer").await;
        tokio::time::sleep(Duration::from_millis(130)).await;
    }
    let span = Span { from: began, to: clock.wall() };
    let counted = Ledger::open(&stack.ledger_path()).unwrap().count(span, 100).unwrap();
    assert_eq!(counted.doubled_fires, 0, "{counted:?}");
    let periods = (span.to.0 - span.from.0) / 100;
    assert!(counted.fires + counted.missed_fires <= periods + 2, "{counted:?} of {periods}");
}

#[tokio::test]
async fn two_timers_at_once_are_seen() {
    let stack = Stack::start().await;
    let mut second = JoinSet::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    second.spawn(app::run_on(listener, "engine-timer", stack.env("engine-timer")));
    until("a period is doubled", async || stack.count().doubled_fires >= 1).await;
}

#[tokio::test]
async fn load_on_a_healthy_stack_fails_nowhere_and_every_write_is_in_the_ledger() {
    let stack = Stack::start().await;
    let clock = Arc::new(SystemClock::start());
    let load = Load {
        target: ([127, 0, 0, 1], stack.ports["api"]).into(),
        host: "api.example.com".into(),
        rate: 50,
        write_every: 5,
        timeout: Duration::from_secs(10),
        seed: 1,
    };
    let running = load.start(clock);
    let mut live = running.live();
    live.wait_for(|live| live.requests >= 60).await.unwrap();
    let samples = running.stop().await;
    let failed: Vec<&Sample> = samples.iter().filter(|sample| sample.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let read_back = samples.iter().filter(|s| s.kind == Kind::Read && s.id.is_some()).count();
    assert!(read_back >= 20, "{read_back} of {}", samples.len());
    assert!(samples.iter().all(|sample| sample.provider.as_deref() == Some("fly")));
    let keys: Vec<&str> = acknowledged(&samples).collect();
    let ledger = Ledger::open(&stack.ledger_path()).unwrap();
    assert_eq!(ledger.missing(keys.iter().copied()).unwrap(), [""; 0]);
    let counted = ledger.count(EVER, 0).unwrap();
    assert_eq!((counted.entries, counted.arrivals), (keys.len() as u64, keys.len() as u64));
    assert_eq!(counted.doubled_writes(), 0);
}

#[tokio::test]
async fn other_methods_than_the_known_are_not_there() {
    let stack = Stack::start().await;
    let url = stack.url("api", "/api/v1/workflows");
    let request = Request::builder().method(Method::DELETE).uri(url).body(Full::default()).unwrap();
    assert_eq!(send(request, false).await.unwrap().status, StatusCode::NOT_FOUND);
    for (service, path) in [
        ("engine-history", "/linkflow.History/Forget"),
        ("engine-matching", "/linkflow.Other/Poll"),
    ] {
        let reply =
            call(&stack.url(service, path), "application/grpc+json", Some(SECRET), b"{}").await;
        assert_eq!(reply.headers["grpc-status"], "12");
    }
}
