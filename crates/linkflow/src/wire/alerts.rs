//! Who is told of incidents: the alerts of the config, each with its channels.

use std::sync::Arc;

use super::notify::origin;
use super::secrets::Secrets;
use super::state::Home;
use super::{LIMITS, OpenError, OpenOptions, mail, notify, page, sms};
use linkflow_decide::{AlertRule, Urgency};
use linkflow_engine::{AlertChannel, AlertPost, Alerts};
use linkflow_model::clock::SystemClock;
use linkflow_model::config::{Alert, AlertLevel, Config, SecretRef, kinds};
use linkflow_model::{Clock, ProviderName, Secret};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_providers::notify::{
    Settings, command, discord, ntfy, open as open_channel, pagerduty, slack, teams, telegram,
    twilio, webhook,
};
use linkflow_store::Store;

/// A channel's name within its alert, and what it needs or why it cannot be opened.
type Way = (String, Result<Settings, OpenError>);

/// An alert's name, and its channels, or why they cannot be opened.
pub(crate) type Opened = (String, Result<AlertPost, OpenError>);

/// Opens the alerts of the config by themselves, for a command that does not serve.
///
/// # Errors
/// When the state folder cannot be used or there is no HTTP client to be had.
pub(crate) fn apart(config: &Config, options: &OpenOptions) -> Result<Vec<Opened>, OpenError> {
    let in_folder = |source| OpenError::State { folder: options.state.clone(), source };
    let home = Home::open(&options.state).map_err(in_folder)?;
    let secrets = Secrets::new(options.vars.clone(), home.key(), options.cloud.is_some());
    let kit = Kit::new(KitOptions {
        record: options.record.clone(),
        clock: Arc::new(SystemClock::start()),
        user_agent: concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned(),
        limits: Some(home.path(LIMITS)),
    })?;
    Ok(posts(config, options, &secrets, &kit))
}

/// Who tells people, once it is started.
pub(super) fn open(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
    (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
) -> Arc<Alerts> {
    let posts = posts_that_open(config, options, secrets, kit);
    Alerts::new(store, clock, &config.stack.name, page::address(config), posts)
}

/// The alerts that can be opened. One that cannot is warned of: nobody stops serving visitors for it.
fn posts_that_open(
    config: &Config,
    options: &OpenOptions,
    secrets: &Secrets,
    kit: &Kit,
) -> Vec<AlertPost> {
    let all = posts(config, options, secrets, kit).into_iter();
    let opened = all.filter_map(|(name, opened)| match opened {
        Ok(post) => Some(post),
        Err(error) => {
            tracing::warn!("nobody is told by `alerts.{name}`: {error}; {}", error.help());
            None
        }
    });
    opened.collect()
}

fn posts(config: &Config, options: &OpenOptions, secrets: &Secrets, kit: &Kit) -> Vec<Opened> {
    let opening = Opening { config, options, secrets };
    let all = config.alerts.iter().map(|(name, alert)| {
        let name = name.as_str();
        let channels = opening.ways(alert).into_iter().map(|(way, settings)| {
            let notify = open_channel(settings?, kit, &provider(name, &way)?);
            Ok(AlertChannel { in_turn: way.starts_with("sms-"), name: way, notify })
        });
        let channels: Result<Vec<_>, OpenError> = channels.collect();
        let is_spare = config.alerts.values().any(|other| {
            other.otherwise.as_ref().is_some_and(|otherwise| otherwise.as_str() == name)
        });
        let post = channels.map(|channels| AlertPost {
            name: name.to_owned(),
            rule: rule(alert),
            channels,
            turn: alert.turn,
            otherwise: alert.otherwise.as_ref().map(ToString::to_string),
            is_spare,
        });
        (name.to_owned(), post)
    });
    all.collect()
}

/// What faults of a channel are said to be of: `team-slack`.
fn provider(alert: &str, way: &str) -> Result<ProviderName, OpenError> {
    ProviderName::new(&format!("{alert}-{way}")).ok_or_else(|| OpenError::Missing {
        what: format!("`alerts.{alert}` has too long a name"),
        help: "give it a shorter one".to_owned(),
    })
}

fn rule(alert: &Alert) -> AlertRule {
    AlertRule {
        least: match alert.level {
            AlertLevel::Info => Urgency::Info,
            AlertLevel::Notice => Urgency::Notice,
            AlertLevel::Warning => Urgency::Warning,
            AlertLevel::Alarm => Urgency::Alarm,
        },
        wait: alert.wait,
        after: alert.after,
        repeat: alert.repeat,
        quiet: alert.quiet.map(|quiet| (quiet.from, quiet.to)),
    }
}

struct Opening<'a> {
    config: &'a Config,
    options: &'a OpenOptions,
    secrets: &'a Secrets,
}

impl Opening<'_> {
    /// Every way of an alert. A rehearsal has a Slack, a Twilio and those that send mail, and reaches nobody else.
    fn ways(&self, alert: &Alert) -> Vec<Way> {
        let mut ways: Vec<Way> = Vec::new();
        if let Some(reference) = &alert.slack {
            ways.push(("slack".to_owned(), self.slack(reference)));
        }
        for name in &alert.via {
            let settings = self.config.provider(name).map(|provider| provider.settings);
            let is_carrier = match settings {
                Some(kinds::Settings::Twilio(_)) => true,
                // The alert's own webhook goes before the provider's.
                Some(kinds::Settings::Slack(_)) => alert.slack.is_some(),
                _ => false,
            };
            if !is_carrier {
                let settings = notify::channel(self.config, self.options, self.secrets, name);
                ways.push((format!("via-{name}"), settings));
            }
        }
        for (index, phone) in alert.sms.iter().enumerate() {
            ways.push((format!("sms-{}", index + 1), self.sms(alert, &phone.0)));
        }
        for (index, to) in alert.email.iter().enumerate() {
            let settings = mail::way(self.config, self.options, self.secrets, to);
            ways.push((format!("email-{}", index + 1), settings.map(Settings::Mail)));
        }
        if self.options.cloud.is_none() {
            ways.extend(self.real(alert));
        }
        ways
    }

    /// The ways that no rehearsal has.
    fn real(&self, alert: &Alert) -> Vec<Way> {
        let mut ways: Vec<Way> = Vec::new();
        let mut way = |name: &str, settings| ways.push((name.to_owned(), settings));
        if let Some(reference) = &alert.discord {
            let webhook = self.follow(reference);
            way(
                "discord",
                webhook.map(|webhook| Settings::Discord(discord::Settings { webhook, api: None })),
            );
        }
        if let Some(reference) = &alert.teams {
            let webhook = self.follow(reference);
            way(
                "teams",
                webhook.map(|webhook| Settings::Teams(teams::Settings { webhook, api: None })),
            );
        }
        if let Some(reference) = &alert.telegram {
            let chat = alert.telegram_chat.clone().unwrap_or_default();
            way(
                "telegram",
                self.follow(reference)
                    .map(|token| Settings::Telegram(telegram::Settings { token, chat, api: None })),
            );
        }
        if let Some(reference) = &alert.ntfy {
            way("ntfy", self.ntfy(alert, reference));
        }
        if let Some(reference) = &alert.pagerduty {
            let api = alert.pagerduty_server.as_ref().map(|url| url.0.clone());
            way(
                "pagerduty",
                self.follow(reference).map(|routing_key| {
                    Settings::Pagerduty(pagerduty::Settings { routing_key, api })
                }),
            );
        }
        if let Some(reference) = &alert.webhook {
            way("webhook", self.webhook(alert, reference));
        }
        if !alert.command.is_empty() {
            let env = ["PATH", "HOME", "LANG", "TZ"].iter();
            let vars = &self.options.vars;
            let env = env.filter_map(|name| Some(((*name).to_owned(), vars.get(*name)?.clone())));
            let (words, folder) = (alert.command.clone(), self.options.workdir.clone());
            let settings = command::Settings { words, folder, env: env.collect() };
            way("command", Ok(Settings::Command(settings)));
        }
        ways
    }

    fn follow(&self, reference: &SecretRef) -> Result<Secret, OpenError> {
        self.secrets.follow(reference).ok_or_else(|| OpenError::Missing {
            what: format!("`${{{}}}` is not there", reference.reference),
            help: "put it into the environment, under the name of the secret".to_owned(),
        })
    }

    fn slack(&self, reference: &SecretRef) -> Result<Settings, OpenError> {
        let (webhook, api) = match &self.options.cloud {
            Some(cloud) => (Secret::new(&cloud.slack.webhook), Some(origin(&cloud.slack.webhook))),
            None => (self.follow(reference)?, None),
        };
        Ok(Settings::Slack(slack::Settings { webhook, api }))
    }

    fn ntfy(&self, alert: &Alert, topic: &SecretRef) -> Result<Settings, OpenError> {
        let token = alert.ntfy_token.as_ref().map(|token| self.follow(token)).transpose()?;
        let api = alert.ntfy_server.as_ref().map(|url| url.0.clone());
        Ok(Settings::Ntfy(ntfy::Settings { topic: self.follow(topic)?, token, api }))
    }

    fn webhook(&self, alert: &Alert, address: &SecretRef) -> Result<Settings, OpenError> {
        let secret = alert.webhook_secret.as_ref().map(|secret| self.follow(secret)).transpose()?;
        Ok(Settings::Webhook(webhook::Settings { address: self.follow(address)?, secret }))
    }

    fn sms(&self, alert: &Alert, to: &str) -> Result<Settings, OpenError> {
        let sender = sms::sender(&alert.via, self.config, self.options, self.secrets)?.1;
        Ok(Settings::Twilio(twilio::Settings { sender, to: to.to_owned() }))
    }
}
