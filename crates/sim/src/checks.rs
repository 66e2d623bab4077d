//! What must hold at every moment, and in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_model::{
    Health, Moment, ProbePicture, ProviderName, Routes, ServiceName, ServiceSpec, World,
};

use crate::cloud::Cloud;
use crate::stack::POLICY;

/// How long the routes may lag behind the probes.
const LAG_MS: u64 = 1_000;

/// How much later than the move itself its event may come: a drain and a look.
const TELLING_MS: u64 = 1_000;

/// An exclusive service runs at most once, whatever anybody says.
pub(crate) fn never_twice(
    services: &[ServiceSpec],
    clouds: &BTreeMap<ProviderName, Arc<Cloud>>,
) -> Result<(), String> {
    for spec in services.iter().filter(|spec| spec.exclusive) {
        let at: Vec<String> = clouds
            .iter()
            .filter(|(_, cloud)| cloud.running(&spec.name) > 0)
            .map(|(name, _)| name.to_string())
            .collect();
        if at.len() > 1 {
            return Err(format!("{} runs on {} at once", spec.name, at.join(" and ")));
        }
    }
    Ok(())
}

/// No migration is started twice, and no two run at once.
pub(crate) fn migrates_once(clouds: &BTreeMap<ProviderName, Arc<Cloud>>) -> Result<(), String> {
    let mut starts: BTreeMap<String, u32> = BTreeMap::new();
    for (id, count) in clouds.values().flat_map(|cloud| cloud.starts()) {
        *starts.entry(id).or_default() += count;
    }
    if let Some((id, count)) = starts.into_iter().find(|(_, count)| *count > 1) {
        return Err(format!("{id} was started {count} times"));
    }
    let under: usize = clouds.values().map(|cloud| cloud.jobs_under()).sum();
    if under > 1 { Err(format!("{under} migrations run at once")) } else { Ok(()) }
}

/// The first target of a route is not one known to be down while another is known to be up.
pub(crate) fn never_to_the_dead(
    routes: &Routes,
    picture: &ProbePicture,
    now: Moment,
) -> Result<(), String> {
    for route in &routes.services {
        let known = |provider: &ProviderName, health: Health| {
            picture
                .get(&(route.service.clone(), provider.clone()))
                .is_some_and(|p| p.health == health && now.since(p.since) > LAG_MS)
        };
        let Some(first) = route.targets.first() else { continue };
        let better = route.targets.iter().find(|t| known(&t.provider, Health::Up));
        if known(&first.provider, Health::Down)
            && let Some(better) = better
        {
            return Err(format!(
                "{} goes to {}, which is dead, while {} lives",
                route.service, first.provider, better.provider
            ));
        }
    }
    Ok(())
}

/// A service does not go back and forth: two returns are at least the minimum stay apart.
pub(crate) fn never_flaps(returns: &BTreeMap<ServiceName, Vec<Moment>>) -> Result<(), String> {
    for (service, moments) in returns {
        for pair in moments.windows(2) {
            let apart = pair[1].since(pair[0]);
            if apart + TELLING_MS < POLICY.min_stay_ms {
                return Err(format!("{service} went back twice within {apart} ms"));
            }
        }
    }
    Ok(())
}

/// Everything serves from where it is most wanted, at the live release, and runs nowhere that it should not.
pub(crate) fn converged(
    services: &[ServiceSpec],
    world: &World,
    clouds: &BTreeMap<ProviderName, Arc<Cloud>>,
) -> Result<(), String> {
    for spec in services {
        let Some(wanted) = spec.runs_on.first() else { continue };
        let active = world.services.get(&spec.name).and_then(|view| view.active.as_ref());
        if active != Some(wanted) {
            return Err(format!("{} serves from {active:?} instead of {wanted}", spec.name));
        }
        for (name, cloud) in clouds {
            let runs = cloud.running(&spec.name) > 0;
            let due = spec.keeps_standby_warm() || name == wanted;
            if runs != due {
                let word = if runs { "runs" } else { "does not run" };
                return Err(format!("{} {word} on {name}", spec.name));
            }
        }
    }
    Ok(())
}
