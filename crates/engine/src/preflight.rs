//! What can be known to go wrong before anything is changed. Everything here only reads.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use linkflow_model::role::{Capabilities, PrivateImages};
use linkflow_model::{
    Action, Fault, Finding, Plan, ProviderName, Release, ServiceKind, ServiceName, ServiceSpec,
};

use crate::Engine;
use crate::guard::{Patience, guarded};

/// About how many requests a migration takes: to start it, to ask for it, to take it away.
const REQUESTS_PER_JOB: u32 = 10;

/// What is known of the images of a release, from their registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By service. What is not known is not there.
    pub images: BTreeMap<ServiceName, ImageFacts>,
}

/// What is known of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// Whether not everybody may pull it.
    pub private: Option<bool>,
    /// The platforms that it is built for, `linux/amd64`; empty when nobody could tell.
    pub platforms: Vec<String>,
}

impl Engine {
    /// About how many requests each provider gets when `plan` is carried out.
    pub fn requests(&self, plan: &Plan) -> BTreeMap<ProviderName, u32> {
        let mut requests = BTreeMap::new();
        for step in plan.steps() {
            let provider = step.action.provider();
            let Some(compute) = self.parts.computes.get(provider) else { continue };
            let cost = match step.action {
                Action::Deploy { .. } => compute.capabilities().requests_per_deploy,
                Action::Migrate { .. } => REQUESTS_PER_JOB,
                Action::Activate { .. } | Action::Soak { .. } => 0,
                Action::Scale { .. }
                | Action::ProveStopped { .. }
                | Action::Restart { .. }
                | Action::Delete { .. } => 2,
            };
            *requests.entry(provider.clone()).or_default() += cost;
        }
        requests.retain(|_, count| *count > 0);
        requests
    }

    /// What speaks against `plan` for `release`.
    pub(crate) async fn preflight(
        &self,
        release: &Release,
        plan: &Plan,
        facts: &Facts,
    ) -> Vec<Finding> {
        let mut places = BTreeSet::new();
        for step in plan.steps() {
            if let Action::Deploy { replicas, .. } = step.action {
                places.insert((step.action.placement(), replicas));
            }
        }
        let checks = places.iter().map(|(placement, replicas)| {
            self.placement_problems(
                release,
                &placement.service,
                &placement.provider,
                *replicas,
                facts,
            )
        });
        let mut findings: Vec<Finding> = join_all(checks).await.into_iter().flatten().collect();
        findings.extend(self.budget_problems(plan));
        findings
    }

    async fn placement_problems(
        &self,
        release: &Release,
        service: &ServiceName,
        provider: &ProviderName,
        replicas: u32,
        facts: &Facts,
    ) -> Vec<Finding> {
        let (Some(compute), Some(held)) =
            (self.parts.computes.get(provider), release.services.get(service))
        else {
            return Vec::new();
        };
        let found = |forbids: bool, what: String, help: &str| Finding {
            forbids,
            service: Some(service.clone()),
            provider: Some(provider.clone()),
            what,
            help: help.to_owned(),
        };
        let known = facts.images.get(service);
        let able = compute.capabilities();
        let mut problems = misfits(&held.spec, provider, &able, replicas, known);
        match self.parts.render.definition(release, service, provider, replicas) {
            Err(why) => {
                let help = "`linkflow check` tells which secrets and addresses are due";
                problems.push(found(true, why, help));
            }
            Ok(wanted) => {
                let ask = || compute.pull_problem(&wanted);
                match guarded(provider, "ask for the image", Patience::LOOK, ask).await {
                    Ok(None) => {}
                    Ok(Some(why)) => {
                        let what = format!("{provider} cannot pull the image of {service}: {why}");
                        problems.push(found(
                            true,
                            what,
                            "see whether it is public, or log the provider in",
                        ));
                    }
                    Err(fault) => problems.push(found(false, fault.to_string(), "")),
                }
            }
        }
        problems
    }

    /// Providers that will be asked more often than they allow in an hour.
    fn budget_problems(&self, plan: &Plan) -> Vec<Finding> {
        let over = |(provider, asked): (ProviderName, u32)| {
            let most = self.parts.computes.get(&provider)?.capabilities().requests_per_hour?;
            (asked > most).then(|| Finding {
                forbids: false,
                service: None,
                what: format!(
                    "{provider} will get about {asked} requests and allows {most} in an hour, so it will take longer"
                ),
                help: "roll out fewer services at once, or take a larger plan".to_owned(),
                provider: Some(provider),
            })
        };
        self.requests(plan).into_iter().filter_map(over).collect()
    }
}

/// Why `spec` does not fit on `provider`, going by what that is able to do. `image` is what the registry tells of its image.
pub fn misfits(
    spec: &ServiceSpec,
    provider: &ProviderName,
    able: &Capabilities,
    replicas: u32,
    image: Option<&ImageFacts>,
) -> Vec<Finding> {
    let service = &spec.name;
    let found = |forbids: bool, what: String, help: &str| Finding {
        forbids,
        service: Some(service.clone()),
        provider: Some(provider.clone()),
        what,
        help: help.to_owned(),
    };
    let elsewhere = "take the provider out of `runs_on`, or choose another one";
    let mut problems = Vec::new();
    if spec.kind == ServiceKind::Grpc && !able.grpc {
        let what = format!("{provider} does not pass gRPC on, and {service} speaks it");
        problems.push(found(true, what, elsewhere));
    }
    if spec.kind == ServiceKind::Worker && !able.workers {
        let what = format!("{provider} runs no workers, and {service} is one");
        problems.push(found(true, what, elsewhere));
    }
    if replicas == 0 && !able.scale_to_zero {
        let what = format!("{provider} cannot keep {service} deployed and stopped");
        problems.push(found(false, what, elsewhere));
    }
    let is_private = image.and_then(|image| image.private).unwrap_or_default();
    if is_private && able.private_images == PrivateImages::Never {
        let what = format!("{provider} cannot pull private images, and that of {service} is one");
        problems.push(found(true, what, "make the image public, or choose another provider"));
    }
    let platforms = image.map(|image| image.platforms.as_slice()).unwrap_or_default();
    if !platforms.is_empty() && !platforms.iter().any(|one| one == able.platform) {
        let (has, needs) = (platforms.join(", "), able.platform);
        let what = format!("the image of {service} is for {has}, and {provider} runs {needs}");
        problems.push(found(true, what, "build it for that platform too"));
    }
    problems
}

/// That a migration has to wait for a provider that does not answer.
pub(crate) fn silent_runner(service: &ServiceName, fault: &Fault) -> Finding {
    Finding {
        forbids: true,
        service: Some(service.clone()),
        provider: Some(fault.provider.clone()),
        what: format!("the migration of {service} cannot be run: {fault}"),
        help: "try again later, or name another provider in `deploy.migrate_on`".to_owned(),
    }
}
