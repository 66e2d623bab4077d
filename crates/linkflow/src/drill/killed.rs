//! A release that a process of its own deploys: it is killed with SIGKILL at the points of its journal, and started again
//! until the release is out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use linkflow_engine::{Run, RunState, StageRecord, StepRecord, StepState};
use tokio::process::Command;
use tokio::time::timeout;

use super::stage::Stage;
use crate::wire::hooks::{REHEARSED, WITHIN};

/// How long one process may take.
const ONE: Duration = Duration::from_secs(90);
/// For how long processes are killed, in milliseconds: the last one may end.
const KILLED_FOR_MS: u64 = 40_000;
/// The stages whose rows are all to die at, before and after: what they do may never be done twice.
const DELICATE: [&str; 3] = ["migrate", "fence", "prove"];
/// Of the rows of other stages, where steps are alike, every so many.
const EVERY: usize = 4;
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
#[derive(Debug, Default)]
pub(super) struct Killed {
    /// How many were killed, by the stage that they died in.
    pub(super) kills: BTreeMap<String, u64>,
    /// Why the last one did not end well, when it did not.
    pub(super) failed: Option<String>,
}

impl Killed {
    /// How many were killed in all.
    pub(super) fn count(&self) -> u64 {
        self.kills.values().sum()
    }

    /// How many were killed in each stage.
    pub(super) fn by_stage(&self) -> String {
        let said: Vec<String> =
            self.kills.iter().map(|(stage, kills)| format!("{stage} {kills}")).collect();
        said.join(", ")
    }
}

/// How one process ended.
enum End {
    /// It killed itself.
    Killed,
    /// Everything is out.
    Done,
    /// It gave up, and said why.
    Failed(String),
}

/// Deploys `tag` of every service, one process after another, until one of them ends.
pub(super) async fn deploy(stage: &Stage<'_>, tag: &str) -> Result<Killed, String> {
    let names = stage.cast.services.iter().map(|spec| &spec.name);
    let words: Vec<String> = names.map(|name| format!("{name}=:{tag}")).collect();
    let (mut killed, mut reaper) = (Killed::default(), Reaper::default());
    let began = stage.clock().now();
    loop {
        let runs = stage.engine().runs().await.map_err(|error| error.to_string())?;
        let run = runs.iter().rev().find(|run| run.state == RunState::Running);
        let point = reaper.next(run);
        let point = (stage.clock().now().since(began) < KILLED_FOR_MS).then_some(point);
        match one(stage, &words, point).await? {
            End::Killed => {
                let at = run.and_then(current).map_or("first row", |stage| &stage.name);
                *killed.kills.entry(at.to_owned()).or_default() += 1;
            }
            End::Done => return Ok(killed),
            End::Failed(why) => return Ok(Killed { failed: Some(why), ..killed }),
        }
    }
}

/// Starts one process, which dies at `point` when it comes to it.
async fn one(stage: &Stage<'_>, words: &[String], point: Option<usize>) -> Result<End, String> {
    let other = &stage.other;
    let mut command = Command::new(&other.program);
    command.arg("deploy").args(words).args(["--wait", "60", "--json"]);
    command.arg("--config").arg(&other.config).arg("--state").arg(&other.state);
    command.args(["--cloud", &stage.cloud.endpoints().control]);
    command.args(other.env.iter().flat_map(|env| ["--env", env.as_str()]));
    command.env_clear().envs(&other.vars).env(REHEARSED, "1").env_remove(WITHIN);
    match point {
        Some(point) => command.env("LINKFLOW_CRASH_AT", point.to_string()),
        None => command.env_remove("LINKFLOW_CRASH_AT"),
    };
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(ONE, command.output()).await;
    let output = output.map_err(|_| format!("`linkflow deploy` did not end in {ONE:?}"))?;
    let output = output.map_err(|error| format!("{}: {error}", other.program.display()))?;
    if output.status.success() {
        return Ok(End::Done);
    }
    if output.status.code().is_none() {
        return Ok(End::Killed);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" / ");
    Ok(End::Failed(format!("{}: {last}", output.status)))
}

/// The stage that a run is in: the first that is not over.
fn current(run: &Run) -> Option<&StageRecord> {
    run.stages.iter().find(|stage| stage.steps.iter().any(|step| step.state != StepState::Done))
}

/// Says where the next process dies.
#[derive(Debug, Default)]
struct Reaper {
    /// The rows of the journal when it last said so, `Some(None)` when there was no run; `None` before that.
    rows: Option<Option<usize>>,
    /// How many processes have died without writing a new one.
    tries: usize,
}

impl Reaper {
    /// The point at which whoever takes up `run`, or begins one, dies. A row has two: before it and after it.
    fn next(&mut self, run: Option<&Run>) -> usize {
        let written = |step: &StepRecord| match step.state {
            StepState::Waiting => 0,
            StepState::Intent => 1,
            StepState::Done | StepState::Failed => 2,
        };
        let rows = run.map(|run| 1 + run.steps().map(written).sum::<usize>());
        self.tries = if self.rows == Some(rows) { self.tries + 1 } else { 0 };
        self.rows = Some(rows);
        1 + self.tries + 2 * run.map_or(0, row)
    }
}

/// How many rows whoever takes up `run` writes before the one to die at.
///
/// First it writes the intents of all steps that may begin, in order, also of those that were begun; then, as they end,
/// their outcomes.
fn row(run: &Run) -> usize {
    let ready = ready(run);
    let is_new = |at: usize| ready.get(at).is_none_or(|(_, step)| step.state == StepState::Waiting);
    let is_delicate = |(name, _): &(&str, &StepRecord)| DELICATE.contains(name);
    if let Some(at) = ready.iter().position(is_delicate) {
        return if is_new(at) { at } else { ready.len() };
    }
    let new: Vec<usize> = (0..2 * ready.len()).filter(|at| is_new(*at)).collect();
    new.get(EVERY - 1).or(new.last()).copied().unwrap_or(0)
}

/// The steps of `run` that may begin or were begun, with the name of their stage.
fn ready(run: &Run) -> Vec<(&str, &StepRecord)> {
    let is_over = |step: &&StepRecord| step.state == StepState::Done;
    let mut ready = Vec::new();
    for (number, stage) in run.stages.iter().enumerate() {
        for record in stage.steps.iter().filter(|step| !is_over(step)) {
            let step = &record.step;
            let before = run.stages[..number].iter().flat_map(|earlier| {
                let apart = earlier.apart && stage.apart;
                let own = move |s: &&StepRecord| s.step.action.service() == step.action.service();
                earlier.steps.iter().filter(move |s| !apart || own(s))
            });
            let beside =
                stage.steps.iter().filter(|s| step.after.contains(&s.step.action.placement()));
            if before.chain(beside).all(|step| is_over(&step)) {
                ready.push((stage.name.as_str(), record));
            }
        }
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::super::pace::tests::run;
    use super::*;

    /// Each row: how the run stands that a process takes up (nothing: there is none), and where it dies.
    #[track_caller]
    fn check(rows: &[(&str, usize)]) {
        let mut reaper = Reaper::default();
        for (stands, point) in rows {
            let run = (!stands.is_empty()).then(|| run(&[stands]));
            assert_eq!(reaper.next(run.as_ref()), *point, "{stands}");
        }
    }

    #[test]
    fn before_there_is_a_run_the_first_row_has_its_two_points() {
        check(&[("", 1), ("", 2), ("migrate api@fly:waiting", 1)]);
    }

    #[test]
    fn a_step_that_must_not_be_done_twice_dies_before_and_after_each_row() {
        check(&[
            ("migrate api@fly:waiting", 1),
            ("migrate api@fly:waiting", 2),
            ("migrate api@fly:intent", 3),
            ("migrate api@fly:intent", 4),
            ("migrate api@fly:done", 1),
        ]);
    }

    #[test]
    fn a_delicate_step_is_died_at_wherever_the_others_are() {
        let stages = |fence: &str| {
            let fence = format!("fence timer@fly:{fence}");
            run(&["canary api@fly:done", "rollout api@azure:intent web@fly:waiting", &fence])
        };
        let mut reaper = Reaper::default();
        // Two intents come before that of the fence; then the first outcome; then the last of three new rows.
        assert_eq!(reaper.next(Some(&stages("waiting"))), 1 + 2 * 2);
        assert_eq!(reaper.next(Some(&stages("intent"))), 1 + 2 * 3);
        assert_eq!(reaper.next(Some(&stages("done"))), 1 + 2 * 3);
    }

    #[test]
    fn steps_that_are_alike_die_at_every_fourth_row_of_their_stage() {
        check(&[
            ("canary api@fly:waiting web@fly:waiting job@fly:waiting", 7),
            ("canary api@fly:intent web@fly:intent job@fly:intent", 11),
            ("canary api@fly:done web@fly:done job@fly:intent", 3),
            ("canary api@fly:done web@fly:done job@fly:intent", 4),
        ]);
    }
}
