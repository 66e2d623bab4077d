//! The Docker engine of this machine: containers without any account, without SSH.
//!
//! It is the adapter for servers, with a shell of this machine in place of SSH.

use std::collections::BTreeMap;

use linkflow_model::role::Compute;
use linkflow_model::{ProviderName, StackName};

use super::server::Machine;
pub use super::server::{Network, Place};
use crate::kit::Kit;

/// What the engine of this machine needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What `docker` finds in its environment: `PATH`, `HOME`, and `DOCKER_HOST` or `DOCKER_CONTEXT` where they are
    /// set. Nothing else of LinkFlow's environment reaches it, and none of it reaches a container.
    pub env: BTreeMap<String, String>,
    /// How containers are placed.
    pub place: Place,
}

pub(super) fn open(
    settings: Settings,
    kit: &Kit,
    stack: &StackName,
    provider: &ProviderName,
) -> impl Compute + 'static {
    Machine::here(settings.env, settings.place, kit, stack, provider)
}
