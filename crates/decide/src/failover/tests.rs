//! What failover decides, in rows: a world, a moment, and what is to be done.

use std::fmt::Write as _;

use linkflow_model::{Moment, Policy};

use crate::stage::{flat, lines, read};
use crate::{MoveKind, failover};

/// Confirms after 5 s, goes back after 120 s of health and a stay of 300 s, asks every 60 s, believes for 180 s.
#[track_caller]
fn check(world: &str, now: u64, expected: &str) {
    let (specs, world) = read(world, Moment(now));
    let decision = failover(&specs, &Policy::default(), &world, Moment(now));
    let mut said = String::new();
    for one in &decision.moves {
        let kind = match one.kind {
            MoveKind::Settle => "settle",
            MoveKind::Failover => "failover",
            MoveKind::Failback => "failback",
            MoveKind::Drain => "drain",
            MoveKind::Asked => "asked",
            MoveKind::Tidy => "tidy",
        };
        writeln!(said, "{kind} {} to {}\n{}", one.service, one.to, lines(&one.plan)).unwrap();
    }
    for held in &decision.held {
        let of = held.service.as_ref().map_or("all", |service| service.as_str());
        writeln!(said, "wait {of}: {}", held.why).unwrap();
    }
    assert_eq!(flat(&said), flat(expected));
}

#[test]
fn a_healthy_service_stays_where_it_is() {
    check("web api at fly: fly=up@0 railway=up@0 hetzner=up@0", 900_000, "");
}

#[test]
fn an_outage_counts_once_it_has_lasted_for_the_confirm_time() {
    let world = "web api at fly: fly=down@1000 railway=up@0";
    check(world, 5_999, "");
    check(
        world,
        6_000,
        "failover api to railway
         switch: serve api from railway (fly has been down for 5.0 s: refused)",
    );
}

#[test]
fn the_most_preferred_place_that_works_takes_over() {
    check(
        "web api at fly: fly=down@0 railway=down@0 koyeb=up@9000 hetzner=up@0",
        10_000,
        "failover api to koyeb
         switch: serve api from koyeb (fly has been down for 10.0 s: refused)",
    );
}

#[test]
fn a_more_preferred_place_takes_over_at_once_from_a_fallback_that_fails() {
    check(
        "web api at railway since 9000: fly=up@9500 railway=down@10000 hetzner=up@0",
        15_000,
        "failover api to fly
         switch: serve api from fly (railway has been down for 5.0 s: refused)",
    );
}

#[test]
fn a_place_that_nothing_is_known_of_takes_nobody_over() {
    check(
        "web api at fly: fly=down@0 railway=unprobed@0 koyeb=absent@0 hetzner=up@0",
        10_000,
        "failover api to hetzner
         switch: serve api from hetzner (fly has been down for 10.0 s: refused)",
    );
}

#[test]
fn unknown_is_not_failed() {
    check("web api at fly: fly=unprobed@0 railway=up@0", 900_000, "");
    check("web api at fly: fly=unknown@0~never railway=up@0", 900_000, "");
}

#[test]
fn a_provider_that_says_all_is_well_is_not_believed_against_the_probes() {
    check(
        "grpc history at koyeb: koyeb=down@0 zeabur=up@0",
        7_300,
        "failover history to zeabur
         switch: serve history from zeabur (koyeb has been down for 7.3 s: refused)",
    );
}

#[test]
fn an_outage_with_nowhere_to_go_waits_and_says_so() {
    check(
        "web api at fly: fly=down@0 railway=absent@0
         web docs at hetzner: hetzner=up@0",
        10_000,
        "wait api: fly has been down for 10.0 s: refused; no other provider can take it",
    );
}

#[test]
fn it_goes_back_once_the_preferred_place_is_well_and_the_stay_is_over() {
    let stays = "web api at railway since 0: fly=up@100000 railway=up@0";
    check(stays, 299_999, "");
    check(
        stays,
        300_000,
        "failback api to fly
         switch: serve api from fly (fly is preferred and has recovered)",
    );
    let recovers = "web api at railway since 0: fly=up@400000 railway=up@0";
    check(recovers, 519_999, "");
    check(
        recovers,
        520_000,
        "failback api to fly
         switch: serve api from fly (fly is preferred and has recovered)",
    );
}

#[test]
fn it_goes_back_part_of_the_way_when_only_the_second_choice_is_well() {
    check(
        "web api at hetzner since 0: fly=down@0 railway=up@0 hetzner=up@0",
        400_000,
        "failback api to railway
         switch: serve api from railway (railway is preferred and has recovered)",
    );
}

#[test]
fn everything_down_on_two_providers_is_our_own_network() {
    check(
        "web api at fly: fly=down@0 railway=down@0
         worker queue at fly: fly=failed@0 railway=stopped@0",
        60_000,
        "wait all: every probe of every provider fails: it is our own network, so nothing is moved",
    );
}

#[test]
fn everything_down_on_the_only_provider_is_that_provider() {
    check(
        "web api at fly: fly=down@0
         web docs at fly: fly=down@0",
        60_000,
        "wait api: fly has been down for 60.0 s: refused; no other provider can take it
         wait docs: fly has been down for 60.0 s: refused; no other provider can take it",
    );
}

#[test]
fn a_worker_is_judged_by_its_providers_word() {
    check(
        "worker queue at render: render=failed@0 azure=stopped@0",
        5_000,
        "failover queue to azure
         start: run 1 of queue on azure (its standby is kept stopped)
         switch: serve queue from azure (render has been down for 5.0 s: its provider gave up starting it)",
    );
    check("worker queue at render: render=starting@0 azure=stopped@0", 60_000, "");
}

#[test]
fn a_workers_provider_is_believed_for_a_while_and_then_nobody_knows() {
    let world = "worker queue at render: render=failed@0~20000 azure=stopped@0";
    check(world, 200_001, "");
    check(
        world,
        200_000,
        "failover queue to azure
         start: run 1 of queue on azure (its standby is kept stopped)
         switch: serve queue from azure (render has been down for 200.0 s: its provider gave up starting it)",
    );
}

#[test]
fn a_worker_is_presumed_down_when_everything_probed_on_its_provider_is() {
    check(
        "web docs at render: render=down@1000 azure=up@0
         worker queue at render: render=running@0 azure=stopped@0",
        6_000,
        "failover docs to azure
         switch: serve docs from azure (render has been down for 5.0 s: refused)
         failover queue to azure
         start: run 1 of queue on azure (its standby is kept stopped)
         switch: serve queue from azure (render has been down for 5.0 s: everything else on render is down)",
    );
    check(
        "web docs at azure: render=down@1000 azure=up@0
         web api at azure: render=up@0 azure=up@0
         worker queue at render: render=running@0 azure=stopped@0",
        6_000,
        "",
    );
}

#[test]
fn an_exclusive_service_is_stopped_and_proven_so_before_it_starts_elsewhere() {
    check(
        "exclusive timer at azure: azure=failed@0 fly=stopped@0",
        8_000,
        "failover timer to fly
         fence: stop timer on azure (azure has been down for 8.0 s: its provider gave up starting it)
         prove: prove that timer has stopped on azure (timer must never run twice)
         start: run 1 of timer on fly (its standby is kept stopped)
         switch: serve timer from fly (azure has been down for 8.0 s: its provider gave up starting it)",
    );
    check(
        "exclusive timer at fly since 0: azure=stopped@0 fly=running@0",
        400_000,
        "failback timer to azure
         fence: stop timer on fly (azure is preferred and has recovered)
         prove: prove that timer has stopped on fly (timer must never run twice)
         start: run 1 of timer on azure (its standby is kept stopped)
         switch: serve timer from azure (azure is preferred and has recovered)",
    );
}

#[test]
fn an_exclusive_service_waits_while_its_silent_provider_cannot_prove_its_stop() {
    let asked = |at| {
        format!(
            "web api at fly: azure=down@100000 fly=up@0
             exclusive timer at azure: azure=running@0~{at} fly=stopped@0"
        )
    };
    check(
        &asked(78_999),
        200_000,
        "wait timer: azure has been down for 100.0 s: everything else on azure is down; its stop cannot be proven \
         while azure does not answer, and it must never run twice",
    );
    check(
        &asked(79_000),
        200_000,
        "failover timer to fly
         fence: stop timer on azure (azure has been down for 100.0 s: everything else on azure is down)
         prove: prove that timer has stopped on azure (timer must never run twice)
         start: run 1 of timer on fly (its standby is kept stopped)
         switch: serve timer from fly (azure has been down for 100.0 s: everything else on azure is down)",
    );
}

#[test]
fn an_exclusive_service_is_fenced_wherever_it_may_still_run() {
    check(
        "exclusive timer maybe hetzner at azure: azure=failed@0 fly=stopped@0 hetzner=running@0",
        8_000,
        "failover timer to fly
         fence: stop timer on azure (azure has been down for 8.0 s: its provider gave up starting it)
         prove: prove that timer has stopped on azure (timer must never run twice)
         fence: stop timer on hetzner (azure has been down for 8.0 s: its provider gave up starting it)
         prove: prove that timer has stopped on hetzner (timer must never run twice)
         start: run 1 of timer on fly (its standby is kept stopped)
         switch: serve timer from fly (azure has been down for 8.0 s: its provider gave up starting it)",
    );
    check(
        "exclusive timer maybe hetzner at azure: azure=failed@0 fly=stopped@0 hetzner=unknown@0~never",
        8_000,
        "wait timer: azure has been down for 8.0 s: its provider gave up starting it; its stop cannot be proven while \
         hetzner does not answer, and it must never run twice",
    );
}

#[test]
fn a_worker_that_runs_twice_is_stopped_where_it_is_not_due() {
    check(
        "worker queue at render: render=running@0 azure=running@0",
        10_000,
        "tidy queue to render
         tidy: stop queue on azure (it runs on render)",
    );
    check("worker queue at render: render=running@0 azure=running@0~1000", 181_001, "");
    check("web api at fly: fly=up@0 railway=up@0", 10_000, "");
}

#[test]
fn a_service_without_a_place_gets_the_most_preferred_that_works() {
    check(
        "web api: fly=down@0 railway=up@0 hetzner=up@0",
        10_000,
        "settle api to railway
         switch: serve api from railway (railway is the most preferred that works)",
    );
    check(
        "worker queue: render=stopped@0 azure=stopped@0",
        10_000,
        "settle queue to render
         start: run 1 of queue on render (its standby is kept stopped)
         switch: serve queue from render (render is the most preferred that works)",
    );
    check("web api: fly=absent@0 railway=absent@0", 10_000, "");
}

#[test]
fn an_exclusive_service_without_a_place_settles_where_it_already_runs() {
    check(
        "exclusive timer: azure=stopped@0 fly=running@0",
        10_000,
        "settle timer to fly
         switch: serve timer from fly (it runs on fly)",
    );
}

#[test]
fn an_exclusive_service_without_a_place_waits_where_it_may_run_unseen() {
    check(
        "exclusive timer: azure=stopped@0 fly=unknown@0~never",
        10_000,
        "wait timer: it may run on fly, which does not say that it has stopped, and it must never run twice",
    );
    check(
        "exclusive timer: azure=stopped@0 fly=absent@0",
        10_000,
        "settle timer to azure
         start: run 1 of timer on azure (its standby is kept stopped)
         switch: serve timer from azure (azure is the most preferred that works)",
    );
}

#[test]
fn a_place_that_left_the_cascade_is_left_at_once() {
    check(
        "web api at azure since 0: fly=up@0 hetzner=up@0",
        1_000,
        "failover api to fly
         switch: serve api from fly (azure: it is no longer in the cascade)",
    );
}

#[test]
fn sleep_is_no_outage() {
    check("web api at render: zrender=asleep@0 hetzner=up@0", 900_000, "");
    check("web api at render: zrender=waking@899000 hetzner=up@0", 900_000, "");
}

#[test]
fn a_sleeping_spare_is_woken_before_it_takes_over() {
    check(
        "web api at fly: fly=down@0 zrender=waking@1000 hetzner=up@0",
        10_000,
        "wait api: fly has been down for 10.0 s: refused; it waits for render, which is being woken",
    );
    check(
        "web api at fly: fly=down@0 zrender=up@9000 hetzner=up@0",
        10_000,
        "failover api to render
         switch: serve api from render (fly has been down for 10.0 s: refused)",
    );
    check(
        "web api at fly: fly=down@0 zrender=down@9000 hetzner=up@0",
        10_000,
        "failover api to hetzner
         switch: serve api from hetzner (fly has been down for 10.0 s: refused)",
    );
}

#[test]
fn a_sleeping_spare_whose_provider_is_silent_is_not_waited_for() {
    check(
        "web api at fly: fly=down@0 zrender=waking@899000~0 hetzner=up@0",
        900_000,
        "failover api to hetzner
         switch: serve api from hetzner (fly has been down for 900.0 s: refused)",
    );
}

#[test]
fn what_its_provider_gave_up_is_not_waited_for() {
    check(
        "web api at fly: fly=down@0 zrender=resting-failed@0 hetzner=up@0",
        10_000,
        "failover api to hetzner
         switch: serve api from hetzner (fly has been down for 10.0 s: refused)",
    );
}

#[test]
fn a_preferred_place_that_recovered_and_rests_is_gone_back_to() {
    check(
        "web api at hetzner since 0: zrender=asleep@400000 hetzner=up@0",
        900_000,
        "failback api to render
         switch: serve api from render (render is preferred and has recovered)",
    );
}

#[test]
fn a_drained_place_is_left_at_once_and_not_come_back_to() {
    check(
        "web api drained fly at fly since 0: fly=up@0 railway=up@0 hetzner=up@0",
        1_000,
        "drain api to railway
         switch: serve api from railway (fly is drained: Ann: it is rebuilt)",
    );
    check("web api drained fly at railway since 0: fly=up@0 railway=up@0", 900_000, "");
    check(
        "web api drained fly,railway at fly since 0: fly=up@0 railway=up@0 hetzner=up@0",
        1_000,
        "drain api to hetzner
         switch: serve api from hetzner (fly is drained: Ann: it is rebuilt)",
    );
}

#[test]
fn what_is_drained_stays_while_nothing_else_can_take_it() {
    check(
        "web api drained fly at fly: fly=up@0 railway=down@0",
        10_000,
        "wait api: fly is drained: Ann: it is rebuilt; no other provider can take it",
    );
    check("web api drained fly: fly=up@0", 10_000, "");
}

#[test]
fn nothing_fails_over_to_a_drained_place() {
    check(
        "web api drained railway at fly: fly=down@0 railway=up@0 hetzner=up@0",
        10_000,
        "failover api to hetzner
         switch: serve api from hetzner (fly has been down for 10.0 s: refused)",
    );
}

#[test]
fn an_exclusive_service_leaves_a_drained_place_stopped_and_proven_so() {
    check(
        "exclusive timer drained azure at azure: azure=running@0 fly=stopped@0",
        1_000,
        "drain timer to fly
         fence: stop timer on azure (azure is drained: Ann: it is rebuilt)
         prove: prove that timer has stopped on azure (timer must never run twice)
         start: run 1 of timer on fly (its standby is kept stopped)
         switch: serve timer from fly (azure is drained: Ann: it is rebuilt)",
    );
}

#[test]
fn where_somebody_asks_for_a_service_it_goes_at_once_and_stays() {
    check(
        "web api asked hetzner at fly since 0: fly=up@0 railway=up@0 hetzner=up@0",
        1_000,
        "asked api to hetzner
         switch: serve api from hetzner (hetzner is asked for: Ann: they rebuild)",
    );
    let there =
        "web api asked-before hetzner at hetzner since 0: fly=up@0 railway=up@0 hetzner=up@0";
    check(there, 900_000, "");
    // A service without a place begins there.
    check(
        "web api asked railway: fly=up@0 railway=up@0",
        1_000,
        "settle api to railway
         switch: serve api from railway (railway is the most preferred that works)",
    );
}

#[test]
fn what_is_asked_for_is_no_guess_and_waits_for_what_is_not_known_to_work() {
    check(
        "web api asked railway at fly: fly=up@0 railway=down@0",
        1_000,
        "wait api: railway is asked for: Ann: they rebuild; it is not known to work there, so fly goes on",
    );
    check(
        "web api asked railway at fly: fly=up@0 railway=unprobed@0",
        1_000,
        "wait api: railway is asked for: Ann: they rebuild; it is not known to work there, so fly goes on",
    );
    check(
        "web api asked render at fly: fly=up@0 zrender=resting@0",
        1_000,
        "wait api: render is asked for: Ann: they rebuild; it waits for render, which is being woken",
    );
    check(
        "web api drained railway asked railway at fly: fly=up@0 railway=up@0",
        1_000,
        "wait api: railway is asked for: Ann: they rebuild; railway is drained",
    );
    // It is not in the cascade, so the order is about others.
    check("web api asked koyeb at fly: fly=up@0 railway=up@0", 1_000, "");
}

#[test]
fn what_dies_where_it_was_asked_for_fails_over_and_goes_back_there_when_it_has_recovered() {
    check(
        "web api asked-before hetzner at hetzner: fly=up@0 railway=up@0 hetzner=down@0",
        10_000,
        "failover api to fly
         switch: serve api from fly (hetzner has been down for 10.0 s: refused)",
    );
    let away =
        "web api asked-before hetzner at fly since 0: fly=up@0 railway=up@0 hetzner=up@300000";
    check(away, 419_999, "");
    check(
        away,
        420_000,
        "failback api to hetzner
         switch: serve api from hetzner (hetzner is asked for and has recovered: Ann: they rebuild)",
    );
    // What dies meanwhile is left for the place that is asked for.
    check(
        "web api asked hetzner at fly: fly=down@0 railway=up@0 hetzner=up@0",
        10_000,
        "failover api to hetzner
         switch: serve api from hetzner (fly has been down for 10.0 s: refused)",
    );
}

#[test]
fn an_exclusive_service_goes_where_it_is_asked_for_stopped_and_proven_so() {
    check(
        "exclusive timer asked fly at azure: azure=running@0 fly=stopped@0",
        1_000,
        "asked timer to fly
         fence: stop timer on azure (fly is asked for: Ann: they rebuild)
         prove: prove that timer has stopped on azure (timer must never run twice)
         start: run 1 of timer on fly (its standby is kept stopped)
         switch: serve timer from fly (fly is asked for: Ann: they rebuild)",
    );
    check(
        "exclusive timer asked fly at azure: azure=running@0~never fly=stopped@0",
        1_000,
        "wait timer: fly is asked for: Ann: they rebuild; its stop cannot be proven while azure does not answer, and it must never run twice",
    );
}
