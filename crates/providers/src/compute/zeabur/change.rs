//! Makes a service what it is wanted to be: reads, compares, and writes the difference.

use std::collections::BTreeMap;

use linkflow_model::role::Deployment;
use linkflow_model::{Definition, EnvValue, Fault, FaultKind, ServiceKind, ServiceName};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::kit::graphql::Operation;
use super::Zeabur;
use super::placement::{Aim, BEFORE, GRPC, IMAGE, NONE, Placement, WEB};
use super::scope::Scope;
use super::wire::{
    self, ADD_DOMAIN, CREATE_SERVICE, Change, DEPLOY, Deployed, DomainAdded, RESTART,
    SET_PORTS, SUSPEND, Service, ServiceCreated,
};

/// Changes of variables in one request.
const AT_ONCE: usize = 10;

/// Longest part of a host name.
const LONGEST_LABEL: usize = 63;

/// What marks a service as ours is written before all else, and what says that it is complete after all else.
fn rank(key: &str) -> u8 {
    match key {
        "LINKFLOW_STACK" => 0,
        "LINKFLOW_SERVICE" => 1,
        BEFORE => 2,
        "LINKFLOW_FINGERPRINT" => 4,
        _ => 3,
    }
}

impl Zeabur {
    /// Has the service that `wanted` asks for.
    pub(super) async fn make_true(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        wanted.env.values().for_each(|value| {
            if let EnvValue::Secret(secret) = value {
                self.kit.learn(secret);
            }
        });
        self.refuse_what_cannot_be(wanted)?;
        let scope = self.scope_to_deploy_in().await?;
        let placement = self.find_or_create(&scope, &wanted.service).await?;
        let changed = self.configure(&scope, &placement, wanted).await?;
        self.have_entrance(&scope, &placement, wanted).await?;
        let service = placement.id().to_owned();
        let aim = if wanted.replicas == 0 {
            self.rest(&scope, &placement).await?;
            Aim::Stop { service }
        } else {
            let deployment = match &placement.newest {
                Some(run) if !changed && placement.goes_on() => run.id.clone(),
                _ if changed || !placement.is_config_deployed() => {
                    self.launch(&scope, &placement, &wanted.image.to_string()).await?
                }
                _ => self.start_again(&scope, &placement).await?,
            };
            Aim::Run { service, deployment }
        };
        Ok(Deployment { service: wanted.service.clone(), id: aim.write() })
    }

    /// Has `replicas` instances of what is configured.
    pub(super) async fn have_running(
        &self,
        service: &ServiceName,
        replicas: u32,
    ) -> Result<(), Fault> {
        let (scope, placement) = self.deployed(service).await?;
        if replicas == 0 {
            return self.rest(&scope, &placement).await;
        }
        self.refuse_many(service, replicas)?;
        if placement.goes_on() {
            return Ok(());
        }
        if placement.is_config_deployed() {
            return self.start_again(&scope, &placement).await.map(drop);
        }
        let Some(image) = placement.told(IMAGE) else {
            let said = "nothing says which image it is to run: deploy it";
            return Err(self.api.fault(FaultKind::Conflict, format!("start {service}"), said));
        };
        self.launch(&scope, &placement, image).await.map(drop)
    }

    /// Starts again what runs. A restart of what is suspended would resume it.
    pub(super) async fn restart_running(&self, service: &ServiceName) -> Result<(), Fault> {
        let (scope, placement) = self.deployed(service).await?;
        if placement.is_at_rest() || placement.is_suspended() {
            return Ok(());
        }
        if !placement.is_config_deployed() {
            let said = "its configuration was changed and not deployed yet: deploy it";
            return Err(self.api.fault(FaultKind::Conflict, format!("restart {service}"), said));
        }
        self.write("restart service", placement.id(), RESTART, scope.of(placement.id())).await
    }

    fn refuse_what_cannot_be(&self, wanted: &Definition) -> Result<(), Fault> {
        let attempt = format!("deploy {}", wanted.service);
        if wanted.command.as_ref().is_some_and(|command| !command.is_empty()) {
            let said = "no way is known to give a service of Zeabur another command than its image's own";
            return Err(self.api.fault(FaultKind::Unsupported, attempt, said));
        }
        if wanted.kind == ServiceKind::Grpc && self.settings.tcp_host.is_none() {
            let said = format!(
                "gRPC goes through a TCP port: give the host that Zeabur's dashboard shows for those as `tcp_host` in [providers.{}]",
                self.provider
            );
            return Err(self.api.fault(FaultKind::Unsupported, attempt, &said));
        }
        let values = wanted.env.iter().map(|(name, value)| (name, value.expose()));
        if let Some((name, _)) = values.into_iter().find(|(_, value)| value.contains("${")) {
            let said = format!("the value of {name} has `${{` in it, which Zeabur would follow as a reference");
            return Err(self.api.fault(FaultKind::Invalid, attempt, &said));
        }
        self.refuse_many(&wanted.service, wanted.replicas)
    }

    fn refuse_many(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        if replicas <= 1 {
            return Ok(());
        }
        let attempt = format!("run {replicas} instances of {service}");
        let said = "Zeabur runs one instance of a service: set `replicas = 1` for it there";
        Err(self.api.fault(FaultKind::Unsupported, attempt, said))
    }

    /// Our service, made empty when there is none. Its name leads back to it if the answer is lost.
    async fn find_or_create(
        &self,
        scope: &Scope,
        service: &ServiceName,
    ) -> Result<Placement, Fault> {
        if let Some(found) = self.find_in(scope, service).await? {
            return Ok(found);
        }
        let name = self.name_of(service);
        let created: ServiceCreated = self
            .mutate(Operation {
                action: "create service",
                about: &name,
                text: CREATE_SERVICE,
                variables: json!({ "project": scope.project, "name": name }),
            })
            .await?;
        let held = Service {
            id: created.create_service.id,
            name,
            template: None,
            status: None,
            domains: None,
            variables: None,
            ports: None,
        };
        Ok(Placement::new(held, None))
    }

    /// Writes variables and ports where they differ. Tells whether there was anything to write.
    async fn configure(
        &self,
        scope: &Scope,
        placement: &Placement,
        wanted: &Definition,
    ) -> Result<bool, Fault> {
        let ports = ports(placement, wanted);
        let mut changes = differing(placement, wanted);
        if changes.is_empty() && ports.is_none() {
            return Ok(false);
        }
        let newest = placement.newest_id();
        if placement.told(BEFORE) != Some(newest) {
            changes.push(change(placement, BEFORE.to_owned(), newest.to_owned()));
        }
        changes.sort_by(|a, b| (rank(a.key()), a.key()).cmp(&(rank(b.key()), b.key())));
        for some in changes.chunks(AT_ONCE) {
            let mut variables = scope.of(placement.id());
            for (n, change) in some.iter().enumerate() {
                variables.insert(format!("k{n}"), json!(change.key()));
                if let Some(value) = change.value() {
                    variables.insert(format!("v{n}"), json!(value));
                }
            }
            let text = wire::changes(some);
            self.write("set variables of", wanted.service.as_str(), &text, variables).await?;
        }
        if let Some(ports) = ports {
            let mut variables = scope.of(placement.id());
            variables.insert("ports".to_owned(), ports);
            self.write("set the ports of", wanted.service.as_str(), SET_PORTS, variables).await?;
        }
        Ok(true)
    }

    /// Has a name that leads to the service, when it is one for the web. A gRPC service has its port.
    async fn have_entrance(
        &self,
        scope: &Scope,
        placement: &Placement,
        wanted: &Definition,
    ) -> Result<(), Fault> {
        if wanted.kind != ServiceKind::Web || placement.generated().is_some() {
            return Ok(());
        }
        let label = label(&placement.held.name, &scope.project);
        self.bind(scope, placement, &label, true).await.map(drop)
    }

    /// Adds a domain: the vendor's own when `generated`, and then `domain` is only what stands before its suffix.
    pub(super) async fn bind(
        &self,
        scope: &Scope,
        placement: &Placement,
        domain: &str,
        generated: bool,
    ) -> Result<wire::Domain, Fault> {
        let mut variables = scope.of(placement.id());
        variables.insert("domain".to_owned(), json!(domain));
        variables.insert("generated".to_owned(), json!(generated));
        variables.insert("port".to_owned(), json!(WEB));
        let added: DomainAdded = self
            .mutate(Operation {
                action: "add domain",
                about: domain,
                text: ADD_DOMAIN,
                variables: Value::Object(variables),
            })
            .await?;
        Ok(added.add_domain)
    }

    /// Deploys what is configured, and tells the deployment's id.
    async fn launch(
        &self,
        scope: &Scope,
        placement: &Placement,
        image: &str,
    ) -> Result<String, Fault> {
        let deployed: Deployed = self
            .mutate(Operation {
                action: "deploy service",
                about: placement.id(),
                text: DEPLOY,
                variables: json!({
                    "service": placement.id(),
                    "specification": { "source": { "image": image } },
                }),
            })
            .await?;
        if placement.is_suspended() {
            // Nothing says whether a deploy wakes what is suspended; a restart does.
            let now = self.standing(scope, placement.id()).await?;
            if matches!(now.0.as_str(), "SUSPENDED" | "STOPPING") {
                return self.start_again(scope, placement).await;
            }
        }
        Ok(deployed.deploy_from_specification.id)
    }

    /// Starts what is configured and was deployed already, and tells the deployment that this makes.
    async fn start_again(&self, scope: &Scope, placement: &Placement) -> Result<String, Fault> {
        self.write("restart service", placement.id(), RESTART, scope.of(placement.id())).await?;
        let newest = self.standing(scope, placement.id()).await?.1;
        let newest = newest.filter(|run| run.id != placement.newest_id());
        newest.map(|run| run.id).ok_or_else(|| {
            let attempt = format!("restart service {}", placement.id());
            self.api.fault(FaultKind::Unclear, attempt, "its new deployment is not listed yet")
        })
    }

    /// Stops what runs and keeps it.
    async fn rest(&self, scope: &Scope, placement: &Placement) -> Result<(), Fault> {
        if placement.is_at_rest() || placement.is_suspended() {
            return Ok(());
        }
        self.write("suspend service", placement.id(), SUSPEND, scope.of(placement.id())).await
    }

    /// Sends a mutation whose answer says nothing that is needed.
    pub(super) async fn write(
        &self,
        action: &'static str,
        about: &str,
        text: &str,
        variables: Map<String, Value>,
    ) -> Result<(), Fault> {
        let variables = Value::Object(variables);
        let done: IgnoredAny = self.mutate(Operation { action, about, text, variables }).await?;
        let IgnoredAny = done;
        Ok(())
    }
}

/// Every variable that `wanted` asks for.
fn variables(wanted: &Definition) -> BTreeMap<String, String> {
    let env = wanted.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let image = (IMAGE.to_owned(), wanted.image.to_string());
    env.chain(wanted.markers()).chain([image]).collect()
}

/// What has to be written, and which of the variables that are gone from the config have to go.
fn differing(placement: &Placement, wanted: &Definition) -> Vec<Change> {
    let kept = variables(wanted);
    // With the same fingerprint the same would run: another release's number alone is no reason to deploy.
    let is_same = placement.told("LINKFLOW_FINGERPRINT") == Some(wanted.fingerprint.0.as_str());
    let gone = wanted.env_gone.iter().filter(|name| {
        placement.variables.contains_key(*name) && !kept.contains_key(*name)
    });
    let gone = gone.cloned().map(Change::Delete);
    let written = kept
        .iter()
        .filter(|(name, _)| !(is_same && *name == "LINKFLOW_RELEASE"))
        .filter(|(name, value)| placement.told(name) != Some(value.as_str()))
        .map(|(name, value)| change(placement, name.clone(), value.clone()));
    gone.chain(written).collect()
}

/// The change that gives `key` its `value`. Creating what is there is refused, and so is updating what is not.
fn change(placement: &Placement, key: String, value: String) -> Change {
    if placement.variables.contains_key(&key) {
        Change::Update(key, value)
    } else {
        Change::Create(key, value)
    }
}

/// All ports as they are to be, when ours are not as they are wanted. Those of others stay.
fn ports(placement: &Placement, wanted: &Definition) -> Option<Value> {
    let wanted = wanted.port.and_then(|port| match wanted.kind {
        ServiceKind::Web => Some((WEB, port, "HTTP")),
        ServiceKind::Grpc => Some((GRPC, port, "TCP")),
        ServiceKind::Worker => None,
    });
    let held = placement.held.ports.iter().flatten().map(|p| (p.id.as_str(), p.port, p.kind.as_str()));
    let is_ours = |port: &(&str, u16, &str)| port.0 == WEB || port.0 == GRPC;
    let (ours, others): (Vec<_>, Vec<_>) = held.partition(is_ours);
    if ours.iter().copied().eq(wanted) {
        return None;
    }
    let all = others.into_iter().chain(wanted);
    Some(all.map(|(id, port, kind)| json!({ "id": id, "port": port, "type": kind })).collect())
}

/// What stands before the vendor's suffix: names of all customers share it, so part of the project's id is in it.
fn label(name: &str, project: &str) -> String {
    let tail = project.get(project.len().saturating_sub(6)..).unwrap_or(NONE);
    let head: String = name.chars().take(LONGEST_LABEL - tail.len() - 1).collect();
    format!("{}-{tail}", head.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_never_too_long_and_ends_with_the_project() {
        let project = "0123456789abcdef01234567";
        assert_eq!(label("linkflow-api", project), "linkflow-api-234567");
        assert_eq!(label(&"a".repeat(90), project).len(), LONGEST_LABEL);
    }
}
