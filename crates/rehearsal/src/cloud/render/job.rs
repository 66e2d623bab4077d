//! One-off jobs: a command in the image of a service's newest good deploy.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::deploy::words;
use super::{Refused, Render, not_found, object, page, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::Log;
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::site::{arguments, service_of};

/// One job.
pub(super) struct Job {
    id: String,
    pub(super) service: String,
    command: String,
    plan: String,
    created: String,
    process: Arc<Process>,
    pub(super) log: Arc<Log>,
}

impl Job {
    fn status(&self) -> &'static str {
        let status = self.process.status();
        let code = status.exits.last().and_then(|exit| exit.code);
        match status.phase {
            Phase::New => "pending",
            Phase::Starting | Phase::Running | Phase::BackingOff | Phase::Stopping => "running",
            Phase::Stopped | Phase::Dead if code == Some(0) => "succeeded",
            Phase::Stopped | Phase::Dead => "failed",
        }
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "serviceId": self.service,
            "startCommand": self.command,
            "planId": self.plan,
            "status": self.status(),
            "createdAt": self.created,
        })
    }
}

impl Render {
    /// Answers a call below `/services/{id}/jobs`.
    pub(super) fn of_jobs(
        self: &Arc<Self>,
        call: &Call,
        id: &str,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        self.with(id, |_| ())?;
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let stock = self.stock();
                let mut rows: Vec<_> =
                    stock.jobs.values().filter(|job| job.service == id).collect();
                rows.sort_by(|a, b| b.created.cmp(&a.created));
                Ok(page(call, "job", rows.iter().map(|job| (job.id.clone(), job.view()))))
            }
            ("POST", []) => self.start_job(call, id),
            ("GET", [job]) => {
                let held = self.stock().jobs.get(*job).map(|job| job.view());
                held.map(|view| Answer::json(200, &view)).ok_or_else(|| not_found(job))
            }
            _ => Err(refusal(404, "404 page not found")),
        }
    }

    fn start_job(self: &Arc<Self>, call: &Call, id: &str) -> Result<Answer, Refused> {
        let body = object(call)?;
        let command =
            body.get("startCommand").and_then(Value::as_str).unwrap_or_default().to_owned();
        if command.is_empty() {
            return Err(refusal(400, "startCommand is required"));
        }
        let (live, plan, name) =
            self.with(id, |s| (s.live().cloned(), s.plan.clone(), s.name.clone()))?;
        if plan == "free" {
            return Err(refusal(400, "jobs are not available for free services"));
        }
        let live = live.ok_or_else(|| refusal(400, "service has no successful build"))?;
        let image = live.pulled().ok_or_else(|| refusal(400, "service has no successful build"))?;
        let job = self.new_id("job");
        let log = self.site.log(&format!("{name}-{job}"));
        let recipe = Recipe {
            instance: job.clone(),
            tag: job.clone(),
            service: service_of(live.env()),
            arguments: arguments(Some(words(&command)), &image),
            env: live.env().clone(),
            listens: false,
            behaviour: image.behaviour.clone(),
            restart: Restart::Never,
        };
        let prepared = self.site.prepare(recipe, Arc::clone(&log));
        let process = prepared.map_err(|error| refusal(500, &error.to_string()))?;
        let made = Arc::new(Job {
            id: job.clone(),
            service: id.to_owned(),
            command,
            plan: format!("plan-{plan}"),
            created: self.site.now(),
            process: Arc::clone(&process),
            log,
        });
        let view = made.view();
        self.stock().jobs.insert(job, made);
        let site = Arc::clone(&self.site);
        self.site.tasks.start(async move {
            tokio::time::sleep(site.dice.while_ms(50, 250)).await;
            process.run();
            process.until(|s| matches!(s.phase, Phase::Dead | Phase::Stopped)).await;
            process.stop(Duration::ZERO);
        });
        Ok(Answer::json(201, &view))
    }
}
