//! The order of a service's targets, in rows.

use linkflow_model::{Moment, Target};

use crate::routes;
use crate::stage::read;

#[track_caller]
fn check(world: &str, expected: &str) {
    let (specs, world) = read(world, Moment(0));
    let table = routes(&specs, &world, 7);
    assert_eq!(table.generation, 7);
    let rows = table.services.iter().map(|row| {
        let targets: Vec<String> =
            row.targets.iter().map(|t| format!("{}:{}{}", t.provider, t.rank, rest(t))).collect();
        format!("{} {}", row.service, targets.join(" "))
    });
    assert_eq!(rows.collect::<Vec<_>>().join(", "), expected);
}

/// `z` for a target that may rest, `!` for one that is to be woken.
fn rest(target: &Target) -> &'static str {
    match target.sleeps {
        None => "",
        Some(sleeps) if sleeps.may_rest => "z",
        Some(_) => "!",
    }
}

#[test]
fn a_spare_that_may_sleep_rests_until_it_is_to_take_over() {
    check(
        "web api at fly: fly=up@0 zrender=asleep@0 hetzner=up@0",
        "api fly:0 render:1z hetzner:2",
    );
    check(
        "web api at fly: fly=down@0 zrender=resting@0 zkoyeb=asleep@0 hetzner=up@0",
        "api render:1! koyeb:2z hetzner:3 fly:0",
    );
    check(
        "web api at fly: fly=down@0 zrender=down@0 zkoyeb=asleep@0",
        "api koyeb:2! fly:0 render:1z",
    );
}

#[test]
fn the_active_placement_may_rest_when_nobody_asks_for_it() {
    check("web api at render: zrender=asleep@0 hetzner=up@0", "api render:0z hetzner:1");
}

#[test]
fn targets_stand_by_rank_while_all_are_well() {
    check("web api: fly=up@0 railway=up@0 hetzner=up@0", "api fly:0 railway:1 hetzner:2");
}

#[test]
fn the_active_placement_stands_in_front_of_more_preferred_ones() {
    check(
        "web api at hetzner: fly=up@0 railway=up@0 hetzner=up@0",
        "api hetzner:2 fly:0 railway:1",
    );
}

#[test]
fn visitors_leave_the_active_placement_as_soon_as_it_is_down() {
    check("web api at fly: fly=down@0 railway=up@0 hetzner=up@0", "api railway:1 hetzner:2 fly:0");
}

#[test]
fn what_is_down_stays_in_the_table_with_the_active_placement_first() {
    check(
        "web api at hetzner: fly=down@0 railway=up@0 hetzner=down@0",
        "api railway:1 hetzner:2 fly:0",
    );
}

#[test]
fn what_nobody_has_probed_yet_stands_with_what_is_up() {
    check("grpc history: koyeb=unprobed@0 zeabur=up@0", "history koyeb:0 zeabur:1");
}

#[test]
fn a_placement_without_an_address_is_no_target() {
    check("web api at fly: fly=absent@0 railway=up@0", "api railway:1");
}

#[test]
fn workers_are_not_in_the_table() {
    check("worker queue at fly: fly=running@0\nweb api at fly: fly=up@0", "api fly:0");
}

#[test]
fn a_services_own_limits_go_along() {
    let (mut specs, world) = read("web api: fly=up@0 render=up@0", Moment(0));
    specs[0].timeouts.answer_ms = Some(5);
    specs[0].concurrency.most = Some(50);
    specs[0].concurrency.on.insert("render".parse().unwrap(), 7);
    specs[0].concurrency.queue.longest = 9;
    let route = &routes(&specs, &world, 1).services[0];
    assert_eq!((route.timeouts, route.queue.longest), (specs[0].timeouts, 9));
    let most: Vec<_> = route.targets.iter().map(|target| target.most).collect();
    assert_eq!(most, [Some(50), Some(7)]);
}

#[test]
fn a_drained_target_stands_behind_those_that_answer_and_before_those_that_are_down() {
    check(
        "web api drained fly at fly: fly=up@0 railway=up@0 hetzner=down@0",
        "api railway:1 fly:0 hetzner:2",
    );
    check("web api drained fly at fly: fly=up@0 railway=down@0", "api fly:0 railway:1");
}

#[test]
fn a_target_that_somebody_asked_for_is_first_once_it_answers() {
    check(
        "web api asked hetzner at fly: fly=up@0 railway=up@0 hetzner=up@0",
        "api hetzner:2 fly:0 railway:1",
    );
    check("web api asked railway at fly: fly=up@0 railway=down@0", "api fly:0 railway:1");
    check("web api asked railway at fly: fly=up@0 railway=unprobed@0", "api fly:0 railway:1");
    // It was tried, and was left: the way back is that of failback.
    check("web api asked-before railway at fly: fly=up@0 railway=up@0", "api fly:0 railway:1");
}
