//! What is found out before anything is changed, and what differs without anybody having asked for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_engine::{Draft, Facts, ImageFacts, drift};
use linkflow_model::role::{Capabilities, ComputeLook, PrivateImages};
use linkflow_model::{ServiceKind, ServiceSpec};

use crate::town::{Stage, at, name, service, web};

async fn draft(stage: &Stage, facts: &Facts) -> Draft {
    stage.engine().draft(at(&stage.specs, 1), "one", facts).await.unwrap()
}

fn findings(draft: &Draft) -> Vec<(bool, String)> {
    draft.findings.iter().map(|found| (found.forbids, found.what.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_cannot_do_forbids_the_plan_before_anything_is_asked_of_it() {
    let worker = ServiceSpec { kind: ServiceKind::Worker, port: None, ..web("jobs", &["a"]) };
    let grpc = ServiceSpec { kind: ServiceKind::Grpc, ..web("rpc", &["a"]) };
    let stage = Stage::new(vec![worker, grpc]);
    stage.town.inner().able.insert(name("a"), Capabilities::LEAST);
    let draft = draft(&stage, &Facts::default()).await;
    let expected = [
        (true, "a runs no workers, and jobs is one".to_owned()),
        (true, "a does not pass gRPC on, and rpc speaks it".to_owned()),
    ];
    assert_eq!(findings(&draft), expected);
    assert!(stage.town.inner().calls.is_empty());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_an_image_is_held_against_who_is_to_run_it() {
    let stage = Stage::new(vec![web("api", &["a"])]);
    let able = Capabilities { private_images: PrivateImages::Never, ..Capabilities::LEAST };
    stage.town.inner().able.insert(name("a"), able);
    let known = ImageFacts { private: Some(true), platforms: vec!["linux/arm64".to_owned()] };
    let facts = Facts { images: BTreeMap::from([(service("api"), known)]) };
    let expected = [
        (true, "a cannot pull private images, and that of api is one".to_owned()),
        (true, "the image of api is for linux/arm64, and a runs linux/amd64".to_owned()),
    ];
    assert_eq!(findings(&draft(&stage, &facts).await), expected);
    let public = ImageFacts { private: Some(false), platforms: vec!["linux/amd64".to_owned()] };
    let facts = Facts { images: BTreeMap::from([(service("api"), public)]) };
    assert_eq!(findings(&draft(&stage, &facts).await), []);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_whether_it_can_pull_and_a_rollback_is_only_warned() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let engine = stage.engine();
    stage.deploy(&engine, 1).await;
    stage.deploy(&engine, 2).await;
    stage.town.inner().cannot_pull = Some("no such tag".to_owned());
    let next = engine.draft(at(&stage.specs, 3), "three", &Facts::default()).await.unwrap();
    let what = |provider: &str| format!("{provider} cannot pull the image of api: no such tag");
    assert_eq!(findings(&next), [(true, what("a")), (true, what("b"))]);
    let back = engine.draft_back(linkflow_model::ReleaseId(1), None).await.unwrap();
    assert_eq!(findings(&back), [(false, what("a")), (false, what("b"))]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_asks_more_than_an_hour_allows_is_warned_of() {
    let stage = Stage::new(vec![web("api", &["a"]), web("page", &["a"])]);
    let able = Capabilities {
        requests_per_deploy: 20,
        requests_per_hour: Some(30),
        ..Capabilities::LEAST
    };
    stage.town.inner().able.insert(name("a"), able);
    let draft = draft(&stage, &Facts::default()).await;
    let what = "a will get about 40 requests and allows 30 in an hour, so it will take longer";
    assert_eq!(findings(&draft), [(false, what.to_owned())]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn drift_names_each_thing_that_nobody_asked_for() {
    let stage = Stage::new(vec![web("api", &["a", "b"]), web("page", &["a", "b"])]);
    stage.deploy(&stage.engine(), 1).await;
    let release = stage.release("r1").await.unwrap();
    let computes = stage.parts().computes;
    let looks: BTreeMap<_, _> =
        computes.into_iter().map(|(p, whole)| (p, whole as Arc<dyn ComputeLook>)).collect();
    let serving = BTreeMap::new();
    assert_eq!(drift(&release, &serving, &looks).await, linkflow_engine::Drift::default());
    {
        let mut inner = stage.town.inner();
        inner.placed.remove(&(name("b"), service("api")));
        let held = inner.placed.get_mut(&(name("a"), service("api"))).unwrap();
        held.version = 9;
        let held = inner.placed.get_mut(&(name("a"), service("page"))).unwrap();
        held.replicas = 3;
        let extra = inner.placed[&(name("b"), service("page"))].clone();
        inner.placed.insert((name("b"), service("old")), extra);
        inner.placed.get_mut(&(name("b"), service("page"))).unwrap().replicas = 0;
    }
    let found = drift(&release, &serving, &looks).await;
    let engine = stage.engine();
    assert_eq!(engine.drift(&release), linkflow_engine::Drift::default(), "nobody was asked yet");
    engine.look().await;
    assert_eq!(engine.drift(&release).rows, found.rows, "what was said last is as good");
    let rows: Vec<String> = found
        .rows
        .iter()
        .map(|row| {
            format!(
                "{} {} {}: {} -> {}",
                row.service, row.provider, row.field, row.wanted, row.found
            )
        })
        .collect();
    let digest = "0".repeat(12);
    let image = release.services[&service("api")].image.to_string();
    assert_eq!(
        rows,
        [
            format!("api a image: {digest} -> {digest}"),
            format!("api b placement: {image} -> nothing"),
            "old b placement: nothing -> so".to_owned(),
            "page a replicas: 1 -> 3".to_owned(),
            "page b lifecycle: running -> so".to_owned(),
        ]
    );
    assert_eq!(stage.town.inner().calls.len(), 4, "it wrote nothing");
    stage.close().await;
}
