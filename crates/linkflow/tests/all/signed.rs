//! Webhooks of Sentry: confirmed by its API and told once, also when the process that took them is killed.

use hmac::{Hmac, Mac};
use linkflow_model::{Event, EventKind, Level, Timestamp};
use linkflow_store::{Sqlite, Store};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::hooked::until;
use crate::page::Running;
use crate::rehearsed::Stage;
use crate::request::request;

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
    serde_json::from_str(&request(&stage.control, line, &[], body).body).unwrap()
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `linkflow up`, which is killed with SIGKILL when this is dropped, and where its hooks are taken.
struct Up {
    _process: Running,
    at: String,
    path: String,
    secret: String,
}

impl Up {
    fn start(stage: &Stage) -> Self {
        let arguments = ["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control];
        let (process, said) = crate::page::start(stage.folder(), &arguments);
        let at = said["result"]["dashboard"].as_str().unwrap().to_owned();
        let hooks = stage.expect(&["watchers", "hooks", "--json"], 0).value();
        let address = hooks["result"]["hooks"][0]["address"].as_str().unwrap().to_owned();
        let path = address.strip_prefix("https://ops.example.com").unwrap().to_owned();
        let secret = control(stage, "GET /v1/endpoints", "")["sentry"]["client_secret"].clone();
        let secret = secret.as_str().unwrap().to_owned();
        let up = Self { _process: process, at, path, secret };
        until("the address is answered", || {
            (up.send("installation", &json!({}), &up.secret) == 200).then_some(())
        });
        up
    }

    /// Sends a hook that is signed with `secret`; gives the status of the answer.
    fn send(&self, resource: &str, body: &Value, secret: &str) -> u16 {
        let body = body.to_string();
        let signature = signature(secret, &body);
        let headers = [("sentry-hook-resource", resource), ("sentry-hook-signature", &signature)];
        request(&self.at, &format!("POST {}", self.path), &headers, &body).status()
    }

    /// Sends a hook of an issue as Sentry does, which is taken.
    #[track_caller]
    fn tell(&self, action: &str, id: &str) {
        let body = json!({ "action": action, "data": { "issue": { "id": id, "title": "a lie" } } });
        assert_eq!(self.send("issue", &body, &self.secret), 200);
    }
}

fn made(stage: &Stage, title: &str, status: &str) -> String {
    let body = json!({ "title": title, "status": status }).to_string();
    control(stage, "POST /v1/sentry", &body)["id"].as_str().unwrap().to_owned()
}

/// The messages of the events that have `part` in them, the oldest first.
fn events(stage: &Stage, part: &str) -> Vec<String> {
    let said = stage.expect(&["events", "--json"], 0).value();
    let all = said["result"]["events"].as_array().unwrap().clone();
    let messages = all.iter().map(|event| event["message"].as_str().unwrap().to_owned());
    messages.filter(|message| message.contains(part)).collect()
}

fn incidents(stage: &Stage) -> Vec<Value> {
    let said = stage.expect(&["incident", "list", "--json"], 0).value();
    said["result"]["incidents"].as_array().unwrap().clone()
}

#[test]
fn an_error_that_sentry_tells_of_is_confirmed_told_once_and_opens_an_incident() {
    let stage = Stage::of(ERRORS);
    let doctor = stage.expect(&["doctor", "sentry"], 0).out;
    assert!(doctor.contains("the token is accepted and reads issues"), "{doctor}");
    let up = Up::start(&stage);
    let (open, done) =
        (made(&stage, "TypeError: x", "unresolved"), made(&stage, "ValueError", "resolved"));
    let alert = |id: &str| json!({ "action": "triggered", "data": { "event": { "issue_id": id, "title": "a lie" } } });
    assert_eq!(up.send("event_alert", &alert(&open), "another-secret"), 401);
    for id in ["999", done.as_str(), open.as_str(), open.as_str()] {
        assert_eq!(up.send("event_alert", &alert(id), &up.secret), 200);
    }
    let metric = json!({
        "action": "critical", "data": { "metric_alert": { "id": "4" }, "description_title": "Critical: too many" },
    });
    for _ in 0..2 {
        assert_eq!(up.send("metric_alert", &metric, &up.secret), 200);
    }
    let told = || {
        let mut all = events(&stage, "sentry tells of ");
        all.retain(|message| message.starts_with("sentry"));
        all
    };
    until("both are told", || (told().len() >= 2).then_some(()));
    let mut all = told();
    all.sort();
    let link = format!("https://acme.sentry.io/issues/{open}/");
    let issue = format!("sentry tells of SHOP-1 error: TypeError: x ({link})");
    let metric =
        "sentry tells of a metric alert, critical: Critical: too many (signed, not confirmed)";
    assert_eq!(all, [issue.as_str(), metric]);

    let incident = until("an incident is open", || incidents(&stage).first().cloned());
    assert_eq!(incident["title"], "sentry tells of errors");
    assert_eq!(
        (&incident["impact"], &incident["public"]),
        (&json!("minor"), &json!(false)),
        "{incident}"
    );

    // Somebody says that it is over, and Sentry does not.
    up.tell("resolved", &open);
    until("it was asked for", || due(&stage).is_empty().then_some(()));
    assert_eq!(events(&stage, "this is over"), Vec::<String>::new());
    let resolved = json!({ "id": open, "status": "resolved" }).to_string();
    stage.tell("/v1/sentry", &resolved);
    up.tell("resolved", &open);
    until("the incident is over", || (incidents(&stage)[0]["stage"] == "resolved").then_some(()));
    assert_eq!(
        events(&stage, "this is over"),
        ["sentry says that this is over: SHOP-1 error: TypeError: x"]
    );
    // What comes back is told anew, and is another incident.
    stage.tell("/v1/sentry", &json!({ "id": open, "status": "unresolved" }).to_string());
    up.tell("unresolved", &open);
    until("it is told again", || (events(&stage, &issue).len() == 2).then_some(()));
    until("another incident is open", || (incidents(&stage).len() == 2).then_some(()));
}

fn store(stage: &Stage) -> Sqlite {
    Sqlite::open(stage.folder().join(".linkflow/rehearsal/linkflow.db")).unwrap()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// What Sentry told of and nobody has followed yet.
fn due(stage: &Stage) -> Vec<Value> {
    let all = wait(store(stage).list("hook/due/")).unwrap();
    all.into_iter().map(|document| document.body).collect()
}

#[test]
fn what_was_answered_is_told_though_sentry_does_not_answer_and_the_process_is_killed() {
    let stage = Stage::of(ERRORS);
    let issue = made(&stage, "TypeError: x", "unresolved");
    let up = Up::start(&stage);
    stage.expect(&["drill", "set", "sentry", "api-down"], 0);
    up.tell("created", &issue);
    until("Sentry was asked in vain", || {
        due(&stage).first().filter(|due| due["tries"] == 1).cloned()
    });
    // Killed with SIGKILL.
    drop(up);
    assert_eq!(events(&stage, "sentry tells of "), Vec::<String>::new());
    stage.expect(&["drill", "clear"], 0);
    let up = Up::start(&stage);
    until("it is told", || (events(&stage, "sentry tells of SHOP-1").len() == 1).then_some(()));
    // Killed at once after an answer, before anything can have followed.
    let other = made(&stage, "ValueError", "unresolved");
    up.tell("created", &other);
    drop(up);
    let _up = Up::start(&stage);
    until("the other one is told", || {
        (events(&stage, "sentry tells of SHOP-2").len() == 1).then_some(())
    });
    until("nothing is left", || due(&stage).is_empty().then_some(()));
    assert_eq!(events(&stage, "sentry tells of SHOP-").len(), 2, "each once");
}

#[test]
fn a_process_that_was_killed_while_it_told_tells_what_nobody_heard_and_nothing_twice() {
    let stage = Stage::of(ERRORS);
    let up = Up::start(&stage);
    drop(up);
    // As one leaves it that is killed after it wrote down what it tells: one of the two was heard.
    let store = store(&stage);
    let after = wait(store.newest_event()).unwrap();
    let left = |id: &str, message: &str| {
        let saying = json!({ "after": after, "level": "notice", "message": message, "open": "x" });
        let due = json!({
            "report": { "issue": { "id": id } }, "at": 1_796_006_460_000_u64, "next": 0, "saying": saying,
        });
        wait(store.write(&format!("hook/due/sentry/issue-{id}"), None, &due, None)).unwrap();
    };
    left("1", "sentry tells of the first");
    left("2", "sentry tells of the second");
    let mut heard = Event::new(
        Timestamp(1_796_006_460_000),
        EventKind::Api,
        Level::Notice,
        "sentry tells of the first".to_owned(),
    );
    heard.provider = Some("sentry".parse().unwrap());
    wait(store.append(&heard)).unwrap();
    let _up = Up::start(&stage);
    until("nothing is left", || due(&stage).is_empty().then_some(()));
    let mut told = events(&stage, "sentry tells of the ");
    told.sort();
    assert_eq!(told, ["sentry tells of the first", "sentry tells of the second"]);
    until("both are open", || incidents(&stage).first().cloned());
}
