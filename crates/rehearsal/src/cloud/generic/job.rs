//! Jobs of the generic provider: a process that runs once, and how it ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linkflow_model::role::{JobState, LogLine};

use super::Wanted;
use super::server::{Refused, refusal, shown};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::Log;
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::site::{Site, arguments, service_of};

/// The jobs of one provider, by id.
pub(super) struct Jobs {
    site: Arc<Site>,
    jobs: Mutex<BTreeMap<String, Job>>,
}

struct Job {
    log: Arc<Log>,
    process: Arc<Process>,
}

impl Jobs {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self { site, jobs: Mutex::default() }
    }

    /// Answers one call about the job `id`.
    pub(super) fn answer(&self, id: &str, call: &Call) -> Result<Answer, Refused> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || refusal(404, "no such job");
        match call.method.as_str() {
            "GET" => Ok(shown(&jobs.get(id).ok_or_else(missing)?.state())),
            "PUT" if jobs.contains_key(id) => Ok(Answer::empty(204)),
            "PUT" => {
                let wanted: Wanted = serde_json::from_slice(&call.body)
                    .map_err(|error| refusal(400, &error.to_string()))?;
                jobs.insert(id.to_owned(), self.start(id, wanted)?);
                Ok(Answer::empty(204))
            }
            "DELETE" => {
                let job = jobs.get(id).ok_or_else(missing)?;
                if matches!(job.state(), JobState::Under { .. }) {
                    return Err(refusal(409, "the job still runs"));
                }
                jobs.remove(id);
                Ok(Answer::empty(204))
            }
            _ => Err(refusal(405, "not allowed")),
        }
    }

    fn start(&self, id: &str, wanted: Wanted) -> Result<Job, Refused> {
        let service = service_of(&wanted.env);
        if self.site.is_out_of_quota(service.as_ref()) {
            return Err(refusal(402, "the allowance of this month is used up"));
        }
        let reference = wanted.image.to_string();
        let image = self.site.pull(service.as_ref(), &reference, None);
        let image = image.ok_or_else(|| refusal(422, &format!("there is no image {reference}")))?;
        let log = self.site.log(id);
        let recipe = Recipe {
            instance: id.to_owned(),
            tag: String::new(),
            service,
            arguments: arguments(wanted.command, &image),
            env: wanted.env,
            listens: false,
            behaviour: image.behaviour,
            restart: Restart::Never,
        };
        let process = self.site.prepare(recipe, Arc::clone(&log));
        let process = process.map_err(|error| refusal(500, &error.to_string()))?;
        process.run();
        // A fault that ends may start again what it killed; of a job, one run is all there is.
        let once = Arc::clone(&process);
        self.site.tasks.start(async move {
            once.until(|status| !status.exits.is_empty()).await;
            once.stop(Duration::ZERO);
        });
        Ok(Job { log, process })
    }
}

impl Job {
    fn state(&self) -> JobState {
        let status = self.process.status();
        let said = match status.phase {
            Phase::New | Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::BackingOff | Phase::Stopped | Phase::Dead => {
                let code = status.exits.last().and_then(|exit| exit.code);
                let lines = self.log.since(0).into_iter();
                let log = lines.map(|line| LogLine { at: Some(line.at), text: line.text });
                return JobState::Ended { code, worked: code == Some(0), log: log.collect() };
            }
        };
        JobState::Under { said: said.to_owned() }
    }
}
