//! What is asked of container apps: reading them, changing them, their verbs, and their logs.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use super::app::{App, log_path, verification_id};
use super::certificate::is_in_dns;
use super::revision::Revision;
use super::shape::{check, check_name, list, merge, text};
use super::{Azure, LOCATION, Refused, accepted, busy, id_of, not_found, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::log::{Line, Stream, moment};
use crate::cloud::site::service_of;

/// What the vendor alone writes.
const READ_ONLY: [&str; 8] = [
    "provisioningState",
    "runningStatus",
    "latestRevisionName",
    "latestReadyRevisionName",
    "latestRevisionFqdn",
    "customDomainVerificationId",
    "outboundIpAddresses",
    "eventStreamEndpoint",
];

impl Azure {
    pub(super) fn list_apps(&self, _call: &Call) -> Answer {
        let rows: Vec<Value> = self.state().apps.values().map(|app| app.view()).collect();
        Answer::json(200, &json!({ "value": rows }))
    }

    /// Answers a call below `containerApps`.
    pub(super) fn of_apps(
        self: &Arc<Self>,
        call: &Call,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", []) => Ok(self.list_apps(call)),
            ("GET", [app]) => Ok(Answer::json(200, &self.app(app)?.view())),
            ("PUT", [app]) => self.put_app(call, app),
            ("PATCH", [app]) => self.patch_app(call, app),
            ("DELETE", [app]) => self.delete_app(call, app),
            ("POST", [app, "listSecrets"]) => {
                let app = self.app(app)?;
                let rows = list(&app.lock().configuration, "/secrets").to_vec();
                Ok(Answer::json(200, &json!({ "value": rows })))
            }
            ("POST", [app, "getAuthtoken"]) => {
                let app = self.app(app)?;
                let token = json!({ "token": self.desk.log_token, "expires": self.site.now() });
                let body = json!({ "id": id_of(&format!("containerApps/{}/accesstoken", app.name)), "name": "accesstoken", "location": LOCATION, "properties": token });
                Ok(Answer::json(200, &body))
            }
            ("POST", [app, "listCustomHostNameAnalysis"]) => {
                self.app(app)?;
                Ok(analysis(call.parameter("customHostname").unwrap_or_default()))
            }
            ("POST", [app, "stop"]) => self.stop_app(call, app),
            ("POST", [app, "start"]) => self.start_app(call, app),
            (_, [app, "revisions", rest @ ..]) => self.of_revisions(call, app, rest),
            _ => Err(refusal(404, "NotFound", "not found")),
        }
    }

    /// The parts of a whole body, after it was checked against `before`.
    fn read_body(&self, body: &Value, before: Option<&App>) -> Result<Value, Refused> {
        if text(body, "/location").is_empty() {
            return Err(refusal(
                400,
                "LocationRequired",
                "The location property is required for this definition.",
            ));
        }
        let mut properties = body.get("properties").cloned().unwrap_or_else(|| json!({}));
        if let Some(fields) = properties.as_object_mut() {
            fields.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
        }
        let none = Value::Object(Map::new());
        let configuration = properties.get("configuration").unwrap_or(&none);
        let template = properties.get("template").unwrap_or(&none);
        check(&self.site, configuration, template)?;
        let known = before.map(|app| app.lock().configuration.clone()).unwrap_or_default();
        for domain in list(configuration, "/ingress/customDomains") {
            let host = text(domain, "/name");
            let held =
                list(&known, "/ingress/customDomains").iter().any(|d| text(d, "/name") == host);
            if !held && !is_in_dns(host) {
                let why = format!(
                    "A TXT record pointing from asuid.{host} to {} was not found.",
                    verification_id()
                );
                return Err(refusal(400, "InvalidCustomHostNameValidation", &why));
            }
        }
        Ok(properties)
    }

    fn put_app(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        check_name(name)?;
        let body = Value::Object(object(call)?);
        let held = self.app(name).ok();
        if held.as_ref().is_some_and(|app| app.is_busy()) {
            return Err(busy("container app", name));
        }
        let properties = self.read_body(&body, held.as_deref())?;
        let environment = ["/environmentId", "/managedEnvironmentId"]
            .into_iter()
            .find_map(|at| properties.pointer(at)?.as_str());
        let environment = environment.and_then(|id| id.rsplit('/').next()).unwrap_or_default();
        let domain = self.environment_domain(environment)?;
        let is_new = held.is_none();
        let app = held.unwrap_or_else(|| App::new(&self.site, name, environment, &domain));
        self.state().apps.insert(name.to_lowercase(), Arc::clone(&app));
        self.apply(&app, &body, &properties)?;
        let status = if is_new { 201 } else { 200 };
        Ok(accepted(call, status, Some(&app.view()), &self.site.dice.uuid()))
    }

    fn patch_app(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        let patch = Value::Object(object(call)?);
        let app = self.app(name)?;
        if app.is_busy() {
            return Err(busy("container app", name));
        }
        let mut whole = {
            let inner = app.lock();
            json!({
                "location": inner.location,
                "tags": inner.tags,
                "properties": { "configuration": inner.configuration, "template": inner.template },
            })
        };
        merge(&mut whole, &patch);
        let properties = self.read_body(&whole, Some(&app))?;
        self.apply(&app, &whole, &properties)?;
        Ok(accepted(call, 202, None, &self.site.dice.uuid()))
    }

    /// Takes a whole body in. Where its template is another one, a revision follows.
    fn apply(
        self: &Arc<Self>,
        app: &Arc<App>,
        body: &Value,
        properties: &Value,
    ) -> Result<(), Refused> {
        let template = properties.get("template").cloned().unwrap_or_default();
        let mut inner = app.lock();
        let changed = inner.latest.is_empty() || inner.template != template;
        let name = match text(&template, "/revisionSuffix") {
            "" => format!(
                "{}--{}",
                app.name,
                self.site.dice.letters("0123456789abcdefghijklmnopqrstuvwxyz", 7)
            ),
            suffix => format!("{}--{suffix}", app.name),
        };
        if changed && (inner.revisions.iter().any(|r| r.name == name) || name.len() > 54) {
            let why = format!(
                "Invalid revision suffix: a revision '{name}' exists already, or its name is longer than 54 characters."
            );
            return Err(refusal(400, "ContainerAppInvalidRevisionSuffix", &why));
        }
        inner.configuration = properties.get("configuration").cloned().unwrap_or_default();
        if let Some(ingress) = inner.configuration.get_mut("ingress").and_then(Value::as_object_mut)
        {
            ingress.remove("fqdn");
        }
        inner.template = template.clone();
        inner.tags = body.get("tags").cloned().unwrap_or_else(|| json!({}));
        inner.provisioning = "InProgress";
        drop(inner);
        let revision = changed.then(|| Revision::new(name, template, self.site.now()));
        let (azure, app) = (Arc::clone(self), Arc::clone(app));
        self.site.tasks.start(async move { azure.carry_out(&app, revision).await });
        Ok(())
    }

    /// Makes an operation come true.
    async fn carry_out(&self, app: &Arc<App>, revision: Option<Arc<Revision>>) {
        let container = app.lock().template.pointer("/containers/0").cloned().unwrap_or_default();
        let service = service_of(&super::shape::env_of(&container, &Value::Null));
        self.site.get_unstuck(service.as_ref()).await;
        self.site.dawdle(80, 250).await;
        if let Some(revision) = revision {
            let before = app.image_before();
            let stopped = {
                let mut inner = app.lock();
                inner.latest.clone_from(&revision.name);
                inner.revisions.push(Arc::clone(&revision));
                let most = inner.configuration["maxInactiveRevisions"].as_u64().unwrap_or(100);
                inner.forget_old(usize::try_from(most).unwrap_or(100));
                inner.stopped
            };
            if !stopped {
                app.start(&self.site, &revision, before.as_ref());
            }
        }
        app.lock().provisioning = "Succeeded";
    }

    fn delete_app(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        let Ok(app) = self.app(name) else { return Ok(Answer::empty(204)) };
        if app.is_busy() {
            return Err(busy("container app", name));
        }
        app.lock().provisioning = "Deleting";
        let (azure, key) = (Arc::clone(self), name.to_lowercase());
        self.site.tasks.start(async move {
            azure.site.dawdle(50, 200).await;
            for revision in app.revisions() {
                revision.deactivate();
                revision.rest().await;
            }
            azure.state().apps.remove(&key);
        });
        Ok(accepted(call, 202, None, &self.site.dice.uuid()))
    }

    fn stop_app(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        let app = self.app(name)?;
        if app.is_busy() {
            return Err(busy("container app", name));
        }
        app.lock().provisioning = "InProgress";
        let site = Arc::clone(&self.site);
        self.site.tasks.start(async move {
            site.dawdle(50, 150).await;
            for revision in app.revisions() {
                revision.rest().await;
            }
            let mut inner = app.lock();
            (inner.stopped, inner.provisioning) = (true, "Succeeded");
        });
        Ok(accepted(call, 202, None, &self.site.dice.uuid()))
    }

    fn start_app(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        let app = self.app(name)?;
        if app.is_busy() {
            return Err(busy("container app", name));
        }
        app.lock().provisioning = "InProgress";
        let site = Arc::clone(&self.site);
        self.site.tasks.start(async move {
            site.dawdle(50, 150).await;
            let latest = {
                let inner = app.lock();
                if inner.stopped { inner.revisions.last().cloned() } else { None }
            };
            if let Some(revision) = latest {
                let before = revision.image();
                app.start(&site, &revision, before.as_ref());
            }
            let mut inner = app.lock();
            (inner.stopped, inner.provisioning) = (false, "Succeeded");
        });
        Ok(accepted(call, 202, None, &self.site.dice.uuid()))
    }

    fn of_revisions(&self, call: &Call, app: &str, rest: &[&str]) -> Result<Answer, Refused> {
        let app = self.app(app)?;
        let site = &self.site;
        let find = |name: &str| {
            app.revision(name)
                .ok_or_else(|| not_found(&format!("containerApps/{}/revisions", app.name), name))
        };
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let rows: Vec<Value> =
                    app.revisions().iter().map(|r| app.revision_view(site, r)).collect();
                Ok(Answer::json(200, &json!({ "value": rows })))
            }
            (&Method::GET, [name]) => {
                Ok(Answer::json(200, &app.revision_view(site, &*find(name)?)))
            }
            (&Method::GET, [name, "replicas", tail @ ..]) => {
                let rows = replica_rows(call, site, &app, &*find(name)?);
                match tail {
                    [] => Ok(Answer::json(200, &json!({ "value": rows }))),
                    [replica, ..] => {
                        let row = rows.iter().find(|row| row["name"] == *replica);
                        row.map(|row| Answer::json(200, row))
                            .ok_or_else(|| not_found("replicas", replica))
                    }
                }
            }
            (&Method::POST, [name, "restart"]) => {
                let revision = find(name)?;
                if revision.is_active() && !app.lock().stopped {
                    let before = revision.image();
                    app.start(site, &revision, before.as_ref());
                }
                Ok(Answer::empty(200))
            }
            (&Method::POST, [name, "deactivate"]) => {
                let revision = find(name)?;
                revision.deactivate();
                site.tasks.start(async move { revision.rest().await });
                Ok(Answer::empty(200))
            }
            (&Method::POST, [name, "activate"]) => {
                let revision = find(name)?;
                if !revision.is_active() && !app.lock().stopped {
                    app.start(site, &revision, revision.image().as_ref());
                }
                Ok(Answer::empty(200))
            }
            _ => Err(refusal(404, "NotFound", "not found")),
        }
    }

    /// The log of one container of a replica: one JSON line each.
    pub(super) fn log_stream(&self, call: &Call, parts: &[&str]) -> Result<Answer, Refused> {
        if call.bearer() != Some(self.desk.log_token.as_str()) {
            return Err(refusal(401, "Unauthorized", "The log token is missing or not valid."));
        }
        let [
            "subscriptions",
            _,
            "resourceGroups",
            _,
            "containerApps",
            app,
            "revisions",
            _,
            "replicas",
            replica,
            "containers",
            _,
        ] = parts
        else {
            return Err(refusal(404, "NotFound", "not found"));
        };
        let lines: Vec<Line> =
            self.app(app)?.log.since(0).into_iter().filter(|l| l.instance == *replica).collect();
        let tail = call.parameter("tailLines").and_then(|n| n.parse().ok()).unwrap_or(20).min(300);
        let skipped = lines.len().saturating_sub(tail);
        let row = |line: &Line| {
            let stream = if line.stream == Stream::Err { "stderr" } else { "stdout" };
            json!({ "TimeStamp": moment(line.at), "Log": format!("{stream} F {}", line.text) })
                .to_string()
                + "\n"
        };
        let text: String = lines.iter().skip(skipped).map(row).collect();
        Ok(Answer::bytes(200, "text/plain", Bytes::from(text)))
    }
}

impl super::app::Inner {
    /// Drops the oldest revisions that are out of use, but for `most`.
    fn forget_old(&mut self, most: usize) {
        let is_old = |r: &Arc<Revision>, latest: &str| {
            !r.is_active() && r.processes().is_empty() && r.name != latest
        };
        let mut surplus =
            self.revisions.iter().filter(|r| is_old(r, &self.latest)).count().saturating_sub(most);
        let latest = self.latest.clone();
        self.revisions.retain(|revision| {
            let goes = surplus > 0 && is_old(revision, &latest);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

fn replica_rows(
    call: &Call,
    site: &crate::cloud::site::Site,
    app: &App,
    revision: &Revision,
) -> Vec<Value> {
    let host = call.header("host").unwrap_or("westeurope.azurecontainerapps.dev");
    let container = text(&revision.template, "/containers/0/name");
    let stream = |replica: &str| {
        let path = log_path(&app.name);
        format!(
            "http://{host}{path}/revisions/{}/replicas/{replica}/containers/{container}/logstream",
            revision.name
        )
    };
    let id = id_of(&format!("containerApps/{}/revisions/{}", app.name, revision.name));
    revision.replica_views(site, &id, stream)
}

/// What DNS says of a host.
fn analysis(host: &str) -> Answer {
    let mut told = json!({
        "hostName": host,
        "isHostnameAlreadyVerified": false,
        "customDomainVerificationTest": if is_in_dns(host) { "Passed" } else { "Failed" },
        "hasConflictOnManagedEnvironment": false,
        "cNameRecords": [], "txtRecords": [], "aRecords": [],
    });
    if !is_in_dns(host) {
        let message = format!(
            "A TXT record pointing from asuid.{host} to {} was not found.",
            verification_id()
        );
        told["customDomainVerificationFailureInfo"] =
            json!({ "code": "InvalidCustomHostNameValidation", "message": message });
    }
    Answer::json(200, &told)
}
