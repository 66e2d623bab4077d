//! Deployments: what GitHub shows of a release, beside the commit that it was made of.

use http::Method;
use linkflow_model::Fault;
use linkflow_model::role::{Rollout, RolloutState};
use serde_json::{Value, json};

use super::Github;
use super::wire::{DeploymentRow, StatusRow};
use crate::kit::Call;

/// Our mark in a deployment's payload: the release.
const MARK: &str = "linkflow_release";

/// Most characters of a status's description.
const DESCRIPTION: usize = 140;

impl Github {
    /// The deployment that stands for `rollout`.
    pub(super) async fn deployment_of(&self, rollout: &Rollout) -> Result<Option<u64>, Fault> {
        let call = Call::read("list deployments of", &rollout.commit, self.at("deployments"))
            .query("ref", &rollout.commit)
            .query("environment", &rollout.environment)
            .query("task", "deploy");
        let rows = self.pages(call, |page: Vec<DeploymentRow>| page).await?;
        let ours =
            |row: &DeploymentRow| release_of(&row.payload).as_deref() == Some(&rollout.release);
        Ok(rows.iter().find(|row| ours(row)).map(|row| row.id))
    }

    pub(super) async fn make_deployment(&self, rollout: &Rollout) -> Result<u64, Fault> {
        let body = json!({
            "ref": rollout.commit,
            "task": "deploy",
            // Otherwise GitHub may merge the default branch first, or wait for checks of its own.
            "auto_merge": false,
            "required_contexts": [],
            "payload": { MARK: rollout.release },
            "environment": rollout.environment,
            "description": format!("LinkFlow {}", rollout.release),
        });
        let path = self.at("deployments");
        let call = Call::write(Method::POST, "make a deployment of", &rollout.commit, path);
        let made: DeploymentRow = self.send_for(call.json(body)).await?;
        Ok(made.id)
    }

    /// Says how it stands, when that is not what was said last.
    pub(super) async fn set_status(&self, deployment: u64, rollout: &Rollout) -> Result<(), Fault> {
        let path = self.at(&format!("deployments/{deployment}/statuses"));
        let about = rollout.release.as_str();
        let call = Call::read("list states of", about, path.clone()).query("per_page", "1");
        let held: Vec<StatusRow> = self.send_for(call).await?;
        let text: String = rollout.text.chars().take(DESCRIPTION).collect();
        let state = word(rollout.state);
        if held.first().is_some_and(|held| {
            held.state == state
                && held.description == text
                && is_same(held.environment_url.as_deref(), rollout.address.as_deref())
                && is_same(held.log_url.as_deref(), rollout.log.as_deref())
        }) {
            return Ok(());
        }
        let mut body = json!({
            "state": state,
            "description": text,
            "environment": rollout.environment,
            "auto_inactive": true,
        });
        for (name, value) in [("environment_url", &rollout.address), ("log_url", &rollout.log)] {
            if let Some(value) = value {
                body[name] = Value::from(value.as_str());
            }
        }
        self.send(Call::write(Method::POST, "say the state of", about, path).json(body))
            .await
            .map(drop)
    }
}

/// Nothing and an empty text are the same to GitHub.
fn is_same(held: Option<&str>, wanted: Option<&str>) -> bool {
    held.unwrap_or_default() == wanted.unwrap_or_default()
}

fn word(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Queued => "queued",
        RolloutState::Running => "in_progress",
        RolloutState::Live => "success",
        RolloutState::Failed => "failure",
        RolloutState::Gone => "inactive",
    }
}

/// The release in a payload, which GitHub gives back as an object or as the text of one.
fn release_of(payload: &Value) -> Option<String> {
    match payload {
        Value::String(text) => {
            release_of(&serde_json::from_str::<Value>(text).ok().filter(Value::is_object)?)
        }
        _ => Some(payload.get(MARK)?.as_str()?.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_in_both_its_forms() {
        assert_eq!(release_of(&json!({ MARK: "r1" })).as_deref(), Some("r1"));
        assert_eq!(release_of(&json!("{\"linkflow_release\":\"r2\"}")).as_deref(), Some("r2"));
        assert_eq!(release_of(&json!("by hand")), None);
        assert_eq!(release_of(&json!({})), None);
    }
}
