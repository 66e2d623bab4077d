//! Webhooks of vendors: entered by `watchers apply`, and from one that comes to what is kept of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use crate::rehearsed::Stage;
use crate::request::request;

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

/// What a vendor of the rehearsal that watches tells at `path`, in which `{page}` is its page.
pub(crate) fn told(stage: &Stage, vendor: &str, path: &str) -> Value {
    let told = |at: &str, line: &str, headers: &[(&str, &str)]| -> Value {
        serde_json::from_str(&request(at, line, headers, "").body).unwrap()
    };
    let there = &told(&stage.control, "GET /v1/endpoints", &[])["watchers"][vendor];
    let (api, token) = (there["api"].as_str().unwrap(), there["token"].as_str().unwrap());
    let api = api.trim_start_matches("http://");
    let (host, base) = api.split_once('/').unwrap_or((api, ""));
    let base = if base.is_empty() { String::new() } else { format!("/{base}") };
    let path = path.replace("{page}", there["page"].as_str().unwrap_or_default());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    told(host, &format!("GET {base}{path}"), &headers)
}

/// The address that a vendor tells, as it has it.
fn entered(stage: &Stage, vendor: &str) -> Option<String> {
    let (path, pointer) = match vendor {
        "uptimerobot" => ("/integrations", "/data/0/value"),
        _ => ("/api/v2/outgoing-webhooks", "/data/0/attributes/url"),
    };
    told(stage, vendor, path).pointer(pointer).map(|text| text.as_str().unwrap().to_owned())
}

/// Asks again and again until `is_so` gives something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    for _ in 0..300 {
        if let Some(found) = is_so() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
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
        let json = [("content-type", "application/json")];
        assert_eq!(request(&at, &format!("POST {path}"), &json, "{}").status(), 200);
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

#[test]
fn the_vendor_is_asked_once_more_by_who_follows_the_process_that_took_a_webhook() {
    let stage = Stage::of(&shop(PUBLIC));
    let (running, at) = up(&stage);
    stage.expect(&["watchers", "apply"], 0);
    let address = entered(&stage, "uptimerobot").unwrap();
    let path = address.strip_prefix("https://ops.example.com").unwrap();
    assert_eq!(request(&at, &format!("POST {path}"), &[], "{}").status(), 200);
    // Killed with SIGKILL, before the vendor's own answers have what the webhook is of.
    drop(running);
    let arguments = ["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control];
    let (_up, _) = crate::page::start(stage.folder(), &arguments);
    // It asks at once and hears nothing. Without the webhook it asks in five minutes again.
    std::thread::sleep(std::time::Duration::from_secs(5));
    stage.tell("/v1/watchers", r#"{"vendor":"uptimerobot","monitor":"web","down":true}"#);
    until("the vendor's word is told", || {
        let events = stage.expect(&["events"], 0).out;
        events.contains("uptimerobot sees monitor.web down").then_some(())
    });
}
