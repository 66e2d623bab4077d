//! What is lost and what is gained when one provider takes another's place.

use linkflow_model::catalogue::{AtEnd, Entry, Limit, Per, PlanFacts};
use linkflow_model::role::{Capabilities, PrivateImages};
use linkflow_model::{ServiceKind, ServiceSpec};
use serde::Serialize;

/// What speaks of one difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    /// How much it matters.
    pub(crate) weight: Weight,
    /// In words.
    pub(crate) text: String,
}

/// How much a difference matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Weight {
    /// The service cannot run there.
    Stops,
    /// Something is lost.
    Loses,
    /// Something is gained.
    Gains,
    /// Good to know.
    Differs,
}

/// One side of the comparison.
pub(crate) struct Side<'a> {
    /// Its name in the config.
    pub(crate) name: &'a str,
    /// What its plan and API can do.
    pub(crate) can: &'a Capabilities,
    /// What is known of its kind.
    pub(crate) entry: Option<&'a Entry>,
}

/// Compares `new` with `old` for the `services` that are to move; `private` says whether an image of theirs needs a
/// login.
pub(crate) fn compare(
    old: &Side<'_>,
    new: &Side<'_>,
    services: &[&ServiceSpec],
    private: bool,
) -> Vec<Note> {
    let mut notes = stops(new, services);
    let mut note = |weight, text: String| notes.push(Note { weight, text });
    let name = new.name;
    match new.can.private_images {
        PrivateImages::Never if private => {
            note(
                Weight::Stops,
                format!("the images need a login, and {name} pulls public ones only"),
            );
        }
        PrivateImages::Copies if private => {
            note(Weight::Differs, format!("the images are copied to {name}'s own registry first"));
        }
        PrivateImages::Never | PrivateImages::Copies | PrivateImages::Pulls => {}
    }
    let mut ability = |what: &str, had: bool, has: bool| match (had, has) {
        (true, false) => note(Weight::Loses, format!("no {what}")),
        (false, true) => note(Weight::Gains, what.to_owned()),
        _ => {}
    };
    ability("one-off jobs, so migrations need another runner", old.can.jobs, new.can.jobs);
    ability("logs by API", old.can.logs, new.can.logs);
    ability("own domains at the provider", old.can.domains, new.can.domains);
    ability("usage by API", old.can.usage, new.can.usage);
    match (old.can.sleeps_after, new.can.sleeps_after) {
        (None, Some(seconds)) => {
            note(
                Weight::Loses,
                format!(
                    "an idle service is put to sleep after {} min; the next request wakes it",
                    seconds / 60
                ),
            );
        }
        (Some(_), None) => note(Weight::Gains, "idle services are not put to sleep".to_owned()),
        _ => {}
    }
    if old.can.region != new.can.region {
        let region =
            |can: &Capabilities| can.region.clone().unwrap_or_else(|| "not said".to_owned());
        note(Weight::Differs, format!("region {} -> {}", region(old.can), region(new.can)));
    }
    if old.can.platform != new.can.platform {
        note(Weight::Differs, format!("platform {} -> {}", old.can.platform, new.can.platform));
    }
    if let Some(hourly) = new.can.requests_per_hour {
        let deploys = hourly / new.can.requests_per_deploy.max(1);
        note(Weight::Differs, format!("{hourly} API requests an hour: about {deploys} deploys"));
    }
    notes.extend(plans(new));
    notes
}

/// What the services need and the new provider lacks.
fn stops(new: &Side<'_>, services: &[&ServiceSpec]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |weight, text: String| notes.push(Note { weight, text });
    let name = new.name;
    for spec in services {
        let service = &spec.name;
        if spec.kind == ServiceKind::Grpc && !new.can.grpc {
            note(
                Weight::Stops,
                format!("{service} speaks gRPC, which {name} does not pass through"),
            );
        }
        if spec.kind == ServiceKind::Worker && !new.can.workers {
            note(
                Weight::Stops,
                format!("{service} listens on nothing, and {name} runs no such services"),
            );
        }
        if !spec.keeps_standby_warm() && !new.can.scale_to_zero {
            note(
                Weight::Stops,
                format!(
                    "{service} waits stopped where it does not serve, and {name} cannot keep it so"
                ),
            );
        }
    }
    notes
}

/// What the plans of the new provider allow.
fn plans(new: &Side<'_>) -> Vec<Note> {
    let plans = new.entry.map(|entry| entry.plans.as_slice()).unwrap_or_default();
    plans.iter().map(|plan| Note { weight: Weight::Differs, text: plan_text(plan) }).collect()
}

/// `free: 0 USD a month; 750 instance hours a month for each workspace; …`, and below it where that is from.
pub(crate) fn plan_text(plan: &PlanFacts) -> String {
    let mut text = format!("{}: {} a month", plan.id, plan.price_month);
    for limit in &plan.limits {
        text.push_str("; ");
        text.push_str(&limit_text(limit));
    }
    let end = match plan.at_end {
        AtEnd::Reject => "then more is refused",
        AtEnd::Throttle => "then slow",
        AtEnd::Suspend => "then stopped until the next period",
        AtEnd::Bill => "then it costs",
    };
    let sure = if plan.confirmed { "" } else { ", not confirmed" };
    text.push_str(&format!("; {end}\n{}, read {}{sure}", plan.source, plan.checked));
    text
}

fn limit_text(limit: &Limit) -> String {
    let unit = limit.unit.as_deref().map(|unit| format!(" {unit} of")).unwrap_or_default();
    let period = match limit.per {
        Per::Second => " a second",
        Per::Minute => " a minute",
        Per::Hour => " an hour",
        Per::Day => " a day",
        Per::Month => " a month",
        Per::Total => "",
    };
    format!(
        "{}{unit} {}{period} for each {}",
        limit.amount,
        limit.metric.replace('_', " "),
        limit.scope
    )
}

#[cfg(test)]
mod tests {
    use linkflow_model::Size;
    use linkflow_model::catalogue::Catalogue;

    use super::*;

    fn spec(kind: ServiceKind) -> ServiceSpec {
        ServiceSpec {
            name: "api".parse().unwrap(),
            kind,
            image: "ghcr.io/acme/api:1".parse().unwrap(),
            runs_on: Vec::new(),
            exclusive: false,
            port: None,
            health: None,
            routes: Vec::new(),
            replicas: 1,
            size: Size::default(),
            command: None,
            migrate: None,
            needs: Vec::new(),
            start_within_ms: 1,
            idempotency_key: false,
            keep_warm: false,
            timeouts: Default::default(),
            concurrency: Default::default(),
        }
    }

    #[track_caller]
    fn check(old: &Capabilities, new: &Capabilities, kind: ServiceKind, expected: &[&str]) {
        let side = |can| Side { name: "render", can, entry: None };
        let notes = compare(&side(old), &side(new), &[&spec(kind)], true);
        let said: Vec<String> =
            notes.iter().map(|n| format!("{:?}: {}", n.weight, n.text)).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn what_a_service_needs_and_the_new_provider_lacks_stops_the_swap() {
        let all = Capabilities {
            workers: true,
            grpc: true,
            scale_to_zero: true,
            private_images: PrivateImages::Pulls,
            ..Capabilities::LEAST
        };
        let web = Capabilities { private_images: PrivateImages::Copies, ..Capabilities::LEAST };
        check(
            &all,
            &web,
            ServiceKind::Worker,
            &[
                "Stops: api listens on nothing, and render runs no such services",
                "Stops: api waits stopped where it does not serve, and render cannot keep it so",
                "Differs: the images are copied to render's own registry first",
            ],
        );
        check(&all, &all, ServiceKind::Grpc, &[]);
    }

    #[test]
    fn sleep_and_jobs_are_weighed() {
        let old = Capabilities {
            jobs: true,
            private_images: PrivateImages::Pulls,
            ..Capabilities::LEAST
        };
        let new = Capabilities { jobs: false, logs: true, sleeps_after: Some(900), ..old.clone() };
        check(
            &old,
            &new,
            ServiceKind::Web,
            &[
                "Loses: no one-off jobs, so migrations need another runner",
                "Gains: logs by API",
                "Loses: an idle service is put to sleep after 15 min; the next request wakes it",
            ],
        );
    }

    #[test]
    fn a_plan_is_told_with_its_limits_its_end_and_its_source() {
        let catalogue = Catalogue::embedded().unwrap();
        let plan = catalogue.of("render").unwrap().plan(None).unwrap();
        let text = plan_text(plan);
        assert!(
            text.starts_with("free: 0 USD a month; 750 instance hours a month for each workspace"),
            "{text}"
        );
        assert!(
            text.contains(
                "then stopped until the next period\nhttps://render.com/docs/free, read 2026-"
            ),
            "{text}"
        );
    }
}
