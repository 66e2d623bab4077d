//! How one thing that is watched is, from looks at it: when a doubt is confirmed, and when all is well again.

#[cfg(test)]
mod tests;
mod usual;
#[cfg(test)]
mod years;

pub use usual::{Hour, Usual, usual};

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use linkflow_model::{Condition, Moment};

/// Good rounds in a row that end an outage.
const RISE: usize = 3;

/// Between looks at what is not well, at most.
const RECHECK_MS: u64 = 10_000;

/// How many looks the median of their times is taken of.
const MEDIAN_OF: usize = 5;

/// For how long answers must be slow to count.
const SLOW_FOR_MS: u64 = 180_000;

/// More changes than this within [`FLAPS_MS`] are flapping.
const FLAPS: usize = 4;

/// Without a change for so long, flapping is over.
const FLAPS_MS: u64 = 1_800_000;

/// A look that has not answered for so long makes doubt, unless its kind takes longer.
const LINGERS_MS: u64 = 300;

/// How much longer than its limit a look is waited for, when another vantage makes it.
const LATE_MS: u64 = 1_000;

/// How something is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Between looks of one vantage.
    pub every_ms: u64,
    /// How long an answer may take.
    pub limit_ms: u64,
    /// For how long a failure must last to count; [`Manner::usual_hold`] is what fits most.
    pub hold_ms: u64,
    /// From which time on an answer is slow.
    pub slow_ms: Option<u64>,
    /// Where `slow_ms` is not said, whether what is usual is learned, and the least that may count as slow.
    pub learn_ms: Option<u64>,
}

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answered as it should.
    Well {
        /// How long that took.
        took_ms: u64,
    },
    /// Nothing, or a connection that broke: the network on the way may be why.
    Silent(String),
    /// A wrong answer: it was reached, so the network is not why.
    Wrong(String),
    /// Whoever looked could see nothing at all: no word on the target.
    Blind,
}

/// A look that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    vantage: usize,
    asked: Moment,
    /// Of which doubt, and which of its rounds.
    round: Option<(u32, usize)>,
}

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The condition.
    pub condition: Condition,
    /// Since when: the first look that said so, not the moment it was confirmed.
    pub since: Moment,
    /// Why, in a few words.
    pub why: Option<String>,
    /// Whether it changes so often that each change is no news.
    pub flaps: bool,
}

/// Watches one thing from one or more places.
///
/// The first failure makes a doubt. Every vantage then looks at once, three times over: after a tenth, four tenths and
/// all of [`Manner::hold_ms`]. It is down when more than half of the vantages that see at all fail each time. A look
/// that does not answer makes doubt before its limit is over, so that what hangs is confirmed soon after it.
#[derive(Clone, Debug)]
pub struct Watch {
    manner: Manner,
    standing: Standing,
    eyes: Vec<Eye>,
    doubts: u32,
    doubt: Option<Doubt>,
    good: usize,
    good_since: Moment,
    took: VecDeque<u64>,
    /// The times of the first vantage alone: what is usual is that of one place.
    here: VecDeque<u64>,
    usual: Usual,
    slow_since: Option<Moment>,
    turns: VecDeque<Moment>,
}

/// One vantage.
#[derive(Clone, Debug)]
struct Eye {
    first: Moment,
    next: Moment,
    last: Option<Sight>,
    /// Whether what it says is what makes the condition partial.
    apart: bool,
    /// Whether it speaks of what is wrong only: see [`Watch::with_witness`].
    witness: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Good,
    Bad,
    Blind,
}

#[derive(Clone, Debug)]
struct Doubt {
    number: u32,
    first: Look,
    /// Whether the first look has failed, and is not only late.
    sure: bool,
    why: String,
    /// How many must see in each round: two. Of only two one is enough, when the other saw nothing already before: a place that is
    /// away for good keeps nobody from the truth.
    seeing: usize,
    /// Which of the vantages is a witness, who is none of these.
    witness: Option<usize>,
    rounds: Vec<Round>,
}

#[derive(Clone, Debug)]
struct Round {
    at: Moment,
    begun: Option<Moment>,
    asked: Vec<bool>,
    said: Vec<Option<Sight>>,
}

impl Manner {
    /// For how long a failure must last when nothing else is asked for.
    ///
    /// Who looks every 10 seconds or more often wants to know soon, and is told of short outages as well. Up to 30
    /// seconds it grows to half a minute, which most restarts are shorter than.
    pub fn usual_hold(every_ms: u64) -> u64 {
        1_600 + (every_ms.clamp(10_000, 30_000) - 10_000) * 132 / 100
    }
}

impl Watch {
    /// Begins to watch; `first` is when each vantage is to look first.
    pub fn new(manner: Manner, first: &[Moment]) -> Self {
        let since = first.iter().min().copied().unwrap_or_default();
        let standing = Standing { condition: Condition::Unknown, since, why: None, flaps: false };
        Self::going_on(manner, first, standing)
    }

    /// Goes on watching what stood so when watching ended.
    pub fn going_on(manner: Manner, first: &[Moment], standing: Standing) -> Self {
        let eye = |next: &Moment| Eye {
            first: *next,
            next: *next,
            last: None,
            apart: false,
            witness: false,
        };
        Self {
            eyes: first.iter().map(eye).collect(),
            usual: if manner.learn_ms.is_some() { Usual::Unasked } else { Usual::Unknown },
            manner,
            standing,
            doubts: 0,
            doubt: None,
            good: 0,
            good_since: Moment::default(),
            took: VecDeque::new(),
            here: VecDeque::new(),
            slow_since: None,
            turns: VecDeque::new(),
        }
    }

    /// The same, where the last vantage is a witness: it tells what somebody else saw minutes ago.
    ///
    /// That all was well then says nothing of now, so it is blind but for what is wrong. Its word opens a doubt and counts in
    /// it. It never makes an outage where nobody else sees, and keeps nothing down that the others see well again.
    #[must_use]
    pub fn with_witness(mut self) -> Self {
        if let Some(last) = self.eyes.last_mut() {
            last.witness = true;
        }
        self
    }

    /// How it is.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What its answers usually take, as [`usual`] has learned it.
    pub fn usually(&mut self, usual: Usual) {
        self.usual = usual;
    }

    /// Whether looks follow one another quickly, to confirm a failure.
    pub fn doubts(&self) -> bool {
        self.doubt.is_some()
    }

    /// When `vantage` is to look next.
    pub fn due(&self, vantage: usize) -> Moment {
        let round = self.doubt.as_ref().and_then(|doubt| doubt.next(vantage));
        match round {
            Some(round) => round.at,
            None => self.eyes[vantage].next,
        }
    }

    /// How long a look may take before [`Watch::lingers`] is to be told.
    pub fn patience_ms(&self) -> u64 {
        let usual = median(&self.took).map_or(0, |median| median.saturating_mul(3));
        usual.max(LINGERS_MS).min(self.manner.limit_ms)
    }

    /// `vantage` looks now.
    pub fn begin(&mut self, vantage: usize, now: Moment) -> Look {
        let round = self.doubt.as_mut().and_then(|doubt| {
            let number = doubt.number;
            let at = doubt.rounds.iter().position(|round| !round.asked[vantage])?;
            let round = &mut doubt.rounds[at];
            round.asked[vantage] = true;
            round.begun = round.begun.or(Some(now));
            Some((number, at))
        });
        if round.is_none() {
            self.eyes[vantage].next = self.after(vantage, now);
        }
        Look { vantage, asked: now, round }
    }

    /// The next time of `vantage` after `now`. Its times stay its own: what was missed is left out, and vantages do not
    /// come to look together.
    fn after(&self, vantage: usize, now: Moment) -> Moment {
        let step = match self.standing.condition {
            Condition::Up | Condition::Degraded | Condition::Maintenance => self.manner.every_ms,
            Condition::Unknown | Condition::Partial | Condition::Down => {
                self.manner.every_ms.min(RECHECK_MS)
            }
        };
        let (step, first) = (step.max(1), self.eyes[vantage].first);
        if now < first { first } else { first.plus((now.since(first) / step + 1) * step) }
    }

    /// `look` has not answered for [`Watch::patience_ms`]: it is doubted while its limit still runs.
    pub fn lingers(&mut self, look: Look, now: Moment) {
        let may = look.round.is_none() && self.doubt.is_none();
        if may && self.standing.condition != Condition::Down && !self.eyes[look.vantage].apart {
            self.open(look, false, String::new(), now);
        }
    }

    /// `look` ended; says whether the condition, or whether it flaps, is another now.
    pub fn end(&mut self, look: Look, now: Moment, seen: &Seen) -> bool {
        let before = (self.standing.condition, self.standing.flaps);
        let sight = match seen {
            Seen::Well { .. } => Sight::Good,
            Seen::Silent(_) | Seen::Wrong(_) => Sight::Bad,
            Seen::Blind => Sight::Blind,
        };
        let eye = &mut self.eyes[look.vantage];
        eye.last = Some(sight);
        eye.apart &= !eye.witness || sight == Sight::Bad;
        match seen {
            Seen::Well { took_ms } => self.well(look, *took_ms, now),
            Seen::Silent(why) | Seen::Wrong(why) => self.failed(look, why, now),
            Seen::Blind => {}
        }
        self.settle(look, sight, now);
        self.recover(look, now);
        self.look_away(look, now);
        self.calm_down(now);
        before != (self.standing.condition, self.standing.flaps)
    }

    fn well(&mut self, look: Look, took_ms: u64, now: Moment) {
        self.doubt.take_if(|doubt| doubt.first == look);
        remember(&mut self.took, took_ms);
        if look.vantage == 0 {
            remember(&mut self.here, took_ms);
        }
        let is_degraded = self.standing.condition == Condition::Degraded;
        let (slow, times) = match (self.manner.slow_ms, self.usual) {
            (Some(slow), _) => (slow, &self.took),
            (None, Usual::Known { slow_ms, .. }) => (slow_ms, &self.here),
            (None, Usual::Unasked) => return,
            (None, Usual::Unknown) if is_degraded => {
                return self.turn(Condition::Up, look.asked, None, now);
            }
            (None, Usual::Unknown) => return,
        };
        let Some(median) = median(times) else { return };
        if median > slow && times.len() == MEDIAN_OF {
            let since = *self.slow_since.get_or_insert(look.asked);
            let long = now.since(since) >= SLOW_FOR_MS;
            if long && self.standing.condition == Condition::Up {
                self.turn(Condition::Degraded, since, Some(self.slowly(median, slow)), now);
            }
        } else if median.saturating_mul(10) < slow.saturating_mul(8) || !is_degraded {
            self.slow_since = None;
            if is_degraded {
                self.turn(Condition::Up, look.asked, None, now);
            }
        }
    }

    fn slowly(&self, median: u64, slow: u64) -> String {
        match (self.manner.slow_ms, self.usual) {
            (None, Usual::Known { usual_ms, .. }) => {
                alloc::format!("answers take {median} ms, usually {usual_ms} ms at this hour")
            }
            _ => alloc::format!("answers take {median} ms, more than {slow} ms"),
        }
    }

    fn failed(&mut self, look: Look, why: &str, now: Moment) {
        if let Some(doubt) = &mut self.doubt {
            if doubt.first == look {
                doubt.sure = true;
                doubt.why = why.into();
            }
        } else if self.standing.condition != Condition::Down && !self.eyes[look.vantage].apart {
            self.open(look, true, why.into(), now);
        }
    }

    fn open(&mut self, first: Look, sure: bool, why: String, now: Moment) {
        self.doubts = self.doubts.wrapping_add(1);
        let all = self.eyes.len();
        let round = |tenths: u64| Round {
            at: now.plus(self.manner.hold_ms * tenths / 10),
            begun: None,
            asked: vec![false; all],
            said: vec![None; all],
        };
        let rounds = [1, 4, 10].map(round).into();
        let eyes = || self.eyes.iter().filter(|eye| !eye.witness);
        let see = eyes().filter(|eye| eye.last != Some(Sight::Blind)).count();
        let seeing = if eyes().count() > 2 { 2 } else { see.clamp(1, 2) };
        let witness = self.eyes.iter().position(|eye| eye.witness);
        self.doubt = Some(Doubt { number: self.doubts, first, sure, why, seeing, witness, rounds });
    }

    /// Takes what `look` says into the doubt that it belongs to, and ends the doubt when it can be ended.
    fn settle(&mut self, look: Look, sight: Sight, now: Moment) {
        let Some(doubt) = &mut self.doubt else { return };
        if let Some((number, round)) = look.round
            && number == doubt.number
        {
            doubt.rounds[round].said[look.vantage] = Some(sight);
        }
        let late = self.manner.limit_ms + LATE_MS;
        for round in &mut doubt.rounds {
            if round.begun.is_some_and(|begun| now.since(begun) > late) {
                round.said.iter_mut().for_each(|said| *said = said.or(Some(Sight::Blind)));
            }
        }
        let (since, why) = (doubt.first.asked, doubt.why.clone());
        match doubt.ended() {
            Ended::NotYet => {}
            Ended::Wrong => self.doubt = None,
            Ended::Down => {
                self.doubt = None;
                self.eyes.iter_mut().for_each(|eye| eye.apart = false);
                self.turn(Condition::Down, since, Some(why), now);
            }
            Ended::Partial(who) => {
                self.doubt = None;
                self.eyes.iter_mut().zip(who).for_each(|(eye, apart)| eye.apart |= apart);
                if self.standing.condition != Condition::Partial {
                    self.turn(Condition::Partial, since, Some(why), now);
                }
            }
        }
    }

    /// Counts good looks of what was not well.
    fn recover(&mut self, look: Look, now: Moment) {
        if self.eyes[look.vantage].witness {
            return;
        }
        let is_down = self.standing.condition == Condition::Down;
        let eyes = self.eyes.iter().filter(|eye| !(is_down && eye.witness));
        let sights = eyes.filter_map(|eye| eye.last);
        let (mut seeing, mut bad) = (0, 0);
        for sight in sights.filter(|sight| *sight != Sight::Blind) {
            seeing += 1;
            bad += usize::from(sight == Sight::Bad);
        }
        let needed = match self.standing.condition {
            Condition::Down | Condition::Partial => RISE * seeing,
            Condition::Unknown => 1,
            Condition::Up | Condition::Degraded | Condition::Maintenance => return,
        };
        if bad * 4 >= seeing {
            self.good = 0;
            return;
        }
        if self.good == 0 {
            self.good_since = look.asked;
        }
        self.good += 1;
        if self.good >= needed {
            // What a witness saw before makes no new doubt of it.
            for eye in &mut self.eyes {
                eye.apart = eye.witness && eye.last == Some(Sight::Bad);
            }
            self.turn(Condition::Up, self.good_since, None, now);
        }
    }

    /// Nobody sees anything: then nobody knows.
    fn look_away(&mut self, look: Look, now: Moment) {
        let mut eyes = self.eyes.iter().filter(|eye| !eye.witness);
        let blind = eyes.all(|eye| eye.last == Some(Sight::Blind));
        if blind && self.standing.condition != Condition::Unknown {
            let why = "our own network was gone";
            self.turn(Condition::Unknown, look.asked, Some(why.into()), now);
        }
    }

    fn turn(&mut self, condition: Condition, since: Moment, why: Option<String>, now: Moment) {
        self.good = 0;
        self.slow_since = None;
        self.standing = Standing { condition, since, why, flaps: self.standing.flaps };
        for vantage in 0..self.eyes.len() {
            self.eyes[vantage].next = self.after(vantage, now);
        }
        self.turns.push_back(now);
        if self.turns.len() > FLAPS + 1 {
            self.turns.pop_front();
        }
        // Times from before say nothing of what it is now.
        if condition != Condition::Degraded {
            self.took.clear();
            self.here.clear();
        }
        let first = self.turns.front().copied().unwrap_or_default();
        self.standing.flaps |= self.turns.len() > FLAPS && now.since(first) <= FLAPS_MS;
    }

    fn calm_down(&mut self, now: Moment) {
        if self.turns.back().is_none_or(|last| now.since(*last) > FLAPS_MS) {
            self.standing.flaps = false;
        }
    }
}

fn remember(times: &mut VecDeque<u64>, took_ms: u64) {
    if times.len() == MEDIAN_OF {
        times.pop_front();
    }
    times.push_back(took_ms);
}

fn median(times: &VecDeque<u64>) -> Option<u64> {
    let mut sorted = [u64::MAX; MEDIAN_OF];
    sorted.iter_mut().zip(times).for_each(|(to, took)| *to = *took);
    sorted.sort_unstable();
    (!times.is_empty()).then(|| sorted[times.len() / 2])
}

enum Ended {
    NotYet,
    /// A round went well, or too few could look.
    Wrong,
    Down,
    /// Who sees it fail, while most do not.
    Partial(Vec<bool>),
}

impl Doubt {
    /// The next round that `vantage` has not begun.
    fn next(&self, vantage: usize) -> Option<&Round> {
        self.rounds.iter().find(|round| !round.asked[vantage])
    }

    fn ended(&self) -> Ended {
        let mut partly: Option<Vec<bool>> = None;
        for round in &self.rounds {
            let Some(said) = round.said.iter().copied().collect::<Option<Vec<Sight>>>() else {
                return Ended::NotYet;
            };
            let seeing = said.iter().filter(|sight| **sight != Sight::Blind).count();
            let failing: Vec<bool> = said.iter().map(|sight| *sight == Sight::Bad).collect();
            let bad = failing.iter().filter(|failing| **failing).count();
            let witness = self.witness.is_some_and(|at| said[at] != Sight::Blind);
            if bad == 0 || seeing - usize::from(witness) < self.seeing {
                return Ended::Wrong;
            }
            match partly {
                Some(before) if before == failing => return Ended::Partial(failing),
                Some(_) => return Ended::Wrong,
                None if bad * 2 <= seeing => partly = Some(failing),
                None => {}
            }
        }
        match (self.sure, partly) {
            (true, None) => Ended::Down,
            (false, None) => Ended::NotYet,
            (_, Some(_)) => Ended::Wrong,
        }
    }
}
