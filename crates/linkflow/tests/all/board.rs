//! The operators' site of a running `linkflow up`, over HTTP: how things stand, and what is done from there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::page::{Running, start};
use crate::rehearsed::{Stage, routed};

/// A stack on two providers in a rehearsal, served, with the socket of its owner.
struct Board {
    stage: Stage,
    _up: Running,
    said: Value,
}

impl Board {
    fn new() -> Self {
        let stage = Stage::of(&routed("\"shop.example\""));
        let control = stage.control.clone();
        let words = ["up", "--rehearsal", "--listen", "127.0.0.1:0", "--cloud", &control];
        let (up, said) = start(stage.folder(), &words);
        let said = said["result"].clone();
        Self { stage, _up: up, said }
    }

    fn socket(&self) -> PathBuf {
        self.stage.folder().join(".linkflow/rehearsal/site.sock")
    }

    /// What is answered to the owner of the state folder: the status, and the body.
    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = exchange(&self.socket(), method, path, &text);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let value =
            serde_json::from_str(body).unwrap_or_else(|_| panic!("{method} {path}: {answer}"));
        (status, value)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    #[track_caller]
    fn post(&self, path: &str, expected: u16, body: Value) -> Value {
        let (status, value) = self.ask("POST", path, Some(body));
        assert_eq!(status, expected, "{path}: {value}");
        value
    }

    /// Asks until `holds`.
    #[track_caller]
    fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..600 {
            last = self.get(path);
            if holds(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{path} never comes to that: {last:#}");
    }

    /// Waits until `api` serves from `provider`, well.
    #[track_caller]
    fn serves_from(&self, provider: &str) -> Value {
        self.until("/api/v1/services/api", |api| {
            let placements = api["placements"].as_array().unwrap();
            let there = placements.iter().find(|p| p["provider"] == provider).unwrap();
            api["active"] == provider && there["state"] == "up"
        })
    }

    /// Waits for the end of a run that has begun.
    #[track_caller]
    fn ended(&self, begun: &Value) -> Value {
        let run = begun["run"].as_str().unwrap_or_else(|| panic!("no run: {begun}"));
        self.until(&format!("/api/v1/runs/{run}"), |run| run["run"]["state"] != "running")
    }
}

fn exchange(socket: &Path, method: &str, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: linkflow\r\nconnection: close");
    let kind = "content-type: application/json";
    write!(stream, "{head}\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    // Chunks of a long answer are put together.
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.to_lowercase().contains("transfer-encoding: chunked") => {
            format!("{head}\r\n\r\n{}", whole(body))
        }
        _ => answer,
    }
}

fn whole(mut chunks: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        text.push_str(&rest[..size]);
        chunks = &rest[size + 2..];
    }
    text
}

#[test]
fn a_provider_dies_is_drained_and_comes_back_and_a_release_is_put_back_from_the_board() {
    let board = Board::new();
    board.serves_from("a");
    let status = board.get("/api/v1/status");
    assert_eq!((&status["stack"], &status["providers"]), (&json!("shop"), &json!(["a", "b"])));
    assert_eq!(status["live"]["release"], "r1");

    // What dies is seen to move, by whoever listens.
    let mut stream = UnixStream::connect(board.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /events/stream HTTP/1.1\r\nhost: linkflow\r\n\r\n").unwrap();
    board.stage.expect(&["drill", "set", "a", "killed"], 0);
    board.serves_from("b");
    let mut heard = String::new();
    while !heard.contains("event: change") {
        let mut bytes = [0; 1_024];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the stream ended: {heard}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(heard.contains("event: hello"), "{heard}");

    // An incident is opened and taken.
    let opened = json!({ "title": "a died", "text": "We look.", "impact": "major" });
    let opened = board.post("/api/v1/incidents", 201, opened);
    let id = opened["incident"]["id"].as_str().unwrap();
    board.post(&format!("/api/v1/incidents/{id}/acknowledge"), 200, json!({}));
    let list = board.stage.expect(&["incident", "list", "--open", "--json"], 0).value();
    let by = &list["result"]["incidents"][0]["acknowledged"]["by"];
    assert_eq!(by, "the owner of the state folder");

    // It is well again; the other one is drained, and the service leaves it without waiting.
    board.stage.expect(&["drill", "clear"], 0);
    board.until("/api/v1/services/api", |api| api["placements"][0]["state"] == "up");
    let why = json!({ "reason": "b is rebuilt", "provider": "b" });
    board.post("/api/v1/actions/drain", 200, why);
    let api = board.serves_from("a");
    assert_eq!(api["placements"][1]["drained"], "the owner of the state folder: b is rebuilt");
    let top = board.stage.expect(&["top", "--once"], 0);
    assert!(top.out.contains("b is drained by the owner of the state folder"), "{}", top.out);
    let run = board.until("/api/v1/runs", |runs| runs["runs"][0]["state"] == "done");
    let said = run["runs"][0]["why"].as_str().unwrap();
    assert!(said.contains("b is drained"), "the run says why: {said}");
    board.stage.expect(&["undrain", "b", "--reason", "it is over"], 0);
    assert_eq!(board.get("/api/v1/drains"), json!({ "drains": [] }));

    // Another image goes out, and what ran before is put back.
    let plan = json!({ "order": "deploy", "images": { "api": ":1.1" } });
    let plan = board.post("/api/v1/plans", 200, plan);
    assert_eq!(plan["release"], "r2", "{plan}");
    let why = json!({ "reason": "the new one", "images": { "api": ":1.1" } });
    let begun = board.post("/api/v1/actions/deploy", 202, why);
    let run = board.ended(&begun);
    assert_eq!(run["run"]["state"], "done", "{run:#}");
    let said = run["run"]["why"].as_str().unwrap();
    assert!(said.contains("(the owner of the state folder: the new one)"), "{said}");
    let why = json!({ "reason": "the old one was better" });
    let begun = board.post("/api/v1/actions/rollback", 202, why);
    assert_eq!(board.ended(&begun)["run"]["state"], "done");
    let releases = board.get("/api/v1/releases");
    let live = releases["releases"].as_array().unwrap().iter().find(|r| r["state"] == "live");
    assert_eq!(live.unwrap()["release"], "r1");
    let restart = json!({ "reason": "fresh", "service": "api", "on": "b" });
    let begun = board.post("/api/v1/actions/restart", 202, restart);
    assert_eq!(board.ended(&begun)["run"]["state"], "done");
}

#[test]
fn a_service_is_failed_over_to_a_provider_that_is_named_and_stays_there_until_that_is_over() {
    let board = Board::new();
    board.serves_from("a");
    board.until("/api/v1/services/api", |api| api["placements"][1]["state"] == "up");
    let failover = |words: &[&str], code: i32| {
        let words: Vec<&str> = ["failover"].iter().chain(words).copied().collect();
        board.stage.expect(&words, code)
    };
    let said = failover(&["api", "--to", "z", "--reason", "x"], 2);
    assert!(said.err.contains("api may not run on `z`"), "{}", said.err);

    // It goes there at once, although nothing is wrong with what is preferred.
    let said = failover(&["api", "--to", "b", "--for", "1h", "--reason", "a is slow", "--json"], 0);
    assert_eq!(said.value()["result"]["to"], "b");
    let api = board.serves_from("b");
    let why = api["placements"][1]["why"].as_str().unwrap();
    assert!(why.starts_with("serves, asked for by ") && why.ends_with(": a is slow"), "{why}");
    assert_eq!(api["placements"][0]["why"], "standby: b is asked for");
    let run = board.until("/api/v1/runs", |runs| runs["runs"][0]["state"] == "done");
    assert!(run["runs"][0]["why"].as_str().unwrap().contains("b is asked for"), "{run}");
    let status = board.get("/api/v1/status");
    assert_eq!(status["failovers"][0]["service"], "api");
    let top = board.stage.expect(&["top", "--once"], 0);
    assert!(top.out.contains("api was failed over to b by"), "{}", top.out);
    let events = board.stage.expect(&["events"], 0);
    assert!(events.out.contains("has api serve from b: a is slow"), "{}", events.out);

    // What is known to be down is refused, and taken when it is forced: it goes there once it answers.
    failover(&["api", "--back", "--reason", "it is fast again"], 0);
    assert_eq!(board.get("/api/v1/failovers"), json!({ "failovers": [] }));
    board.stage.expect(&["drill", "set", "a", "killed"], 0);
    board.until("/api/v1/services/api", |api| api["placements"][0]["health"] == "down");
    let said = failover(&["--all", "--to", "a"], 5);
    assert!(said.err.contains("api is ") && said.err.contains(" on a"), "{}", said.err);
    failover(&["--all", "--to", "a", "--force"], 0);
    board.stage.expect(&["drill", "clear"], 0);
    board.serves_from("a");
    let gone = failover(&["api", "--back"], 2);
    assert!(gone.err.contains("ordered: every service to a"), "{}", gone.err);
    failover(&["--all", "--back"], 0);

    // Its time is over by itself, and that is told.
    failover(&["api", "--to", "b", "--for", "10s"], 0);
    board.serves_from("b");
    board.until("/api/v1/events?q=time+is+over", |events| events["events"][0].is_object());
    assert_eq!(board.get("/api/v1/failovers"), json!({ "failovers": [] }));
}

#[test]
fn nobody_comes_in_at_the_address_without_a_sign_in_but_for_numbers() {
    let board = Board::new();
    let at = board.said["dashboard"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let ask = |path: &str, more: &str| {
        let mut stream = TcpStream::connect(&at).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for (path, said) in [
        ("/", "HTTP/1.1 303"),
        ("/monitors", "HTTP/1.1 303"),
        ("/events/stream", "HTTP/1.1 303"),
        ("/api/v1/status", "HTTP/1.1 401"),
        ("/api/openapi.json", "HTTP/1.1 401"),
    ] {
        let answer = ask(path, "");
        assert!(answer.starts_with(said), "{path}: {answer}");
    }
    assert!(ask("/healthz", "").starts_with("HTTP/1.1 200"));
    let metrics = ask("/metrics", "");
    assert!(metrics.contains("linkflow_service_up{service=\"api\"}"), "{metrics}");
    assert!(metrics.contains("linkflow_edge_requests_in_flight"), "{metrics}");
    let proxied = ask("/metrics", "x-forwarded-for: 203.0.113.7\r\n");
    assert!(
        proxied.starts_with("HTTP/1.1 401"),
        "who comes through a proxy is not here: {proxied}"
    );
    let none = board.stage.run(&["drain", "z", "--reason", "x"]);
    assert_eq!(none.code, 2, "{}", none.err);
}
