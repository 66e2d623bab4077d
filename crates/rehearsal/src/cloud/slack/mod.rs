//! Slack: one incoming webhook and one bot, which read messages as strictly as Slack does and keep them.
//!
//! Facts: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
//! docs.slack.dev/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks (answers, which are plain text),
//! docs.slack.dev/apis/web-api/rate-limits (a message a second, `Retry-After`), docs.slack.dev/reference/block-kit (blocks).

mod blocks;
mod web;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use linkflow_model::Timestamp;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::beside::{Beside, Ground};
use super::endpoints::SlackEndpoint;
use super::limit::{Limits, Rate};
use super::log::moment;
use super::trouble::Trouble;

/// One message a second; "short bursts" is all that Slack says of the rest.
const MESSAGES: Rate = Rate { per_second: 1.0, burst: 10.0 };
/// Messages that are kept.
const KEPT: usize = 1_000;
/// Longest text of a message, in characters.
const TEXT: usize = 40_000;

/// The vendor.
pub(crate) struct Slack {
    ground: Ground,
    /// Team, webhook, secret.
    address: [String; 3],
    /// The bot's.
    token: String,
    /// The id of the only channel.
    channel: String,
    limits: Limits,
    messages: Mutex<VecDeque<Told>>,
}

/// A message that was taken.
struct Told {
    at: Timestamp,
    message: Value,
    /// What a bot finds it by again.
    ts: Option<String>,
}

fn said(status: u16, word: &str) -> Answer {
    Answer::bytes(status, "text/plain", word.to_owned().into())
}

impl Slack {
    pub(crate) fn new(ground: Ground) -> Self {
        let letters = |count| ground.dice.letters("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", count);
        let address =
            [format!("T{}", letters(10)), format!("B{}", letters(10)), ground.dice.hex(24)];
        let (token, channel) =
            (format!("xoxb-{}", ground.dice.hex(32)), format!("C{}", letters(10)));
        let limits = Limits::default();
        Self { ground, address, token, channel, limits, messages: Mutex::default() }
    }

    /// How it is reached at `url`.
    pub(crate) fn endpoint(&self, url: &str) -> SlackEndpoint {
        SlackEndpoint {
            webhook: format!("{url}/services/{}", self.address.join("/")),
            api: format!("{url}/api"),
            token: self.token.clone(),
            channel: format!("#{}", web::NAME),
        }
    }

    /// Every message that was taken, oldest first.
    pub(crate) fn messages(&self) -> Value {
        let row =
            |told: &Told| json!({ "at": moment(told.at), "message": told.message, "ts": told.ts });
        json!({ "messages": self.held().iter().map(row).collect::<Vec<_>>() })
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<Told>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suffers(&self, fits: fn(Trouble) -> bool) -> bool {
        self.ground.faults.any(None, fits)
    }

    fn take(&self, call: &Call) -> Result<(), Answer> {
        let parts = call.parts();
        let [services, team, hook, secret] = parts.as_slice() else {
            return Err(said(404, "no_service"));
        };
        if services != "services" || [team, hook] != [&self.address[0], &self.address[1]] {
            return Err(said(404, "no_service"));
        }
        if *secret != self.address[2] {
            return Err(said(403, "invalid_token"));
        }
        if self.suffers(|t| matches!(t, Trouble::OutOfQuota)) {
            return Err(said(403, "action_prohibited"));
        }
        if self.suffers(|t| matches!(t, Trouble::AppDown)) {
            return Err(said(410, "channel_is_archived"));
        }
        let message = call.json().filter(|_| call.method == http::Method::POST);
        let Some(message) = message.filter(Value::is_object) else {
            return Err(said(400, "invalid_payload"));
        };
        blocks::check(&message).map_err(|word| said(400, word))?;
        if let Err(wait) = self.limits.take(String::new(), MESSAGES) {
            let seconds = wait.as_secs() + 1;
            return Err(said(429, "rate_limited").with("retry-after", &seconds.to_string()));
        }
        let mut messages = self.held();
        messages.push_back(Told { at: self.ground.clock.wall(), message, ts: None });
        if messages.len() > KEPT {
            messages.pop_front();
        }
        Ok(())
    }
}

impl Beside for Slack {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        if let Some(method) = call.path.strip_prefix("/api/") {
            return self.call(method, call);
        }
        match self.take(call) {
            Ok(()) => said(200, "ok"),
            Err(refused) => refused,
        }
    }

    fn limited(&self) -> Answer {
        said(429, "rate_limited").with("retry-after", "30")
    }
}
