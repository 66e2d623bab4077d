//! Render: the REST API of `api.render.com/v1`, and `SLUG.onrender.com`.
//!
//! Facts: the published description (operations, fields, statuses), api-docs.render.com (rate limits, pagination),
//! render.com/docs (deploys, one-off jobs, free instances, deploying an image). The workspace has a card on file, so
//! every plan may be used. Free services do not go to sleep here: a rehearsal is over sooner.

mod around;
mod deploy;
mod domain;
mod job;
mod service;
mod services;
mod variables;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Call};
use super::limit::{Limits, Rate};
use super::process::Process;
use super::site::{Blank, InstanceView, Route, Site, Target, Vendor};
use around::Credential;
use job::Job;
use service::Service;

/// Letters of ids.
const LETTERS: &str = "0123456789abcdefghijklmnopqrstuv";

/// The vendor.
pub(crate) struct Render {
    site: Arc<Site>,
    owner: String,
    limits: Limits,
    stock: Mutex<Stock>,
}

/// Everything, by id.
#[derive(Default)]
struct Stock {
    services: BTreeMap<String, Service>,
    credentials: BTreeMap<String, Credential>,
    jobs: BTreeMap<String, Arc<Job>>,
}

/// What a handler says instead of an answer.
type Refused = Answer;

fn refusal(status: u16, why: &str) -> Refused {
    Answer::json(status, &json!({ "message": why }))
}

fn not_found(what: &str) -> Refused {
    refusal(404, &format!("not found: {what}"))
}

/// One of the documented limits: what it is counted for, how many, in how many seconds.
struct Allowance {
    bucket: String,
    count: f64,
    seconds: f64,
}

impl Render {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        let owner = format!("tea-{}", site.dice.letters(LETTERS, 20));
        Self { site, owner, limits: Limits::default(), stock: Mutex::default() }
    }

    /// The id of the only workspace.
    pub(crate) fn workspace(&self) -> String {
        self.owner.clone()
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_id(&self, kind: &str) -> String {
        format!("{kind}-{}", self.site.dice.letters(LETTERS, 20))
    }

    /// Works with one service.
    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Service) -> T) -> Result<T, Refused> {
        self.stock().services.get_mut(id).map(work).ok_or_else(|| not_found(id))
    }

    async fn dispatch(self: &Arc<Self>, call: &Call) -> Result<Answer, Refused> {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let Some(("v1", rest)) = parts.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(refusal(404, "404 page not found"));
        };
        self.site.dawdle(5, 30).await;
        match (call.method.as_str(), rest) {
            (_, ["services", id, "env-vars", tail @ ..]) => self.of_variables(call, id, tail),
            (_, ["services", id, "custom-domains", tail @ ..]) => self.of_domains(call, id, tail),
            (_, ["services", id, "jobs", tail @ ..]) => self.of_jobs(call, id, tail),
            (_, ["services", tail @ ..]) => self.of_services(call, tail).await,
            (_, ["registrycredentials", tail @ ..]) => self.of_credentials(call, tail),
            ("GET", ["owners", tail @ ..]) => self.of_owners(call, tail),
            ("GET", ["logs"]) => self.logs(call),
            ("GET", ["metrics", what]) => self.metrics(call, what),
            _ => Err(refusal(404, "404 page not found")),
        }
    }

    /// Which of the documented limits a call counts against.
    fn allowance(call: &Call) -> Allowance {
        let parts = call.parts();
        let parts: Vec<&str> = parts.iter().skip(1).map(String::as_str).collect();
        let (bucket, count, seconds) = match (call.method.as_str(), parts.as_slice()) {
            ("GET", _) => ("read".to_owned(), 400.0, 60.0),
            ("POST", ["services"]) => ("create".to_owned(), 20.0, 3_600.0),
            ("POST", ["services", _, "jobs"]) => ("jobs".to_owned(), 2_000.0, 3_600.0),
            ("PATCH", ["services", id])
            | ("POST", ["services", id, "deploys" | "suspend" | "resume"]) => {
                (format!("service {id}"), 10.0, 60.0)
            }
            _ => ("write".to_owned(), 30.0, 60.0),
        };
        Allowance { bucket, count, seconds }
    }

    fn refuse_for(&self, wait: Duration) -> Answer {
        let seconds = wait.as_secs().max(1).to_string();
        refusal(429, "rate limit exceeded")
            .with("retry-after", &seconds)
            .with("ratelimit-limit", "30")
            .with("ratelimit-remaining", "0")
            .with("ratelimit-reset", &seconds)
    }
}

#[async_trait]
impl Vendor for Render {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        if call.bearer() != Some(self.site.token.as_str()) {
            return refusal(401, "Unauthorized");
        }
        let Allowance { bucket, count, seconds } = Self::allowance(&call);
        let rate = Rate { per_second: count / seconds, burst: count };
        let left = match self.limits.take(bucket, rate) {
            Ok(left) => left,
            Err(wait) => return self.refuse_for(wait),
        };
        let answer = match self.dispatch(&call).await {
            Ok(answer) | Err(answer) => answer,
        };
        answer
            .with("ratelimit-limit", &format!("{count:.0}"))
            .with("ratelimit-remaining", &format!("{:.0}", left.floor()))
            .with("ratelimit-reset", &format!("{seconds:.0}"))
    }

    fn limited(&self) -> Answer {
        self.refuse_for(Duration::from_secs(2))
    }

    fn route(&self, host: &str) -> Route {
        let stock = self.stock();
        let Some(service) = stock.services.values().find(|service| service.is_at(host)) else {
            return Route::Unknown;
        };
        let Some(live) = service.live().filter(|_| service.suspenders.is_empty()) else {
            return Route::Idle(service.about());
        };
        let processes = live.processes();
        let processes: Vec<&Arc<Process>> = processes.iter().map(|(_, process)| process).collect();
        let Some(chosen) = self.site.take_turn(&processes) else {
            return Route::Idle(service.about());
        };
        Route::To(Target {
            service: service.about(),
            address: Some(chosen.address),
            health: Some(service.health.clone()).filter(|path| !path.is_empty()),
            // HTTP/1.1 to apps; gRPC is documented for the private network only.
            http2: false,
        })
    }

    fn page(&self, why: Blank) -> (u16, &'static str, String) {
        let (status, text) = match why {
            Blank::UnknownHost => (404, "Not Found\n"),
            Blank::NoInstance => (503, "Service Unavailable\n"),
            Blank::NoAnswer => (502, "Bad Gateway\n"),
        };
        (status, "text/plain", text.to_owned())
    }

    fn instances(&self) -> Vec<InstanceView> {
        let stock = self.stock();
        let mut rows = Vec::new();
        for service in stock.services.values() {
            let name = service.about().map_or_else(|| service.name.clone(), |s| s.to_string());
            for deploy in &service.deploys {
                let said = deploy.status().to_owned();
                for (id, process) in deploy.processes() {
                    rows.push(InstanceView::of(name.clone(), id, said.clone(), &process));
                }
            }
        }
        rows
    }
}

/// The object in the body, or a refusal.
fn object(call: &Call) -> Result<Map<String, Value>, Refused> {
    match call.json() {
        Some(Value::Object(fields)) => Ok(fields),
        Some(Value::Null) => Ok(Map::new()),
        _ => Err(refusal(400, "invalid JSON")),
    }
}

/// One page of `rows`, each under `name` beside its cursor (docs: reference/pagination).
fn page(call: &Call, name: &str, rows: impl Iterator<Item = (String, Value)>) -> Answer {
    let limit = call.parameter("limit").and_then(|text| text.parse::<usize>().ok());
    let limit = limit.unwrap_or(20).clamp(1, 100);
    let after = call.parameter("cursor");
    let mut seen = after.is_none();
    let mut out = Vec::new();
    for (id, row) in rows {
        if seen && out.len() < limit {
            out.push(json!({ name: row, "cursor": id }));
        }
        seen |= after == Some(id.as_str());
    }
    Answer::json(200, &Value::Array(out))
}
