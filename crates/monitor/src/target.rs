//! What is looked at, and what is asked of it.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Method, Uri};
use linkflow_model::Secret;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub enum Target {
    /// A web address.
    Http(Box<HttpTarget>),
    /// A port that must accept a connection.
    Tcp(Authority),
    /// A port that must speak TLS with a certificate that is trusted for its host.
    Tls(Authority),
    /// A server that must be well by `grpc.health.v1`.
    Grpc(GrpcTarget),
    /// A name that must resolve.
    Dns(DnsTarget),
    /// A host that must answer a ping.
    Ping(String),
    /// A `PostgreSQL` that must let us in and answer a query.
    Postgres {
        /// Its address, with user and password.
        url: Secret,
        /// What is asked.
        query: String,
    },
    /// A Redis that must let us in and answer `PING`.
    Redis {
        /// Its address, with user and password.
        url: Secret,
    },
}

/// A web address and what its answer must be.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    /// The address.
    pub url: Uri,
    /// Where to connect in place of the address's own host.
    pub connect: Option<SocketAddr>,
    /// The method.
    pub method: Method,
    /// Headers to send.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What to send.
    pub body: Vec<u8>,
    /// The statuses that are right; empty: all from 200 to 399.
    pub statuses: Vec<u16>,
    /// A text that must be in the answer.
    pub contains: Option<String>,
    /// A text that must not be in the answer.
    pub lacks: Option<String>,
    /// Values that the answer must have, as JSON.
    pub json: Vec<JsonRule>,
    /// How many redirects are followed. With 0 a redirect is the answer.
    pub redirects: u8,
    /// Which forms of an answer are taken.
    pub accept: &'static str,
    /// How much of the answer is read, in bytes.
    pub body_cap: usize,
    /// Whom to trust.
    pub trust: Trust,
}

/// A value within JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonRule {
    /// Where: names and numbers with dots between, `checks.0.state`.
    pub path: String,
    /// What it must be, as text.
    pub is: String,
}

/// Which certificates are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those that the machine trusts, for their own hosts.
    #[default]
    Machine,
    /// Any.
    Any,
}

/// A gRPC server.
#[derive(Clone, Debug)]
pub struct GrpcTarget {
    /// Where it is.
    pub at: Authority,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Which of its services is asked for; empty: the server as a whole.
    pub service: String,
}

/// A name and what must be known of it.
#[derive(Clone, Debug)]
pub struct DnsTarget {
    /// The name.
    pub name: String,
    /// Which record is asked for.
    pub record: DnsRecord,
    /// Answers that must be there.
    pub answers: Vec<String>,
    /// Whom to ask; the machine's own resolver when not said.
    pub server: Option<SocketAddr>,
}

/// The sorts of records that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// Who takes mail.
    Mx,
    /// Who answers for the zone.
    Ns,
    /// A text.
    Txt,
}

impl HttpTarget {
    /// A `GET` of `url`, of which any answer from 200 to 399 is right.
    pub fn get(url: Uri) -> Self {
        Self {
            url,
            connect: None,
            method: Method::GET,
            headers: Vec::new(),
            body: Vec::new(),
            statuses: Vec::new(),
            contains: None,
            lacks: None,
            json: Vec::new(),
            redirects: 5,
            accept: "*/*",
            body_cap: 64 << 10,
            trust: Trust::Machine,
        }
    }
}

impl Target {
    /// The host that is looked at, to look at no host with too many looks at once.
    pub fn host(&self) -> String {
        match self {
            Self::Http(http) => match http.connect {
                Some(at) => at.ip().to_string(),
                None => http.url.host().unwrap_or_default().to_owned(),
            },
            Self::Tcp(at) | Self::Tls(at) => at.host.clone(),
            Self::Grpc(grpc) => grpc.at.host.clone(),
            Self::Dns(dns) => dns.server.map(|at| at.ip().to_string()).unwrap_or_default(),
            Self::Ping(host) => host.clone(),
            Self::Postgres { url, .. } | Self::Redis { url } => {
                let rest = url.expose().split_once("://").map_or("", |(_, rest)| rest);
                let authority = rest.split(['/', '?']).next().unwrap_or_default();
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned()
            }
        }
    }

    /// Whether the way there leads through our own network and out of it.
    pub fn is_far(&self) -> bool {
        let host = self.host();
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() || host == "localhost" || host.contains(['/', '%']) {
            return false;
        }
        match host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(ip)) => {
                !(ip.is_loopback() || ip.is_private() || ip.is_link_local())
            }
            Ok(std::net::IpAddr::V6(ip)) => !(ip.is_loopback() || ip.is_unique_local()),
            Err(_) => true,
        }
    }
}
