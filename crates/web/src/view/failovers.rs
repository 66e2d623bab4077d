//! Services that serve from where somebody asked for them: which, and how people say so and end it.

use linkflow_model::{FailoverOrder, ProviderName, ServiceName};

use crate::Site;
use crate::operator::Refusal;
use crate::order::failover::{self, Wanted};
use crate::order::{self, Hand};
use crate::shape::shapes;

shapes! {
    /// That somebody wants services to serve from a provider, whatever they prefer.
    pub struct Ordered {
        /// The provider.
        pub to: ProviderName,
        /// The one service that is meant; every one that may run there when there is none.
        pub service: Option<ServiceName>,
        /// Who wanted it.
        pub by: String,
        /// Why.
        pub why: String,
        /// Since when, in milliseconds since 1970.
        pub at: u64,
        /// Until when, in milliseconds since 1970; until it is ended when there is none.
        pub until: Option<u64>,
    }
}

impl From<FailoverOrder> for Ordered {
    fn from(order: FailoverOrder) -> Self {
        let FailoverOrder { to, service, by, why, at, until } = order;
        Self { to, service, by, why, at: at.0, until: until.map(|until| until.0) }
    }
}

/// The orders that hold now.
pub(crate) async fn failovers(site: &Site) -> Result<Vec<Ordered>, Refusal> {
    let all = failover::held(Hand::of(site, "")).await?;
    Ok(all.into_iter().map(Ordered::from).collect())
}

/// Why `wanted` would be refused, unless it is forced.
///
/// # Errors
/// When it would be refused anyway.
pub(crate) async fn doubts(site: &Site, wanted: &Wanted) -> Result<Vec<String>, Refusal> {
    let places = order::places(&site.operator.services().await?);
    failover::doubts(&places, wanted)
}

/// Has `wanted` done.
pub(crate) async fn fail_over(
    site: &Site,
    by: &str,
    wanted: &Wanted,
    why: &str,
) -> Result<Ordered, Refusal> {
    let places = order::places(&site.operator.services().await?);
    Ok(failover::order(Hand::of(site, by), &places, wanted, why).await?.into())
}

/// Ends the order about `service`, or about every one.
pub(crate) async fn back(
    site: &Site,
    by: &str,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Ordered, Refusal> {
    Ok(failover::back(Hand::of(site, by), service, why).await?.into())
}
