//! Certificates: from files, or from a CA by ACME.

use std::collections::BTreeSet;

use super::Config;
use super::address::{Host, Mailbox, Url};
use super::macros::{choice, section};
use super::template::SecretRef;
use super::values::Many;

section! {
    /// A certificate in files, as PEM. They are read again when they change, and a bad change leaves the old one in use.
    pub struct Certificate as "certificate" {
        /// The certificate and those that lead from it to a root, in this order (`fullchain.pem`). The path begins at the
        /// folder of the config.
        chain: String,
        /// Its private key, unencrypted. The path begins at the folder of the config.
        key: String,
    }
}

section! {
    /// Certificates from a CA by ACME (RFC 8555): one for each host, renewed by themselves.
    pub struct Acme as "acme" {
        /// Whether you agree to the CA's terms of service. It must be `true`.
        agree: bool,
        /// The CA's directory. Try things with `https://acme-staging-v02.api.letsencrypt.org/directory`: its certificates
        /// are not trusted by browsers, and its limits are wide.
        directory: Url = Url("https://acme-v02.api.letsencrypt.org/directory".to_owned()),
        /// Whom the CA may write to.
        contact: Many<Mailbox>,
        /// How the CA is shown that a host leads here.
        challenge: Challenge = Challenge::Http01,
        /// The hosts to get certificates for. When not said: those of all routes that no file covers. `*` and
        /// `*.example.com` are left out: no challenge that LinkFlow answers is good for them.
        hosts: Many<Host>,
        /// A file with the roots that vouch for the CA's directory, as PEM, for a CA of your own. The machine's are taken
        /// when not said. The path begins at the folder of the config.
        roots: Option<String>,
        /// The key id of an external account, for CAs that ask for one.
        external_id: Option<String>,
        /// The key of the external account, in URL-safe base64.
        external_key: Option<SecretRef>,
    }
}

choice! {
    /// How the CA is shown that a host leads here.
    pub enum Challenge {
        /// It asks for a page at port 80 of the host, which must lead to `listen` (RFC 8555, 8.3).
        Http01 = "http-01",
        /// It connects to port 443 of the host, which must lead to `listen_tls` (RFC 8737).
        TlsAlpn01 = "tls-alpn-01",
    }
}

impl Config {
    /// The hosts that a CA is asked for: those of `[edge.acme]`, or else those of all routes that are one host, of the status
    /// page, of where people subscribe to it, and of the dashboard.
    pub fn acme_hosts(&self) -> BTreeSet<String> {
        let Some(acme) = &self.edge.acme else { return BTreeSet::new() };
        if !acme.hosts.is_empty() {
            return acme.hosts.iter().map(|host| host.0.clone()).collect();
        }
        let routes = self.services.values().flat_map(|service| service.route.iter());
        let routes = routes.filter(|route| route.is_one_host()).map(|route| route.host.clone());
        let page = self.status_page.iter().filter_map(|page| page.host.as_ref());
        let dashboard = self.dashboard.host.as_ref().filter(|_| self.dashboard.on);
        let own = page.chain(dashboard).map(|host| host.0.clone());
        routes.chain(own).chain(self.subscribe_host()).collect()
    }

    /// The host at which people subscribe to the status page, where its address is one of the edge: with TLS, at its port.
    pub fn subscribe_host(&self) -> Option<String> {
        let subscribe = self.status_page.as_ref()?.subscribe.as_ref()?;
        let rest = subscribe.at.0.strip_prefix("https://")?;
        let host = rest.split(['/', '?', '#']).next()?;
        (!host.contains(':') && host.parse::<std::net::IpAddr>().is_err())
            .then(|| host.to_ascii_lowercase())
    }
}
