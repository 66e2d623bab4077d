//! `linkflow rollback`: an earlier release again.

use std::time::Duration;

use clap::Args;
use linkflow_engine::{Draft, RunKind};
use linkflow_model::{ReleaseId, ReleaseState};

use crate::say::answer::Answer;
use crate::say::output::Voice;
use crate::wire::Stack;

use super::change::{Doing, GRACE, carry_out, finish_earlier};
use super::{Answered, Context};

/// Put an earlier release back: images and settings as they were.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow rollback\n  linkflow rollback r3\n  linkflow rollback r3 --dry-run"
)]
pub(crate) struct RollbackArgs {
    /// The release, `r3`; the one that was live before when none is given.
    #[arg(value_parser = clap::value_parser!(ReleaseId))]
    pub(crate) release: Option<ReleaseId>,

    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How many seconds to wait for another process that acts on this stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What `rollback` answers.
pub(crate) async fn answer(context: &Context, args: &RollbackArgs) -> Answered {
    let stack = context.stack("rollback").await?;
    let wait = Duration::from_secs(args.wait);
    let doing = Doing { kind: RunKind::Rollback, dry_run: args.dry_run, wait };
    let draft = match drafted(&stack, args, context.voice).await {
        Ok(draft) => draft,
        Err(answer) => {
            stack.close(GRACE).await;
            return Err(answer);
        }
    };
    Box::pin(carry_out(context, stack, draft, doing)).await
}

async fn drafted(stack: &Stack, args: &RollbackArgs, voice: Voice) -> Result<Draft, Box<Answer>> {
    finish_earlier(stack, args.dry_run, voice).await?;
    let to = match args.release {
        Some(release) => release,
        None => {
            let live = stack.engine.live().await?.map(|release| release.id);
            let releases = stack.engine.releases().await?;
            let mut before = releases
                .iter()
                .filter(|r| r.state == ReleaseState::Superseded && Some(r.id) < live)
                .map(|r| r.id);
            match before.next_back() {
                Some(before) => before,
                None => {
                    return Answer::failed(
                        2,
                        "no release was live before this one",
                        "`linkflow events` tells what was",
                    );
                }
            }
        }
    };
    Ok(stack.engine.draft_back(to).await?)
}
