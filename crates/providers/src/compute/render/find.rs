//! Finds what there is: the workspace, our services, and how each stands.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use linkflow_model::role::Seen;
use linkflow_model::{Fault, FaultKind, Fingerprint, ReleaseId, ServiceName};

use super::Render;
use super::seen::{self, Trace};
use super::wire::{
    BEFORE, Deploy, DeployRow, EnvRow, Event, EventRow, Instance, OwnerRow, Service, ServiceRow,
    digest_of,
};
use crate::kit::encode;

/// How many rows one page has (docs: reference/pagination).
const PAGE: usize = 100;

/// How many deploys are looked at, newest first.
const DEPLOYS: &str = "5";

/// What our variables say of a service.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    pub(super) service: ServiceName,
    pub(super) release: Option<ReleaseId>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) before: Option<String>,
}

/// A service of ours.
pub(super) struct Held {
    pub(super) service: Service,
    pub(super) variables: BTreeMap<String, String>,
    /// Newest first.
    pub(super) deploys: Vec<Deploy>,
}

impl Held {
    pub(super) fn latest(&self) -> Option<&Deploy> {
        self.deploys.first()
    }

    /// Whether something was written that no deploy has brought about.
    pub(super) fn is_behind(&self) -> bool {
        is_behind(&self.service, &self.deploys, self.variables.get(BEFORE).map(String::as_str))
    }
}

/// Whether the newest deploy is of another image than the settings name, or is the one before our last writes.
pub(super) fn is_behind(service: &Service, deploys: &[Deploy], before: Option<&str>) -> bool {
    let Some(latest) = deploys.first() else { return true };
    let asked = latest.image.as_ref().and_then(|image| digest_of(&image.reference));
    let asked = asked.or_else(|| latest.digest());
    let set = service.image_path.as_deref().and_then(digest_of);
    // Where one of them is not told, there is nothing to compare.
    let is_other = matches!((asked, set), (Some(asked), Some(set)) if asked != set);
    before == Some(latest.id.as_str()) || is_other
}

impl Render {
    /// The workspace.
    pub(super) async fn owner(&self) -> Result<&str, Fault> {
        if let Some(owner) = &self.settings.owner {
            return Ok(owner);
        }
        self.owner.get_or_try_init(|| self.only_owner()).await.map(String::as_str)
    }

    async fn only_owner(&self) -> Result<String, Fault> {
        let call = Self::look_at("the workspaces", "/owners").query("limit", &PAGE.to_string());
        let rows: Vec<OwnerRow> = self.api.send_for(call).await?;
        match rows.as_slice() {
            [only] => Ok(only.owner.id.clone()),
            rows => {
                let names: Vec<String> =
                    rows.iter().map(|row| format!("{} ({})", row.owner.id, row.owner.name)).collect();
                let said = format!(
                    "the key may see {} workspaces: name one as `owner` in [providers.{}]: {}",
                    rows.len(),
                    self.provider,
                    names.join(", ")
                );
                Err(self.api.fault(FaultKind::Invalid, "choose a workspace", &said))
            }
        }
    }

    /// The name of `service` at Render.
    pub(super) fn name_of(&self, service: &ServiceName) -> String {
        format!("{}-{service}", self.stack)
    }

    /// Every service of the workspace, or those named `name`.
    pub(super) async fn services(&self, name: Option<&str>) -> Result<Vec<Service>, Fault> {
        let owner = self.owner().await?;
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut call = Self::look_at(name.unwrap_or("the services"), "/services")
                .query("ownerId", owner)
                .query("limit", &PAGE.to_string());
            if let Some(name) = name {
                call = call.query("name", name);
            }
            if let Some(cursor) = &cursor {
                call = call.query("cursor", cursor);
            }
            let rows: Vec<ServiceRow> = self.api.send_for(call).await?;
            let is_last = rows.len() < PAGE;
            cursor = rows.last().map(|row| row.cursor.clone());
            all.extend(rows.into_iter().map(|row| row.service));
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The variables of a service.
    pub(super) async fn variables(&self, id: &str) -> Result<BTreeMap<String, String>, Fault> {
        let (mut all, mut cursor) = (BTreeMap::new(), None::<String>);
        loop {
            let path = format!("/services/{}/env-vars", encode(id));
            let mut call = Self::look_at(format!("the variables of {id}"), path)
                .query("limit", &PAGE.to_string());
            if let Some(cursor) = &cursor {
                call = call.query("cursor", cursor);
            }
            let rows: Vec<EnvRow> = self.api.send_for(call).await?;
            let is_last = rows.len() < PAGE;
            cursor = rows.last().map(|row| row.cursor.clone());
            all.extend(rows.into_iter().map(|row| (row.env_var.key, row.env_var.value)));
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The last deploys of a service, newest first.
    pub(super) async fn deploys(&self, id: &str) -> Result<Vec<Deploy>, Fault> {
        let path = format!("/services/{}/deploys", encode(id));
        let call = Self::look_at(format!("the deploys of {id}"), path).query("limit", DEPLOYS);
        let rows: Vec<DeployRow> = self.api.send_for(call).await?;
        Ok(rows.into_iter().map(|row| row.deploy).collect())
    }

    /// How many instances of a service run.
    pub(super) async fn running(&self, id: &str) -> Result<u32, Fault> {
        let path = format!("/services/{}/instances", encode(id));
        let call = Self::look_at(format!("the instances of {id}"), path);
        let rows: Vec<Instance> = self.api.send_for(call).await?;
        Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }

    /// What happened to a service of late, newest first.
    pub(super) async fn events(&self, id: &str) -> Result<Vec<Event>, Fault> {
        let path = format!("/services/{}/events", encode(id));
        let call = Self::look_at(format!("the events of {id}"), path).query("limit", "20");
        let rows: Vec<EventRow> = self.api.send_for(call).await?;
        Ok(rows.into_iter().map(|row| row.event).collect())
    }

    /// Our service, if there is one. One of that name which is not ours is a [`FaultKind::Invalid`].
    pub(super) async fn find(&self, service: &ServiceName) -> Result<Option<Held>, Fault> {
        let name = self.name_of(service);
        let found = self.services(Some(&name)).await?.into_iter().find(|held| held.name == name);
        let Some(held) = found else { return Ok(None) };
        let variables = self.variables(&held.id).await?;
        if self.marks(&variables).is_none_or(|marks| marks.service != *service) {
            let said = format!(
                "the workspace has a service `{name}` ({}) that is not of the stack `{}`: give [providers.{}] another `owner`",
                held.id, self.stack, self.provider
            );
            return Err(self.api.fault(FaultKind::Invalid, format!("use service {name}"), &said));
        }
        // Whoever looks next reads them too: another process may have written them.
        self.forget_marks(&held.id);
        let deploys = self.deploys(&held.id).await?;
        Ok(Some(Held { service: held, variables, deploys }))
    }

    /// What `variables` say, when they are of this stack.
    fn marks(&self, variables: &BTreeMap<String, String>) -> Option<Marks> {
        if variables.get("LINKFLOW_STACK").map(String::as_str) != Some(self.stack.as_str()) {
            return None;
        }
        Some(Marks {
            service: ServiceName::new(variables.get("LINKFLOW_SERVICE")?)?,
            release: variables.get("LINKFLOW_RELEASE").and_then(|text| text.parse().ok()),
            fingerprint: variables.get("LINKFLOW_FINGERPRINT").cloned().map(Fingerprint),
            before: variables.get(BEFORE).cloned(),
        })
    }

    /// Every placement of this stack.
    pub(super) async fn look_at_all(&self) -> Result<Vec<Seen>, Fault> {
        let prefix = format!("{}-", self.stack);
        let mut services = self.services(None).await?;
        services.retain(|s| {
            s.name.starts_with(&prefix)
                && matches!(s.kind.as_str(), "web_service" | "background_worker")
        });
        let mut all = Vec::new();
        for service in &services {
            match self.look_at_one(service).await {
                Ok(seen) => all.extend(seen),
                // It was taken away since it was listed.
                Err(fault) if fault.kind == FaultKind::Missing => {}
                Err(fault) => return Err(fault),
            }
        }
        let mut known = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| services.iter().any(|service| service.id == *id));
        Ok(all)
    }

    async fn look_at_one(&self, service: &Service) -> Result<Option<Seen>, Fault> {
        let stranger = format!("stranger {}", service.updated_at);
        if self.known_marks(&service.id, &stranger).is_some() {
            return Ok(None);
        }
        let deploys = self.deploys(&service.id).await?;
        let latest = deploys.first().map_or("", |deploy| deploy.id.as_str());
        let state = format!("{} {latest}", service.updated_at);
        // A service that rests is changed without a deploy, so what was read of it may be old.
        let known = self.known_marks(&service.id, &state).filter(|_| !service.is_suspended());
        let marks = match known {
            Some(marks) => marks,
            None => {
                let marks = self.marks(&self.variables(&service.id).await?);
                let state = if marks.is_some() { state } else { stranger };
                let mut known = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(service.id.clone(), (state, marks.clone()));
                marks
            }
        };
        let Some(marks) = marks else { return Ok(None) };
        let running = self.running(&service.id).await?;
        let mut trace = Trace { service, deploys: &deploys, marks: &marks, running, events: &[] };
        if !trace.needs_events() {
            return Ok(Some(seen::seen(&trace)));
        }
        let events = self.events(&service.id).await?;
        trace.events = &events;
        Ok(Some(seen::seen(&trace)))
    }

    /// What was read of a service when it stood as `state` says.
    fn known_marks(&self, id: &str, state: &str) -> Option<Option<Marks>> {
        let known = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).filter(|(held, _)| held == state).map(|(_, marks)| marks.clone())
    }

    /// Forgets what was read of a service.
    pub(super) fn forget_marks(&self, id: &str) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
