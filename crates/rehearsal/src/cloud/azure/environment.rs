//! Environments: where apps run, and what their hosts end in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::app::verification_id;
use super::shape::text;
use super::{Azure, HOST_SUFFIX, Refused, accepted, busy, id_of, not_found, object, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::site::Site;

/// The most environments that a subscription may have in a region.
const MOST: usize = 15;

/// One environment.
pub(super) struct Environment {
    location: String,
    tags: Value,
    pub(super) domain: String,
    pub(super) provisioning: &'static str,
    profiles: Value,
    /// By name.
    pub(super) certificates: BTreeMap<String, Value>,
}

impl Environment {
    /// One that is there.
    pub(super) fn ready(site: &Site, location: &str) -> Self {
        let word = ["calmsea", "greenfield", "orangeplant"]
            [usize::try_from(site.dice.between(0, 2)).unwrap_or(0)];
        Self {
            location: location.to_owned(),
            tags: json!({}),
            domain: format!("{word}-{}.{location}.{HOST_SUFFIX}", site.dice.hex(8)),
            provisioning: "Succeeded",
            profiles: json!([]),
            certificates: BTreeMap::new(),
        }
    }

    fn view(&self, name: &str) -> Value {
        json!({
            "id": id_of(&format!("managedEnvironments/{name}")),
            "name": name,
            "type": "Microsoft.App/managedEnvironments",
            "location": self.location,
            "tags": self.tags,
            "properties": {
                "provisioningState": self.provisioning,
                "defaultDomain": self.domain,
                "staticIp": "20.76.0.2",
                "zoneRedundant": false,
                "workloadProfiles": self.profiles,
                "customDomainConfiguration": { "customDomainVerificationId": verification_id() },
            },
        })
    }
}

impl Azure {
    /// The domain of an environment in which apps can be made now.
    pub(super) fn environment_domain(&self, name: &str) -> Result<String, Refused> {
        let state = self.state();
        let found = state.environments.get(&name.to_lowercase());
        let found = found.ok_or_else(|| not_found("managedEnvironments", name))?;
        if found.provisioning != "Succeeded" {
            let why = format!(
                "The environment '{name}' is not ready for app creation: {}.",
                found.provisioning
            );
            return Err(refusal(409, "ManagedEnvironmentNotReadyForAppCreation", &why));
        }
        Ok(found.domain.clone())
    }

    /// Answers a call below `managedEnvironments`, but for certificates.
    pub(super) fn of_environments(
        self: &Arc<Self>,
        call: &Call,
        parts: &[&str],
    ) -> Result<Answer, Refused> {
        match (call.method.as_str(), parts) {
            ("GET", []) => {
                let rows: Vec<Value> =
                    self.state().environments.iter().map(|(name, e)| e.view(name)).collect();
                Ok(Answer::json(200, &json!({ "value": rows })))
            }
            ("GET", [name]) => {
                let state = self.state();
                let found = state.environments.get(&name.to_lowercase());
                found
                    .map(|e| Answer::json(200, &e.view(name)))
                    .ok_or_else(|| not_found("managedEnvironments", name))
            }
            ("PUT", [name]) => self.put_environment(call, name),
            ("DELETE", [name]) => self.delete_environment(call, name),
            ("GET", [name, "usages"]) => {
                self.environment_domain(name)?;
                let cores = quota(
                    "ManagedEnvironmentConsumptionCores",
                    "Consumption Core Quota",
                    self.cores(name),
                    100.0,
                );
                Ok(Answer::json(200, &json!({ "value": [cores] })))
            }
            _ => Err(refusal(404, "NotFound", "not found")),
        }
    }

    /// The quotas of a subscription in a region.
    pub(super) fn quotas(&self) -> Answer {
        let count = self.state().environments.len();
        let row = quota(
            "ManagedEnvironmentCount",
            "Managed Environment Count",
            f64::from(u32::try_from(count).unwrap_or(u32::MAX)),
            15.0,
        );
        Answer::json(200, &json!({ "value": [row] }))
    }

    /// The CPUs that the apps of an environment ask for.
    fn cores(&self, environment: &str) -> f64 {
        let state = self.state();
        let of_app = |app: &Arc<super::app::App>| {
            let inner = app.lock();
            if inner.environment != environment || inner.stopped {
                return 0.0;
            }
            let cpu = inner.template.pointer("/containers/0/resources/cpu").and_then(Value::as_f64);
            let count = inner.template.pointer("/scale/minReplicas").and_then(Value::as_f64);
            cpu.unwrap_or(0.5) * count.unwrap_or(0.0)
        };
        state.apps.values().map(of_app).sum()
    }

    fn put_environment(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        let body = Value::Object(object(call)?);
        let location = text(&body, "/location").to_owned();
        if location.is_empty() {
            return Err(refusal(
                400,
                "LocationRequired",
                "The location property is required for this definition.",
            ));
        }
        let key = name.to_lowercase();
        let mut state = self.state();
        let is_new = !state.environments.contains_key(&key);
        if is_new && state.environments.values().filter(|e| e.location == location).count() >= MOST
        {
            let why = format!(
                "The subscription cannot have more than {MOST} environments in {location}."
            );
            return Err(refusal(400, "MaxNumberOfRegionalEnvironmentsInSubExceeded", &why));
        }
        let held = state
            .environments
            .entry(key.clone())
            .or_insert_with(|| Environment::ready(&self.site, &location));
        if !is_new && held.provisioning != "Succeeded" {
            return Err(busy("Container Apps environment", name));
        }
        held.tags = body.get("tags").cloned().unwrap_or_else(|| json!({}));
        held.profiles =
            body.pointer("/properties/workloadProfiles").cloned().unwrap_or_else(|| json!([]));
        held.provisioning = "InitializationInProgress";
        let view = held.view(name);
        drop(state);
        let azure = Arc::clone(self);
        self.site.tasks.start(async move {
            azure.site.dawdle(100, 200).await;
            azure.advance(&key, "InfrastructureSetupInProgress");
            azure.site.dawdle(100, 200).await;
            azure.advance(&key, "Succeeded");
        });
        Ok(accepted(call, if is_new { 201 } else { 200 }, Some(&view), &self.site.dice.uuid()))
    }

    fn advance(&self, key: &str, provisioning: &'static str) {
        if let Some(environment) = self.state().environments.get_mut(key) {
            environment.provisioning = provisioning;
        }
    }

    fn delete_environment(self: &Arc<Self>, call: &Call, name: &str) -> Result<Answer, Refused> {
        let key = name.to_lowercase();
        let mut state = self.state();
        let is_in = |environment: &str| environment.to_lowercase() == key;
        let apps = state.apps.values().filter(|app| is_in(&app.lock().environment)).count();
        let jobs = state.jobs.values().filter(|job| is_in(&job.environment)).count();
        if apps + jobs > 0 {
            let why = format!(
                "The environment '{name}' cannot be deleted: it has {apps} container apps and {jobs} jobs."
            );
            return Err(refusal(409, "ManagedEnvironmentNotEmpty", &why));
        }
        let Some(held) = state.environments.get_mut(&key) else { return Ok(Answer::empty(204)) };
        if held.provisioning != "Succeeded" {
            return Err(busy("Container Apps environment", name));
        }
        held.provisioning = "ScheduledForDelete";
        drop(state);
        let azure = Arc::clone(self);
        self.site.tasks.start(async move {
            azure.site.dawdle(100, 300).await;
            azure.state().environments.remove(&key);
        });
        Ok(accepted(call, 202, None, &self.site.dice.uuid()))
    }
}

fn quota(name: &str, shown: &str, used: f64, limit: f64) -> Value {
    json!({ "unit": "Count", "currentValue": used, "limit": limit, "name": { "value": name, "localizedValue": shown } })
}
