//! `linkflow unlock`: who holds the lock of the stack, and taking it from one who is gone.

use clap::Args;
use linkflow_engine::Holder;
use serde_json::json;

use crate::say::answer::Answer;
use crate::wire::Stack;

use super::change::GRACE;
use super::{Answered, Context};

/// Show who holds the lock of the stack, or free it.
///
/// A lock that was left behind frees itself: at once when its process ran on this machine and is gone, after 25 s without
/// a sign of life otherwise. This is for whoever cannot wait.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow unlock              who holds it, and under which id\n  linkflow unlock --id 17      free it, when its holder gives no sign of life\n  linkflow unlock --id 17 --force"
)]
pub(crate) struct UnlockArgs {
    /// The id that is shown; another one each time the lock is taken.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<u64>,

    /// Also when its holder lives. It is stopped by the next thing that it would change.
    #[arg(long, requires = "id")]
    pub(crate) force: bool,
}

/// What `unlock` answers.
pub(crate) async fn answer(context: &Context, args: &UnlockArgs) -> Answered {
    if args.id.is_some() {
        context.refuse_within_hook("unlock")?;
    }
    let stack = context.stack("unlock").await?;
    let answer = unlock(&stack, args).await;
    stack.close(GRACE).await;
    answer
}

async fn unlock(stack: &Stack, args: &UnlockArgs) -> Answered {
    let Some(id) = args.id else {
        return Ok(match stack.engine.holder().await? {
            None => Answer {
                out: "nobody holds the lock\n".to_owned(),
                result: json!({ "held": false }),
                ..Answer::default()
            },
            Some(holder) => {
                let mut out = shown(&holder);
                out.push_str(&format!("`linkflow unlock --id {}` frees it\n", holder.id));
                Answer { out, result: value(&holder), ..Answer::default() }
            }
        });
    };
    let holder = stack.engine.unlock(id, args.force).await?;
    let out = format!("{}it was freed\n", shown(&holder));
    Ok(Answer { out, result: value(&holder), ..Answer::default() })
}

fn value(holder: &Holder) -> serde_json::Value {
    json!({ "held": true, "holder": holder })
}

fn shown(holder: &Holder) -> String {
    let Holder { id, owner, beats, gone } = holder;
    let mut out = format!("the lock is held under the id {id}\n");
    let mut line = |what: &str, value: &str| out.push_str(&format!("  {what:<8}{value}\n"));
    line("by", &owner.what);
    line("who", owner.who.as_deref().unwrap_or("not told"));
    line("where", &format!("process {} on {}", owner.pid, owner.host));
    if let Some(url) = &owner.url {
        line("run", url);
    }
    line("beats", &format!("{beats} since it was taken, one every 3 s"));
    line("alive", if *gone { "no: its process is gone" } else { "as far as can be told" });
    out
}
