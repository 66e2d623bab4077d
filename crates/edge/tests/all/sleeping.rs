//! Targets that their provider puts to sleep: nobody keeps them awake for nothing, and nobody takes a cold start for an
//! outage.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use linkflow_edge::Limits;
use linkflow_model::{Health, Routes, ServiceKind, Sleeps, Target};
use tokio::time::sleep;

use crate::load::{Load, no_write_was_doubled};
use crate::stage::{Setup, Stage, provider, route, service, target, until};

const COLD_START: u64 = 2_000;

/// Upstreams of which those in `sleepers` sleep, with a cold start that is longer than anything the edge waits for
/// otherwise.
async fn asleep(count: usize, sleepers: &[&str]) -> Stage {
    let limits = Limits {
        first_byte_ms: 300,
        first_byte_alone_ms: 500,
        silent_ms: 400,
        ..Limits::default()
    };
    let limits = Limits { suspect_ms: 200, name_target: true, ..limits };
    let stage = Stage::with(Setup { count: 0, limits, ..Setup::default() }).await;
    let mut stage = stage;
    for name in ["a", "b"].into_iter().take(count) {
        let up = crate::upstream::Upstream::start(name, &stage.ledger).await;
        if sleepers.contains(&name) {
            up.ways.cold_start.store(COLD_START, Relaxed);
        }
        stage.ups.push(up);
    }
    publish(&stage, sleepers, true);
    stage
}

fn publish(stage: &Stage, sleepers: &[&str], may_rest: bool) {
    let sleeps = Sleeps { after_ms: 60_000, cold_start_ms: 10_000, may_rest };
    let targets = stage.ups.iter().enumerate().map(|(rank, up)| Target {
        sleeps: sleepers.contains(&up.ways.name).then_some(sleeps),
        ..target(up.ways.name, up.url(), rank)
    });
    let services = vec![route(ServiceKind::Web, targets.collect())];
    stage.routes.send_modify(|held| {
        *held = Arc::new(Routes { generation: held.generation + 1, services });
    });
}

fn health(stage: &Stage, name: &str) -> Option<Health> {
    stage.edge.probes().borrow().get(&(service(), provider(name))).map(|probe| probe.health)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_asks_for_is_not_kept_awake() {
    let stage = asleep(2, &["b"]).await;
    until(|| health(&stage, "a") == Some(Health::Up)).await;
    until(|| health(&stage, "b") == Some(Health::Resting)).await;
    assert_eq!(stage.get("/").await.status, 200);
    sleep(Duration::from_millis(2_500)).await;
    let up = |name| stage.ups.iter().find(|up| up.ways.name == name).unwrap();
    assert!(up("a").ways.checks.load(Relaxed) >= 3, "a is checked all the time");
    assert_eq!(up("b").ways.checks.load(Relaxed), 0, "b is left alone");
    assert_eq!(up("b").requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_are_served_elsewhere_while_the_preferred_target_wakes() {
    let stage = asleep(2, &["a"]).await;
    until(|| health(&stage, "a") == Some(Health::Resting)).await;
    until(|| health(&stage, "b") == Some(Health::Up)).await;
    let load = Load::start(&stage, 100, Duration::from_millis(4_500));
    until(|| health(&stage, "a") == Some(Health::Waking)).await;
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(Duration::ZERO);
    assert!(shots.slowest_read() < Duration::from_millis(1_500), "{:?}", shots.slowest_read());
    assert!(shots.last_by("a") > Duration::from_millis(COLD_START), "it serves once it is awake");
    assert_eq!(health(&stage, "a"), Some(Health::Up));
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_else_awake_visitors_wait_for_the_cold_start_and_none_fails() {
    let stage = asleep(1, &["a"]).await;
    until(|| health(&stage, "a") == Some(Health::Resting)).await;
    let load = Load::start(&stage, 50, Duration::from_millis(3_500));
    let shots = load.end().await;
    shots.no_read_failed();
    shots.no_write_failed(Duration::ZERO);
    assert_eq!(health(&stage, "a"), Some(Health::Up));
    no_write_was_doubled(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_needs_a_verdict_has_the_target_woken() {
    let stage = asleep(2, &["b"]).await;
    until(|| health(&stage, "b") == Some(Health::Resting)).await;
    publish(&stage, &["b"], false);
    until(|| health(&stage, "b") == Some(Health::Waking)).await;
    until(|| health(&stage, "b") == Some(Health::Up)).await;
    publish(&stage, &["b"], true);
    until(|| health(&stage, "b") == Some(Health::Resting)).await;
}
