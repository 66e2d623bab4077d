//! `linkflow swap`: one provider in another's place.

use std::time::Duration;

use clap::Args;
use linkflow_engine::{RunState, Swapping};
use linkflow_model::catalogue::Catalogue;
use linkflow_model::config::Role;
use linkflow_model::{Plan, ProviderName, ServiceName, ServiceSpec};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::output::err;
use crate::say::progress::Progress;
use crate::say::table::Tone;
use crate::say::time::took;
use crate::swap::compare::{Note, Side, Weight, compare};
use crate::swap::edit::edit;
use crate::swap::{Drafted, Swap, SwapError, Swapped, with_new_only};
use crate::wire::Stack;

use super::change::{GRACE, finish_earlier, noted, say};
use super::{Answered, Context};

/// Put one provider in another's place, without visitors noticing.
///
/// Compares what both can do, provisions the new placements, waits until they answer, leads visitors over, watches, and only then
/// changes linkflow.toml (comments stay) and lets the old provider go. Works when the old provider's API is dead. What was cut
/// off is finished by the same command.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow swap fly railway\n  linkflow swap fly railway --service api --soak 60\n  linkflow swap render koyeb --dry-run       what is lost, what is gained, what would be done\n  linkflow swap fly koyeb --delete           and take the old placements away"
)]
pub(crate) struct SwapArgs {
    /// The provider that is left.
    #[arg(value_name = "OLD")]
    pub(crate) old: ProviderName,

    /// The provider that takes its place. It must be in the config.
    #[arg(value_name = "NEW")]
    pub(crate) new: ProviderName,

    /// Only this service; every one that may run on OLD when not said.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Vec<ServiceName>,

    /// How many seconds the new placement serves before the old one is let go.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) soak: u64,

    /// Delete the old placements; otherwise they are forgotten, and stand there until somebody deletes them.
    #[arg(long)]
    pub(crate) delete: bool,

    /// You know that what must never run twice is stopped at a provider that does not answer.
    #[arg(long)]
    pub(crate) vouch_stopped: bool,

    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How many seconds to wait for another process that acts on this stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What `swap` answers.
pub(crate) async fn answer(context: &Context, args: &SwapArgs) -> Answered {
    context.refuse_within_hook("swap")?;
    let stack = context.stack("swap").await?;
    let answer = Box::pin(swapped(context, &stack, args)).await;
    stack.close(GRACE).await;
    answer
}

async fn swapped(context: &Context, stack: &Stack, args: &SwapArgs) -> Answered {
    let began = stack.clock.now();
    let services = match chosen(stack, args) {
        Ok(services) => services,
        Err((why, help)) => return Answer::failed(2, &why, &help),
    };
    finish_earlier(stack, args.dry_run, context.voice).await?;
    let notes = match compared(context, stack, args, &services).await {
        Ok(notes) => notes,
        Err(why) => {
            return Answer::failed(
                2,
                &why,
                "`catalogue/*.toml` beside the config is yours to mend",
            );
        }
    };
    let colours = if args.dry_run { context.voice.colours } else { context.voice.colours_err };
    let told = told(args, &services, &notes, colours);
    if let Some(stop) = notes.iter().find(|note| note.weight == Weight::Stops) {
        let help = candidates(stack, args);
        let mut answer = Answer::failure(5, &stop.text, &help);
        answer.err = format!("{told}\n{}", answer.err);
        answer.result = json!({ "changed": false, "notes": notes });
        return Err(Box::new(answer));
    }
    let wish = Swapping {
        services: services.clone(),
        old: args.old.clone(),
        new: args.new.clone(),
        soak_ms: args.soak.saturating_mul(1_000),
        delete: args.delete,
        vouched: args.vouch_stopped,
    };
    let wait = Duration::from_secs(args.wait);
    let swap = Swap::of(stack, wish, wait).await.map_err(refusal)?;
    let drafted = swap.draft().await.map_err(refusal)?;
    if args.dry_run {
        let out = told + &planned(&drafted, colours);
        let result = json!({
            "changed": false, "notes": notes, "services": services,
            "stages": [&drafted.provision.stages, &drafted.forth.stages, &drafted.after.stages],
        });
        return Ok(Answer { out, result, ..Answer::default() });
    }
    if !context.voice.json {
        err(&format!("{told}{}\n", planned(&drafted, colours)));
    }
    let steps = [&drafted.provision, &drafted.forth, &drafted.after];
    let steps = steps.iter().map(|plan| plan.steps().count()).sum();
    let progress = Progress::new(stack.engine.listen(), steps, stack.clock.wall(), context.voice);
    let rehearsed = context.common.cloud.is_some();
    let config = context.which.config.clone();
    let work = swap.carry_out(|| {
        if rehearsed { Ok(()) } else { edit(&config, &services, &args.old, &args.new) }
    });
    let work = Box::pin(progress.during(work));
    let work = async { work.await.map_err(refusal) };
    let what = format!("swap {} for {}", args.old, args.new);
    let done = noted(context, stack, &what, work, |_| None).await?;
    let took_ms = stack.clock.now().since(began);
    Ok(ended(args, &services, &done, &notes, took_ms, rehearsed))
}

/// The services that are to move.
fn chosen(stack: &Stack, args: &SwapArgs) -> Result<Vec<ServiceName>, (String, String)> {
    let (old, new) = (&args.old, &args.new);
    let plays = |name: &ProviderName| {
        let provider = stack.config.provider(name);
        provider.is_some_and(|provider| provider.plays(Role::Compute))
    };
    if old == new {
        return Err(("OLD and NEW are the same".to_owned(), "linkflow swap --help".to_owned()));
    }
    if !plays(new) {
        let help = format!("declare it first: `[providers.{new}]` with its `kind` and token");
        return Err((format!("`{new}` is no provider of this config that runs services"), help));
    }
    if !stack.computes.contains_key(new) {
        let help = format!("`linkflow check` tells what `[providers.{new}]` lacks");
        return Err((format!("`{new}` cannot be used as it is configured"), help));
    }
    let held: Vec<ServiceName> = stack
        .config
        .services
        .iter()
        .filter(|(_, service)| service.runs_on.contains(old))
        .map(|(name, _)| name.clone())
        .collect();
    let none = |what: String| (what, "`linkflow status` tells what runs where".to_owned());
    if let Some(stranger) = args.service.iter().find(|name| !held.contains(name)) {
        return Err(none(format!("`{stranger}` is no service that may run on `{old}`")));
    }
    if held.is_empty() {
        return Err(none(format!("no service may run on `{old}`")));
    }
    Ok(if args.service.is_empty() { held } else { args.service.clone() })
}

/// What is lost and gained.
async fn compared(
    context: &Context,
    stack: &Stack,
    args: &SwapArgs,
    services: &[ServiceName],
) -> Result<Vec<Note>, String> {
    let catalogue = Catalogue::with(&context.workdir().join("catalogue"))?;
    let side = |name: &ProviderName| {
        let can = stack.computes.get(name).map(|compute| compute.capabilities());
        let kind = stack.config.provider(name).map(|provider| provider.kind().word);
        (can, kind.and_then(|kind| catalogue.of(kind).cloned()))
    };
    let ((old, old_entry), (new, new_entry)) = (side(&args.old), side(&args.new));
    let (Some(old), Some(new)) = (old, new) else {
        return Err(format!("`{}` or `{}` cannot be opened", args.old, args.new));
    };
    let specs: Vec<ServiceSpec> = services
        .iter()
        .filter_map(|name| Some(stack.config.services.get(name)?.spec(name)))
        .collect();
    let private =
        stack.config.providers.values().any(|p| p.plays(Role::Registry) && p.secret().is_some());
    let (old, new) = (
        Side { name: args.old.as_str(), can: &old, entry: old_entry.as_ref() },
        Side { name: args.new.as_str(), can: &new, entry: new_entry.as_ref() },
    );
    Ok(compare(&old, &new, &specs.iter().collect::<Vec<_>>(), private))
}

/// What else could take OLD's place.
fn candidates(stack: &Stack, args: &SwapArgs) -> String {
    let kind = stack.config.provider(&args.old).map(|provider| provider.kind().word);
    let entry = Catalogue::embedded().ok().and_then(|c| c.of(kind?).cloned());
    let new = stack.config.provider(&args.new).map(|provider| provider.kind().word);
    let others = entry.iter().flat_map(|entry| &entry.swaps).filter(|c| Some(c.to.as_str()) != new);
    let words: Vec<String> = others.map(|c| format!("{} ({})", c.to, c.why)).collect();
    format!("what else can stand in for it: {}", words.join("; "))
}

fn told(args: &SwapArgs, services: &[ServiceName], notes: &[Note], colours: bool) -> String {
    let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
    let mut out = format!("{} -> {} for {}\n", args.old, args.new, names.join(", "));
    for note in notes {
        let (sign, tone) = match note.weight {
            Weight::Stops => ("x", Tone::Bad),
            Weight::Loses => ("-", Tone::Notable),
            Weight::Gains => ("+", Tone::Good),
            Weight::Differs => ("·", Tone::Faint),
        };
        let text = note.text.replace('\n', "\n      ");
        say(&mut out, format_args!("  {} {text}\n", tone.paint(sign, colours)));
    }
    out
}

fn planned(drafted: &Drafted, colours: bool) -> String {
    let mut out = String::from("\n");
    let mut stages = |plan: &Plan| {
        for stage in &plan.stages {
            say(&mut out, format_args!("{}\n", Tone::Strong.paint(&stage.name, colours)));
            for step in &stage.steps {
                let why = Tone::Faint.paint(&format!("({})", step.why), colours);
                say(&mut out, format_args!("  {}  {why}\n", step.action));
            }
        }
    };
    stages(&drafted.provision);
    stages(&drafted.forth);
    stages(&drafted.after);
    out
}

fn ended(
    args: &SwapArgs,
    services: &[ServiceName],
    done: &Swapped,
    notes: &[Note],
    took_ms: u64,
    rehearsed: bool,
) -> Answer {
    let (old, new, release) = (&args.old, &args.new, &done.release.release);
    let mut out =
        format!("{new} is in the place of {old}: {release} is live after {}\n", took(took_ms));
    let mut warnings = Vec::new();
    if rehearsed {
        out.push_str("the config was left as it is: this was a rehearsal\n");
    }
    let mut err = String::new();
    for record in &done.left {
        let said = record.said.as_deref().unwrap_or("no reason given");
        let note = format!("{} was left undone: {said}", record.step.action);
        say(&mut err, format_args!("warning: {note}\n"));
        warnings.push(json!({ "message": note }));
    }
    if !args.delete {
        say(
            &mut out,
            format_args!(
                "what stood on {old} still stands there and may cost: delete it at {old}, or use `--delete` next time\n"
            ),
        );
    }
    let worked = done.release.state == RunState::Done;
    let result = json!({
        "changed": true, "services": services, "old": old, "new": new, "release": release,
        "notes": notes, "took_ms": took_ms, "left": done.left,
        "runs_on": with_new_only(std::slice::from_ref(old), old, new),
    });
    Answer { exit: if worked { 0 } else { 6 }, out, err, result, warnings, ..Answer::default() }
}

fn refusal(error: SwapError) -> Box<Answer> {
    let (exit, help) = match error {
        SwapError::Engine(error) => return error.into(),
        SwapError::Release(errors) => return errors.into(),
        SwapError::NothingLive => (2, "change `runs_on` in the config, then `linkflow apply`"),
        SwapError::Refused(_) => (5, "nothing was changed"),
        SwapError::Back { .. } => {
            (1, "everything is as it was; `linkflow events` tells what happened")
        }
        SwapError::Config(_) => (6, "change `runs_on` by hand, then `linkflow apply`"),
    };
    Box::new(Answer::failure(exit, &error.to_string(), help))
}
