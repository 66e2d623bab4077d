//! Jobs: templates that run to their end when they are started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::shape::{arguments_of, check, check_name, env_of, list, text};
use super::{Azure, Refused, accepted, busy, id_of, not_found, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::Log;
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::site::{InstanceView, arguments, service_of};

/// One job.
pub(super) struct Job {
    name: String,
    pub(super) environment: String,
    log: Arc<Log>,
    inner: Mutex<Inner>,
}

struct Inner {
    location: String,
    tags: Value,
    properties: Value,
    provisioning: &'static str,
    executions: Vec<Execution>,
}

struct Execution {
    name: String,
    started: String,
    ended: Option<String>,
    template: Value,
    process: Arc<Process>,
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> Value {
        let inner = self.lock();
        let mut properties = inner.properties.clone();
        properties["provisioningState"] = json!(inner.provisioning);
        let secrets =
            properties.pointer_mut("/configuration/secrets").and_then(Value::as_array_mut);
        for secret in secrets.into_iter().flatten().filter_map(Value::as_object_mut) {
            secret.remove("value");
        }
        json!({
            "id": id_of(&format!("jobs/{}", self.name)), "name": self.name, "type": "Microsoft.App/jobs",
            "location": inner.location, "tags": inner.tags, "properties": properties,
        })
    }

    pub(super) fn instances(&self) -> Vec<InstanceView> {
        let inner = self.lock();
        let view = |execution: &Execution| {
            InstanceView::of(
                self.name.clone(),
                execution.name.clone(),
                execution.status().to_owned(),
                &execution.process,
            )
        };
        inner.executions.iter().map(view).collect()
    }
}

impl Execution {
    fn status(&self) -> &'static str {
        let status = self.process.status();
        match status.phase {
            Phase::New | Phase::Starting | Phase::Running | Phase::Stopping | Phase::BackingOff => {
                "Running"
            }
            Phase::Stopped => "Stopped",
            Phase::Dead => match status.exits.last().and_then(|exit| exit.code) {
                Some(0) => "Succeeded",
                _ => "Failed",
            },
        }
    }

    fn view(&self, job: &str) -> Value {
        let status = self.status();
        let mut properties =
            json!({ "status": status, "startTime": self.started, "template": self.template });
        if let Some(ended) = &self.ended {
            properties["endTime"] = json!(ended);
            let code = self.process.status().exits.last().and_then(|exit| exit.code).unwrap_or(137);
            let word = if code == 0 { "Completed" } else { "Error" };
            let container = json!({ "name": text(&self.template, "/containers/0/name"), "code": code, "status": word });
            properties["detailedStatus"] = json!({ "replicas": [{ "name": format!("{}-x", self.name), "containers": [container] }] });
            if code != 0 {
                properties["reason"] = json!("BackoffLimitExceeded");
                properties["message"] = json!("Job has reached the specified backoff limit");
            }
        }
        json!({ "id": id_of(&format!("jobs/{job}/executions/{}", self.name)), "name": self.name, "type": "Microsoft.App/jobs/executions", "properties": properties })
    }
}

impl Azure {
    fn job(&self, name: &str) -> Result<Arc<Job>, Refused> {
        let found = self.state().jobs.get(&name.to_lowercase()).cloned();
        found.ok_or_else(|| not_found("jobs", name))
    }

    /// Answers a call below `jobs`.
    pub(super) fn of_jobs(
        self: &Arc<Self>,
        call: &Call,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", [name]) => Ok(Answer::json(200, &self.job(name)?.view())),
            ("PUT", [name]) => self.put_job(call, name),
            ("DELETE", [name]) => {
                let Some(gone) = self.state().jobs.remove(&name.to_lowercase()) else {
                    return Ok(Answer::empty(204));
                };
                // Its processes end with it.
                gone.lock().executions.clear();
                Ok(accepted(call, 202, None, &self.site.dice.uuid()))
            }
            ("POST", [name, "start"]) => self.start_job(call, name),
            ("GET", [name, "executions", rest @ ..]) => {
                let job = self.job(name)?;
                let inner = job.lock();
                let mut rows =
                    inner.executions.iter().rev().map(|execution| execution.view(&job.name));
                match rest {
                    [] => Ok(Answer::json(200, &json!({ "value": rows.collect::<Vec<_>>() }))),
                    [execution, ..] => {
                        let row = rows.find(|row| row["name"] == *execution);
                        row.map(|row| Answer::json(200, &row))
                            .ok_or_else(|| not_found("executions", execution))
                    }
                }
            }
            _ => Err(refusal(404, "NotFound", "not found")),
        }
    }

    fn put_job(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        check_name(name)?;
        let body = Value::Object(object(call)?);
        let part = |place: &str| body.pointer(place).cloned().unwrap_or_default();
        check(&self.site, &part("/properties/configuration"), &part("/properties/template"))?;
        if body.pointer("/properties/configuration/replicaTimeout").is_none() {
            return Err(refusal(
                400,
                "ContainerAppsJobInvalidConfiguration",
                "ReplicaTimeout is required.",
            ));
        }
        let environment = text(&body, "/properties/environmentId")
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        self.environment_domain(&environment)?;
        let held = self.job(name).ok();
        if held.as_ref().is_some_and(|job| job.lock().provisioning == "InProgress") {
            return Err(busy("job", name));
        }
        let is_new = held.is_none();
        let inner = Inner {
            location: text(&body, "/location").to_owned(),
            tags: body.get("tags").cloned().unwrap_or_else(|| json!({})),
            properties: part("/properties"),
            provisioning: "InProgress",
            executions: held
                .map(|job| std::mem::take(&mut job.lock().executions))
                .unwrap_or_default(),
        };
        let log = self.site.log(name);
        let job =
            Arc::new(Job { name: name.to_owned(), environment, log, inner: Mutex::new(inner) });
        self.state().jobs.insert(name.to_lowercase(), Arc::clone(&job));
        let (site, made) = (Arc::clone(&self.site), Arc::clone(&job));
        self.site.tasks.start(async move {
            site.dawdle(80, 200).await;
            made.lock().provisioning = "Succeeded";
        });
        Ok(accepted(
            call,
            if is_new { 201 } else { 200 },
            Some(&job.view()),
            &self.site.dice.uuid(),
        ))
    }

    fn start_job(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        let job = self.job(name)?;
        let (properties, provisioning) = {
            let inner = job.lock();
            (inner.properties.clone(), inner.provisioning)
        };
        if provisioning != "Succeeded" {
            return Err(busy("job", name));
        }
        let mut template = properties.get("template").cloned().unwrap_or_default();
        if let Some(asked) = call.json().filter(Value::is_object)
            && !list(&asked, "/containers").is_empty()
        {
            template = asked;
        }
        let configuration = properties.get("configuration").cloned().unwrap_or_default();
        check(&self.site, &configuration, &template)?;
        let container = template.pointer("/containers/0").cloned().unwrap_or_default();
        let env = env_of(&container, &configuration);
        let Some(image) =
            self.site.pull(service_of(&env).as_ref(), text(&container, "/image"), None)
        else {
            return Err(refusal(
                400,
                "InvalidParameterValueInContainerTemplate",
                "the image cannot be pulled",
            ));
        };
        let execution =
            format!("{name}-{}", self.site.dice.letters("0123456789abcdefghijklmnopqrstuvwxyz", 7));
        let recipe = Recipe {
            instance: execution.clone(),
            tag: execution.clone(),
            service: service_of(&env),
            arguments: arguments(arguments_of(&container), &image),
            env,
            listens: false,
            behaviour: image.behaviour.clone(),
            restart: Restart::Never,
        };
        let process = self.site.prepare(recipe, Arc::clone(&job.log));
        let process =
            process.map_err(|error| refusal(500, "InternalServerError", &error.to_string()))?;
        process.run();
        let row = Execution {
            name: execution.clone(),
            started: self.site.now(),
            ended: None,
            template,
            process: Arc::clone(&process),
        };
        job.lock().executions.push(row);
        let (site, followed, id) = (Arc::clone(&self.site), Arc::clone(&job), execution.clone());
        self.site.tasks.start(async move {
            process.until(|status| matches!(status.phase, Phase::Dead | Phase::Stopped)).await;
            let now = site.now();
            if let Some(row) = followed.lock().executions.iter_mut().find(|row| row.name == id) {
                row.ended = Some(now);
            }
        });
        let told = json!({ "name": execution, "id": id_of(&format!("jobs/{name}/executions/{execution}")) });
        Ok(Answer::json(200, &told))
    }
}
