//! `linkflow top`: the dashboard in a terminal.

mod draw;
mod keys;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use linkflow_web::operator::Traffic;
use linkflow_web::view::overview::Status;
use rustix::termios::tcgetwinsize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::say::answer::Answer;
use crate::say::output;
use crate::wire::site;

use super::route::{Alternate, folders};
use super::{Answered, Context, shutdown};
use draw::Sheet;
use keys::{Key, Keys};

/// Watch the running `linkflow up` in the terminal: services on providers, incidents, where visitors go.
///
/// On a terminal the picture is drawn anew every second: q ends it, the arrows and page keys move, / filters by a word and
/// Escape takes the filter away. Otherwise, with --once and with --json, there is one picture. No sign-in is needed: whoever
/// may read the state folder may ask.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow top\n  linkflow top --once             one picture, for a log or a ticket\n  linkflow top --json | jq '.result.status.incidents'"
)]
pub(crate) struct TopArgs {
    /// Print one picture and end.
    #[arg(long)]
    pub(crate) once: bool,
}

/// How often the picture is drawn anew.
const EVERY: Duration = Duration::from_secs(1);

/// What is drawn.
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) traffic: Traffic,
}

/// What `top` answers.
pub(crate) async fn answer(context: &Context, args: &TopArgs) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let folders = folders(context, &config);
    let seen = look(&folders).await?;
    let colours = context.voice.colours;
    if !std::io::stdout().is_terminal() || context.voice.json || args.once {
        let sheet = Sheet { colours, ..Sheet::default() };
        let result = json!({ "status": seen.status, "traffic": seen.traffic });
        return Ok(Answer { out: sheet.draw(&seen), result, ..Answer::default() });
    }
    tokio::select! {
        answer = watch(&folders, seen, colours) => answer,
        () = shutdown::requested() => Ok(Answer { exit: 130, told: true, ..Answer::default() }),
    }
}

/// How everything stands in a process that has to be there.
async fn look(folders: &[PathBuf]) -> Result<Seen, Box<Answer>> {
    for folder in folders {
        let asked = async {
            let Some(status) = site::get::<Status>(folder, "/api/v1/status").await? else {
                return Ok(None);
            };
            let traffic = site::get::<Traffic>(folder, "/api/v1/traffic").await?;
            Ok(traffic.map(|traffic| Seen { status, traffic }))
        };
        match asked.await {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => {}
            Err(why) => {
                let why: String = why;
                return Answer::failed(1, &why, "start `linkflow up` anew");
            }
        }
    }
    Answer::failed(
        1,
        "nothing runs that could be watched",
        "start `linkflow up` on this machine, with the same config and `--state`",
    )
}

/// Draws one picture after the other in place, until somebody wants no more or the process ends.
async fn watch(folders: &[PathBuf], mut seen: Seen, colours: bool) -> Answered {
    let _screen = Alternate::enter();
    let mut keys = Keys::read();
    let mut sheet = Sheet { colours, ..Sheet::default() };
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0);
        sheet.columns = size.map_or(80, |size| usize::from(size.ws_col));
        sheet.rows = size.map(|size| usize::from(size.ws_row));
        let lines = sheet.draw(&seen).replace('\n', "\u{1b}[K\r\n");
        output::out(&format!("\u{1b}[H{}\u{1b}[J", lines.trim_end_matches("\r\n")));
        tokio::select! {
            _ = every.tick() => seen = look(folders).await?,
            key = keys.next() => match key {
                Some(key) if !sheet.press(key) => {}
                Some(_) | None => return Ok(Answer { told: true, ..Answer::default() }),
            },
        }
    }
}

impl Sheet {
    /// Does what a key asks for. Whether it asks for the end.
    fn press(&mut self, key: Key) -> bool {
        let page = self.rows.unwrap_or(20).saturating_sub(2);
        match (key, &mut self.typed) {
            (Key::Interrupt, _) => return true,
            (Key::Escape, _) => (self.typed, self.filter) = (None, String::new()),
            (Key::Enter, _) => self.typed = None,
            (Key::Back, Some(typed)) => {
                typed.pop();
                self.filter.clone_from(typed);
            }
            (Key::Letter(letter), Some(typed)) => {
                typed.push(letter);
                self.filter.clone_from(typed);
            }
            (Key::Letter('q'), None) => return true,
            (Key::Letter('/'), None) => self.typed = Some(self.filter.clone()),
            (Key::Up, _) => self.from = self.from.saturating_sub(1),
            (Key::Down, _) => self.from += 1,
            (Key::PageUp, _) => self.from = self.from.saturating_sub(page),
            (Key::PageDown | Key::Letter(' '), None) => self.from += page,
            _ => {}
        }
        false
    }
}
