//! The edge, as the config asks for it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use linkflow_edge::{
    AccessLogOptions, AcmeOptions, Certificates, Front, Guard, Limits, LogTo, Options, Origin,
    Pace, PairOfFiles, RateRule, Resolve, TlsOptions, Watched,
};
use linkflow_engine::{Stop, Tasks};
use linkflow_model::config::{self, Acme, Config, RateLimit};
use linkflow_model::{Clock, Pulse, ServiceName, ServiceRoute};
use linkflow_store::Store;
use linkflow_web::Shelf;
use tracing::warn;

use super::secrets::Secrets;
use super::state::Home;
use super::{Listen, OpenError, OpenOptions, dashboard, page};

/// How often the time that certificates have left is recorded.
const EVERY: Duration = Duration::from_secs(3_600);

/// How much of old pages is kept.
const STALE_BYTES: usize = 16 << 20;

/// How the edge is set up.
pub(super) fn options(
    config: &Config,
    options: &OpenOptions,
    ports: BTreeMap<ServiceName, SocketAddr>,
    front: Front,
) -> Options {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (public, internal) = match options.listen {
        Listen::Nowhere => (anywhere, BTreeMap::new()),
        Listen::At { public, .. } => (public, ports),
    };
    let clouds = options.cloud.iter().flat_map(|cloud| cloud.providers.values());
    let resolve = clouds.map(|p| (p.host_suffix.clone(), p.ingress)).collect();
    let limits = limits(config, options.cloud.is_some());
    let (resolve, policy) = (Resolve(resolve), config.policy());
    let watched = match options.listen {
        Listen::Nowhere => Watched::default(),
        Listen::At { public, .. } => watched(config, options, public),
    };
    Options { public, front, internal, resolve, limits, policy, watched }
}

/// Sizes and times. In a rehearsal answers name their provider, so that people see who answered.
fn limits(config: &Config, rehearsal: bool) -> Limits {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (usual, timeout) = (Limits::default(), config.edge.timeout.map(ms));
    Limits {
        name_target: rehearsal,
        body_bytes: config.edge.max_body.0,
        ramp_ms: ms(config.edge.ramp),
        first_byte_alone_ms: timeout.unwrap_or(usual.first_byte_alone_ms),
        first_byte_once_ms: timeout.unwrap_or(usual.first_byte_once_ms),
        ..usual
    }
}

/// How it can be seen what the edge does.
///
/// A rehearsal writes nothing beside what is real, and a scenario, which serves at any free port, has no metrics.
fn watched(config: &Config, options: &OpenOptions, public: SocketAddr) -> Watched {
    let edge = &config.edge;
    let access_log = edge.access_log.as_ref().filter(|_| options.cloud.is_none());
    let access_log = access_log.map(|to| AccessLogOptions {
        to: match to {
            config::LogTo::Stderr => LogTo::Stderr,
            config::LogTo::File(path) => LogTo::File(options.workdir.join(path)),
        },
        sample: f64::from(edge.access_log_sample.0) / 100.0,
        hidden: dashboard::hidden(),
    });
    Watched { access_log, metrics: edge.metrics.filter(|_| public.port() != 0) }
}

/// How visitors come in.
pub(super) fn front(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    home: &Home,
    (shelf, also): (&Arc<Shelf>, Option<ServiceRoute>),
) -> Result<Front, OpenError> {
    let edge = &config.edge;
    let tls = match options.listen {
        Listen::At { tls: Some(at), .. } => Some(tls(config, options, secrets, home, at)?),
        _ => None,
    };
    Ok(Front {
        tls,
        trusted: edge.trusted.iter().map(|network| network.0).collect(),
        visitor_header: edge.visitor_header,
        proxy_protocol: edge.proxy_protocol,
        guard: Guard { also, ..guard(config, options, shelf)? },
    })
}

/// How often a visitor may ask.
fn rate(limit: &RateLimit) -> Result<RateRule, OpenError> {
    let header = limit.by.as_deref().map(|name| {
        name.parse().map_err(|_| OpenError::Missing {
            what: format!("`{name}` is no name of a header"),
            help: "write one like `x-api-key` into `edge.rate_limit.by`".to_owned(),
        })
    });
    let per_ms = u64::try_from(limit.per.as_millis()).unwrap_or(u64::MAX);
    let header = header.transpose()?;
    Ok(RateRule { requests: limit.requests, per_ms, paths: limit.paths.clone(), header })
}

/// What visitors may do, and what they get when nothing answers.
///
/// In a rehearsal all visitors come from one address, and what they meet is measured: so none of them is counted or sent
/// away, and no old page stands for an answer.
fn guard(config: &Config, options: &OpenOptions, shelf: &Arc<Shelf>) -> Result<Guard, OpenError> {
    let edge = &config.edge;
    let rate = edge.rate_limit.as_ref().map(rate).transpose()?;
    let security_headers = edge.security_headers;
    let own = page::own_host(config, shelf);
    let page = config.status_page.as_ref().and_then(|page| page.host.as_ref());
    let status_page = page.map(|host| format!("https://{}", host.0));
    if options.cloud.is_some() {
        return Ok(Guard { status_page, own, security_headers, ..Guard::default() });
    }
    Ok(Guard {
        rate,
        allow: edge.allow.iter().map(|network| network.0).collect(),
        deny: edge.deny.iter().map(|network| network.0).collect(),
        stale_bytes: if edge.always_online { STALE_BYTES } else { 0 },
        status_page,
        own,
        also: None,
        security_headers,
    })
}

fn tls(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    home: &Home,
    at: SocketAddr,
) -> Result<TlsOptions, OpenError> {
    let edge = &config.edge;
    let tls = TlsOptions { min: edge.min_tls, hsts: edge.hsts, ..TlsOptions::at(at) };
    if options.cloud.is_some() {
        // A rehearsal shows no real certificate and asks no CA; and what it prints to try out is plain HTTP.
        let routes = config.services.values().flat_map(|service| service.route.iter());
        let hosts = routes.filter(|route| route.is_one_host()).map(|route| route.host.clone());
        let here = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made_up = hosts.chain(here).collect();
        return Ok(TlsOptions { made_up, https_only: false, hsts: None, ..tls });
    }
    let outside = edge.address.as_ref().and_then(|url| url.0.parse::<http::Uri>().ok());
    let outside = outside.filter(|uri| uri.scheme_str() == Some("https"));
    let acme = edge.acme.as_ref().map(|acme| of_acme(config, acme, options, secrets, home));
    Ok(TlsOptions {
        files: files(config, options),
        acme: acme.transpose()?,
        https_only: edge.https_only,
        port: outside.map(|uri| uri.port_u16().unwrap_or(443)),
        ..tls
    })
}

/// The certificates in files.
fn files(config: &Config, options: &OpenOptions) -> Vec<PairOfFiles> {
    let pair = |(name, certificate): (&linkflow_model::ItemName, &_)| {
        pair(name.as_str(), certificate, &options.workdir)
    };
    config.edge.certificates.iter().map(pair).collect()
}

/// One certificate in files, whose paths begin at `folder`.
pub(crate) fn pair(
    name: &str,
    certificate: &config::Certificate,
    folder: &std::path::Path,
) -> PairOfFiles {
    let (chain, key) = (folder.join(&certificate.chain), folder.join(&certificate.key));
    PairOfFiles { name: name.to_owned(), chain, key }
}

fn of_acme(
    config: &Config,
    acme: &Acme,
    options: &OpenOptions,
    secrets: &Secrets,
    home: &Home,
) -> Result<AcmeOptions, OpenError> {
    let key = acme.external_key.as_ref().map(|reference| {
        secrets.follow(reference).ok_or_else(|| OpenError::Missing {
            what: format!("`edge.acme.external_key` is not there: {}", reference.reference),
            help: "export it before you start LinkFlow".to_owned(),
        })
    });
    let external = acme.external_id.clone().zip(key.transpose()?);
    Ok(AcmeOptions {
        directory: acme.directory.0.clone(),
        contact: acme.contact.iter().map(|to| format!("mailto:{}", to.address)).collect(),
        challenge: acme.challenge,
        hosts: config.acme_hosts().into_iter().collect(),
        roots: acme.roots.as_ref().map(|path| options.workdir.join(path)),
        external,
        folder: home.path("acme"),
        pace: Pace::default(),
        pulse: Pulse::default(),
    })
}

/// Why the edge could not be bound.
pub(super) fn unbound(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::InvalidData => OpenError::Certificate(error.to_string()),
        io::ErrorKind::InvalidInput => OpenError::Missing {
            what: error.to_string(),
            help: "`edge.access_log` says where it goes; its folder has to be there".to_owned(),
        },
        _ => OpenError::Listen(error),
    }
}

/// Records how many days each certificate has left, under `certificate/NAME` and `certificate/acme/HOST`.
pub(super) fn record_certificates(
    tasks: &Tasks,
    certificates: Certificates,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
) {
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    tasks.start("certificates", |stop: Stop| async move {
        loop {
            let now = clock.wall();
            for held in certificates.all() {
                let name = match held.origin {
                    Origin::Files(_, name) => format!("certificate/{name}"),
                    Origin::Acme(host) => format!("certificate/acme/{host}"),
                    Origin::MadeUp => continue,
                };
                let hours = u32::try_from(held.about.ends.0.saturating_sub(now.0) / 3_600_000);
                let days = f64::from(hours.unwrap_or(u32::MAX)) / 24.0;
                if let Err(error) = store.record(&name, now, days).await {
                    warn!(%error, name, "how long a certificate lasts could not be recorded");
                }
            }
            if stop.or(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_limit_on_an_answers_beginning_is_for_all_that_do_not_say_their_own() {
        let read = |edge: &str| {
            let text = format!(
                "[stack]\nname = \"shop\"\n[services.a]\nimage = \"a\"\nport = 1\n\
                 timeouts = {{ connect = \"3s\", answer = \"2m\" }}\n[edge]\n{edge}"
            );
            let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
            Config::parse(&files, "linkflow.toml", None).config.unwrap()
        };
        let usual = Limits::default();
        let said = limits(&read("ramp = \"5s\""), false);
        assert_eq!(said, Limits { body_bytes: 10_000_000, ramp_ms: 5_000, ..usual });
        let said = limits(&read("timeout = \"30s\""), true);
        assert_eq!((said.first_byte_alone_ms, said.first_byte_once_ms), (30_000, 30_000));
        let service = &read("").services()[0];
        let own = service.timeouts;
        assert_eq!((own.connect_ms, own.answer_ms), (Some(3_000), Some(120_000)));
        assert_eq!((own.first_byte_ms, own.idle_ms), (None, None));
    }
}
