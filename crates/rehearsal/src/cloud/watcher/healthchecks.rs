//! Healthchecks: `healthchecks.io/api/v3` for one project.
//!
//! Facts: templates/docs/api.md of healthchecks/healthchecks (shapes, bounds, 201 for a new check, errors as `error`, the limit of
//! 100 requests a minute). Pings are not here.

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Call};
use super::super::beside::{Beside, Ground};
use super::super::endpoints::WatcherEndpoint;
use super::super::limit::{Limits, Rate};
use super::super::trouble::Trouble;
use super::{Shelf, Watches, merge, unknown};

/// Checks of the plan.
const CHECKS: usize = 20;
/// Requests of a minute.
const REQUESTS: Rate = Rate { per_second: 100.0 / 60.0, burst: 100.0 };

/// What a check may be told.
const FIELDS: [&str; 10] =
    ["name", "slug", "tags", "desc", "timeout", "grace", "schedule", "tz", "channels", "unique"];

/// The vendor.
pub(crate) struct Healthchecks {
    ground: Ground,
    token: String,
    limits: Limits,
    checks: Shelf,
}

fn refused(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "error": text }))
}

impl Healthchecks {
    pub(crate) fn new(ground: Ground) -> Self {
        let alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789-_";
        let token = ground.dice.letters(alphabet, 32);
        Self { ground, token, limits: Limits::default(), checks: Shelf::default() }
    }

    fn list(&self, call: &Call) -> Answer {
        let tags: Vec<&str> =
            call.query.iter().filter(|(n, _)| n == "tag").map(|(_, v)| v.as_str()).collect();
        let fits = |check: &Value| {
            let held = check["tags"].as_str().unwrap_or_default();
            tags.iter().all(|tag| held.split(' ').any(|one| one == *tag))
        };
        let checks: Vec<Value> = self.checks.all().into_iter().filter(fits).collect();
        Answer::json(200, &json!({ "checks": checks }))
    }

    fn write(&self, call: &Call, id: Option<&str>) -> Answer {
        let Some(Value::Object(body)) = call.json() else {
            return refused(400, "could not parse request body");
        };
        if let Some(why) = wrong(&body) {
            return refused(400, &format!("json validation error: {why}"));
        }
        let Some(id) = id else { return self.create(&body) };
        match self.checks.change("uuid", id, |check| tell(check, &body)) {
            Some(check) => Answer::json(200, &check),
            None => refused(404, "not found"),
        }
    }

    fn create(&self, body: &Map<String, Value>) -> Answer {
        if self.checks.all().len() >= CHECKS {
            return Answer::empty(403);
        }
        let uuid = self.ground.dice.uuid();
        let check = self.checks.add(|_| {
            let mut check = json!({
                "name": "", "slug": "", "tags": "", "desc": "", "timeout": 86_400, "grace": 3_600, "n_pings": 0,
                "status": "new", "started": false, "last_ping": null, "next_ping": null, "manual_resume": false,
                "methods": "", "channels": "", "uuid": uuid,
                "ping_url": format!("https://hc-ping.com/{uuid}"),
                "update_url": format!("https://healthchecks.io/api/v3/checks/{uuid}"),
                "pause_url": format!("https://healthchecks.io/api/v3/checks/{uuid}/pause"),
            });
            tell(&mut check, body);
            check
        });
        Answer::json(201, &check)
    }
}

/// What of it cannot be.
fn wrong(body: &Map<String, Value>) -> Option<String> {
    if let Some(name) = unknown(body, &FIELDS) {
        return Some(format!("unexpected property: {name}"));
    }
    for name in ["timeout", "grace"] {
        match body.get(name) {
            None => {}
            Some(value) => match value.as_u64() {
                None => return Some(format!("{name} is not a number")),
                Some(seconds) if seconds < 60 => return Some(format!("{name} is too small")),
                Some(seconds) if seconds > 31_536_000 => {
                    return Some(format!("{name} is too large"));
                }
                Some(_) => {}
            },
        }
    }
    let cron = body.get("schedule").and_then(Value::as_str);
    cron.filter(|cron| cron.split_whitespace().count() != 5)
        .map(|_| "schedule is not a valid cron or OnCalendar expression".to_owned())
}

/// Makes `check` as `body` says: it has a period or a schedule, never both.
fn tell(check: &mut Value, body: &Map<String, Value>) {
    if let Some(object) = check.as_object_mut() {
        if body.contains_key("schedule") {
            object.remove("timeout");
            object.insert("tz".to_owned(), "UTC".into());
        } else if body.contains_key("timeout") {
            object.remove("schedule");
            object.remove("tz");
        }
    }
    merge(check, body);
}

impl Watches for Healthchecks {
    fn endpoint(&self, api: String) -> WatcherEndpoint {
        WatcherEndpoint { api, token: self.token.clone(), page: None }
    }
}

impl Beside for Healthchecks {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.header("x-api-key") != Some(self.token.as_str()) {
            return refused(401, "wrong api key");
        }
        if self.limits.take(String::new(), REQUESTS).is_err() {
            return refused(429, "rate limit exceeded");
        }
        let is_spent = self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota));
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["api", "v3", "checks"]) => self.list(call),
            ("POST", ["api", "v3", "checks"]) if is_spent => Answer::empty(403),
            ("POST", ["api", "v3", "checks"]) => self.write(call, None),
            ("GET", ["api", "v3", "checks", id]) => match self.checks.find("uuid", id) {
                Some(check) => Answer::json(200, &check),
                None => refused(404, "not found"),
            },
            ("POST", ["api", "v3", "checks", id]) => self.write(call, Some(id)),
            ("DELETE", ["api", "v3", "checks", id]) => match self.checks.find("uuid", id) {
                Some(check) => {
                    self.checks.remove("uuid", id);
                    Answer::json(200, &check)
                }
                None => refused(404, "not found"),
            },
            _ => refused(404, "not found"),
        }
    }

    fn limited(&self) -> Answer {
        refused(429, "rate limit exceeded").with("retry-after", "40")
    }
}
