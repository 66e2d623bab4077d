//! What a Railway account has beside services: names of the customer's own domain, and the usage.
//!
//! There is no DNS in a rehearsal: a name counts as pointed here a moment after it was asked for.

use serde_json::{Map, Value, json};

use super::super::graphql::Found;
use super::Railway;
use super::query::Node;

/// How long records take to be seen, and a certificate to be given out, in milliseconds.
const TAKES_MS: u64 = 300;

/// What a small process uses: of a vCPU, and in GB.
const VCPU: f64 = 0.05;
const MEMORY_GB: f64 = 0.1;

impl Railway {
    /// A custom domain's row as it stands now.
    pub(super) fn custom_domain(&self, mut row: Value) -> Value {
        let domain = row["domain"].as_str().unwrap_or_default().to_owned();
        let (label, zone) = domain.split_once('.').unwrap_or((&domain, ""));
        let age = self.site.clock.wall().0.saturating_sub(row["asked"].as_u64().unwrap_or(0));
        let is_seen = age >= TAKES_MS;
        let target = row["target"].clone();
        let (certificate, record) = match is_seen {
            true => ("CERTIFICATE_STATUS_TYPE_VALID", "DNS_RECORD_STATUS_PROPAGATED"),
            false => (
                "CERTIFICATE_STATUS_TYPE_VALIDATING_OWNERSHIP",
                "DNS_RECORD_STATUS_REQUIRES_UPDATE",
            ),
        };
        row["status"] = json!({
            "verified": is_seen,
            "verificationDnsHost": format!("_railway-verify.{domain}"),
            "verificationToken": row["verificationToken"],
            "certificateStatus": certificate,
            "dnsRecords": [{
                "currentValue": if is_seen { target.clone() } else { json!("") },
                "requiredValue": target, "fqdn": domain, "hostlabel": label, "zone": zone,
                "purpose": "DNS_RECORD_PURPOSE_TRAFFIC_ROUTE", "recordType": "DNS_RECORD_TYPE_CNAME",
                "status": record,
            }],
        });
        row
    }

    /// What was used since the project was made: it grows with each minute that a replica runs.
    pub(super) fn usage(&self, name: &str, arguments: &Map<String, Value>) -> Found<Node> {
        let stock = self.stock();
        let living = stock.deployments.iter().flat_map(|deployment| deployment.processes());
        let minutes: f64 = living
            .filter(|(_, process)| process.status().pid.is_some())
            .map(|_| f64::from(u32::try_from(self.minutes_up()).unwrap_or(u32::MAX)))
            .sum();
        let value = |measurement: &str| match measurement {
            "CPU_USAGE" | "CPU_USAGE_2" => minutes * VCPU,
            "MEMORY_USAGE_GB" => minutes * MEMORY_GB,
            _ => 0.0,
        };
        let asked = arguments.get("measurements").and_then(Value::as_array).into_iter().flatten();
        let rows = asked.filter_map(Value::as_str).map(|measurement| {
            let field = if name == "usage" { "value" } else { "estimatedValue" };
            Node::Row(json!({
                "measurement": measurement, field: value(measurement), "projectId": stock.project,
            }))
        });
        Found::Many(rows.collect())
    }

    /// Minutes since the cloud started, begun ones counted whole.
    fn minutes_up(&self) -> u64 {
        self.site.clock.now().0 / 60_000 + 1
    }
}
