//! Looks at certificates: what was shown is noted before it is judged, so that a bad one can be told of.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that a server showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSeen {
    /// When the first of its chain ends, in seconds since the Unix epoch.
    pub ends: i64,
    /// Its SHA-256, in hex digits.
    pub fingerprint: String,
    /// Who gave it.
    pub issuer: String,
}

/// Whom the machine trusts. What cannot be read is left out: then nobody is trusted for it.
pub(super) fn machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some certificates of this machine cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Only `roots`.
pub(super) fn these(roots: &[Vec<u8>]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone())).map_err(|error| error.to_string())?;
    }
    Ok(store)
}

/// Judges as the one within does, and notes what it was shown. Without one within, everything is taken.
#[derive(Debug)]
pub(super) struct Noting {
    pub(super) within: Option<Arc<WebPkiServerVerifier>>,
    pub(super) schemes: Vec<SignatureScheme>,
    pub(super) shown: Mutex<Option<CertificateSeen>>,
}

impl Noting {
    pub(super) fn shown(&self) -> Option<CertificateSeen> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            noted(end_entity, intermediates);
        match &self.within {
            Some(within) => within.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.within {
            Some(within) => within.verify_tls12_signature(message, cert, dss),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.within {
            Some(within) => within.verify_tls13_signature(message, cert, dss),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn noted(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Option<CertificateSeen> {
    let (_, own) = X509Certificate::from_der(end_entity).ok()?;
    let above = intermediates.iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    let ends = own.validity().not_after.timestamp();
    let digest = Sha256::digest(end_entity);
    Some(CertificateSeen {
        ends: above.fold(ends, i64::min),
        fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        issuer: own.issuer().to_string(),
    })
}

/// What is wrong with a certificate, in the words of whoever has to replace it; `None` when something else is wrong.
pub(super) fn explained(error: &Error, host: &str) -> Option<String> {
    let Error::InvalidCertificate(wrong) = error else { return None };
    Some(match wrong {
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            format!("its certificate expired {days} days ago")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "nobody whom this machine trusts gave its certificate".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for {host}")
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        other => {
            let said = other.to_string();
            if said.contains("CaUsedAsEndEntity") {
                "its certificate is that of a CA, which no server may show".to_owned()
            } else {
                format!("its certificate is wrong: {said}")
            }
        }
    })
}
