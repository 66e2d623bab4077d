//! `linkflow events`: what happened.

use std::time::Duration;

use clap::Args;
use linkflow_model::{Event, Level};
use linkflow_store::{Sqlite, Store, StoreError};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::output;
use crate::say::table::Tone;
use crate::say::time::local;

use super::{Answered, Context, shutdown};

/// Show what happened: deploys, moves, faults, and who did what.
///
/// With --follow, new events come as they happen until Ctrl-C; with --json each is then one JSON value on its own line.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow events\n  linkflow events --limit 200 --json\n  linkflow events --follow"
)]
pub(crate) struct EventsArgs {
    /// Go on showing what happens.
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// How many of the newest to show.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
}

/// How often the store is asked for more.
const EVERY: Duration = Duration::from_millis(200);

/// Most events that are read at once.
const PAGE: usize = 1_000;

/// What `events` answers.
pub(crate) async fn answer(context: &Context, args: &EventsArgs) -> Answered {
    let rehearsal = context.common.cloud.is_some();
    let config = context.config(rehearsal)?;
    let path = context.state(&config, rehearsal).join("linkflow.db");
    if !path.exists() && !args.follow {
        let out = "nothing happened yet\n".to_owned();
        return Ok(Answer { out, result: json!({ "events": [] }), ..Answer::default() });
    }
    let store = Sqlite::open(path)?;
    let newest = store.newest_event().await?;
    let mut after = newest.saturating_sub(u64::from(args.limit));
    if !args.follow {
        let (mut out, mut rows) = (String::new(), Vec::new());
        for (number, event) in next(&store, &mut after).await? {
            out.push_str(&line(&event, context.voice.colours));
            rows.push(row(number, &event));
        }
        return Ok(Answer { out, result: json!({ "events": rows }), ..Answer::default() });
    }
    tokio::select! {
        failed = follow(context, &store, after) => failed,
        () = shutdown::requested() => Ok(Answer { exit: 130, told: true, ..Answer::default() }),
    }
}

async fn follow(context: &Context, store: &Sqlite, mut after: u64) -> Answered {
    loop {
        for (number, event) in next(store, &mut after).await? {
            if context.voice.json {
                output::out(&format!("{}\n", row(number, &event)));
            } else {
                output::out(&line(&event, context.voice.colours));
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Every event after `after`, which moves on.
async fn next(store: &Sqlite, after: &mut u64) -> Result<Vec<(u64, Event)>, StoreError> {
    let mut all = Vec::new();
    loop {
        let page = store.events(*after, PAGE).await?;
        let full = page.len() == PAGE;
        if let Some((number, _)) = page.last() {
            *after = *number;
        }
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}

fn row(number: u64, event: &Event) -> Value {
    let mut value = json!(event);
    value["number"] = json!(number);
    value
}

fn line(event: &Event, colours: bool) -> String {
    let tone = match event.level {
        Level::Info => Tone::Plain,
        Level::Notice => Tone::Good,
        Level::Warning => Tone::Notable,
        Level::Alarm => Tone::Bad,
    };
    let time = Tone::Faint.paint(&local(event.at), colours);
    format!("{time}  {}\n", tone.paint(&event.message, colours))
}

impl From<StoreError> for Box<Answer> {
    fn from(error: StoreError) -> Self {
        let help = "see whether the disk is full and the state folder may be written";
        Self::new(Answer::failure(1, &error.to_string(), help))
    }
}
