//! Releases, and the runs of plans that are or were carried out.

use std::collections::BTreeMap;

use linkflow_model::{Author, Release, ReleaseId, ReleaseState, Step};
use serde::Deserialize;

use super::{documents, missing};
use crate::Site;
use crate::operator::Refusal;
use crate::shape::shapes;

shapes! {
    /// A release.
    pub struct ReleaseRow {
        /// Its number: `r12`.
        pub release: ReleaseId,
        /// When it was made, in milliseconds since 1970.
        pub at: u64,
        /// How it stands.
        pub state: ReleaseState,
        /// Why it was made.
        pub why: String,
        /// Who asked for it.
        pub by: Option<String>,
        /// The release that was live when this one was made.
        pub before: Option<ReleaseId>,
        /// How long its rollout took, in milliseconds.
        pub took_ms: Option<u64>,
        /// Why it failed.
        pub failed: Option<String>,
        /// The image of each service, by digest.
        pub images: BTreeMap<String, String>,
        /// How each migration ended: its exit code.
        pub migrations: BTreeMap<String, String>,
    }

    /// A run of a plan.
    pub struct RunRow {
        /// Its id: `run-000012`.
        pub run: String,
        /// What sort: apply, deploy, rollback, move, swap, tidy, restart.
        pub kind: String,
        /// Why.
        pub why: String,
        /// When it began, in milliseconds since 1970.
        pub at: u64,
        /// Who began it.
        pub by: String,
        /// How it stands: `running`, `done`, `failed`, `rolled_back`.
        pub state: String,
        /// The release that it rolls out.
        pub release: Option<ReleaseId>,
        /// Steps that are done.
        pub done: u64,
        /// All steps.
        pub steps: u64,
    }

    /// A run with its steps.
    pub struct Run {
        /// The run.
        pub run: RunRow,
        /// Its stages.
        pub stages: Vec<RunStage>,
    }

    /// A stage of a run.
    pub struct RunStage {
        /// What it is for.
        pub name: String,
        /// Its steps.
        pub steps: Vec<RunStep>,
    }

    /// A step of a run.
    pub struct RunStep {
        /// What it does.
        pub what: String,
        /// Why.
        pub why: String,
        /// How it stands: waiting, intent, done, failed.
        pub state: String,
        /// How it went.
        pub said: Option<String>,
        /// How long it took, in milliseconds.
        pub took_ms: Option<u64>,
    }
}

/// What is read of a run: its document is the engine's.
#[derive(Deserialize)]
struct Stored {
    id: String,
    kind: String,
    why: String,
    at: u64,
    owner: StoredOwner,
    state: String,
    #[serde(default)]
    release: Option<Release>,
    stages: Vec<StoredStage>,
}

#[derive(Deserialize)]
struct StoredOwner {
    #[serde(default)]
    who: Option<String>,
    host: String,
}

#[derive(Deserialize)]
struct StoredStage {
    name: String,
    steps: Vec<StoredStep>,
}

#[derive(Deserialize)]
struct StoredStep {
    step: Step,
    state: String,
    #[serde(default)]
    said: Option<String>,
    #[serde(default)]
    took_ms: Option<u64>,
}

impl Stored {
    fn row(&self) -> RunRow {
        let steps = || self.stages.iter().flat_map(|stage| &stage.steps);
        let host = self.owner.host.clone();
        RunRow {
            run: self.id.clone(),
            kind: self.kind.clone(),
            why: self.why.clone(),
            at: self.at,
            by: self.owner.who.as_ref().map_or(host, |who| format!("{who} on {}", self.owner.host)),
            state: self.state.clone(),
            release: self.release.as_ref().map(|release| release.id),
            done: steps().filter(|step| step.state == "done").count() as u64,
            steps: steps().count() as u64,
        }
    }
}

/// Every release, the newest first.
pub(crate) async fn releases(site: &Site) -> Result<Vec<ReleaseRow>, Refusal> {
    let mut all: Vec<Release> = documents(&*site.store, "release/").await?;
    all.sort_by_key(|release| std::cmp::Reverse(release.id));
    Ok(all.iter().map(row).collect())
}

fn row(release: &Release) -> ReleaseRow {
    let images = release.services.iter().map(|(n, s)| (n.to_string(), s.image.to_string()));
    let ended = release.migrations.iter().map(|(name, ended)| {
        (name.to_string(), ended.code.map_or_else(|| "?".to_owned(), |code| code.to_string()))
    });
    ReleaseRow {
        release: release.id,
        at: release.at.0,
        state: release.state,
        why: release.why.clone(),
        by: release.by.as_ref().map(Author::to_string),
        before: release.before,
        took_ms: release.took_ms,
        failed: release.failed.clone(),
        images: images.collect(),
        migrations: ended.collect(),
    }
}

/// The release `id`.
pub(crate) async fn release(site: &Site, id: ReleaseId) -> Result<ReleaseRow, Refusal> {
    let document = site.store.read(&format!("release/{id}")).await?;
    let read = document.and_then(|held| serde_json::from_value::<Release>(held.body).ok());
    let read = read.ok_or_else(|| missing("release", &id.to_string(), "/api/v1/releases"))?;
    Ok(row(&read))
}

/// Every run that is remembered, the newest first.
pub(crate) async fn runs(site: &Site) -> Result<Vec<RunRow>, Refusal> {
    let all: Vec<Stored> = documents(&*site.store, "run/").await?;
    Ok(all.iter().rev().map(Stored::row).collect())
}

/// The run `id`, with its steps.
pub(crate) async fn run(site: &Site, id: &str) -> Result<Run, Refusal> {
    let document = site.store.read(&format!("run/{id}")).await?;
    let read = document.and_then(|held| serde_json::from_value::<Stored>(held.body).ok());
    let read = read.ok_or_else(|| missing("run", id, "/api/v1/runs"))?;
    let row = read.row();
    let step = |held: StoredStep| RunStep {
        what: held.step.action.to_string(),
        why: held.step.why,
        state: held.state,
        said: held.said,
        took_ms: held.took_ms,
    };
    let stage = |held: StoredStage| RunStage {
        name: held.name,
        steps: held.steps.into_iter().map(step).collect(),
    };
    Ok(Run { run: row, stages: read.stages.into_iter().map(stage).collect() })
}
