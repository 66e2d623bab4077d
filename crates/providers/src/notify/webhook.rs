//! A web address of one's own: the notice as JSON, signed.
//!
//! The signature is `HMAC-SHA256(secret, "TIMESTAMP.BODY")` in hex. Whoever takes it should refuse a time that is more than
//! five minutes off, so that nobody can send an old one again.

use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use http::{Method, StatusCode};
use linkflow_model::role::{Notice, Notify};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};
use serde_json::json;
use sha2::Sha256;

use super::post::{Place, TELL, split};
use super::text::masked;
use crate::kit::{Call, Kit, Vendor};

/// Stands for whatever address is named, in recordings.
const PRODUCTION: &str = "https://webhook.example.com";

/// What a webhook needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The whole address: whoever has it can write there.
    pub address: Secret,
    /// What signs; nothing is signed without.
    pub secret: Option<Secret>,
}

/// One address.
pub struct Webhook {
    vendor: Vendor,
    kit: Kit,
    path: Secret,
    secret: Option<Secret>,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Webhook {
    let (origin, path) = split(&settings.address, kit, &[]);
    settings.secret.iter().for_each(|secret| kit.learn(secret));
    let vendor = Place {
        spec: "webhook",
        production: PRODUCTION,
        base: origin,
        auth: None,
        every: Duration::from_millis(50),
        burst: 50,
        judge,
    };
    Webhook { vendor: vendor.open(kit, provider), kit: kit.clone(), path, secret: settings.secret }
}

/// Only what it says of itself counts: an address that is not found may be there again after its next deploy.
fn judge(status: StatusCode, _: &str) -> Option<FaultKind> {
    (status == StatusCode::NOT_FOUND).then_some(FaultKind::Unclear)
}

/// The signature of `body` at `timestamp`, in seconds since 1970.
pub(crate) fn signature(secret: &Secret, timestamp: u64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let bytes = mac.finalize().into_bytes();
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[async_trait]
impl Notify for Webhook {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let notice = masked(notice, |text| self.kit.mask(text));
        let body = json!({ "schema": "linkflow/notice/v1", "notice": notice }).to_string();
        let timestamp = self.kit.clock().wall().0 / 1_000;
        let mut call = Call::write(Method::POST, TELL, "", self.path.expose())
            .within(Duration::from_secs(10))
            .header("linkflow-timestamp", timestamp.to_string());
        if let Some(signature) = self.secret.as_ref().and_then(|s| signature(s, timestamp, &body)) {
            call = call.header("linkflow-signature", format!("v1={signature}"));
        }
        self.vendor.send(call.bytes("application/json", body.into_bytes())).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_others_compute_it() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let signed = signature(&Secret::new("key"), 1_700_000_000, "{\"a\":1}").unwrap();
        assert_eq!(signed, "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03");
    }
}
