//! How long requests wait, where their service has a word of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::StatusCode;
use linkflow_edge::Limits;
use linkflow_model::{Policy, Routes, ServiceKind, Timeouts};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::stage::{Read, Setup, Stage, route, target};
use crate::upstream::full;

/// Longer than any test waits.
const AGES: u64 = 600_000;
/// Long enough for whatever is to come.
const SOON: Duration = Duration::from_secs(20);

/// Limits that end nothing by themselves.
fn patient() -> Limits {
    Limits {
        connect_ms: AGES,
        first_byte_ms: AGES,
        first_byte_alone_ms: AGES,
        first_byte_once_ms: AGES,
        body_idle_ms: AGES,
        suspect_ms: AGES,
        silent_ms: AGES,
        hedge: false,
        ..Limits::default()
    }
}

async fn stage(count: usize, limits: Limits) -> Stage {
    let stage = Stage::with(Setup { count, limits, ..Setup::default() }).await;
    stage.is_up(&[]).await;
    stage
}

impl Stage {
    /// New routes, in which the service has these limits.
    fn waits(&self, timeouts: Timeouts) {
        self.routes.send_modify(|held| {
            let mut routes = Routes::clone(held);
            routes.generation += 1;
            routes.services[0].timeouts = timeouts;
            *held = Arc::new(routes);
        });
    }

    async fn asks(&self, method: &str, path: &str) -> Read {
        let request = self.request(method, path).body(full("")).unwrap();
        timeout(SOON, self.send(request)).await.expect("it waited for ages").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_how_long_an_answer_may_take_to_begin() {
    let stage = stage(1, patient()).await;
    stage.ups[0].ways.delay.store(AGES, Relaxed);
    stage.waits(Timeouts { answer_ms: Some(150), ..Timeouts::default() });
    for method in ["GET", "PUT", "POST"] {
        let answer = stage.asks(method, "/read").await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{method}");
        assert!(answer.text.contains("api: no answer in 150 ms"), "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_limit_of_its_own_has_its_services() {
    let setup = Setup { kind: ServiceKind::Grpc, count: 1, limits: patient(), ..Setup::default() };
    let stage = Stage::with(setup).await;
    stage.is_up(&[]).await;
    stage.ups[0].ways.delay.store(AGES, Relaxed);
    stage.waits(Timeouts { answer_ms: Some(150), ..Timeouts::default() });
    let request =
        stage.request("POST", "/test.Echo/Say").header("content-type", "application/grpc");
    let answer = stage.send(request.body(full("")).unwrap());
    let answer = timeout(SOON, answer).await.expect("it waited for ages").unwrap();
    assert_eq!(answer.headers["grpc-status"], "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_after_how_long_the_next_target_is_asked() {
    let stage = stage(2, patient()).await;
    stage.ups[0].ways.delay.store(AGES, Relaxed);
    stage.waits(Timeouts { first_byte_ms: Some(150), ..Timeouts::default() });
    assert_eq!(stage.asks("GET", "/read").await.text, "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_slow_by_nature_is_not_left_for_it() {
    let usual = Limits { hedge: false, ..Limits::default() };
    let stage = stage(2, usual).await;
    stage.waits(Timeouts {
        first_byte_ms: Some(AGES),
        answer_ms: Some(AGES),
        ..Timeouts::default()
    });
    // Longer than all that would otherwise end its wait.
    stage.ups[0].ways.delay.store(usual.first_byte_ms + 500, Relaxed);
    assert_eq!(stage.asks("GET", "/read").await.text, "a");
    assert_eq!(stage.asks("POST", "/read").await.text, "a");
    assert_eq!(stage.ups[1].requests(), 0);
    assert!(!stage.stats("a").ejected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_how_long_nothing_may_come_within_an_answer() {
    let stage = stage(1, patient()).await;
    stage.waits(Timeouts { idle_ms: Some(150), ..Timeouts::default() });
    let request = stage.request("GET", "/events").body(full("")).unwrap();
    let answer = timeout(SOON, stage.send(request)).await.expect("it waited for ages");
    assert!(answer.is_err(), "the second event never comes: {answer:?}");
}

/// A listener that is too busy to take a connection, as a host that is gone from the network looks.
async fn hole() -> (String, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    // Those that are let in fill the queue; the first that is not shows that it is full.
    while let Ok(connected) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        waiting.push(connected.unwrap());
    }
    (format!("http://{address}"), (listener, waiting))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_how_long_a_connection_may_take() {
    let (hole, _held) = hole().await;
    // Checks say nothing of it in time: it is the request that finds out.
    let policy = Policy { fall: 1_000, probe_timeout_ms: AGES, ..Setup::default().policy };
    let stage = Stage::with(Setup { limits: patient(), policy, ..Setup::default() }).await;
    let targets = vec![target("hole", hole, 0), target("b", stage.ups[1].url(), 1)];
    let services = vec![route(ServiceKind::Web, targets)];
    stage.routes.send_replace(Arc::new(Routes { generation: 2, services }));
    stage.waits(Timeouts { connect_ms: Some(150), ..Timeouts::default() });
    assert_eq!(stage.asks("POST", "/read").await.text, "b");
    assert_eq!(stage.stats("hole").failures, 1);
}
