//! Days, months and moments in the time zone of the page.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, ZonedDateTime};
use linkflow_model::Timestamp;

use super::page::Page;

/// A day in the page's zone: usually 24 hours, 23 or 25 when clocks change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) date: Date,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// A calendar month in the page's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Month {
    pub(crate) year: i16,
    pub(crate) month: i8,
}

/// `at` on a clock of `zone`.
pub(crate) fn in_zone(at: Timestamp, zone: &TimeZone) -> ZonedDateTime {
    let ms = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    // The last moment that a calendar can name stands for all later ones.
    ZonedDateTime::new(ms.unwrap_or(jiff::Timestamp::MAX), zone.clone())
}

/// When `date` begins in `zone`.
fn start(date: Date, zone: &TimeZone) -> Timestamp {
    let start = date.to_zoned_datetime(zone.clone()).and_then(|noon| noon.start_of_day());
    let ms = start.map_or(0, |start| start.timestamp().as_millisecond());
    Timestamp(u64::try_from(ms).unwrap_or(0))
}

fn day(date: Date, zone: &TimeZone) -> Day {
    Day { date, from: start(date, zone), to: start(date.saturating_add(1.day()), zone) }
}

impl Page {
    /// The last `count` days, oldest first; the last of them is not over.
    pub(crate) fn days(&self, count: i64) -> Vec<Day> {
        let today = in_zone(self.now, &self.zone).date();
        let back = (0..count).rev();
        back.map(|ago| day(today.saturating_sub(ago.days()), &self.zone)).collect()
    }

    /// The month of `at`.
    pub(crate) fn month(&self, at: Timestamp) -> Month {
        let at = in_zone(at, &self.zone);
        Month { year: at.year(), month: at.month() }
    }

    /// When `month` begins and ends.
    pub(crate) fn span(&self, month: Month) -> (Timestamp, Timestamp) {
        let first = Date::new(month.year, month.month, 1).unwrap_or(Date::MIN);
        (start(first, &self.zone), start(first.saturating_add(1.month()), &self.zone))
    }

    /// The last `count` months, newest first.
    pub(crate) fn months(&self, count: usize) -> Vec<Month> {
        std::iter::successors(Some(self.month(self.now)), |month| Some(month.before()))
            .take(count)
            .collect()
    }
}

impl Month {
    /// The month before.
    pub(crate) fn before(self) -> Self {
        match self.month {
            1 => Self { year: self.year - 1, month: 12 },
            month => Self { month: month - 1, ..self },
        }
    }

    /// `2026-11`.
    pub(crate) fn id(self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }
}

/// `2026-11-29T14:03:05Z`, as feeds and `<time>` write it.
pub(crate) fn utc(at: Timestamp) -> String {
    in_zone(at, &TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::page;

    /// Hours of the last days in a zone, at a moment.
    fn hours(zone: &str, now: &str) -> Vec<u64> {
        let mut page = page();
        page.zone = TimeZone::get(zone).unwrap();
        let now: jiff::Timestamp = now.parse().unwrap();
        page.now = Timestamp(u64::try_from(now.as_millisecond()).unwrap());
        page.days(3).iter().map(|day| (day.to.0 - day.from.0) / 3_600_000).collect()
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_of_its_zone_make_it() {
        assert_eq!(hours("UTC", "2026-03-30T12:00:00Z"), [24, 24, 24]);
        assert_eq!(hours("Europe/Berlin", "2026-03-30T12:00:00Z"), [24, 23, 24]);
        assert_eq!(hours("Europe/Berlin", "2026-10-26T12:00:00Z"), [24, 25, 24]);
        // Beirut's clocks jump at midnight: the day begins at one.
        assert_eq!(hours("Asia/Beirut", "2026-03-30T12:00:00Z"), [24, 23, 24]);
    }

    #[test]
    fn days_end_at_the_zones_midnight_not_at_utcs() {
        let mut page = page();
        page.zone = TimeZone::get("Asia/Tokyo").unwrap();
        // 23:30 in Tokyo on the 1st, and an hour later the 2nd.
        page.now = Timestamp(1_793_543_400_000);
        assert_eq!(page.days(1)[0].date.to_string(), "2026-11-01");
        page.now = Timestamp(page.now.0 + 3_600_000);
        assert_eq!(page.days(1)[0].date.to_string(), "2026-11-02");
    }

    #[test]
    fn months_go_back_over_the_year() {
        let mut page = page();
        page.now = Timestamp(1_768_000_000_000);
        let ids: Vec<String> = page.months(3).into_iter().map(Month::id).collect();
        assert_eq!(ids, ["2026-01", "2025-12", "2025-11"]);
        let (from, to) = page.span(Month { year: 2025, month: 12 });
        assert_eq!(
            (utc(from), utc(to)),
            ("2025-12-01T00:00:00Z".into(), "2026-01-01T00:00:00Z".into())
        );
    }
}
