//! What is done around a rollout: hooks, and telling people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_engine::{Engine, EngineError, Facts, Hook, Hooks, RunKind, RunState};
use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{EventKind, Fault, FaultKind};

use crate::town::{Stage, at, name, web};

/// Hooks that keep what they were told; one of them fails.
#[derive(Default)]
struct Kept {
    calls: Mutex<Vec<BTreeMap<String, String>>>,
    fails: Option<Hook>,
}

#[async_trait]
impl Hooks for Kept {
    async fn run(
        &self,
        hook: Hook,
        env: &BTreeMap<String, String>,
    ) -> Result<Option<String>, String> {
        self.calls.lock().unwrap().push(env.clone());
        if self.fails == Some(hook) {
            Err("exited with 1".to_owned())
        } else {
            Ok(Some(String::new()))
        }
    }
}

impl Kept {
    fn of(&self, key: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|env| env.get(key).cloned().unwrap_or_default()).collect()
    }
}

fn with(stage: &Stage, hooks: &Arc<Kept>) -> Arc<Engine> {
    let mut parts = stage.parts();
    parts.hooks = Some(Arc::clone(hooks) as Arc<dyn Hooks>);
    Engine::new(parts)
}

#[tokio::test(start_paused = true)]
async fn hooks_are_told_what_goes_on() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let hooks = Arc::new(Kept::default());
    let engine = with(&stage, &hooks);
    stage.deploy(&engine, 1).await;
    stage.town.inner().bad.insert((name("b"), 2));
    stage.deploy(&engine, 2).await;
    assert_eq!(hooks.of("LINKFLOW_HOOK"), ["before", "after", "before", "failed"]);
    assert_eq!(hooks.of("LINKFLOW_RELEASE"), ["r1", "r1", "r2", "r2"]);
    assert_eq!(hooks.of("LINKFLOW_BEFORE"), ["", "", "r1", "r1"]);
    assert_eq!(hooks.of("LINKFLOW_RUN"), ["", "run-000001", "", "run-000002"]);
    assert_eq!(hooks.of("LINKFLOW_STACK"), ["town"; 4]);
    assert_eq!(hooks.of("LINKFLOW_WHY")[3], "it died\n  | its last word");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_hook_before_stops_the_deploy_and_a_failing_one_after_is_a_warning() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let hooks = Arc::new(Kept { fails: Some(Hook::Before), ..Kept::default() });
    let engine = with(&stage, &hooks);
    let draft = engine.draft(at(&stage.specs, 1), "one", &Facts::default()).await.unwrap();
    let refused = engine.carry_out(&draft, RunKind::Deploy, Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused(_)));
    assert!(refused.to_string().contains("exited with 1"), "{refused}");
    assert!(stage.town.inner().calls.is_empty() && stage.release("r1").await.is_none());
    assert_eq!(engine.holder().await.unwrap(), None);

    let hooks = Arc::new(Kept { fails: Some(Hook::After), ..Kept::default() });
    let end = stage.deploy(&with(&stage, &hooks), 1).await;
    assert_eq!(end.state, RunState::Done);
    let told = stage.told().await;
    assert!(told.iter().any(|e| e.kind == EventKind::Hook && e.message.contains("`after` failed")));
    stage.close().await;
}

/// A channel that keeps its notices, after `takes`.
#[derive(Default)]
struct Channel {
    notices: Mutex<Vec<Notice>>,
    takes: Duration,
    fails: bool,
}

#[async_trait]
impl Notify for Channel {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        tokio::time::sleep(self.takes).await;
        if self.fails {
            let (provider, said) = (name("slack"), "no such channel".to_owned());
            let attempt = "tell people".to_owned();
            return Err(Fault { kind: FaultKind::Denied, provider, attempt, said });
        }
        self.notices.lock().unwrap().push(notice.clone());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn people_are_told_what_where_how_long_who_and_why_not() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let channel = Arc::new(Channel::default());
    let mut parts = stage.parts();
    parts.notify = vec![(name("slack"), Arc::clone(&channel) as Arc<dyn Notify>)];
    let engine = Engine::new(parts);
    stage.deploy(&engine, 1).await;
    stage.town.inner().bad.insert((name("b"), 2));
    stage.deploy(&engine, 2).await;
    let notices = channel.notices.lock().unwrap().clone();
    assert_eq!(notices.len(), 2, "a take-back is part of its run");
    let fact = |notice: &Notice, key: &str| {
        notice.facts.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap()
    };
    let good = &notices[0];
    assert_eq!((good.tone, good.title.as_str()), (Tone::Good, "town: r1 is live"));
    assert_eq!(fact(good, "what"), "ghcr.io/acme/api:1");
    assert_eq!(fact(good, "where"), "a, b");
    assert_eq!(fact(good, "who"), "ada, linkflow deploy on here");
    assert!(fact(good, "took").ends_with(" s"));
    assert_eq!(good.link, Some(("the CI run".to_owned(), "https://ci.test/1".to_owned())));
    let bad = &notices[1];
    assert_eq!((bad.tone, bad.title.as_str()), (Tone::Bad, "town: r2 failed, r1 serves again"));
    assert_eq!(bad.text, "b: deploy r2 of api on b: it died");
    assert_eq!(bad.lines, ["its last word"]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_slow_or_broken_holds_nothing_up_for_long() {
    let stage = Stage::new(vec![web("api", &["a", "b"])]);
    let broken = Channel { fails: true, ..Channel::default() };
    let slow = Channel { takes: Duration::from_secs(600), ..Channel::default() };
    let quick = stage.deploy(&stage.engine(), 1).await.took_ms;
    let mut parts = stage.parts();
    parts.notify = vec![
        (name("slack"), Arc::new(broken) as Arc<dyn Notify>),
        (name("mail"), Arc::new(slow) as Arc<dyn Notify>),
    ];
    let engine = Engine::new(parts);
    let began = stage.clock.now();
    let end = stage.deploy(&engine, 2).await;
    assert_eq!(end.state, RunState::Done);
    let took = stage.clock.now().since(began);
    assert!(took < quick + DEPLOY_MORE + 11_000, "{took} ms, {quick} ms before");
    let told = stage.told().await;
    let unheard: Vec<&str> = told
        .iter()
        .filter(|event| event.kind == EventKind::Notice)
        .filter_map(|event| event.provider.as_ref().map(linkflow_model::ProviderName::as_str))
        .collect();
    assert_eq!(unheard, ["slack", "mail"]);
    stage.close().await;
}

/// An update leads visitors away and back, which a first deploy does not.
const DEPLOY_MORE: u64 = 3_000;
