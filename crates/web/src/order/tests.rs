//! Orders in rows: what stands in the way, what is kept, and how it ends.

use std::collections::BTreeMap;

use linkflow_model::config::Config;
use linkflow_model::{Drain, FailoverOrder, HeartbeatState, Impact, IncidentStage, Timestamp};
use linkflow_store::{Memory, Store};

use super::failover::Wanted;
use super::incident::{self, Going, Opening, Word};
use super::work::{self, Announcement};
use super::{Hand, Place, drain, failover, heartbeat};
use crate::operator::Why;

fn place(service: &str, provider: &str, unfit: Option<&str>) -> Place {
    Place {
        service: service.parse().unwrap(),
        provider: provider.parse().unwrap(),
        unfit: unfit.map(str::to_owned),
    }
}

fn wanted(service: Option<&str>, to: &str) -> Wanted {
    let service = service.map(|name| name.parse().unwrap());
    Wanted { to: to.parse().unwrap(), service, for_ms: None, force: false }
}

fn hand(store: &Memory, now: u64) -> Hand<'_> {
    Hand { store, by: "ann", now: Timestamp(now), terminal: false }
}

fn all() -> Vec<Place> {
    let down = Some("web is down on b: refused");
    vec![place("api", "a", None), place("api", "b", None), place("web", "b", down)]
}

async fn said(store: &Memory) -> Vec<String> {
    let events = store.events(0, 100).await.unwrap();
    events.into_iter().map(|(_, event)| event.message).collect()
}

#[tokio::test]
async fn a_failover_is_refused_where_a_service_may_not_run_and_where_it_is_known_to_be_down() {
    let store = Memory::default();
    for (wish, why, what) in [
        (wanted(Some("api"), "c"), Why::Missing, "api may not run on `c`"),
        (wanted(Some("web"), "a"), Why::Missing, "web may not run on `a`"),
        (wanted(None, "c"), Why::Missing, "no service may run on `c`"),
        (wanted(Some("web"), "b"), Why::Forbidden, "web is down on b: refused"),
        (wanted(None, "b"), Why::Forbidden, "web is down on b: refused"),
    ] {
        let refusal = failover::order(hand(&store, 1), &all(), &wish, "x").await.unwrap_err();
        assert_eq!((refusal.why, refusal.what.as_str()), (why, what));
    }
    assert_eq!(said(&store).await, Vec::<String>::new(), "nothing was ordered");
    let forced = Wanted { force: true, ..wanted(Some("web"), "b") };
    failover::order(hand(&store, 1), &all(), &forced, "we know").await.unwrap();
    assert_eq!(said(&store).await, ["ann has web serve from b, as soon as that serves: we know"]);
    // Where none may run at all, no force helps.
    let forced = Wanted { force: true, ..wanted(Some("web"), "a") };
    let refusal = failover::order(hand(&store, 1), &all(), &forced, "x").await.unwrap_err();
    assert_eq!(refusal.help, "`runs_on` names b");
}

#[tokio::test]
async fn a_failover_is_a_document_until_it_is_ended() {
    let store = Memory::default();
    let wish = Wanted { for_ms: Some(60_000), ..wanted(Some("api"), "b") };
    failover::order(hand(&store, 5), &all(), &wish, "they rebuild").await.unwrap();
    let document = store.read("failover/api").await.unwrap().unwrap();
    let order: FailoverOrder = serde_json::from_value(document.body).unwrap();
    assert_eq!((order.at, order.until), (Timestamp(5), Some(Timestamp(60_005))));
    assert_eq!(failover::held(hand(&store, 60_004)).await.unwrap(), [order]);
    assert_eq!(failover::held(hand(&store, 60_005)).await.unwrap(), []);
    let refusal = failover::back(hand(&store, 6), None, "x").await.unwrap_err();
    assert_eq!((refusal.why, refusal.help.as_str()), (Why::Missing, "ordered: api to b"));
    let api = "api".parse().unwrap();
    failover::back(hand(&store, 6), Some(&api), "it is over").await.unwrap();
    assert_eq!(store.read("failover/api").await.unwrap(), None);
    assert_eq!(
        said(&store).await,
        ["ann has api serve from b: they rebuild", "ann ends that api serves from b: it is over",]
    );
}

#[tokio::test]
async fn a_drain_is_a_document_until_it_is_lifted_and_of_one_service_where_that_is_said() {
    let store = Memory::default();
    let (a, api) = ("a".parse().unwrap(), "api".parse().unwrap());
    let (places, web) = (all(), "web".parse().unwrap());
    let refusal = drain::drain(hand(&store, 1), &places, &a, Some(&web), "x").await.unwrap_err();
    assert_eq!(refusal.what, "web may not run on `a`");
    drain::drain(hand(&store, 1), &all(), &a, Some(&api), "slow").await.unwrap();
    assert!(store.read(&Drain::key(&a, Some(&api))).await.unwrap().is_some());
    let refusal = drain::lift(hand(&store, 2), &a, None, "x").await.unwrap_err();
    assert_eq!(
        (refusal.what.as_str(), refusal.help.as_str()),
        ("`a` is not drained", "drained: a for api",)
    );
    drain::lift(hand(&store, 2), &a, Some(&api), "over").await.unwrap();
    assert_eq!(store.list(Drain::PREFIX).await.unwrap(), []);
    assert_eq!(
        said(&store).await,
        ["ann keeps api away from a: slow", "ann lets api run on a again: over",]
    );
}

/// The config of a stack whose page is in Berlin.
fn config() -> Config {
    let text = "[stack]\nname = \"shop\"\n[status_page]\nhost = \"status.shop.example\"\n\
                time_zone = \"Europe/Berlin\"\ncomponents = [{ name = \"API\", watch = [\"monitor.api\"] }]\n\
                [monitors.api]\nhttp = \"https://shop.example\"\n";
    let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
    Config::parse(&files, "linkflow.toml", None).config.unwrap()
}

fn word(text: &str, at: u64, public: bool) -> Word {
    Word { text: text.to_owned(), at: Timestamp(at), next: None, public }
}

fn opening(title: &str, at: u64) -> Opening {
    let (title, subjects) = (title.to_owned(), vec!["monitor.api".to_owned()]);
    Opening { title, impact: Impact::Major, subjects, word: word("We look.", at, true) }
}

fn going(text: &str, at: u64, public: bool, stage: Option<IncidentStage>) -> Going {
    Going { word: word(text, at, public), stage, impact: None }
}

/// 29 November 2026, 23:30 UTC: the next day in Berlin.
const LATE: u64 = 1_795_995_000_000;

#[tokio::test]
async fn an_incident_is_told_in_the_order_of_what_happened_and_is_over_once() {
    let (store, config) = (Memory::default(), config());
    let at = |ms: u64| hand(&store, LATE + ms);
    let opened = incident::open(at(0), &config, opening("Payments fail", LATE)).await.unwrap();
    assert_eq!(opened.id, "20261130-payments-fail");
    let again = incident::open(at(0), &config, opening("Payments fail", LATE)).await.unwrap();
    assert_eq!(again.id, "20261130-payments-fail-2");
    let id = opened.id.as_str();
    let identified = Some(IncidentStage::Identified);
    incident::go_on(at(90), id, going("A bad release.", LATE + 90, true, identified))
        .await
        .unwrap();
    let note = going("It was the pool.", LATE + 50, false, Some(IncidentStage::Monitoring));
    let noted = incident::go_on(at(95), id, note).await.unwrap();
    assert_eq!(noted.stage, IncidentStage::Identified, "a note changes nothing of what was told");
    let early = incident::resolve(at(99), id, Timestamp(LATE - 1), "Over.").await.unwrap_err();
    assert_eq!(early.why, Why::Wrong);
    incident::resolve(at(99), id, Timestamp(LATE + 97), "Over.").await.unwrap();
    for (going, expected) in [
        (going("And now?", LATE + 99, true, None), Some(Why::Forbidden)),
        (going("And now?", LATE + 99, true, identified), Some(Why::Forbidden)),
        (going("For us.", LATE + 99, false, None), None),
        (going("Learned.", LATE + 99, true, Some(IncidentStage::Postmortem)), None),
        (going("More.", LATE + 99, true, None), None),
    ] {
        let done = incident::go_on(at(99), id, going.clone()).await;
        assert_eq!(done.err().map(|refusal| refusal.why), expected, "{going:?}");
    }
    for done in [
        incident::resolve(at(99), id, Timestamp(LATE + 99), "Over.").await,
        incident::acknowledge(at(99), id, "ann").await,
    ] {
        assert_eq!(done.unwrap_err().why, Why::Forbidden);
    }
    let held = store.read(&opened.key()).await.unwrap().unwrap().body;
    let updates: Vec<_> = held["updates"].as_array().unwrap().iter().collect();
    let texts: Vec<&str> = updates.iter().map(|update| update["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        ["We look.", "It was the pool.", "A bad release.", "Over.", "For us.", "Learned.", "More."]
    );
    assert_eq!(updates[1]["written"], LATE + 95, "it was written later");
    assert!(updates[2]["written"].is_null());
}

#[tokio::test]
async fn what_is_ordered_at_the_terminal_is_in_the_audit_with_what_came_of_it() {
    let (store, config) = (Memory::default(), config());
    let hand = Hand { terminal: true, ..hand(&store, LATE) };
    incident::open(hand, &config, opening("Mails fail", LATE)).await.unwrap();
    let nope = incident::resolve(hand, "nope", Timestamp(LATE), "Over.").await.unwrap_err();
    assert_eq!(nope.help, "`linkflow incident list` shows all");
    let moves = |from: u64| Announcement {
        title: "Move".to_owned(),
        text: String::new(),
        from: Timestamp(from),
        lasts_ms: 60_000,
        subjects: Vec::new(),
    };
    work::announce(hand, &config, moves(LATE - 300_001)).await.unwrap_err();
    let work = work::announce(hand, &config, moves(LATE + 1)).await.unwrap();
    work::cancel(hand, &work.id).await.unwrap();
    let api = "api".parse().unwrap();
    drain::drain(hand, &all(), &"a".parse().unwrap(), Some(&api), "slow").await.unwrap();
    failover::back(hand, None, "x").await.unwrap_err();
    assert!(heartbeat::pause(hand, "backup").await.unwrap());
    assert!(!heartbeat::pause(hand, "backup").await.unwrap());
    assert!(store.read(&HeartbeatState::paused("backup")).await.unwrap().is_some());
    assert!(heartbeat::resume(hand, "backup").await.unwrap());
    assert!(!heartbeat::resume(hand, "backup").await.unwrap());
    let deeds = crate::door::deeds(&store, "2026-11").await.unwrap();
    let told: Vec<_> = deeds.iter().rev().map(|d| [&*d.what, &*d.why, &*d.outcome]).collect();
    assert_eq!(
        told,
        [
            ["open an incident", "Mails fail", "done"],
            ["resolve the incident nope", "Over.", "there is no incident `nope`"],
            ["announce work", "Move", "what is announced has not begun yet"],
            ["announce work", "Move", "done"],
            ["call off the work 20261130-move", "", "done"],
            ["drain a of api", "slow", "done"],
            [
                "end the failover of every service",
                "x",
                "nobody ordered a failover of every service"
            ],
            ["pause the heartbeat backup", "", "done"],
            ["pause the heartbeat backup", "", "done"],
            ["resume the heartbeat backup", "", "done"],
            ["resume the heartbeat backup", "", "done"],
        ]
    );
    assert!(
        deeds.iter().all(|d| (&*d.who, &*d.means, &*d.from) == ("ann", "terminal", "terminal"))
    );
}
