//! A definition as Koyeb's: what is ours is written, what somebody else put there is kept.

use std::collections::{BTreeMap, BTreeSet};

use linkflow_model::{Definition, EnvValue, ServiceKind, Size};
use serde_json::{Map, Value, json};

use super::wire::{PARKED, Run};

/// The standard instance types, smallest first: name, thousandths of a CPU, MiB (docs: reference/instances).
const TYPES: [(&str, u32, u32); 10] = [
    ("nano", 250, 256),
    ("micro", 500, 512),
    ("small", 1_000, 1_024),
    ("medium", 2_000, 2_048),
    ("large", 4_000, 4_096),
    ("xlarge", 8_000, 8_192),
    ("2xlarge", 16_000, 16_384),
    ("3xlarge", 24_000, 32_768),
    ("4xlarge", 32_000, 65_536),
    ("5xlarge", 40_000, 409_600),
];

/// The instance type that costs nothing. It always sleeps when idle.
pub(super) const FREE: &str = "free";

/// No image has this program, so nothing of the app runs while a service is made that is to rest.
const NO_PROGRAM: &str = "/linkflow/parked";

/// Seconds before the first health check; the least that the vendor takes (docs: run-and-scale/health-checks).
const GRACE: u32 = 5;
/// Seconds between two health checks; the least that the vendor takes.
const CHECK_EVERY: u32 = 30;
/// Seconds that a health check may take.
const CHECK_WITHIN: u32 = 5;
/// Failed checks in a row before an instance is started again.
const RESTART_AFTER: u32 = 3;

/// What the account says of every service.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) region: String,
    pub(super) instance: Option<String>,
    pub(super) sleep_after: Option<u32>,
}

/// How the secrets of one service are called in the vendor's store.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    pub(super) registry: String,
}

impl Names {
    /// Neither a stack's nor a service's name has an underscore, so no two services have a name in common.
    pub(super) fn new(app_prefix: &str, service: &str) -> Self {
        Self {
            prefix: format!("linkflow_{app_prefix}_{service}_"),
            registry: format!("linkflow-registry_{app_prefix}_{service}"),
        }
    }

    /// The name of the secret that stands for the environment variable `variable`.
    pub(super) fn of(&self, variable: &str) -> String {
        format!("{}{variable}", self.prefix)
    }

    /// Whether `name` is that of a secret of this service.
    pub(super) fn is_own(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) || name == self.registry
    }
}

impl Terms {
    /// The definition that `wanted` asks for, over the one that is `held`.
    pub(super) fn definition(&self, wanted: &Definition, names: &Names, held: &Value) -> Value {
        let mut fields = held.as_object().cloned().unwrap_or_default();
        fields.retain(|_, value| !value.is_null());
        let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        let is_worker = wanted.kind == ServiceKind::Worker;
        set("name", json!(wanted.service));
        set("type", json!(if is_worker { "WORKER" } else { "WEB" }));
        set("docker", docker(wanted, names, &held["docker"]));
        set("env", Value::from(env(wanted, names, &held["env"])));
        set("regions", json!([self.region]));
        set("instance_types", json!([{ "type": self.instance_type(wanted.size) }]));
        set("scalings", self.scalings(wanted.replicas, is_worker));
        let port = wanted.port.filter(|_| !is_worker);
        let each = |value: Value| json!(port.map(|_| value).into_iter().collect::<Vec<_>>());
        // HTTP/2 all the way is what gRPC needs.
        let protocol = if wanted.kind == ServiceKind::Grpc { "http2" } else { "http" };
        set("ports", each(json!({ "port": port, "protocol": protocol })));
        set("routes", each(json!({ "port": port, "path": "/" })));
        set("health_checks", each(check(wanted)));
        Value::Object(fields)
    }

    /// What a service is made with that is to rest: the vendor starts whatever is made, so this has nothing to start.
    pub(super) fn parked(&self, wanted: &Definition, names: &Names) -> Value {
        let mut definition = self.definition(wanted, names, &Value::Null);
        definition["docker"]["entrypoint"] = json!([NO_PROGRAM]);
        if let Some(entries) = definition["env"].as_array_mut() {
            entries.retain(|entry| entry["key"] != "LINKFLOW_FINGERPRINT");
            entries.push(json!({ "key": PARKED, "value": "yes" }));
        }
        definition
    }

    /// `held` with another number of instances.
    pub(super) fn scaled(&self, held: &Value, replicas: u32) -> Value {
        let mut definition = held.clone();
        if let Some(fields) = definition.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
            let is_worker = held["type"] == "WORKER";
            fields.insert("scalings".to_owned(), self.scalings(replicas, is_worker));
        }
        definition
    }

    /// Whether `run` was told what `wanted` asks for. A service that is to rest keeps the number that it had.
    pub(super) fn is_same(&self, run: &Run, wanted: &Definition, names: &Names) -> bool {
        let held = &run.definition;
        let registry = held.pointer("/docker/image_registry_secret").and_then(Value::as_str);
        let registry = registry.filter(|name| !name.is_empty());
        let is_gone = |name: &String| wanted.env.contains_key(name) || !is_set(held, name);
        run.env("LINKFLOW_FINGERPRINT") == Some(wanted.fingerprint.0.as_str())
            && run.env(PARKED).is_none()
            && held.pointer("/docker/image") == Some(&json!(wanted.image.to_string()))
            && registry == wanted.login.as_ref().map(|_| names.registry.as_str())
            && held.pointer("/regions/0") == Some(&json!(self.region))
            && held.pointer("/instance_types/0/type")
                == Some(&json!(self.instance_type(wanted.size)))
            && (wanted.replicas == 0 || self.is_scaled(run, wanted.replicas))
            && wanted.env_gone.iter().all(is_gone)
    }

    /// Whether `run` asks for `replicas` instances in the way that this account has it.
    pub(super) fn is_scaled(&self, run: &Run, replicas: u32) -> bool {
        let is_worker = run.definition["type"] == "WORKER";
        let due = self.scalings(replicas, is_worker);
        let number = |of: &Value, place: &str| of.pointer(place).and_then(Value::as_u64);
        let held = &run.definition["scalings"];
        let idle = "/0/targets/0/sleep_idle_delay/deep_sleep_value";
        run.instances() == replicas
            && number(held, "/0/min").unwrap_or(0) == number(&due, "/0/min").unwrap_or(0)
            && (number(&due, idle).is_none() || number(held, idle) == number(&due, idle))
    }

    /// With a least of 0 the vendor puts a service to sleep that nobody asks. Free instances know no other way.
    fn scalings(&self, replicas: u32, is_worker: bool) -> Value {
        let most = replicas.max(1);
        let own_will = self.sleep_after.filter(|_| !is_worker);
        let sleeps = own_will.is_some() || self.instance.as_deref() == Some(FREE);
        let mut scaling = json!({ "min": if sleeps { 0 } else { most }, "max": most });
        if let Some(seconds) = own_will {
            scaling["targets"] = json!([{ "sleep_idle_delay": { "deep_sleep_value": seconds } }]);
        }
        json!([scaling])
    }

    fn instance_type(&self, size: Size) -> &str {
        self.instance.as_deref().unwrap_or_else(|| smallest(size))
    }
}

/// The names of the secrets that `definition` refers to.
pub(super) fn secrets_in(definition: &Value) -> BTreeSet<&str> {
    let entries = definition["env"].as_array().into_iter().flatten();
    let registry = definition.pointer("/docker/image_registry_secret").and_then(Value::as_str);
    entries.filter_map(|entry| entry["secret"].as_str()).chain(registry).collect()
}

/// The smallest standard instance that has at least `size`, or the largest there is.
fn smallest(size: Size) -> &'static str {
    let fits = |kind: &&(&str, u32, u32)| kind.1 >= size.cpu_milli && kind.2 >= size.memory_mb;
    TYPES.iter().find(fits).or(TYPES.last()).map_or("nano", |(name, ..)| name)
}

fn is_set(definition: &Value, name: &str) -> bool {
    let mut entries = definition["env"].as_array().into_iter().flatten();
    entries.any(|entry| entry["key"] == name)
}

fn docker(wanted: &Definition, names: &Names, held: &Value) -> Value {
    let mut docker: Map<String, Value> = held.as_object().cloned().unwrap_or_default();
    docker.retain(|name, value| name == "privileged" && !value.is_null());
    let mut set = |name: &str, value: Value| drop(docker.insert(name.to_owned(), value));
    set("image", json!(wanted.image.to_string()));
    if let Some((first, rest)) = wanted.command.as_deref().and_then(<[String]>::split_first) {
        set("command", json!(first));
        set("args", json!(rest));
    }
    if wanted.login.is_some() {
        set("image_registry_secret", json!(names.registry));
    }
    Value::Object(docker)
}

/// Ours first, then what somebody else has set.
fn env(wanted: &Definition, names: &Names, held: &Value) -> Vec<Value> {
    let mut ours: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, value) in &wanted.env {
        ours.insert(
            name,
            match value {
                EnvValue::Plain(text) => json!({ "key": name, "value": text }),
                EnvValue::Secret(_) => json!({ "key": name, "secret": names.of(name) }),
            },
        );
    }
    let markers = wanted.markers();
    for (name, text) in &markers {
        ours.insert(name, json!({ "key": name, "value": text }));
    }
    let is_theirs = |entry: &&Value| {
        let key = entry["key"].as_str().unwrap_or_default();
        let is_gone = wanted.env_gone.iter().any(|gone| gone == key) || key == PARKED;
        !ours.contains_key(key) && !is_gone
    };
    let theirs: Vec<Value> =
        held.as_array().into_iter().flatten().filter(is_theirs).cloned().collect();
    ours.into_values().chain(theirs).collect()
}

fn check(wanted: &Definition) -> Value {
    let mut check = json!({
        "grace_period": GRACE, "interval": CHECK_EVERY, "timeout": CHECK_WITHIN, "restart_limit": RESTART_AFTER,
    });
    match &wanted.health {
        Some(path) => {
            check["http"] = json!({ "port": wanted.port, "path": path, "method": "GET" });
        }
        None => check["tcp"] = json!({ "port": wanted.port }),
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(instance: Option<&str>, sleep_after: Option<u32>) -> Terms {
        let instance = instance.map(str::to_owned);
        Terms { region: "fra".to_owned(), instance, sleep_after }
    }

    #[track_caller]
    fn check_type(cpu_milli: u32, memory_mb: u32, expected: &str) {
        assert_eq!(smallest(Size { cpu_milli, memory_mb }), expected);
    }

    #[test]
    fn a_size_becomes_the_smallest_instance_that_has_it() {
        check_type(250, 256, "nano");
        check_type(250, 300, "micro");
        check_type(1_500, 256, "medium");
        check_type(250, 1_000_000, "5xlarge");
    }

    #[test]
    fn only_what_may_sleep_has_a_least_of_none() {
        let bounds = |terms: &Terms, is_worker| terms.scalings(2, is_worker)[0].to_string();
        assert_eq!(bounds(&terms(None, None), false), r#"{"min":2,"max":2}"#);
        assert_eq!(bounds(&terms(Some(FREE), None), false), r#"{"min":0,"max":2}"#);
        assert_eq!(bounds(&terms(None, Some(300)), true), r#"{"min":2,"max":2}"#);
        let sleepy = terms(None, Some(300)).scalings(1, false);
        assert_eq!(sleepy[0]["targets"][0]["sleep_idle_delay"]["deep_sleep_value"], 300);
    }

    #[test]
    fn secrets_of_services_whose_names_begin_alike_are_told_apart() {
        let (api, api_v2) = (Names::new("shop", "api"), Names::new("shop", "api-v2"));
        assert!(api.is_own(&api.of("A_B")) && api.is_own(&api.registry));
        assert!(!api.is_own(&api_v2.of("A_B")) && !api.is_own(&api_v2.registry));
        assert!(!Names::new("shop", "a").is_own("linkflow_shop-a_b_C"));
    }
}
