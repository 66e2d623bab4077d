//! What a release or a job is on the machine: files for Compose, and what our own script has to know.
//!
//! The files are JSON, which is YAML as well, so that no value can be read as anything but itself. The environment is
//! in a file of its own, which only its owner may read.

use std::fmt::Write as _;

use linkflow_model::Definition;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::shell::quote;
use super::{Network, Place};

/// How much of a fingerprint is in the name of a folder.
const HASH: usize = 12;

/// How long a container may take to end when it is asked to, in seconds.
const GRACE: u64 = 10;

/// How long a release may take until it answers, in seconds. The engine gives up sooner where the config says so.
const PATIENCE: u64 = 300;

/// A service without a port counts as started when it has lived for so long, in seconds.
const SETTLE: u64 = 2;

/// What is run.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// A service.
    Service,
    /// The job of this id.
    Job(&'a str),
}

/// The part of the fingerprint that folders carry.
pub(super) fn hash(wanted: &Definition) -> String {
    wanted.fingerprint.0.chars().take(HASH).collect()
}

/// The folder of a release: `r7-0123456789ab`.
pub(super) fn folder(wanted: &Definition) -> String {
    format!("{}-{}", wanted.release, hash(wanted))
}

/// The assignments that `fill` in `calls.sh` writes into files.
pub(super) fn files(wanted: &Definition, what: What<'_>, place: &Place) -> String {
    let folder = match what {
        What::Service => folder(wanted),
        What::Job(_) => "run".to_owned(),
    };
    let login = wanted.login.as_ref().map_or("", |login| login.password.expose());
    let meta =
        format!("{} {} {}", wanted.release, wanted.fingerprint, wanted.image.digest);
    let texts = [
        ("compose_yml", text(&compose(wanted, what, &folder, place))),
        ("env_yml", text(&environment(wanted, what, place))),
        ("image", wanted.image.to_string()),
        ("meta", meta),
        ("plan", plan(wanted, what, &folder, place)),
        ("login", login.to_owned()),
    ];
    texts.iter().fold(String::new(), |mut all, (name, text)| {
        writeln!(all, "{name}={}", quote(text)).ok();
        all
    })
}

/// The container, but for its environment.
fn compose(wanted: &Definition, what: What<'_>, folder: &str, place: &Place) -> Value {
    let (kind, name) = match what {
        What::Service => ("linkflow.service", wanted.service.as_str()),
        What::Job(id) => ("linkflow.job", id),
    };
    let labels = json!({
        "linkflow.stack": wanted.stack.as_str(),
        "linkflow.provider": wanted.provider.as_str(),
        kind: name,
        "linkflow.folder": folder,
        "linkflow.release": wanted.release.to_string(),
        "linkflow.fingerprint": wanted.fingerprint.to_string(),
        "linkflow.digest": wanted.image.digest.as_str(),
        "linkflow.number": "${LF_NUMBER}",
        "linkflow.port": "${LF_PORT}",
    });
    let mut app = json!({
        "image": wanted.image.to_string(),
        "network_mode": place.network.word(),
        "restart": "no",
        "labels": labels,
        "mem_limit": format!("{}m", wanted.size.memory_mb),
        "cpus": f64::from(wanted.size.cpu_milli) / 1000.0,
        "logging": { "driver": "json-file", "options": { "max-size": "10m", "max-file": "3" } },
    });
    if let Some(command) = &wanted.command {
        app["command"] = command.iter().map(|word| plain(word)).collect();
    }
    if place.network == Network::Bridge {
        app["extra_hosts"] = json!(["host.docker.internal:host-gateway"]);
        if let (Some(port), What::Service) = (wanted.port, what) {
            app["ports"] = json!([format!("{}:${{LF_PORT}}:{port}", bracketed(place))]);
        }
    }
    json!({ "services": { "app": app } })
}

/// The environment of the container.
fn environment(wanted: &Definition, what: What<'_>, place: &Place) -> Value {
    let mut env: Map<String, Value> =
        wanted.env.iter().map(|(name, value)| (name.clone(), plain(value.expose()))).collect();
    env.extend(wanted.markers().iter().map(|(name, value)| (name.clone(), plain(value))));
    let own = match what {
        What::Service => format!("{}-{}-${{LF_NUMBER}}", wanted.service, folder(wanted)),
        What::Job(id) => id.to_owned(),
    };
    env.insert("LINKFLOW_INSTANCE".to_owned(), Value::String(own));
    match place.network {
        Network::Bridge => {
            env.insert("LINKFLOW_BIND".to_owned(), json!("0.0.0.0"));
        }
        Network::Host => {
            env.insert("LINKFLOW_BIND".to_owned(), json!(place.publish.to_string()));
            env.insert("PORT".to_owned(), json!("${LF_PORT}"));
        }
    }
    json!({ "services": { "app": { "environment": env } } })
}

/// What `work.sh` has to know.
fn plan(wanted: &Definition, what: What<'_>, folder: &str, place: &Place) -> String {
    let service = match what {
        What::Service => wanted.service.as_str(),
        What::Job(id) => id,
    };
    let listens = match (what, wanted.port, &wanted.health) {
        (What::Job(_), _, _) | (_, None, _) => "none",
        (_, Some(_), Some(_)) => "http",
        (_, Some(_), None) => "tcp",
    };
    let login = |get: fn(&linkflow_model::RegistryLogin) -> &String| {
        wanted.login.as_ref().map_or_else(String::new, |login| get(login).clone())
    };
    let rows = [
        ("stack", wanted.stack.to_string()),
        ("provider", wanted.provider.to_string()),
        ("service", service.to_owned()),
        ("host", place.docker_host.clone().unwrap_or_default()),
        ("image", wanted.image.to_string()),
        ("network", place.network.word().to_owned()),
        ("bind", place.publish.to_string()),
        ("from", place.ports.0.to_string()),
        ("to", place.ports.1.to_string()),
        ("listens", listens.to_owned()),
        ("health", wanted.health.clone().unwrap_or_default()),
        ("project", project(wanted, service, folder)),
        ("drain", place.drain.as_secs().to_string()),
        ("grace", GRACE.to_string()),
        ("patience", PATIENCE.to_string()),
        ("settle", SETTLE.to_string()),
        ("login_user", login(|login| &login.user)),
        ("login_registry", login(|login| &login.registry)),
    ];
    rows.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect()
}

/// The name of the Compose project, which is unique on the machine. Names with hyphens in them cannot be put together
/// without doubt, so it ends in a hash of all of them.
fn project(wanted: &Definition, service: &str, folder: &str) -> String {
    let whole = format!("{}/{}/{service}/{folder}", wanted.stack, wanted.provider);
    let hash = Sha256::digest(whole.as_bytes());
    let hash: String = hash.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("linkflow-{service}-{}-{hash}", wanted.release)
}

fn bracketed(place: &Place) -> String {
    if place.publish.is_ipv6() { format!("[{}]", place.publish) } else { place.publish.to_string() }
}

/// `text` so that Compose puts nothing in place of a part of it.
fn plain(text: &str) -> Value {
    Value::String(text.replace('$', "$$"))
}

/// JSON in which every YAML reader sees the same: characters that YAML wants escaped are.
fn text(value: &Value) -> String {
    let is_odd = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    value.to_string().chars().fold(String::new(), |mut all, c| {
        if is_odd(c) {
            write!(all, "\\u{:04x}", u32::from(c)).ok();
        } else {
            all.push(c);
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use linkflow_model::EnvValue;

    use super::*;

    #[test]
    fn nothing_of_a_value_is_replaced_by_compose() {
        assert_eq!(plain("a$b ${C} $$"), json!("a$$b $${C} $$$$"));
        assert_eq!(text(&json!("\u{85}é\u{2028}\n")), r#""\u0085é\u2028\n""#);
    }

    #[test]
    fn secret_values_are_in_the_file_of_the_environment_and_in_no_other() {
        let secret = EnvValue::Secret(linkflow_model::Secret::new("s3cr3t"));
        let wanted = super::super::tests::wanted([("TOKEN".to_owned(), secret)].into());
        let place = super::super::tests::place();
        let compose = text(&compose(&wanted, What::Service, "r1-0", &place));
        assert!(!compose.contains("s3cr3t"), "{compose}");
        assert!(!plan(&wanted, What::Service, "r1-0", &place).contains("s3cr3t"));
        assert!(text(&environment(&wanted, What::Service, &place)).contains("s3cr3t"));
    }
}
