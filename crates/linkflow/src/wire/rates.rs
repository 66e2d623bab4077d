//! What happened between two pictures of an edge: rates a second, and times.

use linkflow_edge::{BUCKETS_US, EdgePicture, RoutePicture, TargetPicture, TargetState};
use linkflow_model::{ProviderName, ServiceName};
use serde::Serialize;

/// What happened in between, a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rates {
    /// How long it was, in milliseconds.
    pub(crate) over_ms: u64,
    pub(crate) generation: u64,
    pub(crate) requests_per_s: f64,
    pub(crate) in_flight: u64,
    pub(crate) connections: u64,
    pub(crate) routes: Vec<RouteRates>,
    pub(crate) targets: Vec<TargetRates>,
}

/// How requests over one route fared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RouteRates {
    pub(crate) route: String,
    pub(crate) service: Option<ServiceName>,
    pub(crate) requests_per_s: f64,
    #[serde(rename = "2xx_per_s")]
    pub(crate) good: f64,
    #[serde(rename = "4xx_per_s")]
    pub(crate) refused: f64,
    #[serde(rename = "5xx_per_s")]
    pub(crate) failed: f64,
    pub(crate) broken_per_s: f64,
    pub(crate) retries_per_s: f64,
    pub(crate) hedges_per_s: f64,
    #[serde(flatten)]
    pub(crate) times: Times,
    /// Since the edge began.
    pub(crate) requests: u64,
}

/// How one target stands and did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TargetRates {
    pub(crate) service: ServiceName,
    pub(crate) provider: ProviderName,
    pub(crate) address: String,
    pub(crate) state: TargetState,
    pub(crate) why: Option<String>,
    pub(crate) left_ms: Option<u64>,
    /// Of the requests that were sent to targets of its service, 0 to 1; none while there were none.
    pub(crate) share: Option<f64>,
    pub(crate) in_flight: u64,
    pub(crate) requests_per_s: f64,
    pub(crate) failures_per_s: f64,
    #[serde(flatten)]
    pub(crate) times: Times,
    /// Since the edge began.
    pub(crate) requests: u64,
}

/// Until answers began, in milliseconds; none while there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

impl Rates {
    /// What happened from `before` to `now`.
    pub(crate) fn between(before: &EdgePicture, now: &EdgePicture) -> Self {
        let over_ms = now.at.since(before.at).max(1);
        let per_s = |count: u64| count as f64 * 1_000.0 / over_ms as f64;
        let routes = now.routes.iter().map(|route| {
            let same = |r: &&RoutePicture| r.route == route.route && r.service == route.service;
            of_route(before.routes.iter().find(same), route, &per_s)
        });
        let routes: Vec<RouteRates> = routes.collect();
        let sent = |target: &TargetPicture| {
            let old = same_target(before, target).map_or(0, |old| old.requests);
            target.requests.saturating_sub(old)
        };
        let targets = now.targets.iter().map(|target| {
            let all = now.targets.iter().filter(|t| t.service == target.service).map(sent).sum();
            of_target(same_target(before, target), target, (sent(target), all), &per_s)
        });
        Self {
            over_ms,
            generation: now.generation,
            requests_per_s: routes.iter().map(|route| route.requests_per_s).sum(),
            in_flight: now.in_flight,
            connections: now.connections,
            targets: targets.collect(),
            routes,
        }
    }
}

fn same_target<'p>(picture: &'p EdgePicture, target: &TargetPicture) -> Option<&'p TargetPicture> {
    let same = |t: &&TargetPicture| t.service == target.service && t.provider == target.provider;
    picture.targets.iter().find(same)
}

fn of_route(
    before: Option<&RoutePicture>,
    now: &RoutePicture,
    per_s: &impl Fn(u64) -> f64,
) -> RouteRates {
    let old = before.cloned().unwrap_or_default();
    let class = |class: usize| {
        now.answers[class].saturating_sub(old.answers.get(class).copied().unwrap_or(0))
    };
    let all = (0..now.answers.len()).map(class).sum();
    RouteRates {
        route: now.route.clone(),
        service: now.service.clone(),
        requests_per_s: per_s(all),
        good: per_s(class(1)),
        refused: per_s(class(3)),
        failed: per_s(class(4)),
        broken_per_s: per_s(now.broken.saturating_sub(old.broken)),
        retries_per_s: per_s(now.retries.saturating_sub(old.retries)),
        hedges_per_s: per_s(now.hedges.saturating_sub(old.hedges)),
        times: Times::between(&old.first_byte, &now.first_byte),
        requests: now.answers.iter().sum(),
    }
}

fn of_target(
    before: Option<&TargetPicture>,
    now: &TargetPicture,
    (sent, all): (u64, u64),
    per_s: &impl Fn(u64) -> f64,
) -> TargetRates {
    let failures = before.map_or(0, |old| old.failures);
    let buckets = before.map(|old| old.first_byte.clone()).unwrap_or_default();
    TargetRates {
        service: now.service.clone(),
        provider: now.provider.clone(),
        address: now.address.clone(),
        state: now.state,
        why: now.why.clone(),
        left_ms: now.left_ms,
        share: (all > 0).then(|| sent as f64 / all as f64),
        in_flight: now.in_flight,
        requests_per_s: per_s(sent),
        failures_per_s: per_s(now.failures.saturating_sub(failures)),
        times: Times::between(&buckets, &now.first_byte),
        requests: now.requests,
    }
}

impl Times {
    fn between(before: &[u64], now: &[u64]) -> Self {
        let counts = now
            .iter()
            .enumerate()
            .map(|(at, count)| count.saturating_sub(before.get(at).copied().unwrap_or(0)));
        let counts: Vec<u64> = counts.collect();
        let [p50_ms, p95_ms, p99_ms] = [0.50, 0.95, 0.99].map(|share| quantile(&counts, share));
        Self { p50_ms, p95_ms, p99_ms }
    }
}

/// Within how many milliseconds so great a share was: spread evenly within its bucket, as Prometheus takes it to be.
pub(crate) fn quantile(counts: &[u64], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    let wanted = total as f64 * share;
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let from = at.checked_sub(1).map_or(0, |at| BUCKETS_US[at]) as f64;
        // What is beyond the last bound is at least that.
        let to = BUCKETS_US.get(at).map_or(from, |to| *to as f64);
        let within = *count as f64;
        if below + within >= wanted {
            return Some((from + (to - from) * ((wanted - below) / within)) / 1_000.0);
        }
        below += within;
    }
    None
}
