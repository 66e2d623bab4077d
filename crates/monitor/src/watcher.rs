//! Looks at everything in turn, from one timer wheel.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_decide::watch::{Look, Manner, Seen, Standing, Watch};
use linkflow_model::{Clock, Condition, Moment, Pulse, ServiceName};
use linkflow_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::guard::Guard;
use crate::keeper::{Keeper, Note, Turn};
use crate::probe::{Prober, Saw};
use crate::target::Target;

/// How many looks are under way at once.
const AT_ONCE: usize = 256;

/// How many of them at one host: a look that hangs, and those that confirm it, twice.
const AT_ONE_HOST: usize = 8;

/// How far ahead the wheel reaches, in ms: a year.
const FURTHEST_MS: u64 = 365 * 86_400_000;

/// How many notes may wait to be kept.
const WAITING: usize = 4_096;

/// Something that is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// As the config calls it: `monitor.api`, `service.api`.
    pub subject: String,
    /// What else it stands for: the service whose own monitor it replaces.
    pub also: Vec<String>,
    /// What is looked at.
    pub target: Target,
    /// How it is judged.
    pub manner: Manner,
    /// What it needs. When one of these is down, that is the cause, and no alarm is due for this.
    pub needs: Vec<String>,
    /// The service that it is about.
    pub service: Option<ServiceName>,
    /// How many days before its certificate ends people are told.
    pub certificate_days: u32,
}

/// Everything that watching needs.
pub struct Watching {
    /// What is watched.
    pub all: Vec<Watched>,
    /// Looks.
    pub prober: Arc<Prober>,
    /// Says whether our own network is there.
    pub guard: Guard,
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Is told what happened.
    pub tell: mpsc::Sender<linkflow_model::Event>,
    /// Is shown how everything stands, whenever that changes.
    pub show: watch::Sender<Vec<Stands>>,
    /// Beats with each time that readings were added up.
    pub pulse: Pulse,
}

impl Watching {
    /// Watches until `stop`. What was seen until then is kept.
    pub async fn run(self, stop: CancellationToken) {
        self.guard.learn().await;
        let (notes, noted) = mpsc::channel(WAITING);
        let (clock, told) = (Arc::clone(&self.clock), (self.tell, self.show));
        let mut keeper = Keeper::new(&self.all, self.store, clock, told, self.pulse);
        let mut standings = Vec::new();
        for watched in &self.all {
            standings.push(keeper.resume(watched).await);
        }
        let wheel = Wheel::new(self.all, standings, self.prober, self.guard, self.clock, notes);
        tokio::join!(wheel.turn(stop), keeper.run(noted));
    }
}

/// When something is due.
#[derive(Clone, Copy)]
enum Due {
    Look(usize),
    Lingers(usize, Look),
}

/// A look that is under way, or was.
struct UnderWay {
    entry: usize,
    look: Look,
    lingers: Option<Key>,
}

struct Entry {
    watched: Arc<Watched>,
    host: Arc<str>,
    is_far: bool,
    watch: Watch,
    key: Option<Key>,
    told: Standing,
    told_doubt: bool,
}

struct Wheel {
    entries: Vec<Entry>,
    queue: DelayQueue<Due>,
    /// Due, and without a place to look from yet.
    waiting: VecDeque<usize>,
    looks: JoinSet<Saw>,
    under_way: HashMap<Id, UnderWay>,
    hosts: HashMap<Arc<str>, usize>,
    prober: Arc<Prober>,
    guard: Arc<Guard>,
    clock: Arc<dyn Clock>,
    start: (Moment, Instant),
    notes: mpsc::Sender<Note>,
}

impl Wheel {
    fn new(
        all: Vec<Watched>,
        standings: Vec<Option<Standing>>,
        prober: Arc<Prober>,
        guard: Guard,
        clock: Arc<dyn Clock>,
        notes: mpsc::Sender<Note>,
    ) -> Self {
        let now = clock.now();
        let entry = |(watched, standing): (Watched, Option<Standing>)| {
            let first = [first(now, &watched)];
            let manner = watched.manner.clone();
            let watch = match standing {
                Some(standing) => Watch::going_on(manner, &first, standing),
                None => Watch::new(manner, &first),
            };
            Entry {
                host: watched.target.host().into(),
                is_far: watched.target.is_far(),
                watched: Arc::new(watched),
                key: None,
                told: watch.standing().clone(),
                told_doubt: false,
                watch,
            }
        };
        Self {
            entries: all.into_iter().zip(standings).map(entry).collect(),
            queue: DelayQueue::new(),
            waiting: VecDeque::new(),
            looks: JoinSet::new(),
            under_way: HashMap::new(),
            hosts: HashMap::new(),
            prober,
            guard: Arc::new(guard),
            clock,
            start: (now, Instant::now()),
            notes,
        }
    }

    /// Turns until `stop`. Dropping the wheel ends what is under way, and lets the keeper end.
    async fn turn(mut self, stop: CancellationToken) {
        (0..self.entries.len()).for_each(|entry| self.schedule(entry));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(due) = poll_fn(|context| self.queue.poll_expired(context)), if !self.queue.is_empty() => {
                    match due.into_inner() {
                        Due::Look(entry) => {
                            self.entries[entry].key = None;
                            self.waiting.push_back(entry);
                        }
                        Due::Lingers(entry, look) => {
                            let now = self.clock.now();
                            for under_way in self.under_way.values_mut() {
                                if under_way.entry == entry && under_way.look == look {
                                    under_way.lingers = None;
                                }
                            }
                            self.entries[entry].watch.lingers(look, now);
                            self.schedule(entry);
                        }
                    }
                    self.look_all();
                }
                Some(ended) = self.looks.join_next_with_id(), if !self.looks.is_empty() => {
                    match ended {
                        Ok((id, saw)) => self.ended(id, Some(saw)).await,
                        Err(error) => {
                            tracing::error!(%error, "a look ended badly");
                            self.ended(error.id(), None).await;
                        }
                    }
                    self.look_all();
                }
                else => return stop.cancelled().await,
            }
        }
    }

    /// Has `entry` come up when it is due next.
    fn schedule(&mut self, entry: usize) {
        let due = self.instant(self.entries[entry].watch.due(0));
        match &self.entries[entry].key {
            Some(key) => self.queue.reset_at(key, due),
            None => self.entries[entry].key = Some(self.queue.insert_at(Due::Look(entry), due)),
        }
    }

    fn instant(&self, moment: Moment) -> Instant {
        let (from, start) = self.start;
        start + Duration::from_millis(moment.since(from).min(FURTHEST_MS))
    }

    /// Begins every look that is due and has a place. Its time runs from then.
    fn look_all(&mut self) {
        let mut later = VecDeque::new();
        while let Some(entry) = self.waiting.pop_front() {
            let host = Arc::clone(&self.entries[entry].host);
            let at_host = self.hosts.get(&host).copied().unwrap_or(0);
            if self.looks.len() >= AT_ONCE || at_host >= AT_ONE_HOST {
                later.push_back(entry);
                continue;
            }
            self.begin(entry);
            self.schedule(entry);
        }
        self.waiting = later;
    }

    fn begin(&mut self, at: usize) {
        let now = self.clock.now();
        let entry = &mut self.entries[at];
        let patience = entry.watch.patience_ms();
        let look = entry.watch.begin(0, now);
        *self.hosts.entry(Arc::clone(&entry.host)).or_default() += 1;
        let limit = Duration::from_millis(entry.watched.manner.limit_ms);
        let (prober, watched) = (Arc::clone(&self.prober), Arc::clone(&entry.watched));
        let guard = entry.is_far.then(|| Arc::clone(&self.guard));
        let task = self.looks.spawn(async move {
            let mut saw = prober.look(&watched.target, limit).await;
            // Only silence can be our own network's fault.
            if let (Some(guard), Seen::Silent(_)) = (guard, &saw.seen)
                && guard.is_blind().await
            {
                saw.seen = Seen::Blind;
            }
            saw
        });
        let lingers = self.instant(now.plus(patience));
        let lingers = self.queue.insert_at(Due::Lingers(at, look), lingers);
        let under_way = UnderWay { entry: at, look, lingers: Some(lingers) };
        self.under_way.insert(task.id(), under_way);
    }

    async fn ended(&mut self, id: Id, saw: Option<Saw>) {
        let Some(UnderWay { entry: at, look, lingers }) = self.under_way.remove(&id) else {
            return;
        };
        if let Some(key) = lingers {
            self.queue.try_remove(&key);
        }
        let now = self.clock.now();
        let entry = &mut self.entries[at];
        if let Some(count) = self.hosts.get_mut(&entry.host) {
            *count -= 1;
            if *count == 0 {
                self.hosts.remove(&entry.host);
            }
        }
        let seen = saw.as_ref().map_or(Seen::Blind, |saw| saw.seen.clone());
        entry.watch.end(look, now, &seen);
        let standing = entry.watch.standing().clone();
        let doubts = entry.watch.doubts() && standing.condition != Condition::Down;
        let turn = (standing != entry.told || doubts != entry.told_doubt).then(|| {
            entry.told = standing.clone();
            entry.told_doubt = doubts;
            Turn { standing, doubts }
        });
        self.schedule_if_idle(at);
        // The keeper ends after this, so a note always finds somebody.
        drop(self.notes.send(Note { entry: at, now, saw, turn }).await);
    }

    /// A doubt may have made the next look due sooner. One that waits for its place comes anyway.
    fn schedule_if_idle(&mut self, entry: usize) {
        if !self.waiting.contains(&entry) {
            self.schedule(entry);
        }
    }
}

/// When a thing is looked at first: its own time within the interval, so that things are not looked at together, and
/// the same one after each start.
fn first(now: Moment, watched: &Watched) -> Moment {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in watched.subject.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The lower bits of this hash alone are alike for names that are alike.
    now.plus((hash ^ (hash >> 32)) % watched.manner.every_ms.max(1))
}
