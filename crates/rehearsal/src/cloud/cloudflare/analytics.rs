//! The GraphQL Analytics API: how often scripts were asked, and how often values were read and written.
//!
//! Facts: developers.cloudflare.com/analytics/graphql-api/tutorials/querying-workers-metrics (the dataset, its filter and
//! its answer, with `errors: null`); developers.cloudflare.com/kv/observability/metrics-analytics (that of values);
//! developers.cloudflare.com/analytics/graphql-api/errors (the form of refusals and their statuses) and …/limits (300
//! queries in 5 minutes). Rows come one for each script, as they do when a query asks for that dimension.

use std::collections::BTreeMap;

use linkflow_model::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Cloudflare, Refused, time};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::graphql::{self, Found, Request, Resolver, Schema};
use crate::cloud::limit::Rate;

/// 300 queries in 5 minutes.
const QUERIES: Rate = Rate { per_second: 1.0, burst: 300.0 };

/// The most rows that a query may ask for.
const MOST_ROWS: u64 = 10_000;

/// The part of the schema that is answered, in the form of [`Schema::read`].
const TABLE: &str = "
scalar string Time Date uint64
Query
  viewer viewer
viewer
  accounts(filter AccountFilter_InputObject) [account!]
input AccountFilter_InputObject
  accountTag string
input AccountWorkersInvocationsAdaptiveFilter_InputObject
  scriptName string
  datetime_geq Time
  datetime_leq Time
input AccountKvOperationsAdaptiveGroupsFilter_InputObject
  namespaceId string
  actionType string
  date_geq Date
  date_leq Date
account
  workersInvocationsAdaptive(limit uint64!, filter AccountWorkersInvocationsAdaptiveFilter_InputObject) [AccountWorkersInvocationsAdaptive!]!
  kvOperationsAdaptiveGroups(limit uint64!, filter AccountKvOperationsAdaptiveGroupsFilter_InputObject) [AccountKvOperationsAdaptiveGroups!]!
AccountWorkersInvocationsAdaptive
  sum AccountWorkersInvocationsAdaptiveSum
  dimensions AccountWorkersInvocationsAdaptiveDimensions
AccountWorkersInvocationsAdaptiveSum
  requests uint64!
  subrequests uint64!
  errors uint64!
AccountWorkersInvocationsAdaptiveDimensions
  scriptName string!
AccountKvOperationsAdaptiveGroups
  sum AccountKvOperationsAdaptiveGroupsSum
  dimensions AccountKvOperationsAdaptiveGroupsDimensions
AccountKvOperationsAdaptiveGroupsSum
  requests uint64!
AccountKvOperationsAdaptiveGroupsDimensions
  actionType string!
  date Date!
";

/// What visitors did, as a test tells it.
#[derive(Default)]
pub(super) struct Counted {
    /// Requests that a script answered, each with the moment.
    requests: Vec<(Timestamp, String, u64)>,
}

/// What `PUT /v1/cloudflare` of the control API tells.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Told {
    /// Requests that scripts answer now, by the name of the script.
    worker_requests: BTreeMap<String, u64>,
    /// How many values were written today.
    value_writes: Option<u32>,
    /// What the token may not any more.
    lacks: Option<Vec<Right>>,
}

/// What a token may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Right {
    /// Records.
    Dns,
    /// Settings of the zone.
    Settings,
    /// Bot management.
    Bots,
    /// Rules but those of caching.
    Firewall,
    /// Rules of caching.
    Cache,
    /// Routes of workers.
    Routes,
    /// Scripts.
    Scripts,
    /// Values.
    Values,
    /// Tunnels.
    Tunnels,
    /// Analytics of the account.
    Analytics,
}

impl Right {
    /// What a call to the path of `parts` takes.
    pub(super) fn of(parts: &[&str]) -> Option<Self> {
        Some(match parts {
            ["graphql"] => Self::Analytics,
            ["zones", _, "dns_records", ..] => Self::Dns,
            ["zones", _, "settings", ..] => Self::Settings,
            ["zones", _, "bot_management", ..] => Self::Bots,
            ["zones", _, "rulesets", "phases", "http_request_cache_settings", ..] => Self::Cache,
            ["zones", _, "rulesets", ..] => Self::Firewall,
            ["zones", _, "workers", "routes", ..] => Self::Routes,
            ["accounts", _, "workers", "scripts", ..] => Self::Scripts,
            ["accounts", _, "storage", ..] => Self::Values,
            ["accounts", _, "cfd_tunnel", ..] => Self::Tunnels,
            _ => return None,
        })
    }
}

/// A refusal, as this API says it.
pub(super) fn refusal(status: u16, message: &str, now: Timestamp) -> Refused {
    let error =
        json!({ "message": message, "path": null, "extensions": { "timestamp": time(now) } });
    Answer::json(status, &json!({ "data": null, "errors": [error] }))
}

const NOT_YOURS: &str = "not authorized for that account";

/// What whoever may not see the account's analytics is told.
pub(super) fn not_yours(now: Timestamp) -> Refused {
    refusal(403, NOT_YOURS, now)
}

/// One object.
enum Node {
    Query,
    Viewer,
    Account,
    /// Anything that is just its fields.
    Row(Value),
}

impl Cloudflare {
    /// Takes what a test tells of the account.
    pub(crate) fn take(&self, told: Told) {
        let now = self.now();
        let mut state = self.state();
        let requests = told.worker_requests.into_iter();
        state.counted.requests.extend(requests.map(|(script, count)| (now, script, count)));
        if let Some(writes) = told.value_writes {
            state.written = (now.0 / 86_400_000, writes);
        }
        if let Some(lacks) = told.lacks {
            state.lacks = lacks;
        }
    }

    pub(super) fn of_analytics(&self, call: &Call) -> Result<Answer, Refused> {
        let refused = |status, message: &str| refusal(status, message, self.now());
        if self.limits.take("graphql".to_owned(), QUERIES).is_err() {
            let message = "rate limiter budget depleted, try again after 5 minutes";
            return Err(refused(429, message));
        }
        let Some(Value::Object(mut body)) = call.json() else {
            return Err(refused(400, "error parsing args: the body is no JSON object"));
        };
        let query = body.get("query").and_then(Value::as_str).map(str::to_owned);
        let query = query.ok_or_else(|| refused(400, "error parsing args: there is no query"))?;
        let variables = match body.remove("variables") {
            Some(Value::Object(variables)) => variables,
            _ => Map::new(),
        };
        let operation = body.get("operationName").and_then(Value::as_str).map(str::to_owned);
        let request = Request { query, variables, operation };
        let roots = (Node::Query, Node::Query);
        let (_, mut answer) =
            graphql::answer(&Schema::read(TABLE), &Session(self), roots, &request);
        if let Some(wrong) = answer["errors"][0]["message"].as_str() {
            return Err(refused(if wrong == NOT_YOURS { 403 } else { 400 }, wrong));
        }
        answer["errors"] = Value::Null;
        Ok(Answer::json(200, &answer))
    }
}

/// One query.
struct Session<'a>(&'a Cloudflare);

impl Session<'_> {
    /// Requests in the time of `filter`, a row for each script.
    fn invocations(&self, filter: &Value) -> Result<Vec<Node>, String> {
        let (from, to) = (moment(filter, "datetime_geq")?, moment(filter, "datetime_leq")?);
        let script = filter["scriptName"].as_str();
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (at, name, count) in &self.0.state().counted.requests {
            let is_in = from.is_none_or(|from| *at >= from) && to.is_none_or(|to| *at <= to);
            if is_in && script.is_none_or(|script| script == name) {
                *sums.entry(name.clone()).or_default() += count;
            }
        }
        let row = |(script, requests): (String, u64)| {
            Node::Row(json!({
                "sum": { "requests": requests, "subrequests": requests, "errors": 0 },
                "dimensions": { "scriptName": script },
            }))
        };
        Ok(sums.into_iter().map(row).collect())
    }

    /// Writes on the days of `filter`, of which only the last one with a write is known.
    fn operations(&self, filter: &Value) -> Vec<Node> {
        let (day, writes) = self.0.state().written;
        let date = time(Timestamp(day * 86_400_000));
        let date = date.split('T').next().unwrap_or_default();
        let is_in = filter["date_geq"].as_str().is_none_or(|from| date >= from)
            && filter["date_leq"].as_str().is_none_or(|to| date <= to)
            && filter["actionType"].as_str().is_none_or(|kind| kind == "write");
        let row = json!({
            "sum": { "requests": writes },
            "dimensions": { "actionType": "write", "date": date },
        });
        if is_in && writes > 0 { vec![Node::Row(row)] } else { Vec::new() }
    }
}

/// A moment of a filter; the error is for the client.
fn moment(filter: &Value, name: &str) -> Result<Option<Timestamp>, String> {
    let Some(text) = filter[name].as_str() else { return Ok(None) };
    let at = text.parse::<jiff::Timestamp>().ok();
    let at = at.and_then(|at| u64::try_from(at.as_millisecond()).ok()).map(Timestamp);
    at.map(Some).ok_or_else(|| format!("error parsing args: {name} is no time"))
}

impl Resolver for Session<'_> {
    type Node = Node;

    fn field(
        &self,
        of: &Node,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<Found<Node>, String> {
        let filter = arguments.get("filter").cloned().unwrap_or_default();
        match (of, name) {
            (Node::Query, _) => Ok(Found::One(Node::Viewer)),
            (Node::Viewer, _) if filter["accountTag"] == self.0.account => {
                Ok(Found::Many(vec![Node::Account]))
            }
            (Node::Viewer, _) => Err(NOT_YOURS.to_owned()),
            (Node::Account, dataset) => {
                let limit = arguments.get("limit").and_then(Value::as_u64).unwrap_or_default();
                if limit == 0 || limit > MOST_ROWS {
                    let most = "limit must be positive number and not greater than";
                    return Err(format!("{most} {MOST_ROWS}"));
                }
                Ok(Found::Many(match dataset {
                    "workersInvocationsAdaptive" => self.invocations(&filter)?,
                    _ => self.operations(&filter),
                }))
            }
            (Node::Row(row), name) => Ok(match row.get(name) {
                Some(inner @ Value::Object(_)) => Found::One(Node::Row(inner.clone())),
                plain => Found::Plain(plain.cloned().unwrap_or_default()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_no_type_that_is_not_there() {
        assert_eq!(Schema::read(TABLE).faults(), Vec::<String>::new());
    }
}
