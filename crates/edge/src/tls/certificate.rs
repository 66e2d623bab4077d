//! One certificate with its key: read, looked at, and ready for use.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use linkflow_model::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its hosts, lower case, perhaps `*.example.com`, and its IP addresses.
    pub names: Vec<String>,
    /// When it begins to count.
    pub begins: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
}

/// A certificate, those that lead from it to a root, and its key.
#[derive(Clone)]
pub struct Certificate {
    /// What it says of itself.
    pub about: About,
    pub(crate) key: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.about.fmt(f)
    }
}

/// Reads a chain and a key from PEM.
///
/// # Errors
/// One sentence that says what is wrong: nothing in it, not one chain, a key of another certificate, no names.
pub fn read(chain: &[u8], key: &[u8]) -> Result<Certificate, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| format!("the chain is no PEM: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        format!("there is no private key that can be used ({error}); an encrypted one cannot")
    })?;
    of(chain, key)
}

/// Puts a chain and a key together.
fn of(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Certificate, String> {
    let about = look(&chain)?;
    let key =
        CertifiedKey::from_der(chain, key, &super::provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "the key is of another certificate".to_owned(),
            other => format!("the key cannot be used: {other}"),
        })?;
    Ok(Certificate { about, key: Arc::new(key) })
}

fn look(chain: &[CertificateDer<'_>]) -> Result<About, String> {
    let parsed: Result<Vec<_>, _> =
        chain.iter().map(|der| X509Certificate::from_der(der)).collect();
    let parsed = parsed.map_err(|error| format!("a certificate cannot be read: {error}"))?;
    let certificates: Vec<&X509Certificate<'_>> = parsed.iter().map(|(_, c)| c).collect();
    let [first, ..] = certificates.as_slice() else {
        return Err("there is no certificate in the chain".to_owned());
    };
    if certificates.windows(2).any(|two| two[0].issuer() != two[1].subject()) {
        let why =
            "the chain is out of order: each certificate is followed by the one that signed it";
        return Err(why.to_owned());
    }
    let names = names(first)?;
    let ms = |time: x509_parser::time::ASN1Time| {
        Timestamp(u64::try_from(time.timestamp()).unwrap_or_default().saturating_mul(1_000))
    };
    let validity = first.validity();
    Ok(About { names, begins: ms(validity.not_before), ends: ms(validity.not_after) })
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let listed = certificate.subject_alternative_name();
    let listed = listed.map_err(|error| format!("its names cannot be read: {error}"))?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| IpAddr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|ip| IpAddr::from(ip).to_string()),
        },
        _ => None,
    };
    let names: Vec<String> =
        listed.iter().flat_map(|l| &l.value.general_names).filter_map(name).collect();
    if names.is_empty() {
        return Err("the certificate names no host (subjectAltName)".to_owned());
    }
    Ok(names)
}

impl About {
    /// Whether it is good for `host`, lower case. `*` stands for one label.
    pub fn is_for(&self, host: &str) -> bool {
        let below = host.split_once('.').map(|(_, rest)| rest);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(rest) => below == Some(rest),
            None => name == host,
        })
    }
}

/// A certificate that nobody vouches for.
pub(crate) fn made_up(hosts: &[String]) -> Result<Certificate, String> {
    let why = |error: rcgen::Error| format!("no certificate could be made: {error}");
    let made = rcgen::generate_simple_self_signed(hosts.to_vec()).map_err(why)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    of(vec![made.cert.der().clone()], key)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    }

    /// A certificate for `*.shop.example` that a CA signed, the CA's, and the key.
    fn chain() -> (String, String, String) {
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = params("ca");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let leaf = params("*.shop.example").signed_by(&key, &issuer).unwrap();
        (leaf.pem(), root.pem(), key.serialize_pem())
    }

    #[track_caller]
    fn check(chain: &str, key: &str, expected: &str) {
        let said = match read(chain.as_bytes(), key.as_bytes()) {
            Ok(certificate) => certificate.about.names.join(", "),
            Err(why) => why,
        };
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn a_chain_and_its_key_belong_together() {
        let (leaf, root, key) = chain();
        let other = KeyPair::generate().unwrap().serialize_pem();
        check(&format!("{leaf}{root}"), &key, "*.shop.example");
        check(&leaf, &key, "*.shop.example");
        check(&format!("{root}{leaf}"), &key, "the chain is out of order");
        check(&leaf, &other, "the key is of another certificate");
        check("", &key, "there is no certificate in the chain");
        check(&leaf, "", "there is no private key that can be used");
        check(&leaf, &leaf, "there is no private key that can be used");
        let cut: String = leaf.lines().take(3).collect::<Vec<_>>().join("\n");
        check(&cut, &key, "the chain is no PEM");
    }

    #[test]
    fn a_star_is_one_label() {
        let (leaf, _, key) = chain();
        let about = read(leaf.as_bytes(), key.as_bytes()).unwrap().about;
        assert!(about.is_for("a.shop.example"));
        assert!(!about.is_for("shop.example") && !about.is_for("b.a.shop.example"));
        assert!(about.begins < about.ends);
    }
}
