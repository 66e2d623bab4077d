//! Orders in rows: what stands in the way, what is kept, and how it ends.

use linkflow_model::{Drain, FailoverOrder, Timestamp};
use linkflow_store::{Memory, Store};

use super::failover::Wanted;
use super::{Hand, Place, drain, failover};
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
