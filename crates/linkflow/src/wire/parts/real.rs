//! Providers of real accounts, from the typed config.

use std::net::{IpAddr, Ipv4Addr};

use linkflow_model::config::{Provider, kinds};
use linkflow_model::{ProviderName, Secret};
use linkflow_providers::compute::{
    Settings, azure_container_apps, docker, embedded, fly, koyeb, railway, render, server, zeabur,
};

use super::super::secrets::Secrets;
use super::super::{OpenError, OpenOptions};
use super::token;

/// The settings of a real account.
#[expect(clippy::too_many_lines, reason = "one arm for each vendor, and nothing decided in any")]
pub(super) fn real(
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
        kinds::Settings::AzureContainerApps(settings) => {
            Settings::AzureContainerApps(azure_container_apps::Settings {
                credentials: token(name, provider, secrets)?,
                subscription: settings.subscription.clone(),
                tenant: settings.tenant.clone(),
                resource_group: settings.resource_group.clone(),
                environment: settings.environment.clone(),
                location: settings.location.clone(),
                api,
                login_api: None,
            })
        }
        kinds::Settings::Koyeb(settings) => Settings::Koyeb(koyeb::Settings {
            token: token(name, provider, secrets)?,
            organization: settings.organization.clone(),
            region: settings.region.clone(),
            instance: settings.instance.clone(),
            app_prefix: settings.app_prefix.clone(),
            sleep_after: settings.sleep_after,
            api,
        }),
        kinds::Settings::Zeabur(settings) => Settings::Zeabur(zeabur::Settings {
            token: token(name, provider, secrets)?,
            project: settings.project.clone(),
            environment: settings.environment.clone(),
            region: settings.region.clone(),
            tcp_host: settings.tcp_host.clone(),
            api,
        }),
        kinds::Settings::Render(settings) => Settings::Render(render::Settings {
            token: token(name, provider, secrets)?,
            owner: settings.owner.clone(),
            region: settings.region.clone(),
            plan: settings.plan.clone(),
            api,
        }),
        kinds::Settings::Server(settings) => Settings::Server(server::Settings {
            address: settings.address.0.clone(),
            port: settings.port,
            user: settings.user.clone(),
            key: login_key(name, settings, secrets)?,
            host_key: settings.host_key.clone(),
            state: options.state.clone(),
            place: server::Place {
                publish: settings.publish,
                ports: (settings.first_port, settings.last_port),
                network: network(settings.network),
                drain: settings.drain,
                platform: platform(settings.platform),
                docker_host: settings.docker_host.clone(),
                folder: settings.folder.clone(),
            },
        }),
        kinds::Settings::Docker(settings) => Settings::Docker(docker::Settings {
            env: super::super::docker::ENV
                .iter()
                .filter_map(|v| Some(((*v).to_owned(), options.vars.get(*v)?.clone())))
                .collect(),
            place: server::Place {
                publish: settings.publish,
                ports: (settings.first_port, settings.last_port),
                network: network(settings.network),
                drain: settings.drain,
                platform: platform(settings.platform),
                docker_host: settings.docker_host.clone(),
                folder: settings.folder.clone(),
            },
        }),
        _ => {
            return Err(OpenError::Missing {
                what: format!("`{name}` is {}, which runs no services", provider.kind().title),
                help: "`runs_on` names providers that do".to_owned(),
            });
        }
    })
}

/// The key that SSH logs in with.
fn login_key(
    name: &ProviderName,
    settings: &kinds::Server,
    secrets: &Secrets,
) -> Result<Secret, OpenError> {
    let Some(reference) = &settings.key else {
        return Err(OpenError::Missing {
            what: format!("`{name}` has no key to log in with"),
            help: format!("write `key = \"${{secret.SSH_KEY}}\"` into `[providers.{name}]`"),
        });
    };
    secrets.follow(reference).ok_or_else(|| OpenError::Missing {
        what: format!("the key of `{name}`, `${{{}}}`, is not there", reference.reference),
        help: "put it into the environment, under the name of the secret".to_owned(),
    })
}

fn network(network: kinds::ContainerNetwork) -> server::Network {
    match network {
        kinds::ContainerNetwork::Bridge => server::Network::Bridge,
        kinds::ContainerNetwork::Host => server::Network::Host,
    }
}

fn platform(platform: kinds::Platform) -> &'static str {
    match platform {
        kinds::Platform::Amd64 => "linux/amd64",
        kinds::Platform::Arm64 => "linux/arm64",
    }
}
