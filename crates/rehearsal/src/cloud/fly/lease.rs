//! Leases: who alone may change a machine for a while.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::machine::Machine;
use super::{Refused, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::moment;
use crate::cloud::site::Site;

const HEADER: &str = "fly-machine-lease-nonce";
const OWNER: &str = "rehearsal@tokens.fly.io";
/// When none is asked for, in seconds.
const DEFAULT_TTL: u64 = 13;

/// One lease.
pub(super) struct Lease {
    pub(super) nonce: String,
    until: Instant,
    /// Seconds since the epoch.
    expires_at: u64,
    description: String,
}

impl Lease {
    pub(super) fn new(site: &Site, ttl: u64, description: &str) -> Self {
        Self {
            nonce: site.dice.hex(12),
            until: Instant::now() + Duration::from_secs(ttl),
            expires_at: site.clock.wall().0 / 1_000 + ttl,
            description: description.to_owned(),
        }
    }

    fn holds(&self) -> bool {
        Instant::now() < self.until
    }

    fn view(&self, version: &str) -> Value {
        json!({
            "status": "success",
            "data": {
                "nonce": self.nonce,
                "expires_at": self.expires_at,
                "owner": OWNER,
                "description": self.description,
                "version": version,
            },
        })
    }
}

impl Machine {
    /// Refuses a change when somebody else holds the lease.
    pub(super) fn check_lease(&self, call: &Call) -> Result<(), Refused> {
        let inner = self.lock();
        match inner.lease.as_ref().filter(|lease| lease.holds()) {
            Some(lease) if call.header(HEADER) != Some(lease.nonce.as_str()) => {
                Err(held(&self.id, lease))
            }
            _ => Ok(()),
        }
    }

    /// Answers a call to the lease itself.
    pub(super) fn of_lease(&self, site: &Site, call: &Call) -> Result<Answer, Refused> {
        let mut inner = self.lock();
        let version = inner.version.clone();
        let current = inner.lease.as_mut().filter(|lease| lease.holds());
        match (call.method.as_str(), current) {
            ("GET", Some(lease)) => Ok(Answer::json(200, &lease.view(&version))),
            ("GET", None) => Err(refusal(404, "lease not found")),
            ("POST", Some(lease)) if call.header(HEADER) != Some(lease.nonce.as_str()) => {
                Err(held(&self.id, lease))
            }
            ("POST", current) => {
                let body = object(call)?;
                let ttl = body.get("ttl").and_then(Value::as_u64).unwrap_or(DEFAULT_TTL);
                let description =
                    body.get("description").and_then(Value::as_str).unwrap_or_default();
                let mut lease = Lease::new(site, ttl, description);
                if let Some(current) = current {
                    lease.nonce.clone_from(&current.nonce);
                }
                let answer = Answer::json(201, &lease.view(&version));
                inner.lease = Some(lease);
                Ok(answer)
            }
            ("DELETE", Some(lease)) if call.header(HEADER) != Some(lease.nonce.as_str()) => {
                Err(held(&self.id, lease))
            }
            ("DELETE", _) => {
                inner.lease = None;
                Ok(Answer::json(200, &json!({ "ok": true })))
            }
            _ => Err(refusal(404, "not found")),
        }
    }
}

fn held(id: &str, lease: &Lease) -> Refused {
    let until = moment(linkflow_model::Timestamp(lease.expires_at * 1_000));
    refusal(409, &format!("machine ID {id} lease currently held by {OWNER}, expires at {until}"))
}
