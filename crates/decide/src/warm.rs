//! What it costs to keep services awake on providers that would put them to sleep.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use linkflow_model::catalogue::{AtEnd, Limit, Per, PlanFacts};
use linkflow_model::{Finding, ProviderName, ServiceKind, ServiceSpec};

/// Hours of the longest month.
const MONTH: u32 = 31 * 24;

/// One finding for each provider of `sleepers`, those that put idle services to sleep, on which services are kept warm.
///
/// It says how many hours of instances that takes in a month, and how many its plan has, where that is known.
pub fn warmth(
    services: &[ServiceSpec],
    sleepers: &BTreeMap<ProviderName, Option<PlanFacts>>,
) -> Vec<Finding> {
    let cost = |(provider, plan): (&ProviderName, &Option<PlanFacts>)| {
        let kept = services.iter().filter(|spec| {
            spec.keep_warm && spec.kind == ServiceKind::Web && spec.rank(provider).is_some()
        });
        let (mut names, mut instances): (Vec<&str>, u32) = (Vec::new(), 0);
        for spec in kept {
            names.push(spec.name.as_str());
            instances += spec.replicas.max(1);
        }
        let hours = instances * MONTH;
        if hours == 0 {
            return None;
        }
        let (has, is_over) = match plan {
            Some(plan) => allowed(plan, hours),
            None => ("and it is not known how many its plan has".to_owned(), false),
        };
        let help =
            if is_over { "keep fewer services warm there: a cold start is no outage" } else { "" };
        Some(Finding {
            forbids: false,
            service: None,
            provider: Some(provider.clone()),
            what: format!(
                "`keep_warm` lets {} never sleep on {provider}: {hours} instance hours in a month of 31 days, {has}",
                names.join(", ")
            ),
            help: help.to_owned(),
        })
    };
    sleepers.iter().filter_map(cost).collect()
}

/// What `plan` has of instance hours, in words, and whether `hours` are more.
fn allowed(plan: &PlanFacts, hours: u32) -> (String, bool) {
    let hourly = |limit: &&Limit| limit.metric == "instance_hours" && limit.per == Per::Month;
    let Some(limit) = plan.limits.iter().find(hourly) else {
        let said = match plan.at_end {
            AtEnd::Bill => "and each of them costs",
            AtEnd::Reject | AtEnd::Throttle | AtEnd::Suspend => "which its plan does not count",
        };
        return (said.to_owned(), false);
    };
    let end = match plan.at_end {
        AtEnd::Reject => "then more is refused",
        AtEnd::Throttle => "then it becomes slow",
        AtEnd::Suspend => "then all that runs there is stopped until the next one",
        AtEnd::Bill => "then it costs",
    };
    let has = format!("and `{}` has {} for each {}; {end}", plan.id, limit.amount, limit.scope);
    (has, f64::from(hours) > limit.amount)
}

#[cfg(test)]
mod tests {
    use linkflow_model::Moment;
    use linkflow_model::catalogue::Catalogue;

    use super::*;
    use crate::stage::read;

    #[track_caller]
    fn check(kept: &[&str], kind: &str, plan: &str, expected: &[&str]) {
        let (mut specs, _) = read("web api: render=up@0\nweb docs: render=up@0", Moment(0));
        for spec in &mut specs {
            spec.keep_warm = kept.contains(&spec.name.as_str());
        }
        let catalogue = Catalogue::embedded().unwrap();
        let facts = catalogue.of(kind).unwrap().plan(Some(plan)).cloned();
        let sleepers = BTreeMap::from([("render".parse().unwrap(), facts)]);
        let found: Vec<String> =
            warmth(&specs, &sleepers).into_iter().map(|f| f.what + "|" + &f.help).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn its_cost_stands_beside_what_the_plan_has() {
        check(&[], "render", "free", &[]);
        check(
            &["api"],
            "render",
            "free",
            &[
                "`keep_warm` lets api never sleep on render: 744 instance hours in a month of 31 days, \
               and `free` has 750 for each workspace; then all that runs there is stopped until the next one|",
            ],
        );
        check(
            &["api", "docs"],
            "render",
            "free",
            &[
                "`keep_warm` lets api, docs never sleep on render: 1488 instance hours in a month of 31 days, \
               and `free` has 750 for each workspace; then all that runs there is stopped until the next one\
               |keep fewer services warm there: a cold start is no outage",
            ],
        );
    }

    #[test]
    fn where_hours_are_paid_for_that_is_said() {
        check(
            &["api"],
            "fly",
            "pay-as-you-go",
            &[
                "`keep_warm` lets api never sleep on render: 744 instance hours in a month of 31 days, and each of them costs|",
            ],
        );
    }
}
