//! Carries out a plan: stage after stage, journalled, under the lease; takes up what was cut off.

use std::time::Duration;

use futures_util::future::join_all;
use linkflow_model::{Event, EventKind, Level, Plan, Release, ReleaseId, ReleaseState};
use linkflow_store::{Fence, StoreError};

use crate::journal::{Journal, from_value};
use crate::lease::BEAT;
use crate::{Draft, Engine, EngineError, Run, RunKind, RunState, StepRecord, StepState};

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
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What a new run is for.
pub(crate) struct Errand<'a> {
    pub(crate) kind: RunKind,
    pub(crate) why: String,
    pub(crate) plan: &'a Plan,
    pub(crate) release: Option<Release>,
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
        let _acting = self.acting.lock().await;
        let fence = self.take_lease(wait_for_lease).await?;
        let end = self.beating(&fence, self.carry_out_held(draft, kind, &fence)).await;
        self.parts.store.free_lease(&fence).await?;
        end
    }

    async fn carry_out_held(
        &self,
        draft: &Draft,
        kind: RunKind,
        fence: &Fence,
    ) -> Result<RunEnd, EngineError> {
        self.resume_held(fence).await?;
        let errand = Errand {
            kind,
            why: draft.release.why.clone(),
            plan: &draft.plan,
            release: Some(draft.release.clone()),
        };
        self.start(errand, fence).await
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
            ends.push(self.finish(journal).await?);
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
                id: format!("run-{number:06}"),
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
                    self.forget_runs(number).await?;
                    return self.finish(journal).await;
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
        for index in 0..run.stages.len() {
            let steps = run.stages[index].steps.len();
            let all = join_all((0..steps).map(|at| self.step(&journal, index, at))).await;
            if all.into_iter().collect::<Result<Vec<_>, _>>()?.contains(&false) {
                break;
            }
        }
        let run = journal.run().await;
        let failed: Vec<StepRecord> =
            run.steps().filter(|step| step.state == StepState::Failed).cloned().collect();
        let state = self.conclude(&journal, &run, &failed).await?;
        let release = match self.document::<ReleaseId>("live").await? {
            Some((live, _)) => live,
            None => run.release.as_ref().map_or(ReleaseId(0), |release| release.id),
        };
        let took_ms = self.parts.clock.now().since(started);
        Ok(RunEnd { run: run.id, release, state, failed, took_ms })
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
        journal.write(|run| run.stages[stage].steps[at].state = StepState::Intent).await?;
        let outcome = self.perform(&record.step.action, &journal.fence).await;
        self.tell_step(&run.id, &record.step.action, &record.step.why, &outcome).await;
        let worked = outcome.is_ok();
        journal
            .write(|run| {
                let record = &mut run.stages[stage].steps[at];
                record.state = if worked { StepState::Done } else { StepState::Failed };
                record.said = Some(outcome.unwrap_or_else(|why| why));
            })
            .await?;
        Ok(worked)
    }

    /// Makes the release live, or takes it back.
    async fn conclude(
        &self,
        journal: &Journal<'_>,
        run: &Run,
        failed: &[StepRecord],
    ) -> Result<RunState, EngineError> {
        let fence = &journal.fence;
        let mut state = if failed.is_empty() { RunState::Done } else { RunState::Failed };
        if let Some(release) = &run.release {
            if failed.is_empty() {
                self.go_live(release, fence).await?;
                let said = format!("{} is live", release.id);
                self.tell(self.about_run(run, EventKind::ReleaseLive, Level::Notice, said)).await;
            } else if self.take_back(run, release, fence).await? {
                state = RunState::RolledBack;
            }
        }
        journal.write(|run| run.state = state).await?;
        let (level, word) = match state {
            RunState::Done | RunState::Running => (Level::Info, "done"),
            RunState::Failed => (Level::Warning, "failed"),
            RunState::RolledBack => (Level::Warning, "rolled back"),
        };
        let said = format!("{}: {word}", run.id);
        self.tell(self.about_run(run, EventKind::RunEnded, level, said)).await;
        Ok(state)
    }

    /// Puts the live release back wherever `release` has got to. Says whether that worked.
    async fn take_back(
        &self,
        run: &Run,
        release: &Release,
        fence: &Fence,
    ) -> Result<bool, EngineError> {
        let live = self.live().await?.filter(|live| live.id != release.id);
        let mut said = format!("{} did not pass its gate", release.id);
        if let Some(step) = run.steps().find(|step| step.state == StepState::Failed) {
            said = format!("{said}: {}: {}", step.step.action, step.said.as_deref().unwrap_or("?"));
        }
        self.tell(self.about_run(run, EventKind::ReleaseFailed, Level::Alarm, said)).await;
        let mut record = release.clone();
        record.state = ReleaseState::Failed;
        let Some(live) = live else {
            self.put(&format!("release/{}", release.id), &record, fence).await?;
            return Ok(false);
        };
        self.go_by(&live);
        let draft = self.draft_of(live.clone(), Some(release)).await?;
        let why = format!("back to {}: {} did not pass its gate", live.id, release.id);
        let errand = Errand { kind: RunKind::Rollback, why, plan: &draft.plan, release: None };
        let end = Box::pin(self.start(errand, fence)).await?;
        self.put(&format!("release/{}", release.id), &record, fence).await?;
        if end.state == RunState::Done {
            let said = format!("{} serves again", live.id);
            self.tell(self.about_run(run, EventKind::RolledBack, Level::Notice, said)).await;
        }
        Ok(end.state == RunState::Done)
    }

    /// The release's record is there before anything is done for it.
    async fn keep_release(&self, release: &Release, fence: &Fence) -> Result<(), EngineError> {
        let key = format!("release/{}", release.id);
        if self.document::<Release>(&key).await?.is_none() {
            self.put(&key, release, fence).await?;
        }
        Ok(())
    }

    async fn go_live(&self, release: &Release, fence: &Fence) -> Result<(), EngineError> {
        if let Some(before) = self.live().await?.filter(|before| before.id != release.id) {
            let before = Release { state: ReleaseState::Superseded, ..before };
            self.put(&format!("release/{}", before.id), &before, fence).await?;
        }
        let live = Release { state: ReleaseState::Live, ..release.clone() };
        self.put(&format!("release/{}", live.id), &live, fence).await?;
        self.put("live", &live.id, fence).await
    }

    /// `work`, with signs of life while it lasts.
    pub(crate) async fn beating<T>(
        &self,
        fence: &Fence,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let beats = async {
            loop {
                tokio::time::sleep(BEAT).await;
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

    fn about_run(&self, run: &Run, kind: EventKind, level: Level, said: String) -> Event {
        let mut event = self.event(kind, level, said);
        event.run = Some(run.id.clone());
        event.release = run.release.as_ref().map(|release| release.id);
        event
    }
}
