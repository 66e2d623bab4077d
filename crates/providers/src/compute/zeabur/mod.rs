//! Zeabur through its GraphQL API. <https://zeabur.com/docs/en-US/developer/public-api>
//!
//! **The API is not described in public.** What is written here follows the requests of the vendor's own command line
//! (`github.com/zeabur/cli`) and SDK (`@zeabur/ai-sdk`); [`FACTS_ONLY`] says so to the user.
//!
//! One image service per service, in one environment of one project. Markers are service variables. A new service is
//! empty until its variables are set, and known by its name until then. Variables are written one by one, several in
//! one request, since the mutation that takes all of them takes away what it is not told; they take effect with the
//! next start. Stopping is `suspendService`, and what is suspended is resumed by a restart, which makes a deployment.
//!
//! The status is the service's, not a deployment's: right after a deploy it may tell of the one before. So the newest
//! deployment and its own word count too. Which image runs is told nowhere; it is read from a marker.
//!
//! gRPC: nothing says that the HTTP ingress passes it, so a gRPC service gets a TCP port, which is forwarded as it is
//! and without TLS. The number of the port is told, its host is not: that is a setting, and without it there is no gRPC.
//!
//! One-off commands run in the container that is up, which is the old release when a migration is due: so no jobs.

mod change;
mod hide;
mod placement;
mod scope;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, DnsRecord, DomainState, LogLine, PrivateImages,
    Progress, Seen, Usage,
};
use linkflow_model::{Definition, Fault, FaultKind, ProviderName, Secret, ServiceName, StackName};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::kit::graphql::{Operation, mutate, own_judgement, query};
use super::settle::Settling;
use super::time::timestamp;
use crate::kit::{Account, Auth, Kit, Limiter, Rule, Scope as LimitScope, Vendor};

use placement::{Aim, Placement};
use scope::Scope;
use wire::{CreditAnswer, Domain, LogsAnswer, LookAnswer, Page, ProgressAnswer, Run, Service};

/// What a user has to know before relying on this adapter, in one sentence.
pub const FACTS_ONLY: &str = "Zeabur publishes no description of its API, so this adapter follows what Zeabur's own \
    command line and SDK send: try it with a service that nobody needs before you rely on it.";

/// The vendor's address.
const API: &str = "https://api.zeabur.com/graphql";

/// Asking how a deploy goes.
const FOLLOW: &str = "follow deployment";

/// What one account needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An API key.
    pub token: Secret,
    /// The project's id, with or without `project-` before it. Without it: the project that is named after the stack,
    /// made in `region` when there is none.
    pub project: Option<String>,
    /// The environment's id or name. Without it: `production`, or else the only one.
    pub environment: Option<String>,
    /// The region's id, or `server-<id>`, in which a project is made.
    pub region: Option<String>,
    /// The host of the project's TCP ports, which gRPC needs.
    pub tcp_host: Option<String>,
    /// In place of `https://api.zeabur.com/graphql`.
    pub api: Option<String>,
}

/// No limit is published. These are our own, and what the vendor asks for is honoured on top.
fn limits() -> Limiter {
    let rules = vec![
        Rule { scope: LimitScope::Vendor, every: Duration::from_millis(50), burst: 40 },
        Rule { scope: LimitScope::Action(FOLLOW), every: Duration::from_millis(250), burst: 3 },
    ];
    Limiter::new(rules, Duration::from_secs(6))
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "zeabur",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(settings.token.clone())),
        limits: Box::new(limits),
        judge: own_judgement,
        hide: hide::hide_variables,
    });
    Zeabur {
        api,
        kit: kit.clone(),
        stack: stack.clone(),
        provider: provider.clone(),
        settings,
        scope: OnceCell::new(),
        known: Mutex::default(),
        settling: Settling::new(kit.clock()),
    }
}

struct Zeabur {
    api: Vendor,
    kit: Kit,
    stack: StackName,
    provider: ProviderName,
    settings: Settings,
    scope: OnceCell<Scope>,
    /// Ids of our services that were there when last looked, so that the next look needs one request only.
    known: Mutex<Vec<String>>,
    settling: Settling,
}

impl Zeabur {
    async fn query<T: DeserializeOwned>(&self, operation: Operation<'_>) -> Result<T, Fault> {
        query(&self.api, operation).await
    }

    async fn mutate<T: DeserializeOwned>(&self, operation: Operation<'_>) -> Result<T, Fault> {
        mutate(&self.api, operation).await
    }

    /// The name of our service at the vendor.
    fn name_of(&self, service: &ServiceName) -> String {
        format!("{}-{service}", self.stack)
    }

    /// Every service of the project that is ours, or has the name of one that could be.
    async fn placements(&self, scope: &Scope) -> Result<Vec<Placement>, Fault> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let looked = match self.look_at(scope, &known).await {
            // A service that is gone by now makes the whole request fail.
            Err(fault) if !known.is_empty() && !fault.kind.is_passing() => {
                self.look_at(scope, &[]).await?
            }
            looked => looked?,
        };
        let ids = looked.iter().map(|placement| placement.id().to_owned()).collect();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = ids;
        Ok(looked)
    }

    async fn look_at(&self, scope: &Scope, known: &[String]) -> Result<Vec<Placement>, Fault> {
        let (mut services, mut newest) = (Vec::<Service>::new(), BTreeMap::new());
        let (mut skip, mut ids) = (0, known);
        loop {
            let mut variables = Map::new();
            variables.insert("project".to_owned(), json!(scope.project));
            variables.insert("environment".to_owned(), json!(scope.environment));
            variables.insert("skip".to_owned(), json!(skip));
            name_services(&mut variables, ids);
            let text = wire::look(ids.len());
            let answer: LookAnswer = self
                .query(Operation {
                    action: "look at",
                    about: "the project",
                    text: &text,
                    variables: Value::Object(variables),
                })
                .await?;
            take(&mut newest, ids, answer.newest);
            skip += answer.services.edges.len();
            let has_more = answer.services.has_more();
            services.extend(answer.services.nodes());
            ids = &[];
            if !has_more {
                break;
            }
        }
        let start = self.name_of_any();
        let mut placements: Vec<Placement> = services
            .into_iter()
            .map(|held| Placement::new(held, None))
            .filter(|p| p.service(&self.stack).is_some() || p.held.name.starts_with(&start))
            .collect();
        let new: Vec<String> = placements
            .iter()
            .map(|placement| placement.id().to_owned())
            .filter(|id| !newest.contains_key(id))
            .collect();
        if !new.is_empty() {
            self.read_newest(scope, &new, &mut newest).await?;
        }
        for placement in &mut placements {
            placement.newest = newest.remove(placement.id()).flatten();
        }
        Ok(placements)
    }

    /// What the names of our services start with.
    fn name_of_any(&self) -> String {
        format!("{}-", self.stack)
    }

    async fn read_newest(
        &self,
        scope: &Scope,
        ids: &[String],
        newest: &mut BTreeMap<String, Option<Run>>,
    ) -> Result<(), Fault> {
        let mut variables = Map::new();
        variables.insert("environment".to_owned(), json!(scope.environment));
        name_services(&mut variables, ids);
        let text = wire::deployments(ids.len());
        let answer: BTreeMap<String, Page<Run>> = self
            .query(Operation {
                action: "read the deployments of",
                about: "the services",
                text: &text,
                variables: Value::Object(variables),
            })
            .await?;
        take(newest, ids, answer);
        Ok(())
    }

    /// Our placement of `service`, also one that was made and never filled. What has its name and is neither ours nor
    /// empty is refused.
    async fn find_in(
        &self,
        scope: &Scope,
        service: &ServiceName,
    ) -> Result<Option<Placement>, Fault> {
        let all = self.placements(scope).await?;
        if let Some(ours) = all.iter().find(|p| p.service(&self.stack).as_ref() == Some(service)) {
            return Ok(Some(ours.clone()));
        }
        let name = self.name_of(service);
        let mut named = all.into_iter().filter(|p| p.held.name == name);
        let Some(found) = named.next() else { return Ok(None) };
        if found.is_blank() {
            return Ok(Some(found));
        }
        let said = format!(
            "the project has a service `{name}` ({}) that is not of the stack `{}`: give [providers.{}] another project",
            found.id(),
            self.stack,
            self.provider
        );
        Err(self.api.fault(FaultKind::Invalid, format!("find {service}"), &said))
    }

    /// Our placement of `service`, which has to be there.
    async fn deployed(&self, service: &ServiceName) -> Result<(Scope, Placement), Fault> {
        if let Some(scope) = self.scope().await? {
            let all = self.placements(&scope).await?;
            let is_it = |p: &Placement| p.service(&self.stack).as_ref() == Some(service);
            if let Some(found) = all.into_iter().find(is_it) {
                return Ok((scope, found));
            }
        }
        let attempt = format!("find {service}");
        Err(self.api.fault(FaultKind::Missing, attempt, "it is not deployed here"))
    }

    /// A service's status and its newest deployment.
    async fn standing(&self, scope: &Scope, id: &str) -> Result<(String, Option<Run>), Fault> {
        let answer: ProgressAnswer = self
            .query(Operation {
                action: FOLLOW,
                about: id,
                text: wire::PROGRESS,
                variables: Value::Object(scope.of(id)),
            })
            .await?;
        let Some(service) = answer.service else {
            return Err(self.api.fault(FaultKind::Missing, FOLLOW, "the service is gone"));
        };
        let status = service.status.unwrap_or_else(|| "UNKNOWN".to_owned());
        Ok((status, answer.deployments.nodes().next()))
    }

    /// How a name of the stack's own stands.
    fn state_of(&self, placement: &Placement, host: &str, domain: &Domain) -> DomainState {
        let said = domain.status.clone().unwrap_or_else(|| "no word of it yet".to_owned());
        if said == "PROVISIONED" {
            return DomainState::Ready;
        }
        // No request that is known tells the record; the vendor's own name leads to the same ingress.
        let target = placement.generated().map(|generated| DnsRecord {
            name: host.to_owned(),
            kind: "CNAME".to_owned(),
            value: generated.domain.clone(),
        });
        DomainState::Waiting { said, records: target.into_iter().collect() }
    }
}

fn name_services(variables: &mut Map<String, Value>, ids: &[String]) {
    variables.extend(ids.iter().enumerate().map(|(n, id)| (format!("s{n}"), json!(id))));
}

/// Takes what was answered as `d0`, `d1`, … for these services.
fn take(
    newest: &mut BTreeMap<String, Option<Run>>,
    ids: &[String],
    mut answer: BTreeMap<String, Page<Run>>,
) {
    for (n, id) in ids.iter().enumerate() {
        let page = answer.remove(&format!("d{n}"));
        newest.insert(id.clone(), page.and_then(|page| page.nodes().next()));
    }
}

#[async_trait]
impl ComputeLook for Zeabur {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: self.settings.tcp_host.is_some(),
            workers: true,
            scale_to_zero: true,
            logs: true,
            private_images: PrivateImages::Never,
            domains: true,
            usage: true,
            region: self.settings.region.clone(),
            requests_per_deploy: 15,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let Some(scope) = self.scope().await? else { return Ok(Vec::new()) };
        let all = self.placements(&scope).await?;
        let host = self.settings.tcp_host.as_deref();
        Ok(all.iter().filter_map(|p| Some(p.seen(p.service(&self.stack)?, host))).collect())
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let Some(aim) = Aim::read(&deployment.id) else {
            let said = format!("`{}` is not a deployment of this provider", deployment.id);
            return Err(self.api.fault(FaultKind::Invalid, "follow a deploy", &said));
        };
        let gone = || match aim {
            Aim::Stop { .. } => Progress::Done,
            Aim::Run { .. } => Progress::Failed { why: "the service is gone".to_owned() },
        };
        let Some(scope) = self.scope().await? else { return Ok(gone()) };
        match self.standing(&scope, aim.service()).await {
            Ok((status, newest)) => {
                Ok(placement::progress(&aim, &status, newest.as_ref(), &self.settling))
            }
            Err(fault) if fault.kind == FaultKind::Missing => Ok(gone()),
            Err(fault) => Err(fault),
        }
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        let (scope, placement) = self.deployed(service).await?;
        let mut variables = scope.of(placement.id());
        variables.insert("project".to_owned(), json!(scope.project));
        let answer: LogsAnswer = self
            .query(Operation {
                action: "read the log of",
                about: service.as_str(),
                text: wire::LOGS,
                variables: Value::Object(variables),
            })
            .await?;
        let line = |row: wire::LogRow| LogLine {
            at: timestamp(&row.timestamp),
            text: self.kit.mask(&row.message),
        };
        let mut lines: Vec<LogLine> = answer.runtime_logs.into_iter().map(line).collect();
        // Which end comes first is not documented.
        if lines.first().map(|line| line.at) > lines.last().map(|line| line.at) {
            lines.reverse();
        }
        lines.sort_by_key(|line| line.at);
        let skipped = lines.len().saturating_sub(last);
        Ok(lines.split_off(skipped))
    }

    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        let answer: CreditAnswer = self
            .query(Operation {
                action: "read",
                about: "the credit",
                text: wire::CREDIT,
                variables: json!({}),
            })
            .await?;
        // What is left, not what was used: no request that is known tells that.
        #[expect(clippy::cast_precision_loss, reason = "credits fit in 53 bits")]
        let left = |credit: i64| Usage {
            what: "credit_left".to_owned(),
            used: credit as f64,
            limit: None,
            unit: "credit".to_owned(),
            resets: None,
        };
        Ok(answer.me.credit.map(left).into_iter().collect())
    }

    async fn pull_problem(&self, wanted: &Definition) -> Result<Option<String>, Fault> {
        let why = || "no way is known to give Zeabur the login of a registry: the image has to be public";
        Ok(wanted.login.as_ref().map(|_| why().to_owned()))
    }

    async fn domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        let (_, placement) = self.deployed(service).await?;
        let held = placement.own_domain(host);
        Ok(held.map_or(DomainState::Absent, |domain| self.state_of(&placement, host, domain)))
    }
}

#[async_trait]
impl Compute for Zeabur {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        self.make_true(wanted).await
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        self.have_running(service, replicas).await
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        self.restart_running(service).await
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let Some(scope) = self.scope().await? else { return Ok(()) };
        let Some(found) = self.find_in(&scope, service).await? else { return Ok(()) };
        let variables = Map::from_iter([("service".to_owned(), json!(found.id()))]);
        match self.write("delete service", found.id(), wire::DELETE, variables).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }

    async fn add_domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        let (scope, placement) = self.deployed(service).await?;
        if let Some(held) = placement.own_domain(host) {
            return Ok(self.state_of(&placement, host, held));
        }
        let added = self.bind(&scope, &placement, host, false).await?;
        Ok(self.state_of(&placement, host, &added))
    }

    async fn remove_domain(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        let Some(scope) = self.scope().await? else { return Ok(()) };
        let all = self.placements(&scope).await?;
        let ours = all.iter().filter(|p| p.service(&self.stack).as_ref() == Some(service));
        if ours.into_iter().all(|p| p.own_domain(host).is_none()) {
            return Ok(());
        }
        let variables = Map::from_iter([("domain".to_owned(), json!(host))]);
        match self.write("remove domain", host, wire::REMOVE_DOMAIN, variables).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }
}
