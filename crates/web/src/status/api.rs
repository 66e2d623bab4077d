//! The page as JSON, in the shape that Statuspage made common: `/api/v2/…`.

use linkflow_model::monitor::Condition;
use linkflow_model::{Impact, Incident, IncidentStage, Maintenance, Timestamp};
use serde_json::{Value, json};

use super::markdown;
use super::page::{Component, Page};
use super::time::utc;
use super::uptime::WINDOWS;
use super::words::Words;

/// How many incidents and works the lists hold.
const MOST: usize = 50;

/// The files below `api/v2/`, by name.
pub(super) fn files(page: &Page) -> Vec<(&'static str, Value)> {
    let about = about(page);
    let status = status(page);
    let components = components(page);
    let incident = |one: &Incident| incident(page, one);
    let work = |one: &Maintenance| work(page, one);
    let incidents: Vec<Value> = page.incidents.iter().take(MOST).map(incident).collect();
    let open: Vec<Value> = page.open().map(incident).collect();
    let all_work: Vec<Value> = page.maintenance.iter().take(MOST).map(work).collect();
    let ahead: Vec<Value> = page.under_way().chain(page.to_come()).map(work).collect();
    let summary = json!({
        "page": about, "components": components, "incidents": open,
        "scheduled_maintenances": ahead, "status": status,
    });
    vec![
        ("summary.json", summary),
        ("status.json", json!({ "page": about, "status": status })),
        ("components.json", json!({ "page": about, "components": components })),
        ("incidents.json", json!({ "page": about, "incidents": incidents })),
        (
            "scheduled-maintenances.json",
            json!({ "page": about, "scheduled_maintenances": all_work }),
        ),
    ]
}

fn about(page: &Page) -> Value {
    json!({
        "id": page.host.as_deref().unwrap_or(&page.title),
        "name": page.title,
        "url": page.address(),
        "time_zone": page.zone_name,
        "updated_at": utc(page.now),
    })
}

fn status(page: &Page) -> Value {
    let banner = page.banner();
    let words = Words::of(page.languages.first().copied().unwrap_or(super::FALLBACK));
    let told = |days| {
        let together = page.uptime_of(&page.components, days)?;
        Some(json!({ "least": together.least.percent(), "mean": together.mean.percent() }))
    };
    json!({
        "indicator": banner.indicator.word(), "description": words.sentence(&banner, page),
        "uptime": windows(told),
    })
}

/// What `told` says of each span of time; `null` where nobody looked.
fn windows(told: impl Fn(i64) -> Option<Value>) -> Value {
    let each = WINDOWS.iter().map(|(name, days)| ((*name).to_owned(), json!(told(*days))));
    Value::Object(each.collect())
}

/// The components, each group a component of its own before those in it.
fn components(page: &Page) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for one in &page.components {
        let group = one.group.as_deref();
        if let Some(name) = group.filter(|name| !seen.contains(name)) {
            seen.push(name);
            let members: Vec<&Component> =
                page.components.iter().filter(|c| c.group.as_deref() == Some(name)).collect();
            let worst = members.iter().map(|c| page.condition(c)).max().unwrap_or_default();
            let mean = |days| {
                page.uptime_of(members.iter().copied(), days).map(|all| json!(all.mean.percent()))
            };
            out.push(json!({
                "uptime": windows(mean),
                "id": group_id(name), "name": name, "status": word(worst), "group": true,
                "group_id": null, "page_id": page.host, "position": out.len() + 1,
                "components": members.iter().map(|c| &c.id).collect::<Vec<_>>(),
                "description": null, "showcase": false, "only_show_if_degraded": false,
            }));
        }
        let mut value = component(page, one);
        value["position"] = json!(out.len() + 1);
        out.push(value);
    }
    out
}

fn component(page: &Page, one: &Component) -> Value {
    let condition = page.condition(one);
    let since = one.stretches.last().map(|stretch| utc(stretch.from));
    let first = one.stretches.first().map(|stretch| utc(stretch.from));
    json!({
        "id": one.id, "name": one.name, "status": word(condition), "condition": condition,
        "created_at": first, "updated_at": since, "position": 0, "description": null,
        "showcase": true, "start_date": null, "group_id": one.group.as_deref().map(group_id),
        "page_id": page.host, "group": false, "only_show_if_degraded": false,
        "uptime": windows(|days| page.uptime(one, days).map(|share| json!(share.percent()))),
    })
}

fn group_id(name: &str) -> String {
    format!("group-{}", super::gather::slug(name))
}

/// The word that clients know. They know none for unknown: it is told as less than operational.
fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Up => "operational",
        Condition::Maintenance => "under_maintenance",
        Condition::Unknown | Condition::Degraded => "degraded_performance",
        Condition::Partial => "partial_outage",
        Condition::Down => "major_outage",
    }
}

fn stage(stage: IncidentStage) -> &'static str {
    match stage {
        IncidentStage::Investigating => "investigating",
        IncidentStage::Identified => "identified",
        IncidentStage::Monitoring => "monitoring",
        IncidentStage::Resolved => "resolved",
        IncidentStage::Postmortem => "postmortem",
    }
}

fn impact(impact: Impact) -> &'static str {
    match impact {
        Impact::None => "none",
        Impact::Minor => "minor",
        Impact::Major => "major",
        Impact::Critical => "critical",
    }
}

fn incident(page: &Page, one: &Incident) -> Value {
    let first = |wanted| one.updates.iter().find(|u| u.stage == wanted).map(|u| utc(u.at));
    let updates = one.updates.iter().enumerate().rev();
    let last = one.updates.last().map_or(one.began, |update| update.at);
    let updates: Vec<Value> = updates
        .map(|(n, update)| {
            said(one.id.as_str(), n, update.at, update.written, stage(update.stage), &update.text)
        })
        .collect();
    json!({
        "id": one.id, "name": one.title, "status": stage(one.stage), "impact": impact(one.impact),
        "created_at": utc(one.began), "started_at": utc(one.began), "updated_at": utc(last),
        "monitoring_at": first(IncidentStage::Monitoring), "resolved_at": one.ended.map(utc),
        "shortlink": page.address().map(|to| format!("{to}/incident/{}.html", one.id)),
        "page_id": page.host, "incident_updates": updates, "components": affected(page, &one.subjects),
    })
}

fn said(
    incident: &str,
    n: usize,
    at: Timestamp,
    written: Option<Timestamp>,
    status: &str,
    text: &str,
) -> Value {
    let written = utc(written.unwrap_or(at));
    json!({
        "id": format!("{incident}-{}", n + 1), "incident_id": incident, "status": status,
        "body": markdown::plain(text), "display_at": utc(at), "created_at": written,
        "updated_at": written,
    })
}

fn work(page: &Page, one: &Maintenance) -> Value {
    let status = match (one.cancelled, page.now) {
        (true, _) => "completed",
        (_, now) if now < one.from => "scheduled",
        (_, now) if now < one.to => "in_progress",
        _ => "completed",
    };
    json!({
        "id": one.id, "name": one.title, "status": status, "impact": "maintenance",
        "cancelled": one.cancelled, "created_at": utc(one.changed), "updated_at": utc(one.changed),
        "scheduled_for": utc(one.from), "scheduled_until": utc(one.to),
        "shortlink": page.address().map(|to| format!("{to}/maintenance/{}.html", one.id)),
        "page_id": page.host,
        "incident_updates": [said(&one.id, 0, one.changed, None, status, &one.text)],
        "components": affected(page, &one.subjects),
    })
}

fn affected(page: &Page, subjects: &[String]) -> Vec<Value> {
    page.affected(subjects).into_iter().map(|one| component(page, one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::draw::ALL;

    #[test]
    fn only_what_works_is_operational() {
        let operational = ALL.into_iter().filter(|condition| word(*condition) == "operational");
        assert_eq!(operational.collect::<Vec<_>>(), [Condition::Up]);
    }
}
