//! Which records a zone should have, told in rows.

use linkflow_model::{Lifecycle, PlacementView, ProviderName, ServiceView};

use super::*;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// A world in which `api` serves from `provider`, at `address`.
fn world(address: Option<&str>) -> World {
    let provider = ProviderName::new("fly").unwrap();
    let placement = PlacementView {
        provider: provider.clone(),
        lifecycle: Lifecycle::Running,
        looked: None,
        health: linkflow_model::Health::Up,
        health_since: linkflow_model::Moment::default(),
        why: None,
        latency_ms: None,
        release: None,
        digest: None,
        fingerprint: None,
        address: address.map(str::to_owned),
        sleeps: None,
        running: 1,
    };
    let view = ServiceView {
        active: Some(provider),
        placements: vec![placement],
        ..ServiceView::default()
    };
    World { services: [(service("api"), view)].into() }
}

fn record(text: &str) -> ZoneRecord {
    let words: Vec<&str> = text.split(' ').collect();
    ZoneRecord::new(words[0], words[1], words[2], 60, false)
}

#[track_caller]
fn check(
    lead: Lead,
    own: &[&str],
    hosts: &[&str],
    at: Option<&str>,
    held: &[&str],
    expected: &[&str],
) {
    let asked = Names {
        zone: "example.com".to_owned(),
        ttl_s: 60,
        proxied: true,
        own: own.iter().map(|text| record(text)).collect(),
        hosts: hosts.iter().map(|host| ((*host).to_owned(), service("api"))).collect(),
        lead,
    };
    let held: Vec<ZoneRecord> = held.iter().map(|text| record(text)).collect();
    let named = names(&asked, &world(at), &held);
    let mark = |r: &ZoneRecord| if r.proxied { "!" } else { "" };
    let mut said: Vec<String> = named.records[own.len()..]
        .iter()
        .map(|r| format!("{} {} {}{}", r.name, r.kind, r.value, mark(r)))
        .collect();
    said.extend(named.without.iter().map(|(host, why)| format!("{host}: {why}")));
    assert_eq!(said, expected);
}

fn edge(host: &str) -> Lead {
    Lead::Edge(host.to_owned())
}

#[test]
fn a_route_leads_to_the_edge_by_name_or_address() {
    let (api, own) = (["api.example.com"], ["edge.example.com A 192.0.2.1"]);
    check(
        edge("edge.example.com"),
        &own,
        &api,
        None,
        &[],
        &["api.example.com CNAME edge.example.com!"],
    );
    check(edge("192.0.2.9"), &[], &api, None, &[], &["api.example.com A 192.0.2.9!"]);
    check(edge("2001:db8::9"), &[], &api, None, &[], &["api.example.com AAAA 2001:db8::9!"]);
}

#[test]
fn the_zones_own_name_has_the_addresses_of_the_edge() {
    let own = ["edge.example.com A 192.0.2.1", "edge.example.com AAAA 2001:db8::1"];
    let expected = ["example.com A 192.0.2.1!", "example.com AAAA 2001:db8::1!"];
    check(edge("edge.example.com"), &own, &["example.com"], None, &[], &expected);
    check(
        edge("edge.example.net"),
        &[],
        &["example.com"],
        None,
        &[],
        &["example.com CNAME edge.example.net!"],
    );
}

#[test]
fn what_the_config_says_of_a_name_counts_and_other_zones_are_others_business() {
    let own = ["api.example.com CNAME elsewhere.example.net"];
    let hosts = ["api.example.com", "api.example.org", "notexample.com", "*"];
    check(edge("edge.example.com"), &own, &hosts, None, &[], &[]);
}

#[test]
fn a_tunnel_is_reached_through_the_proxy_only() {
    let end = Lead::Tunnel("id.cfargotunnel.com".to_owned());
    check(
        end,
        &[],
        &["api.example.com"],
        None,
        &[],
        &["api.example.com CNAME id.cfargotunnel.com!"],
    );
}

#[test]
fn a_route_follows_the_placement_that_serves() {
    let at = Some("https://shop-api.fly.dev");
    check(
        Lead::Placement,
        &[],
        &["api.example.com"],
        at,
        &[],
        &["api.example.com CNAME shop-api.fly.dev"],
    );
    let at = Some("http://[2001:db8::1]:21000/x");
    check(
        Lead::Placement,
        &[],
        &["api.example.com"],
        at,
        &[],
        &["api.example.com AAAA 2001:db8::1"],
    );
}

#[test]
fn unknown_is_not_moved() {
    let held = ["api.example.com CNAME shop-api.fly.dev", "old.example.com A 192.0.2.1"];
    let expected = [
        "api.example.com CNAME shop-api.fly.dev",
        "api.example.com: nobody knows where api serves now",
    ];
    check(Lead::Placement, &[], &["api.example.com"], None, &held, &expected);
    let why = Lead::Nowhere("say `edge.address`".to_owned());
    let expected =
        ["api.example.com CNAME shop-api.fly.dev", "api.example.com: say `edge.address`"];
    check(why, &[], &["api.example.com"], None, &held, &expected);
    check(
        edge("api.example.com"),
        &[],
        &["api.example.com"],
        None,
        &[],
        &["api.example.com: it is the edge's own name, and no record says where that is"],
    );
}
