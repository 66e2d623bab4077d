//! Domains at a registry that answers as RFC 7480 and RFC 9083 say. No registry can be run here, so this is one of the test's
//! own: what it answers is written down in those.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linkflow_decide::domain::{Asked, Terms};
use linkflow_decide::{Sort, Stands};
use linkflow_model::{
    Clock, Condition, DomainState, Event, EventKind, Level, Maintenance, Moment, Pulse,
    Registration, StateSpan, Timestamp,
};
use linkflow_monitor::{Domain, Domains, Prober, Registries};
use linkflow_store::{Memory, Store};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::servers::{Servers, said};

const DAY_MS: u64 = 86_400_000;

/// 2026-12-24.
const ENDS: u64 = 1_798_070_400_000;

/// The clock on the wall is set by the test.
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment(self.0.load(Relaxed))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.0.load(Relaxed))
    }
}

/// IANA's list and a registry of `.shop` at one address, with what it says of each domain and what it was asked.
#[derive(Clone, Default)]
struct Registry {
    says: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn says(&self, path: &str, what: &str) {
        self.says.lock().unwrap().insert(path.to_owned(), what.to_owned());
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    async fn open(&self, servers: &mut Servers) -> SocketAddr {
        let own = self.clone();
        servers.http(move |request| own.answer(request)).await
    }

    fn answer(&self, request: &str) -> Option<String> {
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let header = |name: &str| {
            let lines = request.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next().unwrap()
        };
        self.asked.lock().unwrap().push(path.clone());
        let what = self.says.lock().unwrap().get(&path).cloned();
        let host = header("host");
        if path == "/list" {
            return match what {
                Some(status) => said(status.parse().unwrap(), "", ""),
                None => said(200, "content-type: application/json\r\n", &list(&host)),
            };
        }
        assert_eq!(header("accept"), "application/rdap+json", "{path}");
        let kind = "content-type: application/rdap+json\r\n";
        let error = |status: u16| json!({ "errorCode": status, "title": "no" }).to_string();
        let name = path.rsplit('/').next().unwrap();
        match what.as_deref().and_then(|what| what.split_once(' ')) {
            None => said(404, kind, &error(404)),
            Some(("at", place)) => said(302, &format!("location: {place}\r\n"), ""),
            Some(("429", wait)) => {
                said(429, &format!("{kind}retry-after: {wait}\r\n"), &error(429))
            }
            Some(("raw", body)) => said(200, kind, body),
            Some(("ends", rest)) => said(200, kind, &domain(name, rest)),
            Some((status, _)) => said(status.parse().unwrap(), kind, &error(500)),
        }
    }
}

fn list(host: &str) -> String {
    let services = json!([[["shop"], [format!("http://{host}/rdap/")]]]);
    json!({ "version": "1.0", "publication": "2026-01-01T00:00:00Z", "services": services })
        .to_string()
}

/// The domain `name`: `2026-12-24T00:00:00Z active,client hold`, or `- active` without an end.
fn domain(name: &str, text: &str) -> String {
    let (date, status) = text.split_once(' ').unwrap();
    let registration =
        json!({ "eventAction": "registration", "eventDate": "2019-01-01T00:00:00Z" });
    let end = json!({ "eventAction": "expiration", "eventDate": date });
    let events = if date == "-" { vec![registration] } else { vec![registration, end] };
    json!({
        "rdapConformance": ["rdap_level_0"],
        "objectClassName": "domain",
        "ldhName": name,
        "status": status.split(',').collect::<Vec<_>>(),
        "events": events,
        "entities": [{
            "objectClassName": "entity",
            "roles": ["registrar"],
            "vcardArray": ["vcard", [["fn", {}, "text", "Acme Names"]]],
        }],
    })
    .to_string()
}

struct Stage {
    servers: Servers,
    registry: Registry,
    clock: Arc<Hand>,
    store: Arc<dyn Store>,
    at: SocketAddr,
}

impl Stage {
    /// So many days before the end.
    async fn new(days: u64) -> Self {
        let (mut servers, registry) = (Servers::default(), Registry::default());
        let at = registry.open(&mut servers).await;
        let clock = Arc::new(Hand(AtomicU64::new(ENDS - days * DAY_MS)));
        Self { servers, registry, clock, store: Arc::new(Memory::default()), at }
    }

    fn registries(&self) -> Registries {
        let prober = Prober::trusting(&[]).unwrap();
        let (clock, store) = (Arc::clone(&self.clock) as Arc<dyn Clock>, Arc::clone(&self.store));
        Registries::new(prober, clock, store, format!("http://{}/list", self.at))
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Relaxed);
    }

    fn watch(&self) -> AtWork {
        let (tell, told) = mpsc::channel(100);
        let (show, shown) = watch::channel(Vec::new());
        let one = Domain {
            subject: "domain.acme.shop".to_owned(),
            name: "acme.shop".to_owned(),
            terms: Terms { every_ms: DAY_MS / 2, left_ms: 30 * DAY_MS },
        };
        let domains = Domains {
            all: vec![one],
            registries: self.registries(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            tell,
            show,
            pulse: Pulse::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(domains.run(CancellationToken::new()));
        AtWork { _tasks: tasks, told, shown }
    }

    async fn state(&self) -> DomainState {
        let document = self.store.read(&DomainState::key("acme.shop")).await.unwrap();
        document.map(|document| serde_json::from_value(document.body).unwrap()).unwrap_or_default()
    }
}

/// The watcher, which ends as kill -9 does it.
struct AtWork {
    _tasks: JoinSet<()>,
    told: mpsc::Receiver<Event>,
    shown: watch::Receiver<Vec<Stands>>,
}

impl AtWork {
    async fn told(&mut self) -> (EventKind, Level, String) {
        let event = timeout(Duration::from_secs(30), self.told.recv()).await.unwrap().unwrap();
        (event.kind, event.level, event.message)
    }

    async fn stands(&mut self, is: impl Fn(&Stands) -> bool) -> Stands {
        let seen = self.shown.wait_for(|all| all.first().is_some_and(&is));
        let seen = timeout(Duration::from_secs(30), seen).await.unwrap().unwrap();
        seen[0].clone()
    }
}

fn registered(ends: Option<u64>, status: &[&str]) -> Asked {
    Asked::Registered(Registration {
        ends: ends.map(Timestamp),
        status: status.iter().map(|&word| word.to_owned()).collect(),
        registrar: Some("Acme Names".to_owned()),
    })
}

#[tokio::test]
async fn a_registry_is_found_by_the_ending_and_says_when_a_domain_ends() {
    let stage = Stage::new(50).await;
    let mut registries = stage.registries();
    stage.registry.says("/rdap/domain/acme.shop", "ends 2026-12-24T00:00:00Z active");
    stage.registry.says("/rdap/domain/lost.shop", "ends - Redemption Period,pending delete");
    let lost = registered(None, &["redemption period", "pending delete"]);
    let rows = [
        ("acme.shop", registered(Some(ENDS), &["active"])),
        ("lost.shop", lost),
        ("free.shop", Asked::Nobody),
        ("acme.io", Asked::Unserved("io".to_owned())),
    ];
    for (name, expected) in rows {
        assert_eq!(registries.ask(name).await, expected, "{name}");
    }
    let asked =
        ["/list", "/rdap/domain/acme.shop", "/rdap/domain/lost.shop", "/rdap/domain/free.shop"];
    assert_eq!(stage.registry.asked(), asked, "the list is asked for once");
}

#[tokio::test]
async fn a_redirect_leads_to_whoever_knows_and_is_asked_in_the_same_form() {
    let mut stage = Stage::new(50).await;
    let registrar = Registry::default();
    let at = registrar.open(&mut stage.servers).await;
    registrar.says("/v1/domain/acme.shop", "ends 2026-12-24T00:00:00Z active");
    let place = format!("at http://{at}/v1/domain/acme.shop");
    stage.registry.says("/rdap/domain/acme.shop", &place);
    let asked = stage.registries().ask("acme.shop").await;
    assert_eq!(asked, registered(Some(ENDS), &["active"]));
    stage.registry.says("/rdap/domain/round.shop", "at /rdap/domain/round.shop");
    let asked = stage.registries().ask("round.shop").await;
    let why = "its registry cannot be asked: more than 5 redirects";
    assert_eq!(asked, Asked::Silent(why.to_owned()));
}

#[tokio::test]
async fn a_server_that_asks_for_that_is_left_alone_for_all_its_domains() {
    let stage = Stage::new(50).await;
    let mut registries = stage.registries();
    stage.registry.says("/rdap/domain/acme.shop", "429 120");
    stage.registry.says("/rdap/domain/other.shop", "ends 2026-12-24T00:00:00Z active");
    assert_eq!(registries.ask("acme.shop").await, Asked::Later(Some(120_000)));
    stage.pass(20_000);
    assert_eq!(registries.ask("other.shop").await, Asked::Later(Some(100_000)));
    assert_eq!(stage.registry.asked(), ["/list", "/rdap/domain/acme.shop"]);
    stage.pass(100_000);
    assert_eq!(registries.ask("other.shop").await, registered(Some(ENDS), &["active"]));
}

#[tokio::test]
async fn what_cannot_be_understood_says_nothing() {
    let stage = Stage::new(50).await;
    let mut registries = stage.registries();
    let rows = [
        ("raw {", "its registry cannot be understood: EOF"),
        ("raw <html>", "its registry cannot be understood: expected value"),
        ("raw {\"objectClassName\":\"domain\",\"ldhName\":\"shop\"}", "it tells of `shop`"),
        ("ends soon active", "`soon` is no date"),
        ("500 -", "its registry answered 500"),
        ("403 -", "its registry answered 403"),
    ];
    for (says, expected) in rows {
        stage.registry.says("/rdap/domain/acme.shop", says);
        match registries.ask("acme.shop").await {
            Asked::Silent(why) => assert!(why.contains(expected), "{says}: {why}"),
            other => panic!("{says}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_list_is_kept_for_a_day_and_an_old_one_does_while_iana_is_away() {
    let stage = Stage::new(50).await;
    stage.registry.says("/list", "503");
    let mut registries = stage.registries();
    let none = "the list of registries cannot be read: answered 503";
    for _ in 0..2 {
        assert_eq!(registries.ask("free.shop").await, Asked::Silent(none.to_owned()));
    }
    assert_eq!(stage.registry.asked(), ["/list"], "it is not asked for again at once");
    stage.pass(600_000);
    stage.registry.says.lock().unwrap().clear();
    assert_eq!(registries.ask("free.shop").await, Asked::Nobody);
    assert_eq!(stage.registry.asked(), ["/list", "/rdap/domain/free.shop"]);
    // Another process begins with the copy.
    stage.pass(DAY_MS - 1);
    let mut registries = stage.registries();
    assert_eq!(registries.ask("free.shop").await, Asked::Nobody);
    assert_eq!(stage.registry.asked(), ["/rdap/domain/free.shop"]);
    stage.pass(10 * DAY_MS);
    stage.registry.says("/list", "503");
    assert_eq!(registries.ask("free.shop").await, Asked::Nobody);
    assert_eq!(stage.registry.asked(), ["/list", "/rdap/domain/free.shop"]);
}

#[tokio::test]
async fn the_nearer_the_end_the_louder_it_is_told_and_each_nearness_once() {
    let stage = Stage::new(31).await;
    stage.registry.says("/rdap/domain/acme.shop", "ends 2026-12-24T00:00:00Z active");
    let mut work = stage.watch();
    let (kind, level, message) = work.told().await;
    let up = (EventKind::Up, Level::Info, "domain.acme.shop is registered");
    assert_eq!((kind, level, message.as_str()), up);
    let rows = [
        (
            30,
            EventKind::Degraded,
            Level::Warning,
            "domain.acme.shop is at risk: it ends on 2026-12-24",
        ),
        (
            14,
            EventKind::Domain,
            Level::Warning,
            "the domain acme.shop ends in 13 days; it is renewed at Acme Names",
        ),
        (
            7,
            EventKind::Domain,
            Level::Alarm,
            "the domain acme.shop ends in 6 days; it is renewed at Acme Names",
        ),
    ];
    for (days, kind, level, message) in rows {
        stage.clock.0.store(ENDS - days * DAY_MS + 1, Relaxed);
        assert_eq!(work.told().await, (kind, level, message.to_owned()), "{days}");
    }
    let stands = work.stands(|one| one.sort == Sort::Domain { grave: true }).await;
    assert_eq!((stands.condition, stands.name.as_str()), (Condition::Degraded, "acme.shop"));
    // A process that begins says none of it again.
    drop(work);
    let mut work = stage.watch();
    stage.registry.says("/rdap/domain/acme.shop", "ends 2027-12-24T00:00:00Z active");
    stage.pass(DAY_MS);
    let renewed = (EventKind::Up, Level::Notice, "domain.acme.shop is registered".to_owned());
    assert_eq!(work.told().await, renewed);
    assert!(work.told.try_recv().is_err());
    assert_eq!(stage.state().await.told_days, None);
}

#[tokio::test]
async fn an_end_that_came_is_an_outage_and_a_restart_asks_nobody_again() {
    let stage = Stage::new(50).await;
    stage.registry.says("/rdap/domain/acme.shop", "ends 2026-12-24T00:00:00Z active");
    let mut work = stage.watch();
    work.stands(|one| one.condition == Condition::Up).await;
    stage.registry.asked();
    drop(work);
    let mut work = stage.watch();
    work.stands(|one| one.condition == Condition::Up).await;
    stage.pass(50 * DAY_MS + 3_600_000);
    let lost = "domain.acme.shop is lost: it ended on 2026-12-24".to_owned();
    assert_eq!(work.told().await, (EventKind::Down, Level::Alarm, lost));
    let asked = stage.registry.asked();
    assert_eq!(asked.iter().filter(|path| path.contains("domain")).count(), 1, "{asked:?}");
    let spans = stage.store.list(&StateSpan::prefix("domain.acme.shop")).await.unwrap();
    let spans: Vec<StateSpan> =
        spans.into_iter().map(|one| serde_json::from_value(one.body).unwrap()).collect();
    let conditions: Vec<Condition> = spans.iter().map(|span| span.condition).collect();
    assert_eq!(conditions, [Condition::Up, Condition::Down]);
    let readings = stage.store.readings("domain.acme.shop", Timestamp(0), Timestamp(u64::MAX), 9);
    let well: Vec<bool> = readings.await.unwrap().iter().map(|reading| reading.well).collect();
    assert_eq!(well, [true, false]);
}

#[tokio::test]
async fn a_domain_that_is_worked_on_alarms_nobody() {
    let stage = Stage::new(5).await;
    let work = Maintenance {
        id: "move".to_owned(),
        title: "We move to another registrar".to_owned(),
        from: Timestamp(0),
        to: Timestamp(ENDS),
        subjects: vec!["domain.acme.shop".to_owned()],
        text: String::new(),
        cancelled: false,
        sequence: 0,
        changed: Timestamp(0),
        recurs: None,
    };
    stage.store.write(&work.key(), None, &json!(work), None).await.unwrap();
    stage.registry.says("/rdap/domain/acme.shop", "ends 2026-12-24T00:00:00Z client hold");
    let mut at_work = stage.watch();
    let stands = at_work.stands(|one| one.condition == Condition::Maintenance).await;
    assert_eq!(stands.why.as_deref(), Some("We move to another registrar"));
    while stage.state().await.word.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(at_work.told.try_recv().is_err());
    stage.clock.0.store(ENDS - 3_600_000, Relaxed);
    let document = stage.store.read(&work.key()).await.unwrap().unwrap();
    let over = json!(Maintenance { cancelled: true, ..work.clone() });
    stage.store.write(&work.key(), Some(document.version), &over, None).await.unwrap();
    let (kind, level, _) = at_work.told().await;
    assert_eq!((kind, level), (EventKind::Degraded, Level::Alarm));
}
