//! Alerts through the outbox: who is told when, in whose place, and what a killed process leaves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_decide::{AlertRule, Urgency};
use linkflow_engine::{AlertChannel, AlertPost, Alerts, MessageState, Tasks, Tried, messages};
use linkflow_model::role::{Delivery, Notice, Notify};
use linkflow_model::{Clock, Fault, FaultKind, Impact, Incident, IncidentStage, Timestamp};
use linkflow_store::{Counting, Memory, Store};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::town::Pretend;

/// People who can be told, or not.
struct People {
    name: &'static str,
    fault: Mutex<Option<FaultKind>>,
    told: Mutex<Vec<(u64, Notice)>>,
    began: Instant,
}

impl People {
    fn new(name: &'static str) -> Arc<Self> {
        let (fault, told) = (Mutex::default(), Mutex::default());
        Arc::new(Self { name, fault, told, began: Instant::now() })
    }

    fn are(&self, fault: Option<FaultKind>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// What they were told, each with the second.
    fn told(&self) -> Vec<(u64, String)> {
        let told = self.told.lock().unwrap();
        told.iter().map(|(at, notice)| (*at, notice.title.clone())).collect()
    }

    fn post(self: &Arc<Self>, otherwise: Option<&str>, is_spare: bool) -> AlertPost {
        AlertPost {
            name: self.name.to_owned(),
            rule: AlertRule {
                least: Urgency::Warning,
                wait: Duration::ZERO,
                after: None,
                repeat: Some(Duration::from_secs(600)),
                quiet: None,
            },
            channels: vec![AlertChannel {
                name: "chat".to_owned(),
                notify: Arc::clone(self) as _,
                in_turn: false,
            }],
            turn: None,
            otherwise: otherwise.map(str::to_owned),
            is_spare,
        }
    }
}

#[async_trait]
impl Notify for People {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        if let Some(kind) = *self.fault.lock().unwrap() {
            let (attempt, said) = ("tell people".to_owned(), "nobody is there".to_owned());
            return Err(Fault { kind, provider: self.name.parse().unwrap(), attempt, said });
        }
        self.told.lock().unwrap().push((self.began.elapsed().as_secs(), notice.clone()));
        Ok(())
    }
}

/// A store with an incident, and whoever tells of it.
struct Scene {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    incident: Incident,
    tasks: Tasks,
}

impl Scene {
    async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Pretend::start());
        let incident = Incident {
            id: "i1".to_owned(),
            title: "API is away".to_owned(),
            impact: Impact::Major,
            stage: IncidentStage::Investigating,
            began: clock.wall(),
            ended: None,
            subjects: vec!["monitor.api".to_owned()],
            cause: None,
            automatic: true,
            public: true,
            acknowledged: None,
            updates: Vec::new(),
        };
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        store.write(&incident.key(), None, &json!(incident), None).await.unwrap();
        Self { store, clock, incident, tasks: Tasks::default() }
    }

    fn tell(&self, posts: Vec<AlertPost>) -> Arc<Alerts> {
        let stack = "shop".parse().unwrap();
        let alerts = Alerts::new(&self.store, &self.clock, &stack, None, posts);
        alerts.start(&self.tasks);
        alerts
    }

    async fn ends(&mut self) {
        self.incident.stage = IncidentStage::Resolved;
        self.incident.ended = Some(self.clock.wall());
        let key = self.incident.key();
        let version = self.store.read(&key).await.unwrap().unwrap().version;
        self.store.write(&key, Some(version), &json!(self.incident), None).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_incident_is_told_with_reminders_and_its_end() {
    let mut scene = Scene::new().await;
    let team = People::new("team");
    scene.tell(vec![team.post(None, false)]);
    sleep(Duration::from_secs(700)).await;
    scene.ends().await;
    sleep(Duration::from_secs(3)).await;
    let titles: Vec<String> = team.told().into_iter().map(|(_, title)| title).collect();
    assert_eq!(
        titles,
        [
            "shop: API is away",
            "shop: API is away (for 10 min now)",
            "shop: API is away (over after 11 min)",
        ]
    );
    assert!(messages(&*scene.store).await.unwrap().iter().all(|m| m.state == MessageState::Sent));
}

#[tokio::test(start_paused = true)]
async fn incidents_that_are_over_cost_no_look_at_all() {
    let mut scene = Scene::new().await;
    let counting = Arc::new(Counting::of(Arc::clone(&scene.store)));
    for number in 0..10_000_u64 {
        let at = Timestamp(scene.clock.wall().0 - (number + 100) * 60_000);
        let over = Incident {
            id: format!("over-{number}"),
            stage: IncidentStage::Resolved,
            began: at,
            ended: Some(at),
            ..scene.incident.clone()
        };
        scene.store.write(&over.key(), None, &json!(over), None).await.unwrap();
    }
    let inner = std::mem::replace(&mut scene.store, Arc::clone(&counting) as _);
    let team = People::new("team");
    scene.tell(vec![team.post(None, false)]);
    sleep(Duration::from_secs(2)).await;
    let (calls, documents) = counting.take();
    assert!(documents > 10_000, "{documents}: they are read once");
    assert!(calls < 100, "{calls}: and not one by one");
    // The one that is open was told by then.
    sleep(Duration::from_secs(20)).await;
    counting.take();
    sleep(Duration::from_secs(300)).await;
    let (calls, documents) = counting.take();
    assert_eq!(documents, 0, "nothing changed");
    assert!(calls >= 600, "{calls}: it is looked twice a second");
    // What changes is seen all the same, also when another one writes it.
    scene.store = inner;
    scene.ends().await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(team.told().len(), 2);
}

/// A channel that finds what it told before.
#[derive(Default)]
struct Threads(Mutex<Vec<Option<String>>>);

#[async_trait]
impl Notify for Threads {
    async fn tell(&self, _: &Notice) -> Result<(), Fault> {
        unreachable!("what is on its way is delivered")
    }

    async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Option<String>, Fault> {
        let mut handed = self.0.lock().unwrap();
        handed.push(delivery.held.map(str::to_owned));
        Ok(Some(format!("{} after {}", delivery.id, handed.len())))
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_channel_gave_back_is_handed_to_it_again_also_by_the_next_process() {
    let mut scene = Scene::new().await;
    let threads = Arc::new(Threads::default());
    let mut post = People::new("team").post(None, false);
    post.channels[0].notify = Arc::clone(&threads) as _;
    scene.tell(vec![post.clone()]);
    sleep(Duration::from_secs(5)).await;
    scene.tasks.clone().shut_down(Duration::from_secs(1)).await;
    scene.tasks = Tasks::default();
    scene.tell(vec![post]);
    scene.ends().await;
    sleep(Duration::from_secs(5)).await;
    let handed = threads.0.lock().unwrap().clone();
    assert_eq!(handed, [None, Some("i1.team.1.chat after 1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn others_are_told_after_a_minute_in_the_place_of_who_cannot_be_and_these_later_too() {
    let scene = Scene::new().await;
    let (team, phone) = (People::new("team"), People::new("phone"));
    team.are(Some(FaultKind::Unreachable));
    scene.tell(vec![team.post(Some("phone"), false), phone.post(None, true)]);
    sleep(Duration::from_secs(55)).await;
    assert_eq!(phone.told(), []);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(phone.told().len(), 1, "once, though the other is tried again and again");
    let facts = phone.told.lock().unwrap()[0].1.facts.clone();
    assert!(
        facts
            .iter()
            .any(|(name, value)| name == "in the place of" && value.contains("nobody is there")),
        "{facts:?}"
    );
    team.are(None);
    sleep(Duration::from_secs(200)).await;
    let told = team.told();
    assert_eq!((told.len(), told[0].1.as_str()), (1, "shop: API is away"));
    assert_eq!(phone.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_way_that_tells_nobody_is_named_until_it_does_and_can_be_tried() {
    let scene = Scene::new().await;
    let (team, phone) = (People::new("team"), People::new("phone"));
    team.are(Some(FaultKind::Denied));
    let alerts = scene.tell(vec![team.post(None, false), phone.post(None, false)]);
    assert_eq!(alerts.failing(), []);
    sleep(Duration::from_secs(3)).await;
    let failed = Some("team could not tell people: nobody is there".to_owned());
    let tried =
        |alert: &str, failed| Tried { alert: alert.to_owned(), way: "chat".to_owned(), failed };
    assert_eq!(alerts.failing(), [tried("team", failed.clone())]);
    assert_eq!(alerts.try_out("team").await.unwrap(), [tried("team", failed)]);
    assert_eq!(alerts.try_out("phone").await.unwrap(), [tried("phone", None)]);
    assert_eq!(alerts.try_out("nobody").await, None);
    assert_eq!(phone.told().last().unwrap().1, "shop: this is a test");
    phone.are(Some(FaultKind::Denied));
    alerts.try_out("phone").await.unwrap();
    assert_eq!(alerts.failing().len(), 2, "a test that fails counts, too");
    phone.are(None);
    alerts.try_out("phone").await.unwrap();
    assert_eq!(alerts.failing().len(), 1, "and one that arrives says that all is well again");
    team.are(None);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(alerts.failing(), []);
    let held = alerts.messages().await.unwrap();
    assert_eq!(held.len(), 2, "a test is no message of the outbox");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_no_wait_will_mend_passes_it_on_at_once() {
    let scene = Scene::new().await;
    let (team, phone) = (People::new("team"), People::new("phone"));
    team.are(Some(FaultKind::Denied));
    scene.tell(vec![team.post(Some("phone"), false), phone.post(None, true)]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(phone.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_being_sent_when_a_process_died_comes_again_with_a_mark_and_the_rest_without() {
    let scene = Scene::new().await;
    let team = People::new("team");
    team.are(Some(FaultKind::Unreachable));
    scene.tell(vec![team.post(None, false)]);
    sleep(Duration::from_secs(2)).await;
    scene.tasks.clone().shut_down(Duration::from_secs(1)).await;
    // As a process leaves it that is killed within the call.
    let mut message = messages(&*scene.store).await.unwrap().remove(0);
    message.state = MessageState::Sending;
    let key = format!("alert/message/{}", message.id);
    let version = scene.store.read(&key).await.unwrap().unwrap().version;
    scene.store.write(&key, Some(version), &json!(message), None).await.unwrap();
    team.are(None);
    let scene = Scene { tasks: Tasks::default(), ..scene };
    scene.tell(vec![team.post(None, false)]);
    sleep(Duration::from_secs(30)).await;
    let told = team.told.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "what was decided before is not decided again");
    assert!(told[0].1.facts.iter().any(|(name, _)| name == "again"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_day_a_message_is_given_up_and_says_why() {
    let scene = Scene::new().await;
    let team = People::new("team");
    team.are(Some(FaultKind::Unreachable));
    let mut post = team.post(None, false);
    post.rule.repeat = None;
    scene.tell(vec![post]);
    sleep(Duration::from_secs(90_000)).await;
    let all = messages(&*scene.store).await.unwrap();
    assert_eq!((all.len(), all[0].state), (1, MessageState::GivenUp));
    assert!(all[0].said.as_ref().unwrap().contains("nobody is there"));
    assert!(all[0].at < Timestamp(scene.clock.wall().0 - 86_400_000));
    // A day of waits of ten minutes, after the first few.
    assert!((140..160).contains(&all[0].failed), "{}", all[0].failed);
}
