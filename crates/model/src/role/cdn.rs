//! Standing in front of the edge: settings of the zone, rules, a worker, its values, a tunnel.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Usage;
use crate::{Fault, ProviderName, Secret};

/// What stands in front of the edge, as it ought to be. What is `None`, `false` or empty is left as it is: nothing that
/// somebody switched on is switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// How it speaks to the edge.
    pub encryption: Option<Encryption>,
    /// Sends plain HTTP to HTTPS.
    pub https_only: bool,
    /// The least version of TLS that visitors may speak: `1.2`, `1.3`.
    pub min_tls: Option<String>,
    /// How long browsers are told to use HTTPS only, in seconds.
    pub hsts_s: Option<u64>,
    /// Makes links of plain HTTP in pages links of HTTPS.
    pub https_rewrites: bool,
    /// The provider's managed firewall rules.
    pub firewall: bool,
    /// Challenges visitors that look like machines.
    pub bots: bool,
    /// How queries count when pages are kept.
    pub cache_level: Option<CacheLevel>,
    /// How long browsers may keep pages that do not say so themselves, in seconds.
    pub browser_cache_s: Option<u32>,
    /// Shows the last good page when nothing answers.
    pub always_online: bool,
    /// How many requests one visitor may make.
    pub rate: Vec<RateRule>,
    /// What is kept, and for how long; of two that fit, the later one counts.
    pub cache: Vec<KeepRule>,
    /// The program that runs there. `None` takes its routes away, so that nobody meets it any more.
    pub worker: Option<Worker>,
    /// Leaves the program and its routes as they are, whatever `worker` is: for when it is wanted and cannot be had now.
    pub leaves_worker: bool,
    /// The way to the edge with no open port.
    pub tunnel: Option<TunnelWanted>,
}

/// How the provider in front speaks to the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// With TLS and a certificate that is checked.
    Strict,
    /// With TLS and any certificate.
    Full,
    /// Without TLS.
    Flexible,
}

/// How queries count when pages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheLevel {
    /// Each query is a page of its own.
    Standard,
    /// Queries are left out.
    IgnoreQuery,
    /// Only what is asked for without a query is kept.
    NoQuery,
}

/// How many requests one visitor may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRule {
    /// How many.
    pub requests: u32,
    /// In how many seconds.
    pub per_s: u32,
    /// Beginnings of paths that count; all when there are none.
    pub paths: Vec<String>,
}

/// A path that is kept in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepRule {
    /// The path's beginning.
    pub path: String,
    /// For how many seconds; 0 forbids it.
    pub ttl_s: u32,
}

/// A program that runs in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The text of its module, which is JavaScript.
    pub module: String,
    /// The date whose behaviour it was written for: `2026-01-01`.
    pub compatibility: String,
    /// Plain variables.
    pub variables: Vec<(String, String)>,
    /// The name by which it reads the values that [`Cdn::put_value`] writes.
    pub values: String,
    /// Where it answers: `api.example.com/*`. Requests over its daily allowance go past it.
    pub routes: Vec<String>,
}

/// A way to the edge with no open port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelWanted {
    /// Host names and where each leads on this machine: `http://localhost:8080`. Anything else is answered with 404.
    pub ingress: Vec<(String, String)>,
}

/// A tunnel, as its provider tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The provider's word for how it stands: `healthy`, `inactive`.
    pub said: String,
    /// The name that DNS leads visitors to.
    pub address: String,
}

/// What one who runs the tunnel's program needs. It lets whoever has it answer for the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelKey {
    /// The token as the provider gives it.
    pub token: Secret,
    /// The account, the tunnel and its secret, as `cloudflared` reads them from a file.
    pub credentials: Secret,
}

/// Something in front that is not as it ought to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontChange {
    /// What: `setting ssl`, `rule rate_1`, `worker`, `route api.example.com/*`.
    pub what: String,
    /// As it is; `None` when it is not there.
    pub from: Option<String>,
    /// As it ought to be; `None` when it goes.
    pub to: Option<String>,
    /// Why it is left as it is, when it has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

impl FrontChange {
    /// A change from one thing to another.
    pub fn new(what: impl Into<String>, from: Option<String>, to: Option<String>) -> Self {
        Self { what: what.into(), from, to, blocked: None }
    }

    /// The same, left as it is.
    #[must_use]
    pub fn blocked(mut self, why: impl Into<String>) -> Self {
        self.blocked = Some(why.into());
        self
    }
}

/// The reading half of [`Cdn`]: `plan` and `drift` hold only this, so they cannot write.
#[async_trait]
pub trait CdnLook: Send + Sync {
    /// Its name in the config, which its faults carry.
    fn name(&self) -> &ProviderName;

    /// What is not as `wanted`.
    async fn differences(&self, wanted: &Front) -> Result<Vec<FrontChange>, Fault>;

    /// The stack's tunnel, when it is there.
    async fn tunnel(&self) -> Result<Option<Tunnel>, Fault>;

    /// What was used of its plan; empty where nothing of it is counted.
    async fn usage(&self) -> Result<Vec<Usage>, Fault>;

    /// Each part of `wanted` that the credential may not read, as the refusal of it. What may be read may still be refused
    /// when it is to be written: nobody can ask for that without writing.
    async fn refused(&self, wanted: &Front) -> Result<Vec<Fault>, Fault>;
}

/// Stands in front of the edge.
///
/// Promises, held by the contract suite for every adapter:
/// - Each writing call reads, compares, and writes only the difference; calling it twice changes nothing and makes
///   nothing twice, also when the first call's answer was lost.
/// - Rules, scripts, routes and tunnels without this stack's marker are never changed or removed. Settings of the whole
///   zone belong to nobody: those that `wanted` names are set, no others are touched.
/// - No retries and no policy in here; a [`Fault`] says what the caller may do.
#[async_trait]
pub trait Cdn: CdnLook {
    /// Makes what stands in front `wanted`, and tells what it changed, or left as it is.
    async fn put(&self, wanted: &Front) -> Result<Vec<FrontChange>, Fault>;

    /// Has `key` be `value` among the values that the worker reads. Writes nothing when it is already, and gives
    /// [`crate::FaultKind::Limited`] or [`crate::FaultKind::Exhausted`] before the provider's own limits are met.
    async fn put_value(&self, key: &str, value: &str) -> Result<(), Fault>;

    /// The key of the stack's tunnel. [`crate::FaultKind::Missing`] when there is none yet.
    async fn tunnel_key(&self) -> Result<TunnelKey, Fault>;
}
