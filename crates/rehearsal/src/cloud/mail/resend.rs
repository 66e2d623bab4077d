//! Resend: one team.
//!
//! Facts: Resend's own OpenAPI description (paths, fields), resend.com/docs/api-reference/errors (names and messages),
//! resend.com/docs/dashboard/emails/idempotency-keys (24 hours, 256 characters, 409), resend.com/docs/api-reference/rate-limit.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::super::answer::{Answer, Call};
use super::super::beside::{Beside, Ground};
use super::super::endpoints::MailEndpoint;
use super::super::limit::{Limits, Rate};
use super::super::trouble::Trouble;
use super::{Letters, Sends, is_address};

/// Requests of a team.
const REQUESTS: Rate = Rate { per_second: 5.0, burst: 5.0 };

/// The vendor.
pub(crate) struct Resend {
    ground: Ground,
    token: String,
    limits: Limits,
    letters: Letters,
    /// By key: what was sent, and its id.
    keys: Mutex<BTreeMap<String, (Value, String)>>,
}

fn refused(status: u16, name: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "statusCode": status, "name": name, "message": message }))
}

impl Resend {
    pub(super) fn new(ground: Ground) -> Self {
        let token = format!("re_{}", ground.dice.hex(24));
        let (limits, letters) = (Limits::default(), Letters::default());
        Self { ground, token, limits, letters, keys: Mutex::default() }
    }

    fn send(&self, call: &Call) -> Result<Answer, Answer> {
        let wrong = |message: &str| refused(422, "validation_error", message);
        let letter = call.json().filter(Value::is_object);
        let letter = letter.ok_or_else(|| wrong("The body must be an object."))?;
        for field in ["from", "to", "subject"] {
            if letter[field].is_null() {
                let message = format!("Missing `{field}` field.");
                return Err(refused(422, "missing_required_field", &message));
            }
        }
        if !letter["from"].as_str().is_some_and(is_address) {
            return Err(wrong("Invalid `from` field."));
        }
        let to: Vec<&str> = match &letter["to"] {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if to.is_empty() || to.len() > 50 || !to.iter().all(|to| is_address(to)) {
            return Err(wrong("Invalid `to` field."));
        }
        if letter["text"].is_null() && letter["html"].is_null() {
            return Err(wrong("Missing `html` or `text` field."));
        }
        let key = call.header("idempotency-key").unwrap_or_default().to_owned();
        if key.len() > 256 {
            let message = "The key must be between 1-256 chars.";
            return Err(refused(400, "invalid_idempotency_key", message));
        }
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(&key).filter(|_| !key.is_empty()) {
            Some((before, id)) if *before == letter => Ok(Answer::json(200, &json!({ "id": id }))),
            Some(_) => {
                let message =
                    "This idempotency key has been used on a request with a different payload";
                Err(refused(409, "invalid_idempotent_request", message))
            }
            None => {
                let id = format!("{}-{}", self.ground.dice.hex(8), self.ground.dice.hex(12));
                self.letters.add(&self.ground, &id, &letter);
                let answer = Answer::json(200, &json!({ "id": id }));
                keys.insert(key, (letter, id));
                Ok(answer)
            }
        }
    }
}

impl Beside for Resend {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        match call.bearer() {
            None => return refused(401, "missing_api_key", "Missing API key"),
            Some(token) if token != self.token => {
                return refused(403, "invalid_api_key", "API key is invalid");
            }
            Some(_) => {}
        }
        if self.limits.take(String::new(), REQUESTS).is_err() {
            return self.limited();
        }
        if self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota)) {
            let message = "You have reached your daily email sending quota.";
            return refused(429, "daily_quota_exceeded", message);
        }
        match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/emails") => self.send(call).unwrap_or_else(|refused| refused),
            _ => refused(404, "not_found", "The requested endpoint does not exist."),
        }
    }

    fn limited(&self) -> Answer {
        let message = "Too many requests. You can only make 5 requests per second.";
        refused(429, "rate_limit_exceeded", message).with("retry-after", "1")
    }
}

impl Sends for Resend {
    fn endpoint(&self, api: String) -> MailEndpoint {
        MailEndpoint { api, token: self.token.clone() }
    }

    fn letters(&self) -> &Letters {
        &self.letters
    }
}
