//! Where the edge may send requests, in which order.

use alloc::vec::Vec;

use linkflow_model::{
    Health, PlacementView, ProviderName, Routes, ServiceRoute, ServiceSpec, Target, World,
};

#[cfg(test)]
mod tests;

/// The route table for `world`: what is not known to be down first; among those the active placement, then by rank.
///
/// So visitors leave a dead placement as soon as the probes know of it, before the service is officially moved.
/// Placements that are down stay in the table: the edge probes them, and uses them when nothing better is left.
///
/// A place that is drained is left at once when another one answers. It stays in the table, behind those: better there than
/// nowhere.
///
/// A place that somebody asked for comes first as soon as it answers, or is to be woken.
///
/// What may sleep may rest, but for the place that is to take over from one that is down: that is woken.
pub fn routes(services: &[ServiceSpec], world: &World, generation: u64) -> Routes {
    let services = services.iter().filter(|spec| spec.is_probed()).map(|spec| {
        let view = world.services.get(&spec.name);
        let mut targets: Vec<(bool, bool, bool, bool, Target)> = Vec::new();
        let is_asked = |placement: &PlacementView| {
            let asked = view.and_then(|v| v.asked.as_ref()).filter(|asked| asked.is_new);
            let works = match placement.health {
                Health::Up => true,
                Health::Resting | Health::Waking => placement.sleeps.is_some(),
                Health::Down | Health::Unknown => false,
            };
            works && spec.keeps_standby_warm() && asked.is_some_and(|a| a.to == placement.provider)
        };
        let is_drained =
            |provider: &ProviderName| view.is_some_and(|v| v.drained.contains_key(provider));
        let answers = |p: &PlacementView| p.health == Health::Up && !is_drained(&p.provider);
        let can_leave =
            spec.keeps_standby_warm() && view.is_some_and(|v| v.placements.iter().any(answers));
        for (rank, provider) in spec.runs_on.iter().enumerate() {
            let Some(placement) = view.and_then(|v| v.on(provider)) else { continue };
            let Some(address) = &placement.address else { continue };
            let is_active = view.and_then(|v| v.active.as_ref()) == Some(provider);
            let target = Target {
                provider: provider.clone(),
                address: address.clone(),
                rank,
                sleeps: placement.sleeps,
                most: spec.concurrency.at(provider),
            };
            let left = can_leave && is_drained(provider);
            let other = !is_asked(placement);
            targets.push((placement.health == Health::Down, left, other, !is_active, target));
        }
        targets.sort_by_key(|(down, left, other, spare, target)| {
            (*down, *left, *other, *spare, target.rank)
        });
        if let Some((_, _, _, true, target)) = targets.first_mut()
            && let Some(sleeps) = &mut target.sleeps
        {
            sleeps.may_rest = false;
        }
        ServiceRoute {
            service: spec.name.clone(),
            kind: spec.kind,
            hosts: spec.routes.clone(),
            health: spec.health.clone(),
            idempotency_key: spec.idempotency_key,
            timeouts: spec.timeouts,
            queue: spec.concurrency.queue,
            targets: targets.into_iter().map(|(.., target)| target).collect(),
        }
    });
    Routes { generation, services: services.collect() }
}
