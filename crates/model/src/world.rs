//! What was last seen of the outside world, each fact with its moment.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Digest, Health, Moment, ProviderName, ReleaseId, ServiceName, Sleeps};

/// What a provider says of a placement, reduced to what a decision needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// The provider has no such thing.
    Absent,
    /// It is being made, pulled or started.
    Starting,
    /// At least one instance runs.
    Running,
    /// Deployed, and provably no instance runs.
    Stopped,
    /// Deployed and put to sleep by its provider for want of requests: the next request starts it.
    Asleep,
    /// The provider gave up starting it, or it keeps crashing. An instance may still run now and then.
    Failed,
    /// The provider could not be asked, or said something nobody knows.
    #[default]
    Unknown,
}

/// Everything known about the outside at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// One entry per service.
    pub services: BTreeMap<ServiceName, ServiceView>,
}

/// A service as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Where it officially runs now.
    pub active: Option<ProviderName>,
    /// Since when.
    pub active_since: Moment,
    /// For an exclusive service: where an instance may run, because it was told to and has not been proven stopped since.
    #[serde(default)]
    pub may_run: BTreeSet<ProviderName>,
    /// Providers that it is kept away from until somebody lifts it, and who wanted that and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drained: BTreeMap<ProviderName, String>,
    /// Where somebody wants it to serve from, before its cascade, until that is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Its placements, in the order of its cascade.
    pub placements: Vec<PlacementView>,
}

/// Where somebody wants a service to serve from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The provider.
    pub to: ProviderName,
    /// Who wants it, and why.
    pub why: String,
    /// Whether it was said after the service came to where it serves: then it goes there at once, and not only once the provider
    /// has been well for as long as a way back takes.
    pub is_new: bool,
}

/// One service on one provider, as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlacementView {
    /// The provider.
    pub provider: ProviderName,
    /// What the provider says.
    pub lifecycle: Lifecycle,
    /// When the provider last said so; `None` when it never could be asked.
    pub looked: Option<Moment>,
    /// What probes from outside say. [`Health::Unknown`] for workers.
    pub health: Health,
    /// Since when the probes say so.
    pub health_since: Moment,
    /// Why it is down, in the probe's or the provider's words.
    pub why: Option<String>,
    /// The latency of the last good probe, in milliseconds.
    pub latency_ms: Option<u64>,
    /// The release that runs there.
    pub release: Option<ReleaseId>,
    /// The digest that runs there.
    pub digest: Option<Digest>,
    /// The fingerprint of what runs there.
    pub fingerprint: Option<crate::Fingerprint>,
    /// Its address, when it has one.
    pub address: Option<String>,
    /// Instances that run, as the provider says.
    pub running: u32,
    /// How its provider puts it to sleep when nobody asks for it. `None`: it never does, or it is to be kept warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleeps: Option<Sleeps>,
}

impl ServiceView {
    /// The placement on `provider`.
    pub fn on(&self, provider: &ProviderName) -> Option<&PlacementView> {
        self.placements.iter().find(|p| p.provider == *provider)
    }

    /// The active placement.
    pub fn active_placement(&self) -> Option<&PlacementView> {
        self.on(self.active.as_ref()?)
    }
}
