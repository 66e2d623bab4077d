//! A provider in small: answers HTTP/1.1 and HTTP/2, and fails in the ways providers do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// How often each write was carried out, by whichever upstream.
pub(crate) type Ledger = Arc<Mutex<BTreeMap<String, u32>>>;

/// A provider in small.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) ways: Arc<Ways>,
    alive: CancellationToken,
    tasks: TaskTracker,
}

/// How it behaves, and what it saw.
#[derive(Default)]
pub(crate) struct Ways {
    pub(crate) name: &'static str,
    pub(crate) ledger: Ledger,
    /// Everything but the health page answers this; 0: as it should.
    pub(crate) status: AtomicU16,
    /// The health page answers this; 0: 200.
    pub(crate) health: AtomicU16,
    /// Milliseconds before every answer but the health page's.
    pub(crate) delay: AtomicU64,
    /// Milliseconds that it takes to wake when the first request comes; 0: it does not sleep.
    pub(crate) cold_start: AtomicU64,
    /// When it is awake; `None`: it sleeps.
    awake: Mutex<Option<Instant>>,
    /// Health checks that came.
    pub(crate) checks: AtomicU64,
    /// Connections are cut in place of an answer.
    pub(crate) cuts: std::sync::atomic::AtomicBool,
    /// Requests that came, without health checks.
    pub(crate) requests: AtomicU64,
    /// Requests whose client left before the answer.
    pub(crate) left: AtomicU64,
    /// Lets `/events` send its second event, `/wait` its answer.
    pub(crate) go: Notify,
    frozen: Mutex<Option<Vec<Waker>>>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.alive.cancel();
    }
}

impl Upstream {
    pub(crate) async fn start(name: &'static str, ledger: &Ledger) -> Self {
        let ways = Ways { name, ledger: Arc::clone(ledger), ..Ways::default() };
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::new(ways)).await
    }

    async fn start_at(address: SocketAddr, ways: Arc<Ways>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (alive, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, Arc::clone(&ways), alive.clone(), tasks.clone()));
        Self { address, ways, alive, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends at once, like a killed process: the listener and all connections are gone.
    pub(crate) async fn kill(&self) {
        self.alive.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Comes back at the same address.
    pub(crate) async fn restart(&mut self) {
        let again = Self::start_at(self.address, Arc::clone(&self.ways)).await;
        *self = again;
    }

    /// Stops like a stopped process: connections are accepted by the kernel, and nothing moves any more.
    pub(crate) fn freeze(&self) {
        self.ways.frozen.lock().unwrap().get_or_insert_default();
    }

    pub(crate) fn thaw(&self) {
        let wakers = self.ways.frozen.lock().unwrap().take();
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.ways.requests.load(Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    ways: Arc<Ways>,
    alive: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some(Ok((stream, _))) = alive.run_until_cancelled(listener.accept()).await {
        let (ways, alive) = (Arc::clone(&ways), alive.clone());
        tasks.spawn(async move {
            let cut = CancellationToken::new();
            let cutting = cut.clone();
            let io = TokioIo::new(Freezable { stream, ways: Arc::clone(&ways) });
            let service = service_fn(move |request| {
                let (ways, cutting) = (Arc::clone(&ways), cutting.clone());
                async move { Ok::<_, Infallible>(answer(request, ways, cutting).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            tokio::select! {
                ended = builder.serve_connection_with_upgrades(io, service) => drop(ended),
                () = alive.cancelled() => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// A connection on which nothing moves while its upstream is frozen.
struct Freezable {
    stream: TcpStream,
    ways: Arc<Ways>,
}

impl Freezable {
    fn is_frozen(&self, cx: &Context<'_>) -> bool {
        match &mut *self.ways.frozen.lock().unwrap() {
            Some(wakers) => {
                wakers.push(cx.waker().clone());
                true
            }
            None => false,
        }
    }
}

impl AsyncRead for Freezable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_frozen(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Freezable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_frozen(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Runs beside the test, and ends with it.
pub(crate) fn background<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    TaskTracker::new().spawn(task)
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

fn plain(status: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// `count` times `data`.
pub(crate) fn repeated(data: Bytes, count: usize) -> Body {
    let frames = futures_util::stream::iter((0..count).map(move |_| Ok(Frame::data(data.clone()))));
    BodyExt::boxed(StreamBody::new(frames))
}

/// Says whether the client left before the answer.
struct Unanswered(Option<Arc<Ways>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(ways) = self.0.take() {
            ways.left.fetch_add(1, Relaxed);
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    ways: Arc<Ways>,
    cut: CancellationToken,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let cold_start = Duration::from_millis(ways.cold_start.load(Relaxed));
    let awake = *ways.awake.lock().unwrap().get_or_insert_with(|| Instant::now() + cold_start);
    sleep_until(awake).await;
    if path == "/healthz" {
        ways.checks.fetch_add(1, Relaxed);
        let status = match ways.health.load(Relaxed) {
            0 => 200,
            other => other,
        };
        let mut response = plain(status, "well");
        response.headers_mut().insert("x-linkflow-release", HeaderValue::from_static("r7"));
        return response;
    }
    if path == "/grpc.health.v1.Health/Check" {
        return message(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), "0");
    }
    ways.requests.fetch_add(1, Relaxed);
    if *request.method() == Method::POST
        && let Some(id) = request.headers().get("x-id")
    {
        // Carried out before anything can go wrong with the answer.
        *ways.ledger.lock().unwrap().entry(id.to_str().unwrap().to_owned()).or_default() += 1;
    }
    let mut unanswered = Unanswered(Some(Arc::clone(&ways)));
    if ways.cuts.load(Relaxed) {
        cut.cancel();
        std::future::pending::<()>().await;
    }
    match ways.delay.load(Relaxed) {
        0 => {}
        delay => sleep(Duration::from_millis(delay)).await,
    }
    let response = match ways.status.load(Relaxed) {
        0 => page(request, &ways, &path, cut).await,
        status => plain(status, "sick"),
    };
    unanswered.0 = None;
    response
}

async fn page(
    request: Request<Incoming>,
    ways: &Arc<Ways>,
    path: &str,
    cut: CancellationToken,
) -> Response<Body> {
    match path {
        "/wait" => {
            ways.go.notified().await;
            plain(200, "waited")
        }
        "/headers" => {
            let lines = request.headers().iter();
            let text: String =
                lines.map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect();
            plain(200, text)
        }
        "/login" => {
            let mut response = plain(302, "");
            let to = format!("http://{}/login/form", request.headers()["host"].to_str().unwrap());
            response.headers_mut().insert("location", to.parse().unwrap());
            response
        }
        "/nothing" => plain(204, ""),
        "/sink" => {
            let mut body = request.into_body();
            let mut size = 0;
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => size += frame.data_ref().map_or(0, Bytes::len),
                    Err(_) => return plain(400, "broken"),
                }
            }
            plain(200, format!("{} took {size}", ways.name))
        }
        "/big" => Response::new(repeated(Bytes::from(vec![7; 64 << 10]), 4_096)),
        "/half" => half(cut),
        "/events" => events(ways),
        "/echo" => upgrade(request),
        "/test.Echo/Say" => {
            let message_in = request.into_body().collect().await.unwrap().to_bytes();
            message(message_in, "0")
        }
        "/test.Echo/Refuse" => {
            let mut response = plain(200, "");
            response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            response.headers_mut().insert("grpc-status", "14".parse().unwrap());
            response
        }
        "/test.Echo/Chat" => chat(request),
        _ => plain(200, ways.name),
    }
}

/// Half of the announced body, then the connection is cut.
fn half(cut: CancellationToken) -> Response<Body> {
    let frames = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"half"))) });
    let rest = futures_util::stream::once(async move {
        sleep(Duration::from_millis(20)).await;
        cut.cancel();
        std::future::pending().await
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames.chain(rest))));
    response.headers_mut().insert("content-length", HeaderValue::from_static("8"));
    response
}

/// One event at once, the second when it is let go.
fn events(ways: &Arc<Ways>) -> Response<Body> {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    let ways = Arc::clone(ways);
    drop(background(async move {
        let event = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
        if sender.send(event("data: one\n\n")).await.is_err() {
            return;
        }
        ways.go.notified().await;
        drop(sender.send(event("data: two\n\n")).await);
    }));
    let mut response = Response::new(stream(receiver));
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    response
}

pub(crate) fn stream(receiver: mpsc::Receiver<Result<Frame<Bytes>, io::Error>>) -> Body {
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    BodyExt::boxed(StreamBody::new(frames))
}

/// Changes to a protocol that says everything again.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    drop(background(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let mut io = TokioIo::new(upgraded);
        let mut buf = [0; 1024];
        while let Ok(read @ 1..) = io.read(&mut buf).await {
            if io.write_all(&buf[..read]).await.is_err() {
                return;
            }
        }
    }));
    let mut response = plain(101, "");
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", request.headers()["upgrade"].clone());
    response
}

/// A gRPC answer with trailers.
fn message(data: Bytes, status: &'static str) -> Response<Body> {
    let trailers =
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))]);
    let body = Full::new(data).map_err(|never| match never {});
    let mut response = Response::new(body.with_trailers(async { Some(Ok(trailers)) }).boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// Says again what it is told, piece by piece, and ends with trailers.
fn chat(request: Request<Incoming>) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(1);
    drop(background(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data()
                && sender.send(Ok(Frame::data(data))).await.is_err()
            {
                return;
            }
        }
        let ok =
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        drop(sender.send(Ok(Frame::trailers(ok))).await);
    }));
    let mut response = Response::new(stream(receiver));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
