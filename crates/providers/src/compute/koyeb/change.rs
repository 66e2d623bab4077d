//! Makes a service what it is wanted to be: reads, compares, and writes the difference.

use http::Method;
use linkflow_model::role::Deployment;
use linkflow_model::{Definition, EnvValue, Fault, FaultKind, ServiceName};
use serde_json::{Value, json};

use super::Koyeb;
use super::definition::secrets_in;
use super::place::{Found, Place};
use super::seen::Aim;
use super::wire::{App, AppAnswer, PARKED, Run, Service, ServiceAnswer};
use crate::kit::{Call, encode};

impl Koyeb {
    /// Has the service that `wanted` asks for.
    pub(super) async fn make_true(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        wanted.env.values().for_each(|value| {
            if let EnvValue::Secret(secret) = value {
                self.kit.learn(secret);
            }
        });
        if let Some(login) = &wanted.login {
            self.kit.learn(&login.password);
        }
        let id = match self.find(&wanted.service).await? {
            Found::Ours(place) => self.change(&place, wanted).await?,
            Found::Theirs(other) => return Err(self.not_ours(&wanted.service, &other)),
            Found::Empty(app) if app.is_going() => {
                return Err(self.is_busy("its app is being deleted"));
            }
            Found::Empty(app) => self.create(&app, wanted).await?,
            Found::Nothing => self.create_with_app(wanted).await?,
        };
        let aim = Aim {
            service: id,
            replicas: wanted.replicas,
            fingerprint: wanted.fingerprint.0.clone(),
        };
        Ok(Deployment { service: wanted.service.clone(), id: aim.write() })
    }

    /// That the vendor has to come to an end with something first.
    fn is_busy(&self, said: &str) -> Fault {
        self.api.fault(FaultKind::Conflict, "change the service", said)
    }

    /// Makes the app and the service in it. An app for which the service was refused is not left behind.
    async fn create_with_app(&self, wanted: &Definition) -> Result<String, Fault> {
        let name = self.app_name(&wanted.service)?;
        let call = Call::write(Method::POST, "create app", &name, "/v1/apps");
        let made: AppAnswer = self.send_for(call.json(json!({ "name": name }))).await?;
        let created = self.create(&made.app, wanted).await;
        if let Err(fault) = &created
            && !fault.kind.is_passing()
        {
            let cleared = self.remove_app(&made.app).await;
            let cleared = match cleared {
                Ok(()) => self.remove_secrets(&wanted.service).await,
                refused => refused,
            };
            if let Err(fault) = cleared {
                tracing::debug!(%fault, "an empty app is left behind");
            }
        }
        created
    }

    /// Makes the service; tells its id.
    async fn create(&self, app: &App, wanted: &Definition) -> Result<String, Fault> {
        let names = self.names(&wanted.service);
        self.publish(wanted, true).await?;
        let definition = if wanted.replicas == 0 {
            self.terms.parked(wanted, &names)
        } else {
            self.terms.definition(wanted, &names, &Value::Null)
        };
        let body = json!({ "app_id": app.id, "name": wanted.service, "definition": definition });
        let call =
            Call::write(Method::POST, "create service", wanted.service.as_str(), "/v1/services");
        let made: ServiceAnswer = self.send_for(call.json(body)).await?;
        if wanted.replicas == 0 {
            let definition = self.terms.definition(wanted, &names, &Value::Null);
            self.update(&made.service, definition, true).await?;
            self.pause(&made.service).await?;
        }
        Ok(made.service.id)
    }

    /// Brings our service from what it is to what `wanted` says; tells its id.
    async fn change(&self, place: &Place, wanted: &Definition) -> Result<String, Fault> {
        let Place { service, latest, .. } = place;
        let rests = wanted.replicas == 0;
        if !rests && service.is_pausing() {
            return Err(self.is_busy("it is still being paused"));
        }
        let names = self.names(&wanted.service);
        let is_same = self.terms.is_same(latest, wanted, &names);
        self.publish(wanted, !is_same).await?;
        let stays_put = rests || service.is_paused();
        if !is_same {
            let definition = self.terms.definition(wanted, &names, &latest.definition);
            self.update(service, definition, stays_put).await?;
            self.tidy_secrets(wanted, &secrets_in(&latest.definition)).await?;
        } else if !stays_put && !latest.goes_on() {
            // What was stored and not rolled out, or came to a bad end, begins anew.
            self.redeploy(service).await?;
        }
        self.settle(service, rests).await?;
        Ok(service.id.clone())
    }

    /// Has the service paused when it `rests`, and otherwise not.
    async fn settle(&self, service: &Service, rests: bool) -> Result<(), Fault> {
        match (rests, service.is_paused() || service.is_pausing()) {
            (true, false) => self.pause(service).await,
            (false, true) => {
                let path = format!("/v1/services/{}/resume", encode(&service.id));
                self.send(Call::write(Method::POST, "resume service", &service.id, path))
                    .await
                    .map(drop)
            }
            _ => Ok(()),
        }
    }

    async fn pause(&self, service: &Service) -> Result<(), Fault> {
        let path = format!("/v1/services/{}/pause", encode(&service.id));
        self.send(Call::write(Method::POST, "pause service", &service.id, path)).await.map(drop)
    }

    /// Writes the definition; unless it is only to be stored, that is a deploy.
    async fn update(&self, service: &Service, definition: Value, store: bool) -> Result<(), Fault> {
        let path = format!("/v1/services/{}", encode(&service.id));
        let body = json!({ "definition": definition, "save_only": store });
        let call = Call::write(Method::PATCH, "update service", &service.id, path).json(body);
        self.send(call).await.map(drop)
    }

    /// Has `replicas` instances of what is deployed.
    pub(super) async fn have_running(
        &self,
        service: &ServiceName,
        replicas: u32,
    ) -> Result<(), Fault> {
        let place = self.deployed(service).await?;
        if replicas == 0 {
            return self.settle(&place.service, true).await;
        }
        if place.service.is_pausing() {
            return Err(self.is_busy("it is still being paused"));
        }
        if place.latest.env(PARKED).is_some() {
            let said = "it was made and has nothing to run yet: deploy it";
            return Err(self.api.fault(FaultKind::Missing, format!("start {service}"), said));
        }
        let paused = place.service.is_paused();
        if !self.terms.is_scaled(&place.latest, replicas) {
            let definition = self.terms.scaled(&place.latest.definition, replicas);
            self.update(&place.service, definition, paused).await?;
        } else if !paused && !place.latest.goes_on() && self.older(&place).await?.is_none() {
            self.redeploy(&place.service).await?;
        }
        self.settle(&place.service, false).await
    }

    /// The deployment that serves while the latest does not.
    async fn older(&self, place: &Place) -> Result<Option<Run>, Fault> {
        let active = &place.service.active_deployment_id;
        if active.is_empty() || *active == place.latest.id || place.latest.goes_on() {
            return Ok(None);
        }
        match self.run(active).await {
            Ok(run) => Ok(Some(run).filter(Run::goes_on)),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Starts the running instances again: a new deployment of what runs, which need not be the latest.
    pub(super) async fn start_again(&self, service: &ServiceName) -> Result<(), Fault> {
        let place = self.deployed(service).await?;
        if place.service.is_paused() || place.service.is_pausing() {
            return Ok(());
        }
        match self.older(&place).await? {
            Some(run) => {
                let definition = self.terms.scaled(&run.definition, run.instances());
                self.update(&place.service, definition, false).await
            }
            None => self.redeploy(&place.service).await,
        }
    }

    /// Starts a new deployment of what is set, in place of the one that runs.
    async fn redeploy(&self, service: &Service) -> Result<(), Fault> {
        let path = format!("/v1/services/{}/redeploy", encode(&service.id));
        let call = Call::write(Method::POST, "redeploy service", &service.id, path);
        self.send(call.json(json!({}))).await.map(drop)
    }

    /// Takes the service away, with its app unless somebody else uses that too.
    pub(super) async fn take_away(&self, service: &ServiceName) -> Result<(), Fault> {
        let place = match self.find(service).await? {
            Found::Ours(place) => place,
            // Nothing in an empty app says whose it is; it costs nothing either.
            Found::Nothing | Found::Empty(_) => return Ok(()),
            Found::Theirs(other) => return Err(self.not_ours(service, &other)),
        };
        if place.shared {
            let path = format!("/v1/services/{}", encode(&place.service.id));
            let call = Call::write(Method::DELETE, "delete service", service.as_str(), path);
            self.gone(call).await?;
        } else {
            self.remove_app(&place.app).await?;
        }
        self.remove_secrets(service).await
    }

    async fn remove_app(&self, app: &App) -> Result<(), Fault> {
        let path = format!("/v1/apps/{}", encode(&app.id));
        self.gone(Call::write(Method::DELETE, "delete app", &app.name, path)).await
    }

    /// Sends a deletion; what is already gone is fine.
    pub(super) async fn gone(&self, call: Call) -> Result<(), Fault> {
        match self.send(call).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }
}
