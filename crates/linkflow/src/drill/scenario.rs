//! The scenarios: what is done to the stack, and what is expected of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use linkflow_engine::{RunKind, RunState};
use linkflow_model::{EventKind, ProviderName, ServiceName, World};
use linkflow_rehearsal::cloud::Trouble;
use linkflow_rehearsal::report::{Check, Return, ScenarioResult, Told};
use tokio::time::sleep;

use super::scene::Scene;
use super::stage::Stage;

/// What can be rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    ProviderDies,
    ProviderHangs,
    AllFreeProvidersDie,
    LastResortDies,
    ProviderRecovers,
    DeployUnderLoad,
    BadRelease,
    Swap,
    SpareSleeps,
    AppDownApiFine,
    ProviderApiDown,
    ProviderSlow,
}

use Scenario::{
    AllFreeProvidersDie, AppDownApiFine, BadRelease, DeployUnderLoad, LastResortDies,
    ProviderApiDown, ProviderDies, ProviderHangs, ProviderRecovers, ProviderSlow, SpareSleeps,
    Swap,
};

impl Scenario {
    /// Those that are rehearsed when none is named.
    pub(crate) const USUAL: [Self; 10] = [
        SpareSleeps,
        ProviderDies,
        ProviderHangs,
        AllFreeProvidersDie,
        LastResortDies,
        ProviderRecovers,
        DeployUnderLoad,
        BadRelease,
        Swap,
        ProviderApiDown,
    ];

    /// All there are.
    pub(crate) const ALL: [Self; 12] = [
        ProviderDies,
        ProviderHangs,
        AllFreeProvidersDie,
        LastResortDies,
        ProviderRecovers,
        DeployUnderLoad,
        BadRelease,
        Swap,
        SpareSleeps,
        AppDownApiFine,
        ProviderApiDown,
        ProviderSlow,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ProviderDies => "provider-dies",
            ProviderHangs => "provider-hangs",
            AllFreeProvidersDie => "all-free-providers-die",
            LastResortDies => "last-resort-dies",
            ProviderRecovers => "provider-recovers",
            DeployUnderLoad => "deploy-under-load",
            BadRelease => "bad-release",
            Swap => "swap",
            SpareSleeps => "spare-sleeps",
            AppDownApiFine => "app-down-api-fine",
            ProviderApiDown => "provider-api-down",
            ProviderSlow => "provider-slow",
        }
    }

    pub(super) fn told(self, stage: &Stage<'_>) -> Told {
        let cast = &stage.cast;
        let (struck, last, front) = (&cast.struck, &cast.last, &cast.front.name);
        let (title, story) = match self {
            ProviderDies => (
                "A provider dies",
                format!(
                    "Every process on {struck} is killed and connections are refused. Its API still tells the truth."
                ),
            ),
            ProviderHangs => (
                "A provider hangs",
                format!(
                    "Every process on {struck} stands still: connections are accepted and never answered, and the API says that all is well."
                ),
            ),
            AllFreeProvidersDie => (
                "All providers but one die",
                format!(
                    "Every provider but {last} is gone at once, with its API. What must never run twice waits, since nobody can prove that it stopped."
                ),
            ),
            LastResortDies => (
                "The last resort dies",
                format!(
                    "Everything was driven to {last}. The others come back, and {last} is killed before anything was to move back."
                ),
            ),
            ProviderRecovers => (
                "A provider recovers",
                format!("{struck} dies and comes back: what left it returns, and no visitor notices the way back."),
            ),
            DeployUnderLoad => (
                "A deploy under load",
                "Every service goes to a new release on all its providers while visitors keep asking. The next one is deployed by a process of its own, which is killed in every stage, before and after the rows of its journal that begin and end a step, and started again until it is done.".to_owned(),
            ),
            BadRelease => (
                "A bad release",
                format!(
                    "A release of {front} that crashes, then one that starts and is never well: both must stop at the canary and be rolled back."
                ),
            ),
            Swap => (
                "A provider is swapped for another",
                format!(
                    "{front} leaves {struck} for a provider that never had it, and comes back while the API of that one is dead."
                ),
            ),
            SpareSleeps => ("A spare sleeps when it is needed", super::sleep::story(stage)),
            AppDownApiFine => (
                "The app is down and its provider does not know",
                format!("Every process on {struck} is dead, its ingress answers 502, and its API says that all is well."),
            ),
            ProviderApiDown => (
                "A provider's API is down",
                format!("The API of {struck} refuses connections; the apps there serve on, so nothing is to be moved."),
            ),
            ProviderSlow => (
                "A provider is slow",
                format!("Every request at {struck} waits for 400 ms."),
            ),
        };
        Told { name: self.name().to_owned(), title: title.to_owned(), story }
    }

    /// Whether the stack has what it takes.
    pub(super) fn fits(self, stage: &Stage<'_>) -> bool {
        self != SpareSleeps || super::sleep::has_sleeper(stage)
    }

    /// Plays the scenario on `stage`.
    ///
    /// # Errors
    /// When it cannot be measured: the stack does not settle beforehand, or the ledger cannot be read.
    pub(crate) async fn play(self, stage: &Stage<'_>) -> Result<ScenarioResult, String> {
        let told = self.told(stage);
        stage.show.step(&told.title);
        let mut scene = Scene::open(stage).await?;
        let played = self.act(&mut scene).await;
        // Whatever happened, the next scenario begins with everything as it was.
        stage.cloud.clear_faults();
        if let Err(why) = played {
            scene.note("the scenario could be played", "to its end", &why, false);
        }
        scene.settle(SETTLED).await;
        scene.close(&told).await
    }

    async fn act(self, scene: &mut Scene<'_>) -> Result<(), String> {
        match self {
            ProviderDies => struck(scene, Trouble::Killed, 1_000).await,
            ProviderHangs => struck(scene, Trouble::Hung, 3_000).await,
            AppDownApiFine => struck(scene, Trouble::AppDown, 3_000).await,
            AllFreeProvidersDie => all_free_die(scene).await,
            LastResortDies => last_resort_dies(scene).await,
            ProviderRecovers => recovers(scene).await,
            DeployUnderLoad => super::deploy::deploy(scene).await,
            BadRelease => bad_release(scene).await,
            Swap => super::swap::swap(scene).await,
            SpareSleeps => super::sleep::spare_sleeps(scene).await,
            ProviderApiDown => api_down(scene).await,
            ProviderSlow => slow(scene).await,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|scenario| scenario.name()).collect();
            format!("there is no scenario `{text}`; there are {}", names.join(", "))
        })
    }
}

/// How long the stack may take until everything is in its place again.
const SETTLED: Duration = Duration::from_secs(30);
/// How long services may take to leave a provider. A process that hangs is killed only when the grace that its provider
/// gives it is over, 10 s on most; an exclusive service leaves after that, because only then its stop is proven.
pub(super) const LEFT: Duration = Duration::from_secs(20);
/// How long a fault lasts at least, so that it is seen that nobody goes on being disturbed.
const HOLD: Duration = Duration::from_secs(3);

/// The provider that visitors are served from fails as `trouble` says: they leave it, and everything returns.
async fn struck(scene: &mut Scene<'_>, trouble: Trouble, within_ms: u64) -> Result<(), String> {
    let (cast, began) = (&scene.stage.cast, scene.elapsed());
    let from = &cast.struck;
    scene.wanted.rerouted_within_ms = Some(within_ms);
    scene.wanted.detected_within_ms = Some(3_000);
    scene.wanted.back_within_ms = Some(15_000);
    scene.strike([from], trouble, Some((from, true))).await?;
    let what = format!("every service has left {from}");
    scene.expect(&what, LEFT, |world| cast.still_on(from, world)).await;
    hold(scene, began).await;
    scene.clear(Some(Return::Answers(from.clone()))).await;
    Ok(())
}

async fn hold(scene: &Scene<'_>, since: u64) {
    let passed = Duration::from_millis(scene.elapsed().saturating_sub(since));
    sleep(HOLD.saturating_sub(passed)).await;
}

/// Every provider but the last resort is away at once.
async fn all_free_die(scene: &mut Scene<'_>) -> Result<(), String> {
    let (cast, began) = (&scene.stage.cast, scene.elapsed());
    scene.wanted.rerouted_within_ms = Some(1_000);
    scene.wanted.back_within_ms = Some(15_000);
    scene.strike(&cast.free, Trouble::Gone, Some((&cast.struck, true))).await?;
    let what = format!("{} runs everything that may run there", cast.last);
    scene.expect(&what, LEFT, |world| cast.not_all_on(&cast.last, world)).await;
    for spec in cast.exclusive() {
        let held = held(scene, &spec.name).await;
        let world = scene.stage.world().await?;
        let active = world.services.get(&spec.name).and_then(|view| view.active.as_ref());
        let stayed = active == spec.runs_on.first();
        let said = held.as_deref().unwrap_or("nothing was said");
        let what = format!("{} waits until its stop is proven", spec.name);
        scene.note(&what, "and says so", said, held.is_some() && stayed);
    }
    hold(scene, began).await;
    scene.clear(Some(Return::Answers(cast.struck.clone()))).await;
    Ok(())
}

/// Waits until it is said that a service waits, and why.
async fn held(scene: &Scene<'_>, service: &ServiceName) -> Option<String> {
    let began = scene.elapsed();
    loop {
        let said =
            scene.events().into_iter().rev().find(|event| {
                event.kind == EventKind::Held && event.service.as_ref() == Some(service)
            });
        if said.is_some() || u128::from(scene.elapsed() - began) > LEFT.as_millis() {
            return said.map(|event| event.message);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The last resort dies while everything runs there and the others have just come back.
async fn last_resort_dies(scene: &mut Scene<'_>) -> Result<(), String> {
    let cast = &scene.stage.cast;
    let (last, front) = (&cast.last, &cast.front);
    scene.strike(&cast.free, Trouble::Gone, None).await?;
    let what = format!("visitors are served by {last}");
    let elsewhere = |world: &World| cast.not_served_from(last, world);
    scene.expect(&what, LEFT, elsewhere).await;
    scene.lift(&cast.free).await;
    let lifted = scene.elapsed();
    let spares = |world: &World| {
        let reached = |name: &ProviderName| cast.is_reached(world, front, name);
        let any = front.runs_on.iter().filter(|p| *p != last).any(reached);
        (!any).then(|| format!("no spare of {} answers yet", front.name))
    };
    scene.expect("a provider came back", LEFT, spares).await;
    let (world, now) = (scene.stage.world().await?, scene.stage.clock().now());
    let stays = cast.stays_on(last, &world, now);
    let was_there = stays.contains_key(&front.name);
    let what = format!("{} was still on {last}", front.name);
    let measured = if was_there { "it was" } else { "it was not" };
    scene.note(&what, "when that died", measured, was_there);

    let began = scene.elapsed();
    let recovered = began - lifted;
    scene.wanted.rerouted_within_ms = Some(1_000);
    scene.wanted.detected_within_ms = Some(3_000);
    scene.strike([last], Trouble::Killed, Some((last, true))).await?;
    let policy = scene.stage.stack.config.policy();
    let what = format!("{last} was new to a service, and the others had just come back");
    let (stay, back) = (policy.min_stay_ms, policy.failback_after_ms);
    let newest = stays.values().min().copied().unwrap_or(u64::MAX);
    let expected = format!("less than {stay} ms and {back} ms before");
    let measured = format!("{newest} ms and {recovered} ms");
    scene.note(&what, &expected, &measured, newest < stay && recovered < back);
    let what = format!("every service left {last}");
    scene.expect(&what, LEFT, |world| cast.still_on(last, world)).await;
    hold(scene, began).await;
    scene.clear(None).await;
    Ok(())
}

/// A provider dies and recovers; the way back is what counts.
async fn recovers(scene: &mut Scene<'_>) -> Result<(), String> {
    let cast = &scene.stage.cast;
    let from = &cast.struck;
    scene.wanted.rerouted_within_ms = Some(1_000);
    scene.wanted.back_within_ms = Some(15_000);
    scene.strike([from], Trouble::Killed, Some((from, true))).await?;
    let what = format!("every service has left {from}");
    scene.expect(&what, LEFT, |world| cast.still_on(from, world)).await;
    scene.clear(Some(Return::Answers(from.clone()))).await;
    let cleared = scene.stage.clock().now();
    scene.judge(move |samples| {
        let failed = samples.iter().filter(|s| s.due >= cleared && s.failure.is_some()).count();
        Check {
            what: "requests that failed on the way back".to_owned(),
            expected: "none".to_owned(),
            measured: if failed == 0 { "none".to_owned() } else { failed.to_string() },
            kept: failed == 0,
        }
    });
    Ok(())
}

/// Two releases that must not reach anybody: one crashes, the other is never well.
async fn bad_release(scene: &mut Scene<'_>) -> Result<(), String> {
    let (stage, front) = (scene.stage, &scene.stage.cast.front.name);
    scene.wanted.failed_at_most = Some(0);
    let before = stage.engine().live().await.map_err(|error| error.to_string())?;
    let before = before.map(|release| release.id).ok_or("no release is live")?;
    for (tag, how) in [("broken", "crashes"), ("sick", "is never well")] {
        stage.show.step(&format!("A release of {front} that {how}"));
        let end = stage.deploy(Some(tag), Some(front), RunKind::Deploy).await?;
        let what = format!("a release that {how} is rolled back by itself");
        let measured = format!("{:?} in {} ms", end.state, end.took_ms);
        scene.note(&what, "RolledBack", &measured, end.state == RunState::RolledBack);
        let live = stage.engine().live().await.map_err(|error| error.to_string())?;
        let live = live.map_or("none".to_owned(), |release| release.id.to_string());
        let what = "the release before is still the live one";
        scene.note(what, &before.to_string(), &live, live == before.to_string());
    }
    let good = before.to_string();
    scene.judge(move |samples| {
        let by_other = |release: &str| release != good;
        let other = samples.iter().filter(|s| s.release.as_deref().is_some_and(by_other)).count();
        Check {
            what: "visitors answered by a bad release".to_owned(),
            expected: "none".to_owned(),
            measured: if other == 0 { "none".to_owned() } else { other.to_string() },
            kept: other == 0,
        }
    });
    Ok(())
}

/// Nobody but LinkFlow asks a provider's API: visitors meet nothing, and nothing moves.
async fn api_down(scene: &mut Scene<'_>) -> Result<(), String> {
    let from = &scene.stage.cast.struck;
    let front = &scene.stage.cast.front.name;
    scene.wanted.failed_at_most = Some(0);
    scene.strike([from], Trouble::ApiDown, Some((from, false))).await?;
    sleep(HOLD + HOLD).await;
    let moved = scene.events().iter().filter(|event| event.kind == EventKind::Failover).count();
    scene.note("services that were moved", "none", &moved.to_string(), moved == 0);
    let world = scene.stage.world().await?;
    let active = world.services.get(front).and_then(|view| view.active.as_ref());
    let at = active.map_or("nowhere".to_owned(), ToString::to_string);
    scene.note(&format!("{front} stays"), &format!("on {from}"), &at, active == Some(from));
    scene.clear(None).await;
    Ok(())
}

/// Every request at the preferred provider waits: slower answers, but answers.
async fn slow(scene: &mut Scene<'_>) -> Result<(), String> {
    let from = &scene.stage.cast.struck;
    scene.wanted.failed_at_most = Some(0);
    scene.wanted.p99_at_most_ms = Some(1_000.0);
    scene.strike([from], Trouble::Slow { ms: 400 }, Some((from, false))).await?;
    sleep(HOLD + HOLD).await;
    scene.clear(None).await;
    Ok(())
}
