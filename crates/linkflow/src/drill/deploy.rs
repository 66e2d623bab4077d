//! Releases under load: one straight away, one by a process that is killed again and again.

use linkflow_engine::{RunEnd, RunKind, RunState};
use linkflow_model::{Lifecycle, ProviderName, ReleaseId, ServiceName, World};
use linkflow_rehearsal::report::{Check, RolloutLine};

use super::killed;
use super::pace::Least;
use super::scenario::LEFT;
use super::scene::Scene;
use super::stage::Stage;

/// A rollout may take so much longer than what must follow one another, in percent.
const LONGER: u64 = 10;

/// Every service goes to a new release, and then to another one that is killed on its way.
pub(super) async fn deploy(scene: &mut Scene<'_>) -> Result<(), String> {
    scene.wanted.failed_at_most = Some(0);
    straight(scene).await?;
    killed_on_its_way(scene).await
}

async fn straight(scene: &mut Scene<'_>) -> Result<(), String> {
    let stage = scene.stage;
    let end = stage.deploy(Some("1.1"), None, RunKind::Deploy).await?;
    let failed = end.failed.iter().map(|step| {
        let said = step.said.as_deref().unwrap_or("no reason given");
        format!("{}: {said}", step.step.action)
    });
    let said: Vec<String> = failed.collect();
    let measured = if said.is_empty() {
        format!("{:?} in {} ms", end.state, end.took_ms)
    } else {
        said.join("; ")
    };
    scene.note("the release was rolled out", "done", &measured, end.state == RunState::Done);
    let mut line = RolloutLine { took_ms: Some(end.took_ms), ..RolloutLine::default() };
    against_slowest(scene, &end, &mut line).await?;
    is_out(scene, end.release, line).await
}

/// Notes how long a rollout took beside its slowest provider, and beside the steps that must follow one another.
async fn against_slowest(
    scene: &mut Scene<'_>,
    end: &RunEnd,
    line: &mut RolloutLine,
) -> Result<(), String> {
    let (stage, cast) = (scene.stage, &scene.stage.cast);
    let runs = stage.engine().runs().await.map_err(|error| error.to_string())?;
    let is_probed = |name: &ServiceName| {
        cast.services.iter().any(|spec| spec.name == *name && spec.is_probed())
    };
    let drain_ms = stage.stack.config.rollout().drain_ms;
    let run = runs.iter().find(|run| run.id == end.run);
    let least = run.and_then(|run| Least::of(run, drain_ms, is_probed));
    let least = least.ok_or("the run of the release is not in the journal")?;
    let most = least.chain_ms * (100 + LONGER) / 100;
    let expected = format!(
        "{} ms had to follow one another, {} alone took {} ms: {most} ms at most",
        least.chain_ms, least.slowest, least.slowest_ms
    );
    let measured = format!("{} ms", end.took_ms);
    let what = "rollout against its slowest provider";
    scene.note(what, &expected, &measured, end.took_ms <= most);
    line.chain_ms = Some(least.chain_ms);
    (line.slowest_ms, line.slowest) = (Some(least.slowest_ms), Some(least.slowest.to_string()));
    Ok(())
}

async fn killed_on_its_way(scene: &mut Scene<'_>) -> Result<(), String> {
    let stage = scene.stage;
    stage.show.step("The next release is deployed by a process that is killed again and again");
    let before = live(stage).await?;
    let began = scene.elapsed();
    // Otherwise this process would take the release up at the first kill that leaves a service without an instance.
    let still = stage.engine().hold_still().await;
    let done = killed::deploy(stage, "1.2").await?;
    drop(still);
    let took = scene.elapsed().saturating_sub(began);
    let (kills, release) = (done.count(), live(stage).await?);
    let well = format!("{release} after {kills} kills and {took} ms ({})", done.by_stage());
    let missed = done.missed().map(|points| format!("nobody died at {points}"));
    let kept = done.failed.is_none() && missed.is_none() && release > before;
    let measured = done.failed.or(missed).unwrap_or(well);
    let what = "a release is live although its deploy was killed in every stage";
    scene.note(what, "before and after the rows that begin and end a step", &measured, kept);
    is_out(scene, release, RolloutLine { kills, ..RolloutLine::default() }).await
}

async fn live(stage: &Stage<'_>) -> Result<ReleaseId, String> {
    let live = stage.engine().live().await.map_err(|error| error.to_string())?;
    live.map(|live| live.id).ok_or_else(|| "no release is live".to_owned())
}

/// Expects that `release` runs once wherever it is due, that its migration was run once, and that visitors see it.
async fn is_out(
    scene: &mut Scene<'_>,
    release: ReleaseId,
    mut line: RolloutLine,
) -> Result<(), String> {
    let (stage, cast) = (scene.stage, &scene.stage.cast);
    let what = format!("{release} runs once wherever it is due");
    scene.expect(&what, LEFT, |world| runs_elsewise(stage, release, world)).await;
    let named = release.to_string();
    let runs = stage.migrations().await?;
    line.migrations = runs.iter().filter(|held| **held == named).count() as u64;
    let due = cast.services.iter().filter(|spec| spec.migrate.is_some()).count() as u64;
    let what = format!("runs of the migration of {release}");
    let kept = line.migrations == due;
    scene.note(&what, &due.to_string(), &line.migrations.to_string(), kept);
    line.release.clone_from(&named);
    scene.rollouts.push(line);
    let until = stage.clock().now();
    scene.judge(move |samples| {
        let seen = samples.iter().rev().filter(|sample| sample.due <= until);
        let last = seen.filter_map(|sample| sample.release.clone()).next();
        let measured = last.map_or("no answer".to_owned(), |release| release.to_string());
        Check {
            what: format!("visitors are answered by {named}"),
            kept: measured == named,
            expected: named.clone(),
            measured,
        }
    });
    Ok(())
}

/// What of `release` does not run where it is due, or runs where it is not, by the word of the simulated machines.
fn runs_elsewise(stage: &Stage<'_>, release: ReleaseId, world: &World) -> Option<String> {
    let instances = stage.cloud.instances();
    let lives = |provider: &ProviderName, service: &str| {
        let here = instances.get(provider).into_iter().flatten();
        here.filter(|held| held.service == service && held.pid.is_some()).count()
    };
    stage.cast.services.iter().find_map(|spec| {
        let view = world.services.get(&spec.name)?;
        let home = view.active.as_ref();
        if view.active_placement().and_then(|held| held.release) != Some(release) {
            return Some(format!("{} does not serve {release}", spec.name));
        }
        instances.keys().find_map(|provider| {
            let ranked = spec.rank(provider).is_some();
            let is_due = ranked && (spec.keeps_standby_warm() || home == Some(provider));
            let due = if is_due { spec.replicas.max(1) as usize } else { 0 };
            let lives = lives(provider, spec.name.as_str());
            let held = view.on(provider);
            // A spare that sleeps has no process until somebody asks for it.
            let may_lack = held.is_some_and(|held| held.lifecycle == Lifecycle::Asleep);
            let held = held.and_then(|held| held.release);
            if lives > due || (lives < due && !may_lack) {
                return Some(format!("{} runs {lives} times on {provider}, not {due}", spec.name));
            }
            (is_due && held != Some(release)).then(|| {
                let other = held.map_or("no release".to_owned(), |held| held.to_string());
                format!("{} on {provider} runs {other}", spec.name)
            })
        })
    })
}
