//! `linkflow page subscribers`: who is told of the status page's news, for whoever answers for their data.

use clap::{Args, Subcommand};
use linkflow_web::subscribe::{Subscriber, forget, subscribers};
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};

use super::tell::Teller;
use super::{Answered, Context};

/// What is asked of subscribers.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubscribersCommand {
    /// List those who confirmed.
    #[command(
        after_help = "Examples:\n  linkflow page subscribers list\n  linkflow page subscribers list --json | jq '.result.subscribers | length'"
    )]
    List,
    /// Show all that is kept of one, or of all, as JSON.
    #[command(
        after_help = "Examples:\n  linkflow page subscribers export ann@example.com\n  linkflow page subscribers export > subscribers.json"
    )]
    Export(ExportArgs),
    /// Forget one: they are told nothing more, and nothing of them is kept.
    #[command(after_help = "Examples:\n  linkflow page subscribers remove ann@example.com")]
    Remove(RemoveArgs),
}

/// Whose.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportArgs {
    /// The mail address, the web address or the id; all when not said.
    address: Option<String>,
}

/// Whom.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoveArgs {
    /// The mail address, the web address or the id.
    address: String,
}

/// What `page subscribers` answers.
pub(super) async fn answer(context: &Context, command: &SubscribersCommand) -> Answered {
    let teller = context.teller()?;
    match command {
        SubscribersCommand::List => shown(&teller, context.voice.colours).await,
        SubscribersCommand::Export(args) => export(&teller, args).await,
        SubscribersCommand::Remove(args) => remove(&teller, args).await,
    }
}

async fn shown(teller: &Teller, colours: bool) -> Answered {
    let all = subscribers(&teller.store).await?;
    let mut table = Table::new(&["ADDRESS", "BY", "TOLD OF", "LANGUAGE", "SINCE"]);
    for one in &all {
        let told_of = match one.components.as_slice() {
            [] => "everything".to_owned(),
            components => components.join(", "),
        };
        table.row(vec![
            (one.way.address().to_owned(), Tone::Strong),
            (one.way.word().to_owned(), Tone::Plain),
            (told_of, Tone::Plain),
            (one.language.clone(), Tone::Plain),
            (teller.shown(one.at), Tone::Plain),
        ]);
    }
    let out = if all.is_empty() {
        "nobody has subscribed: `[status_page.subscribe]` lets people\n".to_owned()
    } else {
        table.render(colours)
    };
    Ok(Answer { out, result: json!({ "subscribers": all }), ..Answer::default() })
}

async fn export(teller: &Teller, args: &ExportArgs) -> Answered {
    let mut all = subscribers(&teller.store).await?;
    if let Some(wanted) = &args.address {
        let is =
            |one: &Subscriber| one.id == *wanted || one.way.address().eq_ignore_ascii_case(wanted);
        all.retain(is);
        if all.is_empty() {
            return missing(wanted);
        }
    }
    let result = json!({ "subscribers": all });
    Ok(Answer { out: format!("{result:#}\n"), result, ..Answer::default() })
}

async fn remove(teller: &Teller, args: &RemoveArgs) -> Answered {
    if !forget(&teller.store, &args.address).await? {
        return missing(&args.address);
    }
    let out = format!("{} is forgotten\n", args.address);
    Ok(Answer { out, result: json!({ "removed": args.address }), ..Answer::default() })
}

fn missing(address: &str) -> Answered {
    let what = format!("nobody is told at `{address}`");
    Answer::failed(1, &what, "`linkflow page subscribers list` shows who is")
}
