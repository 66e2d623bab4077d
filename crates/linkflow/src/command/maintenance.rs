//! `linkflow maintenance`: announcing work, and calling it off.

use clap::{Args, Subcommand};
use linkflow_decide::next_time;
use linkflow_model::{Maintenance, Timestamp};
use linkflow_web::order::work::{self, Announcement};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};

use super::tell::{Teller, said};
use super::{Answered, Context};

/// Announce work on the stack: the status page and its calendar show it, and it counts as no outage.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow maintenance schedule \"Database moves\" --on API --from \"2026-12-01 22:00\" --for 1h\n  linkflow maintenance cancel 20261201-database-moves\n  linkflow maintenance list"
)]
pub(crate) enum MaintenanceCommand {
    /// Announce work. What has begun already cannot be announced.
    #[command(
        after_help = "Examples:\n  linkflow maintenance schedule \"Database moves\" --on API --from \"2026-12-01 22:00\" --for 1h\n  linkflow maintenance schedule \"Restart\" --on API --on Web --from 2h --for 10m --text \"A minute of errors.\"\n\nTimes are in the zone of the page, or so long from now."
    )]
    Schedule(ScheduleArgs),
    /// Call it off, or end it early.
    #[command(after_help = "Examples:\n  linkflow maintenance cancel 20261201-database-moves")]
    Cancel(CancelArgs),
    /// List announced work, the newest first, with the next times of each window of `[maintenance]`.
    #[command(
        after_help = "Examples:\n  linkflow maintenance list\n  linkflow maintenance list --json"
    )]
    List,
}

/// What is announced.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScheduleArgs {
    /// One line for the public.
    title: String,

    /// A component of the status page that is affected, by its name or by what it watches. May stand several times.
    #[arg(long, value_name = "COMPONENT", required = true)]
    on: Vec<String>,

    /// When it begins.
    #[arg(long, value_name = "TIME")]
    from: String,

    /// How long it takes: `1h30m`.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: String,

    /// What will be done and what it means, in Markdown; `-` reads stdin.
    #[arg(long, value_name = "TEXT", default_value = "")]
    text: String,
}

/// What is called off.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelArgs {
    /// Its id.
    id: String,
}

/// What `maintenance` answers.
pub(crate) async fn answer(context: &Context, command: &MaintenanceCommand) -> Answered {
    let teller = context.teller()?;
    match command {
        MaintenanceCommand::Schedule(args) => schedule(&teller, args).await,
        MaintenanceCommand::Cancel(args) => cancel(&teller, args).await,
        MaintenanceCommand::List => list(&teller, context.voice.colours).await,
    }
}

async fn schedule(teller: &Teller, args: &ScheduleArgs) -> Answered {
    let from = teller.moment(&args.from, 1)?;
    let lasts = args.lasts.parse::<jiff::SignedDuration>().ok();
    let lasts = lasts.and_then(|span| u64::try_from(span.as_millis()).ok()).filter(|ms| *ms > 0);
    let Some(lasts) = lasts else {
        return Answer::failed(
            2,
            &format!("`{}` is no duration", args.lasts),
            "write `30m` or `1h30m`",
        );
    };
    let work = Announcement {
        title: args.title.trim().to_owned(),
        text: said(&args.text)?,
        from,
        lasts_ms: lasts,
        subjects: teller.subjects(&args.on)?,
    };
    let work = work::announce(teller.hand(), &teller.config, work).await?;
    let (begins, ends) = (teller.shown(work.from), teller.shown(work.to));
    let out = format!("announced {}\n  {begins} to {ends}\n", work.id);
    Ok(Answer { out, result: json!(work), ..Answer::default() })
}

async fn cancel(teller: &Teller, args: &CancelArgs) -> Answered {
    let work = work::cancel(teller.hand(), &args.id).await?;
    let what = if work.cancelled { "called off" } else { "ended early" };
    let out = format!("{what} {}\n", work.id);
    Ok(Answer { out, result: json!(work), ..Answer::default() })
}

async fn list(teller: &Teller, colours: bool) -> Answered {
    let mut works: Vec<Maintenance> = teller.all(Maintenance::PREFIX).await?;
    works.sort_by(|a, b| b.from.cmp(&a.from).then(b.id.cmp(&a.id)));
    let mut table = Table::new(&["ID", "FROM", "TO", "STATE", "TITLE"]);
    for work in &works {
        let (state, tone) = match work {
            work if work.cancelled => ("cancelled", Tone::Faint),
            work if work.is_on(teller.now) => ("under way", Tone::Notable),
            work if work.from > teller.now => ("to come", Tone::Plain),
            _ => ("done", Tone::Faint),
        };
        table.row(vec![
            (work.id.clone(), Tone::Strong),
            (teller.shown(work.from), Tone::Plain),
            (teller.shown(work.to), Tone::Plain),
            (state.to_owned(), tone),
            (work.title.clone(), Tone::Plain),
        ]);
    }
    let nothing = works.is_empty();
    let mut out = if nothing { "no work is announced\n".to_owned() } else { table.render(colours) };
    let (told, windows) = windows(teller, &works, colours);
    out.push_str(&told);
    let result = json!({ "maintenance": works, "windows": windows });
    Ok(Answer { out, result, ..Answer::default() })
}

/// The windows of the config with the next time of each, where `works` is what is announced: for people, and for programs.
fn windows(teller: &Teller, works: &[Maintenance], colours: bool) -> (String, Vec<Value>) {
    let mut table = Table::new(&["WINDOW", "NEXT FROM", "TO", "STATE", "CRON", "TITLE"]);
    let mut rows = Vec::new();
    for (name, window) in &teller.config.maintenance {
        let next = next_time(name, window, teller.now);
        let held = next.as_ref().and_then(|next| works.iter().find(|work| work.id == next.id));
        let (state, tone) = match held {
            Some(work) if work.cancelled => ("called off", Tone::Faint),
            Some(_) => ("announced", Tone::Plain),
            None => ("not announced yet", Tone::Faint),
        };
        let shown = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| teller.shown(at));
        let (from, to) = (next.as_ref().map(|next| next.from), next.as_ref().map(|next| next.to));
        table.row(vec![
            (name.to_string(), Tone::Strong),
            (shown(from), Tone::Plain),
            (shown(to), Tone::Plain),
            (state.to_owned(), tone),
            (format!("{} {}", window.cron.0, window.time_zone.0), Tone::Faint),
            (window.title.clone(), Tone::Plain),
        ]);
        rows.push(json!({
            "name": name, "title": window.title, "cron": window.cron.0, "time_zone": window.time_zone.0,
            "next": next.map(|next| next.id), "from": from, "to": to, "state": state,
        }));
    }
    let out = if rows.is_empty() { String::new() } else { format!("\n{}", table.render(colours)) };
    (out, rows)
}
