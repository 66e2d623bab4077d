//! What visitors may do, and what they get when nothing answers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use linkflow_edge::{Answers, Front, Guard, Limits, OwnHost, RateRule};
use linkflow_model::Routes;

use crate::stage::{Read, Setup, Stage};
use crate::upstream::{Upstream, full, repeated};

async fn guarded(guard: Guard, limits: Limits) -> Stage {
    let front = Front { guard, ..Front::default() };
    let stage = Stage::with(Setup { front, limits, ..Setup::default() }).await;
    stage.is_up(&[]).await;
    stage
}

fn rate(requests: u32) -> RateRule {
    let requests = requests.try_into().unwrap();
    RateRule { requests, per_ms: 600_000, paths: vec!["/headers".to_owned()], header: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_that_asks_too_often_is_told_to_wait_and_no_target_is_asked() {
    let guard = Guard { rate: Some(rate(5)), ..Guard::default() };
    let stage = guarded(guard, Limits::default()).await;
    for _ in 0..5 {
        assert_eq!(stage.get("/headers").await.status, 200);
    }
    let asked: u64 = stage.ups.iter().map(Upstream::requests).sum();
    let refused = stage.get("/headers").await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1_200).contains(&wait), "{wait}");
    assert_eq!(stage.ups.iter().map(Upstream::requests).sum::<u64>(), asked);
    assert_eq!(stage.get("/nothing").await.status, 204, "other paths are free");
    // Services that call each other are no visitors.
    let internal = stage.edge.internal(&crate::stage::service()).unwrap();
    for _ in 0..20 {
        let request = http::Request::get(format!("http://{internal}/headers"));
        let answer = stage.send(request.body(full("")).unwrap()).await.unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_so() {
    let net = |text: &str| vec![text.parse().unwrap()];
    let here = Guard { deny: net("127.0.0.0/8"), ..Guard::default() };
    assert_eq!(guarded(here, Limits::default()).await.get("/").await.status, 403);
    let elsewhere = Guard { allow: net("192.0.2.0/24"), ..Guard::default() };
    assert_eq!(guarded(elsewhere, Limits::default()).await.get("/").await.status, 403);
    let ours = Guard { allow: net("127.0.0.1/32"), ..Guard::default() };
    assert_eq!(guarded(ours, Limits::default()).await.get("/headers").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_whether_it_says_so_or_not() {
    let limits = Limits { body_bytes: 100_000, ..Limits::default() };
    let stage = guarded(Guard::default(), limits).await;
    let send = async |body| {
        let request = stage.request("POST", "/sink").body(body).unwrap();
        stage.send(request).await
    };
    let zeros = |size| Bytes::from(vec![0; size]);
    let fits = send(full(zeros(100_000))).await.unwrap();
    assert_eq!((fits.status, fits.text.as_str()), (StatusCode::OK, "a took 100000"));
    assert_eq!(send(full(zeros(100_001))).await.unwrap().status, 413);
    // Without a length it is found out on its way; the client may not get to read the answer before it is cut.
    if let Ok(cut) = send(repeated(zeros(50_000), 3)).await {
        assert_eq!(cut.status, 413);
    }
    assert_eq!(stage.get("/headers").await.status, 200, "nobody is blamed for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nothing_answers_the_last_good_page_is_shown_and_marked() {
    let guard = Guard {
        stale_bytes: 1 << 20,
        status_page: Some("https://status.example.com".to_owned()),
        ..Guard::default()
    };
    let stage = guarded(guard, Limits::default()).await;
    let first = stage.get("/headers").await;
    assert_eq!((first.status, first.headers.get("x-linkflow-stale")), (StatusCode::OK, None));
    let page = async |path: &str| {
        let request = stage.request("GET", path).header("accept", "text/html,*/*");
        stage.send(request.body(full("")).unwrap()).await.unwrap()
    };
    let own = async |header: &'static str| {
        let request = stage.request("GET", "/headers").header(header, "mine");
        stage.send(request.body(full("")).unwrap()).await.unwrap().status
    };
    assert_eq!(own("authorization").await, 200);
    for up in &stage.ups {
        up.kill().await;
    }
    let old = stage.get("/headers").await;
    assert_eq!((old.status, &old.text), (StatusCode::OK, &first.text));
    assert!(old.headers.contains_key("x-linkflow-stale"), "{:?}", old.headers);
    assert_eq!(old.headers["cache-control"], "no-store");
    assert_eq!(own("authorization").await, 503, "what may be for one visitor alone is nobody's");
    assert_eq!(own("cookie").await, 503);

    let Read { status, headers, text } = page("/never-asked-for").await;
    assert_eq!(
        (status, &headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"2".parse().unwrap())
    );
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(text.contains("href=\"https://status.example.com\""), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_a_key_goes_to_the_next_target_where_its_service_carries_keys_out_once() {
    let stage = guarded(Guard::default(), Limits::default()).await;
    let write = async |key: bool| {
        let mut request = stage.request("POST", "/sink");
        if key {
            request = request.header("idempotency-key", "k1");
        }
        stage.send(request.body(full("x")).unwrap()).await.unwrap().status
    };
    stage.ups[0].ways.cuts.store(true, Relaxed);
    assert_eq!(write(true).await, 502, "the service has not said that keys are kept");
    stage.routes.send_modify(|held| {
        let mut routes = Routes::clone(held);
        routes.generation += 1;
        routes.services[0].idempotency_key = true;
        *held = Arc::new(routes);
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(write(true).await, 200);
    assert_eq!(write(false).await, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_are_kept_safe_where_the_service_says_nothing() {
    let guard = Guard { security_headers: true, ..Guard::default() };
    let stage = guarded(guard, Limits::default()).await;
    let answer = stage.get("/headers").await;
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["x-frame-options"], "SAMEORIGIN");
}

/// Answers with the path that it is asked for.
struct Echo;

impl Answers for Echo {
    fn answer(&self, _: &Method, path: &str, _: &HeaderMap) -> Response<Bytes> {
        Response::new(format!("own {path}").into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_its_own_is_answered_when_every_target_is_away() {
    let own = OwnHost { host: "status.example".to_owned(), by: Arc::new(Echo) };
    let stage = guarded(Guard { own: Some(own), ..Guard::default() }, Limits::default()).await;
    let asked = async |host: &str| {
        let request = stage.request("GET", "/a/b?c");
        let mut request = request.body(full("")).unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        let answer = stage.send(request).await.unwrap();
        (answer.status.as_u16(), answer.text)
    };
    for up in &stage.ups {
        up.kill().await;
    }
    assert_eq!(asked("status.example").await, (200, "own /a/b".to_owned()));
    assert_eq!(asked("Status.Example:80").await, (200, "own /a/b".to_owned()));
    assert_eq!(asked("api.example").await.0, 503, "other hosts are led as always");
}
