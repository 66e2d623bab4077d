//! What a machine writes, read.

use linkflow_model::{Fingerprint, ReleaseId, ServiceKind, Size};

use super::*;

pub(super) fn place() -> Place {
    Place::on(Ipv4Addr::LOCALHOST.into())
}

pub(super) fn wanted(env: BTreeMap<String, EnvValue>) -> Definition {
    let digest = "0".repeat(64);
    Definition {
        stack: "shop".parse().unwrap(),
        service: "api".parse().unwrap(),
        provider: "home".parse().unwrap(),
        release: ReleaseId(1),
        image: format!("ghcr.io/acme/api@sha256:{digest}").parse().unwrap(),
        login: None,
        command: None,
        kind: ServiceKind::Web,
        port: Some(8080),
        health: None,
        env,
        env_gone: Vec::new(),
        replicas: 1,
        size: Size::default(),
        fingerprint: Fingerprint("f".repeat(32)),
    }
}

#[track_caller]
fn check_progress(text: &str, wanted: &str) {
    let told = match how_far(text, "r2-bb") {
        Progress::Under { said } => format!("under {said}"),
        Progress::Done => "done".to_owned(),
        Progress::Failed { why } => format!("failed {why}"),
    };
    assert_eq!(told, wanted, "{text}");
}

#[test]
fn a_deploy_goes_as_its_state_says() {
    check_progress("- busy\nr2-bb under: pulls x\n", "under pulls x");
    check_progress("r1-aa busy\nr2-bb under: begins\n", "under begins");
    check_progress("r1-aa idle\nr2-bb under: begins\n", "failed it was cut off on the machine: begins");
    check_progress("r2-bb busy\nr2-bb done\n", "done");
    check_progress("r1-aa idle\nr2-bb failed\nno such image\nat all\n", "failed no such image\nat all");
    check_progress("r2-bb busy\nr3-cc under: begins\n", "done");
    check_progress("r3-cc idle\nr3-cc done\n", "failed a later deploy took its place");
    check_progress("- idle\n", "failed it was deleted");
}

#[test]
fn a_job_stands_as_its_container_does() {
    assert_eq!(job_state("absent\n"), JobState::Absent);
    assert_eq!(job_state("container running 0\n"), JobState::Under { said: "running".to_owned() });
    let pulls = JobState::Under { said: "under: pulls x".to_owned() };
    assert_eq!(job_state("work busy\nrun under: pulls x\n"), pulls);
    assert_eq!(job_state("work idle\nrun under: pulls x\n"), JobState::Absent);
    let line = |text: &str| LogLine { at: None, text: text.to_owned() };
    let ended = |code, worked, log| JobState::Ended { code, worked, log };
    assert_eq!(job_state("work idle\nrun failed\nno image\n"), ended(None, false, vec![line("no image")]));
    assert_eq!(job_state("container exited 3\nbad\n"), ended(Some(3), false, vec![line("bad")]));
    assert_eq!(job_state("container exited 0\n"), ended(Some(0), true, vec![]));
}

#[test]
fn a_line_of_a_log_begins_with_its_time() {
    let lines = log_lines("1970-01-01T00:00:01.5Z two words \n1970-01-01T00:00:02Z\nbare\n");
    let told: Vec<_> = lines.iter().map(|l| (l.at.map(|at| at.0), l.text.as_str())).collect();
    assert_eq!(told, [(Some(1_500), "two words"), (Some(2_000), ""), (None, "bare")]);
}

#[test]
fn disk_memory_and_load_are_told() {
    let text = "/dev/vda 100 40 50 45% /\nMemTotal: 1000 kB\nMemAvailable: 600 kB\ncpus 2\nload 0.50 0.1 0.1 1/2 3\n";
    let rows: Vec<_> = usage(text).into_iter().map(|u| (u.what, u.used, u.limit)).collect();
    let row = |what: &str, used: f64, limit: f64| (what.to_owned(), used, Some(limit));
    assert_eq!(
        rows,
        [row("disk", 40_960.0, 92_160.0), row("load", 0.5, 2.0), row("memory", 409_600.0, 1_024_000.0)]
    );
}

#[test]
fn services_are_reached_where_their_ports_are_published() {
    let at = |publish: &str, address| Place::on(publish.parse().unwrap()).reached(address);
    assert_eq!(at("0.0.0.0", "203.0.113.7"), "203.0.113.7");
    assert_eq!(at("0.0.0.0", "2001:db8::1"), "[2001:db8::1]");
    assert_eq!(at("10.0.0.2", "203.0.113.7"), "10.0.0.2");
    assert_eq!(at("::1", "host.example"), "[::1]");
}
