//! Fly's Machines API by raw HTTP.

use http::Method;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

use super::stage::{Stage, Told, call, env, until};

/// Names the app's machines are created with.
const APP: &str = "linkflow-engine-frontend";
const HOST: &str = "linkflow-engine-frontend.fly.dev";

async fn ask(stage: &Stage, method: Method, path: &str, body: Option<Value>) -> Told {
    let endpoint = stage.provider("fly");
    call(method, &format!("{}{path}", endpoint.api), Some(&endpoint.token), body.as_ref()).await
}

async fn get(stage: &Stage, path: &str) -> Told {
    ask(stage, Method::GET, path, None).await
}

async fn post(stage: &Stage, path: &str, body: Value) -> Told {
    ask(stage, Method::POST, path, Some(body)).await
}

/// A request that also carries a lease's nonce.
async fn leased(
    stage: &Stage,
    method: Method,
    path: &str,
    nonce: &str,
    body: Option<Value>,
) -> u16 {
    use hyper_util::client::legacy::Client;
    let endpoint = stage.provider("fly");
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", endpoint.api))
        .header("authorization", format!("Bearer {}", endpoint.token))
        .header("fly-machine-lease-nonce", nonce)
        .body(http_body_util::Full::new(bytes::Bytes::from(
            body.map(|b| b.to_string()).unwrap_or_default(),
        )))
        .unwrap();
    let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    client.request(request).await.unwrap().status().as_u16()
}

async fn config(stage: &Stage, tag: &str, release: u64) -> Value {
    json!({
        "image": stage.pinned(&format!("engine-frontend:{tag}")).await,
        "env": env("engine-frontend", "fly", 8080, release),
        "metadata": { "linkflow_stack": "linkflow" },
        "services": [{
            "internal_port": 8080, "protocol": "tcp",
            "ports": [{ "port": 443, "handlers": ["tls", "http"] }],
            "checks": [{ "type": "http", "path": "/health", "interval": "10s", "timeout": "2s" }],
        }],
    })
}

/// An app with an address and one started machine. Returns the machine.
async fn launched(stage: &Stage) -> Value {
    let made = post(stage, "/v1/apps", json!({ "name": APP, "org_slug": "rehearsal" })).await;
    assert_eq!(made.status, 201);
    let address =
        post(stage, &format!("/v1/apps/{APP}/ip_assignments"), json!({ "type": "shared_v4" }))
            .await;
    assert_eq!((address.status, &address.json["shared"]), (200, &json!(true)));
    let body = json!({ "name": "one", "region": "fra", "config": config(stage, "1.0", 1).await });
    let created = post(stage, &format!("/v1/apps/{APP}/machines"), body).await;
    assert_eq!((created.status, &created.json["state"]), (200, &json!("created")));
    let id = created.json["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 14 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    healthy(stage, &id).await
}

/// Waits until the machine's checks pass.
async fn healthy(stage: &Stage, id: &str) -> Value {
    let path = format!("/v1/apps/{APP}/machines/{id}");
    let look = async || {
        // Get Machine may be called five times a second.
        sleep(Duration::from_millis(200)).await;
        get(stage, &path).await.json
    };
    until("its check passes", look, |m| {
        m["checks"][0]["status"] == "passing" && m["state"] == "started"
    })
    .await
}

#[tokio::test]
async fn a_machine_is_made_updated_under_a_lease_stopped_started_and_destroyed() {
    let stage = Stage::start(&["fly"]).await;
    let machine = launched(&stage).await;
    let path = format!("/v1/apps/{APP}/machines/{}", machine["id"].as_str().unwrap());
    let version = machine["instance_id"].as_str().unwrap().to_owned();
    let waited =
        get(&stage, &format!("{path}/wait?state=started&instance_id={version}&timeout=5")).await;
    let waited = if waited.status == 404 {
        get(&stage, &format!("{path}/wait?state=started&timeout=5")).await
    } else {
        waited
    };
    assert_eq!((waited.status, &waited.json["ok"]), (200, &json!(true)));
    let told = stage.visit("fly", HOST, "/health").await.unwrap();
    assert_eq!((told.status, told.header("x-linkflow-release")), (200, "r1".to_owned()));
    assert_eq!(told.header("x-linkflow-instance"), machine["id"]);

    let secrets = post(
        &stage,
        &format!("/v1/apps/{APP}/secrets"),
        json!({ "values": { "LINKFLOW_SECRET": "s3" } }),
    )
    .await;
    assert_eq!(secrets.json["version"], 1);
    assert!(
        secrets.json["secrets"][0]["digest"].is_string()
            && secrets.json["secrets"][0].get("value").is_none()
    );

    let lease = post(&stage, &format!("{path}/lease"), json!({ "ttl": 20 })).await;
    assert_eq!(lease.status, 201);
    let nonce = lease.json["data"]["nonce"].as_str().unwrap().to_owned();
    let update = json!({ "config": config(&stage, "1.1", 2).await, "current_version": version, "min_secrets_version": 1 });
    let without = post(&stage, &path, update.clone()).await;
    assert_eq!(without.status, 409);
    assert!(
        without.json["error"].as_str().unwrap().contains("lease currently held"),
        "{}",
        without.json
    );
    assert_eq!(leased(&stage, Method::POST, &path, &nonce, Some(update.clone())).await, 200);
    assert_eq!(
        leased(&stage, Method::POST, &path, &nonce, Some(update)).await,
        409,
        "the version is another now"
    );
    assert_eq!(leased(&stage, Method::DELETE, &format!("{path}/lease"), &nonce, None).await, 200);
    let updated = healthy(&stage, machine["id"].as_str().unwrap()).await;
    assert_ne!(updated["instance_id"], json!(version));
    assert_eq!(updated["events"][0]["type"], "start");
    let told = stage.visit("fly", HOST, "/health").await.unwrap();
    assert_eq!(told.header("x-linkflow-release"), "r2");
    let versions = get(&stage, &format!("{path}/versions")).await.json;
    assert_eq!(versions.as_array().unwrap().len(), 2);

    assert_eq!(post(&stage, &format!("{path}/stop"), json!({})).await.status, 200);
    let stopped = get(&stage, &format!("{path}/wait?state=stopped&timeout=9")).await;
    assert_eq!(stopped.json["state"], "stopped");
    let exit = &get(&stage, &format!("{path}/events")).await.json[0]["request"]["exit_event"];
    assert_eq!((&exit["requested_stop"], &exit["exit_code"]), (&json!(true), &json!(0)));
    assert_eq!(stage.visit("fly", HOST, "/health").await.unwrap().status, 503);
    assert_eq!(
        post(&stage, &format!("{path}/start"), json!({})).await.json["previous_state"],
        "stopped"
    );
    healthy(&stage, machine["id"].as_str().unwrap()).await;

    let running = ask(&stage, Method::DELETE, &path, None).await;
    assert_eq!(running.status, 412, "a started machine is not destroyed without force");
    assert_eq!(ask(&stage, Method::DELETE, &format!("{path}?force=true"), None).await.status, 200);
    let listed = get(&stage, &format!("/v1/apps/{APP}/machines")).await;
    assert_eq!(listed.json, json!([]));
    assert_eq!(ask(&stage, Method::DELETE, &format!("/v1/apps/{APP}"), None).await.status, 202);
    assert_eq!(get(&stage, &format!("/v1/apps/{APP}")).await.status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_a_reason() {
    let stage = Stage::start(&["fly"]).await;
    let endpoint = stage.provider("fly");
    let url = format!("{}/v1/apps?org_slug=rehearsal", endpoint.api);
    for token in [None, Some("wrong")] {
        let told = call(Method::GET, &url, token, None).await;
        assert_eq!(told.status, 401);
        assert!(told.json["error"].is_string(), "{}", told.json);
    }
    assert_eq!(get(&stage, "/v1/apps").await.status, 400, "org_slug is required");
    assert_eq!(get(&stage, "/v1/apps/nothing").await.status, 404);
    post(&stage, "/v1/apps", json!({ "name": APP, "org_slug": "rehearsal" })).await;
    let again = post(&stage, "/v1/apps", json!({ "name": APP, "org_slug": "rehearsal" })).await;
    assert_eq!(again.status, 422);

    let machines = format!("/v1/apps/{APP}/machines");
    let missing = json!({ "config": { "image": "ghcr.io/acme/linkflow/engine-frontend:9.9" } });
    let told = post(&stage, &machines, missing).await;
    assert_eq!(told.status, 400);
    assert!(told.json["error"].as_str().unwrap().contains("manifest"), "{}", told.json);
    stage.fault("fly", Trouble::OutOfQuota);
    let body = json!({ "config": config(&stage, "1.0", 1).await });
    let told = post(&stage, &machines, body).await;
    assert!(told.json["error"].as_str().unwrap().contains("trial has ended"), "{}", told.json);
    stage.fault("fly", Trouble::RateLimited);
    assert_eq!(get(&stage, &machines).await.status, 429);
    stage.stop().await;
}

#[tokio::test]
async fn images_are_pulled_from_public_registries_and_the_vendors_own_only() {
    let stage = Stage::start(&["fly"]).await;
    let made = post(&stage, "/v1/apps", json!({ "name": APP, "org_slug": "rehearsal" })).await;
    assert_eq!(made.status, 201);
    let image = stage.pinned("engine-worker:1.0").await;
    stage.cloud.make_private("acme/linkflow/engine-worker");
    let said = async |image: &str| {
        let body = json!({ "config": { "image": image } });
        let told = post(&stage, &format!("/v1/apps/{APP}/machines"), body).await;
        assert_eq!(told.status, 400);
        told.json["error"].as_str().unwrap_or_default().to_owned()
    };
    let why = said(&image).await;
    assert!(why.contains("failed to get manifest") && why.contains("unauthorized"), "{why}");
    let digest = image.split_once('@').unwrap().1;
    let why = said(&format!("registry.fly.io/{APP}@{digest}")).await;
    assert!(why.contains("[http 404]"), "{why}");
    // Nobody gets into its registry without the organisation's token.
    let registry = stage.provider("fly").registry.clone().unwrap();
    let url = format!("{registry}/v2/{APP}/manifests/{digest}");
    let refused = call(Method::GET, &url, Some("another"), None).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").starts_with("Basic "));
    stage.stop().await;
}

#[tokio::test]
async fn a_machine_that_destroys_itself_is_gone_when_its_process_has_ended() {
    let stage = Stage::start(&["fly"]).await;
    let made = post(&stage, "/v1/apps", json!({ "name": APP, "org_slug": "rehearsal" })).await;
    assert_eq!(made.status, 201);
    let mut once = config(&stage, "broken", 1).await;
    once["restart"] = json!({ "policy": "no" });
    once["auto_destroy"] = json!(true);
    let made = post(&stage, &format!("/v1/apps/{APP}/machines"), json!({ "config": once })).await;
    let path = format!("/v1/apps/{APP}/machines/{}", made.json["id"].as_str().unwrap());
    let look = async || {
        sleep(Duration::from_millis(200)).await;
        get(&stage, &path).await.json
    };
    until("it is gone", look, |machine| machine["state"] == "destroyed").await;
    stage.stop().await;
}

#[tokio::test]
async fn each_action_is_limited_to_three_at_once_and_reading_a_machine_to_ten() {
    let stage = Stage::start(&["fly"]).await;
    let machine = launched(&stage).await;
    let path = format!("/v1/apps/{APP}/machines/{}", machine["id"].as_str().unwrap());
    sleep(Duration::from_millis(2_000)).await;
    let refused = async |path: &str, tries: usize| {
        let mut refused = 0;
        for _ in 0..tries {
            let told = get(&stage, path).await;
            refused += usize::from(told.status == 429 && told.json["error"].is_string());
        }
        refused
    };
    assert!(refused(&format!("{path}/events"), 6).await >= 2);
    assert!((1..=5).contains(&refused(&path, 15).await));
    stage.stop().await;
}

#[tokio::test]
async fn a_broken_image_shows_in_exit_events_and_the_log_tells_why() {
    let stage = Stage::start(&["fly"]).await;
    post(&stage, "/v1/apps", json!({ "name": APP, "org_slug": "rehearsal" })).await;
    let mut config = config(&stage, "broken", 1).await;
    config["restart"] = json!({ "policy": "on-failure", "max_retries": 2 });
    let created =
        post(&stage, &format!("/v1/apps/{APP}/machines"), json!({ "config": config })).await.json;
    let path = format!("/v1/apps/{APP}/machines/{}", created["id"].as_str().unwrap());
    let look = async || {
        sleep(Duration::from_millis(200)).await;
        get(&stage, &path).await.json
    };
    let machine = until("it gave up", look, |m| m["state"] == "stopped").await;
    let exits: Vec<&Value> =
        machine["events"].as_array().unwrap().iter().filter(|e| e["type"] == "exit").collect();
    assert_eq!(exits.len(), 3);
    let last = &exits[0]["request"]["exit_event"];
    assert_eq!(
        (&last["exit_code"], &last["requested_stop"], &last["restarting"]),
        (&json!(1), &json!(false), &json!(false))
    );
    let logs = get(&stage, &format!("/api/v1/apps/{APP}/logs")).await.json;
    let said = logs["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["attributes"]["message"].as_str());
    assert!(said.into_iter().any(|text| text.contains("broken on purpose")), "{logs}");
    let next = logs["meta"]["next_token"].as_str().unwrap();
    let more = get(&stage, &format!("/api/v1/apps/{APP}/logs?next_token={next}")).await.json;
    assert_eq!((&more["data"], more["meta"]["next_token"].as_str()), (&json!([]), Some(next)));
    stage.stop().await;
}

#[tokio::test]
async fn the_proxy_leads_nowhere_without_an_address_or_to_a_port_that_the_app_does_not_listen_on() {
    let stage = Stage::start(&["fly"]).await;
    let machine = launched(&stage).await;
    let addresses = format!("/v1/apps/{APP}/ip_assignments");
    let held = get(&stage, &addresses).await.json;
    let address = held["ips"][0]["ip"].as_str().unwrap();
    ask(&stage, Method::DELETE, &format!("{addresses}/{address}"), None).await;
    assert_eq!(stage.visit("fly", HOST, "/health").await.unwrap().status, 404);
    post(&stage, &addresses, json!({ "type": "v6" })).await;
    assert_eq!(stage.visit("fly", HOST, "/health").await.unwrap().status, 200);

    let mut config = config(&stage, "1.0", 2).await;
    config["services"][0]["internal_port"] = json!(3000);
    let path = format!("/v1/apps/{APP}/machines/{}", machine["id"].as_str().unwrap());
    assert_eq!(post(&stage, &path, json!({ "config": config })).await.status, 200);
    until(
        "it does not answer",
        async || stage.visit("fly", HOST, "/health").await.unwrap().status,
        |s| *s == 502,
    )
    .await;
    stage.stop().await;
}

#[tokio::test]
async fn a_killed_machine_is_told_of_as_stopped_and_a_hung_one_as_well() {
    let stage = Stage::start(&["fly"]).await;
    let machine = launched(&stage).await;
    let path = format!("/v1/apps/{APP}/machines/{}", machine["id"].as_str().unwrap());
    let look = async || {
        sleep(Duration::from_millis(200)).await;
        get(&stage, &path).await.json
    };
    stage.fault("fly", Trouble::Hung);
    let told = look().await;
    assert_eq!(
        (&told["state"], &told["checks"][0]["status"]),
        (&json!("started"), &json!("passing"))
    );
    stage.fault("fly", Trouble::Killed);
    let told = until("it is told", look, |m| m["state"] == "stopped").await;
    let exit = &told["events"][0]["request"]["exit_event"];
    assert_eq!((&exit["signal"], &exit["requested_stop"]), (&json!(9), &json!(false)));
    stage.fault("fly", None);
    healthy(&stage, machine["id"].as_str().unwrap()).await;
    stage.stop().await;
}
