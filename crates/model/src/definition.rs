//! A service as it is to run on one provider: everything rendered, nothing left to choose.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{PinnedImage, ProviderName, ReleaseId, Secret, ServiceKind, ServiceName, StackName};

/// One environment value, after references were followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// May be shown.
    Plain(String),
    /// May not; adapters put it where the provider keeps secrets.
    Secret(Secret),
}

impl EnvValue {
    /// The value itself: call this only where a request or a process is built.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

/// How big one instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Thousandths of a CPU.
    pub cpu_milli: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self { cpu_milli: 250, memory_mb: 256 }
    }
}

/// A keyed hash over everything in a [`Definition`] but its release and replicas: 32 lower-case hex digits.
///
/// Two definitions with the same fingerprint need no deploy. It is keyed, so it gives no secret away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who pulls from a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The registry's host: `ghcr.io`.
    pub registry: String,
    /// The user.
    pub user: String,
    /// The password, or a token in its place.
    pub password: Secret,
}

/// What one provider is asked to run for one service.
///
/// The adapter adds to the environment, under names that the app can read:
/// `LINKFLOW_STACK`, `LINKFLOW_SERVICE`, `LINKFLOW_PROVIDER`, `LINKFLOW_RELEASE` and `PORT` (see [`Definition::markers`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The stack it belongs to.
    pub stack: StackName,
    /// The service.
    pub service: ServiceName,
    /// Where it is to run.
    pub provider: ProviderName,
    /// The release that asked for it.
    pub release: ReleaseId,
    /// What to run, by digest.
    pub image: PinnedImage,
    /// Who pulls the image, where not everybody may. Not part of the fingerprint.
    pub login: Option<RegistryLogin>,
    /// The command instead of the image's own.
    pub command: Option<Vec<String>>,
    /// How it is spoken to.
    pub kind: ServiceKind,
    /// The port it listens on.
    pub port: Option<u16>,
    /// The health path of a web service.
    pub health: Option<String>,
    /// The environment, references followed.
    pub env: BTreeMap<String, EnvValue>,
    /// Names that LinkFlow set in an earlier release and that are gone from this one. Adapters remove these and no others.
    pub env_gone: Vec<String>,
    /// How many instances. 0: deployed but not running.
    pub replicas: u32,
    /// How big each is.
    pub size: Size,
    /// Compares this with what runs.
    pub fingerprint: Fingerprint,
}

impl Definition {
    /// The environment that marks an instance as ours and tells the app who it is.
    pub fn markers(&self) -> BTreeMap<String, String> {
        let mut markers = BTreeMap::from([
            ("LINKFLOW_STACK".to_owned(), self.stack.to_string()),
            ("LINKFLOW_SERVICE".to_owned(), self.service.to_string()),
            ("LINKFLOW_PROVIDER".to_owned(), self.provider.to_string()),
            ("LINKFLOW_RELEASE".to_owned(), self.release.to_string()),
            ("LINKFLOW_FINGERPRINT".to_owned(), self.fingerprint.to_string()),
        ]);
        if let Some(port) = self.port {
            markers.insert("PORT".to_owned(), port.to_string());
        }
        markers
    }
}
