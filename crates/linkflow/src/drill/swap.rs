//! One provider takes another's place under load, and gives it back while its API is dead.

use std::time::Duration;

use linkflow_engine::{RunState, Swapping};
use linkflow_model::ProviderName;
use linkflow_rehearsal::cloud::Trouble;

use super::scene::Scene;
use crate::swap::Swap;

/// How long the new placement serves before the old one is let go.
const SOAK_MS: u64 = 3_000;
/// How long one service may take in all.
const AT_MOST_MS: u64 = 60_000;
/// How long a swap waits for whoever acts at the moment.
const LEASE: Duration = Duration::from_secs(30);

/// Swaps the provider of the service that visitors ask, there and back.
pub(super) async fn swap(scene: &mut Scene<'_>) -> Result<(), String> {
    let cast = &scene.stage.cast;
    scene.wanted.failed_at_most = Some(0);
    let (front, old) = (&cast.front, &cast.struck);
    let new = cast.free.iter().find(|provider| front.rank(provider).is_none());
    let new = new.ok_or_else(|| format!("every provider is in the cascade of {}", front.name))?;
    once(scene, old, new).await?;
    scene.stage.cloud.set_fault(new, None, Some(Trouble::ApiDown));
    scene.stage.engine().look().await;
    once(scene, new, old).await?;
    scene.stage.cloud.set_fault(new, None, None);
    // What was forgotten there is nobody's now: the rehearsal clears its own stage.
    if let Some(compute) = scene.stage.stack.computes.get(new) {
        compute.delete(&front.name).await.map_err(|fault| fault.to_string())?;
    }
    Ok(())
}

async fn once(scene: &mut Scene<'_>, old: &ProviderName, new: &ProviderName) -> Result<(), String> {
    let (stage, front) = (scene.stage, &scene.stage.cast.front.name);
    stage.show.step(&format!("{front}: {old} is swapped for {new}"));
    let wish = Swapping {
        services: vec![front.clone()],
        old: old.clone(),
        new: new.clone(),
        soak_ms: SOAK_MS,
        delete: false,
        vouched: false,
    };
    let began = scene.elapsed();
    let swap = Swap::of(stage.stack, wish, LEASE).await.map_err(|error| error.to_string())?;
    let done = swap.carry_out(|| Ok(())).await;
    let took = scene.elapsed().saturating_sub(began);
    let (measured, worked) = match &done {
        Ok(done) => {
            (format!("{:?} in {took} ms", done.release.state), done.release.state == RunState::Done)
        }
        Err(error) => (error.to_string(), false),
    };
    let what = format!("{front} went from {old} to {new}");
    scene.note(&what, "done", &measured, worked);
    let within = took <= AT_MOST_MS;
    let what = format!("machine time of the swap to {new}");
    scene.note(&what, &format!("{} s at most", AT_MOST_MS / 1_000), &format!("{took} ms"), within);
    let live = stage.engine().live().await.map_err(|error| error.to_string())?;
    let cascade = live.and_then(|live| Some(live.services.get(front)?.spec.runs_on.clone()));
    let first = cascade.as_ref().and_then(|cascade| cascade.first());
    let gone = cascade.as_ref().is_some_and(|cascade| !cascade.contains(old));
    let said = cascade.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    scene.note(
        "the cascade",
        &format!("{new} first, {old} gone"),
        &said,
        first == Some(new) && gone,
    );
    let what = format!("{front} serves from {new}");
    let name = front.clone();
    scene
        .expect(&what, Duration::from_secs(5), |world| {
            let active = world.services.get(&name).and_then(|view| view.active.as_ref());
            (active != Some(new)).then(|| "it serves elsewhere".to_owned())
        })
        .await;
    Ok(())
}
