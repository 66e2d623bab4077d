//! Who is told, told as rows: a rule, an incident's life, and what is told minute by minute.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use linkflow_model::Acknowledged;

use super::*;

/// 12:00 on some day.
const NOON: u64 = 20_000 * 86_400_000 + 12 * 3_600_000;

fn rule(words: &str) -> AlertRule {
    let mut rule = AlertRule {
        least: Urgency::Warning,
        wait: Duration::ZERO,
        after: None,
        repeat: None,
        quiet: None,
    };
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap();
        let minutes = || Duration::from_secs(60 * value.parse::<u64>().unwrap());
        match name {
            "wait" => rule.wait = minutes(),
            "after" => rule.after = Some(minutes()),
            "repeat" => rule.repeat = Some(minutes()),
            "least" => {
                rule.least = if value == "alarm" { Urgency::Alarm } else { Urgency::Notice };
            }
            "quiet" => {
                let (from, to) = value.split_once('-').unwrap();
                rule.quiet = Some((from.parse().unwrap(), to.parse().unwrap()));
            }
            _ => panic!("{word}"),
        }
    }
    rule
}

fn incident(impact: Impact) -> Incident {
    Incident {
        id: "i".to_owned(),
        title: "API is away".to_owned(),
        impact,
        stage: IncidentStage::Investigating,
        began: Timestamp(NOON),
        ended: None,
        subjects: vec!["monitor.api".to_owned()],
        cause: None,
        automatic: true,
        public: true,
        acknowledged: None,
        updates: Vec::new(),
    }
}

fn minute(number: u64) -> Timestamp {
    Timestamp(NOON + number * 60_000)
}

/// Lives through two hours minute by minute. `life` says what happens to the incident: `ack=7`, `over=30`, `worse=5`.
#[track_caller]
fn check(words: &str, impact: Impact, life: &str, all: &[Incident], expected: &str) {
    let rule = rule(words);
    let (mut incident, mut told) = (incident(impact), Told::default());
    let mut said: Vec<String> = Vec::new();
    for now in 0..=120 {
        for event in life.split_whitespace() {
            let (what, at) = event.split_once('=').unwrap();
            if at.parse::<u64>().unwrap() != now {
                continue;
            }
            match what {
                "ack" => {
                    incident.acknowledged =
                        Some(Acknowledged { by: "ada".to_owned(), at: minute(now) });
                }
                "over" => incident.stage = IncidentStage::Resolved,
                _ => incident.impact = Impact::Critical,
            }
        }
        match alert(&rule, &incident, &told, all, minute(now)) {
            Alerting::Tell(what) => {
                told = told.after(what, urgency(&incident), minute(now));
                said.push(format!("{now}:{what:?}"));
            }
            Alerting::Later(at) => assert!(at > minute(now), "it is looked at again later"),
            Alerting::Nothing => {}
        }
    }
    assert_eq!(said.join(" "), expected);
}

#[test]
fn what_begins_is_told_once_and_so_is_its_end() {
    check("", Impact::Major, "over=30", &[], "0:Began 30:Over");
    check("", Impact::Major, "", &[], "0:Began");
    check("least=alarm", Impact::Minor, "over=30", &[], "");
    check("least=notice", Impact::None, "over=30", &[], "0:Began 30:Over");
}

#[test]
fn what_is_over_before_the_wait_is_not_told_at_all() {
    check("wait=2", Impact::Major, "over=1", &[], "");
    check("wait=2", Impact::Major, "over=9", &[], "2:Began 9:Over");
}

#[test]
fn reminders_come_until_somebody_takes_it() {
    check(
        "repeat=20",
        Impact::Major,
        "ack=45 over=100",
        &[],
        "0:Began 20:Still 40:Still 45:Taken 100:Over",
    );
}

#[test]
fn the_next_step_is_told_only_when_nobody_takes_it() {
    check("after=15", Impact::Major, "ack=7 over=30", &[], "");
    check("after=15", Impact::Major, "ack=20 over=30", &[], "15:Began 20:Taken 30:Over");
}

#[test]
fn what_gets_worse_is_told_again_and_may_only_then_matter() {
    check("", Impact::Minor, "worse=5 over=30", &[], "0:Began 5:Worse 30:Over");
    check("least=alarm", Impact::Minor, "worse=5 over=30", &[], "5:Began 30:Over");
}

#[test]
fn quiet_hours_keep_what_is_no_alarm_until_they_are_over() {
    // 720 is noon.
    check("quiet=700-760", Impact::Minor, "", &[], "40:Began");
    check("quiet=700-760", Impact::Minor, "over=30", &[], "");
    check("quiet=700-760", Impact::Major, "over=30", &[], "0:Began 30:Over");
    check("quiet=740-760", Impact::Minor, "over=30", &[], "0:Began 40:Over");
    check("quiet=1320-420", Impact::Minor, "", &[], "0:Began");
    check("quiet=700-5", Impact::Minor, "", &[], "");
}

#[test]
fn a_cause_that_comes_and_goes_is_told_once_it_stays() {
    let before = |number: u64| Incident {
        id: format!("before-{number}"),
        began: Timestamp(NOON - number * 600_000),
        ended: Some(Timestamp(NOON - number * 600_000 + 60_000)),
        stage: IncidentStage::Resolved,
        ..incident(Impact::Major)
    };
    let three: Vec<Incident> = (1..=3).map(before).collect();
    check("", Impact::Major, "over=3", &three, "");
    check("", Impact::Major, "over=30", &three, "5:Began 30:Over");
    check("", Impact::Major, "over=30", &three[..2], "0:Began 30:Over");
}

#[test]
fn each_is_on_duty_for_a_turn_that_begins_on_a_monday() {
    let week = Duration::from_secs(7 * 86_400);
    // 2026-11-30 00:00 UTC is a Monday.
    let monday = 1_795_996_800_000;
    let who = |at| on_duty(3, week, Timestamp(at));
    assert_ne!(who(monday - 1), who(monday));
    assert_eq!(who(monday), who(monday + 7 * 86_400_000 - 1));
    assert_eq!(who(monday), who(monday + 21 * 86_400_000));
    assert_eq!(on_duty(0, week, Timestamp(monday)), 0);
}
