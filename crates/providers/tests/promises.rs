//! Each adapter keeps the promises of the compute role.

use std::sync::Arc;

use linkflow_model::role::Compute;

use super::contract::{self, Versions};
use super::stage::Stage;

async fn versions(stage: &Stage, provider: &str, service: &str) -> Versions {
    Versions {
        first: stage.definition(provider, service, "1.0", 1).await,
        second: stage.definition(provider, service, "1.1", 2).await,
        broken: stage.definition(provider, service, "broken", 3).await,
    }
}

/// All promises on one provider, side by side, each with a service of its own.
async fn check(provider: &'static str) {
    let stage =
        Stage::start(if provider == "embedded" { &[] } else { std::slice::from_ref(&provider) })
            .await;
    let compute: Arc<dyn Compute> = stage.adapter(provider, "linkflow");
    let api = versions(&stage, provider, "api").await;
    let worker = stage.definition(provider, "engine-worker", "1.0", 1).await;
    let frontend = versions(&stage, provider, "engine-frontend").await;
    let timer = versions(&stage, provider, "engine-timer").await;
    let compute = &*compute;
    tokio::join!(
        contract::comes_changes_and_goes(compute, &api),
        contract::rests_and_wakes(compute, &worker),
        contract::says_when_a_deploy_fails(compute, &frontend),
        contract::says_when_a_deploy_fails(compute, &timer),
    );
    let most = if provider == "zeabur" { 1 } else { 2 };
    contract::grows_and_shrinks(compute, &worker, most).await;
    // Where gRPC does not pass, another kind of service has to do.
    let last = if compute.capabilities().grpc { "engine-matching" } else { "api" };
    let matching = stage.definition(provider, last, "1.0", 1).await;
    let strangers = stage.adapter(provider, "other");
    contract::leaves_strangers_alone(compute, &*strangers, &matching).await;
    // Clients that are not of the kit are not recorded; of them only the sameness of the deploy is seen.
    let is_recorded = !matches!(provider, "embedded" | "generic");
    let writes = || if is_recorded { stage.writes() } else { 0 };
    if is_recorded || provider == "embedded" {
        contract::repeats_itself(compute, &matching, writes).await;
    }
    compute.delete(&matching.service).await.unwrap();
    strangers.delete(&matching.service).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_default_keeps_the_promises() {
    check("embedded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_container_apps_keeps_the_promises() {
    check("azure-container-apps").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fly_keeps_the_promises() {
    check("fly").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn railway_keeps_the_promises() {
    check("railway").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeabur_keeps_the_promises() {
    check("zeabur").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn render_keeps_the_promises() {
    check("render").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn koyeb_keeps_the_promises() {
    check("koyeb").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generic_provider_keeps_the_promises() {
    check("generic").await;
}
