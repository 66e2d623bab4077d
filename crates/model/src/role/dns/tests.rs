//! What changes in a zone, told in rows: `*` marks what is ours, `!` what goes through the proxy.

use super::*;

/// `*www A 192.0.2.1 300!`: ours or not, name, type, value, seconds, proxied.
fn record(text: &str) -> (bool, ZoneRecord) {
    let words: Vec<&str> = text.trim_start_matches('*').split(' ').collect();
    let (ttl, value) = (words[words.len() - 1], words[2..words.len() - 1].join(" "));
    let name = if words[0] == "@" {
        "example.com".to_owned()
    } else {
        format!("{}.example.com", words[0])
    };
    let record = ZoneRecord {
        name,
        kind: words[1].to_owned(),
        value,
        ttl_s: ttl.trim_end_matches('!').parse().unwrap(),
        proxied: ttl.ends_with('!'),
    };
    (text.starts_with('*'), record)
}

fn shown(record: &ZoneRecord) -> String {
    let mark = if record.proxied { "!" } else { "" };
    let name = record.name.strip_suffix(".example.com").unwrap_or("@");
    format!("{name} {} {} {}{mark}", record.kind, record.value, record.ttl_s)
}

fn zone(held: &[&str], proxies: bool) -> Zone {
    let held = held.iter().enumerate().map(|(id, text)| {
        let (ours, record) = record(text);
        HeldRecord { id: id.to_string(), ours, record }
    });
    Zone {
        name: "example.com".to_owned(),
        records: held.collect(),
        least_ttl_s: 60,
        proxies,
        flattens: proxies,
        servers: Vec::new(),
    }
}

#[track_caller]
fn check(held: &[&str], wanted: &[&str], expected: &[&str]) {
    check_at(true, held, wanted, expected);
}

#[track_caller]
fn check_at(proxies: bool, held: &[&str], wanted: &[&str], expected: &[&str]) {
    let wanted: Vec<ZoneRecord> = wanted.iter().map(|text| record(text).1).collect();
    let changes = zone(held, proxies).changes(&wanted);
    let mut said: Vec<String> = changes.create.iter().map(|r| format!("+ {}", shown(r))).collect();
    said.extend(
        changes.change.iter().map(|(a, b)| format!("~ {} -> {}", shown(&a.record), shown(b))),
    );
    said.extend(changes.remove.iter().map(|held| format!("- {}", shown(&held.record))));
    said.extend(changes.blocked.iter().map(|b| format!("! {}: {}", shown(&b.wanted), b.why)));
    assert_eq!(said, expected);
}

#[test]
fn what_is_as_wanted_is_left_alone() {
    let all = ["*www A 192.0.2.1 300", "*@ MX 10 mx.example.com 300", "*www TXT a b 300"];
    check(&all, &all, &[]);
}

#[test]
fn a_new_value_changes_the_record_and_makes_no_second_one() {
    check(
        &["*www A 192.0.2.1 300"],
        &["www A 192.0.2.2 300"],
        &["~ www A 192.0.2.1 300 -> www A 192.0.2.2 300"],
    );
    check(
        &["*www A 192.0.2.1 300"],
        &["www A 192.0.2.1 60!"],
        &["~ www A 192.0.2.1 300 -> www A 192.0.2.1 60!"],
    );
}

#[test]
fn another_type_replaces_what_was_there() {
    let expected = ["+ www CNAME edge.example.com 300", "- www A 192.0.2.1 300"];
    check(&["*www A 192.0.2.1 300"], &["www CNAME edge.example.com 300"], &expected);
}

#[test]
fn what_somebody_made_is_neither_changed_nor_removed_nor_contradicted() {
    check(&["www A 192.0.2.1 300", "@ TXT theirs 300"], &["@ TXT ours 300"], &["+ @ TXT ours 300"]);
    let why = "! www A 192.0.2.2 300: somebody else's A record leads www.example.com elsewhere";
    check(&["www A 192.0.2.1 300"], &["www A 192.0.2.2 300"], &[why]);
    let why = "! www CNAME edge.example.com 300: somebody else's A record leads www.example.com elsewhere";
    check(&["www A 192.0.2.1 300"], &["www CNAME edge.example.com 300"], &[why]);
    check(
        &["@ MX 5 theirs.example.com 300"],
        &["@ MX 10 ours.example.com 300"],
        &["+ @ MX 10 ours.example.com 300"],
    );
}

#[test]
fn what_somebody_made_in_the_same_words_is_enough() {
    check(&["www A 192.0.2.1 999"], &["www A 192.0.2.1 300"], &[]);
    let why = "! www A 192.0.2.1 300!: somebody made it already, not proxied";
    check(&["www A 192.0.2.1 300"], &["www A 192.0.2.1 300!"], &[why]);
}

#[test]
fn a_proxied_record_is_kept_as_long_as_its_provider_likes() {
    check(&["*www A 192.0.2.1 300!"], &["www A 192.0.2.1 60!"], &[]);
}

#[test]
fn a_zone_without_a_proxy_and_with_a_least_time_gets_what_it_can_have() {
    check_at(false, &[], &["www A 192.0.2.1 5!"], &["+ www A 192.0.2.1 60"]);
    let why = "! @ CNAME edge.example.net 60: this provider takes no CNAME for the zone's own name";
    check_at(false, &[], &["@ CNAME edge.example.net 60"], &[why]);
    check(
        &["@ NS ns.example.net 60"],
        &["@ CNAME edge.example.net 60"],
        &["+ @ CNAME edge.example.net 60"],
    );
}

#[test]
fn records_of_one_name_and_type_are_kept_equally_long_and_each_is_there_once() {
    let wanted = ["@ TXT a 300", "@ TXT b 120", "@ TXT a 300"];
    check(&[], &wanted, &["+ @ TXT a 120", "+ @ TXT b 120"]);
    check(&["@ TXT theirs 900", "*@ TXT a 900"], &["@ TXT a 300"], &[]);
}

#[test]
fn a_record_has_one_form() {
    #[track_caller]
    fn check(kind: &str, value: &str, expected: &str) {
        let record = ZoneRecord::new("WWW.Example.com.", kind, value, 60, false);
        assert_eq!((record.name.as_str(), record.value.as_str()), ("www.example.com", expected));
    }
    check("aaaa", "2001:DB8:0:0::1", "2001:db8::1");
    check("MX", "10   Mail.Example.com.", "10 mail.example.com");
    check("SRV", "1 2 5060 Sip.Example.com.", "1 2 5060 sip.example.com");
    check("CAA", "0 ISSUE letsencrypt.org", "0 issue \"letsencrypt.org\"");
    check("TXT", "v=spf1  -all ", "v=spf1  -all ");
    check("TLSA", "3 1  1 AB", "3 1 1 AB");
}
