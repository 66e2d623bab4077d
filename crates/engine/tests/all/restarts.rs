//! Restarts: in which order, and what each has to show before the next one is touched.

use std::time::Duration;

use linkflow_engine::{EngineError, RunEnd, RunKind, RunState};

use crate::town::{DEPLOY, Stage, name, service, web};

/// Deploys `api` on three providers, then restarts it with `trouble` made before.
async fn restarted(trouble: impl FnOnce(&Stage)) -> (Stage, RunEnd) {
    let stage = Stage::new(vec![web("api", &["a", "b", "c"])]);
    let engine = stage.engine();
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    stage.town.inner().calls.clear();
    trouble(&stage);
    let plan = engine.plan_restart(&service("api"), None).await.unwrap();
    let end = engine.carry_out_plan(&plan, RunKind::Restart, "restart", Duration::ZERO).await;
    (stage, end.unwrap())
}

#[tokio::test(start_paused = true)]
async fn each_answers_again_before_the_next_is_touched_also_where_a_provider_hesitates() {
    let hesitates = Duration::from_millis(1_500);
    let trouble = |stage: &Stage| {
        stage.town.inner().hesitates.insert(name("b"), hesitates);
    };
    let (stage, end) = restarted(trouble).await;
    assert_eq!((end.state, end.failed.len()), (RunState::Done, 0));
    let calls = ["restart api on b", "restart api on c", "restart api on a"];
    assert_eq!(stage.town.inner().calls, calls);
    // Three starts one after the other: an answer of the old instance on `b` was not taken for one of the new.
    let least = u64::try_from((3 * DEPLOY + hesitates).as_millis()).unwrap();
    assert!(end.took_ms >= least, "{} ms", end.took_ms);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_does_not_come_back_keeps_the_rest_as_it_is() {
    let trouble = |stage: &Stage| {
        stage.town.inner().bad.insert((name("b"), 1));
    };
    let (stage, end) = restarted(trouble).await;
    assert_eq!((end.state, end.failed.len()), (RunState::Failed, 1));
    assert!(end.failed[0].said.as_ref().unwrap().contains("its last word"), "{end:?}");
    assert_eq!(stage.town.inner().calls, ["restart api on b"]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_is_left_alone_and_told() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let engine = stage.engine();
    let nowhere = engine.plan_restart(&service("api"), None).await.unwrap_err();
    assert!(matches!(nowhere, EngineError::Missing(_)), "{nowhere}");
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    stage.town.inner().away.insert(name("b"));
    let plan = engine.plan_restart(&service("api"), None).await.unwrap();
    let steps: Vec<String> = plan.steps().map(|step| step.action.to_string()).collect();
    assert_eq!(steps, ["restart api on a"]);
    assert_eq!(plan.held[0].why, "b is left as it is: b could not tell its placements: nothing");
    stage.close().await;
}
