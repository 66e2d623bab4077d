//! What the loop needs to know of a service: the config, with every reference followed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::route::{HostRoute, Queue, Timeouts};
use crate::{ImageRef, ProviderName, ServiceName, Size};

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    /// Answers HTTP; has a health path.
    #[default]
    Web,
    /// Answers gRPC over HTTP/2 without TLS behind its provider's ingress; health by `grpc.health.v1`.
    Grpc,
    /// Answers nobody; lives by its provider's word.
    Worker,
}

/// One service as the loop sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name in the config.
    pub name: ServiceName,
    /// How it is spoken to.
    pub kind: ServiceKind,
    /// The image as written.
    pub image: ImageRef,
    /// The providers that may run it, most preferred first: its cascade.
    pub runs_on: Vec<ProviderName>,
    /// Never two at once: the old one's stop is proven before another starts.
    pub exclusive: bool,
    /// The port the container listens on. Workers may have none.
    pub port: Option<u16>,
    /// The health path of a web service.
    pub health: Option<String>,
    /// Public routes that lead to it.
    pub routes: Vec<HostRoute>,
    /// How many instances run where it serves.
    pub replicas: u32,
    /// How big each instance is.
    pub size: Size,
    /// The command instead of the image's own.
    pub command: Option<Vec<String>>,
    /// The command that is run to its end once for each new image, before anything of a release is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Vec<String>>,
    /// The services that come before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<ServiceName>,
    /// How long a new release may take until it answers, in milliseconds.
    pub start_within_ms: u64,
    /// Whether a write that carries an `Idempotency-Key` may be sent again: the service carries each key out once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotency_key: bool,
    /// Whether it is checked all the time also where its provider would put it to sleep, so that it never sleeps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_warm: bool,
    /// How long requests to it wait.
    #[serde(default, skip_serializing_if = "Timeouts::is_usual")]
    pub timeouts: Timeouts,
    /// How many requests its placements take at once.
    #[serde(default, skip_serializing_if = "Concurrency::is_usual")]
    pub concurrency: Concurrency,
}

/// How many requests the placements of a service take at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// So many each. `None`: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
    /// Another number at some providers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<ProviderName, u32>,
    /// What becomes of more.
    #[serde(default, skip_serializing_if = "Queue::is_usual")]
    pub queue: Queue,
}

impl Concurrency {
    /// Whether there is no limit.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// How many requests the placement on `provider` takes at once; `None`: as many as come.
    pub fn at(&self, provider: &ProviderName) -> Option<u32> {
        self.on.get(provider).copied().or(self.most)
    }
}

impl ServiceSpec {
    /// Whether it can be probed from outside.
    pub fn is_probed(&self) -> bool {
        matches!(self.kind, ServiceKind::Web | ServiceKind::Grpc)
    }

    /// Whether its standby placements are kept running (probed services) or stopped (workers).
    pub fn keeps_standby_warm(&self) -> bool {
        self.is_probed() && !self.exclusive
    }

    /// The rank of `provider` in the cascade, 0 first.
    pub fn rank(&self, provider: &ProviderName) -> Option<usize> {
        self.runs_on.iter().position(|p| p == provider)
    }
}

/// When the loop moves a service, and when it moves it back. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How often each placement is probed while all is well.
    pub probe_every_ms: u64,
    /// How long a probe may take.
    pub probe_timeout_ms: u64,
    /// How often it is probed from the first doubt until the verdict.
    pub probe_in_doubt_ms: u64,
    /// Bad probes in a row until a placement counts as down.
    pub fall: u32,
    /// Good probes in a row until it counts as up.
    pub rise: u32,
    /// How long the active placement must have been down before the service is moved.
    pub confirm_ms: u64,
    /// How long a more preferred placement must have been up before the service moves back.
    pub failback_after_ms: u64,
    /// How long a service stays where it was moved to, unless that fails too.
    pub min_stay_ms: u64,
    /// How often providers are asked for their state.
    pub look_every_ms: u64,
    /// How old a provider's word may be and still be believed.
    pub stale_after_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            probe_every_ms: 5_000,
            probe_timeout_ms: 2_000,
            probe_in_doubt_ms: 250,
            fall: 2,
            rise: 3,
            confirm_ms: 5_000,
            failback_after_ms: 120_000,
            min_stay_ms: 300_000,
            look_every_ms: 60_000,
            stale_after_ms: 180_000,
        }
    }
}
