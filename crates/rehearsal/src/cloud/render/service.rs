//! One service: its settings, and what belongs to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_model::{ServiceName, Timestamp};
use serde_json::{Map, Value, json};

use super::deploy::Deploy;
use crate::cloud::log::{Log, moment};
use crate::cloud::process::{Exit, Process};
use crate::cloud::registry::Image;
use crate::cloud::site::{Site, service_of};

/// One service.
pub(super) struct Service {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) slug: String,
    /// `web_service`, `private_service`, `background_worker`, `cron_job`.
    pub(super) kind: String,
    pub(super) created: String,
    pub(super) updated: String,
    pub(super) auto_deploy: String,
    pub(super) image: String,
    /// A registry login's id and name.
    pub(super) credential: Option<(String, String)>,
    pub(super) command: String,
    pub(super) health: String,
    pub(super) plan: String,
    pub(super) region: String,
    pub(super) schedule: String,
    pub(super) instances: u64,
    /// Who suspended it; nobody: it is not.
    pub(super) suspenders: Vec<&'static str>,
    pub(super) variables: BTreeMap<String, String>,
    /// Oldest first.
    pub(super) deploys: Vec<Arc<Deploy>>,
    /// Rows as the API shows them.
    pub(super) domains: Vec<Value>,
    /// When, what, and its details, oldest first.
    pub(super) events: Vec<(Timestamp, &'static str, Value)>,
    pub(super) log: Arc<Log>,
    /// What ran last, for the fault that deploys the wrong image.
    pub(super) pulled: Option<Image>,
}

impl Service {
    pub(super) fn is_cron(&self) -> bool {
        self.kind == "cron_job"
    }

    pub(super) fn is_web(&self) -> bool {
        self.kind == "web_service"
    }

    /// Whether it listens on a port.
    pub(super) fn listens(&self) -> bool {
        self.is_web() || self.kind == "private_service"
    }

    /// Which service of ours it says it is.
    pub(super) fn about(&self) -> Option<ServiceName> {
        service_of(&self.variables)
    }

    /// Whether `host` leads to it.
    pub(super) fn is_at(&self, host: &str) -> bool {
        self.is_web()
            && (host.strip_suffix(".onrender.com") == Some(self.slug.as_str())
                || self.domains.iter().any(|row| row["name"] == host))
    }

    /// The deploy that serves.
    pub(super) fn live(&self) -> Option<&Arc<Deploy>> {
        self.deploys.iter().rev().find(|deploy| deploy.status() == "live")
    }

    /// Processes that run, as the vendor says, each with its instance's id.
    pub(super) fn running(&self, site: &Site) -> Vec<(String, Arc<Process>)> {
        let all = self.deploys.iter().flat_map(|deploy| deploy.processes());
        all.filter(|(_, process)| process.status().pid.is_some() || site.says_running(process))
            .collect()
    }

    /// Everything that happened, newest first.
    pub(super) fn history(&self) -> Vec<(Timestamp, &'static str, Value)> {
        let mut all = self.events.clone();
        for (instance, process) in self.live().iter().flat_map(|deploy| deploy.processes()) {
            let status = process.status();
            let fell = status.exits.iter().filter(|exit| !exit.requested);
            all.extend(fell.map(|exit| (exit.at, "server_failed", failure(&instance, exit))));
            if let (Some(at), true) = (status.started, status.pid.is_some()) {
                all.push((at, "server_available", json!({})));
            }
        }
        all.sort_by_key(|(at, _, _)| *at);
        all.reverse();
        all
    }

    /// As the API shows it.
    pub(super) fn view(&self, owner: &str) -> Value {
        let suspended = if self.suspenders.is_empty() { "not_suspended" } else { "suspended" };
        let mut view = json!({
            "id": self.id,
            "autoDeploy": self.auto_deploy,
            "autoDeployTrigger": if self.auto_deploy == "yes" { "commit" } else { "off" },
            "createdAt": self.created,
            "dashboardUrl": format!("https://dashboard.render.com/web/{}", self.id),
            "imagePath": self.image,
            "name": self.name,
            "notifyOnFail": "default",
            "ownerId": owner,
            "rootDir": "",
            "slug": self.slug,
            "suspended": suspended,
            "suspenders": self.suspenders,
            "type": self.kind,
            "updatedAt": self.updated,
            "serviceDetails": self.details(),
        });
        if let Some((id, name)) = &self.credential {
            view["registryCredential"] = json!({ "id": id, "name": name });
        }
        view
    }

    fn details(&self) -> Value {
        let own =
            json!({ "dockerCommand": self.command, "dockerContext": "", "dockerfilePath": "" });
        let mut details = Map::from_iter([
            ("env".to_owned(), json!("image")),
            ("runtime".to_owned(), json!("image")),
            ("envSpecificDetails".to_owned(), own),
            ("plan".to_owned(), json!(self.plan)),
            ("region".to_owned(), json!(self.region)),
            ("buildPlan".to_owned(), json!("starter")),
        ]);
        let mut add = |name: &str, value: Value| drop(details.insert(name.to_owned(), value));
        if self.is_cron() {
            add("schedule", json!(self.schedule));
        } else {
            add("numInstances", json!(self.instances));
        }
        if self.listens() {
            let port = self.variables.get("PORT").and_then(|port| port.parse::<u16>().ok());
            add("openPorts", json!([{ "port": port.unwrap_or(10_000), "protocol": "TCP" }]));
        }
        if self.is_web() {
            add("healthCheckPath", json!(self.health));
            add("url", json!(format!("https://{}.onrender.com", self.slug)));
        } else if self.listens() {
            add("url", json!(format!("{}:10000", self.slug)));
        }
        Value::Object(details)
    }

    /// Notes that something happened.
    pub(super) fn note(&mut self, site: &Site, kind: &'static str, details: Value) {
        self.events.push((site.clock.wall(), kind, details));
    }
}

/// How the vendor tells of an instance that ended by itself.
fn failure(instance: &str, exit: &Exit) -> Value {
    json!({ "instanceID": instance, "reason": reason(exit) })
}

/// Why a process ended.
pub(super) fn reason(exit: &Exit) -> Value {
    match exit.code {
        Some(0) => json!({ "evicted": false, "earlyExit": true }),
        Some(code) => json!({ "evicted": false, "nonZeroExit": code }),
        None => json!({ "evicted": false, "nonZeroExit": 128 + exit.signal.unwrap_or(9) }),
    }
}

/// An event as the API shows it. Its id follows from it, so that it stays the same.
pub(super) fn event(
    service: &str,
    number: usize,
    row: &(Timestamp, &'static str, Value),
) -> (String, Value) {
    let (at, kind, details) = row;
    let id = format!("evt-{:013}{number:07}", at.0);
    let view = json!({ "id": id, "timestamp": moment(*at), "serviceId": service, "type": kind, "details": details });
    (id, view)
}
