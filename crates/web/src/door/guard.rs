//! Stands before every page and answer: who asks, whether they may come in, and whether a page of ours asked.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use linkflow_model::Timestamp;
use linkflow_model::access::{Caller, Means};

use super::audit::{FROM, by, note};
use super::cookies::Cookie;
use super::origin::Origin;
use super::refused::{Asks, Refused};
use super::{Csrf, Door, csrf, sessions, tokens};
use crate::Site;
use crate::frame::Frame;

/// What is answered to everybody: a path and all below it.
pub(crate) const OPEN: &[&str] = &[
    "/healthz",
    "/readyz",
    "/sign-in",
    "/setup",
    "/assets",
    "/p",
    "/ping",
    "/hooks",
    "/subscribe",
    "/unsubscribe",
];

/// What asks for itself who may see it, when nobody proves who they are.
const OWN_RULES: &[&str] = &["/metrics"];

/// Those of them that have forms of ours: nobody else's page may send them.
const FORMS: &[&str] = &["/sign-in", "/setup"];

/// Whose session it is, for pages about the sign-in itself.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    /// The key of the session's document.
    pub(super) key: String,
    /// When they signed in.
    pub(super) made: Timestamp,
}

fn is_among(paths: &[&str], path: &str) -> bool {
    let below = |open: &&str| {
        path.strip_prefix(*open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    paths.iter().any(below)
}

/// Lets a request in with its [`Caller`], or answers why not. Refusals of those behind it are written here as well.
pub(crate) async fn guard(
    State((site, door)): State<(Arc<Site>, Arc<Door>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = Origin::of(request.headers(), request.extensions(), &site.config);
    let asks = Asks::of(request.method(), request.uri(), request.headers());
    request.extensions_mut().insert(origin.clone());
    request.extensions_mut().insert(door);
    let path = request.uri().path().to_owned();
    let changes = !csrf::is_safe(request.method());
    let mut frame = Frame {
        stack: site.config.stack.name.to_string(),
        caller: None,
        csrf: String::new(),
        path,
    };
    FROM.scope(origin.from(), async {
        let response = match admitted(&site, request, &origin, &asks).await {
            Ok(request) => {
                frame.caller = request.extensions().get().cloned();
                let csrf = request.extensions().get::<Csrf>();
                frame.csrf = csrf.map(|csrf| csrf.0.clone()).unwrap_or_default();
                next.run(request).await
            }
            Err(response) => *response,
        };
        match response.extensions().get::<Refused>() {
            None => response,
            Some(refused) => {
                if let Some(caller) = frame.caller.as_ref().filter(|_| changes) {
                    let what = format!("asked for {}", frame.path);
                    note(&site, by(caller), &what, "", &refused.why).await;
                }
                asks.told(refused, frame)
            }
        }
    })
    .await
}

/// The request with its caller, where it needs one; otherwise the answer.
async fn admitted(
    site: &Site,
    request: Request,
    origin: &Origin,
    asks: &Asks,
) -> Result<Request, Box<Response>> {
    let path = request.uri().path();
    let changes = !csrf::is_safe(request.method());
    if is_among(OPEN, path) || site.beats.is_address(path) {
        if changes && is_among(FORMS, path) && !csrf::is_ours(request.headers(), origin) {
            return Err(foreign());
        }
        return Ok(request);
    }
    let unable = |error| Box::new(Refused::from(error).into_response());
    if let Some(sent) = request.headers().get(header::AUTHORIZATION) {
        let shown = sent.to_str().ok().and_then(|text| text.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let shown = shown.map(|(_, token)| token.trim()).unwrap_or_default();
        let caller = tokens::caller(&*site.store, shown, site.clock.wall()).await;
        let caller = caller.map_err(unable)?.ok_or_else(|| Box::new(asks.stranger()))?;
        return Ok(with(request, caller));
    }
    let id = Cookie::Session.read(request.headers(), origin);
    let Some(id) = id else {
        let asks_itself = is_among(OWN_RULES, path);
        return if asks_itself { Ok(request) } else { Err(Box::new(asks.stranger())) };
    };
    let found = sessions::find(&*site.store, &id, site.clock.wall()).await.map_err(unable)?;
    let Some((held, person)) = found else { return Err(Box::new(asks.stranger())) };
    let mut request = request;
    if changes {
        let ours = csrf::is_ours(request.headers(), origin);
        let (proven, back) = csrf::has_token(request, &id).await;
        if !ours || !proven {
            return Err(foreign());
        }
        request = back;
    }
    let signed = Signed { key: held.key, made: held.value.made };
    request.extensions_mut().insert(signed);
    request.extensions_mut().insert(Csrf(csrf::token(&id)));
    let caller = Caller { name: person.name, scope: person.scope, means: Means::Session };
    Ok(with(request, caller))
}

fn with(mut request: Request, caller: Caller) -> Request {
    request.extensions_mut().insert(caller);
    request
}

/// The answer to what another site may have had a browser send.
fn foreign() -> Box<Response> {
    let why = "this did not come from a page of this site, or the page is old: open it again and repeat what you did";
    Box::new(Refused::new(StatusCode::FORBIDDEN, why).into_response())
}
