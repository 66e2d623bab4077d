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
use super::{Shelf, Watches, is, merge, time, unknown};

/// Monitors of the plan.
const MONITORS: usize = 50;
/// Twice that a minute.
const REQUESTS: Rate = Rate { per_second: 100.0 / 60.0, burst: 100.0 };
/// The most monitors of a page. The vendor's is 200; a small one is met sooner.
const PAGE: usize = 10;
/// The shortest time between two looks.
const LEAST_EVERY: u64 = 60;

/// What a monitor may be told.
const FIELDS: [&str; 15] = [
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
    "assignedAlertContacts",
];

/// What a webhook may be told.
const HOOK: [&str; 8] = [
    "friendlyName",
    "enableNotificationsFor",
    "sslExpirationReminder",
    "urlToNotify",
    "postValue",
    "sendAsJSON",
    "sendAsQueryString",
    "customHeaders",
];

/// The vendor.
pub(crate) struct Uptimerobot {
    ground: Ground,
    token: String,
    limits: Limits,
    monitors: Shelf,
    integrations: Shelf,
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "message": text }))
}

impl Uptimerobot {
    pub(crate) fn new(ground: Ground) -> Self {
        let token = format!("u{}-{}", ground.dice.between(100_000, 999_999), ground.dice.hex(24));
        let (monitors, integrations) = (Shelf::default(), Shelf::default());
        Self { ground, token, limits: Limits::default(), monitors, integrations }
    }

    fn list(&self, call: &Call) -> Answer {
        let most = call.parameter("limit").and_then(|text| text.parse().ok()).unwrap_or(50);
        if !(1..=200).contains(&most) {
            return refused(400, "limit must be between 1 and 200");
        }
        listed(&self.monitors, &format!("monitors?limit={most}&"), PAGE.min(most), call)
    }

    /// Makes or changes a webhook. Integrations of other sorts are not here.
    fn integrate(&self, call: &Call, id: Option<&str>) -> Answer {
        let told = call.json().unwrap_or_default();
        let is_webhook = told["type"] == "Webhook" || id.is_some() && told.get("type").is_none();
        let Some(data) = told["data"].as_object().filter(|_| is_webhook) else {
            return refused(400, "type must be a valid enum value");
        };
        if let Some(name) = unknown(data, &HOOK) {
            return refused(400, &format!("property data.{name} should not exist"));
        }
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        let needed = ["urlToNotify", "postValue"];
        if let Some(name) = needed.iter().find(|name| id.is_none() && text(name).is_none()) {
            return refused(400, &format!("data.{name} should not be empty"));
        }
        if text("friendlyName").is_some_and(|name| name.len() > 60) {
            return refused(
                400,
                "data.friendlyName must be shorter than or equal to 60 characters",
            );
        }
        let tell = |row: &mut Value| {
            for (name, of) in [
                ("friendlyName", "friendlyName"),
                ("enableNotificationsFor", "enableNotificationsFor"),
                ("sslExpirationReminder", "sslExpirationReminder"),
                ("value", "urlToNotify"),
                ("customValue", "postValue"),
            ] {
                if let Some(value) = data.get(of) {
                    row[name] = value.clone();
                }
            }
        };
        match id {
            None => Answer::json(201, &self.integrations.add(|number| {
                let mut row = json!({
                    "id": number + 7_000_000, "friendlyName": null, "enableNotificationsFor": "UpAndDown",
                    "type": "Webhook", "status": "Active", "sslExpirationReminder": false, "value": null,
                    "customValue": null, "customValue2": null, "customValue3": null, "customValue4": null,
                    "customHeaders": null,
                });
                tell(&mut row);
                row
            })),
            Some(id) => match self.integrations.change("id", id, tell) {
                Some(row) => Answer::json(200, &row),
                None => refused(404, "Integration not found"),
            },
        }
    }

    /// Removes an integration; no monitor tells it any more.
    fn part(&self, id: &str) -> Answer {
        if !self.integrations.remove("id", id) {
            return refused(404, "Integration not found");
        }
        for monitor in self.monitors.all() {
            self.monitors.change("id", &monitor["id"].to_string(), |monitor| {
                if let Some(told) = monitor["assignedAlertContacts"].as_array_mut() {
                    told.retain(|one| !is(one, "alertContactId", id));
                }
            });
        }
        Answer::empty(200)
    }

    /// Whether every integration that `body` assigns is there.
    fn knows(&self, body: &Map<String, Value>) -> bool {
        let told = body.get("assignedAlertContacts").and_then(Value::as_array);
        told.into_iter().flatten().all(|one| {
            let is_whole = ["threshold", "recurrence"].iter().all(|name| one[*name].is_number());
            is_whole && self.integrations.find("id", &one["alertContactId"].to_string()).is_some()
        })
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
        if !self.knows(&body) {
            return refused(400, "assignedAlertContacts: alert contact not found");
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

/// A page of `shelf`, with a link to the next one at `place`.
fn listed(shelf: &Shelf, place: &str, size: usize, call: &Call) -> Answer {
    let after: u64 = call.parameter("cursor").and_then(|text| text.parse().ok()).unwrap_or(0);
    let rows = shelf.all().into_iter().filter(|row| row["id"].as_u64() > Some(after));
    let mut rows: Vec<Value> = rows.collect();
    let next = (rows.len() > size)
        .then(|| format!("https://api.uptimerobot.com/v3/{place}cursor={}", rows[size - 1]["id"]));
    rows.truncate(size);
    Answer::json(200, &json!({ "nextLink": next, "data": rows }))
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
            ("GET", ["integrations"]) => listed(&self.integrations, "integrations?", PAGE, call),
            ("POST", ["integrations"]) if is_spent => {
                refused(403, "Integration is not available in your plan")
            }
            ("POST", ["integrations"]) => self.integrate(call, None),
            ("PATCH", ["integrations", id]) => self.integrate(call, Some(id)),
            ("DELETE", ["integrations", id]) => self.part(id),
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
