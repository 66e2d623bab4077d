//! Resend. <https://resend.com/docs/api-reference/emails/send-email>,
//! <https://resend.com/docs/dashboard/emails/idempotency-keys>, <https://resend.com/docs/api-reference/errors>

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use linkflow_model::role::{Letter, Mail};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{SEND, headers, mime};
use crate::kit::{Auth, Call, Kit, Vendor, is_spent};
use crate::notify::post::Place;

/// The API.
const API: &str = "https://api.resend.com";

/// How long one letter may take.
const WITHIN: Duration = Duration::from_secs(8);

/// What Resend needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key of its API.
    pub token: Secret,
    /// In place of `https://api.resend.com`.
    pub api: Option<String>,
}

/// An account at Resend.
pub struct Resend {
    vendor: Vendor,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Resend {
    let place = Place {
        spec: "resend",
        production: API,
        base: settings.api.unwrap_or_else(|| API.to_owned()),
        auth: Some(Auth::bearer(settings.token)),
        // Five a second for each team, and two by an older text.
        every: Duration::from_millis(500),
        burst: 2,
        judge,
    };
    Resend { vendor: place.open(kit, provider) }
}

/// A quota that is used up and too many requests have the same status, and a key that is in use another than one that was
/// used.
fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    match status.as_u16() {
        429 if is_spent(said) => Some(FaultKind::Exhausted),
        409 if said.contains("different") => Some(FaultKind::Invalid),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Sent {
    id: Option<String>,
}

impl Resend {
    async fn post(&self, letter: &Letter, body: &Value) -> Result<String, Fault> {
        let call = Call::write(Method::POST, SEND, "", "/emails")
            .header("idempotency-key", letter.key.clone())
            .json(body.clone())
            .within(WITHIN);
        let sent: Sent = self.vendor.send_for(call).await?;
        Ok(sent.id.unwrap_or_default())
    }
}

fn body(letter: &Letter) -> Value {
    let mut body = json!({
        "from": mime::mailbox(&letter.from), "to": [mime::mailbox(&letter.to)], "subject": letter.subject,
        "text": letter.text,
    });
    if let Some(html) = &letter.html {
        body["html"] = html.as_str().into();
    }
    if let Some(reply_to) = &letter.reply_to {
        body["reply_to"] = mime::mailbox(reply_to).into();
    }
    if let Some(headers) = headers(letter) {
        body["headers"] = headers;
    }
    body
}

#[async_trait]
impl Mail for Resend {
    async fn send(&self, letter: &Letter) -> Result<String, Fault> {
        let body = body(letter);
        match self.post(letter, &body).await {
            // The key makes a second try harmless, and its answer says how the first one went.
            Err(fault) if fault.kind == FaultKind::Unclear => self.post(letter, &body).await,
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_is_used_up_is_told_from_a_second_that_is() {
        let judged = |status, said| judge(StatusCode::from_u16(status).unwrap(), said);
        let day = "You have reached your daily email sending quota.";
        assert_eq!(judged(429, day), Some(FaultKind::Exhausted));
        let second = "Too many requests. You can only make 5 requests per second.";
        assert_eq!(judged(429, second), None);
        let other = "This idempotency key has been used on a request with a different payload";
        assert_eq!(judged(409, other), Some(FaultKind::Invalid));
        assert_eq!(judged(409, "Another request with the same key is in progress"), None);
    }
}
