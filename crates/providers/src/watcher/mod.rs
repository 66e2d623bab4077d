//! Vendors that watch from outside, wait for heartbeats, or show the status page.
//!
//! What is ours is said by a tag where a vendor has tags, and otherwise by a mark in what people read least: at the end
//! of a name, as the description of a component, under the first text of an incident. What tells us of it, a webhook, is
//! entered beside them.

use linkflow_model::StackName;
use serde_json::Value;

crate::catalogue::catalogue! {
    Watcher:
    uptimerobot => Uptimerobot,
    betterstack => Betterstack,
    cronitor => Cronitor,
    healthchecks => Healthchecks,
    instatus => Instatus,
}

/// What marks something as this stack's where there are tags: `linkflow-shop`.
fn tag(stack: &StackName) -> String {
    format!("linkflow-{stack}")
}

/// What marks something as this stack's within a text: `linkflow:shop`.
fn mark(stack: &StackName) -> String {
    format!("linkflow:{stack}")
}

/// Masks every text under one of `names` in `body`, however deep: addresses and keys of integrations are secrets, and those
/// that people made come with ours.
fn hidden(body: &mut Value, names: &[&str]) {
    match body {
        Value::Array(items) => items.iter_mut().for_each(|item| hidden(item, names)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if names.contains(&name.as_str()) { mask(value) } else { hidden(value, names) }
            }
        }
        _ => {}
    }
}

/// Masks every text of `value`. Types stay what they are.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) => "***".clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => fields.values_mut().for_each(mask),
        _ => {}
    }
}

/// The answer to a removal: what is not there is removed.
fn gone(
    answer: Result<crate::kit::Answer, linkflow_model::Fault>,
) -> Result<(), linkflow_model::Fault> {
    match answer {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == linkflow_model::FaultKind::Missing => Ok(()),
        Err(fault) => Err(fault),
    }
}
