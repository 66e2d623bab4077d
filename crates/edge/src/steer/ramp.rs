//! The way back: visitors return to a better target a few at a time, and stay away again at its first failure.

use linkflow_model::Moment;

use super::{Id, Steer};

/// How many of a thousand requests go to the better target at first.
const FIRST: u64 = 50;

/// Whom new requests are led to, and who takes part of them still.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ramp {
    /// The target that is led to.
    front: Option<Id>,
    /// The one that was led to before, and since when it is being left.
    leaving: Option<(Id, Moment)>,
    /// What the better one is owed, in thousandths of a request.
    owed: u64,
}

impl Steer {
    /// Puts the target that is being left in front of `order` for those requests that do not return yet.
    pub(super) fn lead_back(&mut self, order: &mut [Id], now: Moment) {
        let Some(best) = order.first().copied() else { return };
        if self.ramp.front != Some(best) {
            let before = self.ramp.front.replace(best);
            let returns = before.filter(|id| self.place(best) < self.place(*id));
            self.ramp.leaving = returns.filter(|id| self.serves_well(*id, now)).map(|id| (id, now));
            self.ramp.owed = 0;
        }
        let Some((leaving, since)) = self.ramp.leaving else { return };
        let passed = now.since(since);
        if passed >= self.tuning.ramp || !self.serves_well(leaving, now) {
            self.ramp.leaving = None;
            return;
        }
        // From the beginning, as long as its last word was a failure.
        let failed = self.failed_last(best);
        if failed {
            self.ramp.leaving = Some((leaving, now));
        }
        let passed = if failed { 0 } else { passed };
        self.ramp.owed += FIRST + (1_000 - FIRST) * passed / self.tuning.ramp;
        if self.ramp.owed >= 1_000 {
            self.ramp.owed -= 1_000;
            return;
        }
        if let Some(at) = order.iter().position(|id| *id == leaving) {
            order[..=at].rotate_right(1);
        }
    }

    /// The target's place in its cascade.
    fn place(&self, id: Id) -> usize {
        self.targets.get(&id).map_or(usize::MAX, |t| t.place)
    }

    fn serves_well(&self, id: Id, now: Moment) -> bool {
        self.targets.contains_key(&id) && self.rank(id, now).0 == 0
    }

    fn failed_last(&self, id: Id) -> bool {
        self.targets.get(&id).is_some_and(|t| t.streak > 0)
    }
}
