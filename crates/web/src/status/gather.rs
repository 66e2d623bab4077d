//! From the store and the config to a [`Page`].

use std::collections::{BTreeMap, BTreeSet};

use linkflow_model::config::{Config, StatusPage};
use linkflow_model::{Incident, Maintenance, StateSpan, Timestamp};
use linkflow_store::{Step, Store, StoreError};
use serde::de::DeserializeOwned;

use super::merge::merge;
use super::page::{Component, Latency, Page, Subscribing};

/// How far back a component's history goes: twelve months, and the month that is not over.
const HISTORY_MS: u64 = 400 * 86_400_000;

/// How far back response times go, and how long a span of them is.
const LATENCY_MS: u64 = 86_400_000;
const LATENCY_STEP_MS: u64 = 1_800_000;

/// What the page looks like beside what the config says: files that were read already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The logo, as a `data:` address.
    pub logo: Option<String>,
}

/// Why a page could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The store says no.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A document is not what it should be.
    #[error("{key} cannot be read: {why}")]
    Unread {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
}

/// The page of `config` as it is at `now`. Without a `[status_page]` it has no component and says so.
///
/// # Errors
/// When the store cannot be read.
pub async fn gather(
    store: &dyn Store,
    config: &Config,
    look: &Look,
    now: Timestamp,
) -> Result<Page, GatherError> {
    let settings = config.status_page.as_ref();
    let mut incidents: Vec<Incident> = documents(store, Incident::PREFIX).await?;
    incidents.retain(|incident| incident.public);
    for incident in &mut incidents {
        incident.updates.retain(|update| update.public);
    }
    incidents.sort_by(|a, b| b.began.cmp(&a.began).then(b.id.cmp(&a.id)));
    let mut maintenance: Vec<Maintenance> = documents(store, Maintenance::PREFIX).await?;
    maintenance.sort_by(|a, b| b.from.cmp(&a.from).then(b.id.cmp(&a.id)));
    let mut page = empty(config, settings, look, now);
    for (name, subjects, group) in lines(settings) {
        let id = unique(&slug(name), |id| page.components.iter().any(|one| one.id == id));
        let component = component(store, id, name, subjects, group, &maintenance, now).await?;
        page.components.push(component);
    }
    Ok(Page { incidents, maintenance, ..page })
}

fn empty(config: &Config, settings: Option<&StatusPage>, look: &Look, now: Timestamp) -> Page {
    let title = settings.and_then(|page| page.title.clone());
    let zone = settings.map(|page| &page.time_zone);
    Page {
        title: title.unwrap_or_else(|| config.stack.name.to_string()),
        host: settings.and_then(|page| page.host.as_ref()).map(|host| host.0.clone()),
        zone: zone.map_or(jiff::tz::TimeZone::UTC, linkflow_model::config::Zone::rules),
        zone_name: zone.map_or_else(|| "UTC".to_owned(), |zone| zone.0.clone()),
        now,
        languages: languages(settings),
        partial_counts: config.partial_counts(),
        logo: look.logo.clone(),
        colour: settings.and_then(|page| page.colour).map(|colour| colour.to_string()),
        links: settings
            .map(|page| page.links.iter().map(|l| (l.name.clone(), l.url.0.clone())).collect())
            .unwrap_or_default(),
        hidden: settings.is_some_and(|page| page.hidden),
        subscribe: subscribing(config),
        components: Vec::new(),
        incidents: Vec::new(),
        maintenance: Vec::new(),
    }
}

/// Where forms are posted, and whether a mailbox or a phone may be told.
fn subscribing(config: &Config) -> Option<Subscribing> {
    let subscribe = config.status_page.as_ref()?.subscribe.as_ref()?;
    let at = subscribe.at.0.trim_end_matches('/').to_owned();
    Some(Subscribing { at, mail: config.mail.is_some(), phone: subscribe.sms_per_day > 0 })
}

/// The languages, each once.
fn languages(settings: Option<&StatusPage>) -> Vec<linkflow_model::config::Language> {
    let mut seen = BTreeSet::new();
    let named = settings.map(|page| page.languages.to_vec()).unwrap_or_default();
    let mut languages: Vec<_> = named.into_iter().filter(|one| seen.insert(*one)).collect();
    if languages.is_empty() {
        languages.push(super::FALLBACK);
    }
    languages
}

fn lines(
    settings: Option<&StatusPage>,
) -> impl Iterator<Item = (&str, Vec<String>, Option<String>)> {
    let components = settings.into_iter().flat_map(|page| &page.components);
    components.map(|one| (one.name.as_str(), one.watch.to_vec(), one.group.clone()))
}

/// A line of the page as the config names it.
pub(crate) struct Named {
    /// Its name in addresses.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// What decides how it is.
    pub(crate) subjects: Vec<String>,
}

/// The lines of the page of `config`, in order, without looking anything up.
pub(crate) fn named(config: &Config) -> Vec<Named> {
    let mut all: Vec<Named> = Vec::new();
    for (name, subjects, _) in lines(config.status_page.as_ref()) {
        let id = unique(&slug(name), |id| all.iter().any(|one| one.id == id));
        all.push(Named { id, name: name.to_owned(), subjects });
    }
    all
}

async fn component(
    store: &dyn Store,
    id: String,
    name: &str,
    subjects: Vec<String>,
    group: Option<String>,
    work: &[Maintenance],
    now: Timestamp,
) -> Result<Component, GatherError> {
    let oldest = Timestamp(now.0.saturating_sub(HISTORY_MS));
    let mut histories = Vec::new();
    let mut latency = Vec::new();
    for subject in &subjects {
        let mut spans: Vec<StateSpan> = documents(store, &StateSpan::prefix(subject)).await?;
        spans.retain(|span| span.to.is_none_or(|to| to > oldest));
        histories.push((subject.as_str(), spans));
        if latency.is_empty() {
            latency = measured(store, subject, now).await?;
        }
    }
    let stretches = merge(&histories, work, now);
    Ok(Component { id, name: name.to_owned(), group, stretches, latency, subjects })
}

/// How fast `subject` answered during the last day.
async fn measured(
    store: &dyn Store,
    subject: &str,
    now: Timestamp,
) -> Result<Vec<Latency>, GatherError> {
    // Steps begin at whole half hours, so that the line does not tremble from minute to minute.
    let end = now.0 - now.0 % LATENCY_STEP_MS + LATENCY_STEP_MS;
    let from = Timestamp(end.saturating_sub(LATENCY_MS));
    let minutes = store.rollups(subject, Step::Minute, from, Timestamp(end)).await?;
    let mut steps: BTreeMap<u64, (u64, u64, u32)> = BTreeMap::new();
    for minute in minutes.iter().filter(|minute| minute.took.count > 0) {
        let took = &minute.took;
        let step = steps.entry(minute.at.0 - minute.at.0 % LATENCY_STEP_MS).or_default();
        *step = (step.0 + took.count, step.1 + took.sum_us, step.2.max(took.max_us));
    }
    let latency = steps.into_iter().map(|(at, (count, sum_us, max_us))| Latency {
        at: Timestamp(at),
        mean: sum_us as f64 / count as f64 / 1_000.0,
        longest: f64::from(max_us) / 1_000.0,
    });
    Ok(latency.collect())
}

async fn documents<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<T>, GatherError> {
    let documents = store.list(prefix).await?.into_iter();
    let read = documents.map(|document| {
        let why = |error: serde_json::Error| GatherError::Unread {
            key: document.key.clone(),
            why: error.to_string(),
        };
        serde_json::from_value(document.body).map_err(why)
    });
    read.collect()
}

/// `name` as a part of an address: small letters, digits and hyphens.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "component".to_owned() } else { slug.to_owned() }
}

/// `id`, or with a number behind it when it is taken.
fn unique(id: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let is_free = |id: &str| !is_taken(id);
    if is_free(id) {
        return id.to_owned();
    }
    let numbered = (2..).map(|n: usize| format!("{id}-{n}"));
    numbered.into_iter().find(|id| is_free(id)).unwrap_or_default()
}
