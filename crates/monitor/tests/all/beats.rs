//! What is kept and told of jobs that report, with clocks of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_decide::heartbeat::Terms;
use linkflow_model::{
    Beat, Clock, Condition, Event, HeartbeatState, Maintenance, Moment, Output, Paused, Pulse,
    Rhythm, Says, StateSpan, Timestamp,
};
use linkflow_monitor::{Awaited, Listening};
use linkflow_store::{Memory, Store};
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The time on the wall when a test begins.
const BASE: u64 = 20_000 * 86_400_000;

/// Goes with the time of the runtime; the clock on the wall can be set.
struct Clocks {
    start: Instant,
    set: AtomicI64,
}

impl Clock for Clocks {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_millis()).unwrap())
    }

    fn wall(&self) -> Timestamp {
        Timestamp((BASE + self.now().0).saturating_add_signed(self.set.load(Relaxed)))
    }
}

struct Stage {
    store: Arc<dyn Store>,
    clock: Arc<Clocks>,
    pulse: Pulse,
    number: AtomicU64,
    at_work: Option<(JoinSet<()>, mpsc::Receiver<Event>)>,
    shown: watch::Receiver<Vec<Stands>>,
}

impl Stage {
    fn new() -> Self {
        let clock = Clocks { start: Instant::now(), set: AtomicI64::new(0) };
        let mut stage = Self {
            store: Arc::new(Memory::default()),
            clock: Arc::new(clock),
            pulse: Pulse::default(),
            number: AtomicU64::new(0),
            at_work: None,
            shown: watch::channel(Vec::new()).1,
        };
        stage.listen();
        stage
    }

    /// Begins to listen: to `job`, every ten minutes, and to a job of our own.
    fn listen(&mut self) {
        let awaited = |subject: &str, pulse| Awaited {
            subject: subject.to_owned(),
            terms: Terms {
                rhythm: Rhythm::Every(600_000),
                grace_ms: 60_000,
                max_runtime_ms: None,
                slow_ms: None,
                failures: 0,
                overlap: true,
            },
            asked: "every 10m".to_owned(),
            service: None,
            needs: Vec::new(),
            pulse,
        };
        let (tell, told) = mpsc::channel(1_000);
        let (show, shown) = watch::channel(Vec::new());
        let listening = Listening {
            all: vec![
                awaited("heartbeat.job", None),
                awaited("own.loop", Some(self.pulse.clone())),
            ],
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            tell,
            show,
            bell: Arc::new(Notify::new()),
            pulse: Pulse::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(listening.run(CancellationToken::new()));
        self.at_work = Some((tasks, told));
        self.shown = shown;
    }

    /// As kill -9 does it.
    fn kill(&mut self) {
        self.at_work = None;
    }

    async fn report(&self, says: Says, output: &str) {
        let number = self.number.fetch_add(1, Relaxed);
        let beat = Beat {
            id: format!("{number}"),
            heartbeat: "job".to_owned(),
            at: self.clock.wall(),
            says,
            series: None,
            message: None,
            exit: None,
            took_ms: None,
            counts: Default::default(),
            host: None,
            output: (!output.is_empty()).then_some(1),
        };
        if !output.is_empty() {
            let output = Output { base64: output.to_owned(), cut: false };
            self.store.write(&Output::key(&beat), None, &json!(output), None).await.unwrap();
        }
        self.store.write(&beat.key(), None, &json!(beat), None).await.unwrap();
    }

    async fn minutes(&self, minutes: u64) {
        sleep(Duration::from_secs(minutes * 60)).await;
    }

    /// The spans of `subject`, `up 1-12` in minutes.
    async fn spans(&self, subject: &str) -> String {
        let all = self.store.list(&StateSpan::prefix(subject)).await.unwrap();
        let span = |document: linkflow_store::Document| {
            let span: StateSpan = serde_json::from_value(document.body).unwrap();
            let minute = |at: Timestamp| at.0.saturating_sub(BASE) / 60_000;
            let to = span.to.map(|to| minute(to).to_string()).unwrap_or_default();
            format!("{:?} {}-{to}", span.condition, minute(span.from))
        };
        all.into_iter().map(span).collect::<Vec<_>>().join(", ")
    }

    async fn state(&self) -> HeartbeatState {
        let document = self.store.read(&HeartbeatState::key("job")).await.unwrap().unwrap();
        serde_json::from_value(document.body).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_miss_is_dated_told_and_over_with_the_next_report() {
    let mut stage = Stage::new();
    stage.minutes(1).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(30).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(1).await;
    assert_eq!(stage.spans("heartbeat.job").await, "Up 1-12, Down 12-31, Up 31-");
    let stands = stage.shown.borrow().clone();
    assert_eq!((stands.len(), stands[0].condition), (2, Condition::Up));
    let (_, mut told) = stage.at_work.take().unwrap();
    let mut events = Vec::new();
    while let Ok(event) = told.try_recv() {
        events.push(event.message);
    }
    events.retain(|event| event.starts_with("heartbeat"));
    assert_eq!(
        events,
        [
            "heartbeat.job is up",
            "heartbeat.job is down: no report 1 min after it was due",
            "heartbeat.job is up again; it was not for 19 min 0 s",
        ]
    );
    assert!(stage.store.list(Beat::PREFIX).await.unwrap().is_empty(), "all is taken in");
    let kept = stage.store.readings("heartbeat.job", Timestamp(0), Timestamp(u64::MAX), 9).await;
    assert_eq!(kept.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_listened_nothing_is_missed_and_nothing_that_was_kept_is_lost() {
    let mut stage = Stage::new();
    stage.minutes(1).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(5).await;
    stage.kill();
    // Due while nobody listens.
    stage.minutes(20).await;
    stage.listen();
    stage.minutes(5).await;
    assert_eq!(stage.spans("heartbeat.job").await, "Up 1-5, Unknown 5-");
    // What a job put into the store meanwhile counts.
    stage.kill();
    stage.minutes(1).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(1).await;
    stage.listen();
    stage.minutes(1).await;
    assert_eq!(stage.spans("heartbeat.job").await, "Up 1-5, Unknown 5-32, Up 32-");
    assert_eq!(stage.state().await.recent.len(), 2);
    // And from here on it is missed again.
    stage.minutes(30).await;
    assert!(
        stage.spans("heartbeat.job").await.contains("Down 44-"),
        "{}",
        stage.spans("heartbeat.job").await
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_makes_no_miss() {
    let stage = Stage::new();
    stage.minutes(1).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(1).await;
    stage.clock.set.store(86_400_000, Relaxed);
    stage.minutes(5).await;
    assert!(!stage.spans("heartbeat.job").await.contains("Down"));
    stage.report(Says::Ok, "").await;
    stage.minutes(1).await;
    stage.clock.set.store(-3_600_000, Relaxed);
    stage.minutes(5).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(5).await;
    let spans = stage.spans("heartbeat.job").await;
    assert!(!spans.contains("Down") && spans.ends_with("Up 1447-"), "{spans}");
    stage.minutes(20).await;
    assert_eq!(stage.state().await.condition, Condition::Down, "it is waited for all the same");
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_or_worked_on_is_not_missed() {
    let stage = Stage::new();
    stage.minutes(1).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(1).await;
    let mark = Paused { by: "ann".to_owned(), at: stage.clock.wall() };
    let key = HeartbeatState::paused("job");
    stage.store.write(&key, None, &json!(mark), None).await.unwrap();
    stage.minutes(60).await;
    stage.store.remove(&key, 1).await.unwrap();
    stage.minutes(5).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(1).await;
    assert_eq!(stage.spans("heartbeat.job").await, "Up 1-2, Unknown 2-67, Up 67-");
    let work = Maintenance {
        id: "1".to_owned(),
        title: "moving".to_owned(),
        text: String::new(),
        from: stage.clock.wall(),
        to: Timestamp(stage.clock.wall().0 + 3_600_000),
        subjects: vec!["heartbeat.job".to_owned()],
        cancelled: false,
        sequence: 0,
        changed: Timestamp(0),
        recurs: None,
    };
    stage.store.write(&work.key(), None, &json!(work), None).await.unwrap();
    stage.minutes(66).await;
    stage.report(Says::Ok, "").await;
    stage.minutes(1).await;
    let spans = stage.spans("heartbeat.job").await;
    assert!(spans.contains("Maintenance 67-") && !spans.contains("Down"), "{spans}");
}

#[tokio::test(start_paused = true)]
async fn a_job_of_our_own_that_stalls_is_told() {
    let stage = Stage::new();
    stage.pulse.beat();
    sleep(Duration::from_secs(3)).await;
    // It is kept at once how it has become, and not only with the next minute.
    let held = stage.store.read(&HeartbeatState::key("own.loop")).await.unwrap().unwrap();
    assert_eq!(held.body["condition"], json!(Condition::Up));
    for _ in 0..30 {
        stage.pulse.beat();
        stage.minutes(1).await;
    }
    assert_eq!(stage.spans("own.loop").await, "Up 0-");
    stage.minutes(20).await;
    stage.pulse.beat();
    stage.minutes(1).await;
    assert_eq!(stage.spans("own.loop").await, "Up 0-40, Down 40-50, Up 50-");
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_taken_in_whole_and_what_is_kept_of_it_is_bounded() {
    let stage = Stage::new();
    stage.minutes(1).await;
    for _ in 0..500 {
        stage.report(Says::Complete, "eA==").await;
    }
    stage.minutes(5).await;
    assert!(stage.store.list(Beat::PREFIX).await.unwrap().is_empty());
    assert_eq!(stage.state().await.recent.len(), 50);
    let kept = stage.store.list(&Output::prefix("job")).await.unwrap();
    assert!(kept.len() <= 20, "{}", kept.len());
    // What is no report, or of what nobody waits for, does not stay either.
    stage.store.write("beat/x", None, &json!("?"), None).await.unwrap();
    stage.minutes(1).await;
    assert!(stage.store.list(Beat::PREFIX).await.unwrap().is_empty());
}
