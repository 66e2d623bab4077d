//! Running containers.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Definition, Digest, Fault, Fingerprint, Lifecycle, ReleaseId, ServiceName, Timestamp};

/// What a provider's plan and API can do, known beforehand. Planning reads only this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Passes gRPC (HTTP/2 with trailers) through its ingress.
    pub grpc: bool,
    /// Runs containers that listen on nothing.
    pub workers: bool,
    /// Keeps a deployment with no instance running.
    pub scale_to_zero: bool,
    /// Has an API to read logs.
    pub logs: bool,
    /// Requests that one deploy costs, about, polling included.
    pub requests_per_deploy: u32,
    /// Requests allowed in an hour, when the vendor says so.
    pub requests_per_hour: Option<u32>,
}

/// A placement, as its provider tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The service.
    pub service: ServiceName,
    /// How it stands.
    pub lifecycle: Lifecycle,
    /// The provider's own word for that: `started`, `SUCCESS`.
    pub said: String,
    /// The provider's id of it.
    pub id: String,
    /// What runs, by digest.
    pub digest: Option<Digest>,
    /// The release that asked for it.
    pub release: Option<ReleaseId>,
    /// The fingerprint it was deployed with.
    pub fingerprint: Option<Fingerprint>,
    /// Instances asked for.
    pub replicas: u32,
    /// Instances that run now.
    pub running: u32,
    /// Its base address, `https://linkflow-api.fly.dev`; `None` for workers.
    pub address: Option<String>,
}

/// A deploy under way, by the provider's own id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The service.
    pub service: ServiceName,
    /// The provider's ids, in a form that only its adapter reads.
    pub id: String,
}

/// How a deploy goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Progress {
    /// Not yet; in the provider's own word.
    Under {
        /// The provider's word: `DEPLOYING`.
        said: String,
    },
    /// What was asked for is there. With replicas above 0: it runs, and the provider's own checks pass.
    Done,
    /// The provider gave up, or an instance died at start.
    Failed {
        /// Why, in the provider's words.
        why: String,
    },
}

/// One line of a container's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, as far as the provider says.
    pub at: Option<Timestamp>,
    /// The line, without its line end.
    pub text: String,
}

/// The reading half of [`Compute`]: `plan`, `status` and `drift` hold only this, so they cannot write.
#[async_trait]
pub trait ComputeLook: Send + Sync {
    /// What this provider can do.
    fn capabilities(&self) -> Capabilities;

    /// Every placement of this stack that this provider knows, found by its marker. What is not ours is not listed.
    async fn look(&self) -> Result<Vec<Seen>, Fault>;

    /// How a deploy goes. A deployment that is gone is [`Progress::Failed`].
    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault>;

    /// The last lines a service wrote, oldest first. [`crate::FaultKind::Unsupported`] where there is no API.
    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault>;
}

/// Runs containers.
///
/// Promises, held by the contract suite for every adapter:
/// - Each writing call reads, compares, and writes only the difference; calling it twice changes nothing and makes
///   nothing twice, also when the first call's answer was lost.
/// - Nothing without this stack's marker is ever changed or deleted.
/// - No retries and no policy in here; a [`Fault`] says what the caller may do.
#[async_trait]
pub trait Compute: ComputeLook {
    /// Makes `wanted` true: creates what is absent, otherwise updates image, environment, size and replicas where they
    /// differ. Returns at once with the deployment to wait for; waiting is [`ComputeLook::progress`].
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault>;

    /// Has `replicas` instances of what is deployed; 0 stops it and keeps it deployed.
    /// [`crate::FaultKind::Missing`] when it is not deployed.
    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault>;

    /// Starts the running instances again.
    async fn restart(&self, service: &ServiceName) -> Result<(), Fault>;

    /// Takes the service away. What is already gone is fine.
    async fn delete(&self, service: &ServiceName) -> Result<(), Fault>;
}
