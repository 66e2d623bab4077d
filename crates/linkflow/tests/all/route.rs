//! `linkflow route`: what a running `linkflow up` does, seen from beside it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::conversations::linkflow;
use crate::rehearsed::{Stage, routed};

fn shop() -> String {
    let routes = r#"["api.example.com", "shop.example.com/api"]"#;
    // Only what the test itself asks for is to be counted.
    let stack = routed(routes).replacen("[stack]", "[stack]\nwatch = false", 1);
    format!("{stack}confirm = \"500ms\"\n")
}

/// `linkflow up`, which ends with the test.
struct Up {
    process: Child,
    public: String,
}

impl Up {
    fn start(stage: &Stage) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_linkflow"))
            .args(["up", "--json", "--listen", "127.0.0.1:0", "--cloud", &stage.control])
            .current_dir(stage.folder())
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut text = String::new();
        for line in BufReader::new(process.stdout.as_mut().unwrap()).lines() {
            text.push_str(&line.unwrap());
            if serde_json::from_str::<Value>(&text).is_ok() {
                break;
            }
        }
        let value: Value = serde_json::from_str(&text).unwrap();
        Self { public: value["result"]["public"].as_str().unwrap().to_owned(), process }
    }

    /// The status of the answer to one request.
    fn get(&self, host: &str, path: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.public).unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Asks it to stop, and waits until it has.
    fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.wait().unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
        }
    }
}

fn find<'v>(list: &'v Value, key: &str, value: &str) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|row| row[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value}: {list:#}"))
}

#[test]
fn what_up_does_is_seen_from_beside_it() {
    let stage = Stage::of(&shop());
    stage.expect(&["apply"], 0);
    let up = Up::start(&stage);
    let well = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        up.get("api.example.com", "/api/v1/health") == 200
    });
    assert!(well, "it never answered");
    assert_eq!(up.get("shop.example.com", "/api/v1/health"), 200);
    assert_eq!(up.get("else.example.com", "/"), 404);

    let top = stage.expect(&["route", "top", "--json"], 0).value();
    let (routes, targets) = (&top["result"]["routes"], &top["result"]["targets"]);
    assert_eq!(find(routes, "route", "shop.example.com/api")["requests"], 1);
    assert_eq!(find(routes, "route", "(none)")["requests"], 1);
    assert!(find(routes, "route", "api.example.com")["requests"].as_u64() >= Some(1));
    assert_eq!(find(targets, "provider", "a")["state"], "serving");
    assert_eq!(find(targets, "provider", "b")["state"], "spare");

    let once = stage.expect(&["route", "top", "--once"], 0).out;
    for part in ["shop", "ROUTE", "api.example.com", "TARGET", "serving", "spare"] {
        assert!(once.contains(part), "{part}: {once}");
    }
    assert!(once.lines().all(|line| line.chars().count() <= 80), "{once}");
    assert!(!once.contains('\u{1b}'), "no colours and no other screen beside a terminal: {once}");

    let list = stage.expect(&["route", "list"], 0).out;
    assert!(list.contains("shop.example.com/api") && list.contains("a (serving)"), "{list}");

    stage.expect(&["drill", "set", "a", "killed"], 0);
    let is_down = (0..100).any(|_| {
        let top = stage.expect(&["route", "top", "--json"], 0).value();
        let dead = find(&top["result"]["targets"], "provider", "a").clone();
        ["down", "ejected"].contains(&dead["state"].as_str().unwrap()) && dead["why"].is_string()
    });
    assert!(is_down, "the dead target is never said to be");

    let socket = stage.folder().join(".linkflow/rehearsal/edge.sock");
    assert!(socket.exists());
    up.stop();
    assert!(!socket.exists(), "it is left behind");
    let nobody = stage.expect(&["route", "top"], 1);
    assert!(nobody.err.contains("start `linkflow up`"), "{}", nobody.err);
}

#[test]
fn what_a_killed_process_left_is_in_nobodys_way() {
    let stage = Stage::of(&shop());
    // The path of a socket may not be as long as that of a file; a state folder may be.
    let state = format!("{}/state", "a-long-name-of-a-folder".repeat(6));
    std::fs::create_dir_all(stage.folder().join(&state)).unwrap();
    let start = || {
        let mut up = Command::new(env!("CARGO_BIN_EXE_linkflow"));
        up.args(["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control, "--state", &state]);
        up.current_dir(stage.folder()).env_clear();
        Up {
            process: up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
            public: String::new(),
        }
    };
    let is_seen = || {
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            stage.run(&["route", "list", "--state", &state, "--json"]).value()["result"]["live"]
                == true
        })
    };
    let mut killed = start();
    assert!(is_seen());
    killed.process.kill().unwrap();
    killed.process.wait().unwrap();
    assert!(stage.folder().join(&state).join("edge.sock").exists());
    let gone = stage.run(&["route", "top", "--json", "--state", &state]);
    assert_eq!((gone.code, &gone.value()["ok"]), (1, &Value::Bool(false)));
    let _again = start();
    assert!(is_seen());
}

#[test]
fn without_a_running_process_there_is_a_list_and_no_live_view() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), shop()).unwrap();
    let top = linkflow(dir.path(), &["route", "top"]);
    assert_eq!((top.code, top.out.as_str()), (1, ""));
    assert!(top.err.contains("help: start `linkflow up`"), "{}", top.err);
    let list = linkflow(dir.path(), &["route", "list"]);
    assert_eq!(list.code, 0);
    assert!(list.out.contains("shop.example.com/api  api      a, b"), "{}", list.out);
    assert!(list.err.contains("nothing runs"), "{}", list.err);
}
