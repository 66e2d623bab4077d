//! Why a provider could not do what was asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ProviderName;

/// A provider's refusal or silence, reduced to what a decision needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{provider} could not {attempt}: {said}")]
pub struct Fault {
    /// What the caller can do about it.
    pub kind: FaultKind,
    /// Who failed, as named in the config.
    pub provider: ProviderName,
    /// What was being tried, as a verb phrase: "list machines".
    pub attempt: String,
    /// The provider's own words, secrets removed, one line.
    pub said: String,
}

/// What a caller can do about a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The request provably never reached the provider: try again, or try someone else.
    Unreachable,
    /// The request may have been carried out (a time limit, a cut connection, a 408 or 5xx): look before repeating.
    Unclear,
    /// Too many requests: wait this long.
    Limited {
        /// How long the provider asks to be left alone.
        wait: Duration,
    },
    /// An allowance is used up; more tries do not help before it resets. Out of quota is not down.
    Exhausted,
    /// The credential was refused: only a person can fix it.
    Denied,
    /// The thing is not there.
    Missing,
    /// Someone else changed or holds the thing: look again.
    Conflict,
    /// The provider says the request itself is wrong.
    Invalid,
    /// This provider does not do that.
    Unsupported,
}

impl FaultKind {
    /// Whether the same request may work later with nothing changed.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Unreachable | Self::Unclear | Self::Limited { .. } | Self::Conflict => true,
            Self::Exhausted | Self::Denied | Self::Missing | Self::Invalid | Self::Unsupported => {
                false
            }
        }
    }
}
