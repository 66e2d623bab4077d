//! One deployment: a snapshot of how an instance was configured, the processes it runs, and how it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkflow_model::ServiceName;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::stock::Instance;
use crate::cloud::log::{Log, Stream};
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::registry::Image;
use crate::cloud::site::{Site, arguments, check_http, service_of};
use crate::cloud::trouble::Trouble;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A replica that lives this long counts as started.
const SETTLED: Duration = Duration::from_millis(150);
/// How long a port is waited for where there is no health check; Railway does not look at it at all.
const PORT_WITHIN: Duration = Duration::from_secs(1);
/// Railway's own, in seconds, when none is set.
const HEALTH_WITHIN: u64 = 300;

/// One deployment.
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) snapshot_id: String,
    pub(super) service: String,
    pub(super) environment: String,
    pub(super) created: String,
    /// The image that was asked for.
    pub(super) image: String,
    /// The environment, Railway's own variables included.
    pub(super) env: BTreeMap<String, String>,
    /// How the instance was set when this was made.
    pub(super) snapshot: Instance,
    pub(super) why: &'static str,
    pub(super) log: Arc<Log>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// As far as it was driven; [`Deployment::status`] adds what the processes do.
    status: &'static str,
    updated: String,
    /// What really runs.
    pulled: Option<Image>,
    processes: Vec<(String, Arc<Process>)>,
    stopped: bool,
    succeeded: bool,
    asleep: bool,
    /// When it was last woken.
    woken: Instant,
}

impl Deployment {
    pub(super) fn new(
        site: &Site,
        ids: (&str, &str),
        snapshot: Instance,
        env: BTreeMap<String, String>,
        log: Arc<Log>,
        why: &'static str,
    ) -> Arc<Self> {
        let now = site.now();
        let inner = Inner {
            status: "QUEUED",
            updated: now.clone(),
            pulled: None,
            processes: Vec::new(),
            stopped: false,
            succeeded: false,
            asleep: false,
            woken: Instant::now(),
        };
        Arc::new(Self {
            id: site.dice.uuid(),
            snapshot_id: site.dice.uuid(),
            service: ids.0.to_owned(),
            environment: ids.1.to_owned(),
            created: now,
            image: snapshot.image.clone().unwrap_or_default(),
            env,
            snapshot,
            why,
            log,
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn about(&self) -> Option<ServiceName> {
        service_of(&self.env)
    }

    /// Its processes, each with its replica's id.
    pub(super) fn processes(&self) -> Vec<(String, Arc<Process>)> {
        self.lock().processes.clone()
    }

    pub(super) fn pulled(&self) -> Option<Image> {
        self.lock().pulled.clone()
    }

    pub(super) fn updated(&self) -> String {
        self.lock().updated.clone()
    }

    pub(super) fn succeeded(&self) -> bool {
        self.lock().succeeded
    }

    /// Its status, in the vendor's word.
    pub(super) fn status(&self, site: &Site) -> &'static str {
        let lies = site.faults.any(self.about().as_ref(), Trouble::lies);
        let inner = self.lock();
        let dead =
            |(_, p): &(String, Arc<Process>)| p.is_wanted() && p.status().phase == Phase::Dead;
        if inner.status == "SUCCESS"
            && !lies
            && !inner.processes.is_empty()
            && inner.processes.iter().all(dead)
        {
            return "CRASHED";
        }
        if inner.status == "SUCCESS" && inner.asleep && !inner.stopped {
            return "SLEEPING";
        }
        inner.status
    }

    /// Whether it is put to sleep when idle.
    pub(super) fn may_doze(&self) -> bool {
        self.snapshot.settings.get("sleepApplication") == Some(&json!(true))
    }

    /// Whether it neither serves nor ever will.
    pub(super) fn is_done_for(&self) -> bool {
        self.is_over() || self.lock().stopped
    }

    /// Ends its processes until somebody asks for it, unless it was woken within `idle`.
    pub(super) fn fall_asleep(&self, idle: Duration) {
        let mut inner = self.lock();
        let is_idle = !inner.stopped && inner.woken.elapsed() > idle;
        if is_idle && !std::mem::replace(&mut inner.asleep, true) {
            inner.processes.iter().for_each(|(_, process)| process.stop(Duration::ZERO));
        }
    }

    /// Starts its processes again when it sleeps.
    pub(super) fn wake(&self) {
        let mut inner = self.lock();
        if !inner.stopped && std::mem::take(&mut inner.asleep) {
            inner.woken = Instant::now();
            inner.processes.iter().for_each(|(_, process)| process.run());
        }
    }

    /// Whether all its replicas were stopped.
    pub(super) fn is_stopped(&self) -> bool {
        let inner = self.lock();
        let running = inner.processes.iter().any(|(_, p)| p.status().pid.is_some());
        !running && (inner.stopped || matches!(inner.status, "REMOVED" | "FAILED"))
    }

    /// Whether it is or may yet become the one that serves.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.lock().status, "FAILED" | "REMOVED" | "REMOVING" | "CRASHED")
    }

    /// What each replica does.
    pub(super) fn replicas(&self, site: &Site) -> Vec<Value> {
        let lies = site.faults.any(self.about().as_ref(), Trouble::lies);
        let word = |process: &Process| match process.status().phase {
            _ if lies && process.is_wanted() => "RUNNING",
            Phase::New => "CREATED",
            Phase::Starting | Phase::Running => "RUNNING",
            Phase::Stopping => "REMOVING",
            Phase::BackingOff => "RESTARTING",
            Phase::Stopped => "STOPPED",
            Phase::Dead => "CRASHED",
        };
        let rows = self.processes();
        rows.iter().map(|(id, process)| json!({ "id": id, "status": word(process) })).collect()
    }

    /// What the API tells of where it came from.
    pub(super) fn meta(&self) -> Value {
        let pulled = self.pulled();
        let digest = pulled.as_ref().and_then(|image| image.digest.clone());
        let running = pulled.map_or_else(
            || self.image.clone(),
            |image| {
                let host = self.image.split('/').next().unwrap_or_default();
                digest.as_ref().map_or_else(
                    || self.image.clone(),
                    |d| format!("{host}/{}@{d}", image.repository),
                )
            },
        );
        json!({ "image": running, "imageDigest": digest, "reason": self.why, "serviceManifest": { "deploy": self.snapshot.settings } })
    }

    fn set(&self, site: &Site, status: &'static str) {
        let mut inner = self.lock();
        (inner.status, inner.updated) = (status, site.now());
        inner.succeeded |= status == "SUCCESS";
    }

    /// Goes on to `status`, unless it was removed meanwhile, or stopped before it served.
    fn advance(&self, site: &Site, status: &'static str) -> bool {
        if self.is_over() {
            return false;
        }
        let stopped = self.lock().stopped;
        self.set(site, if stopped { "REMOVED" } else { status });
        !stopped
    }

    /// Drives it until it serves or has failed. `before` is what ran until now.
    pub(super) async fn deploy(&self, site: &Site, before: Option<Image>) {
        let service = self.about();
        site.dawdle(10, 60).await;
        if !self.advance(site, "INITIALIZING") {
            return;
        }
        site.dawdle(30, 120).await;
        let login = self.snapshot.credentials.as_ref();
        let login = login.map(|(user, password)| (user.as_str(), password.as_str()));
        let pulled = site.pull_as(service.as_ref(), &self.image, before.as_ref(), login);
        let Some(image) = pulled else {
            let is_denied = !site.images.lets_in(&self.image, login);
            let why = if is_denied { "denied" } else { "manifest unknown" };
            self.say(&format!("Failed to pull {}: {why}", self.image));
            self.advance(site, "FAILED");
            return;
        };
        if !self.advance(site, "DEPLOYING") {
            return;
        }
        site.get_unstuck(service.as_ref()).await;
        site.dawdle(30, 150).await;
        if !self.advance(site, "DEPLOYING") {
            return;
        }
        if let Err(error) = self.launch(site, image) {
            self.say(&format!("Failed to start: {error}"));
            self.advance(site, "FAILED");
            return;
        }
        let end = self.settle().await;
        if end == "FAILED" {
            self.lock().processes.iter().for_each(|(_, process)| process.stop(Duration::ZERO));
        }
        self.advance(site, end);
    }

    fn say(&self, text: &str) {
        self.log.write(Stream::Provider, "", &self.id, text);
    }

    fn launch(&self, site: &Site, image: Image) -> std::io::Result<()> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let command = self.snapshot.text("startCommand").map(words);
        let most =
            self.snapshot.number("restartPolicyMaxRetries").and_then(|n| u32::try_from(n).ok());
        let restart = match self.snapshot.text("restartPolicyType") {
            Some("NEVER") => Restart::Never,
            Some("ALWAYS") => Restart::Always,
            _ => Restart::OnFailure(most.unwrap_or(10)),
        };
        let mut processes = Vec::new();
        for _ in 0..self.snapshot.replicas() {
            let replica = site.dice.uuid();
            let mut env = self.env.clone();
            env.insert("RAILWAY_DEPLOYMENT_ID".to_owned(), self.id.clone());
            env.insert("RAILWAY_REPLICA_ID".to_owned(), replica.clone());
            env.insert("RAILWAY_REPLICA_REGION".to_owned(), "us-east4".to_owned());
            let recipe = Recipe {
                instance: replica.clone(),
                tag: self.id.clone(),
                service: self.about(),
                arguments: arguments(command.clone(), &image),
                env,
                listens: self.port().is_some(),
                behaviour: image.behaviour.clone(),
                restart,
            };
            let process = site.prepare(recipe, Arc::clone(&self.log))?;
            process.run();
            processes.push((replica, process));
        }
        let mut inner = self.lock();
        (inner.processes, inner.pulled) = (processes, Some(image));
        Ok(())
    }

    /// The port that the app listens on: it reads `PORT`; one that has none is told one when it is to be reached.
    pub(super) fn port(&self) -> Option<u16> {
        let told = self.env.get("PORT").and_then(|port| port.parse().ok());
        let target = self.snapshot.domains().find_map(|row| row["targetPort"].as_u64());
        let proxy = self.snapshot.proxies.iter().find_map(|row| row["applicationPort"].as_u64());
        let target = target.or(proxy);
        let reached = self.snapshot.text("healthcheckPath").is_some()
            || self.snapshot.domains().next().is_some();
        told.or_else(|| target.and_then(|port| u16::try_from(port).ok()))
            .or_else(|| reached.then_some(8_080))
    }

    /// Waits until every replica is healthy, or one has given up.
    async fn settle(&self) -> &'static str {
        let path = self.snapshot.text("healthcheckPath").map(str::to_owned);
        let within =
            self.snapshot.number("healthcheckTimeout").filter(|s| *s > 0).unwrap_or(HEALTH_WITHIN);
        let (began, listens) = (Instant::now(), self.port().is_some());
        let processes = self.processes();
        loop {
            sleep(LOOK_EVERY).await;
            if self.is_over() || self.lock().stopped {
                return "REMOVED";
            }
            let phases: Vec<Phase> =
                processes.iter().map(|(_, process)| process.status().phase).collect();
            if phases.contains(&Phase::Dead) {
                return if path.is_some() { "FAILED" } else { "CRASHED" };
            }
            let up = phases.iter().all(|phase| *phase == Phase::Running);
            match &path {
                Some(path) => {
                    if up && self.is_healthy(&processes, path).await {
                        return "SUCCESS";
                    }
                    if began.elapsed() > Duration::from_secs(within) {
                        self.say(&format!(
                            "Healthcheck failed: {path} did not answer 200 within {within} s"
                        ));
                        return "FAILED";
                    }
                }
                None => {
                    let alive = up
                        || (listens
                            && began.elapsed() > PORT_WITHIN
                            && phases.iter().all(|p| *p == Phase::Starting));
                    if alive && began.elapsed() > SETTLED {
                        return "SUCCESS";
                    }
                }
            }
        }
    }

    async fn is_healthy(&self, processes: &[(String, Arc<Process>)], path: &str) -> bool {
        for (_, process) in processes {
            let said = check_http(process.address, path, Duration::from_secs(2)).await;
            if !matches!(said, Ok(200..=299)) {
                return false;
            }
        }
        true
    }

    /// Ends its processes after their time to drain. It stays `SUCCESS` and is stopped.
    pub(super) fn stop(&self) {
        let drain = Duration::from_secs(self.snapshot.number("drainingSeconds").unwrap_or(0));
        let mut inner = self.lock();
        inner.stopped = true;
        inner.processes.iter().for_each(|(_, process)| process.stop(drain));
    }

    /// Starts its processes again.
    pub(super) async fn restart(&self, site: &Site) {
        let processes = self.processes();
        self.stop();
        for (_, process) in &processes {
            process.until(|s| s.pid.is_none()).await;
        }
        self.lock().stopped = false;
        for (_, process) in &processes {
            let before = process.status().starts;
            process.run();
            process.until(|s| s.starts > before).await;
        }
        let end = self.settle().await;
        self.advance(site, end);
    }

    /// Takes it away for good.
    pub(super) async fn remove(&self, site: &Site) {
        if matches!(self.lock().status, "REMOVED" | "REMOVING") {
            return;
        }
        self.set(site, "REMOVING");
        self.stop();
        for (_, process) in self.processes() {
            process.until(|s| s.pid.is_none()).await;
        }
        self.set(site, "REMOVED");
        // Nobody looks after them any more.
        self.lock().processes.clear();
    }

    /// Says that it begins to be deployed again. `false`: it was taken away.
    pub(super) fn reopen(&self, site: &Site) -> bool {
        let gone = matches!(self.lock().status, "REMOVED" | "REMOVING" | "FAILED");
        if !gone {
            self.set(site, "DEPLOYING");
        }
        !gone
    }
}
