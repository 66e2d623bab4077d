//! Commands that run once.
//!
//! A one-off job of Render runs in the image of the newest good deploy of some service, so a migration of a release
//! that is not deployed yet has no service to run in. It gets one: a cron job of that image whose day never comes. That
//! service runs nothing by itself; the job is then started in it. It is paid by the second, and not on the free plan.

use std::time::Duration;

use http::Method;
use linkflow_model::role::{Job, JobState};
use linkflow_model::{Fault, FaultKind};
use serde_json::json;
use tokio::time::sleep;

use super::request::{self, CREATE, Place, START_JOB, command_line};
use super::wire::{Created, JobRow, OneOff, Service};
use super::{ACCOUNT, Render};
use crate::kit::{Call, encode};

/// Marks a service that holds the image of a job, with the job's id.
pub(super) const MARK: &str = "LINKFLOW_JOB";

/// How often is asked whether the image has been fetched, before the caller is told to come again.
const LOOKS: u32 = 40;

/// The pause between two such looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When the caller is to come again.
const AGAIN: Duration = Duration::from_secs(10);

/// Last lines of a job's output that are told.
const TAIL: usize = 50;

impl Render {
    /// Has `job` run, once.
    pub(super) async fn have_run(&self, job: &Job) -> Result<(), Fault> {
        let attempt = format!("run {}", job.id);
        if self.is_free() {
            let said = format!(
                "Render's free plan has no jobs: give [providers.{}] plan = \"starter\"",
                self.provider
            );
            return Err(self.unsupported(attempt, &said));
        }
        let Some(command) = &job.what.command else {
            let said = "Render has to be told the command of a job";
            return Err(self.api.fault(FaultKind::Invalid, attempt, said));
        };
        self.learn(&job.what);
        let id = match self.job_service(&job.id).await? {
            Some(service) => service.id,
            None => self.create_for(job).await?,
        };
        if self.one_off(&id).await?.is_some() {
            return Ok(());
        }
        self.until_fetched(&id, &attempt).await?;
        let path = format!("/services/{}/jobs", encode(&id));
        let call = Call::write(Method::POST, START_JOB, &job.id, path)
            .counted_for(ACCOUNT)
            .json(json!({ "startCommand": command_line(command) }));
        self.api.send(call).await.map(drop)
    }

    /// How the job stands.
    pub(super) async fn job_state(&self, id: &str) -> Result<JobState, Fault> {
        let Some(service) = self.job_service(id).await? else { return Ok(JobState::Absent) };
        let Some(job) = self.one_off(&service.id).await? else {
            let newest = self.deploys(&service.id).await?.into_iter().next();
            let said = newest.as_ref().map_or("created", |deploy| deploy.status.as_str()).to_owned();
            if newest.is_some_and(|deploy| deploy.has_failed()) {
                return Ok(JobState::Ended { code: None, worked: false, log: Vec::new() });
            }
            return Ok(JobState::Under { said: format!("fetching its image: {said}") });
        };
        let status = job.status.unwrap_or_else(|| "pending".to_owned());
        if !matches!(status.as_str(), "succeeded" | "failed" | "canceled") {
            return Ok(JobState::Under { said: status });
        }
        let worked = status == "succeeded";
        let log = self.read_log(&job.id, TAIL).await?;
        // The API says whether it worked, and no number.
        Ok(JobState::Ended { code: worked.then_some(0), worked, log })
    }

    /// Takes the service of a job away, and with it the job.
    pub(super) async fn forget(&self, id: &str) -> Result<(), Fault> {
        let Some(service) = self.job_service(id).await? else { return Ok(()) };
        self.remove(&service).await
    }

    fn job_name(&self, id: &str) -> String {
        format!("{}-job-{id}", self.stack)
    }

    /// The service that holds the image of the job `id`. One of that name without our mark is not ours.
    async fn job_service(&self, id: &str) -> Result<Option<Service>, Fault> {
        let name = self.job_name(id);
        let found = self.services(Some(&name)).await?.into_iter().find(|held| held.name == name);
        let Some(held) = found else { return Ok(None) };
        let variables = self.variables(&held.id).await?;
        let is = |name: &str, text: &str| variables.get(name).is_some_and(|held| held == text);
        if held.kind == "cron_job" && is(MARK, id) && is("LINKFLOW_STACK", self.stack.as_str()) {
            return Ok(Some(held));
        }
        let said = format!("the workspace has a service `{name}` that is not of this job");
        Err(self.api.fault(FaultKind::Invalid, format!("find job {id}"), &said))
    }

    async fn create_for(&self, job: &Job) -> Result<String, Fault> {
        let credential = self.have_credential(job.what.login.as_ref()).await?;
        let place = Place {
            owner: self.owner().await?,
            region: &self.settings.region,
            plan: request::plan(&self.settings.plan, job.what.size),
            credential: credential.as_deref(),
        };
        let name = self.job_name(&job.id);
        let call = Call::write(Method::POST, CREATE, &name, "/services")
            .counted_for(ACCOUNT)
            .json(place.create_for_job(&name, &job.what, &job.id));
        let created: Created = self.api.send_for(call).await?;
        Ok(created.service.id)
    }

    /// The only job of a service that is there for one.
    async fn one_off(&self, service: &str) -> Result<Option<OneOff>, Fault> {
        let path = format!("/services/{}/jobs", encode(service));
        let call = Self::look_at(format!("the jobs of {service}"), path).query("limit", "1");
        let rows: Vec<JobRow> = self.api.send_for(call).await?;
        Ok(rows.into_iter().next().map(|row| row.job))
    }

    /// Waits until the image is there to run a job in.
    async fn until_fetched(&self, service: &str, attempt: &str) -> Result<(), Fault> {
        for look in 0..LOOKS {
            if look > 0 {
                sleep(LOOK_EVERY).await;
            }
            match self.deploys(service).await?.first() {
                Some(deploy) if deploy.is_live() => return Ok(()),
                Some(deploy) if deploy.has_failed() => {
                    let said = format!("its image could not be fetched: {}", deploy.status);
                    return Err(self.api.fault(FaultKind::Invalid, attempt, &said));
                }
                _ => {}
            }
        }
        let said = "its image is still being fetched";
        Err(self.api.fault(FaultKind::Limited { wait: AGAIN }, attempt, said))
    }
}
