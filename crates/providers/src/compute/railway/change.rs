//! Makes a service what it is wanted to be: reads, compares, and writes the difference.

use std::collections::BTreeMap;

use linkflow_model::role::Deployment;
use linkflow_model::{
    Definition, EnvValue, Fault, FaultKind, RegistryLogin, ServiceKind, ServiceName,
};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kit::graphql::Operation;
use super::Railway;
use super::placement::{Aim, BEFORE, LOGIN, NONE, Placement, RESTING};
use super::scope::Scope;
use super::wire::{
    CREATE_DOMAIN, CREATE_PROXY, CREATE_SERVICE, DEPLOY, Deployed, Domains, Instance, LIMIT, REMOVE,
    REMOVE_VARIABLE, STOP, ServiceCreated, UPDATE, UPDATE_DOMAIN, UPSERT,
};

/// How long a process has to end after SIGTERM, in seconds.
const GRACE: u32 = 10;

/// How often a process that failed is started again.
const MOST_RESTARTS: u32 = 10;

impl Railway {
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
        let scope = self.scope_to_deploy_in().await?;
        let mut placement = self.find_or_create(&scope, wanted).await?;
        if self.remove_variables(&scope, &placement, wanted).await? {
            // Removing one may make Railway deploy; what is the latest now has to be known.
            placement = self.deployed(&wanted.service).await?.1;
        }
        let changed = self.configure(&scope, &placement, wanted).await?;
        self.have_entrance(&scope, &placement, wanted).await?;
        let aim = if wanted.replicas == 0 {
            Aim::Stop { deployments: self.stop_all(&scope, &placement).await? }
        } else {
            let deployment = match placement.latest().filter(|_| !changed) {
                Some(run) if goes_on(&placement) => run.id.clone(),
                _ => self.launch(&scope, placement.id()).await?,
            };
            Aim::Run { deployment, checked: wanted.health.is_some() }
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
            return self.stop_all(&scope, &placement).await.map(drop);
        }
        let other = placement.instance.num_replicas.unwrap_or(1) != replicas;
        if other {
            self.note_before(&scope, &placement, Map::new()).await?;
            let input = json!({ "numReplicas": replicas });
            self.update(&scope, placement.id(), input).await?;
        }
        if other || !goes_on(&placement) {
            self.launch(&scope, placement.id()).await?;
        }
        Ok(())
    }

    /// Our service, made with its markers when there is none, so that it is known again even if the answer is lost.
    async fn find_or_create(&self, scope: &Scope, wanted: &Definition) -> Result<Placement, Fault> {
        let all = self.placements(scope).await?;
        let name = wanted.service.as_str();
        if let Some(found) =
            all.iter().find(|p| p.service(&self.stack).as_ref() == Some(&wanted.service))
        {
            return Ok(found.clone());
        }
        if let Some(other) = all.iter().find(|p| p.instance.service_name == name) {
            let said = format!(
                "the project has a service `{name}` ({}) that is not of the stack `{}`: give [providers.{}] another project",
                other.id(),
                self.stack,
                self.provider
            );
            return Err(self.api.fault(FaultKind::Invalid, format!("create service {name}"), &said));
        }
        let mut variables = variables(wanted);
        variables.insert(BEFORE.to_owned(), NONE.to_owned());
        let input = json!({
            "projectId": scope.project,
            "environmentId": scope.environment,
            "name": name,
            "variables": variables,
        });
        let created: ServiceCreated = self
            .mutate(Operation {
                action: "create service",
                about: name,
                text: CREATE_SERVICE,
                variables: json!({ "input": input }),
            })
            .await?;
        let instance = fresh(created.service_create.id, name);
        Ok(Placement { instance, variables, proxies: Vec::new() })
    }

    /// Removes the variables that are gone from the config. Tells whether there were any.
    async fn remove_variables(
        &self,
        scope: &Scope,
        placement: &Placement,
        wanted: &Definition,
    ) -> Result<bool, Fault> {
        let kept = variables(wanted);
        let gone = |name: &&String| placement.variables.contains_key(*name) && !kept.contains_key(*name);
        let mut any = false;
        for name in wanted.env_gone.iter().filter(gone) {
            let input = json!({
                "projectId": scope.project,
                "environmentId": scope.environment,
                "serviceId": placement.id(),
                "name": name,
            });
            self.write("remove variable", name, REMOVE_VARIABLE, json!({ "input": input })).await?;
            any = true;
        }
        Ok(any)
    }

    /// Writes variables and settings where they differ. Tells whether a deployment is needed to bring them about.
    async fn configure(
        &self,
        scope: &Scope,
        placement: &Placement,
        wanted: &Definition,
    ) -> Result<bool, Fault> {
        let held = |name: &str| placement.variables.get(name);
        // With the same fingerprint the same would run: another release's number alone is no reason to deploy.
        let is_same = held("LINKFLOW_FINGERPRINT") == Some(&wanted.fingerprint.0);
        let differing: Map<String, Value> = variables(wanted)
            .into_iter()
            .filter(|(name, _)| !(is_same && name == "LINKFLOW_RELEASE"))
            .filter(|(name, text)| held(name) != Some(text))
            .map(|(name, text)| (name, json!(text)))
            .collect();
        let sleeps = self.settings.sleeps && wanted.kind == ServiceKind::Web;
        let settings = settings(wanted, sleeps);
        let settings_differ = !is_set(&placement.instance, wanted, sleeps);
        self.have_login(scope, placement, wanted).await?;
        let proxy_lacks = needs_proxy(placement, wanted);
        let is_new = placement.latest().is_none() && placement.instance.source.is_none();
        let changed = !differing.is_empty() || settings_differ || proxy_lacks;
        if !changed {
            return Ok(!placement.is_config_deployed() && wanted.replicas > 0);
        }
        if is_new || differing.contains_key("LINKFLOW_FINGERPRINT") {
            self.set_size(scope, placement.id(), wanted).await?;
        }
        self.note_before(scope, placement, differing).await?;
        if settings_differ {
            self.update(scope, placement.id(), settings).await?;
        }
        Ok(true)
    }

    /// Has Railway pull with the login of `wanted`. What runs goes on; the next pull uses it.
    async fn have_login(
        &self,
        scope: &Scope,
        placement: &Placement,
        wanted: &Definition,
    ) -> Result<(), Fault> {
        let mark = wanted.login.as_ref().map_or_else(|| NONE.to_owned(), login_mark);
        let held = placement.variables.get(LOGIN).map_or(NONE, String::as_str);
        if held == mark {
            return Ok(());
        }
        let credentials = wanted.login.as_ref().map(|login| {
            json!({ "username": login.user, "password": login.password.expose() })
        });
        let input = json!({ "registryCredentials": credentials });
        self.update(scope, placement.id(), input).await?;
        self.upsert(scope, placement.id(), Map::from_iter([(LOGIN.to_owned(), json!(mark))])).await
    }

    /// Writes `variables`, and with them which deployment is the latest before what is written now is deployed.
    async fn note_before(
        &self,
        scope: &Scope,
        placement: &Placement,
        mut variables: Map<String, Value>,
    ) -> Result<(), Fault> {
        let latest = placement.latest().map_or(NONE, |run| run.id.as_str());
        if placement.variables.get(BEFORE).map(String::as_str) != Some(latest) {
            variables.insert(BEFORE.to_owned(), json!(latest));
        }
        if variables.is_empty() {
            return Ok(());
        }
        self.upsert(scope, placement.id(), variables).await
    }

    async fn upsert(
        &self,
        scope: &Scope,
        service: &str,
        variables: Map<String, Value>,
    ) -> Result<(), Fault> {
        let input = json!({
            "projectId": scope.project,
            "environmentId": scope.environment,
            "serviceId": service,
            "variables": variables,
            "replace": false,
            "skipDeploys": true,
        });
        self.write("set variables of", service, UPSERT, json!({ "input": input })).await
    }

    async fn update(&self, scope: &Scope, service: &str, input: Value) -> Result<(), Fault> {
        let variables =
            json!({ "service": service, "environment": scope.environment, "input": input });
        self.write("update service", service, UPDATE, variables).await
    }

    /// Caps what an instance may use. Plans differ in what they allow, and a cap is not worth failing a deploy for.
    async fn set_size(
        &self,
        scope: &Scope,
        service: &str,
        wanted: &Definition,
    ) -> Result<(), Fault> {
        let input = json!({
            "environmentId": scope.environment,
            "serviceId": service,
            "memoryGB": f64::from(wanted.size.memory_mb) / 1_024.0,
            "vCPUs": f64::from(wanted.size.cpu_milli) / 1_000.0,
        });
        match self.write("limit service", service, LIMIT, json!({ "input": input })).await {
            Err(fault) if fault.kind.is_passing() => Err(fault),
            Err(fault) => {
                tracing::info!(%fault, "the size is not set");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Has a way in: a domain for the web, a TCP proxy for gRPC.
    async fn have_entrance(
        &self,
        scope: &Scope,
        placement: &Placement,
        wanted: &Definition,
    ) -> Result<(), Fault> {
        let place = |mut input: Value| {
            input["environmentId"] = json!(scope.environment);
            input["serviceId"] = json!(placement.id());
            json!({ "input": input })
        };
        let about = wanted.service.as_str();
        if needs_proxy(placement, wanted) {
            let input = place(json!({ "applicationPort": wanted.port }));
            return self.write("create a TCP proxy for", about, CREATE_PROXY, input).await;
        }
        if wanted.kind != ServiceKind::Web {
            return Ok(());
        }
        match placement.instance.domains.service_domains.first() {
            None => {
                let input = place(json!({ "targetPort": wanted.port }));
                self.write("create a domain for", about, CREATE_DOMAIN, input).await
            }
            Some(held) if held.target_port != wanted.port => {
                let input = place(json!({
                    "serviceDomainId": held.id,
                    "domain": held.domain,
                    "targetPort": wanted.port,
                }));
                self.write("update the domain of", about, UPDATE_DOMAIN, input).await
            }
            Some(_) => Ok(()),
        }
    }

    /// Deploys what is configured, and tells the deployment's id.
    async fn launch(&self, scope: &Scope, service: &str) -> Result<String, Fault> {
        let deployed: Deployed = self
            .mutate(Operation {
                action: "deploy service",
                about: service,
                text: DEPLOY,
                variables: json!({ "service": service, "environment": scope.environment }),
            })
            .await?;
        Ok(deployed.service_instance_deploy_v2)
    }

    /// Stops all that runs or is about to, and tells which deployments those were.
    async fn stop_all(&self, scope: &Scope, placement: &Placement) -> Result<Vec<String>, Fault> {
        let mut stopped = Vec::new();
        for run in placement.runs() {
            if run.status == "CRASHED" {
                // It may still be started again; what was removed is not.
                self.on_deployment("remove deployment", REMOVE, &run.id).await?;
            } else if run.is_live() || run.is_under_way() {
                self.on_deployment("stop deployment", STOP, &run.id).await?;
            } else {
                continue;
            }
            stopped.push(run.id.clone());
        }
        if let Some(latest) = placement.latest()
            && stopped.is_empty()
            && !placement.is_at_rest()
        {
            let mark = Map::from_iter([(RESTING.to_owned(), json!(latest.id))]);
            self.upsert(scope, placement.id(), mark).await?;
        }
        Ok(stopped)
    }

    /// Sends a mutation that takes one id and answers with a truth value.
    pub(super) async fn on_deployment(
        &self,
        action: &'static str,
        text: &str,
        id: &str,
    ) -> Result<(), Fault> {
        self.write(action, id, text, json!({ "id": id })).await
    }

    pub(super) async fn write(
        &self,
        action: &'static str,
        about: &str,
        text: &str,
        variables: Value,
    ) -> Result<(), Fault> {
        let done: IgnoredAny = self.mutate(Operation { action, about, text, variables }).await?;
        let IgnoredAny = done;
        Ok(())
    }
}

/// Whether the latest deployment serves, or will.
fn goes_on(placement: &Placement) -> bool {
    placement.is_config_deployed()
        && placement.latest().is_some_and(|run| {
            run.is_under_way() || (run.is_live() && matches!(run.status.as_str(), "SUCCESS" | "SLEEPING"))
        })
}

/// Whether a TCP proxy has to be made. One that is made is active from the next deploy on.
fn needs_proxy(placement: &Placement, wanted: &Definition) -> bool {
    let leads_there = |port: u16| placement.proxies.iter().any(|p| p.application_port == port);
    wanted.kind == ServiceKind::Grpc && wanted.port.is_some_and(|port| !leads_there(port))
}

/// Every variable that `wanted` asks for.
fn variables(wanted: &Definition) -> BTreeMap<String, String> {
    let env = wanted.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    env.chain(wanted.markers()).collect()
}

/// The settings of the service instance that `wanted` asks for.
fn settings(wanted: &Definition, sleeps: bool) -> Value {
    json!({
        "source": { "image": wanted.image.to_string() },
        "numReplicas": wanted.replicas.max(1),
        "healthcheckPath": wanted.health,
        "startCommand": start_command(wanted),
        "restartPolicyType": "ON_FAILURE",
        "restartPolicyMaxRetries": MOST_RESTARTS,
        "drainingSeconds": GRACE,
        "sleepApplication": sleeps,
    })
}

/// Whether `instance` is set as `wanted` asks for.
fn is_set(instance: &Instance, wanted: &Definition, sleeps: bool) -> bool {
    let image = instance.source.as_ref().and_then(|source| source.image.as_deref());
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    // A service that is to rest keeps the number it had.
    let count = wanted.replicas == 0 || instance.num_replicas.unwrap_or(1) == wanted.replicas;
    image == Some(wanted.image.to_string().as_str())
        && count
        && filled(&instance.healthcheck_path) == filled(&wanted.health)
        && filled(&instance.start_command) == start_command(wanted)
        && instance.restart_policy_type.as_deref() == Some("ON_FAILURE")
        && instance.restart_policy_max_retries == Some(MOST_RESTARTS)
        && instance.draining_seconds == Some(GRACE)
        && instance.sleep_application.unwrap_or(false) == sleeps
}

/// A short hash of a login: enough to see that it changed, and too little to guess it by.
fn login_mark(login: &RegistryLogin) -> String {
    let text = format!("{}\n{}\n{}", login.registry, login.user, login.password.expose());
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The command as one line; words that a shell would read otherwise are quoted.
fn start_command(wanted: &Definition) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let word = |word: &String| {
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let command = wanted.command.as_ref().filter(|command| !command.is_empty())?;
    Some(command.iter().map(word).collect::<Vec<_>>().join(" "))
}

/// A service that was just made: nothing is set, nothing deployed.
fn fresh(id: String, name: &str) -> Instance {
    Instance {
        service_id: id,
        service_name: name.to_owned(),
        num_replicas: None,
        healthcheck_path: None,
        start_command: None,
        draining_seconds: None,
        sleep_application: None,
        restart_policy_type: None,
        restart_policy_max_retries: None,
        source: None,
        domains: Domains::default(),
        latest_deployment: None,
        active_deployments: Vec::new(),
    }
}
