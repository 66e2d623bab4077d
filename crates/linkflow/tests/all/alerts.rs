//! People are told of incidents by the program itself, also when it is killed in the middle of a storm.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use linkflow_model::{Impact, Incident, IncidentStage, Timestamp};
use linkflow_store::{Sqlite, Store};
use serde_json::{Value, json};

use crate::conversations::linkflow;
use crate::rehearsed::Stage;

/// How many incidents there are at once.
const STORM: usize = 100;
/// The message that is in flight when the process is killed.
const FATAL: usize = 30;

const SHOP: &str = r#"
[stack]
name = "shop"
[edge]
listen = "127.0.0.1:0"
[services.web]
image = "ghcr.io/acme/shop:1.0"
port = 8080
[alerts.team]
webhook = "${secret.HOOK}"
webhook_secret = "${secret.HOOK_SECRET}"
"#;

/// What came to the web address, and whether the fatal message may be answered.
#[derive(Default)]
struct Heard {
    notices: Mutex<Vec<Value>>,
    changed: Condvar,
}

impl Heard {
    /// Waits until what came `fits`.
    fn until(&self, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let notices = self.notices.lock().unwrap();
        let patience = Duration::from_secs(120);
        let (notices, late) =
            self.changed.wait_timeout_while(notices, patience, |notices| !fits(notices)).unwrap();
        assert!(!late.timed_out(), "only {} came", notices.len());
        notices.clone()
    }
}

/// A web address that takes messages, and never answers the fatal one.
fn recorder() -> (String, Arc<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hooks/a-long-secret-path", listener.local_addr().unwrap());
    let heard = Arc::new(Heard::default());
    let ears = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let ears = Arc::clone(&ears);
            std::thread::spawn(move || while hear(&stream, &ears).is_some() {});
        }
    });
    (url, heard)
}

/// Takes one message of a connection.
fn hear(stream: &TcpStream, heard: &Heard) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let (name, value) = line.trim().split_once(':').unwrap_or(("", ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let number = {
        let mut notices = heard.notices.lock().unwrap();
        notices.push(serde_json::from_slice::<Value>(&body).ok()?["notice"].clone());
        heard.changed.notify_all();
        notices.len()
    };
    if number == FATAL {
        // It was heard, and whoever sent it never knows.
        std::thread::sleep(Duration::from_secs(600));
        return None;
    }
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}

/// A `linkflow up` that is killed when it is dropped.
struct Up(Child);

impl Up {
    fn start(folder: &Path, hook: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_linkflow"))
            .arg("up")
            .current_dir(folder)
            .env_clear()
            .env("HOOK", hook)
            .env("HOOK_SECRET", "the-signing-secret")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // SIGKILL.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn incident(number: usize) -> Incident {
    Incident {
        id: format!("storm-{number}"),
        title: format!("service {number} is away"),
        impact: Impact::Major,
        stage: IncidentStage::Investigating,
        began: Timestamp(1_790_000_000_000),
        ended: None,
        subjects: vec![format!("monitor.m{number}")],
        cause: None,
        automatic: true,
        public: true,
        acknowledged: None,
        updates: Vec::new(),
    }
}

fn keys(notices: &[Value]) -> BTreeMap<&str, usize> {
    let mut keys = BTreeMap::new();
    for notice in notices {
        *keys.entry(notice["key"].as_str().unwrap()).or_default() += 1;
    }
    keys
}

#[test]
fn a_storm_is_told_whole_though_the_process_is_killed_within_it_and_what_came_twice_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), SHOP).unwrap();
    let (url, heard) = recorder();
    std::fs::create_dir_all(dir.path().join(".linkflow")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Sqlite::open(dir.path().join(".linkflow/linkflow.db")).unwrap();
    for number in 0..STORM {
        let incident = incident(number);
        let body = json!(incident);
        runtime.block_on(store.write(&incident.key(), None, &body, None)).unwrap();
    }
    let up = Up::start(dir.path(), &url);
    heard.until(|notices| notices.len() >= FATAL);
    drop(up);
    let again = Up::start(dir.path(), &url);
    let notices = heard.until(|notices| keys(notices).len() == STORM && notices.len() > STORM);
    drop(again);
    let twice: Vec<(&str, usize)> = keys(&notices).into_iter().filter(|(_, n)| *n > 1).collect();
    let is_marked =
        |notice: &Value| notice["facts"].to_string().contains("may have been told before");
    assert_eq!(twice.len(), 1, "only what was in flight comes again: {twice:?}");
    assert_eq!(twice[0].1, 2);
    let marked: Vec<&Value> = notices.iter().filter(|notice| is_marked(notice)).collect();
    assert_eq!(marked.len(), 1, "and it alone is marked");
    assert_eq!(marked[0]["key"], twice[0].0);
    assert_eq!(marked[0]["key"], notices[FATAL - 1]["key"]);
}

#[test]
fn each_way_is_tried_and_what_did_not_arrive_is_told() {
    let config = "[stack]\nname = \"shop\"\n[services.web]\nimage = \"a:1\"\nport = 80\n[alerts.team]\nslack = \"${secret.SLACK}\"\nemail = [\"ops@example.com\"]\nsms = [\"+491701234567\", \"+491701234568\"]\n[alerts.other]\nwebhook = \"${secret.HOOK}\"\n[providers.twilio]\nkind = \"twilio\"\naccount_sid = \"AC0\"\nfrom = \"+15005550006\"\n[alerts.chat]\nvia = [\"slack\"]\n[providers.slack]\nkind = \"slack\"\ntoken = \"${secret.BOT}\"\nchannel = \"#alerts\"\n[mail]\nfrom = \"shop@example.com\"\nvia = [\"resend\", \"brevo\"]\n[providers.resend]\nkind = \"resend\"\n[providers.brevo]\nkind = \"brevo\"\n";
    let stage = Stage::of(config);
    let said = stage.expect(&["alerts", "test", "team", "--json"], 0).value();
    let tried = said["result"]["tried"].as_array().unwrap();
    let ways: Vec<&str> = tried.iter().map(|row| row["way"].as_str().unwrap()).collect();
    assert_eq!(ways, ["slack", "sms-1", "sms-2", "email-1"]);
    assert!(tried.iter().all(|row| row["failed"].is_null()), "{said}");
    let said = stage.expect(&["alerts", "test", "chat"], 0);
    assert!(said.out.contains("via-slack"), "{}", said.out);
    // The next provider sends it.
    stage.expect(&["drill", "set", "resend", "out-of-quota"], 0);
    stage.expect(&["alerts", "test", "team"], 0);
    // A rehearsal reaches nobody that is real.
    let said = stage.expect(&["alerts", "test", "other"], 1);
    assert!(said.out.contains("it has no way that can be used here"), "{}", said.out);
    stage.expect(&["drill", "set", "twilio", "api-down"], 0);
    let said = stage.expect(&["alerts", "test", "team"], 1);
    assert!(said.err.contains("2 of 4 did not arrive"), "{}", said.err);
    let said = linkflow(stage.folder(), &["alerts", "list"]);
    assert_eq!((said.code, said.out.as_str()), (0, "nobody was told anything yet\n"));
}
