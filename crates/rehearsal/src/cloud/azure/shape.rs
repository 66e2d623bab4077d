//! The bodies of apps and jobs: how they are merged, what is wrong with them, and what they say of one container.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Refused, refusal};
use crate::cloud::site::Site;

/// The vendor's own images, which run nothing here.
const OWN_IMAGES: &str = "mcr.microsoft.com/k8se/";

/// Merges `patch` into `target` (RFC 7396): objects field by field, all else whole; null takes away.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(held) = target {
        for (name, value) in fields {
            if value.is_null() {
                held.remove(name);
            } else {
                merge(held.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn is_own_image(image: &str) -> bool {
    image.starts_with(OWN_IMAGES)
}

/// The environment of a container, with the values of the secrets it refers to.
pub(super) fn env_of(container: &Value, configuration: &Value) -> BTreeMap<String, String> {
    let secrets = list(configuration, "/secrets");
    let value = |entry: &Value| {
        let plain = || entry["value"].as_str().unwrap_or_default().to_owned();
        let Some(name) = entry["secretRef"].as_str() else { return plain() };
        let secret = secrets.iter().find(|secret| secret["name"] == name);
        secret.map_or_else(String::new, |s| text(s, "/value").to_owned())
    };
    let entries = list(container, "/env").iter();
    entries.map(|entry| (text(entry, "/name").to_owned(), value(entry))).collect()
}

/// The command line of a container, as far as it is not the image's own.
pub(super) fn arguments_of(container: &Value) -> Option<Vec<String>> {
    let words = ["/command", "/args"].iter().flat_map(|place| list(container, place));
    let words: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

fn invalid(field: &str, why: &str) -> Refused {
    let text = format!(
        "The following field(s) are either invalid or missing. Field '{field}' is invalid with details: '{why}';."
    );
    refusal(400, "InvalidParameterValueInContainerTemplate", &text)
}

/// Says what is wrong with the name of an app or a job.
pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = (2..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--")
        && name.bytes().all(fits);
    if good {
        return Ok(());
    }
    let why = format!(
        "Invalid ContainerApp name '{name}'. A name must consist of lower case alphanumeric characters or '-', start with a letter, end with an alphanumeric character and cannot have '--'. The length must be between 2 and 32 characters."
    );
    Err(refusal(400, "ContainerAppInvalidName", &why))
}

/// Says what is wrong with a configuration and a template together.
pub(super) fn check(site: &Site, configuration: &Value, template: &Value) -> Result<(), Refused> {
    let names = check_secrets(configuration)?;
    let containers = list(template, "/containers");
    if containers.is_empty() {
        return Err(invalid("template.containers", "at least one container is required"));
    }
    for container in containers {
        check_container(site, container, &names)?;
    }
    let number = |place: &str| template.pointer(place).and_then(Value::as_u64);
    let (least, most) =
        (number("/scale/minReplicas").unwrap_or(0), number("/scale/maxReplicas").unwrap_or(10));
    if most == 0 || least > most {
        let why = "MinReplicas and MaxReplicas must be between 0 and 1000, and MaxReplicas at least 1 and MinReplicas";
        return Err(refusal(400, "ContainerAppInvalidScaleSpec", why));
    }
    Ok(())
}

/// The names of the secrets.
fn check_secrets(configuration: &Value) -> Result<BTreeSet<&str>, Refused> {
    let mut names = BTreeSet::new();
    for secret in list(configuration, "/secrets") {
        let name = text(secret, "/name");
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        if name.is_empty() || !name.bytes().all(fits) || !names.insert(name) {
            let why = format!(
                "Invalid secret name '{name}': it must be unique, of lower case alphanumeric characters, '-' or '.'"
            );
            return Err(refusal(400, "ContainerAppSecretInvalid", &why));
        }
        if secret["value"].as_str().is_none_or(str::is_empty)
            && secret["keyVaultUrl"].as_str().is_none()
        {
            let why = format!(
                "Invalid Request: Container app secret(s) with name(s) '{name}' are invalid: value or keyVaultUrl and identity should be provided."
            );
            return Err(refusal(400, "ContainerAppSecretInvalid", &why));
        }
    }
    for registry in list(configuration, "/registries") {
        let secret = text(registry, "/passwordSecretRef");
        if !secret.is_empty() && !names.contains(secret) {
            return Err(no_secret(secret));
        }
    }
    Ok(names)
}

fn no_secret(name: &str) -> Refused {
    let why = format!("SecretRef '{name}' defined for container does not exist.");
    refusal(400, "ContainerAppSecretRefNotFound", &why)
}

fn check_container(
    site: &Site,
    container: &Value,
    secrets: &BTreeSet<&str>,
) -> Result<(), Refused> {
    let name = text(container, "/name");
    let mut seen = BTreeSet::new();
    for entry in list(container, "/env") {
        let variable = text(entry, "/name");
        if !seen.insert(variable) {
            return Err(invalid(
                &format!("template.containers.{name}.env"),
                &format!("'{variable}' is there twice"),
            ));
        }
        if let Some(secret) = entry["secretRef"].as_str()
            && !secrets.contains(secret)
        {
            return Err(no_secret(secret));
        }
    }
    let cpu = container.pointer("/resources/cpu").and_then(Value::as_f64).unwrap_or(0.5);
    let memory = text(container, "/resources/memory")
        .strip_suffix("Gi")
        .and_then(|gi| gi.parse::<f64>().ok());
    let memory = memory.unwrap_or(1.0);
    let (steps, even) = (cpu / 0.25, (memory - cpu * 2.0).abs() < 1e-9);
    if !even || (steps - steps.round()).abs() > 1e-9 || !(1.0..=16.0).contains(&steps) {
        let why = format!(
            "The total requested CPU and memory resources for this application (CPU: {cpu}, memory: {memory}) is invalid. Total CPU and memory for all containers defined in a Container App must add up to one of the following CPU - Memory combinations: [cpu: 0.25, memory: 0.5Gi]; [cpu: 0.5, memory: 1.0Gi]; …"
        );
        return Err(refusal(400, "ContainerAppInvalidResourceTotal", &why));
    }
    let image = text(container, "/image");
    if !is_own_image(image) && site.images.find(image).is_none() {
        let why =
            format!("Invalid value: \"{image}\": GET https:: MANIFEST_UNKNOWN: manifest unknown");
        return Err(invalid(&format!("template.containers.{name}.image"), &why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_merges_objects_and_replaces_arrays() {
        let mut held = json!({ "a": { "b": 1, "c": [1, 2] }, "d": "x", "e": 1 });
        merge(&mut held, &json!({ "a": { "c": [3] }, "d": null, "f": { "g": null, "h": 1 } }));
        assert_eq!(held, json!({ "a": { "b": 1, "c": [3] }, "e": 1, "f": { "h": 1 } }));
    }

    #[test]
    fn an_environment_holds_the_values_of_its_secrets() {
        let container =
            json!({ "env": [{ "name": "A", "value": "1" }, { "name": "B", "secretRef": "b" }] });
        let configuration = json!({ "secrets": [{ "name": "b", "value": "2" }] });
        let env = env_of(&container, &configuration);
        assert_eq!((env["A"].as_str(), env["B"].as_str()), ("1", "2"));
    }
}
