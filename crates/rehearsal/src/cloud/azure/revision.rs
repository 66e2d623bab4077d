//! One revision of an app: a template that does not change, and the replicas that run it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkflow_model::ServiceName;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::shape::{arguments_of, env_of, is_own_image, list, text};
use crate::cloud::log::Log;
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::registry::Image;
use crate::cloud::site::{Site, arguments, check_http, service_of};
use crate::cloud::trouble::Trouble;

const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Until all are ready.
const CHECK_SOON: Duration = Duration::from_millis(50);
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// After so many restarts of a revision that was never ready, the vendor says that it failed. It goes on trying.
const GIVES_UP: u32 = 4;

/// One revision.
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: Value,
    pub(super) created: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    active: bool,
    /// Whether it was ever ready.
    came_up: bool,
    failed: bool,
    image: Option<Image>,
    replicas: Vec<Replica>,
    /// Grows with each start and stop, so that what was under way before stops.
    round: u64,
}

/// One replica. Without a process: an image of the vendor's own.
#[derive(Clone)]
struct Replica {
    name: String,
    process: Option<Arc<Process>>,
    ready: bool,
    created: String,
}

impl Revision {
    pub(super) fn new(name: String, template: Value, created: String) -> Arc<Self> {
        Arc::new(Self { name, template, created, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self) -> &Value {
        self.template.pointer("/containers/0").unwrap_or(&Value::Null)
    }

    pub(super) fn service(&self) -> Option<ServiceName> {
        service_of(&env_of(self.container(), &Value::Null))
    }

    pub(super) fn image(&self) -> Option<Image> {
        self.lock().image.clone()
    }

    pub(super) fn processes(&self) -> Vec<(String, Arc<Process>)> {
        let inner = self.lock();
        let of = |r: &Replica| Some((r.name.clone(), Arc::clone(r.process.as_ref()?)));
        inner.replicas.iter().filter_map(of).collect()
    }

    /// The port that the app listens on: it reads `PORT`.
    pub(super) fn port(&self) -> Option<u64> {
        let env = env_of(self.container(), &Value::Null);
        env.get("PORT").and_then(|port| port.parse().ok())
    }

    /// What is asked whether a replica is ready: a port, and a path unless a connection is enough.
    fn readiness(&self, ingress: &Value) -> Option<(u64, Option<String>)> {
        let probe = list(self.container(), "/probes").iter().find(|p| p["type"] == "Readiness");
        if let Some(probe) = probe {
            let get = probe.pointer("/httpGet/port").and_then(Value::as_u64);
            let path = get.map(|_| text(probe, "/httpGet/path").to_owned());
            let port = get.or_else(|| probe.pointer("/tcpSocket/port").and_then(Value::as_u64));
            return port.map(|port| (port, path));
        }
        ingress["targetPort"].as_u64().map(|port| (port, None))
    }

    pub(super) fn health(&self) -> Option<String> {
        self.readiness(&Value::Null).and_then(|(_, path)| path)
    }

    /// Starts its replicas, in place of those it has. `before`: what ran until now.
    pub(super) fn launch(
        &self,
        site: &Site,
        log: &Arc<Log>,
        configuration: &Value,
        before: Option<&Image>,
    ) -> std::io::Result<u64> {
        let asked = text(self.container(), "/image").to_owned();
        let image = if is_own_image(&asked) {
            None
        } else {
            site.pull(self.service().as_ref(), &asked, before)
        };
        let least =
            self.template.pointer("/scale/minReplicas").and_then(Value::as_u64).unwrap_or(0);
        let mut replicas = Vec::new();
        // Also one that may have none is started once.
        for _ in 0..least.max(1) {
            let name = format!(
                "{}-{}-{}",
                self.name,
                site.dice.hex(9),
                site.dice.letters("bcdfghjklmnpqrstvwxz", 5)
            );
            let process = match &image {
                Some(image) => Some(self.prepare(site, log, configuration, image, &name)?),
                None => None,
            };
            replicas.push(Replica { name, process, ready: false, created: site.now() });
        }
        let mut inner = self.lock();
        for replica in &inner.replicas {
            if let Some(process) = &replica.process {
                process.stop(self.grace());
            }
        }
        (inner.replicas, inner.image, inner.active) = (replicas, image, true);
        inner.round += 1;
        Ok(inner.round)
    }

    fn prepare(
        &self,
        site: &Site,
        log: &Arc<Log>,
        configuration: &Value,
        image: &Image,
        replica: &str,
    ) -> std::io::Result<Arc<Process>> {
        let mut env = env_of(self.container(), configuration);
        env.insert("CONTAINER_APP_REVISION".to_owned(), self.name.clone());
        env.insert("CONTAINER_APP_REPLICA_NAME".to_owned(), replica.to_owned());
        let recipe = Recipe {
            instance: replica.to_owned(),
            tag: self.name.clone(),
            service: service_of(&env),
            arguments: arguments(arguments_of(self.container()), image),
            listens: self.port().is_some(),
            env,
            behaviour: image.behaviour.clone(),
            restart: Restart::Always,
        };
        let process = site.prepare(recipe, Arc::clone(log))?;
        process.run();
        Ok(process)
    }

    fn grace(&self) -> Duration {
        let seconds = self.template["terminationGracePeriodSeconds"].as_u64();
        // The vendor gives 30 s where nothing is said; in rehearsal time that is a tenth.
        Duration::from_secs(seconds.unwrap_or(3))
    }

    /// Looks whether its replicas are ready, as long as it is in `round`. `up` is told when the first one is.
    pub(super) async fn watch(&self, site: &Site, ingress: &Value, round: u64, up: impl Fn()) {
        let (probe, port, service) = (self.readiness(ingress), self.port(), self.service());
        let mut told = false;
        while self.lock().round == round {
            let lies = site.faults.any(service.as_ref(), Trouble::lies);
            let replicas = self.lock().replicas.clone();
            let mut all = true;
            for replica in &replicas {
                let ready = match &replica.process {
                    None => true,
                    Some(process) if lies => process.is_wanted(),
                    Some(process) => is_ready(process, probe.as_ref(), port).await,
                };
                all &= ready;
                self.note(round, &replica.name, ready);
            }
            if !told && self.lock().came_up {
                told = true;
                up();
            }
            sleep(if all { CHECK_EVERY } else { CHECK_SOON }).await;
        }
    }

    fn note(&self, round: u64, replica: &str, ready: bool) {
        let mut inner = self.lock();
        if inner.round != round {
            return;
        }
        if let Some(replica) = inner.replicas.iter_mut().find(|r| r.name == replica) {
            replica.ready = ready;
        }
        inner.came_up |= ready;
        let restarts = inner.replicas.iter().map(Replica::restarts).max().unwrap_or(0);
        inner.failed = !inner.came_up && (inner.failed || restarts >= GIVES_UP);
    }

    /// Ends its replicas. It stays what it is, but does not run.
    pub(super) async fn rest(&self) {
        let grace = self.grace();
        let processes = {
            let mut inner = self.lock();
            inner.round += 1;
            inner.replicas.iter_mut().for_each(|replica| replica.ready = false);
            inner.replicas.iter().filter_map(|r| r.process.clone()).collect::<Vec<_>>()
        };
        processes.iter().for_each(|process| process.stop(grace));
        for process in &processes {
            process.until(|status| status.pid.is_none()).await;
        }
        let mut inner = self.lock();
        inner.replicas.retain(|replica| {
            replica
                .process
                .as_ref()
                .is_some_and(|p| !processes.iter().any(|gone| Arc::ptr_eq(gone, p)))
        });
    }

    /// Takes it out of use.
    pub(super) fn deactivate(&self) {
        self.lock().active = false;
    }

    pub(super) fn is_active(&self) -> bool {
        self.lock().active
    }

    /// As the API shows it. `weight`: its part of the traffic.
    pub(super) fn view(&self, site: &Site, id: &str, weight: u32, fqdn: &str) -> Value {
        let lies = site.faults.any(self.service().as_ref(), Trouble::lies);
        let inner = self.lock();
        let running = inner.replicas.iter().filter(|r| r.runs(lies)).count();
        let mut template = self.template.clone();
        if let (Some(image), Some(digest)) =
            (&inner.image, inner.image.as_ref().and_then(|i| i.digest.clone()))
        {
            // What was really pulled.
            let host =
                text(self.container(), "/image").split('/').next().unwrap_or_default().to_owned();
            template["containers"][0]["image"] =
                json!(format!("{host}/{}@{digest}", image.repository));
        }
        let all_ready = !inner.replicas.is_empty() && inner.replicas.iter().all(|r| r.ready);
        let health = match () {
            () if inner.replicas.is_empty() => "None",
            () if all_ready || lies => "Healthy",
            () => "Unhealthy",
        };
        let provisioning = match () {
            () if !inner.active && inner.replicas.is_empty() => "Deprovisioned",
            () if !inner.active => "Deprovisioning",
            () if inner.failed => "Failed",
            () if inner.came_up || inner.replicas.is_empty() => "Provisioned",
            () => "Provisioning",
        };
        let mut properties = json!({
            "createdTime": self.created,
            "template": template,
            "active": inner.active,
            "replicas": running,
            "trafficWeight": weight,
            "healthState": health,
            "provisioningState": provisioning,
            "runningState": inner.running_state(running, all_ready, lies),
        });
        if inner.failed {
            properties["provisioningError"] = json!("Container crashing");
        }
        if !fqdn.is_empty() {
            properties["fqdn"] = json!(fqdn);
        }
        json!({ "id": id, "name": self.name, "type": "Microsoft.App/containerapps/revisions", "properties": properties })
    }

    /// Its replicas, as the API shows them. `stream`: where a replica's log is.
    pub(super) fn replica_views(
        &self,
        site: &Site,
        id: &str,
        stream: impl Fn(&str) -> String,
    ) -> Vec<Value> {
        let lies = site.faults.any(self.service().as_ref(), Trouble::lies);
        let container = text(self.container(), "/name").to_owned();
        let row = |replica: &Replica| {
            let (state, details) = replica.state(lies);
            let mut shown = json!({
                "name": container, "ready": replica.ready, "started": replica.runs(lies),
                "restartCount": replica.restarts(), "runningState": state,
                "logStreamEndpoint": stream(&replica.name),
            });
            if let Some(details) = details {
                shown["runningStateDetails"] = json!(details);
            }
            let state = if state == "Running" { "Running" } else { "NotRunning" };
            let properties = json!({ "createdTime": replica.created, "runningState": state, "containers": [shown] });
            let id = format!("{id}/replicas/{}", replica.name);
            json!({ "id": id, "name": replica.name, "type": "Microsoft.App/containerapps/revisions/replicas", "properties": properties })
        };
        self.lock().replicas.iter().map(row).collect()
    }
}

impl Inner {
    fn running_state(&self, running: usize, all_ready: bool, lies: bool) -> &'static str {
        match () {
            () if !self.active || self.replicas.is_empty() => "Stopped",
            () if all_ready || lies => "Running",
            () if self.failed => "Failed",
            () if running == 0 && self.came_up => "Failed",
            () if self.came_up => "Degraded",
            () if running == 0 && self.replicas.iter().any(|r| r.restarts() > 0) => "Degraded",
            () => "Processing",
        }
    }
}

impl Replica {
    fn phase(&self) -> Phase {
        self.process.as_ref().map_or(Phase::Running, |process| process.status().phase)
    }

    fn runs(&self, lies: bool) -> bool {
        match &self.process {
            Some(process) if lies => process.is_wanted(),
            Some(process) => process.status().pid.is_some(),
            None => true,
        }
    }

    fn restarts(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.status().starts.saturating_sub(1))
    }

    fn state(&self, lies: bool) -> (&'static str, Option<String>) {
        match self.phase() {
            _ if lies && self.runs(true) => ("Running", None),
            Phase::New => ("Waiting", Some("ContainerCreating".to_owned())),
            Phase::Starting | Phase::Running | Phase::Stopping => ("Running", None),
            Phase::BackingOff => ("Waiting", Some("CrashLoopBackOff".to_owned())),
            Phase::Stopped | Phase::Dead => {
                let exit = self.process.as_ref().and_then(|p| p.status().exits.last().copied());
                let code = exit.and_then(|e| e.code).unwrap_or(137);
                ("Terminated", Some(format!("exit code {code}")))
            }
        }
    }
}

async fn is_ready(
    process: &Process,
    probe: Option<&(u64, Option<String>)>,
    port: Option<u64>,
) -> bool {
    if !matches!(process.status().phase, Phase::Running) {
        return false;
    }
    match probe {
        None => true,
        Some((asked, _)) if Some(*asked) != port => false,
        Some((_, Some(path))) => {
            matches!(check_http(process.address, path, CHECK_WITHIN).await, Ok(200..=399))
        }
        Some((_, None)) => tokio::net::TcpStream::connect(process.address).await.is_ok(),
    }
}
