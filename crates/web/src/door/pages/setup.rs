//! Coming in by a one-time link: a name, and a password or a passkey.

use askama::Template;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use linkflow_model::access::Scope;
use serde::Deserialize;
use serde_json::json;

use super::super::audit::noting;
use super::super::documents::{self, Held};
use super::super::invites::{self, Invite};
use super::super::passkey::{Answered, Expected, creation};
use super::super::people::{self, Person, Ways};
use super::super::refused::Refused;
use super::super::{AccessError, password, random};
use super::{Asked, on};
use crate::frame::{Frame, show};

#[derive(Template)]
#[template(path = "door/setup.html")]
struct Setup {
    frame: Frame,
    /// The path of this page.
    here: String,
    /// Who is meant, when the link says so.
    fixed: Option<String>,
    /// Whether they were there already.
    known: bool,
    scope: &'static str,
    name: String,
    error: Option<String>,
    shortest: usize,
    /// Whether what is typed can be read on the way.
    open: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    name: String,
    password: String,
    again: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Who {
    who: String,
}

#[derive(Deserialize)]
pub(super) struct Making {
    #[serde(flatten)]
    answered: Answered,
    #[serde(default)]
    who: String,
}

/// The link, when it is still good.
async fn link(asked: &Asked, secret: &str) -> Result<Held<Invite>, Refused> {
    let held = invites::find(&*asked.site.store, secret, asked.now()).await?;
    held.ok_or_else(|| {
        let why = "this link is not good any more: each is good for one hour, and once. `linkflow access invite` on the machine, or an admin on the page People, makes another";
        Refused::new(StatusCode::NOT_FOUND, why)
    })
}

/// Who comes in by the link, under the name that they typed where it says none; and who they were.
async fn comer(
    asked: &Asked,
    invite: &Invite,
    typed: &str,
) -> Result<(String, Option<Person>), AccessError> {
    let name = people::checked_name(invite.name.as_deref().unwrap_or(typed))?;
    let held = people::find(&*asked.site.store, &name).await?;
    // Who is only told by what was typed may be anybody.
    if held.is_some() && invite.name.is_none() {
        return Err(AccessError::no(format!("somebody is called `{name}` already")));
    }
    Ok((name, held))
}

/// The page, with what was wrong with what was typed.
async fn shown(
    asked: Asked,
    invite: &Invite,
    secret: &str,
    typed: (String, Option<String>),
) -> Result<Response, Refused> {
    let (name, error) = typed;
    let known = match &invite.name {
        Some(name) => people::find(&*asked.site.store, name).await?,
        None => None,
    };
    let scope = invite.scope.or(known.as_ref().map(|person| person.scope));
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let page = Setup {
        open: !asked.origin.is_private(),
        frame: asked.frame,
        here: format!("/setup/{secret}"),
        fixed: invite.name.clone(),
        known: known.is_some(),
        scope: scope.unwrap_or(Scope::Read).word(),
        name,
        error,
        shortest: password::SHORTEST,
    };
    Ok(show(status, &page))
}

/// `GET /setup/SECRET`: looking at it does not use the link.
pub(super) async fn page(asked: Asked, Path(secret): Path<String>) -> Result<Response, Refused> {
    let invite = link(&asked, &secret).await?;
    shown(asked, &invite.value, &secret, (String::new(), None)).await
}

/// `POST /setup/SECRET`: a name and a password.
pub(super) async fn password(
    asked: Asked,
    Path(secret): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Refused> {
    let invite = link(&asked, &secret).await?;
    let checked = async {
        let (name, held) = comer(&asked, &invite.value, &typed.name).await?;
        let stack = asked.site.config.stack.name.to_string();
        password::check(&typed.password, &[&name, &stack])?;
        if typed.password != typed.again {
            return Err(AccessError::no("the two passwords are not the same"));
        }
        Ok((name, held))
    };
    let (name, held) = match checked.await {
        Ok(checked) => checked,
        Err(AccessError::Refused(why)) => {
            return shown(asked, &invite.value, &secret, (typed.name, Some(why))).await;
        }
        Err(error) => return Err(error.into()),
    };
    let kept = asked.door.hasher.keep(typed.password).await?;
    let ways = Ways { password: Some(kept), passkey: None };
    let cookies = come_in(&asked, &invite, (&name, held), ways, None).await?;
    Ok(on(cookies, "/account?said=welcome"))
}

/// Uses the link up, and lets its bearer in.
async fn come_in(
    asked: &Asked,
    invite: &Held<Invite>,
    (name, held): (&str, Option<Person>),
    ways: Ways,
    handle: Option<String>,
) -> Result<HeaderMap, Refused> {
    let store = &*asked.site.store;
    let way = if ways.password.is_some() { "password" } else { "passkey" };
    // Of two who come at once, one took it.
    if !documents::take(store, invite).await.map_err(AccessError::from)? {
        return Err(Refused::new(StatusCode::CONFLICT, "this link was used a moment ago"));
    }
    let scope = invite.value.scope;
    let what = if held.is_some() {
        "began anew by a link"
    } else {
        "came in for the first time by a link"
    };
    let act = async {
        if held.is_some() {
            return people::renew(store, (name, scope), ways).await;
        }
        let scope = scope.unwrap_or(Scope::Read);
        people::create(store, (name, scope), ways, handle, asked.now()).await
    };
    let made_by = format!("the link was made by {}", invite.value.by);
    let person = noting(&asked.site, (name, "link"), (what, &made_by), act).await?;
    Ok(asked.enter(&person, way).await?)
}

/// What challenges of this link and this handle are for.
fn purpose(secret: &str, handle: &str) -> String {
    format!("setup {} {handle}", random::hashed(secret))
}

/// `POST /setup/SECRET/passkey/options`.
pub(super) async fn passkey_options(
    asked: Asked,
    Path(secret): Path<String>,
    Json(who): Json<Who>,
) -> Result<Response, Refused> {
    let invite = link(&asked, &secret).await?;
    let (name, held) = comer(&asked, &invite.value, &who.who).await?;
    let handle = held.map_or_else(random::secret, |person| Ok(person.handle))?;
    let purpose = purpose(&secret, &handle);
    let challenge = asked.door.challenges.give(&purpose, asked.site.clock.now())?;
    let stack = asked.site.config.stack.name.to_string();
    let options = creation(&challenge, (&asked.origin.host, &stack), (&handle, &name), &[]);
    Ok(Json(json!({ "publicKey": options, "handle": handle })).into_response())
}

/// `POST /setup/SECRET/passkey`.
pub(super) async fn passkey(
    asked: Asked,
    Path(secret): Path<String>,
    Json(making): Json<Making>,
) -> Result<Response, Refused> {
    let invite = link(&asked, &secret).await?;
    let (name, held) = comer(&asked, &invite.value, &making.who).await?;
    let answered = &making.answered;
    let (purpose, now) = (purpose(&secret, &answered.handle), asked.site.clock.now());
    let challenge = answered.challenge().unwrap_or_default();
    let expected = Expected { origin: &asked.origin.origin, host: &asked.origin.host };
    let known = held.as_ref().is_none_or(|person| person.handle == answered.handle);
    let passkey = answered.registered(&expected, asked.now())?;
    if !known || !asked.door.challenges.end(&challenge, &purpose, now) {
        return Err(
            AccessError::no("this took too long, or was answered already: try again").into()
        );
    }
    let ways = Ways { password: None, passkey: Some(passkey) };
    let handle = Some(answered.handle.clone());
    let cookies = come_in(&asked, &invite, (&name, held), ways, handle).await?;
    Ok((cookies, Json(json!({ "to": "/account?said=welcome" }))).into_response())
}
