//! Bodies flow both ways without piling up; upgraded connections and drains.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::stage::{Stage, until, zeros};
use crate::upstream::{background, full, repeated};

/// What this process holds in memory, in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs `work`, and says by how many kilobytes memory grew at most.
async fn growth<T>(work: impl Future<Output = T>) -> (T, u64) {
    let before = resident();
    let mut most = before;
    let mut work = std::pin::pin!(work);
    loop {
        match timeout(Duration::from_millis(10), work.as_mut()).await {
            Ok(done) => return (done, most.max(resident()) - before),
            Err(_) => most = most.max(resident()),
        }
    }
}

/// Other tests run in the same process; a body that piled up would take 256 MB.
const GROWTH: u64 = 100 << 10;
const BODY: usize = 256 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_flows_through_without_piling_up() {
    let stage = Stage::set().await;
    let body = repeated(zeros(64 << 10), BODY >> 16);
    let sent = stage.send(stage.request("POST", "/sink").body(body).unwrap());
    let (read, grew) = growth(sent).await;
    assert_eq!(read.unwrap().text, format!("a took {BODY}"));
    assert!(grew < GROWTH, "grew by {grew} kB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_flows_through_without_piling_up() {
    let stage = Stage::set().await;
    let request = stage.request("GET", "/big").body(full("")).unwrap();
    let (size, grew) = growth(async {
        let mut body = stage.client.request(request).await.unwrap().into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        size
    })
    .await;
    assert_eq!(size, BODY);
    assert!(grew < GROWTH, "grew by {grew} kB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_passed_on_before_the_next_one_is_sent() {
    let stage = Stage::set().await;
    let request = stage.request("GET", "/events").body(full("")).unwrap();
    let mut body = stage.client.request(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "data: one\n\n");
    stage.ups[0].ways.go.notify_one();
    let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(second, "data: two\n\n");
    assert!(body.frame().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_left_by_the_target_too() {
    let stage = Stage::set().await;
    let up = Arc::clone(&stage.ups[0].ways);
    let request = stage.request("GET", "/wait").body(full("")).unwrap();
    let asked = timeout(Duration::from_millis(100), stage.send(request)).await;
    assert!(asked.is_err(), "{asked:?}");
    until(|| up.left.load(Relaxed) == 1).await;
    until(|| stage.stats("a").in_flight == 0).await;
    assert_eq!(stage.stats("a").failures, 0, "that is no fault of the target");
}

async fn upgraded(stage: &Stage) -> TcpStream {
    let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    let ask = "GET /echo HTTP/1.1\r\nhost: api.example\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    stream
}

async fn echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, text.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgraded_connection_carries_bytes_both_ways_until_it_is_cut() {
    let stage = Stage::set().await;
    let mut stream = upgraded(&stage).await;
    for text in ["hello", "again"] {
        echoes(&mut stream, text).await;
    }
    assert_eq!(stage.stats("a").in_flight, 1);
    let begun = Instant::now();
    let _held = stage.ups.first();
    stage.stop(Duration::from_millis(300)).await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "it is counted while it lasts");
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "then it is cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_lets_what_is_under_way_finish_and_takes_nothing_new() {
    let stage = Stage::set().await;
    let public = stage.edge.public();
    let up = Arc::clone(&stage.ups[0].ways);
    let client = stage.client.clone();
    let request = stage.request("GET", "/wait").body(full("")).unwrap();
    let waiting = background(async move { crate::stage::send(&client, request).await });
    until(|| up.requests.load(Relaxed) == 1).await;
    let stopping = background(stage.stop(Duration::from_secs(5)));
    sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(public).await.is_err(), "nobody listens any more");
    assert!(!stopping.is_finished());
    up.go.notify_one();
    // The upstreams are part of the stage, which stops only after the answer.
    assert_eq!(waiting.await.unwrap().unwrap().text, "waited");
    timeout(Duration::from_secs(1), stopping).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_the_limit_are_refused_at_once() {
    let mut setup = crate::stage::Setup::default();
    setup.limits.requests = 3;
    let stage = Stage::with(setup).await;
    let up = Arc::clone(&stage.ups[0].ways);
    let waiting = || stage.send(stage.request("GET", "/wait").body(full("")).unwrap());
    let refused = async {
        until(|| up.requests.load(Relaxed) == 3).await;
        let begun = Instant::now();
        let read = stage.get("/read").await;
        assert_eq!(read.status, 503);
        assert!(read.text.contains("too many requests"), "{}", read.text);
        assert!(begun.elapsed() < Duration::from_millis(500));
        for _ in 0..3 {
            up.go.notify_one();
            sleep(Duration::from_millis(5)).await;
        }
    };
    let (one, two, three, ()) = tokio::join!(waiting(), waiting(), waiting(), refused);
    for read in [one, two, three] {
        assert_eq!(read.unwrap().text, "waited");
    }
    assert_eq!(stage.get("/read").await.text, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stands_still_is_given_up() {
    let mut setup = crate::stage::Setup::default();
    setup.limits.client_idle_ms = 300;
    let stage = Stage::with(setup).await;
    let (pieces, receiver) = tokio::sync::mpsc::channel(1);
    let request = stage.request("POST", "/sink").body(crate::upstream::stream(receiver)).unwrap();
    let sending = async {
        for _ in 0..5 {
            pieces.send(Ok(hyper::body::Frame::data(zeros(1_000)))).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    let begun = Instant::now();
    let (read, ()) = tokio::join!(stage.send(request), sending);
    assert_eq!(read.unwrap().status, 408);
    assert!(begun.elapsed() >= Duration::from_millis(700), "it was given up while it moved");
    assert_eq!(stage.stats("a").failures, 0, "that is no fault of the target");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_may_speak_http2_without_tls() {
    let stage = Stage::set().await;
    let stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let made = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await;
    let (mut sender, connection) = made.unwrap();
    drop(background(connection));
    let request = Request::get("http://api.example/read").body(full("")).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "a");
    let request = Request::post("http://api.example/sink").body(repeated(zeros(1_000), 1_000));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "a took 1000000");
}
