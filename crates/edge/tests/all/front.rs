//! Those in front: the PROXY protocol, and whose word on the visitor is believed.

use std::collections::BTreeMap;
use std::time::Duration;

use linkflow_edge::{Front, TlsOptions};
use linkflow_model::config::VisitorHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::{Setup, Stage, service};
use crate::tls::free;
use crate::upstream::full;

async fn stage(front: Front) -> Stage {
    Stage::with(Setup { front, ..Setup::default() }).await
}

fn trusting(networks: &[&str]) -> Front {
    let trusted = networks.iter().map(|network| network.parse().unwrap()).collect();
    Front { trusted, ..Front::default() }
}

fn speaking_proxy(networks: &[&str]) -> Front {
    Front { proxy_protocol: true, ..trusting(networks) }
}

/// What the target was told, when it was asked at all.
async fn told(stage: &Stage, pieces: &[&[u8]], lines: &str) -> Option<BTreeMap<String, String>> {
    let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request =
        format!("GET /headers HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n{lines}\r\n");
    for piece in pieces.iter().copied().chain([request.as_bytes()]) {
        if stream.write_all(piece).await.is_err() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.unwrap();
    if read.is_err() || !answer.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines = body.lines().filter_map(|line| line.split_once(": "));
    Some(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

async fn visitor(stage: &Stage, pieces: &[&[u8]]) -> Option<String> {
    told(stage, pieces, "").await.map(|told| told["x-forwarded-for"].clone())
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";

fn v2() -> Vec<u8> {
    let addresses = [192, 0, 2, 2, 198, 51, 100, 1, 0, 80, 1, 187];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &addresses].concat()
}

#[tokio::test]
async fn a_load_balancer_names_the_client_by_the_proxy_protocol() {
    let stage = stage(speaking_proxy(&["127.0.0.0/8"])).await;
    assert_eq!(visitor(&stage, &[V1]).await.unwrap(), "192.0.2.1");
    assert_eq!(visitor(&stage, &[&v2()]).await.unwrap(), "192.0.2.2");
    let pieces: Vec<&[u8]> = V1.chunks(10).collect();
    assert_eq!(visitor(&stage, &pieces).await.unwrap(), "192.0.2.1", "in pieces");
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert_eq!(visitor(&stage, &[local]).await.unwrap(), "127.0.0.1", "it speaks for itself");
    assert_eq!(visitor(&stage, &[]).await, None, "whoever is to speak it must");
    assert_eq!(visitor(&stage, &[b"PROXY TCP4 1.1.1.1\r\n"]).await, None);
    let requests = stage.ups[0].requests();
    assert_eq!(visitor(&stage, &[V1, V1]).await, None, "once");
    assert_eq!(stage.ups[0].requests(), requests);
}

#[tokio::test]
async fn the_client_behind_a_load_balancer_is_no_more_trusted_than_any() {
    let stage = stage(speaking_proxy(&["127.0.0.0/8"])).await;
    let told = told(&stage, &[V1], "x-forwarded-for: 6.6.6.6\r\nx-request-id: mine\r\n").await;
    let told = told.unwrap();
    assert_eq!(told["x-forwarded-for"], "192.0.2.1");
    assert_ne!(told["x-request-id"], "mine");
}

#[tokio::test]
async fn a_stranger_cannot_speak_the_proxy_protocol() {
    let stage = stage(speaking_proxy(&["10.0.0.0/8"])).await;
    assert_eq!(visitor(&stage, &[V1]).await, None);
    assert_eq!(visitor(&stage, &[&v2()]).await, None);
    assert_eq!(visitor(&stage, &[]).await.unwrap(), "127.0.0.1", "it is served as who it is");
}

#[tokio::test]
async fn whoever_is_to_speak_and_says_nothing_is_left_in_time() {
    let mut setup = Setup { front: speaking_proxy(&["127.0.0.1/32"]), ..Setup::default() };
    setup.limits.handshake_ms = 200;
    let stage = Stage::with(setup).await;
    let mut stream = TcpStream::connect(stage.edge.public()).await.unwrap();
    stream.write_all(b"PROXY TCP4").await.unwrap();
    let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 8])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
}

#[tokio::test]
async fn the_proxy_protocol_comes_before_tls() {
    let tls = TlsOptions { made_up: vec!["api.example".to_owned()], ..TlsOptions::at(free()) };
    let stage = stage(Front { tls: Some(tls), ..speaking_proxy(&["127.0.0.1/32"]) }).await;
    for (begin, opened) in [(V1, 1), (b"".as_slice(), 1)] {
        let mut stream = TcpStream::connect(stage.edge.secure().unwrap()).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let roots = rustls::RootCertStore::empty();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let host = rustls::pki_types::ServerName::try_from("api.example").unwrap();
        let said = connector.connect(host, stream).await.unwrap_err().to_string();
        // Nobody vouches for it, but it was shown.
        assert_eq!(said.contains("UnknownIssuer"), !begin.is_empty(), "{said}");
        assert!(stage.edge.handshakes().opened <= opened);
    }
}

#[tokio::test]
async fn what_the_trusted_say_reaches_the_target() {
    let stage = stage(trusting(&["127.0.0.1/32", "10.0.0.0/8"])).await;
    let said = "x-forwarded-for: 6.6.6.6, 1.1.1.1, 10.0.0.9\r\nx-forwarded-proto: https\r\nx-request-id: mine\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=1\r\n";
    let told = told(&stage, &[], said).await.unwrap();
    assert_eq!(told["x-forwarded-for"], "6.6.6.6, 1.1.1.1, 10.0.0.9, 127.0.0.1");
    assert_eq!(told["forwarded"], "for=1.1.1.1, for=127.0.0.1;host=\"api.example\";proto=https");
    assert_eq!(
        (told["x-forwarded-proto"].as_str(), told["x-request-id"].as_str()),
        ("https", "mine")
    );
    assert_eq!(told["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(told["tracestate"], "a=1");
}

#[tokio::test]
async fn one_header_is_believed_and_no_other() {
    let front =
        Front { visitor_header: VisitorHeader::CfConnectingIp, ..trusting(&["127.0.0.1/32"]) };
    let stage = stage(front).await;
    let said =
        "cf-connecting-ip: 1.1.1.1\r\nx-forwarded-for: 6.6.6.6\r\nforwarded: for=7.7.7.7\r\n";
    let told = told(&stage, &[], said).await.unwrap();
    assert_eq!(told["x-forwarded-for"], "1.1.1.1, 127.0.0.1");
    assert_eq!(told["cf-connecting-ip"], "1.1.1.1");
}

#[tokio::test]
async fn who_spoke_https_to_those_in_front_is_not_sent_to_https_again() {
    let tls = TlsOptions { made_up: vec!["api.example".to_owned()], ..TlsOptions::at(free()) };
    let stage = stage(Front { tls: Some(tls), ..trusting(&["127.0.0.1/32"]) }).await;
    let ask = |proto: &str| {
        let request = stage.request("GET", "/read").header("x-forwarded-proto", proto);
        stage.send(request.body(full("")).unwrap())
    };
    assert_eq!(ask("https").await.unwrap().text, "a");
    assert_eq!(ask("http").await.unwrap().status, 308);
}

#[tokio::test]
async fn services_of_the_stack_speak_for_their_visitors() {
    let stage = stage(Front::default()).await;
    let address = stage.edge.internal(&service()).unwrap();
    let request = http::Request::get(format!("http://{address}/headers"))
        .header("x-forwarded-for", "1.1.1.1")
        .header("x-request-id", "mine")
        .body(full(""));
    let read = stage.send(request.unwrap()).await.unwrap();
    assert!(read.text.contains("x-forwarded-for: 1.1.1.1, 127.0.0.1\n"), "{}", read.text);
    assert!(read.text.contains("x-request-id: mine\n"), "{}", read.text);
}
