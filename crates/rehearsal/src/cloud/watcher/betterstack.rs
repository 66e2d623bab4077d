//! Better Stack: `uptime.betterstack.com/api/v2` for one team.
//!
//! Facts: BetterStackHQ/terraform-provider-better-uptime (fields of monitors and heartbeats, statuses) and
//! betterstack.com/docs/uptime/api (pages with `pagination.next`, refusals as `errors`, times in seconds, and in milliseconds
//! for connections and pings; outgoing webhooks, whose `trigger_type` is said once).

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Call};
use super::super::beside::{Beside, Ground};
use super::super::endpoints::WatcherEndpoint;
use super::super::trouble::Trouble;
use super::{Shelf, Watches, merge, page, time, unknown};

/// Things on a page. The vendor's is 50; a small one is met sooner.
const PAGE: usize = 10;

/// What a monitor may be told.
const MONITOR: [&str; 12] = [
    "monitor_type",
    "pronounceable_name",
    "url",
    "check_frequency",
    "request_timeout",
    "port",
    "required_keyword",
    "expected_status_codes",
    "paused",
    "email",
    "call",
    "regions",
];
/// What a heartbeat may be told.
const HEARTBEAT: [&str; 6] = ["name", "period", "grace", "paused", "email", "call"];

/// What an outgoing webhook may be told.
const WEBHOOK: [&str; 9] = [
    "name",
    "url",
    "trigger_type",
    "team_name",
    "on_incident_started",
    "on_incident_acknowledged",
    "on_incident_resolved",
    "on_incident_reopened",
    "custom_webhook_template_attributes",
];

/// The vendor.
pub(crate) struct Betterstack {
    ground: Ground,
    token: String,
    monitors: Shelf,
    heartbeats: Shelf,
    webhooks: Shelf,
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "errors": text }))
}

impl Betterstack {
    pub(crate) fn new(ground: Ground) -> Self {
        let alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
        let token = ground.dice.letters(alphabet, 24);
        let (monitors, heartbeats) = (Shelf::default(), Shelf::default());
        Self { ground, token, monitors, heartbeats, webhooks: Shelf::default() }
    }

    fn shelf(&self, word: &str) -> Option<&Shelf> {
        match word {
            "monitors" => Some(&self.monitors),
            "heartbeats" => Some(&self.heartbeats),
            "outgoing-webhooks" => Some(&self.webhooks),
            _ => None,
        }
    }

    fn list(shelf: &Shelf, word: &str, call: &Call) -> Answer {
        let at: usize = call.parameter("page").and_then(|text| text.parse().ok()).unwrap_or(1);
        let rows = shelf.all();
        let last = rows.len().div_ceil(PAGE).max(1);
        let link =
            |page: usize| format!("https://uptime.betterstack.com/api/v2/{word}?page={page}");
        let pagination = json!({
            "first": link(1), "last": link(last),
            "prev": (at > 1).then(|| link(at - 1)), "next": (at < last).then(|| link(at + 1)),
        });
        Answer::json(200, &json!({ "data": page(rows, at, PAGE), "pagination": pagination }))
    }

    fn create(&self, shelf: &Shelf, word: &str, body: &Map<String, Value>) -> Answer {
        let needed: &[&str] = match word {
            "heartbeats" => &["name", "period", "grace"],
            "outgoing-webhooks" => &["url", "trigger_type"],
            _ => &["monitor_type", "url"],
        };
        if let Some(name) = needed.iter().find(|name| !body.contains_key(**name)) {
            return refused(422, &format!("{name} can't be blank"));
        }
        let (now, secret) = (time(self.ground.clock.wall()), self.ground.dice.hex(24));
        let row = shelf.add(|id| {
            let attributes = blank(word, &now, &secret);
            let kind = word.trim_end_matches('s').replace('-', "_");
            let mut row = json!({ "id": id.to_string(), "type": kind, "attributes": attributes });
            merge(&mut row["attributes"], body);
            row
        });
        Answer::json(201, &json!({ "data": row }))
    }

    fn write(&self, shelf: &Shelf, word: &str, call: &Call, id: Option<&str>) -> Answer {
        let Some(Value::Object(body)) = call.json() else {
            return refused(422, "The request body is not JSON");
        };
        let known: &[&str] = match word {
            "heartbeats" => &HEARTBEAT,
            "outgoing-webhooks" => &WEBHOOK,
            _ => &MONITOR,
        };
        if id.is_some() && word == "outgoing-webhooks" && body.contains_key("trigger_type") {
            return refused(422, "Trigger type cannot be changed");
        }
        if let Some(name) = unknown(&body, known) {
            return refused(422, &format!("Unknown parameter: {name}"));
        }
        if let Some(why) = wrong(&body) {
            return refused(422, why);
        }
        match id {
            None => self.create(shelf, word, &body),
            Some(id) => match shelf.change("id", id, |row| merge(&mut row["attributes"], &body)) {
                Some(row) => Answer::json(200, &json!({ "data": row })),
                None => refused(404, "Resource with provided ID was not found"),
            },
        }
    }
}

/// What nobody has said anything of yet.
fn blank(word: &str, now: &str, secret: &str) -> Value {
    match word {
        "heartbeats" => json!({
            "name": "", "period": 0, "grace": 0, "call": false, "sms": false, "email": true, "push": true,
            "paused": false, "status": "pending", "created_at": now, "updated_at": now,
            "url": format!("https://uptime.betterstack.com/api/v1/heartbeat/{secret}"),
        }),
        "outgoing-webhooks" => json!({
            "name": null, "url": "", "team_name": "Ops", "trigger_type": "", "on_incident_started": false,
            "on_incident_acknowledged": false, "on_incident_resolved": false, "on_incident_reopened": false,
        }),
        _ => json!({
            "monitor_type": "status", "url": "", "pronounceable_name": "", "check_frequency": 180,
            "request_timeout": 30, "expected_status_codes": [], "call": false, "sms": false, "email": true,
            "push": true, "paused": false, "status": "pending", "created_at": now, "updated_at": now,
        }),
    }
}

/// What of it cannot be.
fn wrong(body: &Map<String, Value>) -> Option<&'static str> {
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    let kind = body.get("monitor_type").and_then(Value::as_str);
    let trigger = body.get("trigger_type").and_then(Value::as_str);
    if trigger
        .is_some_and(|t| !["on_call_change", "incident_change", "monitor_change"].contains(&t))
    {
        return Some("Trigger type is not included in the list");
    }
    if number("period").is_some_and(|period| period < 30) {
        return Some("Period must be greater than or equal to 30");
    }
    if number("check_frequency").is_some_and(|every| every < 30) {
        return Some("Check frequency must be greater than or equal to 30");
    }
    let times: &[u64] = match kind {
        Some("tcp" | "ping") => &[500, 1_000, 2_000, 3_000, 5_000],
        _ => &[2, 3, 5, 10, 15, 30, 45, 60],
    };
    if number("request_timeout").is_some_and(|timeout| !times.contains(&timeout)) {
        return Some("Request timeout is not included in the list");
    }
    match kind {
        Some("status" | "ping") | None => None,
        Some("expected_status_code") if body.contains_key("expected_status_codes") => None,
        Some("keyword") if body.contains_key("required_keyword") => None,
        Some("tcp") if body.get("port").is_some_and(Value::is_string) => None,
        Some(_) => Some("Monitor type is not included in the list, or lacks what it needs"),
    }
}

impl Watches for Betterstack {
    fn endpoint(&self, api: String) -> WatcherEndpoint {
        WatcherEndpoint { api, token: self.token.clone(), page: None }
    }

    fn see(&self, name: &str, is_down: bool) -> bool {
        let all = self.monitors.all();
        let is_it = |row: &&Value| {
            let held = row["attributes"]["pronounceable_name"].as_str().unwrap_or_default();
            held == name || held.split_once(" [").is_some_and(|(held, _)| held == name)
        };
        let Some(id) = all.iter().find(is_it).and_then(|row| row["id"].as_str()) else {
            return false;
        };
        let status = if is_down { "down" } else { "up" };
        let change = |row: &mut Value| row["attributes"]["status"] = status.into();
        self.monitors.change("id", id, change).is_some()
    }
}

impl Beside for Betterstack {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.bearer() != Some(self.token.as_str()) {
            return refused(401, "Invalid Team API token");
        }
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let ["api", "v2", word, rest @ ..] = parts.as_slice() else {
            return refused(404, "Not found");
        };
        let Some(shelf) = self.shelf(word) else { return refused(404, "Not found") };
        let is_spent = self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota));
        match (call.method.as_str(), rest) {
            ("GET", []) => Self::list(shelf, word, call),
            ("POST", []) if is_spent => {
                refused(422, "You have reached the limit of your plan. Please upgrade your plan")
            }
            ("POST", []) => self.write(shelf, word, call, None),
            ("GET", [id]) => match shelf.find("id", id) {
                Some(row) => Answer::json(200, &json!({ "data": row })),
                None => refused(404, "Resource with provided ID was not found"),
            },
            ("PATCH", [id]) => self.write(shelf, word, call, Some(id)),
            ("DELETE", [id]) => match shelf.remove("id", id) {
                true => Answer::empty(204),
                false => refused(404, "Resource with provided ID was not found"),
            },
            _ => refused(404, "Not found"),
        }
    }

    fn limited(&self) -> Answer {
        refused(429, "Too many requests").with("retry-after", "40")
    }
}
