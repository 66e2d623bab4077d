//! Hooks as vendors send them, to the whole router.

use axum::body::Body;
use axum::http::Request;
use linkflow_model::config::Config;
use linkflow_store::Memory;
use tower::ServiceExt;

use super::*;
use crate::scripted::{Hand, site};

struct Stage {
    router: Router,
    store: Arc<Memory>,
    bell: Arc<Notify>,
    keys: watch::Sender<BTreeMap<String, String>>,
}

impl Stage {
    fn new() -> Self {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), "[stack]\nname = \"shop\"\n")]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let key = |name: &str, key: &str| (name.to_owned(), key.to_owned());
        let keys =
            BTreeMap::from([key("robot", "the-key"), key("blank", ""), key("errors", "its-key")]);
        let (keys, told) = watch::channel(keys);
        let bell = Arc::new(Notify::new());
        let bells = BTreeMap::from(["robot", "blank"].map(|n| (n.to_owned(), Arc::clone(&bell))));
        let clock = Arc::new(Hand::default());
        let store = Arc::new(Memory::default());
        let signed =
            Signed { secret: linkflow_model::Secret::new("client-secret"), bell: Arc::default() };
        let signed = BTreeMap::from([("errors".to_owned(), signed)]);
        let hooks = Arc::new(Hooks::new(told, bells).with_signed(signed));
        let site = Site { hooks, ..site(&store, clock, config) };
        Self { router: site.router(), store, bell, keys }
    }

    /// The status of the answer, and whether the bell rang.
    async fn ask(&self, line: &str, body: impl Into<Body>) -> (u16, bool) {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json").body(body.into()).unwrap();
        let status = self.router.clone().oneshot(request).await.unwrap().status().as_u16();
        let rang = tokio::time::timeout(std::time::Duration::ZERO, self.bell.notified()).await;
        (status, rang.is_ok())
    }
}

#[tokio::test]
async fn whoever_has_the_key_rings_the_bell_and_nobody_else() {
    let stage = Stage::new();
    for (line, expected) in [
        ("POST /hooks/robot/the-key", (200, true)),
        ("GET /hooks/robot/the-key?monitorID=1&alertType=1", (200, true)),
        ("POST /hooks/robot/the-kez", (404, false)),
        ("POST /hooks/robot/", (404, false)),
        ("POST /hooks/blank/", (404, false)),
        ("POST /hooks/other/the-key", (404, false)),
        ("POST /hooks/robot/the-key/more", (404, false)),
        ("DELETE /hooks/robot/the-key", (405, false)),
    ] {
        assert_eq!(stage.ask(line, "").await, expected, "{line}");
    }
}

#[tokio::test]
async fn what_is_sent_makes_no_difference_but_for_its_length() {
    let stage = Stage::new();
    let bodies = ["{\"alertType\": 1}", "not JSON", "monitorID=1&alertType=2", "\u{0}\u{1}"];
    for body in bodies {
        assert_eq!(stage.ask("POST /hooks/robot/the-key", body).await, (200, true), "{body}");
    }
    let long = vec![b'x'; LONGEST + 1];
    assert_eq!(stage.ask("POST /hooks/robot/the-key", long).await, (413, false));
}

#[tokio::test]
async fn what_a_signed_hook_tells_of_is_on_disk_when_it_is_answered() {
    let stage = Stage::new();
    let body = r#"{"action":"created","data":{"issue":{"id":"7"}}}"#;
    let signature = signed::signature_of("client-secret", body.as_bytes());
    for (signature, expected) in [(&*signature, 200), ("00", 401)] {
        let request = Request::post("/hooks/errors/its-key")
            .header("sentry-hook-resource", "issue")
            .header("sentry-hook-signature", signature)
            .body(Body::from(body))
            .unwrap();
        let answer = stage.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected);
    }
    let due = Due::all(&*stage.store, "errors").await.unwrap();
    assert_eq!(due.len(), 1, "{due:?}");
    assert_eq!(due[0].1.report, Report::Issue { id: "7".to_owned() });
    assert!(Came::read(&*stage.store, "errors").await.unwrap().is_some());
    assert_eq!(Came::read(&*stage.store, "robot").await.unwrap(), None);
    stage.ask("POST /hooks/robot/the-key", "").await;
    assert!(Came::read(&*stage.store, "robot").await.unwrap().is_some());
}

#[tokio::test]
async fn a_flood_is_refused() {
    let stage = Stage::new();
    let mut taken = 0;
    for _ in 0..40 {
        let (status, rang) = stage.ask("POST /hooks/robot/the-key", "{}").await;
        assert_eq!(rang, status == 200);
        assert!([200, 429].contains(&status));
        taken += usize::from(rang);
    }
    assert_eq!(taken, 10);
}

#[tokio::test]
async fn an_old_key_is_not_answered_any_more() {
    let stage = Stage::new();
    let fresh = BTreeMap::from([("robot".to_owned(), "another".to_owned())]);
    stage.keys.send_replace(fresh);
    assert_eq!(stage.ask("POST /hooks/robot/the-key", "").await, (404, false));
    assert_eq!(stage.ask("POST /hooks/robot/another", "").await, (200, true));
}
