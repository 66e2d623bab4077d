//! `linkflow logs`: what a service wrote, wherever it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use linkflow_engine::{Patience, guarded};
use linkflow_model::role::{Compute, LogLine};
use linkflow_model::{Fault, FaultKind, ProviderName, ServiceName};
use serde_json::{Value, json};

use crate::say::answer::Answer;
use crate::say::output;
use crate::say::table::Tone;
use crate::say::time::local;
use crate::wire::Stack;

use super::change::GRACE;
use super::{Answered, Context, shutdown};

/// Show the last lines that a service wrote, on every provider where it is deployed.
///
/// With --follow, new lines come as they are written until Ctrl-C; with --json each is then one JSON value on its own
/// line. Providers without an API for logs are left out, and named.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow logs api\n  linkflow logs api --on fly --last 200\n  linkflow logs api --follow"
)]
pub(crate) struct LogsArgs {
    /// The service.
    pub(crate) service: ServiceName,

    /// Only on this provider.
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) on: Option<ProviderName>,

    /// How many lines of each placement.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) last: usize,

    /// Go on showing what is written.
    #[arg(long, short)]
    pub(crate) follow: bool,
}

/// How often a provider is asked for more.
const EVERY: Duration = Duration::from_secs(2);

/// How many lines are asked for each time, so that a fast writer's are not missed.
const PAGE: usize = 200;

/// Where a service may have written something.
type Places = Vec<(ProviderName, Arc<dyn Compute>)>;

/// Lines of one provider, or why there are none.
type Told = (ProviderName, Result<Vec<LogLine>, Fault>);

/// What `logs` answers.
pub(crate) async fn answer(context: &Context, args: &LogsArgs) -> Answered {
    let stack = context.stack("logs").await?;
    let answer = logs(context, &stack, args).await;
    stack.close(GRACE).await;
    answer
}

async fn logs(context: &Context, stack: &Stack, args: &LogsArgs) -> Answered {
    let places = places(stack, args)?;
    let told = ask(&places, &args.service, args.last).await;
    let mut answer = Answer::default();
    let mut kept = BTreeMap::new();
    let mut lines = Vec::new();
    for (provider, told) in told {
        match told {
            Ok(told) => {
                kept.insert(provider.clone(), told.clone());
                lines.extend(told.into_iter().map(|line| (provider.clone(), line)));
            }
            // Where it was not deployed, it wrote nothing.
            Err(fault) if fault.kind == FaultKind::Missing => {}
            Err(fault) => {
                answer.err.push_str(&format!("warning: {fault}\n"));
                let (provider, message) = (&fault.provider, fault.to_string());
                answer.warnings.push(json!({ "provider": provider, "message": message }));
            }
        }
    }
    in_order(&mut lines);
    let (json, colours) = (context.voice.json, context.voice.colours);
    if !args.follow {
        answer.out = lines.iter().map(|(p, one)| line(p, one, colours)).collect();
        let rows: Vec<Value> = lines.iter().map(|(p, one)| row(p, one)).collect();
        answer.result = json!({ "service": args.service, "lines": rows });
        return Ok(answer);
    }
    output::err(&answer.err);
    show(&lines, json, colours);
    let follow = async {
        loop {
            tokio::time::sleep(EVERY).await;
            let mut fresh = Vec::new();
            for (provider, told) in ask(&places, &args.service, PAGE).await {
                // A provider that does not answer now is asked again soon.
                let Ok(now) = told else { continue };
                let before = kept.insert(provider.clone(), now.clone()).unwrap_or_default();
                let new = now.into_iter().skip(overlap(&before, &kept[&provider]));
                fresh.extend(new.map(|line| (provider.clone(), line)));
            }
            in_order(&mut fresh);
            show(&fresh, json, colours);
        }
    };
    tokio::select! {
        () = follow => Ok(Answer::default()),
        () = shutdown::requested() => Ok(Answer { exit: 130, told: true, ..Answer::default() }),
    }
}

/// The providers to ask, most preferred first.
fn places(stack: &Stack, args: &LogsArgs) -> Result<Places, Box<Answer>> {
    let Some(service) = stack.config.services.get(&args.service) else {
        let what = format!("there is no service `{}`", args.service);
        return Answer::failed(2, &what, "`linkflow status` lists them");
    };
    let chosen = service.runs_on.iter().filter(|p| args.on.as_ref().is_none_or(|on| on == *p));
    let found = chosen.filter_map(|p| Some((p.clone(), Arc::clone(stack.computes.get(p)?))));
    let found: Vec<_> = found.collect();
    if let (true, Some(on)) = (found.is_empty(), &args.on) {
        let cascade: Vec<&str> = service.runs_on.iter().map(ProviderName::as_str).collect();
        let what = format!("{} does not run on `{on}`", args.service);
        return Answer::failed(2, &what, &format!("it runs on {}", cascade.join(", ")));
    }
    Ok(found)
}

async fn ask(
    places: &[(ProviderName, Arc<dyn Compute>)],
    service: &ServiceName,
    last: usize,
) -> Vec<Told> {
    let each = places.iter().map(|(provider, compute)| async move {
        let call = || compute.logs(service, last);
        (provider.clone(), guarded(provider, "read logs", Patience::LOOK, call).await)
    });
    join_all(each).await
}

/// Puts lines in the order of their times. A line without one stays behind the line before it.
fn in_order(lines: &mut Vec<(ProviderName, LogLine)>) {
    let mut latest: BTreeMap<ProviderName, u64> = BTreeMap::new();
    let mut timed: Vec<(u64, (ProviderName, LogLine))> = Vec::new();
    for (provider, line) in lines.drain(..) {
        let held = latest.entry(provider.clone()).or_default();
        *held = line.at.map_or(*held, |at| at.0);
        timed.push((*held, (provider, line)));
    }
    timed.sort_by_key(|(at, _)| *at);
    lines.extend(timed.into_iter().map(|(_, line)| line));
}

/// How many of `now`'s first lines were in `before` already: the longest end of one that is a beginning of the other.
fn overlap(before: &[LogLine], now: &[LogLine]) -> usize {
    let most = before.len().min(now.len());
    let whole = |count: &usize| before[before.len() - count..] == now[..*count];
    // What was shown first may have been fewer lines than are asked for later.
    let within = (0..now.len().saturating_sub(before.len()) + 1)
        .rev()
        .find(|from| !before.is_empty() && now[*from..].starts_with(before));
    match within {
        Some(from) => from + before.len(),
        None => (1..=most).rev().find(whole).unwrap_or(0),
    }
}

fn show(lines: &[(ProviderName, LogLine)], json: bool, colours: bool) {
    for (provider, one) in lines {
        if json {
            output::out(&format!("{}\n", row(provider, one)));
        } else {
            output::out(&line(provider, one, colours));
        }
    }
}

fn row(provider: &ProviderName, line: &LogLine) -> Value {
    json!({ "provider": provider, "at": line.at, "text": line.text })
}

fn line(provider: &ProviderName, line: &LogLine, colours: bool) -> String {
    let at = line.at.map(|at| format!("{}  ", local(at))).unwrap_or_default();
    let at = Tone::Faint.paint(&at, colours);
    format!("{at}{}  {}\n", Tone::Strong.paint(provider.as_str(), colours), line.text)
}

#[cfg(test)]
mod tests {
    use linkflow_model::Timestamp;

    use super::*;

    fn lines(texts: &str) -> Vec<LogLine> {
        texts.chars().map(|c| LogLine { at: None, text: c.to_string() }).collect()
    }

    #[test]
    fn only_lines_that_were_not_shown_before_are_new() {
        for (before, now, shown) in [
            ("abc", "bcde", 2),
            ("abc", "abc", 3),
            ("bc", "abcd", 3),
            ("", "ab", 0),
            ("abc", "xyz", 0),
            ("aab", "abab", 2),
            ("abc", "", 0),
        ] {
            assert_eq!(overlap(&lines(before), &lines(now)), shown, "{before} {now}");
        }
    }

    #[test]
    fn lines_of_several_placements_are_merged_by_their_times() {
        let one = |provider: &str, at: Option<u64>, text: &str| {
            let line = LogLine { at: at.map(Timestamp), text: text.to_owned() };
            (ProviderName::new(provider).unwrap(), line)
        };
        let mut all = vec![
            one("fly", Some(1), "a"),
            one("fly", None, "b"),
            one("fly", Some(9), "e"),
            one("koyeb", Some(2), "c"),
            one("koyeb", Some(3), "d"),
        ];
        in_order(&mut all);
        let texts: String = all.into_iter().map(|(_, line)| line.text).collect();
        assert_eq!(texts, "abcde");
    }
}
