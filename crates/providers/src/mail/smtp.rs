//! Any server that takes mail by submission (RFC 6409, RFC 5321), step by step: only what comes after the last dot is unclear.

mod talk;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use linkflow_model::role::{Letter, Mail};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::{SEND, mime};
use crate::kit::{Kit, is_spent};
use talk::{Reply, Stumble, Talk};

/// What a server needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user and the password to log in with.
    pub login: Option<(String, Secret)>,
    /// Whether TLS begins with the connection. Otherwise it begins with STARTTLS, which only a server on this machine may
    /// lack.
    pub implicit_tls: bool,
    /// The only certificates that are trusted; those that the machine trusts when there are none.
    pub roots: Vec<CertificateDer<'static>>,
}

/// A server that takes mail.
pub struct Smtp {
    settings: Settings,
    kit: Kit,
    provider: ProviderName,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Smtp {
    if let Some((user, password)) = &settings.login {
        kit.learn(password);
        // And as it goes over the wire.
        kit.learn(&Secret::new(BASE64_STANDARD.encode(password.expose())));
        kit.learn(&Secret::new(plain(user, password.expose())));
    }
    Smtp { settings, kit: kit.clone(), provider: provider.clone() }
}

/// Whether `host` is this machine: nobody is in between.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a reply that is no success means.
fn meaning(reply: &Reply) -> FaultKind {
    match reply.code {
        454 | 530 | 534 | 535 | 538 => FaultKind::Denied,
        452 | 552 => FaultKind::Exhausted,
        _ if is_spent(&reply.text) => FaultKind::Exhausted,
        400..=499 => FaultKind::Unreachable,
        _ => FaultKind::Invalid,
    }
}

impl Smtp {
    fn fault(&self, stumble: Stumble) -> Fault {
        let (kind, said) = match stumble {
            Stumble::Away(said) => (FaultKind::Unreachable, said),
            Stumble::Unclear(said) => (FaultKind::Unclear, said),
            Stumble::Unsafe(said) => (FaultKind::Denied, said),
            Stumble::Said(reply) => (meaning(&reply), format!("{} {}", reply.code, reply.text)),
        };
        let said = self.kit.mask(&said);
        Fault { kind, provider: self.provider.clone(), attempt: SEND.to_owned(), said }
    }

    fn connector(&self) -> Result<TlsConnector, Stumble> {
        let mut roots = RootCertStore::empty();
        if self.settings.roots.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        roots.add_parsable_certificates(self.settings.roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Stumble::Unsafe(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn hand_over(&self, letter: &Letter) -> Result<String, Stumble> {
        let Settings { host, port, .. } = &self.settings;
        let (mut talk, offers) = self.meet(host, *port).await?;
        if let Some((user, password)) = &self.settings.login {
            log_in(&mut talk, &offers, user, password.expose()).await?;
        }
        talk.ask(&format!("MAIL FROM:<{}>", letter.from.address)).await?;
        talk.ask(&format!("RCPT TO:<{}>", letter.to.address)).await?;
        talk.ask("DATA").await?;
        let text = mime::message(letter, self.kit.clock().wall());
        let reply = talk.body(&text).await?;
        talk.end().await;
        Ok(reply.text)
    }

    /// A connection on which everything may be said, and what the server offers.
    async fn meet(&self, host: &str, port: u16) -> Result<(Talk, Reply), Stumble> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| Stumble::Unsafe(error.to_string()))?;
        let mut talk = Talk::dial(host, port).await?;
        if self.settings.implicit_tls {
            talk = talk.secure(&self.connector()?, name).await?;
            talk.greeting().await?;
            let offers = talk.hello().await?;
            return Ok((talk, offers));
        }
        talk.greeting().await?;
        let offers = talk.hello().await?;
        if !offers.has("STARTTLS") {
            return match is_here(host) {
                true => Ok((talk, offers)),
                false => Err(Stumble::Unsafe("it offers no STARTTLS".to_owned())),
            };
        }
        talk.ask("STARTTLS").await?;
        talk = talk.secure(&self.connector()?, name).await?;
        let offers = talk.hello().await?;
        Ok((talk, offers))
    }
}

/// What PLAIN says (RFC 4616).
fn plain(user: &str, password: &str) -> String {
    BASE64_STANDARD.encode(format!("\0{user}\0{password}"))
}

/// Logs in by PLAIN, or by LOGIN where that is all there is.
async fn log_in(
    talk: &mut Talk,
    offers: &Reply,
    user: &str,
    password: &str,
) -> Result<(), Stumble> {
    if offers.has_way("LOGIN") && !offers.has_way("PLAIN") {
        talk.ask("AUTH LOGIN").await?;
        talk.ask(&BASE64_STANDARD.encode(user)).await?;
        return talk.ask(&BASE64_STANDARD.encode(password)).await.map(drop);
    }
    talk.ask(&format!("AUTH PLAIN {}", plain(user, password))).await.map(drop)
}

#[async_trait]
impl Mail for Smtp {
    async fn send(&self, letter: &Letter) -> Result<String, Fault> {
        self.hand_over(letter).await.map_err(|stumble| self.fault(stumble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_can_be_done() {
        let meant = |code, text: &str| meaning(&Reply { code, text: text.to_owned() });
        assert_eq!(meant(535, "5.7.8 authentication failed"), FaultKind::Denied);
        assert_eq!(meant(452, "4.2.2 over quota"), FaultKind::Exhausted);
        assert_eq!(meant(451, "4.7.1 daily quota used up"), FaultKind::Exhausted);
        assert_eq!(meant(421, "4.3.2 shutting down"), FaultKind::Unreachable);
        assert_eq!(meant(550, "5.1.1 no such user"), FaultKind::Invalid);
    }

    #[test]
    fn only_this_machine_may_lack_tls() {
        assert!(is_here("127.0.0.1") && is_here("::1") && is_here("localhost"));
        assert!(!is_here("10.0.0.1") && !is_here("mail.example.com"));
    }
}
