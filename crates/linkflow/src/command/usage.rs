//! `linkflow usage`: what was used of each plan.

use clap::Args;
use futures_util::future::join_all;
use linkflow_engine::EngineError;
use linkflow_model::catalogue::Catalogue;
use linkflow_model::config::Provider;
use linkflow_model::role::Usage;
use linkflow_model::{Fault, ProviderName};
use serde_json::{Value, json};

use crate::doctor::usage::{amount, ask, ask_front, at_end, is_much, plans, sentence, share, what};
use crate::say::answer::Answer;
use crate::say::progress::Waiting;
use crate::say::table::{Table, Tone};
use crate::say::time::day;
use crate::say::wrap::wrapped;
use crate::wire::asking::{Asking, Place};
use crate::wire::{Listen, OpenError};

use super::{Answered, Context};

/// Show what was used of each provider's plan, and what happens at its end.
///
/// A provider in front of the edge is asked what its worker used. The numbers are the providers' own. What happens at the end is from the catalogue; files in the folder `catalogue`
/// beside the config replace it. Providers without an API for their usage are named.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow usage\n  linkflow usage railway\n  linkflow usage --json | jq '.result.providers[].usage'"
)]
pub(crate) struct UsageArgs {
    /// Only this provider.
    pub(crate) provider: Option<ProviderName>,
}

/// What one provider said.
struct Told<'a> {
    name: &'a ProviderName,
    kind: &'static str,
    /// `None` where it has no way to tell; otherwise what it told, or why it did not.
    usage: Option<Result<Vec<Usage>, Box<Answer>>>,
    at_end: Option<String>,
}

/// What `usage` answers.
pub(crate) async fn answer(context: &Context, args: &UsageArgs) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "usage", Listen::Nowhere);
    let catalogue = context.catalogue()?;
    let asking = Asking::open(&config, &options)?;
    let front = asking.names.worker(&config);
    if let Some(only) = &args.provider {
        let names = asking.places.keys().chain(front.map(|(name, _)| name));
        let names: Vec<&str> = names.map(ProviderName::as_str).collect();
        if !names.contains(&only.as_str()) {
            let what = format!("no provider `{only}` runs services or stands in front of them");
            return Answer::failed(2, &what, &format!("these do: {}", names.join(", ")));
        }
    }
    let is_asked = |name: &ProviderName| args.provider.as_ref().is_none_or(|only| only == name);
    let waiting = Waiting::new(context.voice);
    let chosen = asking.places.iter().filter(|(name, _)| is_asked(name));
    let places = join_all(chosen.map(|(name, place)| async {
        let usage = waiting.for_one(name.as_str(), of_place(place)).await;
        told(&catalogue, name, &place.provider, usage)
    }));
    let front = async {
        let (name, opened) = front.filter(|(name, _)| is_asked(name))?;
        let provider = config.provider(name)?;
        let usage = match opened {
            Ok(cdn) => said(waiting.for_one(name.as_str(), ask_front(&**cdn)).await),
            Err(error) => Err(shut(error)),
        };
        Some(told(&catalogue, name, &provider, Some(usage)))
    };
    let asked = async { tokio::join!(places, front) };
    let (mut told, front) = waiting.during(asked).await;
    told.extend(front);
    if args.provider.is_some()
        && let Some(Err(failure)) =
            told.first_mut().and_then(|one| one.usage.take_if(|u| u.is_err()))
    {
        return Err(failure);
    }
    Ok(shown(&told, context.voice.colours))
}

/// What one that runs services told.
type Usages = Result<Vec<Usage>, Box<Answer>>;

async fn of_place(place: &Place) -> Option<Usages> {
    match &place.opened {
        Ok(compute) => ask(&**compute).await.map(said),
        Err(error) => Some(Err(shut(error))),
    }
}

fn said(told: Result<Vec<Usage>, Fault>) -> Usages {
    told.map_err(|fault| EngineError::Fault(fault).into())
}

fn shut(error: &OpenError) -> Box<Answer> {
    Box::new(Answer::failure(1, &error.to_string(), error.help()))
}

fn told<'a>(
    catalogue: &Catalogue,
    name: &'a ProviderName,
    provider: &Provider,
    usage: Option<Usages>,
) -> Told<'a> {
    let kind = provider.kind().word;
    let at_end = catalogue.of(kind).and_then(|entry| at_end(&plans(provider, entry)));
    Told { name, kind, usage, at_end }
}

fn shown(told: &[Told<'_>], colours: bool) -> Answer {
    let mut answer = Answer::default();
    let mut table = Table::new(&["PROVIDER", "WHAT", "USED", "LIMIT", "SHARE", "RESETS"]);
    let (mut rows, mut values) = (0, Vec::new());
    for one in told {
        let mut name = one.name.to_string();
        let used = one.usage.as_ref().and_then(|usage| usage.as_ref().ok());
        for row in used.into_iter().flatten() {
            let tone = if is_much(row) { Tone::Notable } else { Tone::Plain };
            if is_much(row) {
                warn(one, row, &mut answer);
            }
            let limit = row.limit.map(|limit| amount(limit, &row.unit)).unwrap_or_default();
            let percent = share(row).map(|share| format!("{share:.0} %")).unwrap_or_default();
            rows += 1;
            table.row(vec![
                (std::mem::take(&mut name), Tone::Strong),
                (what(row), Tone::Plain),
                (amount(row.used, &row.unit), tone),
                (limit, Tone::Plain),
                (percent, tone),
                (row.resets.map(day).unwrap_or_default(), Tone::Plain),
            ]);
        }
        match &one.usage {
            // Only a person can mend a token that is refused.
            Some(Err(failure)) if failure.exit == 4 => {
                answer.err.push_str(&failure.err);
                answer.errors.extend(failure.errors.clone());
                answer.exit = 4;
            }
            Some(Err(failure)) => {
                answer.err.push_str(&failure.err.replacen("error:", "warning:", 1));
                answer.warnings.extend(failure.errors.clone());
            }
            Some(Ok(_)) | None => {}
        }
        values.push(value(one));
    }
    if rows > 0 {
        answer.out = table.render(colours);
        answer.out.push('\n');
    }
    let mut note = |name: &str, text: &str| {
        let mut lead = Tone::Strong.paint(name, colours);
        for line in wrapped(text, 2) {
            if !lead.is_empty() {
                answer.out.push_str(&format!("{lead}\n"));
                lead.clear();
            }
            answer.out.push_str(&format!("  {}\n", Tone::Faint.paint(&line, colours)));
        }
    };
    for one in told {
        let silent = match &one.usage {
            None => "its API does not tell what was used. ",
            Some(Ok(rows)) if rows.is_empty() => "it tells of nothing that was used. ",
            Some(_) => "",
        };
        let end = one.at_end.as_ref().map(|end| format!("At the end of an allowance: {end}."));
        let end = end.unwrap_or_else(|| "It has no plan that could end.".to_owned());
        note(one.name.as_str(), &format!("{silent}{end}"));
    }
    answer.result = json!({ "providers": values });
    answer
}

/// Little is left of an allowance.
fn warn(one: &Told<'_>, row: &Usage, answer: &mut Answer) {
    let what = format!("{}: {}", one.name, sentence(row));
    let help = one.at_end.as_ref().map(|end| format!("at the end, {end}")).unwrap_or_default();
    answer.err.push_str(&format!("warning: {what}\n"));
    if !help.is_empty() {
        answer.err.push_str(&format!("help: {help}\n"));
    }
    answer.warnings.push(json!({ "provider": one.name, "message": what, "help": help }));
}

fn value(one: &Told<'_>) -> Value {
    let usage = one.usage.as_ref().and_then(|usage| usage.as_ref().ok());
    json!({
        "provider": one.name,
        "kind": one.kind,
        "told": usage.is_some(),
        "usage": usage,
        "at_end": one.at_end,
    })
}
