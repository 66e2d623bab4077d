//! From where a request comes, and at which address it reached us.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, header};
use linkflow_model::config::Config;

/// From where a request comes, and at which address it reached us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The address of whoever asks.
    pub(crate) address: Option<IpAddr>,
    /// The address that was asked, as browsers write an origin: `https://ops.example.com`.
    pub(super) origin: String,
    /// Its host, without a port.
    pub(super) host: String,
    /// Whether it was asked over HTTPS.
    pub(super) secure: bool,
}

impl Origin {
    /// What the request says. The edge's word on it (`X-Forwarded-*`) is taken only from this machine, and only where the
    /// config leads a host of the edge here.
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions, config: &Config) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let peer = peer.map(|ip| ip.to_canonical());
        let edge = peer.is_some_and(|ip| ip.is_loopback())
            && (config.dashboard.host.is_some() || config.subscribe_host().is_some());
        let forwarded = text("x-forwarded-for").filter(|_| edge);
        let said = |name| text(name).filter(|_| forwarded.is_some());
        let secure = said("x-forwarded-proto") == Some("https");
        let authority = said("x-forwarded-host").or_else(|| text(header::HOST.as_str()));
        let authority = authority.unwrap_or_default().to_ascii_lowercase();
        let scheme = if secure { "https" } else { "http" };
        let trusted = |ip: &IpAddr| config.edge.trusted.iter().any(|one| one.0.contains(ip));
        let address = match forwarded {
            Some(list) => visitor(list, trusted).or(peer),
            None => peer,
        };
        let origin = format!("{scheme}://{authority}");
        Self { address, origin, host: host(&authority), secure }
    }

    /// The address in words.
    pub(super) fn from(&self) -> String {
        self.address.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())
    }

    /// Whether nobody on the way can read along: HTTPS, or this machine.
    pub(super) fn is_private(&self) -> bool {
        self.secure || self.address.is_some_and(|ip| ip.is_loopback())
    }
}

/// The last address of a list that is none of those in front.
fn visitor(list: &str, trusted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let mut last = None;
    for text in list.rsplit(',') {
        let Ok(ip) = text.trim().parse::<IpAddr>() else { break };
        last = Some(ip.to_canonical());
        if !trusted(&ip) {
            break;
        }
    }
    last
}

/// `ops.example.com` of `ops.example.com:8443`, `[::1]` of `[::1]:80`.
fn host(authority: &str) -> String {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, headers: &[(&'static str, &str)], config: &str) -> Origin {
        let text = format!("[stack]\nname = \"shop\"\n{config}");
        let files = std::collections::BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let config = Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 40_000)));
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Origin::of(&headers.collect(), &extensions, &config)
    }

    const HOST: &str = "[dashboard]\nhost = \"ops.example.com\"\n";

    #[test]
    fn the_edge_is_believed_on_this_machine_and_only_with_a_host() {
        let said = [
            ("host", "127.0.0.1:7788"),
            ("x-forwarded-for", "203.0.113.9, 192.0.2.7"),
            ("x-forwarded-host", "ops.example.com"),
            ("x-forwarded-proto", "https"),
        ];
        let rows = [
            ("127.0.0.1", HOST, "192.0.2.7 https://ops.example.com ops.example.com"),
            ("127.0.0.1", "", "127.0.0.1 http://127.0.0.1:7788 127.0.0.1"),
            ("192.0.2.66", HOST, "192.0.2.66 http://127.0.0.1:7788 127.0.0.1"),
        ];
        for (peer, config, wanted) in rows {
            let Origin { origin, host, .. } = of(peer, &said, config);
            let from = of(peer, &said, config).from();
            assert_eq!(format!("{from} {origin} {host}"), wanted);
        }
    }

    #[test]
    fn the_visitor_is_the_last_who_is_none_of_those_in_front() {
        let trusted = format!("[edge]\ntrusted = [\"192.0.2.0/24\"]\n{HOST}");
        let list = |list: &str| of("::1", &[("x-forwarded-for", list)], &trusted).from();
        assert_eq!(list("10.0.0.1, 203.0.113.9, 192.0.2.7"), "203.0.113.9");
        assert_eq!(list("junk, 192.0.2.7"), "192.0.2.7");
        assert_eq!(list("junk"), "::1");
    }

    #[test]
    fn a_port_is_no_part_of_a_host() {
        let rows = [("a.b:1", "a.b"), ("a.b", "a.b"), ("[::1]:80", "[::1]"), ("", "")];
        for (authority, wanted) in rows {
            assert_eq!(host(authority), wanted);
        }
    }
}
