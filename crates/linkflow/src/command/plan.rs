//! `linkflow plan`: what would change, and why.

use std::path::{Path, PathBuf};

use clap::Args;
use linkflow_engine::Draft;
use linkflow_model::{Fault, FaultKind, Lifecycle, ProviderName, Release, World};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::say::answer::Answer;
use crate::wire::Stack;
use crate::wire::state::hex;

use super::change::{self, GRACE};
use super::plan_markdown;
use super::{Answered, Context};

/// Show what `apply` would change, field by field, and why. Nothing is changed.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow plan\n  linkflow plan --out plan.json && linkflow apply plan.json\n  linkflow plan --exit-code --json\n  linkflow plan --markdown > plan.md"
)]
pub(crate) struct PlanArgs {
    /// Keep the plan in a file, for `linkflow apply FILE`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Write the plan as Markdown, for a comment on a pull request.
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Exit with 3 when there are changes.
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// A plan in a file, with what it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedPlan {
    /// The form of the file.
    schema: String,
    /// A hash of what the config asks for.
    config: String,
    /// A hash of what was seen at the providers.
    observed: String,
    /// The plan itself.
    pub(super) draft: Draft,
}

const FORM: &str = "linkflow/plan/v1";

/// What `plan` answers.
pub(crate) async fn answer(context: &Context, args: &PlanArgs) -> Answered {
    let stack = context.stack("plan").await?;
    let answer = planned(context, &stack, args).await;
    stack.close(GRACE).await;
    answer
}

async fn planned(context: &Context, stack: &Stack, args: &PlanArgs) -> Answered {
    let draft = drafted(stack).await?;
    let mut answer = change::shown(stack, &draft, context.voice);
    if args.markdown {
        answer.out = plan_markdown::text(&stack.config.stack.name, &draft);
    }
    silent_or_refused(stack, &mut answer);
    if args.exit_code && answer.exit == 0 && !draft.plan.is_empty() {
        answer.exit = 3;
    }
    if let Some(path) = &args.out {
        save(path, &saved(stack, draft).await?)?;
        answer.err.push_str(&format!(
            "kept in {0}; `linkflow apply {0}` carries it out\n",
            path.display()
        ));
    }
    Ok(answer)
}

/// The plan from what is to what the config asks for.
pub(super) async fn drafted(stack: &Stack) -> Result<Draft, Box<Answer>> {
    let services = stack.releases.service_releases(&std::collections::BTreeMap::new()).await?;
    Ok(stack.releases.draft(services, "apply").await?)
}

/// A warning for each provider that does not answer.
pub(super) fn silent(stack: &Stack, answer: &mut Answer) {
    for (provider, fault) in &stack.engine.faults() {
        warn(provider, fault, answer);
    }
}

fn warn(provider: &ProviderName, fault: &Fault, answer: &mut Answer) {
    answer.err.push_str(&format!("warning: {fault}\n"));
    answer.warnings.push(json!({ "provider": provider, "message": fault.to_string() }));
}

/// The same. One that refuses its token makes the exit code 4: only a person can mend that.
fn silent_or_refused(stack: &Stack, answer: &mut Answer) {
    for (provider, fault) in &stack.engine.faults() {
        if fault.kind == FaultKind::Denied {
            let help = format!("`linkflow doctor {provider}` tells which token it is");
            let one = Answer::failure(4, &fault.to_string(), &help);
            answer.err.push_str(&one.err);
            answer.errors.extend(one.errors);
            answer.exit = answer.exit.max(one.exit);
        } else {
            warn(provider, fault, answer);
        }
    }
}

/// `draft` with what it was made from.
pub(super) async fn saved(stack: &Stack, draft: Draft) -> Result<SavedPlan, Box<Answer>> {
    let world = stack.engine.world().await?;
    Ok(SavedPlan {
        schema: FORM.to_owned(),
        config: of_config(&draft.release),
        observed: of_world(&world),
        draft,
    })
}

/// Why `old` must not be carried out any more; `None` when it may.
pub(super) fn moved(old: &SavedPlan, now: &SavedPlan) -> Option<&'static str> {
    if old.config != now.config {
        return Some("the config, a secret or an image asks for something else now");
    }
    if old.observed != now.observed {
        return Some("what runs at the providers has changed");
    }
    (old.draft.plan != now.draft.plan).then_some("the way there is another one now")
}

fn hash(value: &serde_json::Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes()))
}

fn of_config(release: &Release) -> String {
    hash(&json!(release.services))
}

/// What matters of the world to a plan: no times, no latencies.
fn of_world(world: &World) -> String {
    let rows = world.services.iter().flat_map(|(service, view)| {
        view.placements.iter().map(move |p| {
            let active = view.active.as_ref() == Some(&p.provider);
            // What falls asleep has not changed.
            let lifecycle = match p.lifecycle {
                Lifecycle::Asleep => Lifecycle::Running,
                other => other,
            };
            json!([service, p.provider, active, lifecycle, p.release, p.digest, p.fingerprint])
        })
    });
    hash(&rows.collect())
}

fn save(path: &Path, plan: &SavedPlan) -> Result<(), Box<Answer>> {
    let text = serde_json::to_string_pretty(plan).map_err(std::io::Error::from);
    match text.and_then(|text| std::fs::write(path, text + "\n")) {
        Ok(()) => Ok(()),
        Err(error) => {
            Answer::failed(1, &format!("{} cannot be written: {error}", path.display()), "")
        }
    }
}

/// Reads a plan that `plan --out` kept.
pub(super) fn read(path: &Path) -> Result<SavedPlan, Box<Answer>> {
    let wrong = |why: &dyn std::fmt::Display| {
        let what = format!("{} cannot be read: {why}", path.display());
        Answer::failed(2, &what, "`linkflow plan --out FILE` makes such a file")
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return wrong(&error),
    };
    match serde_json::from_str::<SavedPlan>(&text) {
        Ok(plan) if plan.schema == FORM => Ok(plan),
        Ok(plan) => wrong(&format!("its form is `{}`, not `{FORM}`", plan.schema)),
        Err(error) => wrong(&error),
    }
}
