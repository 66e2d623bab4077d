//! How a release may get out: what is allowed at once, and what follows when something does not work.

use serde::{Deserialize, Serialize};

use crate::ProviderName;

/// How releases are rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// What is done when a step does not work.
    pub on_failure: OnFailure,
    /// How many working placements of one service may be updated at once.
    pub max_unavailable: Allowed,
    /// The provider that runs migrations; where none is named, the first of the service's cascade that runs jobs.
    pub migrate_on: Option<ProviderName>,
    /// How long a migration may take, in milliseconds.
    pub migrate_within_ms: u64,
    /// How long requests in flight get to end where visitors were led away from, in milliseconds.
    pub drain_ms: u64,
    /// How long a new placement must go on answering well until its step counts, in milliseconds.
    pub soak_ms: u64,
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            on_failure: OnFailure::RollbackAll,
            max_unavailable: Allowed::Count(1),
            migrate_on: None,
            migrate_within_ms: 600_000,
            drain_ms: 500,
            soak_ms: 0,
        }
    }
}

/// What is done when a step of a rollout does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing: what was updated stays, what was not stays too.
    Halt,
    /// The release before is put back where the new one failed, and nowhere else.
    RollbackFailed,
    /// The release before is put back everywhere.
    RollbackAll,
}

/// How many of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// So many.
    Count(u32),
    /// This share of them, in percent.
    Share(u8),
}

impl Allowed {
    /// How many of `all` that are; never fewer than one, or nothing would ever be updated.
    pub fn of(self, all: usize) -> usize {
        let some = match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Share(percent) => all * usize::from(percent) / 100,
        };
        some.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_and_never_nothing() {
        assert_eq!(Allowed::Share(50).of(5), 2);
        assert_eq!(Allowed::Share(10).of(5), 1);
        assert_eq!(Allowed::Count(0).of(5), 1);
        assert_eq!(Allowed::Count(7).of(5), 7);
    }
}
