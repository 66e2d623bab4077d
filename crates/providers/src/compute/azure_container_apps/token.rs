//! Who asks: a service principal's credentials, and the tokens that they are exchanged for.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use linkflow_model::{Clock, Fault, FaultKind, Moment, Secret};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::kit::{Call, Kit, Vendor, encode};

/// What a token is asked for: the resource manager.
const SCOPE: &str = "https://management.azure.com/.default";

/// A token is renewed this long before it ends, in milliseconds; one that lives shorter, at half its life.
const MARGIN_MS: u64 = 300_000;

/// A service principal.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    client: String,
    secret: Secret,
    tenant: String,
}

impl Credentials {
    /// Reads what `az ad sp create-for-rbac` prints, in either of its shapes. `tenant` goes before what stands there.
    pub(super) fn read(text: &str, tenant: Option<&str>) -> Result<Self, String> {
        let parsed: Value = serde_json::from_str(text).map_err(|_| {
            "the credentials are not the JSON that `az ad sp create-for-rbac --json-auth` prints"
        })?;
        let field = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| parsed.get(name)?.as_str());
            found
                .map(str::to_owned)
                .ok_or_else(|| format!("the credentials have no `{}`", names[0]))
        };
        let tenant = match tenant {
            Some(tenant) => tenant.to_owned(),
            None => field(["tenantId", "tenant"])?,
        };
        Ok(Self {
            client: field(["clientId", "appId"])?,
            secret: Secret::new(field(["clientSecret", "password"])?),
            tenant,
        })
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// In seconds.
    expires_in: u64,
}

struct Held {
    header: Secret,
    until: Moment,
}

/// Gives the token of now, and fetches another when that one ends.
pub(super) struct Tokens {
    pub(super) login: Vendor,
    pub(super) kit: Kit,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) credentials: Result<Credentials, String>,
    held: Mutex<Option<Held>>,
}

impl Tokens {
    pub(super) fn new(login: Vendor, kit: &Kit, credentials: Result<Credentials, String>) -> Self {
        Self { login, kit: kit.clone(), clock: kit.clock(), credentials, held: Mutex::new(None) }
    }

    /// What the `authorization` header has to say. `refused`: one that was not taken, and is not given again.
    pub(super) async fn header(&self, refused: Option<&Secret>) -> Result<Secret, Fault> {
        // Whoever comes while it is fetched waits for that one.
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some(held) =
            held.as_ref().filter(|held| now < held.until && refused != Some(&held.header))
        {
            return Ok(held.header.clone());
        }
        let granted = self.fetch().await?;
        let token = Secret::new(granted.access_token);
        self.kit.learn(&token);
        let header = Secret::new(format!("Bearer {}", token.expose()));
        let life = granted.expires_in.saturating_mul(1_000);
        let until = Moment(now.0 + life.saturating_sub(MARGIN_MS).max(life / 2));
        *held = Some(Held { header: header.clone(), until });
        Ok(header)
    }

    async fn fetch(&self) -> Result<Granted, Fault> {
        let credentials = self
            .credentials
            .as_ref()
            .map_err(|why| self.login.fault(FaultKind::Denied, "log in to Azure", why))?;
        let path = format!("/{}/oauth2/v2.0/token", encode(&credentials.tenant));
        let call = Call::write(Method::POST, "log in to Azure", "", path)
            .as_read()
            .within(Duration::from_secs(10))
            .form(&[
                ("grant_type", "client_credentials"),
                ("client_id", &credentials.client),
                ("client_secret", credentials.secret.expose()),
                ("scope", SCOPE),
            ]);
        let answer = self.login.exchange(&call).await?;
        if let StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED = answer.status {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let said = body.get("error_description").and_then(Value::as_str);
            let said = said.unwrap_or("the credentials were refused");
            return Err(self.login.fault(FaultKind::Denied, "log in to Azure", said));
        }
        let answer = self.login.judge(&call, answer)?;
        self.login.read(call.attempt(), &answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, tenant: Option<&str>, expected: &str) {
        let said = match Credentials::read(text, tenant) {
            Ok(own) => format!("{} {} {}", own.client, own.secret.expose(), own.tenant),
            Err(why) => why,
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn credentials_are_read_in_both_shapes_that_the_command_line_prints() {
        let long = r#"{"clientId":"c","clientSecret":"s","subscriptionId":"u","tenantId":"t"}"#;
        check(long, None, "c s t");
        check(long, Some("other"), "c s other");
        check(r#"{"appId":"c","displayName":"d","password":"s","tenant":"t"}"#, None, "c s t");
    }

    #[test]
    fn what_is_wrong_with_credentials_is_told_without_them() {
        check(r#"{"clientId":"c","tenantId":"t"}"#, None, "the credentials have no `clientSecret`");
        check(r#"{"clientId":"c","clientSecret":"s"}"#, None, "the credentials have no `tenantId`");
        let no_json =
            "the credentials are not the JSON that `az ad sp create-for-rbac --json-auth` prints";
        check("s3cr3t", None, no_json);
    }
}
