//! Fly.io through its Machines API. <https://fly.io/docs/machines/api/>
//!
//! One app per service, named `PREFIX-SERVICE`, and one machine per instance. Machines carry our markers as metadata;
//! an app has no such place, so an app without machines is never taken for ours, and never deleted. The token must be
//! allowed to list the organization's apps, as an organization token is.
//!
//! Scaling down stops machines and keeps them; a deploy removes stopped ones that it does not need. Fly pulls images
//! from public registries and from its own only, so a private one is copied there first.
//!
//! `GET /orgs/{slug}/machines` would list all machines at once, but without events, checks and the digest that really
//! runs, and its description says that an answer may lack machines: too little to judge a placement by.

mod change;
mod config;
mod domain;
mod image;
mod job;
mod seen;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, DomainState, Job, JobState, LogLine,
    PrivateImages, Progress, Seen,
};
use linkflow_model::{Definition, Fault, FaultKind, ProviderName, Secret, ServiceName, StackName};
use serde_json::Value;

use super::copies::Copies;
use super::settle::Settling;
use super::time::timestamp;
use crate::kit::{Account, Auth, Call, Kit, Limiter, Rule, Scope, Vendor, encode, mask_values};

use wire::{Apps, LogPage, Machine, Run, SERVICE, STACK};

/// The Machines API.
const API: &str = "https://api.machines.dev";

/// Where logs are read. The vendor calls this endpoint unsupported; its own command line uses it.
const LOGS_API: &str = "https://api.fly.io";

/// A longer name is no DNS label.
const LONGEST_NAME: usize = 63;

/// What one account needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An organization's access token.
    pub token: Secret,
    /// The organization's slug.
    pub organization: String,
    /// Where machines run: `fra`, `iad`.
    pub region: String,
    /// What app names start with, instead of the stack's name. App names are unique in all of Fly.
    pub app_prefix: Option<String>,
    /// In place of `https://api.machines.dev`.
    pub api: Option<String>,
    /// In place of `https://api.fly.io`.
    pub logs_api: Option<String>,
    /// In place of `https://registry.fly.io`.
    pub registry: Option<String>,
    /// In place of every registry that private images are copied from.
    pub images: Option<String>,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    let account = |spec, production: String, base: String| Account {
        provider: provider.clone(),
        spec,
        production,
        base,
        auth: Some(Auth::bearer(settings.token.clone())),
        limits: Box::new(limits),
        judge: own_judgement,
        hide: hide_secrets,
    };
    let address = |own: &Option<String>, default: &str| {
        own.as_deref().unwrap_or(default).trim_end_matches('/').to_owned()
    };
    let (api, logs) = (address(&settings.api, API), address(&settings.logs_api, LOGS_API));
    let own_registry = image::OwnRegistry {
        token: settings.token.clone(),
        address: settings.registry.clone(),
        images: settings.images.clone(),
        copies: Copies::default(),
    };
    Fly {
        own_registry,
        api: kit.vendor(account("fly", format!("{API}/v1"), format!("{api}/v1"))),
        logs: kit.vendor(account("fly-logs", LOGS_API.to_owned(), logs)),
        kit: kit.clone(),
        stack: stack.clone(),
        provider: provider.clone(),
        prefix: settings.app_prefix.unwrap_or_else(|| stack.to_string()),
        organization: settings.organization,
        region: settings.region,
        settling: Settling::new(kit.clock()),
    }
}

/// Each action on each machine or app once a second, three at once; reading a machine five times a second, ten at
/// once (docs: machines/api/working-with-machines-api, rate limits). A twentieth slower, because both sides' clocks
/// and the way between them are never quite even.
fn limits() -> Limiter {
    let rule = |scope, ms, burst| Rule { scope, every: Duration::from_millis(ms), burst };
    let rules =
        vec![rule(Scope::EachAction, 1_050, 3), rule(Scope::Action("read machine"), 210, 10)];
    Limiter::new(rules, Duration::from_secs(5))
}

fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    let said = said.to_lowercase();
    // No room in the region: more tries do not help, another provider does.
    if said.contains("insufficient_capacity") || said.contains("insufficient resources") {
        return Some(FaultKind::Exhausted);
    }
    // A copy that was just made may not have reached all of Fly's registry yet.
    if said.contains("failed to get manifest registry.fly.io/") && said.contains("[http 404]") {
        return Some(FaultKind::Unclear);
    }
    let taken = said.contains("already_exists") || said.contains("already been taken");
    (status.is_client_error() && taken).then_some(FaultKind::Conflict)
}

fn hide_secrets(body: &mut Value) {
    mask_values(body, "/values");
    for place in ["/nonce", "/data/nonce"] {
        if let Some(nonce @ Value::String(_)) = body.pointer_mut(place) {
            *nonce = Value::from("***");
        }
    }
}

struct Fly {
    api: Vendor,
    logs: Vendor,
    kit: Kit,
    stack: StackName,
    provider: ProviderName,
    prefix: String,
    organization: String,
    region: String,
    settling: Settling,
    own_registry: image::OwnRegistry,
}

impl Fly {
    /// The app of `service`.
    fn app(&self, service: &ServiceName) -> Result<String, Fault> {
        self.app_named(service.as_str())
    }

    /// The app of the service or the job called `own`.
    fn app_named(&self, own: &str) -> Result<String, Fault> {
        let name = format!("{}-{own}", self.prefix);
        if name.len() <= LONGEST_NAME {
            return Ok(name);
        }
        let said = format!(
            "`{name}` is longer than {LONGEST_NAME} characters: give [providers.{}] a shorter `app_prefix`",
            self.provider
        );
        Err(self.api.fault(FaultKind::Invalid, format!("name the app of {own}"), &said))
    }

    /// Whether `machine` carries our markers for `service`.
    fn is_ours(&self, machine: &Machine, service: &str) -> bool {
        machine.meta(STACK) == Some(self.stack.as_str()) && machine.meta(SERVICE) == Some(service)
    }

    /// All machines of `app` that are not gone; `None` when there is no such app.
    async fn machines(&self, app: &str) -> Result<Option<Vec<Machine>>, Fault> {
        let path = format!("/apps/{}/machines", encode(app));
        let answer = self.api.send_for::<Vec<Machine>>(Call::read("list machines of", app, path));
        match answer.await {
            Ok(mut machines) => {
                machines.retain(|machine| machine.run() != Run::Gone);
                Ok(Some(machines))
            }
            Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The machines of `service`, all of them ours. Empty when there is no such app.
    ///
    /// A machine that is not ours is a [`FaultKind::Invalid`]: secrets and addresses belong to the app as a whole, so an
    /// app cannot be shared.
    async fn our_machines(&self, service: &ServiceName) -> Result<Option<Vec<Machine>>, Fault> {
        let app = self.app(service)?;
        let Some(machines) = self.machines(&app).await? else { return Ok(None) };
        match machines.iter().find(|machine| !self.is_ours(machine, service.as_str())) {
            None => Ok(Some(machines)),
            Some(other) => {
                let said = format!(
                    "machine {} ({}) is not of the stack `{}`: give [providers.{}] another `app_prefix`",
                    other.id, other.name, self.stack, self.provider
                );
                Err(self.api.fault(FaultKind::Invalid, format!("use app {app}"), &said))
            }
        }
    }

    async fn machine(&self, app: &str, id: &str) -> Result<Machine, Fault> {
        let path = format!("/apps/{}/machines/{}", encode(app), encode(id));
        self.api.send_for(Call::read("read machine", id, path)).await
    }
}

#[async_trait]
impl ComputeLook for Fly {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: true,
            workers: true,
            scale_to_zero: true,
            logs: true,
            private_images: PrivateImages::Copies,
            jobs: true,
            domains: true,
            region: Some(self.region.clone()),
            requests_per_deploy: 20,
            requests_per_hour: None,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let call = Call::read("list apps of", &self.organization, "/apps")
            .query("org_slug", &self.organization);
        let apps: Apps = self.api.send_for(call).await?;
        let mut all = Vec::new();
        for app in apps.apps {
            let service = app.name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('-'));
            let Some(service) = service.and_then(ServiceName::new) else { continue };
            let Some(mut machines) = self.machines(&app.name).await? else { continue };
            machines.retain(|machine| self.is_ours(machine, service.as_str()));
            all.extend(seen::seen(&service, &app.name, &machines));
        }
        Ok(all)
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let app = self.app(&deployment.service)?;
        let Some(aim) = seen::Aim::read(&deployment.id) else {
            let said = format!("`{}` is not a deployment of this provider", deployment.id);
            return Err(self.api.fault(FaultKind::Invalid, "follow a deploy", &said));
        };
        let mut under = None;
        for id in &aim.machines {
            let machine = match self.machine(&app, id).await {
                Ok(machine) => machine,
                Err(fault) if fault.kind == FaultKind::Missing => {
                    return Ok(Progress::Failed { why: format!("machine {id} is gone") });
                }
                Err(fault) => return Err(fault),
            };
            match seen::progress(&machine, &aim, &self.settling) {
                Progress::Done => {}
                Progress::Under { said } => under = under.or(Some(said)),
                failed @ Progress::Failed { .. } => return Ok(failed),
            }
        }
        Ok(under.map_or(Progress::Done, |said| Progress::Under { said }))
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        self.log_of(&self.app(service)?, last).await
    }

    async fn job(&self, id: &str) -> Result<JobState, Fault> {
        self.job_state(id).await
    }

    async fn domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.domain_state(service, host).await
    }
}

impl Fly {
    /// The last lines that the machines of `app` wrote.
    async fn log_of(&self, app: &str, last: usize) -> Result<Vec<LogLine>, Fault> {
        let call = Call::read("read the log of", app, format!("/api/v1/apps/{}/logs", encode(app)));
        let page: LogPage = match self.logs.send_for(call).await {
            Ok(page) => page,
            // The endpoint is not a promised one: when it is gone, there is no other.
            Err(fault) if fault.kind == FaultKind::Missing => {
                return Err(Fault { kind: FaultKind::Unsupported, ..fault });
            }
            Err(fault) => return Err(fault),
        };
        let skipped = page.data.len().saturating_sub(last);
        let lines = page.data.into_iter().skip(skipped).map(|record| record.attributes);
        Ok(lines
            .map(|line| LogLine {
                at: timestamp(&line.timestamp),
                text: self.kit.mask(&line.message),
            })
            .collect())
    }
}

#[async_trait]
impl Compute for Fly {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        self.make_true(wanted).await
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        self.have_running(service, replicas).await
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        let app = self.app(service)?;
        for machine in self.deployed(service).await? {
            if machine.run() == Run::Runs {
                self.act(&app, &machine, "restart").await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let app = self.app(service)?;
        match self.our_machines(service).await? {
            None => Ok(()),
            // Nothing in it says whose it is; it costs nothing either.
            Some(machines) if machines.is_empty() => Ok(()),
            Some(_) => self.remove_app(&app).await,
        }
    }

    async fn run_once(&self, job: &Job) -> Result<(), Fault> {
        self.run_job(job).await
    }

    async fn forget_job(&self, id: &str) -> Result<(), Fault> {
        self.remove_job(id).await
    }

    async fn add_domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.have_domain(service, host).await
    }

    async fn remove_domain(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        self.have_no_domain(service, host).await
    }
}
