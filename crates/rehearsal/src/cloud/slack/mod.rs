//! Slack: one incoming webhook, which reads messages as strictly as Slack does and keeps them.
//!
//! Facts: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
//! docs.slack.dev/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks (answers, which are plain text),
//! docs.slack.dev/apis/web-api/rate-limits (a message a second, `Retry-After`), docs.slack.dev/reference/block-kit (blocks).

mod blocks;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use linkflow_model::Timestamp;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::beside::{Beside, Ground};
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
    limits: Limits,
    messages: Mutex<VecDeque<(Timestamp, Value)>>,
}

fn said(status: u16, word: &str) -> Answer {
    Answer::bytes(status, "text/plain", word.to_owned().into())
}

impl Slack {
    pub(crate) fn new(ground: Ground) -> Self {
        let letters = |count| ground.dice.letters("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", count);
        let address =
            [format!("T{}", letters(10)), format!("B{}", letters(10)), ground.dice.hex(24)];
        Self { ground, address, limits: Limits::default(), messages: Mutex::default() }
    }

    /// The path of the webhook.
    pub(crate) fn path(&self) -> String {
        format!("/services/{}", self.address.join("/"))
    }

    /// Every message that was taken, oldest first.
    pub(crate) fn messages(&self) -> Value {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let row =
            |(at, message): &(Timestamp, Value)| json!({ "at": moment(*at), "message": message });
        json!({ "messages": messages.iter().map(row).collect::<Vec<_>>() })
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
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push_back((self.ground.clock.wall(), message));
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
        match self.take(call) {
            Ok(()) => said(200, "ok"),
            Err(refused) => refused,
        }
    }

    fn limited(&self) -> Answer {
        said(429, "rate_limited").with("retry-after", "30")
    }
}
