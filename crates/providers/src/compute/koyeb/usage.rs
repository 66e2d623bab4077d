//! What was used of the organization's plan.

use linkflow_model::Fault;
use linkflow_model::role::Usage;
use serde_json::Value;

use super::super::time::timestamp;
use super::definition::FREE;
use super::wire::{Instance, LIVING, OrganizationAnswer, Service};
use super::{Koyeb, rfc3339};
use crate::kit::{Call, encode};

/// How far back the period of now may have begun, in milliseconds.
const MONTH_MS: u64 = 31 * 24 * 3_600_000;

impl Koyeb {
    /// Hours of instances since the month began, services, and the free instance, with the plan's limits.
    pub(super) async fn used(&self) -> Result<Vec<Usage>, Fault> {
        let now = self.kit.clock().wall().0;
        let call = Call::read("read the usage of", "the organization", "/v1/usages")
            .query("starting_time", &rfc3339(now.saturating_sub(MONTH_MS)))
            .query("ending_time", &rfc3339(now));
        let answer: Value = self.send_for(call).await?;
        let quotas = self.quotas().await?;
        let services: Vec<Service> = self.list("services", "/v1/services", &[]).await?;
        let living: Vec<(&str, &str)> = LIVING.iter().map(|status| ("statuses", *status)).collect();
        let instances: Vec<Instance> = self.list("instances", "/v1/instances", &living).await?;
        let kept = services.iter().filter(|service| !service.is_going()).count();
        let free = instances.iter().filter(|instance| instance.kind == FREE).count();
        let counted = |what: &str, used: usize, limit: &Value| Usage {
            what: what.to_owned(),
            used: f64::from(u32::try_from(used).unwrap_or(u32::MAX)),
            limit: number(limit),
            unit: String::new(),
            resets: None,
        };
        let mut all: Vec<Usage> = hours(&answer["usage"]["periods"]).into_iter().collect();
        all.push(counted("services", kept, &quotas["services"]));
        all.push(counted("free_instances", free, &quotas["max_instances_by_type"][FREE]));
        Ok(all)
    }

    async fn quotas(&self) -> Result<Value, Fault> {
        let id = self.organization.get_or_try_init(|| async {
            let call = Call::read("read", "the organization", "/v1/account/organization");
            let answer: OrganizationAnswer = self.send_for(call).await?;
            Ok::<_, Fault>(answer.organization.id)
        });
        let id = id.await?;
        let path = format!("/v1/organizations/{}/quotas", encode(id));
        let mut answer: Value = self.send_for(Call::read("read the quotas of", id, path)).await?;
        Ok(answer["quotas"].take())
    }
}

/// The vendor writes 64-bit numbers as texts.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The hours of all instances in the newest period; periods are by month.
fn hours(periods: &Value) -> Option<Usage> {
    let begins = |period: &&Value| timestamp(period["starting_time"].as_str().unwrap_or_default());
    let newest = periods.as_object()?.values().max_by_key(begins)?;
    let rows = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let values = |value: &Value, key: &str| {
        let fields = value[key].as_object().into_iter().flatten();
        fields.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let services = rows(newest, "apps").into_iter().flat_map(|app| rows(&app, "services"));
    let regions = services.flat_map(|service| values(&service, "regions"));
    let instances = regions.flat_map(|region| values(&region, "instances"));
    let seconds: f64 = instances.filter_map(|kind| number(&kind["duration_seconds"])).sum();
    Some(Usage {
        what: "instance_hours".to_owned(),
        used: seconds / 3_600.0,
        limit: None,
        unit: "h".to_owned(),
        resets: newest["ending_time"].as_str().and_then(timestamp),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hours_of_the_newest_month_are_added_up() {
        let service = |seconds: u64| json!({ "regions": { "fra": { "instances": { "nano": { "duration_seconds": seconds } } } } });
        let period = |start: &str, end: &str, seconds: [u64; 2]| {
            json!({
                "starting_time": start, "ending_time": end, "apps": [{ "services": [service(seconds[0]), service(seconds[1])] }],
            })
        };
        let periods = json!({
            "a": period("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", [3_600, 1_800]),
            "b": period("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", [7_200, 7_200]),
        });
        let used = hours(&periods).unwrap();
        assert!((used.used - 1.5).abs() < 1e-9, "{used:?}");
        assert_eq!(used.resets, timestamp("2026-12-01T00:00:00Z"));
        assert_eq!(hours(&json!(null)), None);
    }
}
