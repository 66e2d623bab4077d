//! Does what mutations say.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::deployment::Deployment;
use super::query::{Looked, Node, Session};
use super::stock::{Instance, Service};
use crate::cloud::graphql::{Found, text};
use crate::cloud::site::service_of;

/// What the vendor says on the free plan when there is no more to be had.
const EXHAUSTED: &str =
    "Free plan resource provision limit exceeded. Please upgrade to provision more resources!";

/// What makes nothing new is done also when an allowance is used up.
const FREE: [&str; 9] = [
    "customDomainDelete",
    "deploymentCancel",
    "deploymentRemove",
    "deploymentStop",
    "serviceDelete",
    "serviceDisconnect",
    "serviceDomainDelete",
    "tcpProxyDelete",
    "variableDelete",
];

fn done() -> Looked {
    Ok(Found::Plain(json!(true)))
}

impl Session {
    pub(super) fn mutation(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        if !FREE.contains(&name) && self.is_exhausted(arguments) {
            return Err(EXHAUSTED.to_owned());
        }
        let none = Map::new();
        let input = arguments.get("input").and_then(Value::as_object).unwrap_or(&none);
        match name {
            "serviceCreate" => self.service_create(input),
            "serviceDelete" => self.service_delete(text(arguments, "id")),
            "serviceUpdate" => self.service_update(text(arguments, "id"), input),
            "serviceConnect" => {
                self.service_connect(text(arguments, "id"), input.get("image").cloned())
            }
            "serviceDisconnect" => self.service_connect(text(arguments, "id"), None),
            "serviceInstanceUpdate" => self.instance_update(arguments, input),
            "serviceInstanceLimitsUpdate" => self.with_instance(input, |instance| {
                instance.memory_gb =
                    input.get("memoryGB").and_then(Value::as_f64).or(instance.memory_gb);
                instance.vcpus = input.get("vCPUs").and_then(Value::as_f64).or(instance.vcpus);
                done()
            }),
            "serviceInstanceDeployV2" | "serviceInstanceDeploy" | "serviceInstanceRedeploy" => {
                let (service, environment) =
                    (text(arguments, "serviceId"), text(arguments, "environmentId"));
                let deployment = self.railway.deploy(service, environment, "deploy")?;
                let id = json!(deployment.id);
                Ok(Found::Plain(if name == "serviceInstanceDeployV2" { id } else { json!(true) }))
            }
            "variableCollectionUpsert" | "variableUpsert" => self.variables_upsert(input),
            "variableDelete" => self.variable_delete(input),
            "serviceDomainCreate" => self.service_domain_create(input),
            "serviceDomainUpdate" => self.service_domain_update(input),
            "customDomainCreate" => self.custom_domain_create(input),
            "customDomainUpdate" => self.on_domain(text(arguments, "id"), |row| {
                row["targetPort"] = arguments.get("targetPort").cloned().unwrap_or_default();
            }),
            "serviceDomainDelete" | "customDomainDelete" | "tcpProxyDelete" => {
                self.domain_delete(text(arguments, "id"))
            }
            "tcpProxyCreate" => self.tcp_proxy_create(input),
            _ => self.on_deployment(name, arguments),
        }
    }

    /// Whether an allowance is used up for what the mutation is about.
    fn is_exhausted(&self, arguments: &Map<String, Value>) -> bool {
        let site = &self.railway.site;
        let input = arguments.get("input").and_then(Value::as_object);
        let field =
            |name: &str| arguments.get(name).or_else(|| input?.get(name)).and_then(Value::as_str);
        let stock = self.railway.stock();
        let of_deployment =
            field("id").and_then(|id| stock.deployment(id).ok()).and_then(|d| d.about());
        let of_service = || {
            let key = (field("serviceId")?.to_owned(), field("environmentId")?.to_owned());
            service_of(&stock.instances.get(&key)?.variables)
        };
        site.is_out_of_quota(of_deployment.or_else(of_service).as_ref())
    }

    fn with_instance<T>(
        &self,
        input: &Map<String, Value>,
        work: impl FnOnce(&mut Instance) -> Result<T, String>,
    ) -> Result<T, String> {
        let now = self.railway.site.now();
        let mut stock = self.railway.stock();
        let instance = stock.instance(text(input, "serviceId"), text(input, "environmentId"))?;
        instance.updated = now;
        work(instance)
    }

    fn service_create(&self, input: &Map<String, Value>) -> Looked {
        let site = &self.railway.site;
        let now = site.now();
        let image =
            input.get("source").and_then(|source| source["image"].as_str()).map(str::to_owned);
        let (id, name) = {
            let mut stock = self.railway.stock();
            if text(input, "projectId") != stock.project {
                return Err("Project not found".to_owned());
            }
            let own = || {
                format!(
                    "{}-{}",
                    site.dice.letters("bdfglmnprst", 5),
                    site.dice.letters("bdfglmnprst", 5)
                )
            };
            let name = input
                .get("name")
                .and_then(Value::as_str)
                .filter(|n| !n.is_empty())
                .map_or_else(own, str::to_owned);
            if stock.services.values().any(|service| service.name == name) {
                return Err(format!("A service named \"{name}\" already exists in this project"));
            }
            let id = site.dice.uuid();
            let icon = input.get("icon").and_then(Value::as_str).map(str::to_owned);
            let log = site.log(&name);
            let service = Service {
                id: id.clone(),
                name: name.clone(),
                icon,
                created: now.clone(),
                updated: now.clone(),
                log,
            };
            stock.services.insert(id.clone(), service);
            let mut instance = Instance::new(site.dice.uuid(), &now);
            instance.image.clone_from(&image);
            set_variables(&mut instance, input.get("variables"), false);
            let environments: Vec<String> = stock.environments.keys().cloned().collect();
            for environment in environments {
                stock.instances.insert((id.clone(), environment), instance.clone());
            }
            (id, name)
        };
        tracing::debug!(name, "a service was made");
        // A service that is made with a source is deployed at once.
        if image.is_some() {
            self.railway.deploy(&id, &self.railway.environment, "deploy")?;
        }
        Ok(Found::One(Node::Service(id)))
    }

    fn service_delete(&self, id: &str) -> Looked {
        let gone: Vec<Arc<Deployment>> = {
            let mut stock = self.railway.stock();
            stock.services.remove(id).ok_or("Service not found")?;
            let own = stock.instances.iter().filter(|((service, _), _)| service == id);
            let proxies = own.flat_map(|(_, instance)| &instance.proxies);
            proxies
                .filter_map(|row| row["id"].as_str())
                .for_each(|id| self.railway.site.shut_entrance(id));
            stock.instances.retain(|(service, _), _| service != id);
            let (gone, kept) =
                std::mem::take(&mut stock.deployments).into_iter().partition(|d| d.service == id);
            stock.deployments = kept;
            gone
        };
        let railway = Arc::clone(&self.railway);
        self.railway.site.tasks.start(async move {
            for deployment in gone {
                deployment.remove(&railway.site).await;
            }
        });
        done()
    }

    fn service_update(&self, id: &str, input: &Map<String, Value>) -> Looked {
        let now = self.railway.site.now();
        let mut stock = self.railway.stock();
        let service = stock.services.get_mut(id).ok_or("Service not found")?;
        if let Some(name) = input.get("name").and_then(Value::as_str) {
            name.clone_into(&mut service.name);
        }
        service.updated = now;
        Ok(Found::One(Node::Service(id.to_owned())))
    }

    fn service_connect(&self, id: &str, image: Option<Value>) -> Looked {
        let image = image.and_then(|image| image.as_str().map(str::to_owned));
        let connected = image.is_some();
        {
            let mut stock = self.railway.stock();
            stock.services.get(id).ok_or("Service not found")?;
            let own = stock.instances.iter_mut().filter(|((service, _), _)| service == id);
            own.for_each(|(_, instance)| instance.image.clone_from(&image));
        }
        if connected {
            self.railway.deploy(id, &self.railway.environment, "deploy")?;
        }
        Ok(Found::One(Node::Service(id.to_owned())))
    }

    fn instance_update(
        &self,
        arguments: &Map<String, Value>,
        input: &Map<String, Value>,
    ) -> Looked {
        if input.get("numReplicas").and_then(Value::as_i64).is_some_and(|replicas| replicas < 1) {
            return Err("Number of replicas must be at least 1".to_owned());
        }
        let environment = match text(arguments, "environmentId") {
            "" => self.railway.environment.as_str(),
            given => given,
        };
        let now = self.railway.site.now();
        let mut stock = self.railway.stock();
        let instance = stock.instance(text(arguments, "serviceId"), environment)?;
        if let Some(source) = input.get("source") {
            instance.image = source["image"].as_str().map(str::to_owned);
        }
        if let Some(given) = input.get("registryCredentials") {
            let field = |name: &str| given[name].as_str().unwrap_or_default().to_owned();
            instance.credentials =
                given.is_object().then(|| (field("username"), field("password")));
        }
        let settings = input
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "source" | "registryCredentials"));
        instance.settings.extend(settings.map(|(name, value)| (name.clone(), value.clone())));
        instance.updated = now;
        done()
    }

    /// Sets variables. Unless it is told to skip that, a deploy follows.
    fn variables_upsert(&self, input: &Map<String, Value>) -> Looked {
        let replace = input.get("replace") == Some(&json!(true));
        if text(input, "serviceId").is_empty() {
            return Err("Shared variables are not rehearsed".to_owned());
        }
        let deployable = self.with_instance(input, |instance| {
            match input.get("variables") {
                Some(variables) => set_variables(instance, Some(variables), replace),
                None => drop(
                    instance
                        .variables
                        .insert(text(input, "name").to_owned(), text(input, "value").to_owned()),
                ),
            }
            Ok(instance.image.is_some())
        })?;
        if deployable && input.get("skipDeploys") != Some(&json!(true)) {
            self.railway.deploy(
                text(input, "serviceId"),
                text(input, "environmentId"),
                "deploy",
            )?;
        }
        done()
    }

    fn variable_delete(&self, input: &Map<String, Value>) -> Looked {
        let deployable = self.with_instance(input, |instance| {
            instance.variables.remove(text(input, "name"));
            Ok(instance.image.is_some())
        })?;
        if deployable {
            self.railway.deploy(
                text(input, "serviceId"),
                text(input, "environmentId"),
                "deploy",
            )?;
        }
        done()
    }

    fn domain_row(&self, input: &Map<String, Value>, domain: &str) -> Value {
        let (site, now) = (&self.railway.site, self.railway.site.now());
        json!({
            "id": site.dice.uuid(), "domain": domain, "targetPort": input.get("targetPort").cloned().unwrap_or_default(),
            "environmentId": text(input, "environmentId"), "serviceId": text(input, "serviceId"),
            "projectId": self.railway.stock().project, "createdAt": now, "updatedAt": now, "syncStatus": "ACTIVE",
        })
    }

    fn service_domain_create(&self, input: &Map<String, Value>) -> Looked {
        let domain = {
            let stock = self.railway.stock();
            let service =
                stock.services.get(text(input, "serviceId")).ok_or("Service not found")?;
            let environment = stock
                .environments
                .get(text(input, "environmentId"))
                .ok_or("Environment not found")?;
            let label = format!(
                "{}-{environment}",
                service.name.to_lowercase().replace(['_', ' ', '.'], "-")
            );
            let suffix = &self.railway.site.host_suffix;
            let taken = |domain: &str| {
                stock
                    .instances
                    .values()
                    .flat_map(Instance::domains)
                    .any(|row| row["domain"] == domain)
            };
            let plain = format!("{label}.{suffix}");
            if taken(&plain) {
                format!("{label}-{}.{suffix}", self.railway.site.dice.hex(4))
            } else {
                plain
            }
        };
        let mut row = self.domain_row(input, &domain);
        row["suffix"] = json!(self.railway.site.host_suffix);
        self.with_instance(input, |instance| {
            instance.service_domains.push(row.clone());
            Ok(())
        })?;
        Ok(Found::One(Node::Row(row)))
    }

    fn service_domain_update(&self, input: &Map<String, Value>) -> Looked {
        self.on_domain(text(input, "serviceDomainId"), |row| {
            row["domain"] = json!(text(input, "domain"));
            row["targetPort"] = input.get("targetPort").cloned().unwrap_or_default();
        })
    }

    fn custom_domain_create(&self, input: &Map<String, Value>) -> Looked {
        let domain = text(input, "domain");
        let (_, zone) = domain.split_once('.').ok_or("Invalid domain")?;
        if zone.is_empty() {
            return Err("Invalid domain".to_owned());
        }
        let taken = self
            .railway
            .stock()
            .instances
            .values()
            .any(|instance| instance.domains().any(|row| row["domain"] == domain));
        if taken {
            return Err("Domain already exists".to_owned());
        }
        let mut row = self.domain_row(input, domain);
        let target = format!(
            "{}.up.railway.app",
            self.railway.site.dice.letters("abcdefghijklmnopqrstuvwxyz0123456789", 8)
        );
        row["isRailwayDomain"] = json!(false);
        row["target"] = json!(target);
        row["verificationToken"] =
            json!(format!("railway-verify={}", self.railway.site.dice.hex(32)));
        row["asked"] = json!(self.railway.site.clock.wall().0);
        self.with_instance(input, |instance| {
            instance.custom_domains.push(row.clone());
            Ok(())
        })?;
        Ok(Found::One(Node::Row(self.railway.custom_domain(row))))
    }

    fn on_domain(&self, id: &str, change: impl FnOnce(&mut Value)) -> Looked {
        let mut stock = self.railway.stock();
        let rows = stock
            .instances
            .values_mut()
            .flat_map(|i| i.service_domains.iter_mut().chain(&mut i.custom_domains));
        let row = rows.into_iter().find(|row| row["id"] == id).ok_or("Domain not found")?;
        change(row);
        done()
    }

    fn domain_delete(&self, id: &str) -> Looked {
        self.railway.site.shut_entrance(id);
        let mut stock = self.railway.stock();
        for instance in stock.instances.values_mut() {
            for rows in
                [&mut instance.service_domains, &mut instance.custom_domains, &mut instance.proxies]
            {
                rows.retain(|row| row["id"] != id);
            }
        }
        done()
    }

    /// Makes a way in for bytes. In place of the vendor's `….proxy.rlwy.net` it is told where it really is, so that it
    /// can be used as it stands. It leads to deployments that are made from now on.
    fn tcp_proxy_create(&self, input: &Map<String, Value>) -> Looked {
        let (site, now) = (&self.railway.site, self.railway.site.now());
        let id = site.dice.uuid();
        self.with_instance(input, |_| Ok(()))?;
        let address = site.open_entrance(&id).map_err(|error| error.to_string())?;
        let row = json!({
            "id": id, "applicationPort": input.get("applicationPort").cloned().unwrap_or_default(),
            "domain": address.ip().to_string(), "proxyPort": address.port(),
            "environmentId": text(input, "environmentId"), "serviceId": text(input, "serviceId"),
            "createdAt": now, "updatedAt": now, "syncStatus": "ACTIVE",
        });
        self.with_instance(input, |instance| {
            instance.proxies.push(row.clone());
            Ok(())
        })?;
        Ok(Found::One(Node::Row(row)))
    }

    fn on_deployment(&self, name: &str, arguments: &Map<String, Value>) -> Looked {
        let deployment = self.railway.stock().deployment(text(arguments, "id"))?;
        let (railway, driven) = (Arc::clone(&self.railway), Arc::clone(&deployment));
        let (service, environment) = (deployment.service.as_str(), deployment.environment.as_str());
        match name {
            "deploymentStop" => {
                deployment.stop();
                done()
            }
            "deploymentRestart" => {
                if !deployment.reopen(&railway.site) {
                    return Err("Deployment cannot be restarted".to_owned());
                }
                let tasks = railway.site.tasks.clone();
                tasks.start(async move { driven.restart(&railway.site).await });
                done()
            }
            "deploymentRemove" | "deploymentCancel" => {
                let tasks = railway.site.tasks.clone();
                tasks.start(async move { driven.remove(&railway.site).await });
                done()
            }
            "deploymentRedeploy" => {
                let mut snapshot = self.railway.stock().instance(service, environment)?.clone();
                snapshot.image = Some(deployment.image.clone());
                let made = self.railway.deploy_again(service, environment, snapshot, "redeploy")?;
                Ok(Found::One(Node::Deployment(made)))
            }
            "deploymentRollback" => {
                if !deployment.succeeded() {
                    return Err("Deployment cannot be rolled back to".to_owned());
                }
                self.railway.deploy_again(
                    service,
                    environment,
                    deployment.snapshot.clone(),
                    "rollback",
                )?;
                done()
            }
            other => Err(format!("{other} is not rehearsed")),
        }
    }
}

/// Sets variables; `null` removes one.
fn set_variables(instance: &mut Instance, given: Option<&Value>, replace: bool) {
    if replace {
        instance.variables.clear();
    }
    for (name, value) in given.and_then(Value::as_object).into_iter().flatten() {
        match value.as_str() {
            Some(text) => drop(instance.variables.insert(name.clone(), text.to_owned())),
            None => drop(instance.variables.remove(name)),
        }
    }
}
