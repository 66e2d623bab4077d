//! What a Railway account holds: one project, its environments, services, and their instances.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::deployment::Deployment;
use crate::cloud::log::Log;
use crate::cloud::registry::Image;

/// Everything, by id.
pub(super) struct Stock {
    pub(super) workspace: String,
    pub(super) project: String,
    pub(super) project_name: String,
    pub(super) created: String,
    pub(super) environments: BTreeMap<String, String>,
    pub(super) services: BTreeMap<String, Service>,
    /// By service and environment.
    pub(super) instances: BTreeMap<(String, String), Instance>,
    /// Oldest first.
    pub(super) deployments: Vec<Arc<Deployment>>,
}

/// One service.
pub(super) struct Service {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) icon: Option<String>,
    pub(super) created: String,
    pub(super) updated: String,
    pub(super) log: Arc<Log>,
}

/// A service in an environment: how it is to be deployed next.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) created: String,
    pub(super) updated: String,
    /// Settings by the names of `ServiceInstanceUpdateInput`, as they were last set.
    pub(super) settings: Map<String, Value>,
    pub(super) image: Option<String>,
    pub(super) variables: BTreeMap<String, String>,
    /// Rows as the API shows them.
    pub(super) service_domains: Vec<Value>,
    pub(super) custom_domains: Vec<Value>,
    pub(super) proxies: Vec<Value>,
    /// What runs, for the fault that deploys the wrong image.
    pub(super) pulled: Option<Image>,
    pub(super) memory_gb: Option<f64>,
    pub(super) vcpus: Option<f64>,
    /// User and password that its image is pulled with. Nobody gets them back.
    pub(super) credentials: Option<(String, String)>,
}

impl Instance {
    pub(super) fn new(id: String, now: &str) -> Self {
        Self {
            id,
            created: now.to_owned(),
            updated: now.to_owned(),
            settings: Map::new(),
            image: None,
            variables: BTreeMap::new(),
            service_domains: Vec::new(),
            custom_domains: Vec::new(),
            proxies: Vec::new(),
            pulled: None,
            memory_gb: None,
            vcpus: None,
            credentials: None,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.settings.get(name).and_then(Value::as_u64)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// How many replicas: `numReplicas`, or the sum over the regions.
    pub(super) fn replicas(&self) -> u64 {
        let regions = self.settings.get("multiRegionConfig").and_then(Value::as_object);
        let by_region = regions
            .map(|r| r.values().filter_map(|region| region["numReplicas"].as_u64()).sum::<u64>());
        by_region.filter(|sum| *sum > 0).or_else(|| self.number("numReplicas")).unwrap_or(1)
    }

    /// Every domain's row.
    pub(super) fn domains(&self) -> impl Iterator<Item = &Value> {
        self.service_domains.iter().chain(&self.custom_domains)
    }

    pub(super) fn limits(&self) -> Value {
        json!({ "containers": { "cpu": self.vcpus.unwrap_or(2.0), "memoryBytes": self.memory_gb.unwrap_or(1.0) * 1e9 } })
    }
}

impl Stock {
    /// The deployments of a service in an environment, newest first.
    pub(super) fn deployments_of<'s>(
        &'s self,
        service: &'s str,
        environment: &'s str,
    ) -> impl Iterator<Item = &'s Arc<Deployment>> {
        self.deployments
            .iter()
            .rev()
            .filter(move |d| d.service == service && d.environment == environment)
    }

    pub(super) fn instance(
        &mut self,
        service: &str,
        environment: &str,
    ) -> Result<&mut Instance, String> {
        let key = (service.to_owned(), environment.to_owned());
        self.instances.get_mut(&key).ok_or_else(|| "ServiceInstance not found".to_owned())
    }

    pub(super) fn deployment(&self, id: &str) -> Result<Arc<Deployment>, String> {
        let found = self.deployments.iter().find(|d| d.id == id);
        found.cloned().ok_or_else(|| "Deployment not found".to_owned())
    }

    /// The variables that Railway itself gives to a service.
    pub(super) fn own_variables(
        &self,
        service: &Service,
        environment: &str,
    ) -> BTreeMap<String, String> {
        let mut own = BTreeMap::new();
        let mut set =
            |name: &str, value: &str| drop(own.insert(format!("RAILWAY_{name}"), value.to_owned()));
        set("PROJECT_ID", &self.project);
        set("PROJECT_NAME", &self.project_name);
        set("ENVIRONMENT_ID", environment);
        set("ENVIRONMENT_NAME", self.environments.get(environment).map_or("", String::as_str));
        set("SERVICE_ID", &service.id);
        set("SERVICE_NAME", &service.name);
        set("PRIVATE_DOMAIN", &format!("{}.railway.internal", service.name));
        let instance = self.instances.get(&(service.id.clone(), environment.to_owned()));
        let public =
            instance.and_then(|i| i.domains().next()).and_then(|row| row["domain"].as_str());
        if let Some(domain) = public {
            set("PUBLIC_DOMAIN", domain);
        }
        own
    }
}
