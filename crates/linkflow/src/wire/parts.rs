//! The providers that run services, from the typed config or from a rehearsal cloud.

mod real;
mod rehearsed;

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_model::config::{Config, Provider, Role, acts, kinds};
use linkflow_model::role::Compute;
use linkflow_model::{ProviderName, Secret};
use linkflow_providers::compute::open;
use linkflow_providers::kit::Kit;

use real::real;
use rehearsed::rehearsed;

use super::secrets::Secrets;
use super::{OpenError, OpenOptions};

/// Every provider that can run services, opened. One that no cascade names yet may lack its token.
pub(super) fn computes(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Result<BTreeMap<ProviderName, Arc<dyn Compute>>, OpenError> {
    let mut computes: BTreeMap<ProviderName, Arc<dyn Compute>> = BTreeMap::new();
    for (name, place) in places(config, options, secrets, kit) {
        match place.opened {
            Ok(compute) => drop(computes.insert(name, compute)),
            Err(error) if place.needed => return Err(error),
            Err(error) => tracing::debug!("no cascade names it, and it cannot be opened: {error}"),
        }
    }
    Ok(computes)
}

/// A provider that can run services.
pub(super) struct Place {
    /// As the config has it.
    pub(super) provider: Provider,
    /// Whether a cascade names it, or a migration runs there.
    pub(super) needed: bool,
    /// The provider, or why it cannot be opened.
    pub(super) opened: Result<Arc<dyn Compute>, OpenError>,
}

/// Every provider that can run services, each opened by itself.
pub(super) fn places(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> BTreeMap<ProviderName, Place> {
    let needed = config.compute();
    // A cloud has only the providers that its config needs.
    let acts = |name: &ProviderName, provider: &Provider| match &options.cloud {
        Some(cloud) => cloud.providers.contains_key(name),
        None => acts(provider.kind().word, Role::Compute),
    };
    let declared = config.providers.iter();
    let declared = declared.filter(|(name, p)| p.plays(Role::Compute) && acts(name, p));
    let mut all: BTreeMap<ProviderName, Provider> =
        declared.map(|(name, provider)| (name.clone(), provider.clone())).collect();
    all.extend(needed.clone());
    let open = |(name, provider): (ProviderName, Provider)| {
        let opened = one(config, options, secrets, kit, &name, &provider);
        let needed = needed.contains_key(&name);
        (name, Place { provider, needed, opened })
    };
    all.into_iter().map(open).collect()
}

/// The provider of this machine that has a program for each image, by image without its tag. In a rehearsal too: its
/// cloud has one of the same name.
pub(super) fn programs(config: &Config) -> BTreeMap<String, ProviderName> {
    let mut programs = BTreeMap::new();
    for (name, provider) in config.compute() {
        if let kinds::Settings::Embedded(settings) = &provider.settings {
            let images = settings.programs.0.keys().cloned();
            programs.extend(images.map(|image| (image, name.clone())));
        }
    }
    programs
}

fn one(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
    name: &ProviderName,
    provider: &Provider,
) -> Result<Arc<dyn Compute>, OpenError> {
    match &options.cloud {
        Some(cloud) => {
            let endpoint = cloud.providers.get(name).ok_or_else(|| OpenError::Missing {
                what: format!("the rehearsal cloud has no provider `{name}`"),
                help: "start the cloud with the same config".to_owned(),
            })?;
            Ok(rehearsed(&config.stack.name, name, provider, endpoint, &cloud.registry, kit))
        }
        None => {
            let settings = real(name, provider, options, secrets)?;
            Ok(open(settings, kit, &config.stack.name, name))
        }
    }
}

pub(super) fn token(
    name: &ProviderName,
    provider: &Provider,
    secrets: &Secrets,
) -> Result<Secret, OpenError> {
    let Some(reference) = provider.secret() else {
        let example = name.as_str().to_uppercase().replace('-', "_");
        return Err(OpenError::Missing {
            what: format!("`{name}` has no token"),
            help: format!(
                "write `token = \"${{secret.{example}_TOKEN}}\"` into `[providers.{name}]`"
            ),
        });
    };
    secrets.follow(reference).ok_or_else(|| OpenError::Missing {
        what: format!("the token of `{name}`, `${{{}}}`, is not there", reference.reference),
        help: "put it into the environment, under the name of the secret".to_owned(),
    })
}
