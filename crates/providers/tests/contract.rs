//! What every adapter of the compute role promises, as functions over the trait.

use linkflow_model::role::{Compute, DomainState, Progress};
use linkflow_model::{Definition, FaultKind, Lifecycle};

use super::stage::{deployed, ended, logged, seen};

/// Two versions of the same service, and one that ends at start.
pub(crate) struct Versions {
    pub(crate) first: Definition,
    pub(crate) second: Definition,
    pub(crate) broken: Definition,
}

/// Where a new version of a service is found.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Address {
    /// Where the old one was.
    Stays,
    /// Elsewhere: for a while both answer.
    Moves,
}

/// From nothing to a running service, to another version of it in the same place, and to nothing again.
pub(crate) async fn comes_changes_and_goes(compute: &dyn Compute, versions: &Versions) {
    comes_and_goes(compute, versions, Address::Stays).await;
}

/// The same, with a word on where a new version is found.
pub(crate) async fn comes_and_goes(compute: &dyn Compute, versions: &Versions, address: Address) {
    let (first, second) = (&versions.first, &versions.second);
    let service = &first.service;
    assert!(compute.look().await.unwrap().iter().all(|seen| seen.service != *service));
    assert_eq!(compute.scale(service, 1).await.unwrap_err().kind, FaultKind::Missing);
    assert_eq!(compute.restart(service).await.unwrap_err().kind, FaultKind::Missing);
    compute.delete(service).await.unwrap();

    assert_eq!(deployed(compute, first).await, Progress::Done);
    let held = seen(compute, service, |seen| seen.running == 1).await;
    assert_eq!(held.lifecycle, Lifecycle::Running, "{held:?}");
    assert_eq!(held.digest.as_ref(), Some(&first.image.digest));
    assert_eq!(held.fingerprint.as_ref(), Some(&first.fingerprint));
    assert_eq!(held.release, Some(first.release));
    assert_eq!(held.replicas, 1);
    assert_eq!(held.address.is_some(), first.port.is_some());

    assert_eq!(deployed(compute, second).await, Progress::Done);
    let after = seen(compute, service, |seen| seen.digest.as_ref() == Some(&second.image.digest));
    let after = after.await;
    assert_eq!(after.fingerprint.as_ref(), Some(&second.fingerprint));
    assert_eq!(after.release, Some(second.release));
    match address {
        Address::Stays => {
            assert_eq!(after.address, held.address, "a new version is found where the old one was");
        }
        Address::Moves => {
            assert_ne!(after.address, held.address);
            for seen in [&held, &after] {
                let health = seen.address.clone().unwrap() + first.health.as_deref().unwrap();
                let answer = reqwest::get(&health).await;
                let status = answer.unwrap_or_else(|e| panic!("{health}: {e}")).status();
                assert!(status.is_success(), "{health}: {status}");
            }
        }
    }

    compute.restart(service).await.unwrap();
    seen(compute, service, |seen| seen.lifecycle == Lifecycle::Running).await;
    logged(compute, service).await;
    assert!(compute.logs(service, 1).await.unwrap().len() <= 1);

    compute.delete(service).await.unwrap();
    assert!(compute.look().await.unwrap().iter().all(|seen| seen.service != *service));
    compute.delete(service).await.unwrap();
}

/// A service that is stopped stays deployed, and comes back.
pub(crate) async fn rests_and_wakes(compute: &dyn Compute, wanted: &Definition) {
    let service = &wanted.service;
    let asleep = Definition { replicas: 0, ..wanted.clone() };
    assert_eq!(deployed(compute, &asleep).await, Progress::Done);
    let held = seen(compute, service, |seen| seen.lifecycle == Lifecycle::Stopped).await;
    assert_eq!((held.running, held.replicas), (0, 0), "deployed without running: {held:?}");
    assert_eq!(held.fingerprint.as_ref(), Some(&wanted.fingerprint));

    compute.scale(service, 1).await.unwrap();
    let held = seen(compute, service, |s| s.lifecycle == Lifecycle::Running && s.running == 1);
    assert_eq!(held.await.replicas, 1);

    compute.scale(service, 0).await.unwrap();
    let held = seen(compute, service, |seen| seen.lifecycle == Lifecycle::Stopped).await;
    assert_eq!((held.running, held.replicas), (0, 0));
    assert_eq!(held.digest.as_ref(), Some(&wanted.image.digest));
    compute.scale(service, 0).await.unwrap();

    compute.delete(service).await.unwrap();
}

/// Has two instances and then one; a provider that runs one alone says so and changes nothing.
pub(crate) async fn grows_and_shrinks(compute: &dyn Compute, wanted: &Definition, most: u32) {
    let service = &wanted.service;
    let two = Definition { replicas: 2, ..wanted.clone() };
    if most < 2 {
        assert_eq!(compute.deploy(&two).await.unwrap_err().kind, FaultKind::Unsupported);
        assert!(compute.look().await.unwrap().iter().all(|seen| seen.service != *service));
        return;
    }
    assert_eq!(deployed(compute, &two).await, Progress::Done);
    let held = seen(compute, service, |s| s.lifecycle == Lifecycle::Running && s.running == 2);
    assert_eq!(held.await.replicas, 2);
    compute.scale(service, 1).await.unwrap();
    // While one instance comes and the others go, one may run of the two that are still asked for.
    seen(compute, service, |s| {
        s.lifecycle == Lifecycle::Running && (s.running, s.replicas) == (1, 1)
    })
    .await;
    compute.delete(service).await.unwrap();
}

/// A version that ends at start is told of soon, and another one mends it.
pub(crate) async fn says_when_a_deploy_fails(compute: &dyn Compute, versions: &Versions) {
    let service = &versions.broken.service;
    let progress = deployed(compute, &versions.broken).await;
    assert!(matches!(progress, Progress::Failed { .. }), "{progress:?}");
    assert_eq!(deployed(compute, &versions.second).await, Progress::Done);
    let held = seen(compute, service, |seen| seen.lifecycle == Lifecycle::Running).await;
    assert_eq!(held.fingerprint.as_ref(), Some(&versions.second.fingerprint));
    compute.delete(service).await.unwrap();
}

/// The same deploy again is the same deploy, and costs `writes` nothing.
pub(crate) async fn repeats_itself(
    compute: &dyn Compute,
    wanted: &Definition,
    writes: impl Fn() -> usize,
) {
    let first = compute.deploy(wanted).await.unwrap();
    assert_eq!(ended(compute, &first).await, Progress::Done);
    let before = writes();
    let again = compute.deploy(wanted).await.unwrap();
    assert_eq!(ended(compute, &again).await, Progress::Done);
    assert_eq!(again, first);
    compute.scale(&wanted.service, wanted.replicas).await.unwrap();
    // The number of the release alone is no reason to deploy.
    let renumbered =
        Definition { release: linkflow_model::ReleaseId(wanted.release.0 + 1), ..wanted.clone() };
    assert_eq!(compute.deploy(&renumbered).await.unwrap(), first);
    assert_eq!(writes(), before);
}

/// What another stack runs is not seen, not changed and not deleted.
pub(crate) async fn leaves_strangers_alone(
    ours: &dyn Compute,
    theirs: &dyn Compute,
    wanted: &Definition,
) {
    let service = &wanted.service;
    assert_eq!(deployed(ours, wanted).await, Progress::Done);
    assert_eq!(theirs.look().await.unwrap(), Vec::new());
    let is_refusal = |kind: FaultKind| {
        matches!(kind, FaultKind::Invalid | FaultKind::Missing | FaultKind::Conflict)
    };
    for refusal in [theirs.scale(service, 0).await, theirs.restart(service).await] {
        let kind = refusal.unwrap_err().kind;
        assert!(is_refusal(kind), "{kind:?}");
    }
    // Where stacks have nothing to do with each other they may both have a service of that name.
    let other = Definition { stack: "other".parse().unwrap(), ..wanted.clone() };
    if let Err(fault) = theirs.deploy(&other).await {
        assert!(is_refusal(fault.kind), "{fault}");
    }
    // Refused or not: ours is not deleted.
    theirs.delete(service).await.err();
    let held = seen(ours, service, |seen| seen.lifecycle == Lifecycle::Running).await;
    assert_eq!(held.fingerprint.as_ref(), Some(&wanted.fingerprint));
}

/// A name of the stack's own domain: asked for, waited for, taken away, each as often as one likes.
pub(crate) async fn serves_own_domains(compute: &dyn Compute, wanted: &Definition, host: &str) {
    let service = &wanted.service;
    assert!(compute.capabilities().domains);
    assert_eq!(compute.add_domain(service, host).await.unwrap_err().kind, FaultKind::Missing);
    assert_eq!(deployed(compute, wanted).await, Progress::Done);
    assert_eq!(compute.domain(service, host).await.unwrap(), DomainState::Absent);
    let DomainState::Waiting { said, records } = compute.add_domain(service, host).await.unwrap()
    else {
        panic!("DNS has not been told yet")
    };
    assert!(!said.is_empty());
    assert!(records.iter().any(|r| r.name == host && r.kind == "CNAME"), "{records:?}");
    for _ in 0..100 {
        match compute.domain(service, host).await.unwrap() {
            DomainState::Ready => break,
            state => assert_ne!(state, DomainState::Absent),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(compute.add_domain(service, host).await.unwrap(), DomainState::Ready);
    for _ in 0..2 {
        compute.remove_domain(service, host).await.unwrap();
    }
    assert_eq!(compute.domain(service, host).await.unwrap(), DomainState::Absent);
}
