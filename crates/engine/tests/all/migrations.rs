//! Migrations: exactly one run for each release, before anything else, whatever is cut off.

use std::sync::Arc;
use std::time::Duration;

use linkflow_engine::{Crash, CrashPoint, Engine, Facts, RunKind, RunState};
use linkflow_model::{Action, ReleaseId, ReleaseState};

use crate::town::{Stage, at, migrating, name, service, web};

fn stage() -> Stage {
    Stage::new(vec![migrating("api", &["a", "b"]), web("page", &["b", "a"])])
}

#[tokio::test(start_paused = true)]
async fn a_migration_is_run_once_before_anything_is_deployed_and_never_by_a_rollback() {
    let stage = stage();
    let engine = stage.engine();
    let end = stage.deploy(&engine, 1).await;
    assert_eq!(end.state, RunState::Done);
    let calls = stage.town.inner().calls.clone();
    assert_eq!(calls[0], "run `up` on a");
    assert_eq!(calls.iter().filter(|call| call.starts_with("run")).count(), 1, "{calls:?}");
    let release = stage.release("r1").await.unwrap();
    let ended = &release.migrations[&service("api")];
    assert_eq!((ended.code, ended.worked, ended.took_ms >= 5_000), (Some(0), true, true));
    assert_eq!((ended.log.len(), ended.log[49].as_str()), (50, "line 60"));
    let run = engine.runs().await.unwrap().remove(0);
    assert_eq!(run.stages[0].name, "migrate");
    assert_eq!(run.stages[0].steps[0].migration.as_ref(), Some(ended));
    // The same again has nothing to do, a new image migrates, and going back does not.
    let again = engine.draft(at(&stage.specs, 1), "again", &Facts::default()).await.unwrap();
    assert!(again.plan.is_empty(), "{:?}", again.plan);
    assert_eq!(stage.deploy(&engine, 2).await.state, RunState::Done);
    let back = engine.draft_back(ReleaseId(1), None).await.unwrap();
    assert!(!back.plan.is_empty());
    assert!(!back.plan.steps().any(|step| matches!(step.action, Action::Migrate { .. })));
    let starts = stage.town.inner().starts.clone();
    assert_eq!(starts, [("migrate-api-r1".to_owned(), 1), ("migrate-api-r2".to_owned(), 1)].into());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_migration_stops_everything_before_anything_was_changed() {
    let stage = stage();
    let engine = stage.engine();
    stage.deploy(&engine, 1).await;
    let before = stage.town.inner().calls.len();
    stage.town.inner().exit = 3;
    let end = stage.deploy(&engine, 2).await;
    assert_eq!((end.state, end.release), (RunState::Failed, ReleaseId(1)));
    let said = end.failed[0].said.clone().unwrap();
    assert!(said.starts_with("`up` exited with 3\n  | line 41"), "{said}");
    assert_eq!(end.failed[0].migration.as_ref().unwrap().code, Some(3));
    assert_eq!(stage.town.inner().calls[before..], ["run `up` on a"]);
    let release = stage.release("r2").await.unwrap();
    assert_eq!(release.state, ReleaseState::Failed);
    assert_eq!(release.migrations[&service("api")].code, Some(3));
    // The next release tries again, with a job of its own.
    stage.town.inner().exit = 0;
    assert_eq!(stage.deploy(&engine, 2).await.state, RunState::Done);
    assert_eq!(stage.town.inner().starts["migrate-api-r3"], 1);
    stage.close().await;
}

/// Carries version 2 out in a process that dies at journal point `at`. Says whether it died.
async fn cut_off(stage: &Stage, at_point: u64) -> bool {
    let mut parts = stage.parts();
    let at_point = vec![CrashPoint::Number(at_point)];
    parts.crash = Some(Crash { at: at_point, kill: Arc::new(|_| panic!("killed by the test")) });
    let engine = Engine::new(parts);
    let draft = engine.draft(at(&stage.specs, 2), "two", &Facts::default()).await.unwrap();
    let mut life = tokio::task::JoinSet::new();
    life.spawn(async move {
        let end = engine.carry_out(&draft, RunKind::Deploy, Duration::from_secs(60)).await;
        assert_eq!(end.unwrap().state, RunState::Done);
    });
    let died = life.join_next().await.unwrap().is_err_and(|error| error.is_panic());
    stage.kill_all();
    died
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_is_killed_anywhere_and_repeated_has_migrated_exactly_once() {
    let mut point = 0;
    loop {
        point += 1;
        let stage = stage();
        stage.deploy(&stage.engine(), 1).await;
        stage.town.inner().loses_answers = point % 2 == 0;
        let died = cut_off(&stage, point).await;
        let next = stage.engine();
        next.resume().await.unwrap();
        // Killed before anything was written, there is nothing to resume.
        let end = stage.deploy(&next, 2).await;
        assert_eq!((end.state, end.release), (RunState::Done, ReleaseId(2)), "point {point}");
        let starts = stage.town.inner().starts.clone();
        assert_eq!(starts["migrate-api-r2"], 1, "point {point}: {starts:?}");
        assert_eq!(starts.len(), 2, "point {point}: {starts:?}");
        assert!(stage.town.runs().iter().all(|line| line.ends_with(": 2")), "point {point}");
        stage.close().await;
        if !died {
            break;
        }
    }
    assert!(point > 15, "the journal has too few points to have been written: {point}");
}

#[tokio::test(start_paused = true)]
async fn two_at_once_do_not_both_migrate() {
    let stage = stage();
    let (one, two) = (stage.engine(), stage.engine());
    let (one, two) = tokio::join!(stage.deploy(&one, 1), stage.deploy(&two, 1));
    assert_eq!((one.state, two.state), (RunState::Done, RunState::Done));
    assert_eq!(stage.town.inner().starts, [("migrate-api-r1".to_owned(), 1)].into());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_drafts_with_one_number_the_later_gets_a_number_and_a_plan_of_its_own() {
    let stage = stage();
    let (one, two) = (stage.engine(), stage.engine());
    let first = one.draft(at(&stage.specs, 1), "one", &Facts::default()).await.unwrap();
    let second = two.draft(at(&stage.specs, 2), "two", &Facts::default()).await.unwrap();
    assert_eq!((first.release.id, second.release.id), (ReleaseId(1), ReleaseId(1)));
    let approved = linkflow_engine::Draft { exact: true, ..second.clone() };
    one.carry_out(&first, RunKind::Deploy, Duration::ZERO).await.unwrap();
    let refused = two.carry_out(&approved, RunKind::Apply, Duration::ZERO).await.unwrap_err();
    assert!(refused.to_string().contains("another release went out"), "{refused}");
    let end = two.carry_out(&second, RunKind::Deploy, Duration::ZERO).await.unwrap();
    assert_eq!((end.state, end.release), (RunState::Done, ReleaseId(2)));
    assert!(stage.town.runs().iter().all(|line| line.ends_with(": 2")), "{:?}", stage.town.runs());
    assert_eq!(stage.release("r2").await.unwrap().before, Some(ReleaseId(1)));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn while_an_earlier_migration_still_runs_no_other_is_started() {
    let stage = stage();
    let engine = stage.engine();
    stage.town.inner().job_ms = 700_000;
    let late = stage.deploy(&engine, 1).await;
    let said = late.failed[0].said.clone().unwrap();
    assert!(said.contains("it is left running"), "{said}");
    let second = stage.deploy(&engine, 1).await;
    let said = second.failed[0].said.clone().unwrap();
    assert!(said.contains("the job migrate-api-r1 on a, still runs"), "{said}");
    assert_eq!(stage.town.inner().starts.len(), 1);
    tokio::time::sleep(Duration::from_secs(200)).await;
    stage.town.inner().job_ms = 1_000;
    let third = stage.deploy(&engine, 1).await;
    assert_eq!((third.state, third.release), (RunState::Done, ReleaseId(3)));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_runs_jobs_the_plan_says_so_and_nothing_is_done() {
    let stage = stage();
    for provider in ["a", "b"] {
        let least = linkflow_model::role::Capabilities::LEAST;
        stage.town.inner().able.insert(name(provider), least);
    }
    let engine = stage.engine();
    let draft = engine.draft(at(&stage.specs, 1), "one", &Facts::default()).await.unwrap();
    let refusal = draft.refusals().next().unwrap().clone();
    assert_eq!(refusal.what, "nobody can run the migration of api: no provider of it has jobs");
    assert!(refusal.help.contains("deploy.migrate_on"), "{}", refusal.help);
    let refused = engine.carry_out(&draft, RunKind::Deploy, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.to_string(), refusal.what);
    assert_eq!(stage.town.inner().calls, Vec::<String>::new());
    stage.close().await;
}
