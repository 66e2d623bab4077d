//! Carries out one action. Each can be repeated: it reads, compares, and writes only the difference.

use std::collections::BTreeSet;
use std::time::Duration;

use linkflow_model::role::{Compute, Progress};
use linkflow_model::{
    Action, EventKind, Health, Level, Lifecycle, Moment, ProviderName, ReleaseId, ServiceName,
};
use linkflow_store::Fence;
use tokio::time::sleep;

use crate::guard::{Patience, guarded};
use crate::observe::Active;
use crate::{Engine, EngineError};

/// How often a deploy's progress is read at first; slower later, see [`pause`].
const FIRST_POLL: Duration = Duration::from_millis(250);
const SLOWEST_POLL: Duration = Duration::from_secs(2);
/// How often the probes are read while a gate waits.
const GATE_POLL: Duration = Duration::from_millis(50);
/// How long a provider may take to stop what it was told to stop.
const STOP_WITHIN_MS: u64 = 30_000;
/// How many of a failed service's last lines are told.
const LAST_LINES: usize = 20;

impl Engine {
    /// Carries `action` out and says how it went; an error says why not, with the service's last words.
    pub(crate) async fn perform(&self, action: &Action, fence: &Fence) -> Result<String, String> {
        let outcome = match action {
            Action::Migrate { service, provider, release } => {
                return self.migrate(service, provider, *release, fence).await;
            }
            Action::Deploy { service, provider, release, replicas } => {
                self.deploy(service, provider, *release, *replicas, fence).await
            }
            Action::Scale { service, provider, replicas } => {
                self.scale(service, provider, *replicas, fence).await
            }
            Action::ProveStopped { service, provider } => {
                self.prove_stopped(service, provider, fence).await
            }
            Action::Activate { service, provider } => self.activate(service, provider, fence).await,
            Action::Restart { service, provider } => self.restart(service, provider, fence).await,
            Action::Soak { service, provider, ms } => {
                self.soak(service, provider, *ms, fence).await
            }
            Action::Delete { service, provider } => {
                let compute = self.compute(provider)?;
                self.may_write(fence).await?;
                let call = || compute.delete(service);
                guarded(provider, "delete", Patience::ACT, call).await.map_err(said)?;
                Ok("deleted".to_owned())
            }
        };
        // Some steps change nothing at their provider, or end with a look, and requests are counted.
        let is_known = match action {
            Action::Activate { .. } | Action::ProveStopped { .. } => true,
            Action::Deploy { .. } => outcome.is_ok() && self.parts.rollout.soak_ms == 0,
            _ => false,
        };
        if !is_known {
            self.look_at(action.provider()).await;
        }
        outcome
    }

    async fn deploy(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        release: ReleaseId,
        replicas: u32,
        fence: &Fence,
    ) -> Result<String, String> {
        let compute = self.compute(provider)?;
        let record = self.release(release).await.map_err(said)?;
        let spec = record.services.get(service).map(|held| held.spec.clone());
        let spec = spec.ok_or_else(|| format!("{release} has no service {service}"))?;
        let wanted = self.parts.render.definition(&record, service, provider, replicas)?;
        if replicas > 0 {
            self.note_start(service, provider, fence).await?;
        }
        self.may_write(fence).await?;
        let started = self.parts.clock.now();
        let deadline = started.plus(spec.start_within_ms);
        let call = || compute.deploy(&wanted);
        let deployment = guarded(provider, "deploy", Patience::ACT, call).await.map_err(said)?;
        loop {
            let call = || compute.progress(&deployment);
            let word = match guarded(provider, "tell how a deploy goes", Patience::LOOK, call).await
            {
                Ok(Progress::Done) => break,
                Ok(Progress::Failed { why }) => {
                    return Err(self.with_last_words(compute, service, why).await);
                }
                Ok(Progress::Under { said }) => said,
                Err(fault) if fault.kind.is_passing() => fault.said,
                Err(fault) => return Err(fault.to_string()),
            };
            if self.parts.clock.now() >= deadline {
                let why = format!(
                    "{provider} still says `{word}` after {} s",
                    spec.start_within_ms / 1000
                );
                return Err(self.with_last_words(compute, service, why).await);
            }
            self.keep(fence).await?;
            sleep(pause(self.parts.clock.now().since(started))).await;
        }
        self.look_at(provider).await;
        self.check_image(service, provider, &wanted.image.digest)?;
        if replicas > 0 && spec.is_probed() {
            // What was as wanted already is left alone, with the name of the release that it came with.
            let held = self.seen(service, provider);
            let held = held.filter(|seen| seen.fingerprint.as_ref() == Some(&wanted.fingerprint));
            let runs = held.and_then(|seen| seen.release).unwrap_or(release);
            let gate = Gate { service, provider, release: Some(runs), started, deadline };
            if let Err(why) = self.gate(&gate, fence).await {
                return Err(self.with_last_words(compute, service, why).await);
            }
        }
        let soak_ms = self.parts.rollout.soak_ms;
        if replicas > 0
            && soak_ms > 0
            && let Err(why) = self.soak(service, provider, soak_ms, fence).await
        {
            return Err(self.with_last_words(compute, service, why).await);
        }
        let took = self.parts.clock.now().since(started);
        Ok(format!("runs after {}.{} s", took / 1000, took % 1000 / 100))
    }

    /// Whether the provider runs the image that it was given.
    fn check_image(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        wanted: &linkflow_model::Digest,
    ) -> Result<(), String> {
        match self.seen(service, provider).and_then(|seen| seen.digest) {
            Some(held) if held != *wanted => Err(format!(
                "{provider} runs image {} and was asked for {}",
                held.short(),
                wanted.short()
            )),
            _ => Ok(()),
        }
    }

    /// Waits until probes from outside say that the placement answers, with the right release where it names one.
    async fn gate(&self, gate: &Gate<'_>, fence: &Fence) -> Result<(), String> {
        let _awake = self.keep_awake(gate.service, gate.provider);
        let mut beat = self.parts.clock.now();
        loop {
            self.world().await.map_err(said)?;
            let probe = self.probe(gate.service, gate.provider);
            let fresh = probe.as_ref().filter(|probe| probe.seen > gate.started);
            let right = |named: Option<ReleaseId>| {
                named.is_none() || gate.release.is_none() || named == gate.release
            };
            if fresh.is_some_and(|p| p.health == Health::Up && right(p.release)) {
                return Ok(());
            }
            let now = self.parts.clock.now();
            if now >= gate.deadline {
                return Err(match probe {
                    None => "it was never reached from outside".to_owned(),
                    Some(probe) if probe.health == Health::Up => format!(
                        "it answers with release {} instead of {}",
                        probe.release.map(|r| r.to_string()).unwrap_or_default(),
                        gate.release.map(|r| r.to_string()).unwrap_or_default()
                    ),
                    Some(probe) => format!(
                        "it does not answer as it should: {}",
                        probe.why.unwrap_or_else(|| "no good probe yet".to_owned())
                    ),
                });
            }
            if now.since(beat) > 2_000 {
                self.keep(fence).await?;
                beat = now;
            }
            sleep(GATE_POLL).await;
        }
    }

    async fn scale(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        replicas: u32,
        fence: &Fence,
    ) -> Result<String, String> {
        let compute = self.compute(provider)?;
        if replicas > 0 {
            self.note_start(service, provider, fence).await?;
        }
        self.may_write(fence).await?;
        let started = self.parts.clock.now();
        let call = || compute.scale(service, replicas);
        guarded(provider, "scale", Patience::ACT, call).await.map_err(said)?;
        if replicas == 0 {
            return Ok("told to stop".to_owned());
        }
        self.comes_up(service, provider, started, fence).await?;
        Ok("runs".to_owned())
    }

    /// Waits until what was started at `started` runs, by its provider's word and by the probes' from then on.
    pub(crate) async fn comes_up(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        started: Moment,
        fence: &Fence,
    ) -> Result<(), String> {
        let compute = self.compute(provider)?;
        let within = self.spec(service).map_or(60_000, |spec| spec.start_within_ms);
        let deadline = started.plus(within);
        loop {
            self.look_at(provider).await;
            match self.seen(service, provider).map(|seen| (seen.lifecycle, seen.said)) {
                Some((Lifecycle::Running, _)) => break,
                Some((Lifecycle::Failed, word)) => {
                    return Err(self.with_last_words(compute, service, word).await);
                }
                _ if self.parts.clock.now() >= deadline => {
                    let why = format!("{provider} did not start it within {} s", within / 1000);
                    return Err(self.with_last_words(compute, service, why).await);
                }
                _ => {}
            }
            self.keep(fence).await?;
            sleep(FIRST_POLL).await;
        }
        if self.spec(service).is_some_and(|spec| spec.is_probed()) {
            let gate = Gate { service, provider, release: None, started, deadline };
            if let Err(why) = self.gate(&gate, fence).await {
                return Err(self.with_last_words(compute, service, why).await);
            }
        }
        Ok(())
    }

    /// Waits for the provider's own word, given after now, that nothing runs there any more.
    async fn prove_stopped(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        fence: &Fence,
    ) -> Result<String, String> {
        let started = self.parts.clock.now();
        let deadline = started.plus(STOP_WITHIN_MS);
        loop {
            self.look_at(provider).await;
            let fresh = self.looked(provider).is_some_and(|at| at >= started);
            let lifecycle =
                self.seen(service, provider).map_or(Lifecycle::Absent, |seen| seen.lifecycle);
            if fresh && matches!(lifecycle, Lifecycle::Stopped | Lifecycle::Absent) {
                self.note_stopped(service, provider, fence).await?;
                return Ok(format!("{provider} says that nothing runs"));
            }
            if self.parts.clock.now() >= deadline {
                return Err(format!(
                    "{provider} does not say that {service} has stopped, so it is not started elsewhere"
                ));
            }
            sleep(FIRST_POLL).await;
        }
    }

    /// Before an exclusive service is told to run on `provider`: writes down that it may, and refuses while it may still
    /// run anywhere else. A start whose answer was lost is so remembered until it is proven stopped.
    async fn note_start(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        fence: &Fence,
    ) -> Result<(), String> {
        if !self.spec(service).is_some_and(|spec| spec.exclusive) {
            return Ok(());
        }
        let mut at = self.may_run(service).await?;
        if let Some(other) = at.iter().find(|p| *p != provider) {
            return Err(format!("{service} may still run on {other}, and must never run twice"));
        }
        at.insert(provider.clone());
        self.put(&format!("may-run/{service}"), &at, fence).await.map_err(said)
    }

    /// After `provider` has proven that nothing runs there any more.
    async fn note_stopped(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        fence: &Fence,
    ) -> Result<(), String> {
        let mut at = self.may_run(service).await?;
        if at.remove(provider) {
            self.put(&format!("may-run/{service}"), &at, fence).await.map_err(said)?;
        }
        Ok(())
    }

    async fn may_run(&self, service: &ServiceName) -> Result<BTreeSet<ProviderName>, String> {
        let held = self.document(&format!("may-run/{service}")).await.map_err(said)?;
        Ok(held.map(|(at, _)| at).unwrap_or_default())
    }

    async fn activate(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        fence: &Fence,
    ) -> Result<String, String> {
        let key = format!("active/{service}");
        let held = self.document::<Active>(&key).await.map_err(said)?;
        if held.as_ref().is_none_or(|(active, _)| active.provider != *provider) {
            let active = Active { provider: provider.clone(), since: self.parts.clock.wall() };
            self.put(&key, &active, fence).await.map_err(said)?;
        }
        self.world().await.map_err(said)?;
        Ok(format!("{service} serves from {provider}"))
    }

    pub(crate) fn compute(&self, provider: &ProviderName) -> Result<&dyn Compute, String> {
        let found = self.parts.computes.get(provider);
        found.map(|compute| &**compute).ok_or_else(|| format!("there is no provider {provider}"))
    }

    /// Right before a provider is written to: is the lease still ours?
    async fn may_write(&self, fence: &Fence) -> Result<(), String> {
        self.still_holds(fence).await.map_err(said)
    }

    /// A sign of life while something long is waited for.
    async fn keep(&self, fence: &Fence) -> Result<(), String> {
        self.still_holds(fence).await.map_err(said)
    }

    /// `why`, followed by the last lines that the service wrote, as far as its provider tells them.
    async fn with_last_words(
        &self,
        compute: &dyn Compute,
        service: &ServiceName,
        why: String,
    ) -> String {
        let lines = compute.logs(service, LAST_LINES).await.unwrap_or_default();
        let mut said = why;
        for line in lines {
            said.push_str("\n  | ");
            said.push_str(&line.text);
        }
        said
    }

    /// Tells how a step went.
    pub(crate) async fn tell_step(
        &self,
        run: &str,
        action: &Action,
        why: &str,
        outcome: &Result<String, String>,
    ) {
        let (kind, level, message) = match outcome {
            Ok(said) => (EventKind::StepDone, Level::Info, format!("{action}: {said} ({why})")),
            Err(said) => (EventKind::StepFailed, Level::Warning, format!("{action}: {said}")),
        };
        let mut event = self.event(kind, level, message).about(action.service(), action.provider());
        event.run = Some(run.to_owned());
        self.tell(event).await;
    }
}

/// How long to wait before progress is read again, when it was waited for `ms` so far: an eighth of that, so that what
/// ended in between is seen soon in proportion to what it took.
pub(crate) fn pause(ms: u64) -> Duration {
    Duration::from_millis(ms / 8).clamp(FIRST_POLL, SLOWEST_POLL)
}

/// What a placement must show before it counts.
struct Gate<'a> {
    service: &'a ServiceName,
    provider: &'a ProviderName,
    release: Option<ReleaseId>,
    started: Moment,
    deadline: Moment,
}

pub(crate) fn said(error: impl Into<EngineError>) -> String {
    error.into().to_string()
}
