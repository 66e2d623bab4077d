//! The generic provider: one plain JSON API for every kind of provider whose own API is not rehearsed, and its client.
//!
//! `GET /v1/services`, `GET|PUT|DELETE /v1/services/S`, `POST /v1/services/S/scale`, `POST /v1/services/S/restart`,
//! `GET /v1/services/S/logs?last=N`, `GET /v1/deployments/D`, `GET|PUT|DELETE /v1/jobs/J`: a job runs once, however
//! often it is put. Errors are `{"error": "…"}`.

mod adapter;
mod job;
mod server;

use std::collections::BTreeMap;

use linkflow_model::role::Seen;
use linkflow_model::{Fingerprint, PinnedImage, ReleaseId, ServiceKind, Size, StackName};
use serde::{Deserialize, Serialize};

pub use adapter::Adapter;
pub(crate) use server::Generic;

/// What `PUT /v1/services/S` takes. It has no `Debug`: the environment may hold secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Wanted {
    stack: StackName,
    release: ReleaseId,
    fingerprint: Fingerprint,
    image: PinnedImage,
    command: Option<Vec<String>>,
    kind: ServiceKind,
    port: Option<u16>,
    health: Option<String>,
    /// What to set. Names that are not here stay as they are.
    env: BTreeMap<String, String>,
    /// Names to remove.
    env_gone: Vec<String>,
    replicas: u32,
    size: Size,
}

/// A service, as `GET /v1/services` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    stack: StackName,
    /// The last deployment.
    deployment: String,
    /// Whether that one failed.
    failed: bool,
    seen: Seen,
}

/// `POST /v1/services/S/scale`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Scale {
    replicas: u32,
}
