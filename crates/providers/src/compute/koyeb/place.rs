//! Finds what is ours: one app per service, and in it a service whose definition carries our markers.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use linkflow_model::role::Seen;
use linkflow_model::{Fault, FaultKind, ServiceName};

use super::Koyeb;
use super::seen::{View, seen};
use super::wire::{App, Instance, LIVE, LIVING, Run, Service};

/// A longer name is no DNS label, and the vendor puts the organization's name behind it.
const LONGEST_NAME: usize = 63;

/// Our service, as it stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) app: App,
    pub(super) service: Service,
    /// What it was last told to run.
    pub(super) latest: Run,
    /// Whether somebody else has a service in that app.
    pub(super) shared: bool,
}

/// What there is under the name of one of our apps.
pub(super) enum Found {
    /// No such app.
    Nothing,
    /// An app without services.
    Empty(App),
    /// Ours.
    Ours(Box<Place>),
    /// Services of somebody else; the name of one.
    Theirs(String),
}

impl Koyeb {
    /// The app of `service`.
    pub(super) fn app_name(&self, service: &ServiceName) -> Result<String, Fault> {
        let name = format!("{}-{service}", self.prefix);
        if name.len() <= LONGEST_NAME {
            return Ok(name);
        }
        let said = format!(
            "`{name}` is longer than {LONGEST_NAME} characters: give [providers.{}] a shorter `app_prefix`",
            self.provider
        );
        Err(self.api.fault(FaultKind::Invalid, format!("name the app of {service}"), &said))
    }

    /// Whether `run` carries our markers for `service`.
    fn is_ours(&self, run: &Run, service: &str) -> bool {
        run.env("LINKFLOW_STACK") == Some(self.stack.as_str())
            && run.env("LINKFLOW_SERVICE") == Some(service)
    }

    /// What there is of `service`.
    pub(super) async fn find(&self, service: &ServiceName) -> Result<Found, Fault> {
        let name = self.app_name(service)?;
        let apps: Vec<App> = self.list("apps", "/v1/apps", &[("name", &name)]).await?;
        let Some(app) = apps.into_iter().find(|app| app.name == name && app.status != "DELETED")
        else {
            return Ok(Found::Nothing);
        };
        let services: Vec<Service> =
            self.list("services", "/v1/services", &[("app_id", &app.id)]).await?;
        let services: Vec<Service> = services.into_iter().filter(|s| !s.is_going()).collect();
        for held in services.iter().filter(|held| held.name == service.as_str()) {
            let latest = self.run(&held.latest_deployment_id).await?;
            if self.is_ours(&latest, service.as_str()) {
                let shared = services.len() > 1;
                let place = Place { app, service: held.clone(), latest, shared };
                return Ok(Found::Ours(Box::new(place)));
            }
        }
        Ok(match services.first() {
            Some(other) => Found::Theirs(other.name.clone()),
            None => Found::Empty(app),
        })
    }

    /// Our `service`, which has to be there.
    pub(super) async fn deployed(&self, service: &ServiceName) -> Result<Place, Fault> {
        match self.find(service).await? {
            Found::Ours(place) => Ok(*place),
            Found::Theirs(other) => Err(self.not_ours(service, &other)),
            Found::Nothing | Found::Empty(_) => {
                let attempt = format!("find {service}");
                Err(self.api.fault(FaultKind::Missing, attempt, "it is not deployed here"))
            }
        }
    }

    /// That the app of `service` holds a service that is not ours.
    pub(super) fn not_ours(&self, service: &ServiceName, other: &str) -> Fault {
        let said = format!(
            "the app has a service `{other}` that is not of the stack `{}`: give [providers.{}] another `app_prefix`",
            self.stack, self.provider
        );
        self.api.fault(FaultKind::Invalid, format!("use the app of {service}"), &said)
    }

    /// Every placement of the stack, in four requests and one for each deployment that came to its end since.
    pub(super) async fn look_around(&self) -> Result<Vec<Seen>, Fault> {
        let apps: Vec<App> = self.list("apps", "/v1/apps", &[]).await?;
        let apps: BTreeMap<&str, &App> = apps
            .iter()
            .filter(|app| app.name.starts_with(&self.prefix) && app.status != "DELETED")
            .map(|app| (app.id.as_str(), app))
            .collect();
        if apps.is_empty() {
            return Ok(Vec::new());
        }
        let services: Vec<Service> = self.list("services", "/v1/services", &[]).await?;
        let mut ours = Vec::new();
        for service in services.into_iter().filter(|service| !service.is_going()) {
            let Some(app) = apps.get(service.app_id.as_str()) else { continue };
            let Some(name) = ServiceName::new(&service.name) else { continue };
            if self.app_name(&name).is_ok_and(|due| due == app.name) {
                ours.push((name, *app, service));
            }
        }
        if ours.is_empty() {
            return Ok(Vec::new());
        }
        let statuses: Vec<(&str, &str)> = LIVE.iter().map(|status| ("statuses", *status)).collect();
        let live: Vec<Run> = self.list("deployments", "/v1/deployments", &statuses).await?;
        let statuses: Vec<(&str, &str)> =
            LIVING.iter().map(|status| ("statuses", *status)).collect();
        let instances: Vec<Instance> = self.list("instances", "/v1/instances", &statuses).await?;
        let live: BTreeMap<&str, &Run> = live.iter().map(|run| (run.id.as_str(), run)).collect();
        let mut all = Vec::new();
        for (name, app, service) in &ours {
            // What is stored stays what it is as long as the service is paused.
            let stored = self.held(&service.latest_deployment_id).filter(|_| service.is_paused());
            let latest = match stored {
                Some(stored) => Some(stored),
                None => self.told(&service.latest_deployment_id, &live).await?,
            };
            let Some(latest) = latest else { continue };
            if !self.is_ours(&latest, name.as_str()) {
                continue;
            }
            let active = self.told(&service.active_deployment_id, &live).await?;
            let mine: Vec<&Instance> =
                instances.iter().filter(|instance| instance.service_id == service.id).collect();
            let view =
                View { app, service, latest: &latest, active: active.as_ref(), instances: &mine };
            all.push(seen(name.clone(), &view));
        }
        self.forget(&ours);
        Ok(all)
    }

    /// A deployment, out of those that live or else by itself.
    async fn told(&self, id: &str, live: &BTreeMap<&str, &Run>) -> Result<Option<Run>, Fault> {
        if id.is_empty() {
            return Ok(None);
        }
        if let Some(run) = live.get(id) {
            return Ok(Some((*run).clone()));
        }
        match self.run(id).await {
            Ok(run) => Ok(Some(run)),
            // Deleted since it was listed.
            Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Forgets the deployments that no service speaks of any more.
    fn forget(&self, ours: &[(ServiceName, &App, Service)]) {
        let is_spoken_of = |id: &String| {
            ours.iter().any(|(_, _, service)| {
                service.latest_deployment_id == *id || service.active_deployment_id == *id
            })
        };
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.retain(|id, _| is_spoken_of(id));
    }
}
