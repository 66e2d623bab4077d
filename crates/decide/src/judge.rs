//! Whether a placement can be used, from what probes and providers say of it.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;

use linkflow_model::{
    Health, Lifecycle, Moment, PlacementView, Policy, ProviderName, ServiceSpec, World,
};

/// What is concluded about a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It serves, or could.
    Up {
        /// Since when.
        since: Moment,
    },
    /// It does not.
    Down {
        /// Since when.
        since: Moment,
        /// Why, for people.
        why: String,
    },
    /// Nobody knows. Unknown is not failed.
    Unknown,
}

impl Verdict {
    /// Since when it has been up.
    pub fn up_since(&self) -> Option<Moment> {
        match self {
            Self::Up { since } => Some(*since),
            Self::Down { .. } | Self::Unknown => None,
        }
    }
}

/// Judges one placement.
///
/// A service that can be spoken to is judged by the probes alone: a provider may say what it likes. A worker is judged
/// by its provider's word while that is fresh; where everything else on its provider is down, so is the worker. What
/// rests is judged like a worker, and sleep is no fault of it: asking would wake it.
pub fn judge(
    spec: &ServiceSpec,
    placement: &PlacementView,
    is_active: bool,
    world: &World,
    policy: &Policy,
    now: Moment,
) -> Verdict {
    let runs_or_waits = spec.keeps_standby_warm() || is_active;
    if spec.is_probed() && runs_or_waits {
        let since = placement.health_since;
        match placement.health {
            Health::Up => return Verdict::Up { since },
            Health::Down => return Verdict::Down { since, why: why(placement) },
            Health::Unknown | Health::Waking => return Verdict::Unknown,
            Health::Resting => {}
        }
    }
    if let Some(since) = provider_down_since(&placement.provider, world) {
        let why = format!("everything else on {} is down", placement.provider);
        return Verdict::Down { since, why };
    }
    let Some(looked) = placement.looked else { return Verdict::Unknown };
    if now.since(looked) > policy.stale_after_ms {
        return Verdict::Unknown;
    }
    let since = placement.health_since;
    let rests = placement.health == Health::Resting;
    match placement.lifecycle {
        Lifecycle::Running => Verdict::Up { since },
        Lifecycle::Asleep if rests => Verdict::Up { since },
        Lifecycle::Stopped | Lifecycle::Asleep if !is_active => Verdict::Up { since },
        Lifecycle::Stopped | Lifecycle::Asleep | Lifecycle::Failed | Lifecycle::Absent => {
            Verdict::Down { since, why: why(placement) }
        }
        Lifecycle::Starting | Lifecycle::Unknown => Verdict::Unknown,
    }
}

/// Since when every probed placement of `provider` has been down; `None` when one is not, or none is probed.
fn provider_down_since(provider: &ProviderName, world: &World) -> Option<Moment> {
    let mut latest = None;
    for placement in world.services.values().filter_map(|service| service.on(provider)) {
        match placement.health {
            Health::Down => latest = latest.max(Some(placement.health_since)),
            Health::Up => return None,
            Health::Unknown | Health::Resting | Health::Waking => {}
        }
    }
    latest
}

/// Whether every probe fails everywhere, on two providers or more: then it is us, not them.
pub(crate) fn is_cut_off(world: &World) -> bool {
    let mut first = None;
    let mut several = false;
    for placement in world.services.values().flat_map(|service| &service.placements) {
        match placement.health {
            Health::Up => return false,
            Health::Down => match first {
                None => first = Some(&placement.provider),
                Some(one) => several |= *one != placement.provider,
            },
            Health::Unknown | Health::Resting | Health::Waking => {}
        }
    }
    several
}

fn why(placement: &PlacementView) -> String {
    match &placement.why {
        Some(why) => why.clone(),
        None => match placement.lifecycle {
            Lifecycle::Absent => "not deployed".to_owned(),
            Lifecycle::Stopped => "stopped".to_owned(),
            Lifecycle::Asleep => "asleep".to_owned(),
            Lifecycle::Failed => "its provider gave up starting it".to_owned(),
            Lifecycle::Starting | Lifecycle::Running | Lifecycle::Unknown => "down".to_owned(),
        },
    }
}
