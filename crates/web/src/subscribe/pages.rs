//! The pages on which people subscribe, confirm, change what they are told, and end it.
//!
//! Programs that look into mail follow links, so no link does anything by itself: each leads to a page with a button.

use std::sync::Arc;

use askama::Template;
use axum::extract::{DefaultBodyLimit, Form, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use linkflow_store::StoreError;
use sha2::{Digest, Sha256};

use super::desk::{Desk, chosen, lines};
use super::outbox::{self, What};
use super::subscriber::{self, Codes, Subscriber, Way};
use super::token::{CODE_MS, Purpose};
use crate::Site;
use crate::door::{Origin, Refused};
use crate::status::gather::Named;
use crate::status::words::{Words, fill};

/// The largest form: 16 KiB.
const BODY_BYTES: usize = 16 << 10;

/// For so long nobody is sent a second question, whoever asks.
const PAUSE_MS: u64 = 600_000;

/// How many codes a phone is sent in a day, whoever asks: each is paid for.
const CODES: u32 = 3;

const DAY_MS: u64 = 86_400_000;

const STYLE: &str = include_str!("../../templates/page.css");

/// What is answered.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/subscribe", get(page).post(ask))
        .route("/subscribe/code", post(code))
        .route("/subscribe/confirm/{token}", get(confirm_page).post(confirm))
        .route("/subscribe/manage/{token}", get(own_page).post(choose))
        .route("/subscribe/data/{token}", get(data))
        .route("/unsubscribe/{token}", get(end_page).post(end))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
}

/// The fields of a form or a query; one may come several times.
type Fields = Vec<(String, String)>;

fn first<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value.as_str())
}

/// What stands around each of these pages.
struct Frame<'a> {
    w: &'static Words,
    brand: &'a str,
    /// Where the status page is, when that is known.
    page: Option<&'a str>,
    title: &'a str,
    colour: Option<String>,
}

#[derive(Template)]
#[template(path = "subscribe/form.html")]
struct FormPage<'a> {
    f: Frame<'a>,
    action: String,
    /// What was typed; `None`: the address is known.
    typed: Option<String>,
    /// The phone number that was typed; `None`: no phone is told.
    phone: Option<String>,
    /// What is wrong with the address, and with the number.
    wrong: bool,
    wrong_phone: bool,
    saved: bool,
    /// The components: id, name, whether it is chosen.
    components: Vec<(&'a str, &'a str, bool)>,
    button: &'static str,
    /// What else can be done: name and address.
    links: Vec<(&'static str, String)>,
    whose: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "subscribe/said.html")]
struct SaidPage<'a> {
    f: Frame<'a>,
    text: &'a str,
    /// Where the button posts, and what it says.
    button: Option<(String, &'static str)>,
    links: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "subscribe/code.html")]
struct CodePage<'a> {
    f: Frame<'a>,
    /// Whose code it is, as a token.
    who: String,
    wrong: bool,
    links: Vec<(&'static str, String)>,
}

/// What each handler is given.
struct Asked<'a> {
    site: &'a Site,
    desk: &'a Desk,
    names: Vec<Named>,
    w: &'static Words,
}

impl<'a> Asked<'a> {
    /// For a reader of `language`; of the page's first where it is none.
    fn of(site: &'a Site, language: &str) -> Result<Self, Refused> {
        let none = || {
            let why = "nobody can subscribe here: the config has no `status_page.subscribe`";
            Refused::new(StatusCode::NOT_FOUND, why)
        };
        let desk = site.desk.as_deref().ok_or_else(none)?;
        let page = site.config.status_page.as_ref();
        let own = page.and_then(|page| page.languages.first().copied());
        let language = subscriber::language(language).or(own).unwrap_or(crate::status::FALLBACK);
        Ok(Self { site, desk, names: lines(&site.config), w: Words::of(language) })
    }

    fn frame(&'a self, title: &'a str) -> Frame<'a> {
        let page = self.site.config.status_page.as_ref();
        let colour = page.and_then(|page| page.colour).map(|colour| colour.to_string());
        let (brand, page) = (self.desk.title.as_str(), self.desk.page.as_deref());
        Frame { w: self.w, brand, page, title, colour }
    }

    fn form(&'a self, title: &'a str, action: String, chosen: &[String]) -> FormPage<'a> {
        let components = self.names.iter();
        let line = |one: &'a Named| (one.id.as_str(), one.name.as_str(), chosen.contains(&one.id));
        FormPage {
            f: self.frame(title),
            action,
            typed: None,
            phone: None,
            wrong: false,
            wrong_phone: false,
            saved: false,
            components: components.map(line).collect(),
            button: self.w.telling.subscribe,
            links: Vec::new(),
            whose: None,
        }
    }

    fn said(&'a self, title: &'a str, text: &'a str) -> SaidPage<'a> {
        SaidPage { f: self.frame(title), text, button: None, links: Vec::new() }
    }

    fn code(&'a self, who: String, wrong: bool) -> CodePage<'a> {
        let links = vec![(self.w.telling.subscribe, "/subscribe".to_owned())];
        CodePage { f: self.frame(self.w.telling.code), who, wrong, links }
    }

    /// The ids among `fields` that are components of the page.
    fn chosen(&self, fields: &Fields) -> Vec<String> {
        let of = |one: &&Named| fields.iter().any(|(n, v)| n == "component" && *v == one.id);
        self.names.iter().filter(of).map(|one| one.id.clone()).collect()
    }

    /// What the link for `purpose` says: who is told, or that it is not good.
    fn whom(&self, purpose: Purpose, token: &str) -> Option<String> {
        self.desk.signer.read(purpose, token, self.site.clock.wall())
    }

    fn no_link(&'a self) -> Response {
        let mut page = self.said(self.w.telling.no_link, self.w.telling.no_link_text);
        page.links.push((self.w.telling.subscribe, "/subscribe".to_owned()));
        show(StatusCode::GONE, &page, &page.f)
    }

    /// What `to` is told of, in words.
    fn what(&self, to: &Subscriber) -> String {
        match chosen(&self.names, to).as_slice() {
            [] => self.w.telling.everything.to_owned(),
            names => names.join(", "),
        }
    }
}

/// The page with its style, which may be used because its hash stands in the policy.
fn show(status: StatusCode, page: &impl Template, f: &Frame<'_>) -> Response {
    let hash = BASE64_STANDARD.encode(Sha256::digest(f.style().as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    match (page.render(), HeaderValue::from_str(&policy)) {
        (Ok(html), Ok(policy)) => {
            (status, [(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response()
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "this page could not be made\n").into_response(),
    }
}

impl Frame<'_> {
    fn style(&self) -> String {
        let own: String =
            self.colour.iter().map(|colour| format!(":root{{--accent:{colour}}}\n")).collect();
        format!("{STYLE}{own}")
    }
}

fn unable(error: StoreError) -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// `GET /subscribe`: the form, with what the query says chosen already.
async fn page(
    State(site): State<Arc<Site>>,
    Query(fields): Query<Fields>,
) -> Result<Response, Refused> {
    let asked = Asked::of(&site, first(&fields, "language"))?;
    let chosen = asked.chosen(&fields);
    let mut page = asked.form(asked.w.telling.subscribe, "/subscribe".to_owned(), &chosen);
    page.typed = Some(String::new());
    page.phone = asked.desk.has_phone().then(String::new);
    Ok(show(StatusCode::OK, &page, &page.f))
}

/// `POST /subscribe`: the same answer, whether or not the address is known.
async fn ask(
    State(site): State<Arc<Site>>,
    origin: Option<Extension<Origin>>,
    Form(fields): Form<Fields>,
) -> Result<Response, Refused> {
    let asked = Asked::of(&site, first(&fields, "language"))?;
    let (t, desk) = (asked.w.telling, asked.desk);
    let (typed, phone) = (first(&fields, "address"), first(&fields, "phone"));
    let chosen = asked.chosen(&fields);
    let is_phone = !phone.trim().is_empty();
    let way = match is_phone {
        true => desk.way(phone).filter(|way| matches!(way, Way::Sms(_)) && typed.trim().is_empty()),
        false => desk.way(typed),
    };
    let Some(way) = way else {
        let mut page = asked.form(t.subscribe, "/subscribe".to_owned(), &chosen);
        page.typed = Some(typed.chars().take(2_000).collect());
        page.phone = desk.has_phone().then(|| phone.chars().take(40).collect());
        (page.wrong, page.wrong_phone) = (!is_phone, is_phone && desk.has_phone());
        return Ok(show(StatusCode::BAD_REQUEST, &page, &page.f));
    };
    let address = origin.and_then(|Extension(origin)| origin.address);
    if !desk.limits.allow(address, site.clock.now()) {
        let page = asked.said(t.subscribe, t.too_many);
        return Ok(show(StatusCode::TOO_MANY_REQUESTS, &page, &page.f));
    }
    let (title, text) = match &way {
        Way::Mail(_) => (t.sent, t.sent_text),
        Way::Webhook(_) => (t.asked, t.asked_text),
        Way::Sms(_) => (t.code, t.code_text),
    };
    let id = desk.signer.id(&way.source());
    let (at, language) = (site.clock.wall(), asked.w.code.to_owned());
    let has_code = matches!(way, Way::Sms(_));
    let wanted = Subscriber { id: id.clone(), way, components: chosen, language, at, codes: None };
    note(&site, wanted).await.map_err(unable)?;
    if has_code {
        let who = desk.signer.token(Purpose::Code, &id, at);
        let page = asked.code(who, false);
        return Ok(show(StatusCode::ACCEPTED, &page, &page.f));
    }
    let page = asked.said(title, text);
    Ok(show(StatusCode::ACCEPTED, &page, &page.f))
}

/// `POST /subscribe/code`: the code of a text message.
async fn code(
    State(site): State<Arc<Site>>,
    Form(fields): Form<Fields>,
) -> Result<Response, Refused> {
    let asked = Asked::of(&site, first(&fields, "language"))?;
    let (who, typed) = (first(&fields, "who"), first(&fields, "code"));
    let Some(id) = asked.whom(Purpose::Code, who) else { return Ok(asked.no_link()) };
    let (store, now) = (&*site.store, site.clock.wall());
    let at = subscriber::try_code(store, &id).await.map_err(unable)?;
    let good = at.filter(|at| now.0.saturating_sub(at.0) <= CODE_MS);
    if good.is_some_and(|at| asked.desk.signer.is_code(typed, &id, at))
        && let Some(to) = subscriber::confirm(store, &id, now).await.map_err(unable)?
    {
        return confirmed(&site, &to);
    }
    let page = asked.code(who.to_owned(), true);
    Ok(show(StatusCode::BAD_REQUEST, &page, &page.f))
}

/// Notes what somebody wants, and asks them whether they do: once in a while, however often it is asked for.
async fn note(site: &Site, mut wanted: Subscriber) -> Result<(), StoreError> {
    let store = &*site.store;
    let before = subscriber::asked(store, &wanted.id).await?;
    if let Some(before) = before {
        let is_recent = wanted.at.0.saturating_sub(before.at.0) < PAUSE_MS;
        let codes = before.codes.filter(|codes| wanted.at.0.saturating_sub(codes.since.0) < DAY_MS);
        if is_recent || codes.is_some_and(|codes| codes.sent >= CODES) {
            // The question that is on its way stands for this one as well: its link follows from when it was asked.
            (wanted.at, wanted.codes) = (before.at, before.codes);
            return subscriber::ask(store, &wanted).await;
        }
        wanted.codes = codes;
    }
    if let Way::Sms(_) = wanted.way {
        let (since, sent) = wanted.codes.map_or((wanted.at, 0), |codes| (codes.since, codes.sent));
        wanted.codes = Some(Codes { since, sent: sent + 1, tries: 0 });
    }
    subscriber::ask(store, &wanted).await?;
    outbox::put(store, &wanted, What::Question, wanted.at).await
}

/// `GET /subscribe/confirm/TOKEN`: what would be confirmed.
async fn confirm_page(
    State(site): State<Arc<Site>>,
    Path(token): Path<String>,
) -> Result<Response, Refused> {
    let asked = Asked::of(&site, "")?;
    let Some(id) = asked.whom(Purpose::Confirm, &token) else { return Ok(asked.no_link()) };
    let store = &*site.store;
    let Some(to) = subscriber::asked(store, &id).await.map_err(unable)? else {
        // Confirmed already, perhaps by a second click.
        return match subscriber::find(store, &id).await.map_err(unable)? {
            Some(to) => Ok(confirmed(&site, &to)?),
            None => Ok(asked.no_link()),
        };
    };
    let asked = Asked::of(&site, &to.language)?;
    let t = asked.w.telling;
    let text = fill(t.confirm_text, &[to.way.address(), &asked.what(&to)]);
    let mut page = asked.said(t.confirm, &text);
    page.button = Some((format!("/subscribe/confirm/{token}"), t.confirm));
    Ok(show(StatusCode::OK, &page, &page.f))
}

/// `POST /subscribe/confirm/TOKEN`.
async fn confirm(
    State(site): State<Arc<Site>>,
    Path(token): Path<String>,
) -> Result<Response, Refused> {
    let asked = Asked::of(&site, "")?;
    let Some(id) = asked.whom(Purpose::Confirm, &token) else { return Ok(asked.no_link()) };
    let now = site.clock.wall();
    match subscriber::confirm(&*site.store, &id, now).await.map_err(unable)? {
        Some(to) => confirmed(&site, &to),
        None => Ok(asked.no_link()),
    }
}

fn confirmed(site: &Site, to: &Subscriber) -> Result<Response, Refused> {
    let asked = Asked::of(site, &to.language)?;
    let t = asked.w.telling;
    let text = fill(t.confirm_text, &[to.way.address(), &asked.what(to)]);
    let mut page = asked.said(t.confirmed, &text);
    page.links.push((t.change, format!("/subscribe/manage/{}", asked.desk.own(to))));
    Ok(show(StatusCode::OK, &page, &page.f))
}

/// Whose link `token` is, when they are still told.
async fn owner(site: &Site, token: &str) -> Result<Option<Subscriber>, Refused> {
    let asked = Asked::of(site, "")?;
    match asked.whom(Purpose::Own, token) {
        Some(id) => subscriber::find(&*site.store, &id).await.map_err(unable),
        None => Ok(None),
    }
}

/// `GET /subscribe/manage/TOKEN`: what one is told, and how to change it.
async fn own_page(
    State(site): State<Arc<Site>>,
    Path(token): Path<String>,
) -> Result<Response, Refused> {
    match owner(&site, &token).await? {
        Some(to) => own(&site, &token, &to, false),
        None => Ok(Asked::of(&site, "")?.no_link()),
    }
}

fn own(site: &Site, token: &str, to: &Subscriber, saved: bool) -> Result<Response, Refused> {
    let asked = Asked::of(site, &to.language)?;
    let t = asked.w.telling;
    let mut page = asked.form(t.told_of, format!("/subscribe/manage/{token}"), &to.components);
    page.saved = saved;
    page.button = t.save;
    page.whose = Some(to.way.address());
    page.links = vec![
        (t.unsubscribe, format!("/unsubscribe/{token}")),
        (t.data, format!("/subscribe/data/{token}")),
    ];
    Ok(show(StatusCode::OK, &page, &page.f))
}

/// `POST /subscribe/manage/TOKEN`.
async fn choose(
    State(site): State<Arc<Site>>,
    Path(token): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Response, Refused> {
    let asked = Asked::of(&site, "")?;
    let Some(to) = owner(&site, &token).await? else { return Ok(asked.no_link()) };
    let to = Subscriber { components: asked.chosen(&fields), ..to };
    subscriber::choose(&*site.store, &to).await.map_err(unable)?;
    own(&site, &token, &to, true)
}

/// `GET /subscribe/data/TOKEN`: all that is kept of somebody.
async fn data(
    State(site): State<Arc<Site>>,
    Path(token): Path<String>,
) -> Result<Response, Refused> {
    match owner(&site, &token).await? {
        Some(to) => Ok(Json(to).into_response()),
        None => Ok(Asked::of(&site, "")?.no_link()),
    }
}

/// `GET /unsubscribe/TOKEN`: what would end.
async fn end_page(
    State(site): State<Arc<Site>>,
    Path(token): Path<String>,
) -> Result<Response, Refused> {
    let Some(to) = owner(&site, &token).await? else {
        return Ok(Asked::of(&site, "")?.no_link());
    };
    let asked = Asked::of(&site, &to.language)?;
    let t = asked.w.telling;
    let text = fill(t.unsubscribe_text, &[to.way.address()]);
    let mut page = asked.said(t.unsubscribe, &text);
    page.button = Some((format!("/unsubscribe/{token}"), t.unsubscribe));
    Ok(show(StatusCode::OK, &page, &page.f))
}

/// `POST /unsubscribe/TOKEN`: by the button, or by the one click of a mail program (RFC 8058). Doing it twice is fine.
async fn end(
    State(site): State<Arc<Site>>,
    Path(token): Path<String>,
) -> Result<Response, Refused> {
    let asked = Asked::of(&site, "")?;
    let Some(id) = asked.whom(Purpose::Own, &token) else { return Ok(asked.no_link()) };
    let to = subscriber::find(&*site.store, &id).await.map_err(unable)?;
    subscriber::remove(&*site.store, &id).await.map_err(unable)?;
    let asked = Asked::of(&site, to.as_ref().map_or("", |to| &to.language))?;
    let page = asked.said(asked.w.telling.unsubscribed, asked.w.telling.forgotten);
    Ok(show(StatusCode::OK, &page, &page.f))
}
