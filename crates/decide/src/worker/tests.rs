//! What the worker is told, in rows.

use linkflow_model::worker::{WorkerConfig, WorkerLimits, WorkerSettings};
use linkflow_model::{HostRoute, Moment, Sleeps, StackName};

use crate::stage::read;
use crate::{routes, worker, worker_picture};

fn settings() -> WorkerSettings {
    WorkerSettings {
        stack: StackName::new("shop").unwrap(),
        generation: 1_790_000_000_000,
        status_page: Some("https://status.shop.example".to_owned()),
        idempotency_key: ["web".parse().unwrap()].into(),
        limits: WorkerLimits::default(),
    }
}

/// The config for `world`, whose services all have a route, with the addresses of `places` in order.
fn config(world: &str, places: &[&str]) -> WorkerConfig {
    let (mut specs, world) = read(world, Moment(0));
    for spec in &mut specs {
        let host = format!("{}.shop.example", spec.name);
        spec.routes = vec![HostRoute::new(host, "/")];
        if spec.name.as_str() == "web" {
            (spec.timeouts.first_byte_ms, spec.timeouts.answer_ms) = (Some(4_000), Some(120_000));
        }
    }
    let mut table = routes(&specs, &world, 7);
    for service in &mut table.services {
        for (target, place) in service.targets.iter_mut().zip(places) {
            (*place).clone_into(&mut target.address);
        }
    }
    worker(&table, &settings())
}

#[track_caller]
fn check(world: &str, places: &[&str], expected: &str) {
    let config = config(world, places);
    let rows = config.services.iter().map(|service| {
        let targets = service.targets.iter().map(|t| format!("{}={}", t.provider, t.address));
        let key = if service.idempotency_key { " keyed" } else { "" };
        format!("{}{key}: {}", service.service, targets.collect::<Vec<_>>().join(" "))
    });
    assert_eq!(rows.collect::<Vec<_>>().join(", "), expected);
}

const PLACES: [&str; 2] = ["https://shop.fly.dev", "https://shop.up.railway.app:8443"];

#[test]
fn targets_stand_in_the_order_of_the_routes() {
    check(
        "web web: fly=up@0 railway=up@0\nweb api: fly=up@0 railway=up@0",
        &PLACES,
        "web keyed: fly=https://shop.fly.dev railway=https://shop.up.railway.app:8443, \
         api: fly=https://shop.fly.dev railway=https://shop.up.railway.app:8443",
    );
    check(
        "web api at fly: fly=down@0 railway=up@0",
        &["https://a.example", "https://b.example"],
        "api: railway=https://a.example fly=https://b.example",
    );
}

#[test]
fn grpc_is_left_to_the_edge() {
    check("grpc api: fly=up@0 railway=up@0", &PLACES, "");
}

#[test]
fn what_a_worker_cannot_reach_is_no_target() {
    for place in [
        "http://127.0.0.1:4001",
        "http://192.0.2.7",
        "http://[2001:db8::1]:80",
        "http://localhost:80",
        "http://api.internal",
        "http://printer.local",
        "http://machine",
    ] {
        check(
            "web api: fly=up@0 railway=up@0",
            &[place, PLACES[0]],
            "api: railway=https://shop.fly.dev",
        );
        check("web api: fly=up@0", &[place], "");
    }
}

#[test]
fn where_nobody_else_can_be_asked_the_longest_cold_start_is_waited_for() {
    let (mut specs, mut world) = read("web api: fly=up@0", Moment(0));
    specs[0].routes = vec![HostRoute::new("*", "/")];
    let sleeps = Sleeps { after_ms: 900_000, cold_start_ms: 60_000, may_rest: true, asleep: false };
    for view in world.services.values_mut() {
        view.placements[0].sleeps = Some(sleeps);
        view.placements[0].address = Some(PLACES[0].to_owned());
    }
    let table = routes(&specs, &world, 1);
    assert_eq!(worker(&table, &settings()).limits.first_byte_alone_ms, 60_000);
}

#[test]
fn the_picture_tells_what_the_probes_say() {
    let (specs, world) = read(
        "web api: fly=down@0 railway=up@0 hetzner=unprobed@0\nworker queue: fly=running@0",
        Moment(0),
    );
    let picture = worker_picture(&specs, &world, 42);
    let said = serde_json::to_string(&picture).unwrap();
    assert_eq!(
        said,
        r#"{"version":1,"at":42,"services":{"api":{"fly":"down","hetzner":"unknown","railway":"up"}}}"#
    );
}

/// The worker's tests read the same file.
#[test]
fn the_example_is_what_is_made() {
    let world = "web web: fly=up@0 railway=up@0";
    let (specs, seen) = read(world, Moment(0));
    let picture = worker_picture(&specs, &seen, 1_790_000_000_000);
    let made = serde_json::json!({ "config": config(world, &PLACES), "picture": picture });
    let kept: serde_json::Value =
        serde_json::from_str(include_str!("../../../../worker/example.json")).unwrap();
    assert_eq!(made, kept, "{made:#}");
}

#[test]
fn hosts_that_are_led_by_more_than_a_path_are_the_edges() {
    let (mut specs, world) =
        read("web api: fly=up@0\nweb docs: fly=up@0\nweb web: fly=up@0", Moment(0));
    let posts = HostRoute { methods: vec!["POST".to_owned()], ..HostRoute::new("a.example", "/") };
    specs[0].routes = vec![posts];
    specs[1].routes = vec![HostRoute::new("a.example", "/docs"), HostRoute::new("b.example", "/")];
    specs[2].routes = vec![HostRoute::new("*.c.example", "/"), HostRoute::new("d.c.example", "/")];
    let mut table = routes(&specs, &world, 1);
    for service in &mut table.services {
        PLACES[0].clone_into(&mut service.targets[0].address);
    }
    let config = worker(&table, &settings());
    let hosts = config.services.iter().map(|s| {
        let hosts: Vec<&str> = s.hosts.iter().map(|route| route.host.as_str()).collect();
        format!("{} {}", s.service, hosts.join(" "))
    });
    assert_eq!(hosts.collect::<Vec<_>>(), ["docs b.example"]);
}
