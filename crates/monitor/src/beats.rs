//! Waits for what must report by itself, and keeps what is known of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use linkflow_decide::heartbeat::{self, Deaf, Terms};
use linkflow_decide::{Sort, Stands};
use linkflow_model::{
    Beat, Clock, Condition, Event, EventKind, HeartbeatState, Level, Maintenance, Moment, Output,
    Paused, Pulse, Says, ServiceName, Timestamp,
};
use linkflow_store::{Document, Reading, Store, StoreError};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::keeper::long;
use crate::spans;

/// How often it is looked what came and what did not.
const EVERY: Duration = Duration::from_millis(500);

/// How often it is noted that somebody listens, in ms.
const NOTED_MS: u64 = 5_000;

/// A longer gap between two looks is one in which nobody listened, in ms: the machine slept, or its clock was set.
const GAP_MS: u64 = 10_000;

/// A clock that goes back by more was set, in ms.
const BACK_MS: u64 = 2_000;

/// After so many reports it is waited for more of them: then they are kept together.
const MANY: usize = 20;

/// How many reports of one heartbeat are taken in at a time: fewer than are remembered, so that none is taken in twice.
const AT_ONCE: usize = heartbeat::RECENT / 2;

/// How many changes of documents are under way at once: the store commits together what waits together.
const TOGETHER: usize = 256;

/// How many outputs of a heartbeat are kept.
const OUTPUTS: usize = 20;

/// How often outputs are thinned out, in ms.
const THIN_OUT_MS: u64 = 10_000;

/// How often it is kept how our own jobs are, in ms.
const OWN_MS: u64 = 60_000;

/// Where it is noted when somebody listened last.
const HEARD: &str = "heartbeats-heard";

/// Something that must report by itself.
pub struct Awaited {
    /// As the config calls it: `heartbeat.backup`; `own.loop` for a job of our own.
    pub subject: String,
    /// What is asked of it.
    pub terms: Terms,
    /// The same in words.
    pub asked: String,
    /// The service that it is about.
    pub service: Option<ServiceName>,
    /// What it needs, as the config calls it.
    pub needs: Vec<String>,
    /// The pulse of a job of our own, which is felt in place of reports.
    pub pulse: Option<Pulse>,
}

impl Awaited {
    /// Its name without its kind; that of a job of our own as a whole.
    fn name(&self) -> &str {
        self.subject.strip_prefix("heartbeat.").unwrap_or(&self.subject)
    }
}

/// What is waited for, and how.
pub struct Listening {
    /// What is waited for.
    pub all: Vec<Awaited>,
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Is told what happened.
    pub tell: mpsc::Sender<Event>,
    /// Is shown how everything stands, whenever that changes.
    pub show: watch::Sender<Vec<Stands>>,
    /// Is rung when a report has come.
    pub bell: Arc<Notify>,
    /// Beats while it is listened and what came can be kept.
    pub pulse: Pulse,
}

struct Entry {
    awaited: Awaited,
    state: HeartbeatState,
    version: Option<u64>,
    /// Whether the state differs from what the store has.
    is_new: bool,
    kept: Timestamp,
    beats: u64,
    paused: Option<Paused>,
    maintained: Option<String>,
    /// How it was told last, and since when.
    told: (Condition, Timestamp),
    thinned_out: Timestamp,
}

struct Keeper {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tell: mpsc::Sender<Event>,
    show: watch::Sender<Vec<Stands>>,
    last: (Moment, Timestamp),
    noted: Timestamp,
}

impl Listening {
    /// Listens until `stop`. What came until then is kept.
    pub async fn run(self, stop: CancellationToken) {
        let (bell, clock) = (Arc::clone(&self.bell), Arc::clone(&self.clock));
        let pulse = self.pulse.clone();
        let mut keeper = Keeper::new(self);
        loop {
            match keeper.begin().await {
                Ok(()) => break,
                Err(error) => tracing::error!("nothing is known of heartbeats: {error}"),
            }
            if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
                return;
            }
        }
        loop {
            let taken = match keeper.turn().await {
                Ok(taken) => {
                    pulse.beat();
                    taken
                }
                Err(error) => {
                    tracing::error!("heartbeats cannot be kept: {error}");
                    MANY
                }
            };
            let waited = async {
                if taken >= MANY {
                    return sleep(EVERY * 4).await;
                }
                tokio::select! {
                    () = sleep(EVERY) => {}
                    // What comes together is taken in together.
                    () = bell.notified() => sleep(EVERY / 10).await,
                }
            };
            if stop.run_until_cancelled(waited).await.is_none() {
                break;
            }
        }
        if let Err(error) = keeper.note(clock.wall()).await {
            tracing::error!("heartbeats cannot be kept: {error}");
        }
    }
}

fn read<T: DeserializeOwned>(document: Document) -> Option<T> {
    serde_json::from_value(document.body).ok()
}

impl Keeper {
    fn new(listening: Listening) -> Self {
        let Listening { all, store, clock, tell, show, .. } = listening;
        let (now, wall) = (clock.now(), clock.wall());
        let entry = |awaited: Awaited| Entry {
            state: HeartbeatState {
                asked: awaited.asked.clone(),
                ..heartbeat::begin(&awaited.terms, wall)
            },
            awaited,
            version: None,
            is_new: true,
            kept: Timestamp(0),
            beats: 0,
            paused: None,
            maintained: None,
            told: (Condition::Unknown, wall),
            thinned_out: Timestamp(0),
        };
        let by_name = all.iter().enumerate().map(|(at, one)| (one.name().to_owned(), at));
        Self {
            by_name: by_name.collect(),
            entries: all.into_iter().map(entry).collect(),
            store,
            clock,
            tell,
            show,
            last: (now, wall),
            noted: Timestamp(0),
        }
    }

    /// Goes on with what was known, and takes into account that nobody listened meanwhile.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let wall = self.clock.wall();
        let heard = self.store.read(HEARD).await?.and_then(read::<Timestamp>);
        for entry in &mut self.entries {
            if entry.awaited.pulse.is_some() {
                let key = HeartbeatState::key(entry.awaited.name());
                entry.version = self.store.read(&key).await?.map(|document| document.version);
                continue;
            }
            entry.load(&*self.store, wall).await?;
            let waited = heard.filter(|from| *from < wall && entry.version.is_some());
            if let Some(from) = waited {
                heartbeat::deaf(&entry.awaited.terms, &mut entry.state, Deaf { from, to: wall });
                entry.is_new = true;
            }
        }
        for entry in &mut self.entries {
            if let Some((_, last)) = spans::last(&*self.store, &entry.awaited.subject).await? {
                entry.told = (last.condition, last.from);
            }
        }
        self.last = (self.clock.now(), wall);
        Ok(())
    }

    /// Takes in what came and what did not; says how many reports came.
    async fn turn(&mut self) -> Result<usize, StoreError> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        self.gap(now, wall);
        self.set_aside(wall).await?;
        let taken = self.take_in().await?;
        for entry in &mut self.entries {
            entry.pass(wall);
        }
        self.keep(wall).await?;
        let count = taken.len();
        // Only now is it certain that they are not needed again.
        remove(&*self.store, taken).await?;
        self.tell_all(wall).await?;
        if wall.0.abs_diff(self.noted.0) >= NOTED_MS {
            self.note(wall).await?;
        }
        Ok(count)
    }

    /// Finds out whether nobody listened since the last turn, or the clock was set.
    fn gap(&mut self, now: Moment, wall: Timestamp) {
        let (before, listened) = self.last;
        self.last = (now, wall);
        let went_by = wall.0.saturating_sub(listened.0).max(now.since(before));
        for Entry { awaited, state, is_new, .. } in &mut self.entries {
            if listened.0.saturating_sub(wall.0) > BACK_MS {
                heartbeat::set_back(&awaited.terms, state, wall);
                *is_new = true;
            } else if went_by > GAP_MS {
                heartbeat::deaf(&awaited.terms, state, Deaf { from: listened, to: wall });
                *is_new = true;
            }
        }
    }

    /// Reads what is paused and what is worked on.
    async fn set_aside(&mut self, wall: Timestamp) -> Result<(), StoreError> {
        let paused = self.store.list(HeartbeatState::PAUSED).await?.into_iter();
        let mut paused: BTreeMap<String, Paused> = paused
            .filter_map(|document| {
                let name = document.key.strip_prefix(HeartbeatState::PAUSED)?.to_owned();
                Some((name, read(document)?))
            })
            .collect();
        let work = self.store.list(Maintenance::PREFIX).await?.into_iter();
        let work: Vec<Maintenance> =
            work.filter_map(read).filter(|work: &Maintenance| work.is_on(wall)).collect();
        for entry in &mut self.entries {
            let was = entry.paused.take();
            entry.paused = paused.remove(entry.awaited.name());
            if was.is_some() && entry.paused.is_none() {
                heartbeat::resume(&entry.awaited.terms, &mut entry.state, wall);
                entry.is_new = true;
            }
            let mut work = work.iter();
            let work = work.find(|work| work.subjects.contains(&entry.awaited.subject));
            let over = entry.maintained.is_some() && work.is_none();
            entry.maintained = work.map(|work| work.title.clone());
            // What did not come while it was worked on is no miss.
            if over && entry.state.condition != Condition::Up {
                heartbeat::resume(&entry.awaited.terms, &mut entry.state, wall);
                entry.is_new = true;
            }
        }
        Ok(())
    }

    /// Takes in what has come; gives the documents of it.
    async fn take_in(&mut self) -> Result<Vec<(String, u64)>, StoreError> {
        let (mut taken, mut readings) = (Vec::new(), Vec::new());
        let mut count: HashMap<usize, usize> = HashMap::new();
        for document in self.store.list(Beat::PREFIX).await? {
            let (key, version) = (document.key.clone(), document.version);
            let beat = read::<Beat>(document);
            let at = beat.as_ref().and_then(|beat| self.by_name.get(&beat.heartbeat));
            let (Some(beat), Some(at)) = (&beat, at) else {
                // Nobody waits for it any more.
                taken.push((key, version));
                continue;
            };
            let so_far = count.entry(*at).or_default();
            *so_far += 1;
            if *so_far > AT_ONCE {
                continue;
            }
            taken.push((key, version));
            let entry = &mut self.entries[*at];
            if heartbeat::heard(&entry.awaited.terms, &mut entry.state, beat) {
                entry.is_new = true;
                readings.extend(entry.reading(beat));
            }
        }
        self.store.keep_readings(&readings).await?;
        Ok(taken)
    }

    /// Keeps what is new, so that what came is not lost when this process is.
    async fn keep(&mut self, wall: Timestamp) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let due = self.entries.iter().enumerate().filter(|(_, entry)| entry.is_due(wall));
        let written = due.map(|(at, entry)| {
            let (key, body) = (HeartbeatState::key(entry.awaited.name()), json!(entry.state));
            let (store, version) = (&store, entry.version);
            async move { (at, store.write(&key, version, &body, None).await) }
        });
        let written: Vec<_> = written.collect();
        let written: Vec<_> = stream::iter(written).buffer_unordered(TOGETHER).collect().await;
        let mut kept = Ok(());
        for (at, written) in written {
            let entry = &mut self.entries[at];
            match written {
                Ok(version) => {
                    (entry.version, entry.is_new, entry.kept) = (Some(version), false, wall);
                    entry.thin_out(&*store, wall).await?;
                }
                // Another process listens as well: what it knows is gone on with.
                Err(StoreError::Conflict { .. }) => entry.load(&*store, wall).await?,
                // The others are kept none the less, and known to be.
                Err(error) => kept = Err(error),
            }
        }
        kept
    }

    /// Tells what stands otherwise than before.
    async fn tell_all(&mut self, wall: Timestamp) -> Result<(), StoreError> {
        let mut news = self.show.borrow().is_empty();
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            let (condition, since, why) = entry.stands();
            let (before, began) = entry.told;
            // A job of our own that has only begun is as it was.
            let begins = entry.awaited.pulse.is_some() && condition == Condition::Unknown;
            if condition == before || begins {
                continue;
            }
            // Where the clock was set back, nothing begins before what was told already.
            let since = since.min(wall).max(began);
            spans::turn(&*self.store, &entry.awaited.subject, condition, since, why.clone())
                .await?;
            self.entries[at].told = (condition, since);
            news = true;
            let event = self.entries[at].event(before, since.0.saturating_sub(began.0), why, wall);
            if let Some(event) = event
                && self.tell.send(event).await.is_err()
            {
                tracing::debug!("nobody listens to what is waited for");
            }
        }
        if news {
            self.show.send_replace(self.entries.iter().map(Entry::shown).collect());
        }
        Ok(())
    }

    /// Notes that somebody listens at `wall`.
    async fn note(&mut self, wall: Timestamp) -> Result<(), StoreError> {
        let version = self.store.read(HEARD).await?.map(|document| document.version);
        match self.store.write(HEARD, version, &json!(wall), None).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {
                self.noted = wall;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Drops documents that are not needed any more; that somebody else did so is as well.
async fn remove(store: &dyn Store, documents: Vec<(String, u64)>) -> Result<(), StoreError> {
    let removed = documents.into_iter().map(|(key, version)| async move {
        match store.remove(&key, version).await {
            Err(StoreError::Conflict { .. }) => Ok(()),
            other => other,
        }
    });
    let removed: Vec<_> = removed.collect();
    stream::iter(removed).buffer_unordered(TOGETHER).try_collect().await
}

impl Entry {
    /// Whether its state is to be kept now. Those of our own jobs beat all the time.
    fn is_due(&self, wall: Timestamp) -> bool {
        let turned = self.told.0 != self.state.condition;
        let is_own = self.awaited.pulse.is_some();
        self.is_new && (!is_own || turned || wall.0.abs_diff(self.kept.0) >= OWN_MS)
    }

    /// Drops all its outputs but the newest, now and then.
    async fn thin_out(&mut self, store: &dyn Store, wall: Timestamp) -> Result<(), StoreError> {
        let is_due = wall.0.abs_diff(self.thinned_out.0) >= THIN_OUT_MS;
        if !is_due || self.state.recent.iter().all(|beat| beat.output.is_none()) {
            return Ok(());
        }
        self.thinned_out = wall;
        let all = store.list(&Output::prefix(self.awaited.name())).await?;
        let more = all.len().saturating_sub(OUTPUTS);
        let old = all.into_iter().take(more).map(|document| (document.key, document.version));
        remove(store, old.collect()).await
    }

    /// Reads what the store knows of it.
    async fn load(&mut self, store: &dyn Store, wall: Timestamp) -> Result<(), StoreError> {
        let Some(document) = store.read(&HeartbeatState::key(self.awaited.name())).await? else {
            self.version = None;
            return Ok(());
        };
        self.version = Some(document.version);
        let Some(state) = read::<HeartbeatState>(document) else { return Ok(()) };
        self.state = state;
        if self.state.asked != self.awaited.asked {
            // It is asked for otherwise now: what was due before is not.
            self.state.asked.clone_from(&self.awaited.asked);
            self.state.expected = self.awaited.terms.rhythm.after(wall);
            self.is_new = true;
        }
        Ok(())
    }

    fn pass(&mut self, wall: Timestamp) {
        if self.paused.is_some() {
            return;
        }
        let before = (self.state.expected, self.state.failures, self.state.runs.len());
        let (terms, state) = (&self.awaited.terms, &mut self.state);
        match self.awaited.pulse.as_ref().map(Pulse::count) {
            Some(beats) if beats != self.beats => {
                self.beats = beats;
                heartbeat::lives(terms, state, wall);
            }
            Some(_) | None => heartbeat::passed(terms, state, wall),
        }
        let after = (self.state.expected, self.state.failures, self.state.runs.len());
        self.is_new |= before != after;
    }

    /// How it is, since when and why, with what was set aside.
    fn stands(&self) -> (Condition, Timestamp, Option<String>) {
        if let Some(paused) = &self.paused {
            return (Condition::Unknown, paused.at, Some(format!("paused by {}", paused.by)));
        }
        if let Some(title) = &self.maintained {
            return (Condition::Maintenance, self.told.1, Some(title.clone()));
        }
        (self.state.condition, self.state.since, self.state.why.clone())
    }

    fn shown(&self) -> Stands {
        let (condition, _, why) = self.stands();
        Stands {
            subject: self.awaited.subject.clone(),
            name: self.awaited.subject.clone(),
            condition,
            since: self.told.1,
            why,
            needs: self.awaited.needs.clone(),
            held: false,
            inner: true,
            sort: Sort::Reports,
        }
    }

    /// A run that ended, for the history. One of more than 71 minutes is counted as such.
    fn reading(&self, beat: &Beat) -> Option<Reading> {
        let well = match beat.says {
            Says::Complete | Says::Ok => true,
            Says::Fail => false,
            Says::Run | Says::Log => return None,
        };
        let took = self.state.recent.last().and_then(|newest| newest.took_ms).unwrap_or(0);
        Some(Reading {
            subject: self.awaited.subject.clone(),
            at: beat.at,
            well,
            took_us: u32::try_from(took.saturating_mul(1_000)).unwrap_or(u32::MAX),
            phases_us: [0; 4],
            why: if well { None } else { self.state.why.clone() },
        })
    }

    fn event(
        &self,
        before: Condition,
        lasted: u64,
        why: Option<String>,
        wall: Timestamp,
    ) -> Option<Event> {
        let subject = &self.awaited.subject;
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let (kind, level, message) = match self.told.0 {
            Condition::Down => (EventKind::Down, Level::Alarm, format!("{subject} is down{why}")),
            Condition::Degraded | Condition::Partial => {
                (EventKind::Degraded, Level::Warning, format!("{subject} is degraded{why}"))
            }
            Condition::Unknown => {
                (EventKind::Unseen, Level::Notice, format!("{subject} is unknown{why}"))
            }
            Condition::Maintenance => return None,
            Condition::Up => match before {
                Condition::Down | Condition::Degraded | Condition::Partial => {
                    let message = format!("{subject} is up again; it was not for {}", long(lasted));
                    (EventKind::Up, Level::Notice, message)
                }
                _ => (EventKind::Up, Level::Info, format!("{subject} is up")),
            },
        };
        let mut event = Event::new(wall, kind, level, message);
        event.service = self.awaited.service.clone();
        Some(event)
    }
}
