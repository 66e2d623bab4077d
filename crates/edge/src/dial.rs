//! Makes connections to targets: names, TCP, TLS, and the HTTP handshake.

use std::error::Error;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Uri;
use hyper::client::conn::http2;
use hyper::service::Service;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::address::Place;
use crate::body::Outgoing;
use crate::http1::{Connection, HEAD_MOST};
use crate::steer::Failure;

#[cfg(test)]
mod tests;

pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Tls = TowerToHyperService<HttpsConnector<HttpConnector>>;

/// What may be under way on one HTTP/2 stream and connection without being read, in bytes.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);
/// How often an HTTP/2 connection with open streams is asked whether it is alive, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));

/// Runs what hyper starts, so that it has an owner.
#[derive(Clone)]
pub(crate) struct Exec(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Exec
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Connects to targets.
pub(crate) struct Dialer {
    plain: TowerToHyperService<HttpConnector>,
    /// With TLS, speaking HTTP/1.1 and HTTP/2. Made when first needed: it reads the machine's certificates.
    tls: [OnceLock<Result<Tls, String>>; 2],
    /// Whom to trust, instead of whom the machine trusts.
    trusted: Option<RootCertStore>,
    tcp: HttpConnector,
    connect: Duration,
    pub(crate) tasks: TaskTracker,
}

impl Dialer {
    pub(crate) fn new(connect: Duration, tasks: TaskTracker) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_connect_timeout(Some(connect));
        let plain = TowerToHyperService::new(tcp.clone());
        let tls = [OnceLock::new(), OnceLock::new()];
        Self { plain, tls, trusted: None, tcp, connect, tasks }
    }

    /// A fresh connection for requests one after the other.
    pub(crate) async fn http1(&self, place: &Place) -> Result<Box<Connection>, Failure> {
        Ok(Box::new(Connection::new(self.connect(place).await?)))
    }

    /// A fresh connection for many requests at once. It ends by itself when the target stops answering pings.
    pub(crate) async fn http2(
        &self,
        place: &Place,
    ) -> Result<http2::SendRequest<Outgoing>, Failure> {
        let io = self.connect(place).await?;
        let made = http2::Builder::new(Exec(self.tasks.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_header_list_size(u32::try_from(HEAD_MOST).unwrap_or(u32::MAX))
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .handshake(io);
        let made = timeout(self.connect, made).await.map_err(|_| too_slow(self.connect))?;
        let (sender, connection) = made.map_err(|e| unreachable_because(&e))?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection to a target ended");
            }
        });
        Ok(sender)
    }

    async fn connect(&self, place: &Place) -> Result<Stream, Failure> {
        let made = async {
            if place.is_tls() {
                let tls = self.tls[usize::from(place.http2)].get_or_init(|| self.tls(place.http2));
                let tls = tls.as_ref().map_err(|why| Failure::Unreachable(why.clone()))?;
                tls.call(place.dial.clone()).await.map_err(|e| failure_of(&*e))
            } else {
                let stream = Service::<Uri>::call(&self.plain, place.dial.clone()).await;
                stream.map(MaybeHttpsStream::Http).map_err(|e| failure_of(&e))
            }
        };
        // A name and a TLS handshake take a few more round trips than TCP alone.
        let limit = if place.is_tls() { self.connect * 3 } else { self.connect * 2 };
        timeout(limit, made).await.map_err(|_| too_slow(limit))?
    }

    fn tls(&self, http2: bool) -> Result<Tls, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("no TLS: {e}"))?;
        let config = match &self.trusted {
            Some(roots) => config.with_root_certificates(roots.clone()),
            None => config
                .with_native_roots()
                .map_err(|e| format!("this machine has no certificates to trust: {e}"))?,
        };
        let config = config.with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        let connector = if http2 {
            builder.enable_http2().wrap_connector(self.tcp.clone())
        } else {
            builder.enable_http1().wrap_connector(self.tcp.clone())
        };
        Ok(TowerToHyperService::new(connector))
    }
}

fn too_slow(limit: Duration) -> Failure {
    Failure::Unreachable(format!("no connection in {} ms", limit.as_millis()))
}

fn unreachable_because(error: &(dyn Error + 'static)) -> Failure {
    Failure::Unreachable(innermost(error).to_string())
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner
}

/// What an error while connecting means.
fn failure_of(error: &(dyn Error + 'static)) -> Failure {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                    return Failure::Refused;
                }
                io::ErrorKind::TimedOut => {
                    return Failure::Unreachable("no connection in time".to_owned());
                }
                _ => {}
            }
        }
        at = error.source();
    }
    Failure::Unreachable(innermost(error).to_string())
}
