//! What is read over the API.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::{Extension, Json};
use linkflow_model::access::Caller;
use linkflow_model::{ReleaseId, ServiceName, Timestamp};

use super::Api;
use super::ask::{
    Asked, EventsAsk, HistoryAsk, IncidentsAsk, ListAsk, LooksAsk, MonitorsAsk, SearchAsk,
    ServicesAsk, TrafficAsk,
};
use super::describe::Operation;
use super::problem::Refused;
use crate::Site;
use crate::operator::{
    Alerts, Certificate, Drift, Message, Placement, Post, Service, Services, Traffic, Usage,
    Watched,
};
use crate::shape::{Limit, Number, shapes};
use crate::view::addresses::{self, Address};
use crate::view::events::{self, Events, Filter};
use crate::view::monitors::{self, History, Look, Monitor};
use crate::view::overview::{self, Status};
use crate::view::releases::{self, ReleaseRow, Run, RunRow};
use crate::view::search::{self, Found};
use crate::view::told::{self, IncidentRow, IncidentView, WindowRow, Work};
use crate::view::{drains, failovers, missing};

/// What a handler gives.
pub(super) type Given<T> = Result<Json<T>, Refused>;
type Of = State<Arc<Site>>;

shapes! {
    /// Every placement.
    pub struct Placements {
        /// The placements, service by service.
        pub placements: Vec<Placed>,
    }

    /// A placement with its service.
    pub struct Placed {
        /// The service.
        pub service: ServiceName,
        /// The placement.
        pub placement: Placement,
    }

    /// Monitors, those in trouble first.
    pub struct Monitors {
        /// The monitors.
        pub monitors: Vec<Watched>,
        /// How many fit.
        pub total: u64,
        /// What to leave out to read on; none at the end.
        pub next: Option<u64>,
    }

    /// Looks, the newest first.
    pub struct Looks {
        /// The looks.
        pub looks: Vec<Look>,
    }

    /// Incidents, the newest first.
    pub struct Incidents {
        /// The incidents.
        pub incidents: Vec<IncidentRow>,
        /// How many fit.
        pub total: u64,
        /// What to leave out to read on; none at the end.
        pub next: Option<u64>,
    }

    /// Announced work, the latest first.
    pub struct Works {
        /// The work.
        pub maintenance: Vec<Work>,
        /// The windows of the config, each with its next time.
        pub windows: Vec<WindowRow>,
        /// How much there is.
        pub total: u64,
        /// What to leave out to read on; none at the end.
        pub next: Option<u64>,
    }

    /// Releases, the newest first.
    pub struct Releases {
        /// The releases.
        pub releases: Vec<ReleaseRow>,
        /// How many there are.
        pub total: u64,
        /// What to leave out to read on; none at the end.
        pub next: Option<u64>,
    }

    /// Runs, the newest first.
    pub struct Runs {
        /// The runs.
        pub runs: Vec<RunRow>,
        /// How many are remembered.
        pub total: u64,
        /// What to leave out to read on; none at the end.
        pub next: Option<u64>,
    }

    /// Providers that are kept free of services.
    pub struct Drains {
        /// The providers.
        pub drains: Vec<drains::Drained>,
    }

    /// Services that serve from where somebody asked for them.
    pub struct Failovers {
        /// The orders.
        pub failovers: Vec<failovers::Ordered>,
    }

    /// Where jobs and vendors report.
    pub struct Addresses {
        /// The addresses.
        pub addresses: Vec<Address>,
    }

    /// Who is told of incidents, and what they were told.
    pub struct AlertPage {
        /// The alerts of the config, each with its ways.
        pub posts: Vec<Post>,
        /// What was told within the last 30 days, and what waits: the newest first.
        pub messages: Vec<Message>,
        /// How many messages there are.
        pub total: u64,
        /// What to leave out to read on; none at the end.
        pub next: Option<u64>,
    }

    /// The certificates of the edge.
    pub struct Certificates {
        /// The certificates.
        pub certificates: Vec<Certificate>,
    }

    /// What was found.
    pub struct Finds {
        /// The finds, by sort.
        pub found: Vec<Found>,
    }

    /// Copies and backups of data.
    pub struct Copies {
        /// What there is: nothing, for this LinkFlow makes neither.
        pub copies: Vec<String>,
        /// Why.
        pub why: String,
    }
}

pub(super) fn add(api: &mut Api) {
    let get = Operation::get;
    api.add::<Status, _, _>(get("/status", "How everything stands."), status);
    let op = get("/services", "Every service on every provider.");
    let op = op.asks::<ServicesAsk>(&mut api.book);
    api.add::<Services, _, _>(op, services);
    api.add::<Service, _, _>(get("/services/{name}", "One service, and where it stands."), service);
    api.add::<Placements, _, _>(
        get("/placements", "Every service on every provider, flat."),
        placements,
    );
    let op =
        get("/traffic", "What visitors asked for in the last seconds, and where they were led.");
    let op = op.asks::<TrafficAsk>(&mut api.book);
    api.add::<Traffic, _, _>(op, traffic);
    let op = get("/monitors", "What is watched, and how it is.").asks::<MonitorsAsk>(&mut api.book);
    api.add::<Monitors, _, _>(op, monitors);
    let about = "One monitor with its uptime, its times, and its outages with what was seen.";
    api.add::<Monitor, _, _>(get("/monitors/{name}", about), monitor);
    let about =
        "How a monitor was: its looks added up, and the spans that its uptime is counted from.";
    let op = get("/monitors/{name}/history", about).asks::<HistoryAsk>(&mut api.book);
    api.add::<History, _, _>(op, history);
    let op =
        get("/monitors/{name}/looks", "The looks of a monitor, one by one; kept for two days.");
    let op = op.asks::<LooksAsk>(&mut api.book);
    api.add::<Looks, _, _>(op, looks);
    let op = get("/incidents", "Incidents, the newest first.").asks::<IncidentsAsk>(&mut api.book);
    api.add::<Incidents, _, _>(op, incidents);
    let about = "One incident with all that was said of it.";
    api.add::<IncidentView, _, _>(get("/incidents/{id}", about), incident);
    let op =
        get("/maintenance", "Announced work, the latest first.").asks::<ListAsk>(&mut api.book);
    api.add::<Works, _, _>(op, works);
    let op = get("/events", "What happened, the newest first.").asks::<EventsAsk>(&mut api.book);
    api.add::<Events, _, _>(op, happened);
    let op = get("/releases", "Releases, the newest first.").asks::<ListAsk>(&mut api.book);
    api.add::<Releases, _, _>(op, released);
    api.add::<ReleaseRow, _, _>(get("/releases/{release}", "One release."), release);
    let op = get("/runs", "Runs of plans, the newest first; 200 are remembered.");
    let op = op.asks::<ListAsk>(&mut api.book);
    api.add::<Runs, _, _>(op, runs);
    api.add::<Run, _, _>(get("/runs/{run}", "One run with its steps."), run);
    api.add::<Usage, _, _>(get("/usage", "What was used of each provider's plan."), usage);
    let about = "What differs from the live release, by the last words of the providers.";
    api.add::<Drift, _, _>(get("/drift", about), drift);
    let about = "Who is told of incidents, and what they were told.";
    let op = get("/alerts", about).asks::<ListAsk>(&mut api.book);
    api.add::<AlertPage, _, _>(op, alerts);
    api.add::<Certificates, _, _>(
        get("/certificates", "The certificates of the edge."),
        certificates,
    );
    let about = "Providers that are kept free of services, and who wants that.";
    api.add::<Drains, _, _>(get("/drains", about), drained);
    let about = "Services that serve from where somebody asked for them, and who wants that.";
    api.add::<Failovers, _, _>(get("/failovers", about), ordered);
    let about = "At which addresses jobs and vendors report. They are secrets, and left out for whoever may only read.";
    api.add::<Addresses, _, _>(get("/addresses", about), reporting);
    api.add::<Copies, _, _>(get("/copies", "Copies and backups of data."), copies);
    let op = get("/search", "Everything that has a page and these words in it.");
    let op = op.asks::<SearchAsk>(&mut api.book);
    api.add::<Finds, _, _>(op, found);
}

/// Says that an answer is not to be kept: there are secrets in it.
type NotKept = [(HeaderName, HeaderValue); 1];

/// As a part of an answer.
const NOT_KEPT: NotKept = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// A part of `rows`, how many there are, and where the next part begins.
fn part<T>(
    rows: Vec<T>,
    limit: Option<Limit>,
    skip: Option<Number>,
    usual: u64,
) -> (Vec<T>, u64, Option<u64>) {
    let (limit, skip) = (limit.map_or(usual, |limit| limit.0), skip.map_or(0, |skip| skip.0));
    let total = rows.len() as u64;
    let next = skip.saturating_add(limit);
    let [skipped, taken] = [skip, limit].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let rows = rows.into_iter().skip(skipped).take(taken).collect();
    (rows, total, (next < total).then_some(next))
}

async fn status(State(site): Of) -> Given<Status> {
    Ok(Json(overview::status(&site).await?))
}

async fn services(State(site): Of, Asked(ask): Asked<ServicesAsk>) -> Given<Services> {
    let mut all = site.operator.services().await?;
    all.services.retain(|one| ask.kind.is_none_or(|kind| one.kind == kind));
    Ok(Json(all))
}

async fn service(State(site): Of, Path(name): Path<String>) -> Given<Service> {
    Ok(Json(overview::service(&site, &name).await?))
}

async fn placements(State(site): Of) -> Given<Placements> {
    let all = site.operator.services().await?.services.into_iter();
    let flat = all.flat_map(|one| {
        let Service { service, placements, .. } = one;
        let placed = move |placement| Placed { service: service.clone(), placement };
        placements.into_iter().map(placed)
    });
    Ok(Json(Placements { placements: flat.collect() }))
}

async fn traffic(State(site): Of, Asked(ask): Asked<TrafficAsk>) -> Json<Traffic> {
    Json(overview::traffic(&site, ask.service.as_ref().map(ServiceName::as_str)))
}

async fn monitors(State(site): Of, Asked(ask): Asked<MonitorsAsk>) -> Json<Monitors> {
    let mut all = monitors::monitors(&site);
    let text = ask.q.map(|text| text.to_lowercase());
    all.retain(|one| {
        let has = |text: &String| {
            one.subject.to_lowercase().contains(text) || one.what.to_lowercase().contains(text)
        };
        ask.tag.as_ref().is_none_or(|tag| one.tags.contains(tag))
            && ask.condition.is_none_or(|condition| one.condition == condition)
            && text.as_ref().is_none_or(has)
    });
    let (monitors, total, next) = part(all, ask.limit, ask.skip, 1_000);
    Json(Monitors { monitors, total, next })
}

async fn monitor(State(site): Of, Path(name): Path<String>) -> Given<Monitor> {
    Ok(Json(monitors::monitor(&site, &name).await?))
}

async fn history(
    State(site): Of,
    Path(name): Path<String>,
    Asked(ask): Asked<HistoryAsk>,
) -> Given<History> {
    let days = ask.days.map_or(1, |days| u32::try_from(days.0).unwrap_or(90));
    Ok(Json(monitors::history(&site, &name, days).await?))
}

async fn looks(
    State(site): Of,
    Path(name): Path<String>,
    Asked(ask): Asked<LooksAsk>,
) -> Given<Looks> {
    let (from, to) = (ask.from.map_or(0, |at| at.0), ask.to.map_or(u64::MAX, |at| at.0));
    let limit = ask.limit.map_or(100, |limit| limit.0);
    let limit = usize::try_from(limit).unwrap_or(100);
    let looks = monitors::looks(&site, &name, Timestamp(from), Timestamp(to), limit).await?;
    Ok(Json(Looks { looks }))
}

async fn incidents(State(site): Of, Asked(ask): Asked<IncidentsAsk>) -> Given<Incidents> {
    let mut all = told::incidents(&site).await?;
    all.retain(|one| ask.open.is_none_or(|open| one.open == open));
    let (incidents, total, next) = part(all, ask.limit, ask.skip, 100);
    Ok(Json(Incidents { incidents, total, next }))
}

async fn incident(State(site): Of, Path(id): Path<String>) -> Given<IncidentView> {
    Ok(Json(told::incident(&site, &id).await?))
}

async fn works(State(site): Of, Asked(ask): Asked<ListAsk>) -> Given<Works> {
    let all = told::works(&site).await?;
    let windows = told::windows(&site, &all);
    let (maintenance, total, next) = part(all, ask.limit, ask.skip, 100);
    Ok(Json(Works { maintenance, windows, total, next }))
}

async fn happened(State(site): Of, Asked(ask): Asked<EventsAsk>) -> Given<Events> {
    let filter = Filter {
        before: ask.before.map(|before| before.0),
        kind: ask.kind.map(|kind| kind.0),
        level: ask.level,
        service: ask.service.map(String::from),
        provider: ask.provider.map(String::from),
        run: ask.run,
        text: ask.q,
    };
    let limit = usize::try_from(ask.limit.map_or(100, |limit| limit.0)).unwrap_or(100);
    Ok(Json(events::events(&site, &filter, limit).await?))
}

async fn released(State(site): Of, Asked(ask): Asked<ListAsk>) -> Given<Releases> {
    let (releases, total, next) = part(releases::releases(&site).await?, ask.limit, ask.skip, 100);
    Ok(Json(Releases { releases, total, next }))
}

async fn release(State(site): Of, Path(id): Path<String>) -> Given<ReleaseRow> {
    let Ok(release) = id.parse::<ReleaseId>() else {
        return Err(missing("release", &id, "/api/v1/releases").into());
    };
    Ok(Json(releases::release(&site, release).await?))
}

async fn runs(State(site): Of, Asked(ask): Asked<ListAsk>) -> Given<Runs> {
    let (runs, total, next) = part(releases::runs(&site).await?, ask.limit, ask.skip, 100);
    Ok(Json(Runs { runs, total, next }))
}

async fn run(State(site): Of, Path(id): Path<String>) -> Given<Run> {
    Ok(Json(releases::run(&site, &id).await?))
}

async fn usage(State(site): Of) -> Json<Usage> {
    Json(site.operator.usage())
}

async fn drift(State(site): Of) -> Given<Drift> {
    Ok(Json(site.operator.drift().await?))
}

async fn alerts(State(site): Of, Asked(ask): Asked<ListAsk>) -> Given<AlertPage> {
    let Alerts { posts, messages } = site.operator.alerts().await?;
    let (messages, total, next) = part(messages, ask.limit, ask.skip, 100);
    Ok(Json(AlertPage { posts, messages, total, next }))
}

async fn certificates(State(site): Of) -> Json<Certificates> {
    Json(Certificates { certificates: site.operator.certificates() })
}

async fn drained(State(site): Of) -> Given<Drains> {
    Ok(Json(Drains { drains: drains::drains(&site).await? }))
}

async fn ordered(State(site): Of) -> Given<Failovers> {
    Ok(Json(Failovers { failovers: failovers::failovers(&site).await? }))
}

async fn reporting(
    State(site): Of,
    Extension(by): Extension<Caller>,
) -> Result<(NotKept, Json<Addresses>), Refused> {
    let addresses = addresses::addresses(&site, Some(&by)).await?;
    Ok((NOT_KEPT, Json(Addresses { addresses })))
}

async fn copies() -> Json<Copies> {
    let why = "this LinkFlow makes no copies and no backups of data, so there are none to show";
    Json(Copies { copies: Vec::new(), why: why.to_owned() })
}

async fn found(State(site): Of, Asked(ask): Asked<SearchAsk>) -> Given<Finds> {
    Ok(Json(Finds { found: search::search(&site, &ask.q).await? }))
}
