//! Cronitor: `cronitor.io/api` for one account.
//!
//! Facts: cronitor.io/docs/monitor-api and the package cronitor of PyPI (shapes, PUT by key, pages of 50, `passing`), and api-evangelist's
//! collection for what a plan allows. Its telemetry is not here.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Call};
use super::super::beside::{Beside, Ground};
use super::super::endpoints::WatcherEndpoint;
use super::super::trouble::Trouble;
use super::{Shelf, Watches, merge, page, unknown};

/// Monitors of the plan.
const MONITORS: usize = 100;

/// What a monitor may be told.
const FIELDS: [&str; 14] = [
    "key",
    "name",
    "type",
    "schedule",
    "timezone",
    "assertions",
    "notify",
    "realert_interval",
    "grace_seconds",
    "failure_tolerance",
    "paused",
    "tags",
    "request",
    "note",
];

/// The vendor.
pub(crate) struct Cronitor {
    ground: Ground,
    token: String,
    monitors: Shelf,
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::bytes(status, "text/plain", text.to_owned().into())
}

impl Cronitor {
    pub(crate) fn new(ground: Ground) -> Self {
        let token = ground.dice.hex(32);
        Self { ground, token, monitors: Shelf::default() }
    }

    fn list(&self, call: &Call) -> Answer {
        let number = |name: &str| call.parameter(name).and_then(|text| text.parse::<usize>().ok());
        let (at, size) = (number("page").unwrap_or(1), number("pageSize").unwrap_or(50).min(50));
        let rows = self.monitors.all();
        let count = rows.len();
        let rows = page(rows, at, size);
        Answer::json(
            200,
            &json!({ "monitors": rows, "page": at, "page_size": size, "count": count }),
        )
    }

    /// Whether a monitor can be as it is told.
    fn judge(body: &Value) -> Result<&Map<String, Value>, Answer> {
        let Some(body) = body.as_object() else { return Err(refused(400, "Invalid JSON")) };
        if let Some(name) = unknown(body, &FIELDS) {
            return Err(refused(400, &format!("{name}: unknown attribute")));
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("key").is_empty() {
            return Err(refused(400, "key: this field is required"));
        }
        let asks = body.get("request").is_some_and(|request| request["url"].is_string());
        match text("type") {
            "check" if !asks => Err(refused(400, "request: this field is required")),
            "check" | "heartbeat" if text("schedule").is_empty() => {
                Err(refused(400, "schedule: this field is required"))
            }
            "check" | "heartbeat" | "job" | "site" => Ok(body),
            _ => Err(refused(400, "type: not a valid choice")),
        }
    }

    fn make(&self, body: &Map<String, Value>) -> Result<Value, Answer> {
        if self.monitors.all().len() >= MONITORS {
            return Err(refused(400, "You have reached your limit of monitors, upgrade your plan"));
        }
        Ok(self.monitors.add(|_| {
            let mut row = json!({
                "key": "", "name": "", "type": "check", "notify": ["default"], "paused": false, "tags": [],
                "assertions": [], "group": null, "failure_tolerance": null, "realert_interval": "every 8 hours",
                "passing": true, "initialized": false,
            });
            merge(&mut row, body);
            row
        }))
    }

    fn create(&self, call: &Call) -> Result<Answer, Answer> {
        let body = call.json().unwrap_or_default();
        let body = Self::judge(&body)?;
        let key = body["key"].as_str().unwrap_or_default();
        if self.monitors.find("key", key).is_some() {
            return Err(refused(400, "key: a monitor with this key already exists"));
        }
        Ok(Answer::json(201, &self.make(body)?))
    }

    fn put(&self, call: &Call) -> Result<Answer, Answer> {
        let body = call.json().unwrap_or_default();
        let Some(rows) = body["monitors"].as_array() else {
            return Err(refused(400, "monitors: this field is required"));
        };
        let told: Result<Vec<_>, _> = rows.iter().map(Self::judge).collect();
        let mut after = Vec::new();
        for row in told? {
            let key = row["key"].as_str().unwrap_or_default();
            let held = self.monitors.change("key", key, |held| merge(held, row));
            after.push(match held {
                Some(held) => held,
                None => self.make(row)?,
            });
        }
        Ok(Answer::json(200, &json!({ "monitors": after })))
    }
}

impl Watches for Cronitor {
    fn endpoint(&self, api: String) -> WatcherEndpoint {
        WatcherEndpoint { api, token: self.token.clone(), page: None }
    }

    fn see(&self, name: &str, is_down: bool) -> bool {
        let change = |monitor: &mut Value| {
            monitor["passing"] = (!is_down).into();
            monitor["initialized"] = true.into();
        };
        self.monitors.change("name", name, change).is_some()
    }
}

impl Beside for Cronitor {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        let due = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:", self.token)));
        if call.header("authorization") != Some(due.as_str()) {
            return refused(403, "Invalid API key");
        }
        if self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota))
            && call.method != "GET"
        {
            return refused(400, "You have reached your limit of monitors, upgrade your plan");
        }
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["api", "monitors"]) => self.list(call),
            ("POST", ["api", "monitors"]) => self.create(call).unwrap_or_else(|refused| refused),
            ("PUT", ["api", "monitors"]) => self.put(call).unwrap_or_else(|refused| refused),
            ("GET", ["api", "monitors", key]) => match self.monitors.find("key", key) {
                Some(monitor) => Answer::json(200, &monitor),
                None => refused(404, "Not found"),
            },
            ("DELETE", ["api", "monitors", key]) => match self.monitors.remove("key", key) {
                true => Answer::empty(204),
                false => refused(404, "Not found"),
            },
            _ => refused(404, "Not found"),
        }
    }

    fn limited(&self) -> Answer {
        refused(429, "Too many requests").with("retry-after", "40")
    }
}
