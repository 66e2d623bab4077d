//! `PostgreSQL`: a login and a query, over a connection of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use linkflow_model::Secret;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_postgres::{Config, NoTls, error::SqlState};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Bad;
use super::clock::{Phase, Stopwatch};
use super::dial::{Dialer, unagreed};
use super::http::beside;
use crate::target::{Authority, Trust};

pub(super) async fn look(
    dialer: &Dialer,
    url: &Secret,
    query: &str,
    watch: &Stopwatch,
) -> Result<(), Bad> {
    // Those who write `verify-full` want what is otherwise not done for databases: the certificate to be right.
    let full = url.expose().contains("sslmode=verify-full");
    let text = url.expose().replace("sslmode=verify-full", "sslmode=require");
    // The error is not repeated: it may hold the password.
    let config: Config = text
        .parse()
        .map_err(|_| Bad::wrong("its address is not like `postgres://user:password@host/name`"))?;
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    match config.get_hosts().first() {
        Some(Host::Tcp(host)) => {
            let stream = dialer.tcp(&Authority { host: host.clone(), port }, watch).await?;
            if config.get_ssl_mode() == SslMode::Disable {
                return talk(stream, NoTls, &config, query, watch).await;
            }
            let trust = if full { Trust::Machine } else { Trust::Any };
            let (connector, noting) = dialer.connector(&[b"postgresql"], trust)?;
            let name = ServerName::try_from(host.clone())
                .map_err(|_| Bad::wrong(format!("`{host}` is no host")))?;
            let told = talk(stream, Tls { connector, name }, &config, query, watch).await;
            if let Some(certificate) = noting.shown() {
                watch.shown(certificate);
            }
            told
        }
        Some(Host::Unix(folder)) => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            let stream = watch.during(Phase::Connect, UnixStream::connect(path)).await;
            let stream = stream.map_err(|error| Bad::silent(format!("no connection: {error}")))?;
            talk(stream, NoTls, &config, query, watch).await
        }
        None => Err(Bad::wrong("its address has no host")),
    }
}

async fn talk<S, T>(
    stream: S,
    tls: T,
    config: &Config,
    query: &str,
    watch: &Stopwatch,
) -> Result<(), Bad>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: TlsConnect<S>,
{
    let made = watch.during(Phase::First, config.connect_raw(stream, tls)).await;
    let (client, connection) = made.map_err(|error| told(&error))?;
    let work = async { client.simple_query(query).await.map(drop).map_err(|error| told(&error)) };
    beside(connection, work).await
}

/// What `PostgreSQL` says, without what was asked.
fn told(error: &tokio_postgres::Error) -> Bad {
    if let Some(said) = error.as_db_error() {
        let code = said.code();
        if *code == SqlState::INVALID_PASSWORD {
            return Bad::wrong("it does not take the user and password");
        }
        return Bad::wrong(format!("it says: {} ({})", said.message(), code.code()));
    }
    let mut inner: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = inner.source() {
        inner = source;
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && io.get_ref().and_then(|within| within.downcast_ref::<rustls::Error>()).is_some()
        {
            return unagreed(io, "this host");
        }
    }
    match inner.downcast_ref::<io::Error>() {
        Some(_) => Bad::silent(format!("its answer broke off: {inner}")),
        None if error.is_closed() => Bad::silent("it closed the connection without an answer"),
        None => Bad::wrong(format!("{error}")),
    }
}

/// Agrees on TLS in the way that `PostgreSQL` does: after a question in plain text.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Tls {
    type Stream = Agreed<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Agreed<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Agreed) })
    }
}

struct Agreed<S>(TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Agreed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Agreed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Agreed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
