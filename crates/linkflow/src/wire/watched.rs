//! What is watched: what the config asks for, and what follows from the stack without being asked for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::Stands;
use linkflow_decide::watch::Manner;
use linkflow_engine::Stop;
use linkflow_model::config::kinds::Settings;
use linkflow_model::config::{
    AskedRecord, Config, HostPort, Monitor, Part, Reference, Service, Template, duration_text,
};
use linkflow_model::{Event, HostRoute, ProviderName, Pulse, Secret, ServiceKind, ServiceName};
use linkflow_monitor::{
    Authority, DnsRecord, DnsTarget, Domain, Eyes, GrpcTarget, Guard, Here, HttpTarget, JsonRule,
    Prober, Target, Trust, Watched, Watching,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::beats::{self, Pulses};
use super::render::Renderer;
use super::secrets::Secrets;
use super::state::Key;
use super::{OpenOptions, Stack, domains, errors, incidents, outside, watchdog};

/// How often what nobody asked for is looked at, and how long an answer may take.
const BY_ITSELF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// How many days before its end a certificate is told of when the config does not say.
const CERTIFICATE_DAYS: u32 = 14;

/// What a database is asked when the config does not say.
const QUERY: &str = "SELECT 1";

/// Something to watch, and how people are told of it.
pub(crate) struct Planned {
    /// Who finds out how it is; otherwise why it cannot be watched.
    pub(crate) watched: Result<Way, String>,
    /// As the config calls it.
    pub(crate) subject: String,
    /// What is looked at, without secrets.
    pub(crate) what: String,
    /// How often.
    pub(crate) every: Duration,
    /// Words to find it by.
    pub(crate) tags: Vec<String>,
    /// Whether it follows from the stack.
    pub(crate) derived: bool,
}

/// Who finds out how something is.
pub(crate) enum Way {
    /// Whoever looks at it.
    Looks(Box<Watched>),
    /// The registry of a domain, which is asked.
    Registry(Domain),
}

impl Way {
    /// What it needs, as the config calls it.
    pub(crate) fn needs(&self) -> Vec<String> {
        match self {
            Self::Looks(watched) => watched.needs.clone(),
            Self::Registry(_) => Vec::new(),
        }
    }
}

/// Where visitors come in.
#[derive(Clone, Copy)]
struct Doors {
    public: SocketAddr,
    secure: Option<SocketAddr>,
}

/// All that is to be watched, for a command beside the one that watches.
pub(crate) fn planned(config: &Config, options: &OpenOptions) -> Vec<Planned> {
    let key = Key::peek(&options.state);
    let rehearsed = options.cloud.is_some();
    let secrets = Arc::new(Secrets::new(options.vars.clone(), key.clone(), rehearsed));
    let renderer = Renderer::new(config, secrets, Default::default(), options, key);
    let doors = Doors { public: config.edge.listen, secure: config.edge.listen_tls };
    Plan { config, renderer: &renderer, doors }.all()
}

/// All that `stack` watches, where it is served.
pub(crate) fn all(stack: &Stack) -> Vec<Planned> {
    let doors = Doors { public: stack.edge.public(), secure: stack.edge.secure() };
    Plan { config: &stack.config, renderer: &stack.renderer, doors }.all()
}

/// Watches in tasks of the stack, and listens to what reports by itself. Gives what cannot be watched, in words.
pub(crate) async fn watch(stack: &mut Stack, rehearsed: bool) -> Vec<String> {
    let readings = Pulse::default();
    let (mut unable, mut watching, mut registered) = (Vec::new(), Vec::new(), Vec::new());
    for planned in all(stack) {
        match planned.watched {
            // In a rehearsal nothing real is looked at.
            Ok(way) if rehearsed && !is_rehearsed(&way) => {}
            Ok(Way::Looks(watched)) => watching.push(*watched),
            Ok(Way::Registry(domain)) => registered.push(domain),
            Err(why) => unable.push(format!("{} is not watched: {why}", planned.subject)),
        }
    }
    let looks = look(stack, watching, readings.clone(), &mut unable);
    let asked = Pulse::default();
    let domains = domains::watch(stack, registered, asked.clone(), &mut unable);
    let mut own = Pulses::from([("loop", stack.engine.pulse()), ("alerts", stack.alerts.pulse())]);
    if looks.is_some() {
        own.insert("readings", readings);
    }
    if domains.is_some() {
        own.insert("domains", asked);
    }
    if stack.config.status_page.is_some() {
        own.insert("page", stack.page_pulse.clone());
    }
    if let Some(pulse) = &stack.certificates_pulse {
        own.insert("certificates", pulse.clone());
    }
    let (shown, listening) = beats::listen(stack, own).await;
    outside::take(stack);
    let errors = errors::start(stack, stack.outside.tellers());
    // Where nothing is watched, incidents are what people make of them.
    let some = looks.is_some() || domains.is_some() || !errors.is_empty();
    if some || !stack.config.heartbeats.is_empty() {
        let all = looks.into_iter().chain(domains).chain([shown.clone()]).chain(errors);
        incidents::open(stack, all.collect());
    }
    watchdog::start(stack, shown, listening);
    unable
}

/// Looks at things in a task of the stack; gives how they stand, where there is anything to look at.
fn look(
    stack: &Stack,
    watching: Vec<Watched>,
    pulse: Pulse,
    unable: &mut Vec<String>,
) -> Option<watch::Receiver<Vec<Stands>>> {
    if watching.is_empty() {
        return None;
    }
    let prober = match Prober::new() {
        Ok(prober) => prober,
        Err(why) => {
            unable.push(format!("nothing is watched: {why}"));
            return None;
        }
    };
    let is_far = watching.iter().any(|watched| watched.target.is_far());
    let anchors = if is_far { Guard::usual_anchors() } else { Vec::new() };
    let (tell, told) = mpsc::channel(1_024);
    let show = stack.stands.clone();
    let shown = show.subscribe();
    let eyes = Eyes::new(prober, Guard::new(anchors));
    // Nobody has set it before: a stack is watched once.
    drop(stack.places.here.set(Arc::new(Here::new(eyes.clone(), &watching))));
    let watcher = Watching {
        all: watching,
        eyes,
        vantages: stack.places.others.clone(),
        witness: outside::start(stack),
        store: Arc::clone(&stack.store),
        clock: Arc::clone(&stack.clock),
        tell,
        show,
        pulse,
    };
    telling(stack, "monitors", told, |token| watcher.run(token));
    Some(shown)
}

/// Has `work` done in a task of the stack until that is to end, and the engine told what it tells.
pub(super) fn telling<F: Future<Output = ()> + Send + 'static>(
    stack: &Stack,
    name: &'static str,
    mut told: mpsc::Receiver<Event>,
    work: impl FnOnce(CancellationToken) -> F + Send + 'static,
) {
    let engine = Arc::clone(&stack.engine);
    stack.tasks.start(name, async move |stop: Stop| {
        let token = CancellationToken::new();
        let telling = async {
            while let Some(event) = told.recv().await {
                engine.tell(event).await;
            }
        };
        let ending = async {
            stop.requested().await;
            token.cancel();
        };
        tokio::join!(work(token.clone()), telling, ending);
    });
}

pub(crate) fn is_rehearsed(way: &Way) -> bool {
    let Way::Looks(watched) = way else { return false };
    let is_data = matches!(watched.target, Target::Postgres { .. } | Target::Redis { .. });
    !watched.target.is_far() && !is_data
}

struct Plan<'a> {
    config: &'a Config,
    renderer: &'a Renderer,
    doors: Doors,
}

impl Plan<'_> {
    /// What was declared, then what follows from the stack and was not declared.
    fn all(&self) -> Vec<Planned> {
        let mut all: Vec<Planned> = Vec::new();
        let mut replaced = BTreeSet::new();
        for (name, monitor) in &self.config.monitors {
            let also = stands_for(monitor);
            replaced.extend(also.clone());
            let subject = format!("monitor.{name}");
            if let Some(domain) = &monitor.domain {
                let planned = domains::declared(subject, &domain.0, monitor, &self.config.domains);
                all.push(planned);
                continue;
            }
            let target = self.target(monitor);
            let needs = monitor
                .needs
                .iter()
                .cloned()
                .chain(monitor.service.iter().flat_map(|service| self.needs_of(service)));
            let watched = target.map(|target| Watched {
                elsewhere: target.is_far(),
                subject: subject.clone(),
                also,
                target,
                manner: manner(monitor),
                needs: needs.collect(),
                service: monitor.service.clone(),
                certificate_days: days(monitor.certificate_left),
            });
            let watched = watched.map(|watched| Way::Looks(Box::new(watched)));
            all.push(Planned {
                watched,
                subject,
                what: what(monitor),
                every: monitor.every,
                tags: monitor.tags.to_vec(),
                derived: false,
            });
        }
        if self.config.stack.watch {
            let derived = self.derived().into_iter().chain(domains::derived(self.config));
            all.extend(derived.filter(|planned| !replaced.contains(&planned.subject)));
        }
        all
    }

    fn derived(&self) -> Vec<Planned> {
        let mut all = Vec::new();
        for (name, service) in &self.config.services {
            let subject = format!("service.{name}");
            // What has a host of its own is looked at under it.
            let route = service.route.iter().find(|route| route.is_one_host());
            let route = route.or_else(|| service.route.first());
            let is_visited = service.kind == ServiceKind::Web && !self.may_sleep(service);
            if let Some(route) = route.filter(|_| is_visited) {
                let target = self.visit(service, route);
                let what = target.as_ref().map(|http| http.url.to_string()).unwrap_or_default();
                let target = target.map(|http| Target::Http(Box::new(http)));
                let needs = self.needs_of(name);
                all.push(by_itself(subject, target, what, needs, Some(name.clone())));
            }
        }
        for (name, database) in &self.config.databases {
            let Some(url) = &database.primary.url else { continue };
            let url = self.address(url);
            if url.as_ref().is_ok_and(|url| !url.expose().starts_with("postgres")) {
                continue;
            }
            let target = url.map(|url| Target::Postgres { url, query: QUERY.to_owned() });
            let what = format!("PostgreSQL on {}", database.primary.on);
            all.push(by_itself(format!("database.{name}"), target, what, Vec::new(), None));
        }
        for (name, cache) in &self.config.caches {
            let Some(url) = &cache.primary.url else { continue };
            let url = self.address(url);
            if url.as_ref().is_ok_and(|url| !url.expose().starts_with("redis")) {
                continue;
            }
            let target = url.map(|url| Target::Redis { url });
            let what = format!("Redis on {}", cache.primary.on);
            all.push(by_itself(format!("cache.{name}"), target, what, Vec::new(), None));
        }
        all
    }

    /// Whether a visit could be what keeps the service from sleep, and uses up the hours of a free plan.
    fn may_sleep(&self, service: &Service) -> bool {
        let sleeps = |name: &ProviderName| match self.config.provider(name).map(|p| p.settings) {
            Some(Settings::Render(settings)) => settings.plan == "free",
            Some(Settings::Railway(settings)) => settings.sleep,
            Some(Settings::Koyeb(settings)) => {
                settings.sleep_after.is_some() || settings.instance.as_deref() == Some("free")
            }
            Some(_) | None => false,
        };
        !service.keep_warm && service.runs_on.iter().any(sleeps)
    }

    /// A visit at the edge, as by somebody who came by this route.
    fn visit(&self, service: &Service, route: &HostRoute) -> Result<HttpTarget, String> {
        let host = match route.host.strip_prefix('*') {
            Some("") => "localhost".to_owned(),
            // Any name below it will do.
            Some(below) => format!("www{below}"),
            None => route.host.clone(),
        };
        let health = service.health.as_deref().filter(|path| path.starts_with(&route.path));
        let path = health.unwrap_or(&route.path);
        let (scheme, door) = match self.doors.secure {
            Some(secure) => ("https", secure),
            None => ("http", self.doors.public),
        };
        let mut target = HttpTarget::get(uri(&format!("{scheme}://{host}{path}"))?);
        target.connect = Some(reachable(door));
        target.redirects = 0;
        // Behind a provider in front, the certificate of the edge is between the two of them.
        target.trust = if self.config.edge.on.is_some() { Trust::Any } else { Trust::Machine };
        if health.is_none() {
            target.statuses = (200..500).collect();
        }
        Ok(target)
    }

    /// What a service needs: what its environment has the address of, and the services that come before it.
    fn needs_of(&self, service: &ServiceName) -> Vec<String> {
        let mut needs: BTreeSet<String> =
            self.config.needs(service).iter().map(|need| format!("service.{need}")).collect();
        let env = self.config.env_of(service);
        for reference in env.values().flat_map(Template::references) {
            match reference {
                Reference::Database(name) => drop(needs.insert(format!("database.{name}"))),
                Reference::Cache(name) => drop(needs.insert(format!("cache.{name}"))),
                Reference::Secret(_)
                | Reference::Env(_)
                | Reference::Stack(_)
                | Reference::Service(..)
                | Reference::Bucket(..) => {}
            }
        }
        needs.into_iter().collect()
    }

    fn address(&self, url: &Template) -> Result<Secret, String> {
        self.renderer.text(url).map(|url| Secret::new(url.expose()))
    }

    fn target(&self, m: &Monitor) -> Result<Target, String> {
        if let Some(url) = &m.http {
            return self.http(m, &url.0).map(|http| Target::Http(Box::new(http)));
        }
        if let Some(url) = &m.postgres {
            let query = m.query.clone().unwrap_or_else(|| QUERY.to_owned());
            return Ok(Target::Postgres { url: self.address(url)?, query });
        }
        if let Some(url) = &m.redis {
            return Ok(Target::Redis { url: self.address(url)? });
        }
        Ok(match (&m.tcp, &m.tls, &m.grpc, &m.dns, &m.ping) {
            (Some(at), ..) => Target::Tcp(authority(at)),
            (_, Some(at), ..) => Target::Tls(authority(at)),
            (_, _, Some(at), ..) => Target::Grpc(GrpcTarget {
                at: authority(at),
                tls: m.grpc_tls,
                service: m.grpc_service.clone().unwrap_or_default(),
            }),
            (_, _, _, Some(name), _) => Target::Dns(DnsTarget {
                name: name.0.clone(),
                record: record(m.record),
                answers: m.answer.to_vec(),
                server: m.server,
            }),
            (_, _, _, _, Some(host)) => Target::Ping(host.0.clone()),
            _ => return Err("it names nothing to look at".to_owned()),
        })
    }

    fn http(&self, m: &Monitor, url: &str) -> Result<HttpTarget, String> {
        let mut target = HttpTarget::get(uri(url)?);
        target.method = http::Method::from_str(&m.method.0)
            .map_err(|_| format!("`{}` is no method", m.method.0))?;
        for (name, value) in &m.headers {
            let value = self.renderer.text(value)?;
            // The value is not repeated: it may be a secret.
            let wrong = || format!("the header `{}` cannot be sent", name.0);
            let name = http::HeaderName::from_str(&name.0).map_err(|_| wrong())?;
            let mut value = http::HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            target.headers.push((name, value));
        }
        if let Some(body) = &m.body {
            target.body = self.renderer.text(body)?.expose().as_bytes().to_vec();
        }
        target.statuses = m.status.iter().map(|status| status.0).collect();
        target.contains.clone_from(&m.contains);
        target.lacks.clone_from(&m.lacks);
        let rules = m.json.iter();
        target.json =
            rules.map(|rule| JsonRule { path: rule.path.clone(), is: rule.is.clone() }).collect();
        target.redirects = u8::try_from(m.redirects.0).unwrap_or(u8::MAX);
        Ok(target)
    }
}

/// What a monitor takes the place of.
fn stands_for(monitor: &Monitor) -> Vec<String> {
    let service = monitor.service.iter().filter(|_| monitor.domain.is_none());
    let service = service.map(|service| format!("service.{service}"));
    let urls = monitor.postgres.iter().chain(&monitor.redis);
    let data = urls.filter_map(|url| match url.parts.as_slice() {
        [Part::Reference(Reference::Database(name))] => Some(format!("database.{name}")),
        [Part::Reference(Reference::Cache(name))] => Some(format!("cache.{name}")),
        _ => None,
    });
    let domain = monitor.domain.iter().map(|host| domains::subject(&domains::of(&host.0)));
    service.chain(data).chain(domain).collect()
}

fn by_itself(
    subject: String,
    target: Result<Target, String>,
    what: String,
    needs: Vec<String>,
    service: Option<ServiceName>,
) -> Planned {
    let (every, limit) = BY_ITSELF;
    let every_ms = ms(every);
    let watched = target.map(|target| Watched {
        elsewhere: target.is_far(),
        subject: subject.clone(),
        also: Vec::new(),
        target,
        manner: Manner {
            every_ms,
            limit_ms: ms(limit),
            hold_ms: Manner::usual_hold(every_ms),
            slow_ms: None,
            learn_ms: Some(0),
        },
        needs,
        service,
        certificate_days: CERTIFICATE_DAYS,
    });
    let watched = watched.map(|watched| Way::Looks(Box::new(watched)));
    Planned { watched, subject, what, every, tags: Vec::new(), derived: true }
}

fn manner(monitor: &Monitor) -> Manner {
    let every_ms = ms(monitor.every);
    Manner {
        every_ms,
        limit_ms: ms(monitor.timeout),
        hold_ms: monitor.confirm.map_or_else(|| Manner::usual_hold(every_ms), ms),
        slow_ms: monitor.slow.map(ms),
        learn_ms: monitor.learn_slow.then(|| monitor.slow_least.map_or(0, ms)),
    }
}

/// What a monitor looks at, in words and without secrets.
fn what(m: &Monitor) -> String {
    let at = |kind: &str, at: &HostPort| format!("{kind} {}:{}", at.host, at.port);
    let names = [
        m.http.as_ref().map(|url| match m.method.0.as_str() {
            "GET" => url.0.clone(),
            method => format!("{method} {}", url.0),
        }),
        m.tcp.as_ref().map(|to| at("TCP", to)),
        m.tls.as_ref().map(|to| at("TLS", to)),
        m.grpc.as_ref().map(|to| at("gRPC", to)),
        m.dns.as_ref().map(|name| format!("{} {}", m.record.word(), name.0)),
        m.ping.as_ref().map(|host| format!("ping {}", host.0)),
        m.postgres.as_ref().map(|_| "PostgreSQL".to_owned()),
        m.redis.as_ref().map(|_| "Redis".to_owned()),
    ];
    names.into_iter().flatten().next().unwrap_or_default()
}

impl Planned {
    /// How often it is looked at, in words.
    pub(crate) fn rhythm(&self) -> String {
        duration_text(self.every)
    }
}

fn record(record: AskedRecord) -> DnsRecord {
    match record {
        AskedRecord::A => DnsRecord::A,
        AskedRecord::Aaaa => DnsRecord::Aaaa,
        AskedRecord::Cname => DnsRecord::Cname,
        AskedRecord::Mx => DnsRecord::Mx,
        AskedRecord::Ns => DnsRecord::Ns,
        AskedRecord::Txt => DnsRecord::Txt,
    }
}

fn authority(at: &HostPort) -> Authority {
    Authority { host: at.host.clone(), port: at.port }
}

fn uri(text: &str) -> Result<http::Uri, String> {
    text.parse().map_err(|_| format!("`{text}` is no web address"))
}

/// Where somebody on this machine reaches `door`.
fn reachable(door: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match door.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, door.port())
}

fn days(left: Duration) -> u32 {
    u32::try_from(left.as_secs() / 86_400).unwrap_or(u32::MAX)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
