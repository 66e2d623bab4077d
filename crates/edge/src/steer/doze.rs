//! Targets that their provider puts to sleep: left alone while nobody asks for them, and woken before they are judged.

use linkflow_model::{Moment, Sleeps};

/// So long after the last visitor a target that may rest is checked no more. Shorter than any vendor waits.
const QUIET: u64 = 60_000;

/// How a target sleeps, and what is known of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doze {
    /// `None`: it never sleeps, or is kept awake.
    sleeps: Option<Sleeps>,
    /// Since when its provider is known to say that it sleeps.
    asleep: Option<Moment>,
    /// When somebody last wanted it.
    wanted: Option<Moment>,
    /// The last answer or good check.
    life: Option<Moment>,
    /// When the first request or check went out that has to wake it.
    waking: Option<Moment>,
    /// When it was last found awake after that: requests have waited for it since then only.
    woke: Moment,
}

impl Doze {
    /// Takes over how it sleeps. Says whether it has rested and may not any more.
    pub(super) fn follow(&mut self, sleeps: Option<Sleeps>, now: Moment) -> bool {
        let rested = self.rests(now);
        self.sleeps = sleeps;
        let asleep = sleeps.is_some_and(|sleeps| sleeps.asleep);
        self.asleep = asleep.then(|| self.asleep.unwrap_or(now));
        rested && !self.rests(now)
    }

    /// Whether it is to be left alone.
    pub(super) fn rests(&self, now: Moment) -> bool {
        self.sleeps.is_some_and(|sleeps| {
            let quiet = sleeps.after_ms.min(QUIET);
            sleeps.may_rest && self.wanted.is_none_or(|at| now.since(at) >= quiet)
        })
    }

    /// Somebody wants it. Says whether it rested until now.
    pub(super) fn want(&mut self, now: Moment) -> bool {
        let rested = self.rests(now);
        self.wanted = Some(now);
        rested
    }

    /// Whether it may sleep at this moment, or is not awake yet.
    pub(super) fn may_sleep(&self, now: Moment) -> bool {
        let Some(sleeps) = self.sleeps else { return false };
        let Some(life) = self.life else { return true };
        now.since(life) >= sleeps.after_ms || self.asleep.is_some_and(|since| since > life)
    }

    /// A request or a check goes to it.
    pub(super) fn touch(&mut self, now: Moment) {
        if self.waking.is_none() && self.may_sleep(now) {
            self.waking = Some(now);
        }
    }

    /// It showed life. Says whether it was being woken.
    pub(super) fn lives(&mut self, now: Moment) -> bool {
        self.life = Some(now);
        let woken = self.waking.take().is_some();
        if woken {
            self.woke = now;
        }
        woken
    }

    /// How long a request that was sent at `since` has waited, its target's cold start not counted.
    pub(super) fn waited(&self, since: Moment, now: Moment) -> u64 {
        if self.cold_start_left(now) > 0 { 0 } else { now.since(since.max(self.woke)) }
    }

    /// Whether it has been asked and not answered since it may sleep.
    pub(super) fn is_asked(&self) -> bool {
        self.waking.is_some()
    }

    /// How much of its cold start is left; 0: it is not being woken, or should be awake by now.
    pub(super) fn cold_start_left(&self, now: Moment) -> u64 {
        let Some((sleeps, began)) = self.sleeps.zip(self.waking) else { return 0 };
        began.plus(sleeps.cold_start_ms).since(now)
    }
}
