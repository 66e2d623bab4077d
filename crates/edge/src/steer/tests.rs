//! Stories of targets: at a moment, something happens, and something follows or nothing does.

mod doze;
mod ramp;
mod trips;

use proptest::prelude::*;

use super::*;

const A: Id = Id(1);
const B: Id = Id(2);
const C: Id = Id(3);

fn tuning() -> Tuning {
    Tuning {
        fall: 2,
        rise: 3,
        check_every: 5_000,
        check_in_doubt: 250,
        suspect: 600,
        silent: 1_500,
        first_byte: 2_000,
        hedge: true,
        retry_burst: 100,
        forgiven: 60_000,
        ramp: 0,
    }
}

/// The moment, what happens, what follows.
type Row<'a> = (u64, &'a str, &'a str);

fn steer(targets: &[Id]) -> Steer {
    let mut steer = Steer::new(tuning());
    steer.on(Happened::Table { targets: names(targets) }, Moment(0));
    steer
}

/// Targets in the order of their cascade.
fn names(targets: &[Id]) -> Vec<Named> {
    let named = |(place, id): (usize, &Id)| Named { id: *id, place, sleeps: None };
    targets.iter().enumerate().map(named).collect()
}

fn name(id: Id) -> &'static str {
    ["", "a", "b", "c"][id.0 as usize]
}

fn id(name: &str) -> Id {
    Id(["", "a", "b", "c"].iter().position(|n| *n == name).unwrap() as u32)
}

fn say(effect: &Effect) -> String {
    match effect {
        Effect::Ejected { target, for_ms, why } => {
            format!("{} ejected for {for_ms}: {why}", name(*target))
        }
        Effect::Readmitted { target, why } => format!("{} readmitted: {why}", name(*target)),
        Effect::Up { target, again } => {
            format!("{} up{}", name(*target), if *again { " again" } else { "" })
        }
        Effect::Down { target, why } => format!("{} down: {why}", name(*target)),
        Effect::CheckNow { target } => format!("check {}", name(*target)),
    }
}

/// Reads `a 503`, `b waits 7`, `a bad check`, `tick`.
fn read(what: &str, now: Moment) -> Happened {
    let words: Vec<&str> = what.split(' ').collect();
    if words[0] == "tick" {
        return Happened::Ticked;
    }
    let target = id(words[0]);
    let failed = |failure| Happened::Failed { target, wait: None, failure };
    match words[1..] {
        ["waits", wait] => Happened::Waits { target, wait: wait.parse().unwrap() },
        ["left", wait] => Happened::Left { target, wait: wait.parse().unwrap() },
        ["good", "check"] => Happened::Checked { target, bad: None },
        ["bad", "check"] => Happened::Checked { target, bad: Some("503".to_owned()) },
        ["late"] => Happened::Late { target },
        ["refused"] => failed(Failure::Refused),
        ["unreachable"] => failed(Failure::Unreachable("no route".to_owned())),
        ["cut"] => failed(Failure::Cut),
        ["broken"] => failed(Failure::Broken),
        ["silent"] => failed(Failure::Silent),
        [status, ref wait @ ..] => Happened::Answered {
            target,
            wait: wait.first().map(|w| w.parse().unwrap()),
            began: now,
            status: status.parse().unwrap(),
            sample: true,
        },
        [] => panic!("nothing happens in {what:?}"),
    }
}

/// Each row: the moment, what happens, what follows. `plan` tells the order of targets.
#[track_caller]
fn story(targets: &[Id], rows: &[Row<'_>]) -> Steer {
    let mut steer = steer(targets);
    for (at, what, expected) in rows {
        let now = Moment(*at);
        let said = if *what == "plan" {
            let order = steer.plan(targets, now).order;
            order.into_iter().map(name).collect::<Vec<_>>().join(" ")
        } else {
            let effects = steer.on(read(what, now), now);
            effects.iter().map(say).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(said, *expected, "at {at}, {what}");
    }
    steer
}

#[test]
fn a_refused_connection_ejects_at_once_and_good_checks_bring_the_target_back() {
    story(
        &[A, B],
        &[
            (0, "plan", "a b"),
            (10, "a refused", "a ejected for 2000: connection refused"),
            (10, "plan", "b a"),
            (300, "a good check", ""),
            (600, "a good check", ""),
            (900, "a good check", "a up"),
            (1_900, "a good check", ""),
            (1_900, "plan", "b a"),
            (2_100, "a good check", "a readmitted: 5 good checks and its time is over"),
            (2_100, "plan", "a b"),
        ],
    );
}

#[test]
fn the_last_usable_target_is_never_ejected() {
    story(
        &[A, B],
        &[
            (0, "a refused", "a ejected for 2000: connection refused"),
            (1, "b refused", "check b"),
            (2, "b refused", ""),
            (3, "b refused", ""),
            (4, "b refused", ""),
            (4, "plan", "b a"),
        ],
    );
    story(
        &[A],
        &[(0, "a refused", "check a"), (1, "a cut", ""), (2, "a cut", ""), (3, "plan", "a")],
    );
}

#[test]
fn three_failures_in_a_row_eject_two_do_not() {
    story(
        &[A, B],
        &[
            (0, "a 503", "check a"),
            (1, "a 502", ""),
            (2, "a 200", ""),
            (3, "a 504", ""),
            (4, "a cut", ""),
            (5, "a silent", "a ejected for 2000: no answer within the limit, 3 failures in a row"),
            (6, "a cut", ""),
        ],
    );
}

#[test]
fn failures_eject_when_they_are_more_than_one_in_ten_also_with_good_answers_between_them() {
    let why = |every: u64| {
        let mut steer = steer(&[A, B]);
        let mut told = (1..400_u64).flat_map(|n| {
            let now = Moment(n);
            let what = if n % every == 0 { "a 503" } else { "a 200" };
            steer.on(read(what, now), now)
        });
        told.find_map(|effect| match effect {
            Effect::Ejected { why, .. } => Some(why),
            _ => None,
        })
    };
    assert_eq!(why(3).as_deref(), Some("answered 503, one of many"));
    assert_eq!(why(8).as_deref(), Some("answered 503, one of many"));
    assert_eq!(why(12), None);
    let mut alone = steer(&[A]);
    for n in 1..100 {
        alone.on(read("a 503", Moment(n)), Moment(n));
    }
    alone.on(Happened::Table { targets: names(&[A, B]) }, Moment(100));
    for n in 101..140 {
        alone.on(read("a 200", Moment(n)), Moment(n));
    }
    let effects = alone.on(read("a 503", Moment(140)), Moment(140));
    assert!(
        !effects.iter().any(|e| matches!(e, Effect::Ejected { .. })),
        "what is past is forgotten"
    );
}

#[test]
fn answers_that_break_off_eject_when_they_are_more_than_one_in_ten() {
    let mut steer = steer(&[A, B]);
    let mut broken_at_one_in = |every: u64| {
        (1..200_u64).any(|n| {
            let now = Moment(n);
            let mut effects = steer.on(read("a 200", now), now);
            if n % every == 0 {
                effects.extend(steer.on(read("a broken", now), now));
            }
            !effects.is_empty()
        })
    };
    assert!(!broken_at_one_in(12));
    assert!(broken_at_one_in(8));
    story(
        &[A, B],
        &[
            (0, "a 200", ""),
            (1, "a broken", ""),
            (2, "a 200", ""),
            (3, "a broken", ""),
            (4, "a 200", ""),
            (5, "a broken", "a ejected for 2000: its answers break off"),
        ],
    );
}

#[test]
fn ejections_in_a_row_last_twice_as_long_each_up_to_half_a_minute() {
    let mut steer = steer(&[A, B]);
    let mut now = 0;
    let mut lasted = Vec::new();
    for _ in 0..7 {
        let effects = steer.on(read("a refused", Moment(now)), Moment(now));
        let Some(Effect::Ejected { for_ms, .. }) = effects.first() else { panic!("{effects:?}") };
        lasted.push(*for_ms);
        now += for_ms;
        for _ in 0..3 {
            steer.on(read("a good check", Moment(now)), Moment(now));
        }
        assert!(!steer.is_ejected(A));
    }
    assert_eq!(lasted, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
}

#[test]
fn a_minute_without_an_ejection_forgives_the_ones_before() {
    story(
        &[A, B],
        &[
            (0, "a refused", "a ejected for 2000: connection refused"),
            (2_000, "a good check", ""),
            (2_000, "a good check", ""),
            (2_000, "a good check", "a up, a readmitted: 3 good checks and its time is over"),
            (62_000, "a 200", ""),
            (62_001, "a refused", "a ejected for 2000: connection refused"),
        ],
    );
}

#[test]
fn a_health_page_that_says_ok_does_not_end_an_ejection_early() {
    story(
        &[A, B],
        &[
            (0, "a 503", "check a"),
            (1, "a 503", ""),
            (2, "a 503", "a ejected for 2000: answered 503, 3 failures in a row"),
            (3, "a good check", ""),
            (253, "a good check", ""),
            (503, "a good check", "a up"),
            (753, "a good check", ""),
            (753, "plan", "b a"),
        ],
    );
}

#[test]
fn the_apps_own_errors_eject_only_when_another_target_is_known_to_be_well() {
    let rows = [(0, "a 500", ""), (1, "a 500", ""), (2, "a 500", ""), (3, "a 500", "")];
    story(&[A, B], &rows);
    story(
        &[A, B],
        &[
            (0, "b good check", ""),
            (1, "b good check", ""),
            (2, "b good check", "b up"),
            (3, "a 500", ""),
            (4, "a 500", ""),
            (5, "a 500", "a ejected for 2000: answered 500, 3 failures in a row"),
        ],
    );
    // The other answers 500 as well: it is the app, not the provider.
    story(
        &[A, B],
        &[
            (0, "b good check", ""),
            (1, "b good check", ""),
            (2, "b good check", "b up"),
            (3, "b 500", ""),
            (4, "a 500", ""),
            (5, "a 500", ""),
            (6, "a 500", ""),
        ],
    );
}

#[test]
fn silence_makes_a_target_suspect_and_then_ejects_it() {
    story(
        &[A, B],
        &[
            (100, "a 200", ""),
            (200, "a waits 1", ""),
            (700, "tick", ""),
            (800, "tick", "check a"),
            (800, "plan", "b a"),
            (900, "tick", ""),
            (1_699, "tick", ""),
            (1_700, "tick", "a ejected for 2000: requests wait, no answer in 1500 ms"),
        ],
    );
}

#[test]
fn a_sign_of_life_excuses_the_requests_that_waited_before_it() {
    story(
        &[A, B],
        &[
            (0, "a waits 1", ""),
            (600, "tick", "check a"),
            (650, "a good check", ""),
            (650, "plan", "a b"),
            (9_000, "tick", ""),
            (9_000, "a waits 2", ""),
            (9_300, "a 200 2", ""),
            (20_000, "tick", ""),
        ],
    );
}

#[test]
fn a_request_nobody_waits_for_is_no_silence() {
    story(&[A, B], &[(0, "a waits 1", ""), (500, "a left 1", ""), (5_000, "tick", "")]);
}

#[test]
fn two_failed_checks_of_a_suspect_eject_it() {
    story(
        &[A, B],
        &[
            (0, "a waits 1", ""),
            (600, "tick", "check a"),
            (800, "a bad check", ""),
            (
                1_000,
                "a bad check",
                "a down: 503, a ejected for 2000: silent, and its checks fail: 503",
            ),
        ],
    );
}

#[test]
fn checks_decide_by_fall_and_rise() {
    story(
        &[A, B],
        &[
            (0, "a good check", ""),
            (1, "a good check", ""),
            (2, "a bad check", ""),
            (3, "a bad check", "a down: 503"),
            (3, "plan", "b a"),
            (4, "a good check", ""),
            (5, "a good check", ""),
            (6, "a good check", "a up again"),
            (6, "plan", "a b"),
        ],
    );
}

#[test]
fn with_nothing_usable_the_least_bad_is_tried_and_a_passing_request_readmits_it() {
    story(
        &[A, B, C],
        &[
            (0, "a bad check", ""),
            (1, "a bad check", "a down: 503"),
            (2, "b refused", "b ejected for 2000: connection refused"),
            (3, "c bad check", ""),
            (4, "c bad check", "c down: 503"),
            (5, "plan", "b a c"),
            (6, "b 200", "b readmitted: it answered a request"),
        ],
    );
}

#[test]
fn an_answer_to_a_request_from_before_the_ejection_does_not_end_it() {
    let mut steer = story(&[A, B], &[(100, "a refused", "a ejected for 2000: connection refused")]);
    let answer = |began| Happened::Answered {
        target: A,
        wait: None,
        began: Moment(began),
        status: 200,
        sample: false,
    };
    assert_eq!(steer.on(answer(90), Moment(200)), []);
    assert!(steer.is_ejected(A));
    assert_eq!(steer.on(answer(101), Moment(200)).len(), 1);
    assert!(!steer.is_ejected(A));
}

#[test]
fn races_lost_for_a_second_eject_a_slow_target_a_short_pause_does_not() {
    story(
        &[A, B],
        &[
            (0, "a late", ""),
            (10, "a late", ""),
            (20, "a late", ""),
            (30, "a late", ""),
            (900, "a late", ""),
            (901, "a 200", ""),
            (1_100, "a late", ""),
            (1_200, "a late", ""),
            (1_300, "a late", ""),
            (1_400, "a late", ""),
            (2_100, "a late", "a ejected for 2000: slower than another, 5 times in a row"),
        ],
    );
}

#[test]
fn checks_are_sparse_while_sure_quick_in_doubt_and_slower_while_away() {
    let rows: [(&[Row], u64); 6] = [
        (&[], 250),
        (&[(0, "a good check", ""), (0, "a good check", ""), (0, "a good check", "a up")], 4_500),
        (&[(0, "a cut", "check a")], 250),
        (&[(0, "a bad check", ""), (0, "a bad check", "a down: 503")], 1_000),
        (
            &[(0, "a bad check", ""), (0, "a bad check", "a down: 503"), (0, "a good check", "")],
            250,
        ),
        (
            &[
                (0, "a refused", "a ejected for 2000: connection refused"),
                (0, "a good check", ""),
                (0, "a good check", ""),
                (0, "a good check", "a up"),
            ],
            2_000,
        ),
    ];
    for (rows, expected) in rows {
        assert_eq!(story(&[A, B], rows).next_check(A, Moment(0), 0), expected, "{rows:?}");
    }
    let sure = &rows[1].0;
    assert_eq!(story(&[A, B], sure).next_check(A, Moment(0), 1_000), 5_500);
}

#[test]
fn a_hedge_waits_three_times_as_long_as_nearly_all_answers_take() {
    let mut steer = steer(&[A, B]);
    assert_eq!(steer.plan(&[A, B], Moment(0)).hedge_after, Some(500));
    for n in 0..400_u64 {
        let (began, now) = (Moment(n * 100), Moment(n * 100 + 40));
        let answered =
            Happened::Answered { target: A, wait: None, began, status: 200, sample: true };
        steer.on(answered, now);
    }
    let after = steer.plan(&[A, B], Moment(50_000)).hedge_after.unwrap();
    assert!((115..=125).contains(&after), "{after}");
    assert_eq!(steer.plan(&[A], Moment(50_000)).hedge_after, None, "there is no other target");
}

fn any_event() -> impl Strategy<Value = (u64, String)> {
    let what = prop::sample::select(vec![
        "waits",
        "200",
        "500",
        "503",
        "refused",
        "unreachable",
        "cut",
        "broken",
        "silent",
        "late",
        "good check",
        "bad check",
        "tick",
    ]);
    (0..2_000_u64, 1..=3_usize, what, 0..20_u64).prop_map(|(gap, target, what, wait)| {
        let target = name(Id(target as u32));
        let text = match what {
            "tick" => "tick".to_owned(),
            "waits" | "200" => format!("{target} {what} {wait}"),
            other => format!("{target} {other}"),
        };
        (gap, text)
    })
}

proptest! {
    #[test]
    fn a_plan_names_every_target_and_a_usable_one_first(
        events in prop::collection::vec(any_event(), 0..200),
    ) {
        let targets = [A, B, C];
        let mut steer = steer(&targets);
        let mut now = Moment(0);
        for (gap, what) in events {
            now = now.plus(gap);
            let before: Vec<bool> = targets.iter().map(|id| steer.usable(*id)).collect();
            let effects = steer.on(read(&what, now), now);
            for effect in &effects {
                if let Effect::Ejected { target, .. } = effect {
                    prop_assert!(!steer.usable(*target));
                    prop_assert!(targets.iter().any(|id| steer.usable(*id)), "{what} left none usable");
                }
            }
            let plan = steer.plan(&targets, now);
            let mut named = plan.order.clone();
            named.sort();
            prop_assert_eq!(&named[..], &targets[..]);
            let usable: Vec<bool> = plan.order.iter().map(|id| steer.usable(*id)).collect();
            prop_assert!(usable.is_sorted_by(|a, b| a >= b), "an unusable one before a usable: {usable:?}");
            // Nothing but checks says that a target is down, so requests alone never take the last one.
            if before.contains(&true) && !what.ends_with("bad check") {
                prop_assert!(usable[0], "after {what}");
            }
        }
    }

    #[test]
    fn a_write_is_tried_again_only_when_it_was_never_sent(
        ends in prop::collection::vec(0..4_u8, 1..6),
    ) {
        let targets = [A, B, C];
        let mut steer = steer(&targets);
        let (mut trip, mut at) = Trip::start(&mut steer, &targets, Repeat::Once, None, Moment(0));
        let mut sent = 0;
        for end in ends {
            let Some(target) = at else { break };
            let end = match end {
                0 => End::Cut { reused: true },
                1 => End::Cut { reused: false },
                2 => End::Refusal,
                _ => End::NeverSent,
            };
            sent += u32::from(end != End::NeverSent);
            at = match trip.ended(&mut steer, target, end, 0, true, Moment(0)) {
                Next::Try(id) | Next::Again(id) | Next::Later(id) => Some(id),
                Next::Wait | Next::Stop => None,
            };
        }
        prop_assert!(sent <= 1);
    }
}
