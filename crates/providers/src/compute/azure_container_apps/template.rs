//! A definition as the resource manager takes it, merged with what somebody else put there.

use std::collections::BTreeSet;

use linkflow_model::{Definition, EnvValue, RegistryLogin, ServiceKind, Size};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::wire::{HeldSecret, Resource, SERVICE, STACK};

/// What the secrets are called that are ours.
const OURS: &str = "linkflow-";
/// What the secrets are called that hold a registry's password.
const REGISTRY: &str = "linkflow-registry-";

/// Longest name of a container app and of a job (docs: container apps, resource naming rules).
const LONGEST_NAME: usize = 32;

/// An image of the vendor's own, which every environment can pull. It stands in until the app is stopped.
const STAND_IN: &str = "mcr.microsoft.com/k8se/quickstart:latest";

/// How long a process has to end after SIGTERM, in seconds.
const GRACE: u32 = 10;

/// How long a job may run at most, in seconds.
const JOB_TIMEOUT: u32 = 3_600;

/// How many old revisions are kept, to be looked at.
const OLD_REVISIONS: u32 = 5;

/// The first `count` hex digits of a hash over `parts`.
pub(super) fn hash(parts: &[&str], count: usize) -> String {
    let sum = Sha256::digest(parts.join("\n").as_bytes());
    let text: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    text[..count.min(text.len())].to_owned()
}

/// The name of an app or a job: `STACK-REST`, shortened when Azure would not take it.
pub(super) fn name(stack: &str, rest: &str) -> String {
    let whole = format!("{stack}-{rest}");
    if whole.len() <= LONGEST_NAME && !whole.contains("--") && !whole.ends_with('-') {
        return whole;
    }
    let short: String = slug(&whole).chars().take(LONGEST_NAME - 9).collect();
    format!("{}-{}", short.trim_end_matches('-'), hash(&[&whole], 8))
}

/// `text` in lower-case letters and digits, with single dashes between.
pub(super) fn slug(text: &str) -> String {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

/// The suffix of the revision that is to follow `previous`: the same each time it is asked for, and never one that was
/// there before.
pub(super) fn suffix(release: &str, wanted: &[&str], previous: &str) -> String {
    let parts: Vec<&str> = wanted.iter().copied().chain([previous]).collect();
    format!("{release}-{}", hash(&parts, 8))
}

/// The pair of CPUs and GiB that the consumption plan has for `size`, in steps of 0.25 CPUs with 0.5 GiB each, up to 4
/// with 8 (docs: container apps, containers, allocations). `None`: it has none so big.
pub(super) fn resources(size: Size) -> Option<Value> {
    let steps = size.cpu_milli.div_ceil(250).max(size.memory_mb.div_ceil(512)).max(1);
    let step = f64::from(steps);
    (steps <= 16).then(|| json!({ "cpu": step * 0.25, "memory": format!("{}Gi", step * 0.5) }))
}

/// The tags of what belongs to a service.
fn tags(wanted: &Definition) -> Value {
    json!({ STACK: wanted.stack.as_str(), SERVICE: wanted.service.as_str() })
}

/// The secret that holds a value of `wanted`. Each definition has its own, so that what runs before it keeps the value
/// it was started with.
fn secret_name(wanted: &Definition, name: &str) -> String {
    let slug: String = slug(name).chars().take(80).collect();
    format!("{OURS}{slug}-{}", hash(&[name, &wanted.fingerprint.0], 8))
}

fn registry_secret(login: &RegistryLogin) -> String {
    format!("{REGISTRY}{}", slug(&login.registry))
}

/// The environment of `wanted`, and of `held` what somebody else put there.
fn env(wanted: &Definition, held: &[Value]) -> Vec<Value> {
    let markers = wanted.markers();
    let is_ours = |name: &str| {
        wanted.env.contains_key(name)
            || name.starts_with("LINKFLOW_")
            || name == "PORT"
            || wanted.env_gone.iter().any(|gone| gone == name)
    };
    let others = held.iter().filter(|entry| !entry["name"].as_str().is_some_and(is_ours));
    let mut all: Vec<Value> = others.map(without_nulls).collect();
    for (name, value) in wanted.env.iter().filter(|(name, _)| !markers.contains_key(*name)) {
        all.push(match value {
            EnvValue::Plain(text) => json!({ "name": name, "value": text }),
            EnvValue::Secret(_) => json!({ "name": name, "secretRef": secret_name(wanted, name) }),
        });
    }
    all.extend(markers.iter().map(|(name, text)| json!({ "name": name, "value": text })));
    all
}

/// `value` without fields that are null: the vendor shows them, and does not take them.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Our container, with what somebody else gave it.
fn container(wanted: &Definition, resources: &Value, held: Option<&Value>) -> Value {
    let kept = held.map_or_else(|| json!({}), without_nulls);
    let mut own = match kept {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let before = own.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    own.retain(|name, _| matches!(name.as_str(), "name" | "volumeMounts"));
    own.entry("name").or_insert_with(|| json!(wanted.service.as_str()));
    own.insert("image".to_owned(), json!(wanted.image.to_string()));
    own.insert("env".to_owned(), json!(env(wanted, &before)));
    own.insert("resources".to_owned(), resources.clone());
    if let Some(command) = &wanted.command {
        own.insert("args".to_owned(), json!(command));
    }
    Value::Object(own)
}

/// What is asked whether it lives. With ingress and without these, Azure itself tries to connect to the port.
fn probes(wanted: &Definition) -> Option<Value> {
    let port = wanted.port?;
    match (wanted.kind, &wanted.health) {
        (ServiceKind::Web, Some(path)) => {
            let get = json!({ "path": path, "port": port, "scheme": "HTTP" });
            Some(json!([
                { "type": "Readiness", "httpGet": get, "initialDelaySeconds": 1, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3 },
                // Only what has been sick for minutes is started again.
                { "type": "Liveness", "httpGet": get, "initialDelaySeconds": 60, "periodSeconds": 30, "timeoutSeconds": 5, "failureThreshold": 6 },
            ]))
        }
        (ServiceKind::Worker, _) => Some(json!([
            { "type": "Readiness", "tcpSocket": { "port": port }, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3 },
        ])),
        (ServiceKind::Web | ServiceKind::Grpc, _) => None,
    }
}

/// How it is reached; workers are not.
fn ingress(wanted: &Definition) -> Option<Value> {
    let port = wanted.port?;
    let transport = match wanted.kind {
        ServiceKind::Web => "http",
        ServiceKind::Grpc => "http2",
        ServiceKind::Worker => return None,
    };
    Some(json!({
        "external": true,
        "targetPort": port,
        "transport": transport,
        "allowInsecure": false,
        "traffic": [{ "latestRevision": true, "weight": 100 }],
    }))
}

/// What runs, after `previous`.
fn template(wanted: &Definition, resources: &Value, app: Option<&Resource>) -> Value {
    let held = app.and_then(|app| app.template().container());
    let mut own = container(wanted, resources, held);
    if let Some(probes) = probes(wanted) {
        own["probes"] = probes;
    }
    let mut containers = vec![own];
    if let Some(app) = app {
        let all = app.list("/template/containers");
        containers.extend(all.iter().filter(|c| Some(*c) != held).map(without_nulls));
    }
    let previous = app.map_or("", |app| app.text("/latestRevisionName"));
    let (release, replicas) = (wanted.release.to_string(), wanted.replicas.max(1));
    json!({
        "revisionSuffix": suffix(&release, &[&wanted.fingerprint.0, &replicas.to_string()], previous),
        "terminationGracePeriodSeconds": GRACE,
        "containers": containers,
        "scale": { "minReplicas": replicas, "maxReplicas": replicas },
    })
}

/// The secrets of an app as they are.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) secrets: Vec<HeldSecret>,
    /// The names of those that a revision refers to which may still run.
    pub(super) in_use: Vec<String>,
}

/// All secrets that are to be there: those of `wanted`, those that what runs now refers to, and those of others.
fn secrets(wanted: &Definition, held: &[HeldSecret], in_use: &[String]) -> Vec<Value> {
    let mut own: Vec<(String, &str)> = Vec::new();
    for (name, value) in &wanted.env {
        if let EnvValue::Secret(secret) = value {
            own.push((secret_name(wanted, name), secret.expose()));
        }
    }
    if let Some(login) = &wanted.login {
        own.push((registry_secret(login), login.password.expose()));
    }
    let names: BTreeSet<String> = own.iter().map(|(name, _)| name.clone()).collect();
    let is_kept = |secret: &&HeldSecret| {
        let stays = !secret.name.starts_with(OURS) || in_use.contains(&secret.name);
        stays && !names.contains(&secret.name)
    };
    let kept = held.iter().filter(is_kept).map(|secret| match &secret.key_vault_url {
        Some(url) => without_nulls(
            &json!({ "name": secret.name, "keyVaultUrl": url, "identity": secret.identity }),
        ),
        None => without_nulls(&json!({ "name": secret.name, "value": secret.value })),
    });
    let own = own.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    kept.chain(own).collect()
}

/// All registry logins that are to be there: ours as `wanted` has it, and those of others.
fn registries(wanted: &Definition, held: &[Value]) -> Vec<Value> {
    let own = wanted.login.as_ref().map(|login| {
        json!({ "server": login.registry, "username": login.user, "passwordSecretRef": registry_secret(login) })
    });
    let is_ours = |entry: &Value| {
        let named =
            entry["passwordSecretRef"].as_str().is_some_and(|name| name.starts_with(REGISTRY));
        named
            || wanted.login.as_ref().is_some_and(|login| entry["server"] == login.registry.as_str())
    };
    held.iter().filter(|entry| !is_ours(entry)).map(without_nulls).chain(own).collect()
}

/// Whether the registry login that is there is another one than `wanted` has.
pub(super) fn login_differs(wanted: &Definition, app: &Resource, held: &[HeldSecret]) -> bool {
    let Some(login) = &wanted.login else { return false };
    let secret = registry_secret(login);
    let is_there = app.list("/configuration/registries").iter().any(|entry| {
        entry["server"] == login.registry.as_str()
            && entry["username"] == login.user.as_str()
            && entry["passwordSecretRef"] == secret.as_str()
    });
    let password =
        held.iter().find(|held| held.name == secret).and_then(|held| held.value.as_deref());
    !is_there || password != Some(login.password.expose())
}

/// A new app.
pub(super) fn create(
    wanted: &Definition,
    resources: &Value,
    environment: &str,
    location: &str,
) -> Value {
    let mut configuration = json!({
        "activeRevisionsMode": "Single",
        "maxInactiveRevisions": OLD_REVISIONS,
        "secrets": secrets(wanted, &[], &[]),
        "registries": registries(wanted, &[]),
    });
    if let Some(ingress) = ingress(wanted) {
        configuration["ingress"] = ingress;
    }
    json!({
        "location": location,
        "tags": tags(wanted),
        "properties": {
            "environmentId": environment,
            "configuration": configuration,
            "template": template(wanted, resources, None),
        },
    })
}

/// A new app that is to rest. Nothing of `wanted` runs before the app is stopped: Azure starts each new revision once.
pub(super) fn create_idle(wanted: &Definition, environment: &str, location: &str) -> Value {
    json!({
        "location": location,
        "tags": tags(wanted),
        "properties": {
            "environmentId": environment,
            "configuration": { "activeRevisionsMode": "Single", "maxInactiveRevisions": OLD_REVISIONS },
            "template": {
                "containers": [{
                    "name": wanted.service.as_str(),
                    "image": STAND_IN,
                    "resources": { "cpu": 0.25, "memory": "0.5Gi" },
                }],
                "scale": { "minReplicas": 0, "maxReplicas": 1 },
            },
        },
    })
}

/// What changes `app` into `wanted`. Objects are merged by the vendor; arrays and what they hold are merged here.
pub(super) fn update(wanted: &Definition, resources: &Value, app: &Resource, held: &Held) -> Value {
    let mut configuration = credentials(wanted, app, held);
    configuration["activeRevisionsMode"] = json!("Single");
    match ingress(wanted) {
        Some(ingress) => configuration["ingress"] = ingress,
        // In a merge, null takes away.
        None if app.properties.pointer("/configuration/ingress").is_some_and(Value::is_object) => {
            configuration["ingress"] = Value::Null;
        }
        None => {}
    }
    json!({
        "location": app.location,
        "tags": tags(wanted),
        "properties": { "configuration": configuration, "template": template(wanted, resources, Some(app)) },
    })
}

/// The secrets and registry logins of `wanted` beside those of others.
pub(super) fn credentials(wanted: &Definition, app: &Resource, held: &Held) -> Value {
    json!({
        "secrets": secrets(wanted, &held.secrets, &held.in_use),
        "registries": registries(wanted, app.list("/configuration/registries")),
    })
}

/// Another number of replicas for what `app` is.
pub(super) fn scale(app: &Resource, replicas: u32) -> Value {
    let template = app.template();
    let release = template.release().map_or_else(|| "s".to_owned(), |release| release.to_string());
    let fingerprint = template.fingerprint().map(|f| f.0).unwrap_or_default();
    let wanted = [fingerprint.as_str(), &replicas.to_string()];
    json!({
        "location": app.location,
        "properties": { "template": {
            "revisionSuffix": suffix(&release, &wanted, app.text("/latestRevisionName")),
            "scale": { "minReplicas": replicas, "maxReplicas": replicas },
        } },
    })
}

/// A job that runs `wanted` once, when it is started, and is not tried again.
pub(super) fn job(
    wanted: &Definition,
    tags: &Value,
    resources: &Value,
    environment: &str,
    location: &str,
) -> Value {
    json!({
        "location": location,
        "tags": tags,
        "properties": {
            "environmentId": environment,
            "configuration": {
                "triggerType": "Manual",
                "replicaTimeout": JOB_TIMEOUT,
                "replicaRetryLimit": 0,
                "manualTriggerConfig": { "parallelism": 1, "replicaCompletionCount": 1 },
                "secrets": secrets(wanted, &[], &[]),
                "registries": registries(wanted, &[]),
            },
            "template": { "containers": [container(wanted, resources, None)] },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_azure_takes_and_two_long_ones_do_not_meet() {
        assert_eq!(name("linkflow", "engine-frontend"), "linkflow-engine-frontend");
        for rest in
            ["migrate-the-database-of-api-r12", "migrate-the-database-of-api-r13", "a--b", "a-"]
        {
            let name = name("linkflow", rest);
            let fits = name.len() <= LONGEST_NAME && !name.contains("--") && !name.ends_with('-');
            assert!(fits, "{name}");
        }
        let long = |number| name("linkflow", &format!("migrate-the-database-of-api-r{number}"));
        assert_ne!(long(12), long(13));
        assert_eq!(long(12), long(12));
    }

    #[track_caller]
    fn check(cpu_milli: u32, memory_mb: u32, expected: Option<(f64, &str)>) {
        let own = resources(Size { cpu_milli, memory_mb });
        let expected = expected.map(|(cpu, memory)| json!({ "cpu": cpu, "memory": memory }));
        assert_eq!(own, expected);
    }

    #[test]
    fn a_size_becomes_the_smallest_pair_that_has_it() {
        check(0, 0, Some((0.25, "0.5Gi")));
        check(250, 256, Some((0.25, "0.5Gi")));
        check(251, 256, Some((0.5, "1Gi")));
        check(100, 1_500, Some((0.75, "1.5Gi")));
        check(4_000, 8_192, Some((4.0, "8Gi")));
        check(4_001, 512, None);
    }

    #[test]
    fn a_revision_has_the_same_suffix_each_time_and_another_one_after_another() {
        assert_eq!(suffix("r1", &["f", "1"], "a--x"), suffix("r1", &["f", "1"], "a--x"));
        assert_ne!(suffix("r1", &["f", "1"], "a--x"), suffix("r1", &["f", "1"], "a--y"));
        assert!(suffix("r1", &["f", "1"], "").starts_with("r1-"));
    }
}
