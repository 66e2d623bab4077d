//! Names, TCP and TLS, each timed by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Bad;
use super::clock::{Phase, Stopwatch};
use super::trust::{Judge, Noting, explained};
use crate::target::{Authority, Trust};

/// Makes connections.
pub(super) struct Dialer {
    provider: Arc<CryptoProvider>,
    /// `None` where nobody is trusted at all.
    judge: Option<Arc<Judge>>,
}

impl Dialer {
    pub(super) fn new(roots: RootCertStore) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let judge = if roots.is_empty() {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let built = built.build().map_err(|error| error.to_string())?;
            Some(Arc::new(Judge::new(built)))
        };
        Ok(Self { provider, judge })
    }

    /// The first address of `at`: one attempt at one address, so that what is seen is what there is.
    pub(super) async fn address(
        &self,
        at: &Authority,
        watch: &Stopwatch,
    ) -> Result<SocketAddr, Bad> {
        let host = at.host.trim_matches(['[', ']']);
        if let Ok(ip) = host.parse() {
            return Ok(SocketAddr::new(ip, at.port));
        }
        let found = watch.during(Phase::Dns, lookup_host((host, at.port))).await;
        let mut found = found.map_err(|error| Bad::silent(format!("no address: {error}")))?;
        found.next().ok_or_else(|| Bad::wrong(format!("{host} has no address")))
    }

    /// A connection to `at`.
    pub(super) async fn tcp(&self, at: &Authority, watch: &Stopwatch) -> Result<TcpStream, Bad> {
        let address = self.address(at, watch).await?;
        self.tcp_to(address, watch).await
    }

    /// A connection to `address`.
    pub(super) async fn tcp_to(
        &self,
        address: SocketAddr,
        watch: &Stopwatch,
    ) -> Result<TcpStream, Bad> {
        watch.at(address);
        let stream = watch.during(Phase::Connect, TcpStream::connect(address)).await;
        let stream = stream.map_err(|error| Bad::Silent(unconnected(&error)))?;
        stream.set_nodelay(true).map_err(Bad::silent)?;
        Ok(stream)
    }

    /// A connection to `at`, or to `connect` in its place, that speaks TLS.
    pub(super) async fn tls(
        &self,
        at: &Authority,
        connect: Option<SocketAddr>,
        alpn: &[&[u8]],
        trust: Trust,
        watch: &Stopwatch,
    ) -> Result<TlsStream<TcpStream>, Bad> {
        let stream = match connect {
            Some(address) => self.tcp_to(address, watch).await?,
            None => self.tcp(at, watch).await?,
        };
        let (connector, noting) = self.connector(alpn, trust)?;
        let host = at.host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Bad::wrong(format!("`{host}` cannot have a certificate")))?;
        let agreed = watch.during(Phase::Tls, connector.connect(name, stream)).await;
        if let Some(certificate) = noting.shown() {
            watch.shown(certificate);
        }
        agreed.map_err(|error| unagreed(&error, host))
    }

    /// What agrees on TLS, and notes the certificate.
    pub(super) fn connector(
        &self,
        alpn: &[&[u8]],
        trust: Trust,
    ) -> Result<(TlsConnector, Arc<Noting>), Bad> {
        let within = match trust {
            Trust::Any => None,
            Trust::Machine => Some(self.judge.clone().ok_or_else(|| {
                Bad::wrong("this machine trusts nobody: install ca-certificates")
            })?),
        };
        let schemes = self.provider.signature_verification_algorithms.supported_schemes();
        let noting = Arc::new(Noting { within, schemes, shown: Mutex::default() });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(Bad::silent)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&noting) as _)
            .with_no_client_auth();
        // A resumed session shows no certificate.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok((TlsConnector::from(Arc::new(config)), noting))
    }
}

fn unconnected(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NetworkUnreachable => "no network leads there".to_owned(),
        io::ErrorKind::HostUnreachable => "no way leads there".to_owned(),
        _ => format!("no connection: {error}"),
    }
}

/// Why TLS could not be agreed on.
pub(super) fn unagreed(error: &io::Error, host: &str) -> Bad {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(error) => match explained(error, host) {
            Some(why) => Bad::Wrong(why),
            None => Bad::wrong(format!("no TLS: {error}")),
        },
        None => Bad::silent(format!("no TLS: {error}")),
    }
}
