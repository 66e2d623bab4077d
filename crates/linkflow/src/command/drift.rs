//! `linkflow drift`: what the providers run that nobody asked for.

use clap::Args;
use linkflow_engine::Drift;
use linkflow_model::ReleaseId;
use serde_json::json;

use crate::say::answer::Answer;
use crate::say::table::{Table, Tone};
use crate::wire::Listen;
use crate::wire::looking::Looking;

use super::{Answered, Context};

/// Show what the providers run that the live release does not ask for. It is made of parts that cannot write.
///
/// The exit code is 0 when there is none and 2 when there is; 1 when nothing differs and a provider did not answer.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow drift\n  linkflow drift --json | jq .result.drift\n\n`linkflow plan` compares with the config instead, and `linkflow apply` puts both right."
)]
pub(crate) struct DriftArgs {}

/// What `drift` answers.
pub(crate) async fn answer(context: &Context, _: &DriftArgs) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "drift", Listen::Nowhere);
    let looking = Looking::open(&config, &options).await?;
    let Some(live) = &looking.live else {
        let out = "nothing is live, so nothing can differ from it\n".to_owned();
        return Ok(Answer {
            out,
            result: json!({ "release": null, "drift": [] }),
            ..Answer::default()
        });
    };
    let found = looking.drift(live).await;
    Ok(told(live.id, &found, context.voice.colours))
}

fn told(release: ReleaseId, found: &Drift, colours: bool) -> Answer {
    let mut answer = Answer {
        result: json!({ "release": release, "drift": found.rows, "silent": found.silent }),
        ..Answer::default()
    };
    for fault in &found.silent {
        answer.err.push_str(&format!("warning: {fault}\n"));
        answer.warnings.push(json!({ "provider": fault.provider, "message": fault.to_string() }));
    }
    let count = found.rows.len();
    let what = match count {
        0 if found.silent.is_empty() => {
            answer.out = format!("no drift: everything is as {release} asks\n");
            return answer;
        }
        0 => {
            answer.exit = 1;
            format!("nothing differs from {release}, as far as the providers answer")
        }
        1 => format!("one thing differs from {release}"),
        count => format!("{count} things differ from {release}"),
    };
    if count > 0 {
        answer.exit = 2;
        let mut table = Table::new(&["SERVICE", "PROVIDER", "WHAT", "ASKED FOR", "FOUND"]);
        for row in &found.rows {
            table.row(vec![
                (row.service.to_string(), Tone::Strong),
                (row.provider.to_string(), Tone::Plain),
                (row.field.to_owned(), Tone::Plain),
                (row.wanted.clone(), Tone::Plain),
                (row.found.clone(), Tone::Notable),
            ]);
        }
        answer.out = table.render(colours);
    }
    let help = "`linkflow apply` puts it right";
    answer.errors.push(json!({ "message": what, "help": help }));
    answer.err.push_str(&format!("{what}; {help}\n"));
    answer
}
