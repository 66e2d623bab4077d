//! `linkflow rollback`: an earlier release again.

use std::time::Duration;

use clap::Args;
use linkflow_engine::{Draft, RunKind};
use linkflow_model::{ProviderName, ReleaseId};

use crate::say::answer::Answer;
use crate::say::output::{Voice, err};
use crate::wire::Stack;
use crate::wire::earlier::before;

use super::change::{Doing, GRACE, carry_out, finish_earlier};
use super::{Answered, Context};

/// Put an earlier release back: images and settings as they were. Migrations are never taken back.
///
/// With nothing said: what ran before the release that is live, so a second time goes back one further. After a release
/// that failed and was left as it is (`deploy.on_failure`), it puts the live release back.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow rollback\n  linkflow rollback r3\n  linkflow rollback r3 --only fly    on one provider; the live release stays live\n  linkflow rollback r3 --dry-run"
)]
pub(crate) struct RollbackArgs {
    /// The release, `r3`; what ran before when none is given.
    #[arg(value_parser = clap::value_parser!(ReleaseId))]
    pub(crate) release: Option<ReleaseId>,

    /// Only on this provider. The next `deploy` or `apply` brings it up to the others again.
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) only: Option<ProviderName>,

    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How many seconds to wait for another process that acts on this stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
}

/// What `rollback` answers.
pub(crate) async fn answer(context: &Context, args: &RollbackArgs) -> Answered {
    context.refuse_within_hook("rollback")?;
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
    if let Some(only) = args.only.as_ref().filter(|only| !stack.computes.contains_key(*only)) {
        let names: Vec<&str> = stack.computes.keys().map(ProviderName::as_str).collect();
        let what = format!("no service runs on `{only}`");
        return Answer::failed(2, &what, &format!("services run on {}", names.join(", ")));
    }
    let to = match args.release {
        Some(release) => release,
        None => {
            let releases = stack.engine.releases().await?;
            let live = stack.engine.live().await?;
            let (to, why) = match before(&releases, live.as_ref()) {
                Ok(found) => found,
                Err(what) => {
                    return Answer::failed(2, &what, "`linkflow history` tells what was");
                }
            };
            if !voice.json {
                err(&format!("{why}\n"));
            }
            to
        }
    };
    Ok(stack.engine.draft_back(to, args.only.as_ref()).await?)
}
