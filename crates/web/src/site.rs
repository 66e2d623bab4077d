//! What operators and programs reach over HTTP: the dashboard, the API, and whoever reports by itself.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use linkflow_model::Clock;
use linkflow_model::access::Caller;
use linkflow_model::config::Config;
use linkflow_model::role::Vantage;
use linkflow_store::Store;
use tokio::net::{TcpListener, UnixListener};

use crate::beat::{self, Intake};
use crate::door::{self, Door, Refused, Seal};
use crate::hook::{self, Hooks};
use crate::live::Live;
use crate::operator::Operator;
use crate::order::address::Source;
use crate::subscribe::{self, Desk};
use crate::{api, assets, board, metrics};

/// What paths of the site begin with in which there is no secret.
pub const PLAIN_PATHS: &[&str] = &[
    "account",
    "addresses",
    "alerts",
    "api",
    "assets",
    "audit",
    "certificates",
    "do",
    "drift",
    "events",
    "healthz",
    "incidents",
    "maintenance",
    "metrics",
    "monitors",
    "people",
    "readyz",
    "releases",
    "routes",
    "runs",
    "search",
    "services",
    "sign-in",
    "sign-out",
    "usage",
];

/// What paths begin with that have a secret behind that: of jobs, vendors, invitations and subscribers. A job's address may
/// also be all secret.
pub const KEYED_PATHS: &[&str] = &["hooks", "p", "ping", "setup", "subscribe", "unsubscribe"];

/// What the pages and answers are made of.
#[derive(Clone)]
pub struct Site {
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What the user asked for.
    pub config: Arc<Config>,
    /// Looks for another LinkFlow, where anything is watched.
    pub eyes: Arc<OnceLock<Arc<dyn Vantage>>>,
    /// The process that runs the stack.
    pub operator: Arc<dyn Operator>,
    /// Who listens for changes.
    pub live: Live,
    /// Takes reports of jobs.
    pub beats: Arc<Intake>,
    /// Seals what the store must not tell.
    pub seal: Seal,
    /// Takes hooks of vendors that watch.
    pub hooks: Arc<Hooks>,
    /// What the addresses of reports and hooks follow from.
    pub addresses: Source,
    /// Where people subscribe to the status page, when they may.
    pub desk: Option<Arc<Desk>>,
}

/// A page of ours runs scripts and styles from its own address only, and nobody frames it.
const CONTENT: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

impl Site {
    /// Everything that is answered.
    pub fn router(self) -> Router {
        let site = Arc::new(self);
        let door = (Arc::clone(&site), Arc::new(Door::new()));
        Self::routes(site)
            .layer(middleware::from_fn_with_state(door, door::guard))
            .layer(middleware::from_fn(guarded))
    }

    /// The same for `caller`, who has proved by other means who they are: whoever may open the door that this stands behind.
    pub fn router_for(self, caller: Caller) -> Router {
        Self::routes(Arc::new(self)).layer(Extension(caller)).layer(middleware::from_fn(guarded))
    }

    /// The same for whoever puts a caller into the request by a layer of their own.
    pub(crate) fn routes(site: Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .merge(door::routes())
            .merge(assets::routes())
            .merge(board::routes())
            .merge(api::routes())
            .merge(metrics::routes())
            .merge(beat::routes())
            .merge(hook::routes())
            .merge(subscribe::routes())
            .fallback(missing)
            .layer(middleware::from_fn_with_state(Arc::clone(&site), door::audited))
            .with_state(site)
    }

    /// Answers at `listener` until `stop` ends; then finishes what is under way.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let live = self.live.clone();
        let app = self.clone().router().into_make_service_with_connect_info::<SocketAddr>();
        tokio::select! {
            done = axum::serve(listener, app).with_graceful_shutdown(ended(stop, live)) => done,
            () = door::tidy_up(&self) => Ok(()),
        }
    }

    /// The same at a socket of this machine, for whoever may open it: `caller`.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve_owner(
        self,
        listener: UnixListener,
        caller: Caller,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let live = self.live.clone();
        let app = self.router_for(caller);
        axum::serve(listener, app).with_graceful_shutdown(ended(stop, live)).await
    }
}

/// Ends with `stop`, and has every stream of changes end as well: they would last for ever.
async fn ended(stop: impl Future<Output = ()>, live: Live) {
    stop.await;
    live.close();
}

/// Whether the store answers: without it nothing here is worth asking.
async fn ready(State(site): State<Arc<Site>>) -> Response {
    match site.store.newest_event().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// What is asked for and is not there.
async fn missing() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "nothing is at this address")
}

/// Adds what browsers need to know to every answer.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(CONTENT);
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
