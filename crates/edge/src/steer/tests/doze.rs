//! Targets that sleep when nobody asks for them.

use super::*;

/// Sleeps after 15 minutes, wakes within a minute.
const SLEEPY: Sleeps =
    Sleeps { after_ms: 900_000, cold_start_ms: 60_000, may_rest: true, asleep: false };

/// `a` sleeps as `sleeps` says, `b` never.
fn sleeper(sleeps: Sleeps, now: u64) -> Steer {
    let mut steer = Steer::new(tuning());
    table(&mut steer, sleeps, now);
    steer
}

fn table(steer: &mut Steer, sleeps: Sleeps, now: u64) -> Vec<Effect> {
    let targets = vec![
        Named { id: A, place: 0, sleeps: Some(sleeps) },
        Named { id: B, place: 1, sleeps: None },
    ];
    steer.on(Happened::Table { targets }, Moment(now))
}

fn at(steer: &mut Steer, now: u64, what: &str) -> String {
    let effects = steer.on(read(what, Moment(now)), Moment(now));
    effects.iter().map(say).collect::<Vec<_>>().join(", ")
}

#[test]
fn it_is_left_alone_until_somebody_wants_it_and_again_when_nobody_does() {
    let mut steer = sleeper(SLEEPY, 0);
    assert!(steer.rests(A, Moment(0)), "it is not even asked at first");
    assert!(!steer.rests(B, Moment(0)), "b never sleeps");
    assert_eq!(steer.verdict(A, Moment(0)).0, Health::Resting);
    assert_eq!(steer.plan(&[A, B], Moment(1_000)).wake, [A]);
    at(&mut steer, 1_000, "a waits 1");
    assert_eq!(steer.verdict(A, Moment(1_000)).0, Health::Waking);
    assert_eq!(at(&mut steer, 20_000, "a 200 1"), "");
    assert!(!steer.rests(A, Moment(60_999)));
    assert!(steer.rests(A, Moment(61_000)), "a minute after the last visitor");
}

#[test]
fn a_second_try_beside_a_slow_one_is_nobody_s_wish() {
    let mut steer = sleeper(SLEEPY, 0);
    assert_eq!(steer.plan(&[B, A], Moment(1_000)).wake, [], "visitors want b");
    assert_eq!(at(&mut steer, 1_100, "a waits 1"), "");
    assert_eq!(at(&mut steer, 1_110, "a 200 1"), "");
    assert!(steer.rests(A, Moment(1_111)), "it is left alone all the same");
    assert_eq!(at(&mut steer, 1_200, "b refused"), "b ejected for 2000: connection refused");
    assert_eq!(steer.plan(&[B, A], Moment(1_300)).wake, [A], "visitors come to a");
    assert!(!steer.rests(A, Moment(1_301)));
}

#[test]
fn a_cold_start_is_no_failure() {
    let mut steer = sleeper(SLEEPY, 0);
    steer.plan(&[A, B], Moment(0));
    at(&mut steer, 0, "a waits 1");
    for now in [2_000, 10_000, 59_000] {
        for what in
            ["tick", "a bad check", "a bad check", "a 503", "a refused", "a silent", "a late"]
        {
            assert_eq!(at(&mut steer, now, what), "", "{what} at {now}");
        }
        assert_eq!(steer.verdict(A, Moment(now)).0, Health::Waking);
    }
    at(&mut steer, 59_500, "a 200 1");
    assert_eq!(steer.p95_ms(A), None, "its time says nothing of how fast it is");
    for now in [59_600, 59_700, 59_800] {
        at(&mut steer, now, "a good check");
    }
    assert_eq!(steer.verdict(A, Moment(59_900)).0, Health::Up);
}

#[test]
fn what_does_not_wake_in_time_is_down() {
    let mut steer = sleeper(SLEEPY, 0);
    at(&mut steer, 0, "a waits 1");
    at(&mut steer, 59_999, "a bad check");
    assert_eq!(at(&mut steer, 60_000, "a bad check"), "");
    assert_eq!(at(&mut steer, 60_250, "a bad check"), "a down: 503");
    assert!(!steer.rests(A, Moment(600_000)), "what is down is checked, however long nobody asks");
}

#[test]
fn visitors_go_to_what_is_awake_while_the_preferred_one_is_woken() {
    let mut steer = sleeper(SLEEPY, 0);
    let plan = steer.plan(&[A, B], Moment(5));
    assert_eq!((plan.order, plan.wake), (vec![B, A], vec![A]));
    assert_eq!(plan.hedge_after, None, "no second cold start to win a race with");
    let next = steer.plan(&[A, B], Moment(6));
    assert_eq!((next.order, next.wake), (vec![B, A], vec![]), "it is woken once");
    steer.on(Happened::Checking { target: A }, Moment(7));
    at(&mut steer, 30_000, "a good check");
    assert_eq!(steer.plan(&[A, B], Moment(30_001)).order, [A, B]);
    assert_eq!(steer.plan(&[A, B], Moment(930_000)).order, [B, A], "it may sleep again");
}

#[test]
fn whoever_waits_for_its_checks_has_it_checked_at_once() {
    let mut steer = sleeper(SLEEPY, 0);
    let needed = Sleeps { may_rest: false, ..SLEEPY };
    assert_eq!(table(&mut steer, needed, 10), [Effect::CheckNow { target: A }]);
    assert_eq!(table(&mut steer, needed, 20), []);
    assert!(!steer.rests(A, Moment(500_000)));
    table(&mut steer, SLEEPY, 500_000);
    assert!(steer.rests(A, Moment(500_000)));
}

#[test]
fn a_request_stays_with_the_only_target_as_long_as_that_is_woken() {
    let mut steer = Steer::new(tuning());
    let targets = vec![Named { id: A, place: 0, sleeps: Some(SLEEPY) }];
    steer.on(Happened::Table { targets }, Moment(0));
    let (mut trip, first) = Trip::start(&mut steer, &[A], Repeat::Safe, Some(10_000), Moment(0));
    assert_eq!((first, trip.wake.as_slice()), (Some(A), [A].as_slice()));
    at(&mut steer, 0, "a waits 1");
    let going = [Going { target: A, since: Some(Moment(0)) }];
    assert_eq!(trip.look(&mut steer, &going, true, Moment(30_000)), Do::Nothing);
    let refused = trip.ended(&mut steer, A, End::Refusal, 0, true, Moment(31_000));
    assert_eq!(refused, Next::Later(A));
    assert_eq!(trip.look(&mut steer, &going, true, Moment(60_000)), Do::GiveUp);
    let refused = trip.ended(&mut steer, A, End::Refusal, 0, true, Moment(61_000));
    assert_eq!(refused, Next::Stop);
}

#[test]
fn a_write_that_was_sent_to_it_is_not_sent_again() {
    let mut steer = sleeper(SLEEPY, 0);
    let (mut trip, _) = Trip::start(&mut steer, &[A], Repeat::Once, None, Moment(0));
    at(&mut steer, 0, "a waits 1");
    assert_eq!(trip.ended(&mut steer, A, End::Refusal, 0, true, Moment(5)), Next::Stop);
    assert_eq!(trip.ended(&mut steer, A, End::NeverSent, 0, true, Moment(6)), Next::Later(A));
}

#[test]
fn its_provider_may_say_that_it_sleeps_already() {
    let mut steer = sleeper(SLEEPY, 0);
    at(&mut steer, 0, "a 200");
    assert_eq!(steer.plan(&[A, B], Moment(10)).order, [A, B]);
    let asleep = Sleeps { asleep: true, ..SLEEPY };
    table(&mut steer, asleep, 20);
    assert_eq!(steer.plan(&[A, B], Moment(30)).order, [B, A]);
    at(&mut steer, 40, "a 200");
    table(&mut steer, asleep, 50);
    assert_eq!(steer.plan(&[A, B], Moment(60)).order, [A, B], "that word is older than its answer");
}

#[test]
fn what_was_begun_to_be_woken_is_checked_until_it_is_known_how_that_ends() {
    let mut steer = sleeper(SLEEPY, 0);
    let needed = Sleeps { may_rest: false, ..SLEEPY };
    table(&mut steer, needed, 0);
    steer.on(Happened::Checking { target: A }, Moment(0));
    at(&mut steer, 10, "a bad check");
    table(&mut steer, SLEEPY, 20);
    assert!(!steer.rests(A, Moment(20)), "nobody needs it any more, and it has not answered");
    at(&mut steer, 30, "a good check");
    assert!(steer.rests(A, Moment(30)));
    assert_eq!(steer.verdict(A, Moment(30)).0, Health::Resting);
}
