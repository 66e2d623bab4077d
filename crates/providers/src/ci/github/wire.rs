//! What GitHub's API answers, as far as it is read.

use linkflow_model::role::{CiJob, CiRepository, CiRun, CiSecret, CiState, PackageVersion};
use serde::Deserialize;
use serde_json::Value;

use crate::compute::time::timestamp;

#[derive(Deserialize)]
pub(super) struct Repository {
    full_name: String,
    private: bool,
    permissions: Option<Permissions>,
}

#[derive(Deserialize)]
struct Permissions {
    push: bool,
}

impl Repository {
    pub(super) fn told(self) -> CiRepository {
        let may_push = self.permissions.map(|permissions| permissions.push);
        CiRepository { name: self.full_name, private: self.private, may_push }
    }
}

/// A run that was named when it was started.
#[derive(Deserialize)]
pub(super) struct Dispatched {
    pub(super) workflow_run_id: u64,
    pub(super) html_url: String,
}

#[derive(Deserialize)]
pub(super) struct Runs {
    pub(super) workflow_runs: Vec<Run>,
}

#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) id: u64,
    head_sha: Option<String>,
    status: Option<String>,
    conclusion: Option<String>,
    html_url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
}

#[derive(Deserialize)]
pub(super) struct Job {
    name: String,
    status: Option<String>,
    conclusion: Option<String>,
    html_url: Option<String>,
}

/// What secrets are sealed for.
#[derive(Clone, Deserialize)]
pub(super) struct PublicKey {
    pub(super) key_id: String,
    pub(super) key: String,
}

#[derive(Deserialize)]
pub(super) struct Secrets {
    pub(super) secrets: Vec<SecretRow>,
}

#[derive(Deserialize)]
pub(super) struct SecretRow {
    name: String,
    updated_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Version {
    id: u64,
    name: String,
    created_at: Option<String>,
    metadata: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct DeploymentRow {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) payload: Value,
}

#[derive(Deserialize)]
pub(super) struct StatusRow {
    pub(super) state: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) environment_url: Option<String>,
    #[serde(default)]
    pub(super) log_url: Option<String>,
}

pub(super) fn secret(row: SecretRow) -> CiSecret {
    CiSecret { set: row.updated_at.as_deref().and_then(timestamp), name: row.name }
}

impl Run {
    pub(super) fn told(self, jobs: Vec<Job>) -> CiRun {
        CiRun {
            id: self.id.to_string(),
            state: state(self.status.as_deref(), self.conclusion.as_deref()),
            commit: self.head_sha,
            page: self.html_url,
            jobs: jobs.into_iter().map(Job::told).collect(),
        }
    }
}

impl Job {
    fn told(self) -> CiJob {
        let state = state(self.status.as_deref(), self.conclusion.as_deref());
        CiJob { name: self.name, state, page: self.html_url }
    }
}

impl Version {
    /// `None` for a version that is not named by a digest, which no image is.
    pub(super) fn told(self) -> Option<PackageVersion> {
        let tags = self.metadata.as_ref().and_then(|m| m.pointer("/container/tags")?.as_array());
        let tags = tags.into_iter().flatten().filter_map(|tag| Some(tag.as_str()?.to_owned()));
        Some(PackageVersion {
            id: self.id.to_string(),
            digest: self.name.parse().ok()?,
            tags: tags.collect(),
            made: self.created_at.as_deref().and_then(timestamp),
        })
    }
}

fn state(status: Option<&str>, conclusion: Option<&str>) -> CiState {
    match (status.unwrap_or("queued"), conclusion) {
        ("completed", said) => {
            let said = said.unwrap_or("neutral");
            let worked = matches!(said, "success" | "neutral" | "skipped");
            CiState::Ended { worked, said: said.to_owned() }
        }
        ("in_progress", _) => CiState::Running,
        (said, _) => CiState::Waiting { said: said.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_waits_runs_and_ends_well_or_badly() {
        let said = |status, conclusion| match state(status, conclusion) {
            CiState::Waiting { said } => format!("waiting: {said}"),
            CiState::Running => "running".to_owned(),
            CiState::Ended { worked, said } => format!("{worked}: {said}"),
        };
        assert_eq!(said(None, None), "waiting: queued");
        assert_eq!(said(Some("pending"), None), "waiting: pending");
        assert_eq!(said(Some("in_progress"), None), "running");
        assert_eq!(said(Some("completed"), Some("success")), "true: success");
        assert_eq!(said(Some("completed"), Some("skipped")), "true: skipped");
        assert_eq!(said(Some("completed"), Some("startup_failure")), "false: startup_failure");
        assert_eq!(said(Some("completed"), Some("cancelled")), "false: cancelled");
    }
}
