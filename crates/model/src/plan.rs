//! What to do next, as plain values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ProviderName, ReleaseId, ServiceName};

/// Steps to carry out, stage after stage; the steps of one stage may run side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages, in order. A stage starts when those before have ended well, or what of them concerns it: see
    /// [`Stage::apart`].
    pub stages: Vec<Stage>,
    /// What cannot be done now, and why; for people.
    pub held: Vec<Held>,
}

/// A service on a provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The service.
    pub service: ServiceName,
    /// The provider.
    pub provider: ProviderName,
}

/// Something that was found wrong, or doubtful, before anything was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether it forbids the plan.
    pub forbids: bool,
    /// The service it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The provider it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// What is wrong, in one sentence.
    pub what: String,
    /// What would help; may be empty.
    pub help: String,
}

/// Steps that do not depend on one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What this stage is for: "canary", "rollout", "switch".
    pub name: String,
    /// The steps.
    pub steps: Vec<Step>,
    /// Whether each service goes through it apart from the others: of the stages before that are so too, a step waits only
    /// for those of its own service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
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
    /// Placements whose step of the same stage must have worked before this one begins; where the stage is
    /// [apart](Stage::apart), also their steps of the stages before that are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Placement>,
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
    /// Run the migration of `release` of `service` to its end, once.
    Migrate {
        /// The service.
        service: ServiceName,
        /// Who runs it.
        provider: ProviderName,
        /// Which release.
        release: ReleaseId,
    },
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
            Self::Migrate { service, .. }
            | Self::Deploy { service, .. }
            | Self::Scale { service, .. }
            | Self::ProveStopped { service, .. }
            | Self::Activate { service, .. }
            | Self::Restart { service, .. }
            | Self::Soak { service, .. }
            | Self::Delete { service, .. } => service,
        }
    }

    /// The placement it is about.
    pub fn placement(&self) -> Placement {
        Placement { service: self.service().clone(), provider: self.provider().clone() }
    }

    /// The provider it is about.
    pub fn provider(&self) -> &ProviderName {
        match self {
            Self::Migrate { provider, .. }
            | Self::Deploy { provider, .. }
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
            Self::Migrate { service, provider, release } => {
                write!(f, "run the migration of {service} {release} on {provider}")
            }
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

impl Step {
    /// A step that waits for nothing and changes no field.
    pub fn new(action: Action, why: impl Into<String>) -> Self {
        Self { action, why: why.into(), changes: Vec::new(), after: Vec::new() }
    }
}

impl Stage {
    /// A stage that begins when everything before it has ended.
    pub fn of(name: &str, steps: Vec<Step>) -> Self {
        Self { name: name.to_owned(), steps, apart: false }
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
        let steps = vec![Step::new(action, why)];
        self.stages.push(Stage::of(name, steps));
    }

    /// Says that something waits.
    pub fn hold(&mut self, service: Option<&ServiceName>, why: impl Into<String>) {
        self.held.push(Held { service: service.cloned(), why: why.into() });
    }
}
