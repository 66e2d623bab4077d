//! Vendors that watch from outside, wait for heartbeats, or show the status page.
//!
//! What is ours is said by a tag where a vendor has tags, and otherwise by a mark in what people read least: at the end
//! of a name, as the description of a component, under the first text of an incident.

use linkflow_model::StackName;

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
