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
    #[error("{0} is acting on this stack")]
    Busy(Box<Owner>),
    /// A provider failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Something that was asked for is not there.
    #[error("{0}")]
    Missing(String),
    /// A rule forbids it.
    #[error("{0}")]
    Refused(String),
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
