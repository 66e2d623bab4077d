//! Twilio: one account that sends text messages, and keeps them.
//!
//! Facts: Twilio's own OpenAPI description of 2010-04-01 (path, form fields, shapes) and twilio.com/docs/api/errors (a refusal is
//! `code`, `message`, `more_info`, `status`; 21211 for a number that is none, 21610 for one that answered STOP, 20429 for too many requests).

use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::beside::{Beside, Ground};
use super::endpoints::TwilioEndpoint;
use super::limit::{Limits, Rate};
use super::trouble::Trouble;

/// Messages of the account.
const MESSAGES: Rate = Rate { per_second: 1.0, burst: 20.0 };
/// The only number that messages come from.
const FROM: &str = "+15005550006";
/// The number that Twilio has for tests, which answered STOP.
const STOPPED: &str = "+15005550004";
/// Longest text, in characters.
const TEXT: usize = 1_600;

/// The vendor.
pub(crate) struct Twilio {
    ground: Ground,
    account: String,
    token: String,
    limits: Limits,
    messages: Mutex<Vec<Value>>,
}

fn refused(status: u16, code: u32, text: &str) -> Answer {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    Answer::json(
        status,
        &json!({ "code": code, "message": text, "more_info": more, "status": status }),
    )
}

impl Twilio {
    pub(crate) fn new(ground: Ground) -> Self {
        let (account, token) = (format!("AC{}", ground.dice.hex(32)), ground.dice.hex(32));
        Self { ground, account, token, limits: Limits::default(), messages: Mutex::default() }
    }

    pub(crate) fn endpoint(&self, api: String) -> TwilioEndpoint {
        let (account, token) = (self.account.clone(), self.token.clone());
        TwilioEndpoint { api, account, token, from: FROM.to_owned() }
    }

    /// Every message that was taken, oldest first.
    pub(crate) fn messages(&self) -> Value {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    fn send(&self, call: &Call) -> Answer {
        if !call
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
        {
            return refused(400, 21604, "'To' phone number is required");
        }
        let form = super::answer::pairs(&String::from_utf8_lossy(&call.body));
        let field =
            |name: &str| form.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        let (to, from, body) = (field("To"), field("From"), field("Body"));
        if to.is_empty() {
            return refused(400, 21604, "A 'To' phone number is required.");
        }
        let digits = to.strip_prefix('+').unwrap_or_default();
        if digits.len() < 7 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return refused(400, 21211, &format!("Invalid 'To' Phone Number: {to}"));
        }
        if from != FROM {
            let text = format!(
                "'From' {from} is not a Twilio phone number or Short Code country mismatch"
            );
            return refused(400, 21659, &text);
        }
        if to == STOPPED {
            return refused(400, 21610, "Attempt to send to unsubscribed recipient");
        }
        if body.is_empty() {
            return refused(400, 21602, "Message body is required.");
        }
        if body.chars().count() > TEXT {
            return refused(
                400,
                21617,
                "The concatenated message body exceeds the 1600 character limit",
            );
        }
        if self.limits.take(String::new(), MESSAGES).is_err() {
            return refused(429, 20429, "Too Many Requests").with("retry-after", "1");
        }
        let sid = format!("SM{}", self.ground.dice.hex(32));
        let uri = format!("/2010-04-01/Accounts/{}/Messages/{sid}.json", self.account);
        let message = json!({
            "sid": sid, "account_sid": self.account, "to": to, "from": from, "body": body, "status": "queued",
            "direction": "outbound-api", "num_segments": "1", "num_media": "0", "error_code": null,
            "error_message": null, "price": null, "price_unit": "USD", "api_version": "2010-04-01", "uri": uri,
            "messaging_service_sid": null, "date_sent": null, "subresource_uris": {},
        });
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
        Answer::json(201, &message)
    }
}

impl Beside for Twilio {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        let due = BASE64_STANDARD.encode(format!("{}:{}", self.account, self.token));
        if call.header("authorization") != Some(format!("Basic {due}").as_str()) {
            return refused(401, 20003, "Authenticate");
        }
        if self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota)) {
            return refused(400, 63038, "Account exceeded the 9 daily messages limit");
        }
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("POST", ["2010-04-01", "Accounts", account, "Messages.json"])
                if *account == self.account =>
            {
                self.send(call)
            }
            _ => refused(404, 20404, "The requested resource was not found"),
        }
    }

    fn limited(&self) -> Answer {
        refused(429, 20429, "Too Many Requests").with("retry-after", "30")
    }
}
