//! Instatus: `api.instatus.com` for one account and its page.
//!
//! Facts: instatus.com/help/api and its pages on components, incidents and maintenances (paths of v1 and v2 mixed as they are, statuses, errors
//! as `error.code` and `error.message`, a content type with every request).

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Call};
use super::super::beside::{Beside, Ground};
use super::super::endpoints::WatcherEndpoint;
use super::super::trouble::Trouble;
use super::{Shelf, Watches, merge, page, time, unknown};

/// What a component may be told.
const COMPONENT: [&str; 7] =
    ["name", "description", "status", "order", "showUptime", "grouped", "group"];
/// What an incident may be told.
const INCIDENT: [&str; 8] =
    ["name", "message", "components", "started", "status", "notify", "statuses", "shouldPublish"];
/// How a component may be.
const STATUSES: [&str; 6] = [
    "OPERATIONAL",
    "UNDERMAINTENANCE",
    "DEGRADEDPERFORMANCE",
    "PARTIALOUTAGE",
    "MINOROUTAGE",
    "MAJOROUTAGE",
];
/// How far an incident may have come.
const STAGES: [&str; 4] = ["INVESTIGATING", "IDENTIFIED", "MONITORING", "RESOLVED"];

/// What announced work may be told when it is changed.
const CHANGED: [&str; 9] =
    ["name", "message", "components", "start", "end", "duration", "status", "notify", "statuses"];
/// What besides when it is made.
const MADE: [&str; 6] =
    ["notifyStart", "notifyEnd", "notifyEarly", "notifyMinutes", "autoStart", "autoEnd"];
/// How far announced work may be.
const WORK: [&str; 3] = ["NOTSTARTEDYET", "INPROGRESS", "COMPLETED"];

/// The vendor.
pub(crate) struct Instatus {
    ground: Ground,
    token: String,
    page: String,
    components: Shelf,
    incidents: Shelf,
    maintenances: Shelf,
}

fn refused(status: u16, code: &str, text: &str) -> Answer {
    Answer::json(status, &json!({ "error": { "code": code, "message": text } }))
}

fn invalid(text: &str) -> Answer {
    refused(400, "bad_request", text)
}

fn missing() -> Answer {
    refused(404, "not_found", "Not found")
}

impl Instatus {
    pub(crate) fn new(ground: Ground) -> Self {
        let (token, page) = (ground.dice.hex(32), format!("cl{}", ground.dice.hex(22)));
        let (components, incidents) = (Shelf::default(), Shelf::default());
        Self { ground, token, page, components, incidents, maintenances: Shelf::default() }
    }

    fn id(&self) -> String {
        format!("cl{}", self.ground.dice.hex(22))
    }

    /// The page that is asked for of `rows`.
    fn list(call: &Call, rows: Vec<Value>) -> Answer {
        let number = |name: &str, usual| {
            call.parameter(name).map_or(Some(usual), |text| text.parse::<usize>().ok())
        };
        match (number("page", 1), number("per_page", 50)) {
            (Some(at @ 1..), Some(size @ 1..=100)) => {
                Answer::json(200, &page(rows, at, size).into())
            }
            _ => invalid("page and per_page are numbers, per_page up to 100"),
        }
    }

    /// The body, of which every field is one of `known`.
    fn body(call: &Call, known: &[&str]) -> Result<Map<String, Value>, Answer> {
        let Some(Value::Object(body)) = call.json() else { return Err(invalid("Invalid JSON")) };
        if let Some(name) = unknown(&body, known) {
            return Err(invalid(&format!("Unknown field {name}")));
        }
        let has = |name| known.contains(&name);
        let statuses: &[&str] = match (has("message"), has("start")) {
            (true, true) => &WORK,
            (true, false) => &STAGES,
            (false, _) => &STATUSES,
        };
        match body.get("status").map(|status| status.as_str().unwrap_or_default()) {
            Some(status) if !statuses.contains(&status) => Err(invalid("Invalid status")),
            _ => Ok(body),
        }
    }

    fn add_component(&self, call: &Call) -> Result<Answer, Answer> {
        let mut body = Self::body(call, &COMPONENT)?;
        if body.get("name").and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Err(invalid("name is required"));
        }
        body.remove("grouped");
        let id = self.id();
        let row = self.components.add(|order| {
            let mut row = json!({
                "id": id, "name": "", "description": "", "status": "OPERATIONAL", "showUptime": true, "order": order,
                "uniqueEmail": format!("component+{id}@notifications.instatus.com"), "group": null,
            });
            merge(&mut row, &body);
            row
        });
        Ok(Answer::json(200, &row))
    }

    fn put_component(&self, call: &Call, id: &str) -> Result<Answer, Answer> {
        let mut body = Self::body(call, &COMPONENT)?;
        if body.remove("grouped") == Some(false.into()) {
            body.insert("group".to_owned(), Value::Null);
        }
        let row = self.components.change("id", id, |row| merge(row, &body));
        Ok(row.map_or_else(missing, |row| Answer::json(200, &row)))
    }

    /// The components that `ids` names, all of them this page's.
    fn named(&self, ids: Option<&Value>) -> Result<Vec<Value>, Answer> {
        let ids = ids.and_then(Value::as_array).cloned().unwrap_or_default();
        let find = |id: &Value| self.components.find("id", id.as_str().unwrap_or_default());
        ids.iter().map(|id| find(id).ok_or_else(|| invalid("Unknown component"))).collect()
    }

    fn update(&self, body: &Map<String, Value>) -> Value {
        let now = time(self.ground.clock.wall());
        let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
        json!({
            "id": self.id(), "message": message, "messageHtml": format!("<p>{message}</p>"),
            "status": body.get("status").cloned().unwrap_or_else(|| "INVESTIGATING".into()),
            "notify": body.get("notify").cloned().unwrap_or_else(|| true.into()),
            "started": body.get("started").cloned().unwrap_or_else(|| now.as_str().into()),
            "ended": null, "duration": null, "createdAt": now,
        })
    }

    fn add_incident(&self, call: &Call) -> Result<Answer, Answer> {
        let body = Self::body(call, &INCIDENT)?;
        if body.get("name").and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Err(invalid("name is required"));
        }
        let components = self.named(body.get("components"))?;
        let (id, update) = (self.id(), self.update(&body));
        let row = self.incidents.add(|_| {
            json!({
                "id": id, "name": body["name"], "status": update["status"], "started": update["started"],
                "resolved": null, "components": components, "updates": [update],
            })
        });
        Ok(Answer::json(200, &row))
    }

    fn put_incident(&self, call: &Call, id: &str) -> Result<Answer, Answer> {
        let mut body = Self::body(call, &INCIDENT)?;
        if !body.contains_key("name") {
            return Err(invalid("name is required"));
        }
        let components = self.named(body.get("components"))?;
        body.retain(|name, _| matches!(name.as_str(), "name" | "status" | "started"));
        body.insert("components".to_owned(), components.into());
        let row = self.incidents.change("id", id, |row| merge(row, &body));
        Ok(row.map_or_else(missing, |row| Answer::json(200, &row)))
    }

    fn add_update(&self, call: &Call, id: &str) -> Result<Answer, Answer> {
        let body = Self::body(call, &INCIDENT[1..7])?;
        self.named(body.get("components"))?;
        let update = self.update(&body);
        let told = update.clone();
        let row = self.incidents.change("id", id, move |row| {
            row["status"] = update["status"].clone();
            if let Some(updates) = row["updates"].as_array_mut() {
                updates.push(update);
            }
        });
        Ok(row.map_or_else(missing, |_| Answer::json(200, &told)))
    }

    fn add_maintenance(&self, call: &Call) -> Result<Answer, Answer> {
        let body = Self::body(call, &[&CHANGED[..], &MADE[..]].concat())?;
        if body.get("name").and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Err(invalid("name is required"));
        }
        let (start, minutes) = span(&body)?.ok_or_else(|| invalid("start is required"))?;
        let components = self.named(body.get("components"))?;
        let id = self.id();
        let status = body.get("status").cloned().unwrap_or_else(|| WORK[0].into());
        let mut update = self.update(&body);
        update["status"].clone_from(&status);
        let row = self.maintenances.add(|_| {
            let mut row = json!({
                "id": id, "name": body["name"], "status": status, "start": start, "duration": minutes,
                "components": components, "updates": [update],
            });
            for key in MADE {
                row[key] = body.get(key).cloned().unwrap_or_else(|| false.into());
            }
            row
        });
        Ok(Answer::json(200, &row))
    }

    fn put_maintenance(&self, call: &Call, id: &str) -> Result<Answer, Answer> {
        let body = Self::body(call, &CHANGED)?;
        let span = span(&body)?;
        let components = self.named(body.get("components"))?;
        let update = body.contains_key("message").then(|| self.update(&body));
        let row = self.maintenances.change("id", id, |row| {
            for key in ["name", "status"] {
                if let Some(value) = body.get(key) {
                    row[key].clone_from(value);
                }
            }
            if body.contains_key("components") {
                row["components"] = components.into();
            }
            if let Some((start, minutes)) = span {
                (row["start"], row["duration"]) = (start.into(), minutes.into());
            }
            if let (Some(mut update), Some(updates)) = (update, row["updates"].as_array_mut()) {
                update["status"] = body.get("status").cloned().unwrap_or(Value::Null);
                updates.push(update);
            }
        });
        Ok(row.map_or_else(missing, |row| Answer::json(200, &row)))
    }

    /// All announced work, after what has begun or ended by itself since.
    fn maintenances(&self) -> Vec<Value> {
        let now = time(self.ground.clock.wall());
        let now: Option<jiff::Timestamp> = now.parse().ok();
        for row in self.maintenances.all() {
            let id = row["id"].as_str().unwrap_or_default();
            self.maintenances.change("id", id, |row| {
                let start = row["start"].as_str().and_then(|text| text.parse().ok());
                let minutes =
                    jiff::SignedDuration::from_mins(row["duration"].as_i64().unwrap_or(0));
                let end = start.and_then(|at: jiff::Timestamp| at.checked_add(minutes).ok());
                if row["autoStart"] == true && row["status"] == WORK[0] && start <= now {
                    row["status"] = WORK[1].into();
                }
                if row["autoEnd"] == true && row["status"] == WORK[1] && end <= now {
                    row["status"] = WORK[2].into();
                }
            });
        }
        self.maintenances.all()
    }

    fn dispatch(&self, call: &Call) -> Result<Answer, Answer> {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if parts
            .get(1)
            .is_some_and(|page| *page != "pages" && *page != "user" && *page != self.page)
        {
            return Err(missing());
        }
        let removed =
            |was_there: bool| if was_there { Answer::json(200, &json!({})) } else { missing() };
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["v2", "pages"]) => {
                let page = json!({
                    "id": self.page, "subdomain": "acme", "name": "Acme", "status": "UP", "customDomain": null,
                });
                Ok(Self::list(call, vec![page]))
            }
            ("GET", ["v2", _, "components"]) => Ok(Self::list(call, self.components.all())),
            ("POST", ["v1", _, "components"]) => self.add_component(call),
            ("PUT", ["v2", _, "components", id]) => self.put_component(call, id),
            ("DELETE", ["v1", _, "components", id]) => {
                Ok(removed(self.components.remove("id", id)))
            }
            ("GET", ["v1", _, "incidents"]) => Ok(Self::list(call, self.incidents.all())),
            ("POST", ["v1", _, "incidents"]) => self.add_incident(call),
            ("PUT", ["v1", _, "incidents", id]) => self.put_incident(call, id),
            ("DELETE", ["v1", _, "incidents", id]) => Ok(removed(self.incidents.remove("id", id))),
            ("POST", ["v1", _, "incidents", id, "incident-updates"]) => self.add_update(call, id),
            ("GET", ["v1", _, "maintenances"]) => Ok(Self::list(call, self.maintenances())),
            ("POST", ["v1", _, "maintenances"]) => self.add_maintenance(call),
            ("PUT", ["v1", _, "maintenances", id]) => self.put_maintenance(call, id),
            ("DELETE", ["v1", _, "maintenances", id]) => {
                Ok(removed(self.maintenances.remove("id", id)))
            }
            _ => Err(missing()),
        }
    }
}

/// When the work of `body` begins, as it is said, and its minutes. `None`: it does not say.
fn span(body: &Map<String, Value>) -> Result<Option<(String, i64)>, Answer> {
    let moment = |name| match body.get(name).map(|value| value.as_str().unwrap_or_default()) {
        None => Ok(None),
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Some((text.to_owned(), at))),
            Err(_) => Err(invalid(&format!("{name} is no date"))),
        },
    };
    let said = match body.get("duration") {
        None => None,
        Some(value) => match value.as_i64() {
            Some(minutes @ 1..) => Some(minutes),
            _ => return Err(invalid("duration is minutes")),
        },
    };
    let (start, end) = (moment("start")?, moment("end")?);
    let Some((text, start)) = start else { return Ok(None) };
    let until = end.map(|(_, end)| start.duration_until(end).as_mins());
    match (said, until) {
        (Some(said), Some(until)) if said != until => Err(invalid("duration and end differ")),
        (Some(minutes), _) | (None, Some(minutes @ 1..)) => Ok(Some((text, minutes))),
        _ => Err(invalid("it ends before it begins")),
    }
}

impl Watches for Instatus {
    fn endpoint(&self, api: String) -> WatcherEndpoint {
        WatcherEndpoint { api, token: self.token.clone(), page: Some(self.page.clone()) }
    }
}

impl Beside for Instatus {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.bearer() != Some(self.token.as_str()) {
            return refused(401, "unauthorized", "Invalid API key");
        }
        if !call.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
            return invalid("Content-Type must be application/json");
        }
        if self.ground.faults.any(None, |t| matches!(t, Trouble::OutOfQuota))
            && call.method == "POST"
        {
            return refused(403, "forbidden", "Your plan's limit reached, upgrade your plan");
        }
        self.dispatch(call).unwrap_or_else(|refused| refused)
    }

    fn limited(&self) -> Answer {
        refused(429, "rate_limited", "Too many requests").with("retry-after", "40")
    }
}
