//! What can be seen of the edge: the access log, metrics, and the picture of `route top`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::Request;
use linkflow_edge::{
    AccessLogOptions, EdgePicture, Front, Guard, Limits, LogTo, RateRule, RoutePicture,
    TargetPicture, TargetState, Watched,
};
use linkflow_model::{EventKind, HostRoute, Routes};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Read, Setup, Stage, provider, until};
use crate::upstream::full;

/// A stage that logs into a file, and has metrics.
struct Seen {
    stage: Stage,
    log: PathBuf,
    folder: tempfile::TempDir,
}

async fn seen(sample: f64, guard: Guard) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let access_log = Some(AccessLogOptions { to: LogTo::File(log.clone()), sample, hidden: None });
    let watched = Watched { access_log, metrics: Some("127.0.0.1:0".parse().unwrap()) };
    let front = Front { guard, ..Front::default() };
    let stage = Stage::with(Setup { front, watched, limits: steady(), ..Setup::default() }).await;
    stage.is_up(&[]).await;
    Seen { stage, log, folder }
}

/// No second try for what is merely slow, so that counts are what they are.
fn steady() -> Limits {
    Limits { hedge: false, ..Limits::default() }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Seen {
    /// The lines of the log, once there are so many.
    async fn lines(&self, count: usize) -> Vec<Value> {
        until(|| lines(&self.log).len() >= count).await;
        let lines = lines(&self.log);
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    async fn metrics(&self) -> Metrics {
        let at = self.stage.edge.metrics().unwrap();
        let request = Request::get(format!("http://{at}/metrics")).body(full("")).unwrap();
        let Read { status, headers, text } = self.stage.send(request).await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Metrics(text)
    }
}

struct Metrics(String);

impl Metrics {
    /// The value of a sample, with its name and labels as they stand.
    #[track_caller]
    fn is(&self, sample: &str, value: u64) {
        let line = format!("linkflow_edge_{sample} {value}");
        assert!(self.0.lines().any(|l| l == line), "{line}\n{}", self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_says_all_of_a_request_but_what_may_be_secret() {
    let seen = seen(1.0, Guard::default()).await;
    let request = seen.stage.request("POST", "/sink?token=hush").header("authorization", "hush");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = request.header("traceparent", trace).header("cookie", "hush=hush");
    let answer = seen.stage.send(request.body(full("hush!")).unwrap()).await.unwrap();
    assert_eq!(answer.text, "a took 5");
    let line = seen.lines(1).await.remove(0);
    let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "time request_id trace_id client_ip method scheme host path protocol status bytes_received \
        bytes_sent first_byte_ms duration_ms route service target tries hedged stale why";
    assert_eq!(keys.join(" "), expected);
    for (key, value) in [
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("client_ip", "127.0.0.1"),
        ("method", "POST"),
        ("scheme", "http"),
        ("host", "api.example"),
        ("path", "/sink"),
        ("protocol", "HTTP/1.1"),
        ("route", "api.example"),
        ("service", "api"),
        ("target", "a"),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    for (key, value) in [("status", 200), ("bytes_received", 5), ("bytes_sent", 8), ("tries", 1)] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    assert_eq!((&line["hedged"], &line["stale"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!(line["why"], Value::Null);
    assert_eq!(line["request_id"].as_str().unwrap().len(), 32);
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{time}");
    let (first, whole) = (&line["first_byte_ms"], &line["duration_ms"]);
    assert!(0.0 < first.as_f64().unwrap() && first.as_f64() <= whole.as_f64(), "{line}");
    assert!(!fs::read_to_string(&seen.log).unwrap().contains("hush"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_written_whatever_the_share_is() {
    let seen = seen(0.0, Guard::default()).await;
    for _ in 0..20 {
        assert_eq!(seen.stage.get("/read").await.status, 200);
    }
    seen.stage.ups[0].ways.status.store(500, Relaxed);
    assert_eq!(seen.stage.get("/read").await.status, 500);
    seen.stage.ups[0].ways.status.store(0, Relaxed);
    let half = seen.stage.request("GET", "/half").body(full("")).unwrap();
    seen.stage.send(half).await.unwrap_err();
    let lines = seen.lines(2).await;
    let said: Vec<_> = lines.iter().map(|l| (l["status"].as_u64(), l["why"].as_str())).collect();
    assert_eq!(said, [(Some(500), None), (Some(200), Some("broken_off"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_edge_itself_says_why() {
    let requests = 1.try_into().unwrap();
    let rate =
        RateRule { requests, per_ms: 600_000, paths: vec!["/limited".to_owned()], header: None };
    let guard = Guard { rate: Some(rate), stale_bytes: 1 << 20, ..Guard::default() };
    let seen = seen(1.0, guard).await;
    let at = async |host: &str, path: &str| {
        let url = format!("http://{}{path}", seen.stage.edge.public());
        let request = Request::get(url).header("host", host).body(full("")).unwrap();
        seen.stage.send(request).await.unwrap().status.as_u16()
    };
    assert_eq!(at("api.example", "/headers").await, 200);
    assert_eq!(at("else.example", "/").await, 404);
    at("api.example", "/limited").await;
    assert_eq!(at("api.example", "/limited").await, 429);
    for up in &seen.stage.ups {
        up.kill().await;
    }
    assert_eq!(at("api.example", "/headers").await, 200);
    assert_eq!(at("api.example", "/new").await, 503);
    let lines = seen.lines(6).await;
    let said: Vec<String> = lines
        .iter()
        .map(|l| format!("{} {} {} {}", l["status"], l["why"], l["stale"], l["route"]))
        .collect();
    assert_eq!(said[1], r#"404 "no_route" false null"#);
    assert_eq!(said[3], r#"429 "rate_limited" false null"#);
    assert_eq!(said[4], r#"200 "stale" true "api.example""#);
    assert_eq!(said[5], r#"503 "no_target" false "api.example""#);
    assert_eq!(lines[5]["target"], Value::Null);
    assert_eq!(lines[5]["tries"], 2, "both were tried: {}", lines[5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_early_is_noted_as_gone() {
    let seen = seen(1.0, Guard::default()).await;
    seen.stage.ups[0].ways.delay.store(60_000, Relaxed);
    let request = seen.stage.request("POST", "/write").header("x-id", "one");
    let asking = seen.stage.client.request(request.body(full("x")).unwrap());
    let asking = tokio::time::timeout(Duration::from_millis(100), asking).await;
    assert!(asking.is_err(), "the client waits no longer");
    let line = seen.lines(1).await.remove(0);
    assert_eq!((&line["status"], &line["why"]), (&499.into(), &"client_left".into()), "{line}");
    assert_eq!(line["first_byte_ms"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgraded_connection_is_one_line_at_its_end() {
    let seen = seen(1.0, Guard::default()).await;
    let mut stream = TcpStream::connect(seen.stage.edge.public()).await.unwrap();
    let ask = "GET /echo HTTP/1.1\r\nhost: api.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    assert!(lines(&seen.log).is_empty(), "it is not over yet");
    drop(stream);
    let line = seen.lines(1).await.remove(0);
    assert_eq!((&line["status"], &line["why"]), (&101.into(), &Value::Null), "{line}");
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&5.into(), &5.into()), "{line}");
    assert_eq!(line["target"], "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_moved_away_is_begun_anew() {
    let seen = seen(1.0, Guard::default()).await;
    seen.stage.get("/one").await;
    seen.lines(1).await;
    let moved = seen.folder.path().join("access.log.1");
    fs::rename(&seen.log, &moved).unwrap();
    seen.stage.get("/two").await;
    let fresh = seen.lines(1).await;
    assert_eq!(fresh[0]["path"], "/two");
    let old: Vec<Value> = lines(&moved);
    assert_eq!((old.len(), &old[0]["path"]), (1, &"/one".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_lines_and_no_request() {
    let access_log = Some(AccessLogOptions {
        to: LogTo::File(PathBuf::from("/dev/full")),
        sample: 1.0,
        hidden: None,
    });
    let watched = Watched { access_log, metrics: None };
    let stage = Stage::with(Setup { watched, ..Setup::default() }).await;
    stage.is_up(&[]).await;
    for _ in 0..10 {
        assert_eq!(stage.get("/read").await.status, 200);
    }
    let view = stage.edge.view();
    let dropped = "linkflow_edge_access_log_dropped_total{reason=\"write\"} 10";
    until(|| view.metrics().lines().any(|line| line == dropped)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_waiting_is_written_when_the_edge_stops() {
    let seen = seen(1.0, Guard::default()).await;
    for _ in 0..50 {
        assert_eq!(seen.stage.get("/read").await.status, 200);
    }
    let Seen { stage, log, folder: _folder } = seen;
    stage.stop(Duration::from_secs(1)).await;
    assert_eq!(lines(&log).len(), 50);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let to = LogTo::File(folder.path().join("no/such/folder/access.log"));
    let access_log = Some(AccessLogOptions { to, sample: 1.0, hidden: None });
    let watched = Watched { access_log, metrics: None };
    let error = Stage::refused(Setup { watched, ..Setup::default() }).await;
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("no/such/folder/access.log"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_was_asked_and_promtool_has_nothing_against_them() {
    let guard = Guard { stale_bytes: 1 << 20, ..Guard::default() };
    let mut seen = seen(1.0, guard).await;
    for _ in 0..3 {
        seen.stage.get("/read").await;
    }
    let post = seen.stage.request("POST", "/sink").body(full("12345")).unwrap();
    seen.stage.send(post).await.unwrap();
    seen.stage.ups[0].ways.status.store(503, Relaxed);
    for _ in 0..3 {
        assert_eq!(seen.stage.get("/read").await.text, "b");
    }
    seen.stage.event(EventKind::Ejected).await;
    let internal = seen.stage.edge.internal(&crate::stage::service()).unwrap();
    let inside = Request::get(format!("http://{internal}/read")).body(full("")).unwrap();
    seen.stage.send(inside).await.unwrap();
    seen.lines(8).await;
    let metrics = seen.metrics().await;
    let route = "service=\"api\",route=\"api.example\"";
    metrics.is(&format!("requests_total{{{route},code=\"2xx\"}}"), 7);
    metrics.is(&format!("requests_total{{{route},code=\"5xx\"}}"), 0);
    metrics.is(&format!("request_first_byte_seconds_count{{{route}}}"), 7);
    metrics.is(&format!("received_bytes_total{{{route}}}"), 5);
    metrics.is(&format!("sent_bytes_total{{{route}}}"), "aaabbba took 5".len() as u64);
    metrics.is("requests_total{service=\"api\",route=\"(internal)\",code=\"2xx\"}", 1);
    metrics.is("target_responses_total{service=\"api\",target=\"a\",code=\"2xx\"}", 4);
    metrics.is("target_responses_total{service=\"api\",target=\"a\",code=\"5xx\"}", 3);
    metrics.is("target_responses_total{service=\"api\",target=\"b\",code=\"2xx\"}", 4);
    metrics.is("target_retries_total{service=\"api\",target=\"b\"}", 3);
    metrics.is(&format!("request_retries_total{{{route}}}"), 3);
    metrics.is("target_ejections_total{service=\"api\",target=\"a\"}", 1);
    metrics.is("target_usable{service=\"api\",target=\"a\"}", 0);
    metrics.is("target_usable{service=\"api\",target=\"b\"}", 1);
    metrics.is("target_in_flight{service=\"api\",target=\"b\"}", 0);
    metrics.is("access_log_lines_total", 8);
    metrics.is("access_log_dropped_total{reason=\"full\"}", 0);
    metrics.is("stale_pages", 2);
    promtool(&metrics.0);
}

/// Has Prometheus's own tool look at metrics, which fails on bad ones and on names against its conventions.
fn promtool(metrics: &str) {
    const PROGRAM: &str = "/usr/bin/promtool";
    if !Path::new(PROGRAM).exists() {
        eprintln!("skipped: promtool is not installed");
        return;
    }
    let mut check = Command::new(PROGRAM)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let said = check.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(said.status.success() && words.is_empty(), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_more_series_for_more_visitors() {
    let seen = seen(0.0, Guard::default()).await;
    seen.stage.get("/read").await;
    let names = |metrics: &Metrics| {
        metrics.0.lines().filter_map(|l| l.rsplit_once(' ')).map(|(n, _)| n.to_owned()).collect()
    };
    let before: Vec<String> = names(&seen.metrics().await);
    for at in 0..20 {
        let url = format!("http://{}/{at}?{at}", seen.stage.edge.public());
        let host = if at % 2 == 0 { "api.example".to_owned() } else { format!("{at}.example") };
        let request = Request::get(url).header("host", host).header("user-agent", at.to_string());
        seen.stage.send(request.body(full("")).unwrap()).await.unwrap();
    }
    assert_eq!(names(&seen.metrics().await), before);
    let elsewhere = format!("http://{}/", seen.stage.edge.metrics().unwrap());
    let elsewhere = Request::get(elsewhere).body(full("")).unwrap();
    assert_eq!(seen.stage.send(elsewhere).await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_go_on_when_routes_change_and_targets_move() {
    let mut seen = seen(0.0, Guard::default()).await;
    seen.stage.get("/read").await;
    seen.stage.routes.send_modify(|held| {
        let mut routes = Routes::clone(held);
        routes.generation += 1;
        routes.services[0].hosts.push(HostRoute::new("api.example", "/other"));
        // What was at `a` is where `b` is now, as after a deploy to another address.
        routes.services[0].targets[0].address = routes.services[0].targets[1].address.clone();
        routes.services[0].targets.truncate(1);
        *held = Arc::new(routes);
    });
    seen.stage.event(EventKind::Up).await;
    assert_eq!(seen.stage.get("/read").await.text, "b");
    assert_eq!(seen.stage.get("/other").await.text, "b");
    let picture = seen.stage.edge.view().picture();
    assert_eq!(route(&picture, "api.example").answers, [0, 2, 0, 0, 0]);
    assert_eq!(route(&picture, "api.example/other").answers, [0, 1, 0, 0, 0]);
    assert_eq!(target(&picture, "a").requests, 3);
}

fn route<'p>(picture: &'p EdgePicture, label: &str) -> &'p RoutePicture {
    picture.routes.iter().find(|route| route.route == label).unwrap()
}

fn target<'p>(picture: &'p EdgePicture, name: &str) -> &'p TargetPicture {
    picture.targets.iter().find(|target| target.provider == provider(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_says_how_each_target_stands_and_why() {
    let stage = Stage::with(Setup { limits: steady(), ..Setup::default() }).await;
    stage.is_up(&[]).await;
    let view = stage.edge.view();
    stage.get("/read").await;
    let states = |picture: &EdgePicture| -> BTreeMap<String, TargetState> {
        picture.targets.iter().map(|t| (t.provider.to_string(), t.state)).collect()
    };
    let picture = view.picture();
    let expected = [("a", TargetState::Serving), ("b", TargetState::Spare)];
    assert_eq!(states(&picture), expected.map(|(name, state)| (name.to_owned(), state)).into());
    assert_eq!(target(&picture, "a").first_byte.iter().sum::<u64>(), 1);
    // Answers that fail, while checks pass: ejected, not down.
    stage.ups[0].ways.status.store(503, Relaxed);
    for _ in 0..3 {
        assert_eq!(stage.get("/read").await.text, "b");
    }
    let picture = view.picture();
    let ejected = target(&picture, "a");
    assert_eq!(ejected.state, TargetState::Ejected);
    assert!(ejected.why.as_ref().unwrap().contains("503"), "{ejected:?}");
    assert!(ejected.left_ms.is_some_and(|left| (1..=2_000).contains(&left)), "{ejected:?}");
    assert_eq!(target(&picture, "b").state, TargetState::Serving);
    assert!(route(&picture, "api.example").retries >= 1);
    stage.ups[1].kill().await;
    until(|| target(&view.picture(), "b").state == TargetState::Down).await;
    let why = target(&view.picture(), "b").why.clone();
    assert_eq!(why.as_deref(), Some("connection refused"));
    let json = serde_json::to_string(&view.picture()).unwrap();
    serde_json::from_str::<EdgePicture>(&json).unwrap();
}

/// Asks over a connection that is open, in pieces, and gives the answer's last word.
async fn ask(stream: &mut TcpStream, pieces: &[&str]) -> String {
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = [0; 1_000];
    let length = stream.read(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.rsplit_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_nothing_to_say_rests_and_goes_on_whole() {
    let seen = seen(1.0, Guard::default()).await;
    let mut idle = TcpStream::connect(seen.stage.edge.public()).await.unwrap();
    let mut slow = TcpStream::connect(seen.stage.edge.public()).await.unwrap();
    let get = "GET /read HTTP/1.1\r\nhost: api.example\r\n\r\n";
    assert_eq!(ask(&mut idle, &[get]).await, "a");
    // It has begun to ask: that is no rest.
    slow.write_all(b"GET /re").await.unwrap();
    let view = seen.stage.edge.view();
    for pieces in [&["G", "ET /read HTTP/1.1\r\nhost: api", ".example\r\n\r\n"][..], &[get]] {
        let resting = || view.metrics().contains("\nlinkflow_edge_connections_resting 1\n");
        until(resting).await;
        assert_eq!(ask(&mut idle, pieces).await, "a");
        assert!(!resting());
    }
    let post = "POST /sink HTTP/1.1\r\nhost: api.example\r\ncontent-length: 5\r\n\r\n";
    assert_eq!(ask(&mut idle, &[post, "12345"]).await, "a took 5");
    assert_eq!(ask(&mut slow, &["ad HTTP/1.1\r\nhost: api.example\r\n\r\n"]).await, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_nothing_or_never_comes_to_the_end_is_shown_out() {
    let mut setup = Setup::default();
    setup.limits.client_idle_ms = 200;
    let stage = Stage::with(setup).await;
    for said in ["", "GET /read HT"] {
        let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0, "{said:?}");
    }
}
