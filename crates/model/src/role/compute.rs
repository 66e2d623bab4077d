//! Running containers.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Definition, Digest, Fault, FaultKind, Fingerprint, Lifecycle, ProviderName, ReleaseId,
    ServiceName, Timestamp,
};

/// What a provider's plan and API can do, known beforehand. Planning reads only this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Passes gRPC (HTTP/2 with trailers) through its ingress.
    pub grpc: bool,
    /// Runs containers that listen on nothing.
    pub workers: bool,
    /// Keeps a deployment with no instance running.
    pub scale_to_zero: bool,
    /// Has an API to read logs.
    pub logs: bool,
    /// How it comes to an image that not everybody may pull.
    pub private_images: PrivateImages,
    /// Runs a command to its end in a container of its own: [`Compute::run_once`].
    pub jobs: bool,
    /// Serves a service under names of the stack's own domain: [`Compute::add_domain`].
    pub domains: bool,
    /// Tells what was used of the plan: [`ComputeLook::usage`].
    pub usage: bool,
    /// Stops an idle service by itself after so many seconds without a request; the next request starts it again.
    pub sleeps_after: Option<u32>,
    /// How many seconds the request that wakes a sleeping service may take at most, by what the vendor says of it.
    pub cold_start: u32,
    /// The region that the config names, in the vendor's word.
    pub region: Option<String>,
    /// The platform that its machines run, `linux/amd64`.
    pub platform: &'static str,
    /// Requests that one deploy costs, about, polling included.
    pub requests_per_deploy: u32,
    /// Requests allowed in an hour, when the vendor says so.
    pub requests_per_hour: Option<u32>,
}

impl Capabilities {
    /// A provider that runs web services and nothing else.
    pub const LEAST: Self = Self {
        grpc: false,
        workers: false,
        scale_to_zero: false,
        logs: false,
        private_images: PrivateImages::Never,
        jobs: false,
        domains: false,
        usage: false,
        sleeps_after: None,
        cold_start: 30,
        region: None,
        platform: "linux/amd64",
        requests_per_deploy: 1,
        requests_per_hour: None,
    };
}

/// How a provider comes to an image that not everybody may pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivateImages {
    /// It pulls with the login it is given: [`crate::Definition::login`].
    Pulls,
    /// It pulls from its own registry only, so the image is copied there first.
    Copies,
    /// Not at all: the image must be public.
    Never,
}

/// How much of one allowance is used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// What is counted, in our word where the catalogue has one: `vcpu_seconds`, `instance_hours`, `requests`.
    pub what: String,
    /// How much was used since the period began.
    pub used: f64,
    /// How much there is in a period, where the provider says so.
    pub limit: Option<f64>,
    /// The unit of both: `s`, `h`, `USD`, `B`.
    pub unit: String,
    /// When it begins anew, where the provider says so.
    pub resets: Option<Timestamp>,
}

/// A command that is run to its end exactly once, in a container of its own: a migration.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Unique for this stack, and the same each time this very run is asked for: `migrate-api-r12`. Lower-case letters,
    /// digits and dashes; at most 40 bytes.
    pub id: String,
    /// The image, its environment and its size. The command of the definition is the job's; port, health and replicas
    /// do not matter.
    pub what: Definition,
}

/// How a [`Job`] stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum JobState {
    /// The provider knows of no such job.
    Absent,
    /// It is being started, or it runs; in the provider's own word.
    Under {
        /// The provider's word.
        said: String,
    },
    /// It has ended.
    Ended {
        /// Its exit code; `None` when the provider says only that it failed.
        code: Option<i32>,
        /// Whether it worked.
        worked: bool,
        /// The last lines it wrote, oldest first, as far as the provider tells them.
        log: Vec<LogLine>,
    },
}

/// How a name of the stack's own domain stands at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum DomainState {
    /// Not asked for yet.
    Absent,
    /// The provider waits for DNS or for a certificate.
    Waiting {
        /// In the provider's own words.
        said: String,
        /// What DNS has to say.
        records: Vec<DnsRecord>,
    },
    /// It serves, with a certificate.
    Ready,
}

/// One record that a provider asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// The whole name, without a dot at its end.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `TXT`.
    pub kind: String,
    /// Its value.
    pub value: String,
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
    /// Its name in the config, which its faults carry.
    fn name(&self) -> &ProviderName;

    /// What this provider can do.
    fn capabilities(&self) -> Capabilities;

    /// Every placement of this stack that this provider knows, found by its marker. What is not ours is not listed.
    async fn look(&self) -> Result<Vec<Seen>, Fault>;

    /// How a deploy goes. A deployment that is gone is [`Progress::Failed`].
    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault>;

    /// The last lines a service wrote, oldest first. [`crate::FaultKind::Unsupported`] where there is no API.
    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault>;

    /// What was used of the plan. [`crate::FaultKind::Unsupported`] where there is no API.
    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        Err(self.cannot("tell its usage"))
    }

    /// Whether the provider itself can pull `wanted`'s image, asked before anything is touched. `Ok(None)`: it has no
    /// way to ask; `Ok(Some(why))`: it cannot.
    async fn pull_problem(&self, _wanted: &Definition) -> Result<Option<String>, Fault> {
        Ok(None)
    }

    /// How the job `id` stands.
    async fn job(&self, _id: &str) -> Result<JobState, Fault> {
        Err(self.cannot("run jobs"))
    }

    /// How `host` stands as a name of `service`.
    async fn domain(&self, _service: &ServiceName, _host: &str) -> Result<DomainState, Fault> {
        Err(self.cannot("serve own domains"))
    }

    /// That this provider does not do `attempt`.
    fn cannot(&self, attempt: &str) -> Fault {
        Fault {
            kind: FaultKind::Unsupported,
            provider: self.name().clone(),
            attempt: attempt.to_owned(),
            said: "this provider has no way to do that".to_owned(),
        }
    }
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

    /// Has `job` run, once: where it is running or has ended already, nothing is started. Returns at once; waiting is
    /// [`ComputeLook::job`].
    async fn run_once(&self, _job: &Job) -> Result<(), Fault> {
        Err(self.cannot("run jobs"))
    }

    /// Takes what is left of an ended job away. What is already gone is fine.
    async fn forget_job(&self, _id: &str) -> Result<(), Fault> {
        Err(self.cannot("run jobs"))
    }

    /// Has `host` lead to `service`, with a certificate. What already does is fine.
    async fn add_domain(&self, _service: &ServiceName, _host: &str) -> Result<DomainState, Fault> {
        Err(self.cannot("serve own domains"))
    }

    /// Takes `host` away from `service`. What is already gone is fine.
    async fn remove_domain(&self, _service: &ServiceName, _host: &str) -> Result<(), Fault> {
        Err(self.cannot("serve own domains"))
    }
}
