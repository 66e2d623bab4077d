//! A pretend cloud: it runs placements, tells of them, and goes wrong as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, Job, JobState, LogLine, Progress, Seen,
};
use linkflow_model::{
    Definition, Digest, Fault, FaultKind, Fingerprint, Lifecycle, ProviderName, ReleaseId,
    ServiceName,
};
use tokio::time::{Instant, sleep};

use crate::dice::Dice;

/// How a cloud goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Every instance is dead and stays so; the API tells the truth.
    Killed,
    /// Instances run and do not answer; the API says that all is fine.
    Hung,
    /// Instances run and answer; the API does not.
    Silent,
    /// Dead, and the API does not answer either.
    Gone,
    /// Every second writing call is carried out and its answer lost.
    Forgetful,
}

impl Trouble {
    pub(crate) const ALL: [Self; 5] =
        [Self::Killed, Self::Hung, Self::Silent, Self::Gone, Self::Forgetful];

    fn kills(self) -> bool {
        matches!(self, Self::Killed | Self::Gone)
    }

    fn silences(self) -> bool {
        matches!(self, Self::Silent | Self::Gone)
    }
}

/// One deployed service.
#[derive(Clone, Debug)]
struct Held {
    digest: Digest,
    release: ReleaseId,
    fingerprint: Fingerprint,
    replicas: u32,
    probed: bool,
    /// It is being started until then.
    ready_at: Instant,
}

/// A job that was started: when it ends, unless it dies before.
#[derive(Clone, Copy, Debug)]
struct Under {
    ends: Instant,
    died: bool,
}

#[derive(Debug)]
struct Inner {
    trouble: Option<Trouble>,
    held: BTreeMap<ServiceName, Held>,
    jobs: BTreeMap<String, Under>,
    /// How often each job was really started, also those that were taken away.
    starts: BTreeMap<String, u32>,
    dice: Dice,
}

/// One pretend vendor.
#[derive(Debug)]
pub(crate) struct Cloud {
    name: ProviderName,
    inner: Mutex<Inner>,
}

/// What a visitor gets from a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its release.
    Good(ReleaseId),
    /// Nothing.
    None,
}

impl Cloud {
    pub(crate) fn new(name: &ProviderName, seed: u64) -> Arc<Self> {
        let (held, jobs, starts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let inner = Inner { trouble: None, held, jobs, starts, dice: Dice::new(seed) };
        Arc::new(Self { name: name.clone(), inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the cloud go wrong, or right again.
    pub(crate) fn set(&self, trouble: Option<Trouble>) {
        let mut inner = self.inner();
        let was_dead = inner.trouble.is_some_and(Trouble::kills);
        inner.trouble = trouble;
        if trouble.is_some_and(Trouble::kills) {
            let now = Instant::now();
            inner.jobs.values_mut().for_each(|job| job.died |= job.ends > now);
        }
        if was_dead && !trouble.is_some_and(Trouble::kills) {
            // What was asked for is started again, as vendors do.
            let ready_at = Instant::now() + Duration::from_millis(300);
            for held in inner.held.values_mut() {
                held.ready_at = ready_at;
            }
        }
    }

    /// What is really running now, whatever the API says.
    pub(crate) fn running(&self, service: &ServiceName) -> u32 {
        let inner = self.inner();
        if inner.trouble.is_some_and(Trouble::kills) {
            return 0;
        }
        inner.held.get(service).map_or(0, |held| held.replicas)
    }

    /// How often each job was really started.
    pub(crate) fn starts(&self) -> BTreeMap<String, u32> {
        self.inner().starts.clone()
    }

    /// The jobs that run now.
    pub(crate) fn jobs_under(&self) -> usize {
        let now = Instant::now();
        self.inner().jobs.values().filter(|job| !job.died && job.ends > now).count()
    }

    /// What a request to a placement gets.
    pub(crate) fn answer(&self, service: &ServiceName) -> Answer {
        let inner = self.inner();
        if inner.trouble.is_some_and(|trouble| trouble.kills() || trouble == Trouble::Hung) {
            return Answer::None;
        }
        match inner.held.get(service) {
            Some(held) if held.replicas > 0 && held.ready_at <= Instant::now() => {
                Answer::Good(held.release)
            }
            _ => Answer::None,
        }
    }

    /// A call to the API: it takes a while, and may not be answered.
    async fn call<T>(
        &self,
        attempt: &str,
        writes: bool,
        change: impl FnOnce(&mut Inner) -> Result<T, FaultKind> + Send,
    ) -> Result<T, Fault> {
        let pause = 10 + self.inner().dice.below(150);
        sleep(Duration::from_millis(pause)).await;
        let mut inner = self.inner();
        let trouble = inner.trouble;
        let answer = match trouble {
            Some(trouble) if trouble.silences() => Err(FaultKind::Unreachable),
            Some(Trouble::Forgetful) if writes && inner.dice.once_in(2) => {
                let _lost = change(&mut inner);
                Err(FaultKind::Unclear)
            }
            _ => change(&mut inner),
        };
        answer.map_err(|kind| Fault {
            kind,
            provider: self.name.clone(),
            attempt: attempt.to_owned(),
            said: format!("{kind:?}"),
        })
    }
}

fn lifecycle(held: &Held, trouble: Option<Trouble>) -> Lifecycle {
    match (held.replicas, trouble) {
        (0, _) => Lifecycle::Stopped,
        (_, Some(Trouble::Killed)) => Lifecycle::Failed,
        _ if held.ready_at > Instant::now() => Lifecycle::Starting,
        _ => Lifecycle::Running,
    }
}

#[async_trait]
impl ComputeLook for Cloud {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: true,
            workers: true,
            scale_to_zero: true,
            logs: true,
            jobs: true,
            requests_per_deploy: 2,
            requests_per_hour: None,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let name = self.name.clone();
        self.call("tell its placements", false, |inner| {
            let trouble = inner.trouble;
            let seen = inner.held.iter().map(|(service, held)| Seen {
                service: service.clone(),
                lifecycle: lifecycle(held, trouble),
                said: format!("{:?}", lifecycle(held, trouble)),
                id: service.to_string(),
                digest: Some(held.digest.clone()),
                release: Some(held.release),
                fingerprint: Some(held.fingerprint.clone()),
                replicas: held.replicas,
                running: held.replicas,
                address: held.probed.then(|| format!("http://{service}.{name}.test")),
            });
            Ok(seen.collect())
        })
        .await
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        let service = deployment.service.clone();
        self.call("tell how a deploy goes", false, |inner| {
            let trouble = inner.trouble;
            Ok(
                match inner.held.get(&service).map(|held| (held.replicas, lifecycle(held, trouble)))
                {
                    None => Progress::Failed { why: "it is gone".to_owned() },
                    Some((0, _) | (_, Lifecycle::Running)) => Progress::Done,
                    Some((_, Lifecycle::Failed)) => Progress::Failed { why: "it died".to_owned() },
                    Some(_) => Progress::Under { said: "starting".to_owned() },
                },
            )
        })
        .await
    }

    async fn logs(&self, _: &ServiceName, _: usize) -> Result<Vec<LogLine>, Fault> {
        self.call("tell logs", false, |_| Ok(Vec::new())).await
    }

    async fn job(&self, id: &str) -> Result<JobState, Fault> {
        let id = id.to_owned();
        self.call("tell how a job goes", false, move |inner| {
            let ended = |code| JobState::Ended { code, worked: code == Some(0), log: Vec::new() };
            Ok(match inner.jobs.get(&id) {
                None => JobState::Absent,
                Some(job) if job.died => ended(None),
                Some(job) if job.ends > Instant::now() => {
                    JobState::Under { said: "running".to_owned() }
                }
                Some(_) => ended(Some(0)),
            })
        })
        .await
    }
}

#[async_trait]
impl Compute for Cloud {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        let wanted = wanted.clone();
        self.call("deploy", true, move |inner| {
            let ready_at = Instant::now() + Duration::from_millis(200 + inner.dice.below(800));
            let service = wanted.service.clone();
            let same = inner.held.get(&service).is_some_and(|held| {
                held.fingerprint == wanted.fingerprint && held.replicas == wanted.replicas
            });
            if !same {
                let held = Held {
                    digest: wanted.image.digest.clone(),
                    release: wanted.release,
                    fingerprint: wanted.fingerprint.clone(),
                    replicas: wanted.replicas,
                    probed: wanted.port.is_some(),
                    ready_at,
                };
                inner.held.insert(service.clone(), held);
            }
            Ok(Deployment { service, id: String::new() })
        })
        .await
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        let service = service.clone();
        self.call("scale", true, move |inner| {
            let ready_at = Instant::now() + Duration::from_millis(200 + inner.dice.below(800));
            let held = inner.held.get_mut(&service).ok_or(FaultKind::Missing)?;
            if held.replicas == 0 && replicas > 0 {
                held.ready_at = ready_at;
            }
            held.replicas = replicas;
            Ok(())
        })
        .await
    }

    async fn restart(&self, _: &ServiceName) -> Result<(), Fault> {
        self.call("restart", true, |_| Ok(())).await
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let service = service.clone();
        self.call("delete", true, move |inner| {
            inner.held.remove(&service);
            Ok(())
        })
        .await
    }

    async fn run_once(&self, job: &Job) -> Result<(), Fault> {
        let id = job.id.clone();
        self.call("run a job", true, move |inner| {
            if !inner.jobs.contains_key(&id) {
                let ends = Instant::now() + Duration::from_millis(500 + inner.dice.below(2_000));
                let died = inner.trouble.is_some_and(Trouble::kills);
                inner.jobs.insert(id.clone(), Under { ends, died });
                *inner.starts.entry(id).or_default() += 1;
            }
            Ok(())
        })
        .await
    }

    async fn forget_job(&self, id: &str) -> Result<(), Fault> {
        let id = id.to_owned();
        self.call("take a job away", true, move |inner| {
            inner.jobs.remove(&id);
            Ok(())
        })
        .await
    }
}
