//! A spare sleeps, because nobody asked for it, when its service needs it.

use std::time::Duration;

use linkflow_model::{Lifecycle, ProviderName, ServiceKind, ServiceName, World};
use linkflow_rehearsal::cloud::Trouble;

use super::scene::Scene;
use super::stage::Stage;

/// How long the spare may take to fall asleep: it is left alone a minute after the last request that came to it.
const ASLEEP: Duration = Duration::from_secs(90);
/// How long its service may take to move there: the confirm time, and a cold start.
const MOVED: Duration = Duration::from_secs(15);

/// A service whose first spare may sleep: its home, and that spare.
struct Sleeper {
    service: ServiceName,
    home: ProviderName,
    spare: ProviderName,
}

fn sleeper(stage: &Stage<'_>) -> Option<Sleeper> {
    let sleeps = |provider: &ProviderName| {
        let compute = stage.stack.computes.get(provider);
        compute.is_some_and(|compute| compute.capabilities().sleeps_after.is_some())
    };
    stage.cast.services.iter().find_map(|spec| {
        let may = spec.kind == ServiceKind::Web && !spec.keep_warm;
        match spec.runs_on.as_slice() {
            [home, spare, ..] if may && !sleeps(home) && sleeps(spare) => Some(Sleeper {
                service: spec.name.clone(),
                home: home.clone(),
                spare: spare.clone(),
            }),
            _ => None,
        }
    })
}

/// Whether there is such a service.
pub(super) fn has_sleeper(stage: &Stage<'_>) -> bool {
    sleeper(stage).is_some()
}

/// What it is called in the story, where there is one.
pub(super) fn story(stage: &Stage<'_>) -> String {
    match sleeper(stage) {
        Some(Sleeper { service, home, spare }) => format!(
            "Nobody asks for {service} on {spare}, and its provider puts it to sleep there. Then {home} is killed."
        ),
        None => "No service of this stack has a spare that its provider puts to sleep.".to_owned(),
    }
}

/// Kills the place of a service whose spare sleeps.
pub(super) async fn spare_sleeps(scene: &mut Scene<'_>) -> Result<(), String> {
    let stage = scene.stage;
    let Some(Sleeper { service, home, spare }) = sleeper(stage) else {
        return Err(
            "no service of this stack has a spare that its provider puts to sleep".to_owned()
        );
    };
    let lifecycle = |world: &World| {
        let view = world.services.get(&service);
        view.and_then(|view| view.on(&spare)).map(|placement| placement.lifecycle)
    };
    let what = format!("{service} on {spare} is left alone, and sleeps");
    let awake = |world: &World| match lifecycle(world) {
        Some(Lifecycle::Asleep) => None,
        other => Some(format!("it is {other:?}")),
    };
    scene.expect(&what, ASLEEP, awake).await;
    scene.strike([&home], Trouble::Killed, None).await?;
    let what = format!("{service} was woken on {spare} and serves from there");
    let elsewhere = |world: &World| {
        let active = world.services.get(&service).and_then(|view| view.active.as_ref());
        (active != Some(&spare))
            .then(|| format!("it is at {}", active.map_or("no place", |p| p.as_str())))
    };
    scene.expect(&what, MOVED, elsewhere).await;
    let what = format!("every other service has left {home}");
    scene.expect(&what, MOVED, |world| stage.cast.still_on(&home, world)).await;
    scene.clear(None).await;
    Ok(())
}
