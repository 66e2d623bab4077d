//! Listens, and serves each connection until it ends or the edge stops.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Limits;
use crate::dial::Exec;
use crate::framing::{Framed, Framing};
use crate::gather::Gathered;
use crate::proxy::{Client, Entrance, Proxy};
use crate::proxy_protocol;
use crate::rest::{Lent, Talk};
use crate::seldom::Seldom;
use crate::threads::Threads;
use crate::tls::Secure;
use crate::voice::Voice;

/// Streams that one HTTP/2 client may have open.
const STREAMS: u32 = 256;
/// How often an HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// How long a connection without a request is kept when the edge stops, and how often it is looked whether one came.
const FRESH: Duration = Duration::from_secs(1);
const HEARD: Duration = Duration::from_millis(5);

/// How often it is looked whether a connection is idle, and for how long it is before hyper gives it back.
const LOOK: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(2);

/// How many headers hyper takes when it is not told.
const HEADERS_USUAL: usize = 100;

/// What a listener is for.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) entrance: Entrance,
    /// Whether TLS is spoken.
    pub(crate) secure: bool,
}

/// What all listeners share.
pub(crate) struct Server {
    proxy: Arc<Proxy>,
    threads: Arc<Threads>,
    tls: Option<Arc<Secure>>,
    /// Whether connections of those in front begin with the PROXY protocol.
    proxied: bool,
    /// How a connection begins.
    http: auto::Builder<Exec>,
    /// How one goes on that has rested.
    http1: auto::Builder<Exec>,
    /// Cancelled when no new connection is wanted and the ones there are to finish.
    stop: CancellationToken,
    connections: AtomicUsize,
}

/// A place among the connections, and among those of one thread.
struct Seat {
    server: Arc<Server>,
    thread: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.server.connections.fetch_sub(1, Relaxed);
        self.server.threads.give_back(self.thread);
    }
}

impl Server {
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        threads: Arc<Threads>,
        tls: Option<Arc<Secure>>,
        proxied: bool,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (http, http1) = (builder(&proxy), builder(&proxy).http1_only());
        let connections = AtomicUsize::new(0);
        Arc::new(Self { proxy, threads, tls, proxied, http, http1, stop, connections })
    }

    /// Accepts connections until the edge stops; then those that had already come in.
    pub(crate) async fn listen(self: Arc<Self>, listener: TcpListener, way: Way) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, from)) => self.welcome(stream, from, &way),
                Err(error) => {
                    // Out of file descriptors, most likely: some are given back soon.
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        while let Some(Ok((stream, from))) = listener.accept().now_or_never() {
            self.welcome(stream, from, &way);
        }
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, from: SocketAddr, way: &Way) {
        let Some((thread, runtime)) = self.threads.take() else { return };
        let before = self.connections.fetch_add(1, Relaxed);
        let seat = Seat { server: Arc::clone(self), thread };
        let most = self.proxy.limits.connections;
        // Some more are told so; beyond those, not even that.
        if before >= most + most / 8 + 16 {
            return;
        }
        // It is watched by the runtime of its thread from here on, and no more by this one.
        let Ok(stream) = stream.into_std() else { return };
        let opening = Arc::clone(self).open(stream, from.ip(), way.clone(), before >= most, seat);
        self.proxy.clients.spawn_on(opening, runtime);
    }

    /// Hears what comes before HTTP, then serves.
    async fn open(
        self: Arc<Self>,
        stream: std::net::TcpStream,
        from: IpAddr,
        way: Way,
        full: bool,
        seat: Seat,
    ) {
        let Ok(mut stream) = TcpStream::from_std(stream) else { return };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection stays with Nagle's algorithm");
        }
        let limit = Instant::now() + Duration::from_millis(self.proxy.limits.handshake_ms);
        let trust = &self.proxy.gate.trust;
        let public = matches!(way.entrance, Entrance::Public);
        let in_front = public && trust.has(from.to_canonical());
        let mut ip = from;
        if self.proxied && in_front {
            match self.in_time(limit, Box::pin(proxy_protocol::read(&mut stream))).await {
                Some(said) => ip = said.map_or(from, |said| said.ip()),
                None => return,
            }
        }
        // Whoever calls over an internal listener is a service of the stack.
        let trusted = !public || trust.has(ip.to_canonical());
        let framing = Framing::default();
        let client = Client::new(ip, way.entrance, framing, trusted, way.secure);
        let Some(tls) = self.tls.as_ref().filter(|_| way.secure) else {
            return self.serve(stream, client, full, seat).await;
        };
        match self.in_time(limit, Box::pin(tls.open(stream))).await {
            Some(Some(stream)) => Box::pin(self.serve(stream, client, full, seat)).await,
            Some(None) => {}
            None => tls.failed(),
        }
    }

    /// What `step` gives, unless it fails or takes too long.
    async fn in_time<T>(
        &self,
        limit: Instant,
        step: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        match self.proxy.cut.run_until_cancelled(timeout_at(limit, step)).await? {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                debug!(%error, "a connection was not opened");
                None
            }
            Err(_) => {
                debug!("a connection was not opened in time");
                None
            }
        }
    }

    async fn serve<S>(self: Arc<Self>, stream: S, client: Client, full: bool, _seat: Seat)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let _open = self.proxy.watch.meter.connected();
        let client = Arc::new(client);
        // Counted apart for each connection: a count that all threads change is slow.
        let proxy = Arc::new(Arc::clone(&self.proxy));
        let asked = Arc::clone(&client);
        let service = service_fn(move |request: Request<Incoming>| {
            let (proxy, client) = (Arc::clone(&proxy), Arc::clone(&asked));
            async move {
                if full {
                    let _turn = client.talk.turn();
                    let voice = Voice::of(request.headers(), None);
                    let why = "too many connections at once";
                    let mut sorry = voice.say(StatusCode::SERVICE_UNAVAILABLE, None, why);
                    close(sorry.headers_mut());
                    return Ok::<_, Infallible>(sorry);
                }
                Ok(proxy.serve(request, client).await)
            }
        });
        let idle = Duration::from_millis(self.proxy.limits.client_idle_ms);
        let patience = if full { idle.min(Duration::from_secs(1)) } else { idle };
        let (mut stream, mut ahead) = (Framed::new(stream, client.framing.clone()), Vec::new());
        let mut http = &self.http;
        loop {
            let (lent, home) = Lent::new(stream, ahead, Arc::clone(&client.talk));
            let io = Gathered::new(TokioIo::new(lent));
            let connection = Box::pin(http.serve_connection_with_upgrades(io, service.clone()));
            if !self.converse(connection, &client, patience).await {
                return;
            }
            let Some(back) = home.take() else { return };
            stream = back;
            let Some(heard) = self.hear(&mut stream, patience.saturating_sub(REST)).await else {
                return;
            };
            (ahead, http) = (heard, &self.http1);
        }
    }

    /// Serves a connection until it ends, or has nothing to say for a while: then the answer is yes.
    async fn converse<C>(
        &self,
        mut connection: Pin<Box<C>>,
        client: &Client,
        patience: Duration,
    ) -> bool
    where
        C: GracefulConnection<Error: Display>,
    {
        let signal = std::pin::pin!(Seldom::new(self.signal(client, patience)));
        let ended = match select(connection.as_mut(), signal).await {
            Either::Left((ended, _)) => Some(ended),
            Either::Right((Signal::Leave, _)) => return false,
            Either::Right((Signal::Rest, _)) => return true,
            Either::Right((Signal::Finish, _)) => {
                connection.as_mut().graceful_shutdown();
                self.proxy.cut.run_until_cancelled(connection).await
            }
        };
        if let Some(Err(error)) = ended {
            debug!(%error, "a client's connection ended");
        }
        false
    }

    /// What ends a connection from outside, or lets it rest.
    async fn signal(&self, client: &Client, patience: Duration) -> Signal {
        let (talk, framing) = (&client.talk, &client.framing);
        let ends = async {
            tokio::select! {
                () = self.finish(talk) => Signal::Finish,
                () = self.proxy.cut.cancelled() => Signal::Leave,
            }
        };
        let mut ends = std::pin::pin!(ends);
        let every = LOOK.min(patience / 4).max(Duration::from_millis(1));
        let (mut since, mut begun) = (Instant::now(), talk.begun());
        loop {
            if let Ok(signal) = timeout(every, ends.as_mut()).await {
                return signal;
            }
            if talk.is_busy() || talk.begun() != begun || !framing.is_http1() {
                (since, begun) = (Instant::now(), talk.begun());
            } else if since.elapsed() >= patience {
                // Whoever says nothing, or dribbles, holds the connection no longer.
                return Signal::Leave;
            } else if since.elapsed() >= REST && framing.is_quiet() {
                return Signal::Rest;
            }
        }
    }

    /// The next words of a client that rests; nothing when it leaves, says nothing for too long, or the edge stops.
    async fn hear<S>(&self, stream: &mut S, patience: Duration) -> Option<Vec<u8>>
    where
        S: AsyncRead + Unpin,
    {
        let _rests = self.proxy.watch.meter.rests();
        let mut words = [0; 64];
        let heard = timeout(patience, stream.read(&mut words));
        let heard = self.stop.run_until_cancelled(heard).await?.ok()?.ok()?;
        words.get(..heard).filter(|words| !words.is_empty()).map(<[u8]>::to_vec)
    }
}

impl Server {
    /// Waits until a connection is to be closed because the edge stops. Whoever has just come in and has not said anything
    /// yet is heard first.
    async fn finish(&self, talk: &Talk) {
        self.stop.cancelled().await;
        let since = Instant::now();
        while talk.begun() == 0 && since.elapsed() < FRESH {
            sleep(HEARD).await;
        }
    }
}

/// What a connection is told.
enum Signal {
    /// To answer what has come, and no more.
    Finish,
    /// To end at once.
    Leave,
    /// To be kept without its buffers until more comes.
    Rest,
}

fn close(headers: &mut HeaderMap) {
    headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
}

fn builder(proxy: &Proxy) -> auto::Builder<Exec> {
    let Limits { header_bytes, headers, .. } = proxy.limits;
    let mut builder = auto::Builder::new(Exec(proxy.clients.clone()));
    // Not `pipeline_flush`: with it, an answer that closes the connection is lost when more requests have come behind.
    // How long a head may take is looked after in `Server::signal`, with one timer for many heads.
    builder.http1().header_read_timeout(None).max_buf_size(header_bytes.max(8 << 10));
    // To be told so costs hyper two allocations for each request.
    if headers != HEADERS_USUAL {
        builder.http1().max_headers(headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}
