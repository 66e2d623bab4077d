//! Cron expressions: when something is due, by the rules of Vixie's cron, in any time zone.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, ToSpan};

use crate::Timestamp;

/// For how many days a time is looked for: the 29th of February comes within eight years and a century that leaves it out.
const DAYS: u32 = 366 * 9;

/// How far before now a search begins: by as much as clocks are ever set.
const SHIFT: SignedDuration = SignedDuration::from_hours(3);

/// What stands for five fields.
const NAMED: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Five cron fields: minute, hour, day of the month, month, day of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronTable {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether both the day of the month and that of the week are limited: then either will do.
    either_day: bool,
    /// Whether it names its hours and minutes one by one. Such a time comes once a day, however clocks are set.
    fixed: bool,
}

impl CronTable {
    /// Reads five fields, or a name like `@hourly`, which stands for such. `None` when it is neither, or names a time that
    /// never comes.
    pub fn parse(text: &str) -> Option<Self> {
        let text = Self::fields(text);
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else { return None };
        let star = |field: &str| field.starts_with('*');
        let mut weekdays = field(weekday, 0, 7, &WEEKDAYS)?;
        // Both 0 and 7 are Sunday.
        weekdays |= weekdays >> 7 & 1;
        let table = Self {
            minutes: field(minute, 0, 59, &[])?,
            hours: field(hour, 0, 23, &[])?,
            days: field(day, 1, 31, &[])?,
            months: field(month, 1, 12, &MONTHS)?,
            weekdays,
            either_day: !star(day) && !star(weekday),
            fixed: !star(minute) && !star(hour),
        };
        table.after(Timestamp(0), &TimeZone::UTC).is_some().then_some(table)
    }

    /// The five fields that `text` stands for: those of a name, or itself with single spaces.
    pub fn fields(text: &str) -> String {
        let named = NAMED.iter().find(|(name, _)| text.trim().eq_ignore_ascii_case(name));
        let text = named.map_or(text, |(_, fields)| fields);
        text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The first time after `after`, by the clocks of `zone`.
    ///
    /// As Vixie's cron does it: a time that clocks skip comes when they have been set, one that they show twice comes once.
    /// Where the minute or the hour is a `*`, it comes as often as clocks show it, and what they skip is left out.
    pub fn after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let start = zone.to_datetime(after).checked_sub(SHIFT).ok()?;
        let mut best: Option<jiff::Timestamp> = None;
        let mut date = start.date();
        for _ in 0..DAYS {
            if self.has_day(date) {
                for time in self.times(date).filter(|time| *time >= start) {
                    let (first, second) = self.moments(time, zone);
                    let come = [first, second].into_iter().flatten();
                    best = best.into_iter().chain(come.filter(|at| *at > after)).min();
                    if first.is_some() && best.is_some() && first >= best {
                        break;
                    }
                }
            }
            if let Some(best) = best {
                return u64::try_from(best.as_millisecond()).ok().map(Timestamp);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let bit = |set: u64, at: i8| u32::try_from(at).is_ok_and(|at| set >> at & 1 == 1);
        let weekday = match date.weekday() {
            Weekday::Sunday => 0,
            other => other.to_monday_one_offset(),
        };
        let (day, weekday) = (bit(self.days, date.day()), bit(self.weekdays, weekday));
        bit(self.months, date.month())
            && if self.either_day { day || weekday } else { day && weekday }
    }

    /// The times of a day by the clock on the wall.
    fn times(&self, date: Date) -> impl Iterator<Item = DateTime> {
        let hours = (0..24_i8).filter(|hour| self.hours >> hour & 1 == 1);
        hours.flat_map(move |hour| {
            let minutes = (0..60_i8).filter(|minute| self.minutes >> minute & 1 == 1);
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        })
    }

    /// The moments at which a time of the clock on the wall comes: none, one, or two.
    fn moments(
        &self,
        time: DateTime,
        zone: &TimeZone,
    ) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>) {
        match zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(time).ok(), None),
            AmbiguousOffset::Fold { before, after } => {
                let second = after.to_timestamp(time).ok().filter(|_| !self.fixed);
                (before.to_timestamp(time).ok(), second)
            }
            AmbiguousOffset::Gap { after, .. } if self.fixed => {
                // By the later offset the skipped time is before the moment at which clocks are set.
                let before =
                    after.to_timestamp(time).ok().and_then(|t| t.checked_sub(1.second()).ok());
                let set = before.and_then(|before| zone.following(before).next());
                (set.map(|set| set.timestamp()), None)
            }
            AmbiguousOffset::Gap { .. } => (None, None),
        }
    }
}

/// The numbers that a field names, as bits: a list of `*`, `n`, `n-m`, each with an optional `/step`, within the range.
fn field(text: &str, least: u32, most: u32, names: &[&str]) -> Option<u64> {
    let number = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + least);
        let plain =
            || text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        named.or_else(plain).filter(|number| (least..=most).contains(number))
    };
    let mut set = 0;
    for item in text.split(',') {
        let (range, step) = item.split_once('/').map_or((item, None), |(r, s)| (r, Some(s)));
        let step = step.map_or(Some(1), |step| step.parse::<u8>().ok().filter(|step| *step > 0))?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if item.contains('/') => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return None;
        }
        (from..=to).step_by(usize::from(step)).for_each(|number| set |= 1 << number);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp(u64::try_from(at.as_millisecond()).unwrap())
    }

    /// The next times after `after`, by the clock on the wall, with its offset.
    #[track_caller]
    fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
        let table = CronTable::parse(cron).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let mut now = at(after);
        let come = expected.iter().map(|_| {
            now = table.after(now, &zone).unwrap();
            let shown = jiff::Timestamp::from_millisecond(i64::try_from(now.0).unwrap()).unwrap();
            shown.to_zoned_datetime(zone.clone()).strftime("%m-%d %H:%M%:z").to_string()
        });
        assert_eq!(come.collect::<Vec<_>>(), expected, "{cron} {after}");
    }

    #[test]
    fn times_come_as_the_fields_say() {
        let day = |cron, expected: &[&str]| check(cron, "UTC", "2026-11-30T02:35:00Z", expected);
        day("0 3 * * *", &["11-30 03:00+00:00", "12-01 03:00+00:00"]);
        day("*/20 2 * * *", &["11-30 02:40+00:00", "12-01 02:00+00:00"]);
        day("35 2 * * *", &["12-01 02:35+00:00"]);
        day("5-59/30 2-3 * * *", &["11-30 03:05+00:00", "11-30 03:35+00:00", "12-01 02:05+00:00"]);
        day("0 0 * * sun", &["12-06 00:00+00:00"]);
        day("0 0 * * 7", &["12-06 00:00+00:00"]);
        day("0 0 * * fri-7", &["12-04 00:00+00:00", "12-05 00:00+00:00", "12-06 00:00+00:00"]);
        day("0 0 1 jan,JUL *", &["01-01 00:00+00:00", "07-01 00:00+00:00"]);
        day("@hourly", &["11-30 03:00+00:00", "11-30 04:00+00:00"]);
        day("@Weekly", &["12-06 00:00+00:00"]);
        day("0 0 29 2 *", &["02-29 00:00+00:00"]);
        // Either day will do when both are named, and both must fit when one begins with a `*`.
        day("0 0 3 * tue", &["12-01 00:00+00:00", "12-03 00:00+00:00", "12-08 00:00+00:00"]);
        day("0 0 */2 * tue", &["12-01 00:00+00:00", "12-15 00:00+00:00", "12-29 00:00+00:00"]);
    }

    #[test]
    fn clocks_that_are_set_forward_skip_no_fixed_time() {
        let berlin = |cron, expected: &[&str]| {
            check(cron, "Europe/Berlin", "2026-03-28T23:30:00Z", expected);
        };
        // Clocks go from 02:00 to 03:00 on the 29th.
        berlin("30 2 * * *", &["03-29 03:00+02:00", "03-30 02:30+02:00"]);
        berlin("0 3 * * *", &["03-29 03:00+02:00", "03-30 03:00+02:00"]);
        berlin("15,45 2 * * *", &["03-29 03:00+02:00", "03-30 02:15+02:00"]);
        berlin("*/30 * * * *", &["03-29 01:00+01:00", "03-29 01:30+01:00", "03-29 03:00+02:00"]);
        berlin("30 * * * *", &["03-29 01:30+01:00", "03-29 03:30+02:00"]);
        berlin("*/30 2 * * *", &["03-30 02:00+02:00"]);
        let york = |cron, expected: &[&str]| {
            check(cron, "America/New_York", "2026-03-08T05:30:00Z", expected);
        };
        york("30 2 * * *", &["03-08 03:00-04:00", "03-09 02:30-04:00"]);
        york("0 * * * *", &["03-08 01:00-05:00", "03-08 03:00-04:00", "03-08 04:00-04:00"]);
    }

    #[test]
    fn clocks_that_are_set_back_repeat_no_fixed_time() {
        let berlin = |cron, expected: &[&str]| {
            check(cron, "Europe/Berlin", "2026-10-24T23:30:00Z", expected);
        };
        // Clocks go from 03:00 to 02:00 on the 25th.
        berlin("30 2 * * *", &["10-25 02:30+02:00", "10-26 02:30+01:00"]);
        berlin("0 3 * * *", &["10-25 03:00+01:00", "10-26 03:00+01:00"]);
        berlin("30 * * * *", &["10-25 02:30+02:00", "10-25 02:30+01:00", "10-25 03:30+01:00"]);
        berlin(
            "*/30 2 * * *",
            &[
                "10-25 02:00+02:00",
                "10-25 02:30+02:00",
                "10-25 02:00+01:00",
                "10-25 02:30+01:00",
                "10-26 02:00+01:00",
            ],
        );
        let york = |cron, expected: &[&str]| {
            check(cron, "America/New_York", "2026-11-01T04:30:00Z", expected);
        };
        york("30 1 * * *", &["11-01 01:30-04:00", "11-02 01:30-05:00"]);
        york("0 * * * *", &["11-01 01:00-04:00", "11-01 01:00-05:00", "11-01 02:00-05:00"]);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "0 3 * *",
            "60 * * * *",
            "0 24 * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "a b c d e",
            "",
            "0 0 31 2 *",
            "0 0 0 * *",
            "@reboot",
            "+1 * * * *",
            "0 0 * * 8",
            "1- * * * *",
        ] {
            assert_eq!(CronTable::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_time_comes_after_the_one_before_and_is_one_that_the_fields_name(
            minute in 0..60_u32,
            hour in 0..24_u32,
            every in 1..30_u32,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
            from in 1_700_000_000_000_u64..1_900_000_000_000,
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let wall = |at: Timestamp| {
                let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap()).unwrap();
                zone.to_datetime(at)
            };
            let fixed = CronTable::parse(&format!("{minute} {hour} * * *")).unwrap();
            let (mut now, mut days) = (Timestamp(from), Vec::new());
            for _ in 0..400 {
                let next = fixed.after(now, &zone).unwrap();
                // Once each day, whatever the clocks do.
                prop_assert!(next > now && next.0 - now.0 <= 26 * 3_600_000);
                days.push(wall(next).date());
                now = next;
            }
            prop_assert!(days.windows(2).all(|two| two[0].tomorrow().unwrap() == two[1]));
            let often = CronTable::parse(&format!("*/{every} * * * *")).unwrap();
            let (mut now, end) = (Timestamp(from), from + 86_400_000);
            while now.0 < end {
                let next = often.after(now, &zone).unwrap();
                // Clocks that are set by half an hour need not meet the same minutes again.
                let is_set = wall(next).duration_since(wall(now)).as_millis() != i128::from(next.0 - now.0);
                let most = u64::from(every) * if is_set { 2 } else { 1 };
                prop_assert!(next > now && next.0 - now.0 <= most * 60_000);
                prop_assert_eq!(u32::try_from(wall(next).minute()).unwrap() % every, 0);
                now = next;
            }
        }
    }
}
