//! Windows that come again, from the config to what they silence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_model::clock::SystemClock;
use linkflow_model::config::{Cron, Many, Window, Zone};
use linkflow_model::{Clock, ItemName, Maintenance};
use linkflow_monitor::Windows;
use linkflow_store::{Memory, Store};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Work each hour for an hour: one of its times is always under way.
fn hourly() -> BTreeMap<ItemName, Window> {
    let window = Window {
        title: "Always".to_owned(),
        text: String::new(),
        cron: Cron("@hourly".to_owned()),
        time_zone: Zone("UTC".to_owned()),
        lasts: Duration::from_secs(3_600),
        ahead: Duration::from_secs(86_400),
        tell: true,
        on: Many(vec!["monitor.api".to_owned()]),
    };
    BTreeMap::from([("always".parse().unwrap(), window)])
}

/// What is told of until nothing more is.
async fn told(store: &Arc<dyn Store>, all: BTreeMap<ItemName, Window>) -> Vec<String> {
    let (tell, mut told) = mpsc::channel(100);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let windows = Windows { all, store: Arc::clone(store), clock, tell };
    let mut tasks = JoinSet::new();
    tasks.spawn(windows.run(CancellationToken::new()));
    let mut all = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_millis(500), told.recv()).await {
        all.push(event.message);
    }
    all
}

async fn works(store: &Arc<dyn Store>) -> Vec<Maintenance> {
    let documents = store.list(Maintenance::PREFIX).await.unwrap().into_iter();
    documents.map(|document| serde_json::from_value(document.body).unwrap()).collect()
}

#[tokio::test]
async fn each_time_is_announced_once_and_what_a_person_called_off_stays_so() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let announced = told(&store, hourly()).await;
    assert_eq!(announced.len(), 8, "{announced:?}");
    assert!(announced.iter().all(|one| one.contains("is announced, always-")), "{announced:?}");
    let now = SystemClock::start().wall();
    let held = works(&store).await;
    assert_eq!(held.iter().filter(|work| work.is_on(now)).count(), 1, "{held:?}");

    let last = held.iter().max_by_key(|work| work.from).unwrap();
    let version = store.read(&last.key()).await.unwrap().unwrap().version;
    let off = Maintenance { cancelled: true, sequence: 1, ..last.clone() };
    store.write(&last.key(), Some(version), &json!(off), None).await.unwrap();

    // Another process has nothing to add, but for a time that came meanwhile.
    let again = told(&store, hourly()).await;
    assert!(again.len() <= 1, "{again:?}");
    assert!(works(&store).await.contains(&off));
    let gone = told(&store, BTreeMap::new()).await;
    assert!(gone.len() >= 6, "{gone:?}");
    assert!(gone.iter().all(|one| one.contains("is withdrawn, always-")), "{gone:?}");
    let now = SystemClock::start().wall();
    let mut left = works(&store).await;
    assert!(left.contains(&off));
    left.retain(|work| !work.cancelled && work.to > now);
    assert!(left.iter().all(|work| work.from <= now), "what has begun goes on: {left:?}");
}
