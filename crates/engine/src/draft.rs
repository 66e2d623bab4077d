//! What would be done for a release: read-only.

use std::collections::BTreeMap;

use linkflow_decide::{Wanted, differences, migrations, on_one, rollout, runner};
use linkflow_model::{
    Change, EventKind, Finding, Level, Plan, ProviderName, Release, ReleaseId, ReleaseState,
    ServiceName, ServiceRelease,
};
use serde::{Deserialize, Serialize};

use crate::journal::from_value;
use crate::preflight::{Facts, silent_runner};
use crate::{Engine, EngineError};

/// A release and the way to it. Nothing has been done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The release; the live one when nothing in it differs.
    pub release: Release,
    /// The way there.
    pub plan: Plan,
    /// What speaks against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The one provider that is changed, when it is only one: the live release stays the live one then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<ProviderName>,
    /// Whether it is carried out as it is or not at all, because somebody has approved it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
}

impl Draft {
    /// What forbids carrying it out.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.forbids)
    }
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

    /// What would be done to have `services` run. Asks every provider first; changes nothing. `facts` holds what the
    /// registries said of the images.
    pub async fn draft(
        &self,
        services: BTreeMap<ServiceName, ServiceRelease>,
        why: &str,
        facts: &Facts,
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
                by: Some(self.parts.owner.author()),
                migrations: BTreeMap::new(),
                took_ms: None,
                failed: None,
            },
        };
        let mut draft = self.draft_of(release, live.as_ref(), None).await?;
        self.add_migrations(&mut draft).await?;
        draft.findings.extend(self.preflight(&draft.release, &draft.plan, facts).await);
        Ok(draft)
    }

    /// What would be done to have release `to` run again, on `only` alone when there is one. A rollback never migrates,
    /// and what speaks against it does not forbid it: who puts something back has a reason to.
    pub async fn draft_back(
        &self,
        to: ReleaseId,
        only: Option<&ProviderName>,
    ) -> Result<Draft, EngineError> {
        let live = self.live().await?;
        let release = self.release(to).await?;
        let mut draft = self.draft_of(release, live.as_ref(), only).await?;
        let findings = self.preflight(&draft.release, &draft.plan, &Facts::default()).await;
        draft.findings.extend(findings.into_iter().map(|f| Finding { forbids: false, ..f }));
        Ok(draft)
    }

    pub(crate) async fn draft_of(
        &self,
        release: Release,
        live: Option<&Release>,
        only: Option<&ProviderName>,
    ) -> Result<Draft, EngineError> {
        self.look().await;
        let world = self.world().await?;
        let silent = self.faults();
        let mut wanted = Vec::new();
        for (name, service) in &release.services {
            let before = live.and_then(|live| live.services.get(name));
            let asked = service.spec.runs_on.iter().filter(|p| !silent.contains_key(*p));
            for provider in asked {
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
        let mut plan = match only {
            Some(only) => on_one(&wanted, &world, only),
            None => rollout(&wanted, &world, self.parts.rollout.max_unavailable),
        };
        for (provider, fault) in &silent {
            plan.hold(None, format!("{provider} is left as it is: {fault}"));
        }
        for stage in &mut plan.stages {
            stage.steps.retain(|step| !silent.contains_key(step.action.provider()));
        }
        plan.stages.retain(|stage| !stage.steps.is_empty());
        Ok(Draft { release, plan, findings: Vec::new(), only: only.cloned(), exact: false })
    }

    /// The draft made anew, when another release went out since it was made: its number may be taken, and its plan is
    /// the way from a world that is gone. `None` when it still holds. A rollback names its release, and always holds.
    pub(crate) async fn made_anew(&self, draft: &Draft) -> Result<Option<Draft>, EngineError> {
        let live = self.live().await?;
        let id = live.as_ref().map(|live| live.id);
        let release = &draft.release;
        let record = format!("release/{}", release.id);
        let holds = match release.state {
            ReleaseState::Rolling => {
                id == release.before && self.document::<Release>(&record).await?.is_none()
            }
            ReleaseState::Live => id == Some(release.id),
            ReleaseState::Failed | ReleaseState::Superseded => true,
        };
        if holds || draft.only.is_some() {
            return Ok(None);
        }
        if draft.exact {
            let what = "another release went out since the plan was made";
            return Err(EngineError::Refused(format!("the plan is not carried out: {what}")));
        }
        let fresh = match live.clone() {
            Some(live) if live.services == release.services => live,
            _ => Release {
                id: self.next_release().await?,
                state: ReleaseState::Rolling,
                before: id,
                migrations: BTreeMap::new(),
                ..release.clone()
            },
        };
        let said =
            format!("{} is planned anew as {}, for another release went out", release.id, fresh.id);
        self.tell(self.event(EventKind::Control, Level::Notice, said)).await;
        let mut anew = self.draft_of(fresh, live.as_ref(), None).await?;
        self.add_migrations(&mut anew).await?;
        if let Some(refusal) = anew.refusals().next() {
            return Err(EngineError::Refused(refusal.what.clone()));
        }
        Ok(Some(anew))
    }

    /// Puts the migrations that the release needs before everything else.
    async fn add_migrations(&self, draft: &mut Draft) -> Result<(), EngineError> {
        let silent = self.faults();
        let has_jobs = |provider: &ProviderName| {
            let found = self.parts.computes.get(provider);
            found.is_some_and(|compute| compute.capabilities().jobs)
        };
        let (mut last, mut runners) = (BTreeMap::new(), BTreeMap::new());
        let mut nobody = BTreeMap::new();
        for (name, service) in &draft.release.services {
            let spec = &service.spec;
            if spec.migrate.is_none() {
                continue;
            }
            last.extend(self.migrated(name).await?.last.map(|last| (name.clone(), last)));
            let image = format!("{}/{}", service.image.registry, service.image.repository);
            let here = self.parts.programs.get(&image).filter(|here| has_jobs(here));
            let named = self.parts.rollout.migrate_on.as_ref();
            let answers = |p: &ProviderName| has_jobs(p) && !silent.contains_key(p);
            let found = match named {
                Some(_) => runner(spec, named, has_jobs, here),
                None => runner(spec, None, answers, here),
            };
            match found {
                Ok(provider) => drop(runners.insert(name.clone(), provider)),
                Err((what, help)) => {
                    let finding = Finding {
                        forbids: true,
                        service: Some(name.clone()),
                        provider: named.cloned(),
                        what,
                        help,
                    };
                    // Who it would be does not matter to whether it is due.
                    runners.extend(spec.runs_on.first().map(|p| (name.clone(), p.clone())));
                    nobody.insert(name.clone(), finding);
                }
            }
        }
        let Some(mut stage) = migrations(&draft.release, &last, &runners) else { return Ok(()) };
        for step in &stage.steps {
            let service = step.action.service();
            if let Some(finding) = nobody.get(service) {
                draft.findings.push(finding.clone());
            } else if let Some(fault) = silent.get(step.action.provider()) {
                draft.findings.push(silent_runner(service, fault));
            }
        }
        stage.steps.retain(|step| !nobody.contains_key(step.action.service()));
        if !stage.steps.is_empty() {
            draft.plan.stages.insert(0, stage);
        }
        Ok(())
    }

    async fn next_release(&self) -> Result<ReleaseId, EngineError> {
        let newest = self.releases().await?.last().map_or(0, |release| release.id.0);
        let runs = self.runs().await?;
        let rolling = runs.iter().filter_map(|run| run.release.as_ref()).map(|r| r.id.0).max();
        Ok(ReleaseId(newest.max(rolling.unwrap_or(0)) + 1))
    }
}
