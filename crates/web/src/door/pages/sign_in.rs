//! Signing in by password and code or by passkey, and signing out.

use askama::Template;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use serde::Deserialize;
use serde_json::json;

use super::super::AccessError;
use super::super::audit::{by, noting};
use super::super::cookies::Cookie;
use super::super::limits::Whose;
use super::super::passkey::{Answered, Expected, request};
use super::super::people::{self, Person};
use super::super::refused::{Refused, local};
use super::super::sessions;
use super::{Asked, on};
use crate::frame::{Frame, show};

/// The longest name that is looked for.
const NAME_CHARS: usize = 100;

#[derive(Template)]
#[template(path = "door/sign_in.html")]
struct SignIn {
    frame: Frame,
    next: String,
    name: String,
    error: Option<&'static str>,
    /// Why somebody who is signed in is asked again.
    again: bool,
    /// Whether what is typed can be read on the way.
    open: bool,
}

#[derive(Template)]
#[template(path = "door/code.html")]
struct Code {
    frame: Frame,
    error: Option<&'static str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    next: String,
    again: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    name: String,
    password: String,
    next: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TypedCode {
    code: String,
}

#[derive(Deserialize)]
pub(super) struct Entering {
    #[serde(flatten)]
    answered: Answered,
    #[serde(default)]
    next: String,
}

/// `GET /sign-in`. Whoever is signed in already goes on.
pub(super) async fn page(asked: Asked, Query(wanted): Query<Wanted>) -> Result<Response, Refused> {
    let next = local(&wanted.next).to_owned();
    let again = !wanted.again.is_empty();
    if let Some(id) = Cookie::Session.read(&asked.headers, &asked.origin).filter(|_| !again)
        && sessions::find(&*asked.site.store, &id, asked.now()).await?.is_some()
    {
        return Ok(Redirect::to(&next).into_response());
    }
    let open = !asked.origin.is_private();
    let page = SignIn { frame: asked.frame, next, name: String::new(), error: None, again, open };
    Ok(show(StatusCode::OK, &page))
}

/// `POST /sign-in`: the same answer, after the same work, for a wrong password and for a name that nobody has.
pub(super) async fn password(asked: Asked, Form(typed): Form<Typed>) -> Result<Response, Refused> {
    let store = &*asked.site.store;
    let name: String = people::folded(&typed.name).chars().take(NAME_CHARS).collect();
    let whose = [Whose::address(asked.origin.address), Whose::Account(name.clone())];
    asked.begin(&whose)?;
    let person = people::find(store, &name).await?;
    let kept = person.as_ref().and_then(|person| person.password.clone());
    let right = asked.door.hasher.is(typed.password, kept).await?;
    let Some(person) = person.as_ref().filter(|_| right) else {
        asked.failed(person.as_ref(), "the name or the password was wrong").await;
        let page = SignIn {
            open: !asked.origin.is_private(),
            frame: asked.frame,
            next: local(&typed.next).to_owned(),
            name: typed.name,
            error: Some("The name or the password is not right."),
            again: false,
        };
        return Ok(show(StatusCode::FORBIDDEN, &page));
    };
    if person.totp.is_some() {
        let half = sessions::halve(store, person, local(&typed.next), asked.now()).await?;
        let mut cookies = HeaderMap::new();
        Cookie::Half.set(&mut cookies, &asked.origin, &half);
        return Ok((cookies, Redirect::to("/sign-in/code")).into_response());
    }
    asked.door.limits.worked(&whose);
    Ok(on(asked.enter(person, "password").await?, &typed.next))
}

/// Whose code is to come.
async fn half(asked: &Asked) -> Result<Option<(String, sessions::Half, Person)>, AccessError> {
    let Some(id) = Cookie::Half.read(&asked.headers, &asked.origin) else { return Ok(None) };
    let half = sessions::half(&*asked.site.store, &id, asked.now()).await?;
    Ok(half.map(|(half, person)| (id, half, person)))
}

/// `GET /sign-in/code`.
pub(super) async fn code_page(asked: Asked) -> Result<Response, Refused> {
    if half(&asked).await?.is_none() {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    Ok(show(StatusCode::OK, &Code { frame: asked.frame, error: None }))
}

/// `POST /sign-in/code`: a code of the app, or a recovery code.
pub(super) async fn code(asked: Asked, Form(typed): Form<TypedCode>) -> Result<Response, Refused> {
    let store = &*asked.site.store;
    let Some((id, half, person)) = half(&asked).await? else {
        return Ok(Redirect::to("/sign-in").into_response());
    };
    let account = Whose::Account(people::folded(&person.name));
    let whose = [Whose::address(asked.origin.address), account];
    asked.begin(&whose)?;
    let now = asked.now();
    let taken = people::change(store, &person.name, |person| {
        let refused = || AccessError::no("the code is not right");
        person.take_code(&typed.code, &asked.site.seal, now).ok_or_else(refused)
    });
    match taken.await {
        Ok(way) => {
            asked.door.limits.worked(&whose);
            let way = if way == "app code" {
                "password and app code"
            } else {
                "password and recovery code"
            };
            Ok(on(asked.enter(&person, way).await?, &half.next))
        }
        Err(AccessError::Refused(_)) => {
            sessions::wrong(store, &id).await?;
            asked.failed(Some(&person), "the code was wrong").await;
            let error = Some("The code is not right. Each is good once; wait for the next one.");
            Ok(show(StatusCode::FORBIDDEN, &Code { frame: asked.frame, error }))
        }
        Err(error) => Err(error.into()),
    }
}

/// What challenges for signing in are for.
const PURPOSE: &str = "sign in";

/// `POST /sign-in/passkey/options`.
pub(super) async fn passkey_options(asked: Asked) -> Result<Response, Refused> {
    let challenge = asked.door.challenges.give(PURPOSE, asked.site.clock.now())?;
    Ok(Json(json!({ "publicKey": request(&challenge, &asked.origin.host) })).into_response())
}

/// `POST /sign-in/passkey`. The device asked who it is, so no code is asked besides.
pub(super) async fn passkey(
    asked: Asked,
    Json(entering): Json<Entering>,
) -> Result<Response, Refused> {
    let whose = [Whose::address(asked.origin.address)];
    asked.begin(&whose)?;
    match known(&asked, &entering.answered).await {
        Ok(person) => {
            asked.door.limits.worked(&whose);
            let cookies = asked.enter(&person, "passkey").await?;
            Ok((cookies, Json(json!({ "to": local(&entering.next) }))).into_response())
        }
        Err(AccessError::Refused(why)) => {
            asked.failed(None, &why).await;
            Err(Refused::new(StatusCode::FORBIDDEN, why))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whose passkey signed this.
async fn known(asked: &Asked, answered: &Answered) -> Result<Person, AccessError> {
    let (store, now) = (&*asked.site.store, asked.site.clock.now());
    let challenge = answered.challenge().unwrap_or_default();
    if !asked.door.challenges.is_open(&challenge, PURPOSE, now) {
        return Err(AccessError::no("this took too long, or was answered already: try again"));
    }
    let unknown = || AccessError::no("this passkey is not known here: it may have been removed");
    let everybody = people::everybody(store).await?.into_iter();
    let mut everybody = everybody.filter(|person| person.handle == answered.handle);
    let person = everybody.next().ok_or_else(unknown)?;
    let held = person.passkeys.iter().find(|held| held.id == answered.id).ok_or_else(unknown)?;
    let expected = Expected { origin: &asked.origin.origin, host: &asked.origin.host };
    let counter = answered.signed_by(held, &expected)?;
    if !asked.door.challenges.end(&challenge, PURPOSE, now) {
        return Err(AccessError::no("this was answered already: try again"));
    }
    let (id, at) = (held.id.clone(), asked.now());
    people::change(store, &person.name, |person| {
        let held = person.passkeys.iter_mut().find(|held| held.id == id).ok_or_else(unknown)?;
        held.counter = held.counter.max(counter);
        held.used = Some(at);
        Ok(())
    })
    .await?;
    Ok(person)
}

/// `POST /sign-out`.
pub(super) async fn sign_out(asked: Asked) -> Result<Response, Refused> {
    let mut cookies = HeaderMap::new();
    if let Some(id) = Cookie::Session.read(&asked.headers, &asked.origin) {
        let end = sessions::end(&*asked.site.store, &id);
        noting(&asked.site, by(asked.caller()?), ("signed out", ""), end).await?;
        Cookie::Session.set(&mut cookies, &asked.origin, "");
    }
    Ok((cookies, Redirect::to("/sign-in")).into_response())
}
