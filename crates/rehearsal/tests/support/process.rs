//! The services as real processes: this test binary again, run as one of them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::StatusCode;
use linkflow_rehearsal::app;
use linkflow_rehearsal::ledger::Ledger;
use rustix::process::{Pid, Signal, kill_process};

use super::{EVER, SECRET, a_post, call, env, send, until};

/// Set in the environment of a process that is to be a service.
const BE: &str = "LINKFLOW_TEST_BE";

#[test]
fn this_test_binary_can_be_a_service() {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let Some(service) = env.get(BE).cloned() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(app::run(&service, env));
    assert_eq!(outcome, Ok(()));
}

fn command(service: &str, env: &BTreeMap<String, String>, port: u16) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "process::this_test_binary_can_be_a_service", "--nocapture"]);
    command.env_clear().envs(env).env(BE, service).env("PORT", port.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// A service as a process; killed when dropped.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    /// Starts `service` on `port` (0: any) and waits until it says where it listens.
    fn start(service: &str, env: &BTreeMap<String, String>, port: u16) -> Self {
        let mut child = command(service, env, port).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains(": started, ")).unwrap();
        // Whatever else it says is read and dropped, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        Self { child, port }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn killing_services_in_the_middle_of_writes_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.db");
    let mut ports = BTreeMap::new();
    let mut running = BTreeMap::new();
    for service in ["engine-matching", "engine-history", "engine-frontend", "api", "engine-worker"]
    {
        let process = Process::start(service, &env(&ledger, None, &ports, service), 0);
        ports.insert(service, process.port);
        running.insert(service, process);
    }
    let url = format!("http://127.0.0.1:{}/api/v1/workflows", ports["api"]);
    let mut posts = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let url = url.clone();
        posts.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..15 {
                let key = format!("{writer}-{number}");
                // The same key until it is acknowledged, as a client that was cut off would.
                while !send(a_post(&url, &key, "x"), false)
                    .await
                    .is_some_and(|r| r.status.is_success())
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                acknowledged.push(key);
            }
            acknowledged
        });
    }
    for service in ["engine-history", "engine-matching", "engine-worker", "engine-history"] {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let process = running.get_mut(service).unwrap();
        process.kill();
        *process = Process::start(service, &env(&ledger, None, &ports, service), process.port);
    }
    let written = tokio::time::timeout(Duration::from_secs(20), posts.join_all()).await;
    let acknowledged = written.expect("every write is acknowledged within 20 s").concat();
    let ledger = Ledger::open(&ledger).unwrap();
    until("every task is done", async || ledger.count(EVER, 0).unwrap().open_tasks == 0).await;
    let counted = ledger.count(EVER, 0).unwrap();
    assert_eq!((counted.entries, counted.completions), (60, 60), "{counted:?}");
    assert_eq!((counted.doubled_entries, counted.doubled_completions), (0, 0), "{counted:?}");
    let missing = ledger.missing(acknowledged.iter().map(String::as_str)).unwrap();
    assert_eq!(missing, [""; 0]);
}

#[tokio::test]
async fn a_service_that_is_asked_to_stop_finishes_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(&folder.path().join("ledger.db"), None, &BTreeMap::new(), "engine-matching");
    let mut process = Process::start("engine-matching", &env, 0);
    let url = format!("http://127.0.0.1:{}/linkflow.Matching/Poll", process.port);
    // There is nothing to take: the poll lasts a second.
    let poll = call(&url, "application/grpc+json", Some(SECRET), b"{}");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.signal(Signal::TERM);
    };
    let (reply, ()) = tokio::join!(poll, stop);
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(&reply.bytes[5..], br#"{"tasks":[]}"#);
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn an_orphan_ends_when_its_stdin_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut env = env(&folder.path().join("ledger.db"), None, &BTreeMap::new(), "queue");
    env.insert("LINKFLOW_ORPHAN".into(), "die".into());
    let mut process = Process::start("queue", &env, 0);
    drop(process.child.stdin.take());
    until("it has ended", async || process.child.try_wait().unwrap().is_some()).await;
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn an_orphan_is_killed_when_its_parent_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut env = env(&folder.path().join("ledger.db"), None, &BTreeMap::new(), "queue");
    env.insert("LINKFLOW_ORPHAN".into(), "die".into());
    let app = command("queue", &env, 0);
    let mut parent = Command::new("/bin/sh");
    // The shell gives what it starts in the background no stdin that could end.
    parent.args(["-c", r#""$@" > "$LOG" & echo $!; wait"#, "sh"]);
    parent.arg(app.get_program()).args(app.get_args());
    parent.env_clear().envs(&env).env(BE, "queue").env("PORT", "0").env("LOG", &log);
    let mut parent = parent.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let proc = format!("/proc/{}/stat", line.trim());
    until("it runs", async || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("started")
    })
    .await;
    parent.kill().unwrap();
    assert_eq!(parent.wait().unwrap().signal(), Some(9));
    // Nobody may reap it: a zombie (state Z) is as dead.
    until("it is gone", async || {
        std::fs::read_to_string(&proc).map_or(true, |stat| stat.contains(") Z "))
    })
    .await;
}
