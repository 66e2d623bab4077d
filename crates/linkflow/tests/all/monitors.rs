//! `linkflow monitors`: what a running `linkflow up` watches, seen from beside it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use crate::conversations::{Said, linkflow};

/// A server of HTTP whose status can be changed.
fn server() -> (SocketAddr, Arc<AtomicU16>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let status = Arc::new(AtomicU16::new(200));
    let says = Arc::clone(&status);
    // It ends with the process of the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let status = says.load(Relaxed);
                let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok");
                stream.write_all(text.as_bytes()).ok();
            }
        }
    });
    (at, status)
}

fn stack(at: SocketAddr) -> String {
    format!(
        r#"
[stack]
name = "seen"
[providers.embedded]
kind = "embedded"
programs = {{ "ghcr.io/acme/job" = ["sleep", "5"] }}
[services.job]
image = "ghcr.io/acme/job:1"
kind = "worker"
runs_on = ["embedded"]
[monitors.web]
http = "http://{at}/health"
every = "1s"
timeout = "1s"
confirm = "200ms"
contains = "ok"
headers = {{ authorization = "Bearer ${{secret.KEY}}" }}
tags = "shop"
[monitors.port]
tcp = "{at}"
needs = "monitor.web"
every = "1s"
timeout = "1s"
"#
    )
}

/// `linkflow up`, which ends with the test.
struct Up(Child);

impl Up {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_linkflow"))
            .args(["up", "--json", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .env_clear()
            .env("KEY", "k")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self(process)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
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

fn condition(said: &Said, name: &str) -> String {
    let value = said.value();
    let monitors = value["result"]["monitors"].as_array().unwrap();
    let found = monitors.iter().find(|monitor| monitor["name"] == name).unwrap();
    found["condition"].as_str().unwrap().to_owned()
}

#[test]
fn an_outage_is_seen_told_and_kept() {
    let (at, status) = server();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::write(folder.join("linkflow.toml"), stack(at)).unwrap();
    let list = ["monitors", "list", "--json"];
    assert_eq!(condition(&linkflow(folder, &list), "monitor.web"), "unknown");
    let up = Up::start(folder);
    until(folder, &list, |said| {
        condition(said, "monitor.web") == "up" && condition(said, "monitor.port") == "up"
    });
    status.store(503, Relaxed);
    until(folder, &list, |said| condition(said, "monitor.web") == "down");
    let events = linkflow(folder, &["events"]).out;
    assert!(events.contains("monitor.web is down: answered 503"), "{events}");
    status.store(200, Relaxed);
    until(folder, &["events"], |said| said.out.contains("monitor.web is up again"));

    let shown = linkflow(folder, &["monitors", "show", "web"]);
    for part in ["monitor.web is up", "every 1s", "answered 503", "uptime: 1 d ", "last look at"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let spans: Vec<Value> = linkflow(folder, &["monitors", "export", "web"])
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["span"].clone())
        .filter(|span| !span.is_null())
        .collect();
    let conditions: Vec<&str> =
        spans.iter().map(|span| span["condition"].as_str().unwrap()).collect();
    assert_eq!(conditions, ["up", "down", "up"]);
    assert_eq!(spans[0]["to"], spans[1]["from"]);
    assert_eq!(spans[1]["to"], spans[2]["from"]);
    drop(up);

    // What was seen survives kill -9.
    let listed = linkflow(folder, &["monitors", "list", "--tag", "shop"]);
    assert!(listed.out.contains("monitor.web") && !listed.out.contains("monitor.port"));
}

#[test]
fn one_look_says_how_it_went_with_its_exit_code() {
    let (at, status) = server();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::write(folder.join("linkflow.toml"), stack(at)).unwrap();
    let well = linkflow(folder, &["monitors", "test", "monitor.port", "--json"]);
    assert_eq!(well.code, 0, "{}", well.err);
    let value = well.value();
    assert_eq!(value["result"]["well"], true);
    assert!(value["result"]["phases"]["connect_us"].is_u64(), "{value}");
    // The header of the other one is a secret that this environment does not have.
    let unable = linkflow(folder, &["monitors", "test", "web"]);
    assert_eq!(unable.code, 2);
    assert!(unable.err.contains("${secret.KEY}") && unable.err.contains("KEY"), "{}", unable.err);
    let text = stack(at).replace("Bearer ${secret.KEY}", "Bearer x");
    std::fs::write(folder.join("linkflow.toml"), text).unwrap();
    status.store(500, Relaxed);
    let failed = linkflow(folder, &["monitors", "test", "web"]);
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("monitor.web: answered 500"), "{}", failed.err);
    assert!(failed.out.contains("first byte"), "{}", failed.out);
    let none = linkflow(folder, &["monitors", "show", "wbe"]);
    assert_eq!(none.code, 2);
    assert!(none.err.contains("there are monitor.port, monitor.web"), "{}", none.err);
}

#[test]
fn what_the_stack_has_is_watched_without_being_asked_for() {
    let (at, _) = server();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let more = r#"
[providers.neon]
kind = "neon"
token = "${secret.NEON}"
[databases.main]
primary = { on = "neon", url = "${secret.MAIN_URL}" }
[services.api]
image = "ghcr.io/acme/api:1"
port = 80
health = "/health"
route = "api.example.com"
runs_on = ["embedded"]
[services.site]
image = "ghcr.io/acme/site:1"
port = 80
route = "example.com"
runs_on = ["embedded"]
"#;
    let programs = "programs = { \"ghcr.io/acme/job\" = [\"sleep\", \"5\"]";
    let text = stack(at).replace(
        programs,
        &format!("{programs}, \"ghcr.io/acme/api\" = [\"sleep\", \"5\"], \"ghcr.io/acme/site\" = [\"sleep\", \"5\"]"),
    );
    let names = |text: &str| {
        std::fs::write(folder.join("linkflow.toml"), text).unwrap();
        let said = linkflow(folder, &["monitors", "list", "--json"]);
        let monitors = said.value()["result"]["monitors"].as_array().unwrap().clone();
        let names = monitors.iter().map(|monitor| monitor["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    let declared = "monitor.port monitor.web";
    let whole = format!("{text}{more}");
    assert_eq!(names(&whole), format!("{declared} service.api service.site database.main"));
    // A monitor of one's own takes its place.
    let own = format!(
        "{whole}[monitors.api]\ntcp = \"{at}\"\nservice = \"api\"\n[monitors.db]\npostgres = \"${{database.main.url}}\"\n"
    );
    assert_eq!(names(&own), "monitor.api monitor.db monitor.port monitor.web service.site");
    // Visits would keep awake what a provider puts to sleep, until its free hours are used up.
    let render = "[providers.render]\nkind = \"render\"\ntoken = \"${secret.RENDER}\"\n";
    let sleeps = whole.replace(
        "example.com\"\nruns_on = [\"embedded\"",
        "example.com\"\nruns_on = [\"embedded\", \"render\"",
    );
    assert_eq!(names(&format!("{sleeps}{render}")), format!("{declared} database.main"));
    let warm = sleeps.replace("health =", "keep_warm = true\nhealth =");
    assert_eq!(names(&format!("{warm}{render}")), format!("{declared} service.api database.main"));
    let off = whole.replace("name = \"seen\"", "name = \"seen\"\nwatch = false");
    assert_eq!(names(&off), declared);
}

/// IANA's list and a registry of `.com`, whose only domain ends in 20 days: as RFC 9224 and RFC 9083 have it.
fn registry() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let list = format!(r#"{{ "services": [[["com"], ["http://{at}/rdap/"]]] }}"#);
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(20 * 24 + 1);
    let domain = format!(
        r#"{{ "objectClassName": "domain", "ldhName": "ACME-SHOP.COM", "status": ["active"],
        "events": [{{ "eventAction": "expiration", "eventDate": "{ends}" }}] }}"#
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            let length = stream.read(&mut request).unwrap_or_default();
            let asked = String::from_utf8_lossy(&request[..length]).into_owned();
            let (status, body) = match asked.split(' ').nth(1) {
                Some("/list") => (200, list.as_str()),
                Some("/rdap/domain/acme-shop.com") => (200, domain.as_str()),
                _ => (404, r#"{ "errorCode": 404 }"#),
            };
            let length = body.len();
            let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).ok();
        }
    });
    at
}

#[test]
fn the_domain_of_a_route_is_asked_for_at_its_registry_without_being_asked_to() {
    let ((at, _), registry) = (server(), registry());
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let page = "[status_page]\nhost = \"status.acme-shop.com\"\n";
    let more = format!("{page}[domains]\nlist = \"http://{registry}/list\"\n");
    let own = "[monitors.brand]\ndomain = \"www.acme-brand.com\"\n[monitors.odd]\ndomain = \"acme.nowhere\"\n";
    let text = format!("{}{more}{own}", stack(at));
    std::fs::write(folder.join("linkflow.toml"), &text).unwrap();
    let list = ["monitors", "list", "--json"];
    let up = Up::start(folder);
    let said = until(folder, &list, |said| {
        condition(said, "domain.acme-shop.com") == "degraded"
            && linkflow(folder, &["events"]).out.contains("acme-shop.com is at risk")
    });
    assert_eq!(condition(&said, "monitor.odd"), "unknown");
    // What one answer says of `monitor.brand` is no outage yet.
    assert_ne!(condition(&said, "monitor.brand"), "down");
    let rows = said.value()["result"]["monitors"].as_array().unwrap().clone();
    let row = rows.iter().find(|row| row["name"] == "domain.acme-shop.com").unwrap();
    assert_eq!((&row["derived"], &row["every_ms"]), (&Value::Bool(true), &Value::from(43_200_000)));
    let incidents = until(folder, &["incident", "list"], |said| said.out.contains("acme-shop"));
    assert!(incidents.out.contains("acme-shop.com may be lost"), "{}", incidents.out);
    let shown = linkflow(folder, &["monitors", "show", "acme-shop.com"]);
    for part in ["domain.acme-shop.com is at risk", "20 days left", "is asked again at"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    drop(up);
    let tested = linkflow(folder, &["monitors", "test", "brand"]);
    assert_eq!(tested.code, 1);
    assert!(tested.err.contains("its registry knows no such domain"), "{}", tested.err);
    let odd = linkflow(folder, &["monitors", "test", "odd"]);
    assert!(odd.err.contains("no registry of `.nowhere` answers by RDAP"), "{}", odd.err);
    for off in ["[domains]\nwatch = false\n", "[monitors.own]\ndomain = \"acme-shop.com\"\n"] {
        let text = format!("{}{page}{off}", stack(at));
        std::fs::write(folder.join("linkflow.toml"), text).unwrap();
        let said = linkflow(folder, &list);
        assert!(!said.out.contains("domain.acme-shop.com"), "{}", said.out);
    }
}

/// What the program that is told writes down: the tone and the title, a line each.
const TOLD: &str = r#"
[alerts.team]
command = ["sh", "-c", "echo \"$LINKFLOW_TONE $LINKFLOW_TITLE\" >> told"]
[status_page]
components = [{ name = "Shop", watch = ["monitor.web", "monitor.port"] }]
"#;

#[test]
fn an_outage_becomes_one_incident_that_people_are_told_of_and_that_ends_by_itself() {
    let (at, status) = server();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::write(folder.join("linkflow.toml"), stack(at) + TOLD).unwrap();
    let up = Up::start(folder);
    let list = ["monitors", "list", "--json"];
    until(folder, &list, |said| condition(said, "monitor.web") == "up");
    let told = || std::fs::read_to_string(folder.join("told")).unwrap_or_default();

    status.store(503, Relaxed);
    let open = ["incident", "list", "--open", "--json"];
    let incidents = |said: &Said| said.value()["result"]["incidents"].as_array().unwrap().clone();
    let said = until(folder, &open, |said| !incidents(said).is_empty());
    let incident = incidents(&said).remove(0);
    assert_eq!(incident["title"], "Shop does not answer");
    assert_eq!(incident["cause"], "monitor.web");
    assert_eq!(incident["public"], false, "it may be over before anybody reads of it");
    let id = incident["id"].as_str().unwrap();
    until(folder, &open, |_| !told().is_empty());
    let taken = linkflow(folder, &["incident", "acknowledge", id, "--by", "Ann"]);
    assert!(taken.out.starts_with("acknowledged "), "{}{}", taken.out, taken.err);

    status.store(200, Relaxed);
    until(folder, &open, |said| incidents(said).is_empty());
    let shown = linkflow(folder, &["incident", "show", id]).out;
    for part in ["resolved", "Ann looks after it", "monitor.web: answered 503", "It was over after"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    until(folder, &open, |_| told().lines().count() == 3);
    let told = told();
    let tones: Vec<&str> = told.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(tones, ["ALARM", "Note", "OK"], "{told}");
    drop(up);
}
