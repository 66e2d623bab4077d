//! What was used of the plan today: requests to Workers, and writes of values.
//!
//! One query of the GraphQL Analytics API tells both
//! (developers.cloudflare.com/analytics/graphql-api/tutorials/querying-workers-metrics,
//! developers.cloudflare.com/kv/observability/metrics-analytics). Its numbers are sampled, and some minutes late. Both
//! allowances belong to the account: other people's Workers use them up as well, so all of them are counted, and ours is
//! told apart. No API tells which plan an account is on; the limits are those of the free one.

use linkflow_model::role::Usage;
use linkflow_model::{Fault, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::CloudflareFront;
use crate::account::cloudflare::ZoneRow;
use crate::kit::graphql::Operation;

/// Requests to Workers a day on the free plan (developers.cloudflare.com/workers/platform/limits#daily-request).
const REQUESTS_A_DAY: f64 = 100_000.0;

/// Writes of values a day on the free plan (developers.cloudflare.com/kv/platform/limits).
const WRITES_A_DAY: f64 = 1_000.0;

/// Allowances begin anew at midnight UTC.
const DAY_MS: u64 = 86_400_000;

#[derive(Deserialize)]
struct Told {
    viewer: Viewer,
}

#[derive(Deserialize)]
struct Viewer {
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    workers_invocations_adaptive: Vec<Row>,
    kv_operations_adaptive_groups: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    sum: Sum,
    dimensions: Dimensions,
}

#[derive(Deserialize)]
struct Sum {
    requests: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimensions {
    #[serde(default)]
    script_name: String,
}

impl CloudflareFront {
    pub(super) async fn used(&self, row: &ZoneRow) -> Result<Vec<Usage>, Fault> {
        let now = self.clock.wall();
        let operation = Operation {
            action: "tell what was used of",
            about: &row.name,
            text: &query(now),
            variables: json!({ "account": self.api.account(row) }),
        };
        let told: Told = self.api.query(operation).await?;
        let accounts = &told.viewer.accounts;
        let requests = || accounts.iter().flat_map(|account| &account.workers_invocations_adaptive);
        let own = requests().filter(|row| row.dimensions.script_name == self.worker);
        let writes = accounts.iter().flat_map(|account| &account.kv_operations_adaptive_groups);
        let resets = Timestamp((now.0 / DAY_MS + 1) * DAY_MS);
        let usage = |what: &str, used: f64, limit: Option<f64>| Usage {
            what: what.to_owned(),
            used,
            limit,
            unit: String::new(),
            resets: Some(resets),
        };
        Ok(vec![
            usage("worker_requests", sum(requests()), Some(REQUESTS_A_DAY)),
            usage("worker_requests_of_this_stack", sum(own), None),
            usage("kv_writes", sum(writes), Some(WRITES_A_DAY)),
        ])
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 requests in a day")]
fn sum<'a>(rows: impl Iterator<Item = &'a Row>) -> f64 {
    rows.map(|row| row.sum.requests).sum::<u64>() as f64
}

/// Asks for what was used since midnight. Times stand in the text, as the documentation gives variables for them two types.
fn query(now: Timestamp) -> String {
    let text = |at: u64| {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::MAX).to_string()
    };
    let (from, to) = (text(now.0 / DAY_MS * DAY_MS), text(now.0));
    let day = from.split('T').next().unwrap_or_default();
    format!(
        r#"query Used($account: string) {{
  viewer {{
    accounts(filter: {{ accountTag: $account }}) {{
      workersInvocationsAdaptive(limit: 10000, filter: {{ datetime_geq: "{from}", datetime_leq: "{to}" }}) {{
        sum {{ requests }}
        dimensions {{ scriptName }}
      }}
      kvOperationsAdaptiveGroups(limit: 10000, filter: {{ date_geq: "{day}", date_leq: "{day}", actionType: "write" }}) {{
        sum {{ requests }}
        dimensions {{ actionType }}
      }}
    }}
  }}
}}"#
    )
}
