//! Whom to believe, and what targets are told.

use proptest::prelude::*;

use super::*;
use crate::framing::Framing;
use crate::proxy::Entrance;

fn trust(header: VisitorHeader) -> Trust {
    let networks = ["10.0.0.0/8", "fd00::/8"].map(|n| n.parse().unwrap()).to_vec();
    Trust { networks, header }
}

fn client(ip: &str, trust: &Trust) -> Client {
    let ip: IpAddr = ip.parse().unwrap();
    Client::new(ip, Entrance::Public, Framing::default(), trust.has(ip), false)
}

fn headers(lines: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines.lines().filter_map(|line| line.trim().split_once(": ")) {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

/// `peer`, what it says, the visitor that follows.
#[track_caller]
fn check(header: VisitorHeader, peer: &str, said: &str, expected: &str) {
    let trust = trust(header);
    let visitor = trust.visitor(&client(peer, &trust), &headers(said));
    let secure = if visitor.secure { " by https" } else { "" };
    assert_eq!(format!("{}{secure}", visitor.ip), expected, "{peer} says {said}");
}

#[test]
fn a_stranger_speaks_for_itself_only() {
    let said = "x-forwarded-for: 1.1.1.1\nx-forwarded-proto: https\ncf-connecting-ip: 2.2.2.2\nforwarded: for=3.3.3.3";
    for header in
        [VisitorHeader::XForwardedFor, VisitorHeader::Forwarded, VisitorHeader::CfConnectingIp]
    {
        check(header, "9.9.9.9", said, "9.9.9.9");
    }
}

#[test]
fn the_last_address_that_is_not_trusted_is_the_visitor() {
    let header = VisitorHeader::XForwardedFor;
    check(header, "10.0.0.1", "x-forwarded-for: 6.6.6.6, 1.1.1.1, 10.2.3.4", "1.1.1.1");
    check(header, "10.0.0.1", "x-forwarded-for: 6.6.6.6\nx-forwarded-for: 1.1.1.1:80", "1.1.1.1");
    check(header, "10.0.0.1", "x-forwarded-for: [2001:db8::1]:80", "2001:db8::1");
    check(header, "fd00::1", "x-forwarded-for: ::ffff:1.1.1.1", "1.1.1.1");
    check(header, "10.0.0.1", "x-forwarded-for: 10.9.9.9, 10.8.8.8", "10.9.9.9");
    check(header, "10.0.0.1", "x-forwarded-for: 1.1.1.1, unknown, 10.8.8.8", "10.8.8.8");
    check(header, "10.0.0.1", "x-forwarded-for: unknown", "10.0.0.1");
    check(header, "10.0.0.1", "x-forwarded-proto: https", "10.0.0.1 by https");
    check(header, "10.0.0.1", "cf-connecting-ip: 1.1.1.1\nforwarded: for=2.2.2.2", "10.0.0.1");
}

#[test]
fn forwarded_is_read_with_its_quotes() {
    let header = VisitorHeader::Forwarded;
    check(
        header,
        "10.0.0.1",
        "forwarded: For=\"[2001:db8::1]:47\";proto=HTTPS",
        "2001:db8::1 by https",
    );
    check(
        header,
        "10.0.0.1",
        "forwarded: for=6.6.6.6, for=1.1.1.1;by=\"a,b\", for=10.1.1.1",
        "1.1.1.1",
    );
    check(header, "10.0.0.1", "forwarded: for=1.1.1.1, for=_hidden", "10.0.0.1");
    check(header, "10.0.0.1", "forwarded: for=6.6.6.6;by=\"x\\\", for=1.1.1.1", "1.1.1.1");
}

#[test]
fn cloudflare_names_the_visitor_in_one_header() {
    let header = VisitorHeader::CfConnectingIp;
    check(header, "10.0.0.1", "cf-connecting-ip: 1.1.1.1\nx-forwarded-for: 6.6.6.6", "1.1.1.1");
    check(header, "10.0.0.1", "x-forwarded-for: 6.6.6.6", "10.0.0.1");
}

#[track_caller]
fn check_told(header: VisitorHeader, peer: &str, said: &str, expected: &str) {
    let trust = trust(header);
    let (client, mut map) = (client(peer, &trust), headers(said));
    let visitor = trust.visitor(&client, &map);
    trust.tell(&mut map, &client, &visitor, &HeaderValue::from_static("shop.example"));
    let mut lines: Vec<String> =
        map.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    lines.sort();
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    assert_eq!(lines, expected, "{peer} says {said}");
}

#[test]
fn what_a_stranger_says_is_replaced() {
    check_told(
        VisitorHeader::XForwardedFor,
        "2001:db8::9",
        "x-forwarded-for: 1.1.1.1\nforwarded: for=1.1.1.1\nx-real-ip: 1.1.1.1\ncf-connecting-ip: 1.1.1.1\nx-forwarded-host: evil\nx-forwarded-proto: https\nx-forwarded-port: 1\naccept: */*",
        "accept: */*
        forwarded: for=\"[2001:db8::9]\";host=\"shop.example\";proto=http
        x-forwarded-for: 2001:db8::9
        x-forwarded-host: shop.example
        x-forwarded-proto: http",
    );
}

#[test]
fn what_the_trusted_say_is_passed_on_and_added_to() {
    check_told(
        VisitorHeader::XForwardedFor,
        "10.0.0.1",
        "x-forwarded-for: 6.6.6.6\nx-forwarded-for: 1.1.1.1\nforwarded: for=5.5.5.5\nx-forwarded-host: www.example\nx-forwarded-proto: https",
        "forwarded: for=1.1.1.1, for=10.0.0.1;host=\"shop.example\";proto=https
        x-forwarded-for: 6.6.6.6, 1.1.1.1, 10.0.0.1
        x-forwarded-host: www.example
        x-forwarded-proto: https",
    );
    check_told(
        VisitorHeader::Forwarded,
        "10.0.0.1",
        "x-forwarded-for: 6.6.6.6\nforwarded: for=1.1.1.1;proto=https",
        "forwarded: for=1.1.1.1;proto=https, for=10.0.0.1;host=\"shop.example\";proto=https
        x-forwarded-for: 1.1.1.1, 10.0.0.1
        x-forwarded-host: shop.example
        x-forwarded-proto: https",
    );
    check_told(
        VisitorHeader::CfConnectingIp,
        "10.0.0.1",
        "x-forwarded-for: 6.6.6.6\ncf-connecting-ip: 1.1.1.1",
        "cf-connecting-ip: 1.1.1.1
        forwarded: for=1.1.1.1, for=10.0.0.1;host=\"shop.example\";proto=http
        x-forwarded-for: 1.1.1.1, 10.0.0.1
        x-forwarded-host: shop.example
        x-forwarded-proto: http",
    );
}

proptest! {
    #[test]
    fn whatever_a_list_holds_the_visitor_is_in_it_or_the_peer(
        list in "[0-9a-f.:,;=\"\\\\ for\\[\\]]{0,80}",
        header in prop::sample::select(vec![VisitorHeader::XForwardedFor, VisitorHeader::Forwarded]),
    ) {
        let trust = trust(header);
        let client = client("10.0.0.1", &trust);
        let mut map = headers(&format!("x-forwarded-for: {list}\nforwarded: {list}"));
        let visitor = trust.visitor(&client, &map);
        let flat: String = list.chars().filter(|c| *c != ' ').collect();
        let is_named = address(&flat).is_some() || flat.contains(['.', ':']);
        prop_assert!(visitor.ip == client.ip || is_named);
        trust.tell(&mut map, &client, &visitor, &HeaderValue::from_static("a"));
        prop_assert_eq!(map.get_all(FORWARDED_FOR).iter().count(), 1);
        prop_assert!(map[FORWARDED_FOR].to_str().unwrap().ends_with("10.0.0.1"));
    }
}
