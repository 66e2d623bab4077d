//! TLS for visitors: names, protocols, versions, sessions, silence, redirects, and what flows within it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkflow_edge::{Front, Origin, PairOfFiles, TlsOptions};
use linkflow_model::config::Tls;
use linkflow_model::{EventKind, ServiceKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stage::{Setup, Stage, until, zeros};
use crate::upstream::{background, full, repeated, stream};

/// Writes a certificate for `hosts` into `folder`, and names its files.
pub(crate) fn pair(folder: &Path, name: &str, hosts: &[&str]) -> PairOfFiles {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(hosts).unwrap();
    let path = |kind: &str| folder.join(format!("{name}.{kind}"));
    std::fs::write(path("crt"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    PairOfFiles { name: name.to_owned(), chain: path("crt"), key: path("key") }
}

pub(crate) fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A client that trusts what is in `pairs`, and speaks `alpn`.
fn config(
    pairs: &[PairOfFiles],
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(CertificateDer::from_pem_file(&pair.chain).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn client(pairs: &[PairOfFiles], alpn: &[&str]) -> Arc<ClientConfig> {
    config(pairs, alpn, rustls::DEFAULT_VERSIONS)
}

async fn connect(
    to: SocketAddr,
    host: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await.unwrap();
    let host = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(config).connect(host, stream).await
}

/// A stage with TLS, and the certificates in its files.
struct Scene {
    stage: Stage,
    pairs: Vec<PairOfFiles>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn set(kind: ServiceKind, change: impl FnOnce(&mut TlsOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pairs = vec![
            pair(folder.path(), "main", &["api.example"]),
            pair(folder.path(), "star", &["*.shop.example", "api.example"]),
        ];
        let mut tls = TlsOptions { files: pairs.clone(), look_ms: 20, ..TlsOptions::at(free()) };
        change(&mut tls);
        let front = Front { tls: Some(tls), ..Front::default() };
        let stage = Stage::with(Setup { kind, front, ..Setup::default() }).await;
        Self { stage, pairs, _folder: folder }
    }

    async fn web() -> Self {
        Self::set(ServiceKind::Web, |_| {}).await
    }

    fn at(&self) -> SocketAddr {
        self.stage.edge.secure().unwrap()
    }

    async fn connect(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        connect(self.at(), "api.example", client(&self.pairs, alpn)).await.unwrap()
    }

    /// One request by HTTP/1.1 on its own connection: what came back as it was.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect(&["http/1.1"]).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(read.is_ok(), "it is ended in due form: {read:?}");
        String::from_utf8(answer).unwrap()
    }
}

const ASK: &str = "GET /headers HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_protocols_are_spoken_and_the_target_is_told_that_it_was_https() {
    let scene = Scene::web().await;
    let answer = scene.ask(ASK).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-forwarded-proto: https\n"), "{answer}");
    assert!(answer.contains("host=\"api.example\";proto=https\n"), "{answer}");

    let stream = scene.connect(&["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = made.unwrap();
    drop(background(connection));
    let request = Request::get("https://api.example/headers").body(full("")).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("x-forwarded-proto: https\n"));
    assert_eq!(scene.stage.edge.handshakes().opened, 2);
}

#[tokio::test]
async fn the_name_decides_which_certificate_is_shown() {
    let scene = Scene::web().await;
    let shown = async |host: &str| {
        let stream = connect(scene.at(), host, client(&scene.pairs, &[])).await.ok()?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let of = |pair: &&PairOfFiles| CertificateDer::from_pem_file(&pair.chain).unwrap() == shown;
        scene.pairs.iter().find(of).map(|pair| pair.name.clone())
    };
    assert_eq!(shown("api.example").await.as_deref(), Some("main"));
    assert_eq!(shown("a.shop.example").await.as_deref(), Some("star"));
    assert_eq!(shown("else.example").await, None);
    assert_eq!(shown("b.a.shop.example").await, None);
    until(|| scene.stage.edge.handshakes().failed == 2).await;
    let origins: Vec<Origin> =
        scene.stage.edge.certificates().all().into_iter().map(|held| held.origin).collect();
    assert_eq!(origins, [Origin::Files(0, "main".to_owned()), Origin::Files(1, "star".to_owned())]);
}

#[tokio::test]
async fn the_least_version_is_kept() {
    let versions: [&[&'static SupportedProtocolVersion]; 2] =
        [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];
    for (min, expected) in [(Tls::V1_2, [true, true]), (Tls::V1_3, [false, true])] {
        let scene = Scene::set(ServiceKind::Web, |tls| tls.min = min).await;
        for (versions, expected) in versions.iter().zip(expected) {
            let config = config(&scene.pairs, &[], versions);
            let connected = connect(scene.at(), "api.example", config).await;
            assert_eq!(connected.is_ok(), expected, "{min:?} {versions:?}");
        }
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again_in_either_version() {
    let scene = Scene::web().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = config(&scene.pairs, &["http/1.1"], &[version]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let connected = connect(scene.at(), "api.example", Arc::clone(&config)).await;
            let mut stream = connected.unwrap();
            stream.write_all(ASK.as_bytes()).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind());
        }
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    }
    assert_eq!(scene.stage.edge.handshakes().resumed, 2);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_left_in_time_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let tls = TlsOptions { made_up: vec!["api.example".to_owned()], ..TlsOptions::at(free()) };
    let front = Front { tls: Some(tls), ..Front::default() };
    let mut setup = Setup { front, ..Setup::default() };
    setup.limits.handshake_ms = 300;
    let stage = Stage::with(setup).await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(stage.edge.secure().unwrap()).await.unwrap();
    let mut slow = TcpStream::connect(stage.edge.secure().unwrap()).await.unwrap();
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 64])).await.unwrap();
        assert_eq!(read.unwrap_or(0), 0);
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    until(|| stage.edge.handshakes().failed == 2).await;
    drop(folder);
}

#[tokio::test]
async fn a_certificate_is_read_again_when_its_files_change() {
    let mut scene = Scene::web().await;
    let before = scene.connect(&["http/1.1"]).await;
    let folder = scene.pairs[0].chain.parent().unwrap().to_owned();
    pair(&folder, "main", &["api.example", "new.example"]);
    let told = scene.stage.event(EventKind::Certificate).await;
    // The two files cannot change at once: perhaps it was looked at between them, and then again.
    let told = if told.message.contains("stays as it was") {
        scene.stage.event(EventKind::Certificate).await
    } else {
        told
    };
    assert!(told.message.contains("`main` was read again"), "{}", told.message);
    let after = connect(scene.at(), "new.example", client(&scene.pairs, &[])).await;
    assert!(after.is_ok(), "{after:?}");
    let mut before = before;
    before.write_all(ASK.as_bytes()).await.unwrap();
    let mut answer = String::new();
    before.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "connections that are open stay: {answer}");
}

#[tokio::test]
async fn plain_http_is_sent_to_https_but_for_health_and_challenges() {
    let scene = Scene::set(ServiceKind::Web, |tls| tls.hsts = Some(Duration::from_secs(60))).await;
    let moved = scene.stage.get("/a/b?c=d").await;
    assert_eq!(moved.status, 308);
    let at = scene.at().port();
    assert_eq!(moved.headers["location"], format!("https://api.example:{at}/a/b?c=d"));
    assert_eq!(moved.headers.get("strict-transport-security"), None, "not over plain HTTP");
    let post = scene.stage.request("POST", "/sink").body(full("x")).unwrap();
    assert_eq!(scene.stage.send(post).await.unwrap().status, 308);
    assert_eq!(scene.stage.ups[0].requests(), 0);
    assert_eq!(scene.stage.get("/healthz").await.text, "well");
    assert_eq!(scene.stage.get("/.well-known/acme-challenge/x").await.text, "a");
    let other = Request::get(format!("http://{}/", scene.stage.edge.public()))
        .header("host", "evil.example")
        .body(full(""));
    assert_eq!(scene.stage.send(other.unwrap()).await.unwrap().status, 404, "no open redirect");

    let answer = scene.ask(ASK).await;
    assert!(answer.contains("strict-transport-security: max-age=60\r\n"), "{answer}");
    let moved = scene.ask(&ASK.replace("/headers", "/login")).await;
    assert!(moved.contains("location: https://api.example/login/form\r\n"), "{moved}");
}

#[tokio::test]
async fn plain_http_is_served_where_https_is_not_asked_for() {
    let change = |tls: &mut TlsOptions| tls.https_only = false;
    let scene = Scene::set(ServiceKind::Web, change).await;
    assert_eq!(scene.stage.get("/read").await.text, "a");
    let scene = Scene::set(ServiceKind::Web, |tls| tls.port = Some(443)).await;
    let moved = scene.stage.get("/x").await;
    assert_eq!(moved.headers["location"], "https://api.example/x", "the usual port is not named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_keep_their_messages_and_trailers() {
    let scene = Scene::set(ServiceKind::Grpc, |_| {}).await;
    scene.stage.is_up(&[]).await;
    let io = TokioIo::new(scene.connect(&["h2"]).await);
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = made.unwrap();
    drop(background(connection));
    let (pieces, receiver) = mpsc::channel(1);
    pieces.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    let request = Request::post("https://api.example/test.Echo/Chat")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(stream(receiver))
        .unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    pieces.send(Ok(Frame::data(Bytes::from_static(b"two")))).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
    drop(pieces);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    let scene = Scene::web().await;
    let mut stream = scene.connect(&["http/1.1"]).await;
    let ask = "GET /echo HTTP/1.1\r\nhost: api.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    for text in ["hello", "again"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_one_by_one_and_large_bodies_whole() {
    let scene = Scene::web().await;
    let io = TokioIo::new(scene.connect(&["h2"]).await);
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = made.unwrap();
    drop(background(connection));
    let request = Request::get("https://api.example/events").body(full("")).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: one\n\n");
    scene.stage.ups[0].ways.go.notify_one();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: two\n\n");
    assert_eq!(body.collect().await.unwrap().to_bytes(), "");
    let request = Request::post("https://api.example/sink").body(repeated(zeros(64 << 10), 128));
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, format!("a took {}", 8 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_connections_in_due_form() {
    let scene = Scene::web().await;
    let mut stream = scene.connect(&["http/1.1"]).await;
    stream.write_all(ASK.replace("close", "keep-alive").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    scene.stage.stop(Duration::from_secs(5)).await;
    let read = stream.read_to_end(&mut Vec::new()).await;
    assert!(read.is_ok(), "the end of TLS is told: {read:?}");
}
