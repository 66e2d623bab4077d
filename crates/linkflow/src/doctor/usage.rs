//! What was used of each plan, in words.

use linkflow_engine::{Patience, guarded};
use linkflow_model::Fault;
use linkflow_model::catalogue::{AtEnd, Entry, PlanFacts};
use linkflow_model::config::{Provider, kinds};
use linkflow_model::role::{ComputeLook, Usage};

/// From which share on an allowance is told as nearly used up, in percent.
const MUCH: f64 = 80.0;

/// What `compute` says was used; `None` where it has no API for that.
pub(crate) async fn ask(compute: &dyn ComputeLook) -> Option<Result<Vec<Usage>, Fault>> {
    if !compute.capabilities().usage {
        return None;
    }
    Some(guarded(compute.name(), "tell its usage", Patience::LOOK, || compute.usage()).await)
}

/// How much of its allowance was used, in percent; `None` where there is no end to it.
pub(crate) fn share(usage: &Usage) -> Option<f64> {
    usage.limit.filter(|limit| *limit > 0.0).map(|limit| usage.used / limit * 100.0)
}

/// Whether little is left.
pub(crate) fn is_much(usage: &Usage) -> bool {
    share(usage).is_some_and(|share| share > MUCH)
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
        let end = match plan.at_end {
            AtEnd::Reject => "more is refused, what runs goes on",
            AtEnd::Throttle => "everything becomes slow",
            AtEnd::Suspend => "what runs is stopped until the next period",
            AtEnd::Bill => "it goes on and costs money",
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
    fn four_fifths_of_an_allowance_are_not_much_yet_and_no_limit_is_never() {
        let usage = |used, limit| Usage {
            what: "requests".to_owned(),
            used,
            limit,
            unit: String::new(),
            resets: None,
        };
        assert!(!is_much(&usage(80.0, Some(100.0))));
        assert!(is_much(&usage(81.0, Some(100.0))));
        assert!(!is_much(&usage(81.0, Some(0.0))) && !is_much(&usage(81.0, None)));
    }
}
