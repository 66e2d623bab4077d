//! The way back to a better target.

use super::*;

/// `a` is better than `b`; visitors take ten seconds to return.
fn pair() -> Steer {
    let mut steer = Steer::new(Tuning { ramp: 10_000, ..tuning() });
    steer.on(Happened::Table { targets: names(&[A, B]) }, Moment(0));
    steer
}

fn happens(steer: &mut Steer, now: u64, what: &str) {
    steer.on(read(what, Moment(now)), Moment(now));
}

/// Of ten requests a second from `from` to `to`, how many of a hundred `a` gets first.
fn share(steer: &mut Steer, table: &[Id], from: u64, to: u64) -> u64 {
    let moments = (from..to).step_by(100);
    let all = moments.clone().count() as u64;
    let first = moments.filter(|at| steer.plan(table, Moment(*at)).order[0] == A).count() as u64;
    first * 100 / all
}

/// `a` refuses at 1 s and is back 2 s later.
fn back() -> Steer {
    let mut steer = pair();
    assert_eq!(share(&mut steer, &[A, B], 0, 1_000), 100);
    happens(&mut steer, 1_000, "a refused");
    assert_eq!(share(&mut steer, &[A, B], 1_000, 3_000), 0, "away at once");
    for at in [2_700, 2_800, 2_900, 3_000] {
        happens(&mut steer, at, "a good check");
    }
    steer
}

#[test]
fn visitors_leave_at_once_and_return_a_few_at_a_time() {
    let mut steer = back();
    let shares: Vec<u64> =
        (0..11).map(|s| share(&mut steer, &[A, B], 3_000 + s * 1_000, 4_000 + s * 1_000)).collect();
    assert_eq!(shares, [0, 20, 30, 40, 50, 50, 70, 80, 80, 100, 100]);
}

#[test]
fn the_first_failure_turns_them_round() {
    let mut steer = back();
    share(&mut steer, &[A, B], 3_000, 8_000);
    happens(&mut steer, 8_000, "a 503");
    assert!(share(&mut steer, &[A, B], 8_000, 10_000) <= 5, "one in twenty, to see how it is");
    happens(&mut steer, 10_000, "a 200");
    assert!(share(&mut steer, &[A, B], 10_100, 13_100) < 30, "from the beginning");
    assert_eq!(share(&mut steer, &[A, B], 20_200, 21_200), 100);
}

#[test]
fn they_stay_with_the_better_one_when_the_other_fails_meanwhile() {
    let mut steer = back();
    share(&mut steer, &[A, B], 3_000, 4_000);
    happens(&mut steer, 4_000, "b refused");
    assert_eq!(share(&mut steer, &[A, B], 4_000, 5_000), 100);
}

#[test]
fn an_official_move_to_a_worse_place_is_one_step_and_back_is_many() {
    let mut steer = pair();
    assert_eq!(share(&mut steer, &[A, B], 0, 1_000), 100);
    assert_eq!(share(&mut steer, &[B, A], 1_000, 2_000), 0, "a deploy leads them to its canary");
    let first = share(&mut steer, &[A, B], 2_000, 5_000);
    assert!((1..40).contains(&first), "{first}");
    assert_eq!(share(&mut steer, &[A, B], 12_100, 13_100), 100);
}
