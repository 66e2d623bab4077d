//! Releases: what was asked to run, kept so that it can be asked again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Fingerprint, PinnedImage, ProviderName, ServiceName, ServiceSpec, Timestamp};

/// A release's number, written `r12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(pub u64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("r{}", self.0))
    }
}

impl FromStr for ReleaseId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix('r').and_then(|n| n.parse().ok());
        number.map(Self).ok_or_else(|| format!("`{text}` is not a release: r1, r2, … are"))
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.to_string()
    }
}

/// How a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// Being rolled out.
    Rolling,
    /// The one that runs.
    Live,
    /// Did not pass its gate; the one before was put back.
    Failed,
    /// Was live before another.
    Superseded,
}

/// What was asked to run. Holds no secret: values are named by reference, and known by fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub id: ReleaseId,
    /// When it was made.
    pub at: Timestamp,
    /// How it stands.
    pub state: ReleaseState,
    /// Why it was made: "deploy api=ghcr.io/…:1.4", "rollback to r3".
    pub why: String,
    /// The release that was live when this one was made.
    pub before: Option<ReleaseId>,
    /// Each service in full.
    pub services: BTreeMap<ServiceName, ServiceRelease>,
}

/// One service within a [`Release`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRelease {
    /// The service as it was configured.
    pub spec: ServiceSpec,
    /// The image by digest.
    pub image: PinnedImage,
    /// The environment as written, references not followed.
    pub env: BTreeMap<String, String>,
    /// The fingerprint on each provider of the cascade.
    pub fingerprints: BTreeMap<ProviderName, Fingerprint>,
}
