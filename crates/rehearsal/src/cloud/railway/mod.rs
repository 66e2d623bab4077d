//! Railway: the public GraphQL API of `backboard.railway.com/graphql/v2`, and `SERVICE-ENVIRONMENT.up.railway.app`.
//!
//! Facts: the published schema (operations, fields, statuses), docs.railway.com/integrations/api (tokens, rate limits),
//! docs.railway.com/reference/deployments (what follows a deploy, a stop, a crash). The account is on the Pro plan.

mod deployment;
mod more;
mod mutation;
mod query;
mod schema;
mod stock;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::answer::{Answer, Call};
use super::graphql::{self, Request, Schema};
use super::limit::{Limits, Rate};
use super::process::Process;
use super::site::{Blank, InstanceView, Route, Site, Target, Vendor};
use deployment::Deployment;
use query::{Node, Session};
use stock::{Instance, Stock};

/// The Pro plan's limits.
/// An idle service that may sleep does so after this long: ten minutes in rehearsal time.
const DOZES_AFTER: Duration = Duration::from_millis(1_500);
const DOZE_LOOK: Duration = Duration::from_millis(50);
const EACH_SECOND: Rate = Rate { per_second: 50.0, burst: 50.0 };
const EACH_HOUR: Rate = Rate { per_second: 10_000.0 / 3_600.0, burst: 10_000.0 };

/// The vendor.
pub(crate) struct Railway {
    site: Arc<Site>,
    schema: Schema,
    limits: Limits,
    stock: Mutex<Stock>,
    environment: String,
}

impl Railway {
    /// An account with one project, named `project`, and its environment `production`.
    pub(crate) fn new(site: Arc<Site>, project: &str) -> Self {
        let environment = site.dice.uuid();
        let stock = Stock {
            workspace: site.dice.uuid(),
            project: site.dice.uuid(),
            project_name: project.to_owned(),
            created: site.now(),
            environments: BTreeMap::from([(environment.clone(), "production".to_owned())]),
            services: BTreeMap::new(),
            instances: BTreeMap::new(),
            deployments: Vec::new(),
        };
        Self {
            site,
            schema: Schema::read(schema::TABLE),
            limits: Limits::default(),
            stock: Mutex::new(stock),
            environment,
        }
    }

    /// The ids of the project and its environment.
    pub(crate) fn home(&self) -> (String, String) {
        (self.stock().project.clone(), self.environment.clone())
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deploys what the instance is set to now. Returns the deployment.
    fn deploy(
        self: &Arc<Self>,
        service: &str,
        environment: &str,
        why: &'static str,
    ) -> Result<Arc<Deployment>, String> {
        let snapshot = self.stock().instance(service, environment)?.clone();
        self.deploy_again(service, environment, snapshot, why)
    }

    /// Deploys `snapshot`.
    fn deploy_again(
        self: &Arc<Self>,
        service: &str,
        environment: &str,
        snapshot: Instance,
        why: &'static str,
    ) -> Result<Arc<Deployment>, String> {
        if snapshot.image.is_none() {
            return Err("Service has no source to deploy".to_owned());
        }
        let (deployment, before) = {
            let mut stock = self.stock();
            let held = stock.services.get(service).ok_or("Service not found")?;
            let mut env = stock.own_variables(held, environment);
            let log = Arc::clone(&held.log);
            env.extend(snapshot.variables.clone());
            let before = stock.instance(service, environment)?.pulled.clone();
            let deployment =
                Deployment::new(&self.site, (service, environment), snapshot, env, log, why);
            stock.deployments.push(Arc::clone(&deployment));
            (deployment, before)
        };
        let (railway, driven) = (Arc::clone(self), Arc::clone(&deployment));
        self.site.tasks.start(async move {
            driven.deploy(&railway.site, before).await;
            railway.follow_up(&driven).await;
        });
        Ok(deployment)
    }

    /// What follows when a deployment has come to its end: a good one replaces all before it.
    async fn follow_up(&self, deployment: &Arc<Deployment>) {
        if !deployment.succeeded() {
            return;
        }
        let earlier: Vec<Arc<Deployment>> = {
            let mut stock = self.stock();
            if let Ok(instance) = stock.instance(&deployment.service, &deployment.environment) {
                instance.pulled = deployment.pulled();
            }
            let of = stock.deployments_of(&deployment.service, &deployment.environment);
            let older = of.skip_while(|d| !Arc::ptr_eq(d, deployment)).skip(1);
            older
                .filter(|d| !matches!(d.status(&self.site), "FAILED" | "REMOVED" | "REMOVING"))
                .cloned()
                .collect()
        };
        for old in earlier {
            old.remove(&self.site).await;
        }
        if deployment.may_doze() {
            self.let_doze(deployment).await;
        }
    }

    /// Puts a deployment to sleep whenever nobody has asked for it for a while.
    async fn let_doze(&self, deployment: &Deployment) {
        let asked = || deployment.about().map(|service| self.site.requests_of(&service));
        let (mut before, mut since) = (asked(), Instant::now());
        while !deployment.is_done_for() {
            sleep(DOZE_LOOK).await;
            let now = asked();
            if std::mem::replace(&mut before, now) != now {
                since = Instant::now();
            } else if since.elapsed() > DOZES_AFTER {
                deployment.fall_asleep(DOZES_AFTER);
            }
        }
    }

    /// Takes one call from the limits: the headers to answer with, or a refusal.
    fn limit(&self) -> Result<[(&'static str, String); 3], Answer> {
        let second = self.limits.take("second".to_owned(), EACH_SECOND);
        let hour = second.and_then(|_| self.limits.take("hour".to_owned(), EACH_HOUR));
        match hour {
            Ok(left) => Ok(self.limit_headers(left)),
            Err(wait) => Err(self.refuse_for(wait)),
        }
    }

    fn limit_headers(&self, left: f64) -> [(&'static str, String); 3] {
        let reset = self.site.clock.wall().0 / 1_000 + 3_600;
        [
            ("x-ratelimit-limit", "10000".to_owned()),
            ("x-ratelimit-remaining", format!("{:.0}", left.floor())),
            ("x-ratelimit-reset", reset.to_string()),
        ]
    }

    fn refuse_for(&self, wait: Duration) -> Answer {
        let answer =
            Answer::json(429, &errors("You are being ratelimited. Please try again later"));
        let answer = answer.with("retry-after", &wait.as_secs().max(1).to_string());
        self.limit_headers(0.0)
            .iter()
            .fold(answer, |answer, (name, value)| answer.with(name, value))
    }
}

fn errors(message: &str) -> Value {
    json!({ "errors": [{ "message": message, "extensions": { "code": "INTERNAL_SERVER_ERROR" } }], "data": null })
}

#[async_trait]
impl Vendor for Railway {
    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        if call.path != "/graphql/v2" {
            return Answer::json(404, &errors("Not found"));
        }
        if call.method != http::Method::POST {
            return Answer::json(405, &errors("GraphQL only supports POST requests."));
        }
        let headers = match self.limit() {
            Ok(headers) => headers,
            Err(refusal) => return refusal,
        };
        let token = Some(self.site.token.as_str());
        let (account, project) =
            (call.bearer() == token, call.header("project-access-token") == token);
        if !account && !project {
            let why = if call.header("project-access-token").is_some() {
                "Project Token not found"
            } else {
                "Not Authorized"
            };
            return Answer::json(200, &errors(why));
        }
        let Some(Value::Object(mut body)) = call.json() else {
            return Answer::json(
                400,
                &errors("POST body missing, invalid Content-Type, or JSON object has no keys."),
            );
        };
        let Some(query) = body.get("query").and_then(Value::as_str).map(str::to_owned) else {
            return Answer::json(400, &errors("Must provide a query string."));
        };
        let variables = match body.remove("variables") {
            Some(Value::Object(variables)) => variables,
            _ => serde_json::Map::new(),
        };
        let operation = body.get("operationName").and_then(Value::as_str).map(str::to_owned);
        self.site.dawdle(5, 30).await;
        let session = Session { railway: Arc::clone(&self), account };
        let request = Request { query, variables, operation };
        let (status, body) =
            graphql::answer(&self.schema, &session, (Node::Query, Node::Mutation), &request);
        headers
            .iter()
            .fold(Answer::json(status, &body), |answer, (name, value)| answer.with(name, value))
    }

    fn limited(&self) -> Answer {
        self.refuse_for(Duration::from_secs(2))
    }

    fn route(&self, host: &str) -> Route {
        let stock = self.stock();
        let held = stock.instances.iter().find_map(|(key, instance)| {
            let domain = instance.domains().find(|row| row["domain"] == host);
            let proxy = || instance.proxies.iter().find(|row| row["id"] == host);
            domain
                .map(|row| (key, &row["targetPort"], false))
                .or_else(|| proxy().map(|row| (key, &row["applicationPort"], true)))
        });
        let Some(((service, environment), port, is_proxy)) = held else { return Route::Unknown };
        let mut of = stock.deployments_of(service, environment);
        // The newest that came up serves, until a newer one does.
        let serving = of.find(|d| d.succeeded() && !d.is_over());
        let Some(deployment) = serving else {
            let newest = stock.deployments_of(service, environment).next();
            return Route::Idle(newest.and_then(|d| d.about()));
        };
        deployment.wake();
        let known = !is_proxy || deployment.snapshot.proxies.iter().any(|row| row["id"] == host);
        let processes = deployment.processes();
        let processes: Vec<&Arc<Process>> = processes.iter().map(|(_, process)| process).collect();
        let chosen = self.site.take_turn(&processes).filter(|_| known);
        let Some(chosen) = chosen else {
            let wakes = known && deployment.may_doze() && !deployment.is_done_for();
            let about = deployment.about();
            return if wakes { Route::Waking(about) } else { Route::Idle(about) };
        };
        let reaches = port.is_null() || deployment.port().map(u64::from) == port.as_u64();
        Route::To(Target {
            service: deployment.about(),
            address: reaches.then_some(chosen.address),
            health: deployment.snapshot.text("healthcheckPath").map(str::to_owned),
            // The vendor's HTTP ingress promises HTTP/1.1 to apps and no more; a proxy passes what comes.
            http2: is_proxy,
        })
    }

    fn page(&self, why: Blank) -> (u16, &'static str, String) {
        let (status, message) = match why {
            Blank::UnknownHost => (404, "Application not found"),
            Blank::NoInstance | Blank::NoAnswer => (502, "Application failed to respond"),
        };
        let body = json!({ "status": "error", "code": status, "message": message, "request_id": self.site.dice.letters("abcdefghijklmnopqrstuvwxyz0123456789", 22) });
        (status, "application/json", body.to_string())
    }

    fn instances(&self) -> Vec<InstanceView> {
        let stock = self.stock();
        let mut rows = Vec::new();
        for deployment in &stock.deployments {
            let name =
                stock.services.get(&deployment.service).map(|s| s.name.clone()).unwrap_or_default();
            let service = deployment.about().map_or(name, |s| s.to_string());
            let said = deployment.status(&self.site);
            for (id, process) in deployment.processes() {
                rows.push(InstanceView::of(service.clone(), id, said.to_owned(), &process));
            }
        }
        rows
    }
}
