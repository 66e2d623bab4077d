//! One provider's data centre: what every simulated vendor needs, whatever its API looks like.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::{Clock, ProviderName, ServiceName};
use serde::Serialize;
use tokio::time::sleep;

use super::answer::{Answer, Call};
use super::dice::Dice;
use super::door::Door;
use super::ingress::Ingress;
use super::log::{Log, moment};
use super::process::{Phase, Process, Recipe, Runner};
use super::registry::{Image, Images};
use super::tasks::Tasks;
use super::trouble::{Faults, Trouble};

/// A vendor: an API of its own over a [`Site`].
#[async_trait]
pub(crate) trait Vendor: Send + Sync + 'static {
    /// Answers one call to the management API.
    async fn answer(self: Arc<Self>, call: Call) -> Answer;

    /// What the API says to a client that asks too often.
    fn limited(&self) -> Answer;

    /// Where requests for `host` go, or those that came by an entrance of that name.
    fn route(&self, host: &str) -> Route;

    /// What the ingress answers in place of an app: status, content type, body.
    fn page(&self, why: Blank) -> (u16, &'static str, String);

    /// Every instance, for the control API.
    fn instances(&self) -> Vec<InstanceView>;
}

/// Why the ingress has no app's answer to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blank {
    /// Nobody has that host.
    UnknownHost,
    /// No instance runs.
    NoInstance,
    /// The instance did not answer.
    NoAnswer,
}

/// Where a host leads.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// Nowhere.
    Unknown,
    /// To a service without a running instance.
    Idle(Option<ServiceName>),
    /// To a service that slept and is being started for this very request, which waits for it.
    Waking(Option<ServiceName>),
    /// To an instance.
    To(Target),
}

/// An instance that serves.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) service: Option<ServiceName>,
    /// `None`: the provider was told a port on which the app does not listen.
    pub(crate) address: Option<SocketAddr>,
    /// The path that its health check asks.
    pub(crate) health: Option<String>,
    /// Whether a request that came by HTTP/2 goes on as such.
    pub(crate) http2: bool,
}

/// One process, as the control API shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceView {
    /// The service, by the `LINKFLOW_SERVICE` it was given, or else by the vendor's own name for it.
    pub service: String,
    /// The vendor's id of the instance.
    pub id: String,
    /// How the vendor calls its state.
    pub said: String,
    /// How the process really stands: `running`, `dead`, …
    pub really: String,
    /// Its process id while it lives.
    pub pid: Option<u32>,
    /// Where it listens.
    pub address: String,
    /// How often it was started.
    pub starts: u32,
}

impl InstanceView {
    pub(crate) fn of(service: String, id: String, said: String, process: &Process) -> Self {
        let status = process.status();
        let really = format!("{:?}", status.phase).to_lowercase();
        Self {
            service,
            id,
            said,
            really,
            pid: status.pid,
            address: process.address.to_string(),
            starts: status.starts,
        }
    }
}

/// How much the API of one provider was asked since its cloud started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Every request that reached it.
    pub requests: u64,
    /// Those that it refused because they came faster than the vendor allows.
    pub refused: u64,
}

impl Counts {
    /// Counts one request to the API and what became of it.
    pub(crate) fn note(&self, answer: &Answer) {
        self.api.fetch_add(1, Ordering::Relaxed);
        if answer.is_refused_for_rate() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the API was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Asked { requests: read(&self.api), refused: read(&self.refused) }
    }
}

/// What one provider has.
pub(crate) struct Site {
    pub(crate) name: ProviderName,
    pub(crate) token: String,
    pub(crate) host_suffix: String,
    pub(crate) faults: Faults,
    pub(crate) images: Arc<Images>,
    pub(crate) dice: Dice,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) runner: Arc<Runner>,
    pub(crate) logs: PathBuf,
    pub(crate) counts: Counts,
    pub(crate) processes: Mutex<Vec<Weak<Process>>>,
    pub(crate) front: OnceLock<Weak<Ingress>>,
    /// Ways in beside the ingress's own port, by name.
    pub(crate) entrances: Mutex<BTreeMap<String, Arc<Door>>>,
}

/// How much one provider was asked.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) api: AtomicU64,
    /// Of those to the API, the ones that came too fast.
    pub(crate) refused: AtomicU64,
    pub(crate) ingress: AtomicU64,
    /// By service.
    pub(crate) services: Mutex<BTreeMap<String, u64>>,
}

impl Site {
    /// The log of `service`.
    pub(crate) fn log(&self, service: &str) -> Arc<Log> {
        let file = self.logs.join(format!("{}-{}.log", self.name, service.replace('/', "-")));
        Log::open(&file, Arc::clone(&self.clock))
    }

    /// Makes a process that suffers this provider's faults.
    pub(crate) fn prepare(&self, recipe: Recipe, log: Arc<Log>) -> io::Result<Arc<Process>> {
        let process = Arc::new(self.runner.prepare(recipe, log)?);
        self.strike(&process);
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.retain(|p| p.strong_count() > 0);
        processes.push(Arc::downgrade(&process));
        // A fault set in between would have missed it.
        self.strike(&process);
        Ok(process)
    }

    /// Lets every process suffer what the faults of now say.
    pub(crate) fn strike_all(&self) {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter().filter_map(Weak::upgrade).for_each(|p| self.strike(&p));
    }

    fn strike(&self, process: &Process) {
        let any = |fits: fn(Trouble) -> bool| self.faults.any(process.service.as_ref(), fits);
        process.suffer(any(Trouble::kills), any(Trouble::freezes));
    }

    /// Opens one more port to the ingress: [`Vendor::route`] is asked for `name`, whatever host a request names.
    pub(crate) fn open_entrance(&self, name: &str) -> io::Result<SocketAddr> {
        let front = self.front.get().and_then(Weak::upgrade);
        let front = front.ok_or_else(|| io::Error::other("the ingress is not up yet"))?;
        let key: Arc<str> = name.into();
        let door = Door::open(&self.tasks, move |wire| {
            Arc::clone(&front).serve(wire, Some(Arc::clone(&key)))
        })?;
        let address = door.address();
        self.entrances.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), door);
        self.set_entrances();
        Ok(address)
    }

    /// Shuts such a port for good.
    pub(crate) fn shut_entrance(&self, name: &str) {
        let door = self.entrances.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(door) = door {
            door.set_open(false);
        }
    }

    /// Shuts or opens all such ports, as the faults of now say.
    pub(crate) fn set_entrances(&self) {
        let open = !self.faults.any(None, Trouble::shuts_ingress);
        let entrances = self.entrances.lock().unwrap_or_else(PoisonError::into_inner);
        entrances.values().for_each(|door| door.set_open(open));
    }

    /// Whether `process` runs, as far as this provider says.
    pub(crate) fn says_running(&self, process: &Process) -> bool {
        if self.faults.any(process.service.as_ref(), Trouble::lies) {
            return process.is_wanted();
        }
        matches!(process.status().phase, Phase::Starting | Phase::Running)
    }

    /// Waits as long as deploys of `service` are stuck.
    pub(crate) async fn get_unstuck(&self, service: Option<&ServiceName>) {
        self.faults.outlast(service, |t| matches!(t, Trouble::DeployStuck)).await;
    }

    /// Whether this provider refuses to make or change anything for `service`.
    pub(crate) fn is_out_of_quota(&self, service: Option<&ServiceName>) -> bool {
        self.faults.any(service, |t| matches!(t, Trouble::OutOfQuota))
    }

    /// What really runs when `asked` is deployed over `before`.
    pub(crate) fn pull(
        &self,
        service: Option<&ServiceName>,
        asked: &str,
        before: Option<&Image>,
    ) -> Option<Image> {
        self.pull_as(service, asked, before, None)
    }

    /// As [`Site::pull`], by whoever has `login`, a user and a password: private images want the right one.
    pub(crate) fn pull_as(
        &self,
        service: Option<&ServiceName>,
        asked: &str,
        before: Option<&Image>,
        login: Option<(&str, &str)>,
    ) -> Option<Image> {
        let image = self.images.find(asked).filter(|_| self.images.lets_in(asked, login))?;
        Some(self.what_runs(service, image, before))
    }

    /// What really runs when `image` is deployed over `before`.
    pub(crate) fn what_runs(
        &self,
        service: Option<&ServiceName>,
        image: Image,
        before: Option<&Image>,
    ) -> Image {
        if !self.faults.any(service, |t| matches!(t, Trouble::WrongImage)) {
            return image;
        }
        before.cloned().or_else(|| self.images.first_good(&image.repository)).unwrap_or(image)
    }

    /// Takes as long as vendors do, in rehearsal time.
    pub(crate) async fn dawdle(&self, low_ms: u64, high_ms: u64) {
        sleep(self.dice.while_ms(low_ms, high_ms)).await;
    }

    /// Now, as RFC 3339.
    pub(crate) fn now(&self) -> String {
        moment(self.clock.wall())
    }

    /// Counts one request that came in for `service`.
    pub(crate) fn count(&self, service: Option<&ServiceName>) {
        self.counts.ingress.fetch_add(1, Ordering::Relaxed);
        if let Some(service) = service {
            let mut services = self.counts.services.lock().unwrap_or_else(PoisonError::into_inner);
            match services.get_mut(service.as_str()) {
                Some(count) => *count += 1,
                None => drop(services.insert(service.to_string(), 1)),
            }
        }
    }

    /// How many requests came in for `service`.
    pub(crate) fn requests_of(&self, service: &ServiceName) -> u64 {
        let services = self.counts.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.get(service.as_str()).copied().unwrap_or(0)
    }

    /// One of the `processes` that run, in turn.
    pub(crate) fn take_turn<'a>(&self, processes: &[&'a Arc<Process>]) -> Option<&'a Arc<Process>> {
        let running: Vec<_> =
            processes.iter().filter(|p| p.status().phase == Phase::Running).collect();
        let turn = self.counts.ingress.load(Ordering::Relaxed);
        let index =
            usize::try_from(turn % u64::try_from(running.len().max(1)).unwrap_or(1)).unwrap_or(0);
        running.get(index).map(|p| **p)
    }
}

/// The command line after `app`: the command, or else the last part of the image's repository.
pub(crate) fn arguments(command: Option<Vec<String>>, image: &Image) -> Vec<String> {
    let own = || image.repository.rsplit('/').next().map(str::to_owned).into_iter().collect();
    command.filter(|c| !c.is_empty()).unwrap_or_else(own)
}

/// The service that an environment says it is.
pub(crate) fn service_of(env: &BTreeMap<String, String>) -> Option<ServiceName> {
    env.get("LINKFLOW_SERVICE").and_then(|name| ServiceName::new(name))
}

/// Asks a health path once, as a vendor's checker does. `Ok`: the status.
pub(crate) async fn check_http(
    address: SocketAddr,
    path: &str,
    within: Duration,
) -> Result<u16, String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: health check\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, io::Error>(head)
    };
    let head = match tokio::time::timeout(within, ask).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {within:?}")),
    };
    let status = std::str::from_utf8(&head[9..]).ok().and_then(|s| s.parse().ok());
    status.ok_or_else(|| "the answer is not HTTP".to_owned())
}
