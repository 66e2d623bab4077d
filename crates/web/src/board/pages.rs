//! The pages that are read.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use linkflow_model::access::Scope;
use linkflow_model::{Level, ServiceName};
use serde::Deserialize;

use super::chart::{Chart, draw};
use super::{Shown, within};
use crate::Site;
use crate::frame::{Frame, show};
use crate::operator::{Alerts, Certificate, Drift, Placement, Service, Traffic, Usage, Watched};
use crate::view::addresses::{Address, addresses as reporting};
use crate::view::events::{Events, Filter, Happened, events as happened};
use crate::view::monitors::{Monitor, RANGES, history, monitor as gathered, monitors as watched};
use crate::view::overview::{Status, service as one_service, status, traffic};
use crate::view::releases::{ReleaseRow, Run, RunRow, releases as released, run as one_run, runs};
use crate::view::search::{Found, search as find};
use crate::view::told::{
    IncidentRow, IncidentView, WindowRow, Work, incident as one_incident,
    incidents as all_incidents, windows, works,
};

type Of = State<Arc<Site>>;

/// Whether whoever looks may change things.
fn operates(frame: &Frame) -> bool {
    frame.caller.as_ref().is_some_and(|caller| caller.may(Scope::Operate))
}

/// A service in the grid: one cell for each provider.
struct GridRow {
    service: Service,
    cells: Vec<Option<Placement>>,
}

#[derive(Template)]
#[template(path = "board/overview.html")]
struct OverviewPage {
    frame: Frame,
    operates: bool,
    now: crate::frame::At,
    status: Status,
    grid: Vec<GridRow>,
    traffic: Traffic,
    trouble: Vec<Watched>,
    /// How many open incidents and how many monitors in trouble are not shown.
    more: (usize, usize),
    watched: usize,
}

/// How many incidents, and how many monitors, the first page shows at most: in a storm it is to be there at once, too.
const FIRST: usize = 20;

/// How many incidents that are over are on a page.
const OVER: usize = 50;

/// How much announced work is on a page, the latest of it.
const WORKS: usize = 100;

/// Leaves the first `most`; says how many there were beyond.
fn shorten<T>(all: &mut Vec<T>, most: usize) -> usize {
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    more
}

pub(super) async fn overview(State(site): Of, frame: Frame) -> Shown {
    let mut status = status(&site).await.map_err(within(&frame))?;
    let providers = &status.providers;
    let services = std::mem::take(&mut status.services);
    let grid = services.into_iter().map(|service| {
        let on = |name: &String| service.placements.iter().find(|p| p.provider.as_str() == name);
        let cells = providers.iter().map(|name| on(name).cloned()).collect();
        GridRow { service, cells }
    });
    let grid = grid.collect();
    let all = watched(&site);
    let count = all.len();
    let trouble = all.into_iter().filter(|one| one.condition > linkflow_model::Condition::Unknown);
    let mut trouble: Vec<Watched> = trouble.collect();
    let more = (shorten(&mut status.incidents, FIRST), shorten(&mut trouble, FIRST));
    let page = OverviewPage {
        operates: operates(&frame),
        now: crate::frame::At::new(linkflow_model::Timestamp(status.at)),
        grid,
        traffic: traffic(&site, None),
        trouble,
        more,
        watched: count,
        status,
        frame,
    };
    Ok(show(StatusCode::OK, &page))
}

#[derive(Template)]
#[template(path = "board/service.html")]
struct ServicePage {
    frame: Frame,
    operates: bool,
    service: Service,
    traffic: Traffic,
    monitors: Vec<Watched>,
    incidents: Vec<IncidentRow>,
    events: Vec<Happened>,
}

pub(super) async fn service(State(site): Of, frame: Frame, Path(name): Path<String>) -> Shown {
    let able = within(&frame);
    let service = one_service(&site, &name).await.map_err(&able)?;
    let own = [format!("service.{name}"), format!("monitor.{name}")];
    let monitors: Vec<Watched> = watched(&site)
        .into_iter()
        .filter(|one| own.contains(&one.subject) || one.needs.contains(&own[0]))
        .collect();
    let about = |incident: &IncidentRow| incident.subjects.iter().any(|s| own.contains(s));
    let incidents = all_incidents(&site).await.map_err(&able)?;
    let filter = Filter { service: Some(name.clone()), ..Filter::default() };
    let events = happened(&site, &filter, 20).await.map_err(&able)?.events;
    let page = ServicePage {
        operates: operates(&frame),
        traffic: traffic(&site, Some(&name)),
        incidents: incidents.into_iter().filter(about).take(10).collect(),
        service,
        monitors,
        events,
        frame: frame.clone(),
    };
    Ok(show(StatusCode::OK, &page))
}

#[derive(Template)]
#[template(path = "board/routes.html")]
struct RoutesPage {
    frame: Frame,
    traffic: Traffic,
}

pub(super) async fn routes(State(site): Of, frame: Frame) -> Shown {
    Ok(show(StatusCode::OK, &RoutesPage { traffic: traffic(&site, None), frame }))
}

/// What a form asks for: a field that was left empty says nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    q: String,
    tag: String,
    condition: String,
    level: String,
    service: String,
    provider: String,
    before: String,
    days: String,
    state: String,
}

fn said(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The word that a form means by `text`.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::json!(text)).ok()
}

#[derive(Template)]
#[template(path = "board/monitors.html")]
struct MonitorsPage {
    frame: Frame,
    fields: Fields,
    tags: Vec<String>,
    monitors: Vec<Watched>,
    total: usize,
    counts: Vec<(super::say::Mark, usize)>,
}

pub(super) async fn monitors(State(site): Of, frame: Frame, Query(fields): Query<Fields>) -> Shown {
    use linkflow_model::Condition::{Degraded, Down, Maintenance, Partial, Unknown, Up};
    let all = watched(&site);
    let total = all.len();
    let mut tags: Vec<String> = all.iter().flat_map(|one| one.tags.clone()).collect();
    tags.sort();
    tags.dedup();
    let counts = [Down, Partial, Degraded, Unknown, Maintenance, Up].map(|condition| {
        let count = all.iter().filter(|one| one.condition == condition).count();
        (super::say::condition(condition), count)
    });
    let (tag, text) = (said(&fields.tag), said(&fields.q).map(|text| text.to_lowercase()));
    let condition: Option<linkflow_model::Condition> = word(&fields.condition);
    let fits = |one: &Watched| {
        let has = |text: &String| {
            one.subject.to_lowercase().contains(text) || one.what.to_lowercase().contains(text)
        };
        tag.as_ref().is_none_or(|tag| one.tags.contains(tag))
            && condition.is_none_or(|condition| one.condition == condition)
            && text.as_ref().is_none_or(has)
    };
    let monitors = all.into_iter().filter(fits).collect();
    let counts = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    Ok(show(StatusCode::OK, &MonitorsPage { frame, fields, tags, monitors, total, counts }))
}

#[derive(Template)]
#[template(path = "board/monitor.html")]
struct MonitorPage {
    frame: Frame,
    monitor: Monitor,
    ranges: Vec<(u32, &'static str)>,
    days: u32,
    chart: Chart,
}

pub(super) async fn monitor(
    State(site): Of,
    frame: Frame,
    Path(name): Path<String>,
    Query(fields): Query<Fields>,
) -> Shown {
    let able = within(&frame);
    let days = fields.days.parse().ok().filter(|days| RANGES.iter().any(|(d, ..)| d == days));
    let days = days.unwrap_or(1);
    let monitor = gathered(&site, &name).await.map_err(&able)?;
    let history = history(&site, &monitor.watched.subject, days).await.map_err(&able)?;
    let page = MonitorPage {
        chart: draw(&history, days, site.clock.wall().0),
        ranges: vec![(1, "24 h"), (7, "7 days"), (30, "30 days"), (90, "90 days")],
        monitor,
        days,
        frame: frame.clone(),
    };
    Ok(show(StatusCode::OK, &page))
}

#[derive(Template)]
#[template(path = "board/incidents.html")]
struct IncidentsPage {
    frame: Frame,
    operates: bool,
    open: Vec<IncidentRow>,
    over: Vec<IncidentRow>,
    /// The incident that the way to older ones begins behind.
    before: Option<String>,
    subjects: Vec<String>,
}

pub(super) async fn incidents(
    State(site): Of,
    frame: Frame,
    Query(fields): Query<Fields>,
) -> Shown {
    let all = all_incidents(&site).await.map_err(within(&frame))?;
    let (open, mut over): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.open);
    if let Some(at) = over.iter().position(|one| one.id == fields.before) {
        over.drain(..=at);
    }
    let more = shorten(&mut over, OVER);
    let before = over.last().filter(|_| more > 0).map(|last| last.id.clone());
    let subjects = watched(&site).into_iter().map(|one| one.subject).collect();
    let operates = operates(&frame);
    Ok(show(StatusCode::OK, &IncidentsPage { frame, operates, open, over, before, subjects }))
}

#[derive(Template)]
#[template(path = "board/incident.html")]
struct IncidentPage {
    frame: Frame,
    operates: bool,
    view: IncidentView,
    monitors: Vec<Watched>,
}

pub(super) async fn incident(State(site): Of, frame: Frame, Path(id): Path<String>) -> Shown {
    let view = one_incident(&site, &id).await.map_err(within(&frame))?;
    let mut monitors = watched(&site);
    monitors.retain(|one| view.incident.subjects.contains(&one.subject));
    let operates = operates(&frame);
    Ok(show(StatusCode::OK, &IncidentPage { frame, operates, view, monitors }))
}

#[derive(Template)]
#[template(path = "board/maintenance.html")]
struct MaintenancePage {
    frame: Frame,
    operates: bool,
    now: u64,
    works: Vec<Work>,
    windows: Vec<WindowRow>,
    subjects: Vec<String>,
}

pub(super) async fn maintenance(State(site): Of, frame: Frame) -> Shown {
    let mut works = works(&site).await.map_err(within(&frame))?;
    let windows = windows(&site, &works);
    works.truncate(WORKS);
    let subjects = watched(&site).into_iter().map(|one| one.subject).collect();
    let (operates, now) = (operates(&frame), site.clock.wall().0);
    Ok(show(StatusCode::OK, &MaintenancePage { frame, operates, now, works, windows, subjects }))
}

#[derive(Template)]
#[template(path = "board/events.html")]
struct EventsPage {
    frame: Frame,
    fields: Fields,
    events: Events,
    services: Vec<String>,
    providers: Vec<String>,
    /// The filter without `before`, for the way to older ones.
    query: String,
}

/// How many events are on a page.
const EVENTS: usize = 100;

pub(super) async fn events(State(site): Of, frame: Frame, Query(fields): Query<Fields>) -> Shown {
    let able = within(&frame);
    let filter = Filter {
        before: fields.before.parse().ok(),
        kind: None,
        level: word::<Level>(&fields.level),
        service: said(&fields.service),
        provider: said(&fields.provider),
        run: None,
        text: said(&fields.q),
    };
    let events = happened(&site, &filter, EVENTS).await.map_err(&able)?;
    let services = site.operator.services().await.map_err(&able)?.services;
    let places = services.iter().flat_map(|one| &one.placements);
    let mut providers: Vec<String> = places.map(|one| one.provider.to_string()).collect();
    providers.sort();
    providers.dedup();
    let pairs = [
        ("q", &fields.q),
        ("level", &fields.level),
        ("service", &fields.service),
        ("provider", &fields.provider),
    ];
    let query = pairs.iter().filter(|(_, value)| !value.is_empty());
    let query = query.map(|(name, value)| format!("{name}={}&", escaped(value))).collect();
    let services = services.iter().map(|one| one.service.to_string()).collect();
    let frame = frame.clone();
    Ok(show(StatusCode::OK, &EventsPage { frame, fields, events, services, providers, query }))
}

/// `text` as a value within a query.
pub(super) fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[derive(Template)]
#[template(path = "board/releases.html")]
struct ReleasesPage {
    frame: Frame,
    operates: bool,
    releases: Vec<ReleaseRow>,
    runs: Vec<RunRow>,
    services: Vec<(ServiceName, String)>,
}

/// How many releases and runs are shown.
const SHOWN: usize = 50;

pub(super) async fn releases(State(site): Of, frame: Frame) -> Shown {
    let able = within(&frame);
    let mut releases = released(&site).await.map_err(&able)?;
    let mut runs = runs(&site).await.map_err(&able)?;
    releases.truncate(SHOWN);
    runs.truncate(SHOWN);
    let services = site.operator.services().await.map_err(&able)?.services;
    let services = services.into_iter().map(|one| (one.service, one.image)).collect();
    let (operates, frame) = (operates(&frame), frame.clone());
    Ok(show(StatusCode::OK, &ReleasesPage { frame, operates, releases, runs, services }))
}

#[derive(Template)]
#[template(path = "board/run.html")]
struct RunPage {
    frame: Frame,
    run: Run,
    events: Vec<Happened>,
}

pub(super) async fn run(State(site): Of, frame: Frame, Path(id): Path<String>) -> Shown {
    let able = within(&frame);
    let run = one_run(&site, &id).await.map_err(&able)?;
    let filter = Filter { run: Some(id), ..Filter::default() };
    let events = happened(&site, &filter, EVENTS).await.map_err(&able)?.events;
    Ok(show(StatusCode::OK, &RunPage { run, events, frame: frame.clone() }))
}

#[derive(Template)]
#[template(path = "board/usage.html")]
struct UsagePage {
    frame: Frame,
    usage: Usage,
    asked: Option<crate::frame::At>,
}

pub(super) async fn usage(State(site): Of, frame: Frame) -> Shown {
    let usage = site.operator.usage();
    let asked = usage.asked.map(|at| crate::frame::At::new(linkflow_model::Timestamp(at)));
    Ok(show(StatusCode::OK, &UsagePage { frame, usage, asked }))
}

#[derive(Template)]
#[template(path = "board/certificates.html")]
struct CertificatesPage {
    frame: Frame,
    certificates: Vec<Certificate>,
}

pub(super) async fn certificates(State(site): Of, frame: Frame) -> Shown {
    let mut certificates = site.operator.certificates();
    certificates.sort_by_key(|one| one.ends);
    Ok(show(StatusCode::OK, &CertificatesPage { frame, certificates }))
}

#[derive(Template)]
#[template(path = "board/addresses.html")]
struct AddressesPage {
    frame: Frame,
    operates: bool,
    addresses: Vec<Address>,
}

pub(super) async fn addresses(State(site): Of, frame: Frame) -> Shown {
    let addresses = reporting(&site, frame.caller.as_ref()).await.map_err(within(&frame))?;
    let operates = operates(&frame);
    Ok(show(StatusCode::OK, &AddressesPage { frame, operates, addresses }))
}

#[derive(Template)]
#[template(path = "board/drift.html")]
struct DriftPage {
    frame: Frame,
    operates: bool,
    drift: Drift,
    /// The run that is under way: what it has not come to yet differs.
    running: Option<RunRow>,
}

pub(super) async fn drift(State(site): Of, frame: Frame) -> Shown {
    let able = within(&frame);
    let drift = site.operator.drift().await.map_err(&able)?;
    let running = runs(&site).await.map_err(&able)?.into_iter().find(|run| run.state == "running");
    let operates = operates(&frame);
    Ok(show(StatusCode::OK, &DriftPage { operates, drift, running, frame: frame.clone() }))
}

/// How many messages are on a page, the newest of them.
const MESSAGES: usize = 100;

#[derive(Template)]
#[template(path = "board/alerts.html")]
struct AlertsPage {
    frame: Frame,
    operates: bool,
    alerts: Alerts,
    /// How many messages are not shown.
    more: usize,
}

pub(super) async fn alerts(State(site): Of, frame: Frame) -> Shown {
    let mut alerts = site.operator.alerts().await.map_err(within(&frame))?;
    let more = shorten(&mut alerts.messages, MESSAGES);
    Ok(show(StatusCode::OK, &AlertsPage { operates: operates(&frame), alerts, more, frame }))
}

#[derive(Template)]
#[template(path = "board/search.html")]
struct SearchPage {
    frame: Frame,
    q: String,
    found: Vec<Found>,
}

pub(super) async fn search(State(site): Of, frame: Frame, Query(fields): Query<Fields>) -> Shown {
    let found = find(&site, &fields.q).await.map_err(within(&frame))?;
    Ok(show(StatusCode::OK, &SearchPage { frame, q: fields.q, found }))
}
