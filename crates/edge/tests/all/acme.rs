//! Certificates from a CA: Debian's `pebble`, an ACME server for tests, which really looks at what it asks for.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use linkflow_edge::{AcmeOptions, Edge, Front, Limits, Options, Origin, Pace, Resolve, TlsOptions};
use linkflow_model::clock::SystemClock;
use linkflow_model::config::Challenge;
use linkflow_model::{Event, EventKind, Level, Policy, Pulse, Routes};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// A CA with a name server, on an address of this machine that nobody else has: so its ports are always free.
struct Ca {
    ip: Ipv4Addr,
    folder: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Drop for Ca {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Ca {
    /// `None`, and a word about it, where there is no pebble.
    async fn start(vars: &[(&str, &str)]) -> Option<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        if !Path::new("/usr/bin/pebble").exists() {
            eprintln!("not tested: there is no pebble here");
            return None;
        }
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 64 + NEXT.fetch_add(1, Relaxed), high, low);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(vec![ip.to_string()]).unwrap();
        std::fs::write(path("ca.crt"), made.cert.pem()).unwrap();
        std::fs::write(path("ca.key"), made.signing_key.serialize_pem()).unwrap();
        let config = json!({ "pebble": {
            "listenAddress": format!("{ip}:14000"),
            "managementListenAddress": format!("{ip}:15000"),
            "certificate": path("ca.crt"),
            "privateKey": path("ca.key"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        std::fs::write(path("pebble.json"), config.to_string()).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let names = format!("{ip}:8053");
        let manage = format!("{ip}:8055");
        let mut resolver = Command::new("/usr/bin/pebble-challtestsrv");
        resolver.args(["-defaultIPv4", &ip.to_string(), "-defaultIPv6", "", "-dns01", &names]);
        resolver.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", &manage]);
        let mut pebble = Command::new("/usr/bin/pebble");
        pebble.args(["-dnsserver", &names, "-config", path("pebble.json").to_str().unwrap()]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").envs(vars.iter().copied());
        let mut processes = Vec::new();
        for command in [&mut resolver, &mut pebble] {
            command.stdin(Stdio::null()).stderr(Stdio::null());
            processes.push(command.stdout(log.try_clone().unwrap()).spawn().unwrap());
        }
        let ca = Self { ip, folder, processes };
        for port in [8055, 14000, 15000] {
            ca.is_there(port).await;
        }
        Some(ca)
    }

    async fn is_there(&self, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect((self.ip, port)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}:{port}", self.ip);
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How many orders it took. It refuses one nonce in twenty, so a request may come twice.
    fn orders(&self) -> usize {
        std::fs::read_to_string(self.path("log")).unwrap().matches("Added order ").count()
    }

    /// Lets `host` lead to `ip`.
    async fn lead(&self, host: &str, ip: &str) {
        let body = json!({ "host": format!("{host}."), "addresses": [ip] }).to_string();
        let mut stream = TcpStream::connect((self.ip, 8055)).await.unwrap();
        let head = format!("POST /add-a HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(" 200 OK"), "{answer}");
    }

    fn trusting(root: CertificateDer<'static>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into()
    }

    /// The root that its certificates lead to.
    async fn root(&self) -> CertificateDer<'static> {
        let connector = Self::trusting(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap());
        let stream = TcpStream::connect((self.ip, 15000)).await.unwrap();
        let mut stream = connector
            .connect(ServerName::from(std::net::IpAddr::V4(self.ip)), stream)
            .await
            .unwrap();
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer).await);
        CertificateDer::from_pem_slice(answer.as_bytes()).unwrap()
    }

    fn options(&self, challenge: Challenge, hosts: &[&str]) -> AcmeOptions {
        AcmeOptions {
            directory: format!("https://{}:14000/dir", self.ip),
            contact: vec!["mailto:ops@shop.example".to_owned()],
            challenge,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            roots: Some(self.path("ca.crt")),
            external: None,
            folder: self.path("state"),
            pace: Pace { look_ms: 300, ..Pace::default() },
            pulse: Pulse::default(),
        }
    }

    /// The file that is kept for `host`.
    fn kept(&self, host: &str) -> PathBuf {
        let ca = std::fs::read_dir(self.path("state")).unwrap().next().unwrap().unwrap();
        ca.path().join(format!("{host}.pem"))
    }
}

/// An edge that gets its certificates.
struct Edged {
    edge: Edge,
    events: mpsc::Receiver<Event>,
    tracker: TaskTracker,
    _routes: watch::Sender<Arc<Routes>>,
}

impl Edged {
    /// Where the CA looks, or else at any free ports.
    async fn start(ca: &Ca, acme: AcmeOptions, is_where_the_ca_looks: bool) -> Self {
        let at = |port| match is_where_the_ca_looks {
            true => SocketAddr::from((ca.ip, port)),
            false => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        let tls = TlsOptions { acme: Some(acme), ..TlsOptions::at(at(5001)) };
        let options = Options {
            public: at(5002),
            front: Front { tls: Some(tls), ..Front::default() },
            internal: std::collections::BTreeMap::new(),
            resolve: Resolve::default(),
            limits: Limits::default(),
            policy: Policy::default(),
            watched: Default::default(),
        };
        let (routes, watched) = watch::channel(Arc::new(Routes::default()));
        let (sender, events) = mpsc::channel(100);
        let edge = Edge::bind(options, watched, Arc::new(SystemClock::start()), sender);
        let (edge, tracker) = (edge.await.unwrap(), TaskTracker::new());
        edge.run(&tracker);
        Self { edge, events, tracker, _routes: routes }
    }

    /// The next thing that is told about certificates.
    async fn told(&mut self) -> Event {
        loop {
            let event =
                timeout(Duration::from_secs(60), self.events.recv()).await.unwrap().unwrap();
            if event.kind == EventKind::Certificate {
                return event;
            }
        }
    }

    /// The certificate that a client of `host` is shown, when the CA's root vouches for it.
    async fn shown(&self, ca: &Ca, host: &str) -> Option<CertificateDer<'static>> {
        let connector = Ca::trusting(ca.root().await);
        let stream = TcpStream::connect(self.edge.secure().unwrap()).await.unwrap();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let stream = connector.connect(host, stream).await.ok()?;
        Some(stream.get_ref().1.peer_certificates()?[0].clone().into_owned())
    }

    async fn stop(self) {
        self.edge.stop(Duration::from_secs(1)).await;
        self.tracker.close();
        timeout(Duration::from_secs(2), self.tracker.wait()).await.unwrap();
    }
}

async fn issues(challenge: Challenge) {
    let Some(ca) = Ca::start(&[]).await else { return };
    let options = ca.options(challenge, &["shop.example", "www.shop.example"]);
    let mut edged = Edged::start(&ca, options.clone(), true).await;
    for _ in 0..2 {
        let told = edged.told().await;
        assert!(told.message.starts_with("the CA gave a certificate for "), "{}", told.message);
    }
    let first = edged.shown(&ca, "shop.example").await.expect("it is vouched for");
    assert!(edged.shown(&ca, "www.shop.example").await.is_some());
    assert!(edged.shown(&ca, "else.example").await.is_none());
    let origins: Vec<Origin> =
        edged.edge.certificates().all().into_iter().map(|held| held.origin).collect();
    assert_eq!(origins, ["shop.example", "www.shop.example"].map(|h| Origin::Acme(h.to_owned())));
    assert_eq!(ca.orders(), 2);
    edged.stop().await;

    // A restart asks for nothing and shows the same.
    let edged = Edged::start(&ca, options, true).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(edged.shown(&ca, "shop.example").await, Some(first));
    assert_eq!(ca.orders(), 2);
    edged.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_looks_at_a_page_gives_a_certificate_that_a_restart_keeps() {
    issues(Challenge::Http01).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_looks_at_tls_gives_a_certificate_that_a_restart_keeps() {
    issues(Challenge::TlsAlpn01).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_before_it_ends_and_without_a_gap() {
    let Some(ca) = Ca::start(&[]).await else { return };
    let options = ca.options(Challenge::Http01, &["shop.example"]);
    let mut edged = Edged::start(&ca, options.clone(), true).await;
    edged.told().await;
    edged.stop().await;
    // The same, got 80 of its 90 days ago.
    let kept = ca.kept("shop.example");
    let mut params = rcgen::CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    let real = linkflow_edge::read(&std::fs::read(&kept).unwrap(), &std::fs::read(&kept).unwrap());
    let began = i64::try_from(real.unwrap().about.begins.0 / 1_000).unwrap();
    let day = Duration::from_secs(86_400);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let began = epoch + Duration::from_secs(u64::try_from(began).unwrap());
    (params.not_before, params.not_after) = (began - day * 80, began + day * 10);
    let key = rcgen::KeyPair::generate().unwrap();
    let old = params.self_signed(&key).unwrap();
    std::fs::write(&kept, format!("{}{}", key.serialize_pem(), old.pem())).unwrap();

    let mut edged = Edged::start(&ca, options, true).await;
    assert_eq!(edged.edge.certificates().all().len(), 1, "the old one is shown until then");
    let told = edged.told().await;
    // The old one is told of first, or the new one is there already.
    let told = if told.message.contains("ends in") { edged.told().await } else { told };
    assert!(told.message.starts_with("the CA gave a certificate"), "{}", told.message);
    assert!(edged.shown(&ca, "shop.example").await.is_some());
    assert_eq!(ca.orders(), 2);
    edged.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_host_takes_no_other_with_it_and_is_not_tried_again_at_once() {
    let Some(ca) = Ca::start(&[]).await else { return };
    ca.lead("away.example", "127.63.0.1").await;
    let options = ca.options(Challenge::Http01, &["away.example", "shop.example"]);
    let mut edged = Edged::start(&ca, options.clone(), true).await;
    let told = edged.told().await;
    assert_eq!(told.level, Level::Warning);
    assert!(told.message.starts_with("no certificate for away.example: "), "{}", told.message);
    assert!(told.message.contains("127.63.0.1"), "the CA's own words: {}", told.message);
    assert!(
        told.message.contains("the next try is in 15 minutes")
            || told.message.contains("the next try is in 16 minutes"),
        "{}",
        told.message
    );
    let told = edged.told().await;
    assert!(told.message.contains("gave a certificate for shop.example"), "{}", told.message);
    edged.stop().await;
    assert_eq!(ca.orders(), 2);

    // A restart does not forget that it was refused.
    let edged = Edged::start(&ca, options, true).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ca.orders(), 2);
    edged.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_at_once_one_orders_and_all_have_the_certificate() {
    // The CA looks at nothing here: what is looked at is who orders.
    let Some(ca) = Ca::start(&[("PEBBLE_VA_ALWAYS_VALID", "1")]).await else { return };
    let options = ca.options(Challenge::Http01, &["shop.example"]);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(Edged::start(&ca, options.clone(), false).await);
    }
    let begun = Instant::now();
    while !all.iter().all(|edged| edged.edge.certificates().all().len() == 1) {
        assert!(begun.elapsed() < Duration::from_secs(60), "some have none");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ca.orders(), 1);
    for edged in all {
        edged.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_is_away_is_waited_for_and_said_so() {
    let Some(mut ca) = Ca::start(&[]).await else { return };
    let mut options = ca.options(Challenge::Http01, &["shop.example"]);
    options.pace.retry_ms = 300;
    let pebble = ca.processes.last_mut().unwrap();
    drop(pebble.kill());
    drop(pebble.wait());
    let mut edged = Edged::start(&ca, options, true).await;
    let told = edged.told().await;
    assert!(told.message.contains("the CA cannot be reached"), "{}", told.message);
    let told = edged.told().await;
    assert!(told.message.contains("the next try is in"), "it goes on trying: {}", told.message);
    edged.stop().await;
}
