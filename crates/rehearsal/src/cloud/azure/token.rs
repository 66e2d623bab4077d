//! The token endpoint, and who may ask.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Refused, SUBSCRIPTION, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::site::Site;

/// How long a token is good for, in seconds.
const LIFE: u64 = 3_599;

/// Gives tokens and knows which it gave.
pub(super) struct Desk {
    client: String,
    secret: String,
    tenant: String,
    given: Mutex<BTreeMap<String, Instant>>,
    /// Good for log streams only.
    pub(super) log_token: String,
}

impl Desk {
    pub(super) fn new(site: &Site) -> Self {
        Self {
            client: site.dice.uuid(),
            secret: site.token.clone(),
            tenant: site.dice.uuid(),
            given: Mutex::default(),
            log_token: format!("rehearsal-{}", site.dice.hex(40)),
        }
    }

    pub(super) fn credentials(&self) -> String {
        let all = json!({
            "clientId": self.client,
            "clientSecret": self.secret,
            "subscriptionId": SUBSCRIPTION,
            "tenantId": self.tenant,
        });
        all.to_string()
    }

    /// Exchanges credentials for a token.
    pub(super) fn grant(&self, site: &Site, call: &Call, tenant: &str) -> Answer {
        let kind = call.header("content-type").unwrap_or_default();
        let body = String::from_utf8_lossy(&call.body);
        let has = |name: &str, value: &str| {
            let wanted = format!("{name}={value}");
            body.split('&').any(|pair| pair.replace("%3A", ":").replace("%2F", "/") == wanted)
        };
        let why = match () {
            () if call.method != http::Method::POST
                || kind != "application/x-www-form-urlencoded" =>
            {
                (
                    "invalid_request",
                    900_144,
                    "The request body must contain the parameter 'grant_type'.",
                )
            }
            () if tenant != self.tenant => ("invalid_request", 90_002, "The tenant was not found."),
            () if !has("grant_type", "client_credentials") => {
                ("unsupported_grant_type", 70_003, "The app requested an unsupported grant type.")
            }
            () if !has("scope", "https://management.azure.com/.default") => {
                ("invalid_scope", 1_002_012, "The provided value for scope is not valid.")
            }
            () if !has("client_id", &self.client) => {
                ("unauthorized_client", 700_016, "The application was not found in the directory.")
            }
            () if !has("client_secret", &self.secret) => {
                ("invalid_client", 7_000_215, "Invalid client secret provided.")
            }
            () => {
                let token = format!("rehearsal-{}", site.dice.hex(64));
                let until = Instant::now() + Duration::from_secs(LIFE);
                let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
                given.insert(token.clone(), until);
                let granted = json!({ "token_type": "Bearer", "expires_in": LIFE, "ext_expires_in": LIFE, "access_token": token });
                return Answer::json(200, &granted);
            }
        };
        let (error, number, text) = why;
        let status = if error == "invalid_client" { 401 } else { 400 };
        let description = format!("AADSTS{number}: {text}");
        Answer::json(
            status,
            &json!({ "error": error, "error_description": description, "error_codes": [number] }),
        )
    }

    /// Whether `call` carries a token that is good.
    pub(super) fn check(&self, call: &Call) -> Result<(), Refused> {
        let refused = |code: &str, why: &str| {
            Err(refusal(401, code, why).with("www-authenticate", "Bearer error=\"invalid_token\""))
        };
        let Some(token) = call.bearer() else {
            return refused(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            );
        };
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        match given.get(token) {
            Some(until) if Instant::now() < *until => Ok(()),
            Some(_) => refused(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            ),
            None => refused("InvalidAuthenticationToken", "The access token is invalid."),
        }
    }
}
