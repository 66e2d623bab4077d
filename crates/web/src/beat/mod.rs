//! Takes reports of jobs, at the addresses that Cronitor and Healthchecks have for them.
//!
//! A report is answered once it is on disk. The key or the UUID in the address is the secret: nobody signs in.

mod limit;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use linkflow_model::{Beat, Output};
use linkflow_store::StoreError;
use serde_json::json;
use tokio::sync::{Notify, watch};

use crate::Site;
use crate::door::Refused;
pub(crate) use limit::Limits;
use report::{Report, Wrong};

/// How much of a body that is too long is read and dropped, in bytes, before its sender is cut off.
const DROPPED: usize = 1_000_000;

/// Says how much of a body is kept, as Healthchecks does.
const BODY_LIMIT: HeaderName = HeaderName::from_static("ping-body-limit");

/// Which address is whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The key that stands before names.
    pub key: String,
    /// The names of heartbeats, by their UUIDs in lower case.
    pub by_uuid: BTreeMap<String, String>,
    /// Every heartbeat's name.
    pub names: BTreeSet<String>,
}

/// What takes reports.
pub struct Intake {
    addresses: watch::Receiver<Addresses>,
    limits: Limits,
    bell: Arc<Notify>,
    /// What ids begin with: no other process has the same.
    begins: u64,
    next: AtomicU64,
}

impl Intake {
    /// Takes reports at `addresses`, of each heartbeat `per_second` at most, and rings `bell` for each.
    pub fn new(
        addresses: watch::Receiver<Addresses>,
        per_second: u32,
        bell: Arc<Notify>,
    ) -> Arc<Self> {
        let begins = RandomState::new().hash_one(0);
        let (limits, next) = (Limits::new(per_second), AtomicU64::new(0));
        Arc::new(Self { addresses, limits, bell, begins, next })
    }

    /// The heartbeat of that UUID.
    fn of_uuid(&self, uuid: &str) -> Option<String> {
        self.addresses.borrow().by_uuid.get(&uuid.to_ascii_lowercase()).cloned()
    }

    /// The heartbeat `name`, for whoever knows the key.
    fn of_name(&self, key: &str, name: &str) -> Option<String> {
        let addresses = self.addresses.borrow();
        let knows = !addresses.key.is_empty() && is_same(key, &addresses.key);
        addresses.names.get(name).filter(|_| knows).cloned()
    }

    /// Whether `path` is meant for a heartbeat, right below the host: `/UUID/…`, `/KEY/NAME/…`. The secret in it is the proof; a
    /// UUID that nobody has is answered as such, and not with a way to sign in, which a cron line would take for success.
    pub(crate) fn is_address(&self, path: &str) -> bool {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let is_key = |key: &str| !key.is_empty() && is_same(first, key);
        let is_uuid = first.len() == 36
            && first.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        is_uuid || is_key(&self.addresses.borrow().key)
    }

    fn id(&self) -> String {
        format!("{:016x}{:08x}", self.begins, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether two secrets are the same, in a time that tells nothing of where they differ.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && differ == 0
}

/// The addresses of reports.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/p/{key}/{name}", get(cronitor).post(cronitor))
        .route("/ping/{first}", get(one).post(one))
        .route("/ping/{first}/{second}", get(two).post(two))
        .route("/ping/{first}/{second}/{third}", get(three).post(three))
        // As at hc-ping.com, so that only the host of an address changes.
        .route("/{first}", get(one).post(one))
        .route("/{first}/{second}", get(two).post(two))
        .route("/{first}/{second}/{third}", get(three).post(three))
}

type Asked = State<Arc<Site>>;
type Pairs = Query<Vec<(String, String)>>;

/// `/p/KEY/NAME?state=…`: <https://cronitor.io/docs/telemetry-api>.
async fn cronitor(
    State(site): Asked,
    Path((key, name)): Path<(String, String)>,
    Query(pairs): Pairs,
    body: Body,
) -> Response {
    let Some(name) = site.beats.of_name(&key, &name) else { return missing() };
    match Report::of_cronitor(&pairs) {
        Ok(report) => take(&site, name, report, body).await,
        Err(wrong) => refused(wrong),
    }
}

async fn one(
    State(site): Asked,
    Path(first): Path<String>,
    Query(pairs): Pairs,
    body: Body,
) -> Response {
    ping(&site, [&first, "", ""], &pairs, body).await
}

async fn two(
    State(site): Asked,
    Path((first, second)): Path<(String, String)>,
    Query(pairs): Pairs,
    body: Body,
) -> Response {
    ping(&site, [&first, &second, ""], &pairs, body).await
}

async fn three(
    State(site): Asked,
    Path((first, second, third)): Path<(String, String, String)>,
    Query(pairs): Pairs,
    body: Body,
) -> Response {
    ping(&site, [&first, &second, &third], &pairs, body).await
}

/// `/UUID[/WHAT]` or `/KEY/NAME[/WHAT]`: <https://healthchecks.io/docs/http_api/>.
async fn ping(
    site: &Site,
    [first, second, third]: [&str; 3],
    pairs: &[(String, String)],
    body: Body,
) -> Response {
    let (name, what) = match site.beats.of_uuid(first) {
        Some(name) if third.is_empty() => (name, second),
        Some(_) => return missing(),
        None => match site.beats.of_name(first, second) {
            Some(name) => (name, third),
            None if site.beats.is_address(first) => return missing(),
            // A page of the site that is not there.
            None => {
                return Refused::new(StatusCode::NOT_FOUND, "nothing is at this address")
                    .into_response();
            }
        },
    };
    match Report::of_healthchecks(what, pairs) {
        Ok(report) => take(site, name, report, body).await,
        Err(wrong) => refused(wrong),
    }
}

/// Keeps a report, and answers when it is on disk.
async fn take(site: &Site, heartbeat: String, report: Report, body: Body) -> Response {
    if !site.beats.limits.allow(&heartbeat, site.clock.now()) {
        let wait = [(header::RETRY_AFTER, "1")];
        return (StatusCode::TOO_MANY_REQUESTS, wait, "rate limit exceeded").into_response();
    }
    let Some((bytes, cut)) = first_of(body).await else {
        return (StatusCode::BAD_REQUEST, "the body broke off").into_response();
    };
    let id = site.beats.id();
    let beat = report.beat(id, heartbeat, site.clock.wall(), bytes.len());
    match keep(site, &beat, &bytes, cut).await {
        Ok(()) => {
            site.beats.bell.notify_one();
            let kept = HeaderValue::from(Output::MOST);
            let anybody = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            ([(BODY_LIMIT, kept), anybody], "OK").into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn keep(site: &Site, beat: &Beat, bytes: &[u8], cut: bool) -> Result<(), StoreError> {
    if !bytes.is_empty() {
        let output = Output { base64: STANDARD.encode(bytes), cut };
        site.store.write(&Output::key(beat), None, &json!(output), None).await?;
    }
    site.store.write(&beat.key(), None, &json!(beat), None).await.map(drop)
}

/// The beginning of a body, and whether there was more. `None` when it broke off.
async fn first_of(mut body: Body) -> Option<(Vec<u8>, bool)> {
    let (mut kept, mut dropped) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.ok()?.into_data() else { continue };
        let room = Output::MOST - kept.len();
        let (fits, more) = bytes.split_at(room.min(bytes.len()));
        kept.extend_from_slice(fits);
        dropped += more.len();
        if dropped > DROPPED {
            break;
        }
    }
    Some((kept, dropped > 0))
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, "not found").into_response()
}

fn refused(wrong: Wrong) -> Response {
    match wrong {
        Wrong::Unknown => missing(),
        Wrong::Invalid(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}
