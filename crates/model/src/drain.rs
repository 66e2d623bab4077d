//! Providers that are kept free of services on purpose, until somebody lifts it.

use serde::{Deserialize, Serialize};

use crate::{ProviderName, ServiceName, Timestamp};

/// That a provider is drained: nothing serves there while another provider can take it. A document of the store under
/// [`Drain::key`], which goes when it is lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The provider that is left.
    pub provider: ProviderName,
    /// The one service that leaves it; every one when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Who wanted it.
    pub by: String,
    /// Why, in their words.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

impl Drain {
    /// The prefix of the keys of all of them.
    pub const PREFIX: &'static str = "drain/";

    /// The key of the document that says that `service`, or every one, is kept away from `provider`.
    pub fn key(provider: &ProviderName, service: Option<&ServiceName>) -> String {
        match service {
            Some(service) => format!("{}{provider}/{service}", Self::PREFIX),
            None => format!("{}{provider}", Self::PREFIX),
        }
    }

    /// Whether it is about `service`.
    pub fn is_for(&self, service: &ServiceName) -> bool {
        self.service.as_ref().is_none_or(|one| one == service)
    }
}
