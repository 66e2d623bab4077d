//! What is done over the API. Each change has a reason and a caller.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use linkflow_model::ServiceName;
use linkflow_model::access::Caller;

use super::Api;
use super::ask::{
    ApplyAsk, BackAsk, DeployAsk, DrainAsk, FailoverAsk, OrderWord, PlanAsk, RestartAsk,
    RollbackAsk, Told, TryAsk,
};
use super::describe::Operation;
use super::lists::Given;
use super::problem::Refused;
use crate::Site;
use crate::door::doing;
use crate::operator::{Begun, Order, Outline, Refusal, Why};
use crate::order::failover::Wanted;
use crate::shape::ImageWord;
use crate::view::addresses::{self, Address, RotateAsk};
use crate::view::alerts::{Trial, try_out};
use crate::view::drains::{self, Drained};
use crate::view::failovers::{self, Ordered};
use crate::view::told::{
    self, Announce, IncidentView, OpenIncident, ResolveIncident, UpdateIncident, Work,
};

type Of = State<Arc<Site>>;
type By = Extension<Caller>;
/// What has begun is not over: 202.
type Accepted = Result<(StatusCode, Json<Begun>), Refused>;

pub(super) fn add(api: &mut Api) {
    let post = Operation::post;
    let about = "Opens an incident.";
    let op = post("/incidents", about).takes::<OpenIncident>(&mut api.book).gives(201);
    api.add::<IncidentView, _, _>(op, open);
    let about = "Says how an incident goes on.";
    let op = post("/incidents/{id}/updates", about).takes::<UpdateIncident>(&mut api.book);
    api.add::<IncidentView, _, _>(op, update);
    let about = "Says that you look after an incident: reminders end, and nobody further is told.";
    api.add::<IncidentView, _, _>(post("/incidents/{id}/acknowledge", about), acknowledge);
    let about = "Says that an incident is over.";
    let op = post("/incidents/{id}/resolve", about).takes::<ResolveIncident>(&mut api.book);
    api.add::<IncidentView, _, _>(op, resolve);
    let about = "Announces work.";
    let op = post("/maintenance", about).takes::<Announce>(&mut api.book).gives(201);
    api.add::<Work, _, _>(op, announce);
    let about = "Calls announced work off, or ends it when it has begun.";
    api.add::<Work, _, _>(post("/maintenance/{id}/cancel", about), cancel);
    let about =
        "What would be done, and what speaks against it. Providers are asked; nothing is changed.";
    let op = post("/plans", about).takes::<PlanAsk>(&mut api.book);
    api.add::<Outline, _, _>(op, plan);
    let about = "Begins to make what runs what the config asks for.";
    let op = post("/actions/apply", about).takes::<ApplyAsk>(&mut api.book).gives(202);
    api.add::<Begun, _, _>(op, apply);
    let about = "Begins to deploy images, and leaves everything else as it runs.";
    let op = post("/actions/deploy", about).takes::<DeployAsk>(&mut api.book).gives(202);
    api.add::<Begun, _, _>(op, deploy);
    let about = "Begins to put an earlier release back.";
    let op = post("/actions/rollback", about).takes::<RollbackAsk>(&mut api.book).gives(202);
    api.add::<Begun, _, _>(op, roll_back);
    let about = "Begins to start a service again, so that visitors do not notice.";
    let op = post("/actions/restart", about).takes::<RestartAsk>(&mut api.book).gives(202);
    api.add::<Begun, _, _>(op, restart);
    let about =
        "Keeps a provider free of services until it is lifted: what serves there moves at once.";
    let op = post("/actions/drain", about).takes::<DrainAsk>(&mut api.book);
    api.add::<Drained, _, _>(op, drain);
    let about = "Lets services run on a provider again.";
    let op = post("/actions/undrain", about).takes::<DrainAsk>(&mut api.book);
    api.add::<Drained, _, _>(op, lift);
    let about = "Has a service, or every one, serve from a provider until that is ended or its time is over.";
    let op = post("/actions/failover", about).takes::<FailoverAsk>(&mut api.book);
    api.add::<Ordered, _, _>(op, fail_over);
    let about =
        "Ends a failover that was ordered. What is preferred takes over again as it always does.";
    let op = post("/actions/failback", about).takes::<BackAsk>(&mut api.book);
    api.add::<Ordered, _, _>(op, back);
    let about =
        "Makes an address anew: the one before is not answered any more, within two seconds.";
    let op = post("/actions/rotate", about).takes::<RotateAsk>(&mut api.book);
    api.add::<Address, _, _>(op, rotate);
    let about = "Tells a test by every way of an alert, and waits for what becomes of it.";
    let op = post("/actions/try-alert", about).takes::<TryAsk>(&mut api.book);
    api.add::<Trial, _, _>(op, try_alert);
}

async fn open(
    State(site): Of,
    Extension(by): By,
    Told(ask): Told<OpenIncident>,
) -> Result<(StatusCode, Json<IncidentView>), Refused> {
    Ok((StatusCode::CREATED, Json(told::open(&site, &by.name, ask).await?)))
}

async fn update(
    State(site): Of,
    Path(id): Path<String>,
    Extension(by): By,
    Told(ask): Told<UpdateIncident>,
) -> Given<IncidentView> {
    Ok(Json(told::go_on(&site, &id, &by.name, ask).await?))
}

async fn acknowledge(
    State(site): Of,
    Path(id): Path<String>,
    Extension(by): By,
) -> Given<IncidentView> {
    Ok(Json(told::acknowledge(&site, &id, &by.name).await?))
}

async fn resolve(
    State(site): Of,
    Path(id): Path<String>,
    Extension(by): By,
    Told(ask): Told<ResolveIncident>,
) -> Given<IncidentView> {
    Ok(Json(told::resolve(&site, &id, &by.name, ask).await?))
}

async fn announce(
    State(site): Of,
    Extension(by): By,
    Told(ask): Told<Announce>,
) -> Result<(StatusCode, Json<Work>), Refused> {
    Ok((StatusCode::CREATED, Json(told::announce(&site, &by.name, ask).await?)))
}

async fn cancel(State(site): Of, Path(id): Path<String>, Extension(by): By) -> Given<Work> {
    Ok(Json(told::cancel(&site, &id, &by.name).await?))
}

async fn plan(State(site): Of, Told(ask): Told<PlanAsk>) -> Given<Outline> {
    let order = match ask.order {
        OrderWord::Apply => Order::Apply,
        OrderWord::Deploy => Order::Deploy(images(ask.images)),
        OrderWord::Rollback => Order::RollBack(ask.release),
        OrderWord::Restart => {
            let Some(service) = ask.service else {
                let what = "`restart` needs a service";
                return Err(Refusal::new(Why::Wrong, what, "add `service` to the body").into());
            };
            Order::Restart(service, ask.on)
        }
    };
    Ok(Json(site.operator.plan(&order).await?))
}

fn images(asked: Option<BTreeMap<ServiceName, ImageWord>>) -> BTreeMap<ServiceName, String> {
    let asked = asked.unwrap_or_default().into_iter();
    asked.map(|(name, image)| (name, String::from(image))).collect()
}

async fn begin(site: &Site, by: &Caller, order: &Order, reason: &str) -> Accepted {
    doing(order.words(), reason).await;
    let begun = site.operator.begin(order, &by.name, reason).await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

async fn apply(State(site): Of, Extension(by): By, Told(ask): Told<ApplyAsk>) -> Accepted {
    begin(&site, &by, &Order::Apply, ask.reason.as_str()).await
}

async fn deploy(State(site): Of, Extension(by): By, Told(ask): Told<DeployAsk>) -> Accepted {
    begin(&site, &by, &Order::Deploy(images(ask.images)), ask.reason.as_str()).await
}

async fn roll_back(State(site): Of, Extension(by): By, Told(ask): Told<RollbackAsk>) -> Accepted {
    begin(&site, &by, &Order::RollBack(ask.release), ask.reason.as_str()).await
}

async fn restart(State(site): Of, Extension(by): By, Told(ask): Told<RestartAsk>) -> Accepted {
    begin(&site, &by, &Order::Restart(ask.service, ask.on), ask.reason.as_str()).await
}

async fn drain(State(site): Of, Extension(by): By, Told(ask): Told<DrainAsk>) -> Given<Drained> {
    let (service, why) = (ask.service.as_ref(), ask.reason.as_str());
    Ok(Json(drains::drain(&site, &by.name, &ask.provider, service, why).await?))
}

async fn lift(State(site): Of, Extension(by): By, Told(ask): Told<DrainAsk>) -> Given<Drained> {
    let (service, why) = (ask.service.as_ref(), ask.reason.as_str());
    Ok(Json(drains::lift(&site, &by.name, &ask.provider, service, why).await?))
}

async fn fail_over(
    State(site): Of,
    Extension(by): By,
    Told(ask): Told<FailoverAsk>,
) -> Given<Ordered> {
    let wanted = Wanted {
        to: ask.to,
        service: ask.service,
        for_ms: ask.minutes.map(|minutes| minutes.0 * 60_000),
        force: ask.force.unwrap_or(false),
    };
    Ok(Json(failovers::fail_over(&site, &by.name, &wanted, ask.reason.as_str()).await?))
}

async fn back(State(site): Of, Extension(by): By, Told(ask): Told<BackAsk>) -> Given<Ordered> {
    let why = ask.reason.as_str();
    Ok(Json(failovers::back(&site, &by.name, ask.service.as_ref(), why).await?))
}

async fn rotate(State(site): Of, Extension(by): By, Told(ask): Told<RotateAsk>) -> Given<Address> {
    let which = addresses::which(ask.sort, ask.name)?;
    Ok(Json(addresses::rotate(&site, &by.name, &which, ask.reason.as_str()).await?))
}

async fn try_alert(State(site): Of, Told(ask): Told<TryAsk>) -> Given<Trial> {
    Ok(Json(Trial { tried: try_out(&site, &ask.alert, ask.reason.as_str()).await? }))
}
