//! Jobs that report, run beside a `linkflow up` that listens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::conversations::{Said, linkflow};

const STACK: &str = r#"
[stack]
name = "jobs"
[providers.embedded]
kind = "embedded"
programs = { "ghcr.io/acme/job" = ["sleep", "5"] }
[services.job]
image = "ghcr.io/acme/job:1"
kind = "worker"
runs_on = ["embedded"]
[heartbeats.backup]
every = "1h"
[heartbeats.quick]
every = "2s"
grace = "1s"
[heartbeats.daily]
cron = "@daily"
time_zone = "Europe/Berlin"
[alerts.team]
command = ["sh", "-c", "cat >> told; echo >> told"]
"#;

/// `linkflow up`, which ends with the test, and where it takes reports.
struct Up {
    process: Child,
    at: String,
}

impl Up {
    fn start(folder: &Path) -> Self {
        Self::begun(Self::command(folder))
    }

    fn command(folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linkflow"));
        command
            .args(["up", "--json", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    fn begun(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let told = process.stdout.as_mut().unwrap();
        let mut values = serde_json::Deserializer::from_reader(told).into_iter::<Value>();
        let value = values.next().unwrap().unwrap();
        let at = value["result"]["dashboard"].as_str().unwrap().to_owned();
        Self { process, at }
    }

    /// What is answered to a `GET` there.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.at.trim_start_matches("http://")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer[9..12].to_owned();
        format!("{status} {}", answer.split_once("\r\n\r\n").unwrap().1)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn stack() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), STACK).unwrap();
    dir
}

/// Asks until the answer is as it should be.
#[track_caller]
fn until(folder: &Path, arguments: &[&str], is_right: impl Fn(&Said) -> bool) -> Said {
    for _ in 0..300 {
        let said = linkflow(folder, arguments);
        if is_right(&said) {
            return said;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = linkflow(folder, arguments);
    panic!("{arguments:?} never said so\n{}\n{}", said.out, said.err);
}

fn shown(folder: &Path, name: &str) -> Value {
    linkflow(folder, &["heartbeat", "show", name, "--json"]).value()["result"].clone()
}

/// The path of the address at which `name` reports by its UUID, and that of the key.
fn paths(folder: &Path, name: &str) -> (String, String) {
    let listed = linkflow(folder, &["heartbeat", "list", "--json"]).value();
    let path = |address: &Value| {
        let address = address.as_str().unwrap().trim_start_matches("http://");
        address[address.find('/').unwrap()..].to_owned()
    };
    let all = listed["result"]["heartbeats"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name).unwrap();
    (path(&one["address"]), path(&listed["result"]["by_key"]))
}

/// `linkflow heartbeat run backup` with `command`, and `input` on its stdin.
fn run(folder: &Path, more: &[&str], command: &[&str], input: &str) -> Said {
    let mut process = Command::new(env!("CARGO_BIN_EXE_linkflow"))
        .args(["heartbeat", "run", "backup"])
        .args(more)
        .arg("--")
        .args(command)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The job may have ended without reading it.
    process.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_job_runs_as_without_us_and_is_told_of() {
    let dir = stack();
    let folder = dir.path();
    let up = Up::start(folder);
    let says = |said: &Said, word: &str, condition: &str| {
        let value = said.value();
        let result = &value["result"];
        let last = result["reports"].as_array().and_then(|all| all.last().cloned());
        last.is_some_and(|beat| beat["says"] == word) && result["condition"] == condition
    };
    let show = ["heartbeat", "show", "backup", "--json"];
    let ran = run(folder, &[], &["sh", "-c", "cat; echo trouble >&2"], "from stdin\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "from stdin\n", "trouble\n"));
    let told = until(folder, &show, |said| says(said, "complete", "up")).value();
    let printed = told["result"]["output"].as_str().unwrap();
    assert!(printed.contains("from stdin") && printed.contains("trouble"), "{printed}");

    let failed = run(folder, &[], &["sh", "-c", "echo no disk; exit 7"], "");
    assert_eq!((failed.code, failed.out.as_str()), (7, "no disk\n"));
    let told = until(folder, &show, |said| says(said, "fail", "down")).value();
    assert_eq!(told["result"]["reports"].as_array().unwrap().len(), 4);
    assert_eq!(told["result"]["why"], "failed with exit code 7");
    until(folder, &["events"], |said| {
        said.out.contains("heartbeat.backup is down: failed with exit code 7")
    });

    let killed = run(folder, &[], &["sh", "-c", "kill -KILL $$"], "");
    assert_eq!(killed.code, 137);
    let late = run(folder, &["--max-runtime", "200ms"], &["sleep", "30"], "");
    assert_eq!(late.code, 124);
    let none = run(folder, &["--no-output"], &["/no/such/program"], "");
    assert_eq!(none.code, 127);
    let text = until(folder, &["heartbeat", "show", "backup"], |said| {
        said.out.contains("cannot be started")
    });
    for part in ["ended by signal 9", "took longer than 200ms", "exit code 7", "  | no disk"] {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
    // The same over the address, which is what other machines have.
    let (_, key) = paths(folder, "backup");
    let to = format!("{}{key}", up.at);
    let ran = run(folder, &["--to", &to], &["echo", "far"], "");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let told = until(folder, &show, |said| says(said, "complete", "up")).value();
    assert_eq!(told["result"]["output"], "far\n");
}

#[test]
fn a_job_is_never_held_up_by_who_cannot_hear_and_tells_it_later() {
    let dir = stack();
    let folder = dir.path();
    // It hangs up on everybody, and ends with the process of the tests.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let to = format!("http://{gone}/p/key-of-the-house");
    let ran = run(folder, &["--to", &to], &["sh", "-c", "exit 3"], "");
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("it is sent with the next one"), "{}", ran.err);
    assert!(!ran.err.contains("key-of-the-house"), "{}", ran.err);
    let spool = folder.join(".local/state/linkflow/heartbeats");
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 2);

    let up = Up::start(folder);
    let (uuid, key) = paths(folder, "backup");
    let real = format!("{}{key}", up.at);
    for entry in std::fs::read_dir(&spool).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap().replace(&to, &real);
        std::fs::write(&file, text).unwrap();
    }
    let ran = run(folder, &["--to", &real], &["true"], "");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
    let show = ["heartbeat", "show", "backup", "--json"];
    let told = until(folder, &show, |said| {
        said.value()["result"]["reports"].as_array().is_some_and(|all| all.len() == 4)
    });
    let said: Vec<String> = told.value()["result"]["reports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|beat| beat["says"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, ["run", "fail", "run", "complete"]);

    // Whoever knows Healthchecks' form only changes the host.
    let bare = uuid.trim_start_matches("/ping");
    assert_eq!(up.get(&format!("{bare}/start")), "200 OK");
    assert_eq!(up.get(bare), "200 OK");
    // An address that was made anew is the only one that is answered.
    let rotated = linkflow(folder, &["heartbeat", "rotate", "backup"]);
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    let fresh = paths(folder, "backup").0;
    assert_ne!(fresh, uuid);
    for _ in 0..100 {
        if up.get(&fresh) == "200 OK" {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((up.get(&fresh), up.get(&uuid)), ("200 OK".to_owned(), "404 not found".to_owned()));
}

#[test]
fn one_that_does_not_come_is_one_incident_an_alert_and_an_all_clear() {
    let dir = stack();
    let folder = dir.path();
    let up = Up::start(folder);
    let open = until(folder, &["incident", "list", "--json"], |said| {
        said.out.contains("quick does not report as it should")
    });
    assert_eq!(open.value()["result"]["incidents"].as_array().unwrap().len(), 1, "{}", open.out);
    let span = &shown(folder, "quick");
    assert_eq!(span["condition"], "down");
    let told = || std::fs::read_to_string(folder.join("told")).unwrap_or_default();
    until(folder, &["events"], |_| told().contains("quick does not report"));
    let (uuid, _) = paths(folder, "quick");
    assert_eq!(up.get(&uuid), "200 OK");
    until(folder, &["incident", "list", "--json"], |said| said.out.contains("\"resolved\""));
    until(folder, &["events"], |_| told().lines().count() >= 2);
    // It is down from the moment at which it was overdue: three seconds after it was first waited for.
    let spans = linkflow(folder, &["events"]).out;
    assert!(spans.contains("heartbeat.quick is down: no report 1 s after it was due"), "{spans}");

    let paused = linkflow(folder, &["heartbeat", "pause", "quick"]);
    assert_eq!(paused.code, 0, "{}", paused.err);
    let list = ["heartbeat", "list"];
    until(folder, &list, |said| said.out.contains("paused by"));
    linkflow(folder, &["heartbeat", "resume", "quick"]);
    until(folder, &list, |said| !said.out.contains("paused by"));
    let own = until(folder, &list, |said| said.out.contains("own.loop"));
    assert!(own.out.contains("0 0 * * * in Europe/Berlin"), "{}", own.out);
}

#[test]
fn what_was_answered_is_not_lost_with_the_process_that_answered() {
    let dir = stack();
    let folder = dir.path();
    let up = Up::start(folder);
    let (uuid, _) = paths(folder, "backup");
    for _ in 0..5 {
        assert_eq!(up.get(&uuid), "200 OK");
    }
    // Killed before anybody can have done more with the last one.
    drop(up);
    let _up = Up::start(folder);
    let show = ["heartbeat", "show", "backup", "--json"];
    let said = until(folder, &show, |said| {
        let value = said.value();
        let reports = value["result"]["reports"].as_array().map_or(0, Vec::len);
        reports == 5 && value["result"]["condition"] == "up"
    });
    assert_eq!(said.value()["result"]["failures"], 0);
    let events = linkflow(folder, &["events"]).out;
    assert!(!events.contains("heartbeat.backup is down"), "{events}");
}

#[test]
fn somebody_elsewhere_is_told_while_all_is_well_and_no_more_afterwards() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let dir = stack();
    let folder = dir.path();
    let more = "[watchdog]\nping = [\"${env.ALIVE}\"]\nevery = \"200ms\"\n";
    std::fs::write(folder.join("linkflow.toml"), format!("{STACK}{more}")).unwrap();
    let mut command = Up::command(folder);
    command.env("ALIVE", format!("http://{at}/alive?key=secret-of-the-house"));
    let up = Up::begun(command);
    // The answer of each is what lets the next one come.
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 1_024];
        let length = stream.read(&mut asked).unwrap();
        let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
        assert!(asked.starts_with("GET /alive?key=secret-of-the-house "), "{asked}");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).unwrap();
    }
    let events = until(folder, &["events"], |said| {
        said.out.contains("watchdog.ping.1 is told that LinkFlow is well")
    });
    assert!(!events.out.contains("secret-of-the-house"), "{}", events.out);
    drop(up);
    listener.set_nonblocking(true).unwrap();
    // One that was on its way when it was killed may still be there; then there is none.
    let left = (0..).take_while(|_| listener.accept().is_ok()).count();
    assert!(left <= 1, "{left}");
}
