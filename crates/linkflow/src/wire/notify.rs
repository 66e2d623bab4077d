//! The channels to people that a deploy tells, from the typed config or from a rehearsal cloud.

use std::sync::Arc;

use linkflow_model::config::{Config, Provider, kinds};
use linkflow_model::role::Notify;
use linkflow_model::{ProviderName, Secret};
use linkflow_providers::kit::Kit;
use linkflow_providers::notify::{Settings, embedded, open, slack, slack_bot};

use super::secrets::Secrets;
use super::{OpenError, OpenOptions, parts};

/// Channels by the names of their providers.
pub(super) type Channels = Vec<(ProviderName, Arc<dyn Notify>)>;

/// Every channel that `deploy.notify` names, opened.
pub(super) fn channels(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Result<Channels, OpenError> {
    let named = config.deploy.notify.iter();
    let each = named.map(|name| {
        let settings = channel(config, options, secrets, name)?;
        Ok((name.clone(), open(settings, kit, name)))
    });
    each.collect()
}

pub(super) fn channel(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    name: &ProviderName,
) -> Result<Settings, OpenError> {
    let provider = config.provider(name);
    match provider.as_ref().map(|provider| &provider.settings) {
        Some(kinds::Settings::Slack(settings)) => {
            slack(options, secrets, name, settings, provider.as_ref())
        }
        Some(kinds::Settings::Embedded(_)) => {
            let file = Some(options.state.join("notices.log"));
            Ok(Settings::Embedded(embedded::Settings { file }))
        }
        _ => Err(OpenError::Missing {
            what: format!("`deploy.notify` names `{name}`, which tells nobody anything yet"),
            help: "a provider of the kind slack does, and `embedded`".to_owned(),
        }),
    }
}

/// Slack by a bot where a channel is named, and by the webhook otherwise.
fn slack(
    options: &OpenOptions,
    secrets: &Secrets,
    name: &ProviderName,
    settings: &kinds::Slack,
    provider: Option<&Provider>,
) -> Result<Settings, OpenError> {
    if let (Some(channel), Some(provider)) = (&settings.channel, provider) {
        return Ok(Settings::SlackBot(match &options.cloud {
            Some(cloud) => slack_bot::Settings {
                token: Secret::new(&cloud.slack.token),
                channel: cloud.slack.channel.clone(),
                api: Some(cloud.slack.api.clone()),
            },
            None => slack_bot::Settings {
                token: parts::token(name, provider, secrets)?,
                channel: channel.clone(),
                api: provider.api().map(ToOwned::to_owned),
            },
        }));
    }
    let webhook = match (&options.cloud, &settings.webhook) {
        (Some(cloud), _) => Some(Secret::new(&cloud.slack.webhook)),
        (None, Some(reference)) => secrets.follow(reference),
        (None, None) => None,
    };
    let webhook = webhook.ok_or_else(|| OpenError::Missing {
        what: format!("`{name}` has neither a webhook nor a bot with a channel"),
        help: format!(
            "write `webhook = \"${{secret.SLACK_WEBHOOK}}\"`, or `token = \"${{secret.SLACK_TOKEN}}\"` and `channel`, into `[providers.{name}]`, and the secret into the environment"
        ),
    })?;
    let api = options.cloud.as_ref().map(|cloud| origin(&cloud.slack.webhook));
    Ok(Settings::Slack(slack::Settings { webhook, api }))
}

/// Scheme and host of `address`.
pub(super) fn origin(address: &str) -> String {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find('/').map_or(address.len(), |at| start + at);
    address[..end].to_owned()
}
