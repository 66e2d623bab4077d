//! A town of pretend providers: what each runs, what it was asked, and what it gets wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_engine::{Engine, Facts, Owner, Parts, Render, RunEnd, RunKind};
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, Job, JobState, LogLine, PrivateImages,
    Progress, Seen,
};
use linkflow_model::{
    Clock, Definition, Event, Fault, FaultKind, Fingerprint, Health, ImageRef, Lifecycle, Moment,
    Policy, Probe, ProbePicture, ProviderName, Release, ReleaseId, RolloutPolicy, Routes,
    ServiceKind, ServiceName, ServiceRelease, ServiceSpec, Size, StackName, Timestamp,
};
use linkflow_store::{Memory, Store};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

pub(crate) fn name(text: &str) -> ProviderName {
    ProviderName::new(text).unwrap()
}

pub(crate) fn service(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// Tokio's clock, which tests move.
pub(crate) struct Pretend(Instant);

impl Pretend {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Pretend {
    fn now(&self) -> Moment {
        Moment(1_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.now().0 + 1_700_000_000_000)
    }
}

/// What one provider runs for one service.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) version: u64,
    pub(crate) release: ReleaseId,
    fingerprint: Fingerprint,
    pub(crate) replicas: u32,
    failed: bool,
    ready: Instant,
}

/// A job, and when it ends.
#[derive(Clone, Debug)]
struct Held {
    ends: Instant,
    code: Option<i32>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) placed: BTreeMap<(ProviderName, ServiceName), Placed>,
    jobs: BTreeMap<(ProviderName, String), Held>,
    /// How often each job was really started.
    pub(crate) starts: BTreeMap<String, u32>,
    /// Every call that wrote.
    pub(crate) calls: Vec<String>,
    /// Providers that take another time than [`DEPLOY`] for a deploy.
    pub(crate) slow: BTreeMap<ProviderName, Duration>,
    /// Placements where a version of the image dies at start.
    pub(crate) bad: BTreeSet<(ProviderName, u64)>,
    /// Providers that do not answer.
    pub(crate) away: BTreeSet<ProviderName>,
    /// Providers that need so long until a restart begins; what runs goes on until then.
    pub(crate) hesitates: BTreeMap<ProviderName, Duration>,
    /// The exit code of the jobs that are started from now on.
    pub(crate) exit: i32,
    /// How long a job takes, in milliseconds.
    pub(crate) job_ms: u64,
    /// The first answer to each call that starts a job is lost.
    pub(crate) loses_answers: bool,
    /// What the provider says of an image that it cannot pull.
    pub(crate) cannot_pull: Option<String>,
    /// What each provider can do.
    pub(crate) able: BTreeMap<ProviderName, Capabilities>,
}

/// The town; providers and tests share it.
#[derive(Clone, Default)]
pub(crate) struct Town(Arc<Mutex<Inner>>);

/// How long a deploy takes.
pub(crate) const DEPLOY: Duration = Duration::from_secs(10);

impl Town {
    pub(crate) fn new() -> Self {
        let town = Self::default();
        town.inner().job_ms = 5_000;
        town
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// `api on a: 2` for each placement, in order, with the version that runs.
    pub(crate) fn runs(&self) -> Vec<String> {
        let inner = self.inner();
        let line = |((p, s), held): (&(ProviderName, ServiceName), &Placed)| {
            format!("{s} on {p}: {}", held.version)
        };
        inner.placed.iter().map(line).collect()
    }

    fn provider(&self, provider: &str) -> Arc<dyn Compute> {
        Arc::new(Provider { name: name(provider), town: self.clone() })
    }

    /// Looks at every placement, as the edge would, for ever.
    async fn probe(self, clock: Arc<dyn Clock>, picture: watch::Sender<Arc<ProbePicture>>) {
        let mut known: BTreeMap<(ServiceName, ProviderName), (Health, Moment)> = BTreeMap::new();
        loop {
            let mut now = ProbePicture::new();
            for ((provider, service), held) in &self.inner().placed {
                let is_up = held.ready <= Instant::now() && !held.failed && held.replicas > 0;
                let health = if is_up { Health::Up } else { Health::Down };
                let key = (service.clone(), provider.clone());
                let held_since = known.entry(key.clone()).or_insert((health, clock.now()));
                if held_since.0 != health {
                    *held_since = (health, clock.now());
                }
                let probe = Probe {
                    health,
                    since: held_since.1,
                    seen: clock.now(),
                    latency_ms: None,
                    release: is_up.then_some(held.release),
                    why: (!is_up).then(|| "refused".to_owned()),
                };
                now.insert(key, probe);
            }
            picture.send_replace(Arc::new(now));
            sleep(Duration::from_millis(200)).await;
        }
    }
}

struct Provider {
    name: ProviderName,
    town: Town,
}

impl Provider {
    fn fault(&self, kind: FaultKind, attempt: &str) -> Fault {
        let (provider, attempt) = (self.name.clone(), attempt.to_owned());
        Fault { kind, provider, attempt, said: "nothing".to_owned() }
    }
}

#[async_trait]
impl ComputeLook for Provider {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let usual = Capabilities {
            grpc: true,
            workers: true,
            scale_to_zero: true,
            logs: true,
            jobs: true,
            private_images: PrivateImages::Pulls,
            ..Capabilities::LEAST
        };
        self.town.inner().able.get(&self.name).cloned().unwrap_or(usual)
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let inner = self.town.inner();
        if inner.away.contains(&self.name) {
            return Err(self.fault(FaultKind::Unreachable, "tell its placements"));
        }
        let own = inner.placed.iter().filter(|((provider, _), _)| *provider == self.name);
        Ok(own
            .map(|((provider, service), held)| Seen {
                service: service.clone(),
                lifecycle: match (held.replicas, held.failed) {
                    (0, _) => Lifecycle::Stopped,
                    (_, true) => Lifecycle::Failed,
                    _ if held.ready > Instant::now() => Lifecycle::Starting,
                    _ => Lifecycle::Running,
                },
                said: "so".to_owned(),
                id: service.to_string(),
                digest: Some(image(service, held.version).digest),
                release: Some(held.release),
                fingerprint: Some(held.fingerprint.clone()),
                replicas: held.replicas,
                running: held.replicas,
                address: Some(format!("http://{service}.{provider}.test")),
            })
            .collect())
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let key = (self.name.clone(), deployment.service.clone());
        let inner = self.town.inner();
        Ok(match inner.placed.get(&key) {
            None => Progress::Failed { why: "it is gone".to_owned() },
            Some(held) if held.failed => Progress::Failed { why: "it died".to_owned() },
            Some(held) if held.ready > Instant::now() => {
                Progress::Under { said: "starting".to_owned() }
            }
            Some(_) => Progress::Done,
        })
    }

    async fn logs(&self, _: &ServiceName, _: usize) -> Result<Vec<LogLine>, Fault> {
        Ok(vec![LogLine { at: None, text: "its last word".to_owned() }])
    }

    async fn pull_problem(&self, _: &Definition) -> Result<Option<String>, Fault> {
        Ok(self.town.inner().cannot_pull.clone())
    }

    async fn job(&self, id: &str) -> Result<JobState, Fault> {
        let inner = self.town.inner();
        Ok(match inner.jobs.get(&(self.name.clone(), id.to_owned())) {
            None => JobState::Absent,
            Some(held) if held.ends > Instant::now() => {
                JobState::Under { said: "running".to_owned() }
            }
            Some(held) => JobState::Ended {
                code: held.code,
                worked: held.code == Some(0),
                log: (1..=60)
                    .map(|line| LogLine { at: None, text: format!("line {line}") })
                    .collect(),
            },
        })
    }
}

#[async_trait]
impl Compute for Provider {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        let version = wanted.env["VERSION"].expose().parse().unwrap();
        let mut inner = self.town.inner();
        inner.calls.push(format!("deploy {} {version} on {}", wanted.service, self.name));
        let placed = Placed {
            version,
            release: wanted.release,
            fingerprint: wanted.fingerprint.clone(),
            replicas: wanted.replicas,
            failed: inner.bad.contains(&(self.name.clone(), version)),
            ready: Instant::now() + inner.slow.get(&self.name).copied().unwrap_or(DEPLOY),
        };
        inner.placed.insert((self.name.clone(), wanted.service.clone()), placed);
        Ok(Deployment { service: wanted.service.clone(), id: String::new() })
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        let mut inner = self.town.inner();
        inner.calls.push(format!("scale {service} to {replicas} on {}", self.name));
        let key = (self.name.clone(), service.clone());
        let missing = || self.fault(FaultKind::Missing, "scale");
        inner.placed.get_mut(&key).ok_or_else(missing)?.replicas = replicas;
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a provider has no owner here; it ends by itself"
    )]
    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        let mut inner = self.town.inner();
        inner.calls.push(format!("restart {service} on {}", self.name));
        let key = (self.name.clone(), service.clone());
        let hesitates = inner.hesitates.get(&self.name).copied().unwrap_or_default();
        let town = self.town.clone();
        // What runs answers until the provider has got round to it.
        tokio::spawn(async move {
            sleep(hesitates).await;
            let mut inner = town.inner();
            let Inner { placed, bad, .. } = &mut *inner;
            if let Some(held) = placed.get_mut(&key) {
                held.ready = Instant::now() + DEPLOY;
                held.failed = bad.contains(&(key.0.clone(), held.version));
            }
        });
        Ok(())
    }

    async fn delete(&self, _: &ServiceName) -> Result<(), Fault> {
        Err(self.fault(FaultKind::Unsupported, "delete"))
    }

    async fn run_once(&self, job: &Job) -> Result<(), Fault> {
        let mut inner = self.town.inner();
        let key = (self.name.clone(), job.id.clone());
        if inner.jobs.contains_key(&key) {
            return Ok(());
        }
        let ends = Instant::now() + Duration::from_millis(inner.job_ms);
        let code = Some(inner.exit);
        inner.jobs.insert(key, Held { ends, code });
        *inner.starts.entry(job.id.clone()).or_default() += 1;
        let command = job.what.command.clone().unwrap_or_default().join(" ");
        inner.calls.push(format!("run `{command}` on {}", self.name));
        if inner.loses_answers {
            return Err(self.fault(FaultKind::Unclear, "run a job"));
        }
        Ok(())
    }

    async fn forget_job(&self, id: &str) -> Result<(), Fault> {
        self.town.inner().jobs.remove(&(self.name.clone(), id.to_owned()));
        Ok(())
    }
}

/// Definitions that carry the version of their image.
struct Plain;

impl Render for Plain {
    fn definition(
        &self,
        release: &Release,
        service: &ServiceName,
        provider: &ProviderName,
        replicas: u32,
    ) -> Result<Definition, String> {
        let held = release.services.get(service).ok_or("no such service")?;
        let hex = held.image.digest.as_str().trim_start_matches("sha256:").trim_start_matches('0');
        let version = linkflow_model::EnvValue::Plain(hex.to_owned());
        Ok(Definition {
            stack: StackName::new("town").unwrap(),
            service: service.clone(),
            provider: provider.clone(),
            release: release.id,
            image: held.image.clone(),
            login: None,
            command: None,
            kind: held.spec.kind,
            port: held.spec.port,
            health: held.spec.health.clone(),
            env: BTreeMap::from([("VERSION".to_owned(), version)]),
            env_gone: Vec::new(),
            replicas,
            size: Size::default(),
            fingerprint: held.fingerprints.get(provider).cloned().ok_or("no fingerprint")?,
        })
    }
}

fn image(service: &ServiceName, version: u64) -> linkflow_model::PinnedImage {
    let image: ImageRef = format!("ghcr.io/acme/{service}:{version}").parse().unwrap();
    image.at(format!("sha256:{version:064}").parse().unwrap())
}

/// A web service on `cascade`.
pub(crate) fn web(text: &str, cascade: &[&str]) -> ServiceSpec {
    ServiceSpec {
        name: service(text),
        kind: ServiceKind::Web,
        image: format!("ghcr.io/acme/{text}:1").parse().unwrap(),
        runs_on: cascade.iter().map(|text| name(text)).collect(),
        exclusive: false,
        port: Some(8000),
        health: Some("/health".to_owned()),
        routes: Vec::new(),
        replicas: 1,
        size: Size::default(),
        command: None,
        migrate: None,
        needs: Vec::new(),
        start_within_ms: 60_000,
        idempotency_key: false,
        keep_warm: false,
        timeouts: Default::default(),
        concurrency: Default::default(),
    }
}

/// The same, with the migration `up`.
pub(crate) fn migrating(text: &str, cascade: &[&str]) -> ServiceSpec {
    ServiceSpec { migrate: Some(vec!["up".to_owned()]), ..web(text, cascade) }
}

/// Every one of `specs` at image `version`.
pub(crate) fn at(specs: &[ServiceSpec], version: u64) -> BTreeMap<ServiceName, ServiceRelease> {
    let one = |spec: &ServiceSpec| {
        let mut spec = spec.clone();
        let image = image(&spec.name, version);
        spec.image = format!("ghcr.io/acme/{}:{version}", spec.name).parse().unwrap();
        let hash =
            |p: &ProviderName| (p.clone(), Fingerprint(format!("{}-{p}-{version}", spec.name)));
        let fingerprints = spec.runs_on.iter().map(hash).collect();
        (spec.name.clone(), ServiceRelease { spec, image, env: BTreeMap::new(), fingerprints })
    };
    specs.iter().map(one).collect()
}

/// What the processes of LinkFlow in one test share.
pub(crate) struct Stage {
    pub(crate) town: Town,
    pub(crate) store: Arc<Memory>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) specs: Vec<ServiceSpec>,
    alive: Arc<Mutex<BTreeSet<String>>>,
    born: Mutex<u32>,
    life: tokio::task::JoinSet<()>,
    picture: watch::Receiver<Arc<ProbePicture>>,
}

impl Stage {
    pub(crate) fn new(specs: Vec<ServiceSpec>) -> Self {
        let (town, clock) = (Town::new(), Arc::new(Pretend::start()) as Arc<dyn Clock>);
        let (send, picture) = watch::channel(Arc::default());
        let mut life = tokio::task::JoinSet::new();
        life.spawn(town.clone().probe(Arc::clone(&clock), send));
        let (store, alive) = (Arc::new(Memory::default()), Arc::default());
        Self { town, store, clock, specs, alive, born: Mutex::new(0), life, picture }
    }

    /// What a new process of LinkFlow is made of.
    pub(crate) fn parts(&self) -> Parts {
        let mut born = self.born.lock().unwrap();
        *born += 1;
        let id = format!("process {born}");
        self.alive.lock().unwrap().insert(id.clone());
        let providers: BTreeSet<&ProviderName> =
            self.specs.iter().flat_map(|spec| &spec.runs_on).collect();
        let computes = providers.into_iter().map(|p| (p.clone(), self.town.provider(p.as_str())));
        let alive = Arc::clone(&self.alive);
        Parts {
            stack: StackName::new("town").unwrap(),
            services: self.specs.clone(),
            policy: Policy::default(),
            rollout: RolloutPolicy::default(),
            computes: computes.collect(),
            programs: BTreeMap::new(),
            notify: Vec::new(),
            hooks: None,
            render: Arc::new(Plain),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            clock: Arc::clone(&self.clock),
            probes: self.picture.clone(),
            routes: watch::channel(Arc::new(Routes::default())).0,
            owner: Owner {
                id,
                host: "here".to_owned(),
                pid: *born,
                what: "linkflow deploy".to_owned(),
                who: Some("ada".to_owned()),
                url: Some("https://ci.test/1".to_owned()),
            },
            alive: Arc::new(move |owner| alive.lock().unwrap().contains(&owner.id)),
            crash: None,
        }
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        Engine::new(self.parts())
    }

    /// No process of before lives any more.
    pub(crate) fn kill_all(&self) {
        self.alive.lock().unwrap().clear();
    }

    /// Deploys `version` of everything.
    pub(crate) async fn deploy(&self, engine: &Arc<Engine>, version: u64) -> RunEnd {
        let why = format!("deploy {version}");
        let services = at(&self.specs, version);
        let draft = engine.draft(services, &why, &Facts::default()).await.unwrap();
        engine.carry_out(&draft, RunKind::Deploy, Duration::from_secs(600)).await.unwrap()
    }

    /// Everything that was told.
    pub(crate) async fn told(&self) -> Vec<Event> {
        self.store.events(0, 10_000).await.unwrap().into_iter().map(|(_, event)| event).collect()
    }

    /// The release `id`, as the store has it.
    pub(crate) async fn release(&self, id: &str) -> Option<Release> {
        let document = self.store.read(&format!("release/{id}")).await.unwrap();
        document.map(|document| serde_json::from_value(document.body).unwrap())
    }

    /// Ends what runs in the background.
    pub(crate) async fn close(mut self) {
        self.life.shutdown().await;
    }
}
