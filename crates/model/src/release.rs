//! Releases: what was asked to run, kept so that it can be asked again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, Fingerprint, PinnedImage, ProviderName, ServiceName, ServiceSpec, Timestamp};

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
    /// Who asked for it; `None` in records of an earlier LinkFlow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    /// The migrations that were run for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub migrations: BTreeMap<ServiceName, Migration>,
    /// How long its rollout took, in milliseconds, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Who asked for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The person, as far as the environment says.
    pub who: Option<String>,
    /// The machine.
    pub host: String,
    /// The command: `linkflow deploy`.
    pub what: String,
    /// The address of the CI run.
    pub url: Option<String>,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Some(who) => f.pad(&format!("{who} on {}", self.host)),
            None => f.pad(&self.host),
        }
    }
}

/// A migration that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The release it was run for.
    pub release: ReleaseId,
    /// The image it was run with.
    pub digest: Digest,
    /// The command.
    pub command: Vec<String>,
    /// Who ran it.
    pub provider: ProviderName,
    /// Its exit code; `None` when nobody could tell it.
    pub code: Option<i32>,
    /// Whether it worked.
    pub worked: bool,
    /// The last lines that it wrote, oldest first.
    pub log: Vec<String>,
    /// When it had ended.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
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
