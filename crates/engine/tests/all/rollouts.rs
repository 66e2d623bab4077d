//! Rollouts: how long they take, in which order, and what follows when something fails.

use std::sync::Arc;
use std::time::Duration;

use linkflow_engine::{Engine, RunEnd, RunKind, RunState};
use linkflow_model::{OnFailure, ReleaseId, ReleaseState, ServiceSpec};
use tokio::time::timeout;

use crate::town::{DEPLOY, Stage, name, service, web};

#[tokio::test(start_paused = true)]
async fn many_services_take_no_longer_than_their_slowest_stage() {
    let cascade = ["a", "b", "c", "d"];
    let names = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    let stage = Stage::new(names.map(|text| web(text, &cascade)).to_vec());
    let engine = stage.engine();
    let end = stage.deploy(&engine, 1).await;
    assert_eq!((end.state, end.failed.len()), (RunState::Done, 0));
    assert_eq!(stage.town.runs().len(), names.len() * cascade.len());
    // Canary, spares, the place that serves: three stages, each as long as one deploy and a probe.
    let most = 3 * u64::try_from(DEPLOY.as_millis()).unwrap() + 6_000;
    assert!(end.took_ms < most, "{} ms", end.took_ms);
    // Later, one spare of each service at a time: one deploy more.
    let end = stage.deploy(&engine, 2).await;
    let most = 4 * u64::try_from(DEPLOY.as_millis()).unwrap() + 8_000;
    assert!(end.state == RunState::Done && end.took_ms < most, "{} ms", end.took_ms);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_preferred_provider_that_is_away_keeps_no_service_from_its_next_one() {
    let stage = Stage::new(vec![web("api", &["a", "b", "c"])]);
    stage.town.inner().away.insert(name("a"));
    let engine = stage.engine();
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    assert_eq!(stage.town.inner().calls, ["deploy api 1 on c", "deploy api 1 on b"]);
    assert_eq!(serving(&engine).await.as_deref(), Some("b"));
    // It is back, and gets what it lacks as a spare: the loop leads the way home when it has proven itself.
    stage.town.inner().away.clear();
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    assert_eq!(stage.town.inner().calls.last().unwrap(), "deploy api 1 on a");
    assert_eq!(serving(&engine).await.as_deref(), Some("b"));
    // What serves is away: its spares are updated, and nobody is led anywhere.
    stage.town.inner().away.insert(name("b"));
    assert_eq!(stage.deploy(&engine, 2).await.state, RunState::Done);
    assert_eq!(stage.town.runs(), ["api on a: 2", "api on b: 1", "api on c: 2"]);
    assert_eq!(serving(&engine).await.as_deref(), Some("b"));
    stage.close().await;
}

/// Where `api` serves.
async fn serving(engine: &Engine) -> Option<String> {
    let world = engine.world().await.unwrap();
    world.services[&service("api")].active.as_ref().map(ToString::to_string)
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_started_once_what_it_calls_answers() {
    let engine_first = ServiceSpec { needs: vec![service("engine")], ..web("api", &["a", "b"]) };
    let stage = Stage::new(vec![engine_first, web("engine", &["a", "b"])]);
    let engine = stage.engine();
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    let calls = stage.town.inner().calls.clone();
    assert_eq!(calls[..2], ["deploy engine 1 on b", "deploy api 1 on b"]);
    // What it waits for fails: then it is not begun either.
    let other = Stage::new(stage.specs.clone());
    other.town.inner().bad.insert((name("b"), 1));
    let end = other.deploy(&other.engine(), 1).await;
    assert_eq!((end.state, end.failed.len()), (RunState::Failed, 1));
    assert_eq!(other.town.inner().calls, ["deploy engine 1 on b"]);
    other.close().await;
    stage.close().await;
}

/// The calls of a deploy of version 2 to `specs`, of which `slow` takes 40 s.
async fn calls(specs: Vec<ServiceSpec>, slow: &str) -> Vec<String> {
    let stage = Stage::new(specs);
    let engine = stage.engine();
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    let slow = (name(slow), Duration::from_secs(40));
    stage.town.inner().slow.extend([slow]);
    stage.town.inner().calls.clear();
    assert_eq!(stage.deploy(&engine, 2).await.state, RunState::Done);
    let calls = stage.town.inner().calls.clone();
    stage.close().await;
    calls
}

#[tokio::test(start_paused = true)]
async fn after_the_canaries_a_slow_spare_holds_up_its_own_service_alone() {
    let specs = vec![web("one", &["a", "b", "c"]), web("two", &["d", "e"])];
    let expected = [
        "deploy one 2 on b",
        "deploy two 2 on e",
        "deploy one 2 on c",
        "deploy two 2 on d",
        "deploy one 2 on a",
    ];
    assert_eq!(calls(specs, "c").await, expected);
}

#[tokio::test(start_paused = true)]
async fn before_every_canary_has_proven_itself_nothing_else_is_begun() {
    let specs = vec![web("one", &["a", "b", "c"]), web("two", &["d", "e"])];
    let calls = calls(specs, "e").await;
    assert_eq!(calls[..2], ["deploy one 2 on b", "deploy two 2 on e"]);
    // The slow canary ends after 40 s: only then come a spare of the other service, and what serves.
    assert_eq!(calls[2], "deploy one 2 on c");
    let bad = Stage::new(vec![web("one", &["a", "b", "c"]), web("two", &["d", "e"])]);
    let engine = bad.engine();
    assert_eq!(bad.deploy(&engine, 1).await.state, RunState::Done);
    bad.town.inner().bad.insert((name("e"), 2));
    bad.town.inner().calls.clear();
    assert_eq!(bad.deploy(&engine, 2).await.state, RunState::RolledBack);
    let met = |call: &String| {
        call.ends_with("2 on a") || call.ends_with("2 on c") || call.ends_with("2 on d")
    };
    assert!(!bad.town.inner().calls.iter().any(met), "{:?}", bad.town.inner().calls);
    bad.close().await;
}

/// Two services, one of which needs the other, from which visitors are drained for `drain_ms`. Version 1 runs.
async fn drained(drain_ms: u64) -> (Stage, impl Fn(&Stage) -> Arc<Engine>) {
    let caller = ServiceSpec { needs: vec![service("engine")], ..web("api", &["a", "b"]) };
    let stage = Stage::new(vec![caller, web("engine", &["a", "b"])]);
    let engine = move |stage: &Stage| {
        let mut parts = stage.parts();
        parts.rollout.drain_ms = drain_ms;
        Engine::new(parts)
    };
    let first = stage.deploy(&engine(&stage), 1).await;
    // Nobody was anywhere before.
    assert!(first.state == RunState::Done && first.took_ms < drain_ms, "{} ms", first.took_ms);
    (stage, engine)
}

#[tokio::test(start_paused = true)]
async fn visitors_are_drained_once_for_all_services_that_they_are_led_away_from() {
    let (stage, engine) = drained(100_000).await;
    let end = stage.deploy(&engine(&stage), 2).await;
    // Once before their place is updated, and once when they have come back.
    assert!(end.state == RunState::Done, "{:?}", end.failed);
    assert!((200_000..300_000).contains(&end.took_ms), "{} ms", end.took_ms);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_was_cut_off_is_waited_for_anew() {
    let (stage, engine) = drained(1_000_000).await;
    let cut_off = Duration::from_secs(500);
    let process = engine(&stage);
    assert!(timeout(cut_off, stage.deploy(&process, 2)).await.is_err());
    stage.kill_all();
    let next = engine(&stage);
    let ends = next.resume().await.unwrap();
    assert_eq!((ends.len(), ends[0].state), (1, RunState::Done));
    assert!((2_000_000..2_100_000).contains(&ends[0].took_ms), "{} ms", ends[0].took_ms);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_how_long_each_step_took() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let engine = stage.engine();
    stage.deploy(&engine, 1).await;
    let run = engine.runs().await.unwrap().remove(0);
    let took: Vec<u64> = run.steps().map(|step| step.took_ms.unwrap()).collect();
    let deploy = u64::try_from(DEPLOY.as_millis()).unwrap();
    assert!(
        took.len() == 3 && took[..2].iter().all(|ms| (deploy..2 * deploy).contains(ms)),
        "{took:?}"
    );
    assert!(took[2] < 1_000, "a switch is no deploy: {took:?}");
    stage.close().await;
}

/// Version 1 runs on three providers; version 2 fails on `c`, which is the second spare.
async fn fails_on_c(on_failure: OnFailure) -> (Stage, RunEnd) {
    let stage = Stage::new(vec![web("api", &["a", "b", "c"]), web("page", &["a", "b"])]);
    let mut parts = stage.parts();
    parts.rollout.on_failure = on_failure;
    let engine = Engine::new(parts);
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    stage.town.inner().bad.insert((name("c"), 2));
    let end = stage.deploy(&engine, 2).await;
    assert_eq!(end.release, ReleaseId(1));
    let record = stage.release("r2").await.unwrap();
    assert_eq!(record.state, ReleaseState::Failed);
    let why = record.failed.unwrap();
    assert!(why.contains("deploy r2 of api on c: it died\n  | its last word"), "{why}");
    assert!(record.took_ms.is_some_and(|took| took > 5_000));
    (stage, end)
}

#[tokio::test(start_paused = true)]
async fn halt_leaves_everything_as_it_is() {
    let (stage, end) = fails_on_c(OnFailure::Halt).await;
    assert_eq!(end.state, RunState::Failed);
    let runs = ["api on a: 1", "page on a: 1", "api on b: 2", "page on b: 2", "api on c: 2"];
    assert_eq!(stage.town.runs(), runs);
    let told = stage.told().await;
    assert!(told.iter().any(|e| e.message.contains("r2 is left as it is: `linkflow rollback`")));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn rollback_failed_puts_back_only_what_failed() {
    let (stage, end) = fails_on_c(OnFailure::RollbackFailed).await;
    assert_eq!(end.state, RunState::Failed);
    let back: Vec<String> =
        end.put_back.iter().map(|p| format!("{} {}", p.service, p.provider)).collect();
    assert_eq!(back, ["api c"]);
    let runs = ["api on a: 1", "page on a: 1", "api on b: 2", "page on b: 2", "api on c: 1"];
    assert_eq!(stage.town.runs(), runs);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn rollback_all_puts_everything_back() {
    let (stage, end) = fails_on_c(OnFailure::RollbackAll).await;
    assert_eq!((end.state, end.put_back.len()), (RunState::RolledBack, 0));
    assert!(stage.town.runs().iter().all(|line| line.ends_with(": 1")), "{:?}", stage.town.runs());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_provider_is_put_back_alone_and_the_live_release_stays() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let engine = stage.engine();
    stage.deploy(&engine, 1).await;
    stage.deploy(&engine, 2).await;
    let draft = engine.draft_back(ReleaseId(1), Some(&name("a"))).await.unwrap();
    let end = engine.carry_out(&draft, RunKind::Rollback, Duration::ZERO).await.unwrap();
    assert_eq!((end.state, end.release), (RunState::Done, ReleaseId(2)));
    assert_eq!(stage.town.runs(), ["api on a: 1", "api on b: 2"]);
    assert_eq!(stage.release("r1").await.unwrap().state, ReleaseState::Superseded);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_placement_that_dies_while_it_soaks_did_not_pass() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let mut parts = stage.parts();
    parts.rollout.soak_ms = 30_000;
    let engine = Engine::new(parts);
    let town = stage.town.clone();
    let dies = async {
        tokio::time::sleep(DEPLOY + Duration::from_secs(20)).await;
        let (key, mut placed) = {
            let inner = town.inner();
            let (key, placed) = inner.placed.first_key_value().unwrap();
            (key.clone(), placed.clone())
        };
        placed.replicas = 0;
        town.inner().placed.insert(key, placed);
    };
    let (end, ()) = tokio::join!(stage.deploy(&engine, 1), dies);
    assert_eq!(end.state, RunState::Failed);
    let said = end.failed[0].said.clone().unwrap();
    assert!(said.starts_with("it was not well after"), "{said}");
    stage.close().await;
}
