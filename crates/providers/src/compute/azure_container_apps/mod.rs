//! Azure Container Apps through the Azure Resource Manager. <https://learn.microsoft.com/azure/container-apps/>
//!
//! One container app per service, named `STACK-SERVICE` and tagged with both, in a resource group that is there and an
//! environment that is made when it is not. Apps run in single revision mode: each change is a new revision, and what
//! ran before serves until that one is ready. To rest, an app is stopped as a whole, because one with no replica would
//! be woken by the next request. The API is that of `Microsoft.App`, version 2026-07-01.

mod arm;
mod change;
mod domains;
mod jobs;
mod logs;
mod seen;
mod template;
mod token;
mod wire;

use async_trait::async_trait;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, DomainState, Job, JobState, LogLine,
    PrivateImages, Progress, Seen, Usage,
};
use linkflow_model::{Definition, Fault, FaultKind, ProviderName, Secret, ServiceName, StackName};

use super::settle::Settling;
use crate::kit::{Account, Kit, Limiter, Vendor, encode};

use seen::Aim;
use token::{Credentials, Tokens};
use wire::{Quota, Resource, SERVICE, STACK};

/// The resource manager.
const API: &str = "https://management.azure.com";

/// Where tokens are had.
const LOGIN_API: &str = "https://login.microsoftonline.com";

/// What one account needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What `az ad sp create-for-rbac --json-auth` prints, or the shape that it prints without that option.
    pub credentials: Secret,
    /// The id of the subscription.
    pub subscription: String,
    /// The id of the directory, where the credentials do not say it.
    pub tenant: Option<String>,
    /// The resource group, which is there.
    pub resource_group: String,
    /// The Container Apps environment. Made when it is not there.
    pub environment: String,
    /// Where the environment is made: `westeurope`.
    pub location: Option<String>,
    /// In place of `https://management.azure.com`.
    pub api: Option<String>,
    /// In place of `https://login.microsoftonline.com`.
    pub login_api: Option<String>,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    let account = |spec, production: &str, own: &Option<String>, limits| Account {
        provider: provider.clone(),
        spec,
        production: production.to_owned(),
        base: own.as_deref().unwrap_or(production).trim_end_matches('/').to_owned(),
        auth: None,
        limits,
        judge: arm::own_judgement,
        hide: arm::hide_secrets,
    };
    let arm = kit.vendor(account("azure", API, &settings.api, Box::new(arm::limits)));
    let login = account("azure-login", LOGIN_API, &settings.login_api, Box::new(Limiter::free));
    let login = kit.vendor(login);
    let credentials = Credentials::read(settings.credentials.expose(), settings.tenant.as_deref());
    kit.learn(&settings.credentials);
    if let Ok(credentials) = &credentials {
        kit.learn(credentials.secret());
    }
    Azure {
        arm,
        tokens: Tokens::new(login, kit, credentials),
        kit: kit.clone(),
        stack: stack.clone(),
        provider: provider.clone(),
        settling: Settling::new(kit.clock()),
        settings,
    }
}

struct Azure {
    arm: Vendor,
    tokens: Tokens,
    kit: Kit,
    stack: StackName,
    provider: ProviderName,
    settings: Settings,
    settling: Settling,
}

impl Azure {
    fn app_name(&self, service: &ServiceName) -> String {
        template::name(self.stack.as_str(), service.as_str())
    }

    fn check_ours(&self, app: &Resource, service: &ServiceName) -> Result<(), Fault> {
        if app.tag(STACK) == Some(self.stack.as_str()) && app.tag(SERVICE) == Some(service.as_str())
        {
            return Ok(());
        }
        let said = format!(
            "a container app `{}` is there that is not {service} of the stack `{}`: give [providers.{}] another `resource_group`",
            app.name, self.stack, self.provider
        );
        Err(self.arm.fault(FaultKind::Invalid, format!("use container app {}", app.name), &said))
    }

    async fn follow(&self, service: &ServiceName, aim: &Aim) -> Result<Progress, Fault> {
        let name = self.app_name(service);
        let Some(app) = self.app(&name).await? else {
            return Ok(Progress::Failed { why: format!("container app {name} is gone") });
        };
        self.check_ours(&app, service)?;
        let template = app.template();
        if template.fingerprint().is_none_or(|f| f.0 != aim.fingerprint) {
            return Ok(Progress::Failed { why: "another deploy came after it".to_owned() });
        }
        if aim.replicas == 0 {
            let revisions = self.revisions(&name).await?;
            return Ok(seen::resting(&app, &revisions));
        }
        let wanted = app.wanted_revision();
        let revision = self.revision(&name, &wanted).await?;
        // With ingress or a probe, Azure itself knows when it is ready.
        let container = template.container();
        let probed = container.and_then(|c| c.get("probes")).is_some_and(|p| !p.is_null());
        let checked = probed || !app.text("/configuration/ingress/fqdn").is_empty();
        let is_well =
            revision.as_ref().is_some_and(|r| r.runs() && r.text("/healthState") == "Healthy");
        let replicas = match &revision {
            Some(_) if !(checked && is_well) => self.replicas(&name, &wanted).await?,
            _ => Vec::new(),
        };
        Ok(seen::going(&app, revision.as_ref(), &replicas, checked, &self.settling))
    }
}

#[async_trait]
impl ComputeLook for Azure {
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
            jobs: true,
            domains: true,
            usage: true,
            region: self.settings.location.clone(),
            requests_per_deploy: 20,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let group = &self.settings.resource_group;
        let apps: Vec<Resource> =
            self.list("list container apps of", group, self.path("containerApps")).await?;
        let mut all = Vec::new();
        for app in apps.iter().filter(|app| app.tag(STACK) == Some(self.stack.as_str())) {
            let Some(service) = app.tag(SERVICE).and_then(ServiceName::new) else { continue };
            if app.name != self.app_name(&service) {
                continue;
            }
            // It may have been deleted in between.
            if let Some(revisions) = arm::absent(self.revisions(&app.name).await)? {
                all.push(seen::seen(service, app, &revisions));
            }
        }
        Ok(all)
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        match Aim::read(&deployment.id) {
            Some(aim) => self.follow(&deployment.service, &aim).await,
            None => {
                let said = format!("`{}` is not a deployment of this provider", deployment.id);
                Err(self.arm.fault(FaultKind::Invalid, "follow a deploy", &said))
            }
        }
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        self.read_logs(service, last).await
    }

    /// The quotas of the environment and of the subscription in its region. What is used of the month's free
    /// allowance is told by another API, which needs other rights.
    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        let environment = &self.settings.environment;
        let path = self.path(&format!("managedEnvironments/{}/usages", encode(environment)));
        let call = self.list::<Quota>("list usages of", environment, path).await;
        let mut quotas = arm::absent(call)?.unwrap_or_default();
        if let Some(location) = &self.settings.location {
            let path = self.subscription_path(&format!("locations/{}/usages", encode(location)));
            match self.list::<Quota>("list usages in", location, path).await {
                Ok(more) => quotas.extend(more),
                // Who may work in the resource group alone may not ask about the subscription.
                Err(fault) if fault.kind == FaultKind::Denied => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(quotas
            .into_iter()
            .map(|quota| Usage {
                what: quota.name.value,
                used: quota.current_value,
                limit: quota.limit,
                unit: quota.unit.to_lowercase(),
                resets: None,
            })
            .collect())
    }

    async fn job(&self, id: &str) -> Result<JobState, Fault> {
        self.job_state(id).await
    }

    async fn domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.domain_state(service, host).await
    }
}

#[async_trait]
impl Compute for Azure {
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
        self.remove(service).await
    }

    async fn run_once(&self, job: &Job) -> Result<(), Fault> {
        self.start_once(job).await
    }

    async fn forget_job(&self, id: &str) -> Result<(), Fault> {
        self.remove_job(id).await
    }

    async fn add_domain(&self, service: &ServiceName, host: &str) -> Result<DomainState, Fault> {
        self.bind(service, host).await
    }

    async fn remove_domain(&self, service: &ServiceName, host: &str) -> Result<(), Fault> {
        self.unbind(service, host).await
    }
}
