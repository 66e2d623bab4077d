//! One deployment: the process that it runs, and how it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkflow_model::ServiceName;
use tokio::time::{Instant, sleep};

use crate::cloud::log::{Log, Stream};
use crate::cloud::process::{Phase, Process, Recipe, Restart};
use crate::cloud::registry::Image;
use crate::cloud::site::{Site, arguments, service_of};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A process that lives this long counts as started.
const SETTLED: Duration = Duration::from_millis(150);
/// One that does not listen by then counts as started all the same: nobody asks it.
const PORT_WITHIN: Duration = Duration::from_secs(1);
/// How long a process has to end, as in Kubernetes with a shorter patience.
const GRACE: Duration = Duration::from_secs(5);

/// One deployment.
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) project: String,
    pub(super) service: String,
    pub(super) environment: String,
    pub(super) created: String,
    image: String,
    /// The variables as they were when this was made.
    pub(super) env: BTreeMap<String, String>,
    log: Arc<Log>,
    inner: Mutex<Inner>,
}

struct Inner {
    word: &'static str,
    started: Option<String>,
    finished: Option<String>,
    pulled: Option<Image>,
    processes: Vec<(String, Arc<Process>)>,
    came_up: bool,
}

/// Where a deployment belongs.
pub(super) struct Place {
    pub(super) project: String,
    pub(super) service: String,
    pub(super) environment: String,
}

impl Deployment {
    pub(super) fn new(
        site: &Site,
        place: Place,
        image: String,
        env: BTreeMap<String, String>,
        log: Arc<Log>,
    ) -> Arc<Self> {
        let inner = Inner {
            word: "PENDING",
            started: None,
            finished: None,
            pulled: None,
            processes: Vec::new(),
            came_up: false,
        };
        Arc::new(Self {
            id: site.dice.hex(24),
            project: place.project,
            service: place.service,
            environment: place.environment,
            created: site.now(),
            image,
            env,
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

    /// Its processes, each with its pod's name.
    pub(super) fn processes(&self) -> Vec<(String, Arc<Process>)> {
        self.lock().processes.clone()
    }

    pub(super) fn pulled(&self) -> Option<Image> {
        self.lock().pulled.clone()
    }

    /// Its own status.
    pub(super) fn word(&self) -> &'static str {
        self.lock().word
    }

    /// When it started and when it was done with.
    pub(super) fn times(&self) -> (Option<String>, Option<String>) {
        let inner = self.lock();
        (inner.started.clone(), inner.finished.clone())
    }

    /// The port that the process listens on.
    pub(super) fn port(&self) -> Option<u16> {
        self.env.get("PORT").and_then(|port| port.parse().ok())
    }

    pub(super) fn serves(&self) -> bool {
        self.lock().came_up
    }

    pub(super) fn lives(&self) -> bool {
        self.lock().processes.iter().any(|(_, process)| process.status().pid.is_some())
    }

    fn is_over(&self) -> bool {
        matches!(self.word(), "REMOVED" | "CANCELED" | "FAILED")
    }

    /// Goes on to `word`, unless it was taken away meanwhile.
    fn advance(&self, site: &Site, word: &'static str) -> bool {
        let mut inner = self.lock();
        if matches!(inner.word, "REMOVED" | "CANCELED") {
            return false;
        }
        inner.word = word;
        inner.came_up |= word == "RUNNING";
        if word == "RUNNING" && inner.started.is_none() {
            inner.started = Some(site.now());
        }
        true
    }

    /// Drives it until it runs, or is given up. `before` is what ran until now. It says whether it came up.
    pub(super) async fn deploy(&self, site: &Site, before: Option<Image>) -> bool {
        let service = self.about();
        // For this long the service's status still tells of the deployment before.
        site.dawdle(100, 250).await;
        let Some(image) = site.pull(service.as_ref(), &self.image, before.as_ref()) else {
            self.say(&format!("Failed to pull image \"{}\": not found", self.image));
            self.advance(site, "FAILED");
            return false;
        };
        if !self.advance(site, "DEPLOYING") {
            return false;
        }
        site.get_unstuck(service.as_ref()).await;
        site.dawdle(30, 150).await;
        if self.is_over() {
            return false;
        }
        if let Err(error) = self.launch(site, image) {
            self.say(&format!("Failed to start: {error}"));
            self.advance(site, "CRASHED");
            return false;
        }
        self.come_up(site).await
    }

    fn say(&self, text: &str) {
        self.log.write(Stream::Provider, "", &self.id, text);
    }

    fn launch(&self, site: &Site, image: Image) -> std::io::Result<()> {
        let pod = format!("service-{}-{}", self.service, site.dice.hex(5));
        let recipe = Recipe {
            instance: pod.clone(),
            tag: self.id.clone(),
            service: self.about(),
            arguments: arguments(None, &image),
            env: self.env.clone(),
            listens: self.port().is_some(),
            behaviour: image.behaviour.clone(),
            restart: Restart::Always,
        };
        let process = site.prepare(recipe, Arc::clone(&self.log))?;
        let mut inner = self.lock();
        if !matches!(inner.word, "REMOVED" | "CANCELED") {
            process.run();
        }
        (inner.processes, inner.pulled) = (vec![(pod, process)], Some(image));
        Ok(())
    }

    /// Waits until its process has lived for a while. One that ends is started again and again, and meanwhile the
    /// deployment counts as crashed.
    async fn come_up(&self, site: &Site) -> bool {
        let mut since = Instant::now();
        let mut starts = 1;
        loop {
            sleep(LOOK_EVERY).await;
            let Some((_, process)) = self.processes().pop() else { return false };
            let status = process.status();
            if self.is_over() {
                return false;
            }
            if status.starts != starts {
                (starts, since) = (status.starts, Instant::now());
            }
            let patience = match status.phase {
                Phase::Running if starts <= 1 => SETTLED,
                Phase::Running | Phase::Starting => PORT_WITHIN,
                Phase::BackingOff | Phase::Dead => {
                    self.advance(site, "CRASHED");
                    continue;
                }
                _ => continue,
            };
            if since.elapsed() > patience {
                return self.advance(site, "RUNNING");
            }
        }
    }

    /// Takes it away: another one has come up, or the service goes.
    pub(super) fn remove(&self, site: &Site) {
        self.end(site, "REMOVED");
    }

    /// Ends its process. One that was not up yet is given up.
    pub(super) fn suspend(&self, site: &Site) {
        let word = match self.word() {
            "PENDING" | "DEPLOYING" => "CANCELED",
            other => other,
        };
        self.end(site, word);
    }

    /// Waits until nothing of it runs, and forgets its processes.
    pub(super) async fn clear(&self) {
        for (_, process) in self.processes() {
            process.until(|status| status.pid.is_none()).await;
        }
        self.lock().processes.clear();
    }

    fn end(&self, site: &Site, word: &'static str) {
        let mut inner = self.lock();
        (inner.word, inner.came_up) = (word, false);
        inner.finished.get_or_insert_with(|| site.now());
        inner.processes.iter().for_each(|(_, process)| process.stop(GRACE));
    }
}
