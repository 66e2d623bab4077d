//! Jobs: a machine that runs once, in an app of its own, so that its secrets are nobody else's.
//!
//! The machine is not destroyed when it ends, because its exit code is read from its events; the app goes with
//! [`Fly::remove_job`]. Names of machines are unique within an app, so a job cannot be started twice.

use linkflow_model::role::{Job, JobState};
use linkflow_model::{Definition, Fault, FaultKind, ServiceKind};
use serde_json::{Value, json};

use super::Fly;
use super::change::since;
use super::config::config;
use super::wire::{Exit, FINGERPRINT, JOB, LAUNCH, Machine, Run, SERVICE, STACK};

/// How much of its log is told.
const LINES: usize = 50;

impl Fly {
    /// Starts the machine of `job`, unless there is one.
    pub(super) async fn run_job(&self, job: &Job) -> Result<(), Fault> {
        let app = self.app_named(&job.id)?;
        let found = self.job_machines(&app, &job.id).await?;
        if found.as_ref().is_some_and(|machines| !machines.is_empty()) {
            return Ok(());
        }
        self.have_app(&app, found.is_some()).await?;
        let alone = Definition { kind: ServiceKind::Worker, port: None, ..job.what.clone() };
        let near = self.app(&alone.service)?;
        let what = self.pullable(&app, &alone, Some(&near)).await?;
        let version = self.publish_secrets(&app, &what).await?;
        let body = json!({
            "name": job.id,
            "region": self.region,
            "config": job_config(&what, &job.id),
        });
        match self.create_with(&app, since(body, version)).await {
            // It was made by a request whose answer got lost.
            Err(fault) if fault.kind == FaultKind::Conflict => Ok(()),
            made => made.map(drop),
        }
    }

    /// How the job `id` stands.
    pub(super) async fn job_state(&self, id: &str) -> Result<JobState, Fault> {
        let app = self.app_named(id)?;
        let found = self.job_machines(&app, id).await?;
        let Some(machine) = found.as_ref().and_then(|machines| machines.first()) else {
            return Ok(JobState::Absent);
        };
        let exit = machine.last_exit();
        let (code, worked) = match (machine.run(), exit) {
            (Run::Halted, Some(exit)) => (Some(exit.status()), exit.status() == 0),
            (Run::Halted, None) if machine.state == "failed" || machine.was_told_to_stop() => {
                (None, false)
            }
            // The event may come a moment after the state.
            _ => return Ok(JobState::Under { said: machine.state.clone() }),
        };
        // A job that ended has ended, whether its log can be read or not.
        let log = self.log_of(&app, LINES).await.unwrap_or_default();
        Ok(JobState::Ended { code, worked, log })
    }

    /// Takes the app of the job `id` away.
    pub(super) async fn remove_job(&self, id: &str) -> Result<(), Fault> {
        let app = self.app_named(id)?;
        let Some(machines) = self.job_machines(&app, id).await? else { return Ok(()) };
        match machines.first() {
            // Nothing in it says whose it is; it costs nothing either.
            None => Ok(()),
            Some(machine) if machine.run() != Run::Halted => {
                let said = format!("it has not ended: its machine is {}", machine.state);
                Err(self.api.fault(FaultKind::Conflict, format!("forget the job {id}"), &said))
            }
            Some(_) => self.remove_app(&app).await,
        }
    }

    /// The machine of the job `id`; `None` when there is no such app. Anything else in there is refused.
    async fn job_machines(&self, app: &str, id: &str) -> Result<Option<Vec<Machine>>, Fault> {
        let Some(machines) = self.machines(app).await? else { return Ok(None) };
        let is_ours = |machine: &&Machine| {
            machine.meta(STACK) == Some(self.stack.as_str()) && machine.meta(JOB) == Some(id)
        };
        match machines.iter().find(|machine| !is_ours(machine)) {
            None => Ok(Some(machines)),
            Some(other) => {
                let said = format!("machine {} ({}) is not of the job {id}", other.id, other.name);
                Err(self.api.fault(FaultKind::Invalid, format!("use app {app}"), &said))
            }
        }
    }
}

/// The configuration of the machine that runs `what` once. It is not marked as one of the service's.
fn job_config(what: &Definition, id: &str) -> Value {
    let mut config = config(what, id, false);
    config["restart"] = json!({ "policy": "no" });
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in [SERVICE, FINGERPRINT, LAUNCH] {
            metadata.remove(name);
        }
        metadata.insert(JOB.to_owned(), id.into());
    }
    config
}

impl Exit {
    /// The exit status as a shell tells it: 128 and the signal for a process that was killed.
    fn status(&self) -> i32 {
        let killed = if self.oom_killed { 9 } else { self.signal.max(0) };
        let status = match (self.exit_code, killed) {
            (0, signal) if signal > 0 => 128 + signal,
            (code, _) => code,
        };
        i32::try_from(status).unwrap_or(i32::MAX)
    }
}
