//! Makes a service what it is wanted to be: reads, compares, and writes the difference.

use std::time::Duration;

use http::{Method, StatusCode};
use linkflow_model::role::Deployment;
use linkflow_model::{Definition, EnvValue, Fault, FaultKind, ServiceKind, ServiceName};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::find::Held;
use super::request::{self, CHANGE, CHANGE_SERVICE, CREATE, Place};
use super::seen::Aim;
use super::wire::{BEFORE, CRASHLOOP, Created, Deploy, Service};
use super::{ACCOUNT, Render};
use crate::kit::{Call, encode};

/// How often a deploy that was queued is looked for.
const LOOKS: u32 = 10;

/// The pause between two such looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

impl Render {
    /// Has the service that `wanted` asks for.
    pub(super) async fn make_true(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        self.learn(wanted);
        self.check(wanted)?;
        let credential = self.have_credential(wanted.login.as_ref()).await?;
        let place = Place {
            owner: self.owner().await?,
            region: &self.settings.region,
            plan: request::plan(&self.settings.plan, wanted.size),
            credential: credential.as_deref(),
        };
        let aim = match self.find(&wanted.service).await? {
            None => self.create(&place, wanted).await?,
            Some(held) => self.update(&place, &held, wanted).await?,
        };
        Ok(Deployment { service: wanted.service.clone(), id: aim.write() })
    }

    /// Has `replicas` instances of what is deployed.
    pub(super) async fn have_running(
        &self,
        service: &ServiceName,
        replicas: u32,
    ) -> Result<(), Fault> {
        let held = self.find(service).await?.ok_or_else(|| self.missing(service))?;
        self.check_count(service, replicas)?;
        if replicas == 0 {
            return self.suspend(&held.service).await;
        }
        if held.service.is_suspended() {
            return self.wake(&held, replicas).await.map(drop);
        }
        self.count(&held.service, replicas).await
    }

    /// Learns every secret of `wanted`.
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

    /// Whether Render can run it at all.
    fn check(&self, wanted: &Definition) -> Result<(), Fault> {
        let attempt = format!("deploy {}", wanted.service);
        match wanted.kind {
            ServiceKind::Grpc => Err(self.unsupported(
                attempt,
                "Render passes gRPC on its private network only, so nothing outside could call it",
            )),
            ServiceKind::Worker if self.is_free() => {
                let said = format!(
                    "Render's free plan has no background workers: give [providers.{}] plan = \"starter\"",
                    self.provider
                );
                Err(self.unsupported(attempt, &said))
            }
            _ => self.check_count(&wanted.service, wanted.replicas),
        }
    }

    fn check_count(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        if self.is_free() && replicas > 1 {
            let said = format!(
                "Render's free plan runs one instance of a service: give [providers.{}] plan = \"starter\"",
                self.provider
            );
            return Err(self.unsupported(format!("have {replicas} instances of {service}"), &said));
        }
        Ok(())
    }

    /// Makes the service. One that is to rest is never let run: see the head of the module.
    async fn create(&self, place: &Place<'_>, wanted: &Definition) -> Result<Aim, Fault> {
        let name = self.name_of(&wanted.service);
        let call = Call::write(Method::POST, CREATE, &name, "/services")
            .counted_for(ACCOUNT)
            .json(place.create(&name, wanted));
        let Created { service, deploy_id } = self.api.send_for(call).await?;
        if wanted.replicas == 0 {
            self.suspend(&service).await?;
            if let Some(body) = place.change(&service, wanted) {
                self.patch(&service, body).await?;
            }
            return Ok(Aim::Rest { service: service.id });
        }
        match deploy_id {
            Some(deploy) => Ok(Aim::Run { service: service.id, deploy }),
            None => self.newer_than(&service.id, None, LOOKS).await.map(|found| {
                aim_for(&service.id, None, found)
            }),
        }
    }

    async fn update(
        &self,
        place: &Place<'_>,
        held: &Held,
        wanted: &Definition,
    ) -> Result<Aim, Fault> {
        let service = &held.service;
        if service.kind != request::kind(wanted) {
            let said = format!(
                "`{}` is a {} and cannot become a {}: take it away first",
                service.name,
                service.kind,
                request::kind(wanted)
            );
            let attempt = format!("deploy {}", wanted.service);
            return Err(self.api.fault(FaultKind::Invalid, attempt, &said));
        }
        if wanted.replicas == 0 {
            // First of all, so that nothing of what is written now is deployed.
            self.suspend(service).await?;
        }
        let written = self.write_variables(held, wanted).await?;
        let change = place.change(service, wanted);
        let patched = change.is_some();
        if let Some(body) = change {
            self.patch(service, body).await?;
        }
        if wanted.replicas == 0 {
            return Ok(Aim::Rest { service: service.id.clone() });
        }
        if service.is_suspended() {
            return self.wake(held, wanted.replicas).await;
        }
        self.count(service, wanted.replicas).await?;
        let before = held.latest();
        let stands = before.filter(|latest| !latest.has_failed() && !held.is_behind());
        match stands {
            Some(latest) if !written && !patched => Ok(run(service, latest)),
            _ if patched => {
                // A change of the settings may have started one. While another is under way it is queued and not listed yet;
                // a second one, asked for then, would take its place while it is followed.
                let looks = if before.is_some_and(Deploy::is_under_way) { LOOKS } else { 1 };
                match self.newer_than(&service.id, before, looks).await? {
                    Some(newest) => Ok(run(service, &newest)),
                    None => self.launch(service, before).await,
                }
            }
            _ => self.launch(service, before).await,
        }
    }

    /// Writes the variables that differ and removes those that are gone from the config. Tells whether there were any.
    async fn write_variables(&self, held: &Held, wanted: &Definition) -> Result<bool, Fault> {
        let service = &held.service;
        let of = |name: &str| held.variables.get(name);
        let mut kept = request::variables(wanted);
        if of("LINKFLOW_FINGERPRINT") == Some(&wanted.fingerprint.0) {
            // The same would run: another release's number alone is no reason to deploy.
            kept.remove("LINKFLOW_RELEASE");
        }
        let differing: Vec<_> = kept.iter().filter(|(name, text)| of(name) != Some(text)).collect();
        let is_gone = |name: &&String| held.variables.contains_key(*name) && !kept.contains_key(*name);
        let gone: Vec<&String> = wanted.env_gone.iter().filter(is_gone).collect();
        if differing.is_empty() && gone.is_empty() {
            return Ok(false);
        }
        self.forget_marks(&service.id);
        let is_same_image = request::runs(service.image_path.as_deref().unwrap_or_default(), wanted);
        if let Some(latest) = held.latest()
            && is_same_image
            && of(BEFORE) != Some(&latest.id)
        {
            self.set_variable(service, BEFORE, &latest.id).await?;
        }
        let is_last = |name: &str| name == "LINKFLOW_FINGERPRINT";
        for (name, text) in differing.iter().filter(|(name, _)| !is_last(name)) {
            self.set_variable(service, name, text).await?;
        }
        for name in gone {
            let call = Self::to_variable(Method::DELETE, service, name);
            match self.api.send(call).await {
                Err(fault) if fault.kind != FaultKind::Missing => return Err(fault),
                _ => {}
            }
        }
        // Last, because it says that all the others are as they are wanted.
        for (name, text) in differing.iter().filter(|(name, _)| is_last(name)) {
            self.set_variable(service, name, text).await?;
        }
        Ok(true)
    }

    async fn set_variable(&self, service: &Service, name: &str, text: &str) -> Result<(), Fault> {
        let call = Self::to_variable(Method::PUT, service, name).json(json!({ "value": text }));
        self.api.send(call).await.map(drop)
    }

    fn to_variable(method: Method, service: &Service, name: &str) -> Call {
        let path = format!("/services/{}/env-vars/{}", encode(&service.id), encode(name));
        let about = format!("variable {name} of {}", service.name);
        Call::write(method, CHANGE, about, path).counted_for(ACCOUNT)
    }

    async fn patch(&self, service: &Service, body: Value) -> Result<(), Fault> {
        let path = format!("/services/{}", encode(&service.id));
        let call = Call::write(Method::PATCH, CHANGE_SERVICE, &service.name, path)
            .counted_for(&service.id)
            .json(body);
        self.api.send(call).await.map(drop)
    }

    /// Suspends it, unless it is.
    async fn suspend(&self, service: &Service) -> Result<(), Fault> {
        if service.is_suspended() {
            return Ok(());
        }
        self.act(service, "/suspend").await
    }

    /// Has `replicas` instances run from now on.
    async fn count(&self, service: &Service, replicas: u32) -> Result<(), Fault> {
        if service.instances() == replicas {
            return Ok(());
        }
        let path = format!("/services/{}/scale", encode(&service.id));
        let call = Call::write(Method::POST, CHANGE, format!("the scale of {}", service.name), path)
            .counted_for(ACCOUNT)
            .json(json!({ "numInstances": replicas }));
        self.api.send(call).await.map(drop)
    }

    /// Resumes it. That deploys what is set by now; where it does not, a deploy is asked for when one is due.
    async fn wake(&self, held: &Held, replicas: u32) -> Result<Aim, Fault> {
        let service = &held.service;
        if let Some(who) = service.suspended_by_render().filter(|who| *who != CRASHLOOP) {
            let said = format!("Render has suspended it itself: {who}");
            let attempt = format!("resume {}", service.name);
            let kind = if who == "billing" { FaultKind::Exhausted } else { FaultKind::Denied };
            return Err(self.api.fault(kind, attempt, &said));
        }
        self.act(service, "/resume").await?;
        self.count(service, replicas).await?;
        let before = held.latest();
        match (self.newer_than(&service.id, before, LOOKS).await?, before) {
            (Some(newest), _) => Ok(run(service, &newest)),
            (None, Some(latest)) if latest.is_live() && !held.is_behind() => Ok(run(service, latest)),
            (None, _) => self.launch(service, before).await,
        }
    }

    /// Deploys what is set.
    async fn launch(&self, service: &Service, before: Option<&Deploy>) -> Result<Aim, Fault> {
        let path = format!("/services/{}/deploys", encode(&service.id));
        let call = Call::write(Method::POST, CHANGE_SERVICE, format!("{}: deploy it", service.name), path)
            .counted_for(&service.id)
            .json(json!({}));
        let answer = self.api.send(call).await?;
        if answer.status == StatusCode::CREATED && !answer.body.is_empty() {
            let deploy: Deploy = self.api.read(format!("deploy {}", service.name), &answer)?;
            return Ok(run(service, &deploy));
        }
        let found = self.newer_than(&service.id, before, LOOKS).await?;
        Ok(aim_for(&service.id, before, found))
    }

    /// The newest deploy, once it is another than `before`; looked for up to `looks` times.
    async fn newer_than(
        &self,
        service: &str,
        before: Option<&Deploy>,
        looks: u32,
    ) -> Result<Option<Deploy>, Fault> {
        for look in 0..looks {
            if look > 0 {
                sleep(LOOK_EVERY).await;
            }
            let newest = self.deploys(service).await?.into_iter().next();
            if let Some(newest) = newest
                && before.is_none_or(|before| before.id != newest.id)
            {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    async fn act(&self, service: &Service, verb: &str) -> Result<(), Fault> {
        let path = format!("/services/{}{verb}", encode(&service.id));
        let about = format!("{}: {} it", service.name, verb.trim_start_matches('/'));
        let call = Call::write(Method::POST, CHANGE_SERVICE, about, path).counted_for(&service.id);
        self.api.send(call).await.map(drop)
    }

    /// Sends a write to a service that takes no body and is counted with all others.
    pub(super) async fn write(
        &self,
        method: Method,
        service: &Service,
        tail: &str,
        verb: &str,
    ) -> Result<(), Fault> {
        let path = format!("/services/{}{tail}", encode(&service.id));
        let call = Call::write(method, CHANGE, format!("{}: {verb} it", service.name), path);
        self.api.send(call.counted_for(ACCOUNT)).await.map(drop)
    }

    /// Takes a service away, and the registry login that it was the last to use.
    pub(super) async fn remove(&self, service: &Service) -> Result<(), Fault> {
        match self.write(Method::DELETE, service, "", "delete").await {
            Err(fault) if fault.kind != FaultKind::Missing => return Err(fault),
            _ => self.forget_marks(&service.id),
        }
        self.drop_credential_of(service).await
    }
}

fn run(service: &Service, deploy: &Deploy) -> Aim {
    Aim::Run { service: service.id.clone(), deploy: deploy.id.clone() }
}

fn aim_for(service: &str, before: Option<&Deploy>, found: Option<Deploy>) -> Aim {
    let service = service.to_owned();
    match found {
        Some(deploy) => Aim::Run { service, deploy: deploy.id },
        None => {
            let before = before.map_or_else(|| "-".to_owned(), |before| before.id.clone());
            Aim::Next { service, before }
        }
    }
}
