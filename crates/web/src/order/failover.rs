//! Having services serve from a provider that somebody names, and ending that.

use linkflow_model::{FailoverOrder, ProviderName, ServiceName, Timestamp};
use linkflow_store::StoreError;
use serde_json::json;

use super::{Hand, Place, meant};
use crate::operator::{Refusal, Why};
use crate::view::documents;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The provider that is to serve.
    pub to: ProviderName,
    /// The one service that is meant; every one that may run there when `None`.
    pub service: Option<ServiceName>,
    /// For how long, in milliseconds; until it is ended when `None`.
    pub for_ms: Option<u64>,
    /// Whether it is ordered although the provider is known not to serve now.
    pub force: bool,
}

impl Wanted {
    /// In a few words: `fail api over to b`.
    pub fn words(&self) -> String {
        let of = self.service.as_ref().map_or("every service", ServiceName::as_str);
        format!("fail {of} over to {}", self.to)
    }
}

/// Has `wanted` done: the loop moves what is meant as soon as it sees this, and it stays there until the order is over.
///
/// # Errors
/// When none of `places` is meant; when one that is meant is known not to serve there, unless it is forced.
pub async fn order(
    hand: Hand<'_>,
    places: &[Place],
    wanted: &Wanted,
    why: &str,
) -> Result<FailoverOrder, Refusal> {
    hand.noting(&wanted.words(), why, give(hand, places, wanted, why)).await
}

async fn give(
    hand: Hand<'_>,
    places: &[Place],
    wanted: &Wanted,
    why: &str,
) -> Result<FailoverOrder, Refusal> {
    let (to, service) = (&wanted.to, wanted.service.as_ref());
    let unfit = doubts(places, wanted)?;
    if !unfit.is_empty() && !wanted.force {
        let help = "choose another provider; forced, it is done as soon as it serves there";
        return Err(Refusal::new(Why::Forbidden, unfit.join("; "), help));
    }
    let until = wanted.for_ms.map(|ms| Timestamp(hand.now.0.saturating_add(ms)));
    let (to, by, why) = (to.clone(), hand.by.to_owned(), why.to_owned());
    let order = FailoverOrder { to, service: service.cloned(), by, why, at: hand.now, until };
    let key = FailoverOrder::key(service);
    hand.write(&key, &json!(order), &format!("a failover to {}", order.to)).await?;
    let how = if unfit.is_empty() { "" } else { ", as soon as that serves" };
    let said = format!("{} has {}{how}: {}", order.by, said(&order), order.why);
    hand.note(&order.to, service, said).await?;
    Ok(order)
}

/// Why `wanted` is refused unless it is forced: what is known not to serve there now.
///
/// # Errors
/// When none of `places` is meant: that is refused anyway.
pub(crate) fn doubts(places: &[Place], wanted: &Wanted) -> Result<Vec<String>, Refusal> {
    let meant = meant(places, &wanted.to, wanted.service.as_ref())?;
    Ok(meant.into_iter().filter_map(|place| place.unfit.clone()).collect())
}

/// `api serve from b`.
fn said(order: &FailoverOrder) -> String {
    let of = order.service.as_ref().map_or("every service", ServiceName::as_str);
    format!("{of} serve from {}", order.to)
}

/// Ends the order about `service`, or about every one. What is more preferred takes over again when it has been well for as long
/// as the config says.
///
/// # Errors
/// When there is no such order.
pub async fn back(
    hand: Hand<'_>,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<FailoverOrder, Refusal> {
    let of = service.map_or("every service", ServiceName::as_str);
    let what = format!("end the failover of {of}");
    hand.noting(&what, why, end(hand, service, why)).await
}

async fn end(
    hand: Hand<'_>,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<FailoverOrder, Refusal> {
    let key = FailoverOrder::key(service);
    let document = hand.store.read(&key).await?;
    let held = document.and_then(|document| {
        let order = serde_json::from_value::<FailoverOrder>(document.body).ok()?;
        Some((document.version, order))
    });
    let Some((version, order)) = held else {
        let what = match service {
            Some(service) => format!("nobody ordered a failover of {service}"),
            None => "nobody ordered a failover of every service".to_owned(),
        };
        return Err(Refusal::new(Why::Missing, what, ordered(hand).await?));
    };
    match hand.store.remove(&key, version).await {
        Ok(()) => {}
        Err(StoreError::Conflict { .. }) => {
            let what = "somebody else changes this order at this moment";
            return Err(Refusal::new(Why::Busy, what, "look again"));
        }
        Err(error) => return Err(error.into()),
    }
    let of = order.service.as_ref().map_or("every service", ServiceName::as_str);
    let said = format!("{} ends that {of} serves from {}: {why}", hand.by, order.to);
    hand.note(&order.to, service, said).await?;
    Ok(order)
}

/// The orders that hold now.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn held(hand: Hand<'_>) -> Result<Vec<FailoverOrder>, Refusal> {
    let mut all: Vec<FailoverOrder> = documents(hand.store, FailoverOrder::PREFIX).await?;
    all.retain(|order| order.holds(hand.now));
    Ok(all)
}

/// What is ordered, in words.
async fn ordered(hand: Hand<'_>) -> Result<String, Refusal> {
    let words = |order: &FailoverOrder| {
        let of = order.service.as_ref().map_or("every service", ServiceName::as_str);
        format!("{of} to {}", order.to)
    };
    Ok(match held(hand).await?.as_slice() {
        [] => "no failover is ordered".to_owned(),
        all => format!("ordered: {}", all.iter().map(words).collect::<Vec<_>>().join(", ")),
    })
}
