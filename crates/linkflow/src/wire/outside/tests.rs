//! From a hook to what is seen, with vendors' APIs as the rehearsal has them.

use linkflow_model::clock::SystemClock;
use linkflow_model::role::{Watch, Watcher, Watching};
use linkflow_model::{Secret, StackName};
use linkflow_providers::kit::KitOptions;
use linkflow_providers::watcher::{self, Settings, betterstack, cronitor, uptimerobot};
use linkflow_rehearsal::cloud::{Cloud, CloudOptions, Trouble};
use linkflow_store::Memory;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::state::Home;
use super::*;

/// Nothing is asked by itself within a test.
const SLOW: Pace = Pace {
    seldom: Duration::from_secs(3_600),
    often: Duration::from_secs(3_600),
    hooked: Duration::from_secs(3_600),
    least: Duration::from_millis(20),
};

struct Stage {
    cloud: Cloud,
    words: Words,
    bell: Arc<Notify>,
    told: mpsc::Receiver<Event>,
    hurried: mpsc::Receiver<String>,
    _asking: JoinSet<()>,
    _dir: tempfile::TempDir,
}

fn opened(kind: &str, cloud: &Cloud, clock: &Arc<dyn Clock>) -> Arc<dyn Watcher> {
    let endpoint = &cloud.endpoints().watchers[kind];
    let (token, api) = (Secret::new(&endpoint.token), Some(endpoint.api.clone()));
    let (least_every, per_minute) = (Duration::from_secs(60), 100);
    let settings = match kind {
        "uptimerobot" => {
            Settings::Uptimerobot(uptimerobot::Settings { token, least_every, per_minute, api })
        }
        "betterstack" => Settings::Betterstack(betterstack::Settings { token, least_every, api }),
        _ => Settings::Cronitor(cronitor::Settings { token, api }),
    };
    let kit = Kit::new(KitOptions {
        record: None,
        clock: Arc::clone(clock),
        user_agent: "test".to_owned(),
        limits: None,
    });
    let (stack, name) = (StackName::new("shop").unwrap(), ProviderName::new(kind).unwrap());
    watcher::open(settings, &kit.unwrap(), &stack, &name)
}

impl Stage {
    /// A vendor that looks at `monitor.web`, and was asked once.
    async fn new(kind: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cloud = Cloud::start(CloudOptions {
            program: "/nothing/is/run".into(),
            folder: dir.path().join("cloud"),
            stack: StackName::new("shop").unwrap(),
            providers: Vec::new(),
            seed: 1,
        });
        let cloud = cloud.await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let look = opened(kind, &cloud, &clock);
        let url = "https://www.example.com/".to_owned();
        let what =
            Watching::Http { url, every_s: 300, timeout_s: 30, status: None, contains: None };
        let web = look.fit(&Watch { name: "web".to_owned(), what }).unwrap();
        look.ensure(&web, None).await.unwrap();
        let key = Home::open(dir.path()).unwrap().key();
        let bell: Arc<Notify> = Arc::default();
        let name = ProviderName::new(kind).unwrap();
        let vendor = Vendor { name, look: look as _, bell: Arc::clone(&bell) };
        let subjects = BTreeSet::from(["monitor.web".to_owned()]);
        let outside = Outside::of(vec![vendor.clone()], Vec::new(), subjects, key);
        let (words, witness) = Words::new(&outside, &clock);
        let (tell, told) = mpsc::channel(16);
        let (mut asking, follows) = (JoinSet::new(), words.clone());
        asking.spawn(async move { follows.follow(&vendor, SLOW, false, tell).await });
        let hurried = witness.hurry;
        Self { cloud, words, bell, told, hurried, _asking: asking, _dir: dir }
    }

    async fn look(&self) -> Looked {
        self.words.look("monitor.web", Duration::from_secs(1)).await
    }

    async fn told(&mut self) -> String {
        timeout(Duration::from_secs(30), self.told.recv()).await.unwrap().unwrap().message
    }

    async fn hurried(&mut self) -> String {
        timeout(Duration::from_secs(30), self.hurried.recv()).await.unwrap().unwrap()
    }

    /// How often the vendor was asked for the first page.
    async fn asked(&self) -> Moment {
        let said = self.words.said.lock().unwrap();
        said.values().next().map(|(asked, _)| *asked).unwrap_or_default()
    }

    /// Waits until it was asked again after `before`.
    async fn asked_after(&self, before: Moment) {
        let again = async {
            while self.asked().await <= before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), again).await.unwrap();
    }
}

#[tokio::test]
async fn a_hook_has_the_vendor_asked_and_its_own_word_is_what_is_seen() {
    for kind in KINDS {
        let mut stage = Stage::new(kind).await;
        assert_eq!(stage.look().await, Looked::Blind, "{kind}");
        stage.asked_after(Moment(0)).await;
        assert!(stage.cloud.see(kind, "web", true));
        stage.bell.notify_one();
        assert_eq!(stage.hurried().await, "monitor.web");
        assert_eq!(stage.told().await, format!("{kind} sees monitor.web down"));
        let why = format!("down, as seen by {kind}");
        assert_eq!(stage.look().await, Looked::Silent { why });
        assert!(stage.cloud.see(kind, "web", false));
        stage.bell.notify_one();
        assert_eq!(stage.told().await, format!("{kind} sees monitor.web up again"));
        assert_eq!(stage.look().await, Looked::Blind, "{kind}: that it was up is no word on now");
        stage.cloud.stop().await;
    }
}

#[tokio::test]
async fn a_hook_that_lies_or_comes_again_changes_nothing() {
    let mut stage = Stage::new("uptimerobot").await;
    stage.asked_after(Moment(0)).await;
    for _ in 0..3 {
        let before = stage.asked().await;
        // Somebody says that it is down. The vendor does not.
        stage.bell.notify_one();
        stage.asked_after(before).await;
        assert_eq!(stage.look().await, Looked::Blind);
    }
    assert!(stage.told.try_recv().is_err());
    assert!(stage.hurried.try_recv().is_err());
    stage.cloud.stop().await;
}

#[tokio::test]
async fn a_vendor_that_does_not_answer_is_told_of_once_and_has_no_word_after_a_while() {
    let mut stage = Stage::new("uptimerobot").await;
    stage.asked_after(Moment(0)).await;
    let name = ProviderName::new("uptimerobot").unwrap();
    assert!(stage.cloud.set_fault(&name, None, Some(Trouble::ApiDown)));
    for _ in 0..2 {
        stage.bell.notify_one();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let why = stage.told().await;
    assert!(why.starts_with("uptimerobot does not say what it sees: "), "{why}");
    stage.cloud.clear_faults();
    assert!(stage.cloud.see("uptimerobot", "web", true));
    stage.bell.notify_one();
    assert_eq!(stage.told().await, "uptimerobot says again what it sees");
    assert_eq!(stage.told().await, "uptimerobot sees monitor.web down");
    let now = stage.words.clock.now();
    let mut late = stage.words.clone();
    late.clock = Arc::new(Ahead(now.plus(GOOD_MS + 1)));
    assert_eq!(late.look("monitor.web", Duration::ZERO).await, Looked::Blind);
    stage.cloud.stop().await;
}

/// A clock that stands.
struct Ahead(Moment);

impl Clock for Ahead {
    fn now(&self) -> Moment {
        self.0
    }

    fn wall(&self) -> linkflow_model::Timestamp {
        linkflow_model::Timestamp(self.0.0)
    }
}

#[tokio::test]
async fn a_process_that_follows_another_knows_of_the_hook_that_one_had_just_taken() {
    let (store, clock, name) =
        (Memory::default(), SystemClock::start(), ProviderName::new("robot").unwrap());
    assert!(!was_hooked(&store, &clock, &name).await);
    let now = clock.wall().0;
    for (version, (ago, expected)) in [(59_000, true), (61_000, false)].into_iter().enumerate() {
        let came = serde_json::json!(Came { at: linkflow_model::Timestamp(now - ago) });
        let version = u64::try_from(version).ok().filter(|version| *version > 0);
        store.write(&Came::key("robot"), version, &came, None).await.unwrap();
        assert_eq!(was_hooked(&store, &clock, &name).await, expected, "{ago} ms ago");
    }
}
