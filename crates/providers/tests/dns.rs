//! What every provider of the DNS role promises, held by each name of its catalogue.

use std::sync::Arc;
use std::time::Duration;

use linkflow_model::role::{Dns, Zone, ZoneRecord};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::dns::{self, Settings, cloudflare, desec, embedded, zone_file};
use linkflow_rehearsal::cloud::Trouble;
use reqwest::Method;
use serde_json::{Value, json};

use crate::canned::{Canned, Reply};
use crate::lossy::Lossy;
use crate::stage::{Stage, kit};

const NAMES: [&str; 3] = ["embedded", "cloudflare", "desec"];

#[test]
fn the_contract_is_held_by_every_name_of_the_catalogue() {
    assert_eq!(dns::KINDS, NAMES);
}

/// A zone somewhere, and a person who has been there.
struct Place {
    stage: Stage,
    name: &'static str,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new(name: &'static str) -> Self {
        Self { stage: Stage::start(&[]).await, name, folder: tempfile::tempdir().unwrap() }
    }

    fn api(&self) -> String {
        match self.name {
            "cloudflare" => self.stage.endpoints.cloudflare.api.clone(),
            "desec" => self.stage.endpoints.desec.api.clone(),
            _ => String::new(),
        }
    }

    fn of(&self, stack: &str) -> Arc<dyn Dns> {
        self.by(stack, &self.api())
    }

    /// The same, on another way to the API.
    fn by(&self, stack: &str, api: &str) -> Arc<dyn Dns> {
        let (there, zone) = (&self.stage.endpoints, "example.com".to_owned());
        let settings = match self.name {
            "embedded" => Settings::Embedded(embedded::Settings {
                zone,
                folder: self.folder.path().to_owned(),
            }),
            "cloudflare" => Settings::Cloudflare(cloudflare::Settings {
                token: Secret::new(&there.cloudflare.token),
                zone,
                zone_id: None,
                account: None,
                api: Some(api.to_owned()),
            }),
            _ => Settings::Desec(desec::Settings {
                token: Secret::new(&there.desec.token),
                zone,
                api: Some(api.to_owned()),
            }),
        };
        dns::open(settings, &self.stage.kit, &stack.parse().unwrap(), &self.name.parse().unwrap())
    }

    /// What a person puts there by hand: two texts, a mail exchanger, and where `blog` is.
    async fn lived_in(&self) {
        let there = &self.stage.endpoints;
        let all = [
            ("", "TXT", "\"theirs one\""),
            ("", "TXT", "\"theirs two\""),
            ("", "MX", "10 mx.example.net."),
            ("blog", "A", "203.0.113.9"),
        ];
        match self.name {
            "embedded" => {
                let head = "; kept by hand\n$ORIGIN example.com.\n$TTL 3600\n@ IN SOA ns hostmaster ( 7 7200 900 1209600 300 ) ; serial\n@ IN NS ns\nns IN A 192.0.2.53\n";
                let line = |(name, kind, value): &(&str, &str, &str)| {
                    let name = if name.is_empty() { "@" } else { name };
                    format!("{name}\t3600 IN {kind} {value}\n")
                };
                let text: String = all.iter().map(line).collect();
                std::fs::write(
                    self.folder.path().join("example.com.zone"),
                    head.to_owned() + &text,
                )
                .unwrap();
            }
            "cloudflare" => {
                let path = format!("/zones/{}/dns_records", there.cloudflare.zone_id);
                for (name, kind, value) in all {
                    let name = if name.is_empty() { "@" } else { name };
                    let mut body =
                        json!({ "name": name, "type": kind, "content": value, "ttl": 3_600 });
                    if kind == "MX" {
                        body["priority"] = 10.into();
                        body["content"] = "mx.example.net".into();
                    }
                    self.ask(Method::POST, &path, body).await;
                }
            }
            _ => {
                let sets = json!([
                    { "subname": "", "type": "TXT", "ttl": 3_600, "records": [all[0].2, all[1].2] },
                    { "subname": "", "type": "MX", "ttl": 3_600, "records": [all[2].2] },
                    { "subname": "blog", "type": "A", "ttl": 3_600, "records": [all[3].2] },
                ]);
                self.ask(Method::POST, "/domains/example.com/rrsets/", sets).await;
            }
        }
    }

    /// A call of that person.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let there = &self.stage.endpoints;
        let auth = match self.name {
            "cloudflare" => format!("Bearer {}", there.cloudflare.token),
            _ => format!("Token {}", there.desec.token),
        };
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.api()));
        let answer = request.header("authorization", auth).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path} {body}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }
}

fn record(name: &str, kind: &str, value: &str) -> ZoneRecord {
    let name = if name == "@" { "example.com".to_owned() } else { format!("{name}.example.com") };
    ZoneRecord::new(&name, kind, value, 3_600, false)
}

/// One record of every type that the config knows.
fn wanted() -> Vec<ZoneRecord> {
    vec![
        record("www", "CNAME", "edge.example.com"),
        record("edge", "A", "192.0.2.1"),
        record("edge", "AAAA", "2001:db8::1"),
        record("@", "TXT", "v=spf1 include:spf.example.net ~all"),
        record("key._domainkey", "TXT", &format!("v=DKIM1; p={}", "k\\\"".repeat(150))),
        record("@", "MX", "20 mx2.example.net"),
        record("@", "CAA", "0 issue \"letsencrypt.org\""),
        record("_sip._tcp", "SRV", "1 2 5060 sip.example.net"),
        record("sub", "NS", "ns.example.net"),
    ]
}

fn shown(zone: &Zone, ours: bool) -> Vec<String> {
    let rows = zone.records.iter().filter(|held| held.ours == ours).map(|held| &held.record);
    let given = |r: &&ZoneRecord| r.kind != "SOA" && !(r.kind == "NS" && r.name == "example.com");
    let rows = rows.filter(given).filter(|r| r.name != "ns.example.com");
    let mut rows: Vec<String> =
        rows.map(|r| format!("{} {} {}", r.name, r.kind, r.value)).collect();
    rows.sort();
    rows
}

fn said(records: &[ZoneRecord]) -> Vec<String> {
    let mut rows: Vec<String> =
        records.iter().map(|r| format!("{} {} {}", r.name, r.kind, r.value)).collect();
    rows.sort();
    rows
}

const THEIRS: [&str; 4] = [
    "blog.example.com A 203.0.113.9",
    "example.com MX 10 mx.example.net",
    "example.com TXT theirs one",
    "example.com TXT theirs two",
];

/// From nothing to a set of records, to another one, and to nothing again, beside what a person has there.
async fn check(name: &'static str) {
    let place = Place::new(name).await;
    place.lived_in().await;
    let dns = place.of("linkflow");
    let theirs = |zone: &Zone| assert_eq!(shown(zone, false), THEIRS, "{name}");
    theirs(&dns.zone().await.unwrap());

    let first = dns.publish(&wanted()).await.unwrap();
    assert_eq!((first.create.len(), first.count()), (9, 9), "{first:?}");
    let zone = dns.zone().await.unwrap();
    assert_eq!(shown(&zone, true), said(&wanted()), "{name}");
    theirs(&zone);

    let writes = place.stage.writes();
    assert!(dns.publish(&wanted()).await.unwrap().is_empty());
    assert_eq!(place.stage.writes(), writes, "a second time writes nothing");

    // Another value, another type for the same name, one that goes, and one that cannot be.
    let mut other = wanted();
    other[0] = record("www", "A", "192.0.2.2");
    other[1] = record("edge", "A", "192.0.2.3");
    other.remove(5);
    other.push(record("blog", "CNAME", "edge.example.com"));
    let changes = dns.publish(&other).await.unwrap();
    let counts = (changes.create.len(), changes.change.len(), changes.remove.len());
    assert_eq!(counts, (1, 1, 2), "{changes:?}");
    assert_eq!(changes.blocked.len(), 1);
    assert!(changes.blocked[0].why.contains("somebody else's A record"), "{changes:?}");
    other.pop();
    let zone = dns.zone().await.unwrap();
    assert_eq!(shown(&zone, true), said(&other), "{name}");
    theirs(&zone);

    // Another stack takes all of that for somebody else's.
    let strangers = place.of("other");
    let zone = strangers.zone().await.unwrap();
    assert_eq!(shown(&zone, true), Vec::<String>::new());
    let changes = strangers.publish(&[record("edge", "A", "192.0.2.99")]).await.unwrap();
    assert_eq!((changes.count(), changes.blocked.len()), (0, 1), "{changes:?}");
    strangers.publish(&[record("x", "TXT", "of another stack")]).await.unwrap();
    strangers.publish(&[]).await.unwrap();
    assert_eq!(shown(&dns.zone().await.unwrap(), true), said(&other));

    let gone = dns.publish(&[]).await.unwrap();
    assert_eq!((gone.remove.len(), gone.count()), (8, 8), "{gone:?}");
    let zone = dns.zone().await.unwrap();
    assert_eq!(shown(&zone, true), Vec::<String>::new());
    theirs(&zone);
    place.stage.stop().await;
}

#[tokio::test]
async fn the_embedded_default_keeps_the_promises() {
    check("embedded").await;
}

#[tokio::test]
async fn cloudflare_keeps_the_promises() {
    check("cloudflare").await;
}

#[tokio::test]
async fn desec_keeps_the_promises() {
    check("desec").await;
}

/// Loses the answer of each write in turn. A second call then makes everything right, and nothing twice.
async fn check_lossy(name: &'static str) {
    let place = Place::new(name).await;
    place.lived_in().await;
    let lossy = Lossy::to(&place.api()).await;
    let dns = place.by("linkflow", &lossy.url);
    let mut second = wanted();
    second[1] = record("edge", "A", "192.0.2.4");
    second.remove(2);
    for due in [wanted(), second, Vec::new()] {
        lossy.lose_after(0);
        let fault = dns.publish(&due).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unclear, "{fault}");
        assert!(lossy.has_lost());
        assert!(dns.publish(&due).await.unwrap().is_empty(), "it was carried out whole");
        let zone = dns.zone().await.unwrap();
        assert_eq!(shown(&zone, true), said(&due));
        assert_eq!(shown(&zone, false), THEIRS);
    }
    assert_eq!(lossy.writes(), 3, "each difference is one request");
    place.stage.stop().await;
}

#[tokio::test]
async fn a_lost_answer_of_cloudflare_makes_nothing_twice() {
    check_lossy("cloudflare").await;
}

#[tokio::test]
async fn a_lost_answer_of_desec_makes_nothing_twice() {
    check_lossy("desec").await;
}

#[tokio::test]
async fn visitors_go_through_the_proxy_of_cloudflare_and_the_time_is_its_own() {
    let place = Place::new("cloudflare").await;
    let dns = place.of("linkflow");
    let proxied = |on| ZoneRecord::new("www.example.com", "A", "192.0.2.1", 300, on);
    dns.publish(&[proxied(true)]).await.unwrap();
    assert!(dns.publish(&[proxied(true)]).await.unwrap().is_empty());
    let zone = dns.zone().await.unwrap();
    assert!(zone.records[0].record.proxied && zone.records[0].ours, "{zone:?}");
    assert_eq!(zone.servers, ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"]);
    let changes = dns.publish(&[proxied(false)]).await.unwrap();
    assert_eq!((changes.change.len(), changes.count()), (1, 1));
    place.stage.stop().await;
}

#[tokio::test]
async fn desec_has_a_least_time_no_proxy_and_no_alias_for_the_zone_itself() {
    let place = Place::new("desec").await;
    let dns = place.of("linkflow");
    let due = [
        ZoneRecord::new("www.example.com", "A", "192.0.2.1", 60, true),
        ZoneRecord::new("example.com", "CNAME", "edge.example.net", 60, false),
    ];
    let changes = dns.publish(&due).await.unwrap();
    assert_eq!((changes.create[0].ttl_s, changes.create[0].proxied), (3_600, false));
    assert!(changes.blocked[0].why.contains("no CNAME for the zone's own name"), "{changes:?}");
    assert!(dns.publish(&due).await.unwrap().is_empty());
    // A zone of many sets comes page by page.
    let many: Vec<ZoneRecord> =
        (0..50).map(|n| record(&format!("h{n}"), "A", "192.0.2.7")).collect();
    dns.publish(&many).await.unwrap();
    assert_eq!(shown(&dns.zone().await.unwrap(), true), said(&many));
    place.stage.stop().await;
}

#[tokio::test]
async fn each_refusal_says_what_can_be_done() {
    for (name, wait) in [("cloudflare", 300), ("desec", 45)] {
        let place = Place::new(name).await;
        place.stage.fault(name, Trouble::RateLimited);
        let fault = place.of("linkflow").zone().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Limited { wait: Duration::from_secs(wait) }, "{fault}");
        place.stage.fault(name, Trouble::ApiDown);
        let fault = place.of("other").zone().await.unwrap_err();
        assert!(fault.kind.is_passing(), "{fault}");
        place.stage.stop().await;
    }
    let place = Place::new("cloudflare").await;
    place.stage.fault("cloudflare", Trouble::OutOfQuota);
    let fault = place.of("linkflow").publish(&wanted()).await.unwrap_err();
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Exhausted, "Record quota exceeded."));
    let settings = cloudflare::Settings {
        token: Secret::new("wrong-token"),
        zone: "example.com".to_owned(),
        zone_id: None,
        account: None,
        api: Some(place.api()),
    };
    let open = |settings| {
        let (stack, name) = ("linkflow".parse().unwrap(), "cloudflare".parse().unwrap());
        dns::open(Settings::Cloudflare(settings), &kit(None), &stack, &name)
    };
    let fault = open(settings.clone()).zone().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    let token = Secret::new(&place.stage.endpoints.cloudflare.token);
    let fault = open(cloudflare::Settings {
        token: token.clone(),
        zone: "example.org".to_owned(),
        ..settings.clone()
    });
    let fault = fault.zone().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    assert!(fault.said.contains("`Zone Read`"), "{fault}");
    place.stage.stop().await;
}

#[tokio::test]
async fn a_long_list_of_cloudflare_is_read_to_its_end_and_an_envelope_is_opened_on_a_200_too() {
    let server = Canned::start(|asked| {
        if asked.path.starts_with("/zones?") {
            let zone = json!({ "id": "z", "name": "example.com", "account": { "id": "a" } });
            return Reply::json(
                200,
                &json!({ "success": true, "errors": [], "messages": [], "result": [zone] }),
            );
        }
        let page = if asked.path.ends_with("&page=2") { 2 } else { 1 };
        if asked.path.ends_with("&page=3") {
            let error = json!({ "code": 1_000, "message": "no more" });
            return Reply::json(
                200,
                &json!({ "success": false, "errors": [error], "messages": [], "result": null }),
            );
        }
        let row = json!({ "id": page.to_string(), "type": "A", "name": format!("h{page}.example.com"), "content": "192.0.2.1", "ttl": 1 });
        let info = json!({ "page": page, "per_page": 1_000, "count": 1, "total_count": 2_500 });
        Reply::json(
            200,
            &json!({ "success": true, "errors": [], "messages": [], "result": [row], "result_info": info }),
        )
    });
    let server = server.await;
    let settings = cloudflare::Settings {
        token: Secret::new("the-token"),
        zone: "example.com".to_owned(),
        zone_id: None,
        account: None,
        api: Some(server.url.clone()),
    };
    let (stack, name) = ("linkflow".parse().unwrap(), "cloudflare".parse().unwrap());
    let dns = dns::open(Settings::Cloudflare(settings), &kit(None), &stack, &name);
    let fault = dns.zone().await.unwrap_err();
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Invalid, "no more (1000)"));
    assert_eq!(server.lines().len(), 4, "{:?}", server.lines());
}

#[tokio::test]
async fn the_file_of_the_embedded_default_is_whole_grows_its_serial_and_keeps_what_people_wrote() {
    let place = Place::new("embedded").await;
    place.lived_in().await;
    let path = place.folder.path().join("example.com.zone");
    let read = || std::fs::read_to_string(&path).unwrap();
    let before = read();
    let dns = place.of("linkflow");
    dns.publish(&wanted()).await.unwrap();
    let after = read();
    let kept = before.lines().filter(|line| !line.contains("SOA"));
    for line in kept {
        assert!(after.lines().any(|other| other == line), "{line} is gone from\n{after}");
    }
    assert!(after.starts_with("; kept by hand\n"), "{after}");
    let hosts = std::fs::read_to_string(place.folder.path().join("example.com.hosts")).unwrap();
    assert!(hosts.contains("192.0.2.1 edge.example.com\n192.0.2.1 www.example.com\n"), "{hosts}");
    let serial = |text: &str| {
        let line = text.lines().find(|line| line.contains(" SOA ")).unwrap().to_owned();
        line.split(' ').nth(6).unwrap().parse::<u32>().unwrap()
    };
    let first = serial(&after);
    dns.publish(&[]).await.unwrap();
    assert!(serial(&read()) > first, "{}", read());
    dns.publish(&wanted()).await.unwrap();
    served_by_bind("example.com", &path);
    place.stage.stop().await;
}

#[tokio::test]
async fn the_whole_zone_of_each_provider_can_be_taken_elsewhere() {
    for name in NAMES {
        let place = Place::new(name).await;
        place.lived_in().await;
        let dns = place.of("linkflow");
        dns.publish(&wanted()).await.unwrap();
        let zone = dns.zone().await.unwrap();
        let text = zone_file::text(&zone, "linkflow:linkflow", 7);
        let file = place.folder.path().join("export.zone");
        std::fs::write(&file, &text).unwrap();
        served_by_bind("example.com", &file);
        let mut names = zone_file::Names::of("example.com");
        let back: Vec<ZoneRecord> =
            zone_file::entries(&text).iter().filter_map(|entry| names.record(entry)).collect();
        for held in &zone.records {
            assert!(
                back.iter().any(|r| r.says_as(&held.record)),
                "{name}: {held:?} is not in\n{text}"
            );
        }
        place.stage.stop().await;
    }
}

/// Has BIND's own check read the file, where it is installed.
fn served_by_bind(zone: &str, file: &std::path::Path) {
    let check = std::process::Command::new("named-checkzone")
        .args(["-i", "local", zone])
        .arg(file)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    let Ok(check) = check else {
        assert!(std::env::var_os("LINKFLOW_TEST_ALL").is_none(), "named-checkzone is missing");
        println!("skipped: named-checkzone is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{said}\n{}", std::fs::read_to_string(file).unwrap());
}
