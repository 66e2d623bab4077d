//! What answers usually take at this hour, learned of the hours of the last week.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use linkflow_model::Timestamp;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How many days are learned of.
const DAYS: u64 = 7;

/// Of so many different days there must be something, and so many looks in all: less is no habit.
const LEAST_DAYS: usize = 3;
const LEAST_LOOKS: u64 = 30;

/// So many times what is usual is slow,
const TIMES: u64 = 3;

/// and at least so much more: of what takes 2 ms, 8 ms are no trouble.
const MORE_MS: u64 = 200;

/// The good looks of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub at: Timestamp,
    /// How many they were.
    pub looks: u64,
    /// How long 95 % of them took at most.
    pub p95_ms: u64,
}

/// What answers usually take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// The history has not been asked yet.
    Unasked,
    /// There is too little history, or it is not to be learned of.
    Unknown,
    /// It is known.
    Known {
        /// How long 95 % of them take at this hour.
        usual_ms: u64,
        /// From which time on they are slow.
        slow_ms: u64,
    },
}

/// What is usual at `now`, from the hours of the week before: those of the same hour of the day and its neighbours.
///
/// It is the median of their 95th percentiles, so that one bad day of the week changes nothing, and a new habit is one after
/// four days. Slow is three times that, 200 ms more than that, or `least_ms`, whatever is longest. The hour that still runs
/// is left out: what is slow now must not make itself usual.
pub fn usual(hours: &[Hour], now: Timestamp, least_ms: u64) -> Usual {
    let this = now.0 - now.0 % HOUR_MS;
    let from = this.saturating_sub(DAYS * DAY_MS);
    let near = |at: Timestamp| {
        let apart = (at.0 / HOUR_MS).abs_diff(this / HOUR_MS) % 24;
        apart.min(24 - apart) <= 1
    };
    let used = hours.iter().filter(|hour| hour.at.0 >= from && hour.at.0 < this && near(hour.at));
    let used: Vec<&Hour> = used.filter(|hour| hour.looks > 0).collect();
    let days: BTreeSet<u64> = used.iter().map(|hour| hour.at.0 / DAY_MS).collect();
    let looks: u64 = used.iter().map(|hour| hour.looks).sum();
    let mut times: Vec<u64> = used.iter().map(|hour| hour.p95_ms).collect();
    times.sort_unstable();
    match times.get(times.len() / 2) {
        Some(&usual_ms) if days.len() >= LEAST_DAYS && looks >= LEAST_LOOKS => {
            let slow_ms = usual_ms.saturating_mul(TIMES).max(usual_ms.saturating_add(MORE_MS));
            Usual::Known { usual_ms, slow_ms: slow_ms.max(least_ms) }
        }
        _ => Usual::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours of so many days before noon of the tenth day: of each hour of the day, what `p95` says.
    fn week(days: u64, looks: u64, p95: impl Fn(u64, u64) -> u64) -> Vec<Hour> {
        let hours = (10 - days) * 24..10 * 24 + 12;
        let one = |hour: u64| Hour {
            at: Timestamp(hour * HOUR_MS),
            looks,
            p95_ms: p95(hour / 24, hour % 24),
        };
        hours.map(one).collect()
    }

    const NOON: Timestamp = Timestamp(10 * DAY_MS + 12 * HOUR_MS + 900_000);

    fn known(usual_ms: u64, slow_ms: u64) -> Usual {
        Usual::Known { usual_ms, slow_ms }
    }

    #[test]
    fn what_is_usual_is_that_of_this_hour() {
        let busy_at_noon = |_, hour| if (10..=14).contains(&hour) { 400 } else { 50 };
        assert_eq!(usual(&week(7, 60, busy_at_noon), NOON, 0), known(400, 1_200));
        let night = Timestamp(NOON.0 - 9 * HOUR_MS);
        assert_eq!(usual(&week(7, 60, busy_at_noon), night, 0), known(50, 250));
        // Around midnight the neighbours are of another day.
        let at_midnight = |_, hour| if hour == 23 || hour < 2 { 300 } else { 50 };
        let midnight = Timestamp(10 * DAY_MS + 60_000);
        assert_eq!(usual(&week(7, 60, at_midnight), midnight, 0), known(300, 900));
    }

    #[test]
    fn a_bad_day_is_no_habit_and_four_are() {
        let bad = |days: u64| move |day, _| if day >= 10 - days { 2_000 } else { 100 };
        assert_eq!(usual(&week(7, 60, bad(1)), NOON, 0), known(100, 300));
        assert_eq!(usual(&week(7, 60, bad(2)), NOON, 0), known(100, 300));
        assert_eq!(usual(&week(7, 60, bad(4)), NOON, 0), known(2_000, 6_000));
    }

    #[test]
    fn too_little_is_no_habit() {
        assert_eq!(usual(&[], NOON, 0), Usual::Unknown);
        assert_eq!(usual(&week(1, 60, |_, _| 100), NOON, 0), Usual::Unknown);
        assert_eq!(usual(&week(2, 60, |_, _| 100), NOON, 0), known(100, 300));
        assert_eq!(usual(&week(7, 1, |_, _| 100), NOON, 0), Usual::Unknown);
        assert_eq!(usual(&week(7, 0, |_, _| 100), NOON, 0), Usual::Unknown);
    }

    #[test]
    fn what_is_fast_has_room_and_a_least_is_kept() {
        assert_eq!(usual(&week(7, 60, |_, _| 2), NOON, 0), known(2, 202));
        assert_eq!(usual(&week(7, 60, |_, _| 2), NOON, 800), known(2, 800));
        assert_eq!(usual(&week(7, 60, |_, _| 500), NOON, 800), known(500, 1_500));
        assert_eq!(usual(&week(7, 60, |_, _| u64::MAX), NOON, 0), known(u64::MAX, u64::MAX));
    }
}
