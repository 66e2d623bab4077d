//! Fly.io: the Machines API of `api.machines.dev/v1`, the log endpoint of `api.fly.io`, and `APP.fly.dev`.
//!
//! Facts: docs.machines.dev (operations, fields, states), fly.io/docs/machines/api/working-with-machines-api (rate
//! limits), fly.io/docs/monitoring/logs-api-options (logs). The lease answers come in an envelope
//! (`{"status", "data"}`), as the vendor's own client (superfly/fly-go) and others read them.

mod app;
mod certificate;
mod config;
mod lease;
mod machine;
mod machines;
mod registry;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Call};
use super::limit::{Limits, Rate};
use super::log::{Line, Stream, moment};
use super::process::Process;
use super::registry::{Images, Login};
use super::site::{Blank, InstanceView, Route, Site, Target, Vendor};
use app::App;
use machine::Machine;

/// The slug of the one organisation there is.
pub(crate) const ORGANISATION: &str = "rehearsal";
/// Airport codes of regions; machines are made in the first when none is asked for.
const REGIONS: [(&str, &str); 6] = [
    ("iad", "Ashburn, Virginia (US)"),
    ("ams", "Amsterdam, Netherlands"),
    ("cdg", "Paris, France"),
    ("fra", "Frankfurt, Germany"),
    ("lhr", "London, United Kingdom"),
    ("nrt", "Tokyo, Japan"),
];
/// One request a second for each action on each machine or app, three at once.
const EACH_ACTION: Rate = Rate { per_second: 1.0, burst: 3.0 };
const GET_MACHINE: Rate = Rate { per_second: 5.0, burst: 10.0 };
const DELETE_APP: Rate = Rate { per_second: 100.0 / 60.0, burst: 100.0 };

/// The vendor.
pub(crate) struct Fly {
    site: Arc<Site>,
    apps: Mutex<BTreeMap<String, App>>,
    limits: Limits,
    /// `registry.fly.io`.
    registry: Images,
}

/// What a handler says instead of an answer.
type Refused = Answer;

fn refusal(status: u16, why: &str) -> Refused {
    Answer::json(status, &json!({ "error": why }))
}

impl Fly {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        let login = Login { user: "x".to_owned(), password: site.token.clone() };
        let registry = Images::empty(login);
        Self { site, apps: Mutex::default(), limits: Limits::default(), registry }
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<String, App>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works with one app.
    fn with_app<T>(&self, name: &str, work: impl FnOnce(&mut App) -> T) -> Result<T, Refused> {
        match self.apps().get_mut(name) {
            Some(app) => Ok(work(app)),
            None => Err(refusal(404, "app not found")),
        }
    }

    fn machine(&self, app: &str, id: &str) -> Result<Arc<Machine>, Refused> {
        let found = self.with_app(app, |app| app.machines.get(id).cloned())?;
        found.ok_or_else(|| refusal(404, "machine not found"))
    }

    fn machines_of(&self, app: &str) -> Vec<Arc<Machine>> {
        self.apps().get(app).map(|app| app.machines.values().cloned().collect()).unwrap_or_default()
    }

    fn limit(&self, action: &str, id: &str, rate: Rate) -> Result<(), Refused> {
        match self.limits.take(format!("{action} {id}"), rate) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.limited()),
        }
    }

    /// Answers a call whose credential is good.
    async fn dispatch(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let method = call.method.as_str();
        if let (["api", "v1", "apps", app, "logs"], "GET") = (parts.as_slice(), method) {
            return self.logs(app, call);
        }
        let Some(("v1", rest)) = parts.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(refusal(404, "not found"));
        };
        let id = rest.get(3).or(rest.get(1)).copied().unwrap_or(ORGANISATION);
        match (rest, method) {
            (["apps", _, "machines", id], "GET") => self.limit("get", id, GET_MACHINE)?,
            (["apps", _], "DELETE") => self.limit("delete", ORGANISATION, DELETE_APP)?,
            _ => {
                let action =
                    rest.iter().filter(|p| **p != id).copied().collect::<Vec<_>>().join("/");
                self.limit(&format!("{method} {action}"), id, EACH_ACTION)?;
            }
        }
        match rest {
            ["apps", app, "machines", tail @ ..] => self.of_machines(call, app, tail).await,
            ["apps", tail @ ..] => self.of_apps(call, tail),
            ["orgs", _, "machines"] if method == "GET" => Ok(self.of_organisation()),
            ["platform", "regions"] if method == "GET" => Ok(regions()),
            ["tokens", "current"] if method == "GET" => {
                let token = json!({ "token_id": "rehearsal", "organization": ORGANISATION, "org_slug": ORGANISATION });
                Ok(Answer::json(200, &json!({ "tokens": [token] })))
            }
            _ => Err(refusal(404, "not found")),
        }
    }

    fn of_organisation(&self) -> Answer {
        let apps = self.apps();
        let machines = apps.values().flat_map(|app| app.machines.values().map(move |m| (app, m)));
        let rows = machines.filter(|(_, m)| !m.is_destroyed()).map(|(app, machine)| {
            let mut row = machine.view(&self.site);
            let config = row.get("config").cloned().unwrap_or_default();
            let version = row.get("instance_id").cloned().unwrap_or_default();
            row.retain(|name, _| {
                [
                    "id",
                    "name",
                    "region",
                    "state",
                    "created_at",
                    "updated_at",
                    "instance_id",
                    "private_ip",
                ]
                .contains(&name.as_str())
            });
            row.insert("app_name".to_owned(), json!(app.name));
            row.insert("version".to_owned(), version);
            let brief = ["guest", "image", "metadata"]
                .map(|name| (name.to_owned(), config.get(name).cloned()));
            let brief = brief.into_iter().filter_map(|(name, value)| Some((name, value?)));
            row.insert("config".to_owned(), Value::Object(brief.collect()));
            Value::Object(row)
        });
        Answer::json(200, &json!({ "machines": rows.collect::<Vec<_>>() }))
    }

    /// The log of an app as `api.fly.io` gives it: pages of JSON:API records, oldest first, with a token for the next.
    fn logs(&self, app: &str, call: &Call) -> Result<Answer, Refused> {
        self.limit("GET logs", app, EACH_ACTION)?;
        let log = self.with_app(app, |app| Arc::clone(&app.log))?;
        let after = call.parameter("next_token").and_then(|t| t.rsplit('-').next()?.parse().ok());
        let mut lines = log.since(after.unwrap_or(0));
        if let Some(instance) = call.parameter("instance") {
            lines.retain(|line| line.instance == instance);
        }
        if after.is_none() {
            // The first page has the newest lines.
            lines.drain(..lines.len().saturating_sub(100));
        }
        lines.truncate(100);
        let last = lines.last().map_or(after.unwrap_or(0), |line| line.number);
        let rows: Vec<Value> = lines.iter().map(|line| log_row(app, line)).collect();
        let meta = json!({ "next_token": format!("{app}-{last}") });
        Ok(Answer::json(200, &json!({ "data": rows, "meta": meta })))
    }
}

fn log_row(app: &str, line: &Line) -> Value {
    let (level, provider) = match line.stream {
        Stream::Out => ("info", "app"),
        Stream::Err => ("error", "app"),
        Stream::Provider => ("info", "runner"),
    };
    let region = REGIONS[0].0;
    json!({
        "id": format!("{app}-{}", line.number),
        "type": "log",
        "attributes": {
            "timestamp": moment(line.at),
            "message": line.text,
            "level": level,
            "instance": line.instance,
            "region": region,
            "meta": { "instance": line.instance, "region": region, "event": { "provider": provider } },
        },
    })
}

fn regions() -> Answer {
    let row = |(code, name): (&str, &str)| json!({ "code": code, "name": name, "deprecated": false, "gateway_available": true, "requires_paid_plan": false });
    Answer::json(200, &json!({ "nearest": REGIONS[0].0, "regions": REGIONS.map(row) }))
}

#[async_trait]
impl Vendor for Fly {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        if call.bearer() != Some(self.site.token.as_str()) {
            return refusal(401, "unauthorized: the token is missing or not valid");
        }
        match self.dispatch(&call).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    fn limited(&self) -> Answer {
        refusal(429, "rate limit exceeded")
    }

    fn route(&self, host: &str) -> Route {
        let apps = self.apps();
        let own = host.strip_suffix(".fly.dev").and_then(|name| apps.get(name));
        let Some(app) =
            own.or_else(|| apps.values().find(|app| app.certificates.contains_key(host)))
        else {
            return Route::Unknown;
        };
        if app.addresses.is_empty() {
            return Route::Unknown;
        }
        let served: Vec<_> = app.machines.values().filter_map(|m| m.served()).collect();
        let service = app.machines.values().find_map(|m| m.service());
        let processes: Vec<&Arc<Process>> = served.iter().map(|(process, _)| process).collect();
        let Some(chosen) = self.site.take_turn(&processes) else { return Route::Idle(service) };
        let target =
            served.iter().find(|(process, _)| Arc::ptr_eq(process, chosen)).map(|(_, exposed)| {
                Target {
                    service,
                    address: exposed.reaches.then_some(chosen.address),
                    health: exposed.health.clone(),
                    http2: exposed.http2,
                }
            });
        target.map_or(Route::Unknown, Route::To)
    }

    fn page(&self, why: Blank) -> (u16, &'static str, String) {
        let (status, text) = match why {
            Blank::UnknownHost => (404, "no app has this host, or it has no IP address\n"),
            Blank::NoInstance => (503, "no machine of this app is started\n"),
            Blank::NoAnswer => (502, "the machine did not answer\n"),
        };
        (status, "text/plain", text.to_owned())
    }

    fn instances(&self) -> Vec<InstanceView> {
        let apps = self.apps();
        let machines =
            apps.values().flat_map(|app| app.machines.values().map(|m| (app.name.clone(), m)));
        machines.filter_map(|(app, machine)| machine.instance(&self.site, app)).collect()
    }
}

/// The object in `body`, or a refusal.
fn object(call: &Call) -> Result<Map<String, Value>, Refused> {
    match call.json() {
        Some(Value::Object(fields)) => Ok(fields),
        Some(Value::Null) => Ok(Map::new()),
        _ => Err(refusal(400, "invalid_argument: the body is not a JSON object")),
    }
}
