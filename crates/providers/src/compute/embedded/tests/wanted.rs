//! What is asked for is what runs: deploy, scale, restart, delete, ports, environment, refusals.

use linkflow_model::{EnvValue, Fingerprint, ReleaseId};

use super::super::*;
use super::stage::*;

#[tokio::test]
async fn a_deploy_is_done_when_the_port_accepts() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    assert_eq!(embedded.look().await.unwrap(), Vec::new());
    let deployment = embedded.deploy(&web("api", 0)).await.unwrap();
    assert_eq!(outcome(&embedded, &deployment).await, Progress::Done);
    let seen = seen(&embedded).await;
    assert_eq!((seen.lifecycle, seen.running, seen.replicas), (Lifecycle::Running, 1, 1));
    assert_eq!(seen.release, Some(ReleaseId(1)));
    assert_eq!(seen.fingerprint, Some(web("api", 0).fingerprint));
    assert_eq!(seen.digest, Some(image("acme/listen").digest));
    let address = seen.address.unwrap();
    let accepted = TcpStream::connect(address.strip_prefix("http://").unwrap()).await;
    assert!(accepted.is_ok(), "{address}");
}

#[tokio::test]
async fn a_process_has_its_own_environment_and_nothing_of_ours() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let mut wanted = worker("env; pwd; exec sleep 60");
    wanted.env.insert("GREETING".to_owned(), EnvValue::Plain("two\nlines".to_owned()));
    wanted.port = Some(0);
    embedded.deploy(&wanted).await.unwrap();
    let pwd = stage.folder.path().to_str().unwrap().to_owned();
    heard(&embedded, &pwd).await;
    let said = said(&embedded).await;
    for line in [
        "LINKFLOW_STACK=shop",
        "LINKFLOW_SERVICE=api",
        "LINKFLOW_PROVIDER=here",
        "LINKFLOW_RELEASE=r1",
        "LINKFLOW_BIND=127.0.0.1",
        "PATH=/usr/bin:/bin",
        "GREETING=two\nlines",
    ] {
        assert!(said.contains(&format!("{line}\n")), "{line} is not in\n{said}");
    }
    let port = instances(&embedded)[0].port.unwrap();
    assert!(port > 0 && said.contains(&format!("PORT={port}\n")), "{said}");
    // The test program itself runs with this, so it would be here if anything of ours were.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!said.contains("CARGO_"), "{said}");
}

#[tokio::test]
async fn a_deploy_asked_for_twice_changes_nothing() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let first = embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    let pid = pids(&embedded);
    let second = embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    assert_eq!((second, pids(&embedded)), (first.clone(), pid.clone()));
    // Nor does another release that wants the same.
    let again = Definition { release: ReleaseId(2), ..worker("exec sleep 60") };
    let third = embedded.deploy(&again).await.unwrap();
    assert_eq!((third, pids(&embedded)), (first.clone(), pid));
    assert_eq!(outcome(&embedded, &first).await, Progress::Done);
}

#[tokio::test]
async fn another_deploy_replaces_what_runs_and_never_runs_beside_it() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let slow = "trap 'sleep 0.1; echo bye; exit' TERM; echo hello; while :; do sleep 0.01; done";
    let old = embedded.deploy(&worker(slow)).await.unwrap();
    heard(&embedded, "hello").await;
    let new = Definition { release: ReleaseId(2), ..worker("echo new; exec sleep 60") };
    let new = embedded.deploy(&new).await.unwrap();
    assert_eq!(seen(&embedded).await.lifecycle, Lifecycle::Running);
    assert_eq!(outcome(&embedded, &new).await, Progress::Done);
    heard(&embedded, "new").await;
    let said = said(&embedded).await;
    let order = ["hello", "bye", "exited with", "starts r2", "new"].map(|word| said.find(word));
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{said}");
    assert!(matches!(outcome(&embedded, &old).await, Progress::Failed { .. }));
    assert_eq!(seen(&embedded).await.release, Some(ReleaseId(2)));
}

#[tokio::test]
async fn what_is_scaled_to_none_stays_deployed_and_is_proven_stopped() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    embedded.scale(&service("api"), 0).await.unwrap();
    embedded.scale(&service("api"), 0).await.unwrap();
    until(&embedded, "it stopped", || instances(&embedded).is_empty()).await;
    let stopped = seen(&embedded).await;
    assert_eq!((stopped.lifecycle, stopped.running), (Lifecycle::Stopped, 0));
    embedded.scale(&service("api"), 2).await.unwrap();
    assert_eq!(pids(&embedded).len(), 2);
    embedded.scale(&service("api"), 1).await.unwrap();
    until(&embedded, "one is left", || pids(&embedded).len() == 1).await;
    let running = seen(&embedded).await;
    assert_eq!((running.lifecycle, running.running, running.replicas), (Lifecycle::Running, 1, 1));
}

#[tokio::test]
async fn a_deploy_of_no_instance_is_done_at_once() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let stopped = Definition { replicas: 0, ..worker("exec sleep 60") };
    let deployment = embedded.deploy(&stopped).await.unwrap();
    assert_eq!(embedded.progress(&deployment).await.unwrap(), Progress::Done);
    assert_eq!(seen(&embedded).await.lifecycle, Lifecycle::Stopped);
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    assert_eq!(seen(&embedded).await.lifecycle, Lifecycle::Running);
}

#[tokio::test]
async fn a_restart_is_another_process_of_the_same_release() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let deployment = embedded.deploy(&web("api", 0)).await.unwrap();
    assert_eq!(outcome(&embedded, &deployment).await, Progress::Done);
    let (pid, address) = (pids(&embedded), seen(&embedded).await.address);
    embedded.restart(&service("api")).await.unwrap();
    assert_eq!(outcome(&embedded, &deployment).await, Progress::Done);
    assert_ne!(pids(&embedded), pid);
    assert_eq!(seen(&embedded).await.address, address);
    assert_eq!(instances(&embedded)[0].crashes, 0);
}

#[tokio::test]
async fn what_is_deleted_leaves_no_process_and_no_file() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let deployment = embedded.deploy(&worker("echo hello; exec sleep 60")).await.unwrap();
    let token = runnings(&embedded).remove(0).token;
    embedded.delete(&service("api")).await.unwrap();
    assert!(!process::left_behind(&token));
    let mut left: Vec<_> = std::fs::read_dir(stage.folder.path().join("shop/here"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["api.lock"]);
    embedded.delete(&service("api")).await.unwrap();
    assert_eq!(embedded.look().await.unwrap(), Vec::new());
    assert!(matches!(embedded.progress(&deployment).await.unwrap(), Progress::Failed { .. }));
    let missing = [
        embedded.scale(&service("api"), 1).await.unwrap_err(),
        embedded.restart(&service("api")).await.unwrap_err(),
        embedded.logs(&service("api"), 1).await.unwrap_err(),
    ];
    assert!(missing.iter().all(|fault| fault.kind == FaultKind::Missing), "{missing:?}");
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    assert_eq!(pids(&embedded).len(), 1);
}

#[tokio::test]
async fn services_that_ask_for_one_port_each_get_their_own_and_keep_it() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let free = free_port();
    let one = embedded.deploy(&web("one", free)).await.unwrap();
    let two = embedded.deploy(&web("two", free)).await.unwrap();
    for deployment in [&one, &two] {
        assert_eq!(outcome(&embedded, deployment).await, Progress::Done);
    }
    let addresses = async || {
        let all = embedded.look().await.unwrap().into_iter();
        all.map(|seen| seen.address.unwrap()).collect::<Vec<_>>()
    };
    let first = addresses().await;
    assert_eq!(first[0], format!("http://127.0.0.1:{free}"));
    assert_ne!(first[1], first[0]);
    let fingerprint = Fingerprint("another".to_owned());
    let again = Definition { release: ReleaseId(2), fingerprint, ..web("two", free) };
    let again = embedded.deploy(&again).await.unwrap();
    assert_eq!(outcome(&embedded, &again).await, Progress::Done);
    assert_eq!(addresses().await, first);
}

#[tokio::test]
async fn services_that_start_at_once_never_get_the_same_port() {
    let stage = stage();
    let embedded = Arc::new(provider(stage.folder.path(), stage.clock.clone()));
    let free = free_port();
    let mut deploying = JoinSet::new();
    for number in 0..8 {
        let embedded = Arc::clone(&embedded);
        let name = service(&format!("s-{number}"));
        let wanted = Definition { service: name, port: Some(free), ..worker("exec sleep 60") };
        deploying.spawn(async move { embedded.deploy(&wanted).await.map(drop) });
    }
    assert!(deploying.join_all().await.iter().all(Result::is_ok));
    let mut ports = embedded.keeper.home.ports().unwrap();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((ports.len(), ports.contains(&free)), (8, true));
}

#[tokio::test]
async fn a_command_replaces_the_arguments_of_the_program() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let command = ["-c", "echo \"I am $0\"; exec sleep 60", "other"].map(str::to_owned).to_vec();
    embedded.deploy(&Definition { command: Some(command), ..worker("") }).await.unwrap();
    heard(&embedded, "I am other").await;
}

#[tokio::test]
async fn an_image_without_a_program_is_refused_with_the_key_to_add() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let unknown = Definition { image: image("ghcr.io/acme/unknown"), ..worker("") };
    let fault = embedded.deploy(&unknown).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(
        fault.to_string(),
        "here could not deploy: no program stands for the image ghcr.io/acme/unknown: add \
         programs.\"ghcr.io/acme/unknown\" = [\"PROGRAM\", \"ARGUMENT\"] to [providers.here]"
    );
    let elsewhere = Definition { provider: ProviderName::new("fly").unwrap(), ..worker("") };
    assert_eq!(embedded.deploy(&elsewhere).await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(embedded.look().await.unwrap(), Vec::new());
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_but_its_owner_can_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    let folder = stage.folder.path().join("shop/here");
    let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    for path in kept.iter().chain([&folder]) {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{path:?}");
    }
}
