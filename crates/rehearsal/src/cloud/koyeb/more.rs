//! Secrets, domains, logs, usage, and whether an image can be pulled.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_model::Timestamp;
use serde_json::{Map, Value, json};

use super::api::{filtered, named, object, page};
use super::{Koyeb, REGION, Refused, invalid, missing};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::{Line, Log, Stream, moment};

/// Lines in one answer when the client does not say, and at most.
const LINES: usize = 100;
const MOST_LINES: usize = 1_000;
/// How far back a log is read when the client does not say, in milliseconds.
const LOG_SPAN_MS: u64 = 15 * 60_000;
/// What registries a secret can hold a login for.
const REGISTRIES: [&str; 7] = [
    "docker_hub_registry",
    "private_registry",
    "digital_ocean_registry",
    "github_registry",
    "gitlab_registry",
    "gcp_container_registry",
    "azure_container_registry",
];

impl Koyeb {
    /// Answers a call below `/secrets`. Values go in and never come out.
    pub(super) fn of_secrets(&self, call: &Call, parts: &[&str]) -> Result<Answer, Refused> {
        let mut stock = self.stock();
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let rows = stock.secrets.values().map(shown).collect();
                Ok(page(call, "secrets", named(call, filtered(call, rows))))
            }
            ("POST", []) => {
                let body = object(call)?;
                let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
                if name.is_empty() {
                    return Err(invalid("name", "is required"));
                }
                if stock.secrets.values().any(|row| row["name"] == name) {
                    return Err(invalid("name", "already exists"));
                }
                let id = self.site.dice.uuid();
                let now = self.site.now();
                let fixed = [
                    ("id", json!(id)),
                    ("organization_id", json!(self.organization)),
                    ("created_at", json!(now)),
                ];
                let fixed = fixed.map(|(name, value)| (name.to_owned(), value));
                let row = secret(fixed.into_iter().collect(), &body, &now)?;
                stock.secrets.insert(id, row.clone());
                Ok(Answer::json(200, &json!({ "secret": shown(&row) })))
            }
            ("GET", [id]) => {
                let row = stock.secrets.get(*id).ok_or_else(missing)?;
                Ok(Answer::json(200, &json!({ "secret": shown(row) })))
            }
            ("PATCH" | "PUT", [id]) => {
                let body = object(call)?;
                let held = stock.secrets.get(*id).and_then(Value::as_object).ok_or_else(missing)?;
                if body.get("type").is_some_and(|kind| Some(kind) != held.get("type")) {
                    return Err(invalid("type", "cannot be changed"));
                }
                let row = secret(held.clone(), &body, &self.site.now())?;
                stock.secrets.insert((*id).to_owned(), row.clone());
                Ok(Answer::json(200, &json!({ "secret": shown(&row) })))
            }
            ("DELETE", [id]) => {
                stock.secrets.remove(*id).ok_or_else(missing)?;
                Ok(Answer::json(200, &json!({})))
            }
            _ => Err(missing()),
        }
    }

    /// A new domain.
    pub(super) fn domain(&self, name: &str, kind: &str, app: Option<&str>, status: &str) -> Value {
        let (id, now) = (self.site.dice.uuid(), self.site.now());
        let mut row = json!({
            "id": id, "organization_id": self.organization, "name": name, "type": kind, "status": status,
            "created_at": now, "updated_at": now, "messages": [], "version": "1", "app_id": app.unwrap_or_default(),
        });
        if kind == "CUSTOM" {
            row["intended_cname"] = json!(format!("{}.cname.{}", id, self.site.host_suffix));
        }
        row
    }

    /// Answers a call below `/domains`. A name of somebody's own is active after it was refreshed: the rehearsal has no
    /// DNS, so DNS is right by then.
    pub(super) fn of_domains(&self, call: &Call, parts: &[&str]) -> Result<Answer, Refused> {
        let mut stock = self.stock();
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let rows = stock.domains.values().cloned().collect();
                Ok(page(call, "domains", named(call, filtered(call, rows))))
            }
            ("POST", []) => {
                let body = object(call)?;
                let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
                if !text("name").contains('.') {
                    return Err(invalid("name", "is not a domain name"));
                }
                if stock.domains.values().any(|row| row["name"] == text("name")) {
                    return Err(invalid("name", "already exists"));
                }
                let app = Some(text("app_id")).filter(|id| !id.is_empty());
                if app.is_some_and(|id| !stock.apps.contains_key(id)) {
                    return Err(invalid("app_id", "no such app"));
                }
                let row = self.domain(text("name"), "CUSTOM", app, "PENDING");
                stock
                    .domains
                    .insert(row["id"].as_str().unwrap_or_default().to_owned(), row.clone());
                Ok(Answer::json(200, &json!({ "domain": row })))
            }
            ("GET", [id]) => {
                let row = stock.domains.get(*id).ok_or_else(missing)?;
                Ok(Answer::json(200, &json!({ "domain": row })))
            }
            ("POST", [id, "refresh"]) => {
                let row = stock.domains.get_mut(*id).ok_or_else(missing)?;
                row["status"] = json!("ACTIVE");
                row["verified_at"] = json!(self.site.now());
                Ok(Answer::json(200, &json!({})))
            }
            ("DELETE", [id]) => {
                stock.domains.remove(*id).ok_or_else(missing)?;
                Ok(Answer::json(200, &json!({})))
            }
            _ => Err(missing()),
        }
    }

    /// Whether the vendor can pull an image.
    pub(super) fn verify(&self, call: &Call) -> Answer {
        let image = call.parameter("image").unwrap_or_default();
        let secret = call.parameter("secret_id").filter(|id| !id.is_empty());
        if secret.is_some_and(|id| !self.stock().secrets.contains_key(id)) {
            let body = json!({ "success": false, "code": "AUTH_ACCESS_DENIED", "reason": "no such secret" });
            return Answer::json(200, &body);
        }
        if self.site.images.find(image).is_some() {
            return Answer::json(200, &json!({ "success": true, "reason": "", "code": "UNKNOWN" }));
        }
        let code = if secret.is_some() { "AUTH_NOT_FOUND" } else { "ANON_NOT_FOUND" };
        let reason = format!("{image} was not found by its registry");
        Answer::json(200, &json!({ "success": false, "code": code, "reason": reason }))
    }

    /// Lines of one service or deployment, newest first unless asked otherwise.
    pub(super) fn query_logs(&self, call: &Call) -> Result<Answer, Refused> {
        let given = |name: &str| call.parameter(name).filter(|text| !text.is_empty());
        let (service, deployment) = (given("service_id"), given("deployment_id"));
        if service.is_none() && deployment.is_none() {
            return Err(invalid("service_id", "at least one of the ids must be set"));
        }
        let logs: Vec<(String, Arc<Log>)> = {
            let stock = self.stock();
            let of = |s: &&super::Service| service.is_none_or(|id| s.id == id);
            stock.services.values().filter(of).map(|s| (s.id.clone(), Arc::clone(&s.log))).collect()
        };
        let now = self.site.clock.wall();
        let time = |name: &str, default: u64| match given(name) {
            None => Ok(default),
            Some(text) => milliseconds(text).ok_or_else(|| invalid(name, "is not a time")),
        };
        let (start, end) = (time("start", now.0.saturating_sub(LOG_SPAN_MS))?, time("end", now.0)?);
        let limit = given("limit").and_then(|text| text.parse().ok()).unwrap_or(LINES);
        let limit = limit.clamp(1, MOST_LINES);
        let mut rows: Vec<(String, Line)> = Vec::new();
        for (id, log) in logs {
            rows.extend(log.since(0).into_iter().map(|line| (id.clone(), line)));
        }
        rows.retain(|(_, line)| {
            (start..=end).contains(&line.at.0) && deployment.is_none_or(|id| line.tag == id)
        });
        rows.sort_by_key(|(_, line)| (line.at.0, line.number));
        if given("order") != Some("asc") {
            rows.reverse();
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        let data: Vec<Value> = rows.iter().map(|(id, line)| log_row(id, line)).collect();
        let pagination = json!({
            "has_more": more, "next_start": moment(Timestamp(start)), "next_end": moment(Timestamp(end)),
        });
        Ok(Answer::json(200, &json!({ "data": data, "pagination": pagination })))
    }

    /// How long instances ran this month, as far as those that are there tell.
    pub(super) fn usage(&self) -> Answer {
        let stock = self.stock();
        let mut apps: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for service in stock.services.values() {
            let of = stock.deployments.iter().filter(|d| d.service == service.id);
            let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
            for deployment in of {
                *kinds.entry(deployment.kind()).or_default() += deployment.processes().len() * 60;
            }
            let kinds: Map<String, Value> = kinds
                .into_iter()
                .map(|(kind, seconds)| (kind.to_owned(), json!({ "duration_seconds": seconds })))
                .collect();
            let row = json!({
                "service_id": service.id, "service_name": service.name, "regions": { REGION: { "instances": kinds } },
            });
            apps.entry(&service.app).or_default().push(row);
        }
        let apps: Vec<Value> = apps
            .into_iter()
            .map(|(id, services)| {
                let name = stock.apps.get(id).map_or("", |app| app.name.as_str());
                json!({ "app_id": id, "app_name": name, "services": services })
            })
            .collect();
        let today = moment(self.site.clock.wall());
        let month = today.get(..7).unwrap_or_default();
        let period = json!({ "starting_time": format!("{month}-01T00:00:00Z"), "ending_time": today, "apps": apps });
        let usage = json!({ "organization_id": self.organization, "periods": { month: period } });
        Answer::json(200, &json!({ "usage": usage }))
    }
}

/// `held` with what `body` changes.
fn secret(
    held: Map<String, Value>,
    body: &Map<String, Value>,
    now: &str,
) -> Result<Value, Refused> {
    let mut row = held;
    for (name, value) in body {
        if matches!(name.as_str(), "name" | "type" | "value") || REGISTRIES.contains(&name.as_str())
        {
            row.insert(name.clone(), value.clone());
        }
    }
    row.insert("updated_at".to_owned(), json!(now));
    let has = |name: &&str| row.get(*name).is_some_and(Value::is_object);
    match row.get("type").and_then(Value::as_str) {
        Some("SIMPLE") if row.get("value").is_some_and(Value::is_string) => Ok(Value::Object(row)),
        Some("REGISTRY") if REGISTRIES.iter().filter(|name| has(name)).count() == 1 => {
            Ok(Value::Object(row))
        }
        Some("SIMPLE") => Err(invalid("value", "is required")),
        Some("REGISTRY") => Err(invalid("type", "exactly one registry is required")),
        _ => Err(invalid("type", "is not valid")),
    }
}

/// A secret as the API shows it: without its value.
fn shown(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(fields) = row.as_object_mut() {
        fields.remove("value");
        for (_, registry) in
            fields.iter_mut().filter(|(name, _)| REGISTRIES.contains(&name.as_str()))
        {
            if let Some(own) = registry.as_object_mut() {
                own.remove("password");
            }
        }
    }
    row
}

fn milliseconds(text: &str) -> Option<u64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

fn log_row(service: &str, line: &Line) -> Value {
    let stream = match line.stream {
        Stream::Out => "stdout",
        Stream::Err => "stderr",
        Stream::Provider => "koyeb",
    };
    json!({
        "msg": line.text, "created_at": moment(line.at),
        "labels": { "service_id": service, "instance_id": line.instance, "stream": stream, "type": "runtime" },
    })
}
