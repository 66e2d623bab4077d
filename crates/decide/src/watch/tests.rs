//! Looks at stories, and what is told of them.

use std::collections::BinaryHeap;

use super::*;

/// What a look of a vantage would see at a moment, and how long that takes.
pub(super) type World<'a> = dyn FnMut(usize, Moment) -> (u64, Seen) + 'a;

#[derive(PartialEq, Eq)]
enum Next {
    Ends(Look, Seen),
    Lingers(Look),
}

/// What comes next is the greatest.
#[derive(PartialEq, Eq)]
struct Coming(Moment, u64, Next);

impl Ord for Coming {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

impl PartialOrd for Coming {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Looks as is due until `until`, and tells each turn with its moment.
pub(super) fn drive(
    watch: &mut Watch,
    until: Moment,
    world: &mut World<'_>,
    mut turned: impl FnMut(Moment, &Standing),
) {
    let mut coming: BinaryHeap<Coming> = BinaryHeap::new();
    let mut number = 0;
    loop {
        let vantages = 0..watch.eyes.len();
        let (due, vantage) =
            vantages.map(|vantage| (watch.due(vantage), vantage)).min().expect("one looks");
        let now = coming.peek().map_or(due, |next| next.0.min(due));
        if now >= until {
            return;
        }
        if now == due {
            let (took, seen) = world(vantage, now);
            let patience = watch.patience_ms();
            let look = watch.begin(vantage, now);
            number += 2;
            if took > patience {
                coming.push(Coming(now.plus(patience), number, Next::Lingers(look)));
                coming.push(Coming(now.plus(took), number + 1, Next::Ends(look, seen)));
            } else if watch.end(look, now.plus(took), &seen) {
                turned(now.plus(took), watch.standing());
            }
            continue;
        }
        match coming.pop().expect("it was looked at").2 {
            Next::Lingers(look) => watch.lingers(look, now),
            Next::Ends(look, seen) => {
                if watch.end(look, now, &seen) {
                    turned(now, watch.standing());
                }
            }
        }
    }
}

pub(super) fn manner(every_s: u64, slow_ms: Option<u64>) -> Manner {
    let every_ms = every_s * 1_000;
    Manner {
        every_ms,
        limit_ms: 10_000,
        hold_ms: Manner::usual_hold(every_ms),
        slow_ms,
        learn_ms: None,
    }
}

/// What `story` shows at `at`: `60 refused` means that it refuses connections from 60 s on. `v1:` is one vantage's own.
fn seen(story: &str, vantage: usize, at: Moment) -> (u64, Seen) {
    let own = format!("v{vantage}:");
    let mut now = "ok";
    for part in story.split(", ") {
        let part = match part.split_once(':') {
            Some(_) if !part.starts_with(&own) => continue,
            Some((_, part)) => part,
            None => part,
        };
        let (from, what) = part.split_once(' ').expect("a time and a word");
        if Moment((from.parse::<f64>().unwrap() * 1e3) as u64) <= at {
            now = what;
        }
    }
    match now {
        "ok" => (20, Seen::Well { took_ms: 20 }),
        "hung" => (10_000, Seen::Silent("no answer in 10 s".to_owned())),
        "refused" => (1, Seen::Silent("refused".to_owned())),
        "503" => (5, Seen::Wrong("503".to_owned())),
        "blind" => (5, Seen::Blind),
        slow => {
            let took_ms = slow.parse().expect("a word, or how long an answer takes");
            (took_ms, Seen::Well { took_ms })
        }
    }
}

/// Looks every `every_s` seconds from `vantages` places, the first at 0, and tells each turn in seconds.
#[track_caller]
fn check(every_s: u64, vantages: u64, story: &str, expected: &str) {
    let manner = manner(every_s, Some(1_000));
    let first: Vec<Moment> =
        (0..vantages).map(|v| Moment(v * manner.every_ms / vantages)).collect();
    told(Watch::new(manner, &first), story, expected);
}

/// The same with a witness besides, who looks when the first does.
#[track_caller]
fn check_with_witness(vantages: u64, story: &str, expected: &str) {
    let manner = manner(10, None);
    let places = (0..vantages).map(|v| Moment(v * manner.every_ms / vantages));
    let first: Vec<Moment> = places.chain([Moment(0)]).collect();
    told(Watch::new(manner, &first).with_witness(), story, expected);
}

#[track_caller]
fn told(mut watch: Watch, story: &str, expected: &str) {
    let mut told = Vec::new();
    drive(&mut watch, Moment(4_000_000), &mut |v, at| seen(story, v, at), |now, standing| {
        let seconds = |at: Moment| at.0 as f64 / 1e3;
        let word = format!("{:?}", standing.condition).to_lowercase();
        let since = seconds(standing.since);
        let why = standing.why.as_ref().map(|why| format!(" {why}")).unwrap_or_default();
        let flaps = if standing.flaps { " flaps" } else { "" };
        told.push(format!("{} {word} since {since}{why}{flaps}", seconds(now)));
    });
    assert_eq!(told.join("\n"), expected.replace("\n            ", "\n"));
}

const UP: &str = "0.02 up since 0";

#[test]
fn a_dead_service_is_confirmed_within_two_seconds_of_the_first_bad_look() {
    check(10, 1, "100 refused", &format!("{UP}\n101.602 down since 100 refused"));
    // It died right after a look: 10 s, and then the same.
    check(10, 1, "100.001 503", &format!("{UP}\n111.61 down since 110 503"));
    check(1, 1, "100 refused", &format!("{UP}\n101.602 down since 100 refused"));
}

#[test]
fn a_hung_service_is_confirmed_within_two_seconds_of_the_limit() {
    check(10, 1, "100 hung", &format!("{UP}\n111.9 down since 100 no answer in 10 s"));
}

#[test]
fn seldom_looks_are_confirmed_for_half_a_minute() {
    check(60, 1, "120 refused", &format!("{UP}\n148.002 down since 120 refused"));
    check(60, 1, "120 refused, 147 ok", UP);
    check(30, 3, "100 refused", &format!("{UP}\n128.002 down since 100 refused"));
}

#[test]
fn one_lost_look_is_no_outage() {
    check(10, 1, "100 refused, 100.1 ok", UP);
    check(10, 1, "100 hung, 100.1 ok", UP);
    check(10, 1, "100 refused, 101 ok", UP);
}

#[test]
fn three_good_looks_end_an_outage_and_a_bad_one_begins_the_count_anew() {
    check(
        10,
        1,
        "100 refused, 125 ok, 145 503, 155 ok",
        &format!("{UP}\n101.602 down since 100 refused\n180.02 up since 160"),
    );
    // What is looked at seldom is looked at more often while it is down.
    check(
        600,
        1,
        "600 refused, 905 ok",
        &format!("{UP}\n628.002 down since 600 refused\n930.02 up since 910"),
    );
}

#[test]
fn more_than_half_of_those_who_see_must_agree() {
    check(
        30,
        3,
        "v1:100 hung, v2:100 hung",
        &format!("{UP}\n138.3 down since 100 no answer in 10 s"),
    );
    check(30, 3, "v1:100 refused", &format!("{UP}\n111.221 partial since 100 refused"));
    check(
        30,
        3,
        "v1:100 refused, v1:400 ok",
        &format!("{UP}\n111.221 partial since 100 refused\n430.02 up since 400"),
    );
    // The others see it die too.
    check(
        30,
        3,
        "v1:100 refused, v0:203 503, v2:203 503",
        &format!("{UP}\n111.221 partial since 100 refused\n238.01 down since 210 503"),
    );
}

#[test]
fn who_sees_nothing_has_no_vote() {
    check(
        30,
        3,
        "v0:50 blind, v1:100 refused, v2:100 refused",
        &format!("{UP}\n128.002 down since 100 refused"),
    );
    // One of two alone is, when the other saw nothing already before.
    check(30, 2, "v0:20 blind, v1:100 refused", &format!("{UP}\n133.002 down since 105 refused"));
    // One of three alone is believed by nobody.
    check(30, 3, "v0:50 blind, v1:50 blind, v2:100 refused", UP);
}

#[test]
fn when_nobody_sees_anything_nobody_knows() {
    check(
        10,
        1,
        "100 blind, 205 ok",
        &format!("{UP}\n100.005 unknown since 100 our own network was gone\n210.02 up since 210"),
    );
    check(
        10,
        1,
        "100 blind, 205 refused",
        &format!(
            "{UP}\n100.005 unknown since 100 our own network was gone\n211.602 down since 210 refused"
        ),
    );
}

#[test]
fn what_answers_slowly_for_minutes_is_degraded_until_it_is_well_below() {
    let degraded = "degraded since 100.94 answers take 1500 ms, more than 1000 ms";
    check(10, 1, "100 1500", &format!("{UP}\n281.5 {degraded}"));
    check(10, 1, "100 1500, 200 20", UP);
    // Five looks at 900 ms are not enough; at 700 ms they are.
    check(10, 1, "100 1500, 400 900", &format!("{UP}\n281.5 {degraded}"));
    check(10, 1, "100 1500, 400 700", &format!("{UP}\n281.5 {degraded}\n420.7 up since 420"));
    check(
        10,
        1,
        "100 1500, 400 refused",
        &format!("{UP}\n281.5 {degraded}\n401.602 down since 400 refused"),
    );
}

#[test]
fn what_is_always_slow_is_not_doubted_each_time() {
    // 2 s are usual here: the looks that confirm begin only after 6 s, and none does.
    let mut watch = Watch::new(manner(10, None), &[Moment(0)]);
    let mut looks = 0;
    let mut world = |_: usize, at: Moment| {
        looks += usize::from(at >= Moment(100_000));
        (2_000, Seen::Well { took_ms: 2_000 })
    };
    drive(&mut watch, Moment(1_100_000), &mut world, |_, _| {});
    assert_eq!(looks, 100);
}

#[test]
fn who_changes_too_often_flaps_until_half_an_hour_is_quiet() {
    let story = "100 refused, 125 ok, 200 refused, 225 ok, 300 refused, 325 ok";
    check(
        10,
        1,
        story,
        &format!(
            "{UP}\n101.602 down since 100 refused\n150.02 up since 130\n201.602 down since 200 refused\n\
             250.02 up since 230 flaps\n301.602 down since 300 refused flaps\n350.02 up since 330 flaps\n\
             2160.02 up since 330"
        ),
    );
}

#[test]
fn looks_stay_at_their_own_times() {
    let mut watch = Watch::new(manner(10, None), &[Moment(3_000)]);
    let look = watch.begin(0, Moment(3_000));
    watch.end(look, Moment(3_020), &Seen::Well { took_ms: 20 });
    assert_eq!(watch.due(0), Moment(13_000));
    // The machine slept: what was missed is left out.
    watch.begin(0, Moment(48_500));
    assert_eq!(watch.due(0), Moment(53_000));
}

#[test]
fn watching_goes_on_where_it_stood() {
    let standing = Standing {
        condition: Condition::Down,
        since: Moment(7),
        why: Some("refused".to_owned()),
        flaps: false,
    };
    let mut watch = Watch::going_on(manner(10, None), &[Moment(1_000)], standing.clone());
    let look = watch.begin(0, Moment(1_000));
    assert!(!watch.end(look, Moment(1_001), &Seen::Silent("refused".to_owned())));
    assert_eq!(*watch.standing(), standing);
}

#[test]
fn a_witness_joins_in_and_one_that_has_nothing_to_say_changes_nothing() {
    let down = |at: &str| format!("{UP}\n{at} down since 100 refused");
    check_with_witness(1, "v1:0 blind, v0:100 refused", &down("101.606"));
    let story = "v2:0 blind, v0:100 refused, v1:100 refused";
    check_with_witness(2, story, &down("101.606"));
    // The other place is away for good: here alone is enough, as without a witness.
    let story = "v2:0 blind, v1:0 blind, v0:100 refused";
    check_with_witness(2, story, &down("101.606"));
    // It has something to say.
    check_with_witness(1, "v1:0 blind, 100 refused", &down("101.602"));
    // Nobody sees anything.
    let gone = "our own network was gone";
    check_with_witness(
        1,
        "0 ok, v1:0 blind, v0:100 blind",
        &format!("{UP}\n100.005 unknown since 100 {gone}"),
    );
}

#[test]
fn what_only_a_witness_sees_is_partial_until_it_sees_it_no_more() {
    let partial = "partial since 100 refused";
    let story = "v1:0 blind, v1:100 refused, v1:400 blind";
    check_with_witness(1, story, &format!("{UP}\n100.642 {partial}\n430.02 up since 410"));
}

#[test]
fn a_witness_makes_no_outage_of_what_nobody_else_sees() {
    let gone = "our own network was gone";
    let story = "v1:0 blind, v0:100 blind, v1:100 refused";
    check_with_witness(1, story, &format!("{UP}\n100.005 unknown since 100 {gone}"));
}

#[test]
fn what_is_well_again_is_not_kept_down_by_what_a_witness_saw_before() {
    let story = "v1:0 blind, v0:100 refused, v1:100 refused, v0:200 ok, v1:500 blind";
    let down = "101.602 down since 100 refused";
    check_with_witness(1, story, &format!("{UP}\n{down}\n220.02 up since 200"));
}
