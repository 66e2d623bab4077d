//! Uptime, counted from spans of time and never rounded up.

use std::fmt;

use linkflow_model::monitor::Condition;
use linkflow_model::{StateSpan, Timestamp};

use super::page::{Component, Page, Stretch};

/// How long something was in each condition within a window, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// It answered as it should.
    pub up: u64,
    /// It was worked on, as announced.
    pub maintenance: u64,
    /// Nobody looked.
    pub unknown: u64,
    /// It answered too slowly.
    pub degraded: u64,
    /// It answered some of those who looked.
    pub partial: u64,
    /// It did not answer.
    pub down: u64,
}

const DAY_MS: u64 = 86_400_000;

/// The spans of time for which uptime is told: their names in files, and how many days back they go.
pub(super) const WINDOWS: [(&str, i64); 4] = [("24h", 1), ("7d", 7), ("30d", 30), ("90d", 90)];

/// A share of the whole, in thousandths of a hundredth: 99,950 is 99.95 %. What is less than the whole is never 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Tally {
    /// Adds up `stretches` within `from` and `to`. What none of them covers was not looked at.
    pub fn of(stretches: &[Stretch], from: Timestamp, to: Timestamp) -> Self {
        let mut tally = Self::default();
        let mut covered = 0;
        // They are in order, so the first that reaches into the window is found by halving.
        let first = stretches.partition_point(|stretch| stretch.to <= from);
        for stretch in stretches[first..].iter().take_while(|stretch| stretch.from < to) {
            let ms = stretch.to.min(to).0.saturating_sub(stretch.from.max(from).0);
            covered += ms;
            *tally.of_condition(stretch.condition) += ms;
        }
        tally.unknown += to.0.saturating_sub(from.0).saturating_sub(covered);
        tally
    }

    /// Adds up the last `days` days of `spans`, which are in order. What was before the first of them is not asked for.
    pub fn of_spans(spans: &[StateSpan], days: u32, now: Timestamp) -> Self {
        let first = spans.first().map_or(now, |span| span.from);
        let from = Timestamp(now.0.saturating_sub(u64::from(days) * DAY_MS)).max(first);
        let stretch = |span: &StateSpan| Stretch {
            condition: span.condition,
            from: span.from,
            to: span.to.unwrap_or(now),
        };
        let stretches: Vec<Stretch> = spans.iter().map(stretch).collect();
        Self::of(&stretches, from, now)
    }

    fn of_condition(&mut self, condition: Condition) -> &mut u64 {
        match condition {
            Condition::Up => &mut self.up,
            Condition::Maintenance => &mut self.maintenance,
            Condition::Unknown => &mut self.unknown,
            Condition::Degraded => &mut self.degraded,
            Condition::Partial => &mut self.partial,
            Condition::Down => &mut self.down,
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            up: self.up + other.up,
            maintenance: self.maintenance + other.maintenance,
            unknown: self.unknown + other.unknown,
            degraded: self.degraded + other.degraded,
            partial: self.partial + other.partial,
            down: self.down + other.down,
        }
    }

    /// All of it.
    pub fn all(self) -> u64 {
        self.counted() + self.maintenance + self.unknown
    }

    /// How long it did not answer, or not everyone.
    pub fn lost(self) -> u64 {
        self.down + self.partial
    }

    /// The time that counts: without announced work, and without what nobody looked at.
    fn counted(self) -> u64 {
        self.up + self.degraded + self.partial + self.down
    }

    /// 1 − (down + weight × partial) / (all − maintenance − unknown), with the weight in hundredths. `None`: nothing counts.
    pub fn uptime(self, partial_counts: u32) -> Option<Share> {
        let lost =
            u128::from(self.down) * 100 + u128::from(self.partial) * u128::from(partial_counts);
        Share::of(
            (u128::from(self.counted()) * 100).saturating_sub(lost),
            u128::from(self.counted()) * 100,
        )
    }

    /// How much of the time somebody looked, announced work included.
    pub fn watched(self) -> Option<Share> {
        Share::of(u128::from(self.all() - self.unknown), u128::from(self.all()))
    }

    /// The worst condition in it.
    pub fn worst(self) -> Condition {
        let worst = [
            (self.down, Condition::Down),
            (self.partial, Condition::Partial),
            (self.degraded, Condition::Degraded),
            (self.maintenance, Condition::Maintenance),
            (self.up, Condition::Up),
        ];
        worst.into_iter().find(|(ms, _)| *ms > 0).map_or(Condition::Unknown, |(_, worst)| worst)
    }
}

impl Share {
    /// The whole.
    pub const WHOLE: Self = Self(100_000);

    fn of(part: u128, whole: u128) -> Option<Self> {
        // What is cut off here is why less than the whole is never 100 %.
        u32::try_from((part * 100_000).checked_div(whole)?).ok().map(Self)
    }

    /// The mean of several, cut off like each of them; `None` of none. What is less than the whole in one is less in all.
    pub(super) fn mean(all: &[Self]) -> Option<Self> {
        let sum: u64 = all.iter().map(|share| u64::from(share.0)).sum();
        let mean = sum.checked_div(u64::try_from(all.len()).ok()?)?;
        u32::try_from(mean).ok().map(Self)
    }

    /// In hundredths of the whole: 99.95.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }

    /// Written with the decimal mark of a language, without zeros that say nothing.
    pub fn written(self, mark: char) -> String {
        let (whole, rest) = (self.0 / 1_000, self.0 % 1_000);
        let rest = format!("{rest:03}");
        match rest.trim_end_matches('0') {
            "" => whole.to_string(),
            rest => format!("{whole}{mark}{rest}"),
        }
    }
}

/// What several components come to together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Together {
    /// The least of them.
    pub(super) least: Share,
    /// Their mean.
    pub(super) mean: Share,
}

impl Page {
    /// The uptime of `component` in the last `days` days: one of them is the last 24 hours, more are whole days in the page's
    /// zone. `None`: nobody looked.
    pub(super) fn uptime(&self, component: &Component, days: i64) -> Option<Share> {
        let from = match days {
            1 => Timestamp(self.now.0.saturating_sub(DAY_MS)),
            days => self.days(days).first().map_or(self.now, |day| day.from),
        };
        Tally::of(&component.stretches, from, self.now).uptime(self.partial_counts)
    }

    /// That of several: those that nobody looked at do not count. `None`: nobody looked at any.
    pub(super) fn uptime_of<'a>(
        &self,
        components: impl IntoIterator<Item = &'a Component>,
        days: i64,
    ) -> Option<Together> {
        let known = components.into_iter().filter_map(|one| self.uptime(one, days));
        let known: Vec<Share> = known.collect();
        Some(Together { least: *known.iter().min()?, mean: Share::mean(&known)? })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = DAY_MS;

    fn check(tally: Tally, expected: &str) {
        let said = tally.uptime(30).map(|share| share.to_string()).unwrap_or_default();
        assert_eq!(said, expected, "{tally:?}");
    }

    #[test]
    fn uptime_is_cut_off_and_never_rounded_up() {
        check(Tally { up: 90 * DAY, ..Tally::default() }, "100");
        check(Tally { up: 90 * DAY - 1, down: 1, ..Tally::default() }, "99.999");
        check(Tally { up: 90 * DAY - 31_104, down: 31_104, ..Tally::default() }, "99.999");
        check(Tally { up: 1_999, down: 1, ..Tally::default() }, "99.95");
        check(Tally { up: 2, down: 1, ..Tally::default() }, "66.666");
        check(Tally { down: 5, ..Tally::default() }, "0");
    }

    #[test]
    fn a_partial_outage_counts_by_its_weight_and_slowness_not_at_all() {
        check(Tally { up: 900, partial: 100, ..Tally::default() }, "97");
        check(Tally { up: 900, degraded: 100, ..Tally::default() }, "100");
        let partial = Tally { up: 900, partial: 100, ..Tally::default() };
        assert_eq!(partial.uptime(100).unwrap().to_string(), "90");
        assert_eq!(partial.uptime(0).unwrap().to_string(), "100");
    }

    #[test]
    fn announced_work_and_what_nobody_saw_are_left_out() {
        let tally = Tally { up: 90, down: 10, maintenance: 500, unknown: 400, ..Tally::default() };
        check(tally, "90");
        assert_eq!(tally.watched().unwrap().to_string(), "60");
        check(Tally { unknown: 5, ..Tally::default() }, "");
        check(Tally { maintenance: 5, ..Tally::default() }, "");
    }

    #[test]
    fn a_mean_is_cut_off_and_a_page_is_as_good_as_its_worst() {
        let shares = |all: &[u32]| all.iter().map(|share| Share(*share)).collect::<Vec<_>>();
        assert_eq!(Share::mean(&shares(&[100_000, 99_999])), Some(Share(99_999)), "never 100 %");
        assert_eq!(Share::mean(&shares(&[50_000, 100_000])), Some(Share(75_000)));
        assert_eq!(Share::mean(&[]), None);
        assert!((Share(99_951).percent() - 99.951).abs() < f64::EPSILON);
    }

    #[test]
    fn only_what_lies_within_the_window_is_added_up() {
        let stretch =
            |condition, from, to| Stretch { condition, from: Timestamp(from), to: Timestamp(to) };
        let all = [
            stretch(Condition::Up, 0, 100),
            stretch(Condition::Down, 100, 150),
            stretch(Condition::Up, 200, 400),
        ];
        let tally = Tally::of(&all, Timestamp(120), Timestamp(300));
        assert_eq!(tally, Tally { up: 100, down: 30, unknown: 50, ..Tally::default() });
        assert_eq!(tally.worst(), Condition::Down);
        let before = Tally::of(&all, Timestamp(400), Timestamp(500));
        assert_eq!((before.unknown, before.worst()), (100, Condition::Unknown));
    }

    #[test]
    fn a_day_begins_with_the_first_look_and_ends_now() {
        let span = |condition, from: u64, to: Option<u64>| StateSpan {
            subject: "monitor.a".to_owned(),
            condition,
            from: Timestamp(from),
            to: to.map(Timestamp),
            why: None,
        };
        let all = [
            span(Condition::Up, 100, Some(500)),
            span(Condition::Down, 500, Some(600)),
            span(Condition::Partial, 600, None),
        ];
        let tally = Tally::of_spans(&all, 1, Timestamp(1_000));
        assert_eq!(tally, Tally { up: 400, down: 100, partial: 400, ..Tally::default() });
        let tally = Tally::of_spans(&all, 1, Timestamp(DAY + 550));
        assert_eq!(tally, Tally { down: 50, partial: DAY - 50, ..Tally::default() });
        assert_eq!(Tally::of_spans(&[], 1, Timestamp(DAY)), Tally::default());
    }
}
