//! Keeps what was seen: readings together once a second, spans and events as conditions change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use linkflow_decide::watch::{Seen, Standing};
use linkflow_decide::{Sort, Stands};
use linkflow_model::{
    Clock, Condition, Event, EventKind, Level, Maintenance, Moment, Pulse, Timestamp,
};
use linkflow_store::{Reading, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::probe::{CertificateSeen, Saw};
use crate::spans;
use crate::watcher::Watched;

/// How often readings are kept, and how many of them at most.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is shown how everything stands, while that changes.
const NEWS: Duration = Duration::from_millis(200);
const TOGETHER: usize = 500;

/// By how much the two clocks may come apart before the one on the wall counts as set, in ms.
const APART_MS: u64 = 20;

/// How long after the end of a minute its readings are added up: by then all have been kept.
const SETTLED_MS: u64 = 10_000;

/// How often old readings are dropped, in ms.
const THIN_OUT_MS: u64 = 3_600_000;

/// How often announced work is looked for, in ms.
const ANNOUNCED_MS: u64 = 5_000;

/// A gap between readings that is longer than this, and than three intervals, is one in which nobody looked.
const GAP_MS: u64 = 60_000;

/// How many days before its end a certificate is told of, as far as the config asks for it.
const DAYS_LEFT: [i64; 6] = [60, 30, 14, 7, 3, 1];

/// What a look saw, and what became of its subject.
pub(crate) struct Note {
    pub(crate) entry: usize,
    pub(crate) now: Moment,
    pub(crate) saw: Option<Saw>,
    pub(crate) turn: Option<Turn>,
}

/// How a subject stands now.
pub(crate) struct Turn {
    pub(crate) standing: Standing,
    /// Whether it may be about to be down.
    pub(crate) doubts: bool,
}

/// What is known of a subject beside its spans; the document `watched/SUBJECT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The certificate that it showed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateSeen>,
    /// At how many days before that one's end people were told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_days: Option<i64>,
}

impl Noted {
    /// The key of the document for `subject`.
    pub fn key(subject: &str) -> String {
        format!("watched/{subject}")
    }
}

struct Entry {
    watched: Watched,
    standing: Standing,
    /// When that began on the wall: before this process did, maybe.
    began: Timestamp,
    doubts: bool,
    /// Whether no alarm was told because something that it needs was down.
    held: bool,
    maintained: bool,
    noted: Noted,
}

pub(crate) struct Keeper {
    entries: Vec<Entry>,
    by_subject: HashMap<String, usize>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// By how much the clock on the wall is ahead of the one for durations, in ms. Kept, so that a moment has one time.
    ahead: AtomicI64,
    tell: mpsc::Sender<Event>,
    show: watch::Sender<Vec<Stands>>,
    /// Whether something stands otherwise than was shown.
    news: bool,
    readings: Vec<Reading>,
    added_up: u64,
    thinned_out: u64,
    announced: u64,
    /// Beats with each time that all was added up.
    pulse: Pulse,
}

/// By how much the clock on the wall is ahead of the one for durations, in ms.
fn ahead(clock: &dyn Clock) -> i64 {
    let (now, wall) = (clock.now().0, clock.wall().0);
    i64::try_from(wall).unwrap_or(i64::MAX).saturating_sub_unsigned(now)
}

impl Keeper {
    pub(crate) fn new(
        all: &[Watched],
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        (tell, show): (mpsc::Sender<Event>, watch::Sender<Vec<Stands>>),
        pulse: Pulse,
    ) -> Self {
        let wall = clock.wall();
        let nothing =
            Standing { condition: Condition::Unknown, since: clock.now(), why: None, flaps: false };
        let entry = |watched: &Watched| Entry {
            watched: watched.clone(),
            standing: nothing.clone(),
            began: wall,
            doubts: false,
            held: false,
            maintained: false,
            noted: Noted::default(),
        };
        let mut by_subject = HashMap::new();
        for (at, watched) in all.iter().enumerate() {
            by_subject.insert(watched.subject.clone(), at);
            for also in &watched.also {
                by_subject.insert(also.clone(), at);
            }
        }
        Self {
            entries: all.iter().map(entry).collect(),
            by_subject,
            store,
            ahead: AtomicI64::new(ahead(&*clock)),
            clock,
            tell,
            show,
            news: true,
            readings: Vec::new(),
            added_up: 0,
            thinned_out: 0,
            announced: 0,
            pulse,
        }
    }

    /// How `watched` stood when it was last looked at, if that was just now. The time in which nobody looked is unknown.
    pub(crate) async fn resume(&mut self, watched: &Watched) -> Option<Standing> {
        match self.resumed(watched).await {
            Ok(resumed) => {
                let (standing, began) = resumed?;
                if let Some(at) = self.by_subject.get(&watched.subject) {
                    let entry = &mut self.entries[*at];
                    (entry.standing, entry.began) = (standing.clone(), began);
                }
                Some(standing)
            }
            Err(error) => {
                tracing::error!("how {} was cannot be read: {error}", watched.subject);
                None
            }
        }
    }

    /// The same, with when that began.
    async fn resumed(
        &mut self,
        watched: &Watched,
    ) -> Result<Option<(Standing, Timestamp)>, StoreError> {
        if let Some(document) = self.store.read(&Noted::key(&watched.subject)).await?
            && let Some(at) = self.by_subject.get(&watched.subject)
        {
            self.entries[*at].noted = serde_json::from_value(document.body).unwrap_or_default();
        }
        let Some((_, last)) = spans::last(&*self.store, &watched.subject).await? else {
            return Ok(None);
        };
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let all = (Timestamp(0), Timestamp(u64::MAX));
        let newest = self.store.readings(&watched.subject, all.0, all.1, 1).await?;
        let looked = newest.last().map_or(last.from, |reading| reading.at.max(last.from));
        let longest = GAP_MS.max(watched.manner.every_ms * 3);
        let is_open = last.to.is_none();
        if is_open && wall.0.saturating_sub(looked.0) <= longest {
            let known = last.condition != Condition::Maintenance;
            let standing = Standing {
                condition: if known { last.condition } else { Condition::Unknown },
                since: Moment(now.0.saturating_sub(wall.0.saturating_sub(last.from.0))),
                why: last.why,
                flaps: false,
            };
            return Ok(Some((standing, last.from)));
        }
        let from = last.to.unwrap_or(Timestamp(looked.0 + watched.manner.every_ms));
        let why = Some("nobody looked".to_owned());
        self.span(watched, Condition::Unknown, from.min(wall), why).await?;
        Ok(None)
    }

    /// Keeps what is noted until nobody notes any more.
    pub(crate) async fn run(mut self, mut noted: mpsc::Receiver<Note>) {
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = interval(NEWS);
        news.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                note = noted.recv() => match note {
                    Some(note) => self.note(note).await,
                    None => return self.keep().await,
                },
                _ = news.tick() => self.show(),
                _ = every.tick() => {
                    self.keep().await;
                    self.now_and_then().await;
                }
            }
        }
    }

    async fn note(&mut self, note: Note) {
        let Note { entry, now, saw, turn } = note;
        if let Some(saw) = saw {
            self.take(entry, now, saw).await;
        }
        if let Some(turn) = turn {
            self.turned(entry, turn).await;
        }
        if self.readings.len() >= TOGETHER {
            self.keep().await;
        }
    }

    async fn take(&mut self, entry: usize, now: Moment, saw: Saw) {
        let (well, why) = match saw.seen {
            // Who saw nothing has nothing to say of the subject.
            Seen::Blind => return,
            Seen::Well { .. } => (true, None),
            Seen::Silent(why) | Seen::Wrong(why) => (false, Some(why)),
        };
        let p = saw.phases;
        let phases = [p.dns_us, p.connect_us, p.tls_us, p.first_us];
        self.readings.push(Reading {
            subject: self.entries[entry].watched.subject.clone(),
            at: self.wall(now),
            well,
            took_us: p.total_us,
            phases_us: phases.map(Option::unwrap_or_default),
            why,
        });
        if let Some(certificate) = saw.certificate {
            self.certificate(entry, certificate).await;
        }
    }

    async fn keep(&mut self) {
        // What the store does not take now is tried again with the next: a full disk may be emptied.
        match self.store.keep_readings(&self.readings).await {
            Ok(()) => self.readings.clear(),
            Err(error) => {
                tracing::error!("{} readings cannot be kept: {error}", self.readings.len());
                let most = TOGETHER * 20;
                self.readings.drain(..self.readings.len().saturating_sub(most));
            }
        }
    }

    async fn now_and_then(&mut self) {
        let wall = self.clock.wall();
        let settled = wall.0.saturating_sub(SETTLED_MS);
        if settled / 60_000 > self.added_up {
            self.added_up = settled / 60_000;
            match self.store.add_up(Timestamp(settled)).await {
                Ok(()) => self.pulse.beat(),
                Err(error) => tracing::error!("readings cannot be added up: {error}"),
            }
        }
        if wall.0.saturating_sub(self.thinned_out) >= THIN_OUT_MS {
            match self.store.thin_out(wall).await {
                // The rest comes with the next turns, between the readings.
                Ok(true) => {}
                Ok(false) => self.thinned_out = wall.0,
                Err(error) => {
                    self.thinned_out = wall.0;
                    tracing::error!("old readings cannot be thinned out: {error}");
                }
            }
        }
        if wall.0.saturating_sub(self.announced) >= ANNOUNCED_MS {
            self.announced = wall.0;
            self.announced(wall).await;
        }
    }

    /// The time on the wall at `moment`: the same whenever it is asked for, unless the clock is set.
    fn wall(&self, moment: Moment) -> Timestamp {
        let (now, kept) = (ahead(&*self.clock), self.ahead.load(Relaxed));
        let ahead = if now.abs_diff(kept) > APART_MS { now } else { kept };
        self.ahead.store(ahead, Relaxed);
        Timestamp(moment.0.saturating_add_signed(ahead))
    }

    async fn turned(&mut self, at: usize, turn: Turn) {
        let (before, began) = (self.entries[at].standing.clone(), self.entries[at].began);
        self.news = true;
        let begins = self.wall(turn.standing.since);
        let entry = &mut self.entries[at];
        entry.doubts = turn.doubts;
        if turn.standing.since != before.since {
            entry.began = begins;
        }
        entry.standing = turn.standing;
        let is_news =
            (entry.standing.condition, entry.standing.flaps) != (before.condition, before.flaps);
        if is_news {
            let cause = self.cause(at);
            self.entries[at].held = cause.is_some();
            self.remember(at, cause.as_deref()).await;
            self.say(at, (&before, began), cause.as_deref()).await;
        }
        self.release().await;
    }

    /// Shows how everything stands, if that is news.
    fn show(&mut self) {
        if !std::mem::take(&mut self.news) {
            return;
        }
        let all = (0..self.entries.len()).map(|at| self.stands(at)).collect();
        self.show.send_replace(all);
    }

    fn stands(&self, at: usize) -> Stands {
        let Entry { watched, standing, began, maintained, .. } = &self.entries[at];
        let condition = match standing.condition {
            _ if *maintained => Condition::Maintenance,
            // It is down now and up then, and nobody is told each time.
            _ if standing.flaps => Condition::Partial,
            condition => condition,
        };
        Stands {
            subject: watched.subject.clone(),
            name: watched.subject.clone(),
            condition,
            since: *began,
            why: standing.why.clone(),
            needs: self.needs(watched),
            held: self.cause(at).is_some(),
            inner: false,
            sort: Sort::Answers,
        }
    }

    /// What is needed, under the names of what is looked at for it.
    fn needs(&self, watched: &Watched) -> Vec<String> {
        let looked_at = |need: &String| {
            let at = self.by_subject.get(need)?;
            Some(self.entries[*at].watched.subject.clone())
        };
        watched.needs.iter().filter_map(looked_at).filter(|need| *need != watched.subject).collect()
    }

    /// What `at` needs and is down, or may be about to be.
    fn cause(&self, at: usize) -> Option<String> {
        let entry = &self.entries[at];
        if entry.standing.condition != Condition::Down {
            return None;
        }
        let needs = entry.watched.needs.iter();
        let needs = needs.filter_map(|need| Some((need, *self.by_subject.get(need)?)));
        let mut gone = needs.filter(|(_, other)| {
            let other = &self.entries[*other];
            *other.watched.subject != entry.watched.subject
                && (other.doubts || other.standing.condition == Condition::Down)
        });
        gone.next().map(|(need, _)| need.clone())
    }

    /// Tells what was held back, now that nothing it needs is down any more.
    async fn release(&mut self) {
        for at in 0..self.entries.len() {
            if self.entries[at].held && self.cause(at).is_none() {
                self.entries[at].held = false;
                let (standing, began) = (self.entries[at].standing.clone(), self.entries[at].began);
                if standing.condition == Condition::Down {
                    let before = Standing { condition: Condition::Up, ..standing };
                    self.say(at, (&before, began), None).await;
                }
            }
        }
    }

    /// Ends the span that lasts and begins another.
    async fn remember(&mut self, at: usize, cause: Option<&str>) {
        let entry = &self.entries[at];
        if entry.maintained {
            return;
        }
        let Standing { condition, why, .. } = entry.standing.clone();
        let why = match (why, cause) {
            (Some(why), Some(cause)) => Some(format!("{why}; {cause} is down")),
            (why, _) => why,
        };
        let (from, watched) = (entry.began, entry.watched.clone());
        if let Err(error) = self.span(&watched, condition, from, why).await {
            tracing::error!("how {} is cannot be kept: {error}", watched.subject);
        }
    }

    async fn span(
        &self,
        watched: &Watched,
        condition: Condition,
        from: Timestamp,
        why: Option<String>,
    ) -> Result<(), StoreError> {
        for subject in std::iter::once(&watched.subject).chain(&watched.also) {
            spans::turn(&*self.store, subject, condition, from, why.clone()).await?;
        }
        Ok(())
    }

    async fn say(&self, at: usize, (before, began): (&Standing, Timestamp), cause: Option<&str>) {
        let entry = &self.entries[at];
        let (subject, now) = (&entry.watched.subject, &entry.standing);
        if entry.maintained {
            return;
        }
        if now.flaps != before.flaps {
            let message = if now.flaps {
                format!(
                    "{subject} flaps: its changes are not told until it is quiet for half an hour"
                )
            } else {
                format!("{subject} flaps no more; it is {}", word(now.condition))
            };
            let level = if now.flaps { Level::Warning } else { Level::Notice };
            return self.event(at, EventKind::Flapping, level, message).await;
        }
        if now.flaps || now.condition == before.condition {
            return;
        }
        let why = now.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let lasted = self.wall(self.clock.now()).0.saturating_sub(began.0);
        let (kind, level, message) = match now.condition {
            Condition::Down => match cause {
                Some(cause) => {
                    let message = format!("{subject} is down{why}; its cause is {cause}");
                    (EventKind::Down, Level::Info, message)
                }
                None => (EventKind::Down, Level::Alarm, format!("{subject} is down{why}")),
            },
            Condition::Partial => {
                let message = format!("{subject} is not reached from everywhere{why}");
                (EventKind::Degraded, Level::Warning, message)
            }
            Condition::Degraded => {
                (EventKind::Degraded, Level::Warning, format!("{subject} is slow{why}"))
            }
            Condition::Unknown => {
                (EventKind::Unseen, Level::Notice, format!("{subject} cannot be seen{why}"))
            }
            Condition::Up | Condition::Maintenance => match before.condition {
                Condition::Unknown => (EventKind::Up, Level::Info, format!("{subject} is up")),
                was => {
                    let message =
                        format!("{subject} is up again; it was {} for {}", word(was), long(lasted));
                    (EventKind::Up, Level::Notice, message)
                }
            },
        };
        self.event(at, kind, level, message).await;
    }

    async fn event(&self, at: usize, kind: EventKind, level: Level, message: String) {
        let mut event = Event::new(self.clock.wall(), kind, level, message);
        event.service = self.entries[at].watched.service.clone();
        if self.tell.send(event).await.is_err() {
            tracing::debug!("nobody listens to what is watched");
        }
    }

    /// Takes announced work that begins or ends into account.
    async fn announced(&mut self, wall: Timestamp) {
        let listed = match self.store.list(Maintenance::PREFIX).await {
            Ok(listed) => listed,
            Err(error) => return tracing::error!("announced work cannot be read: {error}"),
        };
        let work = listed.into_iter().filter_map(|d| serde_json::from_value(d.body).ok());
        let now: Vec<Maintenance> = work
            .filter(|work: &Maintenance| !work.cancelled && work.from <= wall && wall < work.to)
            .collect();
        for at in 0..self.entries.len() {
            let watched = self.entries[at].watched.clone();
            let is_of =
                |subject: &String| *subject == watched.subject || watched.also.contains(subject);
            let work = now.iter().find(|work| work.subjects.iter().any(is_of));
            let was = self.entries[at].maintained;
            self.news |= was != work.is_some();
            self.entries[at].maintained = work.is_some();
            match work {
                Some(work) if !was => {
                    let why = Some(work.title.clone());
                    if let Err(error) = self
                        .span(
                            &watched,
                            Condition::Maintenance,
                            work.from.max(Timestamp(wall.0.saturating_sub(ANNOUNCED_MS))),
                            why,
                        )
                        .await
                    {
                        tracing::error!("announced work cannot be kept: {error}");
                    }
                }
                None if was => {
                    // From now on it is again how it is found to be.
                    let now = self.clock.now();
                    let began = self.wall(now);
                    self.entries[at].standing.since = now;
                    self.entries[at].began = began;
                    self.remember(at, None).await;
                    let before = Standing {
                        condition: Condition::Unknown,
                        ..self.entries[at].standing.clone()
                    };
                    if self.entries[at].standing.condition != Condition::Unknown {
                        self.say(at, (&before, began), None).await;
                    }
                }
                Some(_) | None => {}
            }
        }
    }

    /// Notes the certificate, and tells of one that ends soon: once at each of some days before.
    async fn certificate(&mut self, at: usize, seen: CertificateSeen) {
        let left_ms = u64::try_from(seen.ends).unwrap_or(0).saturating_mul(1_000);
        let left = left_ms.saturating_sub(self.clock.wall().0) / 86_400_000;
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        let wanted = i64::from(self.entries[at].watched.certificate_days);
        let due = days_due(left, wanted);
        let noted = &self.entries[at].noted;
        let same = noted.certificate.as_ref() == Some(&seen);
        let told = noted.told_days.filter(|_| same);
        let news = due.is_some_and(|due| told.is_none_or(|told| due < told));
        if same && !news {
            return;
        }
        let subject = self.entries[at].watched.subject.clone();
        self.entries[at].noted =
            Noted { certificate: Some(seen), told_days: if news { due } else { told } };
        let document = json!(self.entries[at].noted);
        if let Err(error) = self.overwrite(&Noted::key(&subject), &document).await {
            tracing::error!("the certificate of {subject} cannot be noted: {error}");
        }
        if news {
            let level = if left < 3 { Level::Alarm } else { Level::Warning };
            let message = format!("the certificate of {subject} ends in {left} days");
            self.event(at, EventKind::Certificate, level, message).await;
        }
    }

    async fn overwrite(&self, key: &str, body: &serde_json::Value) -> Result<(), StoreError> {
        let version = self.store.read(key).await?.map(|document| document.version);
        self.store.write(key, version, body, None).await.map(drop)
    }
}

/// The days before an end at which `left` days are told of, where the config asks for `wanted` and fewer.
pub(crate) fn days_due(left: i64, wanted: i64) -> Option<i64> {
    DAYS_LEFT.into_iter().filter(|days| left < *days && *days <= wanted).min()
}

/// A condition in a sentence.
pub fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Up => "up",
        Condition::Maintenance => "worked on",
        Condition::Unknown => "unknown",
        Condition::Degraded => "slow",
        Condition::Partial => "partly reached",
        Condition::Down => "down",
    }
}

/// How long something lasted, in words.
pub(crate) fn long(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}
