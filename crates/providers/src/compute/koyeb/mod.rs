//! Koyeb through its public API. <https://www.koyeb.com/docs/reference/api>
//!
//! One app per service, named `PREFIX-SERVICE`, with one service in it. Public names belong to the app and are divided
//! by path, so two services that both serve `/` cannot share an app; and an app of its own goes away whole. Markers are
//! plain environment variables of the definition, which the vendor keeps with each deployment. An app without our
//! service in it is never deleted.
//!
//! A definition is replaced whole, so it is read, merged and written. Secret values go into the vendor's secret store
//! under names of ours, and the definition refers to them. Stopping is pausing. The vendor has no way to make a service
//! without starting it: one that is to rest is made with a command that no image has, gets its true definition by
//! `save_only`, and is paused.
//!
//! There are no one-off jobs at Koyeb.

mod change;
mod definition;
mod domains;
mod place;
mod seen;
mod store;
mod usage;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, DomainState, LogLine, PrivateImages, Progress,
    Seen, Usage,
};
use linkflow_model::{Definition, Fault, FaultKind, ProviderName, Secret, ServiceName, StackName};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::settle::Settling;
use super::time::timestamp;
use crate::kit::{Account, Answer, Auth, Call, Kit, Limiter, Rule, Scope, Vendor, encode};

use definition::{FREE, Names, Terms};
use seen::Aim;
use wire::{LogPage, Run, RunAnswer, Service, ServiceAnswer, Verified};

/// The vendor's address.
const API: &str = "https://app.koyeb.com";

/// Items of a list in one answer; the most that the vendor's own clients ask for.
const PAGE: usize = 100;

/// Most lines of a log in one answer.
const MOST_LINES: usize = 1_000;

/// How far back a log is read, in milliseconds; the vendor's own default is 15 minutes.
const LOG_SPAN_MS: u64 = 24 * 3_600_000;

/// A free instance sleeps after so many seconds without a request (docs: run-and-scale/scale-to-zero).
const FREE_SLEEPS_AFTER: u32 = 3_600;

/// Asking how a deploy goes.
const FOLLOW: &str = "follow service";

/// What one account needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An API token of the organization.
    pub token: Secret,
    /// The organization's id. Asked for when it is needed and not said.
    pub organization: Option<String>,
    /// The region: `fra`.
    pub region: String,
    /// The instance type, in place of the smallest one that has the service's size.
    pub instance: Option<String>,
    /// What app names start with, instead of the stack's name. App names are unique in an organization.
    pub app_prefix: Option<String>,
    /// After how long without a request a web service is put to sleep. Free instances always sleep.
    pub sleep_after: Option<Duration>,
    /// In place of `https://app.koyeb.com`.
    pub api: Option<String>,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    let api = kit.vendor(Account {
        provider: provider.clone(),
        spec: "koyeb",
        production: API.to_owned(),
        base: settings.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned(),
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(limits),
        judge: own_judgement,
        hide: hide_values,
    });
    let sleep_after = settings.sleep_after.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
    Koyeb {
        api,
        kit: kit.clone(),
        stack: stack.clone(),
        provider: provider.clone(),
        prefix: settings.app_prefix.unwrap_or_else(|| stack.to_string()),
        organization: OnceCell::new_with(settings.organization),
        terms: Terms { region: settings.region, instance: settings.instance, sleep_after },
        over: Mutex::default(),
        logins: Mutex::default(),
        settling: Settling::new(kit.clock()),
    }
}

/// The vendor publishes no limits; this is what a person with a script would do. A 429 is honoured.
fn limits() -> Limiter {
    let rule = |scope, ms, burst| Rule { scope, every: Duration::from_millis(ms), burst };
    let rules = vec![rule(Scope::Vendor, 40, 50), rule(Scope::Action(FOLLOW), 500, 4)];
    Limiter::new(rules, Duration::from_secs(8))
}

fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    if !status.is_client_error() {
        return None;
    }
    let said = said.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if any(&["maximum number", "exceeds the limit", "not available on your plan", "no capacity"]) {
        return Some(FaultKind::Exhausted);
    }
    any(&["already exists", "already used", "already taken", "must be unique"])
        .then_some(FaultKind::Conflict)
}

/// Masks what holds secrets by its nature: passwords, secret values, and the environment but for our markers. Lists of
/// the organization's deployments hold other people's environments too.
fn hide_values(body: &mut Value) {
    match body {
        Value::Array(items) => items.iter_mut().for_each(hide_values),
        Value::Object(fields) => {
            let is_ours = fields
                .get("key")
                .and_then(Value::as_str)
                .is_some_and(|key| key.starts_with("LINKFLOW_"));
            for (name, value) in fields.iter_mut() {
                let is_secret = name == "password" || (name == "value" && !is_ours);
                match value {
                    Value::String(text) if is_secret && !text.is_empty() => "***".clone_into(text),
                    value => hide_values(value),
                }
            }
        }
        _ => {}
    }
}

struct Koyeb {
    api: Vendor,
    kit: Kit,
    stack: StackName,
    provider: ProviderName,
    prefix: String,
    organization: OnceCell<String>,
    terms: Terms,
    /// Deployments whose status is their last, by id, so that they are read once.
    over: Mutex<BTreeMap<String, Run>>,
    /// The registry logins that this process has written, by the name of their secret: they cannot be read back.
    logins: Mutex<BTreeMap<String, linkflow_model::RegistryLogin>>,
    settling: Settling,
}

impl Koyeb {
    /// Sends `call`. What is wrong with which field of a request is part of the fault.
    async fn send(&self, call: Call) -> Result<Answer, Fault> {
        let answer = self.api.exchange(&call).await?;
        let fields = fields_in(&answer);
        let status = answer.status;
        self.api.judge(&call, answer).map_err(|fault| {
            if fields.is_empty() {
                return fault;
            }
            let said = format!("{}: {fields}", fault.said);
            let kind = own_judgement(status, &said).unwrap_or(fault.kind);
            let spent = kind == FaultKind::Invalid && crate::kit::is_spent(&said);
            let kind = if spent { FaultKind::Exhausted } else { kind };
            self.api.fault(kind, fault.attempt, &said)
        })
    }

    async fn send_for<T: DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        let answer = self.send(call).await?;
        self.api.read("understand an answer".to_owned(), &answer)
    }

    /// Every item of the list at `path`, page by page. The list is the field `key` of each answer.
    async fn list<T: DeserializeOwned>(
        &self,
        key: &'static str,
        path: &str,
        filters: &[(&str, &str)],
    ) -> Result<Vec<T>, Fault> {
        let mut all = Vec::new();
        loop {
            let mut call = Call::read("list", key, path);
            for (name, value) in filters {
                call = call.query(name, value);
            }
            let offset = all.len().to_string();
            let call = call.query("limit", &PAGE.to_string()).query("offset", &offset);
            let mut answer: Value = self.send_for(call).await?;
            let page = match answer.get_mut(key).map(Value::take) {
                None | Some(Value::Null) => Vec::new(),
                Some(page) => serde_json::from_value::<Vec<T>>(page).map_err(|error| {
                    let said = format!("the answer cannot be read: {error}");
                    self.api.fault(FaultKind::Unclear, format!("list {key}"), &said)
                })?,
            };
            let count = page.len();
            all.extend(page);
            if count < PAGE {
                return Ok(all);
            }
        }
    }

    async fn service(&self, id: &str) -> Result<Service, Fault> {
        let path = format!("/v1/services/{}", encode(id));
        let answer: ServiceAnswer = self.send_for(Call::read(FOLLOW, id, path)).await?;
        Ok(answer.service)
    }

    /// One deployment that was read before and has come to its end, or is stored only.
    fn held(&self, id: &str) -> Option<Run> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// One deployment; one whose status is its last is read once.
    async fn run(&self, id: &str) -> Result<Run, Fault> {
        if let Some(held) = self.held(id).filter(|run| !run.is_stored()) {
            return Ok(held);
        }
        let path = format!("/v1/deployments/{}", encode(id));
        let answer: RunAnswer = self.send_for(Call::read("follow deployment", id, path)).await?;
        let run = answer.deployment;
        if run.is_over() || run.is_stored() {
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.insert(run.id.clone(), run.clone());
        }
        Ok(run)
    }

    fn names(&self, service: &ServiceName) -> Names {
        Names::new(&self.prefix, service.as_str())
    }
}

/// A time of the wall clock, in milliseconds since 1970, as the API takes it.
fn rfc3339(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// What is wrong with which field, as an error body tells it.
fn fields_in(answer: &Answer) -> String {
    if answer.status.is_success() {
        return String::new();
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let fields = body["fields"].as_array().into_iter().flatten();
    let told = |field: &Value| {
        let name = field["field"].as_str().unwrap_or_default();
        Some(format!("{name} {}", field["description"].as_str()?).trim_start().to_owned())
    };
    fields.filter_map(told).collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl ComputeLook for Koyeb {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        let free = self.terms.instance.as_deref() == Some(FREE);
        Capabilities {
            grpc: true,
            // All plans have one free instance, for a web service.
            workers: !free,
            scale_to_zero: true,
            logs: true,
            private_images: PrivateImages::Pulls,
            jobs: false,
            domains: true,
            usage: true,
            sleeps_after: if free { Some(FREE_SLEEPS_AFTER) } else { self.terms.sleep_after },
            region: Some(self.terms.region.clone()),
            requests_per_deploy: 15,
            requests_per_hour: None,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        self.look_around().await
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let Some(aim) = Aim::read(&deployment.id) else {
            let said = format!("`{}` is not a deployment of this provider", deployment.id);
            return Err(self.api.fault(FaultKind::Invalid, "follow a deploy", &said));
        };
        let gone = || Ok(Progress::Failed { why: "the service is gone".to_owned() });
        let service = match self.service(&aim.service).await {
            Ok(service) if service.is_going() => return gone(),
            Ok(service) => service,
            Err(fault) if fault.kind == FaultKind::Missing => return gone(),
            Err(fault) => return Err(fault),
        };
        let run = self.run(&service.latest_deployment_id).await?;
        Ok(seen::progress(&aim, &service, &run, &self.settling))
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        let found = self.deployed(service).await?;
        let since = self.kit.clock().wall().0.saturating_sub(LOG_SPAN_MS);
        let call = Call::read("read the log of", service.as_str(), "/v1/streams/logs/query")
            .query("service_id", &found.service.id)
            .query("start", &rfc3339(since))
            .query("order", "desc")
            .query("limit", &last.clamp(1, MOST_LINES).to_string());
        let page: LogPage = self.send_for(call).await?;
        let line = |row: wire::LogRow| LogLine {
            at: timestamp(&row.created_at),
            text: self.kit.mask(row.msg.trim_end()),
        };
        Ok(page.data.into_iter().take(last).map(line).rev().collect())
    }

    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        self.used().await
    }

    async fn pull_problem(&self, wanted: &Definition) -> Result<Option<String>, Fault> {
        let mut call =
            Call::read("verify image", wanted.image.to_string(), "/v1/docker-helper/verify")
                .query("image", &wanted.image.to_string());
        if wanted.login.is_some() {
            let name = self.names(&wanted.service).registry;
            // The login is not with the vendor before the first deploy, and without it there is nothing to ask.
            let Some(id) = self.secret_id(&name).await? else { return Ok(None) };
            call = call.query("secret_id", &id);
        }
        let verified: Verified = self.send_for(call).await?;
        // With these the vendor does not know it either.
        let unknown = matches!(verified.code.as_str(), "TIMEOUT" | "REGISTRY_ERROR" | "DNS");
        let why = format!("{}: {}", verified.code, verified.reason);
        Ok((!verified.success && !unknown).then(|| self.kit.mask(&why)))
    }

    async fn domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.domain_state(service, host).await
    }
}

#[async_trait]
impl Compute for Koyeb {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        self.make_true(wanted).await
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        self.have_running(service, replicas).await
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        self.start_again(service).await
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        self.take_away(service).await
    }

    async fn add_domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.have_domain(service, host).await
    }

    async fn remove_domain(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        self.drop_domain(service, host).await
    }
}
