//! Names and what stands in front of the edge: the providers of `[dns]` and `edge.on`, and what the config asks of them.

use std::path::Path;
use std::sync::Arc;

use linkflow_decide::{Lead, Named, Names, names};
use linkflow_model::clock::SystemClock;
use linkflow_model::config::{
    Bots, CacheRule, Config, Dns as Section, LeadsTo, Provider, QueryCache, RateLimit, RecordType,
    Role, TlsMode, kinds,
};
use linkflow_model::role::{
    CacheLevel, Cdn, CdnLook, Dns, DnsLook, Encryption, Front, KeepRule, RateRule, Tunnel,
    TunnelWanted, Worker, Zone, ZoneRecord,
};
use linkflow_model::{Clock, ProviderName, Secret, World};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_providers::{cdn, dns};

use super::secrets::Secrets;
use super::state::Home;
use super::worker::BUNDLE;
use super::{LIMITS, OpenError, OpenOptions, parts};

/// The date whose behaviour the worker is written for.
const COMPATIBILITY: &str = "2026-07-01";
/// The name by which the worker reads its values.
const VALUES: &str = "LINKFLOW";

/// Whoever answers for the zone and stands in front, with the power to change it.
pub(crate) struct Writing {
    pub(crate) dns: Vec<Arc<dyn Dns>>,
    pub(crate) cdn: Option<Arc<dyn Cdn>>,
    pub(crate) asked: Asked,
}

/// The same, made of parts that cannot write.
pub(crate) struct Looking {
    pub(crate) dns: Vec<Arc<dyn DnsLook>>,
    pub(crate) cdn: Option<Arc<dyn CdnLook>>,
    pub(crate) asked: Asked,
}

/// A provider's name, and its part or why it cannot be opened.
type Opened<T> = (ProviderName, Result<Arc<T>, OpenError>);

/// The same parts, each opened by itself: one that lacks its token keeps no other from being asked.
pub(crate) struct Apart {
    pub(crate) dns: Vec<Opened<dyn DnsLook>>,
    pub(crate) cdn: Option<Opened<dyn CdnLook>>,
    pub(crate) asked: Asked,
}

/// What the config asks of them.
#[derive(Clone)]
pub(crate) struct Asked {
    /// The zone; empty without `[dns]`.
    pub(crate) zone: String,
    section: Option<Section>,
    hosts: Vec<(String, linkflow_model::ServiceName)>,
    edge: Option<String>,
    has_tunnel: bool,
    /// What should stand in front; `None` without `edge.on`.
    pub(crate) front: Option<Front>,
    /// What of it cannot be asked for, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

impl Writing {
    /// Opens them. Nothing is asked of a provider yet.
    ///
    /// # Errors
    /// What is missing, and what helps.
    pub(crate) fn open(config: &Config, options: &OpenOptions) -> Result<Self, OpenError> {
        let in_folder = |source| OpenError::State { folder: options.state.clone(), source };
        let home = Home::open(&options.state).map_err(in_folder)?;
        let secrets = Secrets::new(options.vars.clone(), home.key(), options.cloud.is_some());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let user_agent = concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned();
        let kit = Kit::new(KitOptions {
            record: options.record.clone(),
            clock,
            user_agent,
            limits: Some(home.path(LIMITS)),
        })?;
        let opening = Opening { config, options, secrets: &secrets, kit: &kit };
        let asked = Asked::of(config, &options.workdir);
        let named = answering(config);
        let dns = named.map(|name| opening.dns(name, &asked.zone)).collect::<Result<_, _>>()?;
        let cdn = config.edge.on.as_ref().map(|name| opening.cdn(name)).transpose()?;
        Ok(Self { dns, cdn, asked })
    }

    /// Their reading halves.
    pub(crate) fn looking(self) -> Looking {
        let dns = self.dns.into_iter().map(|whole| whole as Arc<dyn DnsLook>).collect();
        Looking { dns, cdn: self.cdn.map(|whole| whole as Arc<dyn CdnLook>), asked: self.asked }
    }
}

impl Apart {
    /// Opens them. Nothing is asked of a provider yet, and nothing is written.
    pub(super) fn open(
        config: &Config,
        options: &OpenOptions,
        secrets: &Secrets,
        kit: &Kit,
    ) -> Self {
        let opening = Opening { config, options, secrets, kit };
        let asked = Asked::of(config, &options.workdir);
        let dns = |name: &ProviderName| {
            let opened = opening.dns(name, &asked.zone);
            (name.clone(), opened.map(|whole| whole as Arc<dyn DnsLook>))
        };
        let cdn = |name: &ProviderName| {
            (name.clone(), opening.cdn(name).map(|whole| whole as Arc<dyn CdnLook>))
        };
        let dns = answering(config).map(dns).collect();
        Self { dns, cdn: config.edge.on.as_ref().map(cdn), asked }
    }

    /// Whoever runs the worker, of which a plan allows so many requests.
    pub(crate) fn worker(&self, config: &Config) -> Option<&Opened<dyn CdnLook>> {
        let counts = |name| {
            let provider = config.provider(name);
            provider.is_some_and(|p| !matches!(p.settings, kinds::Settings::Embedded(_)))
        };
        self.cdn.as_ref().filter(|(name, _)| config.edge.worker && counts(name))
    }
}

/// Whoever answers for the zone, the first one first.
fn answering(config: &Config) -> impl Iterator<Item = &ProviderName> {
    config.dns.iter().flat_map(|dns| std::iter::once(&dns.on).chain(&dns.also_on))
}

struct Opening<'a> {
    config: &'a Config,
    options: &'a OpenOptions,
    secrets: &'a Secrets,
    kit: &'a Kit,
}

impl Opening<'_> {
    fn dns(&self, name: &ProviderName, zone: &str) -> Result<Arc<dyn Dns>, OpenError> {
        let provider = self.provider(name, Role::Dns)?;
        let zone = zone.to_owned();
        let settings = match &provider.settings {
            kinds::Settings::Cloudflare(own) => {
                dns::Settings::Cloudflare(self.account(name, &provider, own, zone)?)
            }
            kinds::Settings::Desec(_) => dns::Settings::Desec(match &self.options.cloud {
                Some(cloud) => dns::desec::Settings {
                    token: Secret::new(&cloud.desec.token),
                    zone,
                    api: Some(cloud.desec.api.clone()),
                },
                None => dns::desec::Settings {
                    token: parts::token(name, &provider, self.secrets)?,
                    zone,
                    api: provider.api().map(ToOwned::to_owned),
                },
            }),
            _ => {
                let folder = self.options.state.join("zones");
                dns::Settings::Embedded(dns::embedded::Settings { zone, folder })
            }
        };
        Ok(dns::open(settings, self.kit, &self.config.stack.name, name))
    }

    fn cdn(&self, name: &ProviderName) -> Result<Arc<dyn Cdn>, OpenError> {
        let provider = self.provider(name, Role::Cdn)?;
        let stack = &self.config.stack.name;
        let settings = match &provider.settings {
            kinds::Settings::Cloudflare(own) => {
                let zone = zone_of(self.config).ok_or_else(|| OpenError::Missing {
                    what: format!("nobody knows which zone `{name}` stands in front of"),
                    help: "add `domain` to `[stack]`, or `zone` to `[dns]`".to_owned(),
                })?;
                let account = self.account(name, &provider, own, zone)?;
                let worker = own.worker.clone().unwrap_or_else(|| format!("linkflow-{stack}"));
                // What a real account calls its own is not in the rehearsal.
                let tunnel = own.tunnel.clone().filter(|_| self.options.cloud.is_none());
                cdn::Settings::Cloudflare(cdn::cloudflare::Settings { account, worker, tunnel })
            }
            _ => {
                let folder = self.options.state.join("values");
                cdn::Settings::Embedded(cdn::embedded::Settings { folder })
            }
        };
        Ok(cdn::open(settings, self.kit, stack, name))
    }

    fn account(
        &self,
        name: &ProviderName,
        provider: &Provider,
        own: &kinds::Cloudflare,
        zone: String,
    ) -> Result<dns::cloudflare::Settings, OpenError> {
        Ok(match &self.options.cloud {
            Some(cloud) => dns::cloudflare::Settings {
                token: Secret::new(&cloud.cloudflare.token),
                zone,
                zone_id: None,
                account: None,
                api: Some(cloud.cloudflare.api.clone()),
            },
            None => dns::cloudflare::Settings {
                token: parts::token(name, provider, self.secrets)?,
                zone,
                zone_id: own.zone.clone(),
                account: own.account.clone(),
                api: provider.api().map(ToOwned::to_owned),
            },
        })
    }

    fn provider(&self, name: &ProviderName, role: Role) -> Result<Provider, OpenError> {
        let provider = self
            .config
            .provider(name)
            .filter(|provider| linkflow_model::config::acts(provider.kind().word, role));
        provider.ok_or_else(|| OpenError::Missing {
            what: format!("`{name}` is not acted on for {role} yet"),
            help: "`cloudflare` and `embedded` are, and `desec` for dns".to_owned(),
        })
    }
}

fn zone_of(config: &Config) -> Option<String> {
    let said = config.dns.as_ref().and_then(|dns| dns.zone.as_ref());
    said.or(config.stack.domain.as_ref()).map(|host| host.0.clone())
}

impl Asked {
    fn of(config: &Config, workdir: &Path) -> Self {
        let hosts = config.services.iter().flat_map(|(name, service)| {
            service.route.iter().map(move |route| (route.host.clone(), name.clone()))
        });
        let edge = config.edge.address.as_ref().map(|address| host_of(&address.0));
        let mut asked = Self {
            zone: zone_of(config).unwrap_or_default(),
            section: config.dns.clone(),
            hosts: hosts.filter(|(host, _)| host != "*").collect(),
            edge,
            has_tunnel: config.edge.on.is_some() && config.edge.tunnel,
            front: None,
            left_out: Vec::new(),
        };
        asked.hosts.sort();
        asked.hosts.dedup_by(|later, first| later.0 == first.0);
        if config.edge.on.is_some() {
            asked.front = Some(asked.front(config, workdir));
        }
        asked
    }

    fn front(&mut self, config: &Config, workdir: &Path) -> Front {
        let edge = &config.edge;
        let ttl = |ttl: std::time::Duration| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let rate = |limit: &RateLimit| RateRule {
            requests: limit.requests.get(),
            per_s: ttl(limit.per),
            paths: limit.paths.clone(),
        };
        let keep = |rule: &CacheRule| KeepRule { path: rule.path.clone(), ttl_s: ttl(rule.ttl) };
        let in_zone: Vec<&String> =
            self.hosts.iter().map(|(host, _)| host).filter(|host| self.is_in_zone(host)).collect();
        let port = edge.listen.port();
        let way = |host: &&String| ((*host).clone(), format!("http://localhost:{port}"));
        let tunnel =
            edge.tunnel.then(|| TunnelWanted { ingress: in_zone.iter().map(way).collect() });
        let routes: Vec<String> = in_zone.iter().map(|host| format!("{host}/*")).collect();
        let module = edge.worker.then(|| module(edge.worker_module.as_deref(), workdir));
        let worker = match module {
            None => None,
            Some(Ok(module)) => Some(Worker {
                module,
                compatibility: COMPATIBILITY.to_owned(),
                variables: edge.address.iter().map(|a| ("EDGE".to_owned(), a.0.clone())).collect(),
                values: VALUES.to_owned(),
                routes,
            }),
            Some(Err(why)) => {
                self.left_out.push(("worker".to_owned(), why));
                None
            }
        };
        Front {
            encryption: Some(match edge.tls {
                TlsMode::Strict => Encryption::Strict,
                TlsMode::Full => Encryption::Full,
                TlsMode::Flexible => Encryption::Flexible,
            }),
            https_only: edge.https_only,
            min_tls: Some(edge.min_tls.word().to_owned()),
            hsts_s: edge.hsts.map(|time| time.as_secs()),
            https_rewrites: edge.https_rewrites,
            firewall: edge.waf,
            bots: edge.bots != Bots::Allow,
            cache_level: edge.cache_level.map(|level| match level {
                QueryCache::Standard => CacheLevel::Standard,
                QueryCache::IgnoreQuery => CacheLevel::IgnoreQuery,
                QueryCache::NoQuery => CacheLevel::NoQuery,
            }),
            browser_cache_s: edge.browser_cache.map(ttl),
            always_online: edge.always_online,
            rate: edge.rate_limit.iter().map(rate).collect(),
            cache: edge.cache.iter().map(keep).collect(),
            leaves_worker: edge.worker && worker.is_none(),
            worker,
            tunnel,
        }
    }

    fn is_in_zone(&self, host: &str) -> bool {
        host == self.zone || host.ends_with(&format!(".{}", self.zone))
    }

    /// Whether records of routes follow the placement that serves.
    pub(crate) fn follows(&self) -> bool {
        self.section.as_ref().is_some_and(|dns| dns.leads_to == LeadsTo::Placement)
    }

    /// Whether visitors may come through a tunnel.
    pub(crate) fn has_tunnel(&self) -> bool {
        self.has_tunnel
    }

    /// How long others may keep the answers of routes, in seconds.
    pub(crate) fn ttl_s(&self) -> u32 {
        self.section.as_ref().map_or(0, |dns| seconds(dns.ttl))
    }

    /// The records that `zone` should have in `world`. Where it has no proxy, nothing can lead through a tunnel.
    pub(crate) fn named(&self, zone: &Zone, tunnel: Option<&Tunnel>, world: &World) -> Named {
        let Some(section) = &self.section else { return Named::default() };
        let lead = match (&self.edge, tunnel) {
            _ if self.follows() => Lead::Placement,
            (_, Some(tunnel)) if zone.proxies && self.has_tunnel => {
                Lead::Tunnel(tunnel.address.clone())
            }
            (_, None) if zone.proxies && self.has_tunnel => {
                Lead::Nowhere("there is no tunnel yet; `dns apply` makes it first".to_owned())
            }
            (Some(edge), _) => Lead::Edge(edge.clone()),
            (None, _) if self.has_tunnel => Lead::Nowhere(
                "the edge is reached by a tunnel, which only its own provider leads to; `edge.address` would say another way".to_owned(),
            ),
            (None, _) => Lead::Nowhere("nobody knows where the edge is: say `edge.address`".to_owned()),
        };
        let asked = Names {
            zone: self.zone.clone(),
            ttl_s: seconds(section.ttl),
            proxied: section.proxied,
            own: section.records.iter().map(|record| own(section, &self.zone, record)).collect(),
            hosts: self.hosts.clone(),
            lead,
        };
        let held: Vec<ZoneRecord> =
            zone.records.iter().filter(|held| held.ours).map(|held| held.record.clone()).collect();
        names(&asked, world, &held)
    }
}

fn seconds(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// A record of the config.
fn own(section: &Section, zone: &str, record: &linkflow_model::config::Record) -> ZoneRecord {
    let name = record.name.trim_end_matches('.');
    let name = match name {
        "@" => zone.to_owned(),
        _ if name == zone || name.ends_with(&format!(".{zone}")) => name.to_owned(),
        _ => format!("{name}.{zone}"),
    };
    let (kind, proxiable) = match record.r#type {
        RecordType::A => ("A", true),
        RecordType::Aaaa => ("AAAA", true),
        RecordType::Cname => ("CNAME", true),
        RecordType::Mx => ("MX", false),
        RecordType::Txt => ("TXT", false),
        RecordType::Caa => ("CAA", false),
        RecordType::Srv => ("SRV", false),
        RecordType::Ns => ("NS", false),
    };
    let value = match (&record.priority, kind) {
        (Some(priority), "MX" | "SRV") => format!("{} {}", priority.0, record.value),
        (None, "MX") if !record.value.contains(' ') => format!("10 {}", record.value),
        _ => record.value.clone(),
    };
    let ttl_s = seconds(record.ttl.unwrap_or(section.ttl));
    let proxied = proxiable && record.proxied.unwrap_or(section.proxied);
    ZoneRecord::new(&name, kind, &value, ttl_s, proxied)
}

/// The text of the worker's module: LinkFlow's own, or the one of the file that is named.
fn module(path: Option<&str>, workdir: &Path) -> Result<String, String> {
    let Some(path) = path else { return Ok(BUNDLE.to_owned()) };
    let path = workdir.join(path);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The host in an address on the web.
fn host_of(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6.to_owned(),
        None => authority.split(':').next().unwrap_or_default().to_ascii_lowercase(),
    }
}
