//! `linkflow worker`: what stands in front of the edge at Cloudflare, for whoever uploads it by hand.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::say::answer::Answer;
use crate::wire::Stack;
use crate::wire::worker::{BUNDLE, config_of};

use super::change::GRACE;
use super::{Answered, Context, once, plan};

/// Print the worker that makes the edge's choices at Cloudflare, and its config.
#[derive(Subcommand, Clone, Debug)]
#[command(
    after_help = "Examples:\n  linkflow worker show > worker.js          the worker, one module\n  linkflow worker config > config.json      what it has to know, for the binding CONFIG or the key `config` in KV\n\ndocs/worker.md tells how both are uploaded."
)]
pub(crate) enum WorkerCommand {
    /// Print the worker: one JavaScript module, without dependencies.
    #[command(
        after_help = "Examples:\n  linkflow worker show > worker.js\n  linkflow worker show --json | jq .result.bytes"
    )]
    Show(ShowArgs),
    /// Print the worker's config: where each service runs now, the one to use first in front. Providers are asked once.
    #[command(
        after_help = "Examples:\n  linkflow worker config > config.json\n  linkflow worker config --json | jq .result.services"
    )]
    Config(ConfigArgs),
}

/// Nothing more is to be said.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShowArgs {}

/// Nothing more is to be said.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigArgs {}

/// What `worker` answers.
pub(crate) fn answer(context: &Context, command: &WorkerCommand) -> Answered {
    match command {
        WorkerCommand::Show(_) => Ok(shown()),
        WorkerCommand::Config(_) => once(configured(context)),
    }
}

fn shown() -> Answer {
    let result = json!({ "bytes": BUNDLE.len(), "worker": BUNDLE });
    Answer { out: BUNDLE.to_owned(), result, ..Answer::default() }
}

async fn configured(context: &Context) -> Answered {
    let stack = context.stack("worker config").await?;
    let answer = config(&stack).await;
    stack.close(GRACE).await;
    answer
}

async fn config(stack: &Stack) -> Answered {
    stack.engine.follow_live().await?;
    stack.engine.look().await;
    let world = stack.engine.world().await?;
    let config = config_of(&stack.config, &world, stack.clock.wall().0);
    if config.services.is_empty() {
        return Answer::failed(
            1,
            "no service runs where a worker could lead visitors to",
            "it needs a `route`, the kind `web`, and a place with a public name; `linkflow status --json` tells the addresses",
        );
    }
    let result = json!(config);
    let mut answer = Answer { out: format!("{result:#}\n"), result, ..Answer::default() };
    plan::silent(stack, &mut answer);
    Ok(answer)
}
