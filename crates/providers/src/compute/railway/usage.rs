//! What was used since the billing period began.

use linkflow_model::Fault;
use linkflow_model::role::Usage;
use serde::Deserialize;
use serde_json::json;

use super::Railway;
use crate::kit::graphql::Operation;
use super::wire::USAGE;

/// What is asked for, our word for it, its unit, and how much of that unit one of Railway's is (docs:
/// reference/pricing: vCPU minutes, GB minutes, GB of egress).
const MEASURED: [(&str, &str, &str, f64); 4] = [
    ("CPU_USAGE", "vcpu_seconds", "s", 60.0),
    ("MEMORY_USAGE_GB", "gb_seconds", "s", 60.0),
    ("NETWORK_TX_GB", "egress", "B", 1e9),
    ("DISK_USAGE_GB", "disk_gb_seconds", "s", 60.0),
];

#[derive(Deserialize)]
struct UsageAnswer {
    usage: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    measurement: String,
    value: f64,
}

impl Railway {
    /// What the project used. Railway sells by use: there is a limit in dollars, and none for each of these.
    pub(super) async fn used(&self) -> Result<Vec<Usage>, Fault> {
        let Some(scope) = self.scope().await? else { return Ok(Vec::new()) };
        let answer: UsageAnswer = self
            .query(Operation {
                action: "read the usage of",
                about: "the project",
                text: USAGE,
                variables: json!({
                    "project": scope.project,
                    "measurements": MEASURED.map(|(name, ..)| name),
                }),
            })
            .await?;
        let told = |(name, what, unit, times): (&str, &str, &str, f64)| {
            let row = answer.usage.iter().find(|row| row.measurement == name)?;
            Some(Usage {
                what: what.to_owned(),
                used: row.value * times,
                limit: None,
                unit: unit.to_owned(),
                resets: None,
            })
        };
        Ok(MEASURED.into_iter().filter_map(told).collect())
    }
}
