//! The lock: who is waited for, and how it is taken from one who is gone.

use std::sync::Arc;
use std::time::Duration;

use linkflow_engine::{Engine, EngineError, Facts, Owner, RunKind, RunState, Tasks};
use linkflow_model::{EventKind, Health, Moment};
use linkflow_store::Store as _;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::town::{Stage, at, name, service, web};

fn stage() -> Stage {
    Stage::new(vec![web("api", &["a", "b"])])
}

/// Somebody on `host` takes the lock and says nothing more.
async fn taken(stage: &Stage, host: &str) -> u64 {
    let owner = Owner {
        id: "other".to_owned(),
        host: host.to_owned(),
        pid: 7,
        what: "linkflow apply".to_owned(),
        who: Some("bob".to_owned()),
        url: Some("https://ci.test/9".to_owned()),
    };
    let text = serde_json::to_string(&owner).unwrap();
    stage.store.take_lease("act", &text, None).await.unwrap().token
}

/// A process that takes everybody for alive.
fn trusting(stage: &Stage) -> Arc<Engine> {
    let mut parts = stage.parts();
    parts.alive = Arc::new(|_| true);
    Engine::new(parts)
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_says_for_whom_and_gives_up_with_the_address_of_the_run() {
    let stage = stage();
    let id = taken(&stage, "elsewhere").await;
    let engine = trusting(&stage);
    let holder = engine.holder().await.unwrap().unwrap();
    assert_eq!((holder.id, holder.gone, holder.owner.pid), (id, false, 7));
    let draft = engine.draft(at(&stage.specs, 1), "one", &Facts::default()).await.unwrap();
    let busy = engine.carry_out(&draft, RunKind::Deploy, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(busy, EngineError::Busy(_)));
    let who = "linkflow apply (by bob, process 7 on elsewhere, https://ci.test/9)";
    assert_eq!(busy.to_string(), format!("{who} is acting on this stack"));
    let told = stage.told().await;
    let waits: Vec<_> = told.iter().filter(|e| e.kind == EventKind::Control).collect();
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].message, format!("waits for {who}"));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_freed_only_under_its_id_and_when_its_holder_gives_no_sign_of_life() {
    let stage = stage();
    let engine = trusting(&stage);
    let id = taken(&stage, "elsewhere").await;
    let wrong = engine.unlock(id + 1, true).await.unwrap_err();
    assert!(wrong.to_string().contains("not held under the id"), "{wrong}");
    // Its holder beats: it lives.
    let fence = linkflow_store::Fence { lease: "act".to_owned(), token: id };
    let beats = async {
        loop {
            sleep(Duration::from_secs(3)).await;
            stage.store.beat_lease(&fence).await.unwrap();
        }
    };
    let lives = tokio::select! {
        () = beats => unreachable!(),
        refused = engine.unlock(id, false) => refused.unwrap_err(),
    };
    assert!(lives.to_string().contains("gave a sign of life"), "{lives}");
    let freed = engine.unlock(id, false).await.unwrap();
    assert_eq!(freed.owner.who.as_deref(), Some("bob"));
    assert_eq!(engine.holder().await.unwrap(), None);
    assert!(stage.store.beat_lease(&fence).await.is_err(), "it may act no more");
    assert_eq!(stage.deploy(&engine, 1).await.state, RunState::Done);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_of_this_machine_that_lives_keeps_its_lock_unless_forced() {
    let stage = stage();
    let engine = trusting(&stage);
    let id = taken(&stage, "here").await;
    let lives = engine.unlock(id, false).await.unwrap_err();
    assert!(lives.to_string().contains("still runs"), "{lives}");
    engine.unlock(id, true).await.unwrap();
    assert_eq!(engine.holder().await.unwrap(), None);
    stage.close().await;
}

/// While its own move waits for another process, and no probe says anything new.
#[tokio::test(start_paused = true)]
async fn visitors_are_led_where_another_process_leads_them_also_while_a_move_waits() {
    let stage = Stage::new(vec![web("api", &["a", "b"]), web("site", &["a", "b"])]);
    stage.deploy(&stage.engine(), 1).await;
    let mut parts = stage.parts();
    let mut picture = (**parts.probes.borrow()).clone();
    let site = picture.get_mut(&(service("site"), name("a"))).unwrap();
    (site.health, site.since) = (Health::Down, Moment(0));
    let (_no_more, probes) = watch::channel(Arc::new(picture));
    parts.probes = probes;
    let routes = parts.routes.subscribe();
    let first = || {
        let routes = routes.borrow();
        let api = routes.services.iter().find(|route| route.service == service("api")).unwrap();
        api.targets[0].provider.clone()
    };
    let (engine, tasks) = (Engine::new(parts), Tasks::default());
    let _still = engine.hold_still().await;
    let engine = Arc::clone(&engine);
    tasks.start("loop", |stop| engine.run(stop));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(first(), name("a"));
    let held = stage.store.read("active/api").await.unwrap().unwrap();
    let led = json!({ "provider": "b", "since": stage.clock.wall() });
    stage.store.write("active/api", Some(held.version), &led, None).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(first(), name("b"));
    tasks.shut_down(Duration::from_secs(1)).await;
    stage.close().await;
}
