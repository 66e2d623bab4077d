//! The embedded provider keeps the promises of the compute role, with processes of this very machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use linkflow_model::role::{Compute, Progress};
use linkflow_model::{
    Definition, EnvValue, Fingerprint, ReleaseId, Secret, ServiceKind, ServiceName, Size,
};
use linkflow_providers::compute::{self, Settings, embedded};

use super::contract::{self, Versions};
use super::stage::{deployed, kit, seen};

#[test]
#[ignore = "started as a service by another test"]
fn this_test_binary_is_a_service() {
    let Some(port) = std::env::var_os("PORT") else { return };
    let port: u16 = port.to_str().unwrap().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    // A test that fails leaves nothing that stays for long.
    std::thread::sleep(Duration::from_secs(60));
}

fn open(folder: &Path, stack: &str) -> Arc<dyn Compute> {
    let this = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let test = "embedded::this_test_binary_is_a_service";
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let settings = embedded::Settings {
        folder: folder.to_owned(),
        workdir: folder.to_owned(),
        programs: BTreeMap::from([
            ("example.com/web".to_owned(), words(&[&this, "--ignored", "--exact", test])),
            ("example.com/worker".to_owned(), words(&["sleep", "60"])),
            ("example.com/broken".to_owned(), words(&["sh", "-c", "echo no; exit 1"])),
        ]),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let (stack, name) = (stack.parse().unwrap(), "embedded".parse().unwrap());
    compute::open(Settings::Embedded(settings), &kit(None), &stack, &name)
}

fn definition(service: &str, image: &str, release: u64) -> Definition {
    let is_web = !service.contains("worker");
    let digest = format!("{release:064x}");
    Definition {
        stack: "linkflow".parse().unwrap(),
        service: service.parse().unwrap(),
        provider: "embedded".parse().unwrap(),
        release: ReleaseId(release),
        image: format!("example.com/{image}@sha256:{digest}").parse().unwrap(),
        command: None,
        login: None,
        kind: if is_web { ServiceKind::Web } else { ServiceKind::Worker },
        port: is_web.then_some(8_000),
        health: None,
        env: BTreeMap::from([("KEY".to_owned(), EnvValue::Secret(Secret::new("s3cr3t")))]),
        env_gone: Vec::new(),
        replicas: 1,
        size: Size::default(),
        fingerprint: Fingerprint(format!("{release:032x}")),
    }
}

fn versions(service: &str, image: &str) -> Versions {
    Versions {
        first: definition(service, image, 1),
        second: definition(service, image, 2),
        broken: definition(service, "broken", 3),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_keeps_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    let compute = open(folder.path(), "linkflow");
    let compute = &*compute;
    let api = versions("api", "web");
    let (frontend, worker) = (versions("frontend", "web"), versions("worker-b", "worker"));
    let idle = definition("worker", "worker", 1);
    tokio::join!(
        contract::comes_changes_and_goes(compute, &api),
        contract::rests_and_wakes(compute, &idle),
        contract::says_when_a_deploy_fails(compute, &frontend),
        contract::says_when_a_deploy_fails(compute, &worker),
    );
    // Each write gives the file another time.
    let written = || {
        let file = folder.path().join("linkflow/embedded/matching.json");
        let at = file.metadata().unwrap().modified().unwrap();
        usize::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
    };
    let matching = definition("matching", "web", 1);
    contract::repeats_itself(compute, &matching, written).await;
    compute.delete(&matching.service).await.unwrap();
    assert_eq!(compute.look().await.unwrap(), Vec::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stacks_in_one_folder_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(folder.path(), "linkflow"), open(folder.path(), "other"));
    let wanted = definition("api", "web", 1);
    assert_eq!(deployed(&*ours, &wanted).await, Progress::Done);
    let service: &ServiceName = &wanted.service;
    assert_eq!(theirs.look().await.unwrap(), Vec::new());
    assert!(theirs.deploy(&wanted).await.is_err());
    assert!(theirs.scale(service, 0).await.is_err());
    assert!(theirs.restart(service).await.is_err());
    theirs.delete(service).await.unwrap();
    let held = seen(&*ours, service, |seen| seen.running == 1).await;

    let other = Definition { stack: "other".parse().unwrap(), ..wanted.clone() };
    assert_eq!(deployed(&*theirs, &other).await, Progress::Done);
    let beside = seen(&*theirs, service, |seen| seen.running == 1).await;
    assert_ne!(beside.address, held.address);
    theirs.delete(service).await.unwrap();
    assert_eq!(seen(&*ours, service, |seen| seen.running == 1).await, held);
    ours.delete(service).await.unwrap();
}
