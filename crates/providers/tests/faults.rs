//! What adapters say when a vendor is in trouble.

use std::sync::Arc;
use std::time::Duration;

use linkflow_model::role::{Compute, Progress};
use linkflow_model::{Fault, FaultKind, Lifecycle, ReleaseId};
use linkflow_rehearsal::cloud::Trouble;
use tokio::time::{Instant, sleep};

use super::lossy::Lossy;
use super::stage::{SECRET, Stage, deployed, ended, seen};

const VENDORS: [&str; 6] = ["azure-container-apps", "fly", "koyeb", "railway", "render", "zeabur"];

/// Those that tell which image runs.
const TELL_IMAGES: [&str; 5] = ["azure-container-apps", "fly", "koyeb", "railway", "render"];

/// Those that ask the health path of what they start.
const ASK_HEALTH: [&str; 5] = ["azure-container-apps", "fly", "koyeb", "railway", "render"];

fn kind<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> FaultKind {
    let fault = outcome.unwrap_err();
    let shown = format!("{fault} {fault:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("rehearsal-"), "{shown}");
    fault.kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_process_is_killed_has_failed_and_can_be_proven_stopped() {
    let stage = Stage::start(&VENDORS).await;
    for provider in VENDORS {
        let compute = stage.adapter(provider, "linkflow");
        let wanted = stage.definition(provider, "engine-timer", "1.0", 1).await;
        let service = &wanted.service;
        assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);

        stage.fault(provider, Trouble::Killed);
        let held = seen(&*compute, service, |seen| seen.lifecycle == Lifecycle::Failed).await;
        assert_eq!(held.running, 0, "{held:?}");
        compute.scale(service, 0).await.unwrap();
        let held = seen(&*compute, service, |seen| seen.lifecycle == Lifecycle::Stopped).await;
        assert_eq!((held.running, held.replicas), (0, 0));

        stage.fault(provider, None);
        sleep(Duration::from_millis(500)).await;
        assert_eq!(stage.living(provider, "engine-timer"), 0, "what was stopped stays so");
        compute.scale(service, 1).await.unwrap();
        seen(&*compute, service, |seen| seen.lifecycle == Lifecycle::Running).await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_the_api_is_told_for_what_it_is() {
    let stage = Stage::start(&VENDORS).await;
    for provider in VENDORS {
        let compute = stage.adapter(provider, "linkflow");
        let first = stage.definition(provider, "api", "1.0", 1).await;
        let second = stage.definition(provider, "api", "1.1", 2).await;
        assert_eq!(deployed(&*compute, &first).await, Progress::Done);

        stage.fault(provider, Trouble::OutOfQuota);
        assert_eq!(kind(compute.deploy(&second).await), FaultKind::Exhausted, "{provider}");
        let held = seen(&*compute, &first.service, |_| true).await;
        assert_eq!(held.lifecycle, Lifecycle::Running, "out of quota is not down");

        stage.fault(provider, Trouble::ApiDown);
        assert_eq!(kind(compute.look().await), FaultKind::Unreachable);
        assert_eq!(kind(compute.deploy(&second).await), FaultKind::Unreachable);

        stage.fault(provider, None);
        let progress = deployed(&*compute, &second).await;
        assert_eq!(progress, Progress::Done, "{provider} is itself again");

        stage.fault(provider, Trouble::RateLimited);
        let limited = kind(compute.look().await);
        assert!(matches!(limited, FaultKind::Limited { .. }), "{limited:?}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_image_than_the_one_asked_for_is_noticed() {
    let stage = Stage::start(&TELL_IMAGES).await;
    for provider in TELL_IMAGES {
        let compute = stage.adapter(provider, "linkflow");
        let first = stage.definition(provider, "api", "1.0", 1).await;
        let second = stage.definition(provider, "api", "1.1", 2).await;
        assert_eq!(deployed(&*compute, &first).await, Progress::Done);
        stage.fault(provider, Trouble::WrongImage);
        assert_eq!(deployed(&*compute, &second).await, Progress::Done);
        let held = seen(&*compute, &first.service, |_| true).await;
        assert_eq!(held.digest.as_ref(), Some(&first.image.digest));
        assert_eq!(held.fingerprint.as_ref(), Some(&second.fingerprint));
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_is_stuck_or_sick_is_under_way_and_not_done() {
    let stage = Stage::start(&VENDORS).await;
    for provider in VENDORS {
        let compute = stage.adapter(provider, "linkflow");
        let wanted = stage.definition(provider, "api", "1.0", 1).await;
        let sick = stage.definition(provider, "engine-frontend", "sick", 1).await;
        stage.fault(provider, Trouble::DeployStuck);
        let stuck = compute.deploy(&wanted).await.unwrap();
        sleep(Duration::from_millis(1_000)).await;
        let progress = compute.progress(&stuck).await.unwrap();
        assert!(matches!(progress, Progress::Under { .. }), "{progress:?}");
        stage.fault(provider, None);
        assert_eq!(ended(&*compute, &stuck).await, Progress::Done);

        if !ASK_HEALTH.contains(&provider) {
            continue;
        }
        let sick = compute.deploy(&sick).await.unwrap();
        sleep(Duration::from_millis(2_500)).await;
        let progress = compute.progress(&sick).await.unwrap();
        assert!(matches!(progress, Progress::Under { .. }), "{progress:?}");
    }
    stage.stop().await;
}

/// Deploys until it works, as a caller does that looks again after each fault.
async fn deploy_until_it_works(
    compute: &dyn Compute,
    wanted: &linkflow_model::Definition,
) -> linkflow_model::role::Deployment {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match compute.deploy(wanted).await {
            Ok(deployment) => return deployment,
            Err(fault) => {
                let passes = fault.kind.is_passing();
                assert!(passes && Instant::now() < end, "{fault}");
                sleep(Duration::from_millis(300)).await;
            }
        }
    }
}

/// More writes than one deploy has.
const PLACES: usize = 9;

/// Loses the answer of the write at each place, first while a service is made, then while it is changed, each place
/// with a service of its own. `least`: how many writes each of the two takes at least.
async fn check_losses(provider: &'static str, least: [usize; 2]) {
    let stage = Arc::new(Stage::start(&[provider]).await);
    let mut places = tokio::task::JoinSet::new();
    for place in 0..PLACES {
        places.spawn(lose(Arc::clone(&stage), provider, place));
    }
    let (mut made, mut changed) = (0, 0);
    while let Some(lost) = places.join_next().await {
        let lost = lost.unwrap();
        made += usize::from(lost[0]);
        changed += usize::from(lost[1]);
    }
    let all = stage.adapter(provider, "linkflow").look().await.unwrap();
    assert_eq!(all.len(), PLACES);
    for held in all {
        assert_eq!((held.replicas, held.running), (1, 1), "{held:?}");
        assert_eq!(held.release, Some(ReleaseId(2)), "{held:?}");
    }
    assert!((least[0]..PLACES).contains(&made), "{made} writes make a service");
    assert!((least[1]..PLACES).contains(&changed), "{changed} writes change a service");
    Arc::into_inner(stage).unwrap().stop().await;
}

/// Whether an answer was lost while the service was made, and while it was changed.
async fn lose(stage: Arc<Stage>, provider: &'static str, place: usize) -> [bool; 2] {
    let way = Lossy::to(&stage.provider(provider).api).await;
    let compute = stage.adapter_by(provider, "linkflow", &way.url);
    let mut has_lost = [false, false];
    for (phase, tag) in ["1.0", "1.1"].into_iter().enumerate() {
        let mut wanted = stage.definition(provider, "api", tag, phase as u64 + 1).await;
        wanted.service = format!("api-{place}").parse().unwrap();
        way.lose_after(place);
        let deployment = deploy_until_it_works(&*compute, &wanted).await;
        has_lost[phase] = way.has_lost();
        way.lose_after(usize::MAX);
        assert_eq!(ended(&*compute, &deployment).await, Progress::Done, "write {place}");
        let end = Instant::now() + Duration::from_secs(20);
        while stage.living(provider, wanted.service.as_str()) != 1 {
            assert!(Instant::now() < end, "write {place}: {:?}", stage.cloud.instances());
            sleep(Duration::from_millis(100)).await;
        }
        let before = way.writes();
        assert_eq!(compute.deploy(&wanted).await.unwrap(), deployment, "write {place}");
        assert_eq!(way.writes(), before, "write {place}");
    }
    has_lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fly_makes_nothing_twice_whichever_answer_is_lost() {
    check_losses("fly", [3, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn railway_makes_nothing_twice_whichever_answer_is_lost() {
    check_losses("railway", [3, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_container_apps_makes_nothing_twice_whichever_answer_is_lost() {
    check_losses("azure-container-apps", [1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeabur_makes_nothing_twice_whichever_answer_is_lost() {
    check_losses("zeabur", [3, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn render_makes_nothing_twice_whichever_answer_is_lost() {
    check_losses("render", [1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn koyeb_makes_nothing_twice_whichever_answer_is_lost() {
    check_losses("koyeb", [3, 2]).await;
}
