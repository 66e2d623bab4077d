//! What GitHub shows of a commit: its deployments and their states, and the versions of container packages.

use std::collections::BTreeMap;

use linkflow_model::Timestamp;
use serde_json::{Value, json};

use super::shape::{api, time, user};
use super::{BRANCH, COMMIT, Github, OWNER, Refused, bare, not_found, object, refusal};
use crate::cloud::answer::{Answer, Call};

/// What a state may be.
const STATES: [&str; 7] =
    ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];
/// Most characters of a description.
const DESCRIPTION: usize = 140;

/// One deployment.
pub(super) struct Deployment {
    id: u64,
    of: String,
    task: String,
    environment: String,
    payload: Value,
    description: Option<String>,
    made: Timestamp,
    /// Oldest first.
    states: Vec<Status>,
}

/// One state that a deployment was said to be in.
struct Status {
    id: u64,
    state: String,
    description: String,
    environment_url: String,
    log_url: String,
    at: Timestamp,
}

impl Deployment {
    fn at(&self, rest: &str) -> String {
        api(&format!("/deployments/{}{rest}", self.id))
    }

    fn view(&self) -> Value {
        json!({
            "url": self.at(""),
            "id": self.id,
            "node_id": format!("DE_{}", self.id),
            "sha": COMMIT,
            "ref": self.of,
            "task": self.task,
            "payload": self.payload,
            "original_environment": self.environment,
            "environment": self.environment,
            "description": self.description,
            "creator": user(),
            "created_at": time(self.made),
            "updated_at": time(self.states.last().map_or(self.made, |status| status.at)),
            "statuses_url": self.at("/statuses"),
            "repository_url": api(""),
            "transient_environment": false,
            "production_environment": self.environment == "production",
        })
    }

    fn status(&self, status: &Status) -> Value {
        json!({
            "url": self.at(&format!("/statuses/{}", status.id)),
            "id": status.id,
            "node_id": format!("DES_{}", status.id),
            "state": status.state,
            "creator": user(),
            "description": status.description,
            "environment": self.environment,
            "target_url": status.log_url,
            "environment_url": status.environment_url,
            "log_url": status.log_url,
            "created_at": time(status.at),
            "updated_at": time(status.at),
            "deployment_url": self.at(""),
            "repository_url": api(""),
        })
    }

    fn is(&self) -> Option<&str> {
        self.states.last().map(|status| status.state.as_str())
    }

    /// For the control API.
    pub(super) fn brief(&self) -> Value {
        let states: Vec<&str> = self.states.iter().map(|status| status.state.as_str()).collect();
        json!({
            "ref": self.of,
            "environment": self.environment,
            "payload": self.payload,
            "states": states,
            "description": self.states.last().map(|status| &status.description),
        })
    }
}

impl Github {
    pub(super) fn of_deployments(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                let asked =
                    |name: &str, is: &str| call.parameter(name).is_none_or(|wanted| wanted == is);
                let fits = |d: &&Deployment| {
                    asked("sha", COMMIT)
                        && asked("ref", &d.of)
                        && asked("task", &d.task)
                        && asked("environment", &d.environment)
                };
                let state = self.state();
                let rows = state.deployments.iter().rev().filter(fits).map(Deployment::view);
                Ok(bare(call, rows.collect()))
            }
            ("POST", []) => self.make(call),
            ("GET", [id]) => {
                let state = self.state();
                let found = state.deployments.iter().find(|d| d.id.to_string() == *id);
                Ok(Answer::json(200, &found.ok_or_else(not_found)?.view()))
            }
            ("GET", [id, "statuses"]) => {
                let state = self.state();
                let found = state.deployments.iter().find(|d| d.id.to_string() == *id);
                let found = found.ok_or_else(not_found)?;
                Ok(bare(call, found.states.iter().rev().map(|s| found.status(s)).collect()))
            }
            ("POST", [id, "statuses"]) => self.say(call, id),
            _ => Err(not_found()),
        }
    }

    fn make(&self, call: &Call) -> Result<Answer, Refused> {
        let body = object(call)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let of = text("ref").unwrap_or_default().to_owned();
        if of.is_empty() || !(of == BRANCH || of == COMMIT) {
            return Err(refusal(422, &format!("No ref found for: {of}")));
        }
        if body.get("auto_merge").and_then(Value::as_bool) != Some(false) && of != BRANCH {
            let message =
                json!({ "message": format!("Auto-merged {BRANCH} into {of} on deployment.") });
            return Ok(Answer::json(202, &message));
        }
        // Without a list every check counts, and here one is always still under way.
        if body
            .get("required_contexts")
            .and_then(Value::as_array)
            .is_none_or(|list| !list.is_empty())
        {
            return Err(refusal(409, &format!("Conflict: Commit status checks failed for {of}.")));
        }
        let mut state = self.state();
        let made = Deployment {
            id: state.id(),
            of,
            task: text("task").unwrap_or("deploy").to_owned(),
            environment: text("environment").unwrap_or("production").to_owned(),
            payload: body.get("payload").cloned().unwrap_or_else(|| json!({})),
            description: text("description").map(str::to_owned),
            made: self.now(),
            states: Vec::new(),
        };
        let view = made.view();
        state.deployments.push(made);
        Ok(Answer::json(201, &view))
    }

    fn say(&self, call: &Call, id: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        let text =
            |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let said = text("state");
        if !STATES.contains(&said.as_str()) || text("description").chars().count() > DESCRIPTION {
            return Err(refusal(422, "Validation Failed"));
        }
        let mut state = self.state();
        let number = state.id();
        let at = self.now();
        let place = state.deployments.iter().position(|d| d.id.to_string() == id);
        let place = place.ok_or_else(not_found)?;
        let status = Status {
            id: number,
            state: said.clone(),
            description: text("description"),
            environment_url: text("environment_url"),
            log_url: text("log_url"),
            at,
        };
        let view = state.deployments[place].status(&status);
        state.deployments[place].states.push(status);
        if said == "success" && body.get("auto_inactive").and_then(Value::as_bool) != Some(false) {
            let environment = state.deployments[place].environment.clone();
            for (n, other) in state.deployments.iter_mut().enumerate() {
                if n != place && other.environment == environment && other.is() == Some("success") {
                    let state = "inactive".to_owned();
                    let (none, empty) = (String::new(), String::new());
                    let (description, environment_url, log_url) = (none, empty, String::new());
                    other.states.push(Status {
                        id: number,
                        state,
                        description,
                        environment_url,
                        log_url,
                        at,
                    });
                }
            }
        }
        Ok(Answer::json(201, &view)
            .with("location", &api(&format!("/deployments/{id}/statuses/{number}"))))
    }

    /// The versions of `owner`'s package. [`OWNER`] is an organisation, whoever else there is a person, whose list
    /// comes in one page.
    pub(super) fn versions(
        &self,
        call: &Call,
        whose: &str,
        owner: &str,
        package: &str,
    ) -> Result<Answer, Refused> {
        if whose != if owner == OWNER { "orgs" } else { "users" } {
            return Err(not_found());
        }
        let repository = format!("{owner}/{package}");
        let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for image in self.images.all().into_iter().filter(|image| image.repository == repository) {
            if let Some(digest) = image.digest {
                tags.entry(digest.as_str().to_owned()).or_default().push(image.tag);
            }
        }
        if tags.is_empty() {
            return Err(refusal(404, "Package not found."));
        }
        let at = time(self.began);
        let rows = tags.into_iter().enumerate().map(|(n, (digest, tags))| {
            let id = 500_000 + n;
            json!({
                "id": id,
                "name": digest,
                "url": format!("https://api.github.com{}/{id}", call.path),
                "package_html_url": format!("https://github.com/{whose}/{owner}/packages/container/package/{package}"),
                "created_at": at,
                "updated_at": at,
                "metadata": { "package_type": "container", "container": { "tags": tags } },
            })
        });
        let rows: Vec<Value> = rows.collect();
        Ok(if whose == "orgs" { bare(call, rows) } else { Answer::json(200, &Value::Array(rows)) })
    }
}
