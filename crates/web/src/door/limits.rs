//! How often somebody may try to sign in: a few times at once, then after waits that grow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use linkflow_model::Moment;

/// How many addresses and accounts are remembered; of more, those that were quiet for longest are forgotten.
const REMEMBERED: usize = 8_192;

/// After so long without a failure all is forgotten.
const FORGET_MS: u64 = 3_600_000;

/// Whose tries are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// Those from an address: of IPv6 its network of 64 bits, which is one customer's.
    Address(IpAddr),
    /// Those for a name, whether or not there is such a person.
    Account(String),
}

impl Whose {
    /// Those from `address`; when it is not known, all such tries are one's.
    pub(super) fn address(address: Option<IpAddr>) -> Self {
        Self::Address(match address {
            Some(IpAddr::V6(six)) => match six.to_ipv4_mapped() {
                Some(four) => IpAddr::V4(four),
                None => IpAddr::V6((u128::from(six) & (u128::MAX << 64)).into()),
            },
            Some(four) => four,
            None => IpAddr::from([0, 0, 0, 0]),
        })
    }

    /// How many tries cost nothing, and how long the longest wait is. An account's is short: whoever tries names from many
    /// addresses must not shut its owner out.
    fn rule(&self) -> (u32, u64) {
        match self {
            Self::Address(_) => (10, 15 * 60_000),
            Self::Account(_) => (5, 60_000),
        }
    }

    /// How long after the last of `tries` the next may come: 1 s, 2 s, 4 s, …
    fn wait(&self, tries: u32) -> u64 {
        let (free, most) = self.rule();
        match tries.checked_sub(free) {
            None => 0,
            Some(over) => (1_000_u64 << over.min(20)).min(most),
        }
    }
}

#[derive(Clone, Copy)]
struct Tries {
    count: u32,
    last: Moment,
}

/// Counts tries.
#[derive(Default)]
pub(super) struct Limits {
    tries: Mutex<HashMap<Whose, Tries>>,
}

impl Limits {
    /// Counts a try, which is taken for a failure until it [worked](Self::worked): so many at once are no way around.
    ///
    /// # Errors
    /// How many milliseconds the next try has to wait; this one counts for nothing.
    pub(super) fn begin(&self, whose: &[Whose], now: Moment) -> Result<(), u64> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = |tries: &HashMap<Whose, Tries>, one: &Whose| {
            let held = tries.get(one).filter(|held| now.since(held.last) < FORGET_MS);
            held.copied().unwrap_or(Tries { count: 0, last: now })
        };
        let left = |one: &Whose| {
            let held = counted(&tries, one);
            one.wait(held.count).saturating_sub(now.since(held.last))
        };
        let wait = whose.iter().map(left).max().unwrap_or(0);
        if wait > 0 {
            return Err(wait);
        }
        for one in whose {
            let count = counted(&tries, one).count.saturating_add(1);
            if tries.len() >= REMEMBERED && !tries.contains_key(one) {
                let oldest = tries.iter().min_by_key(|(_, held)| held.last);
                if let Some(oldest) = oldest.map(|(whose, _)| whose.clone()) {
                    tries.remove(&oldest);
                }
            }
            tries.insert(one.clone(), Tries { count, last: now });
        }
        Ok(())
    }

    /// The try that was begun last was no failure: all of theirs is forgotten.
    pub(super) fn worked(&self, whose: &[Whose]) {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        tries.retain(|held, _| !whose.contains(held));
    }
}

/// How many failures of a minute are told one by one.
const TOLD: u32 = 30;

/// Tells a few failures of each minute, and how many there were besides: nobody fills the audit from outside.
#[derive(Default)]
pub(super) struct Few {
    minute: Mutex<(u64, u32)>,
    untold: Mutex<u64>,
}

impl Few {
    /// Whether this one is told, and then how many were not since the last one that was.
    pub(super) fn tell(&self, now: Moment) -> Option<u64> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.0 != now.0 / 60_000 {
            *minute = (now.0 / 60_000, 0);
        }
        minute.1 = minute.1.saturating_add(1);
        if minute.1 <= TOLD {
            return Some(std::mem::take(&mut *untold));
        }
        *untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> [Whose; 1] {
        [Whose::Account(name.to_owned())]
    }

    #[test]
    fn the_first_tries_are_free_and_then_waits_grow() {
        let (limits, mut now) = (Limits::default(), Moment(1_000_000));
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Err(wait) = limits.begin(&account("ann"), now) {
                waits.push(wait / 1_000);
                now = now.plus(wait);
                assert_eq!(limits.begin(&account("ann"), now), Ok(()), "the wait is over");
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60], "and no more than a minute");
        assert_eq!(limits.begin(&account("bob"), now), Ok(()), "another is not held up");
        let later = now.plus(FORGET_MS);
        assert_eq!(limits.begin(&account("ann"), later), Ok(()));
        assert_eq!(limits.begin(&account("ann"), later), Ok(()), "an hour forgives");
    }

    #[test]
    fn who_was_let_in_begins_anew() {
        let (limits, now) = (Limits::default(), Moment(0));
        for _ in 0..50 {
            assert_eq!(limits.begin(&account("ann"), now), Ok(()));
            limits.worked(&account("ann"));
        }
    }

    #[test]
    fn one_customers_addresses_are_one() {
        let of = |text: &str| Whose::address(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn of_many_failures_a_few_are_told_and_the_rest_is_counted() {
        let few = Few::default();
        let told = (0..100).filter(|_| few.tell(Moment(5)).is_some()).count();
        assert_eq!(told, 30);
        assert_eq!(few.tell(Moment(60_000)), Some(70));
        assert_eq!(few.tell(Moment(60_000)), Some(0));
    }

    #[test]
    fn the_memory_is_bounded_and_the_quiet_are_forgotten_first() {
        let limits = Limits::default();
        for _ in 0..5 {
            limits.begin(&account("ann"), Moment(0)).unwrap();
        }
        for number in 0..REMEMBERED {
            let at = Moment(1 + number as u64);
            limits.begin(&account(&number.to_string()), at).unwrap();
        }
        assert_eq!(limits.tries.lock().unwrap().len(), REMEMBERED);
        assert_eq!(limits.begin(&account("ann"), Moment(9_000)), Ok(()), "the oldest went");
    }
}
