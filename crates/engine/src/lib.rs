//! Runs the loop: observe, decide, act, tell; keeps the journal; owns every task.

mod act;
mod alerts;
mod crash;
mod domain;
mod draft;
mod drift;
mod error;
mod follow;
mod guard;
mod hook;
mod incidents;
mod journal;
mod lease;
mod migrate;
mod notice;
mod observe;
mod outcome;
mod preflight;
mod restart;
mod run;
mod soak;
mod swap;
mod tasks;
mod tell;
mod turn;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linkflow_model::role::{Compute, Notify};
use linkflow_model::{
    Clock, Definition, Event, Policy, ProbePicture, ProviderName, Pulse, Release, RolloutPolicy,
    Routes, ServiceName, ServiceSpec, StackName,
};
use linkflow_store::Store;
use tokio::sync::{broadcast, watch};

pub use alerts::{AlertChannel, AlertPost, Alerts, Message, MessageState, Tried, messages};
pub use crash::{Crash, CrashPoint};
pub use draft::Draft;
pub use drift::{Drift, Drifted, drift};
pub use error::EngineError;
pub use guard::{Patience, guarded};
pub use hook::{Hook, Hooks};
pub use incidents::Incidents;
pub use journal::{Run, RunKind, RunState, StageRecord, StepRecord, StepState};
pub use lease::{Holder, Owner, holder};
pub use preflight::{Facts, ImageFacts, misfits};
pub use run::{Asked, RunEnd};
pub use swap::Swapping;
pub use tasks::{Stop, Tasks};

/// Turns a release into what one provider is asked to run: references followed, secrets filled in.
pub trait Render: Send + Sync {
    /// The definition of `service` in `release` for `provider`; an error in words when a reference cannot be followed.
    fn definition(
        &self,
        release: &Release,
        service: &ServiceName,
        provider: &ProviderName,
        replicas: u32,
    ) -> Result<Definition, String>;
}

/// Everything the engine works with.
pub struct Parts {
    /// The stack.
    pub stack: StackName,
    /// Its services.
    pub services: Vec<ServiceSpec>,
    /// When to move.
    pub policy: Policy,
    /// How releases get out.
    pub rollout: RolloutPolicy,
    /// The compute providers, opened.
    pub computes: BTreeMap<ProviderName, Arc<dyn Compute>>,
    /// Providers on this machine that run a migration when no provider of the cascade can: by image, without its tag.
    pub programs: BTreeMap<String, ProviderName>,
    /// Who is told how a rollout ended.
    pub notify: Vec<(ProviderName, Arc<dyn Notify>)>,
    /// Commands of the user around a rollout.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Makes definitions.
    pub render: Arc<dyn Render>,
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What probes from outside say.
    pub probes: watch::Receiver<Arc<ProbePicture>>,
    /// Where the edge reads the route table.
    pub routes: watch::Sender<Arc<Routes>>,
    /// Who this process is.
    pub owner: Owner,
    /// Whether another process still lives; false only when it is provably gone.
    pub alive: Arc<dyn Fn(&Owner) -> bool + Send + Sync>,
    /// Ends the process at a point of the journal; for tests.
    pub crash: Option<Crash>,
}

/// Runs the loop over one stack.
pub struct Engine {
    parts: Parts,
    specs: Mutex<follow::Specs>,
    looks: Mutex<BTreeMap<ProviderName, observe::Look>>,
    actives: Mutex<observe::Actives>,
    /// Placements that may not sleep now, and how many wait for each.
    awake: Mutex<BTreeMap<(ServiceName, ProviderName), u32>>,
    holding: Mutex<turn::Holding>,
    acting: tokio::sync::Mutex<()>,
    journal_points: Mutex<u64>,
    told: broadcast::Sender<Event>,
    pulse: Pulse,
}

impl Engine {
    /// An engine that has looked at nothing yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (told, _) = broadcast::channel(1024);
        let specs = follow::Specs::of(&parts.services);
        Arc::new(Self {
            parts,
            specs: Mutex::new(specs),
            looks: Mutex::default(),
            actives: Mutex::default(),
            awake: Mutex::default(),
            holding: Mutex::default(),
            acting: tokio::sync::Mutex::default(),
            journal_points: Mutex::default(),
            told,
            pulse: Pulse::default(),
        })
    }

    /// Beats while the loop goes round and the store answers it.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    fn spec(&self, name: &ServiceName) -> Option<ServiceSpec> {
        self.services().iter().find(|spec| spec.name == *name).cloned()
    }
}

/// Locks, also when a panicking task held the lock: every value behind one is whole at all times.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
