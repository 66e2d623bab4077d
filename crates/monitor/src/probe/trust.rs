//! Looks at certificates: what was shown is noted before it is judged, so that a bad one can be told of.

use std::collections::HashMap;
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

/// How many chains are remembered as good.
const MOST_KNOWN: usize = 4_096;

/// Judges chains, and remembers which were good: whoever is looked at again and again shows the same one, and judging it is
/// a quarter of what a look with TLS costs. A chain that is the same byte by byte, for the same name and by the same roots, is
/// good until the first of its certificates ends. That the server holds the key is proven in each look all the same.
#[derive(Debug)]
pub(super) struct Judge {
    within: Arc<WebPkiServerVerifier>,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

/// A chain that was good.
#[derive(Clone, Debug)]
struct Known {
    /// When it was judged.
    since: UnixTime,
    seen: CertificateSeen,
}

impl Judge {
    pub(super) fn new(within: Arc<WebPkiServerVerifier>) -> Self {
        Self { within, known: Mutex::default() }
    }

    /// What is known of a chain that was good and still is at `now`.
    fn known(&self, chain: &[u8; 32], now: UnixTime) -> Option<CertificateSeen> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(chain)?;
        let lasts = i64::try_from(now.as_secs()).is_ok_and(|now| now < known.seen.ends);
        (lasts && now >= known.since).then(|| known.seen.clone())
    }

    fn learn(&self, chain: [u8; 32], since: UnixTime, seen: CertificateSeen) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(chain, Known { since, seen });
    }
}

/// One number for a chain that was shown for a name.
fn chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    server_name: &ServerName<'_>,
) -> [u8; 32] {
    let mut digest = Sha256::new();
    let name = server_name.to_str();
    let certificates = intermediates.iter().map(AsRef::as_ref);
    for part in [name.as_bytes(), end_entity.as_ref()].into_iter().chain(certificates) {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Judges as the one within does, and notes what it was shown. Without one within, everything is taken.
#[derive(Debug)]
pub(super) struct Noting {
    pub(super) within: Option<Arc<Judge>>,
    pub(super) schemes: Vec<SignatureScheme>,
    pub(super) shown: Mutex<Option<CertificateSeen>>,
}

impl Noting {
    pub(super) fn shown(&self) -> Option<CertificateSeen> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, seen: Option<CertificateSeen>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = seen;
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
        let Some(judge) = &self.within else {
            self.note(noted(end_entity, intermediates));
            return Ok(ServerCertVerified::assertion());
        };
        let chain = chain(end_entity, intermediates, server_name);
        if let Some(seen) = judge.known(&chain, now) {
            self.note(Some(seen));
            return Ok(ServerCertVerified::assertion());
        }
        let seen = noted(end_entity, intermediates);
        self.note(seen.clone());
        let (der, above, name) = (end_entity, intermediates, server_name);
        let judged = judge.within.verify_server_cert(der, above, name, ocsp_response, now)?;
        if let Some(seen) = seen {
            judge.learn(chain, now, seen);
        }
        Ok(judged)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.within {
            Some(judge) => judge.within.verify_tls12_signature(message, cert, dss),
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
            Some(judge) => judge.within.verify_tls13_signature(message, cert, dss),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(secs))
    }

    #[test]
    fn a_good_chain_is_known_from_when_it_was_judged_until_it_ends() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let der = own.cert.der().clone();
        let roots = these(&[der.to_vec()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let within = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let judge = Judge::new(within.build().unwrap());
        let (name, other) = ("localhost".try_into().unwrap(), "other".try_into().unwrap());
        let key = chain(&der, &[], &name);
        let seen = CertificateSeen { ends: 200, fingerprint: String::new(), issuer: String::new() };
        assert_eq!(judge.known(&key, at(100)), None);
        judge.learn(key, at(100), seen.clone());
        let rows = [(99, false), (100, true), (199, true), (200, false)];
        for (now, expected) in rows {
            assert_eq!(judge.known(&key, at(now)).is_some(), expected, "at {now}");
        }
        assert_eq!(judge.known(&chain(&der, &[], &other), at(150)), None, "for another name");
        let longer = std::slice::from_ref(&der);
        assert_eq!(judge.known(&chain(&der, longer, &name), at(150)), None, "with one more above");
        for number in 0..MOST_KNOWN {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            judge.learn(key, at(100), seen.clone());
        }
        assert!(judge.known.lock().unwrap().len() <= MOST_KNOWN, "it is bounded");
    }
}
