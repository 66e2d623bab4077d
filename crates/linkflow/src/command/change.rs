//! What all changing commands share: showing a plan, carrying it out, and telling how it went.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use linkflow_engine::{Draft, Run, RunEnd, RunKind, RunState, StepState};
use linkflow_model::{Action, Change, ServiceName, Step};
use linkflow_web::door::at_terminal;
use linkflow_web::operator::Order;
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::output::{Voice, err};
use crate::say::progress::Progress;
use crate::say::table::Tone;
use crate::say::time::took;
use crate::wire::Stack;
use crate::wire::process;
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
    if draft.refusals().next().is_some() {
        let shown = shown(stack, draft, context.voice);
        return Ok(Answer {
            out: String::new(),
            err: format!("{}\n{}", shown.out, shown.err),
            ..shown
        });
    }
    if draft.plan.is_empty() {
        return Ok(nothing(draft));
    }
    if !context.voice.json && !draft.plan.is_empty() {
        err(&format!("{}\n", text(stack, draft, context.voice.colours_err)));
    }
    let what = if doing.kind == RunKind::Rollback {
        Order::RollBack(Some(draft.release.id)).words()
    } else {
        draft.release.why.clone()
    };
    let work = Box::pin(run(stack, draft, doing, context.voice));
    let end = noted(context, stack, &what, work, unfinished).await?;
    Ok(ended(draft, &end, done_of(stack, &end).await?))
}

/// What did not come to what was wanted.
enum Undone<R> {
    /// It ended otherwise, for this reason.
    Ended(R, String),
    /// It did not end.
    Failed(Box<Answer>),
}

impl<R> fmt::Display for Undone<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(_, why) => f.write_str(why),
            Self::Failed(answer) => f.write_str(answer.err.trim_end()),
        }
    }
}

/// Carries out `act`, which is called `what`: its line of the audit is written before, and completed after. `failed` says of what
/// came out why it is not what was wanted.
pub(super) async fn noted<R>(
    context: &Context,
    stack: &Stack,
    what: &str,
    act: impl Future<Output = Result<R, Box<Answer>>>,
    failed: impl FnOnce(&R) -> Option<String>,
) -> Result<R, Box<Answer>> {
    let owner = process::owner("linkflow", &context.vars);
    let who = owner.who.as_deref().unwrap_or("somebody");
    let act = async {
        let end = act.await.map_err(Undone::Failed)?;
        match failed(&end) {
            None => Ok(end),
            Some(why) => Err(Undone::Ended(end, why)),
        }
    };
    let why = owner.url.as_deref().unwrap_or_default();
    match at_terminal(&*stack.store, (who, stack.clock.wall()), (what, why), act).await {
        Ok(end) | Err(Undone::Ended(end, _)) => Ok(end),
        Err(Undone::Failed(answer)) => Err(answer),
    }
}

/// Why a run did not come to its end, if it did not.
pub(super) fn unfinished(end: &RunEnd) -> Option<String> {
    match end.state {
        RunState::Done => None,
        RunState::RolledBack => Some(format!("{} was taken back", end.run)),
        RunState::Failed | RunState::Running => Some(format!("{} failed", end.run)),
    }
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

/// The plan as an answer. What speaks against it is on stderr; what forbids it makes the exit code 5.
pub(super) fn shown(stack: &Stack, draft: &Draft, voice: Voice) -> Answer {
    let mut answer = if draft.plan.is_empty() {
        nothing(draft)
    } else {
        Answer { out: text(stack, draft, voice.colours), ..Answer::default() }
    };
    answer.result = value(stack, draft);
    for finding in &draft.findings {
        let row = json!({
            "message": finding.what,
            "help": finding.help,
            "service": finding.service,
            "provider": finding.provider,
        });
        let word = if finding.forbids { "error" } else { "warning" };
        say(&mut answer.err, format_args!("{word}: {}\n", finding.what));
        if !finding.help.is_empty() {
            say(&mut answer.err, format_args!("help: {}\n", finding.help));
        }
        if finding.forbids {
            answer.exit = 5;
            answer.errors.push(row);
        } else {
            answer.warnings.push(row);
        }
    }
    answer
}

/// What to know before a migration is run while an earlier release serves.
fn advice(draft: &Draft) -> Vec<String> {
    let migrated: Vec<&str> = draft
        .plan
        .steps()
        .filter(|step| matches!(step.action, Action::Migrate { .. }))
        .map(|step| step.action.service().as_str())
        .collect();
    let Some(before) = draft.release.before.filter(|_| !migrated.is_empty()) else {
        return Vec::new();
    };
    vec![
        format!(
            "{before} serves while and after the migration of {} runs, and again should {} fail: the migration must not break it",
            migrated.join(", "),
            draft.release.id
        ),
        "so only add now (expand): new tables, new columns with a default or NULL, new indexes"
            .to_owned(),
        "rename or drop (contract) in a later release, when nothing that runs reads the old form"
            .to_owned(),
    ]
}

/// The plan, for machines.
pub(super) fn value(stack: &Stack, draft: &Draft) -> Value {
    json!({
        "release": draft.release.id,
        "changed": !draft.plan.is_empty(),
        "steps": draft.plan.steps().count(),
        "stages": draft.plan.stages,
        "held": draft.plan.held,
        "findings": draft.findings,
        "advice": advice(draft),
        "requests": stack.engine.requests(&draft.plan),
    })
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
                Action::Migrate { .. } => ('!', Tone::Notable),
                Action::Deploy { .. } if step.changes.iter().all(|c| c.from.is_none()) => {
                    ('+', Tone::Good)
                }
                _ => ('~', Tone::Notable),
            };
            let line = tone.paint(&format!("{sign} {}", step.action), colours);
            let why = Tone::Faint.paint(&format!("({}{})", step.why, waits(step)), colours);
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
    for (at, line) in advice(draft).iter().enumerate() {
        let lead = if at == 0 { "\nnote: " } else { "      " };
        say(&mut out, format_args!("{lead}{line}\n"));
    }
    let steps = draft.plan.steps().count();
    let word = if steps == 1 { "step" } else { "steps" };
    let requests = stack.engine.requests(&draft.plan);
    let costs: Vec<String> = requests.iter().map(|(p, n)| format!("{p} {n}")).collect();
    say(&mut out, format_args!("\n{steps} {word} to {}", draft.release.id));
    if !costs.is_empty() {
        say(&mut out, format_args!("; requests, about: {}", costs.join(", ")));
    }
    out.push('\n');
    out
}

/// What a step waits for within its stage.
fn waits(step: &Step) -> String {
    let after = step.after.iter().map(|place| format!("{} on {}", place.service, place.provider));
    let after: Vec<String> = after.collect();
    if after.is_empty() { String::new() } else { format!("; after {}", after.join(", ")) }
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
        "put_back": end.put_back,
        "took_ms": end.took_ms,
    });
    if end.state == RunState::Done {
        let out = match &draft.only {
            Some(only) => format!(
                "{} runs on {only}, {done} steps in {time}; {} is still the live one, and the next `linkflow apply` brings {only} up to it\n",
                draft.release.id, end.release
            ),
            None => format!("{} is live, {done} steps in {time}\n", end.release),
        };
        return Answer { out, result, ..Answer::default() };
    }
    let what = bad_end(draft, end);
    let exit = match end.state {
        RunState::Done | RunState::RolledBack => 1,
        RunState::Failed if migration_failed(end) => 1,
        RunState::Failed if done > 0 => 6,
        RunState::Failed => 1,
        RunState::Running => 7,
    };
    let mut answer = Answer::failure(
        exit,
        &what,
        match end.state {
            RunState::Failed => {
                "`linkflow events` tells what happened; `linkflow deploy` goes on, `linkflow rollback` puts back what ran before"
            }
            RunState::Done | RunState::RolledBack | RunState::Running => {
                "`linkflow events` tells what happened; `linkflow apply` goes on"
            }
        },
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

/// What became of a run that did not go as it should, in one sentence.
fn bad_end(draft: &Draft, end: &RunEnd) -> String {
    let (id, time) = (draft.release.id, took(end.took_ms));
    match end.state {
        RunState::RolledBack => {
            format!("{id} did not pass, so what ran before was put back ({time})")
        }
        RunState::Failed if migration_failed(end) => {
            format!("the migration failed, so nothing of {id} was deployed ({time})")
        }
        RunState::Failed if !end.put_back.is_empty() => {
            let back = end.put_back.iter().map(|p| format!("{} on {}", p.service, p.provider));
            let back = back.collect::<Vec<_>>().join(", ");
            format!("{id} failed after {time}; {} was put back for {back}", end.release)
        }
        RunState::Failed => format!("{id} came to a halt after {time}"),
        RunState::Done | RunState::Running => format!("{id} is still under way"),
    }
}

fn migration_failed(end: &RunEnd) -> bool {
    end.failed.iter().any(|record| matches!(record.step.action, Action::Migrate { .. }))
}

/// Writing to a string cannot fail.
pub(super) fn say(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}
