//! Domains, in stories: what the registry said at which hour, and how the domain is by that.

use alloc::string::String;
use alloc::vec::Vec;

use super::*;

/// An end: day 100 after [`BASE`], which is 2026-12-24.
const ENDS: u64 = BASE + 100 * DAY_MS;
const BASE: u64 = 1_789_430_400_000;

const TERMS: Terms = Terms { every_ms: 12 * HOUR_MS, left_ms: 30 * DAY_MS };

fn asked(text: &str) -> Asked {
    let (kind, status) = text.split_once(':').unwrap_or((text, ""));
    let status: Vec<String> =
        status.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let registered =
        |ends| Asked::Registered(Registration { ends, status: status.clone(), registrar: None });
    match kind {
        "ends" => registered(Some(Timestamp(ENDS))),
        "renewed" => registered(Some(Timestamp(ENDS + 365 * DAY_MS))),
        "endless" => registered(None),
        "nobody" => Asked::Nobody,
        "unserved" => Asked::Unserved("io".into()),
        "silent" => Asked::Silent("no answer in 10 s".into()),
        "later" => Asked::Later(None),
        other => Asked::Later(Some(other.parse().unwrap())),
    }
}

/// What was said on which day, and how it is on the last one.
#[track_caller]
fn check(story: &[(u64, &str)], day: u64, expected: &str) {
    let mut state = DomainState::default();
    for (day, text) in story {
        take(TERMS, &mut state, asked(text), Timestamp(BASE + day * DAY_MS), 500);
    }
    let Verdict { condition, why, grave } = judge(TERMS, &state, Timestamp(BASE + day * DAY_MS));
    let grave = if grave { " grave" } else { "" };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    assert_eq!(format!("{condition:?}{grave}{why}"), expected, "{story:?} on day {day}");
}

#[test]
fn the_less_is_left_the_more_it_matters() {
    let soon = "Degraded: it ends on 2026-12-24";
    check(&[(69, "ends")], 69, "Up");
    check(&[(70, "ends")], 70, "Up");
    check(&[(71, "ends")], 71, soon);
    check(&[(93, "ends")], 93, soon);
    check(&[(94, "ends")], 94, "Degraded grave: it ends on 2026-12-24");
    check(&[(101, "ends")], 101, "Down grave: it ended on 2026-12-24");
    check(&[(94, "ends"), (95, "renewed")], 95, "Up");
}

#[test]
fn status_words_of_the_registry_count_more_than_its_dates() {
    for (status, expected) in [
        ("ends:active,client transfer prohibited", "Up"),
        ("ends:redemption period", "Down grave: its registry says `redemption period`"),
        ("ends:active,pending delete", "Down grave: its registry says `pending delete`"),
        (
            "ends:client hold",
            "Degraded grave: its registry says `client hold`: no name server knows it",
        ),
        (
            "endless:server hold",
            "Degraded grave: its registry says `server hold`: no name server knows it",
        ),
    ] {
        check(&[(1, status)], 1, expected);
    }
}

#[test]
fn what_is_not_known_is_never_down() {
    check(&[], 1, "Unknown: its registry was not asked yet");
    check(&[(1, "unserved")], 500, "Unknown: no registry of `.io` answers by RDAP");
    check(&[(1, "endless")], 1, "Unknown: its registry does not tell when it ends");
    check(&[(1, "silent")], 1, "Unknown: no answer in 10 s");
    check(&[(1, "later")], 1, "Unknown: its registry asks to come later");
    // What was said before counts for a week.
    check(&[(1, "ends"), (8, "silent")], 8, "Up");
    check(&[(1, "ends"), (9, "silent")], 9, "Unknown: no answer in 10 s");
    // It may have been renewed on the last day.
    check(
        &[(99, "ends"), (101, "silent")],
        101,
        "Unknown: it was to end on 2026-12-24, and its registry has not said more since",
    );
}

#[test]
fn a_registry_must_say_twice_that_there_is_no_such_domain() {
    let once = "Unknown: its registry knows no such domain, and is asked once more";
    check(&[(1, "ends"), (2, "nobody")], 2, once);
    check(&[(1, "nobody"), (2, "nobody")], 2, "Down grave: its registry knows no such domain");
    check(&[(1, "nobody"), (2, "ends"), (3, "nobody")], 3, once);
}

#[test]
fn registries_are_asked_seldom_and_later_when_they_say_so() {
    let rows = [
        ("ends", 12 * 60),
        ("endless", 12 * 60),
        ("unserved", 24 * 60),
        ("nobody", 10),
        ("nobody nobody", 12 * 60),
        ("silent", 10),
        ("silent silent", 20),
        ("silent silent silent silent silent silent silent silent", 12 * 60),
        ("silent ends", 12 * 60),
        ("later", 60),
        ("later later", 120),
        ("5400000", 90),
        // Neither is a second a wait, nor is a year one.
        ("1000", 1),
        ("31536000000", 7 * 24 * 60),
    ];
    for (story, minutes) in rows {
        let mut state = DomainState::default();
        for text in story.split(' ') {
            take(TERMS, &mut state, asked(text), Timestamp(BASE), 500);
        }
        assert_eq!((state.next.0 - BASE) / MINUTE_MS, minutes, "{story}");
    }
}

#[test]
fn times_are_spread_and_an_end_is_asked_for_when_it_came() {
    let next = |now: u64, share| {
        let mut state = DomainState::default();
        take(TERMS, &mut state, asked("ends"), Timestamp(now), share);
        state.next.0
    };
    assert_eq!(next(BASE, 0) - BASE, 12 * HOUR_MS * 9 / 10);
    assert!(next(BASE, 999) - BASE < 12 * HOUR_MS * 11 / 10);
    assert_eq!(next(ENDS - 3 * HOUR_MS, 500), ENDS + MINUTE_MS);
    assert_eq!(next(ENDS - 1_000, 500), ENDS - 1_000 + HOUR_MS);
}

#[test]
fn what_was_told_of_an_end_is_forgotten_when_it_is_another() {
    let mut state = DomainState { told_days: Some(7), ..DomainState::default() };
    take(TERMS, &mut state, asked("ends"), Timestamp(BASE), 0);
    state.told_days = Some(30);
    take(TERMS, &mut state, asked("ends"), Timestamp(BASE), 0);
    assert_eq!(state.told_days, Some(30));
    take(TERMS, &mut state, asked("renewed"), Timestamp(BASE), 0);
    assert_eq!(state.told_days, None);
}
