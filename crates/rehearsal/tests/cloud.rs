//! The rehearsal cloud: its vendors' APIs by raw HTTP, its ingress, its faults, and what it leaves behind.
#![cfg(test)]

#[path = "cloud/azure.rs"]
mod azure;
#[path = "cloud/faults.rs"]
mod faults;
#[path = "cloud/fly.rs"]
mod fly;
#[path = "cloud/generic.rs"]
mod generic;
#[path = "cloud/github.rs"]
mod github;
#[path = "cloud/koyeb.rs"]
mod koyeb;
#[path = "cloud/leftovers.rs"]
mod leftovers;
#[path = "cloud/names.rs"]
mod names;
#[path = "cloud/railway.rs"]
mod railway;
#[path = "cloud/render.rs"]
mod render;
#[path = "cloud/slack.rs"]
mod slack;
#[path = "cloud/stage.rs"]
mod stage;
#[path = "cloud/zeabur.rs"]
mod zeabur;

use http::Method;
use serde_json::json;

use stage::{Stage, call};

#[tokio::test]
async fn the_registry_gives_the_same_digest_for_a_tag_and_for_itself() {
    let stage = Stage::start(&[]).await;
    let url = |reference: &str| {
        format!("{}/v2/acme/linkflow/api/manifests/{reference}", stage.endpoints.registry)
    };
    let tagged = call(Method::HEAD, &url("1.1"), None, None).await;
    let digest = tagged.header("docker-content-digest");
    let held = call(Method::GET, &url(&digest), None, None).await;
    assert_eq!((held.status, held.header("docker-content-digest")), (200, digest));
    assert_eq!(held.json["mediaType"], held.header("content-type"));

    let none = call(Method::GET, &url("9.9"), None, None).await;
    assert_eq!((none.status, &none.json["errors"][0]["code"]), (404, &json!("MANIFEST_UNKNOWN")));
    stage.stop().await;
}

#[tokio::test]
async fn the_control_api_tells_where_everything_is_and_takes_faults_and_images() {
    let stage = Stage::start(&["generic", "fly"]).await;
    let mut changes = stage.cloud.fault_changes();
    let at = |path: &str| format!("{}{path}", stage.endpoints.control);
    let told = call(Method::GET, &at("/v1/endpoints"), None, None).await;
    assert_eq!(told.json, serde_json::to_value(&stage.endpoints).unwrap());

    let order = json!({ "provider": "generic", "service": "api", "trouble": "slow", "ms": 7 });
    let set = call(Method::PUT, &at("/v1/faults"), None, Some(&order)).await;
    assert_eq!(set.status, 204);
    let change = serde_json::to_value(changes.recv().await.unwrap()).unwrap();
    assert_eq!(change["trouble"], json!({ "trouble": "slow", "ms": 7 }));
    let state = call(Method::GET, &at("/v1/state"), None, None).await.json;
    let expected = json!([{ "service": "api", "trouble": "slow", "ms": 7 }]);
    assert_eq!(state["providers"]["generic"]["faults"], expected);

    let lifted = call(Method::DELETE, &at("/v1/faults?provider=generic"), None, None).await;
    assert_eq!(lifted.status, 204);
    assert!(changes.recv().await.unwrap().trouble.is_none());

    let unknown = json!({ "provider": "nowhere", "trouble": "hung" });
    assert_eq!(call(Method::PUT, &at("/v1/faults"), None, Some(&unknown)).await.status, 404);
    let odd = json!({ "provider": "generic", "trouble": "sneezing" });
    assert_eq!(call(Method::PUT, &at("/v1/faults"), None, Some(&odd)).await.status, 400);

    let image = json!({ "repository": "acme/linkflow/api", "tag": "2.0", "behaviour": "sick" });
    let added = call(Method::PUT, &at("/v1/images"), None, Some(&image)).await;
    let url = format!("{}/v2/acme/linkflow/api/manifests/2.0", stage.endpoints.registry);
    let manifest = call(Method::GET, &url, None, None).await;
    assert_eq!(manifest.header("docker-content-digest"), added.json["digest"]);
    stage.stop().await;
}
