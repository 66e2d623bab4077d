//! One container app: what is configured, its revisions, and how it looks from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linkflow_model::ServiceName;
use serde_json::{Value, json};

use super::revision::Revision;
use super::shape::{list, text};
use super::{LOCATION, SUBSCRIPTION, id_of};
use crate::cloud::log::Log;
use crate::cloud::process::Process;
use crate::cloud::registry::Image;
use crate::cloud::site::{InstanceView, Site};

/// One container app.
pub(super) struct App {
    pub(super) name: String,
    pub(super) log: Arc<Log>,
    inner: Mutex<Inner>,
}

/// What changes of an app.
pub(super) struct Inner {
    pub(super) location: String,
    pub(super) tags: Value,
    pub(super) environment: String,
    /// The environment's domain.
    pub(super) domain: String,
    pub(super) configuration: Value,
    pub(super) template: Value,
    pub(super) provisioning: &'static str,
    pub(super) stopped: bool,
    pub(super) revisions: Vec<Arc<Revision>>,
    pub(super) latest: String,
    pub(super) ready: String,
}

/// Where requests go.
pub(super) struct Served {
    pub(super) processes: Vec<Arc<Process>>,
    /// Whether the port that the ingress was told is the one the app listens on.
    pub(super) reaches: bool,
    pub(super) health: Option<String>,
    pub(super) http2: bool,
}

impl App {
    pub(super) fn new(site: &Site, name: &str, environment: &str, domain: &str) -> Arc<Self> {
        let inner = Inner {
            location: LOCATION.to_owned(),
            tags: json!({}),
            environment: environment.to_owned(),
            domain: domain.to_owned(),
            configuration: json!({}),
            template: json!({}),
            provisioning: "InProgress",
            stopped: false,
            revisions: Vec::new(),
            latest: String::new(),
            ready: String::new(),
        };
        Arc::new(Self { name: name.to_owned(), log: site.log(name), inner: Mutex::new(inner) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self.lock().provisioning, "InProgress" | "Deleting")
    }

    pub(super) fn revisions(&self) -> Vec<Arc<Revision>> {
        self.lock().revisions.clone()
    }

    pub(super) fn revision(&self, name: &str) -> Option<Arc<Revision>> {
        self.lock().revisions.iter().find(|revision| revision.name == name).cloned()
    }

    pub(super) fn service(&self) -> Option<ServiceName> {
        self.lock().revisions.last().and_then(|revision| revision.service())
    }

    /// What ran last, for a provider that runs what it ran before.
    pub(super) fn image_before(&self) -> Option<Image> {
        self.lock().revisions.iter().rev().find_map(|revision| revision.image())
    }

    fn ready_revision(&self) -> Option<Arc<Revision>> {
        let ready = self.lock().ready.clone();
        self.revision(&ready)
    }

    /// Whether it is reached under `host`.
    pub(super) fn has_host(&self, host: &str) -> bool {
        let inner = self.lock();
        let domains = list(&inner.configuration, "/ingress/customDomains");
        inner.fqdn(&self.name) == host
            || domains.iter().any(|d| text(d, "/name") == host && d["bindingType"] != "Disabled")
    }

    pub(super) fn served(&self) -> Served {
        let ingress = self.lock().configuration["ingress"].clone();
        let revision = self.ready_revision();
        let processes = revision.as_ref().map(|r| r.processes()).unwrap_or_default();
        let port = revision.as_ref().and_then(|revision| revision.port());
        Served {
            processes: processes.into_iter().map(|(_, process)| process).collect(),
            reaches: port.is_some() && ingress["targetPort"].as_u64() == port,
            health: revision.and_then(|revision| revision.health()),
            http2: text(&ingress, "/transport").eq_ignore_ascii_case("http2"),
        }
    }

    /// Starts `revision`, which serves once it is ready; those before it end then.
    pub(super) fn start(
        self: &Arc<Self>,
        site: &Arc<Site>,
        revision: &Arc<Revision>,
        before: Option<&Image>,
    ) {
        let (configuration, ingress) = {
            let inner = self.lock();
            (inner.configuration.clone(), inner.configuration["ingress"].clone())
        };
        let round = match revision.launch(site, &self.log, &configuration, before) {
            Ok(round) => round,
            Err(error) => {
                tracing::warn!(app = self.name, %error, "a revision could not be started");
                return;
            }
        };
        let (app, revision, own) = (Arc::clone(self), Arc::clone(revision), Arc::clone(site));
        site.tasks.start(async move {
            let up = || app.take_over(&own, &revision.name);
            revision.watch(&own, &ingress, round, up).await;
        });
    }

    /// Leads all to the revision `name`, and ends the others.
    fn take_over(&self, site: &Arc<Site>, name: &str) {
        let others: Vec<Arc<Revision>> = {
            let mut inner = self.lock();
            if inner.latest != name {
                return;
            }
            name.clone_into(&mut inner.ready);
            inner.revisions.iter().filter(|r| r.name != name && r.is_active()).cloned().collect()
        };
        for revision in others {
            revision.deactivate();
            site.tasks.start(async move { revision.rest().await });
        }
    }

    /// As the API shows it.
    pub(super) fn view(&self) -> Value {
        let inner = self.lock();
        let mut configuration = inner.configuration.clone();
        if let Some(secrets) = configuration.get_mut("secrets").and_then(Value::as_array_mut) {
            for secret in secrets.iter_mut().filter_map(Value::as_object_mut) {
                secret.remove("value");
            }
        }
        let fqdn = inner.fqdn(&self.name);
        if !fqdn.is_empty() {
            configuration["ingress"]["fqdn"] = json!(fqdn);
        }
        let status = match () {
            () if inner.provisioning != "Succeeded" => "Progressing",
            () if inner.stopped => "Stopped",
            () => "Running",
        };
        let environment = id_of(&format!("managedEnvironments/{}", inner.environment));
        let mut properties = json!({
            "provisioningState": inner.provisioning,
            "runningStatus": status,
            "environmentId": environment,
            "managedEnvironmentId": environment,
            "customDomainVerificationId": verification_id(),
            "configuration": configuration,
            "template": inner.template,
            "outboundIpAddresses": ["20.76.0.1"],
            "eventStreamEndpoint": format!("https://{}.azurecontainerapps.dev{}/eventstream", inner.location, log_path(&self.name)),
        });
        for (name, value) in
            [("latestRevisionName", &inner.latest), ("latestReadyRevisionName", &inner.ready)]
        {
            if !value.is_empty() {
                properties[name] = json!(value);
            }
        }
        if !inner.latest.is_empty() && !fqdn.is_empty() {
            properties["latestRevisionFqdn"] = json!(format!("{}.{}", inner.latest, inner.domain));
        }
        json!({
            "id": id_of(&format!("containerapps/{}", self.name)),
            "name": self.name,
            "type": "Microsoft.App/containerApps",
            "location": inner.location,
            "tags": inner.tags,
            "properties": properties,
        })
    }

    pub(super) fn revision_view(&self, site: &Site, revision: &Revision) -> Value {
        let (weight, fqdn) = {
            let inner = self.lock();
            let has_host = !inner.fqdn(&self.name).is_empty();
            let fqdn = if has_host {
                format!("{}.{}", revision.name, inner.domain)
            } else {
                String::new()
            };
            (u32::from(inner.ready == revision.name) * 100, fqdn)
        };
        let id = id_of(&format!("containerApps/{}/revisions/{}", self.name, revision.name));
        revision.view(site, &id, weight, &fqdn)
    }

    /// For the control API.
    pub(super) fn instances(&self, site: &Site) -> Vec<InstanceView> {
        let service = self.service().map_or_else(|| self.name.clone(), |s| s.to_string());
        let mut all = Vec::new();
        for revision in self.revisions() {
            let view = self.revision_view(site, &revision);
            let said = text(&view, "/properties/runningState").to_owned();
            for (replica, process) in revision.processes() {
                all.push(InstanceView::of(service.clone(), replica, said.clone(), &process));
            }
        }
        all
    }
}

impl Inner {
    /// Its public host; empty when it has none.
    pub(super) fn fqdn(&self, app: &str) -> String {
        let ingress = &self.configuration["ingress"];
        match ingress["external"].as_bool() {
            Some(true) => format!("{app}.{}", self.domain),
            Some(false) => format!("{app}.internal.{}", self.domain),
            None => String::new(),
        }
    }
}

/// What a TXT record has to say to prove whose a domain is.
pub(super) fn verification_id() -> String {
    "5171E".repeat(12) + "517E"
}

/// Where the log of an app is, on its own host.
pub(super) fn log_path(app: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{}/containerApps/{app}", super::GROUP)
}
