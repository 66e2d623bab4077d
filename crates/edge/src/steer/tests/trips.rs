//! What one request does, look by look and ending by ending.

use super::*;

/// What a request does: each row is the moment, what its tries do, and what it decides.
#[track_caller]
fn trip(repeat: Repeat, before: &[Row<'_>], rows: &[Row<'_>]) {
    let targets = [A, B, C];
    let mut steer = story(&targets, before);
    let began = Moment(10_000);
    let (mut trip, first) = Trip::start(&mut steer, &targets, repeat, Some(10_000), began);
    let mut going = vec![Going { target: first.unwrap(), since: Some(began) }];
    for (at, what, expected) in rows {
        let now = Moment(began.0 + at);
        let decided = if *what == "look" {
            trip.look(&mut steer, &going, true, now)
        } else {
            let ended = going.remove(0).target;
            let end = match *what {
                "refused" => End::NeverSent,
                "cut" => End::Cut { reused: false },
                "stale" => End::Cut { reused: true },
                "503" => End::Refusal,
                other => panic!("{other}"),
            };
            match trip.ended(&mut steer, ended, end, going.len(), true, now) {
                Next::Try(id) | Next::Again(id) | Next::Later(id) => Do::Beside(id),
                Next::Wait => Do::Nothing,
                Next::Stop => Do::GiveUp,
            }
        };
        let said = match decided {
            Do::Nothing => "waits".to_owned(),
            Do::Beside(id) => format!("tries {}", name(id)),
            Do::Instead(id) => format!("tries {} instead", name(id)),
            Do::GiveUp => "gives up".to_owned(),
        };
        assert_eq!(said, *expected, "at {at}, {what}");
        match decided {
            Do::Beside(id) => going.push(Going { target: id, since: Some(now) }),
            Do::Instead(id) => going = vec![Going { target: id, since: Some(now) }],
            _ => {}
        }
    }
}

#[test]
fn a_read_goes_from_target_to_target() {
    let rows = [(0, "refused", "tries b"), (1, "cut", "tries c"), (2, "503", "gives up")];
    trip(Repeat::Safe, &[], &rows);
}

#[test]
fn a_write_goes_on_only_while_it_was_never_sent() {
    trip(Repeat::Once, &[], &[(0, "refused", "tries b"), (1, "cut", "gives up")]);
    trip(Repeat::Once, &[], &[(0, "503", "gives up")]);
    trip(Repeat::Once, &[], &[(0, "stale", "gives up")]);
    trip(Repeat::Once, &[], &[(5_000, "look", "waits"), (10_000, "look", "gives up")]);
}

#[test]
fn a_stale_connection_is_replaced_once_at_the_same_target() {
    trip(Repeat::Safe, &[], &[(0, "stale", "tries a"), (1, "stale", "tries b")]);
}

#[test]
fn a_503_is_not_taken_to_a_target_that_is_away() {
    let away = [
        (0, "b bad check", ""),
        (0, "b bad check", "b down: 503"),
        (0, "c bad check", ""),
        (0, "c bad check", "c down: 503"),
    ];
    trip(Repeat::Safe, &away, &[(0, "503", "gives up")]);
    trip(Repeat::Safe, &away, &[(0, "cut", "tries b")]);
}

#[test]
fn a_slow_read_is_hedged_and_goes_on_to_the_third_target_when_both_are_silent() {
    trip(
        Repeat::Safe,
        &[],
        &[
            (499, "look", "waits"),
            (500, "look", "tries b"),
            (600, "look", "waits"),
            (2_500, "look", "tries c"),
            (9_000, "look", "waits"),
            (12_500, "look", "gives up"),
        ],
    );
}

#[test]
fn an_idempotent_write_is_never_under_way_twice() {
    let rows = [
        (600, "look", "waits"),
        (2_000, "look", "tries b instead"),
        (4_000, "look", "tries c instead"),
    ];
    trip(Repeat::Idempotent, &[], &rows);
}

#[test]
fn what_waits_at_an_ejected_target_leaves_at_once() {
    let mut steer = steer(&[A, B]);
    let start = |steer: &mut Steer, repeat| {
        let (trip, first) = Trip::start(steer, &[A, B], repeat, None, Moment(0));
        (trip, vec![Going { target: first.unwrap(), since: Some(Moment(0)) }])
    };
    let (mut put, going) = start(&mut steer, Repeat::Idempotent);
    let (mut post, same) = start(&mut steer, Repeat::Once);
    steer.on(read("a refused", Moment(1)), Moment(1));
    assert_eq!(put.look(&mut steer, &going, true, Moment(2)), Do::Instead(B));
    assert_eq!(post.look(&mut steer, &same, true, Moment(2)), Do::Nothing);
}

#[test]
fn a_suspect_is_hedged_without_waiting_for_the_hedge_budget() {
    let mut steer = steer(&[A, B]);
    while steer.hedges.spend() {}
    let (mut trip, _) = Trip::start(&mut steer, &[A, B], Repeat::Safe, None, Moment(0));
    let going = [Going { target: A, since: Some(Moment(0)) }];
    steer.on(read("a waits 1", Moment(0)), Moment(0));
    assert_eq!(trip.look(&mut steer, &going, true, Moment(550)), Do::Nothing);
    steer.on(Happened::Ticked, Moment(600));
    assert_eq!(trip.look(&mut steer, &going, true, Moment(600)), Do::Beside(B));
}

#[test]
fn a_body_that_cannot_be_sent_again_is_not_tried_again() {
    let mut steer = steer(&[A, B]);
    let (mut trip, _) = Trip::start(&mut steer, &[A, B], Repeat::Idempotent, None, Moment(0));
    assert_eq!(trip.ended(&mut steer, A, End::NeverSent, 0, false, Moment(0)), Next::Stop);
    let going = [Going { target: A, since: Some(Moment(0)) }];
    assert_eq!(trip.look(&mut steer, &going, false, Moment(5_000)), Do::Nothing);
}

#[test]
fn a_target_that_loses_its_races_is_raced_without_the_hedge_budget() {
    let mut steer = steer(&[A, B]);
    while steer.hedges.spend() {}
    let (mut trip, _) = Trip::start(&mut steer, &[A, B], Repeat::Safe, None, Moment(0));
    let going = [Going { target: A, since: Some(Moment(0)) }];
    assert_eq!(trip.look(&mut steer, &going, true, Moment(500)), Do::Nothing);
    steer.on(Happened::Late { target: A }, Moment(501));
    assert_eq!(trip.look(&mut steer, &going, true, Moment(502)), Do::Beside(B));
}
