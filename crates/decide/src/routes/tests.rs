//! The order of a service's targets, in rows.

use linkflow_model::Moment;

use crate::routes;
use crate::stage::read;

#[track_caller]
fn check(world: &str, expected: &str) {
    let (specs, world) = read(world, Moment(0));
    let table = routes(&specs, &world, 7);
    assert_eq!(table.generation, 7);
    let rows = table.services.iter().map(|row| {
        let targets: Vec<String> =
            row.targets.iter().map(|t| format!("{}:{}", t.provider, t.rank)).collect();
        format!("{} {}", row.service, targets.join(" "))
    });
    assert_eq!(rows.collect::<Vec<_>>().join(", "), expected);
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
