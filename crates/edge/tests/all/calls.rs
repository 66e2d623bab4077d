//! gRPC: calls, streams, trailers, and what happens to them when a target fails.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkflow_model::{EventKind, ServiceKind};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::stage::{Setup, Stage, service};
use crate::upstream::{Body, background, full, stream};

async fn stage() -> Stage {
    let stage = Stage::with(Setup { kind: ServiceKind::Grpc, ..Setup::default() }).await;
    stage.is_up(&[]).await;
    stage
}

async fn connect(stage: &Stage) -> SendRequest<Body> {
    let address = stage.edge.internal(&service()).unwrap();
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (sender, connection) = made.unwrap();
    drop(background(connection));
    sender
}

async fn call(sender: &mut SendRequest<Body>, method: &str, body: Body) -> Response<Incoming> {
    let request = Request::post(format!("http://history:7234/test.Echo/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let called = timeout(Duration::from_secs(5), sender.send_request(request)).await;
    called.expect("no answer").unwrap()
}

/// The message, the trailers, the head.
async fn read(response: Response<Incoming>) -> (Bytes, HeaderMap, HeaderMap) {
    let (parts, body) = response.into_parts();
    let read = body.collect().await.unwrap();
    let trailers = read.trailers().cloned().unwrap_or_default();
    (read.to_bytes(), trailers, parts.headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_comes_back_with_its_message_and_trailers() {
    let stage = stage().await;
    let mut sender = connect(&stage).await;
    let (message, trailers, head) = read(call(&mut sender, "Say", full("hello")).await).await;
    assert_eq!(message, "hello");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(head["x-linkflow-target"], "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_the_head_is_passed_on_as_it_is() {
    let stage = stage().await;
    let mut sender = connect(&stage).await;
    let (_, _, head) = read(call(&mut sender, "Refuse", full("x")).await).await;
    assert_eq!(head["grpc-status"], "14");
    assert_eq!((stage.ups[0].requests(), stage.ups[1].requests()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_flows_both_ways_piece_by_piece() {
    let stage = stage().await;
    let mut sender = connect(&stage).await;
    let (pieces, receiver) = mpsc::channel(1);
    pieces.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    let response = call(&mut sender, "Chat", stream(receiver)).await;
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    pieces.send(Ok(Frame::data(Bytes::from_static(b"two")))).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
    drop(pieces);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_to_the_next_target_when_the_first_is_killed() {
    let stage = stage().await;
    let mut sender = connect(&stage).await;
    read(call(&mut sender, "Say", full("x")).await).await;
    stage.ups[0].kill().await;
    for _ in 0..20 {
        let (_, _, head) = read(call(&mut sender, "Say", full("x")).await).await;
        assert_eq!(
            head.get("x-linkflow-target").map(|v| v.to_str().unwrap()),
            Some("b"),
            "{head:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_a_hung_target_ends_with_its_connection_and_new_calls_go_elsewhere() {
    let mut stage = stage().await;
    let mut sender = connect(&stage).await;
    read(call(&mut sender, "Say", full("x")).await).await;
    stage.ups[0].freeze();
    let begun = Instant::now();
    let mut second = sender.clone();
    let hung = background(async move { read(call(&mut second, "Say", full("lost")).await).await });
    stage.event(EventKind::Ejected).await;
    assert!(begun.elapsed() < Duration::from_millis(2_500));
    let (_, _, head) = read(call(&mut sender, "Say", full("x")).await).await;
    assert_eq!(head["x-linkflow-target"], "b");
    let (_, _, head) = hung.await.unwrap();
    assert_eq!(head["grpc-status"], "14", "it is not known whether it was carried out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_target_gone_a_call_is_told_so_in_its_own_terms() {
    let stage = stage().await;
    for up in &stage.ups {
        up.kill().await;
    }
    let mut sender = connect(&stage).await;
    let response = call(&mut sender, "Say", full("x")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
    let said = response.headers()["grpc-message"].to_str().unwrap();
    assert!(said.starts_with("api: "), "{said}");
}
