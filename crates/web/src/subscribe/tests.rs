//! Subscribing from outside: forms to the whole router, letters to a mailbox, calls to a web address that answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use linkflow_model::config::Config;
use linkflow_model::role::{Hook, HookCall, Letter, Mail, Sms};
use linkflow_model::{
    Clock, Fault, FaultKind, Impact, Incident, IncidentStage, IncidentUpdate, Maintenance,
    ProviderName, Recurs,
};
use linkflow_store::{Memory, Store};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::outbox::{MAIL, SMS, WEBHOOK};
use super::{Couriers, Desk, Subscriber, Tellers, forget, subscribers};
use crate::scripted::{Hand, site};

const CONFIG: &str = r#"
[stack]
name = "shop"
[services.api]
image = "ghcr.io/acme/api:1"
port = 80
[monitors.web]
http = "https://shop.example/"
[mail]
from = "Shop <status@shop.example>"
only_to = ["example.com"]
[status_page]
host = "status.shop.example"
title = "Shop"
languages = ["en", "de"]
components = [{ name = "API", watch = "service.api" }, { name = "Web", watch = "monitor.web" }]
[status_page.subscribe]
at = "https://ops.shop.example"
mails_per_day = 40
"#;

/// A mailbox and a web address; what they do next is said before it comes.
#[derive(Default)]
struct World {
    letters: Mutex<Vec<Letter>>,
    calls: Mutex<Vec<Value>>,
    texts: Mutex<Vec<(String, String)>>,
    refuse: Mutex<Option<FaultKind>>,
    mute: Mutex<bool>,
}

impl World {
    fn refused(&self) -> Result<(), Fault> {
        let Some(kind) = self.refuse.lock().unwrap().take() else { return Ok(()) };
        let provider = ProviderName::new("post").unwrap();
        Err(Fault { kind, provider, attempt: "send".to_owned(), said: "no".to_owned() })
    }
}

#[async_trait]
impl Mail for World {
    async fn send(&self, letter: &Letter) -> Result<String, Fault> {
        self.refused()?;
        self.letters.lock().unwrap().push(letter.clone());
        Ok("1".to_owned())
    }
}

#[async_trait]
impl Hook for World {
    async fn call(&self, call: &HookCall) -> Result<String, Fault> {
        self.refused()?;
        let body: Value = serde_json::from_str(&call.body).unwrap();
        let said = if *self.mute.lock().unwrap() { json!({}) } else { body["challenge"].clone() };
        self.calls.lock().unwrap().push(body);
        Ok(json!({ "challenge": said }).to_string())
    }
}

#[async_trait]
impl Sms for World {
    async fn send(&self, to: &str, text: &str) -> Result<(), Fault> {
        self.refused()?;
        self.texts.lock().unwrap().push((to.to_owned(), text.to_owned()));
        Ok(())
    }
}

/// A site with a desk, and those who tell.
struct Town {
    router: Router,
    store: Arc<Memory>,
    clock: Arc<Hand>,
    world: Arc<World>,
    tellers: Tellers,
    seen: std::collections::BTreeSet<String>,
}

impl Town {
    fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(text: &str) -> Self {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text.to_owned())]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let (store, clock) = (Arc::new(Memory::default()), Arc::new(Hand::default()));
        let (world, desk) = (Arc::<World>::default(), Desk::of(&config, &[7; 32]).map(Arc::new));
        let desk = desk.unwrap();
        let mut site = site(&store, Arc::clone(&clock) as _, config.clone());
        site.desk = Some(Arc::clone(&desk));
        let told: (Arc<dyn Store>, Arc<dyn Clock>) =
            (Arc::clone(&store) as _, Arc::clone(&clock) as _);
        let by = Couriers {
            mail: Some(Arc::clone(&world) as _),
            hook: Some(Arc::clone(&world) as _),
            sms: Some(Arc::clone(&world) as _),
        };
        let tellers = Tellers::new((&told.0, &told.1), Arc::new(config), &desk, by);
        let router = site.router();
        Self { router, store, clock, world, tellers, seen: Default::default() }
    }

    async fn ask(&self, method: &str, path: &str, form: &str) -> (StatusCode, String) {
        self.ask_from([192, 0, 2, 1], method, path, form).await
    }

    async fn ask_from(
        &self,
        from: [u8; 4],
        method: &str,
        path: &str,
        form: &str,
    ) -> (StatusCode, String) {
        let peer = ConnectInfo(SocketAddr::from((from, 40_000)));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "https://status.shop.example")
            .header("sec-fetch-site", "cross-site")
            .extension(peer);
        let request = request.body(Body::from(form.to_owned())).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Looks for news and sends all that is due.
    async fn post(&mut self) {
        let now = self.clock.wall();
        let (store, config) = (&*self.store, &self.tellers.config);
        super::news::look(store, config, &mut self.seen, now).await.unwrap();
        for queue in [MAIL, WEBHOOK, SMS] {
            while self.tellers.sender.next(queue).await.unwrap() {}
        }
    }

    fn letters(&self) -> Vec<Letter> {
        std::mem::take(&mut self.world.letters.lock().unwrap())
    }

    fn calls(&self) -> Vec<Value> {
        std::mem::take(&mut self.world.calls.lock().unwrap())
    }

    fn texts(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.world.texts.lock().unwrap())
    }

    /// Asks for a code for `number`; gives the fields of the form that it is typed into.
    async fn phone(&self, number: &str) -> String {
        let form = format!("phone={}", number.replace('+', "%2B"));
        let (status, page) = self.ask("POST", "/subscribe", &form).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{page}");
        let who = page.split("name=\"who\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        format!("who={who}&code=")
    }

    async fn told(&self) -> Vec<Subscriber> {
        subscribers(&*self.store).await.unwrap()
    }

    /// Subscribes by mail and confirms.
    async fn subscribe(&mut self, address: &str, components: &str) {
        let form = format!("address={address}{components}");
        assert_eq!(self.ask("POST", "/subscribe", &form).await.0, StatusCode::ACCEPTED);
        self.post().await;
        let link = path(&self.letters()[0].text, "/subscribe/confirm/");
        assert_eq!(self.ask("POST", &link, "").await.0, StatusCode::OK);
    }

    async fn put(&self, key: &str, value: Value) {
        let held = self.store.read(key).await.unwrap().map(|held| held.version);
        self.store.write(key, held, &value, None).await.unwrap();
    }

    /// An incident of the API with so many updates, of which the last is for the team.
    async fn incident(&self, updates: u64) {
        let now = self.clock.wall();
        let update = |n: u64| IncidentUpdate {
            at: now,
            stage: IncidentStage::Investigating,
            text: format!("update {n}"),
            by: "ann".to_owned(),
            public: n < 9,
            written: None,
            next: None,
        };
        let incident = Incident {
            id: "20261130-api".to_owned(),
            title: "The API is away".to_owned(),
            impact: Impact::Major,
            stage: IncidentStage::Investigating,
            began: now,
            ended: None,
            subjects: vec!["service.api".to_owned()],
            cause: None,
            automatic: false,
            public: true,
            acknowledged: None,
            updates: (1..=updates).chain([9]).map(update).collect(),
        };
        self.put(&incident.key(), json!(incident)).await;
    }
}

/// The path of the link in `text` that begins with `start`.
fn path(text: &str, start: &str) -> String {
    let at = text.find(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    let ends = |char: char| char.is_whitespace() || matches!(char, '"' | '>');
    text[at..].split(ends).next().unwrap().to_owned()
}

fn headed<'a>(letter: &'a Letter, name: &str) -> &'a str {
    letter.headers.iter().find(|(held, _)| *held == name).map_or("", |(_, value)| value)
}

#[tokio::test]
async fn nobody_is_told_before_they_said_yes_on_a_page() {
    let mut town = Town::new();
    let (status, sent) = town.ask("POST", "/subscribe", "address=ann@example.com").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(sent.contains("48 hours") && !sent.contains("ann@"), "{sent}");
    town.post().await;
    let letters = town.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].to.address, "ann@example.com");
    let link = path(&letters[0].text, "/subscribe/confirm/");
    // What looks into mail follows links: nothing comes of it.
    let (status, asked) = town.ask("GET", &link, "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(asked.contains("ann@example.com") && asked.contains("everything"), "{asked}");
    assert_eq!(town.told().await, []);
    assert_eq!(town.ask("POST", &link, "").await.0, StatusCode::OK);
    assert_eq!(town.told().await.len(), 1);
    assert_eq!(town.ask("POST", &link, "").await.0, StatusCode::OK, "a second click");
    assert_eq!(town.told().await.len(), 1);
}

#[tokio::test]
async fn a_link_is_good_for_48_hours() {
    let mut town = Town::new();
    town.ask("POST", "/subscribe", "address=ann@example.com").await;
    town.post().await;
    let link = path(&town.letters()[0].text, "/subscribe/confirm/");
    town.clock.pass(48 * 3_600_000 + 60_000);
    for method in ["GET", "POST"] {
        assert_eq!(town.ask(method, &link, "").await.0, StatusCode::GONE, "{method}");
    }
    assert_eq!(town.told().await, []);
    town.tellers.tidy().await.unwrap();
    assert_eq!(town.store.list("subscriber-asked/").await.unwrap(), [], "and it is forgotten");
}

#[tokio::test]
async fn the_answer_is_the_same_whether_an_address_is_known_or_not() {
    let mut town = Town::new();
    town.subscribe("ann@example.com", "").await;
    town.clock.pass(1_000);
    let known = town.ask("POST", "/subscribe", "address=ann@example.com").await;
    let unknown = town.ask("POST", "/subscribe", "address=bob@example.com").await;
    assert_eq!(known, unknown);
    town.post().await;
    assert_eq!(town.letters().len(), 2, "both get the same letter");
}

#[tokio::test]
async fn a_stranger_changes_nothing_and_floods_nobody() {
    let mut town = Town::new();
    town.subscribe("ann@example.com", "&component=web").await;
    town.clock.pass(1_000);
    for n in 0..40 {
        let form = "address=Ann@example.com&component=api";
        town.ask_from([198, 51, n, 1], "POST", "/subscribe", form).await;
    }
    town.post().await;
    assert_eq!(town.letters().len(), 1, "one question, however often it is asked for");
    assert_eq!(town.told().await[0].components, ["web"], "and what she chose stays");
    let mut status = Vec::new();
    for n in 0..7 {
        let form = format!("address=b{n}@example.com");
        status.push(town.ask_from([203, 0, 113, 9], "POST", "/subscribe", &form).await.0);
    }
    assert_eq!(status[5], StatusCode::ACCEPTED);
    assert_eq!(status[6], StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn what_cannot_be_told_is_said_on_the_form() {
    let town = Town::new();
    for typed in ["", "ann", "ann@elsewhere.example", "http://example.com/hook", "javascript:1"] {
        let (status, form) = town.ask("POST", "/subscribe", &format!("address={typed}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{typed}");
        assert!(form.contains("aria-invalid"), "{form}");
    }
    let (_, form) = town.ask("POST", "/subscribe", "address=%22%3E%3Cscript%3E&language=de").await;
    assert!(form.contains("<html lang=\"de\">") && !form.contains("<script>"), "{form}");
}

#[tokio::test]
async fn each_public_update_is_one_letter_to_those_it_is_about() {
    let mut town = Town::new();
    town.subscribe("ann@example.com", "").await;
    town.subscribe("api@example.com", "&component=api&language=de").await;
    town.subscribe("web@example.com", "&component=web").await;
    town.clock.pass(60_000);
    town.incident(1).await;
    town.post().await;
    town.post().await;
    let letters = town.letters();
    let mut to: Vec<&str> = letters.iter().map(|letter| letter.to.address.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["ann@example.com", "api@example.com"]);
    let german = letters.iter().find(|letter| letter.to.address.starts_with("api")).unwrap();
    assert_eq!(german.subject, "[Shop] The API is away: Wird untersucht");
    assert!(german.text.contains("https://status.shop.example/incident/20261130-api.html"));
    assert!(german.text.contains("Betroffen: API"), "{}", german.text);
    assert!(!letters.iter().any(|letter| letter.text.contains("update 9")), "a note for the team");
    town.incident(2).await;
    town.post().await;
    let more = town.letters();
    assert_eq!(more.len(), 2);
    assert!(more.iter().all(|letter| letter.text.contains("update 2")));
    let thread = |letter: &Letter| headed(letter, "References").to_owned();
    let ann =
        |letters: &[Letter]| letters.iter().find(|l| l.to.address.starts_with("ann")).cloned();
    assert_eq!(thread(&ann(&more).unwrap()), thread(&ann(&letters).unwrap()));
}

#[tokio::test]
async fn another_process_tells_nothing_twice_and_what_was_before_is_no_news() {
    let mut town = Town::new();
    town.incident(1).await;
    town.clock.pass(1_000);
    town.subscribe("ann@example.com", "").await;
    town.post().await;
    assert_eq!(town.letters().len(), 0, "it was before she subscribed");
    town.clock.pass(1_000);
    town.incident(1).await;
    town.seen.clear();
    town.post().await;
    assert_eq!(town.letters().len(), 0, "told already, if to nobody");
    town.incident(2).await;
    town.post().await;
    town.seen.clear();
    town.post().await;
    assert_eq!(town.letters().len(), 1);
}

#[tokio::test]
async fn work_is_told_when_it_is_announced_begins_and_is_over() {
    let mut town = Town::new();
    town.subscribe("ann@example.com", "").await;
    town.clock.pass(1_000);
    let now = town.clock.wall();
    let at = |ms: u64| linkflow_model::Timestamp(now.0 + ms);
    let work = Maintenance {
        id: "20261201-db".to_owned(),
        title: "The database moves".to_owned(),
        text: "For an hour.".to_owned(),
        from: at(3_600_000),
        to: at(7_200_000),
        subjects: vec!["service.api".to_owned()],
        cancelled: false,
        sequence: 0,
        changed: now,
        recurs: None,
    };
    town.put(&work.key(), json!(work)).await;
    let mut subjects = Vec::new();
    for _ in 0..9 {
        town.post().await;
        subjects.extend(town.letters().into_iter().map(|letter| letter.subject));
        town.clock.pass(1_800_000);
    }
    let begin = "[Shop] The database moves: ";
    let steps: Vec<&str> = subjects.iter().map(|s| s.strip_prefix(begin).unwrap()).collect();
    assert_eq!(steps, ["Announced", "Has begun", "Is over"]);
    let gone = Maintenance { id: "2".to_owned(), from: at(90_000_000), to: at(91_000_000), ..work };
    let gone = Maintenance { changed: town.clock.wall(), ..gone };
    town.put(&gone.key(), json!(gone)).await;
    town.post().await;
    let gone = Maintenance { cancelled: true, sequence: 1, ..gone };
    town.put(&gone.key(), json!(gone)).await;
    town.post().await;
    let last: Vec<String> = town.letters().into_iter().map(|letter| letter.subject).collect();
    assert_eq!(last.len(), 2, "{last:?}");
    assert!(last[1].ends_with("Cancelled"), "{last:?}");

    // One time of a window is told like any other work, where the config does not keep it quiet.
    for (id, quiet) in [("loud", false), ("quiet", true)] {
        let recurs = Some(Recurs { name: "nightly".to_owned(), quiet, withdrawn: false });
        let now = town.clock.wall();
        let (id, cancelled) = (id.to_owned(), false);
        let time = Maintenance { id, recurs, cancelled, sequence: 0, changed: now, ..gone.clone() };
        town.put(&time.key(), json!(time)).await;
        town.post().await;
        assert_eq!(town.letters().is_empty(), quiet);
    }
}

#[tokio::test]
async fn one_click_ends_it_and_a_look_at_the_link_does_not() {
    let mut town = Town::new();
    town.subscribe("ann@example.com", "").await;
    town.clock.pass(1_000);
    town.incident(1).await;
    town.post().await;
    let letter = town.letters().remove(0);
    assert_eq!(headed(&letter, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let link = path(headed(&letter, "List-Unsubscribe"), "/unsubscribe/");
    let own = path(&letter.text, "/subscribe/manage/");
    let (status, page) = town.ask("GET", &own, "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("ann@example.com"), "{page}");
    let (_, saved) = town.ask("POST", &own, "component=web").await;
    assert!(
        saved.contains("role=\"status\"") && saved.contains("value=\"web\" checked"),
        "{saved}"
    );
    let (_, data) = town.ask("GET", &own.replace("manage", "data"), "").await;
    assert!(data.contains("\"components\":[\"web\"]"), "{data}");
    assert_eq!(town.ask("GET", &link, "").await.0, StatusCode::OK);
    assert_eq!(town.told().await.len(), 1);
    let click = town.ask("POST", &link, "List-Unsubscribe=One-Click").await;
    assert_eq!(click.0, StatusCode::OK);
    assert_eq!(town.told().await, []);
    assert_eq!(town.ask("POST", &link, "").await.0, StatusCode::OK, "twice is fine");
    assert_eq!(town.ask("GET", &own, "").await.0, StatusCode::GONE);
    let forged = format!("{link}A");
    assert_eq!(town.ask("POST", &forged, "").await.0, StatusCode::GONE);
}

#[tokio::test]
async fn a_web_address_is_told_once_it_answered_with_the_challenge() {
    let mut town = Town::new();
    *town.world.mute.lock().unwrap() = true;
    let form = "address=https://hooks.example.com/a";
    town.ask("POST", "/subscribe", form).await;
    town.post().await;
    assert_eq!(town.calls().len(), 1);
    assert_eq!(town.told().await, [], "it did not answer");
    *town.world.mute.lock().unwrap() = false;
    town.clock.pass(20_000);
    town.post().await;
    assert_eq!(town.calls()[0]["event"], "challenge");
    assert_eq!(town.told().await.len(), 1);
    town.clock.pass(1_000);
    town.incident(1).await;
    town.post().await;
    let told = town.calls().remove(0);
    let of = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (of("event"), of("step"), of("of")),
        ("incident".into(), "investigating".into(), "incident/20261130-api".into())
    );
    assert_eq!(told["again"], false);
    let link = path(&of("unsubscribe"), "/unsubscribe/");
    assert_eq!(town.ask("POST", &link, "").await.0, StatusCode::OK);
    assert_eq!(town.told().await, []);
}

#[tokio::test]
async fn a_web_address_that_says_that_it_is_gone_is_forgotten() {
    let mut town = Town::new();
    town.ask("POST", "/subscribe", "address=https://hooks.example.com/a").await;
    town.post().await;
    assert_eq!(town.told().await.len(), 1);
    town.clock.pass(1_000);
    town.incident(1).await;
    // What is wrong with one call is no word about all of them.
    *town.world.refuse.lock().unwrap() = Some(FaultKind::Invalid);
    town.post().await;
    assert_eq!(town.told().await.len(), 1);
    town.incident(2).await;
    *town.world.refuse.lock().unwrap() = Some(FaultKind::Missing);
    town.post().await;
    assert_eq!(town.told().await, [], "nothing is kept of it");
    let told = town.store.events(0, 10).await.unwrap();
    assert!(told.iter().any(|(_, event)| event.message.contains("is gone")), "{told:?}");
    town.calls();
    town.incident(3).await;
    town.clock.pass(3_600_000);
    town.post().await;
    assert_eq!(town.calls(), [] as [Value; 0]);
}

#[tokio::test]
async fn what_may_have_come_says_so_and_what_is_refused_is_given_up() {
    let mut town = Town::new();
    town.subscribe("ann@example.com", "").await;
    town.clock.pass(1_000);
    town.incident(1).await;
    *town.world.refuse.lock().unwrap() = Some(FaultKind::Unclear);
    town.post().await;
    assert_eq!(town.letters().len(), 0);
    town.clock.pass(20_000);
    town.post().await;
    let letter = town.letters().remove(0);
    assert!(letter.text.contains("may have come before"), "{}", letter.text);
    town.incident(2).await;
    *town.world.refuse.lock().unwrap() = Some(FaultKind::Invalid);
    town.post().await;
    town.clock.pass(3_600_000);
    town.post().await;
    assert_eq!(town.letters().len(), 0, "no wait helps a letter that is wrong");
    let told = town.store.events(0, 10).await.unwrap();
    assert!(told.iter().any(|(_, event)| event.message.contains("could not be told")), "{told:?}");
}

#[tokio::test]
async fn whoever_is_removed_is_not_written_to_any_more() {
    let mut town = Town::new();
    town.subscribe("ann@example.com", "").await;
    town.clock.pass(1_000);
    town.incident(1).await;
    let now = town.clock.wall();
    super::news::look(&*town.store, &town.tellers.config, &mut town.seen, now).await.unwrap();
    assert!(forget(&*town.store, "ANN@example.com").await.unwrap());
    assert!(!forget(&*town.store, "ann@example.com").await.unwrap());
    town.post().await;
    assert_eq!(town.letters().len(), 0, "also what was on its way");
}

#[tokio::test]
async fn without_the_section_there_is_nothing() {
    let text = CONFIG.split("[status_page.subscribe]").next().unwrap();
    let files = BTreeMap::from([("linkflow.toml".to_owned(), text.to_owned())]);
    let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
    assert!(Desk::of(&config, &[7; 32]).is_none());
    let store = Arc::new(Memory::default());
    let router = site(&store, Arc::new(Hand::default()), config).router();
    let request = Request::get("/subscribe").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::NOT_FOUND);
}

/// The pages that `crates/web/browser` looks at, written into the folder that `LINKFLOW_TEST_PAGE` names.
#[tokio::test]
async fn the_pages_for_browsers_are_whole() {
    let mut town = with_phones(20);
    town.ask("POST", "/subscribe", "address=ann@example.com&component=api").await;
    town.post().await;
    let confirm = path(&town.letters()[0].text, "/subscribe/confirm/");
    let mut pages = vec![
        ("form", town.ask("GET", "/subscribe?component=web", "").await.1),
        ("wrong", town.ask("POST", "/subscribe", "address=ann&language=de").await.1),
        ("sent", town.ask("POST", "/subscribe", "address=bob@example.com").await.1),
        ("confirm", town.ask("GET", &confirm, "").await.1),
        ("wrong-phone", town.ask("POST", "/subscribe", "phone=0170&language=fr").await.1),
    ];
    let code = format!("{}12&language=de", town.phone("+491701234567").await);
    pages.push(("wrong-code", town.ask("POST", "/subscribe/code", &code).await.1));
    let confirmed = town.ask("POST", &confirm, "").await.1;
    let own = path(&confirmed, "/subscribe/manage/");
    pages.push(("confirmed", confirmed));
    pages.push(("own", town.ask("POST", &own, "component=api").await.1));
    let end = own.replace("/subscribe/manage/", "/unsubscribe/");
    pages.push(("end", town.ask("GET", &end, "").await.1));
    let folder = std::env::vars().find(|(name, _)| name == "LINKFLOW_TEST_PAGE");
    for (name, page) in pages {
        assert!(page.contains("<h1>") && page.contains("</html>"), "{name}: {page}");
        if let Some((_, folder)) = &folder {
            let folder = std::path::Path::new(folder).join("subscribe");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.html")), page).unwrap();
        }
    }
}

/// The same, where phones in Germany are told.
fn with_phones(per_day: u32) -> Town {
    let provider =
        "[providers.twilio]\nkind = \"twilio\"\naccount_sid = \"AC0\"\nfrom = \"+15005550006\"\n";
    Town::with(&format!("{CONFIG}sms_per_day = {per_day}\nsms_to = [\"+49\"]\n{provider}"))
}

/// The six digits of a text message.
fn digits(text: &str) -> String {
    let is_code = |word: &&str| {
        word.trim_end_matches('.').len() == 6 && word.starts_with(|c: char| c.is_ascii_digit())
    };
    text.split(' ').find(is_code).unwrap().trim_end_matches('.').to_owned()
}

#[tokio::test]
async fn a_phone_is_told_once_its_code_was_typed_and_ends_it_by_the_link() {
    let mut town = with_phones(20);
    let (_, form) = town.ask("GET", "/subscribe", "").await;
    assert!(form.contains("type=\"tel\""), "{form}");
    let code = town.phone("+49 (170) 123-45.67").await;
    town.post().await;
    let (to, text) = town.texts().remove(0);
    assert_eq!(to, "+491701234567");
    assert!(text.starts_with("Shop: your code is "), "{text}");
    let wrong = town.ask("POST", "/subscribe/code", &format!("{code}12345")).await;
    assert_eq!(wrong.0, StatusCode::BAD_REQUEST);
    assert!(wrong.1.contains("aria-invalid"), "{}", wrong.1);
    assert_eq!(town.told().await, []);
    let right = town.ask("POST", "/subscribe/code", &format!("{code}{}", digits(&text))).await;
    assert_eq!(right.0, StatusCode::OK, "{}", right.1);
    assert_eq!(town.told().await.len(), 1);

    town.clock.pass(60_000);
    town.incident(1).await;
    town.post().await;
    let (_, news) = town.texts().remove(0);
    assert!(news.chars().count() <= 306, "{news}");
    assert!(
        news.starts_with(
            "Shop: The API is away: Investigating https://status.shop.example/incident/"
        ),
        "{news}"
    );
    let end = path(&news, "/unsubscribe/");
    assert_eq!(town.ask("POST", &end, "").await.0, StatusCode::OK);
    assert_eq!(town.told().await, []);
}

#[tokio::test]
async fn a_code_is_guessed_five_times_an_hour_long_and_three_are_sent_a_day() {
    let mut town = with_phones(20);
    let mut sent = 0;
    for n in 0..5 {
        let code = town.phone("+491701234567").await;
        // Once more within ten minutes sends nothing.
        town.phone("+491701234567").await;
        town.post().await;
        let texts = town.texts();
        sent += texts.len();
        let Some((_, text)) = texts.first() else { continue };
        let right = format!("{code}{}", digits(text));
        if n == 0 {
            for _ in 0..5 {
                let (status, _) = town.ask("POST", "/subscribe/code", &format!("{code}x")).await;
                assert_eq!(status, StatusCode::BAD_REQUEST);
            }
        } else {
            town.clock.pass(3_700_000);
        }
        let status = town.ask("POST", "/subscribe/code", &right).await.0;
        assert!(!status.is_success(), "guessed too often, or too late");
        town.clock.pass(3_700_000);
    }
    assert_eq!((sent, town.told().await), (3, Vec::new()));
    town.clock.pass(86_400_000);
    town.phone("+491701234567").await;
    town.post().await;
    assert_eq!(town.texts().len(), 1, "another day");
}

#[tokio::test]
async fn only_numbers_that_may_be_told_are_and_so_many_a_day() {
    let mut town = with_phones(4);
    for form in [
        "phone=%2B1900555000",
        "phone=0170+1234567",
        "phone=ann@example.com",
        "phone=%2B491701234567&address=ann@example.com",
    ] {
        let (status, page) = town.ask_from([198, 51, 100, 7], "POST", "/subscribe", form).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{form}");
        assert!(page.contains("wrong-phone"), "{form}: {page}");
    }
    for n in 0..4 {
        town.phone(&format!("+49170123450{n}")).await;
    }
    town.post().await;
    assert_eq!(town.texts().len(), 2, "questions have half");
    town.clock.pass(86_400_000);
    town.post().await;
    assert_eq!(town.texts(), [], "a code of yesterday is worth no message");
    let without = Town::new();
    let (_, form) = without.ask("GET", "/subscribe", "").await;
    assert!(!form.contains("type=\"tel\""), "{form}");
    let refused = without.ask("POST", "/subscribe", "phone=%2B491701234567").await;
    assert_eq!(refused.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_phone_that_answered_stop_is_forgotten() {
    let mut town = with_phones(20);
    let code = town.phone("+491701234567").await;
    town.post().await;
    let (_, text) = town.texts().remove(0);
    town.ask("POST", "/subscribe/code", &format!("{code}{}", digits(&text))).await;
    assert_eq!(town.told().await.len(), 1);
    town.clock.pass(1_000);
    *town.world.refuse.lock().unwrap() = Some(FaultKind::Missing);
    town.incident(1).await;
    town.post().await;
    assert_eq!((town.texts(), town.told().await), (Vec::new(), Vec::new()));
}
