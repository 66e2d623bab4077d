//! The door's pages: coming in for the first time, signing in, one's account, people, and the audit.

mod account;
mod audit;
mod people;
mod setup;
mod sign_in;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use linkflow_model::Timestamp;
use linkflow_model::access::Caller;

use super::audit::note;
use super::cookies::Cookie;
use super::guard::Signed;
use super::limits::Whose;
use super::origin::Origin;
use super::people::Person;
use super::refused::{Refused, local};
use super::sessions::{self, Circumstances};
use super::{AccessError, Door};
use crate::Site;
use crate::frame::Frame;

/// The largest form or answer of an authenticator: 64 KiB.
const BODY_BYTES: usize = 64 << 10;

/// What is answered.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/sign-in", get(sign_in::page).post(sign_in::password))
        .route("/sign-in/code", get(sign_in::code_page).post(sign_in::code))
        .route("/sign-in/passkey/options", post(sign_in::passkey_options))
        .route("/sign-in/passkey", post(sign_in::passkey))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/setup/{secret}", get(setup::page).post(setup::password))
        .route("/setup/{secret}/passkey/options", post(setup::passkey_options))
        .route("/setup/{secret}/passkey", post(setup::passkey))
        .route("/account", get(account::page))
        .route("/account/password", post(account::password))
        .route("/account/totp/new", post(account::totp_new))
        .route("/account/totp", post(account::totp))
        .route("/account/totp/off", post(account::totp_off))
        .route("/account/recovery", post(account::recovery))
        .route("/account/passkey/options", post(account::passkey_options))
        .route("/account/passkey", post(account::passkey))
        .route("/account/passkey/remove", post(account::passkey_remove))
        .route("/account/sessions/end", post(account::session_end))
        .route("/people", get(people::page))
        .route("/people/scope", post(people::scope))
        .route("/people/remove", post(people::remove))
        .route("/people/invite", post(people::invite))
        .route("/people/invite/withdraw", post(people::withdraw))
        .route("/people/token", post(people::token))
        .route("/people/token/revoke", post(people::revoke))
        .route("/audit", get(audit::page))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
}

/// What every page of the door is given.
pub(super) struct Asked {
    site: Arc<Site>,
    door: Arc<Door>,
    origin: Origin,
    frame: Frame,
    headers: HeaderMap,
    /// The session, where somebody is signed in with one.
    signed: Option<Signed>,
}

impl FromRequestParts<Arc<Site>> for Asked {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Refused> {
        let Ok(frame) = Frame::from_request_parts(parts, site).await;
        let held =
            parts.extensions.get::<Arc<Door>>().cloned().zip(parts.extensions.get().cloned());
        // The guard put both there.
        let missing = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody guards this page");
        let (door, origin) = held.ok_or_else(missing)?;
        let signed = parts.extensions.get().cloned();
        Ok(Self {
            site: Arc::clone(site),
            door,
            origin,
            frame,
            headers: parts.headers.clone(),
            signed,
        })
    }
}

/// Asked when so long after a sign-in that whoever sits there may be another.
const AGAIN: &str =
    "you signed in a while ago: sign in again to change how you sign in, or who may";

impl Asked {
    fn now(&self) -> Timestamp {
        self.site.clock.wall()
    }

    /// Who asks.
    fn caller(&self) -> Result<&Caller, Refused> {
        let missing = || Refused::new(StatusCode::UNAUTHORIZED, "sign in first");
        self.frame.caller.as_ref().ok_or_else(missing)
    }

    /// The person who is signed in with a session; a token has no account.
    async fn person(&self) -> Result<(Person, &Signed), Refused> {
        let none = || Refused::new(StatusCode::FORBIDDEN, "a token has no account: sign in");
        let signed = self.signed.as_ref().ok_or_else(none)?;
        let person = super::people::find(&*self.site.store, &self.caller()?.name).await?;
        Ok((person.ok_or_else(none)?, signed))
    }

    /// Whether the session is so young that it may change how one signs in. A token needs no session.
    fn is_fresh(&self) -> bool {
        let age = |signed: &Signed| self.now().0.saturating_sub(signed.made.0);
        self.signed.as_ref().is_none_or(|signed| age(signed) <= sessions::FRESH_MS)
    }

    /// Refuses to change how one signs in by a session that is not young any more.
    fn fresh(&self) -> Result<(), Refused> {
        if self.is_fresh() { Ok(()) } else { Err(Refused::new(StatusCode::FORBIDDEN, AGAIN)) }
    }

    /// Counts a try, or refuses it until later.
    fn begin(&self, whose: &[Whose]) -> Result<(), Refused> {
        self.door.limits.begin(whose, self.site.clock.now()).map_err(|wait| {
            let wait = wait.div_ceil(1_000);
            let why = format!("too many tries: the next one may come in {wait} s");
            Refused { wait_s: Some(wait), ..Refused::new(StatusCode::TOO_MANY_REQUESTS, why) }
        })
    }

    /// Notes that somebody was not let in. A name that nobody has is not noted: a password may have been typed there.
    async fn failed(&self, person: Option<&Person>, outcome: &str) {
        if let Some(untold) = self.door.failures.tell(self.site.clock.now()) {
            let who = person.map_or("somebody unknown", |person| person.name.as_str());
            let more = format!("and {untold} more tries that are not listed");
            let more = if untold > 0 { more.as_str() } else { "" };
            note(&self.site, (who, "nothing"), "tried to sign in", more, outcome).await;
        }
    }

    /// Begins a session of `person`, in place of one that this browser had; gives the cookies for it.
    async fn enter(&self, person: &Person, way: &'static str) -> Result<HeaderMap, AccessError> {
        let store = &*self.site.store;
        let mut cookies = HeaderMap::new();
        if let Some(old) = Cookie::Session.read(&self.headers, &self.origin) {
            sessions::end(store, &old).await?;
        }
        if let Some(half) = Cookie::Half.read(&self.headers, &self.origin) {
            sessions::end_half(store, &half).await?;
            Cookie::Half.set(&mut cookies, &self.origin, "");
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.unwrap_or_default().to_owned();
        let how = Circumstances { from: self.origin.from(), agent, way };
        let id = sessions::begin(store, person, how, self.now()).await?;
        Cookie::Session.set(&mut cookies, &self.origin, &id);
        let what = format!("signed in by {way}");
        note(&self.site, (&person.name, "session"), &what, "", "done").await;
        Ok(cookies)
    }
}

/// The way on after something was done, so that reloading the page does not do it again.
fn on(cookies: HeaderMap, to: &str) -> Response {
    (cookies, Redirect::to(local(to))).into_response()
}
