//! Brevo. <https://developers.brevo.com/reference/sendtransacemail>, <https://developers.brevo.com/docs/api-limits>
//!
//! It keeps no keys of letters that anybody documents, so what may have gone out is never sent again by itself.

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::config::Mailbox;
use linkflow_model::role::{Letter, Mail};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{SEND, headers};
use crate::kit::{Auth, Call, Kit, Vendor};
use crate::notify::post::Place;

/// The API.
const API: &str = "https://api.brevo.com/v3";

/// How long one letter may take.
const WITHIN: Duration = Duration::from_secs(8);

/// What Brevo needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key of its API.
    pub token: Secret,
    /// In place of `https://api.brevo.com/v3`.
    pub api: Option<String>,
}

/// An account at Brevo.
pub struct Brevo {
    vendor: Vendor,
}

pub(super) fn open(settings: &Settings, kit: &Kit, provider: &ProviderName) -> Brevo {
    let place = Place {
        spec: "brevo",
        production: API,
        base: settings.api.clone().unwrap_or_else(|| API.to_owned()),
        auth: Some(Auth { header: "api-key", scheme: "", value: settings.token.clone() }),
        // A thousand a second; more than that never comes from here.
        every: Duration::from_millis(10),
        burst: 50,
        judge,
    };
    Brevo { vendor: place.open(kit, provider) }
}

/// It says that the day's letters are used up as a lack of credits, and of too many requests no time that is standard.
fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    match status.as_u16() {
        400 | 402 | 403 if said.to_lowercase().contains("credit") => Some(FaultKind::Exhausted),
        429 => Some(FaultKind::Limited { wait: Duration::from_secs(60) }),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Sent {
    #[serde(rename = "messageId")]
    message_id: Option<String>,
}

fn person(mailbox: &Mailbox) -> Value {
    match &mailbox.name {
        Some(name) => json!({ "name": name, "email": mailbox.address }),
        None => json!({ "email": mailbox.address }),
    }
}

fn body(letter: &Letter) -> Value {
    let mut body = json!({
        "sender": person(&letter.from), "to": [person(&letter.to)], "subject": letter.subject, "textContent": letter.text,
    });
    if let Some(html) = &letter.html {
        body["htmlContent"] = html.as_str().into();
    }
    if let Some(reply_to) = &letter.reply_to {
        body["replyTo"] = person(reply_to);
    }
    if let Some(headers) = headers(letter) {
        body["headers"] = headers;
    }
    body
}

#[async_trait]
impl Mail for Brevo {
    async fn send(&self, letter: &Letter) -> Result<String, Fault> {
        let call = Call::write(Method::POST, SEND, "", "/smtp/email").json(body(letter));
        let sent: Sent = self.vendor.send_for(call.within(WITHIN)).await?;
        Ok(sent.message_id.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_without_credits_is_used_up() {
        let judged = |status, said| judge(StatusCode::from_u16(status).unwrap(), said);
        let said = "Insufficient credits. You have not enough credit to send your email";
        assert_eq!(judged(402, said), Some(FaultKind::Exhausted));
        assert_eq!(judged(400, said), Some(FaultKind::Exhausted));
        assert_eq!(judged(400, "sender is invalid"), None);
        assert_eq!(judged(401, "Key not found"), None);
    }
}
