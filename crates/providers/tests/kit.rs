//! The client: what it tells of answers and of silence, what it repeats, and what it never shows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use linkflow_model::{Fault, FaultKind, Secret};
use linkflow_providers::kit::{
    Account, Answer, Auth, Call, Limiter, Rule, Scope, Vendor, mask_values,
};
use serde_json::{Value, json};

use super::canned::{Asked, Canned, Reply};
use super::stage::kit;

const TOKEN: &str = "token-that-nobody-sees";

fn vendor(kit: &linkflow_providers::kit::Kit, base: &str, limits: fn() -> Limiter) -> Vendor {
    kit.vendor(Account {
        provider: "cloudy".parse().unwrap(),
        spec: "cloud",
        production: "https://api.cloud.example/v1".to_owned(),
        base: base.to_owned(),
        auth: Some(Auth::bearer(Secret::new(TOKEN))),
        limits: Box::new(limits),
        judge: |_, _| None,
        hide: |body| mask_values(body, "/values"),
    })
}

fn client(base: &str) -> Vendor {
    vendor(&kit(None), base, Limiter::free)
}

fn read() -> Call {
    Call::read("read thing", "x", "/things/x").within(Duration::from_millis(400))
}

fn write() -> Call {
    let call = Call::write(Method::POST, "change thing", "x", "/things/x");
    call.json(json!({ "size": 1 })).within(Duration::from_millis(400))
}

/// How a read and a write end on a server with these answers, and how many requests each cost.
async fn check(
    reply: impl Fn() -> Reply + Send + Sync + Clone + 'static,
    expected: [(&str, usize); 2],
) {
    for (call, (kind, requests)) in [read(), write()].into_iter().zip(expected) {
        let reply = reply.clone();
        let server = Canned::start(move |_| reply()).await;
        let outcome = client(&server.url).send(call).await;
        assert_eq!((word(outcome).as_str(), server.asked().len()), (kind, requests));
    }
}

fn word(outcome: Result<Answer, Fault>) -> String {
    match outcome {
        Ok(answer) => answer.status.as_u16().to_string(),
        Err(fault) => format!("{:?}", fault.kind),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_was_never_reached() {
    let server = Canned::start(|_| Reply::Cut).await;
    let url = server.url.clone();
    drop(server);
    tokio::task::yield_now().await;
    for call in [read(), write()] {
        let fault = client(&url).send(call).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert_eq!(fault.provider.as_str(), "cloudy");
        assert!(fault.said.to_lowercase().contains("refused"), "{fault}");
    }
}

#[tokio::test]
async fn the_time_of_each_answer_tells_how_far_this_clock_is_ahead() {
    let kit = kit(None);
    let server = Canned::start(|_| {
        Reply::json(200, &json!({})).with("date", "Sun, 06 Nov 1994 08:49:37 GMT")
    });
    let server = server.await;
    assert!(kit.clock_ahead().is_empty());
    vendor(&kit, &server.url, Limiter::free).send(read()).await.unwrap();
    let wall = i64::try_from(kit.clock().wall().0).unwrap();
    let ahead = kit.clock_ahead().into_values().next().unwrap();
    // RFC 9110 writes that moment so; it was 784,111,777 seconds after 1970.
    let then = wall - ahead;
    assert!((784_111_777_000..784_111_837_000).contains(&then), "{then}");
    let silent = Canned::start(|_| Reply::json(200, &json!({})).with("date", "soon")).await;
    vendor(&kit, &silent.url, Limiter::free).send(read()).await.unwrap();
    assert_eq!(kit.clock_ahead().len(), 1);
}

#[tokio::test]
async fn an_answer_that_never_comes_leaves_a_write_unclear() {
    check(|| Reply::Cut, [("Unreachable", 3), ("Unclear", 1)]).await;
    check(|| Reply::Hang, [("Unreachable", 3), ("Unclear", 1)]).await;
}

#[tokio::test]
async fn errors_of_the_server_are_tried_again_only_when_reading() {
    let failing = || Reply::json(503, &json!({ "error": "busy" }));
    check(failing, [("Unreachable", 3), ("Unclear", 1)]).await;
    let refusing = || Reply::json(422, &json!({ "error": "no" }));
    check(refusing, [("Invalid", 1), ("Invalid", 1)]).await;
}

#[tokio::test]
async fn a_read_works_when_the_server_recovers_in_time() {
    let count = AtomicUsize::new(0);
    let server = Canned::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Cut,
        1 => Reply::json(429, &json!({})).with("retry-after", "0"),
        _ => Reply::json(200, &json!({ "ok": true })),
    });
    let server = server.await;
    let answer: Value = client(&server.url).send_for(read()).await.unwrap();
    assert_eq!((answer, server.asked().len()), (json!({ "ok": true }), 3));
}

#[tokio::test]
async fn a_vendor_that_asks_for_patience_is_left_alone() {
    let server = Canned::start(|_| Reply::json(429, &json!({})).with("retry-after", "30"));
    let server = server.await;
    let vendor = client(&server.url);
    for _ in 0..3 {
        let fault = vendor.send(read()).await.unwrap_err();
        let FaultKind::Limited { wait } = fault.kind else { panic!("{fault}") };
        assert!(wait > Duration::from_secs(25), "{wait:?}");
    }
    assert_eq!(server.asked().len(), 1, "the second and third were held back");
}

#[tokio::test]
async fn requests_keep_to_the_rate_before_the_vendor_says_so() {
    let server = Canned::start(|_| Reply::json(200, &json!({}))).await;
    let vendor = vendor(&kit(None), &server.url, || {
        let rule = Rule { scope: Scope::EachAction, every: Duration::from_millis(150), burst: 2 };
        Limiter::new(vec![rule], Duration::from_millis(200))
    });
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        vendor.send(read()).await.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(120), "{:?}", began.elapsed());
    let both = tokio::join!(vendor.send(read()), vendor.send(read()));
    let words = [word(both.0), word(both.1)];
    assert!(words.iter().any(|w| w.starts_with("Limited")), "patience has an end: {words:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_promised_is_unclear() {
    let server = Canned::start(|_| Reply::json(200, &json!("text"))).await;
    let outcome = client(&server.url).send_for::<Vec<u8>>(read()).await;
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Unclear);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Canned::start(|_| Reply::json(200, &json!({}))).await;
    let target = elsewhere.url.clone();
    let server = Canned::start(move |_| Reply::json(302, &json!({})).with("location", &target));
    let server = server.await;
    assert_eq!(word(client(&server.url).send(read()).await), "Invalid");
    assert_eq!(elsewhere.lines(), Vec::<String>::new());
}

/// A server that says back everything it is told.
fn echo(asked: &Asked) -> Reply {
    let headers: Vec<String> = asked.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
    let said =
        format!("{} {} {}", headers.join(" "), asked.path, String::from_utf8_lossy(&asked.body));
    Reply::json(422, &json!({ "error": said, "values": { "A": "found-by-the-vendor" } }))
}

#[tokio::test]
async fn a_secret_is_in_no_fault_and_in_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording.ndjson");
    let kit = kit(Some(file.clone()));
    let server = Canned::start(echo).await;
    let vendor = vendor(&kit, &server.url, Limiter::free);
    let app_secret = "pass \"word\"/with+signs";
    kit.learn(&Secret::new(app_secret));
    let call = Call::write(Method::POST, "change thing", "x", "/things")
        .query("q", app_secret)
        .header("x-note", "plain")
        .secret_header("x-lease", Secret::new("lease-of-today"))
        .json(json!({ "values": { "A": "unknown-to-the-kit" }, "note": app_secret, "n": 1 }));
    let fault = vendor.send(call).await.unwrap_err();

    let asked = &server.asked()[0];
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(asked.header("x-lease"), Some("lease-of-today"));
    assert_eq!(asked.header("user-agent"), Some("linkflow-test"));
    assert_eq!(asked.json()["values"]["A"], "unknown-to-the-kit");

    let recording = std::fs::read_to_string(&file).unwrap();
    let shown = format!("{fault} {fault:?} {recording}");
    for secret in [TOKEN, "word", "with+signs", "with%2Bsigns", "found-by-the-vendor"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let line: Value = serde_json::from_str(recording.trim_end()).unwrap();
    assert_eq!(
        line["request_headers"],
        json!({
            "authorization": "***", "content-type": "application/json",
            "x-note": "plain", "x-lease": "***",
        })
    );
    assert_eq!(line["request_body"], json!({ "values": { "A": "***" }, "note": "***", "n": 1 }));
}

#[tokio::test]
async fn a_recording_tells_of_the_production_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording.ndjson");
    let server = Canned::start(|_| Reply::json(200, &json!({ "id": 7 }))).await;
    for _ in 0..2 {
        // Each kit opens the file anew, as processes that share a recording do.
        let vendor = vendor(&kit(Some(file.clone())), &server.url, Limiter::free);
        vendor.send(read().query("a b", "c&d")).await.unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0],
        json!({
            "provider": "cloud",
            "base": "https://api.cloud.example/v1",
            "method": "GET",
            "path": "/things/x?a%20b=c%26d",
            "request_headers": { "authorization": "***" },
            "request_body": null,
            "status": 200,
            "response_headers": { "content-type": "application/json" },
            "response_body": { "id": 7 },
        })
    );
    assert_eq!(server.asked()[1].path, "/things/x?a%20b=c%26d");
}
