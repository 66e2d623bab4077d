//! Brevo: one account.
//!
//! Facts: Brevo's own SDK for Python (paths, fields, answers; a refusal is `code` and `message`),
//! developers.brevo.com/docs/api-limits.

use serde_json::{Value, json};

use super::super::answer::{Answer, Call};
use super::super::beside::{Beside, Ground};
use super::super::endpoints::MailEndpoint;
use super::super::trouble::Trouble;
use super::{Letters, Sends, is_address};

/// The vendor.
pub(crate) struct Brevo {
    ground: Ground,
    token: String,
    letters: Letters,
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "message": message }))
}

impl Brevo {
    pub(super) fn new(ground: Ground) -> Self {
        let token = format!("xkeysib-{}", ground.dice.hex(32));
        Self { ground, token, letters: Letters::default() }
    }

    fn send(&self, call: &Call) -> Result<Answer, Answer> {
        let wrong = |message: &str| refused(400, "invalid_parameter", message);
        let missing = |message: &str| refused(400, "missing_parameter", message);
        let letter = call.json().filter(Value::is_object);
        let letter = letter.ok_or_else(|| refused(400, "bad_request", "Input must be JSON"))?;
        let sender = letter["sender"]["email"].as_str();
        if !sender.ok_or_else(|| missing("sender is missing")).map(is_address)? {
            return Err(wrong("valid sender email is required"));
        }
        let to = letter["to"].as_array().filter(|to| !to.is_empty());
        let to = to.ok_or_else(|| missing("to is missing"))?;
        if !to.iter().all(|to| to["email"].as_str().is_some_and(is_address)) {
            return Err(wrong("email is not valid in to"));
        }
        if letter["subject"].as_str().is_none_or(str::is_empty) {
            return Err(missing("subject is missing"));
        }
        if letter["textContent"].is_null() && letter["htmlContent"].is_null() {
            return Err(missing("Either of htmlContent or textContent is required"));
        }
        let id = format!("<{}@smtp-relay.mailin.fr>", self.ground.dice.hex(20));
        self.letters.add(&self.ground, &id, &letter);
        Ok(Answer::json(201, &json!({ "messageId": id })))
    }
}

impl Beside for Brevo {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.header("api-key") != Some(self.token.as_str()) {
            return refused(401, "unauthorized", "Key not found");
        }
        if self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota)) {
            let message = "Insufficient credits: you have not enough credit to send your email";
            return refused(402, "not_enough_credits", message);
        }
        match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/smtp/email") => self.send(call).unwrap_or_else(|refused| refused),
            _ => refused(404, "not_found", "Route not found"),
        }
    }

    fn limited(&self) -> Answer {
        refused(429, "too_many_requests", "Too many requests").with("x-sib-ratelimit-reset", "30")
    }
}

impl Sends for Brevo {
    fn endpoint(&self, api: String) -> MailEndpoint {
        MailEndpoint { api, token: self.token.clone() }
    }

    fn letters(&self) -> &Letters {
        &self.letters
    }
}
