//! `linkflow history`: the releases, who asked for each, and what became of it.

use clap::Args;
use linkflow_model::{Release, ReleaseState};
use linkflow_store::{Sqlite, Store};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::say::time::{local, took};

use super::{Answered, Context};

/// Show the releases: when, who, why, what became of each, and how its migrations ended.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow history\n  linkflow history --last 5\n  linkflow history --json | jq '.result.releases[0].images'\n\nThe newest release is first. No provider is asked."
)]
pub(crate) struct HistoryArgs {
    /// How many of the newest to show.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) last: usize,
}

/// What `history` answers.
pub(crate) async fn answer(context: &Context, args: &HistoryArgs) -> Answered {
    let rehearsal = context.common.cloud.is_some();
    let config = context.config(rehearsal)?;
    let path = context.state(&config, rehearsal).join("linkflow.db");
    let mut releases = Vec::new();
    if path.exists() {
        let documents = Sqlite::open(path)?.list("release/").await?;
        for document in documents {
            match serde_json::from_value::<Release>(document.body) {
                Ok(release) => releases.push(release),
                Err(error) => {
                    let what = format!("{} cannot be read: {error}", document.key);
                    return Answer::failed(1, &what, "a newer LinkFlow may have written it");
                }
            }
        }
    }
    releases.sort_by_key(|release| std::cmp::Reverse(release.id));
    releases.truncate(args.last);
    let rows: Vec<Value> = releases.iter().map(row).collect();
    let out = if releases.is_empty() {
        "nothing was released yet\n".to_owned()
    } else {
        text(&releases, context.voice.colours)
    };
    Ok(Answer { out, result: json!({ "releases": rows }), ..Answer::default() })
}

fn state(release: &Release) -> (&'static str, Tone) {
    match release.state {
        ReleaseState::Rolling => ("rolling", Tone::Notable),
        ReleaseState::Live => ("live", Tone::Good),
        ReleaseState::Failed => ("failed", Tone::Bad),
        ReleaseState::Superseded => ("superseded", Tone::Faint),
    }
}

fn row(release: &Release) -> Value {
    let images = release
        .services
        .iter()
        .map(|(name, service)| (name.to_string(), json!(service.image.to_string())));
    json!({
        "release": release.id,
        "at": release.at,
        "by": release.by,
        "why": release.why,
        "state": state(release).0,
        "before": release.before,
        "took_ms": release.took_ms,
        "failed": release.failed,
        "images": images.collect::<serde_json::Map<_, _>>(),
        "migrations": release.migrations,
    })
}

fn text(releases: &[Release], colours: bool) -> String {
    let headings = ["RELEASE", "WHEN", "STATE", "TOOK", "WHO", "MIGRATION", "WHY"];
    let mut table = Table::new(&headings);
    for release in releases {
        let (word, tone) = state(release);
        let migrations = release.migrations.iter().map(|(name, ended)| match ended.code {
            Some(code) => format!("{name}: {code}"),
            None => format!("{name}: ?"),
        });
        let migrations: Vec<String> = migrations.collect();
        let bad = release.migrations.values().any(|ended| !ended.worked);
        let who = release.by.as_ref().map(ToString::to_string).unwrap_or_default();
        let first = release.failed.as_deref().and_then(|why| why.lines().next());
        let why = match first {
            Some(failed) => format!("{}; {failed}", release.why),
            None => release.why.clone(),
        };
        table.row(vec![
            (release.id.to_string(), Tone::Strong),
            (local(release.at), Tone::Plain),
            (word.to_owned(), tone),
            (release.took_ms.map(took).unwrap_or_default(), Tone::Plain),
            (who, Tone::Plain),
            (migrations.join(", "), if bad { Tone::Bad } else { Tone::Plain }),
            (why, Tone::Faint),
        ]);
    }
    table.render(colours)
}
