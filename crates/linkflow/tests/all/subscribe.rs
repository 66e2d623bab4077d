//! Subscribing as people and programs meet it: forms posted to a process that serves, letters, and calls that are signed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::conversations::linkflow;
use crate::hooked::until;
use crate::page::start;
use crate::rehearsed::Stage;
use crate::request::{Reply, request};
use crate::signed::control;

const CONFIG: &str = r#"
[stack]
name = "shop"
[services.api]
image = "ghcr.io/acme/api:1"
port = 8000
[mail]
from = "Shop <status@shop.example>"
via = ["embedded"]
[status_page]
host = "status.shop.example"
title = "Shop"
components = [{ name = "API", watch = "service.api" }]
[status_page.subscribe]
at = "https://ops.shop.example"
private_webhooks = true
"#;

/// The answer to `form`, posted to `path` from the status page.
fn post(at: SocketAddr, path: &str, form: &str) -> Reply {
    let headers = [
        ("origin", "https://status.shop.example"),
        ("sec-fetch-site", "cross-site"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    request(&at.to_string(), &format!("POST {path}"), &headers, form)
}

/// The letter in the Maildir that has `part` in it.
fn letter(folder: &Path, part: &str) -> String {
    let new = folder.join(".linkflow/mail/new");
    for _ in 0..300 {
        let files = std::fs::read_dir(&new).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        // Lines that were broken for mail are whole again.
        let whole =
            texts.map(|text| text.replace("=\r\n", "").replace("=\n", "").replace("=3D", "="));
        if let Some(text) = whole.into_iter().find(|text| text.contains(part)) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no letter with `{part}` came");
}

/// Takes one call and does not answer; gives its connection, its head and its body.
fn heard(listener: &TcpListener) -> (TcpStream, String, Value) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (mut text, mut bytes) = (String::new(), [0; 8_192]);
    loop {
        let read = stream.read(&mut bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(body) = serde_json::from_str::<Value>(body) else { continue };
        return (stream, head.to_owned(), body);
    }
}

/// Takes one call and answers with its challenge; gives its head and its body.
fn called(listener: &TcpListener) -> (String, Value) {
    let (mut stream, head, body) = heard(listener);
    let said = json!({ "challenge": body["challenge"] }).to_string();
    let length = said.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{said}"
    )
    .unwrap();
    (head, body)
}

/// How many subscribers are listed.
fn listed(folder: &Path) -> usize {
    let said = linkflow(folder, &["page", "subscribers", "list", "--json"]);
    said.value()["result"]["subscribers"].as_array().unwrap().len()
}

#[track_caller]
fn until_listed(folder: &Path, count: usize) {
    let are = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        listed(folder) == count
    });
    assert!(are, "{} subscribed", listed(folder));
}

fn open_incident(folder: &Path) {
    let opened = linkflow(
        folder,
        &[
            "incident",
            "open",
            "Payments fail",
            "--on",
            "API",
            "--impact",
            "major",
            "--text",
            "We look.",
        ],
    );
    assert_eq!(opened.code, 0, "{}", opened.err);
}

#[test]
fn news_that_was_on_its_way_when_the_process_was_killed_comes_again_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), CONFIG).unwrap();
    let (up, said) = start(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    let at = said["result"]["dashboard"].as_str().unwrap().strip_prefix("http://").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let form = format!("address=http://{}/hook", listener.local_addr().unwrap());
    assert_eq!(post(at.parse().unwrap(), "/subscribe", &form).status(), 202);
    called(&listener);
    until_listed(dir.path(), 1);
    open_incident(dir.path());
    let (stream, _, first) = heard(&listener);
    // Killed with SIGKILL before the answer.
    drop(up);
    drop(stream);
    let (_up, _) = start(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    let (_, again) = called(&listener);
    assert_eq!((&again["id"], &again["text"]), (&first["id"], &first["text"]));
    assert_eq!((&first["again"], &again["again"]), (&json!(false), &json!(true)));
}

#[test]
fn people_and_programs_subscribe_are_told_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), CONFIG).unwrap();
    let (_up, said) = start(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    let at = said["result"]["dashboard"].as_str().unwrap().strip_prefix("http://").unwrap();
    let at: SocketAddr = at.parse().unwrap();
    let asked = post(at, "/subscribe", "address=ann%40example.com&component=api");
    assert_eq!(asked.status(), 202, "{}", asked.body);
    let text = letter(dir.path(), "/subscribe/confirm/");
    let link = text[text.find("/subscribe/confirm/").unwrap()..].split_whitespace().next().unwrap();
    assert_eq!(post(at, link, "").status(), 200);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("http://{}/hook", listener.local_addr().unwrap());
    assert_eq!(post(at, "/subscribe", &format!("address={hook}")).status(), 202);
    let (_, challenge) = called(&listener);
    assert_eq!(challenge["event"], "challenge");
    until_listed(dir.path(), 2);
    open_incident(dir.path());
    let (head, told) = called(&listener);
    assert!(head.to_lowercase().contains("linkflow-signature: v1="), "{head}");
    assert_eq!((&told["title"], &told["text"]), (&json!("Payments fail"), &json!("We look.")));
    let text = letter(dir.path(), "Payments fail");
    assert!(text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{text}");

    let removed = linkflow(dir.path(), &["page", "subscribers", "remove", "ann@example.com"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
    let again = linkflow(dir.path(), &["page", "subscribers", "remove", "ann@example.com"]);
    assert_eq!(again.code, 1, "{}", again.out);
    let left = linkflow(dir.path(), &["page", "subscribers", "export"]);
    assert!(left.out.contains("/hook") && !left.out.contains("ann@"), "{}", left.out);
}

/// The text messages that Twilio took, once there are `count`.
fn texts(stage: &Stage, count: usize) -> Vec<Value> {
    until("the text message is sent", || {
        let told = control(stage, "GET /v1/twilio/messages", "");
        let all = told["messages"].as_array().unwrap().clone();
        (all.len() == count).then_some(all)
    })
}

#[test]
fn a_phone_subscribes_with_the_code_of_a_text_message_and_is_told() {
    let twilio = "sms_per_day = 10\n[providers.twilio]\nkind = \"twilio\"\naccount_sid = \"AC0\"\nfrom = \"+15005550006\"\n";
    let stage = Stage::of(&format!("{CONFIG}{twilio}"));
    let words = ["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control];
    let (_up, said) = start(stage.folder(), &words);
    let at = said["result"]["dashboard"].as_str().unwrap().strip_prefix("http://").unwrap();
    let at: SocketAddr = at.parse().unwrap();
    let page = post(at, "/subscribe", "phone=%2B49+170+1234567");
    assert_eq!(page.status(), 202, "{}", page.body);
    let who = page.body.split("name=\"who\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let sent = texts(&stage, 1).remove(0);
    assert_eq!(sent["to"], "+491701234567");
    let is_digit = |c: &char| c.is_ascii_digit();
    let code: String = sent["body"].as_str().unwrap().chars().filter(is_digit).collect();
    let said = post(at, "/subscribe/code", &format!("who={who}&code={code}"));
    assert_eq!(said.status(), 200, "{}", said.body);
    let list = stage.expect(&["page", "subscribers", "list", "--json"], 0).value();
    let way = json!({ "by": "sms", "to": "+491701234567" });
    assert_eq!(list["result"]["subscribers"][0]["way"], way, "{list}");
    stage.expect(&["incident", "open", "Payments fail", "--on", "API", "--text", "We look."], 0);
    let news = texts(&stage, 2).remove(1);
    let body = news["body"].as_str().unwrap();
    assert!(
        body.starts_with(
            "Shop: Payments fail: Investigating https://status.shop.example/incident/"
        ),
        "{body}"
    );
    let end = &body[body.find("/unsubscribe/").unwrap()..];
    assert_eq!(post(at, end, "").status(), 200);
    let list = stage.expect(&["page", "subscribers", "list", "--json"], 0).value();
    assert_eq!(list["result"]["subscribers"], json!([]));
}
