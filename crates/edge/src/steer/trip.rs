//! One request's way: which target next, when beside the first, when to give up.

use linkflow_model::Moment;

use super::{Id, Steer};

/// Between looks at a request that waits.
const LOOK: u64 = 100;

/// How often a request may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing: even on two targets at the same time.
    Safe,
    /// Once more has the same effect: one target after the other.
    Idempotent,
    /// At most once.
    Once,
}

/// How a try ended that did not give the answer to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing was sent, provably.
    NeverSent,
    /// The connection was cut before the answer. `reused`: it had been idle before.
    Cut { reused: bool },
    /// The answer is 502, 503 or 504.
    Refusal,
}

/// What to do when a try has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try this target.
    Try(Id),
    /// Try the same target on a fresh connection.
    Again(Id),
    /// Try the same target in a moment: it is being woken.
    Later(Id),
    /// Other tries are still under way.
    Wait,
    /// Nothing more can be done.
    Stop,
}

/// What to do while tries are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    /// Go on waiting.
    Nothing,
    /// Try this target too; the first answer wins.
    Beside(Id),
    /// Abandon what is under way and try this target.
    Instead(Id),
    /// Abandon what is under way.
    GiveUp,
}

/// A try under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Going {
    pub(crate) target: Id,
    /// Since when the request has been wholly sent; `None`: it is still being sent.
    pub(crate) since: Option<Moment>,
}

/// What one request has tried so far.
#[derive(Clone, Debug)]
pub(crate) struct Trip {
    repeat: Repeat,
    table: Vec<Id>,
    tried: Vec<Id>,
    again: bool,
    hedged: bool,
    hedge_after: Option<u64>,
    /// Targets that have rested and that visitors want.
    pub(crate) wake: Vec<Id>,
    began: Moment,
    /// When to give up on the last target, for a request that no other can take.
    limit: Option<u64>,
}

impl Trip {
    /// A request for the targets in `table`. The first target to try, if there is any.
    pub(crate) fn start(
        steer: &mut Steer,
        table: &[Id],
        repeat: Repeat,
        limit: Option<u64>,
        now: Moment,
    ) -> (Self, Option<Id>) {
        let plan = steer.plan(table, now);
        let first = plan.order.first().copied();
        let trip = Self {
            repeat,
            table: table.to_vec(),
            tried: first.into_iter().collect(),
            again: false,
            hedged: false,
            hedge_after: plan.hedge_after.filter(|_| repeat == Repeat::Safe),
            wake: plan.wake,
            began: now,
            limit,
        };
        (trip, first)
    }

    /// How long to wait for an ending before the next look.
    pub(crate) fn look_after(&self, now: Moment) -> u64 {
        let hedge = self.hedge_after.map_or(0, |at| at.saturating_sub(now.since(self.began)));
        // One more than is left: a moment is a whole number of milliseconds.
        if hedge > 0 { (hedge + 1).min(LOOK) } else { LOOK }
    }

    /// The other targets that are usable, the best first.
    pub(crate) fn others(&self, steer: &Steer, now: Moment) -> Vec<Id> {
        let left = self.table.iter().filter(|id| !self.tried.contains(id) && steer.usable(**id));
        let mut others: Vec<Id> = left.copied().collect();
        others.sort_by_key(|id| steer.rank(*id, now));
        others
    }

    /// The first try goes to `target`, because the one that was chosen has no room.
    pub(crate) fn goes_to(&mut self, target: Id) {
        self.tried = vec![target];
    }

    fn untried(&self, steer: &Steer, now: Moment) -> Option<Id> {
        let left = self.table.iter().filter(|id| !self.tried.contains(id));
        left.min_by_key(|id| steer.rank(**id, now)).copied()
    }

    /// Decides what follows a try that ended without an answer to pass on. `running`: tries still under way.
    /// `whole`: the request's body can still be sent from its beginning.
    pub(crate) fn ended(
        &mut self,
        steer: &mut Steer,
        target: Id,
        end: End,
        running: usize,
        whole: bool,
        now: Moment,
    ) -> Next {
        let over = if running > 0 { Next::Wait } else { Next::Stop };
        let free = end == End::NeverSent;
        if running > 0 || !whole || !(free || self.repeat != Repeat::Once) {
            return over;
        }
        if end == (End::Cut { reused: true }) && !self.again && steer.usable(target) {
            self.again = true;
            return Next::Again(target);
        }
        let is_waking = steer.cold_start_left(target, now) > 0;
        let stay = if is_waking { Next::Later(target) } else { over };
        let Some(next) = self.untried(steer, now) else { return stay };
        // A target that is away refuses too: its word is no better than the one at hand.
        if !steer.usable(next) && (end == End::Refusal || is_waking) {
            return stay;
        }
        if !free && !steer.retries.spend() {
            return over;
        }
        self.tried.push(next);
        Next::Try(next)
    }

    /// Decides whether to go on waiting for the tries under way.
    pub(crate) fn look(
        &mut self,
        steer: &mut Steer,
        going: &[Going],
        whole: bool,
        now: Moment,
    ) -> Do {
        let waited = |steer: &Steer, g: &Going| {
            g.since.map_or(0, |since| steer.waited(g.target, since, now))
        };
        if self.limit.is_some_and(|limit| going.iter().all(|g| waited(steer, g) >= limit)) {
            return Do::GiveUp;
        }
        let next = self.untried(steer, now).filter(|id| steer.usable(*id));
        let (Some(next), Some(last), true) = (next, going.last(), whole) else {
            return Do::Nothing;
        };
        if self.repeat == Repeat::Once {
            return Do::Nothing;
        }
        let decided = if going.iter().all(|g| !steer.usable(g.target)) {
            Do::Instead(next)
        } else if steer.may_sleep(next, now) {
            // Two cold starts are no faster than one.
            return Do::Nothing;
        } else if waited(steer, last) >= steer.tuning.first_byte {
            match self.repeat {
                Repeat::Safe => Do::Beside(next),
                _ => Do::Instead(next),
            }
        } else if self.repeat == Repeat::Safe && steer.is_suspect(last.target) {
            Do::Beside(next)
        } else {
            return self.hedge(steer, next, now);
        };
        if !steer.retries.spend() {
            return Do::Nothing;
        }
        self.tried.push(next);
        decided
    }

    fn hedge(&mut self, steer: &mut Steer, next: Id, now: Moment) -> Do {
        let due = self.hedge_after.is_some_and(|after| now.since(self.began) >= after);
        if !due || self.hedged || self.tried.len() > 1 {
            return Do::Nothing;
        }
        // Against a target that loses its races, a second try is no extra load but the move to another target.
        let losing = self.tried.iter().all(|id| steer.is_losing(*id));
        if !(losing && steer.retries.spend() || steer.hedges.spend()) {
            return Do::Nothing;
        }
        self.hedged = true;
        self.tried.push(next);
        Do::Beside(next)
    }
}
