//! Telling people.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// How a notice is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Something went well.
    Good,
    /// Good to know.
    Plain,
    /// Somebody should look.
    Warning,
    /// Something failed.
    Bad,
}

/// Something that people are told, in a form that each channel lays out in its own way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How it is meant.
    pub tone: Tone,
    /// What it is about. A channel that can shows all with the same key as one thing, and takes a good one for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// One line: `linkflow: r12 is live`.
    pub title: String,
    /// A sentence or two; may be empty.
    pub text: String,
    /// Short facts by name: what, where, how long, who.
    pub facts: Vec<(String, String)>,
    /// Lines of a log, oldest first, shown as they are.
    pub lines: Vec<String>,
    /// Where there is more, with its name.
    pub link: Option<(String, String)>,
}

/// A channel to people.
#[async_trait]
pub trait Notify: Send + Sync {
    /// Tells `notice`. No retries in here; a [`Fault`] says what the caller may do.
    async fn tell(&self, notice: &Notice) -> Result<(), Fault>;
}
