//! The routes as requests use them: what a request leads to, and what is known of each target.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use linkflow_model::{
    Moment, ProviderName, Routes, ServiceKind, ServiceName, ServiceRoute, Target,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::address::{Place, Resolve};
use crate::dial::Dialer;
use crate::pool::{Keep, Pool};
use crate::route::{Ask, Fit};
use crate::steer::{Effect, Failure, Happened, Id, Named, Steer, Tuning};
use crate::tell::Teller;

/// The routes of one generation.
pub(crate) struct Table {
    lines: Vec<Arc<Line>>,
}

/// One service, in one generation of the routes.
pub(crate) struct Line {
    pub(crate) route: ServiceRoute,
    pub(crate) group: Arc<Group>,
    /// In the order of the route's targets.
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) ids: Vec<Id>,
}

/// All that is known of a service's targets, whatever the generation.
pub(crate) struct Group {
    pub(crate) service: ServiceName,
    teller: Arc<Teller>,
    steer: Mutex<Steer>,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

/// One target.
pub(crate) struct Lane {
    pub(crate) id: Id,
    pub(crate) provider: ProviderName,
    pub(crate) address: String,
    pub(crate) kind: ServiceKind,
    pub(crate) health: Option<String>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) group: Weak<Group>,
    pub(crate) counts: Counts,
    /// Wakes its checker.
    pub(crate) check_now: Notify,
    /// Cancelled once it is in no route any more.
    pub(crate) gone: CancellationToken,
    /// Whether it has a checker.
    pub(crate) checked: AtomicBool,
}

/// What has gone over a target so far.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    /// A moving average, in microseconds.
    pub(crate) latency_us: AtomicU64,
}

impl Table {
    /// The service that the closest host, the longest path and the most conditions lead to.
    pub(crate) fn find(&self, ask: &Ask<'_>) -> Option<&Arc<Line>> {
        let mut best: Option<(Fit, &Arc<Line>)> = None;
        for line in &self.lines {
            for fit in line.route.hosts.iter().filter_map(|route| ask.fit(route)) {
                if best.is_none_or(|(most, _)| fit > most) {
                    best = Some((fit, line));
                }
            }
        }
        best.map(|(_, line)| line)
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Arc<Line>> {
        self.lines.iter().find(|line| line.route.service == *name)
    }

    pub(crate) fn lines(&self) -> &[Arc<Line>] {
        &self.lines
    }
}

impl Line {
    pub(crate) fn lane(&self, id: Id) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|lane| lane.id == id)
    }
}

impl Group {
    pub(crate) fn steer(&self) -> MutexGuard<'_, Steer> {
        self.steer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes notice of what happened, and does what follows.
    pub(crate) fn on(&self, happened: Happened) {
        self.on_at(happened, self.teller.now());
    }

    /// The same, when the time is known.
    pub(crate) fn on_at(&self, happened: Happened, now: Moment) {
        let effects = self.steer().on(happened, now);
        for effect in effects {
            self.carry_out(&effect);
        }
    }

    fn carry_out(&self, effect: &Effect) {
        let (Effect::Ejected { target, .. }
        | Effect::Readmitted { target, .. }
        | Effect::Up { target, .. }
        | Effect::Down { target, .. }
        | Effect::CheckNow { target }) = effect;
        let lane = self.lanes().iter().find(|lane| lane.id == *target).cloned();
        let Some(lane) = lane else { return };
        match effect {
            Effect::Ejected { .. } | Effect::Down { .. } => lane.pool.forget(),
            Effect::CheckNow { .. } => lane.check_now.notify_one(),
            Effect::Readmitted { .. } | Effect::Up { .. } => {}
        }
        if let Effect::Ejected { .. } = effect {
            lane.check_now.notify_one();
        }
        self.teller.tell(effect, &self.service, &lane.provider);
    }
}

impl Lane {
    pub(crate) fn on(&self, happened: Happened) {
        if let Some(group) = self.group.upgrade() {
            group.on(happened);
        }
    }

    pub(crate) fn failed(&self, wait: Option<u64>, failure: Failure) {
        self.counts.failures.fetch_add(1, Relaxed);
        self.on(Happened::Failed { target: self.id, wait, failure });
    }

    fn is(&self, target: &Target, route: &ServiceRoute) -> bool {
        self.provider == target.provider
            && self.address == target.address
            && self.kind == route.kind
            && self.health == route.health
    }
}

impl Counts {
    pub(crate) fn answered_in(&self, micros: u64) {
        let before = self.latency_us.load(Relaxed);
        let after = if before == 0 { micros } else { (before * 7 + micros) / 8 };
        self.latency_us.store(after, Relaxed);
    }
}

/// Keeps the table in step with the published routes.
pub(crate) struct Book {
    pages: Mutex<Pages>,
    pub(crate) dialer: Arc<Dialer>,
    teller: Arc<Teller>,
    resolve: Resolve,
    tuning: Tuning,
    keep: Keep,
}

struct Pages {
    routes: watch::Receiver<Arc<Routes>>,
    source: Arc<Routes>,
    table: Arc<Table>,
    groups: BTreeMap<ServiceName, Arc<Group>>,
    next: u32,
}

impl Book {
    pub(crate) fn new(
        mut routes: watch::Receiver<Arc<Routes>>,
        dialer: Arc<Dialer>,
        teller: Arc<Teller>,
        resolve: Resolve,
        tuning: Tuning,
        keep: Keep,
    ) -> Self {
        routes.mark_changed();
        let pages = Pages {
            routes,
            source: Arc::new(Routes::default()),
            table: Arc::new(Table { lines: Vec::new() }),
            groups: BTreeMap::new(),
            next: 0,
        };
        let pages = Mutex::new(pages);
        Self { pages, dialer, teller, resolve, tuning, keep }
    }

    /// Tells of new routes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Routes>> {
        self.pages().routes.clone()
    }

    /// The table as the routes are at this moment.
    pub(crate) fn table(&self) -> Arc<Table> {
        let mut pages = self.pages();
        // All requests pass here: the routes themselves are looked at only when there is news, or nobody to bring any.
        if !matches!(pages.routes.has_changed(), Ok(false)) {
            let latest = Arc::clone(&pages.routes.borrow_and_update());
            if !Arc::ptr_eq(&pages.source, &latest) {
                self.turn(&mut pages, latest);
            }
        }
        Arc::clone(&pages.table)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, pages: &mut Pages, routes: Arc<Routes>) {
        let mut lines = Vec::new();
        for route in &routes.services {
            let group = self.group(pages, &route.service);
            let lanes = self.lanes(pages, &group, route);
            let ids: Vec<Id> = lanes.iter().map(|lane| lane.id).collect();
            let named = |lane: &Arc<Lane>| {
                let target = route.targets.iter().find(|target| lane.is(target, route));
                let (place, sleeps) = target.map_or((0, None), |t| (t.rank, t.sleeps));
                Named { id: lane.id, place, sleeps }
            };
            group.on(Happened::Table { targets: lanes.iter().map(named).collect() });
            lines.push(Arc::new(Line { route: route.clone(), group, lanes, ids }));
        }
        let named = |service: &ServiceName| routes.services.iter().any(|r| r.service == *service);
        pages.groups.retain(|service, group| {
            let stays = named(service);
            if !stays {
                group.lanes().iter().for_each(|lane| lane.gone.cancel());
            }
            stays
        });
        pages.table = Arc::new(Table { lines });
        pages.source = routes;
    }

    fn group(&self, pages: &mut Pages, service: &ServiceName) -> Arc<Group> {
        let made = || {
            Arc::new(Group {
                service: service.clone(),
                teller: Arc::clone(&self.teller),
                steer: Mutex::new(Steer::new(self.tuning)),
                lanes: Mutex::default(),
            })
        };
        Arc::clone(pages.groups.entry(service.clone()).or_insert_with(made))
    }

    /// The lanes of a route's targets: those there were, as long as nothing about them changed, and new ones.
    fn lanes(&self, pages: &mut Pages, group: &Arc<Group>, route: &ServiceRoute) -> Vec<Arc<Lane>> {
        let before = group.lanes().clone();
        let mut lanes: Vec<Arc<Lane>> = Vec::new();
        for target in &route.targets {
            let twice = lanes.iter().any(|lane| lane.is(target, route));
            let same = before.iter().find(|lane| lane.is(target, route)).cloned();
            match same.map_or_else(|| self.lane(pages, group, route, target), Ok) {
                Ok(lane) if !twice => lanes.push(lane),
                Ok(_) => {}
                Err(why) => warn!(service = %route.service, "{why}"),
            }
        }
        for lane in before.iter().filter(|old| !lanes.iter().any(|lane| lane.id == old.id)) {
            lane.gone.cancel();
        }
        *group.lanes() = lanes.clone();
        lanes
    }

    fn lane(
        &self,
        pages: &mut Pages,
        group: &Arc<Group>,
        route: &ServiceRoute,
        target: &Target,
    ) -> Result<Arc<Lane>, String> {
        let place = Place::parse(&target.address, route.kind, &self.resolve)?;
        pages.next += 1;
        Ok(Arc::new(Lane {
            id: Id(pages.next),
            provider: target.provider.clone(),
            address: target.address.clone(),
            kind: route.kind,
            health: route.health.clone(),
            pool: Pool::new(place, Arc::clone(&self.dialer), self.keep),
            group: Arc::downgrade(group),
            counts: Counts::default(),
            check_now: Notify::new(),
            gone: CancellationToken::new(),
            checked: AtomicBool::new(false),
        }))
    }
}
