//! One deployment: a definition, the processes it runs, and how it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkflow_model::{PinnedImage, ServiceName};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::REGION;
use crate::cloud::log::{Log, Stream};
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::registry::Image;
use crate::cloud::site::{Site, arguments, check_http, service_of};
use crate::cloud::trouble::Trouble;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An instance that nothing is asked of counts as healthy after so long.
const SETTLED: Duration = Duration::from_millis(300);
/// How long the first health checks may fail; the vendor's own patience, in rehearsal time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How often an instance is started again before the vendor gives up.
const MOST_RESTARTS: u32 = 3;
/// Idle seconds before sleep where the definition does not say.
const IDLE: u64 = 300;

/// One deployment.
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) app: String,
    pub(super) service: String,
    pub(super) created: String,
    pub(super) number: u64,
    pub(super) definition: Value,
    /// Why it was made, where the vendor says so.
    pub(super) trigger: Option<&'static str>,
    env: BTreeMap<String, String>,
    pub(super) log: Arc<Log>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// As far as it was driven; [`Deployment::status`] adds what the processes do.
    status: &'static str,
    messages: Vec<String>,
    updated: String,
    /// What really runs.
    pulled: Option<Image>,
    instances: Vec<(String, String, Arc<Process>)>,
    /// When it was last asked for something.
    asked: Instant,
}

/// What a deployment is made of.
pub(super) struct Birth<'a> {
    pub(super) app: &'a str,
    pub(super) service: &'a str,
    pub(super) number: u64,
    pub(super) definition: Value,
    pub(super) env: BTreeMap<String, String>,
    pub(super) trigger: Option<&'static str>,
    pub(super) log: Arc<Log>,
    /// Stored only.
    pub(super) stashed: bool,
}

impl Deployment {
    pub(super) fn new(site: &Site, birth: Birth<'_>) -> Arc<Self> {
        let now = site.now();
        let inner = Inner {
            status: if birth.stashed { "STASHED" } else { "PENDING" },
            messages: Vec::new(),
            updated: now.clone(),
            pulled: None,
            instances: Vec::new(),
            asked: Instant::now(),
        };
        Arc::new(Self {
            id: site.dice.uuid(),
            app: birth.app.to_owned(),
            service: birth.service.to_owned(),
            created: now,
            number: birth.number,
            definition: birth.definition,
            trigger: birth.trigger,
            env: birth.env,
            log: birth.log,
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn about(&self) -> Option<ServiceName> {
        service_of(&self.env)
    }

    /// Its processes, each with its instance's id.
    pub(super) fn processes(&self) -> Vec<(String, Arc<Process>)> {
        let inner = self.lock();
        inner.instances.iter().map(|(id, _, process)| (id.clone(), Arc::clone(process))).collect()
    }

    pub(super) fn pulled(&self) -> Option<Image> {
        self.lock().pulled.clone()
    }

    /// Its status, in the vendor's word.
    pub(super) fn status(&self, site: &Site) -> &'static str {
        let driven = self.lock().status;
        if driven != "HEALTHY" {
            return driven;
        }
        let processes = self.processes();
        let well = processes.iter().filter(|(_, process)| site.says_running(process)).count();
        match well {
            0 => "UNHEALTHY",
            n if n < processes.len() => "DEGRADED",
            _ => "HEALTHY",
        }
    }

    pub(super) fn instance_status(&self, site: &Site, process: &Process) -> &'static str {
        let lies = site.faults.any(self.about().as_ref(), Trouble::lies);
        let serves = self.lock().status == "HEALTHY";
        match process.status().phase {
            _ if lies && process.is_wanted() && serves => "HEALTHY",
            Phase::New => "ALLOCATING",
            Phase::Running if serves => "HEALTHY",
            Phase::Starting | Phase::Running | Phase::BackingOff => "STARTING",
            Phase::Stopping => "STOPPING",
            Phase::Stopped => "STOPPED",
            Phase::Dead => "ERROR",
        }
    }

    /// Every instance, as the API shows it.
    pub(super) fn instance_rows(&self, site: &Site, organization: &str) -> Vec<Value> {
        let instances: Vec<_> = {
            let inner = self.lock();
            inner
                .instances
                .iter()
                .map(|(id, at, p)| (id.clone(), at.clone(), Arc::clone(p)))
                .collect()
        };
        let row = |(index, (id, created, process)): (usize, (String, String, Arc<Process>))| {
            json!({
                "id": id, "organization_id": organization, "app_id": self.app, "service_id": self.service,
                "created_at": created, "updated_at": created, "regional_deployment_id": self.id,
                "allocation_id": id, "replica_index": index, "region": REGION, "datacenter": "fra1",
                "type": self.kind(), "status": self.instance_status(site, &process), "messages": [],
            })
        };
        instances.into_iter().enumerate().map(row).collect()
    }

    /// As the API shows it.
    pub(super) fn view(&self, site: &Site, organization: &str) -> Value {
        let status = self.status(site);
        let (messages, updated, pulled) = {
            let inner = self.lock();
            (inner.messages.clone(), inner.updated.clone(), inner.pulled.clone())
        };
        let mut definition = self.definition.clone();
        // What really runs is what is shown.
        if let Some(running) = pulled.and_then(|image| self.shown(&image)) {
            definition["docker"]["image"] = json!(running);
        }
        let mut row = json!({
            "id": self.id, "organization_id": organization, "app_id": self.app, "service_id": self.service,
            "created_at": self.created, "updated_at": updated, "status": status, "messages": messages,
            "definition": definition, "version": self.number.to_string(), "deployment_group": "prod",
        });
        if let Some(kind) = self.trigger {
            row["metadata"] = json!({ "trigger": { "type": kind } });
        }
        row
    }

    /// What runs as a reference, when that is not what was asked for.
    fn shown(&self, image: &Image) -> Option<String> {
        let asked: PinnedImage =
            self.definition.pointer("/docker/image")?.as_str()?.parse().ok()?;
        let digest = image.digest.as_ref().filter(|digest| **digest != asked.digest)?;
        let text = asked.to_string();
        Some(format!("{}@{digest}", text.split('@').next()?))
    }

    pub(super) fn kind(&self) -> &str {
        self.definition.pointer("/instance_types/0/type").and_then(Value::as_str).unwrap_or("nano")
    }

    /// The port that the app listens on: the one it is told, or else the first that is exposed.
    pub(super) fn port(&self) -> Option<u16> {
        let told = self.env.get("PORT").and_then(|port| port.parse().ok());
        let exposed = self.definition.pointer("/ports/0/port").and_then(Value::as_u64)?;
        told.or_else(|| u16::try_from(exposed).ok())
    }

    /// The path that is asked for its health.
    pub(super) fn health(&self) -> Option<&str> {
        self.definition.pointer("/health_checks/0/http/path").and_then(Value::as_str)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(
            self.lock().status,
            "ERROR" | "STOPPED" | "STOPPING" | "CANCELED" | "CANCELING" | "STASHED"
        )
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.lock().status, "PENDING" | "PROVISIONING" | "ALLOCATING" | "STARTING")
    }

    pub(super) fn serves(&self) -> bool {
        matches!(self.lock().status, "HEALTHY" | "SLEEPING")
    }

    fn set(&self, site: &Site, status: &'static str) {
        let mut inner = self.lock();
        (inner.status, inner.updated) = (status, site.now());
    }

    /// Goes on to `status`, unless it was ended meanwhile.
    fn advance(&self, site: &Site, status: &'static str) -> bool {
        let goes_on = !self.is_over();
        if goes_on {
            self.set(site, status);
        }
        goes_on
    }

    fn fail(&self, site: &Site, why: &str) {
        self.log.write(Stream::Provider, "", &self.id, why);
        self.lock().instances.iter().for_each(|(_, _, process)| process.stop(Duration::ZERO));
        if self.advance(site, "ERROR") {
            self.lock().messages.push(why.to_owned());
        }
    }

    /// Drives it until it serves or has failed. `before` is what ran until now.
    pub(super) async fn deploy(&self, site: &Site, before: Option<Image>) {
        let service = self.about();
        site.dawdle(20, 80).await;
        if !self.advance(site, "PROVISIONING") {
            return;
        }
        site.dawdle(30, 120).await;
        let asked =
            self.definition.pointer("/docker/image").and_then(Value::as_str).unwrap_or_default();
        let Some(image) = site.pull(service.as_ref(), asked, before.as_ref()) else {
            return self.fail(site, &format!("Failed to pull image {asked}: manifest unknown"));
        };
        if !self.advance(site, "ALLOCATING") {
            return;
        }
        site.get_unstuck(service.as_ref()).await;
        site.dawdle(30, 150).await;
        if !self.advance(site, "STARTING") {
            return;
        }
        if let Some(program) =
            self.definition.pointer("/docker/entrypoint/0").and_then(Value::as_str)
        {
            // The images of the rehearsal have their own entry point and no other program.
            return self.fail(site, &format!("exec: \"{program}\": no such file or directory"));
        }
        if let Err(error) = self.launch(site, image) {
            return self.fail(site, &format!("Failed to start: {error}"));
        }
        match self.settle().await {
            Ok(()) => drop(self.advance(site, "HEALTHY")),
            Err(why) => self.fail(site, &why),
        }
    }

    fn launch(&self, site: &Site, image: Image) -> std::io::Result<()> {
        let docker = &self.definition["docker"];
        let first = docker["command"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let rest = docker["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let command: Vec<String> = first.into_iter().chain(rest.map(str::to_owned)).collect();
        let count = self.definition["scalings"][0]["max"].as_u64().unwrap_or(1);
        let mut instances = Vec::new();
        for _ in 0..count {
            let id = site.dice.uuid();
            let mut env = self.env.clone();
            env.insert("KOYEB_INSTANCE_ID".to_owned(), id.clone());
            env.insert("KOYEB_REGION".to_owned(), REGION.to_owned());
            env.insert("KOYEB_SERVICE_ID".to_owned(), self.service.clone());
            let recipe = Recipe {
                instance: id.clone(),
                tag: self.id.clone(),
                service: self.about(),
                arguments: arguments(Some(command.clone()), &image),
                env,
                listens: self.port().is_some(),
                behaviour: image.behaviour.clone(),
                restart: Restart::OnFailure(MOST_RESTARTS),
            };
            let process = site.prepare(recipe, Arc::clone(&self.log))?;
            process.run();
            instances.push((id, site.now(), process));
        }
        let mut inner = self.lock();
        (inner.instances, inner.pulled) = (instances, Some(image));
        drop(inner);
        if self.is_over() {
            // It was ended while it was being started.
            self.lock().instances.iter().for_each(|(_, _, process)| process.stop(Duration::ZERO));
        }
        Ok(())
    }

    /// Waits until every instance is healthy, or says why they never will be.
    async fn settle(&self) -> Result<(), String> {
        let began = Instant::now();
        let processes = self.processes();
        loop {
            sleep(LOOK_EVERY).await;
            if self.is_over() {
                return Err("it was ended".to_owned());
            }
            let phases: Vec<Phase> = processes.iter().map(|(_, p)| p.status().phase).collect();
            if phases.contains(&Phase::Dead) {
                return Err("Instance stopped: the application exited with an error".to_owned());
            }
            let up = phases.iter().all(|phase| *phase == Phase::Running);
            let well = up
                && match self.health() {
                    Some(path) => is_healthy(&processes, path).await,
                    None => self.port().is_some() || began.elapsed() > SETTLED,
                };
            if well {
                self.lock().asked = Instant::now();
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err("Health checks failed".to_owned());
            }
        }
    }

    /// Ends it: what never served is canceled, what did is stopped.
    pub(super) async fn end(&self, site: &Site) {
        if self.is_over() {
            return;
        }
        let (going, gone) = match self.lock().status {
            "PENDING" | "PROVISIONING" => ("CANCELING", "CANCELED"),
            _ => ("STOPPING", "STOPPED"),
        };
        self.set(site, going);
        for (_, process) in self.processes() {
            process.stop(GRACE);
        }
        for (_, process) in self.processes() {
            process.until(|s| s.pid.is_none()).await;
        }
        self.set(site, gone);
        // Nobody looks after them any more.
        self.lock().instances.clear();
    }

    /// How long it may idle before it is put to sleep, where its definition lets that happen.
    fn idle_limit(&self) -> Option<Duration> {
        let scaling = &self.definition["scalings"][0];
        let sleeps = scaling["min"].as_u64() == Some(0);
        let own =
            scaling.pointer("/targets/0/sleep_idle_delay/deep_sleep_value").and_then(Value::as_u64);
        sleeps.then(|| Duration::from_secs(own.unwrap_or(IDLE)))
    }

    /// Puts it to sleep whenever nobody asks for it, as long as it serves.
    pub(super) async fn doze(&self, site: &Site) {
        let Some(limit) = self.idle_limit() else { return };
        while self.serves() {
            sleep(LOOK_EVERY * 5).await;
            let idle = self.lock().asked.elapsed() > limit;
            if idle && self.lock().status == "HEALTHY" {
                self.set(site, "SLEEPING");
                self.processes().iter().for_each(|(_, process)| process.stop(GRACE));
            }
        }
    }

    /// A request came: what sleeps wakes up.
    pub(super) fn is_asked_for(&self, site: &Site) {
        self.lock().asked = Instant::now();
        if self.lock().status == "SLEEPING" {
            self.set(site, "HEALTHY");
            self.processes().iter().for_each(|(_, process)| process.run());
        }
    }
}

async fn is_healthy(processes: &[(String, Arc<Process>)], path: &str) -> bool {
    for (_, process) in processes {
        let said = check_http(process.address, path, Duration::from_secs(2)).await;
        if !matches!(said, Ok(200..=399)) {
            return false;
        }
    }
    true
}
