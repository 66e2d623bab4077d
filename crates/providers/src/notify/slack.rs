//! Slack, by an incoming webhook.
//!
//! Facts: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
//! docs.slack.dev/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks (answers), docs.slack.dev/apis/web-api/rate-limits
//! (one message a second for each channel, short bursts), docs.slack.dev/reference/block-kit (limits of blocks),
//! docs.slack.dev/messaging/formatting-message-text (escaping).

pub(super) mod layout;

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::{Notice, Notify};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};

use crate::kit::{Account, Call, Kit, Limiter, Rule, Scope, Vendor};

/// Where webhooks are, as published.
const PRODUCTION: &str = "https://hooks.slack.com";

/// One message a second for each channel; a short burst is let through.
const MESSAGES: Rule = Rule { scope: Scope::Vendor, every: Duration::from_secs(1), burst: 5 };

/// How long a message may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is no secret in the path of a webhook.
const KNOWN: &[&str] = &["services", "workflows", "triggers", "hooks"];

/// What Slack needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The webhook's whole address. It is a secret: whoever has it can write into the channel.
    pub webhook: Secret,
    /// In place of the scheme and host of the webhook.
    pub api: Option<String>,
}

/// One channel at Slack.
pub struct Slack {
    vendor: Vendor,
    kit: Kit,
    path: Secret,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Slack {
    let (origin, path) = split(settings.webhook.expose());
    // Each part for itself: in a recording the path then still has the form that Slack describes.
    for part in path.split(['/', '?']).filter(|part| !part.is_empty() && !KNOWN.contains(part)) {
        kit.learn(&Secret::new(part));
    }
    let base = settings.api.as_deref().unwrap_or(&origin).trim_end_matches('/').to_owned();
    let vendor = kit.vendor(Account {
        provider: provider.clone(),
        spec: "slack",
        production: PRODUCTION.to_owned(),
        base,
        auth: None,
        limits: Box::new(|| Limiter::new(vec![MESSAGES], PATIENCE)),
        judge: own_judgement,
        hide: |_| {},
    });
    Slack { vendor, kit: kit.clone(), path: Secret::new(path) }
}

/// Scheme and host of `address`, and the rest.
fn split(address: &str) -> (String, String) {
    let address = address.trim();
    let host = address.find("://").map_or(0, |at| at + 3);
    let end = address[host..].find('/').map_or(address.len(), |at| host + at);
    (address[..end].to_owned(), address[end..].to_owned())
}

/// The webhook is the credential: where it is refused or gone, only a person can put it right.
fn own_judgement(status: StatusCode, said: &str) -> Option<FaultKind> {
    match (status.as_u16(), said) {
        (403, _) | (404, "no_service" | "no_team" | "team_disabled") => Some(FaultKind::Denied),
        (404 | 410, _) => Some(FaultKind::Missing),
        (400, _) => Some(FaultKind::Invalid),
        _ => None,
    }
}

#[async_trait]
impl Notify for Slack {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let mut message = layout::message(notice, |text| self.kit.mask(text));
        message["unfurl_links"] = false.into();
        let call = Call::write(Method::POST, "tell people", "", self.path.expose()).json(message);
        let answer = self.vendor.send(call).await?;
        if answer.text().trim() == "ok" {
            return Ok(());
        }
        let said = format!("it answered `{}` and not `ok`", answer.text().trim());
        Err(self.vendor.fault(FaultKind::Unclear, "tell people", &said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_split_into_host_and_path() {
        let split = |text| split(text);
        let whole = ("https://hooks.slack.com".to_owned(), "/services/T0/B0/x".to_owned());
        assert_eq!(split("https://hooks.slack.com/services/T0/B0/x\n"), whole);
        assert_eq!(split("https://hooks.slack.com").1, "");
    }

    #[test]
    fn each_answer_says_what_can_be_done() {
        let judged = |status, said| own_judgement(StatusCode::from_u16(status).unwrap(), said);
        assert_eq!(judged(400, "invalid_payload"), Some(FaultKind::Invalid));
        assert_eq!(judged(400, "invalid_blocks"), Some(FaultKind::Invalid));
        assert_eq!(judged(403, "action_prohibited"), Some(FaultKind::Denied));
        assert_eq!(judged(404, "no_service"), Some(FaultKind::Denied));
        assert_eq!(judged(404, "channel_not_found"), Some(FaultKind::Missing));
        assert_eq!(judged(410, "channel_is_archived"), Some(FaultKind::Missing));
        assert_eq!(judged(429, ""), None);
        assert_eq!(judged(500, "rollup_error"), None);
    }
}
