//! What would be done for a release: read-only.

use std::collections::BTreeMap;

use linkflow_decide::{Wanted, differences, rollout};
use linkflow_model::{Change, Plan, Release, ReleaseId, ReleaseState, ServiceName, ServiceRelease};
use serde::{Deserialize, Serialize};

use crate::journal::from_value;
use crate::{Engine, EngineError};

/// A release and the way to it. Nothing has been done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The release; the live one when nothing in it differs.
    pub release: Release,
    /// The way there.
    pub plan: Plan,
}

impl Engine {
    /// The live release.
    pub async fn live(&self) -> Result<Option<Release>, EngineError> {
        let Some((id, _)) = self.document::<ReleaseId>("live").await? else { return Ok(None) };
        self.release(id).await.map(Some)
    }

    /// Every release, oldest first.
    pub async fn releases(&self) -> Result<Vec<Release>, EngineError> {
        let documents = self.parts.store.list("release/").await?;
        let mut releases = documents
            .into_iter()
            .map(|document| from_value::<Release>(&document.key, document.body))
            .collect::<Result<Vec<_>, _>>()?;
        releases.sort_by_key(|release| release.id);
        Ok(releases)
    }

    /// The release `id`.
    pub(crate) async fn release(&self, id: ReleaseId) -> Result<Release, EngineError> {
        let found = self.document::<Release>(&format!("release/{id}")).await?;
        let missing = || EngineError::Missing(format!("there is no release {id}"));
        found.map(|(release, _)| release).ok_or_else(missing)
    }

    /// What would be done to have `services` run. Asks every provider first; changes nothing.
    pub async fn draft(
        &self,
        services: BTreeMap<ServiceName, ServiceRelease>,
        why: &str,
    ) -> Result<Draft, EngineError> {
        let live = self.live().await?;
        let release = match live.clone() {
            Some(live) if live.services == services => live,
            before => Release {
                id: self.next_release().await?,
                at: self.parts.clock.wall(),
                state: ReleaseState::Rolling,
                why: why.to_owned(),
                before: before.map(|release| release.id),
                services,
            },
        };
        self.draft_of(release, live.as_ref()).await
    }

    /// What would be done to have release `to` run again.
    pub async fn draft_back(&self, to: ReleaseId) -> Result<Draft, EngineError> {
        let live = self.live().await?;
        let release = self.release(to).await?;
        self.draft_of(release, live.as_ref()).await
    }

    pub(crate) async fn draft_of(
        &self,
        release: Release,
        live: Option<&Release>,
    ) -> Result<Draft, EngineError> {
        self.look().await;
        let world = self.world().await?;
        let mut wanted = Vec::new();
        for (name, service) in &release.services {
            let before = live.and_then(|live| live.services.get(name));
            for provider in &service.spec.runs_on {
                let Some(fingerprint) = service.fingerprints.get(provider) else { continue };
                let held = before.and_then(|before| before.fingerprints.get(provider));
                let mut changes = differences(before, service);
                if changes.is_empty() && held.is_some_and(|held| held != fingerprint) {
                    let from = Some("(secret)".to_owned());
                    let to = Some("(changed)".to_owned());
                    changes.push(Change { field: "env".to_owned(), from, to });
                }
                wanted.push(Wanted {
                    spec: &service.spec,
                    provider,
                    release: release.id,
                    digest: &service.image.digest,
                    fingerprint,
                    changes,
                });
            }
        }
        let mut plan = rollout(&wanted, &world);
        for (provider, fault) in self.faults() {
            plan.hold(None, format!("{provider} is left as it is: {fault}"));
        }
        let silent = self.faults();
        for stage in &mut plan.stages {
            stage.steps.retain(|step| !silent.contains_key(step.action.provider()));
        }
        plan.stages.retain(|stage| !stage.steps.is_empty());
        Ok(Draft { release, plan })
    }

    async fn next_release(&self) -> Result<ReleaseId, EngineError> {
        let newest = self.releases().await?.last().map_or(0, |release| release.id.0);
        let runs = self.runs().await?;
        let rolling = runs.iter().filter_map(|run| run.release.as_ref()).map(|r| r.id.0).max();
        Ok(ReleaseId(newest.max(rolling.unwrap_or(0)) + 1))
    }
}
