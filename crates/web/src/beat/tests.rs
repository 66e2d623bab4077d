//! Reports as their senders make them, over connections of their own.

use std::net::SocketAddr;

use linkflow_model::clock::SystemClock;
use linkflow_model::config::Config;
use linkflow_store::{Memory, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::scripted::site;

const UUID: &str = "0189f6a0-1111-4222-8333-123456789abc";

struct Stage {
    store: Arc<dyn Store>,
    at: SocketAddr,
    _addresses: watch::Sender<Addresses>,
    _serving: JoinSet<std::io::Result<()>>,
}

impl Stage {
    async fn new(per_second: u32) -> Self {
        let store = Arc::new(Memory::default());
        let addresses = Addresses {
            key: "the-key".to_owned(),
            by_uuid: BTreeMap::from([(UUID.to_owned(), "backup".to_owned())]),
            names: BTreeSet::from(["backup".to_owned(), "import".to_owned()]),
        };
        let (tell, told) = watch::channel(addresses);
        let text = "[stack]\nname = \"shop\"\n";
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let site = Site {
            beats: Intake::new(told, per_second, Arc::default()),
            ..site(&store, Arc::new(SystemClock::start()), config)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(site.serve(listener, std::future::pending()));
        Self { store, at, _addresses: tell, _serving: serving }
    }

    /// The answer to a request as it goes over the wire: its status, its headers, its body.
    async fn raw(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    async fn beats(&self) -> Vec<Beat> {
        let all = self.store.list(Beat::PREFIX).await.unwrap();
        all.into_iter().map(|document| serde_json::from_value(document.body).unwrap()).collect()
    }

    async fn check(&self, line: &str, expected: &str) {
        let before = self.beats().await.len();
        let (method, path) = line.split_once(' ').unwrap();
        let (status, _, body) = self.ask(method, path, b"").await;
        let after = self.beats().await;
        let new = after
            .iter()
            .skip(before)
            .map(|beat| format!(" {} {}", beat.heartbeat, beat.says.word()));
        assert_eq!(format!("{status} {body}{}", new.collect::<String>()), expected, "{line}");
    }
}

#[tokio::test]
async fn the_addresses_of_healthchecks_are_answered_as_there() {
    let stage = Stage::new(1_000).await;
    for (line, expected) in [
        ("GET /ping/UUID", "200 OK backup complete"),
        ("HEAD /ping/UUID", "200  backup complete"),
        ("POST /UUID", "200 OK backup complete"),
        ("GET /UUID/start", "200 OK backup run"),
        ("POST /UUID/fail", "200 OK backup fail"),
        ("POST /ping/UUID/log", "200 OK backup log"),
        ("GET /UUID/0", "200 OK backup complete"),
        ("GET /UUID/3", "200 OK backup fail"),
        ("GET /UUID/256", "400 invalid url format"),
        ("GET /UUID?rid=7", "400 invalid uuid format"),
        ("GET /UUID/start?rid=UUID", "200 OK backup run"),
        ("GET /ping/the-key/import", "200 OK import complete"),
        ("GET /the-key/import/start", "200 OK import run"),
        ("GET /the-key/import/1", "200 OK import fail"),
        ("GET /the-key/other", "404 not found"),
        // Any page of the site, for whoever has no key.
        ("GET /wrong-key/import", "303 "),
        ("GET /UUID/start/now", "404 not found"),
        ("GET /0189f6a0-1111-4222-8333-123456789abd", "404 not found"),
        ("GET /healthz", "200 ok\n"),
    ] {
        stage.check(&line.replace("UUID", UUID), expected).await;
    }
    let (status, head, _) = stage.ask("DELETE", &format!("/{UUID}"), b"").await;
    assert_eq!(status, 405, "{head}");
    let (_, head, _) = stage.ask("GET", &format!("/{}", UUID.to_uppercase()), b"").await;
    assert!(head.contains("ping-body-limit: 100000"), "{head}");
}

#[tokio::test]
async fn the_addresses_of_cronitor_are_answered_as_there() {
    let stage = Stage::new(1_000).await;
    for (line, expected) in [
        ("GET /p/the-key/import?state=run&series=1&host=box", "200 OK import run"),
        ("POST /p/the-key/import?state=complete&metric=duration:2.5", "200 OK import complete"),
        ("HEAD /p/the-key/import?state=fail&message=no%20disk", "200  import fail"),
        ("GET /p/the-key/import", "200 OK import ok"),
        // As Cronitor's own client for Python writes it (4.9.0).
        (
            "GET /p/the-key/import?state=complete&series=9&metric=count%3A7&metric=duration%3A0.5&stamp=1796000000.25&env=live",
            "200 OK import complete",
        ),
        ("GET /p/the-key/import?state=started", "400 invalid state"),
        ("GET /p/the-kez/import", "404 not found"),
        ("GET /p/the-key/nothing", "404 not found"),
        ("GET /p//import", "404 not found"),
    ] {
        stage.check(line, expected).await;
    }
    let beats = stage.beats().await;
    assert_eq!((beats[1].took_ms, beats[2].message.as_deref()), (Some(2_500), Some("no disk")));
}

#[tokio::test]
async fn what_was_printed_is_kept_as_bytes_and_cut_at_the_limit() {
    let stage = Stage::new(1_000).await;
    let path = format!("/{UUID}");
    let odd = b"\xff\x00\x1b[31m";
    stage.ask("POST", &path, odd).await;
    stage.ask("POST", &path, &vec![b'x'; 150_000]).await;
    let beats = stage.beats().await;
    assert_eq!(beats.iter().map(|b| b.output).collect::<Vec<_>>(), [Some(7), Some(100_000)]);
    let mut kept = Vec::new();
    for beat in &beats {
        let body = stage.store.read(&Output::key(beat)).await.unwrap().unwrap().body;
        let output: Output = serde_json::from_value(body).unwrap();
        kept.push((STANDARD.decode(output.base64).unwrap(), output.cut));
    }
    assert_eq!(kept, [(odd.to_vec(), false), (vec![b'x'; 100_000], true)]);
    // One that says that more is to come, and goes away, has reported nothing.
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc");
    let mut stream = TcpStream::connect(stage.at).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(stage.beats().await.len(), 2, "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_harms_nothing() {
    let stage = Stage::new(1_000).await;
    for request in [
        &b"GET /ping/%ff/%fe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"[..],
        b"GET /p/the-key/..%2fimport HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: x\r\n\r\n",
    ] {
        let (status, head, _) = stage.raw(request).await;
        assert!((400..500).contains(&status), "{head}");
    }
    let strange =
        "GET /p/the-key/import?state=ok&message=%ff%00&metric=duration:NaN&metric=count:1e999";
    stage.check(strange, "200 OK import ok").await;
    let beat = stage.beats().await.remove(0);
    assert_eq!((beat.took_ms, beat.counts.len()), (None, 0));
}

#[tokio::test]
async fn who_reports_too_often_is_told_to_wait() {
    let stage = Stage::new(5).await;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let (status, head, _) = stage.ask("GET", &format!("/{UUID}"), b"").await;
        assert!(status == 200 || head.contains("retry-after: 1"), "{head}");
        statuses.push(status);
    }
    assert!(statuses[..10].iter().all(|status| *status == 200), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    // Others are not held up by it.
    stage.check("GET /the-key/import", "200 OK import complete").await;
}
