//! How what is watched is, and how it has been.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How something that is watched is. Ordered from what needs nobody to what needs somebody most.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It answers as it should.
    Up,
    /// It is being worked on, as was announced: whatever it answers is no outage.
    Maintenance,
    /// Not looked at, or nobody could look: our own network was gone.
    #[default]
    Unknown,
    /// It answers, and too slowly.
    Degraded,
    /// It answers some of those who look.
    Partial,
    /// It does not answer as it should.
    Down,
}

/// A span of time in which a subject was in one condition. The spans of a subject follow each other without gap or
/// overlap, and are the one source of its uptime.
///
/// Each is a document of the store, under [`StateSpan::key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSpan {
    /// What it is about, as the config calls it: `monitor.api`, `heartbeat.backup`, `service.api`.
    pub subject: String,
    /// How it was.
    pub condition: Condition,
    /// When it began to be so: the first look that said so, not the moment it was confirmed.
    pub from: Timestamp,
    /// When it ended; `None` while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Why, in a few words: `503`, `no answer in 10 s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl StateSpan {
    /// The prefix of the keys of `subject`'s spans; listed, they come oldest first.
    pub fn prefix(subject: &str) -> String {
        format!("span/{subject}/")
    }

    /// The key of its document.
    pub fn key(&self) -> String {
        format!("{}{:014}", Self::prefix(&self.subject), self.from.0)
    }
}

/// What a look saw, as one LinkFlow tells it to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Looked {
    /// It answered as it should.
    Well {
        /// How long that took, in milliseconds.
        took_ms: u64,
    },
    /// Nothing came, or the connection broke: the network on the way may be why.
    Silent {
        /// What was seen, in a few words.
        why: String,
    },
    /// A wrong answer.
    Wrong {
        /// What was wrong, in a few words.
        why: String,
    },
    /// Whoever looked could see nothing at all, or did not say.
    Blind,
}
