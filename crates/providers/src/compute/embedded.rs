//! Child processes on this machine: the compute provider that needs no account.
//!
//! A program that is on the machine stands for each image. Processes have their own process group, write to files and
//! live on when LinkFlow ends; the next LinkFlow finds them again by what is on disk. As any platform does, it starts
//! again what crashed, with growing waits. Memory and CPU are not limited here.

mod home;
mod job;
mod keeper;
mod log;
mod process;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, Job, JobState, LogLine, Progress, Seen,
};
use linkflow_model::{
    Clock, Definition, Fault, FaultKind, Lifecycle, PinnedImage, ProviderName, ServiceKind,
    ServiceName, StackName,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::kit::Kit;
use home::Home;
use keeper::Keeper;
use state::{Life, State, Wanted};

/// How often processes are looked after.
const EVERY: Duration = Duration::from_millis(500);

/// How long a port may take to accept.
const ACCEPTS_WITHIN: Duration = Duration::from_millis(500);

/// How often a delete looks whether the processes have ended.
const DELETE_EVERY: Duration = Duration::from_millis(20);

/// How long a killed process may take to be gone.
const DIES_WITHIN: Duration = Duration::from_secs(5);

/// A deploy has failed when an instance crashed this often in a row.
const CRASHES: u32 = 3;

/// What the provider needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it keeps state and logs: `FOLDER/STACK/PROVIDER/SERVICE.json`, `.log`, `.log.1`. Providers may share it.
    pub folder: PathBuf,
    /// The folder that programs run in: the one of the config.
    pub workdir: PathBuf,
    /// The command line that stands for each image, by repository: `ghcr.io/acme/api` → `linkflow app api`. Its first
    /// word is what Docker calls the entrypoint: a definition's command replaces the others.
    pub programs: BTreeMap<String, Vec<String>>,
    /// What every process finds in its environment beside its own: `PATH`, `HOME`. Nothing else of LinkFlow's
    /// environment reaches it.
    pub env: BTreeMap<String, String>,
    /// The address that services listen on, the loopback one unless others are to reach them. They are told it as
    /// `LINKFLOW_BIND`, and their port as `PORT`: the one they ask for when it is free, otherwise another.
    pub bind: IpAddr,
}

/// Opens the provider that the config calls `provider`, for the placements of `stack`.
pub fn open(settings: Settings, kit: &Kit, stack: &StackName, provider: &ProviderName) -> Embedded {
    Embedded::new(settings, kit.clock(), stack, provider)
}

/// Runs services as child processes.
///
/// Its calls must be awaited on a tokio runtime. From the first one on, until it is dropped, a task of its own looks
/// after the processes. Several processes of LinkFlow may do so at once: a file
/// lock for each service lets one do it at a time.
pub struct Embedded {
    keeper: Arc<Keeper>,
    stack: StackName,
    provider: ProviderName,
    tending: Mutex<Option<JoinSet<()>>>,
}

impl Embedded {
    /// The provider `provider` of `stack`. Nothing is touched yet.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        stack: &StackName,
        provider: &ProviderName,
    ) -> Self {
        let home = Home::new(settings.folder.clone(), stack, provider);
        let keeper = Arc::new(Keeper::new(home, settings, clock));
        let (stack, provider) = (stack.clone(), provider.clone());
        Self { keeper, stack, provider, tending: Mutex::new(None) }
    }

    /// Looks after every service once: sees who ended, stops, kills and starts what is due. Happens by itself too.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub async fn tend(&self) -> Result<(), Fault> {
        self.with_keeper("look after its processes", Keeper::visit_all).await
    }

    /// Does `work` off the async threads.
    async fn with_keeper<T: Send + 'static>(
        &self,
        attempt: &'static str,
        work: impl FnOnce(&Keeper) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.start_tending();
        let keeper = Arc::clone(&self.keeper);
        let done = tokio::task::spawn_blocking(move || work(&keeper)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| self.fault(kind_of(&error), attempt, &error.to_string()))
    }

    fn start_tending(&self) {
        let mut tending = self.tending.lock().unwrap_or_else(PoisonError::into_inner);
        tending.get_or_insert_with(|| {
            let mut task = JoinSet::new();
            task.spawn(tend_for_ever(Arc::clone(&self.keeper)));
            task
        });
    }

    /// Changes what is wanted of `service` by `change`, then tends it.
    async fn change<T: Send + 'static>(
        &self,
        attempt: &'static str,
        service: &ServiceName,
        change: impl FnOnce(&mut Option<State>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let service = service.clone();
        let visit = move |keeper: &Keeper| Ok(keeper.visit(&service, change)?.0);
        self.with_keeper(attempt, visit).await
    }

    /// As [`Embedded::change`], of a service that is there.
    async fn change_deployed(
        &self,
        attempt: &'static str,
        service: &ServiceName,
        change: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<(), Fault> {
        let found = self.change(attempt, service, |held| {
            Ok(held.as_mut().filter(|state| !state.deleting).map(change).is_some())
        });
        if found.await? { Ok(()) } else { Err(self.missing(attempt, service)) }
    }

    /// Goes on with a delete; says whether the service is gone.
    async fn delete_step(&self, service: &ServiceName) -> Result<bool, Fault> {
        let service = service.clone();
        let delete = |held: &mut Option<State>| {
            if let Some(state) = held {
                state.deleting = true;
            }
            Ok(())
        };
        let visit = move |keeper: &Keeper| Ok(keeper.visit(&service, delete)?.1.is_none());
        self.with_keeper("delete", visit).await
    }

    fn missing(&self, attempt: &str, service: &ServiceName) -> Fault {
        self.fault(FaultKind::Missing, attempt, &format!("{service} is not deployed here"))
    }

    fn fault(&self, kind: FaultKind, attempt: &str, said: &str) -> Fault {
        let (provider, attempt) = (self.provider.clone(), attempt.to_owned());
        Fault { kind, provider, attempt, said: said.replace('\n', " ") }
    }

    /// The command line for `wanted`.
    fn line(&self, wanted: &Definition) -> Result<Vec<String>, Fault> {
        let programs = &self.keeper.settings.programs;
        let name = repository(&wanted.image);
        let short = name.strip_prefix("docker.io/").unwrap_or(&name);
        let line = programs.get(&name).or_else(|| programs.get(short)).ok_or_else(|| {
            let said = format!(
                "no program stands for the image {name}: add programs.\"{name}\" = [\"PROGRAM\", \"ARGUMENT\"] to [providers.{}]",
                self.provider
            );
            self.fault(FaultKind::Invalid, "deploy", &said)
        })?;
        match (&wanted.command, line.first()) {
            (Some(command), Some(program)) => {
                Ok(std::iter::once(program).chain(command).cloned().collect())
            }
            _ => Ok(line.clone()),
        }
    }

    /// The whole command line of a job: where it has one of its own, its first word is the program.
    fn job_line(&self, job: &Job) -> Result<Vec<String>, Fault> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if job.id.is_empty() || !job.id.bytes().all(fits) {
            let said = format!("`{}` is not the id of a job", job.id);
            return Err(self.fault(FaultKind::Invalid, "run a job", &said));
        }
        let line = self.line(&job.what)?;
        Ok(job.what.command.clone().filter(|words| !words.is_empty()).unwrap_or(line))
    }

    fn wanted(&self, definition: &Definition) -> Result<Wanted, Fault> {
        let env = environment(definition);
        Ok(Wanted {
            release: definition.release,
            image: definition.image.clone(),
            line: self.line(definition)?,
            kind: definition.kind,
            port: definition.port,
            env,
            fingerprint: definition.fingerprint.clone(),
            replicas: definition.replicas,
        })
    }

    fn seen(&self, service: ServiceName, state: &State) -> Seen {
        let (running, target) = (state.running(), state.target());
        let crashed = state.instances.iter().find(|instance| instance.crashes >= CRASHES);
        let lifecycle = match (running, target) {
            (0, 0) => Lifecycle::Stopped,
            (0, _) if crashed.is_some() => Lifecycle::Failed,
            (0, _) => Lifecycle::Starting,
            _ => Lifecycle::Running,
        };
        let said = match crashed {
            _ if running > 0 && target == 0 => "stopping".to_owned(),
            Some(instance) => crash_words(instance),
            None => format!("{running} of {target} running"),
        };
        let wanted = &state.wanted;
        Seen {
            id: format!("{}/{}/{service}", self.stack, self.provider),
            service,
            lifecycle,
            said,
            digest: Some(wanted.image.digest.clone()),
            release: Some(wanted.release),
            fingerprint: Some(wanted.fingerprint.clone()),
            replicas: target,
            running,
            address: self.address(state),
        }
    }

    /// A service whose state cannot be told.
    fn unknown(&self, service: ServiceName, error: &io::Error) -> Seen {
        Seen {
            id: format!("{}/{}/{service}", self.stack, self.provider),
            service,
            lifecycle: Lifecycle::Unknown,
            said: error.to_string(),
            digest: None,
            release: None,
            fingerprint: None,
            replicas: 0,
            running: 0,
            address: None,
        }
    }

    /// Where the first instance that runs can be reached; where it will be when none does.
    fn address(&self, state: &State) -> Option<String> {
        if state.wanted.kind == ServiceKind::Worker {
            return None;
        }
        let instance = state.instances.iter().min_by_key(|one| (one.is_down(), one.number))?;
        Some(format!("http://{}", SocketAddr::new(self.keeper.settings.bind, instance.port?)))
    }

    /// How far the instances are from what is wanted.
    async fn how_far(&self, state: &State) -> Progress {
        let (running, target) = (state.running(), state.target());
        if target == 0 {
            return match running {
                0 => Progress::Done,
                _ => Progress::Under { said: format!("{running} stopping") },
            };
        }
        let mut waiting = Vec::new();
        for instance in &state.instances {
            if let Err(why) = self.is_ready(state, instance).await {
                if instance.crashes >= CRASHES {
                    return Progress::Failed { why: crash_words(instance) };
                }
                waiting.push(format!("instance {} {why}", instance.number));
            }
        }
        match waiting.is_empty() {
            true => Progress::Done,
            false => Progress::Under { said: waiting.join(", ") },
        }
    }

    /// Whether an instance runs what is wanted, and its port accepts, or it has lived for a while; otherwise why not.
    async fn is_ready(&self, state: &State, instance: &state::Instance) -> Result<(), String> {
        let keeper = &self.keeper;
        let running = match &instance.life {
            Life::Up(running) if state.is_current(instance) => running,
            Life::Up(_) => return Err("is being replaced".to_owned()),
            Life::Launching { .. } => return Err("starts".to_owned()),
            Life::Down => {
                let ended = instance.ended.as_deref().unwrap_or("waits to be started");
                return Err(ended.to_owned());
            }
        };
        let listens = state.wanted.kind != ServiceKind::Worker;
        let Some(port) = instance.port.filter(|_| listens) else {
            let lived = keeper.clock.wall().0.saturating_sub(running.since.0);
            return match lived >= keeper.pace.settle {
                true => Ok(()),
                false => Err("runs since a moment ago".to_owned()),
            };
        };
        let address = SocketAddr::new(keeper.settings.bind, port);
        match timeout(ACCEPTS_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(format!("does not accept on {address} yet")),
        }
    }
}

async fn tend_for_ever(keeper: Arc<Keeper>) {
    let mut complaint = String::new();
    loop {
        sleep(EVERY).await;
        let keeper = Arc::clone(&keeper);
        let tended = tokio::task::spawn_blocking(move || keeper.visit_all()).await;
        let new = match tended {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // Once is enough to say.
        if new != complaint && !new.is_empty() {
            tracing::warn!(error = new, "processes cannot be looked after");
        }
        complaint = new;
    }
}

/// What the process finds in its environment.
fn environment(definition: &Definition) -> BTreeMap<String, String> {
    let own = definition.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let mut env: BTreeMap<_, _> = own.collect();
    env.extend(definition.markers());
    env
}

/// The image without its digest, as the config names it.
fn repository(image: &PinnedImage) -> String {
    format!("{}/{}", image.registry, image.repository)
}

fn crash_words(instance: &state::Instance) -> String {
    let ended = instance.ended.as_deref().unwrap_or("ended");
    format!("instance {} crashed {} times: it {ended}", instance.number, instance.crashes)
}

fn deployment_id(state: &State) -> String {
    format!("{}.{}", state.deploys, state.wanted.fingerprint)
}

/// What a caller can do about `error`.
fn kind_of(error: &io::Error) -> FaultKind {
    match error.kind() {
        io::ErrorKind::WouldBlock => FaultKind::Conflict,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FaultKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FaultKind::Exhausted,
        io::ErrorKind::InvalidData => FaultKind::Invalid,
        io::ErrorKind::Unsupported => FaultKind::Unsupported,
        // What was wanted may have been written down before.
        _ => FaultKind::Unclear,
    }
}

#[async_trait]
impl ComputeLook for Embedded {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: true,
            workers: true,
            scale_to_zero: true,
            logs: true,
            jobs: true,
            requests_per_deploy: 1,
            requests_per_hour: None,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let states = self.with_keeper("look at its processes", |keeper| {
            let services = keeper.home.services()?.into_iter();
            Ok(services.map(|service| (keeper.peek(&service), service)).collect::<Vec<_>>())
        });
        let mut all = Vec::new();
        for (state, service) in states.await? {
            match state {
                Ok(None) => {}
                Ok(Some(state)) => all.push(self.seen(service, &state)),
                Err(error) => all.push(self.unknown(service, &error)),
            }
        }
        Ok(all)
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let service = deployment.service.clone();
        let peek = move |keeper: &Keeper| keeper.peek(&service);
        let state = self.with_keeper("look at a deploy", peek).await?;
        let failed = |why: &str| Ok(Progress::Failed { why: why.to_owned() });
        match state.filter(|state| !state.deleting) {
            None => failed("it was deleted"),
            Some(state) if deployment_id(&state) != deployment.id => {
                failed("a later deploy took its place")
            }
            Some(state) => Ok(self.how_far(&state).await),
        }
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        let named = service.clone();
        let lines = self.with_keeper("read logs", move |keeper| {
            let deployed = keeper.home.load(&named)?.is_some();
            if deployed { keeper.log(&named).last(last).map(Some) } else { Ok(None) }
        });
        let lines = lines.await?.ok_or_else(|| self.missing("read logs", service))?;
        Ok(lines.into_iter().map(|text| LogLine { at: None, text }).collect())
    }

    async fn pull_problem(&self, wanted: &Definition) -> Result<Option<String>, Fault> {
        Ok(self.line(wanted).err().map(|fault| fault.said))
    }

    async fn job(&self, id: &str) -> Result<JobState, Fault> {
        let id = id.to_owned();
        self.with_keeper("look at a job", move |keeper| keeper.job_state(&id)).await
    }
}

#[async_trait]
impl Compute for Embedded {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        if wanted.stack != self.stack || wanted.provider != self.provider {
            let said = format!("{} on {} is not for here", wanted.stack, wanted.provider);
            return Err(self.fault(FaultKind::Invalid, "deploy", &said));
        }
        let (service, wanted) = (wanted.service.clone(), self.wanted(wanted)?);
        let id = self.change("deploy", &service, move |held| {
            let state = match held {
                Some(state) => {
                    state.deploy(wanted);
                    state
                }
                None => held.insert(State::new(wanted)),
            };
            Ok(deployment_id(state))
        });
        Ok(Deployment { id: id.await?, service: service.clone() })
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        let scale = move |state: &mut State| state.wanted.replicas = replicas;
        self.change_deployed("scale", service, scale).await
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        self.change_deployed("restart", service, |state| state.generation += 1).await
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let pace = self.keeper.pace;
        let end = Instant::now() + Duration::from_millis(pace.grace) + DIES_WITHIN;
        while !self.delete_step(service).await? {
            if Instant::now() > end {
                let said = format!("the processes of {service} do not end, though killed");
                return Err(self.fault(FaultKind::Conflict, "delete", &said));
            }
            sleep(DELETE_EVERY).await;
        }
        Ok(())
    }

    async fn run_once(&self, job: &Job) -> Result<(), Fault> {
        let (id, line, env) = (job.id.clone(), self.job_line(job)?, environment(&job.what));
        self.with_keeper("run a job", move |keeper| keeper.run_job(&id, &line, &env)).await
    }

    async fn forget_job(&self, id: &str) -> Result<(), Fault> {
        let named = id.to_owned();
        let forget = move |keeper: &Keeper| keeper.forget_job(&named);
        if self.with_keeper("take a job away", forget).await? {
            return Ok(());
        }
        Err(self.fault(FaultKind::Conflict, "take a job away", &format!("{id} still runs")))
    }
}
