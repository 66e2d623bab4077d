//! Servers to look at: each ends with the task set that it was started in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Servers that end when this is dropped.
#[derive(Default)]
pub(crate) struct Servers(JoinSet<()>);

/// What a server of HTTP says: the whole answer, or nothing at all for ever.
pub(crate) type Say = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl Servers {
    /// A server that answers each request with what `say` makes of it, then closes.
    pub(crate) async fn http(
        &mut self,
        say: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> SocketAddr {
        self.start(None, Arc::new(say)).await
    }

    /// The same with TLS.
    pub(crate) async fn https(
        &mut self,
        certificate: &Certified,
        say: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> SocketAddr {
        self.start(Some(certificate.acceptor()), Arc::new(say)).await
    }

    async fn start(&mut self, tls: Option<TlsAcceptor>, say: Say) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        self.0.spawn(async move {
            let mut under_way = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, say) = (tls.clone(), Arc::clone(&say));
                under_way.spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, &say).await;
                            }
                        }
                        None => answer(stream, &say).await,
                    }
                });
            }
        });
        at
    }

    /// A task of this set.
    pub(crate) fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, say: &Say) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        let text = String::from_utf8_lossy(&request).into_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = length.map_or(0, |length| length.parse::<usize>().unwrap());
        if head.is_some_and(|head| request.len() >= head + 4 + body) {
            match say(&text) {
                Some(said) => stream.write_all(said.as_bytes()).await.unwrap_or_default(),
                None => std::future::pending().await,
            }
            return stream.shutdown().await.unwrap_or_default();
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
}

/// An answer with a body.
pub(crate) fn said(status: u16, headers: &str, body: &str) -> Option<String> {
    Some(format!(
        "HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// A certificate that signs itself, and its key.
pub(crate) struct Certified {
    pub(crate) der: Vec<u8>,
    key: Vec<u8>,
}

impl Certified {
    /// One for `host`, until the first day of `year`.
    pub(crate) fn until(host: &str, year: i32) -> Self {
        Self::ending(host, date_time_ymd(year, 1, 1).unix_timestamp())
    }

    /// One for `host`, until this second of the Unix epoch.
    pub(crate) fn ending(host: &str, end: i64) -> Self {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after =
            date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(end).unwrap());
        // Certificates of one name would be taken for each other's issuer.
        params.distinguished_name.push(DnType::CommonName, format!("{host} until {end}"));
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, key: key.serialize_der() }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(self.der.clone())],
                PrivatePkcs8KeyDer::from(self.key.clone()).into(),
            );
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}
