//! What people order. The pages, the API and the command line give the same orders by the same code; each is a line of the audit
//! before, a document that the process sees, and an event.

pub mod address;
mod document;
pub mod drain;
pub mod failover;
pub mod heartbeat;
pub mod incident;
pub mod work;

use linkflow_model::config::Config;
use linkflow_model::{Event, EventKind, Health, Level, ProviderName, ServiceName, Timestamp};
use linkflow_store::{Store, StoreError};
use serde_json::Value;

use crate::Site;
use crate::door::{at_terminal, doing};
use crate::operator::{PlacementState, Refusal, Services, Why};

/// Who gives an order, when, and where it is kept.
#[derive(Clone, Copy)]
pub struct Hand<'a> {
    /// Where it is kept.
    pub store: &'a dyn Store,
    /// Who gives it.
    pub by: &'a str,
    /// When.
    pub now: Timestamp,
    /// Whether it is given on the terminal of this machine, and not by a request.
    pub terminal: bool,
}

/// A place where a service may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The service.
    pub service: ServiceName,
    /// The provider.
    pub provider: ProviderName,
    /// Why it is known not to serve there now.
    pub unfit: Option<String>,
}

/// The places of `services`, as they stand.
pub fn places(services: &Services) -> Vec<Place> {
    let each = services.services.iter().flat_map(|one| {
        one.placements.iter().map(|held| {
            let (service, provider) = (one.service.clone(), held.provider.clone());
            let is_down = held.health == Health::Down || held.state == PlacementState::Failed;
            let unfit = match &held.drained {
                Some(by) => Some(format!("{provider} is drained by {by}")),
                None if held.state == PlacementState::Absent => {
                    Some(format!("{service} is not deployed on {provider}"))
                }
                None if is_down => Some(format!("{service} is down on {provider} ({})", held.why)),
                None => None,
            };
            Place { service, provider, unfit }
        })
    });
    each.collect()
}

/// The places that the config names. How they stand is not known.
pub fn places_of_config(config: &Config) -> Vec<Place> {
    let each = config.services.iter().flat_map(|(service, one)| {
        let place = |provider: &ProviderName| Place {
            service: service.clone(),
            provider: provider.clone(),
            unfit: None,
        };
        one.runs_on.iter().map(place).collect::<Vec<_>>()
    });
    each.collect()
}

/// Those of `places` at `provider` that an order about `service`, or about every one, is about.
///
/// # Errors
/// When there are none.
fn meant<'a>(
    places: &'a [Place],
    provider: &ProviderName,
    service: Option<&ServiceName>,
) -> Result<Vec<&'a Place>, Refusal> {
    let is_meant = |place: &&Place| {
        place.provider == *provider && service.is_none_or(|one| *one == place.service)
    };
    let meant: Vec<&Place> = places.iter().filter(is_meant).collect();
    if !meant.is_empty() {
        return Ok(meant);
    }
    let (what, of): (String, Vec<&str>) = match service {
        Some(one) => {
            let own = places.iter().filter(|place| place.service == *one);
            (
                format!("{one} may not run on `{provider}`"),
                own.map(|p| p.provider.as_str()).collect(),
            )
        }
        None => {
            let mut all: Vec<&str> = places.iter().map(|place| place.provider.as_str()).collect();
            all.sort_unstable();
            all.dedup();
            (format!("no service may run on `{provider}`"), all)
        }
    };
    let help = match of.as_slice() {
        [] => "`runs_on` of a service names where it may run".to_owned(),
        all => format!("`runs_on` names {}", all.join(", ")),
    };
    Err(Refusal::new(Why::Missing, what, help))
}

impl<'a> Hand<'a> {
    /// That of `by`, who asks at `site` now.
    pub(crate) fn of(site: &'a Site, by: &'a str) -> Self {
        Self { store: &*site.store, by, now: site.clock.wall(), terminal: false }
    }
}

impl Hand<'_> {
    /// Carries out `act`, which is called `what`: its line of the audit is written before, and completed after, at the terminal
    /// here and of a request by what stands around that.
    async fn noting<R>(
        &self,
        what: &str,
        why: &str,
        act: impl Future<Output = Result<R, Refusal>>,
    ) -> Result<R, Refusal> {
        if self.terminal {
            return at_terminal(self.store, (self.by, self.now), (what, why), act).await;
        }
        doing(what, why).await;
        act.await
    }

    /// What is not there: `list` is the command, and the path of the API, that shows what is.
    fn missing(&self, what: &str, id: &str, list: [&str; 2]) -> Refusal {
        let list = if self.terminal { list[0] } else { list[1] };
        let what = format!("there is no {what} `{id}`");
        Refusal::new(Why::Missing, what, format!("`{list}` shows all"))
    }

    /// Writes an order in the place of what was there.
    async fn write(&self, key: &str, order: &Value, what: &str) -> Result<(), Refusal> {
        let held = self.store.read(key).await?.map(|document| document.version);
        match self.store.write(key, held, order, None).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                let what = format!("somebody else orders {what} at this moment");
                Err(Refusal::new(Why::Busy, what, "look again"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes what was ordered, for the timeline.
    async fn note(
        &self,
        provider: &ProviderName,
        service: Option<&ServiceName>,
        said: String,
    ) -> Result<(), Refusal> {
        let mut event = Event::new(self.now, EventKind::Control, Level::Notice, said);
        (event.provider, event.service) = (Some(provider.clone()), service.cloned());
        self.store.append(&event).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
