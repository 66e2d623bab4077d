//! The API as programs meet it.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use linkflow_model::access::{Caller, Means, Scope};
use linkflow_model::{Condition, Drain, Timestamp};
use linkflow_store::Store;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Site;
use crate::scripted::{NOW, Stage, watched};

/// Every operation of the description: method, path with its parameters filled in, scope, whether it takes a body.
fn operations(description: &Value) -> Vec<(String, String, Scope, bool)> {
    let mut all = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let scope = operation["x-linkflow-scope"].as_str().unwrap();
            let scope = Scope::ALL.into_iter().find(|one| one.word() == scope).unwrap();
            let filled = path
                .replace("{name}", "api")
                .replace("{id}", "none")
                .replace("{release}", "r1")
                .replace("{run}", "run-000001");
            let takes = operation.get("requestBody").is_some();
            all.push((method.to_uppercase(), filled, scope, takes));
        }
    }
    all
}

#[tokio::test]
async fn every_route_that_is_described_asks_for_its_scope_and_for_no_more() {
    let stage = Stage::new().await;
    let description = stage.ask("GET", "/api/openapi.json", None).await.json();
    let all = operations(&description);
    assert!(all.len() > 30, "{}", all.len());
    for (method, path, scope, takes) in all {
        let body = || takes.then(|| json!({}));
        let nobody = stage.ask_as(None, &method, &path, body()).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert!(nobody.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
        for held in Scope::ALL {
            let answer = stage.ask_as(Some(held), &method, &path, body()).await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(refused, held < scope, "{method} {path} as {held:?}: {}", answer.text);
            if answer.status.is_client_error() {
                let error = &answer.json()["error"];
                assert!(error["what"].as_str().unwrap().len() > 3, "{method} {path}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn how_everything_stands_is_one_answer() {
    let stage = Stage::new().await;
    let status = stage.ask("GET", "/api/v1/status", None).await.json();
    assert_eq!((status["stack"].as_str(), status["at"].as_u64()), (Some("shop"), Some(NOW)));
    assert_eq!(status["services"][0]["placements"][0]["state"], "up");
    assert_eq!(status["providers"], json!(["a", "b"]));
    assert_eq!(status["live"]["release"], "r2");
    assert_eq!(status["quotas"][0]["used"]["percent"], 90.0);
    let missing = stage.ask("GET", "/api/v1/services/nothing", None).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["error"]["place"], "path");
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let stage = Stage::new().await;
    let first = stage.ask("GET", "/api/v1/releases", None).await;
    let tag = first.header("etag").to_owned();
    assert!(!tag.is_empty());
    let again = || {
        let request = Request::get("/api/v1/releases").header(header::IF_NONE_MATCH, &tag);
        request.body(Body::empty()).unwrap()
    };
    let same = stage.send(Some(Scope::Read), again()).await;
    assert_eq!((same.status, same.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let release = json!({
        "id": "r3", "at": NOW, "state": "live", "why": "x", "before": null, "services": {},
    });
    stage.put("release/r3", release).await;
    let other = stage.send(Some(Scope::Read), again()).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_eq!(other.json()["total"], 3);
}

#[tokio::test]
async fn events_come_newest_first_and_in_parts_that_meet() {
    let stage = Stage::new().await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/events?limit=7".to_owned();
    loop {
        let part = stage.ask("GET", &path, None).await.json();
        let rows = part["events"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["number"].as_u64().unwrap()));
        let Some(before) = part["before"].as_u64() else { break };
        path = format!("/api/v1/events?limit=7&before={before}");
    }
    assert_eq!(seen, (1..=30).rev().collect::<Vec<_>>());
    let loud = stage.ask("GET", "/api/v1/events?level=warning&q=NUMBER", None).await.json();
    let numbers = loud["events"].as_array().unwrap().iter().map(|row| row["number"].as_u64());
    assert_eq!(numbers.collect::<Vec<_>>(), [Some(21), Some(11), Some(1)]);
    assert_eq!(loud["before"], Value::Null);
}

#[tokio::test]
async fn what_is_not_as_described_is_refused_with_its_place() {
    let stage = Stage::new().await;
    let rows = [
        ("GET", "/api/v1/events?limit=0", None, 400, "query"),
        ("GET", "/api/v1/events?kind=nonsense", None, 400, "query"),
        ("GET", "/api/v1/events?limits=1", None, 400, "query"),
        ("POST", "/api/v1/actions/apply", Some(json!({})), 400, "body"),
        ("POST", "/api/v1/actions/apply", Some(json!({ "reason": " " })), 400, "body"),
        ("POST", "/api/v1/actions/apply", Some(json!({ "reason": "x", "force": 1 })), 400, "body"),
        (
            "POST",
            "/api/v1/actions/drain",
            Some(json!({ "reason": "x", "provider": "A" })),
            400,
            "body",
        ),
        (
            "POST",
            "/api/v1/actions/drain",
            Some(json!({ "reason": "x", "provider": "z" })),
            404,
            "path",
        ),
        ("POST", "/api/v1/incidents/none/resolve", Some(json!({})), 404, "path"),
        ("DELETE", "/api/v1/incidents", None, 405, "path"),
        ("GET", "/api/v1/nothing", None, 404, "path"),
    ];
    for (method, path, body, status, place) in rows {
        let answer = stage.ask(method, path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text);
        assert_eq!(answer.json()["error"]["place"], place, "{method} {path}");
    }
    let form = Request::post("/api/v1/actions/apply").body(Body::from("reason=x")).unwrap();
    let answer = stage.send(Some(Scope::Operate), form).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let long = json!({ "reason": "x".repeat(super::BODY) });
    let answer = stage.ask("POST", "/api/v1/actions/apply", Some(long)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn an_order_has_a_caller_and_a_reason_and_is_refused_while_another_is_under_way() {
    let stage = Stage::new().await;
    let body = json!({ "reason": "it is slow", "release": "r1" });
    let begun = stage.ask("POST", "/api/v1/actions/rollback", Some(body.clone())).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
    assert_eq!(begun.json()["run"], "run-000001");
    let row = ("roll back to r1", "ann", "it is slow");
    let row = (row.0.to_owned(), row.1.to_owned(), row.2.to_owned());
    assert_eq!(*stage.operator.orders.lock().unwrap(), [row]);
    *stage.operator.busy.lock().unwrap() = true;
    let busy = stage.ask("POST", "/api/v1/actions/rollback", Some(body)).await;
    assert_eq!(busy.status, StatusCode::CONFLICT);
    assert_eq!(busy.json()["error"]["place"], "stack");
}

#[tokio::test]
async fn a_drain_is_a_document_until_it_is_lifted() {
    let stage = Stage::new().await;
    let body = json!({ "reason": "it is rebuilt", "provider": "a" });
    let drained = stage.ask("POST", "/api/v1/actions/drain", Some(body.clone())).await;
    assert_eq!(drained.status, StatusCode::OK, "{}", drained.text);
    let document = stage.store.read("drain/a").await.unwrap().unwrap();
    let drain: Drain = serde_json::from_value(document.body).unwrap();
    assert_eq!((drain.by.as_str(), drain.why.as_str()), ("ann", "it is rebuilt"));
    let all = stage.ask("GET", "/api/v1/drains", None).await.json();
    assert_eq!(all["drains"][0]["provider"], "a");
    let lifted = stage.ask("POST", "/api/v1/actions/undrain", Some(body.clone())).await;
    assert_eq!(lifted.status, StatusCode::OK);
    assert_eq!(stage.store.read("drain/a").await.unwrap(), None);
    let again = stage.ask("POST", "/api/v1/actions/undrain", Some(body)).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let told = stage.ask("GET", "/api/v1/events?provider=a", None).await.json();
    assert_eq!(told["events"][1]["message"], "ann drains a: it is rebuilt");
}

#[tokio::test]
async fn an_address_is_for_who_operates_alone_and_is_made_anew() {
    let stage = Stage::new().await;
    let all = stage.ask("GET", "/api/v1/addresses", None).await;
    assert_eq!(all.header("cache-control"), "no-store");
    let all = all.json()["addresses"].clone();
    let rows: Vec<_> =
        all.as_array().unwrap().iter().map(|one| [&one["sort"], &one["name"]]).collect();
    let (none, backup, sentry) = (json!(null), json!("backup"), json!("sentry"));
    let (key, beat, hook) = (json!("key"), json!("heartbeat"), json!("hook"));
    assert_eq!(rows, [[&key, &none], [&beat, &backup], [&hook, &sentry]]);
    let reader = stage.ask_as(Some(Scope::Read), "GET", "/api/v1/addresses", None).await.json();
    for (one, shown) in all.as_array().unwrap().iter().zip(reader["addresses"].as_array().unwrap())
    {
        assert!(one["address"].as_str().unwrap().starts_with("https://ops.example.com/"), "{one}");
        let mut named = one.clone();
        named["address"] = json!(null);
        assert_eq!(*shown, named);
    }
    let body = json!({ "reason": "it leaked", "sort": "heartbeat", "name": "backup" });
    let path = "/api/v1/actions/rotate";
    let reader = stage.ask_as(Some(Scope::Read), "POST", path, Some(body.clone())).await;
    assert_eq!(reader.status, StatusCode::FORBIDDEN);
    let fresh = stage.ask("POST", path, Some(body)).await.json();
    let now = stage.ask("GET", "/api/v1/addresses", None).await.json();
    assert_ne!(now["addresses"][1], all[1]);
    assert_eq!([&now["addresses"][1], &now["addresses"][0]], [&fresh, &all[0]]);
    let wrong = json!({ "reason": "x", "sort": "hook" });
    let refused = stage.ask("POST", path, Some(wrong)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    let deeds =
        crate::door::deeds(&*stage.store, &crate::door::month(Timestamp(NOW))).await.unwrap();
    let told: Vec<_> = deeds.iter().map(|d| [&*d.what, &*d.why, &*d.outcome]).collect();
    assert_eq!(told, [["make the UUID of the heartbeat backup anew", "it leaked", "done"]]);
    let secret = fresh["address"].as_str().unwrap().rsplit_once('/').unwrap().1;
    let events = stage.ask("GET", "/api/v1/events", None).await.text;
    assert!(!format!("{deeds:?}{events}").contains(secret), "an address is a secret");
}

#[tokio::test]
async fn a_failover_is_audited_before_it_is_ordered_and_ends() {
    let stage = Stage::new().await;
    let wrong = json!({ "reason": "x", "to": "c" });
    let refused = stage.ask("POST", "/api/v1/actions/failover", Some(wrong)).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let body = json!({ "reason": "it is rebuilt", "to": "b", "service": "api", "minutes": 90 });
    let ordered = stage.ask("POST", "/api/v1/actions/failover", Some(body)).await;
    assert_eq!(ordered.status, StatusCode::OK, "{}", ordered.text);
    assert_eq!(ordered.json()["until"], NOW + 90 * 60_000);
    assert!(stage.store.read("failover/api").await.unwrap().is_some());
    let all = stage.ask("GET", "/api/v1/failovers", None).await.json();
    assert_eq!(all["failovers"][0]["to"], "b");
    let body = json!({ "reason": "it is over", "service": "api" });
    let ended = stage.ask("POST", "/api/v1/actions/failback", Some(body.clone())).await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    let again = stage.ask("POST", "/api/v1/actions/failback", Some(body)).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let deeds = crate::door::deeds(&*stage.store, &crate::door::month(Timestamp(NOW))).await;
    let told: Vec<[String; 2]> =
        deeds.unwrap().into_iter().map(|deed| [deed.what, deed.outcome]).collect();
    let told: Vec<[&str; 2]> = told.iter().map(|[what, end]| [&**what, &**end]).collect();
    assert_eq!(
        told,
        [
            ["end the failover of api", "refused: 404 Not Found"],
            ["end the failover of api", "done"],
            ["fail api over to b", "done"],
            ["fail every service over to c", "refused: 404 Not Found"],
        ]
    );
}

#[tokio::test]
async fn an_incident_is_opened_taken_goes_on_and_ends() {
    let stage = Stage::new().await;
    let body =
        json!({ "title": "Payments fail", "text": "We *look*.", "subjects": ["monitor.api"] });
    let opened = stage.ask("POST", "/api/v1/incidents", Some(body)).await;
    assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.text);
    let id = opened.json()["incident"]["id"].as_str().unwrap().to_owned();
    assert_eq!(id, "20261130-payments-fail");
    let at = |what: &str| format!("/api/v1/incidents/{id}/{what}");
    let taken = stage.ask("POST", &at("acknowledge"), None).await.json();
    assert_eq!(taken["incident"]["acknowledged_by"], "ann");
    let note = json!({ "text": "It was the pool.", "stage": "identified", "private": true });
    let noted = stage.ask("POST", &at("updates"), Some(note)).await.json();
    assert_eq!(noted["incident"]["stage"], "investigating", "a note changes no stage");
    let said = json!({ "text": "A bad release.", "stage": "identified" });
    let said = stage.ask("POST", &at("updates"), Some(said)).await.json();
    assert_eq!(said["incident"]["stage"], "identified");
    let over = stage.ask("POST", &at("resolve"), Some(json!({}))).await.json();
    assert_eq!(over["updates"][3]["text"], "It is over.");
    let again = stage.ask("POST", &at("resolve"), Some(json!({}))).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let open = stage.ask("GET", "/api/v1/incidents?open=true", None).await.json();
    assert_eq!(open["total"], 0);
    let unknown = json!({ "title": "x", "text": "y", "subjects": ["monitor.nothing"] });
    let unknown = stage.ask("POST", "/api/v1/incidents", Some(unknown)).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_monitor_has_its_uptime_its_times_and_the_evidence_of_its_outages() {
    let stage = Stage::new().await;
    stage.operator.more.lock().unwrap().push(watched("monitor.shop", Condition::Down));
    let list = stage.ask("GET", "/api/v1/monitors?condition=down&tag=shop", None).await.json();
    assert_eq!(
        (list["total"].as_u64(), &list["monitors"][0]["subject"]),
        (Some(1), &json!("monitor.shop"))
    );
    let one = stage.ask("GET", "/api/v1/monitors/api", None).await.json();
    // Down for two minutes of a day, cut off.
    assert_eq!(one["uptime"][0]["percent"], "99.861 %");
    assert_eq!(one["outages"][0]["why"], "503");
    assert_eq!(one["outages"][0]["evidence"].as_array().unwrap().len(), 2);
    let history = stage.ask("GET", "/api/v1/monitors/api/history?days=1", None).await.json();
    let steps = history["steps"].as_array().unwrap();
    let looks: u64 = steps.iter().map(|step| step["took"]["looks"].as_u64().unwrap()).sum();
    assert_eq!(
        (looks, history["step_ms"].as_u64()),
        (119, Some(900_000)),
        "the minute that lasts is not added up"
    );
    let looks = stage.ask("GET", "/api/v1/monitors/api/looks?limit=3", None).await.json();
    assert_eq!(looks["looks"][0]["at"], NOW);
}

#[tokio::test]
async fn numbers_are_for_prometheus_and_its_tool_finds_nothing_wrong() {
    let stage = Stage::new().await;
    stage.put("alert/message/1", json!({ "state": "waiting" })).await;
    stage.put("alert/message/2", json!({ "state": "sent" })).await;
    assert_eq!(stage.ask_as(None, "GET", "/metrics", None).await.status, StatusCode::UNAUTHORIZED);
    let metrics = stage.ask_as(Some(Scope::Read), "GET", "/metrics", None).await;
    for line in [
        "linkflow_service_up{service=\"api\"} 1",
        "linkflow_placement_state{service=\"api\",provider=\"b\",state=\"up\"} 1",
        "linkflow_monitor_up{monitor=\"monitor.api\"} 1",
        "linkflow_incidents_open{acknowledged=\"no\"} 0",
        "linkflow_events_total 30",
        "linkflow_alerts_waiting 1",
        "linkflow_edge_requests_in_flight 1",
    ] {
        assert!(metrics.text.lines().any(|held| held == line), "{line}\n{}", metrics.text);
    }
    let Ok(mut tool) = std::process::Command::new("/usr/bin/promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
    else {
        assert!(std::env::var_os("LINKFLOW_TEST_ALL").is_none(), "promtool is not there");
        return;
    };
    std::io::Write::write_all(tool.stdin.as_mut().unwrap(), metrics.text.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn what_somebody_does_is_audited_with_what_came_of_it() {
    let stage = Stage::new().await;
    let drain = json!({ "provider": "a", "reason": "their region burns" });
    let done =
        stage.ask_as(Some(Scope::Operate), "POST", "/api/v1/actions/drain", Some(drain)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let wrong = json!({ "provider": "nobody", "reason": "a slip" });
    let refused =
        stage.ask_as(Some(Scope::Operate), "POST", "/api/v1/actions/drain", Some(wrong)).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    stage.ask_as(Some(Scope::Operate), "GET", "/api/v1/drains", None).await;
    let month = crate::door::month(Timestamp(NOW));
    let deeds = crate::door::deeds(&*stage.store, &month).await.unwrap();
    let told: Vec<[&str; 4]> =
        deeds.iter().map(|deed| [&*deed.what, &*deed.why, &*deed.from, &*deed.outcome]).collect();
    let expected = [
        ["drain nobody", "a slip", "this machine", "refused: 404 Not Found"],
        ["drain a", "their region burns", "this machine", "done"],
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_a_process_was_killed_over_is_in_the_audit() {
    let stage = Stage::new().await;
    *stage.operator.hangs.lock().unwrap() = true;
    let body = json!({ "reason": "a new image" });
    let asked = stage.ask_as(Some(Scope::Operate), "POST", "/api/v1/actions/apply", Some(body));
    let answer = tokio::time::timeout(std::time::Duration::from_millis(300), asked).await;
    assert!(answer.is_err(), "it is not answered");
    assert_eq!(stage.operator.orders.lock().unwrap().len(), 1, "and was begun");
    let month = crate::door::month(Timestamp(NOW));
    let deeds = crate::door::deeds(&*stage.store, &month).await.unwrap();
    let told: Vec<[&str; 3]> =
        deeds.iter().map(|deed| [&*deed.what, &*deed.why, &*deed.outcome]).collect();
    assert_eq!(told, [["apply the config", "a new image", "outcome unknown"]]);
}

/// Lets in whoever has the token of the tests.
async fn with_token(mut request: Request, next: Next) -> axum::response::Response {
    let token = request.headers().get(header::AUTHORIZATION);
    if token.is_some_and(|token| token == "Bearer test") {
        let (name, scope, means) = ("tester".to_owned(), Scope::Admin, Means::Token);
        request.extensions_mut().insert(Caller { name, scope, means });
    }
    next.run(request).await
}

/// The description is reached as a program reaches it. With `LINKFLOW_TEST_API`, a folder, the description is written there
/// and then the address, and the API is answered until that file is gone: for the tester that `cargo xtask test api` starts.
#[tokio::test]
async fn the_api_is_served_as_it_is_described() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = Site::routes(Arc::new(stage.site.clone())).layer(from_fn(with_token));
    let serving = async { axum::serve(listener, app).await.unwrap() };
    let asking = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
        let request = "GET /api/openapi.json HTTP/1.1\r\nhost: x\r\nauthorization: Bearer test\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"openapi\":\"3.1.0\""), "{answer}");
        let Some(folder) = std::env::var_os("LINKFLOW_TEST_API").map(PathBuf::from) else { return };
        let (_, description) = answer.split_once("\r\n\r\n").unwrap();
        std::fs::write(folder.join("openapi.json"), description).unwrap();
        let file = folder.join("address");
        std::fs::write(&file, format!("http://{at}")).unwrap();
        while file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = asking => {}
    }
}
