//! What follows from how a rollout went: the release becomes the live one, or what `on_failure` says is done.

use std::collections::{BTreeMap, BTreeSet};

use linkflow_model::{
    Action, Event, EventKind, Level, OnFailure, Placement, ProviderName, Release, ReleaseId,
    ReleaseState, ServiceName,
};
use linkflow_store::Fence;

use crate::hook::{Hook, HookCall};
use crate::journal::Journal;
use crate::run::Errand;
use crate::{Engine, EngineError, Run, RunKind, RunState, StepRecord, StepState};

/// How a run ended.
pub(crate) struct Ending {
    pub(crate) state: RunState,
    /// Where the release before was put back, when it was put back in places.
    pub(crate) put_back: Vec<Placement>,
}

impl Engine {
    /// Makes the release live, or does what is to be done when it is not.
    pub(crate) async fn conclude(
        &self,
        journal: &Journal<'_>,
        run: &Run,
        failed: &[StepRecord],
    ) -> Result<Ending, EngineError> {
        let fence = &journal.fence;
        let mut ending = Ending { state: RunState::Done, put_back: Vec::new() };
        if !failed.is_empty() {
            ending.state = RunState::Failed;
        }
        if let Some(release) = &run.release {
            if failed.is_empty() {
                self.go_live(release, run, fence).await?;
                let said = format!("{} is live", release.id);
                self.tell(self.about_run(run, EventKind::ReleaseLive, Level::Notice, said)).await;
            } else {
                self.fail(run, release, failed, &mut ending, fence).await?;
            }
        }
        let state = ending.state;
        journal.write(|run| run.state = state).await?;
        let (level, word) = match state {
            RunState::Done | RunState::Running => (Level::Info, "done"),
            RunState::Failed => (Level::Warning, "failed"),
            RunState::RolledBack => (Level::Warning, "rolled back"),
        };
        let said = format!("{}: {word}", run.id);
        self.tell(self.about_run(run, EventKind::RunEnded, level, said)).await;
        Ok(ending)
    }

    /// A release did not get out: says so, puts back what is to be put back, and marks it.
    async fn fail(
        &self,
        run: &Run,
        release: &Release,
        failed: &[StepRecord],
        ending: &mut Ending,
        fence: &Fence,
    ) -> Result<(), EngineError> {
        let mut why = String::new();
        if let Some(step) = failed.first() {
            why = format!("{}: {}", step.step.action, step.said.as_deref().unwrap_or("?"));
        }
        let migrated = failed.iter().any(|s| matches!(s.step.action, Action::Migrate { .. }));
        let policy = self.parts.rollout.on_failure;
        let said = if migrated {
            format!("{} was not begun, because its migration failed: {why}", release.id)
        } else {
            format!("{} did not pass its gate: {why}", release.id)
        };
        self.tell(self.about_run(run, EventKind::ReleaseFailed, Level::Alarm, said)).await;
        let live = self.live().await?.filter(|live| live.id != release.id);
        if let Some(live) = &live {
            self.go_by(live);
        }
        match (live, policy) {
            // Nothing of it was deployed, so there is nothing to put back.
            _ if migrated => {}
            (None, _) | (Some(_), OnFailure::Halt) => {
                let said = format!(
                    "{} is left as it is: `linkflow rollback` puts back what ran before, `linkflow deploy` goes on",
                    release.id
                );
                self.tell(self.about_run(run, EventKind::Held, Level::Warning, said)).await;
            }
            (Some(live), OnFailure::RollbackAll) => {
                if self.take_back(run, release, live, fence).await? {
                    ending.state = RunState::RolledBack;
                }
            }
            (Some(live), OnFailure::RollbackFailed) => {
                ending.put_back = self.put_back(run, release, &live, failed, fence).await?;
            }
        }
        let took_ms = self.parts.clock.wall().0.saturating_sub(run.at.0);
        self.change_release(release.id, fence, |record| {
            record.state = ReleaseState::Failed;
            record.took_ms = Some(took_ms);
            record.failed = Some(why);
        })
        .await
    }

    /// Puts the live release back wherever `release` has got to. Says whether that worked.
    async fn take_back(
        &self,
        run: &Run,
        release: &Release,
        live: Release,
        fence: &Fence,
    ) -> Result<bool, EngineError> {
        let id = live.id;
        let draft = self.draft_of(live, Some(release), None).await?;
        let why = format!("back to {id}: {} did not pass its gate", release.id);
        let errand =
            Errand { kind: RunKind::Rollback, why, plan: &draft.plan, release: None, begun: None };
        let end = Box::pin(self.start(errand, fence)).await?;
        if end.state == RunState::Done {
            let said = format!("{id} serves again");
            self.tell(self.about_run(run, EventKind::RolledBack, Level::Notice, said)).await;
        }
        Ok(end.state == RunState::Done)
    }

    /// Puts the live release back at the placements whose step failed. The others keep what they have: those that were
    /// updated the new release, the rest the old one. Gives the placements where that worked.
    async fn put_back(
        &self,
        run: &Run,
        release: &Release,
        live: &Release,
        failed: &[StepRecord],
        fence: &Fence,
    ) -> Result<Vec<Placement>, EngineError> {
        let mut places: BTreeMap<&ProviderName, BTreeSet<&ServiceName>> = BTreeMap::new();
        for action in failed.iter().map(|record| &record.step.action) {
            places.entry(action.provider()).or_default().insert(action.service());
        }
        let mut put_back = Vec::new();
        for (provider, services) in places {
            let mut draft = self.draft_of(live.clone(), Some(release), Some(provider)).await?;
            for stage in &mut draft.plan.stages {
                stage.steps.retain(|step| services.contains(step.action.service()));
            }
            draft.plan.stages.retain(|stage| !stage.steps.is_empty());
            let why = format!("back to {} on {provider}: {} failed there", live.id, release.id);
            let errand = Errand {
                kind: RunKind::Rollback,
                why,
                plan: &draft.plan,
                release: None,
                begun: None,
            };
            let end = Box::pin(self.start(errand, fence)).await?;
            if end.state != RunState::Done {
                continue;
            }
            let said = format!("{} runs again on {provider}, where {} failed", live.id, release.id);
            self.tell(self.about_run(run, EventKind::RolledBack, Level::Notice, said)).await;
            let back = services.into_iter().cloned();
            put_back.extend(back.map(|service| Placement { service, provider: provider.clone() }));
        }
        Ok(put_back)
    }

    /// What is done after a rollout has ended, still under the lock: the hook, then people are told. Neither changes how
    /// it ended.
    pub(crate) async fn follow_up(&self, run: &Run, release: &Release, before: Option<&Release>) {
        let failed = run.steps().find(|step| step.state == StepState::Failed);
        let why = failed.and_then(|step| step.said.as_deref());
        let hook = if run.state == RunState::Done { Hook::After } else { Hook::Failed };
        let call = HookCall { hook, kind: run.kind, release, run: Some(&run.id), why };
        // It was told; what happened has happened.
        drop(self.run_hook(&call).await);
        self.announce(run, release, before).await;
    }

    /// The release's record is there before anything is done for it.
    pub(crate) async fn keep_release(
        &self,
        release: &Release,
        fence: &Fence,
    ) -> Result<(), EngineError> {
        let key = format!("release/{}", release.id);
        if self.document::<Release>(&key).await?.is_none() {
            self.put(&key, release, fence).await?;
        }
        Ok(())
    }

    /// Changes the record of release `id`.
    pub(crate) async fn change_release(
        &self,
        id: ReleaseId,
        fence: &Fence,
        change: impl FnOnce(&mut Release),
    ) -> Result<(), EngineError> {
        let mut record = self.release(id).await?;
        change(&mut record);
        self.put(&format!("release/{id}"), &record, fence).await
    }

    async fn go_live(
        &self,
        release: &Release,
        run: &Run,
        fence: &Fence,
    ) -> Result<(), EngineError> {
        if let Some(before) = self.live().await?.filter(|before| before.id != release.id) {
            self.change_release(before.id, fence, |record| {
                record.state = ReleaseState::Superseded;
            })
            .await?;
        }
        let took_ms = self.parts.clock.wall().0.saturating_sub(run.at.0);
        self.change_release(release.id, fence, |record| {
            record.state = ReleaseState::Live;
            record.took_ms = Some(took_ms);
            record.failed = None;
        })
        .await?;
        self.put("live", &release.id, fence).await
    }

    pub(crate) fn about_run(
        &self,
        run: &Run,
        kind: EventKind,
        level: Level,
        said: String,
    ) -> Event {
        let mut event = self.event(kind, level, said);
        event.run = Some(run.id.clone());
        event.release = run.release.as_ref().map(|release| release.id);
        event
    }
}
