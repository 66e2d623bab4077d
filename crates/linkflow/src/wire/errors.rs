//! Errors of the product that Sentry tells of: each is confirmed by its API, told once an hour, and opens an incident of low
//! severity where the config wants that, until it is over there.

mod known;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_engine::{Engine, Stop};
use linkflow_model::config::{Config, Provider, kinds};
use linkflow_model::role::{ErrorIssue, Errors};
use linkflow_model::{Clock, Event, EventKind, Level, ProviderName, Secret, Timestamp};
use linkflow_providers::errors::{Settings, open as open_errors, sentry};
use linkflow_providers::kit::Kit;
use linkflow_store::{Store, StoreError};
use linkflow_web::hook::{Due, Report, Saying, Signed};
use serde_json::json;
use tokio::sync::{Notify, watch};

use self::known::{Known, QUIET_MS};

use super::secrets::Secrets;
use super::{OpenError, OpenOptions, Stack, parts};

/// How long its provider is asked for something that it told of, in ms: a day. Then that is told in its place.
const GIVEN_UP_MS: u64 = 86_400_000;

/// How long it is waited before it is asked again when it did not answer, in ms; twice as long each time.
const FIRST_WAIT_MS: u64 = 10_000;

/// How long it is waited at most, in ms.
const LONGEST_WAIT_MS: u64 = 900_000;

/// Between two questions.
const PACE: Duration = Duration::from_secs(2);

/// How often it is looked whether an incident is over.
const EVERY: Duration = Duration::from_secs(10);

/// How many events are read at once.
const EVENTS: usize = 500;

/// A provider's name, and its API or why it cannot be opened.
pub(crate) type Opened = (ProviderName, Result<Arc<dyn Errors>, OpenError>);

/// Opens each provider of the config whose issues can be asked for: one with an organization. Nothing is asked yet.
pub(crate) fn apart(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Vec<Opened> {
    let all = config.providers.keys().filter_map(|name| {
        let provider = config.provider(name)?;
        let kinds::Settings::Sentry(own) = &provider.settings else { return None };
        let organization = own.organization.clone()?;
        let settings = settings(name, &provider, organization, options, secrets);
        Some((name.clone(), settings.map(|own| open_errors(own, kit, &config.stack.name, name))))
    });
    all.collect()
}

fn settings(
    name: &ProviderName,
    provider: &Provider,
    organization: String,
    options: &OpenOptions,
    secrets: &Secrets,
) -> Result<Settings, OpenError> {
    if let Some(there) = options.cloud.as_ref().map(|cloud| &cloud.sentry) {
        let (token, organization) = (Secret::new(&there.token), there.organization.clone());
        let api = Some(there.api.clone());
        return Ok(Settings::Sentry(sentry::Settings { token, organization, api }));
    }
    let token = parts::token(name, provider, secrets)?;
    let api = provider.api().map(ToOwned::to_owned);
    Ok(Settings::Sentry(sentry::Settings { token, organization, api }))
}

/// The providers that send signed hooks, with what `config` says of each.
pub(crate) fn senders(config: &Config) -> BTreeMap<ProviderName, kinds::Sentry> {
    let all = config.providers.keys().filter_map(|name| match config.provider(name)?.settings {
        kinds::Settings::Sentry(own) if own.client_secret.is_some() => Some((name.clone(), own)),
        _ => None,
    });
    all.collect()
}

/// One provider that tells of errors, before it is listened to.
pub(super) struct Teller {
    pub(super) name: ProviderName,
    errors: Arc<dyn Errors>,
    opens_incidents: bool,
    bell: Arc<Notify>,
}

/// Opens everybody who sends signed hooks: who is listened to, and what takes them. One that cannot be is warned of.
pub(super) fn open(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Vec<(Teller, Signed)> {
    let senders = senders(config);
    let mut all = Vec::new();
    for (name, opened) in apart(config, options, secrets, kit) {
        let Some(own) = senders.get(&name) else { continue };
        let signing = match &options.cloud {
            Some(cloud) => Some(Secret::new(&cloud.sentry.client_secret)),
            None => own.client_secret.as_ref().and_then(|reference| secrets.follow(reference)),
        };
        match (opened, signing) {
            (Ok(errors), Some(secret)) => {
                kit.learn(&secret);
                let (bell, opens_incidents) = (Arc::<Notify>::default(), own.incidents);
                let signed = Signed { secret, bell: Arc::clone(&bell) };
                all.push((Teller { name, errors, opens_incidents, bell }, signed));
            }
            (Err(error), _) => tracing::warn!("hooks of {name} are not taken: {error}"),
            (Ok(_), None) => {
                tracing::warn!("hooks of {name} are not taken: its `client_secret` is not there");
            }
        }
    }
    all
}

/// Follows what each of `tellers` told of, in a task of the stack. Gives how those stand that open incidents.
pub(super) fn start(stack: &Stack, tellers: Vec<Teller>) -> Vec<watch::Receiver<Vec<Stands>>> {
    let mut shown = Vec::new();
    for teller in tellers {
        let (show, seen) = watch::channel(Vec::new());
        if teller.opens_incidents {
            shown.push(seen);
        }
        let listener = Listener {
            teller,
            store: Arc::clone(&stack.store),
            clock: Arc::clone(&stack.clock),
            engine: Arc::clone(&stack.engine),
            answers: true,
            show,
        };
        stack.tasks.start("errors", async move |stop: Stop| {
            stop.or(listener.run()).await;
        });
    }
    shown
}

/// Follows what one provider told of, until each is told or turned out to be nothing.
///
/// What is told is written down before it is, and looked up in the events before it is told again: whenever this is killed, it is
/// told once.
struct Listener {
    teller: Teller,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    /// Whether its API answered the last time: only a change is told.
    answers: bool,
    show: watch::Sender<Vec<Stands>>,
}

/// What is to be done with something that was told of.
enum Next {
    /// It is told.
    Say(Saying),
    /// Nothing: it is told already, or its provider says otherwise.
    Drop,
    /// It is tried again: its provider did not answer.
    Later,
}

impl Listener {
    async fn run(mut self) {
        loop {
            let wait = match self.turn().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!("what {} told of waits: {error}", self.teller.name);
                    EVERY
                }
            };
            let rung = tokio::time::timeout(wait, self.teller.bell.notified()).await;
            tracing::trace!(rung = rung.is_ok(), "what is due is looked at");
        }
    }

    /// Follows what is due, and shows whether errors come. Says how long there is nothing to do, unless the bell rings.
    async fn turn(&mut self) -> Result<Duration, StoreError> {
        loop {
            let (known, _) = Known::read(&*self.store, &self.teller.name).await?;
            self.show.send_replace(vec![known.stands(&self.teller.name, self.clock.wall())]);
            let all = Due::all(&*self.store, self.teller.name.as_str()).await?;
            let Some((version, due)) = all.into_iter().next() else { return Ok(EVERY) };
            let wait = due.next.0.saturating_sub(self.clock.wall().0);
            if wait > 0 {
                return Ok(Duration::from_millis(wait).min(EVERY));
            }
            match self.follow(version, due).await {
                // Another one came meanwhile, or another process follows it too: it is looked at anew.
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what is due with `due`, which is at `version`.
    async fn follow(&mut self, version: u64, mut due: Due) -> Result<(), StoreError> {
        let key = due.key(self.teller.name.as_str());
        let next = match due.saying.clone() {
            Some(saying) => Next::Say(saying),
            None => self.next(&due).await?,
        };
        match next {
            Next::Drop => self.store.remove(&key, version).await,
            Next::Later => {
                due.tries += 1;
                due.next = Timestamp(self.clock.wall().0.saturating_add(waits(due.tries)));
                self.store.write(&key, Some(version), &json!(due), None).await.map(drop)
            }
            Next::Say(saying) => {
                due.saying = Some(saying.clone());
                let version = self.store.write(&key, Some(version), &json!(due), None).await?;
                self.say(&saying).await?;
                self.remember(&due.report, saying.open).await?;
                self.store.remove(&key, version).await
            }
        }
    }

    /// What is to be done with `due`, of which nothing was told yet.
    async fn next(&mut self, due: &Due) -> Result<Next, StoreError> {
        let (known, _) = Known::read(&*self.store, &self.teller.name).await?;
        let (name, now) = (self.teller.name.clone(), self.clock.wall());
        if known.has(&due.report, now) {
            return Ok(Next::Drop);
        }
        let (level, message, open) = match &due.report {
            Report::Metric { action, title, .. } => {
                let level = if action == "resolved" { Level::Info } else { Level::Notice };
                let message = format!(
                    "{name} tells of a metric alert, {action}: {title} (signed, not confirmed)"
                );
                (level, message, None)
            }
            Report::Issue { id } | Report::Over { id } => {
                let is_over = matches!(due.report, Report::Over { .. });
                match self.ask(id).await {
                    None if now.0.saturating_sub(due.at.0) < GIVEN_UP_MS => return Ok(Next::Later),
                    None => (Level::Warning, given_up(&name, id), None),
                    Some(told) => match told.filter(|issue| issue.is_open) {
                        Some(issue) if !is_over && is_lately(&issue, due.at) => {
                            let words = format!("{} {}: {}", issue.short, issue.level, issue.title);
                            let message = format!("{name} tells of {words} ({})", issue.link);
                            (Level::Notice, message, Some(words))
                        }
                        None if is_over => {
                            let words = known.open.get(id).map(|(_, words)| words.clone());
                            let words = words.unwrap_or_else(|| format!("issue {id}"));
                            (Level::Notice, format!("{name} says that this is over: {words}"), None)
                        }
                        Some(_) | None => return Ok(Next::Drop),
                    },
                }
            }
        };
        let after = self.store.newest_event().await?;
        Ok(Next::Say(Saying { after, level, message, open }))
    }

    /// What its API says of the issue `id`: `Some(None)` where it does not know it, `None` where it does not answer.
    async fn ask(&mut self, id: &str) -> Option<Option<ErrorIssue>> {
        let told = self.teller.errors.issue(id).await;
        tokio::time::sleep(PACE).await;
        let name = self.teller.name.clone();
        let answered = std::mem::replace(&mut self.answers, told.is_ok());
        match told {
            Ok(issue) => {
                if !answered {
                    self.tell(Level::Notice, format!("{name} confirms again what it tells")).await;
                }
                Some(issue)
            }
            Err(fault) => {
                if answered {
                    let message = format!("{name} does not confirm what it tells: {fault}");
                    self.tell(Level::Warning, message).await;
                }
                None
            }
        }
    }

    /// Tells `saying`, unless it is in the events already.
    async fn say(&self, saying: &Saying) -> Result<(), StoreError> {
        if self.is_told(saying).await? {
            return Ok(());
        }
        self.tell(saying.level, saying.message.clone()).await;
        match self.is_told(saying).await? {
            true => Ok(()),
            false => Err(StoreError::Failed("an event could not be kept".to_owned())),
        }
    }

    /// Whether `saying` is in the events.
    async fn is_told(&self, saying: &Saying) -> Result<bool, StoreError> {
        let mut after = saying.after;
        loop {
            let events = self.store.events(after, EVENTS).await?;
            let is_it = |event: &Event| {
                event.message == saying.message
                    && event.provider.as_ref() == Some(&self.teller.name)
            };
            if events.iter().any(|(_, event)| is_it(event)) {
                return Ok(true);
            }
            match events.last() {
                Some((last, _)) if events.len() == EVENTS => after = *last,
                _ => return Ok(false),
            }
        }
    }

    /// Remembers that `report` was told, and what is open by it.
    async fn remember(&self, report: &Report, open: Option<String>) -> Result<(), StoreError> {
        let (mut known, version) = Known::read(&*self.store, &self.teller.name).await?;
        known.add(report, open, self.clock.wall());
        let key = Known::key(&self.teller.name);
        self.store.write(&key, version, &json!(known), None).await.map(drop)
    }

    async fn tell(&self, level: Level, message: String) {
        let mut event = Event::new(self.clock.wall(), EventKind::Api, level, message);
        event.provider = Some(self.teller.name.clone());
        self.engine.tell(event).await;
    }
}

/// What is told of an issue that was not confirmed for too long.
fn given_up(name: &ProviderName, id: &str) -> String {
    format!("{name} told of the issue {id} and did not confirm it for a day: it is left out")
}

/// Whether `issue` was seen lately, as of when the hook came: what was recorded long ago and is sent again tells nothing.
fn is_lately(issue: &ErrorIssue, came: Timestamp) -> bool {
    issue.last_seen.is_none_or(|at| came.0.saturating_sub(at.0) < QUIET_MS)
}

/// How long it is waited before the provider is asked again, after so many `tries`, in ms.
fn waits(tries: u32) -> u64 {
    FIRST_WAIT_MS.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_WAIT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_to_a_quarter_of_an_hour() {
        let all = [1, 2, 3, 6, 7, 8, u32::MAX].map(waits).map(|ms| ms / 1_000);
        assert_eq!(all, [10, 20, 40, 320, 640, 900, 900]);
    }
}
