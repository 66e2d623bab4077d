//! The door from outside: requests to the router, with a store in memory and a clock that tests move.

mod entering;
mod guarded;
mod passkeys;
mod said;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use linkflow_model::access::Scope;
use linkflow_model::config::Config;
use linkflow_model::{Clock, Moment, Timestamp};
use linkflow_store::{Memory, Store};
use tower::ServiceExt;

use crate::Site;
use crate::scripted::site;

/// A password that is good.
const PASSWORD: &str = "correct horse battery staple";

/// A clock that stands still until a test moves it.
struct Hand(AtomicU64);

impl Hand {
    fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.now().0 + 1_796_000_000_000)
    }
}

/// A site, and a way to ask it as a browser or a program would.
struct Town {
    router: Router,
    site: Arc<Site>,
    clock: Arc<Hand>,
}

/// What came back.
#[derive(Debug)]
struct Back {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Back {
    fn to(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |to| to.to_str().unwrap())
    }
}

/// A browser: it keeps cookies, and sends what browsers send with a form of the site.
#[derive(Clone)]
struct Browser {
    cookies: BTreeMap<String, String>,
    headers: Vec<(&'static str, String)>,
    peer: SocketAddr,
    csrf: String,
}

impl Browser {
    fn new() -> Self {
        let headers = vec![
            ("host", "localhost:7788".to_owned()),
            ("origin", "http://localhost:7788".to_owned()),
            ("sec-fetch-site", "same-origin".to_owned()),
        ];
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        Self { cookies: BTreeMap::new(), headers, peer, csrf: String::new() }
    }

    /// One at another address.
    fn at(last: u8) -> Self {
        Self { peer: SocketAddr::from(([192, 0, 2, last], 40_000)), ..Self::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(held, _)| *held != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(held, _)| *held != name);
        self
    }
}

impl Town {
    fn new() -> Self {
        Self::with("")
    }

    fn with(config: &str) -> Self {
        let text = format!("[stack]\nname = \"shop\"\n{config}");
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let clock = Arc::new(Hand(AtomicU64::new(10_000_000)));
        let store = Arc::new(Memory::default());
        let site = site(&store, Arc::clone(&clock) as Arc<dyn Clock>, config);
        Self { router: site.clone().router(), site: Arc::new(site), clock }
    }

    fn store(&self) -> &dyn Store {
        &*self.site.store
    }

    fn now(&self) -> Timestamp {
        self.site.clock.wall()
    }

    async fn ask(
        &self,
        browser: &mut Browser,
        method: Method,
        path: &str,
        body: &[u8],
        kind: &str,
    ) -> Back {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &browser.headers {
            request = request.header(*name, value);
        }
        let cookies: Vec<String> =
            browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.extension(ConnectInfo(browser.peer));
        let request = request.body(Body::from(body.to_vec())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        for line in parts.headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            browser.cookies.remove(name);
            if !value.is_empty() {
                browser.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        if let Some((_, rest)) = body.split_once("name=\"csrf\" value=\"") {
            browser.csrf = rest.split('"').next().unwrap().to_owned();
        }
        Back { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, browser: &mut Browser, path: &str) -> Back {
        self.ask(browser, Method::GET, path, &[], "").await
    }

    /// Sends a form, with the token of the page that was seen last.
    async fn send(&self, browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Back {
        let csrf = browser.csrf.clone();
        let all = fields.iter().copied().chain([("csrf", csrf.as_str())]);
        let form: Vec<String> =
            all.map(|(name, value)| format!("{name}={}", query(value))).collect();
        let kind = "application/x-www-form-urlencoded";
        self.ask(browser, Method::POST, path, form.join("&").as_bytes(), kind).await
    }

    /// Sends JSON as a script of a page does.
    async fn json(&self, browser: &mut Browser, path: &str, body: &serde_json::Value) -> Back {
        let mut script = browser.clone().with("x-linkflow-csrf", &browser.csrf.clone());
        let body = body.to_string();
        let back =
            self.ask(&mut script, Method::POST, path, body.as_bytes(), "application/json").await;
        browser.cookies = script.cookies;
        back
    }

    /// Lets somebody in with a password by a link; their browser is signed in.
    async fn let_in(&self, name: &str, scope: Scope) -> Browser {
        let who = (Some(name), Some(scope));
        let (secret, _) = super::invite(self.store(), who, "test", self.now()).await.unwrap();
        let mut browser = Browser::new();
        let fields = [("password", PASSWORD), ("again", PASSWORD)];
        let back = self.send(&mut browser, &format!("/setup/{secret}"), &fields).await;
        assert_eq!(
            (back.status, back.to()),
            (StatusCode::SEE_OTHER, "/account?said=welcome"),
            "{}",
            back.body
        );
        self.get(&mut browser, "/account").await;
        browser
    }

    /// Signs in with a password.
    async fn sign_in(&self, browser: &mut Browser, name: &str, password: &str) -> Back {
        self.send(browser, "/sign-in", &[("name", name), ("password", password)]).await
    }

    /// What the audit has, the oldest first: who, what, outcome.
    async fn audited(&self) -> Vec<String> {
        let month = super::audit::month(self.now());
        let mut deeds = super::deeds(self.store(), &month).await.unwrap();
        deeds.reverse();
        deeds.iter().map(|deed| format!("{} {}: {}", deed.who, deed.what, deed.outcome)).collect()
    }
}

/// `text` as a form has it.
fn query(text: &str) -> String {
    crate::frame::escaped(text).replace('/', "%2F")
}
