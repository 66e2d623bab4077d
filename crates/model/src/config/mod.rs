//! What the user asked for: `linkflow.toml`, typed and checked.
//!
//! [`Config::parse`] gives a config or every problem at once. Keys are declared once, with `section!`; that one list
//! makes the type, the reader, the printer, the JSON schema ([`schema`]) and the manual ([`manual`]).

mod acts;
mod address;
mod amount;
mod check;
pub mod codes;
mod dashboard;
mod data;
mod deploy;
mod edge;
pub mod kinds;
mod macros;
mod manual;
mod node;
mod page;
mod parse;
mod print;
mod problem;
mod programs;
mod provider;
mod read;
mod route;
mod schema;
mod service;
mod shape;
mod source;
mod ssh;
mod stack;
mod template;
mod tls;
mod values;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

pub use acts::{NotYet, acts};
pub use address::{Host, Machine, Mailbox, Url};
pub use amount::{Bytes, Cpu, Memory, Money, Percent, duration_text};
pub use codes::Code;
pub use dashboard::Dashboard;
pub use data::{Backup, Bucket, Cache, Copy, Database, Keep, Primary, Promote};
pub use deploy::{CommandLine, Deploy, Hooks};
pub use edge::{
    Bots, CacheRule, Dns, Edge, LeadsTo, LogTo, Mail, Network, QueryCache, RateLimit, Record,
    RecordType, Tls, TlsMode, VisitorHeader,
};
pub use manual::manual;
pub use page::{Colour, IncidentTemplate, Language, PageLink, PagePlace, PageSubscribe, Zone};
pub use parse::Parsed;
pub use print::quoted;
pub use problem::{Place, Problem, Severity, nearest};
pub use programs::Programs;
pub use provider::{Account, Provider, Role};
pub use route::{HeaderKey, Hosts, Method, PathPrefix, RouteTable};
pub use schema::schema;
pub use service::{Build, Service, Size, Timeouts};
pub use source::{Files, Source, Sources};
pub use ssh::SshFolder;
pub use stack::{AtLimit, Budget, Failover, Period, Quota, Secrets, Stack};
pub use template::{
    BucketProperty, Part, Reference, SecretRef, ServiceProperty, StackProperty, Template,
    TemplateError,
};
pub use tls::{Acme, Certificate, Challenge};
pub use values::{Environment, Many, RESERVED, Within};
use watch::PARTIAL_COUNTS;
pub use watch::{
    Alert, AlertLevel, AskedRecord, Component, Cron, Domains, Heartbeat, HostPort, JsonIs, Monitor,
    OtherPlace, Phone, QuietHours, Reports, StatusPage, Telemetry, Watchdog, Window,
};

use crate::{ItemName, Policy, ProviderName, RolloutPolicy, ServiceName, ServiceSpec};
use macros::section;
use read::Field;

section! {
    /// `linkflow.toml`: a stack and everything that keeps it up.
    pub struct Config as "config" {
        /// The version of this form. A later LinkFlow reads earlier versions.
        schema_version: u8 = 1,
        /// What this file declares.
        stack: Stack,
        /// Where secrets are kept.
        secrets: Secrets = Secrets::blank(),
        /// Accounts at vendors, by the name that the rest of the file uses. `embedded` and `docker` are there without being declared.
        providers: BTreeMap<ProviderName, Provider>,
        /// Container images, and where they run.
        services: BTreeMap<ServiceName, Service>,
        /// When services move.
        failover: Failover = Failover::blank(),
        /// How a release gets out.
        deploy: Deploy = Deploy::blank(),
        /// The proxy that leads visitors to services.
        edge: Edge = Edge::blank(),
        /// The names of the stack's domain.
        dns: Option<Dns>,
        /// Databases.
        databases: BTreeMap<ItemName, Database>,
        /// Caches.
        caches: BTreeMap<ItemName, Cache>,
        /// Buckets of objects.
        buckets: BTreeMap<ItemName, Bucket>,
        /// Backups.
        backups: BTreeMap<ItemName, Backup>,
        /// Mail that the app sends.
        mail: Option<Mail>,
        /// What is looked at from outside.
        monitors: BTreeMap<ItemName, Monitor>,
        /// Registered domains.
        domains: Domains = Domains::blank(),
        /// Who looks as well, from other places.
        vantages: BTreeMap<ItemName, OtherPlace>,
        /// What must report by itself.
        heartbeats: BTreeMap<ItemName, Heartbeat>,
        /// How jobs report to the heartbeats.
        reports: Reports = Reports::blank(),
        /// Who is told that LinkFlow itself is well.
        watchdog: Watchdog = Watchdog::blank(),
        /// Where errors, logs and metrics go.
        telemetry: Option<Telemetry>,
        /// Work that is done again and again.
        maintenance: BTreeMap<ItemName, Window>,
        /// The page that tells people how the product is.
        status_page: Option<StatusPage>,
        /// Where operators look and act.
        dashboard: Dashboard = Dashboard::blank(),
        /// Who is told when something happens.
        alerts: BTreeMap<ItemName, Alert>,
        /// What the stack may cost.
        budget: Option<Budget>,
        /// Limits of plans that differ from what LinkFlow knows of them.
        quotas: BTreeMap<ItemName, Quota>,
    }
}

impl Config {
    /// Every service, by name.
    pub fn services(&self) -> Vec<ServiceSpec> {
        self.services.iter().map(|(name, service)| service.spec(name)).collect()
    }

    /// When services move.
    pub fn policy(&self) -> Policy {
        self.failover.policy()
    }

    /// How releases get out.
    pub fn rollout(&self) -> RolloutPolicy {
        self.deploy.policy()
    }

    /// How much of the time in which something is reached only from some places counts as down, in hundredths.
    pub fn partial_counts(&self) -> u32 {
        let percent = self.status_page.as_ref().map_or(PARTIAL_COUNTS, |page| page.partial_counts);
        u32::from(percent.0)
    }

    /// The environment of a service as written; empty for a service that is not there.
    pub fn env_of(&self, service: &ServiceName) -> BTreeMap<String, Template> {
        self.services.get(service).map(|s| s.env.0.clone()).unwrap_or_default()
    }

    /// The provider of that name. `embedded` and `docker` are always there.
    pub fn provider(&self, name: &ProviderName) -> Option<Provider> {
        let declared = self.providers.get(name).cloned();
        declared.or_else(|| Provider::of_machine(name.as_str()))
    }

    /// The providers that run services or their migrations, each once, by name.
    pub fn compute(&self) -> BTreeMap<ProviderName, Provider> {
        let mut names: BTreeSet<&ProviderName> =
            self.services.values().flat_map(|s| &s.runs_on).collect();
        let mut migrating = self.services.values().filter(|s| s.migrate.is_some()).peekable();
        if migrating.peek().is_some() {
            names.extend(&self.deploy.migrate_on);
        }
        for service in migrating {
            let image = format!("{}/{}", service.image.registry, service.image.repository);
            names.extend(self.providers.iter().filter_map(|(name, provider)| {
                matches!(&provider.settings, kinds::Settings::Embedded(own) if own.programs.0.contains_key(&image))
                    .then_some(name)
            }));
        }
        names.into_iter().filter_map(|n| Some((n.clone(), self.provider(n)?))).collect()
    }

    /// The services that must be deployed before `service`: those it needs, and those whose address it is told.
    pub fn needs(&self, service: &ServiceName) -> BTreeSet<ServiceName> {
        self.services.get(service).map(Service::all_needs).unwrap_or_default()
    }

    /// The config as TOML. Files and environments are joined in it; parsing it gives the same config.
    pub fn to_toml(&self) -> String {
        print::document(&self.print_fields())
    }
}
