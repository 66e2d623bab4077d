//! What was used of each plan, in words.

use linkflow_engine::{Patience, guarded};
use linkflow_model::Fault;
use linkflow_model::catalogue::{AtEnd, Entry, PlanFacts};
use linkflow_model::config::{Provider, kinds};
use linkflow_model::role::{CdnLook, ComputeLook, Usage};

use crate::say::time::day;

use super::{Chapter, State};

/// From which share on an allowance is told as nearly used up, in percent.
const MUCH: f64 = 80.0;

/// What `compute` says was used; `None` where it has no API for that.
pub(crate) async fn ask(compute: &dyn ComputeLook) -> Option<Result<Vec<Usage>, Fault>> {
    if !compute.capabilities().usage {
        return None;
    }
    Some(guarded(compute.name(), "tell its usage", Patience::LOOK, || compute.usage()).await)
}

/// What the provider in front of the edge says was used.
pub(crate) async fn ask_front(cdn: &dyn CdnLook) -> Result<Vec<Usage>, Fault> {
    guarded(cdn.name(), "tell its usage", Patience::LOOK, || cdn.usage()).await
}

/// How much of its allowance was used, in percent; `None` where there is no end to it.
pub(crate) fn share(usage: &Usage) -> Option<f64> {
    usage.limit.filter(|limit| *limit > 0.0).map(|limit| usage.used / limit * 100.0)
}

/// Whether little is left.
pub(crate) fn is_much(usage: &Usage) -> bool {
    share(usage).is_some_and(|share| share >= MUCH)
}

/// `81 % of worker requests are used, 81000 of 100000, anew on 2026-11-30`.
pub(crate) fn sentence(usage: &Usage) -> String {
    let share = share(usage).unwrap_or_default();
    let used = amount(usage.used, "");
    let limit = amount(usage.limit.unwrap_or_default(), &usage.unit);
    let resets = usage.resets.map(|at| format!(", anew on {}", day(at))).unwrap_or_default();
    format!("{share:.0} % of {} are used, {used} of {limit}{resets}", what(usage))
}

/// Says of each allowance how much was used. `help` is for those of which little is left.
pub(super) fn tell(rows: &[Usage], help: &str, chapter: &mut Chapter) {
    let (much, little): (Vec<&Usage>, Vec<&Usage>) = rows.iter().partition(|row| is_much(row));
    for row in much {
        chapter.add(State::Doubtful, sentence(row), help);
    }
    let one = |row: &&Usage| match share(row) {
        Some(share) => format!("{} {share:.0} %", what(row)),
        None => format!("{} {}", what(row), amount(row.used, &row.unit)),
    };
    let told: Vec<String> = little.iter().map(one).collect();
    if !told.is_empty() {
        chapter.well(format!("used: {}", told.join(", ")));
    }
}

/// `vcpu seconds`.
pub(crate) fn what(usage: &Usage) -> String {
    usage.what.replace('_', " ")
}

/// A number with its unit: `41.2 GB`, `750 h`, `3`.
pub(crate) fn amount(count: f64, unit: &str) -> String {
    const STEPS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    if unit == "B" {
        let (mut left, mut step) = (count, 0);
        while left >= 1_000.0 && step + 1 < STEPS.len() {
            left /= 1_000.0;
            step += 1;
        }
        return format!("{} {}", short(left), STEPS[step]);
    }
    let unit = if unit == "count" { "" } else { unit };
    format!("{} {unit}", short(count)).trim_end().to_owned()
}

/// Three digits of what is small, all of what is large, without zeros at the end.
fn short(number: f64) -> String {
    let digits = match number.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    // Some vendors round to a little less than nothing.
    let number = if number.abs() < 0.005 { 0.0 } else { number };
    let text = format!("{number:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The plans that the account may be on: the one that the config names, or all that are known.
pub(crate) fn plans<'a>(provider: &Provider, entry: &'a Entry) -> Vec<&'a PlanFacts> {
    let named = match &provider.settings {
        kinds::Settings::Railway(settings) => Some(match settings.plan {
            kinds::RailwayPlan::Free => "free",
            kinds::RailwayPlan::Hobby => "hobby",
            kinds::RailwayPlan::Pro => "pro",
        }),
        _ => None,
    };
    let named = named.and_then(|id| entry.plan(Some(id)));
    named.map_or_else(|| entry.plans.iter().collect(), |plan| vec![plan])
}

/// What happens when an allowance of one of `plans` is used up; `None` where nothing is known of them.
pub(crate) fn at_end(plans: &[&PlanFacts]) -> Option<String> {
    let one = |plan: &&PlanFacts| {
        let end = match (&plan.end, plan.at_end) {
            (Some(end), _) => end,
            (None, AtEnd::Reject) => "more is refused, what runs goes on",
            (None, AtEnd::Throttle) => "everything becomes slow",
            (None, AtEnd::Suspend) => "what runs is stopped until the next period",
            (None, AtEnd::Bill) => "it goes on and costs money",
        };
        let sure = if plan.confirmed { "" } else { " (not confirmed)" };
        format!("{}: {end}{sure}", plan.name)
    };
    let told: Vec<String> = plans.iter().map(one).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let said = |count, unit| amount(count, unit);
        assert_eq!(said(41_234_567_890.0, "B"), "41.2 GB");
        assert_eq!(said(512.0, "B"), "512 B");
        assert_eq!(said(149_400.0, "s"), "149400 s");
        assert_eq!(said(2.5, "USD"), "2.5 USD");
        assert_eq!(said(3.0, "count"), "3");
        assert_eq!(said(-0.0, "h"), "0 h");
        assert_eq!(said(-0.001, "h"), "0 h");
    }

    #[test]
    fn four_fifths_of_an_allowance_are_much_and_without_a_limit_nothing_is() {
        let usage = |used, limit| Usage {
            what: "requests".to_owned(),
            used,
            limit,
            unit: String::new(),
            resets: None,
        };
        assert!(!is_much(&usage(79.9, Some(100.0))));
        assert!(is_much(&usage(80.0, Some(100.0))));
        assert!(!is_much(&usage(81.0, Some(0.0))) && !is_much(&usage(81.0, None)));
    }
}
