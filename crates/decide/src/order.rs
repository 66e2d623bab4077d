//! What waits for what within a stage: callers for those they call, and spares for one another.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use linkflow_model::{
    Action, Allowed, Health, Lifecycle, Placement, Plan, ServiceName, ServiceSpec, ServiceView,
    Step, World,
};

#[cfg(test)]
mod tests;

/// The services, each after those it needs; where they need each other, by name.
pub(crate) fn by_need<'a>(
    specs: &BTreeMap<&'a ServiceName, &'a ServiceSpec>,
) -> Vec<&'a ServiceName> {
    let mut order: Vec<&ServiceName> = Vec::new();
    let mut left: BTreeSet<&ServiceName> = specs.keys().copied().collect();
    let is_free = |name: &ServiceName, left: &BTreeSet<&ServiceName>| {
        let needs = specs.get(name).map(|spec| spec.needs.as_slice()).unwrap_or_default();
        !needs.iter().any(|needed| left.contains(needed))
    };
    while let Some(next) =
        left.iter().copied().find(|name| is_free(name, &left)).or_else(|| left.first().copied())
    {
        left.remove(next);
        order.push(next);
    }
    order
}

/// Puts the steps of `plan` in order within their stages, and no more than is needed: what does not wait runs side by
/// side, so that a rollout takes as long as its slowest provider.
///
/// - No more than `allowed` working spares of a service are updated at once.
/// - A service waits for one that it needs as long as that one runs nowhere. What runs already answers meanwhile.
/// - Visitors are led to a new release after they were led to the new releases of what it needs.
pub(crate) fn arrange(
    plan: &mut Plan,
    specs: &BTreeMap<&ServiceName, &ServiceSpec>,
    world: &World,
    allowed: Allowed,
) {
    let order = by_need(specs);
    let rank = |name: &ServiceName| order.iter().position(|held| *held == name);
    let mut runs: BTreeSet<ServiceName> = world
        .services
        .iter()
        .filter(|(_, view)| runs_somewhere(view))
        .map(|(n, _)| n.clone())
        .collect();
    // What is started in stages that services go through apart: it may not have ended when a later one begins.
    let mut earlier: Vec<Placement> = Vec::new();
    for stage in &mut plan.stages {
        let before: Vec<Placement> = stage.steps.iter().map(|s| s.action.placement()).collect();
        let starts: Vec<bool> = stage.steps.iter().map(is_start).collect();
        let is_shift = stage.name == "shift";
        if stage.name == "rollout" {
            in_batches(&mut stage.steps, specs, world, allowed);
        }
        for (at, step) in stage.steps.iter_mut().enumerate() {
            let service = step.action.service();
            let Some(spec) = specs.get(service).filter(|_| starts[at] || is_shift) else {
                continue;
            };
            let mut due = Vec::new();
            for needed in spec.needs.iter().filter(|n| rank(n) < rank(service)) {
                let here = before.iter().zip(&starts).filter(|(_, starts)| **starts || is_shift);
                let here = here.map(|(placement, _)| placement);
                let earlier = earlier.iter().filter(|_| !is_shift);
                let first = earlier.chain(here).find(|placement| placement.service == *needed);
                if is_shift || !runs.contains(needed) {
                    due.extend(first.cloned());
                }
            }
            step.after.extend(due);
        }
        let started = before.into_iter().zip(starts).filter(|(_, starts)| *starts);
        let started = started.map(|(placement, _)| placement);
        if stage.apart {
            earlier.extend(started);
        } else {
            runs.extend(started.map(|placement| placement.service));
        }
    }
}

/// Of the spares that work now, each waits for the one `allowed` places before it.
fn in_batches(
    steps: &mut [Step],
    specs: &BTreeMap<&ServiceName, &ServiceSpec>,
    world: &World,
    allowed: Allowed,
) {
    let mut working: BTreeMap<ServiceName, Vec<Placement>> = BTreeMap::new();
    for step in steps {
        let placement = step.action.placement();
        let view = world.services.get(&placement.service);
        let held = view.and_then(|view| view.on(&placement.provider));
        let works = held.is_some_and(|p| matches!(p.health, Health::Up | Health::Resting));
        if !is_start(step) || !works {
            continue;
        }
        let most = specs.get(&placement.service).map_or(1, |spec| allowed.of(spec.runs_on.len()));
        let others = working.entry(placement.service.clone()).or_default();
        step.after.extend(others.len().checked_sub(most).map(|at| others[at].clone()));
        others.push(placement);
    }
}

fn is_start(step: &Step) -> bool {
    matches!(
        step.action,
        Action::Deploy { replicas: 1.., .. } | Action::Scale { replicas: 1.., .. }
    )
}

/// Whether something of the service runs that is not known to be down.
fn runs_somewhere(view: &ServiceView) -> bool {
    view.placements.iter().any(|placement| {
        matches!(placement.lifecycle, Lifecycle::Running | Lifecycle::Asleep)
            && placement.health != Health::Down
    })
}
