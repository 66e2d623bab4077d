//! What targets and clients are told: hosts, headers, lengths, refusals.

use std::collections::BTreeMap;

use linkflow_edge::{Front, Resolve};
use linkflow_model::{Routes, ServiceKind};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::stage::{Setup, Stage, edge, route, target};
use crate::upstream::{Ledger, Upstream, full};

/// Sends bytes as they are, and reads until the edge closes the connection.
async fn raw(stage: &Stage, text: &str) -> String {
    let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(5), reading).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_request_with_two_lengths_is_refused() {
    let stage = Stage::set().await;
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let smuggling = format!(
            "POST /sink HTTP/1.1\r\nhost: api.example\r\n{lengths}\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"
        );
        let answer = raw(&stage, &smuggling).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(
            answer.matches("HTTP/1.1").count(),
            1,
            "what follows is not looked at: {answer}"
        );
    }
    let behind = "GET /read HTTP/1.1\r\nhost: api.example\r\n\r\nPOST /sink HTTP/1.1\r\nhost: api.example\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = raw(&stage, behind).await;
    assert!(answer.contains("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 400 "), "{answer}");
    assert_eq!(stage.ups[0].requests(), 1);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let stage = Stage::set().await;
    let rows = [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "400"),
        ("CONNECT api.example:80 HTTP/1.1\r\nhost: api.example:80\r\n\r\n", "405"),
        ("POST / HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: gzip\r\n\r\n", "400"),
    ];
    for (request, status) in rows {
        let answer = raw(&stage, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(70 << 10));
    let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    // The edge may stop reading before all of it was sent.
    drop(stream.write_all(large.as_bytes()).await);
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");
    assert_eq!(stage.ups[0].requests(), 0);
}

#[tokio::test]
async fn a_body_that_is_announced_is_asked_for() {
    let stage = Stage::set().await;
    let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    let head = "POST /sink HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("a took 4"), "{answer}");
}

#[tokio::test]
async fn a_target_is_told_who_asked_for_what() {
    let stage = Stage::set().await;
    let request = stage
        .request("GET", "/headers")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-request-id", "mine")
        .header("tracestate", "a=1");
    let read = stage.send(request.body(full("")).unwrap()).await.unwrap();
    let lines: BTreeMap<&str, &str> =
        read.text.lines().filter_map(|l| l.split_once(": ")).collect();
    assert_eq!(lines["host"], stage.ups[0].address.to_string());
    assert_eq!(lines["x-forwarded-host"], "api.example");
    assert_eq!(lines["x-forwarded-for"], "127.0.0.1", "nobody is trusted");
    assert_eq!(lines["x-forwarded-proto"], "http");
    assert_eq!(lines["forwarded"], "for=127.0.0.1;host=\"api.example\";proto=http");
    assert_eq!(lines["x-request-id"].len(), 32);
    assert_eq!((lines["traceparent"].len(), lines.get("tracestate")), (55, None));
    assert_eq!(read.headers["x-linkflow-target"], "a");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_heads() {
    let stage = Stage::set().await;
    let head = stage.send(stage.request("HEAD", "/headers").body(full("")).unwrap()).await.unwrap();
    assert_eq!(head.status, 200);
    assert!(head.headers["content-length"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(stage.get("/nothing").await.status, 204);
    let moved = stage.get("/login").await;
    assert_eq!(moved.headers["location"], "http://api.example/login/form");
    let empty = stage.request("POST", "/sink").header("content-length", "0");
    assert_eq!(stage.send(empty.body(full("")).unwrap()).await.unwrap().text, "a took 0");
}

#[tokio::test]
async fn a_provider_in_a_rehearsal_is_reached_in_plain_http_under_its_own_name() {
    let up = Upstream::start("fly", &Ledger::default()).await;
    let targets = vec![target("fly", "https://shop.fly.dev".to_owned(), 0)];
    let table = Routes { generation: 1, services: vec![route(ServiceKind::Web, targets)] };
    let (_routes, watched) = watch::channel(Arc::new(table));
    let (events, _told) = mpsc::channel(10);
    let resolve = Resolve(BTreeMap::from([("fly.dev".to_owned(), up.address)]));
    let tracker = TaskTracker::new();
    let Setup { limits, policy, .. } = Setup::default();
    let edge = edge(watched, events, &tracker, limits, policy, resolve, Front::default()).await;
    let mut stream = TcpStream::connect(edge.public()).await.unwrap();
    let ask = "GET /headers HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("host: shop.fly.dev\n"), "{answer}");
}
