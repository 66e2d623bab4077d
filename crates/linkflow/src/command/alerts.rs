//! `linkflow alerts`: whether each way to tell people works, and what was told.

use clap::{Args, Subcommand};
use futures_util::future::join_all;
use linkflow_engine::{AlertPost, Message, MessageState, Tried, messages};
use linkflow_model::StackName;
use linkflow_store::Sqlite;
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::say::time::local;
use crate::wire::alerts::apart;
use crate::wire::{Listen, OpenError};

use super::change::say;
use super::{Answered, Context};

/// Tell people what happens: try each way, and see what was told.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow alerts test          a message by every way of every alert\n  linkflow alerts test team     only those of `[alerts.team]`\n  linkflow alerts list          what was told, what waits and what failed\n\nThe guide is docs/alerts.md."
)]
pub(crate) enum AlertsCommand {
    /// Send a message by every way, and say which arrived. Exit code 1 when one did not.
    #[command(after_help = "Examples:\n  linkflow alerts test\n  linkflow alerts test team --json")]
    Test(TestArgs),
    /// Show the outbox: what was told, what waits for another try, and what the channel said.
    #[command(
        after_help = "Examples:\n  linkflow alerts list\n  linkflow alerts list --open\n  linkflow alerts list --json | jq '.result.messages[]'"
    )]
    List(ListArgs),
}

/// Which alerts are tried.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestArgs {
    /// Only this alert.
    name: Option<String>,
}

/// Which messages are shown.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListArgs {
    /// Only those that have not arrived.
    #[arg(long)]
    open: bool,
    /// How many of the newest to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// What `alerts` answers.
pub(crate) async fn answer(context: &Context, command: &AlertsCommand) -> Answered {
    match command {
        AlertsCommand::Test(args) => test(context, args).await,
        AlertsCommand::List(args) => list(context, args).await,
    }
}

async fn test(context: &Context, args: &TestArgs) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "alerts", Listen::Nowhere);
    let mut posts = apart(&config, &options)?;
    if let Some(name) = &args.name {
        posts.retain(|(alert, _)| alert == name);
    }
    if posts.is_empty() {
        let what = match &args.name {
            Some(name) => format!("the config has no alert `{name}`"),
            None => "the config has no alerts".to_owned(),
        };
        return Answer::failed(2, &what, "`[alerts.NAME]` says who is told, and how");
    }
    let stack = &config.stack.name;
    let tried = join_all(posts.iter().map(|(name, post)| try_one(stack, name, post))).await;
    let tried: Vec<Tried> = tried.into_iter().flatten().collect();
    Ok(told(&tried, context.voice.colours))
}

/// Tells a test by every way of one alert.
async fn try_one(stack: &StackName, name: &str, post: &Result<AlertPost, OpenError>) -> Vec<Tried> {
    let why = match post {
        Ok(post) if post.channels.is_empty() => "it has no way that can be used here".to_owned(),
        Ok(post) => return post.try_out(stack).await,
        Err(error) => format!("{error}; {}", error.help()),
    };
    vec![Tried { alert: name.to_owned(), way: String::new(), failed: Some(why) }]
}

fn told(tried: &[Tried], colours: bool) -> Answer {
    let mut table = Table::new(&["ALERT", "WAY", "RESULT"]);
    for one in tried {
        let (result, tone) = match &one.failed {
            None => ("arrived".to_owned(), Tone::Good),
            Some(why) => (why.clone(), Tone::Bad),
        };
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        table.row(vec![cell(&one.alert), cell(&one.way), (result, tone)]);
    }
    let rows = tried.iter();
    let rows = rows.map(|one| json!({ "alert": one.alert, "way": one.way, "failed": one.failed }));
    let mut answer = Answer {
        out: table.render(colours),
        result: json!({ "tried": rows.collect::<Vec<Value>>() }),
        ..Answer::default()
    };
    let failed = tried.iter().filter(|one| one.failed.is_some()).count();
    if failed > 0 {
        let what = format!("{failed} of {} did not arrive", tried.len());
        let one = Answer::failure(1, &what, "docs/alerts.md has what each way needs");
        answer.exit = one.exit;
        answer.err = one.err;
        answer.errors = one.errors;
    }
    answer
}

async fn list(context: &Context, args: &ListArgs) -> Answered {
    let rehearsal = context.common.cloud.is_some();
    let config = context.config(rehearsal)?;
    let file = context.state(&config, rehearsal).join("linkflow.db");
    let mut all = match file.exists() {
        true => messages(&Sqlite::open(file)?).await?,
        false => Vec::new(),
    };
    if args.open {
        all.retain(|message| message.state != MessageState::Sent);
    }
    let skipped = all.len().saturating_sub(args.limit);
    let shown = &all[skipped..];
    let mut out = table(shown).render(context.voice.colours);
    if shown.is_empty() {
        out =
            if args.open { "nothing waits\n" } else { "nobody was told anything yet\n" }.to_owned();
    } else if skipped > 0 {
        say(&mut out, format_args!("and {skipped} before; `--limit` shows more\n"));
    }
    Ok(Answer { out, result: json!({ "messages": shown }), ..Answer::default() })
}

fn table(messages: &[Message]) -> Table {
    let mut table = Table::new(&["AT", "ALERT", "WAY", "STATE", "WHAT"]);
    for message in messages {
        let (state, tone) = match message.state {
            MessageState::Sent => ("sent".to_owned(), Tone::Good),
            MessageState::Sending => ("being sent".to_owned(), Tone::Notable),
            MessageState::Waiting if message.failed == 0 => ("waits".to_owned(), Tone::Notable),
            MessageState::Waiting => (format!("failed {}×", message.failed), Tone::Bad),
            MessageState::GivenUp => ("given up".to_owned(), Tone::Bad),
        };
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        let said = message.said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default();
        table.row(vec![
            (local(message.at), Tone::Faint),
            cell(&message.post),
            cell(&message.channel),
            (state, tone),
            cell(&format!("{}{said}", message.notice.title)),
        ]);
    }
    table
}
