//! Definitions: what the vendor refuses, and what it adds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{REGION, Refused, Stock, invalid};

/// The instance types of the CPU catalogue.
const TYPES: [&str; 11] = [
    "free", "nano", "micro", "small", "medium", "large", "xlarge", "2xlarge", "3xlarge", "4xlarge",
    "5xlarge",
];

/// Checks `given` and completes it as the vendor shows it afterwards.
pub(super) fn accept(stock: &Stock, given: &Value) -> Result<Value, Refused> {
    let mut definition = given.clone();
    let Some(fields) = definition.as_object_mut() else {
        return Err(invalid("definition", "is required"));
    };
    let add = |fields: &mut serde_json::Map<String, Value>, name: &str, value: Value| {
        fields.entry(name.to_owned()).or_insert(value);
    };
    add(fields, "strategy", json!({ "type": "DEPLOYMENT_STRATEGY_TYPE_DEFAULT" }));
    add(fields, "mesh", json!("DEPLOYMENT_MESH_AUTO"));
    for list in
        ["volumes", "config_files", "ports", "routes", "env", "health_checks", "proxy_ports"]
    {
        add(fields, list, json!([]));
    }
    add(fields, "skip_cache", json!(false));
    let image = definition.pointer("/docker/image").and_then(Value::as_str);
    if image.is_none_or(str::is_empty) {
        return Err(invalid("definition.docker.image", "is required"));
    }
    check_entrances(&definition)?;
    check_size(&definition)?;
    check_secrets(stock, &definition)?;
    for entry in definition["env"].as_array_mut().into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut() {
            entry.entry("scopes").or_insert_with(|| json!([format!("region:{REGION}")]));
        }
    }
    Ok(definition)
}

fn length(definition: &Value, list: &str) -> usize {
    definition[list].as_array().map_or(0, Vec::len)
}

fn check_entrances(definition: &Value) -> Result<(), Refused> {
    match definition["type"].as_str() {
        Some("WEB") if length(definition, "ports") == 0 => {
            Err(invalid("definition.ports", "a web service exposes at least one port"))
        }
        Some("WORKER") if length(definition, "ports") + length(definition, "routes") > 0 => {
            Err(invalid("definition.ports", "a worker exposes no ports"))
        }
        Some("WEB" | "WORKER") => Ok(()),
        _ => Err(invalid("definition.type", "is not valid")),
    }?;
    for check in definition["health_checks"].as_array().into_iter().flatten() {
        let seconds = |name: &str| check[name].as_u64();
        if seconds("interval").is_some_and(|s| !(30..=300).contains(&s)) {
            return Err(invalid("definition.health_checks.interval", "must be between 30 and 300"));
        }
        if seconds("grace_period").is_some_and(|s| !(5..=300).contains(&s)) {
            return Err(invalid(
                "definition.health_checks.grace_period",
                "must be between 5 and 300",
            ));
        }
    }
    Ok(())
}

fn check_size(definition: &Value) -> Result<(), Refused> {
    let Some(region) = definition.pointer("/regions/0").and_then(Value::as_str) else {
        return Err(invalid("definition.regions", "at least one region is required"));
    };
    if region != REGION && region != "was" {
        return Err(invalid("definition.regions", "is not available"));
    }
    let kind =
        definition.pointer("/instance_types/0/type").and_then(Value::as_str).unwrap_or_default();
    if !TYPES.contains(&kind) {
        return Err(invalid("definition.instance_types", "unknown instance type"));
    }
    let bound = |name: &str| definition["scalings"][0][name].as_u64();
    let (least, most) = (bound("min").unwrap_or(1), bound("max").unwrap_or(1));
    if most == 0 || least > most {
        return Err(invalid("definition.scalings", "max must be at least 1 and not below min"));
    }
    if kind == "free" && (definition["type"] != "WEB" || most > 1 || least > 0) {
        return Err(invalid(
            "definition.instance_types",
            "free runs one web instance that scales to zero",
        ));
    }
    if least == 0 && definition["type"] != "WEB" {
        return Err(invalid("definition.scalings", "only web services scale to zero"));
    }
    Ok(())
}

fn check_secrets(stock: &Stock, definition: &Value) -> Result<(), Refused> {
    let is_there = |name: &str, kind: &str| {
        stock.secrets.values().any(|row| row["name"] == name && row["type"] == kind)
    };
    for entry in definition["env"].as_array().into_iter().flatten() {
        match (entry["value"].as_str(), entry["secret"].as_str()) {
            (_, Some(name)) if !is_there(name, "SIMPLE") => {
                return Err(invalid(
                    "definition.env.secret",
                    &format!("secret {name} does not exist"),
                ));
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err(invalid("definition.env", "either value or secret is required")),
        }
    }
    let registry = definition.pointer("/docker/image_registry_secret").and_then(Value::as_str);
    match registry.filter(|name| !name.is_empty()) {
        Some(name) if !is_there(name, "REGISTRY") => {
            Err(invalid("definition.docker.image_registry_secret", "does not exist"))
        }
        _ => Ok(()),
    }
}

/// The environment that a process gets: secrets are followed when it is deployed.
pub(super) fn environment(stock: &Stock, definition: &Value) -> BTreeMap<String, String> {
    let value = |entry: &Value| match entry["secret"].as_str() {
        Some(name) => {
            let secret = stock.secrets.values().find(|row| row["name"] == name)?;
            secret["value"].as_str().map(str::to_owned)
        }
        None => entry["value"].as_str().map(str::to_owned),
    };
    let entries = definition["env"].as_array().into_iter().flatten();
    entries.filter_map(|entry| Some((entry["key"].as_str()?.to_owned(), value(entry)?))).collect()
}
