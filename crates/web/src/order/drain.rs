//! Keeping a provider free of services, and letting them run there again.

use linkflow_model::{Drain, ProviderName, ServiceName};
use serde_json::json;

use super::{Hand, Place, meant};
use crate::operator::{Refusal, Why};
use crate::view::documents;

/// Keeps `service`, or every one, away from `provider`. The loop moves what serves there as soon as it sees this.
///
/// # Errors
/// When none of `places` is meant, or the store says no.
pub async fn drain(
    hand: Hand<'_>,
    places: &[Place],
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drain, Refusal> {
    let act = keep_away(hand, places, provider, service, why);
    hand.noting(&words("drain", provider, service), why, act).await
}

/// `drain fly`, `drain fly of api`.
fn words(verb: &str, provider: &ProviderName, service: Option<&ServiceName>) -> String {
    let of = service.map(|service| format!(" of {service}")).unwrap_or_default();
    format!("{verb} {provider}{of}")
}

async fn keep_away(
    hand: Hand<'_>,
    places: &[Place],
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drain, Refusal> {
    meant(places, provider, service)?;
    let drain = Drain {
        provider: provider.clone(),
        service: service.cloned(),
        by: hand.by.to_owned(),
        why: why.to_owned(),
        at: hand.now,
    };
    let key = Drain::key(provider, service);
    hand.write(&key, &json!(drain), &format!("a drain of {provider}")).await?;
    let by = hand.by;
    let said = match service {
        Some(service) => format!("{by} keeps {service} away from {provider}: {why}"),
        None => format!("{by} drains {provider}: {why}"),
    };
    hand.note(provider, service, said).await?;
    Ok(drain)
}

/// Lets services run on `provider` again. They come back when it has been well for as long as the config says.
///
/// # Errors
/// When there is no such drain, or the store says no.
pub async fn lift(
    hand: Hand<'_>,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drain, Refusal> {
    let act = let_back(hand, provider, service, why);
    hand.noting(&words("undrain", provider, service), why, act).await
}

async fn let_back(
    hand: Hand<'_>,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drain, Refusal> {
    let document = hand.store.read(&Drain::key(provider, service)).await?;
    let held = document.and_then(|document| {
        let drain = serde_json::from_value::<Drain>(document.body).ok()?;
        Some((document.version, drain))
    });
    let Some((version, drain)) = held else {
        let what = match service {
            Some(service) => format!("{service} is not kept away from `{provider}` alone"),
            None => format!("`{provider}` is not drained"),
        };
        return Err(Refusal::new(Why::Missing, what, drained(hand).await?));
    };
    hand.store.remove(&Drain::key(provider, service), version).await?;
    let by = hand.by;
    let said = match service {
        Some(service) => format!("{by} lets {service} run on {provider} again: {why}"),
        None => format!("{by} lets services run on {provider} again: {why}"),
    };
    hand.note(provider, service, said).await?;
    Ok(drain)
}

/// What is drained, in words.
async fn drained(hand: Hand<'_>) -> Result<String, Refusal> {
    let all: Vec<Drain> = documents(hand.store, Drain::PREFIX).await?;
    let words = |drain: &Drain| match &drain.service {
        Some(service) => format!("{} for {service}", drain.provider),
        None => drain.provider.to_string(),
    };
    Ok(match all.as_slice() {
        [] => "nothing is drained".to_owned(),
        all => format!("drained: {}", all.iter().map(words).collect::<Vec<_>>().join(", ")),
    })
}
