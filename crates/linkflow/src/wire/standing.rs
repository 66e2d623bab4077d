//! How every service stands on every provider, for `status`, the dashboard and the API alike.

use std::collections::BTreeMap;

use linkflow_engine::{Engine, EngineError};
use linkflow_model::{
    Fault, Health, HostRoute, Lifecycle, PlacementView, ProviderName, ReleaseId, ServiceSpec,
    ServiceView, World,
};
use linkflow_web::operator::{
    Differs, Drift, Placement, PlacementState, Service, Services, Silent, Stray,
};

use super::releases::Releases;

/// How everything stands, as `engine` knows it now.
///
/// # Errors
/// What the store says.
pub(crate) async fn now(engine: &Engine) -> Result<Services, EngineError> {
    let world = engine.world().await?;
    let live = engine.live().await?.map(|release| release.id);
    Ok(services(&engine.services(), &world, live, &engine.faults()))
}

/// What differs from the live release: as the providers said last, and as secrets and addresses are now.
///
/// # Errors
/// What the store says.
pub(crate) async fn drift(engine: &Engine, releases: &Releases) -> Result<Drift, EngineError> {
    let silent = silent(&engine.faults());
    let Some(live) = engine.live().await? else {
        return Ok(Drift { release: None, rows: Vec::new(), strays: Vec::new(), silent });
    };
    let found = engine.drift(&live);
    let rows = found.rows.into_iter().map(|row| Differs {
        service: row.service,
        provider: row.provider,
        what: row.field.to_owned(),
        wanted: row.wanted,
        found: row.found,
    });
    let strays = releases.strays(&live).into_iter().map(|one| Stray {
        service: one.service,
        providers: one.providers,
        names: one.names,
        unable: one.unable,
    });
    Ok(Drift { release: Some(live.id), rows: rows.collect(), strays: strays.collect(), silent })
}

fn silent(faults: &BTreeMap<ProviderName, Fault>) -> Vec<Silent> {
    let one = |(provider, fault): (&ProviderName, &Fault)| Silent {
        provider: provider.clone(),
        why: fault.to_string(),
    };
    faults.iter().map(one).collect()
}

/// How everything stands, of `world`.
pub(crate) fn services(
    specs: &[ServiceSpec],
    world: &World,
    live: Option<ReleaseId>,
    faults: &BTreeMap<ProviderName, Fault>,
) -> Services {
    let services = specs.iter().filter_map(|spec| {
        let view = world.services.get(&spec.name)?;
        Some(Service {
            service: spec.name.clone(),
            kind: spec.kind,
            exclusive: spec.exclusive,
            active: view.active.clone(),
            image: spec.image.to_string(),
            routes: spec.routes.iter().map(HostRoute::label).collect(),
            placements: view.placements.iter().map(|p| placement(spec, view, p)).collect(),
        })
    });
    Services { live, services: services.collect(), silent: silent(faults) }
}

fn placement(spec: &ServiceSpec, view: &ServiceView, held: &PlacementView) -> Placement {
    Placement {
        provider: held.provider.clone(),
        active: view.active.as_ref() == Some(&held.provider),
        state: PlacementState::of(held.lifecycle, held.health),
        lifecycle: held.lifecycle,
        health: held.health,
        drained: view.drained.get(&held.provider).cloned(),
        release: held.release,
        digest: held.digest.as_ref().map(ToString::to_string),
        latency_ms: held.latency_ms,
        address: held.address.clone(),
        running: held.running,
        why: why(spec, view, held),
    }
}

/// Why a placement serves, or why it does not.
fn why(spec: &ServiceSpec, view: &ServiceView, placement: &PlacementView) -> String {
    let said = || placement.why.clone().map(|why| format!(": {why}")).unwrap_or_default();
    let rank = |provider: &ProviderName| spec.rank(provider).unwrap_or(usize::MAX);
    let drained = view.drained.get(&placement.provider);
    let asked = view.asked.as_ref().filter(|asked| spec.rank(&asked.to).is_some());
    let asked_here = asked.filter(|asked| asked.to == placement.provider);
    let Some(active) = &view.active else { return "nothing serves yet".to_owned() };
    if *active == placement.provider {
        return match placement.health {
            Health::Down => format!("serves, and is down{}", said()),
            _ if drained.is_some() => "serves, and is left as soon as another can".to_owned(),
            Health::Resting if placement.lifecycle == Lifecycle::Asleep => {
                "serves, and sleeps until somebody asks for it".to_owned()
            }
            Health::Waking => "serves, and is being woken".to_owned(),
            Health::Up | Health::Unknown | Health::Resting => {
                if let Some(asked) = asked_here {
                    format!("serves, asked for by {}", asked.why)
                } else if rank(active) == 0 {
                    "serves".to_owned()
                } else {
                    "serves in place of what is preferred".to_owned()
                }
            }
        };
    }
    match (placement.lifecycle, placement.health) {
        (Lifecycle::Absent, _) => "not deployed".to_owned(),
        (Lifecycle::Failed, _) => format!("its provider gave up starting it{}", said()),
        (Lifecycle::Unknown, _) => format!("its provider could not be asked{}", said()),
        (_, Health::Down) => format!("down{}", said()),
        (Lifecycle::Starting, _) => "is starting".to_owned(),
        _ if drained.is_some() => {
            format!("drained by {}", drained.map(String::as_str).unwrap_or_default())
        }
        _ if let Some(asked) = asked_here => {
            format!("asked for by {}; serves when it is known to work there", asked.why)
        }
        _ if asked.is_some_and(|asked| asked.to == *active) => {
            format!("standby: {active} is asked for")
        }
        _ if rank(&placement.provider) < rank(active) => {
            "preferred; serves again when it has been well for a while".to_owned()
        }
        (Lifecycle::Stopped, _) => format!("standby, stopped: {active} is preferred"),
        _ => format!("standby: {active} is preferred"),
    }
}
