//! The generic provider, through its own adapter.

use linkflow_model::role::{Compute, ComputeLook, Deployment, Progress};
use linkflow_model::{Fault, FaultKind, Lifecycle};
use linkflow_rehearsal::cloud::Trouble;
use linkflow_rehearsal::cloud::generic::Adapter;

use super::stage::{Stage, ended, named, until};

const HOST: &str = "linkflow-api.generic.rehearsal";

#[tokio::test]
async fn a_service_is_deployed_updated_scaled_restarted_and_deleted() {
    let stage = Stage::start(&["generic"]).await;
    let adapter = stage.adapter("generic");
    let first = stage.definition("generic", "api:1.0", 1).await;
    let deployment = adapter.deploy(&first).await.unwrap();
    assert_eq!(adapter.deploy(&first).await.unwrap(), deployment, "twice makes nothing twice");
    assert_eq!(ended(&adapter, &deployment).await, Progress::Done);

    let seen = &adapter.look().await.unwrap()[0];
    assert_eq!((seen.lifecycle, seen.running, seen.replicas), (Lifecycle::Running, 1, 1));
    assert_eq!(seen.address.as_deref(), Some("https://linkflow-api.generic.rehearsal"));
    assert_eq!(seen.digest.as_ref(), Some(&first.image.digest));
    let told = stage.visit("generic", HOST, "/api/v1/health").await.unwrap();
    assert_eq!((told.status, told.header("x-linkflow-release")), (200, "r1".to_owned()));

    let second = stage.definition("generic", "api:1.1", 2).await;
    assert_eq!(stage.deploy(&second).await, Progress::Done);
    let told = stage.visit("generic", HOST, "/api/v1/health").await.unwrap();
    assert_eq!(told.header("x-linkflow-release"), "r2");
    let (_, before) = stage.process("generic");

    adapter.restart(&named("api")).await.unwrap();
    until(
        "another process runs",
        async || stage.process("generic").1,
        |pid| pid.is_some() && *pid != before,
    )
    .await;
    adapter.scale(&named("api"), 0).await.unwrap();
    let seen = until(
        "it is stopped",
        async || adapter.look().await.unwrap().remove(0),
        |s| s.running == 0,
    )
    .await;
    assert_eq!((seen.lifecycle, seen.replicas), (Lifecycle::Stopped, 0));
    assert_eq!(stage.visit("generic", HOST, "/api/v1/health").await.unwrap().status, 503);
    adapter.scale(&named("api"), 2).await.unwrap();
    until("two run", async || adapter.look().await.unwrap()[0].running, |running| *running == 2)
        .await;

    adapter.delete(&named("api")).await.unwrap();
    adapter.delete(&named("api")).await.unwrap();
    assert_eq!(adapter.look().await.unwrap(), []);
    assert_eq!(stage.visit("generic", HOST, "/").await.unwrap().status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn a_deploy_that_crashes_fails_with_its_reason_in_the_log_and_leaves_the_old_one_serving() {
    let stage = Stage::start(&["generic"]).await;
    let adapter = stage.adapter("generic");
    assert_eq!(
        stage.deploy(&stage.definition("generic", "api:1.0", 1).await).await,
        Progress::Done
    );
    let broken = stage.definition("generic", "api:broken", 2).await;
    let Progress::Failed { why } = stage.deploy(&broken).await else { panic!("it must fail") };
    assert!(why.contains("ended with status 1"), "{why}");
    let lines = adapter.logs(&named("api"), 50).await.unwrap();
    assert!(lines.iter().any(|line| line.text.contains("broken on purpose")), "{lines:?}");
    let told = stage.visit("generic", HOST, "/api/v1/health").await.unwrap();
    assert_eq!((told.status, told.header("x-linkflow-release")), (200, "r1".to_owned()));
    assert_eq!(adapter.look().await.unwrap()[0].release.map(|r| r.0), Some(1));
    stage.stop().await;
}

#[tokio::test]
async fn a_worker_is_never_there_twice_and_another_stack_is_left_alone() {
    let stage = Stage::start(&["generic"]).await;
    let (first, second) = (
        stage.definition("generic", "engine-timer:1.0", 1).await,
        stage.definition("generic", "engine-timer:1.1", 2).await,
    );
    assert_eq!(stage.deploy(&first).await, Progress::Done);
    let adapter = stage.adapter("generic");
    let deployment = adapter.deploy(&second).await.unwrap();
    let mut most = 0;
    while matches!(adapter.progress(&deployment).await.unwrap(), Progress::Under { .. }) {
        let rows = stage.cloud.instances().remove(&"generic".parse().unwrap()).unwrap();
        most = most.max(rows.iter().filter(|row| row.pid.is_some()).count());
    }
    assert_eq!((most, stage.process("generic").0.as_str()), (1, "running"));

    let endpoint = stage.provider("generic");
    let token = linkflow_model::Secret::new(endpoint.token.clone());
    let other =
        Adapter::new("generic".parse().unwrap(), "other".parse().unwrap(), &endpoint.api, token);
    assert_eq!(other.look().await.unwrap(), []);
    assert_eq!(other.delete(&named("engine-timer")).await.unwrap_err().kind, FaultKind::Conflict);
    let mut theirs = second.clone();
    theirs.stack = "other".parse().unwrap();
    assert_eq!(other.deploy(&theirs).await.unwrap_err().kind, FaultKind::Conflict);
    stage.stop().await;
}

#[tokio::test]
async fn each_refusal_becomes_the_fault_that_a_decision_needs() {
    let stage = Stage::start(&["generic"]).await;
    let adapter = stage.adapter("generic");
    let kind = |fault: Result<(), Fault>| fault.unwrap_err().kind;
    assert_eq!(kind(adapter.scale(&named("api"), 1).await), FaultKind::Missing);
    let gone = Deployment { service: named("api"), id: "dep-none".to_owned() };
    assert!(matches!(adapter.progress(&gone).await.unwrap(), Progress::Failed { .. }));
    let mut wanted = stage.definition("generic", "api:1.0", 1).await;

    stage.fault("generic", Trouble::OutOfQuota);
    assert_eq!(kind(adapter.deploy(&wanted).await.map(drop)), FaultKind::Exhausted);
    stage.fault("generic", Trouble::RateLimited);
    let limited = kind(adapter.look().await.map(drop));
    assert_eq!(limited, FaultKind::Limited { wait: std::time::Duration::from_secs(2) });
    stage.fault("generic", Trouble::ApiDown);
    until(
        "the API refuses",
        async || adapter.look().await.map(drop),
        |said| said.as_ref().is_err_and(|fault| fault.kind == FaultKind::Unreachable),
    )
    .await
    .unwrap_err();
    stage.fault("generic", None);
    until("the API is back", async || adapter.look().await.is_ok(), |back| *back).await;

    wanted.image.repository = "acme/linkflow/nothing".to_owned();
    assert_eq!(kind(adapter.deploy(&wanted).await.map(drop)), FaultKind::Invalid);
    let endpoint = stage.provider("generic");
    let stranger = Adapter::new(
        "generic".parse().unwrap(),
        "linkflow".parse().unwrap(),
        &endpoint.api,
        linkflow_model::Secret::new("wrong"),
    );
    assert_eq!(kind(stranger.look().await.map(drop)), FaultKind::Denied);
    stage.stop().await;
}
