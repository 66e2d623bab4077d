//! The lock: who is waited for, and how it is taken from one who is gone.

use std::time::Duration;

use linkflow_engine::{Engine, EngineError, Facts, Owner, RunKind, RunState};
use linkflow_model::EventKind;
use linkflow_store::Store as _;

use crate::town::{Stage, at, web};

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
fn trusting(stage: &Stage) -> std::sync::Arc<Engine> {
    let mut parts = stage.parts();
    parts.alive = std::sync::Arc::new(|_| true);
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
            tokio::time::sleep(Duration::from_secs(3)).await;
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
