//! Building and checking elsewhere: workflows, their runs, their secrets, and what is told of a rollout.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Digest, Fault, ProviderName, Secret, Timestamp};

/// How a run, or one job of it, stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum CiState {
    /// It waits for a machine, for another run or for somebody's approval; in the provider's own word.
    Waiting {
        /// The provider's word: `queued`.
        said: String,
    },
    /// It runs.
    Running,
    /// It has ended.
    Ended {
        /// Whether it worked. What was skipped, or is neither good nor bad, did.
        worked: bool,
        /// The provider's word: `success`, `cancelled`.
        said: String,
    },
}

impl CiState {
    /// Whether nothing more will come of it.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

/// One job of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiJob {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: CiState,
    /// Where people read its log.
    pub page: Option<String>,
}

/// A run of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiRun {
    /// The provider's id of it.
    pub id: String,
    /// How it stands.
    pub state: CiState,
    /// The commit that it runs on, where that is known already.
    pub commit: Option<String>,
    /// Where people look at it.
    pub page: Option<String>,
    /// Its jobs, in the provider's order.
    pub jobs: Vec<CiJob>,
}

/// A secret that workflows get. Its value can never be read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiSecret {
    /// Its name.
    pub name: String,
    /// When it was last set, as far as the provider says.
    pub set: Option<Timestamp>,
}

/// One version of a container package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageVersion {
    /// The provider's id of it.
    pub id: String,
    /// The manifest, by digest.
    pub digest: Digest,
    /// The tags that name it now.
    pub tags: Vec<String>,
    /// When it was pushed, as far as the provider says.
    pub made: Option<Timestamp>,
}

/// The repository that workflows are of, as the token sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiRepository {
    /// Its name, as the provider writes it now: it may have been renamed.
    pub name: String,
    /// Whether not everybody may see it.
    pub private: bool,
    /// Whether the token's owner may push to it, as far as the provider says.
    pub may_push: Option<bool>,
}

/// How a [`Rollout`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It waits.
    Queued,
    /// It is under way.
    Running,
    /// It is live.
    Live,
    /// It did not pass.
    Failed,
    /// Another took its place.
    Gone,
}

/// What a provider is told of a release on its way out, for the page of the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The release: `r12`. The same release on the same commit and environment is the same rollout.
    pub release: String,
    /// The commit, branch or tag that it was made of.
    pub commit: String,
    /// The environment: `production`.
    pub environment: String,
    /// How it stands.
    pub state: RolloutState,
    /// One line, at most 140 characters; may be empty.
    pub text: String,
    /// Where it can be seen.
    pub address: Option<String>,
    /// Where its log can be read.
    pub log: Option<String>,
}

/// Builds and checks, and tells people what becomes of a commit.
///
/// - Setting and deleting can be repeated. Dispatching cannot: after [`crate::FaultKind::Unclear`] look for the run first.
/// - No retries and no policy in here; a [`Fault`] says what the caller may do.
#[async_trait]
pub trait Ci: Send + Sync {
    /// Its name in the config, which its faults carry.
    fn name(&self) -> &ProviderName;

    /// The repository. [`crate::FaultKind::Missing`] when it is not there or this token may not see it.
    async fn repository(&self) -> Result<CiRepository, Fault>;

    /// Starts `workflow` (its file's name, `deploy.yml`) on `branch` with `inputs`, and gives its run.
    async fn dispatch(
        &self,
        workflow: &str,
        branch: &str,
        inputs: &BTreeMap<String, String>,
    ) -> Result<CiRun, Fault>;

    /// The newest run of `workflow`, without its jobs; `None` when there was never one.
    async fn latest(&self, workflow: &str) -> Result<Option<CiRun>, Fault>;

    /// How a run stands, with its jobs.
    async fn run(&self, id: &str) -> Result<CiRun, Fault>;

    /// Ends a run. One that has ended is fine.
    async fn cancel(&self, id: &str) -> Result<(), Fault>;

    /// The secrets that workflows get, by name.
    async fn secrets(&self) -> Result<Vec<CiSecret>, Fault>;

    /// Gives workflows the secret `name`, in place of the one it has.
    async fn set_secret(&self, name: &str, value: &Secret) -> Result<(), Fault>;

    /// Takes the secret `name` away. What is already gone is fine.
    async fn delete_secret(&self, name: &str) -> Result<(), Fault>;

    /// The versions of the container package `package` (`linkflow/api`), newest first.
    async fn versions(&self, package: &str) -> Result<Vec<PackageVersion>, Fault>;

    /// Makes what the provider shows of `rollout` true.
    async fn tell(&self, rollout: &Rollout) -> Result<(), Fault>;
}
