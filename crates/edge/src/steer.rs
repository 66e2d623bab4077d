//! Decides which target takes a request, and what each answer, failure and check means for the next one.
//!
//! Pure: the time and the dice are arguments, all numbers are integers (milliseconds), nothing here does I/O.

mod budget;
mod doze;
mod ramp;
mod trip;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::{BTreeMap, BTreeSet};

use linkflow_model::{Health, Moment, Sleeps};

use budget::Budget;
use doze::Doze;
use ramp::Ramp;
pub(crate) use trip::{Do, End, Going, Next, Repeat, Trip};

/// A target, as long as its service, provider and address stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) u32);

/// The numbers decisions are made with. Milliseconds unless named otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// Bad checks in a row until a target counts as down.
    pub(crate) fall: u32,
    /// Good checks in a row until it counts as up, or may come back from an ejection.
    pub(crate) rise: u32,
    /// Between checks while all is well.
    pub(crate) check_every: u64,
    /// Between checks while in doubt.
    pub(crate) check_in_doubt: u64,
    /// Requests wait, nothing is answered: the target is suspect.
    pub(crate) suspect: u64,
    /// Requests wait, nothing is answered: the target is ejected.
    pub(crate) silent: u64,
    /// A second try begins when there is another target.
    pub(crate) first_byte: u64,
    /// Whether a slow GET is tried on a second target before the first one failed.
    pub(crate) hedge: bool,
    /// Retries that may be made at once; at least the requests in flight, so that a sudden death loses none.
    pub(crate) retry_burst: u64,
    /// After this long in use without another one, the next ejection is a first one again.
    pub(crate) forgiven: u64,
    /// How long visitors take to return to a better target; 0: they all return at once.
    pub(crate) ramp: u64,
}

/// Failures in a row until a target is ejected.
const STREAK: u32 = 3;
/// The first ejection lasts this long; each one in a row twice as long as the one before.
const EJECT_FIRST: u64 = 2_000;
/// No ejection lasts longer.
const EJECT_MOST: u64 = 30_000;
/// A hedge is sent no sooner and no later than this.
const HEDGE: std::ops::RangeInclusive<u64> = 50..=500;
/// Races lost in a row, over at least [`LATE_FOR`], until a target is ejected for being slow.
const LATE: u32 = 5;
/// See [`LATE`]. A pause (a garbage collection, say) is shorter.
const LATE_FOR: u64 = 1_000;

/// A request that fails, or whose answer breaks off, counts this much; each good one takes one away.
const FAIL: u32 = 10;
/// So much ejects, and more is not counted: more than one in ten requests fails.
const FAILS: u32 = 45;
/// So much ejects when answers break off, which no other sign tells.
const BREAKS: u32 = 25;

/// How a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The target refused the connection.
    Refused,
    /// No connection could be made for another reason: a time limit, a name that is not found, TLS.
    Unreachable(String),
    /// The connection was cut before the answer began.
    Cut,
    /// The connection was cut, or fell silent, within the answer's body.
    Broken,
    /// No answer began within the limit.
    Silent,
}

impl Failure {
    fn words(&self) -> String {
        match self {
            Self::Refused => "connection refused".to_owned(),
            Self::Unreachable(why) => why.clone(),
            Self::Cut => "connection cut before the answer".to_owned(),
            Self::Broken => "its answers break off".to_owned(),
            Self::Silent => "no answer within the limit".to_owned(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    /// A request was wholly sent and waits for its answer, under a number of its own.
    Waits { target: Id, wait: u64 },
    /// An answer began. `sample`: an ordinary read, whose time says how fast the target is.
    Answered { target: Id, wait: Option<u64>, began: Moment, status: u16, sample: bool },
    /// A try failed.
    Failed { target: Id, wait: Option<u64>, failure: Failure },
    /// Nobody wants the answer any more.
    Left { target: Id, wait: u64 },
    /// Another target, asked later, answered first.
    Late { target: Id },
    /// An active check begins.
    Checking { target: Id },
    /// An active check ended.
    Checked { target: Id, bad: Option<String> },
    /// Time passed while requests wait.
    Ticked,
    /// These are the targets now; others are forgotten.
    Table { targets: Vec<Named> },
}

/// A target, as the route table has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) id: Id,
    /// Its place in the cascade, 0 first.
    pub(crate) place: usize,
    /// How it is put to sleep.
    pub(crate) sleeps: Option<Sleeps>,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The target is not used for now; its connections are not to be used again, and it is to be checked at once.
    Ejected { target: Id, for_ms: u64, why: String },
    /// The target is used again.
    Readmitted { target: Id, why: String },
    /// Checks say that the target answers. `again`: it had been down.
    Up { target: Id, again: bool },
    /// Checks say that the target does not answer.
    Down { target: Id, why: String },
    /// Check the target at once.
    CheckNow { target: Id },
}

#[derive(Clone, Copy, Debug)]
struct Ejection {
    at: Moment,
    until: Moment,
}

/// One target, as the requests and checks so far show it.
#[derive(Clone, Debug, Default)]
struct Standing {
    verdict: Health,
    verdict_since: Moment,
    good_checks: u32,
    bad_checks: u32,
    /// Something was odd; settled by checks, at a quick pace.
    doubt: bool,
    /// Suspected of hanging since its last sign of life.
    suspect: bool,
    /// The last answer or good check.
    life: Moment,
    /// Unanswered requests by the moment they began to wait.
    waits: BTreeSet<(Moment, u64)>,
    began: BTreeMap<u64, Moment>,
    streak: u32,
    /// Answers of 500 and the like in a row: the app's own failures.
    app_streak: u32,
    /// How often requests fail of late: see [`FAIL`].
    fails: u32,
    late_since: Option<Moment>,
    late: u32,
    ejection: Option<Ejection>,
    ejections: u32,
    readmitted: Option<Moment>,
    /// The time within which 19 of 20 ordinary reads are answered, in microseconds; 0: none yet.
    p95_us: u64,
    /// Its place in the cascade, 0 first.
    place: usize,
    doze: Doze,
}

impl Standing {
    fn usable(&self) -> bool {
        self.ejection.is_none() && self.verdict != Health::Down
    }

    /// Whether it is given the time of a cold start: what fails meanwhile is no fault.
    fn is_waking(&self, now: Moment) -> bool {
        self.doze.cold_start_left(now) > 0
    }

    /// How long requests have waited without any sign of life. A wait that is older than the last sign of life is
    /// excused: that request is slow, the target is not hung.
    fn silence(&self, now: Moment) -> u64 {
        if self.is_waking(now) {
            return 0;
        }
        let first = self.waits.range((self.life, 0)..).next();
        first.map_or(0, |(began, _)| now.since(*began))
    }

    fn stop_waiting(&mut self, wait: Option<u64>) {
        if let Some(wait) = wait
            && let Some(began) = self.began.remove(&wait)
        {
            self.waits.remove(&(began, wait));
        }
    }

    /// Says whether it was being woken.
    fn shows_life(&mut self, now: Moment) -> bool {
        self.life = now;
        self.suspect = false;
        self.doze.lives(now)
    }

    /// Moves the estimate of the 95th percentile towards `took`, 19 times faster up than down.
    fn sample(&mut self, took_ms: u64) {
        let took = took_ms * 1_000;
        if self.p95_us == 0 {
            self.p95_us = took.max(1);
            return;
        }
        let step = self.p95_us / 8 + 200;
        self.p95_us = if took > self.p95_us {
            (self.p95_us + step * 19 / 20).min(took)
        } else {
            self.p95_us.saturating_sub(step / 20).max(1)
        };
    }

    fn hedge_after(&self) -> u64 {
        let thrice = if self.p95_us == 0 { *HEDGE.end() } else { self.p95_us * 3 / 1_000 };
        thrice.clamp(*HEDGE.start(), *HEDGE.end())
    }
}

/// Which targets to try for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// All targets, the best first.
    pub(crate) order: Vec<Id>,
    /// When to try a second one although the first has not failed; `None`: there is no good second one.
    pub(crate) hedge_after: Option<u64>,
    /// Targets that have rested and that visitors want: the most preferred one and the one to be tried first. They are
    /// to be checked at once.
    pub(crate) wake: Vec<Id>,
}

/// What is known of the targets of one service.
#[derive(Debug)]
pub(crate) struct Steer {
    tuning: Tuning,
    targets: BTreeMap<Id, Standing>,
    retries: Budget,
    hedges: Budget,
    ramp: Ramp,
}

impl Steer {
    pub(crate) fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            targets: BTreeMap::new(),
            // One retry for five requests, and never fewer than ten a second.
            retries: Budget::new(tuning.retry_burst, 200, 10_000),
            // One hedge for twenty requests.
            hedges: Budget::new(100, 50, 1_000),
            ramp: Ramp::default(),
        }
    }

    /// Decides with other numbers from now on.
    pub(crate) fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// Orders `table` (most preferred first) for a new request: the usable, then those that may sleep or are suspect,
    /// then the least bad. Never empty unless `table` is: with nothing usable, something is tried all the same.
    pub(crate) fn plan(&mut self, table: &[Id], now: Moment) -> Plan {
        self.retries.earn(now);
        self.hedges.earn(now);
        let mut order = table.to_vec();
        order.sort_by_key(|id| self.rank(*id, now));
        self.lead_back(&mut order, now);
        let wanted = [table.first(), order.first()].into_iter().flatten();
        let wake = wanted.copied().filter(|id| self.want(*id, now)).collect();
        let second = order.get(1).filter(|id| self.usable(**id) && !self.may_sleep(**id, now));
        let hedge_after = match (order.first(), second) {
            (Some(first), Some(_)) if self.tuning.hedge => {
                Some(self.targets.get(first).map_or(*HEDGE.end(), Standing::hedge_after))
            }
            _ => None,
        };
        Plan { order, hedge_after, wake }
    }

    /// A visitor wants the target. Says whether it rested until now.
    fn want(&mut self, id: Id, now: Moment) -> bool {
        self.targets.get_mut(&id).is_some_and(|target| target.doze.want(now))
    }

    /// Smaller is better: usable, asleep or suspect, ejected, down; of the ejected, the one that ends first.
    fn rank(&self, id: Id, now: Moment) -> (u8, Moment) {
        let Some(target) = self.targets.get(&id) else { return (0, Moment(0)) };
        match (target.verdict, target.ejection) {
            (Health::Down, held) => (3, held.map_or(Moment(0), |e| e.until)),
            (_, Some(held)) => (2, held.until),
            (_, None) if target.suspect || target.doze.may_sleep(now) => (1, Moment(0)),
            (_, None) => (0, Moment(0)),
        }
    }

    /// Whether requests go to the target: not ejected, not down.
    pub(crate) fn usable(&self, id: Id) -> bool {
        self.targets.get(&id).is_none_or(Standing::usable)
    }

    pub(crate) fn is_ejected(&self, id: Id) -> bool {
        self.targets.get(&id).is_some_and(|t| t.ejection.is_some())
    }

    /// Until when an ejection lasts at least.
    pub(crate) fn ejected_until(&self, id: Id) -> Option<Moment> {
        Some(self.targets.get(&id)?.ejection?.until)
    }

    /// The target of `table` that a request would be sent to first, while nobody is on the way back.
    pub(crate) fn best(&self, table: &[Id], now: Moment) -> Option<Id> {
        table.iter().min_by_key(|id| self.rank(**id, now)).copied()
    }

    fn is_suspect(&self, id: Id) -> bool {
        self.targets.get(&id).is_some_and(|t| t.suspect)
    }

    /// Whether a request may have to wait for it to wake.
    fn may_sleep(&self, id: Id, now: Moment) -> bool {
        self.targets.get(&id).is_some_and(|t| t.doze.may_sleep(now))
    }

    /// How long a request that was sent to the target at `since` has waited for it, its cold start not counted.
    fn waited(&self, id: Id, since: Moment, now: Moment) -> u64 {
        self.targets.get(&id).map_or(0, |t| t.doze.waited(since, now))
    }

    /// How much is left of a cold start under way, in milliseconds; 0 when there is none.
    pub(crate) fn cold_start_left(&self, id: Id, now: Moment) -> u64 {
        self.targets.get(&id).map_or(0, |t| t.doze.cold_start_left(now))
    }

    /// Whether it is not to be checked, so that its provider may put it to sleep: nobody wants it, nothing is odd, and
    /// nobody has begun to wake it, for then it is known first how that ends.
    pub(crate) fn rests(&self, id: Id, now: Moment) -> bool {
        let odd = |t: &Standing| !t.usable() || t.doubt || t.doze.is_asked();
        self.targets.get(&id).is_some_and(|t| !odd(t) && t.doze.rests(now))
    }

    /// Whether it lost its last race, and has not been in time since.
    fn is_losing(&self, id: Id) -> bool {
        self.targets.get(&id).is_some_and(|t| t.late > 0)
    }

    /// What the checks say, or that they do not, and since when.
    pub(crate) fn verdict(&self, id: Id, now: Moment) -> (Health, Moment) {
        let Some(t) = self.targets.get(&id) else { return (Health::Unknown, Moment(0)) };
        let health = match t.verdict {
            Health::Down => Health::Down,
            _ if t.is_waking(now) => Health::Waking,
            _ if self.rests(id, now) => Health::Resting,
            held => held,
        };
        (health, t.verdict_since)
    }

    /// The time within which 19 of 20 ordinary reads are answered; `None`: none yet.
    pub(crate) fn p95_ms(&self, id: Id) -> Option<u64> {
        self.targets.get(&id).filter(|t| t.p95_us > 0).map(|t| t.p95_us.div_ceil(1_000))
    }

    /// How long to wait until the next check. Steady checks are spread by up to a tenth, as `dice` fall.
    pub(crate) fn next_check(&self, id: Id, now: Moment, dice: u64) -> u64 {
        let Tuning { check_every: every, check_in_doubt: quick, rise, .. } = self.tuning;
        let Some(target) = self.targets.get(&id) else { return quick };
        let away = !target.usable();
        if away && target.bad_checks > 0 {
            return (4 * quick).min(every).max(1);
        }
        if let Some(held) = target.ejection.filter(|_| target.good_checks >= rise) {
            return held.until.since(now).clamp(1, every.max(1));
        }
        let unsure = target.doubt || target.verdict == Health::Unknown || target.is_waking(now);
        if away || unsure {
            return quick.max(1);
        }
        let spread = every / 10;
        (every - spread + dice % (2 * spread + 1)).max(1)
    }

    /// Takes notice of what happened. The answer is what to do about it, usually nothing.
    pub(crate) fn on(&mut self, happened: Happened, now: Moment) -> Vec<Effect> {
        match happened {
            Happened::Waits { target, wait } => {
                let Some(t) = self.targets.get_mut(&target) else { return Vec::new() };
                t.began.insert(wait, now);
                t.waits.insert((now, wait));
                t.doze.touch(now);
                Vec::new()
            }
            Happened::Checking { target } => {
                if let Some(t) = self.targets.get_mut(&target) {
                    t.doze.touch(now);
                }
                Vec::new()
            }
            Happened::Left { target, wait } => {
                if let Some(t) = self.targets.get_mut(&target) {
                    t.stop_waiting(Some(wait));
                }
                Vec::new()
            }
            Happened::Answered { target, wait, began, status, sample } => {
                self.answered(target, wait, began, status, sample, now)
            }
            Happened::Failed { target, wait, failure } => self.failed(target, wait, &failure, now),
            Happened::Late { target } => self.late(target, now),
            Happened::Checked { target, bad: None } => self.checked_good(target, now),
            Happened::Checked { target, bad: Some(why) } => self.checked_bad(target, why, now),
            Happened::Ticked => self.ticked(now),
            Happened::Table { targets } => {
                self.targets.retain(|id, _| targets.iter().any(|named| named.id == *id));
                let mut effects = Vec::new();
                for Named { id, place, sleeps } in targets {
                    let target = self.targets.entry(id).or_insert_with(|| Standing {
                        life: now,
                        verdict_since: now,
                        ..Standing::default()
                    });
                    target.place = place;
                    if target.doze.follow(sleeps, now) {
                        effects.push(Effect::CheckNow { target: id });
                    }
                }
                effects
            }
        }
    }

    fn answered(
        &mut self,
        id: Id,
        wait: Option<u64>,
        began: Moment,
        status: u16,
        sample: bool,
        now: Moment,
    ) -> Vec<Effect> {
        let Some(t) = self.targets.get_mut(&id) else { return Vec::new() };
        t.stop_waiting(wait);
        if matches!(status, 502..=504) && t.is_waking(now) {
            return Vec::new();
        }
        let woken = t.shows_life(now);
        match status {
            502..=504 => self.strike(id, &format!("answered {status}"), now),
            500.. => {
                t.app_streak += 1;
                let steady = t.app_streak >= STREAK;
                if steady && self.another_is_healthy(id) {
                    let why = format!("answered {status}, {STREAK} failures in a row");
                    return self.eject(id, why, now);
                }
                Vec::new()
            }
            _ => {
                t.streak = 0;
                t.app_streak = 0;
                t.fails = t.fails.saturating_sub(1);
                let took = now.since(began);
                if took <= t.hedge_after() {
                    t.late = 0;
                    t.late_since = None;
                }
                if sample && !woken {
                    t.sample(took);
                }
                // Only requests that no better target could take come here; such a one proves more than a check.
                match t.ejection {
                    Some(held) if began > held.at => {
                        vec![t.readmit(id, "it answered a request".to_owned(), now)]
                    }
                    _ => Vec::new(),
                }
            }
        }
    }

    fn failed(&mut self, id: Id, wait: Option<u64>, failure: &Failure, now: Moment) -> Vec<Effect> {
        let Some(t) = self.targets.get_mut(&id) else { return Vec::new() };
        t.stop_waiting(wait);
        if t.is_waking(now) {
            return Vec::new();
        }
        if *failure == Failure::Refused && t.ejection.is_none() {
            let effects = self.eject(id, failure.words(), now);
            if !effects.is_empty() {
                return effects;
            }
        }
        if *failure == Failure::Broken {
            return self.broke(id, now);
        }
        self.strike(id, &failure.words(), now)
    }

    /// An answer that begins well and breaks off is good first: failures in a row would never be found.
    fn broke(&mut self, id: Id, now: Moment) -> Vec<Effect> {
        let Some(t) = self.targets.get_mut(&id) else { return Vec::new() };
        if t.failed_of_late() < BREAKS {
            return Vec::new();
        }
        self.eject(id, Failure::Broken.words(), now)
    }

    /// Counts a failure, and ejects at the third in a row, or when more than one in ten requests fails.
    fn strike(&mut self, id: Id, why: &str, now: Moment) -> Vec<Effect> {
        let Some(t) = self.targets.get_mut(&id) else { return Vec::new() };
        t.streak += 1;
        let streak = t.streak;
        let newly = !std::mem::replace(&mut t.doubt, true);
        if t.failed_of_late() >= FAILS || streak >= STREAK {
            let effects = self.eject(id, format!("{why}, {}", often(streak)), now);
            if !effects.is_empty() {
                return effects;
            }
        }
        if newly { vec![Effect::CheckNow { target: id }] } else { Vec::new() }
    }

    fn late(&mut self, id: Id, now: Moment) -> Vec<Effect> {
        let Some(t) = self.targets.get_mut(&id).filter(|t| !t.is_waking(now)) else {
            return Vec::new();
        };
        t.late += 1;
        let since = *t.late_since.get_or_insert(now);
        if t.late >= LATE && now.since(since) >= LATE_FOR {
            let why = format!("slower than another, {} times in a row", t.late);
            return self.eject(id, why, now);
        }
        Vec::new()
    }

    fn checked_good(&mut self, id: Id, now: Moment) -> Vec<Effect> {
        let rise = self.tuning.rise;
        let Some(t) = self.targets.get_mut(&id) else { return Vec::new() };
        t.bad_checks = 0;
        t.good_checks = t.good_checks.saturating_add(1);
        t.shows_life(now);
        let mut effects = Vec::new();
        if t.good_checks < rise {
            return effects;
        }
        t.doubt = false;
        if t.verdict != Health::Up {
            effects.push(Effect::Up { target: id, again: t.verdict == Health::Down });
            t.verdict = Health::Up;
            t.verdict_since = now;
        }
        if t.ejection.is_some_and(|held| now >= held.until) {
            let why = format!("{} good checks and its time is over", t.good_checks);
            effects.push(t.readmit(id, why, now));
        }
        effects
    }

    fn checked_bad(&mut self, id: Id, why: String, now: Moment) -> Vec<Effect> {
        let fall = self.tuning.fall;
        let Some(t) = self.targets.get_mut(&id).filter(|t| !t.is_waking(now)) else {
            return Vec::new();
        };
        t.good_checks = 0;
        t.bad_checks = t.bad_checks.saturating_add(1);
        t.doubt = true;
        let hung = t.suspect && t.bad_checks >= 2;
        let mut effects = Vec::new();
        if t.verdict != Health::Down && t.bad_checks >= fall {
            t.verdict = Health::Down;
            t.verdict_since = now;
            effects.push(Effect::Down { target: id, why: why.clone() });
        }
        if hung {
            effects.extend(self.eject(id, format!("silent, and its checks fail: {why}"), now));
        }
        effects
    }

    fn ticked(&mut self, now: Moment) -> Vec<Effect> {
        let Tuning { suspect, silent, .. } = self.tuning;
        let mut effects = Vec::new();
        let mut hung = Vec::new();
        for (id, t) in &mut self.targets {
            let silence = t.silence(now);
            if silence >= suspect && !t.suspect {
                t.suspect = true;
                t.doubt = true;
                effects.push(Effect::CheckNow { target: *id });
            }
            if silence >= silent && t.ejection.is_none() {
                hung.push((*id, silence));
            }
        }
        for (id, silence) in hung {
            effects.extend(self.eject(
                id,
                format!("requests wait, no answer in {silence} ms"),
                now,
            ));
        }
        effects
    }

    fn another_is_usable(&self, id: Id) -> bool {
        self.targets.iter().any(|(other, t)| *other != id && t.usable())
    }

    /// Whether another target is known to be better off. Otherwise the app is at fault, wherever it runs.
    fn another_is_healthy(&self, id: Id) -> bool {
        let healthy = |t: &Standing| t.usable() && t.verdict == Health::Up && t.app_streak == 0;
        self.targets.iter().any(|(other, t)| *other != id && healthy(t))
    }

    /// Takes the target out of use, unless it is the last one usable.
    fn eject(&mut self, id: Id, why: String, now: Moment) -> Vec<Effect> {
        if !self.another_is_usable(id) {
            return Vec::new();
        }
        let forgiven = self.tuning.forgiven;
        let Some(t) = self.targets.get_mut(&id).filter(|t| t.ejection.is_none()) else {
            return Vec::new();
        };
        if t.readmitted.is_some_and(|at| now.since(at) >= forgiven) {
            t.ejections = 0;
        }
        let for_ms = (EJECT_FIRST << t.ejections.min(4)).min(EJECT_MOST);
        t.ejection = Some(Ejection { at: now, until: now.plus(for_ms) });
        t.ejections += 1;
        t.readmitted = None;
        t.good_checks = 0;
        t.doubt = true;
        (t.streak, t.app_streak, t.fails) = (0, 0, 0);
        (t.late, t.late_since) = (0, None);
        vec![Effect::Ejected { target: id, for_ms, why }]
    }
}

/// How often it failed, where `streak` failures were in a row.
fn often(streak: u32) -> String {
    match streak {
        STREAK.. => format!("{streak} failures in a row"),
        _ => "one of many".to_owned(),
    }
}

impl Standing {
    /// Counts a failure. Says how many there are, with good answers between them or without: see [`FAIL`].
    fn failed_of_late(&mut self) -> u32 {
        self.fails = (self.fails + FAIL).min(FAILS);
        self.fails
    }

    fn readmit(&mut self, id: Id, why: String, now: Moment) -> Effect {
        self.ejection = None;
        self.readmitted = Some(now);
        Effect::Readmitted { target: id, why }
    }
}
