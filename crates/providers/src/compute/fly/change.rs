//! Makes machines what they are wanted to be: reads, compares, and writes the difference.

use std::borrow::Cow;

use http::Method;
use linkflow_model::role::Deployment;
use linkflow_model::{Definition, EnvValue, Fault, FaultKind, ServiceKind, ServiceName};
use serde_json::{Value, json};

use super::Fly;
use super::config::{config, secrets};
use super::seen::Aim;
use super::wire::{
    Addresses, App, FINGERPRINT, LAUNCH, LeaseAnswer, Machine, PARKED, Run, SecretList,
    SecretsWritten,
};
use crate::kit::{Call, encode};

/// How long nobody else may change a machine, in seconds. Short, so that a run that was killed blocks nobody for long.
const LEASE_SECONDS: u32 = 13;

/// The header that names a lease.
const NONCE: &str = "fly-machine-lease-nonce";

impl Fly {
    /// Has the machines that `wanted` asks for.
    pub(super) async fn make_true(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        wanted.env.values().for_each(|value| {
            if let EnvValue::Secret(secret) = value {
                self.kit.learn(secret);
            }
        });
        let app = self.app(&wanted.service)?;
        let mut machines = self.our_machines(&wanted.service).await?;
        if machines.as_ref().is_none_or(Vec::is_empty) {
            self.have_app(&app, machines.is_some()).await?;
            machines = Some(Vec::new());
        }
        if wanted.kind != ServiceKind::Worker {
            self.have_addresses(&app).await?;
        }
        let mut machines = machines.unwrap_or_default();
        // Those that run come first, so that they are the ones to keep.
        machines.sort_by_key(|m| (m.run() != Run::Runs, m.is_meant_to_rest(), m.id.clone()));
        let count = usize::try_from(wanted.replicas.max(1)).unwrap_or(1);
        let surplus = machines.split_off(machines.len().min(count));
        let changes = machines.len() < count || machines.iter().any(|m| is_outdated(m, wanted));
        let (wanted, version) = if changes {
            let wanted = self.pullable(&app, wanted, None).await?;
            let version = self.publish_secrets(&app, &wanted).await?;
            (wanted, version)
        } else {
            (Cow::Borrowed(wanted), None)
        };
        let wanted = &*wanted;
        for machine in &machines {
            self.bring_about(&app, machine, wanted, version).await?;
        }
        for machine in &surplus {
            self.let_go(&app, machine, wanted).await?;
        }
        let mut ids: Vec<String> = machines.iter().map(|m| m.id.clone()).collect();
        for number in free_numbers(&machines, &surplus, &wanted.service).take(count - ids.len()) {
            ids.push(self.create(&app, wanted, number, version).await?.id);
        }
        ids.sort_unstable();
        let aim = Aim {
            fingerprint: wanted.fingerprint.0.clone(),
            replicas: wanted.replicas,
            machines: ids,
        };
        Ok(Deployment { service: wanted.service.clone(), id: aim.write() })
    }

    /// Has `replicas` machines running of what is deployed.
    pub(super) async fn have_running(
        &self,
        service: &ServiceName,
        replicas: u32,
    ) -> Result<(), Fault> {
        let app = self.app(service)?;
        let mut machines = self.deployed(service).await?;
        // The newest configuration is the one that counts; older spares stay where they are.
        machines.sort_by_key(|m| std::cmp::Reverse(m.release()));
        let current = machines.first().and_then(|m| m.meta(FINGERPRINT)).map(str::to_owned);
        let is_current = |m: &&Machine| m.meta(FINGERPRINT).map(str::to_owned) == current;
        let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
        let awake: Vec<&Machine> = machines.iter().filter(|m| !m.is_meant_to_rest()).collect();
        for machine in awake.iter().skip(wanted) {
            self.rest(&app, machine).await?;
        }
        let mut have = awake.len().min(wanted);
        for machine in awake.iter().take(wanted).filter(|m| m.run() == Run::Halted) {
            self.wake(&app, machine).await?;
        }
        let resting = machines.iter().filter(|m| m.is_meant_to_rest()).filter(is_current);
        for machine in resting.take(wanted - have) {
            self.wake(&app, machine).await?;
            have += 1;
        }
        let Some(model) = machines.first() else { return Ok(()) };
        for number in free_numbers(&machines, &[], service).take(wanted - have) {
            self.copy(&app, service, model, number).await?;
        }
        Ok(())
    }

    /// The machines of `service`, of which there is at least one.
    pub(super) async fn deployed(&self, service: &ServiceName) -> Result<Vec<Machine>, Fault> {
        match self.our_machines(service).await? {
            Some(machines) if !machines.is_empty() => Ok(machines),
            _ => {
                let attempt = format!("find {service}");
                Err(self.api.fault(FaultKind::Missing, attempt, "it is not deployed here"))
            }
        }
    }

    /// Makes one machine run, or rest, with what `wanted` says.
    async fn bring_about(
        &self,
        app: &str,
        machine: &Machine,
        wanted: &Definition,
        version: Option<u64>,
    ) -> Result<(), Fault> {
        let run = machine.run();
        if is_outdated(machine, wanted) {
            return self.update(app, machine, wanted, version).await;
        }
        match (wanted.replicas, run) {
            (0, _) => self.rest(app, machine).await,
            (_, Run::Halted) => self.wake(app, machine).await,
            (_, _) => Ok(()),
        }
    }

    /// Takes a machine out of service that `wanted` has no use for.
    async fn let_go(&self, app: &str, machine: &Machine, wanted: &Definition) -> Result<(), Fault> {
        if machine.run() == Run::Halted && is_outdated(machine, wanted) {
            let call = self.to_machine(Method::DELETE, "destroy machine", app, machine, "");
            return self.api.send(call).await.map(drop);
        }
        self.rest(app, machine).await
    }

    /// Stops a machine and has it stay so. One that crashed is told too, lest its host starts it again some time, and is
    /// marked, because its last end will go on saying that it crashed.
    async fn rest(&self, app: &str, machine: &Machine) -> Result<(), Fault> {
        if machine.is_meant_to_rest() || machine.run() == Run::Ending {
            return Ok(());
        }
        let stopped = self.act(app, machine, "stop").await;
        if machine.run() != Run::Halted {
            return stopped;
        }
        match stopped {
            // That there is nothing to stop is what is wanted.
            Err(fault) if !matches!(fault.kind, FaultKind::Conflict | FaultKind::Invalid) => {
                return Err(fault);
            }
            _ => {}
        }
        let tail = format!("/metadata/{PARKED}");
        let call = self.to_machine(Method::POST, "mark machine", app, machine, &tail);
        self.api.send(call.json(json!({ "value": "yes" }))).await.map(drop)
    }

    /// Starts a machine that does not run.
    async fn wake(&self, app: &str, machine: &Machine) -> Result<(), Fault> {
        if machine.meta(PARKED).is_some() {
            let tail = format!("/metadata/{PARKED}");
            let call = self.to_machine(Method::DELETE, "unmark machine", app, machine, &tail);
            self.api.send(call).await?;
        }
        self.act(app, machine, "start").await
    }

    /// Sends one of the verbs that a machine knows.
    pub(super) async fn act(&self, app: &str, machine: &Machine, verb: &str) -> Result<(), Fault> {
        let action = match verb {
            "start" => "start machine",
            "stop" => "stop machine",
            _ => "restart machine",
        };
        let call = self.to_machine(Method::POST, action, app, machine, &format!("/{verb}"));
        // The stop request alone takes a body, and all of it is optional.
        let call = if verb == "stop" { call.json(json!({})) } else { call };
        self.api.send(call).await.map(drop)
    }

    /// Gives a machine the configuration that `wanted` asks for, while nobody else may change it.
    async fn update(
        &self,
        app: &str,
        machine: &Machine,
        wanted: &Definition,
        version: Option<u64>,
    ) -> Result<(), Fault> {
        let lease = self.to_machine(Method::POST, "lease machine", app, machine, "/lease");
        let lease = lease.json(json!({ "ttl": LEASE_SECONDS, "description": "LinkFlow deploys" }));
        let answer: LeaseAnswer = self.api.send_for(lease).await?;
        let Some(nonce) = answer.nonce() else {
            let attempt = format!("lease machine {}", machine.id);
            return Err(self.api.fault(FaultKind::Unclear, attempt, "the lease has no nonce"));
        };
        let nonce = linkflow_model::Secret::new(nonce);
        let updated = self.update_under(app, machine, wanted, version, &nonce).await;
        let release = self.to_machine(Method::DELETE, "release machine", app, machine, "/lease");
        if let Err(fault) = self.api.send(release.secret_header(NONCE, nonce)).await {
            tracing::debug!(%fault, "the lease runs out by itself");
        }
        updated
    }

    async fn update_under(
        &self,
        app: &str,
        machine: &Machine,
        wanted: &Definition,
        version: Option<u64>,
        nonce: &linkflow_model::Secret,
    ) -> Result<(), Fault> {
        let fresh = self.machine(app, &machine.id).await?;
        let launch = fresh.meta(LAUNCH).unwrap_or(&fresh.id).to_owned();
        let mut config = config(wanted, &launch, wanted.replicas == 0);
        // A volume that somebody attached is not ours to take away.
        if let Some(mounts) = fresh.config.get("mounts") {
            config["mounts"] = mounts.clone();
        }
        let body = json!({
            "config": config,
            "current_version": fresh.instance_id,
            "skip_launch": wanted.replicas == 0,
        });
        let call = self.to_machine(Method::POST, "update machine", app, machine, "");
        let call = call.secret_header(NONCE, nonce.clone()).json(since(body, version));
        self.api.send(call).await.map(drop)
    }

    async fn create(
        &self,
        app: &str,
        wanted: &Definition,
        number: usize,
        version: Option<u64>,
    ) -> Result<Machine, Fault> {
        let name = name(&wanted.service, number);
        let body = json!({
            "name": name,
            "region": self.region,
            "config": config(wanted, &name, wanted.replicas == 0),
            "skip_launch": wanted.replicas == 0,
        });
        self.create_with(app, since(body, version)).await
    }

    /// One more machine like `model`.
    async fn copy(
        &self,
        app: &str,
        service: &ServiceName,
        model: &Machine,
        number: usize,
    ) -> Result<Machine, Fault> {
        let name = name(service, number);
        let mut config = model.config.clone();
        if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove(PARKED);
            metadata.insert(LAUNCH.to_owned(), name.as_str().into());
        }
        // A volume is attached to one machine at most.
        if let Some(fields) = config.as_object_mut() {
            fields.remove("mounts");
        }
        let body = json!({ "name": name, "region": self.region, "config": config });
        self.create_with(app, body).await
    }

    /// Names are unique within an app, so a create whose answer was lost cannot be carried out twice.
    pub(super) async fn create_with(&self, app: &str, body: Value) -> Result<Machine, Fault> {
        let path = format!("/apps/{}/machines", encode(app));
        let call = Call::write(Method::POST, "create a machine in", app, path).json(body);
        self.api.send_for(call).await
    }

    /// Has the app, which is free or an empty one of our organization.
    pub(super) async fn have_app(&self, app: &str, exists: bool) -> Result<(), Fault> {
        if !exists {
            let body = json!({ "name": app, "org_slug": self.organization });
            let call = Call::write(Method::POST, "create app", app, "/apps").json(body);
            let call = call.counted_for(&self.organization);
            match self.api.send(call).await {
                Ok(_) => return Ok(()),
                Err(fault) if fault.kind == FaultKind::Conflict => {}
                Err(fault) => return Err(fault),
            }
        }
        let call = Call::read("read app", app, format!("/apps/{}", encode(app)));
        let owner = match self.api.send_for::<App>(call).await {
            Ok(found) => found.organization.map(|o| o.slug),
            Err(fault) if matches!(fault.kind, FaultKind::Missing | FaultKind::Denied) => None,
            Err(fault) => return Err(fault),
        };
        if owner.as_deref() == Some(self.organization.as_str()) {
            return Ok(());
        }
        let said = format!(
            "somebody else has an app of that name: give [providers.{}] another `app_prefix`",
            self.provider
        );
        Err(self.api.fault(FaultKind::Invalid, format!("create app {app}"), &said))
    }

    /// Without an address `APP.fly.dev` leads nowhere. The shared IPv4 and the IPv6 cost nothing.
    async fn have_addresses(&self, app: &str) -> Result<(), Fault> {
        let path = format!("/apps/{}/ip_assignments", encode(app));
        let held: Addresses =
            self.api.send_for(Call::read("list addresses of", app, path.clone())).await?;
        if held.ips.is_some_and(|ips| !ips.is_empty()) {
            return Ok(());
        }
        for kind in ["shared_v4", "v6"] {
            let call = Call::write(Method::POST, "assign an address to", app, path.clone());
            self.api.send(call.json(json!({ "type": kind }))).await?;
        }
        Ok(())
    }

    /// Puts secrets where Fly keeps them, and tells the version that machines must wait for.
    pub(super) async fn publish_secrets(
        &self,
        app: &str,
        wanted: &Definition,
    ) -> Result<Option<u64>, Fault> {
        let path = format!("/apps/{}/secrets", encode(app));
        let secrets = secrets(wanted);
        let held: SecretList =
            self.api.send_for(Call::read("list secrets of", app, path.clone())).await?;
        for held in held.secrets.into_iter().flatten() {
            // A secret goes before a plain value of the same name.
            let is_plain = wanted.env.contains_key(&held.name) && !secrets.contains_key(&*held.name);
            if is_plain || wanted.env_gone.contains(&held.name) {
                let path = format!("{path}/{}", encode(&held.name));
                let call = Call::write(Method::DELETE, "remove a secret of", app, path);
                match self.api.send(call).await {
                    Err(fault) if fault.kind != FaultKind::Missing => return Err(fault),
                    _ => {}
                }
            }
        }
        if secrets.is_empty() {
            return Ok(None);
        }
        let call = Call::write(Method::POST, "set secrets of", app, path);
        let written: SecretsWritten =
            self.api.send_for(call.json(json!({ "values": secrets }))).await?;
        Ok(written.version)
    }

    /// Deletes an app and all that is in it.
    pub(super) async fn remove_app(&self, app: &str) -> Result<(), Fault> {
        let call = Call::write(Method::DELETE, "delete app", app, format!("/apps/{}", encode(app)));
        match self.api.send(call).await {
            Err(fault) if fault.kind != FaultKind::Missing => Err(fault),
            _ => Ok(()),
        }
    }

    fn to_machine(
        &self,
        method: Method,
        action: &'static str,
        app: &str,
        machine: &Machine,
        tail: &str,
    ) -> Call {
        let path = format!("/apps/{}/machines/{}{tail}", encode(app), encode(&machine.id));
        Call::write(method, action, &machine.id, path)
    }
}

/// Whether `machine` has to be updated to be what `wanted` says.
fn is_outdated(machine: &Machine, wanted: &Definition) -> bool {
    machine.meta(FINGERPRINT) != Some(wanted.fingerprint.0.as_str())
        || machine.digest().as_ref() != Some(&wanted.image.digest)
        // An image that became private can be pulled no more.
        || (wanted.login.is_some() && !machine.has_own_copy())
}

/// Machines are numbered, so that a second create of the same one is refused by the vendor.
fn name(service: &ServiceName, number: usize) -> String {
    format!("{service}-{number}")
}

/// The numbers that no machine has yet.
fn free_numbers<'a>(
    machines: &'a [Machine],
    others: &'a [Machine],
    service: &'a ServiceName,
) -> impl Iterator<Item = usize> + 'a {
    let is_taken = move |number: &usize| {
        let name = name(service, *number);
        machines.iter().chain(others).any(|m| m.name == name)
    };
    (1..).filter(move |number| !is_taken(number))
}

/// `body`, to be carried out only with secrets of `version` or newer.
pub(super) fn since(mut body: Value, version: Option<u64>) -> Value {
    if let Some(version) = version {
        body["min_secrets_version"] = json!(version);
    }
    body
}
