//! Asks every provider, reads the probes, and keeps it all as one world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use linkflow_decide::routes;
use linkflow_model::role::Seen;
use linkflow_model::{
    Asked, Drain, EventKind, FailoverOrder, Fault, Health, Level, Lifecycle, Moment, PlacementView,
    Probe, ProviderName, ServiceKind, ServiceName, ServiceSpec, ServiceView, Sleeps, Timestamp,
    World,
};
use linkflow_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::guard::{Patience, guarded};
use crate::journal::from_value;
use crate::{Engine, EngineError, locked};

/// The last word of one provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// When it last answered.
    at: Option<Moment>,
    /// What it said then.
    seen: Vec<Seen>,
    /// Since when each service is in its lifecycle there.
    since: BTreeMap<ServiceName, (Lifecycle, Moment)>,
    /// Why it does not answer now.
    fault: Option<Fault>,
}

/// Where each service serves, as last read from the store.
#[derive(Debug, Default)]
pub(crate) struct Actives {
    active: BTreeMap<ServiceName, (Active, Moment)>,
    may_run: BTreeMap<ServiceName, BTreeSet<ProviderName>>,
    drains: Vec<Drain>,
    orders: Vec<FailoverOrder>,
}

/// Where a service serves: the document `active/<service>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Active {
    pub(crate) provider: ProviderName,
    pub(crate) since: Timestamp,
}

impl Engine {
    /// Asks every provider that is in use for its placements, all at once. Never fails: a provider that does not answer keeps its last
    /// word, with its age.
    pub async fn look(&self) {
        if let Err(error) = self.read_actives().await {
            tracing::warn!("what serves where could not be read: {error}");
        }
        let used = self.providers_in_use();
        join_all(used.iter().map(|provider| self.look_at(provider))).await;
    }

    /// Asks one provider.
    pub(crate) async fn look_at(&self, provider: &ProviderName) {
        let Some(compute) = self.parts.computes.get(provider) else { return };
        let answer =
            guarded(provider, "tell its placements", Patience::LOOK, || compute.look()).await;
        let (now, services) = (self.parts.clock.now(), self.services());
        let changed = {
            let mut looks = locked(&self.looks);
            let look = looks.entry(provider.clone()).or_default();
            let was_silent = look.fault.is_some();
            match answer {
                Ok(seen) => {
                    look.note(&services, seen, now);
                    look.fault = None;
                }
                Err(fault) => look.fault = Some(fault),
            }
            (was_silent != look.fault.is_some()).then(|| look.fault.clone())
        };
        match changed {
            Some(Some(fault)) => {
                let mut event = self.event(EventKind::Api, Level::Warning, fault.to_string());
                event.provider = Some(provider.clone());
                self.tell(event).await;
            }
            Some(None) => {
                let said = format!("{provider} answers again");
                let mut event = self.event(EventKind::Api, Level::Notice, said);
                event.provider = Some(provider.clone());
                self.tell(event).await;
            }
            None => {}
        }
    }

    /// Providers whose API does not answer now, with why.
    pub fn faults(&self) -> BTreeMap<ProviderName, Fault> {
        let looks = locked(&self.looks);
        let silent =
            |(name, look): (&ProviderName, &Look)| Some((name.clone(), look.fault.clone()?));
        looks.iter().filter_map(silent).collect()
    }

    /// The last word of every provider that was asked so far, or why it does not answer now.
    pub(crate) fn words(&self) -> BTreeMap<ProviderName, Result<Vec<Seen>, Fault>> {
        let looks = locked(&self.looks);
        let word = |(name, look): (&ProviderName, &Look)| match &look.fault {
            Some(fault) => Some((name.clone(), Err(fault.clone()))),
            None => look.at.map(|_| (name.clone(), Ok(look.seen.clone()))),
        };
        looks.iter().filter_map(word).collect()
    }

    /// Where each service serves, as last read from the store.
    pub(crate) fn serving(&self) -> BTreeMap<ServiceName, ProviderName> {
        let held = locked(&self.actives);
        let at = held.active.iter().map(|(name, (active, _))| (name, &active.provider));
        at.map(|(name, provider)| (name.clone(), provider.clone())).collect()
    }

    /// Everything that is known now. Gives the edge a new route table when that changes it.
    pub async fn world(&self) -> Result<World, EngineError> {
        self.read_actives().await?;
        let world = self.assemble();
        let mut wanted = routes(&self.services(), &world, 0);
        self.parts.routes.send_if_modified(|held| {
            wanted.generation = held.generation;
            if **held == wanted {
                return false;
            }
            wanted.generation += 1;
            *held = Arc::new(std::mem::take(&mut wanted));
            true
        });
        Ok(world)
    }

    /// What the provider last said of a placement, and why it does not answer if it does not.
    pub(crate) fn seen(&self, service: &ServiceName, on: &ProviderName) -> Option<Seen> {
        let looks = locked(&self.looks);
        looks.get(on)?.seen.iter().find(|seen| seen.service == *service).cloned()
    }

    /// When the provider last answered.
    pub(crate) fn looked(&self, provider: &ProviderName) -> Option<Moment> {
        locked(&self.looks).get(provider)?.at
    }

    /// Has a placement that may sleep woken and checked until what is given back is dropped.
    pub(crate) fn keep_awake(&self, service: &ServiceName, on: &ProviderName) -> Awake<'_> {
        let placement = (service.clone(), on.clone());
        *locked(&self.awake).entry(placement.clone()).or_default() += 1;
        Awake { engine: self, placement }
    }

    /// What the probes say of a placement.
    pub(crate) fn probe(&self, service: &ServiceName, on: &ProviderName) -> Option<Probe> {
        self.parts.probes.borrow().get(&(service.clone(), on.clone())).cloned()
    }

    /// The providers that services serve from, or may run on.
    pub(crate) fn held_by_actives(&self) -> Vec<ProviderName> {
        let held = locked(&self.actives);
        let active = held.active.values().map(|(active, _)| &active.provider);
        active.chain(held.may_run.values().flatten()).cloned().collect()
    }

    async fn read_actives(&self) -> Result<(), EngineError> {
        let documents = self.parts.store.list("active/").await?;
        let (now, wall) = (self.parts.clock.now(), self.parts.clock.wall());
        let mut found = Vec::new();
        for document in documents {
            let active: Active = from_value(&document.key, document.body)?;
            let name = document.key.trim_start_matches("active/");
            found.extend(ServiceName::new(name).map(|name| (name, active)));
        }
        let mut may_run = BTreeMap::new();
        for document in self.parts.store.list("may-run/").await? {
            let at: BTreeSet<ProviderName> = from_value(&document.key, document.body)?;
            let name = document.key.trim_start_matches("may-run/");
            may_run.extend(ServiceName::new(name).map(|name| (name, at)));
        }
        let mut drains = Vec::new();
        for document in self.parts.store.list(Drain::PREFIX).await? {
            drains.push(from_value::<Drain>(&document.key, document.body)?);
        }
        let mut orders = Vec::new();
        for document in self.parts.store.list(FailoverOrder::PREFIX).await? {
            orders.push(from_value::<FailoverOrder>(&document.key, document.body)?);
        }
        let mut held = locked(&self.actives);
        (held.may_run, held.drains, held.orders) = (may_run, drains, orders);
        for (name, active) in found {
            if held.active.get(&name).is_some_and(|(held, _)| held.provider == active.provider) {
                continue;
            }
            // As long ago as the wall clock says, but never longer than this process remembers.
            let ago = wall.0.saturating_sub(active.since.0);
            let since = Moment(now.0.saturating_sub(ago));
            held.active.insert(name, (active, since));
        }
        Ok(())
    }

    /// Takes orders away whose time is over, and tells that once, whichever process does it.
    pub(crate) async fn end_orders(&self) -> Result<(), EngineError> {
        let now = self.parts.clock.wall();
        // What was read for the last world tells whether there is anything to do.
        if locked(&self.actives).orders.iter().all(|order| order.holds(now)) {
            return Ok(());
        }
        for document in self.parts.store.list(FailoverOrder::PREFIX).await? {
            let order: FailoverOrder = from_value(&document.key, document.body)?;
            if order.holds(now) {
                continue;
            }
            match self.parts.store.remove(&document.key, document.version).await {
                // Somebody else was faster, or has just said something new.
                Err(StoreError::Conflict { .. }) => continue,
                ended => ended?,
            };
            let all = || "every service".to_owned();
            let of = order.service.as_ref().map_or_else(all, ToString::to_string);
            let said = format!("the time is over for which {} had {of} at {}", order.by, order.to);
            let mut event = self.event(EventKind::Control, Level::Notice, said);
            (event.service, event.provider) = (order.service, Some(order.to));
            self.tell(event).await;
        }
        Ok(())
    }

    fn assemble(&self) -> World {
        let actives = locked(&self.actives);
        let looks = locked(&self.looks);
        let probes = self.parts.probes.borrow();
        let awake = locked(&self.awake);
        let (services, wall) = (self.services(), self.parts.clock.wall());
        let mut world = World::default();
        for spec in services.iter() {
            let active = actives.active.get(&spec.name);
            let order = FailoverOrder::of(&actives.orders, &spec.name, wall);
            let may_run = actives.may_run.get(&spec.name).cloned().unwrap_or_default();
            // Where it was before its cascade changed still counts, until it has left.
            let left = may_run.iter().chain(active.map(|(active, _)| &active.provider));
            let left: BTreeSet<_> = left.filter(|p| spec.rank(p).is_none()).collect();
            let placements = spec.runs_on.iter().chain(left).map(|provider| {
                let key = (spec.name.clone(), provider.clone());
                let mut view = view(spec, provider, looks.get(provider), probes.get(&key));
                let asleep = view.lifecycle == Lifecycle::Asleep;
                let may_rest = !awake.contains_key(&key);
                let sleeps = self.sleeps(spec, provider);
                view.sleeps = sleeps.map(|sleeps| Sleeps { may_rest, asleep, ..sleeps });
                view
            });
            let view = ServiceView {
                active: active.map(|(active, _)| active.provider.clone()),
                active_since: active.map(|(_, since)| *since).unwrap_or_default(),
                placements: placements.collect(),
                drained: drained(&actives.drains, &spec.name),
                asked: order.map(|order| asked(order, active.map(|(active, _)| active))),
                may_run,
            };
            world.services.insert(spec.name.clone(), view);
        }
        world
    }

    /// How `provider` puts a service to sleep: web services alone, and only those that are not kept warm.
    fn sleeps(&self, spec: &ServiceSpec, provider: &ProviderName) -> Option<Sleeps> {
        if spec.kind != ServiceKind::Web || spec.keep_warm {
            return None;
        }
        let can = self.parts.computes.get(provider)?.capabilities();
        Some(Sleeps {
            after_ms: u64::from(can.sleeps_after?) * 1_000,
            cold_start_ms: u64::from(can.cold_start) * 1_000,
            may_rest: true,
            asleep: false,
        })
    }
}

/// Where `service` is to be kept away from, and who says so.
fn drained(drains: &[Drain], service: &ServiceName) -> BTreeMap<ProviderName, String> {
    let own = drains.iter().filter(|drain| drain.is_for(service));
    own.map(|drain| (drain.provider.clone(), format!("{}: {}", drain.by, drain.why))).collect()
}

/// What `order` asks for, of a service that serves at `active`.
fn asked(order: &FailoverOrder, active: Option<&Active>) -> Asked {
    let FailoverOrder { to, by, why, at, .. } = order;
    let is_new = active.is_none_or(|active| active.since <= *at);
    Asked { to: to.clone(), why: format!("{by}: {why}"), is_new }
}

/// A placement that somebody waits for, so that it may not sleep.
pub(crate) struct Awake<'a> {
    engine: &'a Engine,
    placement: (ServiceName, ProviderName),
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        let mut awake = locked(&self.engine.awake);
        if let Some(count) = awake.get_mut(&self.placement) {
            *count -= 1;
            if *count == 0 {
                awake.remove(&self.placement);
            }
        }
    }
}

impl Look {
    fn note(&mut self, services: &[ServiceSpec], seen: Vec<Seen>, now: Moment) {
        self.at = Some(now);
        for spec in services {
            let found = seen.iter().find(|seen| seen.service == spec.name);
            let lifecycle = found.map_or(Lifecycle::Absent, |seen| seen.lifecycle);
            let held = self.since.get(&spec.name);
            if held.is_none_or(|(before, _)| *before != lifecycle) {
                self.since.insert(spec.name.clone(), (lifecycle, now));
            }
        }
        self.seen = seen;
    }
}

fn view(
    spec: &ServiceSpec,
    provider: &ProviderName,
    look: Option<&Look>,
    probe: Option<&Probe>,
) -> PlacementView {
    let seen = look.and_then(|look| look.seen.iter().find(|seen| seen.service == spec.name));
    let noted = look.and_then(|look| look.since.get(&spec.name));
    let (lifecycle, changed) = noted.copied().unwrap_or_default();
    let said = seen.filter(|_| lifecycle == Lifecycle::Failed).map(|seen| seen.said.clone());
    PlacementView {
        provider: provider.clone(),
        lifecycle,
        looked: look.and_then(|look| look.at),
        health: probe.map_or(Health::Unknown, |probe| probe.health),
        health_since: probe.map_or(changed, |probe| probe.since),
        why: probe.and_then(|probe| probe.why.clone()).or(said),
        latency_ms: probe.and_then(|probe| probe.latency_ms),
        release: probe.and_then(|probe| probe.release).or(seen.and_then(|seen| seen.release)),
        digest: seen.and_then(|seen| seen.digest.clone()),
        fingerprint: seen.and_then(|seen| seen.fingerprint.clone()),
        address: seen.and_then(|seen| seen.address.clone()),
        running: seen.map_or(0, |seen| seen.running),
        sleeps: None,
    }
}
