//! The paths of the API, and its lists.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{App, Koyeb, Refused, invalid, missing, refusal};
use crate::cloud::answer::{Answer, Call};

/// Items in one answer when the client does not say.
const PAGE: usize = 10;
/// The most that a client may ask for.
const LARGEST_PAGE: usize = 100;

impl Koyeb {
    /// Answers a call whose credential is good.
    pub(super) fn dispatch(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let Some(("v1", rest)) = parts.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(missing());
        };
        match (call.method.as_str(), rest) {
            (_, ["apps", tail @ ..]) => self.of_apps(call, tail),
            (_, ["services", tail @ ..]) => self.of_services(call, tail),
            ("GET", ["deployments"]) => Ok(self.list_deployments(call)),
            ("GET", ["deployments", id]) => self.get_deployment(id),
            ("GET", ["instances"]) => Ok(self.list_instances(call)),
            (_, ["secrets", tail @ ..]) => self.of_secrets(call, tail),
            (_, ["domains", tail @ ..]) => self.of_domains(call, tail),
            ("GET", ["docker-helper", "verify"]) => Ok(self.verify(call)),
            ("GET", ["streams", "logs", "query"]) => self.query_logs(call),
            ("GET", ["usages"]) => Ok(self.usage()),
            ("GET", ["account", "organization"]) => {
                let row = json!({ "id": self.organization, "name": "rehearsal", "plan": "starter", "status": "ACTIVE" });
                Ok(Answer::json(200, &json!({ "organization": row })))
            }
            ("GET", ["organizations", id, "quotas"]) if *id == self.organization => Ok(quotas()),
            _ => Err(missing()),
        }
    }

    fn of_apps(self: &Arc<Self>, call: &Call, parts: &[&str]) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let rows = {
                    let stock = self.stock();
                    stock.apps.values().map(|app| self.app_view(&stock, app)).collect()
                };
                Ok(page(call, "apps", named(call, rows)))
            }
            ("POST", []) => self.create_app(call),
            ("GET", [id]) => {
                let stock = self.stock();
                let app = stock.apps.get(*id).ok_or_else(missing)?;
                Ok(Answer::json(200, &json!({ "app": self.app_view(&stock, app) })))
            }
            ("DELETE", [id]) => self.delete_app(id),
            _ => Err(missing()),
        }
    }

    fn app_view(&self, stock: &super::Stock, app: &App) -> Value {
        let domains: Vec<&Value> =
            stock.domains.values().filter(|row| row["app_id"] == app.id.as_str()).collect();
        let of_app = || stock.services.values().filter(|service| service.app == app.id);
        let status = match of_app().next() {
            _ if app.deleting => "DELETING",
            Some(service) => self.service_status(service),
            None => "STARTING",
        };
        json!({
            "id": app.id, "name": app.name, "organization_id": self.organization, "created_at": app.created,
            "updated_at": app.created, "status": status, "messages": [], "domains": domains,
        })
    }

    fn create_app(&self, call: &Call) -> Result<Answer, Refused> {
        let body = object(call)?;
        if self.site.is_out_of_quota(None) {
            return Err(over_quota());
        }
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
        let is_label = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(3..=63).contains(&name.len()) || !name.bytes().all(is_label) {
            return Err(invalid("name", "must be 3 to 63 lower-case letters, digits or hyphens"));
        }
        let mut stock = self.stock();
        if stock.apps.values().any(|app| app.name == name) {
            return Err(invalid("name", "already exists"));
        }
        let (id, now) = (self.site.dice.uuid(), self.site.now());
        let app =
            App { id: id.clone(), name: name.to_owned(), created: now.clone(), deleting: false };
        let host = format!("{name}-rehearsal-{}.{}", self.site.dice.hex(8), self.site.host_suffix);
        let domain = self.domain(&host, "AUTOASSIGNED", Some(&id), "ACTIVE");
        stock.domains.insert(domain["id"].as_str().unwrap_or_default().to_owned(), domain);
        let view = self.app_view(&stock, &app);
        stock.apps.insert(id, app);
        Ok(Answer::json(200, &json!({ "app": view })))
    }

    fn delete_app(self: &Arc<Self>, id: &str) -> Result<Answer, Refused> {
        let services: Vec<String> = {
            let mut stock = self.stock();
            stock.apps.get_mut(id).ok_or_else(missing)?.deleting = true;
            stock.services.values().filter(|s| s.app == id).map(|s| s.id.clone()).collect()
        };
        let (koyeb, id) = (Arc::clone(self), id.to_owned());
        self.site.tasks.start(async move {
            for service in services {
                koyeb.wipe(&service).await;
            }
            let mut stock = koyeb.stock();
            stock.apps.remove(&id);
            stock.domains.retain(|_, row| row["app_id"] != id.as_str());
        });
        Ok(Answer::json(200, &json!({})))
    }

    fn list_deployments(&self, call: &Call) -> Answer {
        let deployments = self.stock().deployments.clone();
        let rows =
            deployments.iter().rev().map(|d| d.view(&self.site, &self.organization)).collect();
        page(call, "deployments", filtered(call, rows))
    }

    fn get_deployment(&self, id: &str) -> Result<Answer, Refused> {
        let found = self.stock().deployments.iter().find(|d| d.id == id).cloned();
        let view = found.ok_or_else(missing)?.view(&self.site, &self.organization);
        Ok(Answer::json(200, &json!({ "deployment": view })))
    }

    fn list_instances(&self, call: &Call) -> Answer {
        let deployments = self.stock().deployments.clone();
        let rows = deployments.iter().flat_map(|d| d.instance_rows(&self.site, &self.organization));
        page(call, "instances", filtered(call, rows.collect()))
    }
}

/// What the plan allows.
fn quotas() -> Answer {
    let quotas = json!({
        "apps": "20", "services": "20", "domains": "50", "custom_domains": "10", "services_by_app": "20",
        "memory_mb": "65536", "max_instances_by_type": { "free": "1", "nano": "20", "micro": "20" },
        "regions": [super::REGION, "was"], "instance_types": ["free", "nano", "micro", "small", "medium"],
        "scale_to_zero": { "is_deep_sleep_enabled": true, "is_light_sleep_enabled": false },
    });
    Answer::json(200, &json!({ "quotas": quotas }))
}

/// What is said when an allowance is used up.
pub(super) fn over_quota() -> Refused {
    let why =
        "You have reached the limit of services of your plan. Upgrade your plan to create more";
    refusal(403, "quota_exceeded", why)
}

/// The object in the body, or a refusal.
pub(super) fn object(call: &Call) -> Result<Map<String, Value>, Refused> {
    match call.json() {
        Some(Value::Object(fields)) => Ok(fields),
        Some(Value::Null) => Ok(Map::new()),
        _ => Err(refusal(400, "invalid_argument", "the body is not a JSON object")),
    }
}

/// The rows whose name has the filter in it.
pub(super) fn named(call: &Call, rows: Vec<Value>) -> Vec<Value> {
    let part = call.parameter("name").unwrap_or_default();
    let fits = |row: &Value| row["name"].as_str().is_some_and(|name| name.contains(part));
    rows.into_iter().filter(fits).collect()
}

/// The rows that all the filters by id, status and type let through.
pub(super) fn filtered(call: &Call, rows: Vec<Value>) -> Vec<Value> {
    let given = |name: &str| -> Vec<&str> {
        call.query.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    };
    let filters = [
        ("app_id", "app_id"),
        ("app_ids", "app_id"),
        ("service_id", "service_id"),
        ("statuses", "status"),
        ("types", "type"),
    ];
    let filters = filters.map(|(parameter, field)| (given(parameter), field));
    let fits = |row: &Value| {
        filters.iter().all(|(allowed, field)| {
            allowed.is_empty() || row[*field].as_str().is_some_and(|value| allowed.contains(&value))
        })
    };
    rows.into_iter().filter(fits).collect()
}

/// One page of `rows` under the name `key`.
pub(super) fn page(call: &Call, key: &str, rows: Vec<Value>) -> Answer {
    let number = |name: &str| call.parameter(name).and_then(|text| text.parse::<usize>().ok());
    let (limit, offset) =
        (number("limit").unwrap_or(PAGE).min(LARGEST_PAGE), number("offset").unwrap_or(0));
    let count = rows.len();
    let shown: Vec<Value> = rows.into_iter().skip(offset).take(limit).collect();
    let mut body = json!({ "limit": limit, "offset": offset, "count": count });
    if matches!(key, "apps" | "services" | "deployments") {
        body["has_next"] = json!(offset + shown.len() < count);
    }
    body[key] = Value::from(shown);
    Answer::json(200, &body)
}
