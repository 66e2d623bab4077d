//! Carries out a plan: stage after stage, journalled, under the lease; takes up what was cut off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use linkflow_model::{Action, EventKind, Level, Placement, Plan, Release, ReleaseId};
use linkflow_store::{Fence, StoreError};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::journal::{Journal, from_value};
use crate::lease::BEAT;
use crate::observe::Active;
use crate::{
    Draft, Engine, EngineError, Run, RunKind, RunState, StageRecord, StepRecord, StepState,
};

/// How many runs the journal remembers.
const KEPT_RUNS: u64 = 200;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RunEnd {
    /// Its id; empty when there was nothing to do.
    pub run: String,
    /// The release that runs now.
    pub release: ReleaseId,
    /// How it ended.
    pub state: RunState,
    /// The steps that did not work.
    pub failed: Vec<StepRecord>,
    /// Where the release before was put back, when it was put back in places.
    pub put_back: Vec<Placement>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What a new run is for.
pub(crate) struct Errand<'a> {
    pub(crate) kind: RunKind,
    pub(crate) why: String,
    pub(crate) plan: &'a Plan,
    pub(crate) release: Option<Release>,
    /// Who hears its id as soon as it is written down.
    pub(crate) begun: Option<oneshot::Sender<String>>,
}

/// Who had something begun, for a run that somebody follows from elsewhere.
#[derive(Debug)]
pub struct Asked {
    /// Who, and why, in one line: it stands behind the run's own reason.
    pub said: String,
    /// Hears the run's id as soon as it is written down. It hears nothing when there is no run.
    pub begun: oneshot::Sender<String>,
}

fn run_id(number: u64) -> String {
    format!("run-{number:06}")
}

/// How far a step has come that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It has not ended.
    None,
    /// It did what it is for; visitors whom it led away are still waited for.
    Worked,
    /// It has ended well.
    Over,
    /// It did not work, or was not begun.
    Failed,
}

/// A step of a run, and where it stands.
struct Flow<'a> {
    stage: usize,
    at: usize,
    apart: bool,
    record: &'a StepRecord,
}

impl<'a> Flow<'a> {
    /// Every step of `run`, in order.
    fn of(run: &'a Run) -> Vec<Self> {
        let of_stage = |(stage, held): (usize, &'a StageRecord)| {
            let steps = held.steps.iter().enumerate();
            steps.map(move |(at, record)| Self { stage, at, apart: held.apart, record })
        };
        run.stages.iter().enumerate().flat_map(of_stage).collect()
    }

    /// The steps that must have come so far before this one begins, by their place in `all`.
    fn waits_for(&self, all: &[Self]) -> Vec<(usize, End)> {
        let action = &self.record.step.action;
        let wanted = |other: &Self| {
            let placement = other.record.step.action.placement();
            let named = self.record.step.after.contains(&placement);
            let own = placement.service == *action.service();
            let apart = self.apart && other.apart;
            match other.stage.cmp(&self.stage) {
                std::cmp::Ordering::Less => (!apart || own || named).then_some(End::Over),
                std::cmp::Ordering::Equal => (named && other.at != self.at).then_some(End::Worked),
                std::cmp::Ordering::Greater => None,
            }
        };
        all.iter().enumerate().filter_map(|(at, other)| Some((at, wanted(other)?))).collect()
    }
}

impl Engine {
    /// Carries `draft` out. What was cut off before is finished first. A release that does not pass its gate is taken
    /// back by itself.
    pub async fn carry_out(
        &self,
        draft: &Draft,
        kind: RunKind,
        wait_for_lease: Duration,
    ) -> Result<RunEnd, EngineError> {
        if let Some(refusal) = draft.refusals().next() {
            return Err(EngineError::Refused(refusal.what.clone()));
        }
        let _acting = self.acting.lock().await;
        let fence = self.take_lease(wait_for_lease).await?;
        let end = self.beating(&fence, self.carry_out_held(draft, kind, None, &fence)).await;
        self.parts.store.free_lease(&fence).await?;
        end
    }

    /// [`Engine::carry_out`] for somebody who follows the run from elsewhere. Waits for nobody: it is refused while
    /// something else is done, by this process or by another one.
    ///
    /// # Errors
    /// As [`Engine::carry_out`].
    pub async fn carry_out_asked(
        &self,
        draft: &Draft,
        kind: RunKind,
        asked: Asked,
    ) -> Result<RunEnd, EngineError> {
        if let Some(refusal) = draft.refusals().next() {
            return Err(EngineError::Refused(refusal.what.clone()));
        }
        let _acting = self.not_acting()?;
        let fence = self.take_lease(Duration::ZERO).await?;
        let end = self.beating(&fence, self.carry_out_held(draft, kind, Some(asked), &fence)).await;
        self.parts.store.free_lease(&fence).await?;
        end
    }

    /// [`Engine::carry_out_plan`] for somebody who follows the run from elsewhere, as [`Engine::carry_out_asked`].
    ///
    /// # Errors
    /// As [`Engine::carry_out`].
    pub async fn carry_out_plan_asked(
        &self,
        plan: &Plan,
        kind: RunKind,
        why: &str,
        asked: Asked,
    ) -> Result<RunEnd, EngineError> {
        let _acting = self.not_acting()?;
        let fence = self.take_lease(Duration::ZERO).await?;
        let work = async {
            self.resume_held(&fence).await?;
            let (why, begun) = (format!("{why} ({})", asked.said), Some(asked.begun));
            self.start(Errand { kind, why, plan, release: None, begun }, &fence).await
        };
        let end = self.beating(&fence, work).await;
        self.parts.store.free_lease(&fence).await?;
        end
    }

    /// The right of this process to act, when it does not act already.
    fn not_acting(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, EngineError> {
        let busy = |_| EngineError::Busy(Box::new(self.parts.owner.clone()));
        self.acting.try_lock().map_err(busy)
    }

    async fn carry_out_held(
        &self,
        draft: &Draft,
        kind: RunKind,
        asked: Option<Asked>,
        fence: &Fence,
    ) -> Result<RunEnd, EngineError> {
        self.resume_held(fence).await?;
        let anew = match kind {
            RunKind::Apply | RunKind::Deploy => Box::pin(self.made_anew(draft)).await?,
            RunKind::Rollback
            | RunKind::Move
            | RunKind::Swap
            | RunKind::Tidy
            | RunKind::Restart => None,
        };
        let draft = anew.as_ref().unwrap_or(draft);
        self.run_before(kind, &draft.release).await?;
        let id = draft.release.id;
        let why = match (kind, &draft.only) {
            (_, Some(only)) => format!("{id} on {only} alone"),
            (RunKind::Rollback, None) => format!("rollback to {id}"),
            _ => draft.release.why.clone(),
        };
        let release = draft.only.is_none().then(|| draft.release.clone());
        let (why, begun) = match asked {
            Some(asked) => (format!("{why} ({})", asked.said), Some(asked.begun)),
            None => (why, None),
        };
        self.start(Errand { kind, why, plan: &draft.plan, release, begun }, fence).await
    }

    /// Finishes every run that was cut off.
    pub async fn resume(&self) -> Result<Vec<RunEnd>, EngineError> {
        if !self.runs().await?.iter().any(|run| run.state == RunState::Running) {
            return Ok(Vec::new());
        }
        let _acting = self.acting.lock().await;
        let fence = self.take_lease(Duration::from_secs(40)).await?;
        let ends = self.beating(&fence, self.resume_held(&fence)).await;
        self.parts.store.free_lease(&fence).await?;
        ends
    }

    pub(crate) async fn resume_held(&self, fence: &Fence) -> Result<Vec<RunEnd>, EngineError> {
        let mut ends = Vec::new();
        for document in self.parts.store.list("run/").await? {
            let run: Run = from_value(&document.key, document.body)?;
            if run.state != RunState::Running {
                continue;
            }
            let done = run.steps().filter(|step| step.state == StepState::Done).count();
            let said = format!(
                "{} was cut off after {done} of {} steps and goes on: {}",
                run.id,
                run.steps().count(),
                run.why
            );
            self.tell(self.about_run(&run, EventKind::Resumed, Level::Notice, said)).await;
            self.look().await;
            let journal = Journal::new(self, fence.clone(), run, Some(document.version));
            ends.push(Box::pin(self.finish(journal)).await?);
        }
        Ok(ends)
    }

    /// Writes a new run down and carries it out.
    pub(crate) async fn start(
        &self,
        errand: Errand<'_>,
        fence: &Fence,
    ) -> Result<RunEnd, EngineError> {
        let newest = self.parts.store.list("run/").await?.pop();
        let newest = newest.and_then(|document| document.key.rsplit('-').next()?.parse().ok());
        let mut number: u64 = newest.unwrap_or(0) + 1;
        loop {
            let run = Run {
                id: run_id(number),
                kind: errand.kind,
                why: errand.why.clone(),
                at: self.parts.clock.wall(),
                owner: self.parts.owner.clone(),
                state: RunState::Running,
                release: errand.release.clone(),
                stages: Run::stages_of(errand.plan),
            };
            let journal = Journal::new(self, fence.clone(), run, None);
            match journal.write(|_| {}).await {
                // Another move of the same turn took the number.
                Err(EngineError::Store(StoreError::Conflict { .. })) => number += 1,
                Err(error) => return Err(error),
                Ok(()) => {
                    if let Some(begun) = errand.begun {
                        // Whoever asked may have stopped listening.
                        drop(begun.send(run_id(number)));
                    }
                    self.forget_runs(number).await?;
                    return Box::pin(self.finish(journal)).await;
                }
            }
        }
    }

    /// Drops what is long over, so that the journal stays small.
    async fn forget_runs(&self, newest: u64) -> Result<(), EngineError> {
        let Some(old) = newest.checked_sub(KEPT_RUNS) else { return Ok(()) };
        let key = format!("run/run-{old:06}");
        if let Some((run, version)) = self.document::<Run>(&key).await?
            && run.state != RunState::Running
        {
            self.parts.store.remove(&key, version).await?;
        }
        Ok(())
    }

    /// Carries a run on to its end, whatever of it has been done before.
    async fn finish(&self, journal: Journal<'_>) -> Result<RunEnd, EngineError> {
        let started = self.parts.clock.now();
        let run = journal.run().await;
        let said = format!("{}: {}", run.id, run.why);
        self.tell(self.about_run(&run, EventKind::RunStarted, Level::Info, said)).await;
        if let Some(release) = &run.release {
            self.keep_release(release, &journal.fence).await?;
            self.go_by(release);
        }
        self.carry_on(&journal).await?;
        let run = journal.run().await;
        let failed: Vec<StepRecord> =
            run.steps().filter(|step| step.state == StepState::Failed).cloned().collect();
        let before = self.live().await?;
        let ending = self.conclude(&journal, &run, &failed).await?;
        let release = match self.document::<ReleaseId>("live").await? {
            Some((live, _)) => live,
            None => run.release.as_ref().map_or(ReleaseId(0), |release| release.id),
        };
        let took_ms = self.parts.clock.now().since(started);
        if let Some(release) = &run.release {
            self.follow_up(&journal.run().await, release, before.as_ref()).await;
        }
        let (state, put_back) = (ending.state, ending.put_back);
        Ok(RunEnd { run: run.id, release, state, failed, put_back, took_ms })
    }

    /// Carries every step out that has not ended, each as soon as those that it waits for have worked. After one that did
    /// not work no other one is begun.
    async fn carry_on(&self, journal: &Journal<'_>) -> Result<(), EngineError> {
        let run = journal.run().await;
        let steps = Flow::of(&run);
        let ends: Vec<watch::Sender<End>> =
            steps.iter().map(|_| watch::channel(End::None).0).collect();
        let failed = AtomicBool::new(false);
        let (run, steps, ends, failed) = (&run, &steps, &ends, &failed);
        let each = steps.iter().enumerate().map(|(index, flow)| async move {
            let outcome: Result<bool, EngineError> = async {
                for (other, wanted) in flow.waits_for(steps) {
                    let mut end = ends[other].subscribe();
                    let end = end.wait_for(|end| *end >= wanted).await.map(|end| *end);
                    if !end.is_ok_and(|end| end != End::Failed) {
                        return Ok(false);
                    }
                }
                let is_new = flow.record.state == StepState::Waiting;
                if is_new && failed.load(Ordering::SeqCst) {
                    return Ok(false);
                }
                let leads_away = self.leads_away(run, flow).await?;
                let worked = self.step(journal, flow.stage, flow.at).await?;
                if worked && leads_away {
                    ends[index].send_replace(End::Worked);
                    sleep(Duration::from_millis(self.parts.rollout.drain_ms)).await;
                }
                Ok(worked)
            }
            .await;
            if matches!(outcome, Ok(true)) {
                ends[index].send_replace(End::Over);
            } else {
                failed.store(true, Ordering::SeqCst);
                ends[index].send_replace(End::Failed);
            }
            outcome.map(drop)
        });
        join_all(each).await.into_iter().collect()
    }

    /// Whether a step leads visitors away from where they were, so that what they asked for there may end before anything
    /// is changed there. Where that has begun, it was waited for.
    async fn leads_away(&self, run: &Run, flow: &Flow<'_>) -> Result<bool, EngineError> {
        let Action::Activate { service, .. } = &flow.record.step.action else { return Ok(false) };
        let later = run.stages[flow.stage + 1..].iter().flat_map(|stage| &stage.steps);
        let mut own = later.filter(|step| step.step.action.service() == service);
        if own.any(|step| step.state != StepState::Waiting)
            || !self.spec(service).is_some_and(|spec| spec.is_probed())
        {
            return Ok(false);
        }
        Ok(self.document::<Active>(&format!("active/{service}")).await?.is_some())
    }

    /// One step: intent, effect, outcome. Says whether it worked.
    async fn step(
        &self,
        journal: &Journal<'_>,
        stage: usize,
        at: usize,
    ) -> Result<bool, EngineError> {
        let run = journal.run().await;
        let record = &run.stages[stage].steps[at];
        match record.state {
            StepState::Done => return Ok(true),
            StepState::Failed => return Ok(false),
            StepState::Waiting | StepState::Intent => {}
        }
        let began = self.parts.clock.now();
        journal.write(|run| run.stages[stage].steps[at].state = StepState::Intent).await?;
        let outcome = self.perform(&record.step.action, &journal.fence).await;
        self.tell_step(&run.id, &record.step.action, &record.step.why, &outcome).await;
        let worked = outcome.is_ok();
        let took_ms = self.parts.clock.now().since(began);
        let migration = match &record.step.action {
            Action::Migrate { service, release, .. } => {
                self.release(*release).await?.migrations.remove(service)
            }
            _ => None,
        };
        journal
            .write(|run| {
                let record = &mut run.stages[stage].steps[at];
                record.state = if worked { StepState::Done } else { StepState::Failed };
                record.said = Some(outcome.unwrap_or_else(|why| why));
                record.migration = migration;
                record.took_ms = Some(took_ms);
            })
            .await?;
        Ok(worked)
    }

    /// `work`, with signs of life while it lasts.
    pub(crate) async fn beating<T>(
        &self,
        fence: &Fence,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let beats = async {
            loop {
                sleep(BEAT).await;
                if let Err(lost) = self.still_holds(fence).await {
                    return lost;
                }
            }
        };
        tokio::select! {
            done = work => done,
            lost = beats => Err(lost),
        }
    }
}
