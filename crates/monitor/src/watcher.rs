//! Looks at everything in turn, from one timer wheel.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_decide::watch::{Look, Manner, Seen, Standing, Usual, Watch};
use linkflow_model::role::Vantage;
use linkflow_model::{Clock, Condition, Moment, Pulse, ServiceName};
use linkflow_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::eyes::Eyes;
use crate::keeper::{Keeper, Note, Turn};
use crate::probe::Saw;
use crate::target::Target;
use crate::usual::Learner;
use crate::vantage;

/// How many looks are under way at once.
const AT_ONCE: usize = 256;

/// How many of them at one host: a look that hangs, and those that confirm it, twice.
const AT_ONE_HOST: usize = 8;

/// How far ahead the wheel reaches, in ms: a year.
const FURTHEST_MS: u64 = 365 * 86_400_000;

/// How many notes may wait to be kept.
const WAITING: usize = 4_096;

/// How many words of what is usual may wait to be heard.
const LEARNED: usize = 64;

/// Something that is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// As the config calls it: `monitor.api`, `service.api`.
    pub subject: String,
    /// What else it stands for: the service whose own monitor it replaces.
    pub also: Vec<String>,
    /// What is looked at.
    pub target: Target,
    /// Whether it can be seen from other places as well: it is not on this machine or in its private network.
    pub elsewhere: bool,
    /// How it is judged.
    pub manner: Manner,
    /// What it needs. When one of these is down, that is the cause, and no alarm is due for this.
    pub needs: Vec<String>,
    /// The service that it is about.
    pub service: Option<ServiceName>,
    /// How many days before its certificate ends people are told.
    pub certificate_days: u32,
}

/// Tells what somebody saw who looks by themselves, and seldom: only what is wrong, as [`Watch::with_witness`] takes it.
pub struct Witness {
    /// Is asked for their word, which it has at hand.
    pub who: Arc<dyn Vantage>,
    /// What they look at, as the config calls it.
    pub subjects: BTreeSet<String>,
    /// Names each of these of which their word is another now. It is looked at from everywhere at once.
    pub hurry: mpsc::Receiver<String>,
}

/// Everything that watching needs.
pub struct Watching {
    /// What is watched.
    pub all: Vec<Watched>,
    /// Look from here.
    pub eyes: Eyes,
    /// Who else looks, from other places. What only this machine reaches is not looked at from there.
    pub vantages: Vec<Arc<dyn Vantage>>,
    /// Who tells what others saw minutes ago.
    pub witness: Option<Witness>,
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
        self.eyes.learn().await;
        let (notes, noted) = mpsc::channel(WAITING);
        let (tell, learned) = mpsc::channel(LEARNED);
        let learner = Learner::new(&self.all, &self.store, &self.clock, tell);
        let (clock, told) = (Arc::clone(&self.clock), (self.tell, self.show));
        let mut keeper = Keeper::new(&self.all, self.store, clock, told, self.pulse);
        let mut standings = Vec::new();
        for watched in &self.all {
            standings.push(keeper.resume(watched).await);
        }
        let (witness, hurry) = match self.witness {
            Some(Witness { who, subjects, hurry }) => (Some((who, subjects)), Some(hurry)),
            None => (None, None),
        };
        let places = Places { eyes: self.eyes, vantages: self.vantages, witness };
        let wheel = Wheel::new(self.all, standings, places, self.clock, notes);
        let learning = learner.run(stop.clone());
        tokio::join!(wheel.turn(stop, learned, hurry), keeper.run(noted), learning);
    }
}

/// From where it is looked: from here, and from wherever else somebody looks for us.
struct Places {
    eyes: Eyes,
    vantages: Vec<Arc<dyn Vantage>>,
    witness: Option<(Arc<dyn Vantage>, BTreeSet<String>)>,
}

impl Places {
    /// How many look at `watched` themselves, and whether there is a witness besides: the place after theirs.
    fn of(&self, watched: &Watched) -> (usize, bool) {
        let others = if watched.elsewhere { self.vantages.len() } else { 0 };
        let known = |(_, subjects): &(_, BTreeSet<String>)| subjects.contains(&watched.subject);
        (1 + others, self.witness.as_ref().is_some_and(known))
    }

    /// How `watched` looks from `place`: 0 is here.
    fn look(
        &self,
        place: usize,
        watched: &Arc<Watched>,
    ) -> impl Future<Output = Saw> + Send + use<> {
        let there = if place == self.of(watched).0 {
            self.witness.as_ref().map(|(who, _)| Arc::clone(who))
        } else {
            place.checked_sub(1).and_then(|at| self.vantages.get(at)).cloned()
        };
        let (eyes, watched) = (self.eyes.clone(), Arc::clone(watched));
        async move {
            let limit = Duration::from_millis(watched.manner.limit_ms);
            match there {
                Some(there) => vantage::saw(there.look(&watched.subject, limit).await),
                None => eyes.look(&watched.target, limit).await,
            }
        }
    }
}

/// What is looked at, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turned {
    entry: usize,
    place: usize,
}

/// When something is due.
#[derive(Clone, Copy)]
enum Due {
    Look(Turned),
    Lingers(usize, Look),
}

/// A look that is under way, or was.
struct UnderWay {
    at: Turned,
    look: Look,
    lingers: Option<Key>,
}

struct Entry {
    watched: Arc<Watched>,
    host: Arc<str>,
    watch: Watch,
    /// How far it is with the next look, for each place.
    next: Vec<Next>,
    told: Standing,
    told_doubt: bool,
}

/// How far something is with its next look from one place.
#[derive(Clone)]
enum Next {
    /// Nowhere yet.
    Unset,
    /// It comes up by itself.
    Due(Key),
    /// It is due, and waits until there is room.
    Waits,
}

struct Wheel {
    entries: Vec<Entry>,
    queue: DelayQueue<Due>,
    /// Due, and without a place to look from yet.
    waiting: VecDeque<Turned>,
    looks: JoinSet<Saw>,
    under_way: HashMap<Id, UnderWay>,
    hosts: HashMap<Arc<str>, usize>,
    places: Places,
    clock: Arc<dyn Clock>,
    start: (Moment, Instant),
    notes: mpsc::Sender<Note>,
}

impl Wheel {
    fn new(
        all: Vec<Watched>,
        standings: Vec<Option<Standing>>,
        places: Places,
        clock: Arc<dyn Clock>,
        notes: mpsc::Sender<Note>,
    ) -> Self {
        let now = clock.now();
        let entry = |(watched, standing): (Watched, Option<Standing>)| {
            let (looking, has_witness) = places.of(&watched);
            let mut first = first(now, &watched.subject, watched.manner.every_ms, looking);
            // A witness takes nobody's turn.
            first.extend(first.first().copied().filter(|_| has_witness));
            let manner = watched.manner.clone();
            let watch = match standing {
                Some(standing) => Watch::going_on(manner, &first, standing),
                None => Watch::new(manner, &first),
            };
            let watch = if has_witness { watch.with_witness() } else { watch };
            Entry {
                host: watched.target.host().into(),
                watched: Arc::new(watched),
                next: vec![Next::Unset; first.len()],
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
            places,
            clock,
            start: (now, Instant::now()),
            notes,
        }
    }

    /// Turns until `stop`. Dropping the wheel ends what is under way, and lets the keeper end.
    async fn turn(
        mut self,
        stop: CancellationToken,
        mut learned: mpsc::Receiver<(usize, Usual)>,
        mut hurry: Option<mpsc::Receiver<String>>,
    ) {
        (0..self.entries.len()).for_each(|entry| self.schedule(entry));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(due) = poll_fn(|context| self.queue.poll_expired(context)), if !self.queue.is_empty() => {
                    match due.into_inner() {
                        Due::Look(at) => {
                            self.entries[at.entry].next[at.place] = Next::Waits;
                            self.waiting.push_back(at);
                        }
                        Due::Lingers(entry, look) => {
                            let now = self.clock.now();
                            for under_way in self.under_way.values_mut() {
                                if under_way.at.entry == entry && under_way.look == look {
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
                Some((entry, usual)) = learned.recv() => self.entries[entry].watch.usually(usual),
                Some(subject) = named(&mut hurry) => self.hurry(&subject),
                else => return stop.cancelled().await,
            }
        }
    }

    /// Looks at `subject` from each place now. A look that begins sets the others' times anew, so all of them wait first.
    fn hurry(&mut self, subject: &str) {
        for (entry, held) in self.entries.iter_mut().enumerate() {
            if held.watched.subject != subject {
                continue;
            }
            for (place, next) in held.next.iter_mut().enumerate() {
                if let Next::Due(key) = next {
                    self.queue.try_remove(key);
                    *next = Next::Waits;
                    self.waiting.push_back(Turned { entry, place });
                }
            }
        }
        self.look_all();
    }

    /// Has `entry` come up for each place when it is due there next. A look that waits to begin comes anyway.
    fn schedule(&mut self, entry: usize) {
        for place in 0..self.entries[entry].next.len() {
            let due = self.instant(self.entries[entry].watch.due(place));
            match &self.entries[entry].next[place] {
                Next::Waits => {}
                Next::Due(key) => self.queue.reset_at(key, due),
                Next::Unset => {
                    let key = self.queue.insert_at(Due::Look(Turned { entry, place }), due);
                    self.entries[entry].next[place] = Next::Due(key);
                }
            }
        }
    }

    fn instant(&self, moment: Moment) -> Instant {
        let (from, start) = self.start;
        start + Duration::from_millis(moment.since(from).min(FURTHEST_MS))
    }

    /// Begins every look that is due and has a place. Its time runs from then.
    fn look_all(&mut self) {
        let mut later = VecDeque::new();
        while let Some(at) = self.waiting.pop_front() {
            let host = Arc::clone(&self.entries[at.entry].host);
            let at_host = self.hosts.get(&host).copied().unwrap_or(0);
            if self.looks.len() >= AT_ONCE || at_host >= AT_ONE_HOST {
                later.push_back(at);
                continue;
            }
            self.begin(at);
            self.schedule(at.entry);
        }
        self.waiting = later;
    }

    fn begin(&mut self, at: Turned) {
        let now = self.clock.now();
        let entry = &mut self.entries[at.entry];
        let patience = entry.watch.patience_ms();
        let look = entry.watch.begin(at.place, now);
        entry.next[at.place] = Next::Unset;
        *self.hosts.entry(Arc::clone(&entry.host)).or_default() += 1;
        let task = self.looks.spawn(self.places.look(at.place, &entry.watched));
        let lingers = self.instant(now.plus(patience));
        let lingers = self.queue.insert_at(Due::Lingers(at.entry, look), lingers);
        let under_way = UnderWay { at, look, lingers: Some(lingers) };
        self.under_way.insert(task.id(), under_way);
    }

    async fn ended(&mut self, id: Id, saw: Option<Saw>) {
        let Some(UnderWay { at, look, lingers }) = self.under_way.remove(&id) else {
            return;
        };
        if let Some(key) = lingers {
            self.queue.try_remove(&key);
        }
        let now = self.clock.now();
        let entry = &mut self.entries[at.entry];
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
        // A doubt may have made the next look due sooner.
        self.schedule(at.entry);
        // Readings are those of one place, so that they can be compared.
        let saw = saw.filter(|_| at.place == 0);
        // The keeper ends after this, so a note always finds somebody.
        drop(self.notes.send(Note { entry: at.entry, now, saw, turn }).await);
    }
}

/// The next that is to be looked at at once. Whoever names them may end before us.
async fn named(hurry: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    let named = match hurry {
        Some(names) => names.recv().await,
        None => pending().await,
    };
    if named.is_none() {
        *hurry = None;
    }
    named
}

/// When a thing is looked at first from each of so many places: its own time within the interval, so that things are not
/// looked at together, and the same one after each start. The places share the interval. Its last twentieth is left free: with
/// what the start takes, everything has still been looked at within one interval.
fn first(now: Moment, subject: &str, every: u64, places: usize) -> Vec<Moment> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in subject.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let spread = (every - every / 20).max(1);
    // The lower bits of this hash alone are alike for names that are alike.
    let own = (hash ^ (hash >> 32)) % spread;
    let count = u64::try_from(places).unwrap_or(1);
    (0..count).map(|place| now.plus((own + spread * place / count) % spread)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_looks_are_spread_and_over_before_the_interval_is() {
        let (now, every) = (Moment(7_000), 20_000);
        let all: Vec<u64> = (0..1_900)
            .map(|n| first(now, &format!("monitor.m{n}"), every, 1)[0].since(now))
            .collect();
        assert!(all.iter().all(|at| *at < 19_000));
        let mut seconds = [0; 19];
        all.iter().for_each(|at| seconds[usize::try_from(at / 1_000).unwrap()] += 1);
        assert!(seconds.iter().all(|count| (60..=140).contains(count)), "{seconds:?}");
        let places = first(now, "monitor.api", every, 2);
        assert_eq!(places[0].since(now).abs_diff(places[1].since(now)), 9_500);
        assert_eq!(first(now, "monitor.api", 1, 2), [now, now]);
    }
}
