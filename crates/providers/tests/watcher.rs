//! What every vendor that watches from outside promises, held by each name of the catalogue beside what people have there.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use linkflow_decide::watchers;
use linkflow_model::role::{HeldWatch, Said, Schedule, Watch, Watcher, Watching, WorkStage};
use linkflow_model::{Condition, FaultKind, IncidentStage, Secret, Timestamp};
use linkflow_providers::watcher::{
    self, Settings, betterstack, cronitor, healthchecks, instatus, uptimerobot,
};
use linkflow_rehearsal::cloud::Trouble;
use reqwest::Method;
use serde_json::{Value, json};

use crate::lossy::Lossy;
use crate::stage::Stage;

const NAMES: [&str; 5] = ["uptimerobot", "betterstack", "cronitor", "healthchecks", "instatus"];

#[test]
fn the_contract_is_held_by_every_name_of_the_catalogue() {
    assert_eq!(watcher::KINDS, NAMES);
}

/// An account somewhere, and a person who has been there.
struct Place {
    stage: Stage,
    name: &'static str,
}

impl Place {
    async fn new(name: &'static str) -> Self {
        Self { stage: Stage::start(&[]).await, name }
    }

    fn token(&self) -> String {
        self.stage.endpoints.watchers[self.name].token.clone()
    }

    fn api(&self) -> String {
        self.stage.endpoints.watchers[self.name].api.clone()
    }

    fn of(&self, stack: &str) -> Arc<dyn Watcher> {
        self.by(stack, &self.api(), &self.token())
    }

    /// The same, on another way to the API, or with another token.
    fn by(&self, stack: &str, api: &str, token: &str) -> Arc<dyn Watcher> {
        let (token, api) = (Secret::new(token), Some(api.to_owned()));
        let least_every = Duration::from_secs(60);
        let settings = match self.name {
            "uptimerobot" => Settings::Uptimerobot(uptimerobot::Settings {
                token,
                least_every,
                per_minute: 100,
                api,
            }),
            "betterstack" => {
                Settings::Betterstack(betterstack::Settings { token, least_every, api })
            }
            "cronitor" => Settings::Cronitor(cronitor::Settings { token, api }),
            "healthchecks" => Settings::Healthchecks(healthchecks::Settings { token, api }),
            _ => Settings::Instatus(instatus::Settings { token, page: None, api }),
        };
        let (stack, name) = (stack.parse().unwrap(), self.name.parse().unwrap());
        watcher::open(settings, &self.stage.kit, &stack, &name)
    }

    /// What the person makes by hand: more than fits on a page, the first with the name of one of ours, the second with a
    /// tag or a mark of another stack.
    async fn lived_in(&self) {
        let page = self.stage.endpoints.watchers[self.name].page.clone().unwrap_or_default();
        for number in 0..13 {
            let name = if number == 0 { "api".to_owned() } else { format!("theirs {number}") };
            let tags = if number == 1 { "linkflow-other" } else { "production" };
            let (path, body) = match self.name {
                "uptimerobot" => (
                    "/monitors".to_owned(),
                    json!({ "type": "HTTP", "friendlyName": name, "url": "https://theirs.example.com", "interval": 300, "timeout": 30, "tagNames": [tags] }),
                ),
                "betterstack" => (
                    "/api/v2/monitors".to_owned(),
                    json!({ "monitor_type": "status", "pronounceable_name": name, "url": "https://theirs.example.com" }),
                ),
                "cronitor" => (
                    "/api/monitors".to_owned(),
                    json!({ "key": format!("key-{number}"), "name": name, "type": "check", "schedule": "every 5 minutes", "tags": [tags], "request": { "url": "https://theirs.example.com" } }),
                ),
                "healthchecks" => (
                    "/api/v3/checks/".to_owned(),
                    json!({ "name": name, "tags": tags, "timeout": 600, "grace": 60 }),
                ),
                _ => (
                    format!("/v1/{page}/components"),
                    json!({ "name": name, "status": "OPERATIONAL" }),
                ),
            };
            self.ask(Method::POST, &path, Some(body)).await;
        }
        if self.name == "instatus" {
            let start = "2030-01-01T02:00:00Z";
            let body = json!({ "name": "The database moves", "message": "By hand.", "start": start, "duration": 30 });
            self.ask(Method::POST, &format!("/v1/{page}/maintenances"), Some(body)).await;
        }
        if let Some((path, body)) = self.webhook() {
            self.ask(Method::POST, path, Some(body)).await;
        }
    }

    /// A webhook of that person, where the API has any.
    fn webhook(&self) -> Option<(&'static str, Value)> {
        let url = "https://theirs.example.com/hook";
        match self.name {
            "uptimerobot" => Some((
                "/integrations",
                json!({ "type": "Webhook", "data": { "friendlyName": "linkflow", "urlToNotify": url, "postValue": "{}" } }),
            )),
            "betterstack" => Some((
                "/api/v2/outgoing-webhooks",
                json!({ "name": "linkflow", "url": url, "trigger_type": "on_call_change" }),
            )),
            _ => None,
        }
    }

    /// All that there is, ours and others'.
    async fn all(&self) -> Vec<Value> {
        let page = self.stage.endpoints.watchers[self.name].page.clone().unwrap_or_default();
        let mut rows = Vec::new();
        let paths = match self.name {
            "uptimerobot" => vec![
                "/monitors?limit=10".to_owned(),
                "/monitors?limit=10&cursor=800000010".to_owned(),
                "/integrations".to_owned(),
            ],
            "betterstack" => vec![
                "/api/v2/monitors?page=1".to_owned(),
                "/api/v2/monitors?page=2".to_owned(),
                "/api/v2/heartbeats?page=1".to_owned(),
                "/api/v2/outgoing-webhooks?page=1".to_owned(),
            ],
            "cronitor" => vec!["/api/monitors".to_owned()],
            "healthchecks" => vec!["/api/v3/checks/".to_owned()],
            _ => vec![
                format!("/v2/{page}/components"),
                format!("/v1/{page}/incidents"),
                format!("/v1/{page}/maintenances"),
            ],
        };
        for path in paths {
            let told = self.ask(Method::GET, &path, None).await;
            let list = ["data", "monitors", "checks"].iter().find_map(|key| told[key].as_array());
            rows.extend(list.or(told.as_array()).unwrap().clone());
        }
        rows
    }

    /// What the person made, as it is now.
    async fn theirs(&self) -> Vec<Value> {
        let is_theirs = |row: &Value| {
            let text = row.to_string();
            !text.contains("linkflow-shop") && !text.contains("linkflow:shop")
        };
        self.all().await.into_iter().filter(is_theirs).collect()
    }

    /// A call of that person.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.api()));
        let basic = BASE64_STANDARD.encode(format!("{}:", self.token()));
        let request = match self.name {
            "cronitor" => request.header("authorization", format!("Basic {basic}")),
            "healthchecks" => request.header("x-api-key", self.token()),
            _ => request.bearer_auth(self.token()),
        };
        let request = request.header("content-type", "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = request.body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }
}

fn watch(name: &str, what: Watching) -> Watch {
    Watch { name: name.to_owned(), what }
}

fn http(name: &str, status: Option<u16>, contains: Option<&str>) -> Watch {
    let url = format!("https://{name}.example.com/health?full=1");
    let contains = contains.map(str::to_owned);
    watch(name, Watching::Http { url, every_s: 60, timeout_s: 10, status, contains })
}

fn beat(name: &str, schedule: Schedule) -> Watch {
    watch(name, Watching::Heartbeat { schedule, grace_s: 120 })
}

fn component(name: &str, group: Option<&str>, shows: Option<Condition>) -> Watch {
    watch(name, Watching::Component { group: group.map(str::to_owned), shows })
}

fn incident(said: &[(IncidentStage, &str)]) -> Watch {
    let said: Vec<Said> =
        said.iter().map(|(stage, text)| Said { stage: *stage, text: (*text).to_owned() }).collect();
    let what = Watching::Incident {
        title: "API is away".to_owned(),
        stage: said.last().unwrap().stage,
        began: Timestamp(1_790_000_000_000),
        components: vec!["api".to_owned()],
        said,
    };
    watch("20261129-api-1", what)
}

/// Work of an hour that begins at `from`.
fn work(from: Timestamp, text: &str, stage: WorkStage) -> Watch {
    let what = Watching::Maintenance {
        title: "The database moves".to_owned(),
        text: text.to_owned(),
        from,
        minutes: 60,
        stage,
        components: vec!["Database".to_owned(), "api".to_owned()],
        tell: true,
    };
    watch("20300101-database", what)
}

/// 2030-01-01 02:00.
const LATER: Timestamp = Timestamp(1_893_463_200_000);

/// One of each that the config knows.
fn wanted() -> Vec<Watch> {
    let host = "db.example.com".to_owned();
    vec![
        http("api", None, None),
        http("strict", Some(204), None),
        http("text", None, Some("a \"good\" answer")),
        watch("db", Watching::Tcp { host: host.clone(), port: 5432, every_s: 60, timeout_s: 5 }),
        watch("machine", Watching::Ping { host, every_s: 300, timeout_s: 5 }),
        beat("api", Schedule::EveryS(600)),
        beat("backup", Schedule::Cron("0 3 * * *".to_owned())),
        component("api", None, Some(Condition::Up)),
        component("Database", Some("Data"), None),
        incident(&[(IncidentStage::Investigating, "We are looking at it.")]),
        hook("key-1", &["api", "db", "machine", "strict", "text"]),
        work(LATER, "A minute of errors.", WorkStage::ToCome),
    ]
}

fn hook(key: &str, of: &[&str]) -> Watch {
    let to = Secret::new(format!("https://ops.example.com/hooks/robot/{key}"));
    watch("linkflow", Watching::Hook { to, of: of.iter().map(|name| (*name).to_owned()).collect() })
}

/// How many of [`wanted`] a vendor can do.
fn count(name: &str) -> usize {
    match name {
        "uptimerobot" | "betterstack" => 7,
        "cronitor" => 5,
        "healthchecks" => 2,
        _ => 4,
    }
}

/// Does what differs; tells how much was made, changed and removed.
async fn apply(vendor: &dyn Watcher, wanted: &[Watch]) -> (usize, usize, usize) {
    let held = vendor.held().await.unwrap();
    let changes = watchers(wanted, &held, |watch| vendor.fit(watch));
    for held in &changes.remove {
        vendor.remove(held).await.unwrap();
    }
    for (held, watch) in &changes.change {
        vendor.ensure(watch, Some(held)).await.unwrap();
    }
    for watch in &changes.create {
        vendor.ensure(watch, None).await.unwrap();
    }
    (changes.create.len(), changes.change.len(), changes.remove.len())
}

fn names(held: &[HeldWatch]) -> Vec<String> {
    let mut names: Vec<String> = held
        .iter()
        .map(|held| format!("{} {}", held.watch.what.sort().word(), held.watch.name))
        .collect();
    names.sort();
    names
}

/// From nothing to one of each, to others, and to nothing again, beside what a person has there.
async fn check(name: &'static str) {
    let place = Place::new(name).await;
    place.lived_in().await;
    let theirs = place.theirs().await;
    let besides = place.webhook().is_some() || name == "instatus";
    assert_eq!(theirs.len(), 13 + usize::from(besides), "{name}");
    let shop = place.of("shop");
    assert_eq!(shop.held().await.unwrap(), [], "{name}");

    assert_eq!(apply(&*shop, &wanted()).await, (count(name), 0, 0), "{name}");
    let writes = place.stage.writes();
    assert_eq!(apply(&*shop, &wanted()).await, (0, 0, 0), "{name}: a second time writes nothing");
    assert_eq!(place.stage.writes(), writes);
    assert_eq!(place.theirs().await, theirs);

    // Another value of each sort, one that is gone, and one of another sort under the same name.
    let mut other = wanted();
    other[0] = http("api", None, Some("ok"));
    other[5] = beat("api", Schedule::EveryS(900));
    other[7] = component("api", Some("Services"), Some(Condition::Down));
    other[9] = incident(&[
        (IncidentStage::Investigating, "We are looking at it."),
        (IncidentStage::Identified, "A disk is full."),
        (IncidentStage::Resolved, "It has more room now."),
    ]);
    other[10] = hook("key-2", &["api", "db", "machine", "text"]);
    other[11] = work(Timestamp(LATER.0 + 60_000), "Two minutes of errors.", WorkStage::ToCome);
    other.remove(1);
    let before = names(&shop.held().await.unwrap());
    let (made, changed, removed) = apply(&*shop, &other).await;
    assert_eq!((made, changed + removed > 0), (0, true), "{name}: {before:?}");
    assert_eq!(apply(&*shop, &other).await, (0, 0, 0), "{name}");

    // Another stack sees nothing of that, and leaves it.
    let strangers = place.of("other-shop");
    assert_eq!(strangers.held().await.unwrap(), []);
    assert_eq!(apply(&*strangers, &[]).await, (0, 0, 0));

    let held = shop.held().await.unwrap();
    let gone = apply(&*shop, &[]).await;
    let history = held.iter().filter(|held| held.watch.name == "20261129-api-1").count();
    assert_eq!(gone, (0, 0, held.len() - history), "{name}: incidents are history");
    for held in &held {
        // What is not there any more is no fault.
        shop.remove(held).await.unwrap();
    }
    assert_eq!(shop.held().await.unwrap(), []);
    assert_eq!(place.theirs().await, theirs);
    place.stage.stop().await;
}

#[tokio::test]
async fn uptimerobot_keeps_the_promises() {
    check("uptimerobot").await;
}

#[tokio::test]
async fn better_stack_keeps_the_promises() {
    check("betterstack").await;
}

#[tokio::test]
async fn cronitor_keeps_the_promises() {
    check("cronitor").await;
}

#[tokio::test]
async fn healthchecks_keeps_the_promises() {
    check("healthchecks").await;
}

#[tokio::test]
async fn instatus_keeps_the_promises() {
    check("instatus").await;
}

#[tokio::test]
async fn announced_work_is_there_once_and_goes_through_its_stages() {
    let place = Place::new("instatus").await;
    place.lived_in().await;
    let theirs = place.theirs().await;
    let lossy = Lossy::to(&place.api()).await;
    let shop = place.by("shop", &lossy.url, &place.token());
    let page = [component("api", None, None), component("Database", None, None)];
    let with = |work: Watch| [&page[..], &[work]].concat();
    let to_come = |from| work(from, "A minute of errors.", WorkStage::ToCome);
    apply(&*shop, &page).await;
    lossy.lose_after(0);
    let fault = shop.ensure(&shop.fit(&to_come(LATER)).unwrap(), None).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unclear, "{fault}");
    assert_eq!(apply(&*shop, &with(to_come(LATER))).await, (0, 0, 0), "it was carried out");

    // It is now: there it begins by itself, and is not set back by whoever is late.
    let now = jiff::Timestamp::now().as_millisecond();
    let now = Timestamp(u64::try_from(now).unwrap() - 60_000);
    assert_eq!(apply(&*shop, &with(to_come(now))).await, (0, 1, 0));
    let stage = async || {
        let held = shop.held().await.unwrap();
        let work = held.into_iter().find(|held| held.watch.name == "20300101-database");
        work.map(|work| match work.watch.what {
            Watching::Maintenance { stage, components, .. } => {
                assert_eq!(components, ["Database", "api"]);
                stage
            }
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(stage().await, Some(WorkStage::UnderWay));
    assert_eq!(apply(&*shop, &with(to_come(now))).await, (0, 0, 0));
    // Somebody ends it early; then it is history.
    let over = work(now, "A minute of errors.", WorkStage::Over);
    assert_eq!(apply(&*shop, &with(over)).await, (0, 1, 0));
    assert_eq!(stage().await, Some(WorkStage::Over));
    assert_eq!(apply(&*shop, &page).await, (0, 0, 0));
    assert_eq!(place.theirs().await, theirs);
    place.stage.stop().await;
}

#[tokio::test]
async fn a_lost_answer_makes_nothing_twice() {
    for name in NAMES {
        let place = Place::new(name).await;
        let lossy = Lossy::to(&place.api()).await;
        let vendor = place.by("shop", &lossy.url, &place.token());
        let fits = wanted().into_iter().find(|watch| vendor.fit(watch).is_ok()).unwrap();
        let fits = vendor.fit(&fits).unwrap();
        lossy.lose_after(0);
        let fault = vendor.ensure(&fits, None).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unclear, "{name}: {fault}");
        assert_eq!(apply(&*vendor, &[fits]).await, (0, 0, 0), "{name}: it was carried out");
        assert_eq!(vendor.held().await.unwrap().len(), 1, "{name}");
        place.stage.stop().await;
    }
}

#[tokio::test]
async fn each_refusal_says_what_can_be_done() {
    for name in NAMES {
        let place = Place::new(name).await;
        let vendor = place.of("shop");
        place.stage.fault(name, Trouble::OutOfQuota);
        let due = wanted().into_iter().find_map(|watch| vendor.fit(&watch).ok()).unwrap();
        let fault = vendor.ensure(&due, None).await.unwrap_err();
        let full = matches!(fault.kind, FaultKind::Exhausted | FaultKind::Denied);
        assert!(full, "{name}: {fault}");
        place.stage.fault(name, Trouble::ApiDown);
        let fault = vendor.held().await.unwrap_err();
        assert!(fault.kind.is_passing(), "{name}: {fault}");
        place.stage.fault(name, None);
        let fault = place.by("shop", &place.api(), "wrong-token").held().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied, "{name}: {fault}");
        place.stage.fault(name, Trouble::RateLimited);
        let fault = vendor.held().await.unwrap_err();
        let wait = Duration::from_secs(40);
        assert_eq!(fault.kind, FaultKind::Limited { wait }, "{name}: {fault}");
        place.stage.stop().await;
    }
}

#[tokio::test]
async fn what_a_vendor_has_in_steps_is_rounded_and_what_it_has_not_is_said() {
    let place = Place::new("betterstack").await;
    let vendor = place.of("shop");
    let fitted = vendor.fit(&http("api", None, None)).unwrap();
    assert_eq!(fitted, http("api", None, None), "60 s and 10 s are steps");
    let seven = Watching::Http {
        url: "https://a".to_owned(),
        every_s: 1,
        timeout_s: 7,
        status: None,
        contains: None,
    };
    let Watching::Http { every_s, timeout_s, .. } = vendor.fit(&watch("a", seven)).unwrap().what
    else {
        panic!("it stays what it is")
    };
    assert_eq!((every_s, timeout_s), (60, 10));
    let both = vendor.fit(&http("a", Some(200), Some("x"))).unwrap_err();
    assert_eq!(both, "Better Stack looks for a status or for a text, not for both");
    let cron = vendor.fit(&beat("a", Schedule::Cron("0 3 * * *".to_owned()))).unwrap_err();
    assert!(cron.contains("not by cron"), "{cron}");
    place.stage.stop().await;
}

#[tokio::test]
async fn how_our_monitors_are_is_told_and_of_nobody_elses() {
    for name in &NAMES[..3] {
        let place = Place::new(name).await;
        place.lived_in().await;
        let shop = place.of("shop");
        apply(
            &*shop,
            &[
                http("web", None, None),
                http("text", None, None),
                beat("job", Schedule::EveryS(600)),
            ],
        )
        .await;
        let down = async || {
            let told = shop.told().await.unwrap();
            assert_eq!(told.len(), 2, "{name}: {told:?}");
            let down = told.into_iter().filter(|told| told.is_down);
            down.map(|told| told.name).collect::<Vec<_>>()
        };
        assert!(down().await.is_empty(), "{name}: nothing was looked at yet");
        assert!(place.stage.cloud.see(name, "theirs 2", true));
        assert!(down().await.is_empty(), "{name}");
        assert!(place.stage.cloud.see(name, "web", true));
        assert_eq!(down().await, ["web"], "{name}");
        assert!(place.stage.cloud.see(name, "web", false));
        assert!(down().await.is_empty(), "{name}");
        assert!(!place.stage.cloud.see(name, "nothing", true));
        place.stage.stop().await;
    }
}

#[tokio::test]
async fn a_monitor_tells_our_webhook_beside_whoever_it_tells_already() {
    let place = Place::new("uptimerobot").await;
    place.lived_in().await;
    let theirs = place.ask(Method::GET, "/integrations", None).await["data"][0]["id"].clone();
    let shop = place.of("shop");
    apply(&*shop, &[http("web", None, None), beat("job", Schedule::EveryS(600))]).await;
    let id = shop.held().await.unwrap()[0].id.clone();
    let told = json!([{ "alertContactId": theirs, "threshold": 5, "recurrence": 30 }]);
    let path = format!("/monitors/{id}");
    let by_hand = json!({ "assignedAlertContacts": told });
    place.ask(Method::PATCH, &path, Some(by_hand)).await;

    let all = [http("web", None, None), beat("job", Schedule::EveryS(600)), hook("a", &["web"])];
    assert_eq!(apply(&*shop, &all).await, (1, 0, 0));
    let monitor = place.ask(Method::GET, &path, None).await;
    let told = monitor["assignedAlertContacts"].as_array().unwrap();
    assert_eq!(told.len(), 2, "{monitor}");
    assert_eq!(told[0], json!({ "alertContactId": theirs, "threshold": 5, "recurrence": 30 }));

    // Somebody takes it from the monitor: it is given back, and the webhook itself is left.
    place.ask(Method::PATCH, &path, Some(json!({ "assignedAlertContacts": [told[0]] }))).await;
    let writes = place.stage.writes();
    assert_eq!(apply(&*shop, &all).await, (0, 1, 0));
    assert_eq!(place.stage.writes(), writes + 1);
    assert_eq!(apply(&*shop, &all).await, (0, 0, 0));

    // The webhook goes, and nobody else is told any less.
    assert_eq!(apply(&*shop, &all[..2]).await, (0, 0, 1));
    let monitor = place.ask(Method::GET, &path, None).await;
    assert_eq!(monitor["assignedAlertContacts"].as_array().unwrap().len(), 1);
    place.stage.stop().await;
}

#[tokio::test]
async fn addresses_of_webhooks_are_in_no_recording() {
    for name in ["uptimerobot", "betterstack"] {
        let place = Place::new(name).await;
        place.lived_in().await;
        let shop = place.of("shop");
        apply(&*shop, &[http("api", None, None), hook("key-1", &["api"])]).await;
        apply(&*shop, &[http("api", None, None), hook("key-2", &["api"])]).await;
        let recorded = serde_json::to_string(&place.stage.recording()).unwrap();
        for secret in ["hooks/robot", "key-1", "key-2", "theirs.example.com/hook"] {
            assert!(!recorded.contains(secret), "{name}: {secret}");
        }
        assert!(recorded.to_lowercase().contains("webhook"), "{name}: something was recorded");
        place.stage.stop().await;
    }
}

#[tokio::test]
async fn whoever_looks_at_nothing_tells_of_no_monitor() {
    for name in &NAMES[3..] {
        let place = Place::new(name).await;
        apply(&*place.of("shop"), &wanted()).await;
        assert_eq!(place.of("shop").told().await.unwrap(), [], "{name}");
        place.stage.stop().await;
    }
}
