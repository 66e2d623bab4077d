//! What happens to processes: crashes, waits, stubborn ones, orphans, other ones of us, pids used again.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use linkflow_model::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use super::super::process::{Boot, Process};
use super::super::*;
use super::stage::*;

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_killed_process_is_started_again() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    let first = pids(&embedded);
    kill(first[0]);
    until(&embedded, "it is seen dead", || pids(&embedded).is_empty()).await;
    assert_eq!(seen(&embedded).await.lifecycle, Lifecycle::Starting);
    let instance = instances(&embedded).remove(0);
    assert_eq!((instance.crashes, instance.ended), (1, Some("was killed by signal 9".to_owned())));
    stage.clock.pass(PACE.back_off);
    embedded.tend().await.unwrap();
    assert_eq!(pids(&embedded).len(), 1);
    assert_ne!(pids(&embedded), first);
}

#[tokio::test]
async fn each_crash_in_a_row_is_followed_by_twice_the_wait_also_by_another_linkflow() {
    let stage = stage();
    let mut embedded = provider(stage.folder.path(), stage.clock.clone());
    let deployment = embedded.deploy(&worker("echo going; exit 3")).await.unwrap();
    for (crashes, wait) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 6_000), (5, 6_000)] {
        until(&embedded, "it crashed", || instances(&embedded)[0].is_down()).await;
        let instance = instances(&embedded).remove(0);
        let due = stage.clock.wall().0 + wait;
        assert_eq!((instance.crashes, instance.not_before.0), (crashes, due));
        let progress = embedded.progress(&deployment).await.unwrap();
        let why = format!("instance 0 crashed {crashes} times: it exited with 3");
        let failed = Progress::Failed { why };
        assert_eq!(progress == failed, crashes >= CRASHES, "{progress:?}");
        let expected = if crashes >= CRASHES { Lifecycle::Failed } else { Lifecycle::Starting };
        assert_eq!(seen(&embedded).await.lifecycle, expected);

        stage.clock.pass(wait - 1);
        embedded.tend().await.unwrap();
        assert!(instances(&embedded)[0].is_down());
        embedded = provider(stage.folder.path(), stage.clock.clone());
        embedded.tend().await.unwrap();
        assert!(instances(&embedded)[0].is_down());
        stage.clock.pass(1);
        embedded.tend().await.unwrap();
    }
    let said = said(&embedded).await;
    assert_eq!(said.matches("starts r1").count(), 6, "{said}");
}

#[tokio::test]
async fn after_a_long_life_the_waits_begin_anew_and_a_deploy_forgets_them() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    for (lived, crashes) in [(0, 1), (10, 2), (PACE.stable - 1, 3), (PACE.stable, 1), (5, 2)] {
        stage.clock.pass(lived);
        kill(pids(&embedded)[0]);
        until(&embedded, "it is seen dead", || pids(&embedded).is_empty()).await;
        assert_eq!(instances(&embedded)[0].crashes, crashes);
        stage.clock.pass(PACE.back_off_most);
        embedded.tend().await.unwrap();
    }
    kill(pids(&embedded)[0]);
    until(&embedded, "it is seen dead", || pids(&embedded).is_empty()).await;
    embedded.deploy(&worker("exec sleep 61")).await.unwrap();
    assert_eq!((pids(&embedded).len(), instances(&embedded)[0].crashes), (1, 0));
}

#[tokio::test]
async fn a_clock_that_went_back_keeps_nothing_down() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    kill(pids(&embedded)[0]);
    until(&embedded, "it is seen dead", || pids(&embedded).is_empty()).await;
    drop(embedded);
    let embedded = provider(stage.folder.path(), Hand::at(1_000));
    embedded.tend().await.unwrap();
    assert_eq!(pids(&embedded).len(), 1);
}

#[tokio::test]
async fn a_program_that_is_not_there_fails_the_deploy() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let none = Definition { image: image("example.com/none"), ..worker("") };
    let deployment = embedded.deploy(&none).await.unwrap();
    for _ in 0..CRASHES {
        stage.clock.pass(PACE.back_off_most);
        embedded.tend().await.unwrap();
    }
    let Progress::Failed { why } = embedded.progress(&deployment).await.unwrap() else {
        panic!("it did not fail")
    };
    assert!(why.contains("could not be started: No such file"), "{why}");
}

#[tokio::test]
async fn a_process_that_ignores_the_request_to_end_is_killed_after_its_grace() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let deaf = "trap '' TERM; (trap '' TERM; while :; do sleep 0.01; done) & echo deaf; while :; do sleep 0.01; done";
    embedded.deploy(&worker(deaf)).await.unwrap();
    heard(&embedded, "deaf").await;
    let running = runnings(&embedded).remove(0);
    embedded.scale(&service("api"), 0).await.unwrap();
    stage.clock.pass(PACE.grace - 1);
    for _ in 0..10 {
        embedded.tend().await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    assert!(running.process.is_alive(&Boot::now().unwrap()));
    let stopping = seen(&embedded).await;
    assert_eq!((stopping.lifecycle, stopping.said.as_str()), (Lifecycle::Running, "stopping"));
    stage.clock.pass(1);
    until(&embedded, "it stopped", || instances(&embedded).is_empty()).await;
    assert_eq!(seen(&embedded).await.lifecycle, Lifecycle::Stopped);
    assert!(!process::left_behind(&running.token));
}

#[tokio::test]
async fn what_a_crashed_process_left_behind_is_gone_before_it_starts_again() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    // The child ignores SIGTERM and leaves the process group where the shell can do that.
    embedded.deploy(&worker("set -m; sh -c 'trap \"\" TERM; sleep 60' & exit 1")).await.unwrap();
    let token = runnings(&embedded).remove(0).token;
    until(&embedded, "it crashed", || instances(&embedded)[0].is_down()).await;
    assert!(!process::left_behind(&token));
}

#[tokio::test]
async fn what_a_stopped_process_left_behind_has_the_rest_of_the_grace() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let script =
        "(trap 'sleep 0.1; echo drained; exit' TERM; echo up; while :; do sleep 0.01; done) & wait";
    embedded.deploy(&worker(script)).await.unwrap();
    heard(&embedded, "up").await;
    embedded.scale(&service("api"), 0).await.unwrap();
    until(&embedded, "it stopped", || instances(&embedded).is_empty()).await;
    let said = said(&embedded).await;
    assert!(said.contains("drained"), "{said}");
}

#[tokio::test]
async fn the_next_linkflow_adopts_what_runs() {
    let stage = stage();
    let first = provider(stage.folder.path(), stage.clock.clone());
    let deployment = first.deploy(&web("api", 0)).await.unwrap();
    assert_eq!(outcome(&first, &deployment).await, Progress::Done);
    let (pid, seen_first) = (pids(&first), seen(&first).await);
    drop(first);
    let next = provider(stage.folder.path(), stage.clock.clone());
    assert_eq!(seen(&next).await, seen_first);
    assert_eq!(next.deploy(&web("api", 0)).await.unwrap(), deployment);
    assert_eq!((outcome(&next, &deployment).await, pids(&next)), (Progress::Done, pid));
    next.scale(&service("api"), 0).await.unwrap();
    until(&next, "it stopped", || instances(&next).is_empty()).await;
}

/// Not a test of its own: a LinkFlow that deploys and then is killed.
#[tokio::test]
#[ignore = "another test starts it as a child process"]
async fn child_that_deploys() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let embedded = provider(&PathBuf::from(folder), Hand::at(1_000_000));
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_process_outlives_the_linkflow_that_started_it_and_was_killed() {
    let stage = stage();
    let name = format!("{}::child_that_deploys", module_path!().split_once("::").unwrap().1);
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", &name])
        .env(FOLDER, stage.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    until(&embedded, "the other has deployed", || pids(&embedded).len() == 1).await;
    let running = runnings(&embedded).remove(0);
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(running.process.is_alive(&Boot::now().unwrap()));
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    assert_eq!(pids(&embedded), [running.process.pid]);
    embedded.scale(&service("api"), 0).await.unwrap();
    until(&embedded, "it stopped", || instances(&embedded).is_empty()).await;
    assert!(!running.process.is_alive(&Boot::now().unwrap()));
}

#[tokio::test]
async fn a_process_whose_pid_could_not_be_written_down_is_found_by_its_token() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    let running = runnings(&embedded).remove(0);
    // As if LinkFlow had been killed right after the start.
    let mut state = embedded.keeper.home.load(&service("api")).unwrap().unwrap();
    let generation = state.generation;
    state.instances[0].life = Life::Launching { token: running.token.clone(), generation };
    embedded.keeper.home.save(&service("api"), &state).unwrap();
    drop(embedded);
    let next = provider(stage.folder.path(), stage.clock.clone());
    next.tend().await.unwrap();
    assert_eq!(pids(&next), [running.process.pid]);
    // As if it had been killed right before.
    state.instances[0].life = Life::Launching { token: "never-started".to_owned(), generation };
    kill(running.process.pid);
    next.keeper.home.save(&service("api"), &state).unwrap();
    next.tend().await.unwrap();
    assert_eq!(pids(&next).len(), 1);
    assert_ne!(pids(&next), [running.process.pid]);
}

#[tokio::test]
async fn a_pid_that_was_used_again_is_never_touched() {
    let stage = stage();
    let mut stranger = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let boot = Boot::now().unwrap();
    let strangers = Process::at(i32::try_from(stranger.id()).unwrap(), &boot).unwrap();
    let earlier = Process { started: strangers.started - 1, ..strangers.clone() };
    let other_boot = Process { boot: "another".to_owned(), ..strangers.clone() };
    for process in [earlier, other_boot] {
        let embedded = provider(stage.folder.path(), stage.clock.clone());
        embedded.deploy(&worker("exec sleep 60")).await.unwrap();
        let ours = runnings(&embedded).remove(0);
        let mut state = embedded.keeper.home.load(&service("api")).unwrap().unwrap();
        let mistaken = state::Running { process, token: "long-gone".to_owned(), ..ours.clone() };
        state.instances[0].life = Life::Up(mistaken);
        embedded.keeper.home.save(&service("api"), &state).unwrap();
        kill(ours.process.pid);

        embedded.tend().await.unwrap();
        assert!(instances(&embedded)[0].is_down());
        stage.clock.pass(PACE.back_off_most);
        embedded.restart(&service("api")).await.unwrap();
        assert_eq!(pids(&embedded).len(), 1);
        embedded.delete(&service("api")).await.unwrap();
        assert!(stranger.try_wait().unwrap().is_none() && strangers.is_alive(&boot));
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn of_many_linkflows_at_once_one_starts_each_instance() {
    let stage = stage();
    let all: Vec<_> = (0..6).map(|_| provider(stage.folder.path(), stage.clock.clone())).collect();
    let mut deploying = JoinSet::new();
    for embedded in all {
        deploying.spawn(async move {
            let wanted = Definition { replicas: 2, ..worker("exec sleep 60") };
            let deployment = embedded.deploy(&wanted).await.unwrap();
            embedded.tend().await.unwrap();
            (embedded, deployment)
        });
    }
    let done = deploying.join_all().await;
    assert!(done.iter().all(|(_, deployment)| *deployment == done[0].1));
    let said = said(&done[0].0).await;
    assert_eq!(said.matches("starts r1").count(), 2, "{said}");
    assert_eq!(pids(&done[0].0).len(), 2);
}

#[tokio::test]
async fn an_end_that_another_linkflow_saw_first_leaves_no_zombie() {
    let stage = stage();
    let parent = provider(stage.folder.path(), stage.clock.clone());
    parent.deploy(&worker("exec sleep 60")).await.unwrap();
    let pid = pids(&parent)[0];
    kill(pid);
    let other = provider(stage.folder.path(), stage.clock.clone());
    for service in other.keeper.home.services().unwrap() {
        while !instances(&other)[0].is_down() {
            other.keeper.visit(&service, |_| Ok(())).unwrap();
        }
    }
    until(&parent, "it is let go of", || Process::at(pid, &Boot::now().unwrap()).is_none()).await;
}

#[tokio::test]
async fn a_state_that_cannot_be_read_starts_and_stops_nothing() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    let running = runnings(&embedded).remove(0);
    let path = embedded.keeper.home.file(&service("api"), "json");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let seen_broken = seen(&embedded).await;
    assert_eq!(seen_broken.lifecycle, Lifecycle::Unknown);
    assert!(seen_broken.said.contains("api.json cannot be read"), "{}", seen_broken.said);
    let fault = embedded.deploy(&worker("exec sleep 61")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(running.process.is_alive(&Boot::now().unwrap()));
    std::fs::write(&path, whole).unwrap();
    assert_eq!(seen(&embedded).await.lifecycle, Lifecycle::Running);
}

#[tokio::test]
async fn a_worker_has_started_when_it_has_lived_for_a_while() {
    let stage = stage();
    let mut embedded = provider(stage.folder.path(), stage.clock.clone());
    Arc::get_mut(&mut embedded.keeper).unwrap().pace.settle = 2_000;
    let deployment = embedded.deploy(&worker("exec sleep 60")).await.unwrap();
    stage.clock.pass(1_999);
    let progress = embedded.progress(&deployment).await.unwrap();
    assert!(matches!(progress, Progress::Under { .. }), "{progress:?}");
    stage.clock.pass(1);
    assert_eq!(embedded.progress(&deployment).await.unwrap(), Progress::Done);
    assert_eq!(seen(&embedded).await.address, None);
}

#[tokio::test]
async fn logs_are_kept_to_their_size_while_the_process_goes_on_writing() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    // A line written just while the log is cut may be lost, so the one that is asked for comes after that.
    let script = "n=0; while [ $n -lt 500 ]; do n=$((n+1)); echo line $n; done; touch written; \
                  until [ -e go ]; do sleep 0.01; done; echo last line; exec sleep 60";
    embedded.deploy(&worker(script)).await.unwrap();
    let written = stage.folder.path().join("written");
    until(&embedded, "it wrote all", || written.exists()).await;
    embedded.tend().await.unwrap();
    let log = embedded.keeper.log(&service("api"));
    let size = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&log.path) <= PACE.log_cap);
    assert!(size(&log.path.with_extension("log.1")) > 0);
    std::fs::write(stage.folder.path().join("go"), "").unwrap();
    heard(&embedded, "last line").await;
    let lines = embedded.logs(&service("api"), 3).await.unwrap();
    assert_eq!(lines.last().map(|line| line.text.as_str()), Some("last line"));
    assert_eq!(lines.len(), 3);
    let instance = instances(&embedded).remove(0);
    assert_eq!((instance.crashes, instance.not_before), (0, Timestamp(0)));
}
