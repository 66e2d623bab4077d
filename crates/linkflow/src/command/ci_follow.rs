//! `linkflow ci run` and `linkflow ci watch`: start a workflow, and follow a run to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use linkflow_model::clock::SystemClock;
use linkflow_model::role::{Ci, CiRun, CiState};
use linkflow_model::{Clock, Fault, FaultKind, ProviderName};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::say::answer::Answer;
use crate::say::output::{Voice, err};
use crate::say::table::Tone;
use crate::say::time::took;
use crate::wire::OpenError;
use crate::wire::ci::open_ci;
use crate::wire::secrets::Secrets;
use crate::wire::state::Home;

use super::{Answered, Context};

/// What is looked at how often. A run takes minutes, and each look is two of 5,000 requests an hour.
const EVERY: Duration = Duration::from_secs(4);
/// The same in a rehearsal, where a run takes no second.
const EVERY_REHEARSED: Duration = Duration::from_millis(150);

/// What is started.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// The workflow's file.
    #[arg(long, default_value = "deploy.yml", value_name = "FILE")]
    workflow: String,

    /// The branch that it runs on.
    #[arg(long, default_value = "main", value_name = "NAME")]
    branch: String,

    /// An input of the workflow.
    #[arg(long, value_name = "NAME=VALUE")]
    input: Vec<String>,

    /// Start it, and do not follow it.
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    how: How,
}

/// What is followed.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    /// The run's number, the last part of its address; the newest run when none is given.
    id: Option<String>,

    /// The workflow whose newest run it is.
    #[arg(long, default_value = "deploy.yml", value_name = "FILE")]
    workflow: String,

    #[command(flatten)]
    how: How,
}

/// How a run is followed.
#[derive(Args, Clone, Debug)]
struct How {
    /// How many seconds to follow it at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 7_200)]
    within: u64,

    /// The provider of the config, when it has several at that vendor.
    #[arg(long, value_name = "NAME")]
    provider: Option<ProviderName>,
}

/// What `ci run` answers.
pub(crate) async fn run(context: &Context, args: &RunArgs) -> Answered {
    let mut inputs = BTreeMap::new();
    for input in &args.input {
        let Some((name, value)) = input.split_once('=') else {
            let what = format!("`{input}` is not of the form NAME=VALUE");
            return Answer::failed(2, &what, "linkflow ci run --help");
        };
        inputs.insert(name.to_owned(), value.to_owned());
    }
    let (ci, every) = opened(context, &args.how).await?;
    let run = ci.dispatch(&args.workflow, &args.branch, &inputs).await.map_err(refused)?;
    let page = run.page.clone().unwrap_or_default();
    if args.no_wait {
        let out = format!("run {} was started: {page}\n", run.id);
        return Ok(Answer { out, result: json!({ "run": run }), ..Answer::default() });
    }
    if !context.voice.json {
        err(&format!("run {} was started: {page}\n", run.id));
    }
    followed(&*ci, &run.id, every, &args.how, context.voice).await
}

/// What `ci watch` answers.
pub(crate) async fn watch(context: &Context, args: &WatchArgs) -> Answered {
    let (ci, every) = opened(context, &args.how).await?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => match ci.latest(&args.workflow).await.map_err(refused)? {
            Some(run) => run.id,
            None => {
                let what = format!("{} was never run", args.workflow);
                return Answer::failed(2, &what, "`linkflow ci run` starts it");
            }
        },
    };
    followed(&*ci, &id, every, &args.how, context.voice).await
}

async fn opened(context: &Context, how: &How) -> Result<(Arc<dyn Ci>, Duration), Box<Answer>> {
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let folder = context.state(&config, cloud.is_some());
    let home = Home::open(&folder).map_err(|source| OpenError::State { folder, source })?;
    let secrets = Secrets::new(context.vars.clone(), home.key(), cloud.is_some());
    let record = context.record();
    let ci = open_ci(&config, how.provider.as_ref(), cloud.as_ref(), &secrets, record)?;
    Ok((ci, if cloud.is_some() { EVERY_REHEARSED } else { EVERY }))
}

/// Follows a run, and tells each change of a job.
async fn followed(ci: &dyn Ci, id: &str, every: Duration, how: &How, voice: Voice) -> Answered {
    let clock = SystemClock::start();
    let began = clock.now();
    let elapsed = || clock.now().since(began);
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let run = match ci.run(id).await {
            Ok(run) => run,
            // A look that went wrong says nothing of the run.
            Err(fault) if fault.kind.is_passing() && elapsed() < how.within * 1_000 => {
                sleep(pause(fault.kind, every)).await;
                continue;
            }
            Err(fault) => return Err(refused(fault)),
        };
        if !voice.json {
            tell(&run, &mut told, elapsed(), voice.colours_err);
        }
        if run.state.is_ended() {
            return Ok(ended(&run, elapsed()));
        }
        if elapsed() >= how.within * 1_000 {
            let what = format!("run {id} is still under way after {} s", how.within);
            let mut answer =
                Answer::failure(7, &what, &format!("`linkflow ci watch {id}` goes on"));
            answer.result = json!({ "run": run });
            return Ok(answer);
        }
        sleep(every).await;
    }
}

fn pause(kind: FaultKind, every: Duration) -> Duration {
    match kind {
        FaultKind::Limited { wait } => wait.max(every),
        _ => every,
    }
}

/// One line for each job whose state is another than before.
fn tell(run: &CiRun, told: &mut BTreeMap<String, String>, ms: u64, colours: bool) {
    for job in &run.jobs {
        let (word, tone) = word(&job.state);
        if told.insert(job.name.clone(), word.clone()).as_ref() == Some(&word) {
            continue;
        }
        let time = Tone::Faint.paint(&format!("{:>4}.{} s", ms / 1_000, ms % 1_000 / 100), colours);
        err(&format!("{time}  {}: {}\n", job.name, tone.paint(&word, colours)));
    }
}

fn word(state: &CiState) -> (String, Tone) {
    match state {
        CiState::Waiting { said } => (said.clone(), Tone::Plain),
        CiState::Running => ("running".to_owned(), Tone::Plain),
        CiState::Ended { worked: true, said } => (said.clone(), Tone::Good),
        CiState::Ended { worked: false, said } => (said.clone(), Tone::Bad),
    }
}

fn ended(run: &CiRun, ms: u64) -> Answer {
    let (word, _) = word(&run.state);
    let page = run.page.clone().unwrap_or_default();
    let result: Value = json!({ "run": run });
    if matches!(run.state, CiState::Ended { worked: true, .. }) {
        let out = format!("run {}: {word}, followed for {}\n", run.id, took(ms));
        return Answer { out, result, ..Answer::default() };
    }
    let failed = |state: &CiState| matches!(state, CiState::Ended { worked: false, .. });
    let jobs: Vec<&str> =
        run.jobs.iter().filter(|job| failed(&job.state)).map(|job| job.name.as_str()).collect();
    let which = if jobs.is_empty() { String::new() } else { format!(" ({})", jobs.join(", ")) };
    let what = format!("run {} ended as {word}{which}", run.id);
    Answer { result, ..Answer::failure(1, &what, &format!("its log is at {page}")) }
}

/// The answer to a fault of whoever runs workflows.
pub(super) fn refused(fault: Fault) -> Box<Answer> {
    let (exit, help) = match fault.kind {
        FaultKind::Denied => {
            (4, "see whether the token is right and may do this; docs/ci.md names what it needs")
        }
        FaultKind::Missing => {
            (1, "see whether repository and workflow are right, and whether the token may see them")
        }
        FaultKind::Unclear => (7, "`linkflow ci watch` tells whether it was done"),
        FaultKind::Limited { .. } => (1, "wait as long as it asks"),
        FaultKind::Exhausted => (1, "an allowance of the account is used up"),
        _ => (1, "try it again"),
    };
    Box::new(Answer::failure(exit, &fault.to_string(), help))
}
