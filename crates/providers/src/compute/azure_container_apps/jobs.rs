//! Commands that are run once: one job resource for each, found again by its name and its tag.

use http::Method;
use linkflow_model::role::{Job, JobState, LogLine};
use linkflow_model::{Fault, FaultKind};
use serde_json::{Value, json};

use super::Azure;
use super::arm::absent;
use super::template;
use super::wire::{JOB, Resource, STACK};
use crate::kit::{Call, encode};

impl Azure {
    fn job_name(&self, id: &str) -> String {
        template::name(self.stack.as_str(), id)
    }

    fn job_path(&self, name: &str, tail: &str) -> String {
        self.path(&format!("jobs/{}{tail}", encode(name)))
    }

    fn check_our_job(&self, found: &Resource, id: &str) -> Result<(), Fault> {
        if found.tag(STACK) == Some(self.stack.as_str()) && found.tag(JOB) == Some(id) {
            return Ok(());
        }
        let said =
            format!("a job `{}` is there that is not of the stack `{}`", found.name, self.stack);
        Err(self.arm.fault(FaultKind::Invalid, format!("use job {}", found.name), &said))
    }

    /// Has the job started. Each has a resource of its own, so whether it was is whether that has an execution.
    pub(super) async fn start_once(&self, job: &Job) -> Result<(), Fault> {
        self.learn(&job.what);
        let resources = self.resources(&job.what)?;
        let name = self.job_name(&job.id);
        let path = self.job_path(&name, "");
        let read = Call::read("read job", &name, path.clone());
        match self.find::<Resource>(read).await? {
            Some(found) => {
                self.check_our_job(&found, &job.id)?;
                if !self.executions(&name).await?.is_empty() {
                    return Ok(());
                }
            }
            None => {
                let location = self.have_environment().await?;
                let tags = json!({ STACK: self.stack.as_str(), JOB: job.id });
                let environment = self.environment_id();
                let body = template::job(&job.what, &tags, &resources, &environment, &location);
                self.send(Call::write(Method::PUT, "create job", &name, path.clone()).json(body))
                    .await?;
            }
        }
        let made = self.settled("job", &name, &path).await?;
        if made.is_none_or(|made| made.has_failed()) {
            let said = "Azure could not make it";
            return Err(self.arm.fault(FaultKind::Conflict, format!("create job {name}"), said));
        }
        let path = self.job_path(&name, "/start");
        self.send(Call::write(Method::POST, "start job", &name, path)).await.map(drop)
    }

    /// How the job stands.
    pub(super) async fn job_state(&self, id: &str) -> Result<JobState, Fault> {
        let name = self.job_name(id);
        let read = Call::read("read job", &name, self.job_path(&name, ""));
        let Some(found) = self.find::<Resource>(read).await? else { return Ok(JobState::Absent) };
        self.check_our_job(&found, id)?;
        let executions = self.executions(&name).await?;
        Ok(executions.first().map_or(JobState::Absent, |execution| self.state_of(execution)))
    }

    fn state_of(&self, execution: &Resource) -> JobState {
        match execution.text("/status") {
            "Succeeded" => JobState::Ended { code: Some(0), worked: true, log: Vec::new() },
            // What it wrote is told by Log Analytics alone; why it failed is told here.
            "Failed" | "Stopped" | "Degraded" => {
                let words = ["/reason", "/message"].map(|place| execution.text(place));
                let why = words
                    .into_iter()
                    .filter(|word| !word.is_empty())
                    .collect::<Vec<_>>()
                    .join(": ");
                let line = LogLine { at: None, text: self.kit.mask(&why) };
                let log = if why.is_empty() { Vec::new() } else { vec![line] };
                JobState::Ended { code: exit_code(execution), worked: false, log }
            }
            said => JobState::Under { said: said.to_owned() },
        }
    }

    /// Takes the job's resource away, and its executions with it.
    pub(super) async fn remove_job(&self, id: &str) -> Result<(), Fault> {
        let name = self.job_name(id);
        let path = self.job_path(&name, "");
        let read = Call::read("read job", &name, path.clone());
        let Some(found) = self.find::<Resource>(read).await? else { return Ok(()) };
        self.check_our_job(&found, id)?;
        if found.is_going() {
            return Ok(());
        }
        absent(self.send(Call::write(Method::DELETE, "delete job", &name, path)).await).map(drop)
    }

    async fn executions(&self, name: &str) -> Result<Vec<Resource>, Fault> {
        self.list("list executions of", name, self.job_path(name, "/executions")).await
    }
}

/// The exit code of the container that failed.
fn exit_code(execution: &Resource) -> Option<i32> {
    let replicas = execution.list("/detailedStatus/replicas").iter();
    let containers = replicas.filter_map(|r| r.get("containers")?.as_array()).flatten();
    let codes = containers.filter_map(|container| container.get("code").and_then(Value::as_i64));
    codes.filter(|code| *code != 0).find_map(|code| i32::try_from(code).ok())
}
