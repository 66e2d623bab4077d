//! Which migrations a release needs, and who runs them.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use linkflow_model::{
    Action, Migration, Placement, ProviderName, Release, ServiceName, ServiceSpec, Stage, Step,
};

use crate::order::by_need;

#[cfg(test)]
mod tests;

/// The stage `migrate` of a rollout of `release`.
///
/// One step for each service whose image or command is not the one that was last migrated with. `last` holds the last
/// migration of each service that worked, `runners` who would run it.
///
/// The steps wait for one another, in the order of what the services need: two migrations may use one database.
pub fn migrations(
    release: &Release,
    last: &BTreeMap<ServiceName, Migration>,
    runners: &BTreeMap<ServiceName, ProviderName>,
) -> Option<Stage> {
    let mut steps: Vec<Step> = Vec::new();
    let specs = release.services.iter().map(|(name, held)| (name, &held.spec)).collect();
    for name in by_need(&specs) {
        let Some(service) = release.services.get(name) else { continue };
        let (Some(command), Some(provider)) = (&service.spec.migrate, runners.get(name)) else {
            continue;
        };
        let why = match last.get(name) {
            None => "it was never run",
            Some(last) if last.digest != service.image.digest => {
                "its image is not the one that it was last run with"
            }
            Some(last) if last.command != *command => "its command differs",
            Some(_) => continue,
        };
        let action = Action::Migrate {
            service: name.clone(),
            provider: provider.clone(),
            release: release.id,
        };
        let after: Vec<Placement> =
            steps.last().map(|step| step.action.placement()).into_iter().collect();
        steps.push(Step { after, ..Step::new(action, why) });
    }
    (!steps.is_empty()).then(|| Stage::of("migrate", steps))
}

/// Who runs the migration of `spec`: the provider that the config names, or else the first of its cascade that runs
/// jobs, or else a program of this machine that stands for its image.
///
/// # Errors
/// Why nobody can, in words, and what to write.
pub fn runner(
    spec: &ServiceSpec,
    named: Option<&ProviderName>,
    runs_jobs: impl Fn(&ProviderName) -> bool,
    here: Option<&ProviderName>,
) -> Result<ProviderName, (String, String)> {
    if let Some(named) = named {
        return if runs_jobs(named) {
            Ok(named.clone())
        } else {
            let what = format!("{named} cannot run the migration of {}: it has no jobs", spec.name);
            Err((what, "name another provider in `deploy.migrate_on`".to_owned()))
        };
    }
    let first = spec.runs_on.iter().find(|provider| runs_jobs(provider));
    if let Some(found) = first.or(here) {
        return Ok(found.clone());
    }
    let what = format!("nobody can run the migration of {}: no provider of it has jobs", spec.name);
    let help = format!(
        "name one in `deploy.migrate_on`, or a program of this machine: `programs.\"{}/{}\" = [\"PROGRAM\"]` in a provider of kind `embedded`",
        spec.image.registry, spec.image.repository
    );
    Err((what, help))
}
