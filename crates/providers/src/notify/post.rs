//! How a channel is opened at its vendor, and how what it says goes there.

use std::time::Duration;

use http::Method;
use linkflow_model::{Fault, ProviderName, Secret};
use serde_json::Value;

use crate::kit::{Account, Answer, Auth, Call, Judge, Kit, Limiter, Rule, Scope, Vendor};

/// What is being tried, for people.
pub(super) const TELL: &str = "tell people";

/// How long one message may take.
const WITHIN: Duration = Duration::from_secs(10);

/// How long a message may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// A vendor as a channel knows it.
pub(crate) struct Place {
    /// The name of its description, for recordings.
    pub(crate) spec: &'static str,
    /// Where it is in production.
    pub(crate) production: &'static str,
    /// Where it is asked.
    pub(crate) base: String,
    /// What it takes for a login.
    pub(crate) auth: Option<Auth>,
    /// A message becomes free in this time.
    pub(crate) every: Duration,
    /// So many may go at once after a pause.
    pub(crate) burst: u32,
    /// The vendor's own reading of refusals.
    pub(crate) judge: Judge,
}

impl Place {
    pub(crate) fn open(self, kit: &Kit, provider: &ProviderName) -> Vendor {
        let (every, burst) = (self.every, self.burst);
        kit.vendor(Account {
            provider: provider.clone(),
            spec: self.spec,
            production: self.production.to_owned(),
            base: self.base.trim_end_matches('/').to_owned(),
            auth: self.auth,
            limits: Box::new(move || {
                Limiter::new(vec![Rule { scope: Scope::Vendor, every, burst }], PATIENCE)
            }),
            judge: self.judge,
            hide: |_| {},
        })
    }
}

/// Sends `body` to `path`.
pub(super) async fn post(vendor: &Vendor, path: &str, body: Value) -> Result<Answer, Fault> {
    vendor.send(Call::write(Method::POST, TELL, "", path).json(body).within(WITHIN)).await
}

/// Scheme and host of `address`, and the rest, of which every part is a secret from now on.
pub(super) fn split(address: &Secret, kit: &Kit, known: &[&str]) -> (String, Secret) {
    let address = address.expose().trim();
    let host = address.find("://").map_or(0, |at| at + 3);
    let end = address[host..].find('/').map_or(address.len(), |at| host + at);
    let (origin, path) = address.split_at(end);
    let parts = path.split(['/', '?', '&', '=']);
    // Short parts are words and numbers that turn up everywhere.
    for part in parts.filter(|part| part.len() > 7 && !known.contains(part)) {
        kit.learn(&Secret::new(part));
    }
    (origin.to_owned(), Secret::new(path))
}
