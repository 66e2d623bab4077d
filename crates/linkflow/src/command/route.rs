//! `linkflow route`: where requests go, and how they fare there.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use linkflow_edge::EdgePicture;
use linkflow_model::config::Config;
use linkflow_model::{HostRoute, ServiceKind};
use rustix::termios::tcgetwinsize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::say::answer::Answer;
use crate::say::output;
use crate::say::table::{Table, Tone};
use crate::wire::live;
use crate::wire::rates::Rates;

use super::route_top::Screen;
use super::{Answered, Context, shutdown};

/// Show where requests go, and how they fare there.
#[derive(Subcommand, Clone, Debug)]
#[command(
    after_help = "Examples:\n  linkflow route top                live, until Ctrl-C\n  linkflow route top --once         one picture, for a log or a ticket\n  linkflow route list               every route, its service and its targets"
)]
pub(crate) enum RouteCommand {
    /// Watch the routes and targets of the running `linkflow up`: how many requests, how fast, how well.
    ///
    /// On a terminal the picture is drawn anew every second until Ctrl-C; otherwise, and with --json, there is one. Times
    /// are until an answer begins; they and the rates are those of the last second, or of what `--over` says.
    #[command(
        after_help = "Examples:\n  linkflow route top\n  linkflow route top --once --over 10\n  linkflow route top --json | jq '.result.targets[] | select(.state == \"ejected\")'\n\nTargets are serving, spare (used when those before them fail), ejected (left alone for a while after failures), down\n(their checks fail), resting (nobody asks for them, so that they may sleep) or waking."
    )]
    Top(TopArgs),
    /// List every route, the service it leads to, and where that runs now.
    #[command(
        after_help = "Examples:\n  linkflow route list\n  linkflow route list --json | jq .result.routes"
    )]
    List(ListArgs),
}

/// What `route top` takes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopArgs {
    /// Print one picture and end.
    #[arg(long)]
    pub(crate) once: bool,

    /// Over how many seconds each picture is.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) over: u64,
}

/// Nothing more is to be said.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListArgs {}

/// What `route` answers.
pub(crate) async fn answer(context: &Context, command: &RouteCommand) -> Answered {
    match command {
        RouteCommand::Top(args) => top(context, args).await,
        RouteCommand::List(_) => list(context).await,
    }
}

/// The state folders in which a running process may be found: a rehearsal has its own.
pub(super) fn folders(context: &Context, config: &Config) -> Vec<PathBuf> {
    let rehearsal = context.state(config, true);
    if context.common.cloud.is_some() {
        return vec![rehearsal];
    }
    vec![context.state(config, false), rehearsal]
}

async fn look(folders: &[PathBuf]) -> Result<Option<EdgePicture>, Box<Answer>> {
    for folder in folders {
        match live::ask(folder).await {
            Ok(Some(picture)) => return Ok(Some(picture)),
            Ok(None) => {}
            Err(why) => return Answer::failed(1, &why, "start `linkflow up` anew"),
        }
    }
    Ok(None)
}

/// The picture of a process that has to be there.
async fn seen(folders: &[PathBuf]) -> Result<EdgePicture, Box<Answer>> {
    match look(folders).await? {
        Some(picture) => Ok(picture),
        None => Answer::failed(
            1,
            "nothing runs that could be watched",
            "start `linkflow up` on this machine, with the same config and `--state`",
        ),
    }
}

async fn top(context: &Context, args: &TopArgs) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let folders = folders(context, &config);
    let name = config.stack.name.to_string();
    let first = seen(&folders).await?;
    let is_live = std::io::stdout().is_terminal() && !context.voice.json && !args.once;
    let over = Duration::from_secs(args.over);
    let watching = async {
        if is_live {
            return watch(context, &folders, &name, first, over).await;
        }
        sleep(over).await;
        let rates = Rates::between(&first, &seen(&folders).await?);
        let screen = Screen { colours: context.voice.colours, ..Screen::default() };
        Ok(Answer { out: screen.draw(&name, &rates), result: json!(rates), ..Answer::default() })
    };
    tokio::select! {
        answer = watching => answer,
        () = shutdown::requested() => Ok(Answer { exit: 130, told: true, ..Answer::default() }),
    }
}

/// Draws one picture after the other in place, until the process that is watched ends.
async fn watch(
    context: &Context,
    folders: &[PathBuf],
    name: &str,
    mut before: EdgePicture,
    over: Duration,
) -> Answered {
    let _screen = Alternate::enter();
    output::out(&format!("watching `{name}` …"));
    let mut every = interval(over);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.tick().await;
    loop {
        every.tick().await;
        let now = seen(folders).await?;
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0);
        let screen = Screen {
            colours: context.voice.colours,
            columns: size.map_or(80, |size| usize::from(size.ws_col)),
            rows: size.map(|size| usize::from(size.ws_row)),
        };
        let text = screen.draw(name, &Rates::between(&before, &now));
        // Line by line over the one before, so that nothing flickers.
        let lines = text.replace('\n', "\u{1b}[K\n");
        output::out(&format!("\u{1b}[H{}\u{1b}[J", lines.trim_end_matches('\n')));
        before = now;
    }
}

/// The terminal's other screen, without a cursor; left when this is dropped.
pub(super) struct Alternate;

impl Alternate {
    pub(super) fn enter() -> Self {
        output::out("\u{1b}[?1049h\u{1b}[?25l\u{1b}[H");
        Self
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        output::out("\u{1b}[?25h\u{1b}[?1049l");
    }
}

async fn list(context: &Context) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let picture = look(&folders(context, &config)).await?;
    let mut table = Table::new(&["ROUTE", "SERVICE", "TARGETS"]);
    let mut rows: Vec<Value> = Vec::new();
    for (name, service) in config.services.iter().filter(|(_, s)| s.kind != ServiceKind::Worker) {
        let targets = picture.iter().flat_map(|picture| &picture.targets);
        let targets: Vec<_> = targets.filter(|target| target.service == *name).collect();
        let said: Vec<String> = match &picture {
            Some(_) => {
                targets.iter().map(|t| format!("{} ({})", t.provider, t.state.word())).collect()
            }
            None => service.runs_on.iter().map(ToString::to_string).collect(),
        };
        let mut labels: Vec<String> = service.route.iter().map(HostRoute::label).collect();
        if labels.is_empty() {
            labels.push("(internal)".to_owned());
        }
        for label in labels {
            table.row(vec![
                (label.clone(), Tone::Strong),
                (name.to_string(), Tone::Plain),
                (said.join(", "), Tone::Faint),
            ]);
            let known: Vec<Value> = targets
                .iter()
                .map(|t| json!({ "provider": t.provider, "address": t.address, "state": t.state }))
                .collect();
            rows.push(json!({ "route": label, "service": name, "runs_on": service.runs_on, "targets": known }));
        }
    }
    let is_live = picture.is_some();
    let err = if is_live { "" } else { "nothing runs: these are the cascades of the config\n" };
    let result = json!({ "live": is_live, "routes": rows });
    Ok(Answer {
        out: table.render(context.voice.colours),
        err: err.to_owned(),
        result,
        ..Answer::default()
    })
}
