//! Why somebody was not let in, or something about access could not be changed.

use linkflow_store::StoreError;

/// Why something about access could not be done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AccessError {
    /// It was refused; a sentence for whoever asked.
    #[error("{0}")]
    Refused(String),
    /// So many passwords are being checked already that another one has to wait.
    #[error("too many people sign in at once: try again in a few seconds")]
    Busy,
    /// The machine gave no random bytes.
    #[error("the machine gave no random numbers")]
    NoRandom,
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AccessError {
    /// Refused, with this sentence.
    pub(super) fn no(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }
}
