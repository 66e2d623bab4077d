//! Calling web addresses that strangers gave.

use async_trait::async_trait;

use crate::{Fault, Secret};

/// One request to somebody's web address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// The whole address.
    pub url: String,
    /// The body, JSON.
    pub body: String,
    /// What it is signed with.
    pub secret: Secret,
}

/// Calls web addresses that strangers gave.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Sends `call`, and gives the first kilobytes of what was answered.
    ///
    /// # Errors
    /// A [`Fault`]: [`Denied`](crate::FaultKind::Denied) when the address leads where strangers must not send us,
    /// [`Unclear`](crate::FaultKind::Unclear) when the request may have arrived.
    async fn call(&self, call: &HookCall) -> Result<String, Fault>;
}
