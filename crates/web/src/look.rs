//! Looks for another LinkFlow, which asks to know whether only it cannot reach something.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use linkflow_model::Looked;
use serde::Deserialize;

use crate::Site;

/// How long a look may take at most: whoever asked does not wait longer.
const MOST_MS: u64 = 60_000;

/// What is to be looked at.
#[derive(Deserialize)]
struct Wanted {
    /// As the config of both calls it: `monitor.api`.
    subject: String,
    /// How long its target may take, in milliseconds.
    limit_ms: u64,
}

/// Where it is asked.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new().route("/api/v1/looks", post(look))
}

/// One look, at what this LinkFlow watches as well; at nothing else, so that nobody has it look anywhere.
async fn look(State(site): State<Arc<Site>>, Json(wanted): Json<Wanted>) -> Json<Looked> {
    let limit = Duration::from_millis(wanted.limit_ms.min(MOST_MS));
    Json(match site.eyes.get() {
        Some(eyes) => eyes.look(&wanted.subject, limit).await,
        None => Looked::Blind,
    })
}
