//! TLS for visitors: which certificate, which versions, and how a connection is opened.

mod certificate;
mod files;
mod keyring;
mod worry;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use linkflow_model::config::Tls;
use rustls::crypto::CryptoProvider;
use rustls::server::Acceptor;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use certificate::made_up;
pub use certificate::{About, Certificate, read};
pub(crate) use files::Files;
pub use files::PairOfFiles;
pub(crate) use keyring::Keyring;
pub use keyring::{CertificateStats, Origin};
pub(crate) use worry::watch;
pub use worry::{Worry, worry};

use crate::acme::AcmeOptions;

/// How visitors are spoken to with TLS.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The least version.
    pub min: Tls,
    /// Certificates in files. The first one is for clients that name no host.
    pub files: Vec<PairOfFiles>,
    /// Hosts that get a certificate which nobody vouches for, made here. For rehearsals.
    pub made_up: Vec<String>,
    /// Certificates from a CA.
    pub acme: Option<AcmeOptions>,
    /// Whether plain HTTP is sent to HTTPS.
    pub https_only: bool,
    /// The port that visitors find HTTPS at, when it is not the one listened on.
    pub port: Option<u16>,
    /// How long browsers are told to use HTTPS only.
    pub hsts: Option<Duration>,
    /// How often the files are looked at, in milliseconds.
    pub look_ms: u64,
}

impl TlsOptions {
    /// TLS at `listen`, with no certificate yet.
    pub fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            min: Tls::V1_2,
            files: Vec::new(),
            made_up: Vec::new(),
            acme: None,
            https_only: true,
            port: None,
            hsts: None,
            look_ms: 10_000,
        }
    }
}

/// How handshakes went so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsStats {
    /// Connections that were opened.
    pub opened: u64,
    /// Those of them that took up an earlier session.
    pub resumed: u64,
    /// Connections that could not be opened: no certificate for the host, no common version, silence.
    pub failed: u64,
}

/// Opens connections.
pub(crate) struct Secure {
    pub(crate) keyring: Arc<Keyring>,
    usual: Arc<ServerConfig>,
    /// For a CA that looks for a challenge's certificate (RFC 8737).
    proving: Arc<ServerConfig>,
    counts: [AtomicU64; 3],
}

/// The protocol that a CA asks for when it looks for a challenge's certificate.
const PROVING: &[u8] = b"acme-tls/1";

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Secure {
    /// # Errors
    /// When the machine has no randomness for session tickets.
    pub(crate) fn new(min: Tls, keyring: Arc<Keyring>) -> io::Result<Self> {
        let versions: &[_] = match min {
            Tls::V1_2 => &[&TLS13, &TLS12],
            Tls::V1_3 => &[&TLS13],
        };
        let builder = || ServerConfig::builder_with_provider(provider());
        let config = builder().with_protocol_versions(versions).map_err(io::Error::other)?;
        let mut usual =
            config.with_no_client_auth().with_cert_resolver(Arc::clone(&keyring) as Arc<_>);
        usual.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sessions are kept by the clients, so that any number of them costs nothing here.
        usual.ticketer = rustls::crypto::ring::Ticketer::new().map_err(io::Error::other)?;
        let config = builder().with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let proofs = Arc::new(keyring::Proofs(Arc::clone(&keyring)));
        let mut proving = config.with_no_client_auth().with_cert_resolver(proofs);
        proving.alpn_protocols = vec![PROVING.to_vec()];
        let (usual, proving) = (Arc::new(usual), Arc::new(proving));
        Ok(Self { keyring, usual, proving, counts: Default::default() })
    }

    /// Opens a connection. `None`: it was a CA's, which has seen what it came for.
    pub(crate) async fn open(&self, stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let proves =
            start.client_hello().alpn().is_some_and(|mut all| all.any(|name| name == PROVING));
        if proves {
            let mut stream = start.into_stream(Arc::clone(&self.proving)).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
        let stream = start.into_stream(Arc::clone(&self.usual)).await?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        self.count(usize::from(resumed));
        Ok(Some(stream))
    }

    /// Counts a connection that could not be opened.
    pub(crate) fn failed(&self) {
        self.count(2);
    }

    fn count(&self, which: usize) {
        if let Some(count) = self.counts.get(which) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn stats(&self) -> TlsStats {
        let [full, resumed, failed] = self.counts.each_ref().map(|count| count.load(Relaxed));
        TlsStats { opened: full + resumed, resumed, failed }
    }
}
