//! Stories of jobs, in minutes, and what is told of them.

use linkflow_model::{CronTable, Output};

use super::*;

/// The beginning of a day, in UTC.
const BASE: u64 = 20_000 * 86_400_000;

fn at(minutes: f64) -> Timestamp {
    Timestamp(BASE + (minutes * 60_000.0) as u64)
}

fn every(minutes: u64) -> Terms {
    Terms {
        rhythm: Rhythm::Every(minutes * 60_000),
        grace_ms: 60_000,
        max_runtime_ms: None,
        slow_ms: None,
        failures: 0,
        overlap: true,
    }
}

fn cron(text: &str) -> Terms {
    let zone = linkflow_model::config::Zone("UTC".to_owned()).rules();
    Terms { rhythm: Rhythm::Cron(CronTable::parse(text).unwrap(), zone), ..every(1) }
}

/// `run:10` is a report after ten minutes, `run/a:10` one of the series `a`, `fail=3:10` one with an exit code. `to:12` lets
/// time pass, `deaf:10-20` has nobody listen, `back:5` sets the clock back, `resume:9` waits again.
#[track_caller]
fn check(terms: &Terms, story: &str, expected: &[&str]) {
    let mut state = begin(terms, at(0.0));
    let mut told = Vec::new();
    for (number, word) in story.split_whitespace().enumerate() {
        let (what, when) = word.split_once(':').unwrap();
        let before = (state.condition, state.why.clone());
        let minutes = |text: &str| at(text.parse().unwrap());
        match what {
            "to" => passed(terms, &mut state, minutes(when)),
            "back" => set_back(terms, &mut state, minutes(when)),
            "resume" => resume(terms, &mut state, minutes(when)),
            "deaf" => {
                let (from, to) = when.split_once('-').unwrap();
                deaf(terms, &mut state, Deaf { from: minutes(from), to: minutes(to) });
            }
            says => {
                let (says, exit) = says.split_once('=').map_or((says, None), |(s, e)| (s, Some(e)));
                let (says, series) =
                    says.split_once('/').map_or((says, None), |(s, name)| (s, Some(name)));
                let all = [Says::Run, Says::Complete, Says::Fail, Says::Ok, Says::Log];
                let beat = Beat {
                    id: format!("{number}"),
                    heartbeat: "job".to_owned(),
                    at: minutes(when),
                    says: all.into_iter().find(|one| one.word() == says).unwrap(),
                    series: series.map(ToOwned::to_owned),
                    message: None,
                    exit: exit.map(|exit| exit.parse().unwrap()),
                    took_ms: None,
                    counts: Default::default(),
                    host: None,
                    output: None,
                };
                assert!(heard(terms, &mut state, &beat));
                assert!(!heard(terms, &mut state, &beat), "twice is once");
            }
        }
        if before != (state.condition, state.why.clone()) {
            let since = (state.since.0 - BASE) as f64 / 60_000.0;
            let why = state.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            told.push(format!("{:?}@{since}{why}", state.condition));
        }
    }
    assert_eq!(told, expected, "{story}");
}

#[test]
fn what_reports_in_time_is_up() {
    check(&every(10), "ok:3 ok:13 ok:23.9 to:33", &["Up@3"]);
    check(&cron("*/10 * * * *"), "ok:10 ok:20.9 ok:30 to:40.9", &["Up@10"]);
}

#[test]
fn what_does_not_is_down_from_the_moment_at_which_it_was_overdue() {
    check(&every(10), "ok:3 to:50", &["Up@3", "Down@14: no report 1 min after it was due"]);
    check(
        &cron("0 3 * * *"),
        "ok:180.5 to:5000 ok:5000",
        &["Up@180.5", "Down@1621: no report 1 min after it was due", "Up@5000"],
    );
    // One that was never set up is missed as well.
    check(&every(10), "to:10.9 to:11", &["Down@11: no report 1 min after it was due"]);
}

#[test]
fn a_report_that_was_too_late_tells_of_the_miss_first() {
    check(&every(10), "ok:3 ok:15", &["Up@3"]);
    check(
        &cron("0 * * * *"),
        "ok:60 to:121.5 ok:122",
        &["Up@60", "Down@121: no report 1 min after it was due", "Up@122"],
    );
}

#[test]
fn a_clock_that_is_a_little_ahead_makes_no_miss() {
    check(&cron("0 * * * *"), "ok:59.95 to:120 ok:120 to:180", &["Up@59.95"]);
    check(
        &cron("0 * * * *"),
        "ok:59 to:61",
        &["Up@59", "Down@61: no report 1 min after it was due"],
    );
}

#[test]
fn a_failure_is_told_with_its_exit_code_and_a_success_ends_it() {
    check(
        &every(10),
        "run:1 fail=3:2 run:9 complete:10",
        &["Down@2: failed with exit code 3", "Up@10"],
    );
}

#[test]
fn some_failures_may_be_tolerated_in_a_row() {
    let lenient = Terms { failures: 2, ..every(10) };
    check(
        &lenient,
        "ok:1 fail:5 fail:10 ok:15 fail:20 to:31 to:32 fail:35",
        &["Up@1", "Down@35: failed"],
    );
    check(&lenient, "ok:1 to:60", &["Up@1", "Down@32: no report 1 min after it was due"]);
}

#[test]
fn a_run_that_does_not_end_is_told() {
    let limited = Terms { max_runtime_ms: Some(300_000), ..every(60) };
    check(&limited, "run:1 to:6 complete:7", &["Down@6: a run has not ended after 5 min", "Up@7"]);
    // Without a limit it must end before the next one is overdue.
    check(
        &every(10),
        "complete:0 run:10 to:22",
        &["Up@0", "Down@21: a run has not ended after 11 min"],
    );
    check(
        &cron("*/10 * * * *"),
        "complete:0 run:10 run:20",
        &["Up@0", "Down@20: the run before never ended"],
    );
    // A report that was sent twice is no second run.
    check(&cron("*/10 * * * *"), "run:10 run:10.1 complete:12", &["Up@12"]);
}

#[test]
fn two_runs_at_once_are_fine_or_not() {
    let story = "complete:0 run/a:5 run/b:6 complete/a:7 complete/b:8";
    check(&every(10), story, &["Up@0"]);
    let alone = Terms { overlap: false, ..every(10) };
    check(&alone, story, &["Up@0", "Degraded@6: two runs at once", "Up@7"]);
    check(
        &alone,
        "run/a:1 run/b:2 run/c:3 complete/a:4 complete/c:5",
        &["Degraded@2: two runs at once", "Up@5"],
    );
}

#[test]
fn a_long_run_is_slow_and_a_short_one_ends_that() {
    let quick = Terms { slow_ms: Some(120_000), ..every(60) };
    check(
        &quick,
        "run:0 complete:3 run:60 complete:61",
        &["Degraded@3: a run took 3 min, more than 2 min", "Up@61"],
    );
}

#[test]
fn what_nobody_could_hear_is_no_miss() {
    check(
        &every(10),
        "ok:3 deaf:12-16 to:26 ok:26 to:36",
        &["Up@3", "Unknown@12: nobody listened when it was due", "Up@26"],
    );
    // Where nothing was due, nothing is unknown.
    check(
        &every(10),
        "ok:3 deaf:4-6 to:13 to:14",
        &["Up@3", "Down@14: no report 1 min after it was due"],
    );
    // It may have come just before it was due.
    check(
        &cron("0 * * * *"),
        "ok:60 deaf:119.5-120.5 to:179 ok:180",
        &["Up@60", "Unknown@119.5: nobody listened when it was due", "Up@180"],
    );
    // What was missed before is so, and what does not come afterwards either.
    check(
        &every(10),
        "ok:3 deaf:30-40 to:52",
        &["Up@3", "Down@14: no report 1 min after it was due"],
    );
    check(
        &every(10),
        "ok:3 deaf:12-30 to:41",
        &[
            "Up@3",
            "Unknown@12: nobody listened when it was due",
            "Down@41: no report 1 min after it was due",
        ],
    );
    // Years are over as soon as a minute.
    check(
        &cron("* * * * *"),
        "ok:1 deaf:1.5-5000000 to:5000001",
        &["Up@1", "Unknown@1.5: nobody listened when it was due"],
    );
}

#[test]
fn a_run_may_have_ended_while_nobody_listened() {
    let limited = Terms { max_runtime_ms: Some(600_000), ..every(60) };
    check(
        &limited,
        "ok:0 run:1 deaf:5-6 to:12 complete:13",
        &["Up@0", "Unknown@11: a run may have ended while nobody listened", "Up@13"],
    );
    check(&limited, "ok:0 run:1 deaf:5-6 complete:7 to:12", &["Up@0"]);
}

#[test]
fn what_comes_late_does_not_undo_what_came_after() {
    check(&every(10), "fail:9 complete:5 to:12", &["Down@9: failed"]);
    check(&every(10), "ok:1 to:12 log:13", &["Up@1", "Down@12: no report 1 min after it was due"]);
}

#[test]
fn an_end_that_overtakes_its_beginning_ends_it() {
    let mut terms = every(60);
    terms.max_runtime_ms = Some(600_000);
    // Six hundredths of a minute are 3.6 s.
    check(&terms, "complete/a:10 run/a:10 to:25", &["Up@10"]);
    check(&terms, "fail/a:10 run/a:10.06 to:25", &["Down@10: failed"]);
    check(&terms, "run/a:10.06 complete/a:10 to:25", &["Up@10.06"]);
    // Later, or where the end has its beginning, another run goes by the same name.
    let late = ["Up@10", "Down@20.2: a run has not ended after 10 min"];
    check(&terms, "complete/a:10 run/a:10.2 to:25", &late);
    let again = ["Up@10", "Down@20.06: a run has not ended after 10 min"];
    check(&terms, "run/a:9 complete/a:10 run/a:10.06 to:25", &again);
}

#[test]
fn a_report_is_remembered_with_the_time_under_which_its_output_is_kept() {
    let (terms, mut state) = (every(60), begin(&every(60), at(0.0)));
    let beat = |id: &str, minutes, says| Beat {
        id: id.to_owned(),
        heartbeat: "job".to_owned(),
        at: at(minutes),
        says,
        series: Some("a".to_owned()),
        message: None,
        exit: None,
        took_ms: None,
        counts: Default::default(),
        host: None,
        output: Some(3),
    };
    let end = beat("2", 10.0, Says::Fail);
    assert!(heard(&terms, &mut state, &beat("1", 10.06, Says::Run)));
    assert!(heard(&terms, &mut state, &end));
    assert!(state.runs.is_empty());
    assert_eq!(Output::key(state.recent.last().unwrap()), Output::key(&end));
}

#[test]
fn a_clock_that_is_set_back_makes_no_miss() {
    check(&every(10), "ok:30 back:5 to:15 ok:15.5 to:26", &["Up@30"]);
    check(
        &every(10),
        "ok:30 back:5 to:17",
        &["Up@30", "Down@16: no report 1 min after it was due"],
    );
}

#[test]
fn it_is_waited_for_anew_after_a_pause() {
    check(
        &every(10),
        "ok:1 resume:60 to:70 to:71",
        &[
            "Up@1",
            "Unknown@60: it has not reported yet",
            "Down@71: no report 1 min after it was due",
        ],
    );
}

/// A number below `most` that follows from `seed`, which it changes.
fn dice(seed: &mut u64, most: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % most
}

/// A job that reports in time, some of it to nobody, for a hundred periods, and then no more. It is never told while it does,
/// and it is told soon afterwards.
fn live(terms: &Terms, mut seed: u64) {
    const PERIOD_MS: u64 = 600_000;
    let mut state = begin(terms, at(0.0));
    let (mut deaf_from, mut deaf_to) = (0, 0);
    let mut report = PERIOD_MS;
    let mut number = 0;
    let end = 100 * PERIOD_MS;
    for now in (1_000..end).step_by(1_000) {
        if now == deaf_to {
            let (from, to) = (Timestamp(BASE + deaf_from), Timestamp(BASE + deaf_to));
            deaf(terms, &mut state, Deaf { from, to });
        }
        let is_deaf = (deaf_from..deaf_to).contains(&now);
        if !is_deaf && dice(&mut seed, 900) == 0 {
            (deaf_from, deaf_to) = (now, now + 1_000 * (1 + dice(&mut seed, 3_000)));
        }
        if now >= report {
            let due = report - report % PERIOD_MS;
            report = due + PERIOD_MS + dice(&mut seed, terms.grace_ms - 1_000);
            number += 1;
            if !(deaf_from..deaf_to).contains(&now) {
                let beat = Beat {
                    id: format!("{number}"),
                    heartbeat: "job".to_owned(),
                    at: Timestamp(BASE + now),
                    says: if dice(&mut seed, 2) == 0 { Says::Ok } else { Says::Complete },
                    series: None,
                    message: None,
                    exit: None,
                    took_ms: None,
                    counts: Default::default(),
                    host: None,
                    output: None,
                };
                heard(terms, &mut state, &beat);
            }
        }
        if !(deaf_from..deaf_to).contains(&now) {
            passed(terms, &mut state, Timestamp(BASE + now));
        }
        assert_ne!(state.condition, Condition::Down, "{seed} {now} {:?}", state.why);
    }
    let to = Timestamp(BASE + end.max(deaf_to));
    if deaf_to > end {
        deaf(terms, &mut state, Deaf { from: Timestamp(BASE + deaf_from), to });
    }
    passed(terms, &mut state, Timestamp(to.0 + 2 * PERIOD_MS + terms.grace_ms));
    assert_eq!(state.condition, Condition::Down, "{seed}");
    assert!(state.since.0 > to.0 - PERIOD_MS, "{seed}: dated before it stopped");
}

#[test]
fn no_job_that_reports_is_told_and_every_one_that_stops_is() {
    for seed in 0..60 {
        live(&every(10), seed);
        live(&cron("*/10 * * * *"), seed);
    }
}
