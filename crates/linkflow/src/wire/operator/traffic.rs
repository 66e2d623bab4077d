//! What visitors asked for, from two pictures of the edge.

use std::sync::PoisonError;
use std::time::Duration;

use linkflow_edge::EdgePicture;
use linkflow_web::operator::{RouteTraffic, TargetTraffic, Traffic};
use tokio::time::sleep;

use super::Running;
use crate::wire::rates::Rates;

/// How often the edge is looked at.
const EVERY: Duration = Duration::from_secs(2);

impl Running {
    /// Keeps the last two pictures of the edge.
    pub(super) async fn look_at_traffic(&self) {
        loop {
            let picture = self.view.picture();
            {
                let mut held = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
                let before = held.1.replace(picture);
                held.0 = before;
            }
            sleep(EVERY).await;
        }
    }
}

/// What happened between two pictures; nothing yet with fewer.
pub(super) fn between(before: Option<&EdgePicture>, now: Option<&EdgePicture>) -> Traffic {
    let empty = EdgePicture::default();
    let now = now.unwrap_or(&empty);
    let rates = Rates::between(before.unwrap_or(now), now);
    let routes = rates.routes.into_iter().map(|route| RouteTraffic {
        route: route.route,
        service: route.service,
        requests_per_s: route.requests_per_s,
        good_per_s: route.good,
        refused_per_s: route.refused,
        failed_per_s: route.failed,
        retries_per_s: route.retries_per_s,
        p50_ms: route.times.p50_ms,
        p95_ms: route.times.p95_ms,
        requests: route.requests,
    });
    let targets = rates.targets.into_iter().map(|target| TargetTraffic {
        service: target.service,
        provider: target.provider,
        address: target.address,
        state: target.state.word().to_owned(),
        why: target.why,
        share: target.share,
        requests_per_s: target.requests_per_s,
        failures_per_s: target.failures_per_s,
        in_flight: target.in_flight,
        p50_ms: target.times.p50_ms,
        p95_ms: target.times.p95_ms,
    });
    Traffic {
        over_ms: rates.over_ms,
        requests_per_s: rates.requests_per_s,
        in_flight: rates.in_flight,
        connections: rates.connections,
        routes: routes.collect(),
        targets: targets.collect(),
    }
}
