//! Every certificate that there is, and which one a client gets.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{About, Certificate};

/// Where a certificate comes from. Of two for the same host, the one from a file counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Made here, for a rehearsal.
    MadeUp,
    /// A CA gave it, for this host.
    Acme(String),
    /// Files, named so in the config; its place among them.
    Files(usize, String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MadeUp => f.write_str("the certificate of the rehearsal"),
            Self::Acme(host) => write!(f, "the certificate for {host} by ACME"),
            Self::Files(_, name) => write!(f, "the certificate `{name}`"),
        }
    }
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStats {
    /// Where it comes from.
    pub origin: Origin,
    /// What it says of itself.
    pub about: About,
}

/// The certificates.
#[derive(Default)]
pub(crate) struct Keyring {
    held: RwLock<Held>,
}

#[derive(Default)]
struct Held {
    all: BTreeMap<Origin, Certificate>,
    /// By host, `*.example.com` among them.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host.
    first: Option<Arc<CertifiedKey>>,
    /// What proves to a CA that a host leads here, by host.
    proofs: HashMap<String, Arc<CertifiedKey>>,
    /// The same in pages, by token.
    pages: HashMap<String, String>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stats()).finish()
    }
}

impl Keyring {
    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn see<T>(&self, see: impl FnOnce(&Held) -> T) -> T {
        see(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses `certificate` from now on, in place of an earlier one of the same origin.
    pub(crate) fn put(&self, origin: Origin, certificate: Certificate) {
        self.change(|held| {
            held.all.insert(origin, certificate);
            held.sort();
        });
    }

    /// The certificate of `origin`.
    pub(crate) fn about(&self, origin: &Origin) -> Option<About> {
        self.see(|held| held.all.get(origin).map(|certificate| certificate.about.clone()))
    }

    /// Every certificate.
    pub(crate) fn stats(&self) -> Vec<CertificateStats> {
        self.see(|held| {
            let all = held.all.iter().map(|(origin, certificate)| CertificateStats {
                origin: origin.clone(),
                about: certificate.about.clone(),
            });
            all.collect()
        })
    }

    /// Shows `proof` to a CA that connects and asks for `host`; `None`: no longer.
    pub(crate) fn prove(&self, host: &str, proof: Option<Arc<CertifiedKey>>) {
        self.change(|held| match proof {
            Some(proof) => drop(held.proofs.insert(host.to_owned(), proof)),
            None => drop(held.proofs.remove(host)),
        });
    }

    /// Shows `page` to a CA that asks for the page `token`; `None`: no longer.
    pub(crate) fn show(&self, token: &str, page: Option<String>) {
        self.change(|held| match page {
            Some(page) => drop(held.pages.insert(token.to_owned(), page)),
            None => drop(held.pages.remove(token)),
        });
    }

    /// What a CA finds under `token`.
    pub(crate) fn page(&self, token: &str) -> Option<String> {
        self.see(|held| held.pages.get(token).cloned())
    }

    /// Whether a certificate from files is good for `host`.
    pub(crate) fn has_file_for(&self, host: &str) -> bool {
        self.see(|held| {
            let mut files = held.all.iter().filter(|(o, _)| matches!(o, Origin::Files(..)));
            files.any(|(_, certificate)| certificate.about.is_for(host))
        })
    }

    /// The certificate for `host`, or for a client that names none.
    fn find(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        self.see(|held| {
            let Some(host) = host else { return held.first.clone() };
            let above = || host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            let found = held.by_name.get(host);
            found.or_else(|| held.by_name.get(&above()?)).cloned()
        })
    }
}

impl Held {
    fn sort(&mut self) {
        self.by_name.clear();
        // The last one counts, so those of files come last, the first of them at the very end.
        let files = |origin: &Origin| matches!(origin, Origin::Files(..));
        let (files, others): (Vec<_>, Vec<_>) = self.all.iter().partition(|(o, _)| files(o));
        for (_, certificate) in others.iter().chain(files.iter().rev()) {
            for name in &certificate.about.names {
                self.by_name.insert(name.clone(), Arc::clone(&certificate.key));
            }
        }
        let first = files.first().or(others.first());
        self.first = first.map(|(_, certificate)| Arc::clone(&certificate.key));
    }
}

impl ResolvesServerCert for Keyring {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked the name, and made it lower case.
        self.find(hello.server_name())
    }
}

/// The certificates that prove to a CA that hosts lead here (RFC 8737).
#[derive(Debug)]
pub(super) struct Proofs(pub(super) Arc<Keyring>);

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.see(|held| held.proofs.get(hello.server_name()?).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::made_up;
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        made_up(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_closest_name_wins_and_files_win_over_a_ca() {
        let keyring = Keyring::default();
        let file = |at: usize| Origin::Files(at, at.to_string());
        let rows = [
            (file(0), vec!["*.shop.example", "shop.example"]),
            (file(1), vec!["shop.example", "a.shop.example"]),
            (Origin::Acme("shop.example".to_owned()), vec!["shop.example"]),
            (Origin::Acme("b.example".to_owned()), vec!["b.example"]),
        ];
        let mut keys = BTreeMap::new();
        for (origin, names) in rows {
            let certificate = certificate(&names);
            keys.insert(origin.clone(), Arc::clone(&certificate.key));
            keyring.put(origin, certificate);
        }
        let found = |host: Option<&str>| {
            let key = keyring.find(host)?;
            let of = keys.iter().find(|(_, held)| Arc::ptr_eq(held, &key));
            of.map(|(origin, _)| origin.to_string())
        };
        assert_eq!(found(Some("shop.example")).unwrap(), "the certificate `0`");
        assert_eq!(found(Some("a.shop.example")).unwrap(), "the certificate `1`");
        assert_eq!(found(Some("z.shop.example")).unwrap(), "the certificate `0`");
        assert_eq!(found(Some("b.example")).unwrap(), "the certificate for b.example by ACME");
        assert_eq!(found(Some("y.z.shop.example")), None);
        assert_eq!(found(Some("c.example")), None);
        assert_eq!(found(None).unwrap(), "the certificate `0`");
        assert!(keyring.has_file_for("q.shop.example") && !keyring.has_file_for("b.example"));
    }
}
