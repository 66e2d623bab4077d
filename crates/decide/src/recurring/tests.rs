//! Windows that come again: what is announced at which moment, in the time of their zone.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use core::time::Duration;

use linkflow_model::config::{Cron, Many, Zone};

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn moment(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp(u64::try_from(at.as_millisecond()).unwrap())
}

/// One window that lasts an hour and is announced two weeks ahead.
fn one(cron: &str, zone: &str) -> Windows {
    let window = Window {
        title: "Backup".into(),
        text: String::new(),
        cron: Cron(cron.into()),
        time_zone: Zone(zone.into()),
        lasts: HOUR,
        ahead: 14 * 24 * HOUR,
        tell: true,
        on: Many(vec!["database.main".into()]),
    };
    BTreeMap::from([("backup".parse().unwrap(), window)])
}

/// The same, changed by `how`.
fn with(mut windows: Windows, how: impl Fn(&mut Window)) -> Windows {
    windows.values_mut().for_each(how);
    windows
}

type Windows = BTreeMap<ItemName, Window>;

/// `20261129-0100 to 02:00`, a line each; with what marks it.
fn shown(all: &[Maintenance]) -> Vec<String> {
    let time = |at: Timestamp| {
        let text = minute_text(at);
        text.split_once('-').unwrap().1.to_owned()
    };
    let one = |work: &Maintenance| {
        let mark = if work.cancelled { " cancelled" } else { "" };
        format!("{}-{}{mark}", work.id.strip_prefix("backup-").unwrap(), time(work.to))
    };
    all.iter().map(one).collect()
}

#[track_caller]
fn check(cron: &str, zone: &str, now: &str, expected: &[&str]) {
    let windows = one(cron, zone);
    let told = recurring(&windows, &[], moment(now));
    assert_eq!(shown(&told.write), expected, "{cron} in {zone} at {now}");
    let again = recurring(&windows, &told.write, moment(now));
    assert_eq!(again, Announced::default(), "once more changes nothing");
}

#[test]
fn times_are_announced_so_long_ahead_and_eight_at_most() {
    let weekly = ["20261206-0200-0300", "20261213-0200-0300"];
    check("0 2 * * 0", "UTC", "2026-11-30T00:00:00Z", &weekly);
    let daily = recurring(&one("@daily", "UTC"), &[], moment("2026-11-30T12:00:00Z"));
    assert_eq!(daily.write.len(), TIMES);
    let soon = with(one("@daily", "UTC"), |window| window.ahead = 24 * HOUR);
    let soon = recurring(&soon, &[], moment("2026-11-30T12:00:00Z"));
    assert_eq!(shown(&soon.write), ["20261201-0000-0100"]);
    // What is far away is known all the same.
    check("0 2 1 1 *", "UTC", "2026-11-30T00:00:00Z", &[]);
    let (name, window) = one("0 2 1 1 *", "UTC").pop_first().unwrap();
    let next = next_time(&name, &window, moment("2026-11-30T00:00:00Z"));
    assert_eq!(shown(&[next.unwrap()]), ["20270101-0200-0300"]);
}

#[test]
fn what_is_under_way_when_nobody_had_announced_it_is_announced_late() {
    check("0 2 1 * *", "UTC", "2026-12-01T02:30:00Z", &["20261201-0200-0300"]);
    check("0 2 1 * *", "UTC", "2026-12-01T03:00:00Z", &[]);
}

#[test]
fn a_window_stays_at_its_time_of_day_and_as_long_as_it_is_when_clocks_are_set() {
    let (berlin, york) = ("Europe/Berlin", "America/New_York");
    let fall = ["20261018-0230-0330", "20261025-0330-0430"];
    check("30 4 * * 0", berlin, "2026-10-12T00:00:00Z", &fall);
    let spring = ["20270307-0930-1030", "20270314-0830-0930"];
    check("30 4 * * 0", york, "2027-03-02T00:00:00Z", &spring);
    // 02:30 is left out on 2027-03-28: it begins when the clock was set, and takes an hour all the same.
    check("30 2 28 3 *", berlin, "2027-03-20T00:00:00Z", &["20270328-0100-0200"]);
    // 02:30 comes twice on 2026-10-25: it begins once.
    check("30 2 25 10 *", berlin, "2026-10-20T00:00:00Z", &["20261025-0030-0130"]);
}

/// What has changed at `now` when `then` is asked for, where `0 2 * * 0` was announced before, and since changed by `how`.
#[track_caller]
fn after(how: impl Fn(&mut Maintenance), then: &Windows, now: &str) -> Announced {
    let mut held = recurring(&one("0 2 * * 0", "UTC"), &[], moment(BEFORE)).write;
    assert_eq!(held.len(), 2);
    held.iter_mut().for_each(how);
    recurring(then, &held, moment(now))
}

const BEFORE: &str = "2026-11-30T00:00:00Z";
const DURING: &str = "2026-12-06T02:30:00Z";
const GONE: [&str; 2] = ["20261206-0200-0300 cancelled", "20261213-0200-0300 cancelled"];

#[test]
fn what_is_asked_for_otherwise_is_changed_before_it_begins_and_not_after() {
    let longer = with(one("0 2 * * 0", "UTC"), |window| window.lasts = 3 * HOUR);
    let told = after(|_| {}, &longer, BEFORE);
    assert_eq!(shown(&told.write), ["20261206-0200-0500", "20261213-0200-0500"]);
    assert!(told.write.iter().all(|work| work.sequence == 1), "{told:?}");
    let told = after(|_| {}, &longer, DURING);
    assert_eq!(shown(&told.write), ["20261220-0200-0500", "20261213-0200-0500"]);
    let told = after(|_| {}, &one("0 4 * * 0", "UTC"), BEFORE);
    let moved = ["20261206-0400-0500", "20261213-0400-0500"];
    assert_eq!(shown(&told.write), [moved, GONE].concat());
}

#[test]
fn what_was_announced_stays_so_when_less_is_announced_ahead() {
    let soon = with(one("0 2 * * 0", "UTC"), |window| window.ahead = 24 * HOUR);
    assert_eq!(after(|_| {}, &soon, BEFORE), Announced::default());
}

#[test]
fn what_a_person_called_off_or_ended_stays_so() {
    let same = one("0 2 * * 0", "UTC");
    let told = after(|work| work.cancelled = true, &same, BEFORE);
    assert_eq!(told, Announced::default());
    let told = after(|work| work.cancelled = true, &one("0 4 * * 0", "UTC"), BEFORE);
    assert_eq!(shown(&told.write), ["20261206-0400-0500", "20261213-0400-0500"]);
    let early = |work: &mut Maintenance| work.to = Timestamp(work.from.0 + 60_000);
    let told = after(early, &same, DURING);
    // The other one had not begun, so nobody can have ended it.
    assert_eq!(shown(&told.write), ["20261220-0200-0300", "20261213-0200-0300"]);
}

#[test]
fn what_was_withdrawn_comes_back_with_its_window() {
    let gone = after(|_| {}, &Windows::new(), BEFORE);
    assert_eq!(shown(&gone.write), GONE);
    assert_eq!(recurring(&Windows::new(), &gone.write, moment(BEFORE)), Announced::default());
    let back = recurring(&one("0 2 * * 0", "UTC"), &gone.write, moment(BEFORE));
    assert_eq!(shown(&back.write), ["20261206-0200-0300", "20261213-0200-0300"]);
    assert!(back.write.iter().all(|work| work.sequence == 2), "{back:?}");
}

#[test]
fn what_was_announced_by_a_person_is_left_alone_and_what_is_long_over_is_forgotten() {
    let mut held = recurring(&one("0 2 * * 0", "UTC"), &[], moment(BEFORE)).write;
    held[0].recurs = None;
    let told = recurring(&Windows::new(), &held, moment("2027-03-20T00:00:00Z"));
    assert_eq!((told.write.len(), shown(&told.forget)), (0, vec!["20261213-0200-0300".into()]));
}
