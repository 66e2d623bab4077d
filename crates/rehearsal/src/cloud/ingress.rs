//! A provider's ingress: one port for all its public hosts, in front of the processes.
//!
//! It passes requests on as they are, streams bodies and trailers, passes upgrades, and never tries twice.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use linkflow_model::ServiceName;
use tokio::io::copy_bidirectional;
use tokio::time::{Instant, sleep};

use super::door::Wire;
use super::site::{Blank, Route, Site, Target, Vendor};
use super::trouble::Trouble;

type Outgoing = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// The names that HTTP/1.1 means for one hop only.
/// How long a request waits for an app that it wakes.
const WAKES_WITHIN: Duration = Duration::from_secs(10);
const WAKE_LOOK: Duration = Duration::from_millis(20);

const ONE_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Marks an answer that is the ingress's own.
#[derive(Clone, Copy)]
struct Page;

/// One provider's ingress.
pub(crate) struct Ingress {
    site: Arc<Site>,
    vendor: Arc<dyn Vendor>,
    by_http1: Client<HttpConnector, Outgoing>,
    by_http2: Client<HttpConnector, Outgoing>,
}

impl Ingress {
    pub(crate) fn new(site: Arc<Site>, vendor: Arc<dyn Vendor>) -> Self {
        let client = |http2_only| {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            let mut builder = Client::builder(TokioExecutor::new());
            builder.http2_only(http2_only).retry_canceled_requests(false).set_host(false);
            // Shorter than any app's own patience, so that a pooled connection is not closed under a request.
            builder
                .pool_timer(hyper_util::rt::TokioTimer::new())
                .pool_idle_timeout(Duration::from_secs(2));
            builder.build(connector)
        };
        Self { site, vendor, by_http1: client(false), by_http2: client(true) }
    }

    /// Serves one connection. `entrance`: what it is for, whatever host its requests name.
    pub(crate) async fn serve(self: Arc<Self>, wire: Wire, entrance: Option<Arc<str>>) {
        let service = service_fn(move |request| {
            let (ingress, entrance) = (Arc::clone(&self), entrance.clone());
            async move {
                let Some(entrance) = entrance else {
                    return Ok(ingress.carry(request, None).await);
                };
                let response = ingress.carry(request, Some(&entrance)).await;
                // A way in for bytes has no pages of its own: where an app would not be reached, it ends.
                let own = response.extensions().get::<Page>().is_some();
                if own {
                    Err(io::Error::from(io::ErrorKind::ConnectionAborted))
                } else {
                    Ok(response)
                }
            }
        });
        let mut connection = auto::Builder::new(TokioExecutor::new());
        connection.http2().max_concurrent_streams(1_000);
        // A connection that breaks is its client's affair.
        connection.serve_connection_with_upgrades(TokioIo::new(wire), service).await.ok();
    }

    /// Carries one request, with whatever is wrong now.
    async fn carry(
        &self,
        request: Request<Incoming>,
        entrance: Option<&str>,
    ) -> Response<Outgoing> {
        let host = host_of(&request);
        let faults = &self.site.faults;
        let find = || {
            let route = self.vendor.route(entrance.unwrap_or(&host));
            let service = match &route {
                Route::Unknown => None,
                Route::Idle(service) | Route::Waking(service) => service.clone(),
                Route::To(target) => target.service.clone(),
            };
            (route, service)
        };
        let (mut route, mut service) = find();
        self.site.count(service.as_ref());
        let patience = Instant::now() + WAKES_WITHIN;
        while matches!(route, Route::Waking(_)) && Instant::now() < patience {
            sleep(WAKE_LOOK).await;
            (route, service) = find();
        }
        while faults.any(service.as_ref(), Trouble::freezes) {
            faults.outlast(service.as_ref(), Trouble::freezes).await;
            // Much may have changed meanwhile.
            (route, service) = find();
        }
        if let Some(ms) = faults
            .find(service.as_ref(), |t| if let Trouble::Slow { ms } = t { Some(ms) } else { None })
        {
            sleep(Duration::from_millis(ms)).await;
        }
        if faults.any(service.as_ref(), |t| matches!(t, Trouble::Refusing)) {
            return self.blank(Blank::NoInstance);
        }
        let Route::To(target) = route else {
            let down = faults.any(service.as_ref(), |t| matches!(t, Trouble::AppDown));
            return self.blank(match route {
                Route::Unknown => Blank::UnknownHost,
                // The vendor still believes that its instance is there.
                _ if down => Blank::NoAnswer,
                _ => Blank::NoInstance,
            });
        };
        let errors = faults.find(service.as_ref(), |t| {
            if let Trouble::Errors { status } = t { Some(status) } else { None }
        });
        if let Some(status) = errors.filter(|_| !is_health(&target, request.uri())) {
            if self.site.dice.throw().is_multiple_of(2) {
                drop(self.forward(&target, &host, request).await);
            }
            return plain(status, "text/plain", "the app failed\n".to_owned());
        }
        let response = self.forward(&target, &host, request).await;
        faults.outlast(service.as_ref(), Trouble::freezes).await;
        response.map(|body| {
            Gated { body, site: Arc::clone(&self.site), service, waiting: None }.boxed_unsync()
        })
    }

    /// Passes a request on to its app and the answer back.
    async fn forward(
        &self,
        target: &Target,
        host: &str,
        mut request: Request<Incoming>,
    ) -> Response<Outgoing> {
        let Some(address) = target.address else { return self.blank(Blank::NoAnswer) };
        let upgrade = wanted_upgrade(request.headers());
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let by_http2 = request.version() == Version::HTTP_2 && target.http2;
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
        let Ok(uri) = format!("http://{address}{path}").parse::<Uri>() else {
            return self.blank(Blank::NoAnswer);
        };
        head.uri = uri;
        head.version = if by_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        strip(&mut head.headers, upgrade.as_ref());
        if let Ok(host) = HeaderValue::from_str(host) {
            head.headers.insert(HeaderName::from_static("x-forwarded-host"), host.clone());
            if by_http2 {
                head.headers.remove(HOST)
            } else {
                head.headers.insert(HOST, host)
            };
        }
        head.headers.insert(
            HeaderName::from_static("x-forwarded-proto"),
            HeaderValue::from_static("https"),
        );
        let outgoing = Request::from_parts(head, body.map_err(Into::into).boxed_unsync());
        let client = if by_http2 { &self.by_http2 } else { &self.by_http1 };
        let mut response = match client.request(outgoing).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(provider = %self.site.name, host, %error, "the app did not answer");
                return self.blank(Blank::NoAnswer);
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.join(client_side, hyper::upgrade::on(&mut response));
            strip(response.headers_mut(), upgrade.as_ref());
        } else {
            strip(response.headers_mut(), None);
        }
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }

    /// Joins two upgraded connections until either ends.
    fn join(&self, client: Option<hyper::upgrade::OnUpgrade>, app: hyper::upgrade::OnUpgrade) {
        self.site.tasks.start(async move {
            let Some(client) = client else { return };
            if let (Ok(client), Ok(app)) = (client.await, app.await) {
                copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(app)).await.ok();
            }
        });
    }

    fn blank(&self, why: Blank) -> Response<Outgoing> {
        let (status, kind, body) = self.vendor.page(why);
        let mut response = plain(status, kind, body);
        response.extensions_mut().insert(Page);
        response
    }
}

fn plain(status: u16, kind: &'static str, text: String) -> Response<Outgoing> {
    let mut response =
        Response::new(Full::new(Bytes::from(text)).map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The host that a request is for, without its port, in lower case.
fn host_of<B>(request: &Request<B>) -> String {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let named = authority
        .or_else(|| request.headers().get(HOST).and_then(|h| h.to_str().ok()))
        .unwrap_or_default();
    named.rsplit_once(':').map_or(named, |(host, _)| host).to_ascii_lowercase()
}

fn is_health(target: &Target, uri: &Uri) -> bool {
    target.health.as_deref() == Some(uri.path())
        || uri.path().starts_with("/grpc.health.v1.Health/")
}

/// The protocol that a request asks to be upgraded to.
fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(CONNECTION)?.to_str().ok()?.to_ascii_lowercase().contains("upgrade");
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

/// Takes away what is meant for one hop only, but keeps a wanted upgrade and `te: trailers`.
fn strip(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(',').map(|n| n.trim().to_ascii_lowercase()).collect::<Vec<_>>())
        .collect();
    let trailers =
        headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in named.iter().map(String::as_str).chain(ONE_HOP).chain(["te"]) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
}

/// A body that stalls while its service hangs.
struct Gated {
    body: Outgoing,
    site: Arc<Site>,
    service: Option<ServiceName>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Body for Gated {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.waiting.is_none() && self.site.faults.any(self.service.as_ref(), Trouble::freezes) {
            let (site, service) = (Arc::clone(&self.site), self.service.clone());
            self.waiting = Some(Box::pin(async move {
                site.faults.outlast(service.as_ref(), Trouble::freezes).await;
            }));
        }
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::OnceLock;

    use async_trait::async_trait;
    use linkflow_model::clock::SystemClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::cloud::answer::{Answer, Call};
    use crate::cloud::dice::Dice;
    use crate::cloud::door::Door;
    use crate::cloud::process::Runner;
    use crate::cloud::registry::Images;
    use crate::cloud::site::{Counts, InstanceView};
    use crate::cloud::tasks::Tasks;
    use crate::cloud::trouble::Faults;

    /// Sends every host to one address.
    struct Straight(SocketAddr);

    #[async_trait]
    impl Vendor for Straight {
        async fn answer(self: Arc<Self>, _: Call) -> Answer {
            Answer::empty(404)
        }

        fn limited(&self) -> Answer {
            Answer::empty(429)
        }

        fn route(&self, host: &str) -> Route {
            let target = Target { service: None, address: Some(self.0), health: None, http2: true };
            if host == "idle" { Route::Idle(None) } else { Route::To(target) }
        }

        fn page(&self, _: Blank) -> (u16, &'static str, String) {
            (503, "text/plain", "blank".to_owned())
        }

        fn instances(&self) -> Vec<InstanceView> {
            Vec::new()
        }
    }

    fn site(tasks: &Tasks) -> Arc<Site> {
        let clock = Arc::new(SystemClock::start());
        let none = std::path::PathBuf::from("/nonexistent");
        let runner = Runner::start(none.clone(), none.clone(), clock.clone(), tasks.clone());
        Arc::new(Site {
            name: "test".parse().unwrap(),
            token: String::new(),
            host_suffix: String::new(),
            faults: Faults::none(),
            images: Arc::new(Images::of_the_example(crate::cloud::login(1))),
            dice: Dice::new(1, "test"),
            clock,
            tasks: tasks.clone(),
            runner: Arc::new(runner.unwrap()),
            logs: none,
            counts: Counts::default(),
            processes: std::sync::Mutex::default(),
            front: OnceLock::new(),
            entrances: std::sync::Mutex::default(),
        })
    }

    /// An ingress before one app, whose first connection is given back once it came.
    async fn before_an_app() -> (Tasks, Arc<Door>, TcpListener) {
        let tasks = Tasks::default();
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = Arc::new(Straight(app.local_addr().unwrap()));
        let ingress = Arc::new(Ingress::new(site(&tasks), vendor));
        let serve = move |wire| Arc::clone(&ingress).serve(wire, None);
        let door = Door::open(&tasks, serve).unwrap();
        (tasks, door, app)
    }

    async fn read_until(stream: &mut TcpStream, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn an_upgraded_connection_carries_bytes_both_ways_until_the_door_is_shut() {
        let (tasks, door, app) = before_an_app().await;
        let mut visitor = TcpStream::connect(door.address()).await.unwrap();
        let request =
            "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";
        visitor.write_all(request.as_bytes()).await.unwrap();
        let (mut served, _) = app.accept().await.unwrap();
        let head = read_until(&mut served, "\r\n\r\n").await;
        assert!(head.contains("upgrade: echo") && head.contains("x-forwarded-host: a"), "{head}");
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        served.write_all(switch.as_bytes()).await.unwrap();
        let head = read_until(&mut visitor, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: echo"), "{head}");

        visitor.write_all(b"ping.").await.unwrap();
        assert_eq!(read_until(&mut served, ".").await, "ping.");
        served.write_all(b"pong.").await.unwrap();
        assert_eq!(read_until(&mut visitor, ".").await, "pong.");
        door.set_open(false);
        let cut = visitor.read_u8().await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::ConnectionReset);
        tasks.stop();
    }

    #[tokio::test]
    async fn a_body_is_passed_on_while_it_comes_and_a_request_is_sent_once() {
        let (tasks, door, app) = before_an_app().await;
        let mut visitor = TcpStream::connect(door.address()).await.unwrap();
        let request =
            "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
        visitor.write_all(request.as_bytes()).await.unwrap();
        let (mut served, _) = app.accept().await.unwrap();
        assert!(read_until(&mut served, "one\r\n").await.starts_with("POST /x HTTP/1.1"));
        visitor.write_all(b"3\r\ntwo\r\n").await.unwrap();
        read_until(&mut served, "two\r\n").await;
        // The app dies in the middle of it.
        drop(served);
        assert!(read_until(&mut visitor, "blank").await.starts_with("HTTP/1.1 503"));
        let again = tokio::time::timeout(Duration::from_millis(100), app.accept()).await;
        assert!(again.is_err(), "it is not tried again");
        tasks.stop();
    }

    #[test]
    fn what_is_meant_for_one_hop_is_taken_away() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers, None);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["accept", "te"]);
    }

    #[test]
    fn a_host_is_read_without_its_port() {
        let request =
            Request::builder().uri("/x").header("host", "API.fly.dev:443").body(()).unwrap();
        assert_eq!(host_of(&request), "api.fly.dev");
    }
}
