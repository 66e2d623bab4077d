//! Asks each target again and again whether it is well.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use linkflow_model::{Health, Probe, ProbePicture, ReleaseId, ServiceKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::body::Outgoing;
use crate::http1::Arriving;
use crate::pool::{Head, Pool};
use crate::proxy::Proxy;
use crate::steer::{Failure, Happened};
use crate::table::{Group, Lane};

/// The most that a health answer may hold and be read, in bytes.
const ANSWER_MOST: usize = 64 << 10;

/// Starts a checker for each target, whenever there are new ones, until the edge stops.
pub(crate) struct Checkers {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) picture: Arc<watch::Sender<Arc<ProbePicture>>>,
    /// How long one check may take.
    pub(crate) limit: Duration,
    pub(crate) stop: CancellationToken,
}

impl Checkers {
    pub(crate) async fn run(self: Arc<Self>) {
        let mut routes = self.proxy.book.subscribe();
        loop {
            routes.mark_unchanged();
            self.start();
            match self.stop.run_until_cancelled(routes.changed()).await {
                None => return,
                Some(Ok(())) => {}
                // Nobody will publish routes any more: the last ones stay.
                Some(Err(_)) => return self.stop.cancelled().await,
            }
        }
    }

    fn start(self: &Arc<Self>) {
        let table = self.proxy.book.table();
        let lanes = || table.lines().iter().flat_map(|line| &line.lanes);
        self.picture.send_if_modified(|picture| {
            let known = |key: &(_, _)| {
                let named = |line: &&Arc<crate::table::Line>| line.route.service == key.0;
                let line = table.lines().iter().find(named);
                line.is_some_and(|line| line.lanes.iter().any(|lane| lane.provider == key.1))
            };
            let before = picture.len();
            Arc::make_mut(picture).retain(|key, _| known(key));
            picture.len() != before
        });
        for lane in lanes().filter(|lane| !lane.checked.swap(true, Relaxed)) {
            let (this, lane) = (Arc::clone(self), Arc::clone(lane));
            self.proxy.tasks.spawn(async move {
                let (stop, gone) = (this.stop.clone(), lane.gone.clone());
                tokio::select! {
                    () = this.check(lane) => {}
                    () = stop.cancelled() => {}
                    () = gone.cancelled() => {}
                }
            });
        }
    }

    async fn check(&self, lane: Arc<Lane>) {
        while let Some(group) = lane.group.upgrade() {
            if self.rests(&group, &lane) {
                drop(group);
                lane.check_now.notified().await;
                continue;
            }
            group.on(Happened::Checking { target: lane.id });
            let patience = group.steer().cold_start_left(lane.id, self.proxy.teller.now());
            let limit = self.limit.max(Duration::from_millis(patience));
            self.show_waking(&group, &lane);
            let asked = Instant::now();
            let seen = match timeout(limit, ask(&lane)).await {
                Ok(seen) => seen,
                Err(_) => Err(format!("no answer in {} ms", limit.as_millis())),
            };
            lane.pool.expire();
            let took = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.record(&group, &lane, seen, took);
            let pause =
                group.steer().next_check(lane.id, self.proxy.teller.now(), self.proxy.ids.one());
            drop(group);
            tokio::select! {
                () = sleep(Duration::from_millis(pause)) => {}
                () = lane.check_now.notified() => {}
            }
        }
    }

    /// Whether the target is to be left alone, which the picture then says.
    fn rests(&self, group: &Group, lane: &Lane) -> bool {
        let rests = group.steer().rests(lane.id, self.proxy.teller.now());
        if rests {
            self.show(group, lane, |_| {});
        }
        rests
    }

    /// Has the picture say that the target is being woken, since the answer may be long in coming.
    fn show_waking(&self, group: &Group, lane: &Lane) {
        if group.steer().cold_start_left(lane.id, self.proxy.teller.now()) > 0 {
            self.show(group, lane, |_| {});
        }
    }

    /// Takes notice of a check, and puts it into the picture.
    fn record(&self, group: &Group, lane: &Lane, seen: Result<Seen, String>, took: u64) {
        let bad = seen.as_ref().err().cloned();
        group.on(Happened::Checked { target: lane.id, bad: bad.clone() });
        let now = self.proxy.teller.now();
        self.show(group, lane, |probe| {
            probe.seen = now;
            if let Ok(seen) = seen {
                probe.latency_ms = Some(took);
                probe.release = seen.release;
            }
            probe.why = bad.or_else(|| probe.why.take());
        });
    }

    /// Puts the verdict into the picture, with what `change` makes of the last probe.
    fn show(&self, group: &Group, lane: &Lane, change: impl FnOnce(&mut Probe)) {
        if lane.gone.is_cancelled() {
            return;
        }
        let (health, since) = group.steer().verdict(lane.id, self.proxy.teller.now());
        let key = (group.service.clone(), lane.provider.clone());
        self.picture.send_if_modified(|picture| {
            let picture = Arc::make_mut(picture);
            let old = picture.remove(&key);
            let mut probe = old.clone().unwrap_or_default();
            change(&mut probe);
            (probe.health, probe.since) = (health, since);
            probe.why.take_if(|_| health == Health::Up);
            let news = old.is_none_or(|old| {
                old.health != probe.health || old.release != probe.release || old.why != probe.why
            });
            picture.insert(key, probe);
            news
        });
    }
}

/// What a good answer said.
struct Seen {
    release: Option<ReleaseId>,
}

/// Asks once, over a connection of its own: a pooled one would say nothing about new ones.
async fn ask(lane: &Lane) -> Result<Seen, String> {
    let grpc = lane.kind == ServiceKind::Grpc;
    let (method, path, body) = if grpc {
        // One frame, not compressed, with an empty message: the health of the server as a whole.
        let frame = Full::new(Bytes::from_static(&[0; 5]));
        (Method::POST, "/grpc.health.v1.Health/Check", Outgoing::Whole(frame))
    } else {
        (Method::GET, lane.health.as_deref().unwrap_or("/"), Outgoing::Empty)
    };
    let path: PathAndQuery = path.parse().map_err(|e| format!("`{path}` is no path: {e}"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("linkflow-check"));
    if grpc {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let head = Head { method, path, headers };
    let alone: Arc<Pool> = lane.pool.apart();
    let reply = alone.send(&head, body, true).await.map_err(|trouble| match trouble.failure {
        Failure::Refused => "connection refused".to_owned(),
        Failure::Unreachable(why) => why,
        Failure::Cut | Failure::Broken | Failure::Silent => "connection cut".to_owned(),
    })?;
    let release = reply.response.headers().get("x-linkflow-release");
    let release = release.and_then(|v| v.to_str().ok()).and_then(|text| text.parse().ok());
    if grpc {
        judge_grpc(reply.response).await?;
    } else {
        let status = reply.response.status();
        let well =
            if lane.health.is_some() { status.is_success() } else { !status.is_server_error() };
        if !well {
            return Err(format!("answered {}", status.as_u16()));
        }
    }
    Ok(Seen { release })
}

/// Good is: status 0, and a message that says SERVING (`grpc.health.v1`).
async fn judge_grpc(response: Response<Arriving>) -> Result<(), String> {
    if response.status() != 200 {
        return Err(format!("answered {}", response.status().as_u16()));
    }
    let (parts, body) = response.into_parts();
    let read = Limited::new(body, ANSWER_MOST).collect().await;
    let read = read.map_err(|error| format!("its answer broke off: {error}"))?;
    let trailers = read.trailers().cloned().unwrap_or_default();
    let code = trailers.get("grpc-status").or_else(|| parts.headers.get("grpc-status"));
    let code = code.and_then(|v| v.to_str().ok()).unwrap_or("none");
    if code != "0" {
        return Err(format!("answered gRPC status {code}"));
    }
    match serving(read.to_bytes()) {
        Some(1) => Ok(()),
        Some(status) => Err(format!("says health status {status}, not SERVING")),
        None => Err("says nothing of its health".to_owned()),
    }
}

/// The `status` of a `HealthCheckResponse` in a gRPC frame: field 1, a number. Left out, it is 0.
fn serving(mut frame: Bytes) -> Option<u8> {
    if frame.remaining() < 5 || frame.get_u8() != 0 {
        return None;
    }
    match frame.get_u32() {
        0 => Some(0),
        _ if frame.remaining() >= 2 && frame.get_u8() == 0x08 => Some(frame.get_u8()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_message_is_read_from_its_frame() {
        let rows: [(&'static [u8], Option<u8>); 5] = [
            (&[0, 0, 0, 0, 2, 8, 1], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[], None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(serving(Bytes::from_static(bytes)), expected, "{bytes:?}");
        }
    }
}
