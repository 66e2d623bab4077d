//! The generic provider's server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{LogLine, Progress, Seen};
use linkflow_model::{Lifecycle, ServiceKind, ServiceName};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::job::Jobs;
use super::{Row, Scale, Wanted};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::Log;
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::registry::Image;
use crate::cloud::site::{Blank, InstanceView, Route, Site, Target, Vendor, arguments, check_http};
use crate::cloud::trouble::Trouble;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An instance that listens on nothing counts as started when it lives this long.
const SETTLED: Duration = Duration::from_millis(150);
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// How long instances are given to end.
const GRACE: Duration = Duration::from_secs(3);
/// How often a crash is tried again.
const RETRIES: u32 = 10;

/// The vendor.
pub(crate) struct Generic {
    site: Arc<Site>,
    services: Mutex<BTreeMap<ServiceName, Service>>,
    jobs: Jobs,
}

struct Service {
    id: String,
    log: Arc<Log>,
    /// What was asked for last.
    wanted: Wanted,
    /// The environment that came of it.
    env: BTreeMap<String, String>,
    /// The last deployment, and how it goes.
    deployment: String,
    progress: Progress,
    /// What runs.
    live: Option<Live>,
}

/// What one deployment runs.
#[derive(Clone)]
struct Live {
    wanted: Wanted,
    env: BTreeMap<String, String>,
    image: Image,
    processes: Vec<(String, Arc<Process>)>,
}

pub(super) type Refused = Answer;

pub(super) fn refusal(status: u16, why: &str) -> Refused {
    Answer::json(status, &json!({ "error": why }))
}

pub(super) fn shown(value: &impl Serialize) -> Answer {
    serde_json::to_value(value)
        .map_or_else(|error| refusal(500, &error.to_string()), |value| Answer::json(200, &value))
}

impl Generic {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        let jobs = Jobs::new(Arc::clone(&site));
        Self { site, services: Mutex::default(), jobs }
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        name: &ServiceName,
        work: impl FnOnce(&mut Service) -> T,
    ) -> Result<T, Refused> {
        let mut services = self.services();
        services.get_mut(name).map(work).ok_or_else(|| refusal(404, "no such service"))
    }

    fn dispatch(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let method = call.method.as_str();
        match (method, parts.as_slice()) {
            ("GET", ["v1", "services"]) => {
                let services = self.services();
                let rows: Vec<Row> =
                    services.iter().map(|(name, service)| self.row(name, service)).collect();
                return Ok(shown(&rows));
            }
            ("GET", ["v1", "deployments", id]) => {
                let services = self.services();
                let found = services.values().find(|service| service.deployment == *id);
                return found
                    .map(|service| shown(&service.progress))
                    .ok_or_else(|| refusal(404, "no such deployment"));
            }
            (_, ["v1", "jobs", id]) => return self.jobs.answer(id, call),
            _ => {}
        }
        let ["v1", "services", name, tail @ ..] = parts.as_slice() else {
            return Err(refusal(404, "not found"));
        };
        let name: ServiceName = name.parse().map_err(|error| refusal(400, &format!("{error}")))?;
        let grows = matches!(method, "PUT" | "POST");
        if grows && self.site.is_out_of_quota(Some(&name)) {
            return Err(refusal(402, "the allowance of this month is used up"));
        }
        match (method, tail) {
            ("GET", []) => {
                let services = self.services();
                let found = services.get(&name).ok_or_else(|| refusal(404, "no such service"))?;
                Ok(shown(&self.row(&name, found)))
            }
            ("PUT", []) => self.put(&name, call),
            ("DELETE", []) => {
                let gone =
                    self.services().remove(&name).ok_or_else(|| refusal(404, "no such service"))?;
                if let Some(live) = gone.live {
                    self.retire(live);
                }
                Ok(Answer::empty(204))
            }
            ("POST", ["scale"]) => self.scale(&name, call),
            ("POST", ["restart"]) => self.restart(&name),
            ("GET", ["logs"]) => {
                let log = self.with(&name, |service| Arc::clone(&service.log))?;
                let last = call.parameter("last").and_then(|n| n.parse().ok()).unwrap_or(100);
                let lines = log.since(0);
                let from = lines.len().saturating_sub(last);
                let rows = lines[from..]
                    .iter()
                    .map(|line| LogLine { at: Some(line.at), text: line.text.clone() });
                Ok(shown(&rows.collect::<Vec<_>>()))
            }
            _ => Err(refusal(404, "not found")),
        }
    }

    fn put(self: &Arc<Self>, name: &ServiceName, call: &Call) -> Result<Answer, Refused> {
        let wanted: Wanted =
            serde_json::from_slice(&call.body).map_err(|error| refusal(400, &error.to_string()))?;
        let mut services = self.services();
        let before = services.get(name);
        if before.is_some_and(|held| held.wanted.stack != wanted.stack) {
            return Err(refusal(409, "another stack has a service of that name"));
        }
        let image = before.and_then(|held| held.live.as_ref()).map(|live| live.image.clone());
        let reference = wanted.image.to_string();
        let Some(image) = self.site.pull(Some(name), &reference, image.as_ref()) else {
            return Err(refusal(422, &format!("there is no image {reference}")));
        };
        if let Some(held) = before
            && held.wanted == wanted
            && !matches!(held.progress, Progress::Failed { .. })
        {
            return Ok(shown(&self.row(name, held)));
        }
        let mut env = before.map(|held| held.env.clone()).unwrap_or_default();
        env.retain(|key, _| !wanted.env_gone.contains(key));
        env.extend(wanted.env.clone());
        let (id, log, live) = match services.remove(name) {
            Some(held) => (held.id, held.log, held.live),
            None => (self.site.dice.hex(12), self.site.log(name.as_str()), None),
        };
        let deployment = format!("dep-{}", self.site.dice.hex(12));
        let progress = Progress::Under { said: "queued".to_owned() };
        let next = Live { wanted: wanted.clone(), env: env.clone(), image, processes: Vec::new() };
        let service =
            Service { id, log, wanted, env, deployment: deployment.clone(), progress, live };
        let answer = shown(&self.row(name, &service));
        services.insert(name.clone(), service);
        drop(services);
        let (provider, name) = (Arc::clone(self), name.clone());
        self.site.tasks.start(async move { provider.deploy(&name, &deployment, next).await });
        Ok(answer)
    }

    /// Notes how a deployment goes. `false`: another one has taken its place.
    fn say(&self, name: &ServiceName, deployment: &str, progress: Progress) -> bool {
        let mut services = self.services();
        let current = services.get_mut(name).filter(|service| service.deployment == deployment);
        current.map(|service| service.progress = progress).is_some()
    }

    /// Carries a deployment out: the new instances come up beside the old ones, which then end; those of a worker
    /// end first, so that there are never two.
    async fn deploy(&self, name: &ServiceName, deployment: &str, mut next: Live) {
        self.site.dawdle(30, 100).await;
        if !self.say(name, deployment, Progress::Under { said: "starting".to_owned() }) {
            return;
        }
        self.site.get_unstuck(Some(name)).await;
        self.site.dawdle(30, 150).await;
        let alone = next.wanted.kind == ServiceKind::Worker || next.wanted.replicas == 0;
        let old = self
            .with(name, |service| if alone { service.live.take() } else { None })
            .ok()
            .flatten();
        if let Some(old) = old {
            self.end(&old).await;
        }
        let end = match self.launch(name, deployment, &mut next) {
            Ok(()) => self.settle(&next).await,
            Err(why) => Err(why),
        };
        let progress = match &end {
            Ok(()) => Progress::Done,
            Err(why) => Progress::Failed { why: why.clone() },
        };
        if !self.say(name, deployment, progress) || (end.is_err() && !alone) {
            return self.end(&next).await;
        }
        let old = self.with(name, |service| service.live.replace(next)).ok().flatten();
        if let Some(old) = old {
            self.end(&old).await;
        }
    }

    fn launch(&self, name: &ServiceName, deployment: &str, next: &mut Live) -> Result<(), String> {
        let log = self
            .with(name, |service| Arc::clone(&service.log))
            .map_err(|_| "the service is gone".to_owned())?;
        for _ in 0..next.wanted.replicas {
            let instance = format!("{name}-{}", self.site.dice.hex(6));
            let mut env = next.env.clone();
            env.insert("HOSTNAME".to_owned(), instance.clone());
            let recipe = Recipe {
                instance: instance.clone(),
                tag: deployment.to_owned(),
                service: Some(name.clone()),
                arguments: arguments(next.wanted.command.clone(), &next.image),
                env,
                listens: next.wanted.port.is_some(),
                behaviour: next.image.behaviour.clone(),
                restart: Restart::OnFailure(RETRIES),
            };
            let process =
                self.site.prepare(recipe, Arc::clone(&log)).map_err(|error| error.to_string())?;
            process.run();
            next.processes.push((instance, process));
        }
        Ok(())
    }

    /// Waits until every instance is healthy, or one ended.
    async fn settle(&self, next: &Live) -> Result<(), String> {
        let began = Instant::now();
        while !next.processes.is_empty() {
            sleep(LOOK_EVERY).await;
            let mut healthy = true;
            for (instance, process) in &next.processes {
                let status = process.status();
                if let Some(exit) = status
                    .exits
                    .last()
                    .filter(|_| status.phase != Phase::Dead || !self.is_held(process))
                {
                    let how = exit.code.map_or_else(
                        || "by a signal".to_owned(),
                        |code| format!("with status {code}"),
                    );
                    return Err(format!("{instance} ended {how} at start"));
                }
                let up = status.phase == Phase::Running;
                healthy &= up
                    && match (&next.wanted.health, next.wanted.kind) {
                        (Some(path), ServiceKind::Web) => {
                            matches!(
                                check_http(process.address, path, Duration::from_secs(2)).await,
                                Ok(200..=299)
                            )
                        }
                        (_, ServiceKind::Worker) => began.elapsed() > SETTLED,
                        _ => true,
                    };
            }
            if healthy {
                return Ok(());
            }
            if began.elapsed() > HEALTHY_WITHIN {
                return Err(format!("not healthy within {HEALTHY_WITHIN:?}"));
            }
        }
        Ok(())
    }

    fn is_held(&self, process: &Process) -> bool {
        self.site.faults.any(process.service.as_ref(), Trouble::kills)
    }

    async fn end(&self, live: &Live) {
        live.processes.iter().for_each(|(_, process)| process.stop(GRACE));
        for (_, process) in &live.processes {
            process.until(|s| s.pid.is_none()).await;
        }
    }

    /// Ends what ran, in the background.
    fn retire(self: &Arc<Self>, live: Live) {
        let provider = Arc::clone(self);
        self.site.tasks.start(async move { provider.end(&live).await });
    }

    fn scale(self: &Arc<Self>, name: &ServiceName, call: &Call) -> Result<Answer, Refused> {
        let Scale { replicas } =
            serde_json::from_slice(&call.body).map_err(|error| refusal(400, &error.to_string()))?;
        let next = self.with(name, |service| {
            let changes = service.wanted.replicas != replicas;
            service.wanted.replicas = replicas;
            service.deployment = if changes {
                format!("dep-{}", self.site.dice.hex(12))
            } else {
                service.deployment.clone()
            };
            let image = service.live.as_ref().map(|live| live.image.clone());
            let image = image
                .or_else(|| self.site.pull(Some(name), &service.wanted.image.to_string(), None));
            let (wanted, env) = (service.wanted.clone(), service.env.clone());
            let next = image.filter(|_| changes).map(|image| Live {
                wanted,
                env,
                image,
                processes: Vec::new(),
            });
            if next.is_some() {
                service.progress = Progress::Under { said: "scaling".to_owned() };
            }
            next.map(|next| (service.deployment.clone(), next))
        })?;
        if let Some((deployment, next)) = next {
            let (provider, name) = (Arc::clone(self), name.clone());
            self.site.tasks.start(async move { provider.deploy(&name, &deployment, next).await });
        }
        Ok(Answer::empty(204))
    }

    fn restart(self: &Arc<Self>, name: &ServiceName) -> Result<Answer, Refused> {
        let live = self.with(name, |service| service.live.clone())?;
        if let Some(live) = live {
            let provider = Arc::clone(self);
            self.site.tasks.start(async move {
                provider.end(&live).await;
                live.processes.iter().for_each(|(_, process)| process.run());
            });
        }
        Ok(Answer::empty(204))
    }

    fn row(&self, name: &ServiceName, service: &Service) -> Row {
        let failed = matches!(service.progress, Progress::Failed { .. });
        let wanted = service.live.as_ref().map_or(&service.wanted, |live| &live.wanted);
        let (lifecycle, said, running) = self.standing(name, service);
        let host = format!("{}-{name}.{}", wanted.stack, self.site.host_suffix);
        let seen = Seen {
            service: name.clone(),
            lifecycle,
            said: said.to_owned(),
            id: service.id.clone(),
            digest: service.live.as_ref().and_then(|live| live.image.digest.clone()),
            release: Some(wanted.release),
            fingerprint: Some(wanted.fingerprint.clone()),
            replicas: service.wanted.replicas,
            running,
            address: wanted.port.map(|_| format!("https://{host}")),
        };
        Row { stack: wanted.stack.clone(), deployment: service.deployment.clone(), failed, seen }
    }

    /// How a service stands, in our word and in the vendor's, and how many instances run.
    fn standing(&self, name: &ServiceName, service: &Service) -> (Lifecycle, &'static str, u32) {
        let under = matches!(service.progress, Progress::Under { .. });
        let processes =
            service.live.as_ref().map(|live| live.processes.as_slice()).unwrap_or_default();
        let running =
            processes.iter().filter(|(_, process)| self.site.says_running(process)).count();
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let has =
            |phase: Phase| processes.iter().any(|(_, process)| process.status().phase == phase);
        let (lifecycle, said) = if running > 0 {
            (Lifecycle::Running, "running")
        } else if under && (service.wanted.replicas > 0 || service.live.is_none()) {
            // Between one deployment and the next it has neither processes nor an image.
            (Lifecycle::Starting, "starting")
        } else if has(Phase::Stopping) || has(Phase::New) {
            (Lifecycle::Starting, "moving")
        } else if has(Phase::BackingOff) {
            (Lifecycle::Failed, "crashing")
        } else if has(Phase::Dead) && !self.site.faults.any(Some(name), Trouble::kills) {
            (Lifecycle::Failed, "crashed")
        } else if matches!(service.progress, Progress::Failed { .. }) && processes.is_empty() {
            (Lifecycle::Failed, "failed")
        } else {
            (Lifecycle::Stopped, "stopped")
        };
        (lifecycle, said, running)
    }
}

#[async_trait]
impl Vendor for Generic {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        if call.bearer() != Some(self.site.token.as_str()) {
            return refusal(401, "the token is missing or not valid");
        }
        self.site.dawdle(2, 15).await;
        match self.dispatch(&call) {
            Ok(answer) | Err(answer) => answer,
        }
    }

    fn limited(&self) -> Answer {
        refusal(429, "too many requests").with("retry-after", "2")
    }

    fn route(&self, host: &str) -> Route {
        let services = self.services();
        let label =
            host.strip_suffix(&self.site.host_suffix).and_then(|label| label.strip_suffix('.'));
        let named = |(name, service): &(&ServiceName, &Service)| {
            label == Some(&format!("{}-{name}", service.wanted.stack))
        };
        let Some((name, service)) = services.iter().find(named) else { return Route::Unknown };
        let Some(live) = service.live.as_ref().filter(|live| live.wanted.port.is_some()) else {
            return Route::Idle(Some(name.clone()));
        };
        let processes: Vec<&Arc<Process>> =
            live.processes.iter().map(|(_, process)| process).collect();
        match self.site.take_turn(&processes) {
            None => Route::Idle(Some(name.clone())),
            Some(chosen) => Route::To(Target {
                service: Some(name.clone()),
                address: Some(chosen.address),
                health: live.wanted.health.clone(),
                http2: true,
            }),
        }
    }

    fn page(&self, why: Blank) -> (u16, &'static str, String) {
        let (status, text) = match why {
            Blank::UnknownHost => (404, "no service has this host"),
            Blank::NoInstance => (503, "no instance of this service runs"),
            Blank::NoAnswer => (502, "the instance did not answer"),
        };
        (status, "application/json", json!({ "error": text }).to_string())
    }

    fn instances(&self) -> Vec<InstanceView> {
        let services = self.services();
        let mut rows = Vec::new();
        for (name, service) in services.iter() {
            let (_, said, _) = self.standing(name, service);
            for (id, process) in service.live.iter().flat_map(|live| &live.processes) {
                rows.push(InstanceView::of(name.to_string(), id.clone(), said.to_owned(), process));
            }
        }
        rows
    }
}
