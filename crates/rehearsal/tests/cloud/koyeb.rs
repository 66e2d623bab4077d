//! Koyeb's API by raw HTTP.

use http::Method;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

use super::stage::{Stage, Told, call, env, until};

async fn ask(stage: &Stage, method: Method, path: &str, body: Option<Value>) -> Told {
    let endpoint = stage.provider("koyeb");
    call(method, &format!("{}{path}", endpoint.api), Some(&endpoint.token), body.as_ref()).await
}

async fn get(stage: &Stage, path: &str) -> Value {
    ask(stage, Method::GET, path, None).await.json
}

async fn post(stage: &Stage, path: &str, body: Value) -> Told {
    ask(stage, Method::POST, path, Some(body)).await
}

fn definition(image: &str, release: u64) -> Value {
    let env = env("engine-frontend", "koyeb", 8080, release);
    let env: Vec<Value> = env
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    json!({
        "type": "WEB", "docker": { "image": image }, "env": env,
        "regions": ["fra"], "instance_types": [{ "type": "nano" }], "scalings": [{ "min": 1, "max": 1 }],
        "ports": [{ "port": 8080, "protocol": "http" }], "routes": [{ "port": 8080, "path": "/" }],
        "health_checks": [{ "interval": 30, "http": { "port": 8080, "path": "/health" } }],
    })
}

/// An app and a service in it: the ids of both, and the app's host.
async fn made(stage: &Stage, definition: &Value) -> (String, String, String) {
    let app = post(stage, "/v1/apps", json!({ "name": "shop" })).await.json["app"].take();
    let host = app["domains"][0]["name"].as_str().unwrap().to_owned();
    assert!(host.starts_with("shop-") && host.ends_with(".koyeb.app"), "{host}");
    let body = json!({ "app_id": app["id"], "name": "web", "definition": definition });
    let service = post(stage, "/v1/services", body).await;
    assert_eq!(service.status, 200, "{}", service.json);
    let id = service.json["service"]["id"].as_str().unwrap().to_owned();
    (app["id"].as_str().unwrap().to_owned(), id, host)
}

async fn service(stage: &Stage, id: &str) -> Value {
    get(stage, &format!("/v1/services/{id}")).await["service"].take()
}

/// The latest deployment, once it is `status`.
async fn latest(stage: &Stage, id: &str, status: &str) -> Value {
    let look = async || {
        let latest = service(stage, id).await["latest_deployment_id"].take();
        get(stage, &format!("/v1/deployments/{}", latest.as_str().unwrap())).await["deployment"]
            .take()
    };
    until(status, look, |deployment| deployment["status"] == status).await
}

async fn until_service(stage: &Stage, id: &str, status: &str) {
    until(status, async || service(stage, id).await, |service| service["status"] == status).await;
}

#[tokio::test]
async fn a_service_is_made_changed_paused_resumed_and_deleted_with_its_app() {
    let stage = Stage::start(&["koyeb"]).await;
    let one = definition(&stage.pinned("engine-frontend:1.0").await, 1);
    let (app, id, host) = made(&stage, &one).await;
    let first = latest(&stage, &id, "HEALTHY").await;
    assert_eq!(first["definition"]["env"][0]["scopes"], json!(["region:fra"]), "the vendor adds");
    until_service(&stage, &id, "HEALTHY").await;
    let told = stage.visit("koyeb", &host, "/health").await.unwrap();
    assert_eq!((told.status, told.header("x-linkflow-release")), (200, "r1".to_owned()));

    let two = definition(&stage.pinned("engine-frontend:1.1").await, 2);
    let path = format!("/v1/services/{id}");
    let stored = json!({ "definition": two, "save_only": true });
    assert_eq!(ask(&stage, Method::PATCH, &path, Some(stored)).await.status, 200);
    latest(&stage, &id, "STASHED").await;
    let told = stage.visit("koyeb", &host, "/health").await.unwrap();
    assert_eq!(told.header("x-linkflow-release"), "r1", "what is stored is not rolled out");
    assert_eq!(post(&stage, &format!("{path}/resume"), json!({})).await.status, 400);

    assert_eq!(post(&stage, &format!("{path}/pause"), json!({})).await.status, 200);
    until_service(&stage, &id, "PAUSED").await;
    assert_eq!(stage.visit("koyeb", &host, "/health").await.unwrap().status, 503);
    assert_eq!(get(&stage, "/v1/instances?statuses=HEALTHY").await["count"], 0);
    assert_eq!(post(&stage, &format!("{path}/pause"), json!({})).await.status, 400);
    let body = json!({ "definition": two });
    assert_eq!(ask(&stage, Method::PATCH, &path, Some(body)).await.status, 400, "it is paused");

    assert_eq!(post(&stage, &format!("{path}/resume"), json!({})).await.status, 200);
    let resumed = latest(&stage, &id, "HEALTHY").await;
    assert_eq!(resumed["metadata"]["trigger"]["type"], "RESUME");
    let told = stage.visit("koyeb", &host, "/health").await.unwrap();
    assert_eq!(told.header("x-linkflow-release"), "r2", "a resume rolls out what is stored");

    let again = post(&stage, &format!("{path}/redeploy"), json!({})).await.json;
    assert_ne!(again["deployment"]["id"], resumed["id"]);
    latest(&stage, &id, "HEALTHY").await;

    assert_eq!(ask(&stage, Method::DELETE, &format!("/v1/apps/{app}"), None).await.status, 200);
    let gone = async || ask(&stage, Method::GET, &format!("/v1/apps/{app}"), None).await.status;
    until("the app is gone", gone, |status| *status == 404).await;
    assert_eq!(ask(&stage, Method::GET, &path, None).await.status, 404);
    assert_eq!(stage.visit("koyeb", &host, "/health").await.unwrap().status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_field() {
    let stage = Stage::start(&["koyeb"]).await;
    let endpoint = stage.provider("koyeb");
    let url = format!("{}/v1/apps", endpoint.api);
    for token in [None, Some("wrong")] {
        assert_eq!(call(Method::GET, &url, token, None).await.status, 401);
    }
    let image = stage.pinned("engine-frontend:1.0").await;
    let good = definition(&image, 1);
    let (app, id, _) = made(&stage, &good).await;
    let again = post(&stage, "/v1/apps", json!({ "name": "shop" })).await;
    assert_eq!((again.status, &again.json["fields"][0]["field"]), (400, &json!("name")));
    let twin = json!({ "app_id": app, "name": "web", "definition": good });
    assert_eq!(
        post(&stage, "/v1/services", twin).await.json["fields"][0]["description"],
        "already exists"
    );

    let check = async |place: &str, value: Value, field: &str| {
        let mut wrong = good.clone();
        *wrong.pointer_mut(place).unwrap() = value;
        let body = json!({ "app_id": app, "name": "other", "definition": wrong });
        let told = post(&stage, "/v1/services", body).await;
        assert_eq!(
            (told.status, &told.json["fields"][0]["field"]),
            (400, &json!(field)),
            "{}",
            told.json
        );
    };
    check("/ports", json!([]), "definition.ports").await;
    check("/type", json!("WORKER"), "definition.ports").await;
    check("/regions", json!(["nowhere"]), "definition.regions").await;
    check("/health_checks/0/interval", json!(10), "definition.health_checks.interval").await;
    check("/scalings", json!([{ "min": 0, "max": 0 }]), "definition.scalings").await;
    check("/env/0", json!({ "key": "A", "secret": "none" }), "definition.env.secret").await;
    check(
        "/docker",
        json!({ "image": image, "image_registry_secret": "none" }),
        "definition.docker.image_registry_secret",
    )
    .await;

    let listed = get(&stage, "/v1/services?limit=1&offset=1").await;
    assert_eq!(
        (&listed["count"], &listed["services"], &listed["has_next"]),
        (&json!(1), &json!([]), &json!(false))
    );
    latest(&stage, &id, "HEALTHY").await;
    stage.fault("koyeb", Trouble::OutOfQuota);
    let told = ask(
        &stage,
        Method::PATCH,
        &format!("/v1/services/{id}"),
        Some(json!({ "definition": good })),
    )
    .await;
    assert!(
        told.status == 403 && told.json["message"].as_str().unwrap().contains("limit"),
        "{}",
        told.json
    );
    stage.fault("koyeb", Trouble::RateLimited);
    let told = ask(&stage, Method::GET, "/v1/apps", None).await;
    assert_eq!((told.status, &told.json["code"]), (429, &json!(8)));
    stage.stop().await;
}

#[tokio::test]
async fn a_bad_image_ends_in_error_and_the_log_tells_why() {
    let stage = Stage::start(&["koyeb"]).await;
    let broken = definition(&stage.pinned("engine-frontend:broken").await, 1);
    let (_, id, _) = made(&stage, &broken).await;
    let failed = latest(&stage, &id, "ERROR").await;
    assert!(failed["messages"][0].as_str().unwrap().contains("exited"), "{failed}");
    until_service(&stage, &id, "UNHEALTHY").await;
    let page =
        get(&stage, &format!("/v1/streams/logs/query?service_id={id}&limit=50&order=asc")).await;
    let said: Vec<&str> =
        page["data"].as_array().unwrap().iter().map(|row| row["msg"].as_str().unwrap()).collect();
    assert!(said.iter().any(|text| text.contains("broken on purpose")), "{said:?}");
    let newest = get(&stage, &format!("/v1/streams/logs/query?service_id={id}&limit=1")).await;
    assert_eq!(newest["data"][0]["msg"].as_str(), said.last().copied());

    let unknown = format!("ghcr.io/acme/linkflow/engine-frontend@sha256:{}", "0".repeat(64));
    let body = json!({ "definition": definition(&unknown, 2) });
    ask(&stage, Method::PATCH, &format!("/v1/services/{id}"), Some(body)).await;
    let failed = until(
        "the pull fails",
        async || latest(&stage, &id, "ERROR").await,
        |deployment| deployment["version"] == "2",
    )
    .await;
    assert!(failed["messages"][0].as_str().unwrap().contains("pull"), "{failed}");
    let verified = get(&stage, &format!("/v1/docker-helper/verify?image={unknown}")).await;
    assert_eq!(
        (&verified["success"], &verified["code"]),
        (&json!(false), &json!("ANON_NOT_FOUND"))
    );
    stage.stop().await;
}

#[tokio::test]
async fn values_of_secrets_go_in_and_never_come_out() {
    let stage = Stage::start(&["koyeb"]).await;
    let login = json!({ "username": "me", "password": "hidden-2" });
    let bodies = [
        json!({ "name": "a", "type": "SIMPLE", "value": "hidden-1" }),
        json!({ "name": "b", "type": "REGISTRY", "github_registry": login }),
    ];
    for body in bodies {
        let told = post(&stage, "/v1/secrets", body.clone()).await;
        assert!(told.status == 200 && !told.json.to_string().contains("hidden"), "{}", told.json);
        let again = post(&stage, "/v1/secrets", body).await;
        assert_eq!(
            (again.status, &again.json["fields"][0]["description"]),
            (400, &json!("already exists"))
        );
    }
    let both = get(&stage, "/v1/secrets?types=SIMPLE&types=REGISTRY").await;
    assert!(both["count"] == 2 && !both.to_string().contains("hidden"), "{both}");
    let registries = get(&stage, "/v1/secrets?types=REGISTRY").await;
    assert_eq!(registries["secrets"][0]["github_registry"], json!({ "username": "me" }));
    stage.stop().await;
}

#[tokio::test]
async fn a_killed_instance_is_told_of_a_hung_one_not_and_a_stuck_deploy_waits() {
    let stage = Stage::start(&["koyeb"]).await;
    let good = definition(&stage.pinned("engine-frontend:1.0").await, 1);
    let (_, id, host) = made(&stage, &good).await;
    latest(&stage, &id, "HEALTHY").await;
    stage.fault("koyeb", Trouble::Hung);
    assert_eq!(service(&stage, &id).await["status"], "HEALTHY");
    stage.fault("koyeb", Trouble::Killed);
    until_service(&stage, &id, "UNHEALTHY").await;
    assert_eq!(get(&stage, "/v1/instances").await["instances"][0]["status"], "ERROR");
    stage.fault("koyeb", None);
    until_service(&stage, &id, "HEALTHY").await;

    stage.fault("koyeb", Trouble::DeployStuck);
    let next = definition(&stage.pinned("engine-frontend:1.2").await, 2);
    let path = format!("/v1/services/{id}");
    ask(&stage, Method::PATCH, &path, Some(json!({ "definition": next }))).await;
    latest(&stage, &id, "ALLOCATING").await;
    sleep(Duration::from_millis(400)).await;
    latest(&stage, &id, "ALLOCATING").await;
    let told = stage.visit("koyeb", &host, "/health").await.unwrap();
    assert_eq!(told.header("x-linkflow-release"), "r1", "the old one serves meanwhile");
    stage.fault("koyeb", Trouble::WrongImage);
    ask(&stage, Method::PATCH, &path, Some(json!({ "definition": next }))).await;
    let wrong = latest(&stage, &id, "HEALTHY").await;
    assert_eq!(
        wrong["definition"]["docker"]["image"], good["docker"]["image"],
        "what runs is what is shown"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_service_that_may_scale_to_zero_sleeps_and_is_woken_by_a_request() {
    let stage = Stage::start(&["koyeb"]).await;
    let mut sleepy = definition(&stage.pinned("engine-frontend:1.0").await, 1);
    sleepy["scalings"] = json!([{ "min": 0, "max": 1, "targets": [{ "sleep_idle_delay": { "deep_sleep_value": 1 } }] }]);
    let (_, id, host) = made(&stage, &sleepy).await;
    latest(&stage, &id, "HEALTHY").await;
    latest(&stage, &id, "SLEEPING").await;
    until("its process is gone", async || stage.process("koyeb").1, Option::is_none).await;
    until(
        "it wakes",
        async || stage.visit("koyeb", &host, "/health").await.unwrap().status,
        |status| *status == 200,
    )
    .await;
    latest(&stage, &id, "HEALTHY").await;
    stage.stop().await;
}
