//! `linkflow rollback`: an earlier release again.

use std::time::Duration;

use clap::Args;
use linkflow_engine::{Draft, RunKind};
use linkflow_model::{ProviderName, Release, ReleaseId, ReleaseState};

use crate::say::answer::Answer;
use crate::say::output::{Voice, err};
use crate::wire::Stack;

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

/// The release to go back to when none is named, and why that one; an error in words when there is none.
fn before(releases: &[Release], live: Option<&Release>) -> Result<(ReleaseId, String), String> {
    let Some(live) = live else { return Err("nothing is live yet".to_owned()) };
    let halted = releases
        .iter()
        .rev()
        .find(|release| release.id > live.id && release.before == Some(live.id));
    if let Some(failed) = halted.filter(|release| release.state == ReleaseState::Failed)
        && releases.last().is_some_and(|newest| newest.id == failed.id)
    {
        let why = format!("{} failed, so {} is put back", failed.id, live.id);
        return Ok((live.id, why));
    }
    let before = live
        .before
        .ok_or_else(|| format!("{} is live, and no release was live before it", live.id))?;
    Ok((before, format!("{} is live; {before} ran before it", live.id)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linkflow_model::Timestamp;

    use super::*;

    fn release(id: u64, before: Option<u64>, state: ReleaseState) -> Release {
        Release {
            id: ReleaseId(id),
            at: Timestamp(0),
            state,
            why: String::new(),
            before: before.map(ReleaseId),
            services: BTreeMap::new(),
            by: None,
            migrations: BTreeMap::new(),
            took_ms: None,
            failed: None,
        }
    }

    #[track_caller]
    fn check(releases: &[(u64, Option<u64>, ReleaseState)], expected: Result<u64, &str>) {
        let all: Vec<Release> = releases.iter().map(|(i, b, s)| release(*i, *b, *s)).collect();
        let live = all.iter().find(|release| release.state == ReleaseState::Live);
        match (before(&all, live), expected) {
            (Ok((to, _)), expected) => assert_eq!(Ok(to.0), expected),
            (Err(what), Err(expected)) => assert_eq!(what, expected),
            (Err(what), Ok(_)) => panic!("{what}"),
        }
    }

    #[test]
    fn a_second_rollback_goes_back_one_further_and_never_to_what_was_left() {
        use ReleaseState::{Failed, Live, Superseded};
        check(&[(1, None, Superseded), (2, Some(1), Superseded), (3, Some(2), Live)], Ok(2));
        // After that rollback r2 is live again, and r3 is what was left.
        check(&[(1, None, Superseded), (2, Some(1), Live), (3, Some(2), Superseded)], Ok(1));
        check(&[(1, None, Live)], Err("r1 is live, and no release was live before it"));
        // A deploy after the rollback to r1: what ran before it is r1, not r2.
        check(&[(1, None, Superseded), (2, Some(1), Superseded), (3, Some(1), Live)], Ok(1));
        check(&[(1, None, Live), (2, Some(1), Failed)], Ok(1));
        // A release that failed long ago and was followed by a good one is over.
        check(&[(1, None, Superseded), (2, Some(1), Failed), (3, Some(1), Live)], Ok(1));
        check(&[], Err("nothing is live yet"));
    }
}
