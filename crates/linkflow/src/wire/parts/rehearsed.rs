//! Providers of a rehearsal: the adapters that production has, at the cloud's addresses.

use std::sync::Arc;

use linkflow_model::config::{Provider, kinds};
use linkflow_model::role::Compute;
use linkflow_model::{ProviderName, Secret, StackName};
use linkflow_providers::compute::{
    Settings, azure_container_apps, fly, koyeb, open, railway, render, zeabur,
};
use linkflow_providers::kit::Kit;
use linkflow_rehearsal::cloud::ProviderEndpoint;
use linkflow_rehearsal::generic::Adapter;
use serde_json::Value;

/// The adapter that production has, at the cloud's address; where there is none, the cloud's own.
#[expect(clippy::too_many_lines, reason = "one arm for each vendor, and nothing decided in any")]
pub(super) fn rehearsed(
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
        kinds::Settings::AzureContainerApps(settings) => {
            let credentials: Value = serde_json::from_str(&endpoint.token).unwrap_or_default();
            let subscription = credentials["subscriptionId"].as_str().map(str::to_owned);
            let own = azure_container_apps::Settings {
                credentials: token,
                subscription: subscription.unwrap_or_else(|| settings.subscription.clone()),
                tenant: None,
                resource_group: given(&endpoint.project, &settings.resource_group),
                environment: given(&endpoint.environment, &settings.environment),
                location: settings.location.clone(),
                api: Some(endpoint.api.clone()),
                login_api: Some(endpoint.api.clone()),
            };
            open(Settings::AzureContainerApps(own), kit, stack, name)
        }
        kinds::Settings::Koyeb(settings) => {
            let own = koyeb::Settings {
                token,
                organization: endpoint.project.clone(),
                // The rehearsal's account has this region.
                region: "fra".to_owned(),
                instance: settings.instance.clone(),
                app_prefix: settings.app_prefix.clone(),
                sleep_after: settings.sleep_after,
                api: Some(endpoint.api.clone()),
            };
            open(Settings::Koyeb(own), kit, stack, name)
        }
        kinds::Settings::Zeabur(settings) => {
            let own = zeabur::Settings {
                token,
                project: endpoint.project.clone(),
                environment: endpoint.environment.clone(),
                region: settings.region.clone(),
                tcp_host: Some("127.0.0.1".to_owned()),
                api: Some(format!("{}/graphql", endpoint.api)),
            };
            open(Settings::Zeabur(own), kit, stack, name)
        }
        kinds::Settings::Render(_) => {
            let own = render::Settings {
                token,
                owner: endpoint.project.clone(),
                region: "frankfurt".to_owned(),
                // Workers are not on the free plan.
                plan: "starter".to_owned(),
                api: Some(endpoint.api.clone()),
            };
            open(Settings::Render(own), kit, stack, name)
        }
        _ => Arc::new(Adapter::new(name.clone(), stack.clone(), &endpoint.api, token)),
    }
}

/// What the cloud has, or else what the config says.
fn given(cloud: &Option<String>, config: &str) -> String {
    cloud.clone().unwrap_or_else(|| config.to_owned())
}
