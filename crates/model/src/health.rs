//! What probes from outside say of each placement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Moment, ProviderName, ReleaseId, ServiceName};

/// How a placement is, as seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It answers as it should.
    Up,
    /// It does not.
    Down,
    /// It is left alone, so that its provider may put it to sleep: nobody has asked for it lately.
    Resting,
    /// It may have slept and is being woken. Whether it is well is not known before that is over.
    Waking,
    /// Not probed, or not yet often enough to say.
    #[default]
    Unknown,
}

/// What the probes of one placement say now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The verdict, after the rise and fall counts.
    pub health: Health,
    /// Since when the verdict has been so.
    pub since: Moment,
    /// When the last probe ended.
    pub seen: Moment,
    /// How long the last good probe took, in milliseconds.
    pub latency_ms: Option<u64>,
    /// The release that the placement itself named in its last good answer (`x-linkflow-release`).
    pub release: Option<ReleaseId>,
    /// Why the last bad probe failed: "connection refused", "503", "no answer in 1 s".
    pub why: Option<String>,
}

/// The latest probe of every placement that can be probed.
pub type ProbePicture = BTreeMap<(ServiceName, ProviderName), Probe>;
