//! Asks registries of domains now and then, and keeps what they say.

use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::domain::{Asked, Terms, Verdict, judge, take};
use linkflow_decide::{Sort, Stands};
use linkflow_model::{
    Clock, Condition, DomainState, Event, EventKind, Level, Maintenance, Pulse, Timestamp,
};
use linkflow_store::{Reading, Store, StoreError};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::keeper::days_due;
use crate::rdap::Registries;
use crate::spans;

/// How often it is looked what is due, which is one domain at a time.
const EVERY: Duration = Duration::from_secs(1);

const DAY_MS: u64 = 86_400_000;

/// No next asking is further away than this, in ms, unless the clock was set.
const FURTHEST_MS: u64 = 400 * DAY_MS;

/// A domain that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// As the config calls it: `domain.example.com`, `monitor.name`.
    pub subject: String,
    /// The domain as it was registered, in its ASCII form: `example.com`.
    pub name: String,
    /// How it is watched.
    pub terms: Terms,
}

/// Everything that watching domains needs.
pub struct Domains {
    /// What is watched.
    pub all: Vec<Domain>,
    /// Who is asked.
    pub registries: Registries,
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Is told what happened.
    pub tell: mpsc::Sender<Event>,
    /// Is shown how everything stands, whenever that changes.
    pub show: watch::Sender<Vec<Stands>>,
    /// Beats while all of it goes on.
    pub pulse: Pulse,
}

struct Entry {
    domain: Domain,
    state: DomainState,
    version: Option<u64>,
    maintained: Option<String>,
    /// How it was told last, and since when.
    told: (Condition, Timestamp),
}

struct Keeper {
    entries: Vec<Entry>,
    registries: Registries,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tell: mpsc::Sender<Event>,
    show: watch::Sender<Vec<Stands>>,
}

impl Domains {
    /// Watches until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let pulse = self.pulse.clone();
        let mut keeper = Keeper::new(self);
        loop {
            match keeper.begin().await {
                Ok(()) => break,
                Err(error) => tracing::error!("nothing is known of domains: {error}"),
            }
            if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
                return;
            }
        }
        loop {
            match stop.run_until_cancelled(keeper.turn()).await {
                None => return,
                Some(Ok(())) => pulse.beat(),
                Some(Err(error)) => tracing::error!("domains cannot be kept: {error}"),
            }
            if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }
}

impl Keeper {
    fn new(domains: Domains) -> Self {
        let Domains { all, registries, store, clock, tell, show, .. } = domains;
        let wall = clock.wall();
        let entry = |domain: Domain| Entry {
            domain,
            state: DomainState::default(),
            version: None,
            maintained: None,
            told: (Condition::Unknown, wall),
        };
        let entries = all.into_iter().map(entry).collect();
        Self { entries, registries, store, clock, tell, show }
    }

    /// Goes on with what was known. What was to be asked later is asked later.
    async fn begin(&mut self) -> Result<(), StoreError> {
        for entry in &mut self.entries {
            entry.load(&*self.store).await?;
            if let Some((_, last)) = spans::last(&*self.store, &entry.domain.subject).await? {
                entry.told = (last.condition, last.from);
            }
        }
        // Whoever goes by this does not wait for the first answer.
        self.show();
        Ok(())
    }

    /// Shows how everything stands, if that is news.
    fn show(&self) {
        let wall = self.clock.wall();
        let stands: Vec<Stands> = self.entries.iter().map(|entry| entry.shown(wall)).collect();
        self.show.send_if_modified(|shown| {
            let news = *shown != stands;
            *shown = stands;
            news
        });
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        self.set_aside().await?;
        self.ask().await?;
        for at in 0..self.entries.len() {
            self.tell(at).await?;
        }
        self.show();
        Ok(())
    }

    /// Reads what is worked on.
    async fn set_aside(&mut self) -> Result<(), StoreError> {
        let wall = self.clock.wall();
        let listed = self.store.list(Maintenance::PREFIX).await?.into_iter();
        let work = listed.filter_map(|document| serde_json::from_value(document.body).ok());
        let now: Vec<Maintenance> = work.filter(|work: &Maintenance| work.is_on(wall)).collect();
        for entry in &mut self.entries {
            let mut of_it = now.iter().filter(|w| w.subjects.contains(&entry.domain.subject));
            entry.maintained = of_it.next().map(|work| work.title.clone());
        }
        Ok(())
    }

    /// Asks for the one that has waited longest, if any is due.
    async fn ask(&mut self) -> Result<(), StoreError> {
        let wall = self.clock.wall();
        let due = |state: &DomainState| state.next <= wall || state.next.0 - wall.0 > FURTHEST_MS;
        let waiting = self.entries.iter_mut().filter(|entry| due(&entry.state));
        let Some(entry) = waiting.min_by_key(|entry| entry.state.next) else { return Ok(()) };
        let begun = self.clock.now();
        let asked = self.registries.ask(&entry.domain.name).await;
        let took_ms = self.clock.now().since(begun);
        let is_word = matches!(asked, Asked::Registered(_) | Asked::Nobody);
        let wall = self.clock.wall();
        let share = spread(&entry.domain.name, wall);
        take(entry.domain.terms, &mut entry.state, asked, wall, share);
        entry.keep(&*self.store).await?;
        if is_word {
            let verdict = judge(entry.domain.terms, &entry.state, wall);
            let reading = Reading {
                subject: entry.domain.subject.clone(),
                at: wall,
                well: verdict.condition != Condition::Down,
                took_us: u32::try_from(took_ms.saturating_mul(1_000)).unwrap_or(u32::MAX),
                phases_us: [0; 4],
                why: verdict.why,
            };
            self.store.keep_readings(&[reading]).await?;
        }
        Ok(())
    }

    /// Tells of one that stands otherwise than before, and of an end that comes nearer.
    async fn tell(&mut self, at: usize) -> Result<(), StoreError> {
        let wall = self.clock.wall();
        let entry = &mut self.entries[at];
        let Verdict { condition, why, .. } = entry.stands(wall);
        let (before, began) = entry.told;
        let turned = condition != before;
        if turned {
            let from = wall.max(began);
            let subject = &entry.domain.subject;
            spans::turn(&*self.store, subject, condition, from, why.clone()).await?;
            entry.told = (condition, from);
        }
        let near = entry.comes_nearer(wall);
        if near.is_some() {
            entry.keep(&*self.store).await?;
        }
        let entry = &self.entries[at];
        let event = if turned { entry.turned(before, why, wall) } else { near };
        if let Some(event) = event
            && self.tell.send(event).await.is_err()
        {
            tracing::debug!("nobody listens to what is known of domains");
        }
        Ok(())
    }
}

impl Entry {
    /// Reads what the store knows of it.
    async fn load(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let document = store.read(&DomainState::key(&self.domain.name)).await?;
        self.version = document.as_ref().map(|document| document.version);
        let state = document.and_then(|document| serde_json::from_value(document.body).ok());
        self.state = state.unwrap_or_default();
        Ok(())
    }

    async fn keep(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let key = DomainState::key(&self.domain.name);
        match store.write(&key, self.version, &json!(self.state), None).await {
            Ok(version) => {
                self.version = Some(version);
                Ok(())
            }
            // Another process asks as well: what it knows is gone on with.
            Err(StoreError::Conflict { .. }) => self.load(store).await,
            Err(error) => Err(error),
        }
    }

    /// How it is, with what was set aside.
    fn stands(&self, wall: Timestamp) -> Verdict {
        match &self.maintained {
            Some(title) => Verdict {
                condition: Condition::Maintenance,
                why: Some(title.clone()),
                grave: false,
            },
            None => judge(self.domain.terms, &self.state, wall),
        }
    }

    fn shown(&self, wall: Timestamp) -> Stands {
        let Verdict { condition, why, grave } = self.stands(wall);
        Stands {
            subject: self.domain.subject.clone(),
            name: self.domain.name.clone(),
            condition,
            since: self.told.1,
            why,
            needs: Vec::new(),
            held: false,
            inner: true,
            sort: Sort::Domain { grave },
        }
    }

    /// What is told when so few days are left that it is time for that again, once for each of some numbers of days.
    fn comes_nearer(&mut self, wall: Timestamp) -> Option<Event> {
        let ends = self.state.registration()?.ends.filter(|ends| *ends > wall)?;
        if self.maintained.is_some() {
            return None;
        }
        let days = |ms: u64| i64::try_from(ms / DAY_MS).unwrap_or(i64::MAX);
        let left = days(ends.0 - wall.0);
        let due = days_due(left, days(self.domain.terms.left_ms))?;
        if self.state.told_days.is_some_and(|told| told <= due) {
            return None;
        }
        self.state.told_days = Some(due);
        let by = self.state.registration().and_then(|known| known.registrar.as_deref());
        let by = by.map(|by| format!("; it is renewed at {by}")).unwrap_or_default();
        let level = if left < 7 { Level::Alarm } else { Level::Warning };
        let message = format!("the domain {} ends in {left} days{by}", self.domain.name);
        Some(Event::new(wall, EventKind::Domain, level, message))
    }

    fn turned(&self, before: Condition, why: Option<String>, wall: Timestamp) -> Option<Event> {
        let subject = &self.domain.subject;
        let grave = self.stands(wall).grave;
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let (kind, level, message) = match self.told.0 {
            Condition::Down => (EventKind::Down, Level::Alarm, format!("{subject} is lost{why}")),
            Condition::Degraded | Condition::Partial => {
                let level = if grave { Level::Alarm } else { Level::Warning };
                (EventKind::Degraded, level, format!("{subject} is at risk{why}"))
            }
            Condition::Unknown => {
                (EventKind::Unseen, Level::Info, format!("{subject} is unknown{why}"))
            }
            Condition::Maintenance => return None,
            Condition::Up => {
                let was_well = matches!(before, Condition::Unknown | Condition::Maintenance);
                let level = if was_well { Level::Info } else { Level::Notice };
                (EventKind::Up, level, format!("{subject} is registered"))
            }
        };
        Some(Event::new(wall, kind, level, message))
    }
}

/// Where within a thousand `name` is asked for after `wall`.
fn spread(name: &str, wall: Timestamp) -> u64 {
    let bytes = name.bytes().chain(wall.0.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) % 1_000
}
