//! Errors of the product that Sentry tells of: each is confirmed by its API, told once an hour, and opens an incident of low
//! severity where the config wants that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::{Sort, Stands};
use linkflow_engine::{Engine, Stop};
use linkflow_model::config::{Config, Provider, kinds};
use linkflow_model::role::{ErrorIssue, Errors};
use linkflow_model::{Clock, Condition, Event, EventKind, Level, ProviderName, Secret, Timestamp};
use linkflow_providers::errors::{Settings, open as open_errors, sentry};
use linkflow_providers::kit::Kit;
use linkflow_store::{Store, StoreError};
use linkflow_web::hook::{Report, Signed};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::secrets::Secrets;
use super::{OpenError, OpenOptions, Stack, parts};

/// How long an issue is not told again, and how long its incident lasts without another, in ms.
const QUIET_MS: u64 = 3_600_000;

/// How long it is known that a metric alert was told, in ms: a hook that was recorded may be sent again much later.
const KNOWN_MS: u64 = 30 * 86_400_000;

/// How many of each sort are known at most. The oldest are forgotten.
const MOST: usize = 1_000;

/// How many hooks wait to be looked at. More are refused.
const WAITING: usize = 64;

/// Between two questions.
const PACE: Duration = Duration::from_secs(2);

/// How often it is looked whether an incident is over.
const EVERY: Duration = Duration::from_secs(10);

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
    told: mpsc::Receiver<Report>,
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
                let (to, told) = mpsc::channel(WAITING);
                let opens_incidents = own.incidents;
                all.push((Teller { name, errors, opens_incidents, told }, Signed { secret, to }));
            }
            (Err(error), _) => tracing::warn!("hooks of {name} are not taken: {error}"),
            (Ok(_), None) => {
                tracing::warn!("hooks of {name} are not taken: its `client_secret` is not there");
            }
        }
    }
    all
}

/// Listens to each of `tellers` in a task of the stack. Gives how those stand that open incidents.
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

/// What was told of one provider, and when; a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Issues by their ids.
    #[serde(default)]
    issues: BTreeMap<String, Timestamp>,
    /// Metric alerts by id and action.
    #[serde(default)]
    metrics: BTreeMap<String, Timestamp>,
    /// The issue that was told last, in words.
    #[serde(default)]
    last: Option<(Timestamp, String)>,
}

impl Known {
    fn key(provider: &ProviderName) -> String {
        format!("errors/{provider}")
    }

    /// Whether `report` was told lately enough to be left out.
    fn has(&self, report: &Report, now: Timestamp) -> bool {
        let is_within =
            |at: Option<&Timestamp>, ms: u64| at.is_some_and(|at| now.0.saturating_sub(at.0) < ms);
        match report {
            Report::Issue { id } => is_within(self.issues.get(id), QUIET_MS),
            Report::Metric { id, action, .. } => {
                is_within(self.metrics.get(&format!("{id} {action}")), KNOWN_MS)
            }
        }
    }

    /// Remembers `report`, and forgets what is old.
    fn add(&mut self, report: &Report, now: Timestamp) {
        let (held, key, ms) = match report {
            Report::Issue { id } => (&mut self.issues, id.clone(), QUIET_MS),
            Report::Metric { id, action, .. } => {
                (&mut self.metrics, format!("{id} {action}"), KNOWN_MS)
            }
        };
        held.insert(key, now);
        held.retain(|_, at| now.0.saturating_sub(at.0) < ms);
        while held.len() > MOST {
            let oldest = held.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            held.remove(&oldest.unwrap_or_default());
        }
    }
}

/// Listens to one provider.
struct Listener {
    teller: Teller,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    /// Whether its API answered the last time: only a change is told.
    answers: bool,
    show: watch::Sender<Vec<Stands>>,
}

impl Listener {
    async fn run(mut self) {
        loop {
            match self.known().await {
                Ok((known, _)) => self.show(&known),
                Err(error) => {
                    tracing::warn!("what {} told is not known: {error}", self.teller.name);
                }
            }
            let Ok(report) = tokio::time::timeout(EVERY, self.teller.told.recv()).await else {
                continue;
            };
            let Some(report) = report else { return };
            if let Err(error) = self.take(report).await {
                tracing::warn!("what {} tells is not kept: {error}", self.teller.name);
            }
        }
    }

    async fn known(&self) -> Result<(Known, Option<u64>), StoreError> {
        let document = self.store.read(&Known::key(&self.teller.name)).await?;
        let version = document.as_ref().map(|document| document.version);
        let known = document.and_then(|held| serde_json::from_value(held.body).ok());
        Ok((known.unwrap_or_default(), version))
    }

    /// Shows that errors come, for as long as one was told lately.
    fn show(&self, known: &Known) {
        let now = self.clock.wall();
        let (at, why) = known.last.clone().unwrap_or_default();
        let comes = now.0.saturating_sub(at.0) < QUIET_MS;
        let stands = Stands {
            subject: format!("errors.{}", self.teller.name),
            name: self.teller.name.to_string(),
            condition: if comes { Condition::Degraded } else { Condition::Up },
            since: if comes { at } else { Timestamp(at.0.saturating_add(QUIET_MS).min(now.0)) },
            why: comes.then_some(why),
            needs: Vec::new(),
            held: false,
            inner: true,
            sort: Sort::Errors,
        };
        self.show.send_replace(vec![stands]);
    }

    /// Confirms `report`, remembers it, and tells it, in this order: what cannot be kept would be told again and again.
    async fn take(&mut self, report: Report) -> Result<(), StoreError> {
        let (mut known, version) = self.known().await?;
        let now = self.clock.wall();
        if known.has(&report, now) {
            return Ok(());
        }
        let name = self.teller.name.clone();
        let message = match &report {
            Report::Issue { id } => {
                let Some(issue) = self.confirmed(id).await else { return Ok(()) };
                let words = format!("{} {}: {}", issue.short, issue.level, issue.title);
                known.last = Some((now, words.clone()));
                format!("{name} tells of {words} ({})", issue.link)
            }
            Report::Metric { action, title, .. } => {
                format!("{name} tells of a metric alert, {action}: {title} (signed, not confirmed)")
            }
        };
        known.add(&report, now);
        self.store.write(&Known::key(&name), version, &json!(known), None).await?;
        let level = match &report {
            Report::Metric { action, .. } if action == "resolved" => Level::Info,
            _ => Level::Notice,
        };
        self.tell(level, message).await;
        Ok(())
    }

    /// The issue `id`, where the provider's own word is that it is open and was seen lately.
    async fn confirmed(&mut self, id: &str) -> Option<ErrorIssue> {
        let told = self.teller.errors.issue(id).await;
        tokio::time::sleep(PACE).await;
        let name = &self.teller.name;
        let answered = std::mem::replace(&mut self.answers, told.is_ok());
        match told {
            Ok(issue) => {
                if !answered {
                    self.tell(Level::Notice, format!("{name} confirms again what it tells")).await;
                }
                let now = self.clock.wall();
                let is_lately = |issue: &ErrorIssue| {
                    issue.last_seen.is_none_or(|at| now.0.saturating_sub(at.0) < QUIET_MS)
                };
                issue.filter(|issue| issue.is_open && is_lately(issue))
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

    async fn tell(&self, level: Level, message: String) {
        let mut event = Event::new(self.clock.wall(), EventKind::Api, level, message);
        event.provider = Some(self.teller.name.clone());
        self.engine.tell(event).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(id: usize) -> Report {
        Report::Issue { id: id.to_string() }
    }

    fn metric(action: &str) -> Report {
        let (id, title) = ("4".to_owned(), "Too many errors".to_owned());
        Report::Metric { id, action: action.to_owned(), title }
    }

    #[test]
    fn an_issue_is_told_once_an_hour_and_a_change_of_a_metric_alert_once() {
        let mut known = Known::default();
        let (now, hour) = (Timestamp(1_000), Timestamp(1_000 + QUIET_MS));
        for report in [issue(7), metric("critical")] {
            assert!(!known.has(&report, now));
            known.add(&report, now);
            assert!(known.has(&report, Timestamp(hour.0 - 1)));
        }
        assert!(!known.has(&issue(8), now));
        assert!(!known.has(&issue(7), hour));
        assert!(known.has(&metric("critical"), hour), "a recorded hook tells nothing new");
        assert!(!known.has(&metric("resolved"), hour));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut known = Known::default();
        for id in 0..MOST + 10 {
            known.add(&issue(id), Timestamp(id as u64));
        }
        assert_eq!(known.issues.len(), MOST);
        assert!(!known.issues.contains_key("9") && known.issues.contains_key("10"));
        known.add(&issue(1), Timestamp(QUIET_MS * 3));
        assert_eq!(known.issues.len(), 1);
    }
}
