//! What to do next, as plain values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ProviderName, ReleaseId, ServiceName};

/// Steps to carry out, stage after stage; the steps of one stage may run side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages, in order. A stage starts when the one before has ended well.
    pub stages: Vec<Stage>,
    /// What cannot be done now, and why; for people.
    pub held: Vec<Held>,
}

/// Steps that do not depend on one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What this stage is for: "canary", "rollout", "switch".
    pub name: String,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One action, and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why, in words for the journal and the alert.
    pub why: String,
    /// What differs, field by field, for `plan`. Secrets appear as `(changed)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The field: `image`, `env.APP_ENV`, `replicas`.
    pub field: String,
    /// What is there now; `None` when nothing is.
    pub from: Option<String>,
    /// What is wanted; `None` when it goes.
    pub to: Option<String>,
}

/// Something that ought to be done and is not, because it would not be safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The service it is about; `None` when it is about everything.
    pub service: Option<ServiceName>,
    /// Why it waits.
    pub why: String,
}

/// One change to the outside world. Each names a wanted state, so doing it twice is the same as doing it once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Have `release` of `service` on `provider`, with this many instances.
    Deploy {
        /// The service.
        service: ServiceName,
        /// Where.
        provider: ProviderName,
        /// Which release.
        release: ReleaseId,
        /// How many instances; 0 keeps it deployed but stopped.
        replicas: u32,
    },
    /// Have this many instances of what is deployed; more than 0 starts, 0 stops.
    Scale {
        /// The service.
        service: ServiceName,
        /// Where.
        provider: ProviderName,
        /// How many instances.
        replicas: u32,
    },
    /// Wait until the provider itself says that nothing runs there any more.
    ProveStopped {
        /// The service.
        service: ServiceName,
        /// Where.
        provider: ProviderName,
    },
    /// Make `provider` the place that serves.
    Activate {
        /// The service.
        service: ServiceName,
        /// Where.
        provider: ProviderName,
    },
    /// Start the instances again where they stand.
    Restart {
        /// The service.
        service: ServiceName,
        /// Where.
        provider: ProviderName,
    },
    /// Watch the placement for a while: it must stay well.
    Soak {
        /// The service.
        service: ServiceName,
        /// Where.
        provider: ProviderName,
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// Take the placement away from the provider.
    Delete {
        /// The service.
        service: ServiceName,
        /// Where.
        provider: ProviderName,
    },
}

impl Action {
    /// The service it is about.
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Deploy { service, .. }
            | Self::Scale { service, .. }
            | Self::ProveStopped { service, .. }
            | Self::Activate { service, .. }
            | Self::Restart { service, .. }
            | Self::Soak { service, .. }
            | Self::Delete { service, .. } => service,
        }
    }

    /// The provider it is about.
    pub fn provider(&self) -> &ProviderName {
        match self {
            Self::Deploy { provider, .. }
            | Self::Scale { provider, .. }
            | Self::ProveStopped { provider, .. }
            | Self::Activate { provider, .. }
            | Self::Restart { provider, .. }
            | Self::Soak { provider, .. }
            | Self::Delete { provider, .. } => provider,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deploy { service, provider, release, replicas: 0 } => {
                write!(f, "deploy {release} of {service} on {provider}, stopped")
            }
            Self::Deploy { service, provider, release, .. } => {
                write!(f, "deploy {release} of {service} on {provider}")
            }
            Self::Scale { service, provider, replicas: 0 } => {
                write!(f, "stop {service} on {provider}")
            }
            Self::Scale { service, provider, replicas } => {
                write!(f, "run {replicas} of {service} on {provider}")
            }
            Self::ProveStopped { service, provider } => {
                write!(f, "prove that {service} has stopped on {provider}")
            }
            Self::Activate { service, provider } => write!(f, "serve {service} from {provider}"),
            Self::Restart { service, provider } => write!(f, "restart {service} on {provider}"),
            Self::Soak { service, provider, ms } => {
                write!(f, "watch {service} on {provider} for {} s", ms / 1_000)
            }
            Self::Delete { service, provider } => write!(f, "delete {service} from {provider}"),
        }
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.stages.iter().all(|stage| stage.steps.is_empty())
    }

    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flat_map(|stage| &stage.steps)
    }

    /// Adds a stage of one step.
    pub fn then(&mut self, name: &str, action: Action, why: impl Into<String>) {
        let step = Step { action, why: why.into(), changes: Vec::new() };
        self.stages.push(Stage { name: name.to_owned(), steps: vec![step] });
    }

    /// Says that something waits.
    pub fn hold(&mut self, service: Option<&ServiceName>, why: impl Into<String>) {
        self.held.push(Held { service: service.cloned(), why: why.into() });
    }
}
