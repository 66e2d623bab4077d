//! Another LinkFlow that looks for us: it is asked over its API.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use linkflow_model::role::Vantage;
use linkflow_model::{Looked, ProviderName, Secret};
use serde_json::json;

use crate::kit::{Account, Auth, Call, Kit, Limiter, Vendor};

/// How much longer than its limit a look may take until its word is here.
const ON_THE_WAY: Duration = Duration::from_millis(700);

/// The longest limit that its API takes, in milliseconds.
const MOST_MS: u128 = 60_000;

/// What another LinkFlow is asked with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its dashboard is: `https://ops.example.com`.
    pub url: String,
    /// A token of its own, with the scope `read`.
    pub token: Secret,
}

/// One other LinkFlow.
struct Other {
    vendor: Vendor,
    name: ProviderName,
}

/// Opens the other LinkFlow that the config calls `name`.
pub fn open(settings: Settings, kit: &Kit, name: &ProviderName) -> Box<dyn Vantage> {
    let base = settings.url.trim_end_matches('/').to_owned();
    let vendor = kit.vendor(Account {
        provider: name.clone(),
        spec: "linkflow",
        production: base.clone(),
        base,
        auth: Some(Auth::bearer(settings.token)),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    });
    Box::new(Other { vendor, name: name.clone() })
}

#[async_trait]
impl Vantage for Other {
    async fn look(&self, subject: &str, limit: Duration) -> Looked {
        let body = json!({ "subject": subject, "limit_ms": limit.as_millis().clamp(1, MOST_MS) });
        // It is not asked twice: a late word is worth nothing.
        let call = Call::write(Method::POST, "have another place look", subject, "/api/v1/looks");
        match self.vendor.send_for(call.json(body).within(limit + ON_THE_WAY)).await {
            Ok(looked) => looked,
            Err(fault) => {
                tracing::debug!(vantage = %self.name, %fault, "it did not look");
                Looked::Blind
            }
        }
    }
}
