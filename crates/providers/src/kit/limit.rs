//! Keeps to a vendor's rate limits before the vendor has to say so.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use linkflow_model::{Clock, Moment};
use serde::{Deserialize, Serialize};

use super::limit_book::Book;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All requests to the vendor together.
    Vendor,
    /// One action on one thing. Goes before [`Scope::EachAction`].
    Action(&'static str),
    /// Any action on one thing, each action for itself.
    EachAction,
}

/// One limit: `burst` requests at once, then one every `every`.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it counts.
    pub scope: Scope,
    /// The time in which one more request becomes free.
    pub every: Duration,
    /// How many may go at once after a pause.
    pub burst: u32,
}

/// The limits of one account at a vendor.
#[derive(Debug)]
pub struct Limiter {
    rules: Vec<Rule>,
    patience: Duration,
    state: Mutex<State>,
    /// Where the state is, when other processes count with this one.
    book: Option<Book>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// When each bucket will be full again, in microseconds of the clock.
    full_at: BTreeMap<String, u64>,
    /// Until when the vendor asked to be left alone, by the same keys.
    held_until: BTreeMap<String, u64>,
}

/// A vendor does not ask for more than this: the longest window that any of them counts in.
const LONGEST_HOLD: Duration = Duration::from_secs(3_600);

/// Buckets kept before the full ones are dropped.
const MANY: usize = 1_000;

impl Limiter {
    /// A limiter with `rules`, which lets a request wait for `patience` at most.
    pub fn new(rules: Vec<Rule>, patience: Duration) -> Self {
        Self { rules, patience, state: Mutex::default(), book: None }
    }

    /// Counts in `book`, together with every other process that does, when there is one.
    #[must_use]
    pub(super) fn shared_in(self, book: Option<Book>) -> Self {
        Self { book, ..self }
    }

    /// Now, on the clock by which this limiter counts: processes have only the one on the wall in common.
    pub(super) fn now(&self, clock: &dyn Clock) -> Moment {
        if self.book.is_some() { Moment(clock.wall().0) } else { clock.now() }
    }

    /// A limiter that holds nothing back on its own, but honours what the vendor asks for.
    pub fn free() -> Self {
        Self::new(Vec::new(), Duration::from_secs(5))
    }

    /// Takes a place for `action` on `about`, and tells how long to wait for it.
    ///
    /// # Errors
    /// The wait, when it is longer than the patience. No place is taken then.
    pub fn admit(&self, now: Moment, action: &str, about: &str) -> Result<Duration, Duration> {
        let now = micros(now);
        let keys = self.keys(action, about);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let page = self.book.as_ref().and_then(|book| book.open(&mut state));
        self.trust(&mut state, &keys, now);
        state.forget(now);
        let held = [whole_key(), thing_key(action, about)]
            .into_iter()
            .filter_map(|key| state.held_until.get(&key).copied())
            .map(|until| until.saturating_sub(now));
        let due = keys.iter().map(|(key, rule)| {
            let full_at = state.full_at.get(key).copied().unwrap_or(0);
            full_at.saturating_sub(rule.slack()).saturating_sub(now)
        });
        let wait = held.chain(due).max().unwrap_or(0);
        if Duration::from_micros(wait) > self.patience {
            return Err(Duration::from_micros(wait));
        }
        for (key, rule) in keys {
            let full_at = state.full_at.entry(key).or_default();
            *full_at = (*full_at).max(now) + rule.step();
        }
        if let Some(page) = page {
            page.write(&state);
        }
        Ok(Duration::from_micros(wait))
    }

    /// The vendor asked to be left alone for `wait` when `action` on `about` was tried.
    pub fn hold(&self, now: Moment, action: &str, about: &str, wait: Duration) {
        let whole = self.rules.iter().any(|rule| rule.scope == Scope::Vendor);
        let key = if whole { whole_key() } else { thing_key(action, about) };
        let until = micros(now).saturating_add(micros_of(wait));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let page = self.book.as_ref().and_then(|book| book.open(&mut state));
        let held = state.held_until.entry(key).or_default();
        *held = (*held).max(until);
        if let Some(page) = page {
            page.write(&state);
        }
    }

    /// Where the clock on the wall was put back, what other processes wrote down lies further ahead than it ever can.
    fn trust(&self, state: &mut State, keys: &[(String, Rule)], now: u64) {
        if self.book.is_none() {
            return;
        }
        for (key, rule) in keys {
            let drawn = now + rule.slack();
            let furthest = drawn + rule.step() + micros_of(self.patience);
            state.full_at.entry(key.clone()).and_modify(|at| {
                if *at > furthest {
                    *at = drawn;
                }
            });
        }
        let longest = now + micros_of(LONGEST_HOLD);
        state.held_until.values_mut().for_each(|until| *until = (*until).min(longest));
    }

    fn keys(&self, action: &str, about: &str) -> Vec<(String, Rule)> {
        let named = self.rules.iter().any(|rule| is_named(rule.scope, action));
        let mut keys = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            match rule.scope {
                Scope::Vendor => keys.push((format!("{}{index}", whole_key()), *rule)),
                Scope::Action(_) if is_named(rule.scope, action) => {
                    keys.push((thing_key(action, about), *rule));
                }
                Scope::EachAction if !named => keys.push((thing_key(action, about), *rule)),
                Scope::Action(_) | Scope::EachAction => {}
            }
        }
        keys
    }
}

impl Rule {
    /// Microseconds per request.
    fn step(self) -> u64 {
        micros_of(self.every)
    }

    /// How far a bucket may be drawn before requests wait.
    fn slack(self) -> u64 {
        self.step() * u64::from(self.burst.saturating_sub(1))
    }
}

impl State {
    fn forget(&mut self, now: u64) {
        self.held_until.retain(|_, until| *until > now);
        if self.full_at.len() > MANY {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
    }
}

fn is_named(scope: Scope, action: &str) -> bool {
    matches!(scope, Scope::Action(name) if name == action)
}

fn whole_key() -> String {
    "*".to_owned()
}

fn thing_key(action: &str, about: &str) -> String {
    format!("{action} {about}")
}

fn micros(moment: Moment) -> u64 {
    moment.0.saturating_mul(1_000)
}

fn micros_of(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fly() -> Limiter {
        let rule = |scope, ms, burst| Rule { scope, every: Duration::from_millis(ms), burst };
        let rules =
            vec![rule(Scope::EachAction, 1_000, 3), rule(Scope::Action("get machine"), 200, 10)];
        Limiter::new(rules, Duration::from_secs(2))
    }

    /// The waits of `count` requests in a row at `at`, in milliseconds; `!` marks a refusal.
    #[track_caller]
    fn check(limiter: &Limiter, at: u64, action: &str, count: usize, expected: &str) {
        let waits: Vec<String> = (0..count)
            .map(|_| match limiter.admit(Moment(at), action, "m1") {
                Ok(wait) => wait.as_millis().to_string(),
                Err(wait) => format!("!{}", wait.as_millis()),
            })
            .collect();
        assert_eq!(waits.join(" "), expected);
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_waits_its_turn() {
        check(&fly(), 5_000, "stop", 6, "0 0 0 1000 2000 !3000");
    }

    #[test]
    fn a_named_action_has_its_own_rate() {
        check(&fly(), 0, "get machine", 12, "0 0 0 0 0 0 0 0 0 0 200 400");
    }

    #[test]
    fn tokens_come_back_with_time() {
        let limiter = fly();
        check(&limiter, 0, "stop", 3, "0 0 0");
        check(&limiter, 1_000, "stop", 2, "0 1000");
        check(&limiter, 60_000, "stop", 4, "0 0 0 1000");
    }

    #[test]
    fn one_thing_does_not_hold_another_back() {
        let limiter = fly();
        check(&limiter, 0, "stop", 3, "0 0 0");
        assert_eq!(limiter.admit(Moment(0), "stop", "m2"), Ok(Duration::ZERO));
        check(&limiter, 0, "start", 1, "0");
    }

    #[test]
    fn what_the_vendor_asks_for_is_honoured() {
        let limiter = fly();
        limiter.hold(Moment(0), "stop", "m1", Duration::from_secs(10));
        check(&limiter, 0, "stop", 1, "!10000");
        check(&limiter, 9_000, "stop", 1, "1000");
        check(&limiter, 10_000, "start", 1, "0");
    }

    #[test]
    fn a_limit_on_the_whole_account_holds_every_action() {
        let hourly = Rule { scope: Scope::Vendor, every: Duration::from_millis(36_000), burst: 2 };
        let limiter = Limiter::new(vec![hourly], Duration::from_secs(2));
        check(&limiter, 0, "look", 1, "0");
        check(&limiter, 0, "deploy", 2, "0 !36000");
        limiter.hold(Moment(0), "look", "", Duration::from_secs(3_600));
        check(&limiter, 72_000, "deploy", 1, "!3528000");
    }
}
