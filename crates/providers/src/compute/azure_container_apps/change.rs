//! Makes container apps what they are wanted to be: reads, compares, and writes the difference.

use http::Method;
use linkflow_model::role::Deployment;
use linkflow_model::{Definition, EnvValue, Fault, FaultKind, ServiceName};
use serde_json::{Value, json};

use super::Azure;
use super::arm::absent;
use super::seen::Aim;
use super::template::{self, Held};
use super::wire::{Resource, STACK};
use crate::kit::{Call, encode};

impl Azure {
    /// Has the app that `wanted` asks for.
    pub(super) async fn make_true(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        self.learn(wanted);
        let resources = self.resources(wanted)?;
        let name = self.app_name(&wanted.service);
        let aim = Aim { fingerprint: wanted.fingerprint.0.clone(), replicas: wanted.replicas };
        let deployment = Deployment { service: wanted.service.clone(), id: aim.write() };
        let mut found = self.app(&name).await?;
        if let Some(app) = &found {
            self.check_ours(app, &wanted.service)?;
            if app.is_busy() && !app.is_going() && !is_outdated(app, wanted) && !rests(app, wanted)
            {
                return Ok(deployment);
            }
            if app.is_busy() {
                found = self.settled_app(&name).await?;
            }
        }
        let app = match found {
            Some(app) => app,
            None => match self.create(&name, wanted, &resources).await? {
                Some(idle) => idle,
                None => return Ok(deployment),
            },
        };
        self.change(app, wanted, &resources).await?;
        Ok(deployment)
    }

    /// Makes a new app. One that is to rest is given back when it is there and still has to be made what is wanted.
    async fn create(
        &self,
        name: &str,
        wanted: &Definition,
        resources: &Value,
    ) -> Result<Option<Resource>, Fault> {
        let location = self.have_environment().await?;
        let environment = self.environment_id();
        let rests = wanted.replicas == 0;
        let body = if rests {
            template::create_idle(wanted, &environment, &location)
        } else {
            template::create(wanted, resources, &environment, &location)
        };
        let path = self.app_path(name, "");
        self.send(Call::write(Method::PUT, "create container app", name, path).json(body)).await?;
        if !rests {
            return Ok(None);
        }
        self.still_there(name).await.map(Some)
    }

    /// Makes `app`, with which nothing is under way, what is wanted.
    async fn change(
        &self,
        mut app: Resource,
        wanted: &Definition,
        resources: &Value,
    ) -> Result<(), Fault> {
        let name = app.name.clone();
        if wanted.replicas == 0 && !app.is_stopped() {
            self.act("stop container app", &name, "/stop").await?;
            app = self.still_there(&name).await?;
        }
        let mut changed = true;
        if is_outdated(&app, wanted) {
            let held = self.held(&app).await?;
            self.update(&name, template::update(wanted, resources, &app, &held)).await?;
        } else if wanted.login.is_some() {
            changed = self.keep_login(&app, wanted).await?;
        } else {
            changed = false;
        }
        if wanted.replicas > 0 && app.is_stopped() {
            if changed {
                self.still_there(&name).await?;
            }
            self.act("start container app", &name, "/start").await?;
        }
        Ok(())
    }

    /// Has the registry login that `wanted` names. It is no part of a revision. Says whether it had to be changed.
    async fn keep_login(&self, app: &Resource, wanted: &Definition) -> Result<bool, Fault> {
        let held = self.held(app).await?;
        let differs = template::login_differs(wanted, app, &held.secrets);
        if differs {
            let credentials = template::credentials(wanted, app, &held);
            let properties = json!({ "configuration": credentials });
            let body = json!({ "location": app.location, "properties": properties });
            self.update(&app.name, body).await?;
        }
        Ok(differs)
    }

    /// The secrets of `app`, and which of them may be in use.
    async fn held(&self, app: &Resource) -> Result<Held, Fault> {
        let has_any = !app.list("/configuration/secrets").is_empty();
        let secrets = if has_any { self.secrets(&app.name).await? } else { Vec::new() };
        let mut in_use: Vec<String> =
            app.template().secret_names().into_iter().map(str::to_owned).collect();
        let ready = app.text("/latestReadyRevisionName");
        if !ready.is_empty() && ready != app.text("/latestRevisionName") {
            // The last change did not come up, so an older revision still serves.
            let revision = self.revision(&app.name, ready).await?;
            let names = revision.as_ref().map(|r| r.template().secret_names()).unwrap_or_default();
            in_use.extend(names.into_iter().map(str::to_owned));
        }
        Ok(Held { secrets, in_use })
    }

    async fn update(&self, app: &str, body: Value) -> Result<(), Fault> {
        let path = self.app_path(app, "");
        let call = Call::write(Method::PATCH, "update container app", app, path).json(body);
        self.send(call).await.map(drop)
    }

    /// Has `replicas` instances of what is deployed.
    pub(super) async fn have_running(
        &self,
        service: &ServiceName,
        replicas: u32,
    ) -> Result<(), Fault> {
        let app = self.deployed(service).await?;
        let name = app.name.clone();
        if replicas == 0 {
            if !app.is_stopped() {
                self.act("stop container app", &name, "/stop").await?;
            }
            return Ok(());
        }
        let changes = app.template().least_replicas() != replicas;
        if changes {
            self.update(&name, template::scale(&app, replicas)).await?;
        }
        if app.is_stopped() {
            if changes {
                self.still_there(&name).await?;
            }
            self.act("start container app", &name, "/start").await?;
        }
        Ok(())
    }

    /// Starts the instances of what runs again.
    pub(super) async fn start_again(&self, service: &ServiceName) -> Result<(), Fault> {
        let app = self.deployed(service).await?;
        let revision = app.text("/latestRevisionName");
        if app.is_stopped() || revision.is_empty() {
            return Ok(());
        }
        let tail = format!("/revisions/{}/restart", encode(revision));
        self.act("restart container app", &app.name, &tail).await
    }

    /// Takes the app away, and the environment that was made for it when it was the last.
    pub(super) async fn remove(&self, service: &ServiceName) -> Result<(), Fault> {
        let name = self.app_name(service);
        let Some(app) = self.app(&name).await? else { return Ok(()) };
        self.check_ours(&app, service)?;
        let app = if app.is_busy() { self.settled_app(&name).await? } else { Some(app) };
        if let Some(app) = app {
            let path = self.app_path(&name, "");
            absent(
                self.send(Call::write(Method::DELETE, "delete container app", &name, path)).await,
            )?;
            // What is gone runs no more, and its name is free.
            let left = self.settled_app(&name).await?;
            if left.is_some() {
                let said = "Azure did not delete it";
                return Err(self.arm.fault(
                    FaultKind::Conflict,
                    format!("delete container app {name}"),
                    said,
                ));
            }
            self.forget_certificates(&app).await?;
        }
        self.remove_environment().await
    }

    /// The app of `service`, with which nothing is under way.
    pub(super) async fn deployed(&self, service: &ServiceName) -> Result<Resource, Fault> {
        let name = self.app_name(service);
        if let Some(app) = self.app(&name).await? {
            self.check_ours(&app, service)?;
            let app = if app.is_busy() { self.settled_app(&name).await? } else { Some(app) };
            if let Some(app) = app {
                return Ok(app);
            }
        }
        let attempt = format!("find {service}");
        Err(self.arm.fault(FaultKind::Missing, attempt, "it is not deployed here"))
    }

    /// The app after a change, once that is carried out.
    async fn still_there(&self, name: &str) -> Result<Resource, Fault> {
        let found = self.settled_app(name).await?;
        let attempt = format!("change container app {name}");
        found.ok_or_else(|| self.arm.fault(FaultKind::Conflict, attempt, "somebody deleted it"))
    }

    /// Has the environment, and tells where it is.
    pub(super) async fn have_environment(&self) -> Result<String, Fault> {
        let name = &self.settings.environment;
        let path = self.path(&format!("managedEnvironments/{}", encode(name)));
        let read = || self.find::<Resource>(Call::read("read environment", name, path.clone()));
        let mut found = read().await?;
        if found.is_none() {
            let Some(location) = &self.settings.location else {
                let said = format!(
                    "it is not there: give [providers.{}] a `location` to make it in",
                    self.provider
                );
                return Err(self.arm.fault(
                    FaultKind::Invalid,
                    format!("use environment {name}"),
                    &said,
                ));
            };
            let body = json!({
                "location": location,
                "tags": { STACK: self.stack.as_str() },
                "properties": {
                    "workloadProfiles": [{ "name": "Consumption", "workloadProfileType": "Consumption" }],
                },
            });
            let call = Call::write(Method::PUT, "create environment", name, path.clone());
            self.send(call.json(body)).await?;
            found = self.settled("environment", name, &path).await.map_err(slow)?;
        }
        let environment = match found {
            Some(found) if found.is_busy() => {
                self.settled("environment", name, &path).await.map_err(slow)?
            }
            other => other,
        };
        match environment {
            Some(environment) if !environment.has_failed() => Ok(environment.location),
            other => {
                let why = other.map(|e| e.text("/deploymentErrors").to_owned()).unwrap_or_default();
                let said = if why.is_empty() { "Azure could not make it".to_owned() } else { why };
                Err(self.arm.fault(FaultKind::Conflict, format!("use environment {name}"), &said))
            }
        }
    }

    /// Deletes the environment when it was made for this stack and nothing is in it.
    async fn remove_environment(&self) -> Result<(), Fault> {
        let name = &self.settings.environment;
        let path = self.path(&format!("managedEnvironments/{}", encode(name)));
        let call = Call::read("read environment", name, path.clone());
        let Some(found) = self.find::<Resource>(call).await? else { return Ok(()) };
        if found.tag(STACK) != Some(self.stack.as_str()) || found.is_busy() {
            return Ok(());
        }
        let apps: Vec<Resource> = self
            .list(
                "list container apps of",
                &self.settings.resource_group,
                self.path("containerApps"),
            )
            .await?;
        let id = self.environment_id().to_lowercase();
        let is_in = |app: &&Resource| {
            ["/environmentId", "/managedEnvironmentId"]
                .iter()
                .any(|at| app.text(at).to_lowercase() == id)
        };
        if apps.iter().any(|app| is_in(&app)) {
            return Ok(());
        }
        let call = Call::write(Method::DELETE, "delete environment", name, path);
        match self.send(call).await {
            // Something else is in it that this list does not show, as a job.
            Err(fault)
                if !matches!(
                    fault.kind,
                    FaultKind::Missing | FaultKind::Conflict | FaultKind::Invalid
                ) =>
            {
                Err(fault)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn learn(&self, wanted: &Definition) {
        for value in wanted.env.values() {
            if let EnvValue::Secret(secret) = value {
                self.kit.learn(secret);
            }
        }
        if let Some(login) = &wanted.login {
            self.kit.learn(&login.password);
        }
    }

    pub(super) fn resources(&self, wanted: &Definition) -> Result<Value, Fault> {
        template::resources(wanted.size).ok_or_else(|| {
            let said = "the consumption plan has at most 4 CPUs and 8 GiB for an instance";
            self.arm.fault(FaultKind::Invalid, format!("size {}", wanted.service), said)
        })
    }
}

/// A new environment takes minutes, which is longer than one call may wait.
fn slow(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::Conflict => {
            let wait = std::time::Duration::from_secs(30);
            Fault { kind: FaultKind::Limited { wait }, ..fault }
        }
        _ => fault,
    }
}

/// Whether `app` still has to be stopped or started, whatever is under way.
fn rests(app: &Resource, wanted: &Definition) -> bool {
    app.is_stopped() || wanted.replicas == 0
}

/// Whether `app` has to be updated to be what `wanted` says.
fn is_outdated(app: &Resource, wanted: &Definition) -> bool {
    let template = app.template();
    template.fingerprint().as_ref() != Some(&wanted.fingerprint)
        || template.digest().as_ref() != Some(&wanted.image.digest)
        || (wanted.replicas > 0 && template.least_replicas() != wanted.replicas)
        // The last change was not taken, so asking for it once more is a change.
        || (!app.is_busy() && app.has_failed())
}
