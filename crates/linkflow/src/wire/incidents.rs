//! Incidents of what is watched: opened, joined and ended by how everything stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use jiff::tz::TimeZone;
use linkflow_decide::{Sort, Stands, incidents};
use linkflow_engine::{Engine, Incidents};
use linkflow_model::config::Config;
use linkflow_model::{Clock, Event, EventKind, Incident, IncidentStage, Level, Timestamp};
use linkflow_store::{Store, StoreError};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::Stack;

/// How often it is looked whether the public is to be told by now, while nothing changes.
const EVERY: Duration = Duration::from_secs(5);

/// Begins what a derived monitor of a service watches.
const SERVICE: &str = "service.";

struct Opener {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    /// What people call what is watched.
    names: BTreeMap<String, String>,
    /// Whether anything was ever deployed.
    deployed: bool,
    known: Incidents,
}

/// Opens and ends incidents by what each of `shown` shows, in a task of the stack. As long as one of them has shown nothing,
/// nothing is known.
pub(super) fn open(stack: &Stack, mut shown: Vec<watch::Receiver<Vec<Stands>>>) {
    let mut opener = Opener {
        store: Arc::clone(&stack.store),
        clock: Arc::clone(&stack.clock),
        engine: Arc::clone(&stack.engine),
        names: names(&stack.config),
        deployed: false,
        known: Incidents::default(),
    };
    stack.tasks.start("incidents", async move |stop| {
        loop {
            let changed =
                async { select_all(shown.iter_mut().map(|one| Box::pin(one.changed()))).await.0 };
            let Some(seen) = stop.or(timeout(EVERY, changed)).await else { return };
            if matches!(seen, Ok(Err(_))) {
                return;
            }
            let all: Vec<Vec<Stands>> =
                shown.iter_mut().map(|one| one.borrow_and_update().clone()).collect();
            if all.iter().any(Vec::is_empty) {
                continue;
            }
            let stands = all.into_iter().flatten().collect();
            if let Err(error) = opener.turn(stands).await {
                warn!("incidents cannot be kept: {error}");
            }
        }
    });
}

/// A line of the status page has the name that the public knows; anything else is called as in the config.
fn names(config: &Config) -> BTreeMap<String, String> {
    let lines = config.status_page.iter().flat_map(|page| &page.components);
    let named = lines
        .flat_map(|line| line.watch.iter().map(|subject| (subject.clone(), line.name.clone())));
    named.collect()
}

impl Opener {
    async fn turn(&mut self, mut stands: Vec<Stands>) -> Result<(), StoreError> {
        let now = self.clock.wall();
        self.known.follow(&*self.store, now).await?;
        let held = self.known.held();
        self.deployed = self.deployed || !self.store.list("release/").await?.is_empty();
        if !self.deployed {
            // What was never deployed cannot be down.
            stands.retain(|one| !one.subject.starts_with(SERVICE));
        }
        for one in &mut stands {
            let last = one.subject.rsplit('.').next().unwrap_or_default();
            let last = match one.subject.strip_prefix("own.") {
                Some(own) => format!("LinkFlow's own {own}"),
                None => last.to_owned(),
            };
            let name = self.names.get(&one.subject);
            // Whatever the status page shows is the public's business.
            one.inner &= name.is_none();
            let last = match one.sort {
                Sort::Domain { .. } => one.name.clone(),
                Sort::Answers | Sort::Reports | Sort::Errors => last,
            };
            one.name = name.cloned().unwrap_or(last);
        }
        let all: Vec<Incident> = held.values().map(|(_, incident)| incident.clone()).collect();
        for incident in incidents(&stands, &all, now, &day(now)) {
            let before = held.get(&incident.id);
            let expected = before.map(|(version, _)| *version);
            match self.store.write(&incident.key(), expected, &json!(incident), None).await {
                Ok(_) => self.tell(before.map(|(_, before)| before), &incident, now).await,
                // Somebody else wrote it: the next turn sees what.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn tell(&self, before: Option<&Incident>, incident: &Incident, now: Timestamp) {
        let (level, what) = match (before, incident.stage >= IncidentStage::Resolved) {
            (None, _) => (Level::Warning, "begins"),
            (Some(_), true) => (Level::Notice, "is over"),
            (Some(_), false) => (Level::Notice, "goes on"),
        };
        let message = format!("the incident {} {what}: {}", incident.id, incident.title);
        self.engine.tell(Event::new(now, EventKind::Incident, level, message)).await;
    }
}

/// The day of `now` in UTC, `20261129`.
fn day(now: Timestamp) -> String {
    let at = i64::try_from(now.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    TimeZone::UTC.to_datetime(at.unwrap_or_default()).strftime("%Y%m%d").to_string()
}
