//! What all changing commands share: showing a plan, carrying it out, and telling how it went.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use linkflow_engine::{Draft, Run, RunEnd, RunKind, RunState, StepState};
use linkflow_model::{Action, Change, ProviderName, ServiceName};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::output::{Voice, err};
use crate::say::progress::Progress;
use crate::say::table::Tone;
use crate::say::time::took;
use crate::wire::Stack;
use crate::wire::releases::ReleaseError;

use super::{Answered, Context};

/// How long a stack may take to end.
pub(super) const GRACE: Duration = Duration::from_secs(5);

impl From<Vec<ReleaseError>> for Box<Answer> {
    fn from(errors: Vec<ReleaseError>) -> Self {
        let help = match errors.first() {
            Some(ReleaseError::Image { .. }) => {
                "see whether the tag is right and the image was pushed"
            }
            _ => "`linkflow check` tells which secrets and addresses are due",
        };
        let exit =
            if errors.iter().any(|e| matches!(e, ReleaseError::Image { .. })) { 1 } else { 2 };
        let mut answer = Answer { exit, ..Answer::default() };
        for error in errors {
            let one = Answer::failure(exit, &error.to_string(), help);
            answer.err.push_str(&format!("error: {error}\n"));
            answer.errors.extend(one.errors);
        }
        answer.err.push_str(&format!("help: {help}\n"));
        Self::new(answer)
    }
}

/// What is done with a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing {
    /// What sort of run it is.
    pub(super) kind: RunKind,
    /// Only show it.
    pub(super) dry_run: bool,
    /// How long to wait for another process that acts.
    pub(super) wait: Duration,
}

/// Finishes what an earlier process was cut off from, so that a plan is made of how things stand then.
pub(super) async fn finish_earlier(
    stack: &Stack,
    dry_run: bool,
    voice: Voice,
) -> Result<(), Box<Answer>> {
    let runs = stack.engine.runs().await?;
    let Some(run) = runs.iter().find(|run| run.state == RunState::Running) else { return Ok(()) };
    if dry_run {
        err(&format!("note: {} was cut off; it is taken up again first\n", run.id));
        return Ok(());
    }
    let progress =
        Progress::new(stack.engine.listen(), run.steps().count(), stack.clock.wall(), voice);
    progress.during(stack.engine.resume()).await?;
    Ok(())
}

/// Shows `draft` on stderr, carries it out, and says how it went. Closes the stack.
pub(super) async fn carry_out(
    context: &Context,
    stack: Stack,
    draft: Draft,
    doing: Doing,
) -> Answered {
    let answer = carry(context, &stack, &draft, doing).await;
    stack.close(GRACE).await;
    answer
}

async fn carry(context: &Context, stack: &Stack, draft: &Draft, doing: Doing) -> Answered {
    if doing.dry_run {
        return Ok(shown(stack, draft, context.voice));
    }
    if draft.plan.is_empty() {
        return Ok(nothing(draft));
    }
    if !context.voice.json && !draft.plan.is_empty() {
        err(&format!("{}\n", text(stack, draft, context.voice.colours_err)));
    }
    let end = run(stack, draft, doing, context.voice).await?;
    Ok(ended(draft, &end, done_of(stack, &end).await?))
}

/// How many steps of a run were carried out.
pub(super) async fn done_of(stack: &Stack, end: &RunEnd) -> Result<usize, Box<Answer>> {
    let runs = stack.engine.runs().await?;
    let steps = runs.iter().filter(|run| run.id == end.run).flat_map(Run::steps);
    Ok(steps.filter(|record| record.state == StepState::Done).count())
}

/// Carries out `draft`, showing how it goes.
pub(super) async fn run(
    stack: &Stack,
    draft: &Draft,
    doing: Doing,
    voice: Voice,
) -> Result<RunEnd, Box<Answer>> {
    let steps = draft.plan.steps().count();
    let progress = Progress::new(stack.engine.listen(), steps, stack.clock.wall(), voice);
    let work = stack.engine.carry_out(draft, doing.kind, doing.wait);
    Ok(progress.during(work).await?)
}

fn nothing(draft: &Draft) -> Answer {
    let mut out = format!("nothing to do: {} runs as it should\n", draft.release.id);
    for held in &draft.plan.held {
        say(&mut out, format_args!("waits: {}\n", held.why));
    }
    let result = json!({ "changed": false, "release": draft.release.id, "held": draft.plan.held });
    Answer { out, result, ..Answer::default() }
}

/// The plan as an answer.
pub(super) fn shown(stack: &Stack, draft: &Draft, voice: Voice) -> Answer {
    if draft.plan.is_empty() {
        return Answer { result: value(stack, draft), ..nothing(draft) };
    }
    Answer {
        out: text(stack, draft, voice.colours),
        result: value(stack, draft),
        ..Answer::default()
    }
}

/// The plan, for machines.
pub(super) fn value(stack: &Stack, draft: &Draft) -> Value {
    json!({
        "release": draft.release.id,
        "changed": !draft.plan.is_empty(),
        "steps": draft.plan.steps().count(),
        "stages": draft.plan.stages,
        "held": draft.plan.held,
        "requests": requests(stack, draft),
    })
}

/// About how many requests each provider will get.
fn requests(stack: &Stack, draft: &Draft) -> BTreeMap<ProviderName, u32> {
    let mut requests = BTreeMap::new();
    for step in draft.plan.steps() {
        let provider = step.action.provider();
        let Some(compute) = stack.computes.get(provider) else { continue };
        let cost = match step.action {
            Action::Deploy { .. } => compute.capabilities().requests_per_deploy,
            Action::Activate { .. } | Action::Soak { .. } => 0,
            Action::Scale { .. }
            | Action::ProveStopped { .. }
            | Action::Restart { .. }
            | Action::Delete { .. } => 2,
        };
        *requests.entry(provider.clone()).or_default() += cost;
    }
    requests.retain(|_, count| *count > 0);
    requests
}

/// The plan, for people.
fn text(stack: &Stack, draft: &Draft, colours: bool) -> String {
    let mut out = String::new();
    let mut shown: BTreeMap<&ServiceName, &[Change]> = BTreeMap::new();
    for stage in &draft.plan.stages {
        say(&mut out, format_args!("{}\n", Tone::Strong.paint(&stage.name, colours)));
        for step in &stage.steps {
            let (sign, tone) = match &step.action {
                Action::Delete { .. } => ('-', Tone::Bad),
                Action::Deploy { .. } if step.changes.iter().all(|c| c.from.is_none()) => {
                    ('+', Tone::Good)
                }
                _ => ('~', Tone::Notable),
            };
            let line = tone.paint(&format!("{sign} {}", step.action), colours);
            let why = Tone::Faint.paint(&format!("({})", step.why), colours);
            say(&mut out, format_args!("  {line}  {why}\n"));
            // The same service on the next provider mostly differs in the same way.
            let before = shown.insert(step.action.service(), &step.changes);
            if before.is_none_or(|before| before != step.changes) {
                out.push_str(&differences(&step.changes));
            }
        }
    }
    for held in &draft.plan.held {
        say(&mut out, format_args!("waits: {}\n", held.why));
    }
    let steps = draft.plan.steps().count();
    let word = if steps == 1 { "step" } else { "steps" };
    let requests = requests(stack, draft);
    let costs: Vec<String> = requests.iter().map(|(p, n)| format!("{p} {n}")).collect();
    say(&mut out, format_args!("\n{steps} {word} to {}", draft.release.id));
    if !costs.is_empty() {
        say(&mut out, format_args!("; requests, about: {}", costs.join(", ")));
    }
    out.push('\n');
    out
}

/// One line for each field that differs.
fn differences(changes: &[Change]) -> String {
    let is_bare = |c: &Change| c.to.as_ref().is_some_and(|to| to.starts_with("sha256:"));
    let images = changes.iter().filter(|c| c.field == "image").count();
    let told = |c: &&Change| images < 2 || c.field != "image" || !is_bare(c);
    let width = changes.iter().map(|c| c.field.chars().count()).max().unwrap_or(0);
    let lines = changes.iter().filter(told).map(|c| format!("      {}\n", difference(c, width)));
    lines.collect()
}

fn difference(change: &Change, width: usize) -> String {
    let short = |text: &str| match text.split_once("@sha256:") {
        Some((image, hex)) => format!("{image}@sha256:{}", hex.get(..12).unwrap_or(hex)),
        None => text.get(..19).filter(|t| t.starts_with("sha256:")).unwrap_or(text).to_owned(),
    };
    let field = &change.field;
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{field:width$}  {} -> {}", short(from), short(to)),
        (None, Some(to)) => format!("{field:width$}  {}", short(to)),
        (Some(from), None) => format!("{field:width$}  {} -> gone", short(from)),
        (None, None) => field.clone(),
    }
}

/// How a run ended, as an answer.
pub(super) fn ended(draft: &Draft, end: &RunEnd, done: usize) -> Answer {
    let time = took(end.took_ms);
    let result = json!({
        "changed": true,
        "run": end.run,
        "release": end.release,
        "state": end.state,
        "failed": end.failed,
        "took_ms": end.took_ms,
    });
    let what = match end.state {
        RunState::Done => {
            let out = format!("{} is live, {done} steps in {time}\n", end.release);
            return Answer { out, result, ..Answer::default() };
        }
        RunState::RolledBack => {
            format!("{} did not pass, so what ran before was put back ({time})", draft.release.id)
        }
        RunState::Failed => format!("{} came to a halt after {time}", end.release),
        RunState::Running => format!("{} is still under way", end.release),
    };
    let exit = match end.state {
        RunState::Done | RunState::RolledBack => 1,
        RunState::Failed if done > 0 => 6,
        RunState::Failed => 1,
        RunState::Running => 7,
    };
    let mut answer = Answer::failure(
        exit,
        &what,
        "`linkflow events` tells what happened; `linkflow apply` goes on",
    );
    let mut failed = String::new();
    for record in &end.failed {
        if record.state != StepState::Failed {
            continue;
        }
        say(&mut failed, format_args!("failed: {}\n", record.step.action));
        for line in record.said.iter().flat_map(|said| said.lines()) {
            say(&mut failed, format_args!("    {line}\n"));
        }
    }
    answer.err = failed + &answer.err;
    answer.result = result;
    answer
}

/// Writing to a string cannot fail.
pub(super) fn say(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}
