//! Why the engine could not.

use linkflow_model::Fault;
use linkflow_store::StoreError;

use crate::Owner;

/// Why the engine could not.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process acts on this stack now.
    #[error("{} (process {} on {}) is acting on this stack", .0.what, .0.pid, .0.host)]
    Busy(Owner),
    /// A provider failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Something that was asked for is not there.
    #[error("{0}")]
    Missing(String),
    /// A definition could not be made.
    #[error("{0}")]
    Render(String),
    /// A document in the store cannot be read.
    #[error("the store holds something unreadable under `{key}`: {why}")]
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
}
