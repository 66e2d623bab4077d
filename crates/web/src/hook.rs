//! Takes webhooks of vendors that watch from outside: each is a reason to ask that vendor, and nothing more.
//!
//! The key in the address is the secret: nobody signs in. What is sent is dropped unread. So whoever learns an address can
//! make us look and cannot make us believe anything, a hook that comes twice changes nothing, and a vendor may send whatever
//! it likes in whatever form.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Notify, watch};

use crate::Site;
use crate::beat::{Limits, is_same};

/// The longest body that is taken, in bytes. Vendors send a few thousand.
const LONGEST: usize = 256 * 1024;

/// How many hooks a second are taken of a vendor; twice as many at once.
const PER_SECOND: u32 = 5;

/// What takes hooks.
pub struct Hooks {
    keys: watch::Receiver<BTreeMap<String, String>>,
    bells: BTreeMap<String, Arc<Notify>>,
    limits: Limits,
}

impl Hooks {
    /// Takes hooks of each provider with a bell, which is rung for each, at the key that `keys` has for it.
    pub fn new(
        keys: watch::Receiver<BTreeMap<String, String>>,
        bells: BTreeMap<String, Arc<Notify>>,
    ) -> Self {
        Self { keys, bells, limits: Limits::new(PER_SECOND) }
    }

    /// The bell of `provider`, for whoever knows its key.
    fn bell(&self, provider: &str, key: &str) -> Option<&Notify> {
        let keys = self.keys.borrow();
        let knows = keys.get(provider).is_some_and(|held| !held.is_empty() && is_same(key, held));
        self.bells.get(provider).filter(|_| knows).map(|bell| &**bell)
    }
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
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Some(bell) = site.hooks.bell(&provider, &key) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    if !site.hooks.limits.allow(&provider, site.clock.now()) {
        let wait = [(header::RETRY_AFTER, "1")];
        return (StatusCode::TOO_MANY_REQUESTS, wait, "rate limit exceeded\n").into_response();
    }
    if let Err(refused) = body {
        return refused.into_response();
    }
    bell.notify_one();
    "OK\n".into_response()
}
