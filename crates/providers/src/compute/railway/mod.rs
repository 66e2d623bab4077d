//! Railway through its public GraphQL API. <https://docs.railway.com/reference/public-api>
//!
//! One service per service, in one environment of one project. Markers are service variables, set together with the
//! service itself. Stopping is `deploymentStop`: the deployment stays and says that it stopped. Requests are counted
//! by the hour, so everything is looked at in one request.
//!
//! gRPC: Railway's HTTP ingress speaks HTTP/1.1 to apps (its networking page promises no more), so a gRPC service gets
//! a TCP proxy, which passes bytes as they are. There is no TLS on that way: what travels is what the app sends.
//!
//! There are no jobs: a command runs before each deploy of a service (`preDeployCommand`), so once for each provider and
//! each retry, or as a service that is started again by schedule; neither tells an exit code.
//!
//! Size is a cap here and not a price, and plans differ in what they let one set; a refusal of it stops no deploy.

mod change;
mod domain;
mod hide;
mod placement;
mod scope;
mod usage;
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, DomainState, LogLine, PrivateImages, Progress,
    Seen, Usage,
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
use wire::{Instance, LogsAnswer, LookAnswer, Run};

/// The vendor's address.
const API: &str = "https://backboard.railway.com/graphql/v2";

/// Asking how a deploy goes.
const FOLLOW: &str = "follow deployment";

/// When an idle service is put to sleep, in seconds (docs: reference/app-sleeping: no outbound traffic for ten minutes).
const SLEEPS_AFTER: u32 = 600;

/// Most lines of a log that the API gives.
const MOST_LINES: usize = 5_000;

/// What one account needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A token.
    pub token: Secret,
    /// What sort of token it is.
    pub token_kind: TokenKind,
    /// The project's id. Without it, an account token uses the project that is named after the stack, made when
    /// there is none; a project token knows its own.
    pub project: Option<String>,
    /// The environment's id or name. Without it: `production`, or else the only one; a project token knows its own.
    pub environment: Option<String>,
    /// The workspace's id, in which projects are looked for and made.
    pub workspace: Option<String>,
    /// In place of `https://backboard.railway.com/graphql/v2`.
    pub api: Option<String>,
    /// The plan, which sets the request limits.
    pub plan: Plan,
    /// Whether web services are put to sleep when idle (`sleepApplication`).
    pub sleeps: bool,
}

/// The sorts of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An account's or a workspace's.
    Account,
    /// Bound to one environment of one project.
    Project,
}

/// The plans that differ in how often one may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// 100 requests an hour.
    Free,
    /// 1,000 an hour, 10 a second.
    #[default]
    Hobby,
    /// 10,000 an hour, 50 a second.
    Pro,
}

impl Plan {
    /// Requests an hour, and requests a second (docs: integrations/api, rate limits).
    fn rates(self) -> (u32, u32) {
        match self {
            Self::Free => (100, 10),
            Self::Hobby => (1_000, 10),
            Self::Pro => (10_000, 50),
        }
    }

    /// How often one deploy is asked about. Whoever waits for it asks more often than an hour's requests allow.
    fn follow_every(self) -> Duration {
        Duration::from_millis(match self {
            Self::Free => 5_000,
            Self::Hobby => 1_000,
            Self::Pro => 250,
        })
    }

    fn limits(self) -> Limiter {
        let (hourly, each_second) = self.rates();
        let rule = |window: Duration, count: u32| Rule {
            scope: LimitScope::Vendor,
            every: window / count,
            burst: count,
        };
        let rules = vec![
            rule(Duration::from_secs(3_600), hourly),
            rule(Duration::from_secs(1), each_second),
            Rule { scope: LimitScope::Action(FOLLOW), every: self.follow_every(), burst: 3 },
        ];
        Limiter::new(rules, Duration::from_secs(6))
    }
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    let auth = match settings.token_kind {
        TokenKind::Account => Auth::bearer(settings.token.clone()),
        TokenKind::Project => Auth {
            header: "project-access-token",
            scheme: "",
            value: settings.token.clone(),
        },
    };
    let plan = settings.plan;
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "railway",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(auth),
        limits: Box::new(move || plan.limits()),
        judge: own_judgement,
        hide: hide::hide_variables,
    });
    Railway {
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

struct Railway {
    api: Vendor,
    kit: Kit,
    stack: StackName,
    provider: ProviderName,
    settings: Settings,
    scope: OnceCell<Scope>,
    /// Ids of the services that were there when last looked, so that the next look needs one request only.
    known: Mutex<Vec<String>>,
    settling: Settling,
}

impl Railway {
    async fn query<T: DeserializeOwned>(&self, operation: Operation<'_>) -> Result<T, Fault> {
        query(&self.api, operation).await
    }

    async fn mutate<T: DeserializeOwned>(&self, operation: Operation<'_>) -> Result<T, Fault> {
        mutate(&self.api, operation).await
    }

    /// Every service of the environment whose name could be one of ours.
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
        let (mut instances, mut details) = (Vec::<Instance>::new(), Details::default());
        let (mut after, mut ids) = (None::<String>, known);
        loop {
            let mut variables = scope.variables();
            variables.insert("after".to_owned(), json!(after));
            name_services(&mut variables, ids);
            let text = wire::look(ids.len());
            let answer: LookAnswer = self
                .query(Operation {
                    action: "look at",
                    about: "the environment",
                    text: &text,
                    variables: Value::Object(variables),
                })
                .await?;
            details.take(ids, &answer.details, &self.api)?;
            let page = answer.environment.service_instances;
            let ours = |i: &Instance| ServiceName::new(&i.service_name).is_some();
            instances.extend(page.edges.into_iter().map(|edge| edge.node).filter(ours));
            (after, ids) = (page.info.end_cursor, &[]);
            if !page.info.has_next_page || after.is_none() {
                break;
            }
        }
        let new: Vec<String> = instances
            .iter()
            .map(|instance| instance.service_id.clone())
            .filter(|id| !known.contains(id))
            .collect();
        if !new.is_empty() {
            self.read_details(scope, &new, &mut details).await?;
        }
        Ok(instances.into_iter().map(|instance| details.join(instance)).collect())
    }

    async fn read_details(
        &self,
        scope: &Scope,
        ids: &[String],
        details: &mut Details,
    ) -> Result<(), Fault> {
        let mut variables = scope.variables();
        name_services(&mut variables, ids);
        let text = wire::details(ids.len());
        let answer: std::collections::BTreeMap<String, Value> = self
            .query(Operation {
                action: "read the variables of",
                about: "the services",
                text: &text,
                variables: Value::Object(variables),
            })
            .await?;
        details.take(ids, &answer, &self.api)
    }

    /// Our placement of `service`, if there is one.
    async fn find(&self, service: &ServiceName) -> Result<Option<(Scope, Placement)>, Fault> {
        let Some(scope) = self.scope().await? else { return Ok(None) };
        let all = self.placements(&scope).await?;
        let found = all.into_iter().find(|p| p.service(&self.stack).as_ref() == Some(service));
        Ok(found.map(|placement| (scope, placement)))
    }

    /// Our placement of `service`, which has to be there.
    async fn deployed(&self, service: &ServiceName) -> Result<(Scope, Placement), Fault> {
        self.find(service).await?.ok_or_else(|| {
            let attempt = format!("find {service}");
            self.api.fault(FaultKind::Missing, attempt, "it is not deployed here")
        })
    }

    async fn runs(&self, ids: &[&str]) -> Result<Vec<Run>, Fault> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let text = wire::deployments(ids.len());
        let variables: Map<String, Value> =
            ids.iter().enumerate().map(|(n, id)| (format!("d{n}"), json!(id))).collect();
        let mut answer: std::collections::BTreeMap<String, Run> = self
            .query(Operation {
                action: FOLLOW,
                about: ids.first().copied().unwrap_or_default(),
                text: &text,
                variables: Value::Object(variables),
            })
            .await?;
        Ok((0..ids.len()).filter_map(|n| answer.remove(&format!("d{n}"))).collect())
    }
}

/// Variables and proxies by service.
#[derive(Default)]
struct Details {
    by_service: std::collections::BTreeMap<String, Detail>,
}

#[derive(Default)]
struct Detail {
    variables: std::collections::BTreeMap<String, String>,
    proxies: Vec<wire::Proxy>,
}

impl Details {
    fn take(
        &mut self,
        ids: &[String],
        answer: &std::collections::BTreeMap<String, Value>,
        api: &Vendor,
    ) -> Result<(), Fault> {
        for (n, id) in ids.iter().enumerate() {
            let variables = answer.get(&format!("vars{n}")).and_then(Value::as_object);
            let texts = variables.into_iter().flatten();
            let variables = texts
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect();
            let proxies = answer.get(&format!("proxies{n}")).cloned().unwrap_or_else(|| json!([]));
            let proxies = serde_json::from_value(proxies).map_err(|error| {
                api.fault(FaultKind::Unclear, "read the TCP proxies", &error.to_string())
            })?;
            self.by_service.insert(id.clone(), Detail { variables, proxies });
        }
        Ok(())
    }

    fn join(&mut self, instance: Instance) -> Placement {
        let Detail { variables, proxies } =
            self.by_service.remove(&instance.service_id).unwrap_or_default();
        Placement { instance, variables, proxies }
    }
}

fn name_services(variables: &mut Map<String, Value>, ids: &[String]) {
    variables.extend(ids.iter().enumerate().map(|(n, id)| (format!("s{n}"), json!(id))));
}

#[async_trait]
impl ComputeLook for Railway {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: true,
            workers: true,
            scale_to_zero: true,
            logs: true,
            private_images: PrivateImages::Pulls,
            domains: true,
            usage: true,
            sleeps_after: self.settings.sleeps.then_some(SLEEPS_AFTER),
            requests_per_deploy: 15,
            requests_per_hour: Some(self.settings.plan.rates().0),
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let Some(scope) = self.scope().await? else { return Ok(Vec::new()) };
        let all = self.placements(&scope).await?;
        Ok(all.iter().filter_map(|p| Some(p.seen(p.service(&self.stack)?))).collect())
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let Some(aim) = Aim::read(&deployment.id) else {
            let said = format!("`{}` is not a deployment of this provider", deployment.id);
            return Err(self.api.fault(FaultKind::Invalid, "follow a deploy", &said));
        };
        match self.runs(&aim.deployments()).await {
            Ok(runs) => Ok(placement::progress(&aim, &runs, &self.settling)),
            // What is gone runs no more.
            Err(fault) if fault.kind == FaultKind::Missing => {
                Ok(placement::progress(&aim, &[], &self.settling))
            }
            Err(fault) => Err(fault),
        }
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        let (_, placement) = self.deployed(service).await?;
        let Some(latest) = placement.latest() else { return Ok(Vec::new()) };
        let answer: LogsAnswer = self
            .query(Operation {
                action: "read the log of",
                about: service.as_str(),
                text: wire::LOGS,
                variables: json!({ "id": latest.id, "limit": last.clamp(1, MOST_LINES) }),
            })
            .await?;
        let rows = answer.deployment_logs;
        let skipped = rows.len().saturating_sub(last);
        let line = |row: wire::LogRow| LogLine {
            at: timestamp(&row.timestamp),
            text: self.kit.mask(&row.message),
        };
        Ok(rows.into_iter().skip(skipped).map(line).collect())
    }

    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        self.used().await
    }

    async fn domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.domain_state(service, host).await
    }
}

#[async_trait]
impl Compute for Railway {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        self.make_true(wanted).await
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        self.have_running(service, replicas).await
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        let (_, placement) = self.deployed(service).await?;
        for run in placement.live() {
            self.on_deployment("restart deployment", wire::RESTART, &run.id).await?;
        }
        Ok(())
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let Some((_, placement)) = self.find(service).await? else { return Ok(()) };
        match self.on_deployment("delete service", wire::DELETE, placement.id()).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }

    async fn add_domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.have_domain(service, host).await
    }

    async fn remove_domain(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        self.have_no_domain(service, host).await
    }
}
