//! Whoever runs workflows, from the typed config or from a rehearsal cloud.

use std::path::PathBuf;
use std::sync::Arc;

use linkflow_model::clock::SystemClock;
use linkflow_model::config::{Config, Provider, kinds};
use linkflow_model::role::Ci;
use linkflow_model::{Clock, ProviderName, Secret};
use linkflow_providers::ci::{Settings, github, open};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_rehearsal::cloud::Endpoints;

use super::OpenError;
use super::secrets::Secrets;

/// Opens the provider of `config` that runs workflows: the one that is named, or the only one. In a rehearsal the cloud's
/// stands for it.
///
/// # Errors
/// What is missing, and what helps.
pub(crate) fn open_ci(
    config: &Config,
    named: Option<&ProviderName>,
    cloud: Option<&Endpoints>,
    secrets: &Secrets,
    record: Option<PathBuf>,
) -> Result<Arc<dyn Ci>, OpenError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let user_agent = concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned();
    let kit = Kit::new(KitOptions { record, clock, user_agent, limits: None })?;
    if let Some(cloud) = cloud {
        let own = github::Settings {
            repository: cloud.github.repository.clone(),
            token: Secret::new(&cloud.github.token),
            api: Some(cloud.github.api.clone()),
        };
        let name = named.cloned().or_else(|| ProviderName::new("github"));
        return Ok(open(Settings::Github(own), &kit, &name.ok_or_else(none)?));
    }
    let is_github = |provider: &Provider| matches!(provider.settings, kinds::Settings::Github(_));
    let mut found = config
        .providers
        .iter()
        .filter(|(name, provider)| is_github(provider) && named.is_none_or(|named| named == *name));
    let (Some((name, provider)), more) = (found.next(), found.next()) else { return Err(none()) };
    if more.is_some() {
        return Err(OpenError::Missing {
            what: "the config has several accounts at GitHub".to_owned(),
            help: "`--provider NAME` says which one".to_owned(),
        });
    }
    let kinds::Settings::Github(settings) = &provider.settings else { return Err(none()) };
    let own = github::Settings {
        repository: settings.repository.clone().ok_or_else(|| OpenError::Missing {
            what: format!("`{name}` names no repository"),
            help: format!("write `repository = \"acme/shop\"` into `[providers.{name}]`"),
        })?,
        token: super::parts::token(name, provider, secrets)?,
        api: provider.api().map(ToOwned::to_owned),
    };
    Ok(open(Settings::Github(own), &kit, name))
}

fn none() -> OpenError {
    OpenError::Missing {
        what: "the config has no such account at GitHub".to_owned(),
        help: "add `[providers.github]` with `kind = \"github\"`, `repository = \"acme/shop\"` and `token = \"${secret.GITHUB_TOKEN}\"`".to_owned(),
    }
}
