//! `linkflow apply`: makes what runs what the config asks for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use linkflow_engine::{Draft, RunKind};

use crate::say::answer::Answer;
use crate::say::output::Voice;
use crate::wire::Stack;

use super::change::{Doing, GRACE, carry_out, finish_earlier};
use super::plan::{self, SavedPlan};
use super::{Answered, Context};

/// Make what runs what the config asks for. A second time right after, there is nothing to do.
///
/// A new release is first started where nobody sees it. When it does not answer well, what ran before is put back.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow apply\n  linkflow apply --dry-run\n  linkflow plan --out plan.json && linkflow apply plan.json"
)]
pub(crate) struct ApplyArgs {
    /// A plan that `linkflow plan --out` kept. It is refused (exit 5) when anything has changed since.
    pub(crate) file: Option<PathBuf>,

    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How many seconds to wait for another process that acts on this stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What `apply` answers.
pub(crate) async fn answer(context: &Context, args: &ApplyArgs) -> Answered {
    let kept = args.file.as_deref().map(plan::read).transpose()?;
    context.refuse_within_hook("apply")?;
    let stack = context.stack("apply").await?;
    let wait = Duration::from_secs(args.wait);
    let doing = Doing { kind: RunKind::Apply, dry_run: args.dry_run, wait };
    match prepare(&stack, kept, doing, context.voice).await {
        Ok(draft) => Box::pin(carry_out(context, stack, draft, doing)).await,
        Err(answer) => {
            stack.close(GRACE).await;
            Err(answer)
        }
    }
}

/// The plan of now, or the kept one when it still is the plan of now.
async fn prepare(
    stack: &Stack,
    kept: Option<SavedPlan>,
    doing: Doing,
    voice: Voice,
) -> Result<Draft, Box<Answer>> {
    finish_earlier(stack, doing.dry_run, voice).await?;
    let draft = plan::drafted(stack).await?;
    let Some(kept) = kept else { return Ok(draft) };
    let now = plan::saved(stack, draft).await?;
    match plan::moved(&kept, &now) {
        None => Ok(Draft { exact: true, ..kept.draft }),
        Some(why) => {
            let what = format!("the plan is not carried out: {why}");
            Answer::failed(5, &what, "`linkflow plan` shows what is due now")
        }
    }
}
