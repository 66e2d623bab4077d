//! The providers that run services, from the typed config or from a rehearsal cloud.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use linkflow_model::config::{Config, Provider, Role, kinds};
use linkflow_model::role::Compute;
use linkflow_model::{ProviderName, Secret, StackName};
use linkflow_providers::compute::{Settings, embedded, fly, open, railway};
use linkflow_providers::kit::Kit;
use linkflow_rehearsal::cloud::ProviderEndpoint;
use linkflow_rehearsal::generic::Adapter;

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
    let needed = config.compute();
    let declared = config.providers.iter().filter(|(_, provider)| provider.plays(Role::Compute));
    let spare = declared.map(|(name, provider)| (name.clone(), provider.clone()));
    let spare = spare.filter(|(name, _)| !needed.contains_key(name)).collect::<Vec<_>>();
    for (name, provider) in &needed {
        computes.insert(name.clone(), one(config, options, secrets, kit, name, provider)?);
    }
    for (name, provider) in &spare {
        match one(config, options, secrets, kit, name, provider) {
            Ok(compute) => drop(computes.insert(name.clone(), compute)),
            Err(error) => tracing::debug!("no cascade names it, and it cannot be opened: {error}"),
        }
    }
    Ok(computes)
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

/// The adapter that production has, at the cloud's address; where there is none, the cloud's own.
fn rehearsed(
    stack: &StackName,
    name: &ProviderName,
    provider: &Provider,
    endpoint: &ProviderEndpoint,
    images: &str,
    kit: &Kit,
) -> Arc<dyn Compute> {
    let token = Secret::new(&endpoint.token);
    kit.learn(&token);
    match &provider.settings {
        kinds::Settings::Fly(settings) => {
            let organization = endpoint.project.clone();
            let own = fly::Settings {
                token,
                organization: organization.unwrap_or_else(|| settings.organization.clone()),
                region: settings.region.clone(),
                app_prefix: settings.app_prefix.clone(),
                api: Some(endpoint.api.clone()),
                logs_api: Some(endpoint.api.clone()),
                registry: endpoint.registry.clone(),
                images: Some(images.to_owned()),
            };
            open(Settings::Fly(own), kit, stack, name)
        }
        kinds::Settings::Railway(settings) => {
            let own = railway::Settings {
                token,
                token_kind: railway::TokenKind::Account,
                project: endpoint.project.clone(),
                environment: endpoint.environment.clone(),
                workspace: settings.workspace.clone(),
                api: Some(format!("{}/graphql/v2", endpoint.api)),
                plan: railway::Plan::Pro,
                sleeps: settings.sleep,
            };
            open(Settings::Railway(own), kit, stack, name)
        }
        _ => Arc::new(Adapter::new(name.clone(), stack.clone(), &endpoint.api, token)),
    }
}

/// The settings of a real account.
fn real(
    name: &ProviderName,
    provider: &Provider,
    options: &OpenOptions,
    secrets: &Secrets,
) -> Result<Settings, OpenError> {
    let api = provider.api().map(ToOwned::to_owned);
    Ok(match &provider.settings {
        kinds::Settings::Embedded(settings) => Settings::Embedded(embedded::Settings {
            folder: options.state.join("embedded"),
            workdir: options.workdir.clone(),
            programs: settings.programs.0.clone(),
            env: ["PATH", "HOME", "LANG", "TZ"]
                .iter()
                .filter_map(|v| Some(((*v).to_owned(), options.vars.get(*v)?.clone())))
                .collect(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }),
        kinds::Settings::Fly(settings) => Settings::Fly(fly::Settings {
            token: token(name, provider, secrets)?,
            organization: settings.organization.clone(),
            region: settings.region.clone(),
            app_prefix: settings.app_prefix.clone(),
            api,
            logs_api: settings.logs_api.as_ref().map(|url| url.0.clone()),
            registry: None,
            images: None,
        }),
        kinds::Settings::Railway(settings) => Settings::Railway(railway::Settings {
            token: token(name, provider, secrets)?,
            token_kind: match settings.token_kind {
                kinds::RailwayToken::Account => railway::TokenKind::Account,
                kinds::RailwayToken::Project => railway::TokenKind::Project,
            },
            project: settings.project.clone(),
            environment: settings.environment.clone(),
            workspace: settings.workspace.clone(),
            api,
            plan: match settings.plan {
                kinds::RailwayPlan::Free => railway::Plan::Free,
                kinds::RailwayPlan::Hobby => railway::Plan::Hobby,
                kinds::RailwayPlan::Pro => railway::Plan::Pro,
            },
            sleeps: settings.sleep,
        }),
        _ => {
            let kind = provider.kind();
            return Err(OpenError::Missing {
                what: format!(
                    "`{name}` is {}, which is parsed and not acted on yet",
                    kind.title
                ),
                help: "in a rehearsal it acts, simulated: `linkflow rehearse`, `linkflow up --rehearsal` or `--cloud URL`"
                    .to_owned(),
            });
        }
    })
}

fn token(name: &ProviderName, provider: &Provider, secrets: &Secrets) -> Result<Secret, OpenError> {
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
