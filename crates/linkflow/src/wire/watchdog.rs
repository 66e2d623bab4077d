//! The dead-man's switch: somebody elsewhere is told that LinkFlow is well, and tells you when that stops.

use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_engine::{MessageState, Stop, messages};
use linkflow_model::config::Config;
use linkflow_model::role::WatcherLook;
use linkflow_model::{
    Clock, Condition, Event, EventKind, Fault, Level, ProviderName, Pulse, Secret, Timestamp,
};
use linkflow_providers::beats::Reports;
use linkflow_providers::kit::Kit;
use linkflow_store::{Store, StoreError};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use super::beats::OURS;
use super::secrets::Secrets;
use super::watchers::{self, WATCHDOG};
use super::{Listen, OpenOptions, Stack};

/// How long the store may take to keep something.
const STORE: Duration = Duration::from_secs(5);

/// For how long a message may wait for its channel before it is said that nobody is told any more, in ms.
const WAITS_MS: u64 = 900_000;

/// How often a vendor that keeps our heartbeat is asked for its address, until it says so.
const ASK: Duration = Duration::from_secs(300);

/// Where it is kept that all was well.
const KEY: &str = "watchdog";

/// Who is told.
struct Told {
    name: String,
    reports: Option<Reports>,
    /// Who knows where, when it is a provider.
    vendor: Option<Arc<dyn WatcherLook>>,
    /// Whether the last ping worked: only a change is told.
    worked: Option<bool>,
}

/// Everybody who is told, as the config has it.
pub(super) struct Watchdog {
    told: Vec<Told>,
    every: Duration,
    kit: Kit,
}

impl Watchdog {
    /// Whoever can be told. One that cannot is warned of. A rehearsal tells nobody, and neither does who does not
    /// serve.
    pub(super) fn open(
        config: &Config,
        options: &OpenOptions,
        secrets: &Secrets,
        kit: &Kit,
    ) -> Self {
        let asked = &config.watchdog;
        let mut told = Vec::new();
        let real = options.cloud.is_none() && options.listen != Listen::Nowhere;
        for (index, reference) in asked.ping.iter().enumerate().filter(|_| real) {
            let name = format!("watchdog.ping.{}", index + 1);
            match secrets.follow(reference) {
                Some(address) => {
                    let reports = opened(&address, kit);
                    told.push(Told { name, reports, vendor: None, worked: None });
                }
                None => tracing::warn!(
                    "nobody is told by `{name}`: `${{{}}}` is not there",
                    reference.reference
                ),
            }
        }
        let named = |name: &ProviderName| real && asked.also_on.contains(name);
        let watchers = match asked.also_on.is_empty() {
            true => Vec::new(),
            false => watchers::apart(config, options, secrets, kit),
        };
        for (name, opened) in watchers {
            match opened {
                Ok(vendor) if named(&name) => {
                    let name = name.to_string();
                    told.push(Told { name, reports: None, vendor: Some(vendor), worked: None });
                }
                Ok(_) => {}
                Err(error) if named(&name) => tracing::warn!("{name} is not told: {error}"),
                Err(_) => {}
            }
        }
        Self { told, every: asked.every, kit: kit.clone() }
    }
}

fn opened(address: &Secret, kit: &Kit) -> Option<Reports> {
    Some(Reports::open(address, kit, &ProviderName::new("watchdog")?))
}

/// Tells others that all is well, in a task of the stack, while it is so by what `shown` shows and `listening` beats.
pub(super) fn start(stack: &mut Stack, shown: watch::Receiver<Vec<Stands>>, listening: Pulse) {
    let (every, kit) = (stack.watchdog.every, stack.watchdog.kit.clone());
    let mut told = std::mem::take(&mut stack.watchdog.told);
    if told.is_empty() {
        return;
    }
    let mut look = Look {
        store: Arc::clone(&stack.store),
        clock: Arc::clone(&stack.clock),
        shown,
        listening,
        beats: 0,
    };
    let engine = Arc::clone(&stack.engine);
    stack.tasks.start("watchdog", async move |stop: Stop| {
        let mut asked: Option<tokio::time::Instant> = None;
        let mut was_well = true;
        while stop.or(tokio::time::sleep(every)).await.is_some() {
            let wrong = look.wrong().await;
            let mut say = Vec::new();
            if was_well != wrong.is_none() {
                was_well = wrong.is_none();
                say.push(match &wrong {
                    Some(why) => (Level::Warning, format!("LinkFlow is not well: {why}")),
                    None => (Level::Notice, "LinkFlow is well again".to_owned()),
                });
            }
            if wrong.is_none() {
                if asked.is_none_or(|at| at.elapsed() >= ASK) {
                    asked = Some(tokio::time::Instant::now());
                    learn(&mut told, &kit).await;
                }
                for one in &mut told {
                    say.extend(one.tell().await);
                }
            }
            for (level, message) in say {
                let event = Event::new(look.clock.wall(), EventKind::Control, level, message);
                engine.tell(event).await;
            }
        }
    });
}

/// Asks the vendors whose address is not known yet.
async fn learn(told: &mut [Told], kit: &Kit) {
    for one in told.iter_mut().filter(|one| one.reports.is_none()) {
        let Some(vendor) = &one.vendor else { continue };
        match address(&**vendor).await {
            Ok(Some(address)) => one.reports = opened(&address, kit),
            Ok(None) => {}
            Err(fault) => {
                tracing::warn!("{} does not say where our heartbeat is: {fault}", one.name);
            }
        }
    }
}

async fn address(vendor: &dyn WatcherLook) -> Result<Option<Secret>, Fault> {
    let held = vendor.held().await?;
    match held.iter().find(|held| held.watch.name == WATCHDOG) {
        Some(held) => vendor.reports_to(held).await,
        None => Ok(None),
    }
}

impl Told {
    /// Says that all is well. Gives what is to be told of that, when it begins to work or to fail.
    async fn tell(&mut self) -> Option<(Level, String)> {
        let done = match &self.reports {
            Some(reports) => reports.ping().await.map_err(|fault| fault.to_string()),
            None => {
                Err("it has no address for us; `linkflow watchers apply` makes a heartbeat"
                    .to_owned())
            }
        };
        let worked = done.is_ok();
        if self.worked.replace(worked) == Some(worked) {
            return None;
        }
        let name = &self.name;
        Some(match done {
            Ok(()) => (Level::Info, format!("{name} is told that LinkFlow is well")),
            Err(why) => {
                (Level::Warning, format!("{name} is not told that LinkFlow is well: {why}"))
            }
        })
    }
}

/// Looks whether all is well.
struct Look {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    shown: watch::Receiver<Vec<Stands>>,
    listening: Pulse,
    beats: u64,
}

impl Look {
    /// What is wrong, when something is.
    async fn wrong(&mut self) -> Option<String> {
        let beats = self.listening.count();
        if std::mem::replace(&mut self.beats, beats) == beats {
            return Some("nobody listens to heartbeats".to_owned());
        }
        let stands = self.shown.borrow().clone();
        let own = stands.iter().filter(|one| one.subject.starts_with(OURS));
        if let Some(one) =
            own.filter(|one| one.condition != Condition::Up).min_by_key(|one| one.since)
        {
            return Some(format!("{} does not go on", one.subject));
        }
        match timeout(STORE, self.stored()).await {
            Ok(Ok(None)) => None,
            Ok(Ok(Some(waits))) => Some(waits),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the store does not answer".to_owned()),
        }
    }

    /// Whether the store keeps something, and no alert has waited for long.
    async fn stored(&self) -> Result<Option<String>, StoreError> {
        let now = self.clock.wall();
        let version = self.store.read(KEY).await?.map(|document| document.version);
        match self.store.write(KEY, version, &json!(now), None).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        waiting(&*self.store, now).await
    }
}

/// An alert that has waited for long, in words.
async fn waiting(store: &dyn Store, now: Timestamp) -> Result<Option<String>, StoreError> {
    let all = messages(store).await?;
    let late = all.iter().find(|message| {
        message.state == MessageState::Waiting && now.0.saturating_sub(message.at.0) > WAITS_MS
    });
    Ok(late.map(|late| format!("alerts.{} cannot be told by {}", late.post, late.channel)))
}

#[cfg(test)]
mod tests {
    use linkflow_decide::Sort;
    use linkflow_model::clock::SystemClock;
    use linkflow_store::Memory;

    use super::*;

    fn own(subject: &str, condition: Condition) -> Stands {
        Stands {
            subject: subject.to_owned(),
            name: subject.to_owned(),
            condition,
            since: Timestamp(0),
            why: None,
            needs: Vec::new(),
            held: false,
            inner: true,
            sort: Sort::Reports,
        }
    }

    #[tokio::test]
    async fn all_is_well_only_while_every_job_of_our_own_goes_on() {
        let (show, shown) = watch::channel(vec![own("own.loop", Condition::Up)]);
        let listening = Pulse::default();
        let mut look = Look {
            store: Arc::new(Memory::default()),
            clock: Arc::new(SystemClock::start()),
            shown,
            listening: listening.clone(),
            beats: 0,
        };
        assert_eq!(look.wrong().await.unwrap(), "nobody listens to heartbeats");
        listening.beat();
        assert_eq!(look.wrong().await, None);
        // A job of the user's is not what this is about.
        show.send_replace(vec![
            own("own.loop", Condition::Up),
            own("heartbeat.backup", Condition::Down),
        ]);
        listening.beat();
        assert_eq!(look.wrong().await, None);
        for stalls in [Condition::Down, Condition::Unknown] {
            show.send_replace(vec![own("own.loop", Condition::Up), own("own.alerts", stalls)]);
            listening.beat();
            assert_eq!(look.wrong().await.unwrap(), "own.alerts does not go on");
        }
        assert_eq!(look.wrong().await.unwrap(), "nobody listens to heartbeats");
    }
}
