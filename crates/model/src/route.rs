//! Where requests go: the one value that the loop gives to the edge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ProviderName, ServiceKind, ServiceName};

/// A public name that leads to a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostRoute {
    /// The host, lower case, without port. `*.example.com` matches every name below `example.com`, `*` any host.
    pub host: String,
    /// The path prefix, starting with `/`. The longest match wins; `/` matches everything.
    pub path: String,
    /// The methods it takes, upper case; none listed: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The headers that a request must have: name in lower case, and value; `*` is any value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl HostRoute {
    /// A route of every method, whatever the headers.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> Self {
        let (methods, headers) = (Vec::new(), BTreeMap::new());
        Self { host: host.into(), path: path.into(), methods, headers }
    }

    /// How it is called where it is counted: `shop.example.com/orders POST,PUT x-version`. No value of a header is told.
    pub fn label(&self) -> String {
        let path = if self.path == "/" { "" } else { self.path.as_str() };
        let mut label = format!("{}{path}", self.host);
        if !self.methods.is_empty() {
            label.push(' ');
            label.push_str(&self.methods.join(","));
        }
        for name in self.headers.keys() {
            label.push(' ');
            label.push_str(name);
        }
        label
    }

    /// Whether it is for one host, neither `*` nor `*.example.com`.
    pub fn is_one_host(&self) -> bool {
        !self.host.starts_with('*')
    }
}

/// Everything the edge needs to know. Published whole; a later generation replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// Grows by one with each change.
    pub generation: u64,
    /// A row for each service that can be spoken to.
    pub services: Vec<ServiceRoute>,
}

/// How one service is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRoute {
    /// The service.
    pub service: ServiceName,
    /// [`ServiceKind::Grpc`] is spoken to over HTTP/2 with prior knowledge, [`ServiceKind::Web`] over HTTP/1.1.
    pub kind: ServiceKind,
    /// The public names that lead to it.
    pub hosts: Vec<HostRoute>,
    /// The health path probed on each target (web), or none (gRPC health protocol).
    pub health: Option<String>,
    /// Whether a write that carries an `Idempotency-Key` may be sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotency_key: bool,
    /// How long requests to it wait.
    #[serde(default, skip_serializing_if = "Timeouts::is_usual")]
    pub timeouts: Timeouts,
    /// What becomes of requests for which no target has room.
    #[serde(default, skip_serializing_if = "Queue::is_usual")]
    pub queue: Queue,
    /// Where it runs, the one to use first in front. All of these may be used when the ones before fail.
    pub targets: Vec<Target>,
}

/// How long requests to a service wait, where it has a word of its own. In milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Until a connection stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// Until an answer begins; then the target counts as slow, and what may be repeated goes to another one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Until an answer begins, whatever was tried; then the edge answers 504 itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    /// How long nothing may come within an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
}

impl Timeouts {
    /// Whether all of them are the edge's own.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of requests for which no target has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// How many may wait at once.
    pub longest: u32,
    /// How long each may wait, in milliseconds.
    pub wait_ms: u64,
}

impl Queue {
    /// Whether it is as when nobody says anything.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { longest: 100, wait_ms: 2_000 }
    }
}

/// One placement that can take requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its provider.
    pub provider: ProviderName,
    /// Its base address: `https://linkflow-api.fly.dev` or `http://127.0.0.1:4001`. No path.
    pub address: String,
    /// The rank of its provider in the cascade, 0 first.
    pub rank: usize,
    /// Its provider puts it to sleep when nobody asks for it. `None`: it never sleeps, or is to be kept awake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleeps: Option<Sleeps>,
    /// How many requests it takes at once. `None`: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

/// How a provider puts an idle service to sleep. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleeps {
    /// After how long without a request. Checks are requests too.
    pub after_ms: u64,
    /// How long it may take until the request that wakes it is answered: its cold start.
    pub cold_start_ms: u64,
    /// Whether it may rest: it is checked only as long as visitors ask for it. Otherwise somebody waits for its checks.
    pub may_rest: bool,
    /// Its provider says that it sleeps, as it was last asked.
    pub asleep: bool,
}
