//! What is being done, on disk: intent before effect, outcome after.
//!
//! A run is one document, `run/<id>`; each write of it is a row in the sense of the journal. Whoever finds a run that is
//! still `running` and holds the lease carries on where it was cut off.

use linkflow_model::{Migration, Plan, Release, Step, Timestamp};
use linkflow_store::Fence;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Engine, EngineError, Owner, locked};

/// A plan that is or was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `run-000012`.
    pub id: String,
    /// What sort.
    pub kind: RunKind,
    /// Why.
    pub why: String,
    /// When it began.
    pub at: Timestamp,
    /// Who began it.
    pub owner: Owner,
    /// How it stands.
    pub state: RunState,
    /// The release that it rolls out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Its stages.
    pub stages: Vec<StageRecord>,
}

/// The sorts of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// The config is carried out.
    Apply,
    /// New images go out.
    Deploy,
    /// An earlier release is put back.
    Rollback,
    /// A service moves.
    Move,
    /// A service is led to the provider that takes another's place.
    Swap,
    /// What runs where it should not is stopped.
    Tidy,
    /// A service is started again where it stands.
    Restart,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Under way, or cut off.
    Running,
    /// Every step was carried out.
    Done,
    /// A step did not work; nothing was put back.
    Failed,
    /// A step did not work; the release before was put back.
    RolledBack,
}

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// What it is for.
    pub name: String,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// Whether each service goes through it apart from the others, as its plan says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// What to do.
    pub step: Step,
    /// How it stands.
    pub state: StepState,
    /// How it went; for a failed one why, with the last lines of the service's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// How the migration ended, of a step that runs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// How long it took in the process that saw its end, without what it waited for others before, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Begun; what it did is not known here.
    Intent,
    /// Carried out.
    Done,
    /// Did not work.
    Failed,
}

impl Run {
    /// The stages of `plan`, nothing done.
    pub(crate) fn stages_of(plan: &Plan) -> Vec<StageRecord> {
        let record = |step: &Step| StepRecord {
            step: step.clone(),
            state: StepState::Waiting,
            said: None,
            migration: None,
            took_ms: None,
        };
        let stage = |stage: &linkflow_model::Stage| StageRecord {
            name: stage.name.clone(),
            steps: stage.steps.iter().map(record).collect(),
            apart: stage.apart,
        };
        plan.stages.iter().map(stage).collect()
    }

    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &StepRecord> {
        self.stages.iter().flat_map(|stage| &stage.steps)
    }
}

/// A run under way: its document, its version in the store, and the right to write it.
pub(crate) struct Journal<'a> {
    engine: &'a Engine,
    pub(crate) fence: Fence,
    inner: tokio::sync::Mutex<(Run, Option<u64>)>,
}

impl<'a> Journal<'a> {
    /// A run that is not in the store yet (`version` is `None`) or was found there.
    pub(crate) fn new(engine: &'a Engine, fence: Fence, run: Run, version: Option<u64>) -> Self {
        Self { engine, fence, inner: tokio::sync::Mutex::new((run, version)) }
    }

    /// Changes the run and writes it.
    pub(crate) async fn write(&self, change: impl FnOnce(&mut Run)) -> Result<(), EngineError> {
        let mut inner = self.inner.lock().await;
        let mut run = inner.0.clone();
        change(&mut run);
        let key = format!("run/{}", run.id);
        let body = to_value(&run);
        self.engine.journal_point(&inner.0, &run, false);
        let version =
            self.engine.parts.store.write(&key, inner.1, &body, Some(&self.fence)).await?;
        self.engine.journal_point(&inner.0, &run, true);
        *inner = (run, Some(version));
        Ok(())
    }

    /// The run as it stands.
    pub(crate) async fn run(&self) -> Run {
        self.inner.lock().await.0.clone()
    }
}

impl Engine {
    /// The process is at a point of the journal: where `run` becomes `next`, before that is written or after.
    fn journal_point(&self, run: &Run, next: &Run, is_written: bool) {
        let Some(crash) = &self.parts.crash else { return };
        let mut points = locked(&self.journal_points);
        *points += 1;
        crash.look(*points, run, next, is_written);
    }

    /// Every run that the store knows, oldest first.
    pub async fn runs(&self) -> Result<Vec<Run>, EngineError> {
        let documents = self.parts.store.list("run/").await?;
        documents.into_iter().map(|document| from_value(&document.key, document.body)).collect()
    }

    /// The document under `key`, with its version.
    pub(crate) async fn document<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<(T, u64)>, EngineError> {
        let Some(document) = self.parts.store.read(key).await? else { return Ok(None) };
        Ok(Some((from_value(key, document.body)?, document.version)))
    }

    /// Writes `value` under `key`, whatever is there, under the lease.
    pub(crate) async fn put<T: Serialize + Sync>(
        &self,
        key: &str,
        value: &T,
        fence: &Fence,
    ) -> Result<(), EngineError> {
        let held = self.parts.store.read(key).await?.map(|document| document.version);
        self.parts.store.write(key, held, &to_value(value), Some(fence)).await?;
        Ok(())
    }
}

pub(crate) fn from_value<T: DeserializeOwned>(key: &str, body: Value) -> Result<T, EngineError> {
    serde_json::from_value(body)
        .map_err(|error| EngineError::Unreadable { key: key.to_owned(), why: error.to_string() })
}

fn to_value<T: Serialize>(value: &T) -> Value {
    // Every type kept here is plain data with text keys, which always has a JSON form.
    serde_json::to_value(value).unwrap_or_default()
}
