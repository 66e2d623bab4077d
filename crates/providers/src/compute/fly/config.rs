//! A definition as a Fly machine's configuration.

use std::collections::BTreeMap;

use linkflow_model::{Definition, EnvValue, ServiceKind, Size};
use serde_json::{Map, Value, json};

use super::wire::{FINGERPRINT, LAUNCH, PARKED, RELEASE, SERVICE, STACK};

/// How often a machine is started again after it failed, before the vendor lets it rest.
const MOST_RESTARTS: u32 = 10;

/// How long a process has to end after SIGTERM.
const GRACE: &str = "10s";

/// The sizes in which Fly sells CPUs.
const CPUS: [u32; 5] = [1, 2, 4, 8, 16];

/// The configuration of the machine that stands for the `launch`-th instance of `wanted`.
pub(super) fn config(wanted: &Definition, launch: &str, parked: bool) -> Value {
    let mut config = json!({
        "image": wanted.image.to_string(),
        "env": env(wanted),
        "metadata": metadata(wanted, launch, parked),
        "guest": guest(wanted.size),
        "restart": { "policy": "on-failure", "max_retries": MOST_RESTARTS },
        "stop_config": { "signal": "SIGTERM", "timeout": GRACE },
        "auto_destroy": false,
    });
    if let Some(command) = &wanted.command {
        config["init"] = json!({ "cmd": command });
    }
    match (wanted.kind, wanted.port) {
        (ServiceKind::Web, Some(port)) => config["services"] = json!([web(wanted, port)]),
        (ServiceKind::Grpc, Some(port)) => config["services"] = json!([grpc(port)]),
        // A worker that listens on a port does so for its health alone.
        (ServiceKind::Worker, Some(port)) => config["checks"] = json!({ "port": { "port": port, "type": "tcp", "interval": "10s", "timeout": "2s", "grace_period": "5s" } }),
        (_, None) => {}
    }
    config
}

/// The secrets of `wanted`, by name.
pub(super) fn secrets(wanted: &Definition) -> BTreeMap<&str, &str> {
    wanted
        .env
        .iter()
        .filter_map(|(name, value)| match value {
            EnvValue::Secret(secret) => Some((name.as_str(), secret.expose())),
            EnvValue::Plain(_) => None,
        })
        .collect()
}

/// The environment that may be shown, with our markers.
fn env(wanted: &Definition) -> Map<String, Value> {
    let plain = wanted.env.iter().filter_map(|(name, value)| match value {
        EnvValue::Plain(text) => Some((name.clone(), text.clone())),
        EnvValue::Secret(_) => None,
    });
    plain.chain(wanted.markers()).map(|(name, text)| (name, Value::from(text))).collect()
}

fn metadata(wanted: &Definition, launch: &str, parked: bool) -> Map<String, Value> {
    let mut metadata = Map::new();
    let mut put = |name: &str, text: &str| {
        metadata.insert(name.to_owned(), Value::from(text));
    };
    // With these two the vendor's own command line manages the machine too.
    put("fly_platform_version", "v2");
    put("fly_process_group", "app");
    put(STACK, wanted.stack.as_str());
    put(SERVICE, wanted.service.as_str());
    put(RELEASE, &wanted.release.to_string());
    put(FINGERPRINT, &wanted.fingerprint.0);
    put(LAUNCH, launch);
    if parked {
        put(PARKED, "yes");
    }
    metadata
}

/// The proxy neither starts nor stops machines: how many run is decided elsewhere.
fn service(port: u16, ports: &Value, check: &Value) -> Value {
    json!({
        "protocol": "tcp",
        "internal_port": port,
        "autostart": false,
        "autostop": "off",
        "ports": ports,
        "checks": [check],
    })
}

fn web(wanted: &Definition, port: u16) -> Value {
    let ports = json!([
        { "port": 80, "handlers": ["http"], "force_https": true },
        { "port": 443, "handlers": ["tls", "http"] },
    ]);
    let check = match &wanted.health {
        Some(path) => json!({
            "type": "http", "method": "GET", "path": path, "protocol": "http",
            "interval": "10s", "timeout": "2s", "grace_period": "5s",
        }),
        None => tcp_check(),
    };
    service(port, &ports, &check)
}

/// gRPC needs HTTP/2 from end to end, so the proxy offers only that and speaks it to the machine too.
fn grpc(port: u16) -> Value {
    let ports = json!([{
        "port": 443,
        "handlers": ["tls", "http"],
        "tls_options": { "alpn": ["h2"] },
        "http_options": { "h2_backend": true },
    }]);
    service(port, &ports, &tcp_check())
}

/// Fly has no check that speaks gRPC.
fn tcp_check() -> Value {
    json!({ "type": "tcp", "interval": "10s", "timeout": "2s", "grace_period": "5s" })
}

/// The smallest machine that has at least `size` (docs: machines/guides-examples/machine-sizing: shared CPUs come with
/// 256 to 2048 MB each, performance CPUs with 2 to 8 GB each, memory in steps of 256 MB).
fn guest(size: Size) -> Value {
    let cpus = |kind_mb: u32, most: u32| {
        let due = size.cpu_milli.div_ceil(1_000).max(1);
        CPUS.into_iter().find(|n| *n >= due && n * kind_mb >= size.memory_mb && *n <= most)
    };
    let (kind, count, least_mb) = match (cpus(2_048, 8), cpus(8_192, 16)) {
        (Some(count), _) => ("shared", count, 256 * count),
        (None, Some(count)) => ("performance", count, 2_048 * count),
        (None, None) => ("performance", 16, 2_048 * 16),
    };
    let memory = size.memory_mb.div_ceil(256).saturating_mul(256).max(least_mb);
    json!({ "cpu_kind": kind, "cpus": count, "memory_mb": memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cpu_milli: u32, memory_mb: u32, expected: &str) {
        let guest = guest(Size { cpu_milli, memory_mb });
        let said = format!("{} {} {}", guest["cpu_kind"], guest["cpus"], guest["memory_mb"]);
        assert_eq!(said.replace('"', ""), expected);
    }

    #[test]
    fn a_size_becomes_the_smallest_machine_that_has_it() {
        check(250, 256, "shared 1 256");
        check(250, 300, "shared 1 512");
        check(1_500, 256, "shared 2 512");
        check(500, 4_096, "shared 2 4096");
        check(10_000, 1_024, "performance 16 32768");
    }
}
