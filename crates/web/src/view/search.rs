//! One search over everything that has a page.

use super::events::{Filter, events};
use super::releases::{releases, runs};
use super::told::{incidents, works};
use crate::Site;
use crate::operator::Refusal;
use crate::shape::shapes;

shapes! {
    /// Something that was found.
    pub struct Found {
        /// What sort of thing: service, route, monitor, incident, maintenance, release, run, event.
        pub kind: String,
        /// What it is called.
        pub name: String,
        /// More of it, in a few words.
        pub about: String,
        /// Its page.
        pub href: String,
    }
}

/// How many of each sort are shown.
const EACH: usize = 20;

/// All that has `text` in it, whatever the case.
pub(crate) async fn search(site: &Site, text: &str) -> Result<Vec<Found>, Refusal> {
    let wanted = text.trim().to_lowercase();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    let mut add = |kind: &str, rows: Vec<(String, String, String)>| {
        let fits = |(name, about, _): &(String, String, String)| {
            name.to_lowercase().contains(&wanted) || about.to_lowercase().contains(&wanted)
        };
        let found = rows.into_iter().filter(fits).take(EACH);
        all.extend(found.map(|(name, about, href)| Found {
            kind: kind.to_owned(),
            name,
            about,
            href,
        }));
    };
    let services = site.operator.services().await?.services;
    let service = |one: &crate::operator::Service| {
        let at = one.active.as_ref().map_or_else(String::new, |at| format!("serves from {at}"));
        (one.service.to_string(), at, format!("/services/{}", one.service))
    };
    add("service", services.iter().map(service).collect());
    let routes = services.iter().flat_map(|one| {
        one.routes
            .iter()
            .map(|r| (r.clone(), format!("leads to {}", one.service), "/routes".into()))
    });
    add("route", routes.collect());
    let watched = site
        .operator
        .watched()
        .into_iter()
        .map(|one| (one.subject.clone(), one.what, format!("/monitors/{}", one.subject)));
    add("monitor", watched.collect());
    let told = incidents(site).await?.into_iter().map(|one| {
        let href = format!("/incidents/{}", one.id);
        (one.id, one.title, href)
    });
    add("incident", told.collect());
    let work = works(site).await?.into_iter().map(|one| (one.id, one.title, "/maintenance".into()));
    add("maintenance", work.collect());
    let released = releases(site)
        .await?
        .into_iter()
        .map(|one| (one.release.to_string(), one.why, format!("/releases#{}", one.release)));
    add("release", released.collect());
    let ran = runs(site).await?.into_iter().map(|one| {
        let href = format!("/runs/{}", one.run);
        (one.run, one.why, href)
    });
    add("run", ran.collect());
    let filter = Filter { text: Some(wanted.clone()), ..Filter::default() };
    let happened = events(site, &filter, EACH).await?.events.into_iter().map(|one| {
        let href = format!("/events?before={}", one.number + 1);
        (format!("event {}", one.number), one.message, href)
    });
    add("event", happened.collect());
    Ok(all)
}
