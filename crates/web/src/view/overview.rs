//! The one screen: services on providers, what is wrong, where visitors go, what runs.

use std::collections::BTreeSet;

use super::drains::{Drained, drains};
use super::failovers::{Ordered, failovers};
use super::releases::{ReleaseRow, RunRow, releases, runs};
use super::told::{IncidentRow, Work, incidents, works};
use crate::Site;
use crate::operator::{Refusal, Service, Services, Silent, Traffic, Tried, Usage, Used};
use crate::shape::shapes;

shapes! {
    /// How everything stands.
    pub struct Status {
        /// The name of the stack.
        pub stack: String,
        /// When this was so, in milliseconds since 1970.
        pub at: u64,
        /// The release that is live.
        pub live: Option<ReleaseRow>,
        /// The run that is under way.
        pub running: Option<RunRow>,
        /// The services on their providers.
        pub services: Vec<Service>,
        /// Every provider that a service may run on, in the order in which they are first named.
        pub providers: Vec<String>,
        /// Providers whose API does not answer.
        pub silent: Vec<Silent>,
        /// Providers that are kept free of services.
        pub drained: Vec<Drained>,
        /// Services that serve from where somebody asked for them.
        pub failovers: Vec<Ordered>,
        /// Incidents that are not over.
        pub incidents: Vec<IncidentRow>,
        /// Work that is under way or comes within a week, the soonest first; of what comes again, its next time alone.
        pub maintenance: Vec<Work>,
        /// Allowances of which little is left.
        pub quotas: Vec<Quota>,
        /// Ways by which nobody could be told what was to be told last.
        pub untold: Vec<Tried>,
        /// How many things differ from the live release; what a run is about to change counts, too.
        pub differs: u64,
    }

    /// An allowance of which little is left.
    pub struct Quota {
        /// The provider.
        pub provider: String,
        /// What was used of it.
        pub used: Used,
    }
}

/// Work that is shown before it begins, in milliseconds.
const SOON_MS: u64 = 7 * 86_400_000;

/// How everything stands now.
pub(crate) async fn status(site: &Site) -> Result<Status, Refusal> {
    let now = site.clock.wall();
    let Services { live, services, silent } = site.operator.services().await?;
    let mut providers: Vec<String> = Vec::new();
    for placement in services.iter().flat_map(|service| &service.placements) {
        let name = placement.provider.to_string();
        if !providers.contains(&name) {
            providers.push(name);
        }
    }
    let released = releases(site).await?;
    let running = runs(site).await?.into_iter().find(|run| run.state == "running");
    let open = incidents(site).await?.into_iter().filter(|one| one.open);
    Ok(Status {
        stack: site.config.stack.name.to_string(),
        at: now.0,
        live: released.into_iter().find(|release| Some(release.release) == live),
        running,
        services,
        providers,
        silent,
        drained: drains(site).await?,
        failovers: failovers(site).await?,
        incidents: open.collect(),
        maintenance: near(works(site).await?, now.0),
        quotas: quotas(site.operator.usage()),
        untold: site.operator.untold(),
        differs: site.operator.drift().await?.count(),
    })
}

/// What of `works` is under way at `now` or comes within a week, the soonest first. A window that comes again is there once.
fn near(mut works: Vec<Work>, now: u64) -> Vec<Work> {
    let soon = now.saturating_add(SOON_MS);
    works.retain(|work| !work.cancelled && work.to > now && work.from < soon);
    works.sort_by_key(|work| work.from);
    let mut windows = BTreeSet::new();
    works.retain(|work| work.window.as_ref().is_none_or(|name| windows.insert(name.clone())));
    works
}

fn quotas(usage: Usage) -> Vec<Quota> {
    let each = usage.providers.into_iter().flat_map(|one| {
        let provider = one.provider.to_string();
        let much = one.used.into_iter().filter(|used| used.much);
        much.map(move |used| Quota { provider: provider.clone(), used })
    });
    each.collect()
}

/// The service called `name`.
pub(crate) async fn service(site: &Site, name: &str) -> Result<Service, Refusal> {
    let all = site.operator.services().await?.services;
    let found = all.into_iter().find(|service| service.service.as_str() == name);
    found.ok_or_else(|| super::missing("service", name, "/api/v1/services"))
}

/// What visitors asked for of late.
pub(crate) fn traffic(site: &Site, service: Option<&str>) -> Traffic {
    let mut traffic = site.operator.traffic();
    if let Some(name) = service {
        traffic.routes.retain(|r| r.service.as_ref().is_some_and(|one| one.as_str() == name));
        traffic.targets.retain(|target| target.service.as_str() == name);
    }
    traffic
}
