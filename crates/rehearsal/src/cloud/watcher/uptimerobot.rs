//! UptimeRobot: `api.uptimerobot.com/v3` for one account of a plan with 50 monitors.
//!
//! Facts: its own OpenAPI description of v3 (shapes, bounds, paging by cursor) and uptimerobot.com/api/v3 (twice as many
//! requests a minute as the plan has monitors, `X-RateLimit-*`, `Retry-After`). What it says with a refusal is not published.

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Call};
use super::super::beside::{Beside, Ground};
use super::super::endpoints::WatcherEndpoint;
use super::super::limit::{Limits, Rate};
use super::super::trouble::Trouble;
use super::{Shelf, Watches, merge, time, unknown};

/// Monitors of the plan.
const MONITORS: usize = 50;
/// Twice that a minute.
const REQUESTS: Rate = Rate { per_second: 100.0 / 60.0, burst: 100.0 };
/// The most monitors of a page. The vendor's is 200; a small one is met sooner.
const PAGE: usize = 10;
/// The shortest time between two looks.
const LEAST_EVERY: u64 = 60;

/// What a monitor may be told.
const FIELDS: [&str; 14] = [
    "friendlyName",
    "type",
    "url",
    "interval",
    "timeout",
    "port",
    "gracePeriod",
    "keywordType",
    "keywordCaseType",
    "keywordValue",
    "successHttpResponseCodes",
    "tagNames",
    "httpMethodType",
    "followRedirections",
];

/// The vendor.
pub(crate) struct Uptimerobot {
    ground: Ground,
    token: String,
    limits: Limits,
    monitors: Shelf,
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "message": text }))
}

impl Uptimerobot {
    pub(crate) fn new(ground: Ground) -> Self {
        let token = format!("u{}-{}", ground.dice.between(100_000, 999_999), ground.dice.hex(24));
        Self { ground, token, limits: Limits::default(), monitors: Shelf::default() }
    }

    fn list(&self, call: &Call) -> Answer {
        let most = call.parameter("limit").and_then(|text| text.parse().ok()).unwrap_or(50);
        if !(1..=200).contains(&most) {
            return refused(400, "limit must be between 1 and 200");
        }
        let after: u64 = call.parameter("cursor").and_then(|text| text.parse().ok()).unwrap_or(0);
        let rows = self.monitors.all().into_iter().filter(|row| row["id"].as_u64() > Some(after));
        let mut rows: Vec<Value> = rows.collect();
        let size = PAGE.min(most);
        let next = (rows.len() > size).then(|| {
            format!(
                "https://api.uptimerobot.com/v3/monitors?limit={most}&cursor={}",
                rows[size - 1]["id"]
            )
        });
        rows.truncate(size);
        Answer::json(200, &json!({ "nextLink": next, "data": rows }))
    }

    fn create(&self, body: &Map<String, Value>) -> Answer {
        let needed: &[&str] = match body.get("type").and_then(Value::as_str) {
            Some("HTTP" | "PING") => &["url", "timeout"],
            Some("KEYWORD") => {
                &["url", "timeout", "keywordType", "keywordCaseType", "keywordValue"]
            }
            Some("PORT") => &["url", "timeout", "port"],
            Some("HEARTBEAT") => &[],
            _ => return refused(400, "type must be a valid enum value"),
        };
        let missing =
            ["friendlyName", "interval"].iter().chain(needed).find(|n| !body.contains_key(**n));
        if let Some(name) = missing {
            return refused(400, &format!("{name} should not be empty"));
        }
        if self.monitors.all().len() >= MONITORS {
            return refused(403, "Monitor limit reached");
        }
        let made = time(self.ground.clock.wall());
        let monitor = self.monitors.add(|id| {
            let mut monitor = blank(id + 800_000_000, &made);
            tell(&mut monitor, body);
            monitor
        });
        Answer::json(201, &monitor)
    }

    fn write(&self, call: &Call, id: Option<&str>) -> Answer {
        let Some(Value::Object(body)) = call.json() else {
            return refused(400, "Unexpected token in JSON");
        };
        if let Some(name) = unknown(&body, &FIELDS) {
            return refused(400, &format!("property {name} should not exist"));
        }
        let number = |name: &str| body.get(name).and_then(Value::as_u64);
        if number("interval").is_some_and(|every| every < LEAST_EVERY) {
            return refused(400, "interval is not allowed by your plan");
        }
        if number("timeout").is_some_and(|timeout| timeout > 60) {
            return refused(400, "timeout must not be greater than 60");
        }
        if number("gracePeriod").is_some_and(|grace| grace > 86_400) {
            return refused(400, "gracePeriod must not be greater than 86400");
        }
        let is_word = body.get("keywordCaseType").is_some_and(Value::is_string);
        if body.contains_key("keywordCaseType") && is_word == id.is_some() {
            return refused(400, "keywordCaseType must be a valid enum value");
        }
        match id {
            None => self.create(&body),
            Some(id) => match self.monitors.change("id", id, |monitor| tell(monitor, &body)) {
                Some(monitor) => Answer::json(200, &monitor),
                None => refused(404, "Monitor not found"),
            },
        }
    }
}

/// A monitor of which nothing is said yet.
fn blank(id: u64, made: &str) -> Value {
    json!({
        "id": id, "type": "HTTP", "friendlyName": "", "url": "", "interval": 300, "timeout": null, "port": null,
        "gracePeriod": null, "keywordValue": null, "keywordType": null, "keywordCaseType": 0,
        "sslBrand": null, "sslExpiryDateTime": null, "domainExpireDate": null, "checkSSLErrors": false,
        "sslExpirationReminder": false, "domainExpirationReminder": false, "followRedirections": true,
        "authType": "NONE", "customHttpHeaders": null, "httpMethodType": "HEAD",
        "successHttpResponseCodes": ["2xx", "3xx"], "postValueData": {}, "postValueType": null,
        "responseTimeThreshold": 0, "config": null, "regionalData": { "REGION": ["na"] },
        "maintenanceWindows": [], "psps": [], "status": "STARTED", "currentStateDuration": 0,
        "lastIncidentId": null, "userId": 1, "tags": [], "assignedAlertContacts": [],
        "lastDayUptimes": { "bucketSize": 3_600, "histogram": [] }, "createDateTime": made, "apiKey": null,
    })
}

/// Makes `monitor` as `body` says.
fn tell(monitor: &mut Value, body: &Map<String, Value>) {
    let mut body = body.clone();
    if let Some(names) = body.remove("tagNames") {
        let tag =
            |(id, name): (usize, &Value)| json!({ "id": id + 1, "name": name, "color": "#3bd671" });
        monitor["tags"] = names.as_array().into_iter().flatten().enumerate().map(tag).collect();
    }
    if let Some(Value::String(word)) = body.get("keywordCaseType") {
        let number = u8::from(word == "CaseInsensitive");
        body.insert("keywordCaseType".to_owned(), number.into());
    }
    merge(monitor, &body);
}

impl Watches for Uptimerobot {
    fn endpoint(&self, api: String) -> WatcherEndpoint {
        WatcherEndpoint { api, token: self.token.clone(), page: None }
    }

    fn see(&self, name: &str, is_down: bool) -> bool {
        let status = if is_down { "DOWN" } else { "UP" };
        let change = |monitor: &mut Value| monitor["status"] = status.into();
        self.monitors.change("friendlyName", name, change).is_some()
    }
}

impl Beside for Uptimerobot {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.bearer() != Some(self.token.as_str()) {
            return refused(401, "Unauthorized");
        }
        if let Err(wait) = self.limits.take(String::new(), REQUESTS) {
            return refused(429, "Too many requests")
                .with("retry-after", &(wait.as_secs() + 1).to_string());
        }
        let is_spent = self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota));
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["monitors"]) => self.list(call),
            ("POST", ["monitors"]) if is_spent => refused(403, "Monitor limit reached"),
            ("POST", ["monitors"]) => self.write(call, None),
            ("GET", ["monitors", id]) => match self.monitors.find("id", id) {
                Some(monitor) => Answer::json(200, &monitor),
                None => refused(404, "Monitor not found"),
            },
            ("PATCH", ["monitors", id]) => self.write(call, Some(id)),
            ("DELETE", ["monitors", id]) => match self.monitors.remove("id", id) {
                true => Answer::empty(200),
                false => refused(404, "Monitor not found"),
            },
            _ => refused(404, "Cannot find this address"),
        }
    }

    fn limited(&self) -> Answer {
        refused(429, "Too many requests").with("retry-after", "40")
    }
}
