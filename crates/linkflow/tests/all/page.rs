//! The status page as its users meet it: incidents by hand, files, and the edge that serves it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::conversations::{Said, linkflow};
use crate::sshd::Sshd;

const STACK: &str = r#"
[stack]
name = "shop"
[services.api]
image = "ghcr.io/acme/api:1"
port = 8000
[status_page]
host = "status.shop.example"
title = "Shop"
languages = ["en", "de"]
components = [
  { name = "API", watch = "service.api" },
  { name = "Checkout", watch = ["service.api", "monitor.checkout"], group = "Shop" },
]
templates.slow = { title = "Everything is slow", text = "We are looking.", subjects = ["service.api"] }
publish = [{ folder = "public" }]
[monitors.checkout]
http = "https://shop.example/checkout"
"#;

fn stack() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), STACK).unwrap();
    dir
}

#[track_caller]
fn expect(folder: &Path, arguments: &[&str], code: i32) -> Said {
    let said = linkflow(folder, arguments);
    assert_eq!(said.code, code, "{arguments:?}\n{}\n{}", said.out, said.err);
    said
}

fn read(folder: &Path, path: &str) -> String {
    std::fs::read_to_string(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn an_incident_is_opened_goes_on_and_ends_and_the_page_tells_of_it() {
    let dir = stack();
    let at = dir.path();
    let opened = expect(
        at,
        &[
            "incident",
            "open",
            "Payments fail",
            "--on",
            "api",
            "--impact",
            "major",
            "--at",
            "2h",
            "--next",
            "30m",
            "--text",
            "We **look**.",
            "--json",
        ],
        0,
    )
    .value();
    let id = opened["result"]["id"].as_str().unwrap().to_owned();
    assert!(id.ends_with("-payments-fail"), "{id}");
    assert_eq!(opened["result"]["subjects"], serde_json::json!(["service.api"]));
    expect(
        at,
        &["incident", "update", &id, "--private", "--text", "It was the pool of connections."],
        0,
    );
    expect(
        at,
        &["incident", "update", &id, "--stage", "identified", "--text", "A bad release."],
        0,
    );

    let built = expect(at, &["page", "build", "out"], 0);
    assert!(built.out.contains("files in out"), "{}", built.out);
    let page = read(at, &format!("out/incident/{id}.html"));
    for part in ["We <strong>look</strong>.", "written later", "A bad release.", "Major"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for entry in ["index.html", "de/index.html", "feed.atom", "api/v2/incidents.json"] {
        let text = read(at, &format!("out/{entry}"));
        assert!(text.contains("Payments fail") && !text.contains("pool of connections"), "{entry}");
    }
    let summary: Value = serde_json::from_str(&read(at, "out/api/v2/summary.json")).unwrap();
    assert_eq!(summary["status"]["indicator"], "major");

    expect(at, &["incident", "resolve", &id, "--at", "10m", "--text", "Over."], 0);
    let again = expect(at, &["incident", "resolve", &id], 5);
    assert!(again.err.contains("is over already"), "{}", again.err);
    let list = expect(at, &["incident", "list", "--json"], 0).value();
    assert_eq!(list["result"]["incidents"][0]["stage"], "resolved");
    let none = expect(at, &["incident", "list", "--open"], 0);
    assert_eq!(none.out, "no incident\n");
    let shown = expect(at, &["incident", "show", &id], 0);
    assert!(
        shown.out.contains("pool of connections") && shown.out.contains(", private"),
        "{}",
        shown.out
    );
    expect(at, &["page", "build", "out"], 0);
    let summary: Value = serde_json::from_str(&read(at, "out/api/v2/summary.json")).unwrap();
    assert_eq!(summary["incidents"], serde_json::json!([]));
    let told = expect(at, &["events"], 0);
    assert!(told.out.contains("resolved the incident"), "{}", told.out);
}

#[test]
fn ids_are_given_once_and_templates_begin_an_incident() {
    let dir = stack();
    let open = || {
        let said = expect(dir.path(), &["incident", "open", "--template", "slow", "--json"], 0);
        said.value()["result"]["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (open(), open());
    assert_eq!(second, format!("{first}-2"));
    let shown = expect(dir.path(), &["incident", "show", &first], 0);
    assert!(shown.out.starts_with("Everything is slow\n") && shown.out.contains("on service.api"));
}

#[test]
fn what_is_mistyped_is_told_with_what_there_is() {
    let dir = stack();
    for (arguments, what) in [
        (&["incident", "open", "X", "--on", "apj"][..], "it has `API`, `Checkout`"),
        (&["incident", "open", "X", "--template", "fast"], "there is no template `fast`"),
        (&["incident", "open", "X", "--at", "yesterday"], "`yesterday` is no moment"),
        (&["incident", "update", "nope", "--text", "x"], "there is no incident `nope`"),
        (
            &["maintenance", "schedule", "X", "--on", "API", "--from", "1h", "--for", "long"],
            "`long` is no duration",
        ),
        (&["maintenance", "cancel", "nope"], "there is no announced work `nope`"),
    ] {
        let said = expect(dir.path(), arguments, 2);
        assert!(said.err.contains(what), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn work_is_announced_ahead_and_called_off() {
    let dir = stack();
    let at = dir.path();
    let past = [
        "maintenance",
        "schedule",
        "Move",
        "--on",
        "API",
        "--from",
        "2020-01-01 10:00",
        "--for",
        "1h",
    ];
    let refused = expect(at, &past, 5);
    assert!(refused.err.contains("incident open --at"), "{}", refused.err);
    let ahead = [
        "maintenance",
        "schedule",
        "Move",
        "--on",
        "API",
        "--from",
        "2h",
        "--for",
        "1h30m",
        "--json",
    ];
    let made = expect(at, &ahead, 0).value();
    let id = made["result"]["id"].as_str().unwrap().to_owned();
    let (from, to) = (&made["result"]["from"], &made["result"]["to"]);
    assert_eq!(to.as_u64().unwrap() - from.as_u64().unwrap(), 5_400_000);
    expect(at, &["page", "build", "out"], 0);
    assert!(read(at, "out/maintenance.ics").contains("STATUS:CONFIRMED"));
    assert!(read(at, "out/index.html").contains(&format!("maintenance/{id}.html")));
    expect(at, &["maintenance", "cancel", &id], 0);
    expect(at, &["page", "build", "out"], 0);
    let ics = read(at, "out/maintenance.ics");
    assert!(ics.contains("STATUS:CANCELLED") && ics.contains("SEQUENCE:1"), "{ics}");
    assert!(expect(at, &["maintenance", "list"], 0).out.contains("cancelled"));
}

#[test]
fn work_that_comes_again_is_listed_before_anything_announces_it() {
    let dir = stack();
    let at = dir.path();
    let config = read(at, "linkflow.toml");
    let window = "[maintenance.yearly]\ntitle = \"Fire drill\"\ncron = \"0 12 1 7 *\"\nlasts = \"2h\"\non = \"service.api\"\n";
    std::fs::write(at.join("linkflow.toml"), format!("{config}\n{window}")).unwrap();
    let list = expect(at, &["maintenance", "list"], 0).out;
    assert!(list.starts_with("no work is announced\n"), "{list}");
    for part in ["yearly", "-07-01 ", "not announced yet", "0 12 1 7 * UTC", "Fire drill"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let told = expect(at, &["maintenance", "list", "--json"], 0).value();
    let window = &told["result"]["windows"][0];
    assert!(window["next"].as_str().unwrap().ends_with("0701-1200"), "{told}");
    let lasts = window["to"].as_u64().unwrap() - window["from"].as_u64().unwrap();
    assert_eq!((lasts, &told["result"]["maintenance"]), (7_200_000, &serde_json::json!([])));
}

/// A process of LinkFlow that is killed at the end.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts LinkFlow and reads the first JSON value that it says.
pub(crate) fn start(folder: &Path, arguments: &[&str]) -> (Running, Value) {
    start_with(folder, arguments, &[])
}

/// The same, with `vars` in its environment.
fn start_with(folder: &Path, arguments: &[&str], vars: &[(&str, &str)]) -> (Running, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkflow"));
    command.current_dir(folder).args(arguments).arg("--json").env_clear();
    command.envs(vars.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut text = String::new();
    for line in lines {
        text += &line;
        if line == "}" {
            break;
        }
    }
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (Running(child), value)
}

/// Asks for `path` of `host`; gives all of the answer.
pub(crate) fn ask(at: SocketAddr, method: &str, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Asks until the answer holds `part`.
fn ask_until(at: SocketAddr, host: &str, path: &str, part: &str) -> String {
    for _ in 0..300 {
        let answer = ask(at, "GET", host, path);
        if answer.contains(part) {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{path} of {host} never says {part}: {}", ask(at, "GET", host, path));
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn the_edge_serves_it_beside_the_stack_and_keeps_the_copies_the_same() {
    let dir = stack();
    let (_up, said) = start(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    let at: SocketAddr = said["result"]["public"].as_str().unwrap().parse().unwrap();
    let host = "status.shop.example";
    let first = ask_until(at, host, "/", "<title>");
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    assert!(first.contains("We cannot see how anything is"), "nobody has looked yet: {first}");
    let head = ask(at, "HEAD", host, "/");
    assert!(head.starts_with("HTTP/1.1 200") && body(&head).is_empty(), "{head}");
    assert!(ask(at, "GET", host, "/nothing").starts_with("HTTP/1.1 404"));
    assert!(ask(at, "POST", host, "/").starts_with("HTTP/1.1 405"));
    assert!(
        !ask(at, "GET", "other.example", "/").contains("<title>✓"),
        "only its own host is its own"
    );

    expect(
        dir.path(),
        &["incident", "open", "Payments fail", "--on", "API", "--impact", "critical"],
        0,
    );
    ask_until(at, host, "/", "Payments fail");
    // The copies follow the served one; it is rendered anew each minute, so both are read until they agree.
    let same = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let served = ask(at, "GET", host, "/");
        let copy = |folder: &str| std::fs::read(dir.path().join(folder).join("index.html"));
        let copies = [copy(".linkflow/page"), copy("public")];
        copies.iter().all(|copy| copy.as_ref().is_ok_and(|copy| copy == body(&served).as_bytes()))
    });
    assert!(same, "the copies are byte for byte what is served");
}

#[test]
fn a_copy_behind_ssh_is_what_is_served_and_is_made_good_after_the_machine_was_away() {
    let Some(sshd) = Sshd::start(false, "") else { return };
    let (dir, web) = (stack(), tempfile::tempdir().unwrap());
    let folder = web.path().join("status");
    let place = format!(
        "publish = [{{ folder = \"public\" }}, {{ ssh = \"ssh://root@127.0.0.1:{}{}\", host_key = \"{}\", key = \"${{secret.STATUS_SSH_KEY}}\" }}]",
        sshd.port,
        folder.display(),
        sshd.fingerprint()
    );
    let config = STACK.replace("publish = [{ folder = \"public\" }]", &place);
    std::fs::write(dir.path().join("linkflow.toml"), config).unwrap();
    let key = sshd.key();
    let vars = [("STATUS_SSH_KEY", key.as_str())];
    let (_up, said) = start_with(dir.path(), &["up", "--listen", "127.0.0.1:0"], &vars);
    let at: SocketAddr = said["result"]["public"].as_str().unwrap().parse().unwrap();
    let host = "status.shop.example";
    let is_same = || {
        std::thread::sleep(Duration::from_millis(100));
        let served = ask(at, "GET", host, "/");
        let copy = std::fs::read(folder.join("index.html"));
        copy.is_ok_and(|copy| copy == body(&served).as_bytes())
    };
    assert!((0..300).any(|_| is_same()), "it is byte for byte what is served");

    sshd.tell("stop");
    expect(dir.path(), &["incident", "open", "Payments fail", "--on", "API"], 0);
    let told = |part: &str| expect(dir.path(), &["events"], 0).out.contains(part);
    let waits = || std::thread::sleep(Duration::from_millis(200));
    assert!((0..300).any(|_| (told("is old: "), waits()).0), "that it is old is told");
    ask_until(at, host, "/", "Payments fail");
    assert!(read(dir.path(), "public/index.html").contains("Payments fail"), "others go on");
    sshd.tell("start");
    expect(dir.path(), &["incident", "open", "Mails fail", "--on", "API"], 0);
    ask_until(at, host, "/", "Mails fail");
    assert!((0..300).any(|_| is_same()), "and the next page is there again");
    assert!(!told(&key[40..80]), "nobody reads the key");
}

#[test]
fn it_can_be_served_without_the_stack() {
    let dir = stack();
    let (_page, said) = start(dir.path(), &["page", "serve", "--listen", "127.0.0.1:0"]);
    let at: SocketAddr = said["result"]["listen"].as_str().unwrap().parse().unwrap();
    let page = ask(at, "GET", "any.example", "/de/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html lang=\"de\">"), "{page}");
    expect(dir.path(), &["incident", "open", "Payments fail", "--on", "API"], 0);
    ask_until(at, "any.example", "/", "Payments fail");
}
