//! Incidents, in stories: how everything stands, minute by minute, and what is told.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use linkflow_model::{Acknowledged, Condition, Incident, Timestamp};

use super::{Sort, Stands, incidents};

const DAY: &str = "20261129";

/// `api: down 3 needs db held`: since second 3.
fn stands(text: &str) -> Vec<Stands> {
    let one = |line: &str| {
        let (name, rest) = line.split_once(": ").unwrap();
        let mut words = rest.split(' ');
        let condition = match words.next().unwrap() {
            "up" => Condition::Up,
            "slow" => Condition::Degraded,
            "partly" => Condition::Partial,
            "down" => Condition::Down,
            "unseen" => Condition::Unknown,
            "worked-on" => Condition::Maintenance,
            other => panic!("{other}"),
        };
        let since = Timestamp(words.next().unwrap().parse::<u64>().unwrap() * 1_000);
        let rest: Vec<&str> = words.collect();
        let needs = rest.iter().skip_while(|w| **w != "needs").skip(1).filter(|w| **w != "held");
        let (kind, sort) = match () {
            () if rest.contains(&"inner") => ("heartbeat", Sort::Reports),
            () if rest.contains(&"domain") => {
                ("domain", Sort::Domain { grave: rest.contains(&"grave") })
            }
            () => ("monitor", Sort::Answers),
        };
        Stands {
            subject: format!("{kind}.{name}"),
            name: name.to_owned(),
            condition,
            since,
            why: (condition == Condition::Down).then(|| "503".to_owned()),
            needs: needs.map(|need| format!("monitor.{need}")).collect(),
            held: rest.contains(&"held"),
            inner: rest.contains(&"inner"),
            sort,
        }
    };
    text.split("; ").filter(|line| !line.is_empty()).map(one).collect()
}

/// Lets time pass: at each second everything stands so. What is told of each incident at the end.
fn story(rows: &[(u64, &str)]) -> Vec<Incident> {
    let mut all: Vec<Incident> = Vec::new();
    for (second, text) in rows {
        let now = Timestamp(second * 1_000);
        let changed = incidents(&stands(text), &all, now, DAY);
        for incident in changed {
            match all.iter_mut().find(|one| one.id == incident.id) {
                Some(known) => *known = incident,
                None => all.push(incident),
            }
        }
        assert!(incidents(&stands(text), &all, now, DAY).is_empty(), "once more changes nothing");
    }
    all
}

#[track_caller]
fn check(rows: &[(u64, &str)], expected: &[&str]) {
    let told: Vec<String> = story(rows)
        .iter()
        .map(|one| {
            let ended = one.ended.map_or_else(String::new, |at| format!("-{}", at.0 / 1_000));
            let public = if one.public { " public" } else { "" };
            let (impact, stage) = (format!("{:?}", one.impact), format!("{:?}", one.stage));
            format!(
                "{}: {} {}{ended}{public}: {}: {}",
                one.id,
                impact.to_lowercase(),
                one.began.0 / 1_000,
                one.subjects.join(" ").replace("monitor.", ""),
                stage.to_lowercase(),
            )
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn what_is_down_opens_one_incident_and_what_is_up_again_ends_it() {
    check(
        &[
            (10, "api: up 1; db: up 1"),
            (20, "api: down 15; db: up 1"),
            (25, "api: down 15; db: up 1"),
            (50, "api: up 44; db: up 1"),
        ],
        &["20261129-api: major 15-44: api: resolved"],
    );
}

#[test]
fn a_domain_that_ends_soon_needs_somebody_more_the_less_is_left() {
    let mild = (20, "shop.example: slow 15 domain");
    let grave = (30, "shop.example: slow 15 domain grave");
    let id = "20261129-shop-example";
    check(&[mild], &[&format!("{id}: minor 15: domain.shop.example: investigating")]);
    check(&[mild, grave], &[&format!("{id}: major 15: domain.shop.example: investigating")]);
    let renewed = (40, "shop.example: up 35 domain");
    check(&[mild, grave, renewed], &[&format!("{id}: major 15-35: domain.shop.example: resolved")]);
    assert_eq!(story(&[mild])[0].title, "shop.example may be lost");
}

#[test]
fn one_cause_is_one_incident_whatever_it_takes_down() {
    check(
        &[
            (20, "db: down 15; api: up 1 needs db; site: up 1 needs api"),
            (30, "db: down 15; api: down 22 needs db; site: down 25 needs api"),
            (60, "db: up 40; api: up 42 needs db; site: down 25 needs api"),
            (70, "db: up 40; api: up 42 needs db; site: up 65 needs api"),
        ],
        &["20261129-db: major 15-65: db api site: resolved"],
    );
}

#[test]
fn a_cause_that_is_found_later_takes_over_the_incident_that_there_is() {
    let all = story(&[
        (20, "db: up 1; api: down 15 needs db"),
        (30, "db: down 18; api: down 15 needs db"),
    ]);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].cause.as_deref(), Some("monitor.db"));
    assert!(all[0].updates.iter().any(|u| u.text.starts_with("The cause is monitor.db")));
    assert!(all[0].updates.iter().filter(|u| u.public).all(|u| !u.text.contains("monitor.")));
}

#[test]
fn while_the_cause_is_in_doubt_nothing_is_opened_for_what_needs_it() {
    check(&[(20, "db: up 1; api: down 15 needs db held")], &[]);
    check(
        &[(20, "db: up 1; api: down 15 needs db held"), (24, "db: down 16; api: down 15 needs db")],
        &["20261129-db: major 15: db api: investigating"],
    );
    check(
        &[(20, "db: up 1; api: down 15 needs db held"), (24, "db: up 1; api: down 15 needs db")],
        &["20261129-api: major 15: api: investigating"],
    );
}

#[test]
fn what_only_slows_is_minor_and_grows_with_what_comes() {
    check(&[(20, "api: slow 15")], &["20261129-api: minor 15: api: investigating"]);
    check(
        &[(20, "api: slow 15"), (30, "api: down 28"), (90, "api: slow 60"), (99, "api: up 95")],
        &["20261129-api: major 15-95: api: resolved"],
    );
}

#[test]
fn the_public_is_told_of_what_lasts() {
    check(
        &[(20, "api: down 15"), (134, "api: down 15")],
        &["20261129-api: major 15: api: investigating"],
    );
    check(
        &[(20, "api: down 15"), (135, "api: down 15")],
        &["20261129-api: major 15 public: api: investigating"],
    );
    check(
        &[(20, "api: slow 15"), (999, "api: slow 15")],
        &["20261129-api: minor 15: api: investigating"],
    );
    // A job at night is not its business.
    check(
        &[(20, "job: down 15 inner"), (999, "job: down 15 inner")],
        &["20261129-job: major 15: heartbeat.job: investigating"],
    );
}

#[test]
fn what_cannot_be_seen_opens_nothing_and_ends_nothing() {
    check(&[(20, "api: unseen 15")], &[]);
    check(
        &[(20, "api: down 15"), (30, "api: unseen 25"), (40, "api: down 15")],
        &["20261129-api: major 15: api: investigating"],
    );
    check(
        &[(20, "api: down 15"), (30, "api: worked-on 25")],
        &["20261129-api: major 15-25: api: resolved"],
    );
    check(&[(20, "api: down 15"), (30, "")], &["20261129-api: major 15-30: api: resolved"]);
}

#[test]
fn the_next_one_of_a_day_has_a_number() {
    check(
        &[(20, "api: down 15"), (30, "api: up 25"), (40, "api: down 35")],
        &[
            "20261129-api: major 15-25: api: resolved",
            "20261129-api-2: major 35: api: investigating",
        ],
    );
}

#[test]
fn needs_that_go_round_in_circles_have_a_cause_all_the_same() {
    check(
        &[(20, "a: down 15 needs b; b: down 16 needs a")],
        &["20261129-a: major 15: a b: investigating"],
    );
}

#[test]
fn what_a_person_opened_is_left_alone_and_what_a_person_said_is_kept() {
    let mut all = story(&[(20, "api: down 15")]);
    all[0].acknowledged = Some(Acknowledged { by: "ann".to_owned(), at: Timestamp(21_000) });
    let ended = incidents(&stands("api: up 30"), &all, Timestamp(40_000), DAY);
    assert_eq!(ended[0].acknowledged, all[0].acknowledged);
    all[0].automatic = false;
    assert!(incidents(&stands("api: up 30"), &all, Timestamp(40_000), DAY).is_empty());
}
