//! The routes as requests use them: what a request leads to, and what is known of each target.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use linkflow_model::{
    Moment, ProviderName, Routes, ServiceKind, ServiceName, ServiceRoute, Target,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::address::{Place, Resolve};
use crate::dial::Dialer;
use crate::meter::{Counts, RouteMeter};
use crate::pool::{Keep, Pool};
use crate::route::{Ask, Fit};
use crate::slots::{Slots, Waiters};
use crate::steer::{Effect, Failure, Happened, Id, Named, Steer, Tuning};
use crate::tell::Teller;

/// The routes of one generation.
pub(crate) struct Table {
    generation: u64,
    lines: Vec<Arc<Line>>,
}

/// One service, in one generation of the routes.
pub(crate) struct Line {
    pub(crate) route: ServiceRoute,
    pub(crate) group: Arc<Group>,
    /// In the order of the route's targets.
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) ids: Vec<Id>,
    /// Of the targets that do not take as many requests as come.
    pub(crate) slots: BTreeMap<Id, Arc<Slots>>,
    /// In the order of the route's hosts.
    pub(crate) meters: Vec<Arc<RouteMeter>>,
    /// For what comes from services of the stack.
    pub(crate) inside: Arc<RouteMeter>,
}

/// All that is known of a service's targets, whatever the generation.
pub(crate) struct Group {
    pub(crate) service: ServiceName,
    teller: Arc<Teller>,
    steer: Mutex<Steer>,
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// What is counted goes on when routes change and targets move.
    meters: Mutex<Meters>,
    /// What is taken stays taken when routes change.
    slots: Mutex<BTreeMap<Id, Arc<Slots>>>,
    pub(crate) waiters: Waiters,
}

#[derive(Default)]
struct Meters {
    routes: BTreeMap<String, Arc<RouteMeter>>,
    targets: BTreeMap<ProviderName, Arc<Counts>>,
}

/// One target.
pub(crate) struct Lane {
    pub(crate) id: Id,
    pub(crate) provider: ProviderName,
    pub(crate) address: String,
    pub(crate) kind: ServiceKind,
    pub(crate) health: Option<String>,
    /// How long a connection may take, where its service has a word of its own.
    pub(crate) connect_ms: Option<u64>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) group: Weak<Group>,
    pub(crate) counts: Arc<Counts>,
    /// Wakes its checker.
    pub(crate) check_now: Notify,
    /// Cancelled once it is in no route any more.
    pub(crate) gone: CancellationToken,
    /// Whether it has a checker.
    pub(crate) checked: AtomicBool,
}

/// How what comes from services of the stack is called among the routes.
const INSIDE: &str = "(internal)";

impl Table {
    /// The service that the closest host, the longest path and the most conditions lead to, and what counts that route.
    pub(crate) fn find(&self, ask: &Ask<'_>) -> Option<(&Arc<Line>, &Arc<RouteMeter>)> {
        let mut best = None;
        let mut most: Option<Fit> = None;
        for line in &self.lines {
            for (route, meter) in line.route.hosts.iter().zip(&line.meters) {
                let Some(fit) = ask.fit(route) else { continue };
                if most.is_none_or(|most| fit > most) {
                    (most, best) = (Some(fit), Some((line, meter)));
                }
            }
        }
        best
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Arc<Line>> {
        self.lines.iter().find(|line| line.route.service == *name)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
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

    /// What the targets take at once: as before, where they take as much as before.
    fn slots(&self, lanes: &[Arc<Lane>], route: &ServiceRoute) -> BTreeMap<Id, Arc<Slots>> {
        let mut held = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = lanes.iter().filter_map(|lane| {
            let most = lane.target(route)?.most?;
            let same = held.get(&lane.id).filter(|slots| slots.most() == most).cloned();
            Some((lane.id, same.unwrap_or_else(|| Arc::new(Slots::new(most)))))
        });
        let slots: BTreeMap<Id, Arc<Slots>> = slots.collect();
        held.clone_from(&slots);
        slots
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meter(&self, route: &str) -> Arc<RouteMeter> {
        let made = || Arc::new(RouteMeter::new(Some(self.service.clone()), route));
        Arc::clone(self.meters().routes.entry(route.to_owned()).or_insert_with(made))
    }

    fn counts(&self, provider: &ProviderName) -> Arc<Counts> {
        Arc::clone(self.meters().targets.entry(provider.clone()).or_default())
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
        if let Effect::Ejected { why, .. } = effect {
            lane.counts.ejected(why);
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
        self.counts.failed(&failure);
        self.on(Happened::Failed { target: self.id, wait, failure });
    }

    /// What `route` says of it.
    fn target<'a>(&self, route: &'a ServiceRoute) -> Option<&'a Target> {
        route.targets.iter().find(|target| self.is(target, route))
    }

    fn is(&self, target: &Target, route: &ServiceRoute) -> bool {
        self.provider == target.provider
            && self.address == target.address
            && self.kind == route.kind
            && self.health == route.health
            && self.connect_ms == route.timeouts.connect_ms
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
    /// A route beside those that are published.
    also: Option<ServiceRoute>,
}

struct Pages {
    routes: watch::Receiver<Arc<Routes>>,
    source: Arc<Routes>,
    table: Arc<Table>,
    groups: BTreeMap<ServiceName, Arc<Group>>,
    /// For services with a limit of their own on connections, by that limit.
    dialers: BTreeMap<u64, Arc<Dialer>>,
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
            table: Arc::new(Table { generation: 0, lines: Vec::new() }),
            groups: BTreeMap::new(),
            dialers: BTreeMap::new(),
            next: 0,
        };
        let pages = Mutex::new(pages);
        Self { pages, dialer, teller, resolve, tuning, keep, also: None }
    }

    /// The same, with a route beside those that are published.
    pub(crate) fn with(self, also: Option<ServiceRoute>) -> Self {
        Self { also, ..self }
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
        for route in routes.services.iter().chain(&self.also) {
            let group = self.group(pages, &route.service);
            group.steer().tune(self.tuning(route));
            let lanes = self.lanes(pages, &group, route);
            let ids: Vec<Id> = lanes.iter().map(|lane| lane.id).collect();
            let named = |lane: &Arc<Lane>| {
                let (place, sleeps) = lane.target(route).map_or((0, None), |t| (t.rank, t.sleeps));
                Named { id: lane.id, place, sleeps }
            };
            group.on(Happened::Table { targets: lanes.iter().map(named).collect() });
            let meters = route.hosts.iter().map(|host| group.meter(&host.label())).collect();
            let inside = group.meter(INSIDE);
            let route = route.clone();
            let slots = group.slots(&lanes, &route);
            lines.push(Arc::new(Line { route, group, lanes, ids, slots, meters, inside }));
        }
        let all = || routes.services.iter().chain(&self.also);
        let named = |service: &ServiceName| all().any(|route| route.service == *service);
        pages.groups.retain(|service, group| {
            let stays = named(service);
            if !stays {
                group.lanes().iter().for_each(|lane| lane.gone.cancel());
            }
            stays
        });
        pages.table = Arc::new(Table { generation: routes.generation, lines });
        pages.source = routes;
    }

    /// The numbers that decisions about a service are made with: where its answers may take longer, silence does too.
    fn tuning(&self, route: &ServiceRoute) -> Tuning {
        let Some(first_byte) = route.timeouts.first_byte_ms else { return self.tuning };
        let usual = self.tuning.first_byte.max(1);
        let scaled = |ms: u64| (ms.saturating_mul(first_byte) / usual).max(1);
        let (suspect, silent) = (scaled(self.tuning.suspect), scaled(self.tuning.silent));
        Tuning { suspect, silent, first_byte, ..self.tuning }
    }

    fn dialer(&self, pages: &mut Pages, connect_ms: Option<u64>) -> Arc<Dialer> {
        let Some(ms) = connect_ms else { return Arc::clone(&self.dialer) };
        let tasks = || self.dialer.tasks.clone();
        let made = || Arc::new(Dialer::new(Duration::from_millis(ms), tasks()));
        Arc::clone(pages.dialers.entry(ms).or_insert_with(made))
    }

    fn group(&self, pages: &mut Pages, service: &ServiceName) -> Arc<Group> {
        let made = || {
            Arc::new(Group {
                service: service.clone(),
                teller: Arc::clone(&self.teller),
                steer: Mutex::new(Steer::new(self.tuning)),
                lanes: Mutex::default(),
                meters: Mutex::default(),
                slots: Mutex::default(),
                waiters: Waiters::default(),
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
        let connect_ms = route.timeouts.connect_ms;
        let dialer = self.dialer(pages, connect_ms);
        pages.next += 1;
        Ok(Arc::new(Lane {
            id: Id(pages.next),
            provider: target.provider.clone(),
            address: target.address.clone(),
            kind: route.kind,
            health: route.health.clone(),
            connect_ms,
            pool: Pool::new(place, dialer, self.keep),
            group: Arc::downgrade(group),
            counts: group.counts(&target.provider),
            check_now: Notify::new(),
            gone: CancellationToken::new(),
            checked: AtomicBool::new(false),
        }))
    }
}
