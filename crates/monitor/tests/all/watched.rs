//! What is kept and told of a server that dies and comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use linkflow_decide::watch::Manner;
use linkflow_model::clock::SystemClock;
use linkflow_model::role::Vantage;
use linkflow_model::{
    Clock, Condition, Event, EventKind, Level, Looked, Maintenance, Pulse, StateSpan, Timestamp,
};
use linkflow_monitor::{
    Eyes, Guard, Here, HttpTarget, Noted, Prober, Target, Watched, Watching, Witness,
};
use linkflow_store::{Memory, Reading, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::servers::{Certified, Servers, said};

/// A watcher at work.
struct Stage {
    store: Arc<dyn Store>,
    told: mpsc::Receiver<Event>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn watched(subject: &str, url: String, needs: &[&str]) -> Watched {
    Watched {
        subject: subject.to_owned(),
        also: Vec::new(),
        target: Target::Http(Box::new(HttpTarget::get(url.parse().unwrap()))),
        elsewhere: false,
        manner: Manner {
            every_ms: 50,
            limit_ms: 1_000,
            hold_ms: 100,
            slow_ms: None,
            learn_ms: None,
        },
        needs: needs.iter().map(|&need| need.to_owned()).collect(),
        service: None,
        certificate_days: 14,
    }
}

impl Stage {
    fn start(store: &Arc<dyn Store>, all: Vec<Watched>, prober: Prober) -> Self {
        Self::beside(store, all, prober, (Vec::new(), None))
    }

    #[expect(clippy::disallowed_methods, reason = "the test owns the task")]
    fn beside(
        store: &Arc<dyn Store>,
        all: Vec<Watched>,
        prober: Prober,
        (vantages, witness): (Vec<Arc<dyn Vantage>>, Option<Witness>),
    ) -> Self {
        let (tell, told) = mpsc::channel(100);
        let stop = CancellationToken::new();
        let (show, _) = tokio::sync::watch::channel(Vec::new());
        let watching = Watching {
            show,
            all,
            eyes: Eyes::new(prober, Guard::new(Vec::new())),
            vantages,
            witness,
            store: Arc::clone(store),
            clock: Arc::new(SystemClock::start()),
            tell,
            pulse: Pulse::default(),
        };
        let task = tokio::spawn(watching.run(stop.clone()));
        Self { store: Arc::clone(store), told, stop, task }
    }

    fn of(all: Vec<Watched>) -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        Self::start(&store, all, Prober::trusting(&[]).unwrap())
    }

    /// The next event.
    async fn told(&mut self) -> Event {
        timeout(Duration::from_secs(30), self.told.recv()).await.unwrap().unwrap()
    }

    /// Ends the watcher; all that it saw is kept then.
    async fn end(self) -> Arc<dyn Store> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.store
    }
}

async fn spans(store: &Arc<dyn Store>, subject: &str) -> Vec<StateSpan> {
    let documents = store.list(&StateSpan::prefix(subject)).await.unwrap();
    documents.into_iter().map(|d| serde_json::from_value(d.body).unwrap()).collect()
}

fn conditions(spans: &[StateSpan]) -> Vec<Condition> {
    spans.iter().map(|span| span.condition).collect()
}

async fn readings(store: &Arc<dyn Store>, subject: &str) -> Vec<Reading> {
    store.readings(subject, Timestamp(0), Timestamp(u64::MAX), 10_000).await.unwrap()
}

/// A server whose status can be changed.
async fn server(servers: &mut Servers) -> (SocketAddr, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let says = Arc::clone(&status);
    (servers.http(move |_| said(says.load(Relaxed), "", "")).await, status)
}

#[tokio::test]
async fn an_outage_is_told_once_and_its_spans_follow_each_other_without_gap() {
    let mut servers = Servers::default();
    let (at, status) = server(&mut servers).await;
    let mut watched = watched("monitor.api", format!("http://{at}/"), &[]);
    watched.also = vec!["service.api".to_owned()];
    let mut stage = Stage::of(vec![watched]);
    let up = stage.told().await;
    assert_eq!(
        (up.kind, up.level, up.message.as_str()),
        (EventKind::Up, Level::Info, "monitor.api is up")
    );
    status.store(503, Relaxed);
    let down = stage.told().await;
    assert_eq!((down.kind, down.level), (EventKind::Down, Level::Alarm));
    assert_eq!(down.message, "monitor.api is down: answered 503");
    status.store(204, Relaxed);
    let again = stage.told().await;
    assert_eq!((again.kind, again.level), (EventKind::Up, Level::Notice));
    assert!(again.message.starts_with("monitor.api is up again; it was down for "), "{again:?}");

    let store = stage.end().await;
    let spans_of = spans(&store, "monitor.api").await;
    assert_eq!(conditions(&spans_of), [Condition::Up, Condition::Down, Condition::Up]);
    for pair in spans_of.windows(2) {
        assert_eq!(pair[0].to, Some(pair[1].from));
    }
    assert_eq!((spans_of[1].why.as_deref(), spans_of[2].to), (Some("answered 503"), None));
    let of_service = conditions(&spans(&store, "service.api").await);
    assert_eq!(of_service, conditions(&spans_of), "it stands for the service as well");

    // Every look was kept, and the span begins with the first bad one.
    let readings = readings(&store, "monitor.api").await;
    let bad: Vec<&Reading> = readings.iter().filter(|reading| !reading.well).collect();
    assert!(bad.len() >= 4 && readings.len() >= bad.len() + 4, "{readings:?}");
    assert!(spans_of[1].from <= bad[0].at, "{spans_of:?} {bad:?}");
    assert!(bad.iter().all(|reading| reading.why.as_deref() == Some("answered 503")));
    store.add_up(Timestamp(u64::MAX >> 2)).await.unwrap();
    let all = (Timestamp(0), Timestamp(u64::MAX));
    let days = store.rollups("monitor.api", linkflow_store::Step::Day, all.0, all.1).await.unwrap();
    let (good, wrong) =
        days.iter().fold((0, 0), |sum, day| (sum.0 + day.took.count, sum.1 + day.bad));
    assert_eq!((good + wrong) as usize, readings.len());
    assert_eq!(wrong as usize, bad.len());
}

#[tokio::test]
async fn watching_goes_on_after_a_restart_without_telling_the_same_again() {
    let mut servers = Servers::default();
    let (at, status) = server(&mut servers).await;
    status.store(500, Relaxed);
    let all = vec![watched("monitor.api", format!("http://{at}/"), &[])];
    let mut stage = Stage::of(all.clone());
    assert_eq!(stage.told().await.kind, EventKind::Down);
    let store = stage.end().await;
    let mut stage = Stage::start(&store, all.clone(), Prober::trusting(&[]).unwrap());
    status.store(200, Relaxed);
    assert_eq!(stage.told().await.kind, EventKind::Up, "that it is down is known");
    let store = stage.end().await;
    assert_eq!(conditions(&spans(&store, "monitor.api").await), [Condition::Down, Condition::Up]);

    // What began before is known to have, also when it was long before.
    let long: Arc<dyn Store> = Arc::new(Memory::default());
    let hour_ago = Timestamp(SystemClock::start().wall().0 - 3_600_000);
    let span = StateSpan {
        subject: "monitor.api".to_owned(),
        condition: Condition::Down,
        from: hour_ago,
        to: None,
        why: None,
    };
    long.write(&span.key(), None, &serde_json::to_value(&span).unwrap(), None).await.unwrap();
    let just_now = Reading {
        subject: span.subject,
        at: Timestamp(hour_ago.0 + 3_599_000),
        well: false,
        took_us: 1,
        phases_us: [0; 4],
        why: None,
    };
    long.keep_readings(&[just_now]).await.unwrap();
    let mut stage = Stage::start(&long, all.clone(), Prober::trusting(&[]).unwrap());
    let again = stage.told().await;
    assert!(again.message.starts_with("monitor.api is up again; it was down for 1 h"), "{again:?}");
    stage.end().await;

    // Two days in which nobody looked are unknown.
    let old: Arc<dyn Store> = Arc::new(Memory::default());
    let two_days_ago = Timestamp(SystemClock::start().wall().0 - 2 * 86_400_000);
    let span = StateSpan {
        subject: "monitor.api".to_owned(),
        condition: Condition::Up,
        from: two_days_ago,
        to: None,
        why: None,
    };
    old.write(&span.key(), None, &serde_json::to_value(&span).unwrap(), None).await.unwrap();
    let mut stage = Stage::start(&old, all, Prober::trusting(&[]).unwrap());
    assert_eq!(stage.told().await.kind, EventKind::Up);
    let spans = spans(&stage.end().await, "monitor.api").await;
    assert_eq!(conditions(&spans), [Condition::Up, Condition::Unknown, Condition::Up]);
    assert_eq!(spans[1].why.as_deref(), Some("nobody looked"));
    assert_eq!(spans[0].to, Some(spans[1].from));
}

#[tokio::test]
async fn no_alarm_comes_for_what_only_its_cause_takes_down() {
    let mut servers = Servers::default();
    let (db, db_status) = server(&mut servers).await;
    let (app, app_status) = server(&mut servers).await;
    let mut stage = Stage::of(vec![
        watched("database.main", format!("http://{db}/"), &[]),
        watched("monitor.app", format!("http://{app}/"), &["database.main"]),
    ]);
    for _ in 0..2 {
        assert_eq!(stage.told().await.kind, EventKind::Up);
    }
    db_status.store(500, Relaxed);
    assert_eq!(stage.told().await.message, "database.main is down: answered 500");
    app_status.store(502, Relaxed);
    let held = stage.told().await;
    assert_eq!(held.level, Level::Info);
    assert_eq!(held.message, "monitor.app is down: answered 502; its cause is database.main");
    // The database is well again and the app is not: now it is a matter of its own.
    db_status.store(200, Relaxed);
    let mut told = [stage.told().await, stage.told().await];
    told.sort_by_key(|event| event.kind);
    assert!(told[0].message.starts_with("database.main is up again"), "{told:?}");
    assert_eq!(
        (told[1].level, told[1].message.as_str()),
        (Level::Alarm, "monitor.app is down: answered 502")
    );
    let spans = spans(&stage.end().await, "monitor.app").await;
    assert_eq!(spans[1].why.as_deref(), Some("answered 502; database.main is down"));
}

#[tokio::test]
async fn announced_work_is_no_outage() {
    let mut servers = Servers::default();
    let (at, status) = server(&mut servers).await;
    status.store(500, Relaxed);
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let now = SystemClock::start().wall();
    let work = Maintenance {
        id: "m1".to_owned(),
        title: "new disks".to_owned(),
        text: String::new(),
        from: Timestamp(now.0 - 1_000),
        to: Timestamp(now.0 + 60_000),
        subjects: vec!["monitor.api".to_owned()],
        cancelled: false,
        changed: Timestamp(0),
        recurs: None,
        sequence: 0,
    };
    store.write(&work.key(), None, &serde_json::to_value(&work).unwrap(), None).await.unwrap();
    let all = vec![watched("monitor.api", format!("http://{at}/"), &[])];
    let mut stage = Stage::start(&store, all, Prober::trusting(&[]).unwrap());
    while readings(&store, "monitor.api").await.len() < 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stage.told.try_recv().is_err(), "nothing is told of it");
    let spans = spans(&stage.end().await, "monitor.api").await;
    assert_eq!(conditions(&spans), [Condition::Maintenance]);
    assert_eq!(spans[0].why.as_deref(), Some("new disks"));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told_of_once() {
    let mut servers = Servers::default();
    let days = |days: i64| {
        let now = SystemClock::start().wall().0 / 1_000;
        Certified::ending("localhost", now as i64 + days * 86_400 + 3_600)
    };
    let (soon, later) = (days(5), days(40));
    let at = servers.https(&soon, |_| said(200, "", "")).await;
    let other = servers.https(&later, |_| said(200, "", "")).await;
    let all = vec![
        watched("monitor.soon", format!("https://localhost:{}/", at.port()), &[]),
        watched("monitor.later", format!("https://localhost:{}/", other.port()), &[]),
    ];
    let roots = [soon.der.clone(), later.der.clone()];
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    for expected in [1, 0] {
        let mut stage = Stage::start(&store, all.clone(), Prober::trusting(&roots).unwrap());
        let before = readings(&store, "monitor.soon").await.len();
        while readings(&store, "monitor.soon").await.len() < before + 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut told = Vec::new();
        while let Ok(event) = stage.told.try_recv() {
            told.extend((event.kind == EventKind::Certificate).then_some(event.message));
        }
        stage.end().await;
        assert_eq!(told.len(), expected, "{told:?}");
        assert!(
            told.iter().all(|m| m == "the certificate of monitor.soon ends in 5 days"),
            "{told:?}"
        );
    }
    let noted = store.read(&Noted::key("monitor.later")).await.unwrap().unwrap();
    let noted: Noted = serde_json::from_value(noted.body).unwrap();
    assert_eq!((noted.certificate.is_some(), noted.told_days), (true, None));
}

/// What others see as well, by the way that leads to `at`.
fn far(at: SocketAddr) -> Watched {
    Watched { elsewhere: true, ..watched("monitor.api", format!("http://{at}/"), &[]) }
}

/// Others that look at the same by another way.
fn others(ways: &[SocketAddr]) -> Vec<Arc<dyn Vantage>> {
    let other = |at: &SocketAddr| {
        let eyes = Eyes::new(Prober::trusting(&[]).unwrap(), Guard::new(Vec::new()));
        Arc::new(Here::new(eyes, &[far(*at)])) as Arc<dyn Vantage>
    };
    ways.iter().map(other).collect()
}

#[tokio::test]
async fn what_only_one_place_cannot_reach_is_partial_and_what_none_reaches_is_down() {
    let mut servers = Servers::default();
    let (at, status) = server(&mut servers).await;
    let (own_way, cut) = server(&mut servers).await;
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let prober = Prober::trusting(&[]).unwrap();
    let mut stage = Stage::beside(&store, vec![far(own_way)], prober, (others(&[at, at]), None));
    assert_eq!(stage.told().await.kind, EventKind::Up);
    cut.store(502, Relaxed);
    let partial = stage.told().await;
    assert_eq!(partial.message, "monitor.api is not reached from everywhere: answered 502");
    status.store(503, Relaxed);
    let down = stage.told().await;
    assert_eq!((down.kind, down.level), (EventKind::Down, Level::Alarm), "{down:?}");
    let store = stage.end().await;
    let conditions = conditions(&spans(&store, "monitor.api").await);
    assert_eq!(conditions, [Condition::Up, Condition::Partial, Condition::Down]);
    let readings = readings(&store, "monitor.api").await;
    let wrong = |why: &str| readings.iter().any(|reading| reading.why.as_deref() == Some(why));
    assert!(wrong("answered 502") && !wrong("answered 503"), "readings are those of this place");
}

#[tokio::test]
async fn a_place_that_does_not_know_what_is_asked_has_no_word() {
    let mut servers = Servers::default();
    let (at, status) = server(&mut servers).await;
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let mut other = far(at);
    other.subject = "monitor.other".to_owned();
    let eyes = Eyes::new(Prober::trusting(&[]).unwrap(), Guard::new(Vec::new()));
    let blind: Vec<Arc<dyn Vantage>> = vec![Arc::new(Here::new(eyes, &[other]))];
    let prober = Prober::trusting(&[]).unwrap();
    let mut stage = Stage::beside(&store, vec![far(at)], prober, (blind, None));
    assert_eq!(stage.told().await.kind, EventKind::Up);
    status.store(503, Relaxed);
    assert_eq!(stage.told().await.kind, EventKind::Down);
    stage.end().await;
}

#[tokio::test]
async fn what_is_slower_than_usual_is_degraded_without_a_limit_that_anyone_wrote() {
    let mut servers = Servers::default();
    let lag = Arc::new(AtomicU16::new(0));
    let takes = Arc::clone(&lag);
    let answers = move |_: &str| {
        std::thread::sleep(Duration::from_millis(u64::from(takes.load(Relaxed))));
        said(200, "", "")
    };
    let at = servers.http(answers).await;
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let now = SystemClock::start().wall();
    // A week in which it took 2 ms.
    let hours = (1..=7 * 24).flat_map(|hour| {
        (0..10).map(move |look| Reading {
            subject: "monitor.api".to_owned(),
            at: Timestamp(now.0 - hour * 3_600_000 - look),
            well: true,
            took_us: 2_000,
            phases_us: [0; 4],
            why: None,
        })
    });
    store.keep_readings(&hours.collect::<Vec<_>>()).await.unwrap();
    store.add_up(now).await.unwrap();
    let mut one = watched("monitor.api", format!("http://{at}/"), &[]);
    (one.manner.learn_ms, one.manner.every_ms) = (Some(0), 1_000);
    // Three minutes are too long for a test: it stood so before.
    let span = StateSpan {
        subject: "monitor.api".to_owned(),
        condition: Condition::Degraded,
        from: Timestamp(now.0 - 5_000),
        to: None,
        why: Some("answers take 300 ms, usually 2 ms at this hour".to_owned()),
    };
    store.write(&span.key(), None, &serde_json::json!(span), None).await.unwrap();
    lag.store(300, Relaxed);
    let stage = Stage::start(&store, vec![one.clone()], Prober::trusting(&[]).unwrap());
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.end().await;
    assert_eq!(conditions(&spans(&store, "monitor.api").await), [Condition::Degraded]);
    // 100 ms are not slow for what takes 2 ms.
    lag.store(100, Relaxed);
    let mut stage = Stage::start(&store, vec![one], Prober::trusting(&[]).unwrap());
    assert_eq!(stage.told().await.kind, EventKind::Up);
    stage.end().await;
    let all = conditions(&spans(&store, "monitor.api").await);
    assert_eq!(all, [Condition::Degraded, Condition::Up]);
}

/// A witness whose word can be set.
struct Says(std::sync::Mutex<Looked>);

#[async_trait::async_trait]
impl Vantage for Says {
    async fn look(&self, _: &str, _: Duration) -> Looked {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn what_a_witness_sees_is_told_at_once_and_is_partial_while_we_see_nothing_of_it() {
    let mut servers = Servers::default();
    let (at, _) = server(&mut servers).await;
    let says = Arc::new(Says(std::sync::Mutex::new(Looked::Blind)));
    let (hurry, hurried) = mpsc::channel(4);
    let subjects = std::collections::BTreeSet::from(["monitor.web".to_owned()]);
    let witness = Witness { who: Arc::clone(&says) as _, subjects, hurry: hurried };
    let mut web = watched("monitor.web", format!("http://{at}/"), &[]);
    // Nobody waits for its turn.
    web.manner.every_ms = 3_600_000;
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let prober = Prober::trusting(&[]).unwrap();
    let mut stage = Stage::beside(&store, vec![web], prober, (Vec::new(), Some(witness)));
    hurry.send("monitor.web".to_owned()).await.unwrap();
    assert_eq!(stage.told().await.kind, EventKind::Up);
    *says.0.lock().unwrap() = Looked::Silent { why: "down, as seen by robot".to_owned() };
    hurry.send("monitor.other".to_owned()).await.unwrap();
    hurry.send("monitor.web".to_owned()).await.unwrap();
    let told = stage.told().await;
    assert_eq!(told.kind, EventKind::Degraded, "{}", told.message);
    assert!(told.message.contains("down, as seen by robot"), "{}", told.message);
    drop(hurry);
    let store = stage.end().await;
    let spans = spans(&store, "monitor.web").await;
    assert_eq!(*conditions(&spans).last().unwrap(), Condition::Partial);
}
