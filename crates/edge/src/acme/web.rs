//! The HTTPS client that speaks to a CA: within time limits, and with an ear for `Retry-After`.

use std::error::Error as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::dial::Exec;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The client.
pub(super) struct Web {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// How long the CA last asked to wait, in seconds; 0: it did not.
    wait: AtomicU64,
}

impl Web {
    /// `roots`: who vouches for the CA's directory, in place of whom the machine trusts.
    pub(super) fn new(roots: Option<&Path>) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no TLS: {error}"))?;
        let config = match roots {
            Some(path) => config.with_root_certificates(read_roots(path)?),
            None => config
                .with_native_roots()
                .map_err(|error| format!("this machine has no certificates to trust: {error}"))?,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_only()
            .enable_http1()
            .build();
        let client = Client::builder(Exec(tokio_util::task::TaskTracker::new())).build(connector);
        Ok(Self { client, wait: AtomicU64::new(0) })
    }

    /// How long the CA asked to wait since this was last called, in milliseconds.
    pub(super) fn asked_to_wait(&self) -> Option<u64> {
        Some(self.wait.swap(0, Relaxed)).filter(|wait| *wait > 0).map(|wait| wait * 1_000)
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("the roots in {} cannot be used: {error}", path.display())
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        roots.add(root.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"there is no certificate in it")) } else { Ok(roots) }
}

/// The library wants a client of its own for each account.
pub(super) struct Shared(pub(super) Arc<Web>);

impl HttpClient for Shared {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let web = Arc::clone(&self.0);
        let sent = web.client.request(request);
        Box::pin(async move {
            let other = |why: String| Error::Other(why.into());
            let answer = timeout(LIMIT, sent).await;
            let answer = answer.map_err(|_| other("the CA does not answer".to_owned()))?;
            let answer = answer.map_err(|error| {
                let because = error.source().map(|e| format!(": {e}")).unwrap_or_default();
                other(format!("the CA cannot be reached{because}"))
            })?;
            let status = answer.status().as_u16();
            let wait = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
            if let Some(wait) = wait.and_then(|wait| wait.trim().parse().ok())
                && matches!(status, 429 | 503)
            {
                web.wait.store(wait, Relaxed);
            }
            Ok(BytesResponse::from(answer))
        })
    }
}
