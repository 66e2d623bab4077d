//! Webhooks of vendors: entered by `watchers apply`, and from one that comes to what is kept of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::rehearsed::Stage;

/// A server of HTTP that is always well.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    // It ends with the process of the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\nok").ok();
            }
        }
    });
    at
}

fn shop(dashboard: &str) -> String {
    format!(
        r#"
[stack]
name = "shop"
[services.web]
image = "ghcr.io/acme/shop:1.0"
port = 8080
[dashboard]
{dashboard}
[monitors.web]
http = "http://{}/"
every = "1s"
timeout = "1s"
also_on = ["uptimerobot", "betterstack"]
[providers.uptimerobot]
kind = "uptimerobot"
token = "${{secret.UPTIMEROBOT_TOKEN}}"
[providers.betterstack]
kind = "betterstack"
token = "${{secret.BETTERSTACK_TOKEN}}"
"#,
        server()
    )
}

const PUBLIC: &str = "host = \"ops.example.com\"\nlisten = \"127.0.0.1:0\"";

/// The answer to a request with these headers, whole.
fn ask(at: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{head}\r\nhost: {at}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// What a vendor of the rehearsal that watches tells at `path`, in which `{page}` is its page.
pub(crate) fn told(stage: &Stage, vendor: &str, path: &str) -> Value {
    let control = stage.control.trim_start_matches("http://");
    let body = |text: String| -> Value {
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let endpoints = body(ask(control, "GET /v1/endpoints HTTP/1.1"));
    let there = &endpoints["watchers"][vendor];
    let (api, token) = (there["api"].as_str().unwrap(), there["token"].as_str().unwrap());
    let (host, base) = api.trim_start_matches("http://").split_once('/').unwrap_or((api, ""));
    let host = host.trim_start_matches("http://");
    let base = if base.is_empty() { String::new() } else { format!("/{base}") };
    let path = path.replace("{page}", there["page"].as_str().unwrap_or_default());
    let head = format!("GET {base}{path} HTTP/1.1\r\nauthorization: Bearer {token}");
    body(ask(host, &format!("{head}\r\ncontent-type: application/json")))
}

/// The address that a vendor tells, as it has it.
fn entered(stage: &Stage, vendor: &str) -> Option<String> {
    let (path, pointer) = match vendor {
        "uptimerobot" => ("/integrations", "/data/0/value"),
        _ => ("/api/v2/outgoing-webhooks", "/data/0/attributes/url"),
    };
    let told = told(stage, vendor, path);
    told.pointer(pointer).map(|text| text.as_str().unwrap().to_owned())
}

/// Asks again and again until `is_so` gives something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    for _ in 0..300 {
        if let Some(found) = is_so() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("it never came to be that {what}");
}

/// `linkflow up` beside the vendors, once it has watched for a while, and where its dashboard answers.
fn up(stage: &Stage) -> (impl Drop + use<>, String) {
    let arguments = ["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control];
    let (up, said) = crate::page::start(stage.folder(), &arguments);
    let at = said["result"]["dashboard"].as_str().unwrap().trim_start_matches("http://").to_owned();
    until("the webhook is planned", || {
        stage.expect(&["watchers", "plan"], 0).out.contains("+ hook linkflow").then_some(())
    });
    (up, at)
}

#[test]
fn the_address_is_entered_kept_made_anew_and_taken_back() {
    let stage = Stage::of(&shop(PUBLIC));
    let plan = stage.expect(&["watchers", "plan"], 0);
    assert!(!plan.out.contains("+ hook"), "another state folder may be the one: {}", plan.out);
    assert!(
        plan.out.contains("no `linkflow up` has watched with this state folder"),
        "{}",
        plan.out
    );
    let (_up, _) = up(&stage);

    let plan = stage.expect(&["watchers", "plan"], 0).out;
    let line = "+ hook linkflow  to https://ops.example.com/hooks/uptimerobot/***, of web\n";
    assert!(plan.contains(line), "{plan}");
    let line = "+ hook linkflow  to https://ops.example.com/hooks/betterstack/***\n";
    assert!(plan.contains(line), "{plan}");
    assert_eq!(entered(&stage, "uptimerobot"), None);
    let said = stage.expect(&["watchers", "apply", "--json"], 0).value();
    let again = stage.expect(&["watchers", "apply", "--json"], 0).value();
    assert_eq!(again["result"]["changed"], false, "{again}");

    let hooks =
        || stage.expect(&["watchers", "hooks", "--json"], 0).value()["result"]["hooks"].clone();
    let before = hooks();
    for (row, vendor) in [(0, "betterstack"), (1, "uptimerobot")] {
        let address = before[row]["address"].as_str().unwrap();
        assert_eq!(entered(&stage, vendor).as_deref(), Some(address), "{vendor}");
        assert_eq!(before[row]["entered"], "by `linkflow watchers apply`");
        let key = address.rsplit_once('/').unwrap().1;
        assert!(!said.to_string().contains(key) && !plan.contains(key), "a key is a secret");
    }
    let doctor = stage.expect(&["doctor", "uptimerobot"], 0);
    assert!(!doctor.out.contains("not as the config asks"), "{}", doctor.out);

    stage.expect(&["watchers", "hooks", "--rotate", "uptimerobot"], 0);
    let plan = stage.expect(&["watchers", "drift"], 2).out;
    assert!(plan.contains("~ hook linkflow") && plan.contains("with another key"), "{plan}");
    assert!(!plan.contains("betterstack"), "{plan}");
    stage.expect(&["watchers", "apply"], 0);
    let after = hooks();
    assert_ne!(after[1]["address"], before[1]["address"]);
    assert_eq!(entered(&stage, "uptimerobot").as_deref(), after[1]["address"].as_str());

    let config = stage.folder().join("linkflow.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("host = \"ops.example.com\"", "")).unwrap();
    let plan = stage.expect(&["watchers", "plan"], 0).out;
    assert!(plan.contains("- hook linkflow"), "{plan}");
    assert!(
        plan.contains("`dashboard.host` says at which address vendors reach LinkFlow"),
        "{plan}"
    );
    stage.expect(&["watchers", "apply"], 0);
    assert_eq!(entered(&stage, "betterstack"), None);
    let drift = stage.expect(&["watchers", "drift"], 0).out;
    assert!(drift.starts_with("no drift"), "what is missing for webhooks is no drift: {drift}");
}

#[test]
fn a_plan_without_webhooks_is_told_and_everything_else_is_made() {
    let stage = Stage::of(&shop(PUBLIC));
    stage.expect(&["watchers", "apply"], 0);
    let (_up, _) = up(&stage);
    stage.expect(&["drill", "set", "uptimerobot", "out-of-quota"], 0);
    let said = stage.expect(&["watchers", "apply"], 0).out;
    assert!(said.contains("`webhook = false` of the provider asks for none"), "{said}");
    let config = stage.folder().join("linkflow.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let without = text.replace("kind = \"uptimerobot\"", "kind = \"uptimerobot\"\nwebhook = false");
    std::fs::write(&config, without).unwrap();
    let drift = stage.expect(&["watchers", "drift"], 0).out;
    assert_eq!(drift, "no drift: everything is watched as the config asks\n");
}

#[test]
fn a_webhook_that_comes_has_the_vendors_word_kept_at_once() {
    let stage = Stage::of(&shop(PUBLIC));
    let (_up, at) = up(&stage);
    stage.expect(&["watchers", "apply"], 0);
    let address = entered(&stage, "uptimerobot").unwrap();
    let path = address.strip_prefix("https://ops.example.com").unwrap().to_owned();
    let posted = || {
        let answer = ask(&at, &format!("POST {path} HTTP/1.1\r\ncontent-type: application/json"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    let spans = || {
        let said =
            stage.expect(&["monitors", "export", "web", "--since", "1h", "--json"], 0).value();
        said["result"]["spans"].as_array().unwrap().clone()
    };
    let last = |condition: &str| {
        let span = spans().pop()?;
        (span["condition"] == condition).then_some(span)
    };
    until("it is up", || last("up"));

    // Without a hook the vendor is asked in five minutes again.
    stage.tell("/v1/watchers", r#"{"vendor":"uptimerobot","monitor":"web","down":true}"#);
    posted();
    let span = until("the vendor's word is kept", || last("partial"));
    assert_eq!(span["why"], "down, as seen by uptimerobot", "{span}");
    let events = stage.expect(&["events"], 0).out;
    assert!(events.contains("uptimerobot sees monitor.web down"), "{events}");

    stage.tell("/v1/watchers", r#"{"vendor":"uptimerobot","monitor":"web","down":false}"#);
    posted();
    until("it is up again", || last("up"));
    let kept: Vec<Value> = spans().iter().map(|span| span["condition"].clone()).collect();
    assert_eq!(kept.iter().filter(|condition| *condition == "partial").count(), 1, "{kept:?}");
}

const ERRORS: &str = r#"
[stack]
name = "shop"
[services.web]
image = "ghcr.io/acme/shop:1.0"
port = 8080
[dashboard]
host = "ops.example.com"
listen = "127.0.0.1:0"
[providers.sentry]
kind = "sentry"
organization = "acme"
token = "${secret.SENTRY_TOKEN}"
client_secret = "${secret.SENTRY_CLIENT_SECRET}"
incidents = true
"#;

/// The body of an answer of the control API.
pub(crate) fn control(stage: &Stage, line: &str, body: &str) -> Value {
    let host = stage.control.trim_start_matches("http://");
    let answer = post(host, line, &[], body);
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The answer to a request with `body`.
fn post(at: &str, line: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_error_that_sentry_tells_of_is_confirmed_told_once_and_opens_an_incident() {
    let stage = Stage::of(ERRORS);
    let doctor = stage.expect(&["doctor", "sentry"], 0).out;
    assert!(doctor.contains("the token is accepted and reads issues"), "{doctor}");
    let arguments = ["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control];
    let (_up, said) = crate::page::start(stage.folder(), &arguments);
    let at = said["result"]["dashboard"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let hooks = stage.expect(&["watchers", "hooks", "--json"], 0).value();
    let address = hooks["result"]["hooks"][0]["address"].as_str().unwrap().to_owned();
    let path = address.strip_prefix("https://ops.example.com").unwrap();
    let secret = control(&stage, "GET /v1/endpoints", "")["sentry"]["client_secret"].clone();
    let secret = secret.as_str().unwrap();
    let made = |title: &str, status: &str| {
        let body = json!({ "title": title, "status": status }).to_string();
        control(&stage, "POST /v1/sentry", &body)["id"].as_str().unwrap().to_owned()
    };
    let sent = |resource: &str, body: &Value, secret: &str| {
        let body = body.to_string();
        let signature = signature(secret, &body);
        let headers = [("sentry-hook-resource", resource), ("sentry-hook-signature", &signature)];
        let answer = post(&at, &format!("POST {path}"), &headers, &body);
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let alert = |id: &str| json!({ "action": "triggered", "data": { "event": { "issue_id": id, "title": "a lie" } } });
    let (open, done) = (made("TypeError: x", "unresolved"), made("ValueError", "resolved"));

    until("the address is answered", || {
        (sent("installation", &json!({}), secret) == "200").then_some(())
    });
    assert_eq!(sent("event_alert", &alert(&open), "another-secret"), "401");
    for id in ["999", done.as_str(), open.as_str(), open.as_str()] {
        assert_eq!(sent("event_alert", &alert(id), secret), "200");
    }
    let metric = json!({
        "action": "critical", "data": { "metric_alert": { "id": "4" }, "description_title": "Critical: too many" },
    });
    for _ in 0..2 {
        assert_eq!(sent("metric_alert", &metric, secret), "200");
    }
    let told = || {
        let events = stage.expect(&["events", "--json"], 0).value();
        let events = events["result"]["events"].as_array().unwrap().clone();
        let messages = events.iter().map(|event| event["message"].as_str().unwrap().to_owned());
        messages.filter(|message| message.starts_with("sentry tells of ")).collect::<Vec<_>>()
    };
    until("the metric alert, which came last, is told", || {
        told().iter().any(|message| message.contains("metric alert")).then_some(())
    });
    let mut all = told();
    all.sort();
    let link = format!("https://acme.sentry.io/issues/{open}/");
    let issue = format!("sentry tells of SHOP-1 error: TypeError: x ({link})");
    let metric =
        "sentry tells of a metric alert, critical: Critical: too many (signed, not confirmed)";
    assert_eq!(all, [issue.as_str(), metric]);

    let incident = until("an incident is open", || {
        let said = stage.expect(&["incident", "list", "--json"], 0).value();
        said["result"]["incidents"].as_array().unwrap().first().cloned()
    });
    assert_eq!(incident["title"], "sentry tells of errors");
    assert_eq!(
        (&incident["impact"], &incident["public"]),
        (&json!("minor"), &json!(false)),
        "{incident}"
    );
}
