//! What operators and programs reach over HTTP: the dashboard, the API, and whoever reports by itself.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use linkflow_model::Clock;
use linkflow_model::config::Config;
use linkflow_store::Store;
use tokio::net::TcpListener;

use crate::beat::{self, Intake};

/// What the pages and answers are made of.
#[derive(Clone)]
pub struct Site {
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What the user asked for.
    pub config: Arc<Config>,
    /// Takes reports of jobs.
    pub beats: Arc<Intake>,
}

/// A page of ours runs scripts and styles from its own address only, and nobody frames it.
const CONTENT: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

impl Site {
    /// Everything that is answered.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .merge(beat::routes())
            .with_state(Arc::new(self))
            .layer(middleware::from_fn(guarded))
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
        axum::serve(listener, self.router()).with_graceful_shutdown(stop).await
    }
}

/// Whether the store answers: without it nothing here is worth asking.
async fn ready(State(site): State<Arc<Site>>) -> Response {
    match site.store.newest_event().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
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
