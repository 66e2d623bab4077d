//! kill -9 at every point of the journal, then the same command again: the same end, nothing made twice, and each
//! migration run exactly once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use linkflow_rehearsal::ledger::Ledger;
use serde_json::Value;

/// Two providers with real adapters and one generic; a page that is probed, and a timer that must never run twice.
const STACK: &str = r#"
[stack]
name = "killed"
domain = "example.com"

[providers.fly]
kind = "fly"
organization = "acme"
region = "fra"
token = "${secret.FLY_API_TOKEN}"

[providers.render]
kind = "render"
owner = "tea-acme"
region = "frankfurt"
token = "${secret.RENDER_API_KEY}"

[services.api]
image = "ghcr.io/acme/linkflow/api:1.0"
port = 8000
health = "/api/v1/health"
route = "api.example.com"
runs_on = ["render", "fly"]
migrate = "php artisan migrate --force"
start_within = "20s"
env = { LINKFLOW_SECRET = "${secret.LINKFLOW_SECRET}", FRONTEND_ADDR = "127.0.0.1:9" }

[services.engine-timer]
image = "ghcr.io/acme/linkflow/engine-timer:1.0"
kind = "worker"
exclusive = true
runs_on = ["render", "fly"]
start_within = "20s"

[failover]
probe_every = "1s"
probe_timeout = "500ms"
confirm = "1s"
failback_after = "3s"
min_stay = "3s"
look_every = "2s"
"#;

/// A rehearsal cloud as a process of its own, which outlives the commands that are killed.
struct Cloud {
    child: Child,
    control: String,
    ledger: String,
}

impl Cloud {
    fn start(folder: &Path) -> Self {
        let mut command = linkflow(folder);
        command.args(["cloud", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut cloud =
            Self { child: command.spawn().unwrap(), control: String::new(), ledger: String::new() };
        // The endpoints are one JSON value that may span lines.
        let mut text = String::new();
        for line in BufReader::new(cloud.child.stdout.take().unwrap()).lines() {
            text.push_str(&line.unwrap());
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                cloud.control = value["result"]["control"].as_str().unwrap().to_owned();
                cloud.ledger = value["result"]["ledger"].as_str().unwrap().to_owned();
                return cloud;
            }
        }
        panic!("the cloud told no endpoints: {text}");
    }

    /// The release of each migration that was really run.
    fn migrations(&self) -> Vec<String> {
        let ledger = Ledger::open(Path::new(&self.ledger)).unwrap();
        let rows = ledger.migrations().unwrap().into_iter();
        rows.inspect(|(_, command)| assert_eq!(command, "php artisan migrate --force"))
            .map(|(release, _)| release)
            .collect()
    }

    /// How many instances of each service each provider really runs.
    fn running(&self) -> BTreeMap<String, u64> {
        let mut running = BTreeMap::new();
        let state = get(&self.control, "/v1/state");
        for (provider, place) in state["providers"].as_object().unwrap() {
            for instance in place["instances"].as_array().unwrap() {
                if instance["pid"].is_u64() {
                    let key = format!("{} on {provider}", instance["service"].as_str().unwrap());
                    *running.entry(key).or_default() += 1;
                }
            }
        }
        running
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One GET over plain HTTP/1.1.
fn get(base: &str, path: &str) -> Value {
    use std::io::{Read, Write};
    let host = base.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (from, to) = (body.find('{').unwrap(), body.rfind('}').unwrap());
    serde_json::from_str(&body[from..=to]).unwrap()
}

fn linkflow(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkflow"));
    command.current_dir(folder).env_remove("LINKFLOW_CLOUD").stdin(Stdio::null());
    command
}

/// Runs `words` against `cloud`, killed at journal point `crash` when there is one. Says whether it was killed.
fn run(folder: &Path, cloud: &Cloud, words: &[&str], crash: Option<u64>) -> (bool, String) {
    let mut command = linkflow(folder);
    command.args(words).args(["--cloud", &cloud.control, "--json"]);
    if let Some(at) = crash {
        command.env("LINKFLOW_CRASH_AT", at.to_string());
    }
    let output = command.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let killed = output.status.code().is_none();
    assert!(killed || output.status.success(), "{words:?}: {:?}\n{text}", output.status);
    (killed, text)
}

/// Plays `words` once for each journal point in `points`, each on a fresh cloud, killed there and run again.
/// Says whether the last point was never reached.
fn killed_at(point: u64, before: &[&[&str]], words: &[&str], releases: u64) -> bool {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("linkflow.toml"), STACK).unwrap();
    let cloud = Cloud::start(folder.path());
    for words in before {
        assert!(!run(folder.path(), &cloud, words, None).0);
    }
    let (killed, _) = run(folder.path(), &cloud, words, Some(point));
    if killed {
        let (again, text) = run(folder.path(), &cloud, words, None);
        assert!(!again, "point {point}: {text}");
    }
    let expected: BTreeMap<String, u64> =
        ["api on fly", "api on render", "engine-timer on render"].map(|k| (k.to_owned(), 1)).into();
    assert_eq!(cloud.running(), expected, "after a kill at point {point}");
    let migrated: Vec<String> = (1..=releases).map(|release| format!("r{release}")).collect();
    assert_eq!(cloud.migrations(), migrated, "after a kill at point {point}");
    let (_, told) = run(folder.path(), &cloud, words, None);
    let told: Value = serde_json::from_str(&told).unwrap();
    let result = &told["result"];
    assert_eq!(
        (result["release"].as_str(), result["changed"].as_bool()),
        (Some(format!("r{releases}").as_str()), Some(false)),
        "after a kill at point {point}: {told:#}"
    );
    killed
}

/// Kills at every point until one is never reached; two at a time.
fn killed_everywhere(before: &[&[&str]], words: &[&str], releases: u64) {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let (next, over) = (AtomicU64::new(1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let point = next.fetch_add(1, Ordering::SeqCst);
                    if !killed_at(point, before, words, releases) {
                        over.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    // A run of several steps has many rows: fewer points would mean that nothing was killed.
    assert!(next.into_inner() > 12, "the journal has too few points to have been written");
}

#[test]
fn an_apply_killed_anywhere_ends_the_same_and_makes_nothing_twice() {
    killed_everywhere(&[], &["apply"], 1);
}

#[test]
fn a_deploy_killed_anywhere_ends_the_same_and_makes_nothing_twice() {
    killed_everywhere(&[&["apply"]], &["deploy", "api=ghcr.io/acme/linkflow/api:1.1"], 2);
}
