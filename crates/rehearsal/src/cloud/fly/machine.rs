//! One machine: its configuration, the process it runs, and the state that follows from both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkflow_model::{ServiceName, Timestamp};
use serde_json::{Map, Value, json};

use super::config::{Check, Config, Exposed};
use super::lease::Lease;
use crate::cloud::log::{Log, moment};
use crate::cloud::process::{Exit, Phase, Process, Recipe};
use crate::cloud::registry::Image;
use crate::cloud::site::{InstanceView, Site, arguments, check_http, service_of};
use crate::cloud::trouble::Trouble;

const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Until a check first passes.
const CHECK_SOON: Duration = Duration::from_millis(50);
const CHECK_WITHIN: Duration = Duration::from_secs(2);

/// What a machine is meant to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Running,
    Stopped,
    Suspended,
    Destroyed,
}

/// One machine.
pub(super) struct Machine {
    pub(super) id: String,
    pub(super) app: String,
    log: Arc<Log>,
    inner: Mutex<Inner>,
}

/// What changes of a machine.
pub(super) struct Inner {
    pub(super) name: String,
    pub(super) region: String,
    created: String,
    updated: String,
    pub(super) config: Config,
    /// Changes with each update; the API also calls it the instance's id.
    pub(super) version: String,
    pub(super) versions: Vec<(String, Value)>,
    /// What really runs.
    pub(super) image: Image,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) wanted: Wanted,
    /// The state while something is under way.
    moving: Option<&'static str>,
    pub(super) cordoned: bool,
    /// Grows with each thing asked of the machine, so that what was under way before stops.
    round: u64,
    process: Option<Arc<Process>>,
    pub(super) lease: Option<Lease>,
    /// When, and what, oldest first.
    events: Vec<(Timestamp, Value)>,
    checks: Vec<(Check, &'static str, String, String)>,
    /// Since when what runs is on its way out: from then on its end is what was asked for.
    outgoing_since: Option<Timestamp>,
    /// Whether nobody has waited for it yet.
    pub(super) unawaited: bool,
}

/// What a machine is made of.
pub(super) struct Birth {
    pub(super) app: String,
    pub(super) name: String,
    pub(super) region: String,
    pub(super) config: Config,
    pub(super) image: Image,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) log: Arc<Log>,
}

impl Machine {
    pub(super) fn new(site: &Site, birth: Birth) -> Arc<Self> {
        let (now, version) = (site.now(), site.dice.ulid());
        let inner = Inner {
            name: birth.name,
            region: birth.region,
            created: now.clone(),
            updated: now,
            versions: vec![(version.clone(), birth.config.value().clone())],
            config: birth.config,
            version,
            image: birth.image,
            secrets: birth.secrets,
            wanted: Wanted::Stopped,
            moving: None,
            cordoned: false,
            round: 0,
            process: None,
            lease: None,
            events: Vec::new(),
            checks: Vec::new(),
            outgoing_since: None,
            unawaited: true,
        };
        let machine = Self {
            id: site.dice.hex(14),
            app: birth.app,
            log: birth.log,
            inner: Mutex::new(inner),
        };
        machine.note(site, "launch", "created", "user", None);
        Arc::new(machine)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn service(&self) -> Option<ServiceName> {
        service_of(&self.lock().config.env())
    }

    pub(super) fn is_destroyed(&self) -> bool {
        self.lock().wanted == Wanted::Destroyed
    }

    /// Its process, when the ingress may send requests there.
    pub(super) fn served(&self) -> Option<(Arc<Process>, Exposed)> {
        let inner = self.lock();
        let exposed = inner
            .config
            .exposed()
            .filter(|_| !inner.cordoned && inner.wanted == Wanted::Running)?;
        Some((Arc::clone(inner.process.as_ref()?), exposed))
    }

    /// Adds to what happened.
    pub(super) fn note(
        &self,
        site: &Site,
        kind: &str,
        status: &str,
        source: &str,
        request: Option<Value>,
    ) {
        let at = site.clock.wall();
        let mut event = json!({ "id": site.dice.ulid(), "type": kind, "status": status, "source": source, "timestamp": at.0 });
        if let Some(request) = request {
            event["request"] = request;
        }
        let mut inner = self.lock();
        inner.events.push((at, event));
        inner.updated = moment(at);
    }

    /// Its state, in the vendor's word.
    pub(super) fn state(&self, site: &Site) -> &'static str {
        let service = self.service();
        let inner = self.lock();
        let lies = site.faults.any(service.as_ref(), Trouble::lies);
        if lies
            && inner.wanted == Wanted::Running
            && matches!(inner.moving, None | Some("starting"))
        {
            return "started";
        }
        if let Some(moving) = inner.moving {
            return moving;
        }
        match inner.wanted {
            Wanted::Destroyed => "destroyed",
            Wanted::Suspended => "suspended",
            Wanted::Stopped => "stopped",
            Wanted::Running => match inner.process.as_ref().map(|p| p.status().phase) {
                None | Some(Phase::New | Phase::BackingOff) => "starting",
                Some(Phase::Starting | Phase::Running) => "started",
                Some(Phase::Stopping) => "stopping",
                Some(Phase::Stopped | Phase::Dead) => "stopped",
            },
        }
    }

    /// Begins something new: what was under way before does not go on.
    fn begin(&self, wanted: Wanted, moving: &'static str) -> u64 {
        let mut inner = self.lock();
        inner.round += 1;
        (inner.wanted, inner.moving) = (wanted, Some(moving));
        inner.round
    }

    /// Changes the state word, unless something else was begun since `round`.
    fn advance(&self, round: u64, moving: Option<&'static str>) -> bool {
        let mut inner = self.lock();
        if inner.round == round {
            inner.moving = moving;
        }
        inner.round == round
    }

    /// Runs what is configured now, in place of what runs.
    pub(super) fn launch(self: &Arc<Self>, site: &Arc<Site>, moving: &'static str) {
        let round = self.begin(Wanted::Running, moving);
        let crashing =
            |p: &Arc<Process>| matches!(p.status().phase, Phase::BackingOff | Phase::Dead);
        if let Some(process) = self.process().filter(crashing) {
            // Nothing runs, and what comes next is not that.
            process.stop(Duration::ZERO);
        }
        let (machine, site) = (Arc::clone(self), Arc::clone(site));
        site.tasks.clone().start(async move {
            site.get_unstuck(machine.service().as_ref()).await;
            site.dawdle(50, 250).await;
            if !machine.advance(round, Some(moving)) {
                return;
            }
            machine.retire().await;
            if !machine.advance(round, Some("starting")) {
                return;
            }
            match machine.prepare(&site) {
                Ok(process) => machine.get_started(&site, &process, round).await,
                Err(error) => {
                    tracing::warn!(machine = machine.id, %error, "a process could not be prepared");
                    machine.lock().wanted = Wanted::Stopped;
                    machine.advance(round, None);
                }
            }
        });
    }

    /// Starts the process that is there, after a stop; the first time, makes it.
    pub(super) fn start(self: &Arc<Self>, site: &Arc<Site>) {
        let Some(process) = self.lock().process.clone() else {
            return self.launch(site, "starting");
        };
        let round = self.begin(Wanted::Running, "starting");
        let (machine, site) = (Arc::clone(self), Arc::clone(site));
        site.tasks.clone().start(async move {
            site.dawdle(30, 120).await;
            if machine.advance(round, Some("starting")) {
                machine.get_started(&site, &process, round).await;
            }
        });
    }

    async fn get_started(self: &Arc<Self>, site: &Arc<Site>, process: &Arc<Process>, round: u64) {
        let before = process.status().starts;
        process.run();
        process.until(|s| s.starts > before).await;
        if self.advance(round, None) {
            self.note(site, "start", "started", "flyd", None);
            if self.lock().config.is_ephemeral() {
                process.until(|s| matches!(s.phase, Phase::Stopped | Phase::Dead)).await;
                self.destroy(site);
                return;
            }
            self.check(site, process, round).await;
        }
    }

    /// Makes the process that the configuration asks for.
    fn prepare(&self, site: &Arc<Site>) -> std::io::Result<Arc<Process>> {
        let mut inner = self.lock();
        let mut env = inner.config.env();
        let service = service_of(&env);
        env.extend(inner.secrets.clone());
        env.extend(self.own_env(&inner));
        let recipe = Recipe {
            instance: self.id.clone(),
            tag: inner.version.clone(),
            service,
            arguments: arguments(inner.config.command(), &inner.image),
            env,
            listens: inner.config.port().is_some(),
            behaviour: inner.image.behaviour.clone(),
            restart: inner.config.restart(),
        };
        let process = site.prepare(recipe, Arc::clone(&self.log))?;
        inner.process = Some(Arc::clone(&process));
        Ok(process)
    }

    /// The environment that the vendor adds.
    fn own_env(&self, inner: &Inner) -> BTreeMap<String, String> {
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        BTreeMap::from([
            text("FLY_APP_NAME", &self.app),
            text("FLY_MACHINE_ID", &self.id),
            text("FLY_ALLOC_ID", &self.id),
            text("FLY_MACHINE_VERSION", &inner.version),
            text("FLY_REGION", &inner.region),
            text("PRIMARY_REGION", &inner.region),
            text("FLY_PRIVATE_IP", &private_ip(&self.id)),
            text("FLY_IMAGE_REF", &inner.config.image().unwrap_or_default()),
            text("FLY_VM_MEMORY_MB", &inner.config.memory_mb().to_string()),
        ])
    }

    /// Ends the process that runs and remembers how it ended.
    async fn retire(&self) {
        let (process, grace) = {
            let inner = self.lock();
            (inner.process.clone(), inner.config.grace())
        };
        let Some(process) = process else { return };
        process.stop(grace);
        process.until(|s| s.pid.is_none()).await;
        let mut inner = self.lock();
        let ends = inner.ends(&process);
        inner.events.extend(ends);
        inner.events.sort_by_key(|(at, _)| *at);
        inner.process = None;
        inner.outgoing_since = None;
        inner.checks.clear();
    }

    /// Stops it, in the sense of `wanted`.
    pub(super) fn stop(
        self: &Arc<Self>,
        site: &Arc<Site>,
        wanted: Wanted,
        grace: Option<Duration>,
    ) {
        let moving = if wanted == Wanted::Suspended { "suspending" } else { "stopping" };
        let round = self.begin(wanted, moving);
        self.note(
            site,
            if wanted == Wanted::Suspended { "suspend" } else { "stop" },
            moving,
            "user",
            None,
        );
        let (machine, site) = (Arc::clone(self), Arc::clone(site));
        site.tasks.clone().start(async move {
            let (process, own) = {
                let inner = machine.lock();
                (inner.process.clone(), inner.config.grace())
            };
            if let Some(process) = process {
                process.stop(grace.unwrap_or(own));
                process.until(|s| s.pid.is_none()).await;
            }
            machine.advance(round, None);
        });
    }

    /// Starts the process again.
    pub(super) fn restart(self: &Arc<Self>, site: &Arc<Site>) {
        let Some(process) = self.lock().process.clone() else {
            return self.launch(site, "starting");
        };
        let round = self.begin(Wanted::Running, "stopping");
        self.note(site, "restart", "restarting", "user", None);
        let (machine, site) = (Arc::clone(self), Arc::clone(site));
        site.tasks.clone().start(async move {
            process.stop(machine.lock().config.grace());
            process.until(|s| s.pid.is_none()).await;
            if machine.advance(round, Some("starting")) {
                machine.get_started(&site, &process, round).await;
            }
        });
    }

    /// Takes it away.
    pub(super) fn destroy(self: &Arc<Self>, site: &Arc<Site>) {
        let round = self.begin(Wanted::Destroyed, "destroying");
        self.note(site, "destroy", "destroying", "user", None);
        let (machine, site) = (Arc::clone(self), Arc::clone(site));
        site.tasks.clone().start(async move {
            machine.retire().await;
            machine.advance(round, None);
            machine.note(&site, "destroy", "destroyed", "flyd", None);
        });
    }

    /// Gives it another configuration, and a new version with it.
    pub(super) fn change(
        &self,
        site: &Site,
        config: Config,
        image: Image,
        secrets: BTreeMap<String, String>,
    ) {
        let mut inner = self.lock();
        inner.outgoing_since = Some(site.clock.wall());
        inner.version = site.dice.ulid();
        let version = (inner.version.clone(), config.value().clone());
        inner.versions.push(version);
        (inner.config, inner.image, inner.secrets) = (config, image, secrets);
    }

    /// Asks its health checks as long as it stays as it is.
    async fn check(&self, site: &Site, process: &Arc<Process>, round: u64) {
        let (checks, port, service) = {
            let inner = self.lock();
            (inner.config.checks(), inner.config.port(), service_of(&inner.config.env()))
        };
        if checks.is_empty() {
            return;
        }
        self.lock().checks = checks
            .iter()
            .map(|check| {
                (check.clone(), "warning", "the machine hasn't started".to_owned(), site.now())
            })
            .collect();
        while self.lock().round == round {
            let mut passing = true;
            for (index, check) in checks.iter().enumerate() {
                let said = if site.faults.any(service.as_ref(), Trouble::lies) {
                    Ok("still passing".to_owned())
                } else if check.port == port {
                    check_once(process, check.path.as_deref()).await
                } else {
                    Err(format!(
                        "connect to port {:?}: connection refused",
                        check.port.unwrap_or_default()
                    ))
                };
                passing &= said.is_ok();
                let (status, output) = match said {
                    Ok(output) => ("passing", output),
                    Err(output) => ("critical", output),
                };
                if let Some(held) = self.lock().checks.get_mut(index)
                    && (held.1, &held.2) != (status, &output)
                {
                    (held.1, held.2, held.3) = (status, output, site.now());
                }
            }
            tokio::time::sleep(if passing { CHECK_EVERY } else { CHECK_SOON }).await;
        }
    }

    /// As the API shows it.
    pub(super) fn view(&self, site: &Site) -> Map<String, Value> {
        let state = self.state(site);
        let events = self.events();
        let inner = self.lock();
        let checks: Vec<Value> = inner
            .checks
            .iter()
            .map(|(check, status, output, at)| {
                json!({ "name": check.name, "status": status, "output": output, "updated_at": at })
            })
            .collect();
        let asked = inner.config.image().unwrap_or_default();
        let named = asked.parse::<linkflow_model::ImageRef>().ok();
        let (registry, repository) =
            named.map_or_else(Default::default, |named| (named.registry, named.repository));
        let view = json!({
            "id": self.id,
            "name": inner.name,
            "state": state,
            "region": inner.region,
            "instance_id": inner.version,
            "private_ip": private_ip(&self.id),
            "host_status": "ok",
            "created_at": inner.created,
            "updated_at": inner.updated,
            "config": inner.config.value(),
            "image_ref": {
                "registry": registry,
                "repository": repository,
                "tag": inner.image.tag,
                "digest": inner.image.digest,
                "labels": {},
            },
            "checks": checks,
            "events": events.into_iter().take(10).collect::<Vec<_>>(),
        });
        match view {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// What happened, newest first.
    pub(super) fn events(&self) -> Vec<Value> {
        let inner = self.lock();
        let ends = inner.process.as_ref().map(|process| inner.ends(process)).unwrap_or_default();
        let mut all: Vec<(Timestamp, Value)> = inner.events.iter().cloned().chain(ends).collect();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().rev().map(|(_, event)| event).collect()
    }

    /// For the control API.
    pub(super) fn instance(&self, site: &Site, app: String) -> Option<InstanceView> {
        let service = self.service().map_or(app, |s| s.to_string());
        let said = self.state(site).to_owned();
        let process = self.lock().process.clone()?;
        Some(InstanceView::of(service, self.id.clone(), said, &process))
    }

    /// Its process, if it has one.
    pub(super) fn process(&self) -> Option<Arc<Process>> {
        self.lock().process.clone()
    }
}

impl Inner {
    /// How `process` ended, each time.
    fn ends(&self, process: &Process) -> Vec<(Timestamp, Value)> {
        let event = |mut exit: Exit| {
            exit.requested |= self.outgoing_since.is_some_and(|since| exit.at >= since);
            (exit.at, exit_event(&exit))
        };
        process.status().exits.into_iter().map(event).collect()
    }
}

fn private_ip(id: &str) -> String {
    format!("fdaa:0:1:a7b:{}:{}:{}:2", &id[0..4], &id[4..8], &id[8..12])
}

async fn check_once(process: &Process, path: Option<&str>) -> Result<String, String> {
    match path {
        Some(path) => match check_http(process.address, path, CHECK_WITHIN).await? {
            status @ 200..=299 => Ok(format!("HTTP GET {path}: {status}")),
            status => Err(format!("HTTP GET {path}: {status}")),
        },
        None => match tokio::net::TcpStream::connect(process.address).await {
            Ok(_) => Ok("Success".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// How the vendor tells of a process that ended. The id follows from the exit, so that it stays the same.
fn exit_event(exit: &Exit) -> Value {
    let told = json!({
        "requested_stop": exit.requested,
        "restarting": exit.restarting,
        "guest_exit_code": exit.code.unwrap_or(0),
        "guest_signal": exit.signal.unwrap_or(-1),
        "guest_error": "",
        "exit_code": exit.code.unwrap_or(0),
        "signal": exit.signal.unwrap_or(-1),
        "error": "",
        "oom_killed": false,
        "exited_at": moment(exit.at),
    });
    json!({
        "id": format!("01{:024}", exit.at.0),
        "type": "exit",
        "status": "stopped",
        "source": "flyd",
        "timestamp": exit.at.0,
        "request": { "exit_event": told, "restart_count": 0 },
    })
}
