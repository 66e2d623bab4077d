//! Slack, by a bot: one message for each incident, which always shows how things stand, and its story in the thread below it.
//!
//! Facts: docs.slack.dev/reference/methods/chat.postMessage and chat.update (arguments, errors, which come with status 200),
//! docs.slack.dev/apis/web-api/rate-limits (a message a second for each channel; 429 with `Retry-After`).

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::{Delivery, Notice, Notify};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::post::{Place, TELL};
use super::slack::layout;
use crate::kit::{Auth, Call, Kit, Vendor};

/// The API.
const API: &str = "https://slack.com/api";

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(8);

/// What a bot needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bot's token, `xoxb-…`, with the scope `chat:write`.
    pub token: Secret,
    /// The channel's id, or its name. The bot has to be a member.
    pub channel: String,
    /// In place of `https://slack.com/api`.
    pub api: Option<String>,
}

/// One channel at Slack.
pub struct Bot {
    vendor: Vendor,
    kit: Kit,
    channel: String,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Bot {
    let place = Place {
        spec: "slack-web",
        production: API,
        base: settings.api.unwrap_or_else(|| API.to_owned()),
        auth: Some(Auth::bearer(settings.token)),
        every: Duration::from_secs(1),
        burst: 3,
        judge: |_: StatusCode, _: &str| None,
    };
    Bot { vendor: place.open(kit, provider), kit: kit.clone(), channel: settings.channel }
}

/// A message that others are told below.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Root {
    /// The channel's id.
    channel: String,
    /// The message's.
    ts: String,
}

#[derive(Deserialize)]
struct Answered {
    ok: bool,
    error: Option<String>,
    channel: Option<String>,
    ts: Option<String>,
}

/// What an error word means.
fn meaning(word: &str) -> FaultKind {
    match word {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => {
            FaultKind::Limited { wait: Duration::from_secs(30) }
        }
        "invalid_auth"
        | "not_authed"
        | "account_inactive"
        | "token_revoked"
        | "token_expired"
        | "missing_scope"
        | "no_permission"
        | "org_login_required"
        | "ekm_access_denied"
        | "team_access_not_granted"
        | "not_in_channel"
        | "restricted_action" => FaultKind::Denied,
        "channel_not_found"
        | "is_archived"
        | "message_not_found"
        | "cant_update_message"
        | "edit_window_closed" => FaultKind::Missing,
        "internal_error" | "fatal_error" | "request_timeout" | "service_unavailable" => {
            FaultKind::Unclear
        }
        _ => FaultKind::Invalid,
    }
}

impl Bot {
    /// Calls `method`, and gives where the message is.
    async fn ask(&self, method: &str, message: Value) -> Result<Root, Fault> {
        let call = Call::write(Method::POST, TELL, "", format!("/{method}"));
        let answered: Answered = self.vendor.send_for(call.json(message).within(WITHIN)).await?;
        let fault = |word: &str, kind| self.vendor.fault(kind, TELL, word);
        if !answered.ok {
            let word = answered.error.unwrap_or_default();
            return Err(fault(&word, meaning(&word)));
        }
        match (answered.channel, answered.ts) {
            (Some(channel), Some(ts)) => Ok(Root { channel, ts }),
            _ => Err(fault("it does not say where the message is", FaultKind::Unclear)),
        }
    }

    fn message(&self, notice: &Notice, channel: &str) -> Value {
        let mut message = layout::message(notice, |text| self.kit.mask(text));
        message["channel"] = channel.into();
        message
    }

    async fn begin(&self, notice: &Notice) -> Result<Root, Fault> {
        let mut message = self.message(notice, &self.channel);
        message["unfurl_links"] = false.into();
        self.ask("chat.postMessage", message).await
    }

    /// Shows `notice` in place of what stands at `root`, and tells it below.
    async fn go_on(&self, root: &Root, notice: &Notice) -> Result<(), Fault> {
        let mut shown = self.message(notice, &root.channel);
        shown["ts"] = root.ts.as_str().into();
        self.ask("chat.update", shown).await?;
        let mut told = self.message(notice, &root.channel);
        told["thread_ts"] = root.ts.as_str().into();
        told["unfurl_links"] = false.into();
        self.ask("chat.postMessage", told).await.map(drop)
    }
}

#[async_trait]
impl Notify for Bot {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        self.begin(notice).await.map(drop)
    }

    async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Option<String>, Fault> {
        let notice = delivery.marked();
        let root: Option<Root> = delivery.held.and_then(|held| serde_json::from_str(held).ok());
        if let Some(root) = root {
            match self.go_on(&root, &notice).await {
                // Somebody took it away, or the channel is another one by now: it begins anew.
                Err(fault) if fault.kind == FaultKind::Missing => {}
                done => return done.map(|()| delivery.held.map(str::to_owned)),
            }
        }
        let root = self.begin(&notice).await?;
        Ok(serde_json::to_string(&root).ok())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_word_says_what_can_be_done() {
        assert_eq!(meaning("token_revoked"), FaultKind::Denied);
        assert_eq!(meaning("channel_not_found"), FaultKind::Missing);
        assert_eq!(meaning("fatal_error"), FaultKind::Unclear);
        assert_eq!(meaning("invalid_blocks"), FaultKind::Invalid);
        assert!(matches!(meaning("ratelimited"), FaultKind::Limited { .. }));
    }
}
