//! What a cloud leaves behind: nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use linkflow_model::role::Progress;
use linkflow_rehearsal::cloud::Trouble;
use tokio::time::sleep;

use super::stage::{Stage, until};

/// Names the file into which this test binary, run as a cloud, writes its processes' ids.
const PIDS: &str = "LINKFLOW_TEST_PIDS";

#[tokio::test]
#[ignore = "run by a test as a process that is then killed"]
async fn this_test_binary_is_a_cloud_that_waits() {
    let Some((_, file)) = std::env::vars().find(|(name, _)| name == PIDS) else { return };
    let stage = Stage::start(&["generic", "render"]).await;
    let mut pids = String::new();
    for provider in ["generic", "render"] {
        let wanted = stage.definition(provider, "engine-matching:1.0", 1).await;
        assert_eq!(stage.deploy(&wanted).await, Progress::Done);
        pids += &format!("{}\n", stage.process(provider).1.unwrap());
    }
    stage.fault("render", Trouble::Hung);
    sleep(Duration::from_millis(50)).await;
    std::fs::write(format!("{file}.part"), pids).unwrap();
    std::fs::rename(format!("{file}.part"), &file).unwrap();
    std::future::pending::<()>().await;
}

/// Whether a process runs; one that ended and was not waited for does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_cloud_that_is_killed_takes_its_processes_with_it_also_the_hung_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let mut cloud = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leftovers::this_test_binary_is_a_cloud_that_waits", "--ignored"])
        .env(PIDS, &file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the cloud is up", async || Path::new(&file).exists(), |up| *up).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let pids: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)), "{pids:?}");

    cloud.kill().unwrap();
    cloud.wait().unwrap();
    until(
        "all are gone",
        async || pids.iter().filter(|pid| runs(**pid)).count(),
        |left| *left == 0,
    )
    .await;
}

#[tokio::test]
async fn a_cloud_that_stops_or_is_dropped_has_killed_its_processes() {
    for stops in [true, false] {
        let stage = Stage::start(&["generic"]).await;
        let wanted = stage.definition("generic", "engine-matching:1.0", 1).await;
        assert_eq!(stage.deploy(&wanted).await, Progress::Done);
        let pid = stage.process("generic").1.unwrap();
        assert!(runs(pid));
        if stops {
            stage.stop().await;
            assert!(!runs(pid), "a stopped cloud has waited for its processes");
        } else {
            drop(stage);
            until("it is gone", async || runs(pid), |runs| !runs).await;
        }
    }
}
