//! What a swap plans, in rows.

use linkflow_model::{Fingerprint, Moment, ProviderName, ReleaseId};

use super::{Manner, Swapped, swap};
use crate::stage::{flat, image, lines, read};

const USUAL: Manner = Manner { soak_ms: 10_000, delete: false, old_answers: true, vouched: false };

/// Swaps fly for railway in release r2, which wants `a1`.
#[track_caller]
fn check(manner: Manner, world: &str, expected: &str) {
    let (specs, world) = read(world, Moment(60_000));
    let (digest, fingerprint) = (image("a"), Fingerprint("a1".to_owned()));
    let (old, new): (ProviderName, ProviderName) =
        ("fly".parse().unwrap(), "railway".parse().unwrap());
    let rows: Vec<Swapped<'_>> = specs
        .iter()
        .map(|spec| Swapped {
            spec,
            old: &old,
            new: &new,
            release: ReleaseId(2),
            digest: &digest,
            fingerprint: &fingerprint,
        })
        .collect();
    let done = swap(&rows, &world, manner);
    let mut said = lines(&done.forth);
    for held in &done.forth.held {
        said.push_str(&format!("held: {}\n", held.why.split(';').next().unwrap()));
    }
    for (name, plan) in [("back", &done.back), ("after", &done.after)] {
        for line in lines(plan).lines() {
            said.push_str(&format!("{name} {line}\n"));
        }
    }
    assert_eq!(flat(&said), flat(expected));
}

#[test]
fn visitors_are_led_to_the_new_place_once_it_is_well_and_back_if_it_does_not_stay_so() {
    check(
        USUAL,
        "web api at fly: fly=up@0#a1 railway=absent@0 hetzner=up@0#a1",
        "provision: deploy r2 of api on railway (it takes the place of fly)
         shift: serve api from railway (it takes the place of fly)
         soak: watch api on railway for 10 s (the way back is one step until then)
         back shift: serve api from fly (the swap did not hold)
         back clear: delete api from railway (it was not there before)",
    );
}

#[test]
fn a_spare_is_only_replaced() {
    check(
        USUAL,
        "web api at hetzner: fly=up@0#a1 railway=absent@0 hetzner=up@0#a1",
        "provision: deploy r2 of api on railway (it takes the place of fly)
         back clear: delete api from railway (it was not there before)",
    );
}

#[test]
fn what_is_there_already_is_not_deployed_again_and_not_cleared_away() {
    check(
        Manner { delete: true, ..USUAL },
        "web api at fly: fly=up@0#a1 railway=up@0#a1",
        "shift: serve api from railway (it takes the place of fly)
         soak: watch api on railway for 10 s (the way back is one step until then)
         back shift: serve api from fly (the swap did not hold)
         after delete: delete api from fly (it is no longer needed)",
    );
}

#[test]
fn what_was_forgotten_there_once_is_proven_to_answer_and_not_cleared_away() {
    check(
        Manner { soak_ms: 0, ..USUAL },
        "web api at fly: fly=up@0#a1 railway=unprobed@0#a1",
        "provision: deploy r2 of api on railway (it takes the place of fly)
         shift: serve api from railway (it takes the place of fly)
         back shift: serve api from fly (the swap did not hold)",
    );
}

#[test]
fn what_was_led_over_meanwhile_is_still_watched() {
    check(
        USUAL,
        "web api at railway: fly=up@0#a1 railway=up@0#a1",
        "soak: watch api on railway for 10 s (the way back is one step until then)
         back shift: serve api from fly (the swap did not hold)",
    );
}

#[test]
fn a_worker_starts_anew_before_the_old_one_stops() {
    check(
        Manner { soak_ms: 0, ..USUAL },
        "worker queue at fly: fly=running@0#a1 railway=absent@0",
        "provision: deploy r2 of queue on railway, stopped (it takes the place of fly)
         start: run 1 of queue on railway (it runs where it serves)
         shift: serve queue from railway (it takes the place of fly)
         back start: run 1 of queue on fly (it goes back)
         back shift: serve queue from fly (the swap did not hold)
         back clear: delete queue from railway (it was not there before)
         after stop: stop queue on fly (it runs elsewhere now)",
    );
}

#[test]
fn an_exclusive_one_is_stopped_and_proven_so_first() {
    check(
        Manner { soak_ms: 0, ..USUAL },
        "exclusive timer at fly: fly=running@0#a1 railway=stopped@0#a1",
        "fence: stop timer on fly (it must never run twice)
         prove: prove that timer has stopped on fly (it must never run twice)
         start: run 1 of timer on railway (it runs where it serves)
         shift: serve timer from railway (it takes the place of fly)
         back fence: stop timer on railway (it must never run twice)
         back prove: prove that timer has stopped on railway (it must never run twice)
         back start: run 1 of timer on fly (it goes back)
         back shift: serve timer from fly (the swap did not hold)",
    );
}

#[test]
fn a_provider_that_does_not_answer_is_left_without_a_word_to_it() {
    let silent = Manner { old_answers: false, delete: true, soak_ms: 0, vouched: false };
    check(
        silent,
        "web api at fly: fly=down@0#a1~never railway=absent@0
         worker queue at fly: fly=unknown@0#a1~never railway=stopped@0#a1
         exclusive timer at fly maybe fly: fly=unknown@0#a1~never railway=stopped@0#a1",
        "provision: deploy r2 of api on railway (it takes the place of fly)
         start: run 1 of queue on railway (it runs where it serves)
         shift: serve api from railway (it takes the place of fly)
         shift: serve queue from railway (it takes the place of fly)
         held: timer must never run twice, and fly does not answer, so its stop cannot be proven
         back start: run 1 of queue on fly (it goes back)
         back shift: serve api from fly (the swap did not hold)
         back shift: serve queue from fly (the swap did not hold)
         back clear: delete api from railway (it was not there before)",
    );
    check(
        Manner { vouched: true, ..silent },
        "exclusive timer at fly maybe fly: fly=unknown@0#a1~never railway=stopped@0#a1",
        "start: run 1 of timer on railway (it runs where it serves)
         shift: serve timer from railway (it takes the place of fly)
         back fence: stop timer on railway (it must never run twice)
         back prove: prove that timer has stopped on railway (it must never run twice)
         back start: run 1 of timer on fly (it goes back)
         back shift: serve timer from fly (the swap did not hold)",
    );
}
