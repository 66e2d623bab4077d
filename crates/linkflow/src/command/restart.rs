//! `linkflow restart`: the instances of a service again, so that visitors do not notice.

use std::time::Duration;

use clap::Args;
use linkflow_engine::{RunEnd, RunKind, RunState, StepState};
use linkflow_model::{Plan, ProviderName, ServiceName};
use linkflow_web::operator::Order;
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::output::err;
use crate::say::progress::Progress;
use crate::say::table::Tone;
use crate::say::time::took;
use crate::wire::Stack;

use super::change::{GRACE, finish_earlier, noted, say, unfinished};
use super::{Answered, Context};

/// Start a service again where it runs: the same image and settings, fresh instances.
///
/// Spares go first, one after the other; the place that serves comes last, while visitors are led to a spare. Each has to
/// answer again before the next one is touched. A service that must never run twice is stopped, proven stopped, and
/// started. What is stopped or asleep is left alone.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow restart api\n  linkflow restart api --on fly    only there\n  linkflow restart api --dry-run"
)]
pub(crate) struct RestartArgs {
    /// The service.
    pub(crate) service: ServiceName,

    /// Only on this provider.
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) on: Option<ProviderName>,

    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How many seconds to wait for another process that acts on this stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What `restart` answers.
pub(crate) async fn answer(context: &Context, args: &RestartArgs) -> Answered {
    context.refuse_within_hook("restart")?;
    let stack = context.stack("restart").await?;
    let answer = restarted(context, &stack, args).await;
    stack.close(GRACE).await;
    answer
}

async fn restarted(context: &Context, stack: &Stack, args: &RestartArgs) -> Answered {
    let Some(service) = stack.config.services.get(&args.service) else {
        let what = format!("there is no service `{}`", args.service);
        return Answer::failed(2, &what, "`linkflow status` lists them");
    };
    if let Some(on) = args.on.as_ref().filter(|on| !service.runs_on.contains(on)) {
        let cascade: Vec<&str> = service.runs_on.iter().map(ProviderName::as_str).collect();
        let what = format!("{} does not run on `{on}`", args.service);
        return Answer::failed(2, &what, &format!("it runs on {}", cascade.join(", ")));
    }
    finish_earlier(stack, args.dry_run, context.voice).await?;
    let plan = stack.engine.plan_restart(&args.service, args.on.as_ref()).await?;
    if plan.is_empty() {
        let why: Vec<&str> = plan.held.iter().map(|held| held.why.as_str()).collect();
        let what = format!("{} cannot be restarted: {}", args.service, why.join("; "));
        return Answer::failed(1, &what, "`linkflow doctor` tells which providers answer");
    }
    if args.dry_run {
        let result = json!({ "changed": false, "stages": plan.stages, "held": plan.held });
        let out = text(&plan, context.voice.colours);
        return Ok(Answer { out, result, ..Answer::default() });
    }
    if !context.voice.json {
        err(&format!("{}\n", text(&plan, context.voice.colours_err)));
    }
    let steps = plan.steps().count();
    let progress = Progress::new(stack.engine.listen(), steps, stack.clock.wall(), context.voice);
    let why = match &args.on {
        Some(on) => format!("{} on {on} is started again", args.service),
        None => format!("{} is started again", args.service),
    };
    let wait = Duration::from_secs(args.wait);
    let work = Box::pin(async {
        let work = stack.engine.carry_out_plan(&plan, RunKind::Restart, &why, wait);
        Ok(progress.during(work).await?)
    });
    let what = Order::Restart(args.service.clone(), args.on.clone()).words();
    let end = noted(context, stack, &what, work, unfinished).await?;
    Ok(ended(args, &plan, &end))
}

fn text(plan: &Plan, colours: bool) -> String {
    let mut out = String::new();
    for stage in &plan.stages {
        say(&mut out, format_args!("{}\n", Tone::Strong.paint(&stage.name, colours)));
        for step in &stage.steps {
            let why = Tone::Faint.paint(&format!("({})", step.why), colours);
            say(&mut out, format_args!("  {}  {why}\n", step.action));
        }
    }
    for held in &plan.held {
        say(&mut out, format_args!("waits: {}\n", held.why));
    }
    out
}

fn ended(args: &RestartArgs, plan: &Plan, end: &RunEnd) -> Answer {
    let (service, time) = (&args.service, took(end.took_ms));
    let held: Vec<Value> = plan
        .held
        .iter()
        .map(|held| json!({ "service": held.service, "message": held.why }))
        .collect();
    let result = json!({
        "changed": true,
        "run": end.run,
        "state": end.state,
        "failed": end.failed,
        "held": plan.held,
        "took_ms": end.took_ms,
    });
    if end.state == RunState::Done {
        let out = format!("{service} was restarted in {time}\n");
        return Answer { out, result, warnings: held, ..Answer::default() };
    }
    let what =
        format!("{service} did not come back as it should, so nothing more was touched ({time})");
    let help = format!("`linkflow logs {service}` and `linkflow status` tell more");
    let mut answer = Answer { result, warnings: held, ..Answer::failure(1, &what, &help) };
    let mut failed = String::new();
    for record in end.failed.iter().filter(|record| record.state == StepState::Failed) {
        say(&mut failed, format_args!("failed: {}\n", record.step.action));
        for line in record.said.iter().flat_map(|said| said.lines()) {
            say(&mut failed, format_args!("    {line}\n"));
        }
    }
    answer.err = failed + &answer.err;
    answer
}
