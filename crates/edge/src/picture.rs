//! What the edge does, as one value: for `linkflow route top`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use linkflow_model::{Health, Moment, ProbePicture, ProviderName, ServiceName};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::meter::{Classes, RouteMeter};
use crate::proxy::Proxy;
use crate::steer::Id;
use crate::table::{Lane, Line};
use crate::tls::Secure;

/// Looks at a running edge.
#[derive(Clone)]
pub struct View {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) tls: Option<Arc<Secure>>,
    pub(crate) probes: watch::Receiver<Arc<ProbePicture>>,
}

/// What an edge has done so far, and how its targets stand now. Numbers only grow, but for those that say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EdgePicture {
    /// When it was taken, by the edge's own clock.
    pub at: Moment,
    /// The generation of the routes.
    pub generation: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// Connections of clients that are open now.
    pub connections: u64,
    /// What came over each route.
    pub routes: Vec<RoutePicture>,
    /// How each target did.
    pub targets: Vec<TargetPicture>,
}

/// What came over one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutePicture {
    /// Its service; `None` where no route fits.
    pub service: Option<ServiceName>,
    /// The route as the config has it, `(internal)` or `(none)`.
    pub route: String,
    /// Answers by class of status.
    pub answers: Classes,
    /// How many answers took how long to begin: see [`crate::BUCKETS_US`].
    pub first_byte: Vec<u64>,
    /// Tries made because another one had failed.
    pub retries: u64,
    /// Tries made because another one was slow.
    pub hedges: u64,
    /// Answers that broke off.
    pub broken: u64,
}

/// How one target stands, and what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetPicture {
    /// Its service.
    pub service: ServiceName,
    /// Its provider.
    pub provider: ProviderName,
    /// Its base address.
    pub address: String,
    /// Whether requests go to it now.
    pub state: TargetState,
    /// Why they do not.
    pub why: Option<String>,
    /// How long it is left alone yet, at least, in milliseconds. It shrinks.
    pub left_ms: Option<u64>,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Tries that failed, and answers of 500 and above.
    pub failures: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// How many answers took how long to begin: see [`crate::BUCKETS_US`].
    pub first_byte: Vec<u64>,
}

/// Whether requests go to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// They go to it first.
    Serving,
    /// They go to it when those before it fail.
    Spare,
    /// It is left alone for a while, because of how it did.
    Ejected,
    /// Checks say that it does not answer.
    Down,
    /// It is being woken.
    Waking,
    /// Nobody asks for it, so that it may sleep.
    Resting,
}

impl TargetState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Spare => "spare",
            Self::Ejected => "ejected",
            Self::Down => "down",
            Self::Waking => "waking",
            Self::Resting => "resting",
        }
    }
}

impl View {
    /// What it has done so far.
    pub fn picture(&self) -> EdgePicture {
        let table = self.proxy.book.table();
        let meter = &self.proxy.watch.meter;
        let mut routes: Vec<RoutePicture> =
            self.route_meters().iter().map(|meter| of_route(meter)).collect();
        routes.push(of_route(&meter.unrouted));
        EdgePicture {
            at: self.proxy.teller.now(),
            generation: table.generation(),
            in_flight: self.proxy.in_flight.load(Relaxed) as u64,
            connections: meter.open.load(Relaxed),
            routes,
            targets: table.lines().iter().flat_map(|line| self.targets(line)).collect(),
        }
    }

    /// What counts the routes that there are, each once.
    pub(crate) fn route_meters(&self) -> Vec<Arc<RouteMeter>> {
        let mut all: Vec<Arc<RouteMeter>> = Vec::new();
        for line in self.proxy.book.table().lines() {
            for meter in line.meters.iter().chain([&line.inside]) {
                if !all.iter().any(|held| Arc::ptr_eq(held, meter)) {
                    all.push(Arc::clone(meter));
                }
            }
        }
        all
    }

    fn targets(&self, line: &Line) -> Vec<TargetPicture> {
        let best = line.group.steer().best(&line.ids, self.proxy.teller.now());
        line.lanes.iter().map(|lane| self.target(line, lane, best)).collect()
    }

    fn target(&self, line: &Line, lane: &Lane, best: Option<Id>) -> TargetPicture {
        let now = self.proxy.teller.now();
        let (health, until) = {
            let steer = line.group.steer();
            (steer.verdict(lane.id, now).0, steer.ejected_until(lane.id))
        };
        let state = match (health, until) {
            (Health::Down, _) => TargetState::Down,
            (_, Some(_)) => TargetState::Ejected,
            (Health::Waking, _) => TargetState::Waking,
            (Health::Resting, _) => TargetState::Resting,
            _ if best == Some(lane.id) => TargetState::Serving,
            _ => TargetState::Spare,
        };
        let service = line.group.service.clone();
        let probe_says = || {
            let key = (service.clone(), lane.provider.clone());
            self.probes.borrow().get(&key).and_then(|probe| probe.why.clone())
        };
        let why = match state {
            TargetState::Down => probe_says(),
            TargetState::Ejected => Some(lane.counts.ejected_why()),
            _ => None,
        };
        TargetPicture {
            provider: lane.provider.clone(),
            address: lane.address.clone(),
            state,
            why,
            left_ms: until.filter(|_| state == TargetState::Ejected).map(|until| until.since(now)),
            requests: lane.counts.requests.load(Relaxed),
            failures: lane.counts.failures.load(Relaxed),
            in_flight: lane.counts.in_flight.load(Relaxed),
            first_byte: lane.counts.first_byte.buckets(),
            service,
        }
    }
}

fn of_route(meter: &RouteMeter) -> RoutePicture {
    RoutePicture {
        service: meter.service.clone(),
        route: meter.route.clone(),
        answers: meter.answers.counts(),
        first_byte: meter.first_byte.buckets(),
        retries: meter.retries.load(Relaxed),
        hedges: meter.hedges.load(Relaxed),
        broken: meter.broken.load(Relaxed),
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}
