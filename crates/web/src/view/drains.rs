//! Providers that are kept free of services: which, and how people say so and lift it.

use linkflow_model::{Drain, Event, EventKind, Level, ProviderName, ServiceName};
use linkflow_store::StoreError;
use serde_json::json;

use super::documents;
use crate::Site;
use crate::door::doing;
use crate::operator::{Refusal, Why};
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

/// Keeps `service`, or every one, away from `provider`. The loop moves what serves there as soon as it sees this.
pub(crate) async fn drain(
    site: &Site,
    by: &str,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drained, Refusal> {
    doing(words("drain", provider, service), why).await;
    let services = site.operator.services().await?.services;
    let meant = |name: &ServiceName| service.is_none_or(|one| one == name);
    let may = services.iter().filter(|one| meant(&one.service));
    if !may.flat_map(|one| &one.placements).any(|held| held.provider == *provider) {
        let what = match service {
            Some(service) => format!("{service} may not run on `{provider}` anyway"),
            None => format!("no service may run on `{provider}`"),
        };
        return Err(Refusal::new(Why::Missing, what, "/api/v1/services lists what may run where"));
    }
    let drain = Drain {
        provider: provider.clone(),
        service: service.cloned(),
        by: by.to_owned(),
        why: why.to_owned(),
        at: site.clock.wall(),
    };
    let key = Drain::key(provider, service);
    let held = site.store.read(&key).await?.map(|document| document.version);
    match site.store.write(&key, held, &json!(drain), None).await {
        Ok(_) => {}
        Err(StoreError::Conflict { .. }) => {
            let what = format!("somebody else drains {provider} at this moment");
            return Err(Refusal::new(Why::Busy, what, "look again"));
        }
        Err(error) => return Err(error.into()),
    }
    let said = match service {
        Some(service) => format!("{by} keeps {service} away from {provider}: {why}"),
        None => format!("{by} drains {provider}: {why}"),
    };
    note(site, provider, service, said).await?;
    Ok(drain.into())
}

/// Lets services run on `provider` again. They come back when it has been well for as long as the config says.
pub(crate) async fn lift(
    site: &Site,
    by: &str,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    why: &str,
) -> Result<Drained, Refusal> {
    doing(words("undrain", provider, service), why).await;
    let key = Drain::key(provider, service);
    let document = site.store.read(&key).await?;
    let held = document.and_then(|document| {
        let drain = serde_json::from_value::<Drain>(document.body).ok()?;
        Some((document.version, drain))
    });
    let Some((version, drain)) = held else {
        let what = match service {
            Some(service) => format!("nobody keeps {service} away from `{provider}`"),
            None => format!("`{provider}` is not drained"),
        };
        return Err(Refusal::new(Why::Missing, what, "/api/v1/drains lists what is"));
    };
    site.store.remove(&key, version).await?;
    let said = match service {
        Some(service) => format!("{by} lets {service} run on {provider} again: {why}"),
        None => format!("{by} lets services run on {provider} again: {why}"),
    };
    note(site, provider, service, said).await?;
    Ok(drain.into())
}

/// `drain fly`, `drain fly of api`.
fn words(verb: &str, provider: &ProviderName, service: Option<&ServiceName>) -> String {
    let of = service.map(|service| format!(" of {service}")).unwrap_or_default();
    format!("{verb} {provider}{of}")
}

async fn note(
    site: &Site,
    provider: &ProviderName,
    service: Option<&ServiceName>,
    said: String,
) -> Result<(), Refusal> {
    let mut event = Event::new(site.clock.wall(), EventKind::Control, Level::Notice, said);
    (event.provider, event.service) = (Some(provider.clone()), service.cloned());
    site.store.append(&event).await?;
    Ok(())
}
