//! Providers that are kept free of services: which, and how people say so and lift it.

use linkflow_model::{Drain, ProviderName, ServiceName};

use super::documents;
use crate::Site;
use crate::operator::Refusal;
use crate::order::{self, Hand};
use crate::shape::shapes;

shapes! {
    /// A provider that is kept free of services.
    pub struct Drained {
        /// The provider.
        pub provider: ProviderName,
        /// The one service that is kept away; every one when there is none.
        pub service: Option<ServiceName>,
        /// Who wanted it.
        pub by: String,
        /// Why.
        pub why: String,
        /// Since when, in milliseconds since 1970.
        pub at: u64,
    }
}

impl From<Drain> for Drained {
    fn from(drain: Drain) -> Self {
        let Drain { provider, service, by, why, at } = drain;
        Self { provider, service, by, why, at: at.0 }
    }
}

/// Providers that are kept free of services.
pub(crate) async fn drains(site: &Site) -> Result<Vec<Drained>, Refusal> {
    let all: Vec<Drain> = documents(&*site.store, Drain::PREFIX).await?;
    Ok(all.into_iter().map(Drained::from).collect())
}

/// Keeps `service`, or every one, away from `provider`.
pub(crate) async fn drain(
    site: &Site,
    by: &str,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drained, Refusal> {
    let places = order::places(&site.operator.services().await?);
    let hand = Hand::of(site, by);
    Ok(order::drain::drain(hand, &places, provider, service, why).await?.into())
}

/// Lets services run on `provider` again.
pub(crate) async fn lift(
    site: &Site,
    by: &str,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drained, Refusal> {
    Ok(order::drain::lift(Hand::of(site, by), provider, service, why).await?.into())
}
