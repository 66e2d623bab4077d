//! Uptime, from spans alone.

use linkflow_model::{Condition, StateSpan, Timestamp};
use serde::Serialize;

/// How a subject was within a span of time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uptime {
    /// It was down, or not reached from everywhere, where three tenths of the time count.
    pub down_ms: u64,
    /// It was well, or slow.
    pub up_ms: u64,
    /// Work was announced: this counts for nothing.
    pub maintenance_ms: u64,
    /// Nobody looked, or nobody saw: this counts for nothing.
    pub unknown_ms: u64,
}

impl Uptime {
    /// How the subject of `spans` was from `from` to `to`.
    pub fn of(spans: &[StateSpan], from: Timestamp, to: Timestamp) -> Self {
        let mut sum = Self::default();
        for span in spans {
            let end = span.to.unwrap_or(to).min(to);
            let ms = end.0.saturating_sub(span.from.max(from).0);
            match span.condition {
                Condition::Up | Condition::Degraded => sum.up_ms += ms,
                Condition::Down => sum.down_ms += ms,
                Condition::Partial => {
                    let down = ms * 3 / 10;
                    sum.down_ms += down;
                    sum.up_ms += ms - down;
                }
                Condition::Maintenance => sum.maintenance_ms += ms,
                Condition::Unknown => sum.unknown_ms += ms,
            }
        }
        let whole = to.0.saturating_sub(from.0);
        let known = sum.up_ms + sum.down_ms + sum.maintenance_ms + sum.unknown_ms;
        sum.unknown_ms += whole.saturating_sub(known);
        sum
    }

    /// The share in which it was up, in thousandths of a percent, never rounded up; `None` when nothing is known.
    pub fn share(&self) -> Option<u32> {
        let known = u128::from(self.up_ms) + u128::from(self.down_ms);
        (u128::from(self.up_ms) * 100_000)
            .checked_div(known)
            .map(|share| u32::try_from(share).unwrap_or(100_000))
    }

    /// [`Uptime::share`] as people read it: `99.95 %`.
    pub fn text(&self) -> String {
        match self.share() {
            Some(100_000) => "100 %".to_owned(),
            Some(share) => format!("{}.{:03} %", share / 1_000, share % 1_000),
            None => "–".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(all: &[(Condition, u64, Option<u64>)]) -> Vec<StateSpan> {
        let span = |(condition, from, to): &(Condition, u64, Option<u64>)| StateSpan {
            subject: "monitor.a".to_owned(),
            condition: *condition,
            from: Timestamp(*from),
            to: to.map(Timestamp),
            why: None,
        };
        all.iter().map(span).collect()
    }

    #[test]
    fn only_what_is_known_counts() {
        let all = spans(&[
            (Condition::Up, 100, Some(500)),
            (Condition::Down, 500, Some(600)),
            (Condition::Unknown, 600, Some(700)),
            (Condition::Maintenance, 700, Some(800)),
            (Condition::Partial, 800, Some(900)),
            (Condition::Degraded, 900, None),
        ]);
        let seen = Uptime::of(&all, Timestamp(0), Timestamp(1_000));
        let expected = Uptime { down_ms: 130, up_ms: 570, maintenance_ms: 100, unknown_ms: 200 };
        assert_eq!(seen, expected);
        assert_eq!(seen.text(), "81.428 %");
        // The window cuts spans at both ends.
        let seen = Uptime::of(&all, Timestamp(450), Timestamp(550));
        assert_eq!((seen.up_ms, seen.down_ms, seen.unknown_ms), (50, 50, 0));
    }

    #[test]
    fn a_moment_of_downtime_is_never_rounded_away() {
        let day = 86_400_000;
        let all = spans(&[(Condition::Down, 0, Some(1)), (Condition::Up, 1, None)]);
        assert_eq!(Uptime::of(&all, Timestamp(0), Timestamp(day)).text(), "99.999 %");
        assert_eq!(Uptime::of(&all, Timestamp(1), Timestamp(day)).text(), "100 %");
        assert_eq!(Uptime::of(&[], Timestamp(0), Timestamp(day)).text(), "–");
    }
}
