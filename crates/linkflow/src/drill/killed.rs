//! A release that a process of its own deploys: it is killed with SIGKILL before and after each sort of row of its journal,
//! and started again until the release is out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use linkflow_engine::{CrashPoint, RunKind};
use tokio::process::Command;
use tokio::time::timeout;

use super::stage::Stage;
use crate::wire::hooks::{REHEARSED, WITHIN};
use crate::wire::process::DIES;

/// How long one process may take.
const ONE: Duration = Duration::from_secs(90);
/// The stages that a release may have, in order. Each is died in four times.
const STAGES: [&str; 8] =
    ["migrate", "canary", "rollout", "fence", "prove", "shift", "serving", "return"];
/// What the points before there are steps are counted as.
const FIRST_ROW: &str = "first row";
/// How many of a process's last lines are told.
const LINES: usize = 6;

/// How another process is started on the stack of this rehearsal.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    /// `linkflow` itself.
    pub(crate) program: PathBuf,
    /// The config that is rehearsed.
    pub(crate) config: PathBuf,
    /// Its environment, when one was asked for.
    pub(crate) env: Option<String>,
    /// The state that both share.
    pub(crate) state: PathBuf,
    /// The variables of this process.
    pub(crate) vars: BTreeMap<String, String>,
}

/// What became of the processes.
#[derive(Debug)]
pub(super) struct Killed {
    /// How many were killed, by the stage that they died in.
    kills: BTreeMap<String, u64>,
    /// Where none has died yet.
    left: Vec<CrashPoint>,
    /// Why the last one did not end well, when it did not.
    pub(super) failed: Option<String>,
}

impl Killed {
    /// Nobody yet: before and after the first row of the run, and of each sort of row of each stage.
    fn nobody() -> Self {
        let first = [1, 2].map(CrashPoint::Number);
        let left = first.into_iter().chain(STAGES.into_iter().flat_map(CrashPoint::of_stage));
        Self { kills: BTreeMap::new(), left: left.collect(), failed: None }
    }

    /// How many were killed in all.
    pub(super) fn count(&self) -> u64 {
        self.kills.values().sum()
    }

    /// How many were killed in each stage.
    pub(super) fn by_stage(&self) -> String {
        let stages = [FIRST_ROW].into_iter().chain(STAGES);
        let said = stages.filter_map(|stage| Some(format!("{stage} {}", self.kills.get(stage)?)));
        said.collect::<Vec<String>>().join(", ")
    }

    /// Counts a process that said that it dies, and where. Says whether it is one that was to die there.
    fn died(&mut self, said: &str) -> bool {
        let point = said.lines().rev().find_map(|line| line.strip_prefix(DIES)?.parse().ok());
        let Some(at) = self.left.iter().position(|left| Some(left) == point.as_ref()) else {
            return false;
        };
        let stage = match self.left.remove(at) {
            CrashPoint::Number(_) => FIRST_ROW.to_owned(),
            CrashPoint::Row { stage, .. } => stage,
        };
        *self.kills.entry(stage).or_default() += 1;
        true
    }

    /// Of the points left, those that a run of `stages` has.
    fn keep(&mut self, stages: &[&str]) {
        self.left.retain(|point| match point {
            CrashPoint::Number(_) => true,
            CrashPoint::Row { stage, .. } => stages.contains(&stage.as_str()),
        });
    }

    /// Where nobody died although the run came by.
    pub(super) fn missed(&self) -> Option<String> {
        let left: Vec<String> = self.left.iter().map(CrashPoint::to_string).collect();
        (!left.is_empty()).then(|| left.join(", "))
    }
}

/// Deploys `tag` of every service, one process after another, until one of them ends.
pub(super) async fn deploy(stage: &Stage<'_>, tag: &str) -> Result<Killed, String> {
    let names = stage.cast.services.iter().map(|spec| &spec.name);
    let words: Vec<String> = names.map(|name| format!("{name}=:{tag}")).collect();
    let mut killed = Killed::nobody();
    while one(stage, &words, &mut killed).await? {}
    let runs = stage.engine().runs().await.map_err(|error| error.to_string())?;
    let run = runs.iter().rev().find(|run| run.kind == RunKind::Deploy);
    let stages = run.iter().flat_map(|run| &run.stages).map(|stage| stage.name.as_str());
    killed.keep(&stages.collect::<Vec<&str>>());
    Ok(killed)
}

/// Starts one process, which dies at the first point that it comes to and nobody died at. Says whether it did.
async fn one(stage: &Stage<'_>, words: &[String], killed: &mut Killed) -> Result<bool, String> {
    let other = &stage.other;
    let mut command = Command::new(&other.program);
    command.arg("deploy").args(words).args(["--wait", "60", "--json"]);
    command.arg("--config").arg(&other.config).arg("--state").arg(&other.state);
    command.args(["--cloud", &stage.cloud.endpoints().control]);
    command.args(other.env.iter().flat_map(|env| ["--env", env.as_str()]));
    command.env_clear().envs(&other.vars).env(REHEARSED, "1").env_remove(WITHIN);
    let points: Vec<String> = killed.left.iter().map(CrashPoint::to_string).collect();
    command.env("LINKFLOW_CRASH_AT", points.join(","));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(ONE, command.output()).await;
    let output = output.map_err(|_| format!("`linkflow deploy` did not end in {ONE:?}"))?;
    let output = output.map_err(|error| format!("{}: {error}", other.program.display()))?;
    if output.status.success() {
        return Ok(false);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code().is_none() && killed.died(&text) {
        return Ok(true);
    }
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" / ");
    killed.failed = Some(format!("{}: {last}", output.status));
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_is_died_at_once_and_what_the_run_has_and_nobody_died_at_is_told() {
        let mut killed = Killed::nobody();
        assert!(killed.died("run-000001\nkilled at 1\n"));
        assert!(killed.died("killed at after:fence:intent"));
        for said in ["killed at 1", "killed at after:fence:failed", "out of memory", ""] {
            assert!(!killed.died(said), "{said}");
        }
        assert_eq!((killed.count(), killed.by_stage().as_str()), (2, "first row 1, fence 1"));
        killed.keep(&["fence"]);
        let missed = "2, before:fence:intent, before:fence:done, after:fence:done";
        assert_eq!(killed.missed().as_deref(), Some(missed));
        for point in missed.split(", ") {
            assert!(killed.died(&format!("killed at {point}")));
        }
        assert_eq!(killed.missed(), None);
    }
}
