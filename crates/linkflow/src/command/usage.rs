//! `linkflow usage`: what was used of each plan.

use clap::Args;
use futures_util::future::join_all;
use linkflow_engine::EngineError;
use linkflow_model::ProviderName;
use linkflow_model::catalogue::Catalogue;
use linkflow_model::role::Usage;
use serde_json::{Value, json};

use crate::doctor::usage::{amount, ask, at_end, is_much, plans, share, what};
use crate::say::answer::Answer;
use crate::say::progress::Waiting;
use crate::say::table::{Table, Tone};
use crate::say::time::day;
use crate::say::wrap::wrapped;
use crate::wire::Listen;
use crate::wire::asking::{Asking, Place};

use super::{Answered, Context};

/// Show what was used of each provider's plan, and what happens at its end.
///
/// The numbers are the providers' own. What happens at the end is from the catalogue; files in the folder `catalogue`
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
    place: &'a Place,
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
    if let Some(only) = args.provider.as_ref().filter(|only| !asking.places.contains_key(only)) {
        let names: Vec<&str> = asking.places.keys().map(ProviderName::as_str).collect();
        let help = format!("these run services: {}", names.join(", "));
        return Answer::failed(2, &format!("no provider `{only}` runs services"), &help);
    }
    let is_asked = |name: &ProviderName| args.provider.as_ref().is_none_or(|only| only == name);
    let waiting = Waiting::new(context.voice);
    let chosen = asking.places.iter().filter(|(name, _)| is_asked(name));
    let asked = join_all(chosen.map(|(name, place)| async {
        let usage = async {
            match &place.opened {
                Ok(compute) => {
                    let told = ask(&**compute).await;
                    told.map(|told| told.map_err(|fault| EngineError::Fault(fault).into()))
                }
                Err(error) => {
                    Some(Err(Box::new(Answer::failure(1, &error.to_string(), error.help()))))
                }
            }
        };
        let usage = waiting.for_one(name.as_str(), usage).await;
        Told { name, place, usage, at_end: end(&catalogue, place) }
    }));
    let mut told = waiting.during(asked).await;
    if args.provider.is_some()
        && let Some(Err(failure)) =
            told.first_mut().and_then(|one| one.usage.take_if(|u| u.is_err()))
    {
        return Err(failure);
    }
    Ok(shown(&told, context.voice.colours))
}

fn end(catalogue: &Catalogue, place: &Place) -> Option<String> {
    let entry = catalogue.of(place.provider.kind().word)?;
    at_end(&plans(&place.provider, entry))
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
        if let Some(Err(failure)) = &one.usage {
            answer.err.push_str(&failure.err.replacen("error:", "warning:", 1));
            answer.warnings.extend(failure.errors.clone());
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

fn value(one: &Told<'_>) -> Value {
    let usage = one.usage.as_ref().and_then(|usage| usage.as_ref().ok());
    json!({
        "provider": one.name,
        "kind": one.place.provider.kind().word,
        "told": usage.is_some(),
        "usage": usage,
        "at_end": one.at_end,
    })
}
