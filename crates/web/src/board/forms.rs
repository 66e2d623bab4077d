//! What people do on the pages: a page that shows what would be done and asks why, and the forms of incidents and work.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use linkflow_model::access::Caller;
use linkflow_model::{Impact, ProviderName, ServiceName};

use super::{Shown, within};
use crate::Site;
use crate::door::doing;
use crate::frame::{Frame, show};
use crate::operator::{Order, Outline, Refusal, Tried, Why};
use crate::order::address::{self, Which};
use crate::order::failover::Wanted;
use crate::shape::{Date, Minutes, Reason, Title, Words};
use crate::view::alerts::{trial, try_out};
use crate::view::told::{self, Announce, OpenIncident, OpenStage, ResolveIncident, UpdateIncident};
use crate::view::{addresses, drains, failovers};

type Of = State<Arc<Site>>;
type By = Extension<Caller>;
/// The fields of a form, as they were sent.
type Fields = BTreeMap<String, String>;

/// What somebody wants to do.
enum Wish {
    Order(Order),
    Drain(ProviderName, Option<ServiceName>),
    Lift(ProviderName, Option<ServiceName>),
    FailOver(Wanted),
    Back(Option<ServiceName>),
    Rotate(Which),
    Try(String),
}

fn wrong(what: impl Into<String>) -> Refusal {
    Refusal::new(Why::Wrong, what, "go back and try again")
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn parsed<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<Option<T>, Refusal> {
    let Some(text) = field(fields, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| wrong(format!("`{text}` is no {name}")))
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T, Refusal> {
    value.ok_or_else(|| wrong(format!("the field `{name}` is missing")))
}

fn text<T: TryFrom<String, Error = String>>(fields: &Fields, name: &str) -> Result<T, Refusal> {
    let text = field(fields, name).unwrap_or_default();
    T::try_from(text.to_owned()).map_err(|why| wrong(format!("{name}: {why}")))
}

/// Reads what `what` at the end of the address and the fields wish for.
fn wish(what: &str, fields: &Fields) -> Result<Wish, Refusal> {
    let service = || parsed::<ServiceName>(fields, "service");
    let provider = || needed(parsed::<ProviderName>(fields, "provider")?, "provider");
    Ok(match what {
        "apply" => Wish::Order(Order::Apply),
        "deploy" => {
            let images = fields.iter().filter_map(|(name, image)| {
                let service = name.strip_prefix("image-")?.parse().ok()?;
                let image = image.trim();
                (!image.is_empty()).then(|| (service, image.to_owned()))
            });
            Wish::Order(Order::Deploy(images.collect()))
        }
        "rollback" => Wish::Order(Order::RollBack(parsed(fields, "release")?)),
        "restart" => {
            let on = parsed(fields, "on")?;
            Wish::Order(Order::Restart(needed(service()?, "service")?, on))
        }
        "drain" => Wish::Drain(provider()?, service()?),
        "undrain" => Wish::Lift(provider()?, service()?),
        "failover" => Wish::FailOver(Wanted {
            to: needed(parsed(fields, "to")?, "to")?,
            service: service()?,
            for_ms: lasts(fields)?.map(|minutes| minutes.0 * 60_000),
            force: fields.contains_key("force"),
        }),
        "failback" => Wish::Back(service()?),
        "rotate" => Wish::Rotate(meant(fields)?),
        "try" => Wish::Try(needed(field(fields, "alert"), "alert")?.to_owned()),
        other => {
            let what = format!("nobody can `{other}` here");
            return Err(Refusal::new(Why::Missing, what, "the pages lead to what can be done"));
        }
    })
}

/// Which address is meant.
fn meant(fields: &Fields) -> Result<Which, Refusal> {
    let sort = needed(field(fields, "sort"), "sort")?;
    let known = serde_json::from_value(serde_json::json!(sort));
    let known = known.map_err(|_| wrong(format!("`{sort}` is no sort of address")))?;
    addresses::which(known, field(fields, "name").map(str::to_owned))
}

/// For how long, where that is said.
fn lasts(fields: &Fields) -> Result<Option<Minutes>, Refusal> {
    parsed::<u64>(fields, "minutes")?.map(|n| Minutes::try_from(n).map_err(wrong)).transpose()
}

impl Wish {
    fn words(&self) -> String {
        let of = |provider: &ProviderName, service: &Option<ServiceName>, verbs: [&str; 2]| {
            match service {
                Some(service) => format!("{} {service} {} {provider}", verbs[0], verbs[1]),
                None => format!("{} {provider}", verbs[0]),
            }
        };
        match self {
            Self::Order(order) => order.words(),
            Self::Drain(provider, service @ Some(_)) => {
                of(provider, service, ["keep", "away from"])
            }
            Self::Drain(provider, None) => of(provider, &None, ["drain", ""]),
            Self::Lift(provider, service @ Some(_)) => {
                of(provider, service, ["let", "run again on"])
            }
            Self::Lift(provider, None) => format!("let services run on {provider} again"),
            Self::FailOver(wanted) => wanted.words(),
            Self::Back(service) => {
                let of = service.as_ref().map_or("every service", ServiceName::as_str);
                format!("end the failover of {of}")
            }
            Self::Rotate(which) => which.anew(),
            Self::Try(alert) => trial(alert),
        }
    }

    fn about(&self) -> &'static str {
        match self {
            Self::Order(_) => "This is what would be done now. It is planned anew when it begins.",
            Self::Drain(..) => {
                "What serves there moves to the next provider that can take it, at once, and comes back only after this was \
                 lifted. What nobody else can take stays."
            }
            Self::Lift(..) => {
                "Services come back by themselves, once the provider has been well for as long as the config says."
            }
            Self::FailOver(_) => {
                "It goes there at once, and stays until this is ended or its time is over. When it dies there, it fails over as \
                 always, and goes back there when it has recovered."
            }
            Self::Back(_) => {
                "What is preferred takes over again, once it has been well for as long as the config says."
            }
            Self::Rotate(Which::Hook(_)) => {
                "The address of now is not answered any more, within two seconds. The new one has to be entered at the vendor, \
                 unless linkflow watchers apply does that: run it then."
            }
            Self::Rotate(_) => {
                "The address of now is not answered any more, within two seconds. Jobs that report there have to be told the new one."
            }
            Self::Try(_) => "Each of its ways gets a message that says that it is a test.",
        }
    }
}

#[derive(Template)]
#[template(path = "board/confirm.html")]
struct ConfirmPage {
    frame: Frame,
    what: String,
    about: &'static str,
    verb: String,
    fields: Vec<(String, String)>,
    outline: Option<Outline>,
    forbidden: bool,
    /// Where it may be said for how long: why it would be refused unless it is forced.
    failover: Option<Vec<String>>,
}

#[derive(Template)]
#[template(path = "board/tried.html")]
struct TriedPage {
    frame: Frame,
    alert: String,
    tried: Vec<Tried>,
}

pub(super) async fn confirm(
    State(site): Of,
    frame: Frame,
    Path(verb): Path<String>,
    Query(fields): Query<Fields>,
) -> Shown {
    let able = within(&frame);
    let wish = wish(&verb, &fields).map_err(&able)?;
    let (mut outline, mut failover) = (None, None);
    match &wish {
        Wish::Order(order) => {
            outline = Some(site.operator.plan(order).await.map_err(&able)?);
        }
        Wish::FailOver(wanted) => {
            failover = Some(failovers::doubts(&site, wanted).await.map_err(&able)?);
        }
        Wish::Rotate(which) => {
            address::check(&site.config, &site.addresses, which).map_err(&able)?;
        }
        Wish::Drain(..) | Wish::Lift(..) | Wish::Back(..) | Wish::Try(_) => {}
    }
    let forbidden = outline.iter().flat_map(|one| &one.findings).any(|doubt| doubt.forbids);
    // The others are fields of the form itself.
    let own = ["reason", "csrf", "minutes", "force"];
    let kept = |(name, _): &(String, String)| !own.contains(&name.as_str());
    let page = ConfirmPage {
        what: wish.words(),
        about: wish.about(),
        fields: fields.into_iter().filter(kept).collect(),
        verb,
        outline,
        forbidden,
        failover,
        frame: frame.clone(),
    };
    Ok(show(StatusCode::OK, &page))
}

pub(super) async fn carry_out(
    State(site): Of,
    frame: Frame,
    Extension(by): By,
    Path(verb): Path<String>,
    Form(fields): Form<Fields>,
) -> Shown {
    let able = within(&frame);
    let reason: Reason = text(&fields, "reason").map_err(&able)?;
    let to = match wish(&verb, &fields).map_err(&able)? {
        Wish::Order(order) => {
            doing(order.words(), reason.as_str()).await;
            let begun = site.operator.begin(&order, &by.name, reason.as_str()).await;
            let begun = begun.map_err(&able)?;
            begun.run.map_or_else(|| "/releases".to_owned(), |run| format!("/runs/{run}"))
        }
        Wish::Drain(provider, service) => {
            let done =
                drains::drain(&site, &by.name, &provider, service.as_ref(), reason.as_str()).await;
            done.map_err(&able)?;
            "/".to_owned()
        }
        Wish::Lift(provider, service) => {
            let done =
                drains::lift(&site, &by.name, &provider, service.as_ref(), reason.as_str()).await;
            done.map_err(&able)?;
            "/".to_owned()
        }
        Wish::FailOver(wanted) => {
            let done = failovers::fail_over(&site, &by.name, &wanted, reason.as_str()).await;
            done.map_err(&able)?;
            "/".to_owned()
        }
        Wish::Back(service) => {
            let done = failovers::back(&site, &by.name, service.as_ref(), reason.as_str()).await;
            done.map_err(&able)?;
            "/".to_owned()
        }
        Wish::Rotate(which) => {
            let done = addresses::rotate(&site, &by.name, &which, reason.as_str()).await;
            done.map_err(&able)?;
            "/addresses".to_owned()
        }
        Wish::Try(alert) => {
            let tried = try_out(&site, &alert, reason.as_str()).await.map_err(&able)?;
            let page = TriedPage { alert, tried, frame: frame.clone() };
            return Ok(show(StatusCode::OK, &page));
        }
    };
    Ok(Redirect::to(&to).into_response())
}

fn impact(fields: &Fields) -> Option<Impact> {
    serde_json::from_value(serde_json::json!(field(fields, "impact")?)).ok()
}

fn subjects(fields: &Fields) -> Option<Vec<String>> {
    let named = field(fields, "subjects")?.split([',', ' ', '\n', '\r']);
    Some(named.map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect())
}

pub(super) async fn open(
    State(site): Of,
    frame: Frame,
    Extension(by): By,
    Form(fields): Form<Fields>,
) -> Shown {
    let able = within(&frame);
    let ask = OpenIncident {
        title: text::<Title>(&fields, "title").map_err(&able)?,
        text: text::<Words>(&fields, "text").map_err(&able)?,
        impact: impact(&fields),
        subjects: subjects(&fields),
        private: Some(fields.contains_key("private")),
    };
    let opened = told::open(&site, &by.name, ask).await.map_err(&able)?;
    Ok(Redirect::to(&format!("/incidents/{}", opened.incident.id)).into_response())
}

pub(super) async fn acknowledge(
    State(site): Of,
    frame: Frame,
    Extension(by): By,
    Path(id): Path<String>,
) -> Shown {
    told::acknowledge(&site, &id, &by.name).await.map_err(within(&frame))?;
    Ok(Redirect::to(&format!("/incidents/{id}")).into_response())
}

pub(super) async fn update(
    State(site): Of,
    frame: Frame,
    Extension(by): By,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Shown {
    let able = within(&frame);
    let stage = field(&fields, "stage").map(|stage| serde_json::json!(stage));
    let ask = UpdateIncident {
        text: text::<Words>(&fields, "text").map_err(&able)?,
        stage: stage.and_then(|stage| serde_json::from_value::<OpenStage>(stage).ok()),
        impact: impact(&fields),
        private: Some(fields.contains_key("private")),
    };
    told::go_on(&site, &id, &by.name, ask).await.map_err(&able)?;
    Ok(Redirect::to(&format!("/incidents/{id}")).into_response())
}

pub(super) async fn resolve(
    State(site): Of,
    frame: Frame,
    Extension(by): By,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Shown {
    let able = within(&frame);
    let said = field(&fields, "text").is_some();
    let text = said.then(|| text::<Words>(&fields, "text")).transpose().map_err(&able)?;
    told::resolve(&site, &id, &by.name, ResolveIncident { text }).await.map_err(&able)?;
    Ok(Redirect::to(&format!("/incidents/{id}")).into_response())
}

pub(super) async fn announce(
    State(site): Of,
    frame: Frame,
    Extension(by): By,
    Form(fields): Form<Fields>,
) -> Shown {
    let able = within(&frame);
    let from = begins(&fields).map_err(&able)?;
    let minutes = needed(parsed::<u64>(&fields, "minutes").map_err(&able)?, "minutes");
    let minutes = Minutes::try_from(minutes.map_err(&able)?).map_err(wrong).map_err(&able)?;
    let ask = Announce {
        title: text::<Title>(&fields, "title").map_err(&able)?,
        text: text::<Words>(&fields, "text").map_err(&able)?,
        from,
        minutes,
        subjects: subjects(&fields),
    };
    told::announce(&site, &by.name, ask).await.map_err(&able)?;
    Ok(Redirect::to("/maintenance").into_response())
}

/// The moment that a field of date and time names, in UTC, as its label says.
fn begins(fields: &Fields) -> Result<Date, Refusal> {
    let said = field(fields, "from").unwrap_or_default();
    let moment = said.parse::<jiff::civil::DateTime>().ok();
    let moment = moment.and_then(|at| at.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok());
    let ms = moment.and_then(|at| u64::try_from(at.timestamp().as_millisecond()).ok());
    let ms = ms.ok_or_else(|| wrong(format!("`{said}` is no date and time")))?;
    Date::try_from(ms).map_err(wrong)
}

pub(super) async fn cancel(
    State(site): Of,
    frame: Frame,
    Extension(by): By,
    Path(id): Path<String>,
) -> Shown {
    told::cancel(&site, &id, &by.name).await.map_err(within(&frame))?;
    Ok(Redirect::to("/maintenance").into_response())
}
