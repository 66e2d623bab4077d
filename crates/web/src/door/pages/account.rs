//! One's own account: password, codes, passkeys, sessions.

use askama::Template;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use serde::Deserialize;
use serde_json::json;

use super::super::audit::{by, noting};
use super::super::passkey::{Answered, Expected, creation};
use super::super::people::{self, Person};
use super::super::refused::Refused;
use super::super::totp::{self, Totp};
use super::super::{AccessError, password as passwords, sessions};
use super::{AGAIN, Asked, on};
use crate::frame::{At, Frame, show};

#[derive(Template)]
#[template(path = "door/account.html")]
struct Account {
    frame: Frame,
    name: String,
    scope: &'static str,
    /// What was just done, or why it was not.
    said: Option<&'static str>,
    error: Option<String>,
    /// Why nothing can be changed now.
    stale: Option<&'static str>,
    has_password: bool,
    has_totp: bool,
    /// An app that has not shown a code yet: QR code and key.
    new_totp: Option<(String, String)>,
    /// Recovery codes, this once.
    codes: Vec<String>,
    codes_left: usize,
    passkeys: Vec<PasskeyRow>,
    sessions: Vec<SessionRow>,
    shortest: usize,
}

struct PasskeyRow {
    id: String,
    name: String,
    host: String,
    made: At,
    used: Option<At>,
}

struct SessionRow {
    called: String,
    agent: String,
    from: String,
    way: String,
    made: At,
    seen: At,
    here: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    said: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct NewPassword {
    password: String,
    again: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TypedCode {
    code: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    id: String,
}

/// What was done, by the word in the address: nothing of an address itself is shown.
fn said(word: &str) -> Option<&'static str> {
    Some(match word {
        "welcome" => {
            "You are in. Add a passkey or an authenticator app, so that a password alone opens nothing."
        }
        "password" => "The password was changed, and all other sessions have ended.",
        "off" => "The authenticator app is asked for no more.",
        "passkey" => "The passkey was added.",
        "removed" => "The passkey was removed.",
        "ended" => "The session has ended.",
        _ => return None,
    })
}

/// What the page says besides how things are.
#[derive(Default)]
struct Besides {
    said: Option<&'static str>,
    error: Option<String>,
    codes: Vec<String>,
}

async fn shown(asked: &Asked, besides: Besides) -> Result<Response, Refused> {
    let (person, signed) = asked.person().await?;
    let held = sessions::of(&*asked.site.store, &person.name, asked.now()).await?;
    let sessions = held.into_iter().map(|held| SessionRow {
        called: sessions::short(&held.key),
        here: held.key == signed.key,
        made: At::new(held.value.made),
        seen: At::new(held.value.seen),
        agent: held.value.agent,
        from: held.value.from,
        way: held.value.way,
    });
    let stack = asked.site.config.stack.name.to_string();
    let new_totp = person
        .totp_new
        .as_ref()
        .filter(|_| asked.is_fresh())
        .and_then(|new| new.opened(&asked.site.seal, &person.handle))
        .and_then(|new| {
            Some((totp::qr(&totp::uri(&new, &stack, &person.name))?, totp::typed(&new)))
        });
    let passkeys = person.passkeys.iter().map(|held| PasskeyRow {
        id: held.id.clone(),
        name: held.name.clone(),
        host: held.host.clone(),
        made: At::new(held.made),
        used: held.used.map(At::new),
    });
    let status = if besides.error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let page = Account {
        frame: asked.frame.clone(),
        scope: person.scope.word(),
        said: besides.said,
        error: besides.error,
        stale: (!asked.is_fresh()).then_some(AGAIN),
        has_password: person.password.is_some(),
        has_totp: person.totp.is_some(),
        new_totp,
        codes: besides.codes,
        codes_left: person.recovery.len(),
        passkeys: passkeys.collect(),
        sessions: sessions.collect(),
        shortest: passwords::SHORTEST,
        name: person.name,
    };
    Ok(show(status, &page))
}

/// The page with why something was not done; what is no fault of whoever asked is no page of theirs.
async fn mended(asked: &Asked, error: AccessError) -> Result<Response, Refused> {
    match error {
        AccessError::Refused(why) => {
            shown(asked, Besides { error: Some(why), ..Besides::default() }).await
        }
        error => Err(error.into()),
    }
}

/// Changes the person who asks, and notes it as `what`.
async fn change<R>(
    asked: &Asked,
    what: &str,
    how: impl FnMut(&mut Person) -> Result<R, AccessError>,
) -> Result<R, AccessError> {
    let Some(caller) = asked.frame.caller.as_ref() else {
        return Err(AccessError::no("sign in first"));
    };
    noting(
        &asked.site,
        by(caller),
        (what, ""),
        people::change(&*asked.site.store, &caller.name, how),
    )
    .await
}

/// `GET /account`.
pub(super) async fn page(asked: Asked, Query(word): Query<Said>) -> Result<Response, Refused> {
    shown(&asked, Besides { said: said(&word.said), ..Besides::default() }).await
}

/// `POST /account/password`: ends all other sessions, which may be somebody else's.
pub(super) async fn password(
    asked: Asked,
    Form(typed): Form<NewPassword>,
) -> Result<Response, Refused> {
    asked.fresh()?;
    let (person, signed) = asked.person().await?;
    let stack = asked.site.config.stack.name.to_string();
    let checked = passwords::check(&typed.password, &[&person.name, &stack]);
    let same = || match typed.password == typed.again {
        true => Ok(()),
        false => Err(AccessError::no("the two passwords are not the same")),
    };
    if let Err(error) = checked.and_then(|()| same()) {
        return mended(&asked, error).await;
    }
    let kept = asked.door.hasher.keep(typed.password).await?;
    change(&asked, "changed their password", |person| {
        person.password = Some(kept.clone());
        Ok(())
    })
    .await?;
    sessions::end_all(&*asked.site.store, &person.name, Some(&signed.key)).await?;
    Ok(on(HeaderMap::new(), "/account?said=password"))
}

/// `POST /account/totp/new`: an app is to be shown the secret. The old one, if any, is good until the new one is.
pub(super) async fn totp_new(asked: Asked) -> Result<Response, Refused> {
    asked.fresh()?;
    asked.person().await?;
    change(&asked, "began to set up an authenticator app", |person| {
        person.totp_new = Some(Totp::new(&asked.site.seal, &person.handle)?);
        Ok(())
    })
    .await?;
    Ok(on(HeaderMap::new(), "/account#app"))
}

/// `POST /account/totp`: the first code proves that the app has the secret. Recovery codes are shown with it, this once.
pub(super) async fn totp(asked: Asked, Form(typed): Form<TypedCode>) -> Result<Response, Refused> {
    asked.fresh()?;
    asked.person().await?;
    let (codes, kept) = totp::recovery()?;
    let now = asked.now();
    let done = change(&asked, "set up an authenticator app", |person| {
        let wrong = "the code is not right: is the clock of the phone right?";
        let mut new = person.totp_new.take().ok_or_else(|| AccessError::no("begin again"))?;
        if !new.take(&typed.code, (&asked.site.seal, &person.handle), now) {
            return Err(AccessError::no(wrong));
        }
        person.totp = Some(new);
        person.recovery = kept.clone();
        Ok(())
    })
    .await;
    match done {
        Ok(()) => shown(&asked, Besides { codes, ..Besides::default() }).await,
        Err(error) => mended(&asked, error).await,
    }
}

/// `POST /account/totp/off`.
pub(super) async fn totp_off(asked: Asked) -> Result<Response, Refused> {
    asked.fresh()?;
    asked.person().await?;
    change(&asked, "removed their authenticator app", |person| {
        (person.totp, person.totp_new) = (None, None);
        person.recovery.clear();
        Ok(())
    })
    .await?;
    Ok(on(HeaderMap::new(), "/account?said=off"))
}

/// `POST /account/recovery`: new recovery codes, in place of the old ones.
pub(super) async fn recovery(asked: Asked) -> Result<Response, Refused> {
    asked.fresh()?;
    asked.person().await?;
    let (codes, kept) = totp::recovery()?;
    let done = change(&asked, "made new recovery codes", |person| {
        if person.totp.is_none() {
            return Err(AccessError::no(
                "recovery codes stand in for an authenticator app: add one first",
            ));
        }
        person.recovery = kept.clone();
        Ok(())
    })
    .await;
    match done {
        Ok(()) => shown(&asked, Besides { codes, ..Besides::default() }).await,
        Err(error) => mended(&asked, error).await,
    }
}

/// What challenges for a new passkey of a person are for.
fn purpose(person: &Person) -> String {
    format!("passkey {}", person.handle)
}

/// `POST /account/passkey/options`.
pub(super) async fn passkey_options(asked: Asked) -> Result<Response, Refused> {
    asked.fresh()?;
    let (person, _) = asked.person().await?;
    let challenge = asked.door.challenges.give(&purpose(&person), asked.site.clock.now())?;
    let stack = asked.site.config.stack.name.to_string();
    let who = (person.handle.as_str(), person.name.as_str());
    let options = creation(&challenge, (&asked.origin.host, &stack), who, &person.passkeys);
    Ok(Json(json!({ "publicKey": options })).into_response())
}

/// `POST /account/passkey`.
pub(super) async fn passkey(
    asked: Asked,
    Json(answered): Json<Answered>,
) -> Result<Response, Refused> {
    asked.fresh()?;
    let (person, _) = asked.person().await?;
    let challenge = answered.challenge().unwrap_or_default();
    let expected = Expected { origin: &asked.origin.origin, host: &asked.origin.host };
    let new = answered.registered(&expected, asked.now())?;
    let now = asked.site.clock.now();
    if !asked.door.challenges.end(&challenge, &purpose(&person), now) {
        return Err(
            AccessError::no("this took too long, or was answered already: try again").into()
        );
    }
    // An id is one credential's (WebAuthn, 7.1): nobody else's may be taken over.
    let everybody = people::everybody(&*asked.site.store).await?;
    if everybody.iter().flat_map(|person| &person.passkeys).any(|held| held.id == new.id) {
        return Err(AccessError::no("this passkey is known already").into());
    }
    change(&asked, "added a passkey", |person| {
        person.passkeys.push(new.clone());
        Ok(())
    })
    .await?;
    Ok(Json(json!({ "to": "/account?said=passkey" })).into_response())
}

/// `POST /account/passkey/remove`.
pub(super) async fn passkey_remove(
    asked: Asked,
    Form(which): Form<Which>,
) -> Result<Response, Refused> {
    asked.fresh()?;
    asked.person().await?;
    let done = change(&asked, "removed a passkey", |person| {
        if person.password.is_none() && person.passkeys.len() < 2 {
            return Err(AccessError::no(
                "this is your only way in: add a password or another passkey first",
            ));
        }
        let before = person.passkeys.len();
        person.passkeys.retain(|held| held.id != which.id);
        if person.passkeys.len() < before {
            Ok(())
        } else {
            Err(AccessError::no("there is no such passkey"))
        }
    })
    .await;
    match done {
        Ok(()) => Ok(on(HeaderMap::new(), "/account?said=removed")),
        Err(error) => mended(&asked, error).await,
    }
}

/// `POST /account/sessions/end`: one, or all but this.
pub(super) async fn session_end(
    asked: Asked,
    Form(which): Form<Which>,
) -> Result<Response, Refused> {
    let (person, signed) = asked.person().await?;
    let store = &*asked.site.store;
    let others = which.id == "others";
    let what = if others { "ended all their other sessions" } else { "ended a session" };
    let end = async {
        if others {
            sessions::end_all(store, &person.name, Some(&signed.key)).await
        } else if sessions::end_one(store, &person.name, &which.id).await? {
            Ok(())
        } else {
            Err(AccessError::no("there is no such session"))
        }
    };
    match noting(&asked.site, by(asked.caller()?), (what, ""), end).await {
        Ok(()) => Ok(on(HeaderMap::new(), "/account?said=ended")),
        Err(error) => mended(&asked, error).await,
    }
}
