//! Zeabur: the GraphQL API of `api.zeabur.com/graphql`, and `PREFIX.zeabur.app`.
//!
//! The vendor publishes no schema. Facts: the requests that its own command line (`zeabur/cli`) and its own SDK
//! (`@zeabur/ai-sdk`) send, and zeabur.com/docs. Where these are silent the rehearsal takes what is harder for a
//! client: names of services are not unique, a suspended service stays so when it is deployed, the service's status
//! lags behind its deployments.

mod deployment;
mod mutation;
mod query;
mod schema;
mod stock;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::answer::{Answer, Call};
use super::graphql::{self, Request, Schema};
use super::site::{Blank, InstanceView, Route, Site, Target, Vendor};
use deployment::{Deployment, Place};
use query::{Node, Session};
use stock::{Project, Stock};

/// The vendor.
pub(crate) struct Zeabur {
    site: Arc<Site>,
    schema: Schema,
    stock: Mutex<Stock>,
    user: String,
}

impl Zeabur {
    /// An account with one project, named `project`.
    pub(crate) fn new(site: Arc<Site>, project: &str) -> Self {
        let project = Self::new_project(&site, project, "hnd1");
        Self {
            schema: Schema::read(schema::TABLE),
            user: site.dice.hex(24),
            site,
            stock: Mutex::new(Stock { projects: vec![project], services: Vec::new() }),
        }
    }

    fn new_project(site: &Site, name: &str, region: &str) -> Project {
        Project {
            id: site.dice.hex(24),
            name: name.to_owned(),
            region: region.to_owned(),
            environment: site.dice.hex(24),
            created: site.now(),
        }
    }

    /// The ids of the first project and its environment.
    pub(crate) fn home(&self) -> (String, String) {
        let stock = self.stock();
        stock.projects.first().map(|p| (p.id.clone(), p.environment.clone())).unwrap_or_default()
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deploys what the service is set to now. A suspended service has the deployment and does not start it.
    fn deploy(self: &Arc<Self>, service: &str, environment: &str) -> Result<String, String> {
        let (deployment, before) = {
            let mut stock = self.stock();
            let held = stock.service_in(service, environment)?;
            let image = held.image.clone().ok_or("service has no source to deploy")?;
            let place = Place {
                project: held.project.clone(),
                service: held.id.clone(),
                environment: held.environment.clone(),
            };
            let (env, log) = (held.variables.clone(), Arc::clone(&held.log));
            let deployment = Deployment::new(&self.site, place, image, env, log);
            // One that never came up has nothing to be kept for.
            held.deployments.iter().filter(|d| !d.serves()).for_each(|d| d.remove(&self.site));
            held.deployments.push(Arc::clone(&deployment));
            if held.suspended {
                return Ok(deployment.id.clone());
            }
            (deployment, held.pulled.clone())
        };
        let id = deployment.id.clone();
        let zeabur = Arc::clone(self);
        self.site.tasks.start(async move {
            if deployment.deploy(&zeabur.site, before).await {
                for old in zeabur.take_over(&deployment) {
                    old.clear().await;
                }
            }
        });
        Ok(id)
    }

    /// What follows when a deployment has come up: all before it are taken away.
    fn take_over(&self, deployment: &Arc<Deployment>) -> Vec<Arc<Deployment>> {
        let mut stock = self.stock();
        let Ok(held) = stock.service_in(&deployment.service, &deployment.environment) else {
            return Vec::new();
        };
        held.pulled = deployment.pulled();
        let older = held.deployments.iter().take_while(|d| !Arc::ptr_eq(d, deployment));
        let older: Vec<_> = older.cloned().collect();
        older.iter().for_each(|old| old.remove(&self.site));
        older
    }
}

fn errors(message: &str, code: &str) -> Value {
    json!({ "errors": [{ "message": message, "extensions": { "code": code } }], "data": null })
}

#[async_trait]
impl Vendor for Zeabur {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        if call.path != "/graphql" {
            return Answer::json(404, &errors("not found", "NOT_FOUND"));
        }
        if call.method != http::Method::POST {
            return Answer::json(405, &errors("method not allowed", "METHOD_NOT_ALLOWED"));
        }
        if call.bearer() != Some(self.site.token.as_str()) {
            return Answer::json(401, &errors("Unauthorized", "UNAUTHENTICATED"));
        }
        let Some(Value::Object(mut body)) = call.json() else {
            return Answer::json(
                400,
                &errors("json request body could not be decoded", "BAD_REQUEST"),
            );
        };
        let Some(query) = body.get("query").and_then(Value::as_str).map(str::to_owned) else {
            return Answer::json(
                400,
                &errors("no operation provided", "GRAPHQL_VALIDATION_FAILED"),
            );
        };
        let variables = match body.remove("variables") {
            Some(Value::Object(variables)) => variables,
            _ => serde_json::Map::new(),
        };
        let operation = body.get("operationName").and_then(Value::as_str).map(str::to_owned);
        self.site.dawdle(5, 30).await;
        let session = Session { zeabur: Arc::clone(&self) };
        let request = Request { query, variables, operation };
        let (status, body) =
            graphql::answer(&self.schema, &session, (Node::Query, Node::Mutation), &request);
        Answer::json(status, &body)
    }

    /// No limit is published, and no header that would tell of one.
    fn limited(&self) -> Answer {
        Answer::json(429, &errors("too many requests", "TOO_MANY_REQUESTS"))
    }

    fn route(&self, host: &str) -> Route {
        let stock = self.stock();
        // The name of a way in to a TCP port is that of the service and the port; a host has no slash.
        let (held, port) = match host.split_once('/') {
            Some((id, port)) => (stock.service(id).ok(), Some(port)),
            None => (stock.service_of(host), None),
        };
        let Some(held) = held else { return Route::Unknown };
        let about = held.about();
        let Some(deployment) = held.serving().filter(|_| !held.suspended) else {
            return Route::Idle(about);
        };
        let processes = deployment.processes();
        let processes: Vec<_> = processes.iter().map(|(_, process)| process).collect();
        let Some(chosen) = self.site.take_turn(&processes) else { return Route::Idle(about) };
        // The ingress leads to a port that the service has told of, or nowhere.
        let listens = deployment.port().map(u64::from);
        let leads = |row: &&Value| match port {
            Some(id) => row["type"] == "TCP" && row["id"] == id,
            None => row["type"] == "HTTP",
        };
        let reaches = held.ports.iter().filter(leads).any(|row| row["port"].as_u64() == listens);
        Route::To(Target {
            service: about,
            address: reaches.then_some(chosen.address),
            health: None,
            // Nothing says that the HTTP ingress speaks HTTP/2 to apps; a forwarded port passes what comes.
            http2: port.is_some(),
        })
    }

    fn page(&self, why: Blank) -> (u16, &'static str, String) {
        let (status, word) = match why {
            Blank::UnknownHost => (404, "SERVICE_NOT_FOUND"),
            Blank::NoInstance | Blank::NoAnswer => (502, "SERVICE_UNAVAILABLE"),
        };
        let body = format!("<html><body><h1>{status}: {word}</h1></body></html>");
        (status, "text/html; charset=utf-8", body)
    }

    fn instances(&self) -> Vec<InstanceView> {
        let stock = self.stock();
        let mut rows = Vec::new();
        for held in &stock.services {
            let service = held.about().map_or_else(|| held.name.clone(), |s| s.to_string());
            for deployment in &held.deployments {
                for (pod, process) in deployment.processes() {
                    let said = deployment.word().to_owned();
                    rows.push(InstanceView::of(service.clone(), pod, said, &process));
                }
            }
        }
        rows
    }
}
