//! Errors of the product itself, as a vendor collects them.

use async_trait::async_trait;

use crate::{Fault, ProviderName, Timestamp};

/// Errors that are one and the same, as the vendor groups them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorIssue {
    /// The vendor's id.
    pub id: String,
    /// What people call it: `SHOP-1F`.
    pub short: String,
    /// One line, as the product said it: not to be trusted with anything but being read.
    pub title: String,
    /// How bad, in the vendor's word: `error`, `fatal`.
    pub level: String,
    /// Whether nobody has resolved or archived it.
    pub is_open: bool,
    /// When it was seen last, where the vendor says so.
    pub last_seen: Option<Timestamp>,
    /// Where people read of it.
    pub link: String,
}

/// Asks whoever collects errors. Nothing is changed there.
#[async_trait]
pub trait Errors: Send + Sync {
    /// Its name in the config, which its faults carry.
    fn name(&self) -> &ProviderName;

    /// The issue `id`; `None` where there is none.
    async fn issue(&self, id: &str) -> Result<Option<ErrorIssue>, Fault>;

    /// Whether the token is taken, and reads what it has to.
    async fn reach(&self) -> Result<(), Fault>;
}
