//! What visitors meet first: the edge, the names that lead to it, and mail.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{Host, Mailbox, Url};
use super::amount::{Bytes, Percent};
use super::codes::{self, Code};
use super::macros::{choice, section};
use super::node::Node;
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::template::SecretRef;
use super::tls::{Acme, Certificate};
use super::values::{Many, Within, Written, written};
use crate::{ItemName, ProviderName};

section! {
    /// The proxy that leads visitors to the best placement of each service, and how it protects them.
    pub struct Edge as "edge" {
        /// Where it listens for visitors.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
        /// Where it listens for visitors with TLS, `0.0.0.0:443`; nowhere when not said.
        listen_tls: Option<SocketAddr>,
        /// Certificates in files, each under a name of your choice. The first one is for clients that name no host.
        certificates: BTreeMap<ItemName, Certificate>,
        /// Certificates that LinkFlow gets and renews by itself.
        acme: Option<Acme>,
        /// Where it listens for services that call each other; each has its own port.
        internal: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
        /// Where visitors and other machines reach it, in place of `http://` and `listen`. Of `https://` addresses the
        /// port is the one that plain HTTP is sent to.
        address: Option<Url>,
        /// How long visitors take to come back to a better place, a few at a time; `0s`: all at once. They leave a place that fails at once in any case.
        ramp: Duration = Duration::from_secs(10),
        /// Networks of proxies and load balancers in front, `10.0.0.0/8`. Only they are believed when they say whom they
        /// speak for; of everybody else such headers are thrown away.
        trusted: Vec<Network>,
        /// The header in which those in front name the visitor.
        visitor_header: VisitorHeader = VisitorHeader::XForwardedFor,
        /// Whether each connection from `trusted` begins with the PROXY protocol, version 1 or 2.
        proxy_protocol: bool = false,
        /// How long a request waits until its answer begins, whatever was tried; then visitors get 504. When not said: `10s`
        /// for what may be sent again, `1m` for what may not. A service's `timeouts.answer` wins.
        timeout: Option<Duration>,
        /// The largest body that a request may have.
        max_body: Bytes = Bytes(10_000_000),
        /// The provider that stands in front of it: content delivery, firewall, worker, tunnel.
        on: Option<ProviderName>,
        /// The least version of TLS that visitors may speak.
        min_tls: Tls = Tls::V1_2,
        /// How the provider in front speaks to the edge.
        tls: TlsMode = TlsMode::Strict,
        /// Whether plain HTTP is sent to HTTPS, where there is `listen_tls`. Challenges of ACME and health paths are not.
        https_only: bool = true,
        /// How long browsers are told to use HTTPS only, where there is `listen_tls`. They are told nothing when not said.
        hsts: Option<Duration>,
        /// How many requests one visitor may make; more are answered 429. The provider in front counts them as well.
        rate_limit: Option<RateLimit>,
        /// Networks from which alone visitors may come, `192.0.2.0/24`; everybody when not said.
        allow: Vec<Network>,
        /// Networks from which nobody may come.
        deny: Vec<Network>,
        /// Whether answers forbid browsers to guess types, to show them in foreign frames and to tell others whole addresses,
        /// where the service does not say so itself.
        security_headers: bool = false,
        /// Where one line of JSON is written for each request: `stderr`, or a file; a path from the folder of the config.
        /// Nowhere when not said.
        access_log: Option<LogTo>,
        /// The share of requests that are written there. Those that failed always are.
        access_log_sample: Percent = Percent(100),
        /// Where Prometheus reads metrics, `127.0.0.1:9464`, at `/metrics`; nowhere when not said. Whoever reaches it may
        /// read them.
        metrics: Option<SocketAddr>,
        /// Whether the provider's firewall rules are on.
        waf: bool = false,
        /// What is done with visitors that look like machines.
        bots: Bots = Bots::Allow,
        /// Whether visitors get the last good page when nothing answers: of pages that are for everybody, and marked as old.
        always_online: bool = false,
        /// Whether links of plain HTTP in pages are made links of HTTPS by the provider in front.
        https_rewrites: bool = true,
        /// How queries count when the provider in front keeps pages.
        cache_level: Option<QueryCache>,
        /// How long browsers may keep pages that do not say so themselves.
        browser_cache: Option<Duration>,
        /// Paths that are kept by the provider in front, and for how long.
        cache: Vec<CacheRule>,
        /// The worker that makes the same choices as the edge, at the provider in front.
        worker: bool = false,
        /// A file with another module in place of LinkFlow's own worker; a path from the folder of the config.
        worker_module: Option<String>,
        /// Whether requests over the worker's daily allowance go past it, to the edge. Otherwise visitors would get an error
        /// page until midnight UTC.
        fail_open: bool = true,
        /// Whether the edge is reached through a tunnel, with no open port.
        tunnel: bool = false,
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// To this process's stderr.
    Stderr,
    /// To a file.
    File(String),
}

impl Written for LogTo {
    const WHAT: &'static str = "`stderr`, or the path of a file, like `log/access.log`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        match text {
            "stderr" => Ok(Self::Stderr),
            "" | "stdout" => {
                let what = format!("the access log cannot go to `{text}`");
                Err((what, format!("write {}; stdout is for answers of commands", Self::WHAT)))
            }
            path => Ok(Self::File(path.to_owned())),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Stderr => "stderr".to_owned(),
            Self::File(path) => path.clone(),
        }
    }

    fn blank() -> Self {
        Self::Stderr
    }
}

written!(LogTo);

section! {
    /// How many requests one visitor may make.
    pub struct RateLimit as "rate_limit" {
        /// How many.
        requests: NonZeroU32,
        /// In which time.
        per: Duration,
        /// For which routes; all when not said.
        paths: Vec<String>,
        /// The header that tells visitors apart where they have it, `x-api-key`; their address otherwise.
        by: Option<String>,
    }
}

section! {
    /// A path that is kept by the provider in front.
    pub struct CacheRule as "cache_rule" {
        /// The path's beginning, `/assets/`.
        path: String,
        /// For how long; `0s` forbids it.
        ttl: Duration,
    }
}

choice! {
    /// The least version of TLS.
    pub enum Tls {
        /// TLS 1.2.
        V1_2 = "1.2",
        /// TLS 1.3.
        V1_3 = "1.3",
    }
}

choice! {
    /// The header in which those in front name the visitor. One only: a proxy passes on what it does not write itself, so
    /// a header that it does not write is the visitor's own word.
    pub enum VisitorHeader {
        /// `X-Forwarded-For`, a list to which each proxy appends: the last address that is not `trusted` counts.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239), such a list too.
        Forwarded = "forwarded",
        /// `CF-Connecting-IP`, the one address that Cloudflare writes.
        CfConnectingIp = "cf-connecting-ip",
    }
}

choice! {
    /// How the provider in front speaks to the edge.
    pub enum TlsMode {
        /// With TLS and a certificate that is checked.
        Strict = "strict",
        /// With TLS and any certificate.
        Full = "full",
        /// Without TLS where the edge has none.
        Flexible = "flexible",
    }
}

choice! {
    /// How queries count when pages are kept.
    pub enum QueryCache {
        /// Each query is a page of its own.
        Standard = "standard",
        /// Queries are left out.
        IgnoreQuery = "ignore-query",
        /// Only what is asked for without a query is kept.
        NoQuery = "no-query",
    }
}

choice! {
    /// What is done with visitors that look like machines.
    pub enum Bots {
        /// Nothing.
        Allow = "allow",
        /// They must prove themselves.
        Challenge = "challenge",
        /// They get no answer.
        Block = "block",
    }
}

written!(IpAddr);

impl Written for IpAddr {
    const WHAT: &'static str = "an IP address, like `127.0.0.1` or `::1`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_ADDRESS;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = |_| (format!("`{text}` is not an IP address"), format!("write {}", Self::WHAT));
        text.parse().map_err(wrong)
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn blank() -> Self {
        Self::V4(Ipv4Addr::LOCALHOST)
    }
}

/// A range of addresses, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

written!(Network);

impl Written for Network {
    const WHAT: &'static str = "a network, like `10.0.0.0/8` or `2001:db8::/32`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_ADDRESS;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = text.parse::<IpNet>().ok().or_else(one);
        let wrong = || (format!("`{text}` is not a network"), format!("write {}", Self::WHAT));
        network.map(|network| Self(network.trunc())).ok_or_else(wrong)
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn blank() -> Self {
        Self(IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }
}

section! {
    /// The names of the stack's domain. Routes need no record here: LinkFlow makes theirs.
    pub struct Dns as "dns" {
        /// The provider that answers for the zone.
        on: ProviderName = <ProviderName as Field>::blank(),
        /// Further providers that get the same records, without a proxy: the way out when the first one is down itself.
        also_on: Vec<ProviderName>,
        /// Where the records of routes lead.
        leads_to: LeadsTo = LeadsTo::Edge,
        /// The zone; `stack.domain` when not said.
        zone: Option<Host>,
        /// How long others may keep an answer.
        ttl: Duration = Duration::from_secs(300),
        /// Whether visitors go through the provider's proxy, where a record does not say.
        proxied: bool = false,
        /// Records besides those of the routes.
        records: Vec<Record>,
    }
}

choice! {
    /// Where the records of routes lead.
    pub enum LeadsTo {
        /// To the edge, or to its tunnel, which leads visitors on.
        Edge = "edge",
        /// To the placement that serves now: for stacks whose edge visitors cannot reach. Visitors follow as slowly as DNS
        /// does. See `ttl`.
        Placement = "placement",
    }
}

section! {
    /// One record of the zone.
    pub struct Record as "record" {
        /// The name, relative to the zone; `@` is the zone itself.
        name: String,
        /// Its type.
        r#type: RecordType,
        /// Its value.
        value: String,
        /// The order among mail exchangers.
        priority: Option<Within<0, 65_535>>,
        /// How long others may keep the answer.
        ttl: Option<Duration>,
        /// Whether visitors go through the provider's proxy.
        proxied: Option<bool>,
    }
}

choice! {
    /// The type of a record.
    pub enum RecordType {
        /// An IPv4 address.
        A = "A",
        /// An IPv6 address.
        Aaaa = "AAAA",
        /// Another name.
        Cname = "CNAME",
        /// A mail exchanger.
        Mx = "MX",
        /// A text.
        Txt = "TXT",
        /// Who may issue certificates.
        Caa = "CAA",
        /// A service, `PRIORITY WEIGHT PORT TARGET`.
        Srv = "SRV",
        /// Who answers for a part of the zone.
        Ns = "NS",
    }
}

section! {
    /// Mail that the app sends: accepted by LinkFlow, then sent by whichever provider can.
    pub struct Mail as "mail" {
        /// The usual sender.
        from: Mailbox,
        /// Where answers go.
        reply_to: Option<Mailbox>,
        /// Providers that send it, most preferred first.
        via: Vec<ProviderName> = vec![<ProviderName as Field>::blank()],
        /// Where the app hands mail over, by SMTP.
        listen: Option<SocketAddr>,
        /// The password that the app hands mail over with.
        password: Option<SecretRef>,
        /// How long mail is tried before it is given up.
        give_up_after: Duration = Duration::from_secs(172_800),
        /// Recipient domains that are allowed; all when not said. For environments that must not write to customers.
        only_to: Many<Host>,
    }
}

impl Mail {
    /// Whether mail may go to `to`.
    pub fn may_go_to(&self, to: &Mailbox) -> bool {
        let domain = to.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.only_to.is_empty()
            || self.only_to.iter().any(|host| host.0.eq_ignore_ascii_case(domain))
    }
}
