//! Slack's Web API for one bot: messages in one channel, changed and answered. A refusal comes with status 200.
//!
//! Facts: docs.slack.dev/reference/methods/chat.postMessage and chat.update (arguments and error words),
//! docs.slack.dev/apis/web-api/rate-limits.

use serde_json::{Value, json};

use super::super::answer::{Answer, Call};
use super::super::trouble::Trouble;
use super::{MESSAGES, Slack, Told, blocks, said};

fn refused(word: &str) -> Answer {
    Answer::json(200, &json!({ "ok": false, "error": word }))
}

impl Slack {
    /// Answers `method`.
    pub(super) fn call(&self, method: &str, call: &Call) -> Answer {
        match self.carry_out(method, call) {
            Ok(answer) | Err(answer) => answer,
        }
    }

    fn carry_out(&self, method: &str, call: &Call) -> Result<Answer, Answer> {
        match call.bearer() {
            None => return Err(refused("not_authed")),
            Some(token) if token != self.token => return Err(refused("invalid_auth")),
            Some(_) => {}
        }
        if self.suffers(|t| matches!(t, Trouble::OutOfQuota)) {
            return Err(refused("message_limit_exceeded"));
        }
        if self.suffers(|t| matches!(t, Trouble::AppDown)) {
            return Err(refused("is_archived"));
        }
        let mut message =
            call.json().filter(Value::is_object).ok_or_else(|| refused("invalid_json"))?;
        let channel = message["channel"].as_str().unwrap_or_default().to_owned();
        let is_known = match method {
            // Only a message that is new takes the channel's name.
            "chat.postMessage" => {
                channel == self.channel || channel.trim_start_matches('#') == NAME
            }
            "chat.update" => channel == self.channel,
            _ => return Err(refused("unknown_method")),
        };
        if !is_known {
            return Err(refused("channel_not_found"));
        }
        blocks::check(&message).map_err(refused)?;
        if let Err(wait) = self.limits.take(method.to_owned(), MESSAGES) {
            let seconds = (wait.as_secs() + 1).to_string();
            return Err(said(429, "").with("retry-after", &seconds));
        }
        message["channel"] = self.channel.as_str().into();
        let ts = if method == "chat.update" { self.change(message)? } else { self.post(message)? };
        Ok(Answer::json(200, &json!({ "ok": true, "channel": self.channel, "ts": ts })))
    }

    fn post(&self, message: Value) -> Result<String, Answer> {
        let mut held = self.held();
        let thread = message["thread_ts"].as_str();
        if thread.is_some_and(|thread| !held.iter().any(|told| told.ts.as_deref() == Some(thread)))
        {
            return Err(refused("thread_not_found"));
        }
        let at = self.ground.clock.wall();
        // Each message of a channel has another one.
        let ts = format!("{}.{:06}", at.0 / 1_000, held.len() + 1);
        held.push_back(Told { at, message, ts: Some(ts.clone()) });
        Ok(ts)
    }

    fn change(&self, message: Value) -> Result<String, Answer> {
        let ts = message["ts"].as_str().unwrap_or_default().to_owned();
        let mut held = self.held();
        let told = held.iter_mut().find(|told| told.ts.as_ref() == Some(&ts));
        told.ok_or_else(|| refused("message_not_found"))?.message = message;
        Ok(ts)
    }
}

/// What the channel is called.
pub(super) const NAME: &str = "alerts";
