//! Koyeb: the public API of `app.koyeb.com`, and `APP-ORGANIZATION-HASH.koyeb.app`.
//!
//! Facts: the published description (operations, fields, statuses, from which statuses a service may be paused and
//! resumed), koyeb.com/docs (health checks, scaling, scale to zero, instance types, the free instance). What those leave
//! open is refused rather than guessed: a paused service takes new settings only with `save_only`.

mod api;
mod definition;
mod deployment;
mod more;
mod service;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::log::Log;
use super::process::Process;
use super::site::{Blank, InstanceView, Route, Site, Target, Vendor};
use deployment::Deployment;

/// The region of the rehearsal.
const REGION: &str = "fra";

/// The vendor.
pub(crate) struct Koyeb {
    site: Arc<Site>,
    organization: String,
    stock: Mutex<Stock>,
}

/// All that the organization has.
#[derive(Default)]
struct Stock {
    apps: BTreeMap<String, App>,
    services: BTreeMap<String, Service>,
    /// Oldest first.
    deployments: Vec<Arc<Deployment>>,
    secrets: BTreeMap<String, Value>,
    domains: BTreeMap<String, Value>,
}

struct App {
    id: String,
    name: String,
    created: String,
    deleting: bool,
}

/// Whether a service is meant to run, and what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Running,
    Pausing,
    Paused,
    Resuming,
    Deleting,
}

struct Service {
    id: String,
    app: String,
    name: String,
    created: String,
    course: Course,
    /// The settings: what the next deployment is made of.
    definition: Value,
    latest: Arc<Deployment>,
    active: Option<Arc<Deployment>>,
    version: u64,
    log: Arc<Log>,
}

/// What a handler says instead of an answer.
type Refused = Answer;

fn refusal(status: u16, code: &str, why: &str) -> Refused {
    Answer::json(status, &json!({ "status": status, "code": code, "message": why }))
}

/// A request whose field is wrong.
fn invalid(field: &str, why: &str) -> Refused {
    let fields = [json!({ "field": field, "description": why })];
    let body = json!({ "status": 400, "code": "invalid_argument", "message": "Validation error", "fields": fields });
    Answer::json(400, &body)
}

fn missing() -> Refused {
    refusal(404, "not_found", "Resource not found")
}

impl Koyeb {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        let organization = site.dice.uuid();
        Self { site, organization, stock: Mutex::default() }
    }

    /// The organization's id.
    pub(crate) fn organization(&self) -> String {
        self.organization.clone()
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    /// The service whose app has `host`, or that of its domains.
    fn service_at(&self, host: &str) -> Option<&Service> {
        let domain =
            self.domains.values().find(|row| row["name"] == host && row["status"] == "ACTIVE")?;
        let of_app = |service: &&Service| domain["app_id"] == service.app.as_str();
        let leads = |service: &&Service| {
            let routes =
                service.active.as_ref().unwrap_or(&service.latest).definition["routes"].as_array();
            routes.is_some_and(|routes| !routes.is_empty())
        };
        self.services.values().filter(of_app).find(leads)
    }
}

#[async_trait]
impl Vendor for Koyeb {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        if call.bearer() != Some(self.site.token.as_str()) {
            return refusal(401, "unauthorized", "Token rejected");
        }
        self.site.dawdle(3, 15).await;
        match self.dispatch(&call) {
            Ok(answer) | Err(answer) => answer,
        }
    }

    fn limited(&self) -> Answer {
        // No limit is published; the answer has the form of the description's default one.
        Answer::json(429, &json!({ "code": 8, "message": "Too many requests", "details": [] }))
    }

    fn route(&self, host: &str) -> Route {
        let stock = self.stock();
        let Some(service) = stock.service_at(host) else { return Route::Unknown };
        let Some(deployment) = service.active.clone().filter(|_| service.course == Course::Running)
        else {
            return Route::Idle(service.latest.about());
        };
        drop(stock);
        deployment.is_asked_for(&self.site);
        let processes = deployment.processes();
        let processes: Vec<&Arc<Process>> = processes.iter().map(|(_, process)| process).collect();
        let Some(chosen) = self.site.take_turn(&processes) else {
            return Route::Idle(deployment.about());
        };
        let route = &deployment.definition["routes"][0]["port"];
        let reaches = deployment.port().map(u64::from) == route.as_u64();
        let port = deployment.definition["ports"].as_array().into_iter().flatten();
        let protocol = port.filter(|p| p["port"] == *route).find_map(|p| p["protocol"].as_str());
        Route::To(Target {
            service: deployment.about(),
            address: reaches.then_some(chosen.address),
            health: deployment.health().map(str::to_owned),
            http2: protocol == Some("http2"),
        })
    }

    fn page(&self, why: Blank) -> (u16, &'static str, String) {
        let (status, text) = match why {
            Blank::UnknownHost => (404, "No active service: this page does not exist\n"),
            Blank::NoInstance => (503, "The service has no healthy instance\n"),
            Blank::NoAnswer => (502, "The instance did not answer\n"),
        };
        (status, "text/plain", text.to_owned())
    }

    fn instances(&self) -> Vec<InstanceView> {
        let deployments = self.stock().deployments.clone();
        let mut rows = Vec::new();
        for deployment in &deployments {
            let service =
                deployment.about().map_or_else(|| deployment.service.clone(), |s| s.to_string());
            for (id, process) in deployment.processes() {
                let said = deployment.instance_status(&self.site, &process).to_owned();
                rows.push(InstanceView::of(service.clone(), id, said, &process));
            }
        }
        rows
    }
}
