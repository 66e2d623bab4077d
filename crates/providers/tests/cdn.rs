//! What every provider of the CDN role promises, and Cloudflare in front of the edge.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use linkflow_model::clock::SystemClock;
use linkflow_model::role::{
    CacheLevel, Cdn, Encryption, Front, FrontChange, KeepRule, RateRule, TunnelWanted, Worker,
};
use linkflow_model::{Clock, FaultKind, Secret};
use linkflow_providers::cdn::{self, Settings, cloudflare, embedded};
use linkflow_providers::dns;
use linkflow_providers::kit::Kit;
use linkflow_rehearsal::cloud::Trouble;
use reqwest::Method;
use serde_json::{Value, json};

use crate::canned::{Canned, Reply};
use crate::lossy::Lossy;
use crate::stage::{Stage, kit};

#[test]
fn the_contract_is_held_by_every_name_of_the_catalogue() {
    assert_eq!(cdn::KINDS, ["embedded", "cloudflare"]);
}

fn at(stage: &Stage, kit: &Kit, stack: &str, api: &str, tunnel: Option<&str>) -> Arc<dyn Cdn> {
    let account = dns::cloudflare::Settings {
        token: Secret::new(&stage.endpoints.cloudflare.token),
        zone: "example.com".to_owned(),
        zone_id: Some(stage.endpoints.cloudflare.zone_id.clone()),
        account: None,
        api: Some(api.to_owned()),
    };
    let own = cloudflare::Settings {
        account,
        worker: format!("{stack}-router"),
        tunnel: tunnel.map(str::to_owned),
    };
    cdn::open(
        Settings::Cloudflare(own),
        kit,
        &stack.parse().unwrap(),
        &"cloudflare".parse().unwrap(),
    )
}

fn front(stage: &Stage) -> Arc<dyn Cdn> {
    at(stage, &stage.kit, "linkflow", &stage.endpoints.cloudflare.api, None)
}

/// Everything that can be asked of it.
fn wanted() -> Front {
    Front {
        encryption: Some(Encryption::Strict),
        https_only: true,
        min_tls: Some("1.2".to_owned()),
        hsts_s: Some(15_724_800),
        https_rewrites: true,
        firewall: true,
        bots: true,
        cache_level: Some(CacheLevel::Standard),
        browser_cache_s: Some(14_400),
        always_online: true,
        rate: vec![RateRule { requests: 100, per_s: 10, paths: Vec::new() }],
        cache: vec![
            KeepRule { path: "/assets/".to_owned(), ttl_s: 86_400 },
            KeepRule { path: "/api/".to_owned(), ttl_s: 0 },
        ],
        worker: Some(Worker {
            module: "export default { fetch() { return new Response('--linkflow'); } };".to_owned(),
            compatibility: "2026-01-01".to_owned(),
            variables: vec![("EDGE".to_owned(), "https://edge.example.com".to_owned())],
            values: "HEALTH".to_owned(),
            routes: vec!["api.example.com/*".to_owned(), "www.example.com/*".to_owned()],
        }),
        leaves_worker: false,
        tunnel: Some(TunnelWanted {
            ingress: vec![("api.example.com".to_owned(), "http://localhost:8080".to_owned())],
        }),
    }
}

/// A call of a person in the dashboard.
async fn ask(stage: &Stage, method: Method, path: &str, body: Value) -> Value {
    let there = &stage.endpoints.cloudflare;
    let path = path.replace("ZONE", &there.zone_id).replace("ACCOUNT", &there.account);
    let request = reqwest::Client::new().request(method, format!("{}{path}", there.api));
    let answer = request.bearer_auth(&there.token).json(&body).send().await.unwrap();
    let mut body: Value = answer.json().await.unwrap();
    assert_eq!(body["success"], true, "{path}: {body}");
    body["result"].take()
}

/// What Cloudflare holds, by the control API.
async fn held(stage: &Stage) -> Value {
    let answer = reqwest::get(format!("{}/v1/cloudflare", stage.endpoints.control)).await;
    answer.unwrap().json().await.unwrap()
}

fn refs(held: &Value) -> BTreeSet<String> {
    let rules = held["rulesets"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|set| set["rules"].as_array().unwrap());
    rules.map(|rule| rule["ref"].as_str().unwrap().to_owned()).collect()
}

fn what(changes: &[FrontChange]) -> Vec<&str> {
    changes.iter().map(|change| change.what.as_str()).collect()
}

async fn a_person_lives_there(stage: &Stage) {
    let rule = json!({ "ref": "theirs", "expression": "true", "action": "set_cache_settings", "action_parameters": { "cache": false } });
    let path = "/zones/ZONE/rulesets/phases/http_request_cache_settings/entrypoint";
    ask(stage, Method::PUT, path, json!({ "rules": [rule] })).await;
    let rule =
        json!({ "ref": "their_wall", "expression": "ip.src eq 192.0.2.1", "action": "block" });
    let path = "/zones/ZONE/rulesets/phases/http_request_firewall_custom/entrypoint";
    ask(stage, Method::PUT, path, json!({ "rules": [rule] })).await;
    ask(stage, Method::PATCH, "/zones/ZONE/settings/brotli", json!({ "value": "off" })).await;
    let (kind, form) = (
        "multipart/form-data; boundary=x",
        "--x\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"main_module\":\"m\"}\r\n--x\r\nContent-Disposition: form-data; name=\"m\"\r\n\r\nexport default {};\r\n--x--\r\n",
    );
    let there = &stage.endpoints.cloudflare;
    let script = format!("{}/accounts/{}/workers/scripts/theirs", there.api, there.account);
    let upload = reqwest::Client::new().put(script).bearer_auth(&there.token);
    let answer = upload.header("content-type", kind).body(form).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let route = json!({ "pattern": "old.example.com/*", "script": "theirs" });
    ask(stage, Method::POST, "/zones/ZONE/workers/routes", route).await;
    ask(stage, Method::POST, "/accounts/ACCOUNT/cfd_tunnel", json!({ "name": "theirs" })).await;
}

#[tokio::test]
async fn all_that_the_guide_asks_for_is_set_once_and_what_people_made_stays() {
    let stage = Stage::start(&[]).await;
    a_person_lives_there(&stage).await;
    let cdn = front(&stage);
    let due = cdn.differences(&wanted()).await.unwrap();
    assert_eq!(
        what(&due),
        [
            "setting ssl",
            "setting always_use_https",
            "setting min_tls_version",
            "setting security_header",
            "setting automatic_https_rewrites",
            "setting browser_cache_ttl",
            "setting always_online",
            "bot fight mode",
            "rule linkflow_linkflow_rate_1",
            "rule linkflow_linkflow_cache_1",
            "rule linkflow_linkflow_cache_2",
            "rule linkflow_linkflow_firewall",
            "worker linkflow-router",
            "route api.example.com/*",
            "route www.example.com/*",
            "tunnel linkflow-linkflow",
        ]
    );
    assert_eq!(stage.writes(), 0, "a look writes nothing");
    let done = cdn.put(&wanted()).await.unwrap();
    assert!(done.iter().all(|change| change.blocked.is_none()), "{done:?}");
    assert_eq!(cdn.differences(&wanted()).await.unwrap(), []);
    let writes = stage.writes();
    cdn.put(&wanted()).await.unwrap();
    assert_eq!(stage.writes(), writes, "a second time writes nothing");

    let held = held(&stage).await;
    let settings = &held["settings"];
    let of = |id: &str| settings[id].clone();
    assert_eq!(
        [
            "ssl",
            "always_use_https",
            "min_tls_version",
            "automatic_https_rewrites",
            "cache_level",
            "always_online",
            "brotli"
        ]
        .map(of),
        ["strict", "on", "1.2", "on", "aggressive", "on", "off"].map(Value::from)
    );
    assert_eq!(
        (&settings["browser_cache_ttl"], &held["fight_mode"]),
        (&json!(14_400), &json!(true))
    );
    assert_eq!(settings["security_header"]["strict_transport_security"]["max_age"], 15_724_800);
    let own = ["rate_1", "cache_1", "cache_2", "firewall"]
        .map(|what| format!("linkflow_linkflow_{what}"));
    let all: BTreeSet<String> =
        own.into_iter().chain(["theirs".into(), "their_wall".into()]).collect();
    assert_eq!(refs(&held), all);
    let routes: Vec<(&Value, &Value)> = held["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (&r["pattern"], &r["request_limit_fail_open"]))
        .collect();
    let (yes, no) = (&json!(true), &json!(false));
    assert_eq!(
        routes,
        [
            (&json!("old.example.com/*"), no),
            (&json!("api.example.com/*"), yes),
            (&json!("www.example.com/*"), yes)
        ]
    );
    assert_eq!(held["scripts"][1]["id"], "theirs");
    assert_eq!(held["scripts"][0]["module"], wanted().worker.unwrap().module);
    assert_eq!(held["tunnels"].as_array().unwrap().len(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn what_is_not_wanted_any_more_goes_and_nothing_is_switched_off() {
    let stage = Stage::start(&[]).await;
    a_person_lives_there(&stage).await;
    let cdn = front(&stage);
    cdn.put(&wanted()).await.unwrap();
    let mut less = Front {
        worker: None,
        rate: Vec::new(),
        cache: wanted().cache[..1].to_vec(),
        ..Front::default()
    };
    less.cache[0].ttl_s = 60;
    let done = cdn.put(&less).await.unwrap();
    assert_eq!(
        what(&done),
        [
            "rule linkflow_linkflow_rate_1",
            "rule linkflow_linkflow_cache_1",
            "rule linkflow_linkflow_cache_2",
            "rule linkflow_linkflow_firewall",
            "route api.example.com/*",
            "route www.example.com/*",
        ]
    );
    let held = held(&stage).await;
    let all: BTreeSet<String> =
        ["linkflow_linkflow_cache_1", "theirs", "their_wall"].map(str::to_owned).into();
    assert_eq!(refs(&held), all);
    assert_eq!(held["settings"]["ssl"], "strict");
    assert_eq!(held["routes"].as_array().unwrap().len(), 1);
    assert_eq!(cdn.differences(&less).await.unwrap(), []);
    stage.stop().await;
}

#[tokio::test]
async fn a_lost_answer_makes_nothing_twice() {
    let stage = Stage::start(&[]).await;
    a_person_lives_there(&stage).await;
    let lossy = Lossy::to(&stage.endpoints.cloudflare.api).await;
    // Not recorded: a kit of its own for each process that is cut off, so that none waits for the pace of the others.
    let open = || at(&stage, &kit(None), "linkflow", &lossy.url, None);
    let mut losses = 0;
    // Each time one more write is answered before one answer is lost, until none is left to lose.
    for answered in 0.. {
        let cdn = open();
        cdn.put(&Front::default()).await.unwrap();
        ask(&stage, Method::PATCH, "/zones/ZONE/settings/ssl", json!({ "value": "full" })).await;
        lossy.lose_after(answered);
        match cdn.put(&wanted()).await {
            Ok(_) => break,
            Err(fault) => assert_eq!(fault.kind, FaultKind::Unclear, "{fault}"),
        }
        losses += 1;
        assert!(lossy.has_lost());
        open().put(&wanted()).await.unwrap();
        assert_eq!(cdn.differences(&wanted()).await.unwrap(), []);
    }
    assert!(losses > 8, "{losses}");
    let held = held(&stage).await;
    let count = |name: &str| held[name].as_array().unwrap().len();
    assert_eq!(
        (count("scripts"), count("routes"), count("namespaces"), count("tunnels")),
        (2, 3, 1, 2)
    );
    assert_eq!(refs(&held).len(), 6, "{held}");
    stage.stop().await;
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_and_the_rest_is_done() {
    let stage = Stage::start(&[]).await;
    let rate = json!({ "characteristics": ["cf.colo.id", "ip.src"], "period": 10, "requests_per_period": 5, "mitigation_timeout": 10 });
    let rule =
        json!({ "ref": "theirs", "expression": "true", "action": "block", "ratelimit": rate });
    ask(
        &stage,
        Method::PUT,
        "/zones/ZONE/rulesets/phases/http_ratelimit/entrypoint",
        json!({ "rules": [rule] }),
    )
    .await;
    // Another stack has a script of the name that this one would use.
    let theirs = at(&stage, &kit(None), "linkflow", &stage.endpoints.cloudflare.api, None);
    theirs.put(&Front { tunnel: None, ..wanted() }).await.unwrap();
    let mut account = cloudflare::Settings {
        account: dns::cloudflare::Settings {
            token: Secret::new(&stage.endpoints.cloudflare.token),
            zone: "example.com".to_owned(),
            zone_id: None,
            account: Some(stage.endpoints.cloudflare.account.clone()),
            api: Some(stage.endpoints.cloudflare.api.clone()),
        },
        worker: "linkflow-router".to_owned(),
        tunnel: None,
    };
    let open = |own: cloudflare::Settings| {
        cdn::open(
            Settings::Cloudflare(own),
            &kit(None),
            &"shop".parse().unwrap(),
            &"cloudflare".parse().unwrap(),
        )
    };
    let cdn = open(account.clone());
    let done = cdn.put(&wanted()).await.unwrap();
    let why = |what: &str| {
        let change = done.iter().find(|change| change.what == what).unwrap();
        change.blocked.clone().unwrap_or_default()
    };
    assert!(why("rule linkflow_shop_rate_1").contains("2 out of 1"), "{done:?}");
    assert!(why("worker linkflow-router").contains("somebody else's script"), "{done:?}");
    account.worker = "shop-router".to_owned();
    let done = open(account).put(&wanted()).await.unwrap();
    let blocked = done.iter().filter(|change| change.blocked.is_some()).map(|c| c.what.as_str());
    let blocked: Vec<&str> = blocked.collect();
    assert_eq!(
        blocked,
        ["rule linkflow_shop_rate_1", "route api.example.com/*", "route www.example.com/*"]
    );
    let held = held(&stage).await;
    let owners: Vec<&Value> =
        held["routes"].as_array().unwrap().iter().map(|r| &r["script"]).collect();
    assert_eq!(owners, ["linkflow-router", "linkflow-router"]);
    assert!(refs(&held).contains("theirs"));
    stage.stop().await;
}

#[tokio::test]
async fn a_route_that_somebody_closed_is_found_and_opened_again() {
    let stage = Stage::start(&[]).await;
    let cdn = front(&stage);
    cdn.put(&wanted()).await.unwrap();
    let routes = ask(&stage, Method::GET, "/zones/ZONE/workers/routes", json!({})).await;
    let id = routes[0]["id"].as_str().unwrap();
    let body = json!({ "pattern": "api.example.com/*", "script": "linkflow-router", "request_limit_fail_open": false });
    ask(&stage, Method::PUT, &format!("/zones/ZONE/workers/routes/{id}"), body).await;
    let due = cdn.differences(&wanted()).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].from.as_deref(), Some("linkflow-router, fails closed"));
    cdn.put(&wanted()).await.unwrap();
    assert_eq!(cdn.differences(&wanted()).await.unwrap(), []);
    stage.stop().await;
}

#[tokio::test]
async fn a_value_is_written_when_it_changes_and_never_too_often() {
    let stage = Stage::start(&[]).await;
    let cdn = front(&stage);
    let fault = cdn.put_value("health", "{}").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    cdn.put(&wanted()).await.unwrap();
    let writes = stage.writes();
    for _ in 0..3 {
        cdn.put_value("health", "{\"api\":\"up\"}").await.unwrap();
    }
    assert_eq!(stage.writes(), writes + 1);
    // Another process finds the same, and the second write of a second waits for its turn.
    let other = front(&stage);
    other.put_value("health", "{\"api\":\"up\"}").await.unwrap();
    other.put_value("health", "{\"api\":\"down\"}").await.unwrap();
    assert_eq!(stage.writes(), writes + 2);
    let value = &held(&stage).await["namespaces"][0]["values"]["health"];
    assert_eq!(value, "{\"api\":\"down\"}");
    stage.fault("cloudflare", Trouble::OutOfQuota);
    let fault = front(&stage).put_value("health", "{}").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exhausted, "{fault}");
    stage.stop().await;
}

#[tokio::test]
async fn the_last_write_of_a_day_is_not_met() {
    let day = 86_400_000;
    let server = Canned::start(move |asked| {
        let ok = |result: Value| {
            Reply::json(
                200,
                &json!({ "success": true, "errors": [], "messages": [], "result": result }),
            )
        };
        let today = SystemClock::start().wall().0 / day;
        match asked.path.split('?').next().unwrap() {
            "/zones/z" => ok(json!({ "id": "z", "name": "example.com", "account": { "id": "a" } })),
            "/accounts/a/storage/kv/namespaces" => {
                ok(json!([{ "id": "n", "title": "linkflow-linkflow" }]))
            }
            _ => ok(json!({ "hash": "another", "day": today, "writes": 950 })),
        }
    });
    let server = server.await;
    let account = dns::cloudflare::Settings {
        token: Secret::new("the-token"),
        zone: "example.com".to_owned(),
        zone_id: Some("z".to_owned()),
        account: None,
        api: Some(server.url.clone()),
    };
    let own = cloudflare::Settings { account, worker: "w".to_owned(), tunnel: None };
    let name = "cloudflare".parse().unwrap();
    let cdn = cdn::open(Settings::Cloudflare(own), &kit(None), &"linkflow".parse().unwrap(), &name);
    let fault = cdn.put_value("health", "{}").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exhausted);
    assert!(fault.said.contains("950 times today"), "{fault}");
    assert!(server.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", server.lines());
}

/// Has the simulated account be so, by the control API.
async fn tell(stage: &Stage, told: Value) {
    let url = format!("{}/v1/cloudflare", stage.endpoints.control);
    let answer = reqwest::Client::new().put(url).json(&told).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{told}");
}

#[tokio::test]
async fn cloudflare_tells_what_all_workers_of_the_account_used_today_and_what_ours_did() {
    let stage = Stage::start(&[]).await;
    let cdn = front(&stage);
    let told = async || {
        let rows = cdn.usage().await.unwrap();
        let day = 86_400_000;
        let next = stage.kit.clock().wall().0 / day * day + day;
        assert!(rows.iter().all(|row| row.resets.unwrap().0 == next), "{rows:?}");
        rows.into_iter().map(|row| (row.what, row.used, row.limit)).collect::<Vec<_>>()
    };
    let row = |what: &str, used, limit| (what.to_owned(), used, limit);
    let rows = |all, own, writes| {
        vec![
            row("worker_requests", all, Some(100_000.0)),
            row("worker_requests_of_this_stack", own, None),
            row("kv_writes", writes, Some(1_000.0)),
        ]
    };
    assert_eq!(told().await, rows(0.0, 0.0, 0.0), "nobody asked anything yet");
    let used = json!({ "linkflow-router": 70_000, "theirs": 12_000 });
    tell(&stage, json!({ "worker_requests": used, "value_writes": 400 })).await;
    tell(&stage, json!({ "worker_requests": { "linkflow-router": 500 } })).await;
    assert_eq!(told().await, rows(82_500.0, 70_500.0, 400.0));
    stage.stop().await;
}

#[tokio::test]
async fn a_permission_that_the_token_for_cloudflare_lacks_is_named() {
    let stage = Stage::start(&[]).await;
    let cdn = front(&stage);
    assert_eq!(cdn.refused(&wanted()).await.unwrap(), []);
    let lacks = json!(["settings", "cache", "routes", "scripts", "tunnels", "analytics"]);
    tell(&stage, json!({ "lacks": lacks })).await;
    let refused = cdn.refused(&wanted()).await.unwrap();
    let named: Vec<&str> = refused
        .iter()
        .map(|fault| fault.said.rsplit_once("; the token lacks the permission ").unwrap().1)
        .collect();
    let expected = [
        "`Zone · Zone Settings`",
        "`Zone · Cache Rules`",
        "`Account · Workers Scripts`",
        "`Account · Cloudflare Tunnel`",
    ];
    assert_eq!(named, expected);
    let fault = cdn.usage().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    let said = "not authorized for that account; the token lacks the permission `Account · Account Analytics · Read`";
    assert_eq!(fault.said, said);
    // A token that nobody gave is refused as a whole, whatever is asked.
    stage.fault("cloudflare", Trouble::Denied);
    let fault = cdn.refused(&wanted()).await.unwrap_err();
    assert_eq!(
        (fault.kind, fault.attempt.as_str()),
        (FaultKind::Denied, "look up zone example.com")
    );
    assert_eq!(fault.said, "Authentication error");
    stage.stop().await;
}

#[tokio::test]
async fn the_tunnel_is_made_once_its_key_is_shown_to_nobody_and_a_persons_own_keeps_its_ways() {
    let stage = Stage::start(&[]).await;
    let cdn = front(&stage);
    assert_eq!(cdn.tunnel().await.unwrap(), None);
    assert_eq!(cdn.tunnel_key().await.unwrap_err().kind, FaultKind::Missing);
    let only = Front { tunnel: wanted().tunnel, ..Front::default() };
    cdn.put(&only).await.unwrap();
    cdn.put(&only).await.unwrap();
    let tunnel = cdn.tunnel().await.unwrap().unwrap();
    assert_eq!(tunnel.address, format!("{}.cfargotunnel.com", tunnel.id));
    let key = cdn.tunnel_key().await.unwrap();
    let credentials: Value = serde_json::from_str(key.credentials.expose()).unwrap();
    assert_eq!(credentials["TunnelID"], tunnel.id.as_str());
    let recording = Value::from(stage.recording()).to_string();
    let secret = credentials["TunnelSecret"].as_str().unwrap();
    assert!(!recording.contains(key.token.expose()) && !recording.contains(secret));

    let made =
        ask(&stage, Method::POST, "/accounts/ACCOUNT/cfd_tunnel", json!({ "name": "theirs" }))
            .await;
    let id = made["id"].as_str().unwrap();
    let theirs = json!({ "hostname": "ssh.example.com", "service": "ssh://localhost:22" });
    let config = json!({ "config": { "ingress": [theirs, { "service": "http_status:503" }] } });
    let path = format!("/accounts/ACCOUNT/cfd_tunnel/{id}/configurations");
    ask(&stage, Method::PUT, &path, config).await;
    let shared = at(&stage, &stage.kit, "linkflow", &stage.endpoints.cloudflare.api, Some(id));
    shared.put(&only).await.unwrap();
    assert_eq!(shared.differences(&only).await.unwrap(), []);
    let ways = ask(&stage, Method::GET, &path, json!({})).await["config"]["ingress"].take();
    let ways: Vec<&Value> = ways.as_array().unwrap().iter().map(|way| &way["service"]).collect();
    assert_eq!(ways, ["ssh://localhost:22", "http://localhost:8080", "http_status:503"]);
    assert!(base64::engine::general_purpose::STANDARD.decode(key.token.expose()).is_ok());
    stage.stop().await;
}

#[tokio::test]
async fn with_nobody_in_front_each_thing_is_told_as_left_out_and_values_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let own = embedded::Settings { folder: folder.path().join("values") };
    let name = "embedded".parse().unwrap();
    let cdn = cdn::open(Settings::Embedded(own), &kit(None), &"linkflow".parse().unwrap(), &name);
    let due = cdn.differences(&wanted()).await.unwrap();
    assert_eq!(due.len(), 8);
    assert!(due.iter().all(|change| change.blocked.is_some()), "{due:?}");
    assert_eq!(cdn.put(&wanted()).await.unwrap(), due);
    assert_eq!(cdn.differences(&Front::default()).await.unwrap(), []);
    cdn.put_value("he/alth", "up").await.unwrap();
    cdn.put_value("he/alth", "up").await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("values/he%2Falth")).unwrap(), "up");
    assert_eq!(cdn.tunnel_key().await.unwrap_err().kind, FaultKind::Unsupported);
}
