//! Takes webhooks of vendors that watch from outside: each is a reason to ask that vendor, and nothing more.
//!
//! The key in the address is the secret: nobody signs in. What is sent is dropped unread. So whoever learns an address can
//! make us look and cannot make us believe anything, a hook that comes twice changes nothing, and a vendor may send whatever
//! it likes in whatever form. Only of hooks that are [`signed`] as well is the body read, since it says what to ask for.
//! A hook is answered once what it comes to is on disk: [`kept`].

mod kept;
mod signed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use linkflow_store::StoreError;
use tokio::sync::{Notify, watch};

use crate::Site;
use crate::beat::{Limits, is_same};

pub use kept::{Came, Due, Saying};
pub use signed::{Report, Signed};

/// The longest body that is taken, in bytes. Most vendors send a few thousand, Sentry a whole event.
const LONGEST: usize = 1024 * 1024;

/// How many hooks a second are taken of a vendor; twice as many at once.
const PER_SECOND: u32 = 5;

/// What takes hooks.
pub struct Hooks {
    keys: watch::Receiver<BTreeMap<String, String>>,
    bells: BTreeMap<String, Arc<Notify>>,
    signed: BTreeMap<String, Signed>,
    limits: Limits,
}

impl Hooks {
    /// Takes hooks of each provider with a bell, which is rung for each, at the key that `keys` has for it.
    pub fn new(
        keys: watch::Receiver<BTreeMap<String, String>>,
        bells: BTreeMap<String, Arc<Notify>>,
    ) -> Self {
        Self { keys, bells, signed: BTreeMap::new(), limits: Limits::new(PER_SECOND) }
    }

    /// Takes hooks of each of `signed` besides, at its key.
    #[must_use]
    pub fn with_signed(self, signed: BTreeMap<String, Signed>) -> Self {
        Self { signed, ..self }
    }

    /// What is done with a hook of `provider`, for whoever knows its key.
    fn way(&self, provider: &str, key: &str) -> Option<Way<'_>> {
        let keys = self.keys.borrow();
        let knows = keys.get(provider).is_some_and(|held| !held.is_empty() && is_same(key, held));
        if !knows {
            return None;
        }
        let bell = self.bells.get(provider).map(|bell| Way::Bell(bell));
        bell.or_else(|| self.signed.get(provider).map(Way::Signed))
    }
}

/// What is done with a hook.
enum Way<'a> {
    /// A bell is rung.
    Bell(&'a Notify),
    /// It is read, when it is signed.
    Signed(&'a Signed),
}

/// The addresses of hooks. Some vendors ask with GET unless they are told otherwise.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/hooks/{provider}/{key}", get(take).post(take))
        .layer(DefaultBodyLimit::max(LONGEST))
}

/// `/hooks/PROVIDER/KEY`.
async fn take(
    State(site): State<Arc<Site>>,
    Path((provider, key)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Some(way) = site.hooks.way(&provider, &key) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    if !site.hooks.limits.allow(&provider, site.clock.now()) {
        let wait = [(header::RETRY_AFTER, "1")];
        return (StatusCode::TOO_MANY_REQUESTS, wait, "rate limit exceeded\n").into_response();
    }
    let body = match body {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    let answer = match way {
        Way::Bell(bell) => {
            let kept = Came::note(&*site.store, &provider, site.clock.wall()).await;
            bell.notify_one();
            kept.map(|()| (StatusCode::OK, "OK\n"))
        }
        Way::Signed(signed) => match signed.read(&headers, &body) {
            Ok(report) => keep(&site, &provider, signed, report).await,
            Err(refused) => return refused.into_response(),
        },
    };
    match answer {
        Ok(answer) => answer.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Keeps what a signed hook tells of. Gives how it is answered.
async fn keep(
    site: &Site,
    provider: &str,
    signed: &Signed,
    report: Option<Report>,
) -> Result<(StatusCode, &'static str), StoreError> {
    let (store, now) = (&*site.store, site.clock.wall());
    Came::note(store, provider, now).await?;
    let Some(report) = report else { return Ok((StatusCode::OK, "OK, nothing to do\n")) };
    let answer = kept::keep(store, provider, report, now).await?;
    signed.bell.notify_one();
    Ok(answer)
}
