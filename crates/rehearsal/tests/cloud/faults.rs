//! Each fault does what it says, and what it did is undone when it is lifted.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use linkflow_model::role::{Compute, ComputeLook, Progress};
use linkflow_model::{FaultKind, Lifecycle, Timestamp};
use linkflow_rehearsal::cloud::Trouble;
use linkflow_rehearsal::ledger::{Ledger, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::stage::{Stage, grpc, named, send, until, visit};

const API: &str = "linkflow-api.generic.rehearsal";
const MATCHING: &str = "linkflow-engine-matching.generic.rehearsal";
const HEALTH: &str = "/api/v1/health";

/// A cloud whose only provider runs `image`.
async fn stage(image: &str) -> Stage {
    let stage = Stage::start(&["generic"]).await;
    let wanted = stage.definition("generic", image, 1).await;
    assert_eq!(stage.deploy(&wanted).await, Progress::Done);
    stage
}

/// What a visitor sees: a status, or why there is none.
async fn seen(stage: &Stage) -> String {
    match stage.visit("generic", API, HEALTH).await {
        Ok(told) => told.status.to_string(),
        Err(why) if why.contains("refused") => "refused".to_owned(),
        Err(why) => why,
    }
}

async fn until_seen(stage: &Stage, wanted: &str) {
    until(wanted, async || seen(stage).await, |said| said == wanted).await;
}

/// An open connection, on which a request was answered.
async fn connection(stage: &Stage) -> TcpStream {
    let mut stream = TcpStream::connect(stage.provider("generic").ingress).await.unwrap();
    let request = format!("GET {HEALTH} HTTP/1.1\r\nhost: {API}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    stream
}

#[tokio::test]
async fn killed_resets_refuses_and_tells_the_truth_and_lifting_it_starts_again() {
    let stage = stage("api:1.0").await;
    let mut open = connection(&stage).await;
    stage.fault("generic", Trouble::Killed);
    let cut = timeout(Duration::from_secs(5), open.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
    until_seen(&stage, "refused").await;
    let adapter = stage.adapter("generic");
    let told =
        until("it is told", async || adapter.look().await.unwrap().remove(0), |s| s.running == 0)
            .await;
    assert_eq!(told.lifecycle, Lifecycle::Stopped);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.process("generic"), ("dead".to_owned(), None), "it stays dead");

    stage.fault("generic", None);
    until_seen(&stage, "200").await;
    assert_eq!(stage.process("generic").0, "running");
    stage.stop().await;
}

#[tokio::test]
async fn hung_stalls_what_is_in_flight_until_it_is_lifted_and_the_api_says_all_is_well() {
    let stage = stage("engine-matching:1.0").await;
    let provider = stage.provider("generic").clone();
    // A long poll, which answers after one second when there is nothing to do.
    let poll = grpc(&provider, MATCHING, "/linkflow.Matching/Poll", b"{}");
    let began = Instant::now();
    let hang = async {
        sleep(Duration::from_millis(200)).await;
        stage.fault("generic", Trouble::Hung);
        // A new connection is taken, and nothing comes back.
        let late = visit(&provider, MATCHING, "/x");
        assert!(timeout(Duration::from_millis(300), late).await.is_err());
        let told = &stage.adapter("generic").look().await.unwrap()[0];
        assert_eq!((told.lifecycle, told.running), (Lifecycle::Running, 1));
        sleep(Duration::from_millis(1_000)).await;
        stage.fault("generic", None);
    };
    let (answer, ()) = tokio::join!(poll, hang);
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.trailers["grpc-status"].to_str().unwrap()), (200, "0"));
    assert!(
        began.elapsed() > Duration::from_millis(1_450),
        "it was held back: {:?}",
        began.elapsed()
    );
    stage.stop().await;
}

#[tokio::test]
async fn refusing_shuts_the_ingress_and_leaves_the_process_alone() {
    let stage = stage("api:1.0").await;
    let before = stage.process("generic");
    stage.fault("generic", Trouble::Refusing);
    until_seen(&stage, "refused").await;
    assert_eq!(stage.process("generic"), before);
    stage.fault("generic", None);
    until_seen(&stage, "200").await;
    assert_eq!(stage.process("generic"), before);
    stage.stop().await;
}

#[tokio::test]
async fn slow_and_errors_spare_what_they_say() {
    let stage = stage("api:1.0").await;
    stage.fault("generic", Trouble::Slow { ms: 250 });
    let began = Instant::now();
    assert_eq!(seen(&stage).await, "200");
    assert!(began.elapsed() >= Duration::from_millis(250));

    stage.fault("generic", Trouble::Errors { status: 503 });
    assert_eq!(seen(&stage).await, "200", "the health path answers as always");
    for _ in 0..4 {
        let told = stage.visit("generic", API, "/api/v1/workflows").await.unwrap();
        assert_eq!((told.status, told.header("x-linkflow-service")), (503, String::new()));
    }
    stage.stop().await;
}

#[tokio::test]
async fn about_half_of_the_requests_that_fail_were_carried_out() {
    let stage = stage("api:1.0").await;
    stage.fault("generic", Trouble::Errors { status: 500 });
    let url = format!("http://{}/api/v1/workflows", stage.provider("generic").ingress);
    for number in 0..30 {
        let request = Request::post(&url).header("host", API);
        let request = request.header("idempotency-key", format!("key-{number}"));
        let told = send(request.body(Bytes::from(r#"{"name":"x"}"#)).unwrap()).await.unwrap();
        assert_eq!(told.status, 500);
    }
    let ledger = Ledger::open(&stage.endpoints.ledger).unwrap();
    let ever = Span { from: Timestamp(0), to: Timestamp(u64::MAX / 2) };
    let arrivals = ledger.count(ever, 1_000).unwrap().arrivals;
    assert!((5..=25).contains(&arrivals), "{arrivals} of 30");
    stage.stop().await;
}

#[tokio::test]
async fn app_down_kills_while_the_api_says_all_is_well() {
    let stage = stage("api:1.0").await;
    stage.fault("generic", Trouble::AppDown);
    until_seen(&stage, "502").await;
    let told = &stage.adapter("generic").look().await.unwrap()[0];
    assert_eq!((told.lifecycle, told.running), (Lifecycle::Running, 1));
    assert_eq!(stage.process("generic").1, None);
    stage.fault("generic", None);
    until_seen(&stage, "200").await;
    stage.stop().await;
}

#[tokio::test]
async fn gone_takes_the_api_too_and_api_down_takes_nothing_else() {
    let stage = stage("api:1.0").await;
    let adapter = stage.adapter("generic");
    stage.fault("generic", Trouble::ApiDown);
    until("the API refuses", async || adapter.look().await.is_err(), |down| *down).await;
    assert_eq!(seen(&stage).await, "200");
    stage.fault("generic", Trouble::Gone);
    until_seen(&stage, "refused").await;
    assert!(adapter.look().await.is_err());
    stage.cloud.clear_faults();
    until_seen(&stage, "200").await;
    until("the API is back", async || adapter.look().await.is_ok(), |up| *up).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_fault_of_one_service_leaves_its_neighbours_alone() {
    let stage = stage("api:1.0").await;
    let matching = stage.definition("generic", "engine-matching:1.0", 1).await;
    assert_eq!(stage.deploy(&matching).await, Progress::Done);
    let api = named("api");
    assert!(stage.cloud.set_fault(&"generic".parse().unwrap(), Some(&api), Some(Trouble::Killed)));
    until_seen(&stage, "503").await;
    let provider = stage.provider("generic");
    let well = grpc(provider, MATCHING, "/grpc.health.v1.Health/Check", b"").await.unwrap();
    assert_eq!(well.trailers["grpc-status"].to_str().unwrap(), "0");
    assert_eq!(well.body.as_ref(), [0, 0, 0, 0, 2, 8, 1]);
    stage.stop().await;
}

#[tokio::test]
async fn a_stuck_deploy_goes_on_when_the_fault_is_lifted() {
    let stage = stage("api:1.0").await;
    stage.fault("generic", Trouble::DeployStuck);
    let adapter = stage.adapter("generic");
    let deployment =
        adapter.deploy(&stage.definition("generic", "api:1.1", 2).await).await.unwrap();
    sleep(Duration::from_millis(600)).await;
    assert!(matches!(adapter.progress(&deployment).await.unwrap(), Progress::Under { .. }));
    let told = stage.visit("generic", API, HEALTH).await.unwrap();
    assert_eq!(told.header("x-linkflow-release"), "r1", "the old one serves meanwhile");
    stage.fault("generic", None);
    assert_eq!(super::stage::ended(&adapter, &deployment).await, Progress::Done);
    stage.stop().await;
}

#[tokio::test]
async fn a_wrong_image_shows_in_the_digest() {
    let stage = stage("api:1.0").await;
    let before = stage.definition("generic", "api:1.0", 1).await.image.digest;
    stage.fault("generic", Trouble::WrongImage);
    let wanted = stage.definition("generic", "api:1.2", 2).await;
    assert_eq!(stage.deploy(&wanted).await, Progress::Done);
    let told = &stage.adapter("generic").look().await.unwrap()[0];
    assert_eq!((told.digest.as_ref(), told.release), (Some(&before), Some(wanted.release)));
    stage.stop().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_what_runs_goes_on() {
    let stage = stage("api:1.0").await;
    stage.fault("generic", Trouble::Denied);
    let fault = stage.adapter("generic").look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    assert_eq!(stage.visit("generic", API, HEALTH).await.unwrap().status, 200);
    stage.fault("generic", None);
    assert_eq!(stage.adapter("generic").look().await.unwrap().len(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn a_process_that_dies_by_itself_is_started_again() {
    let stage = stage("api:1.0").await;
    let (_, pid) = stage.process("generic");
    let killed = rustix::process::Pid::from_raw(i32::try_from(pid.unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    until(
        "another runs",
        async || stage.process("generic"),
        |(really, now)| really == "running" && now.is_some() && *now != pid,
    )
    .await;
    let lines = stage.adapter("generic").logs(&named("api"), 100).await.unwrap();
    assert!(lines.iter().any(|line| line.text.contains("killed by signal 9; starting it again")));
    stage.stop().await;
}

#[tokio::test]
async fn fifteen_processes_start_within_seconds() {
    let stage = Stage::start(&["generic", "spare", "azure"]).await;
    let began = Instant::now();
    let mut deploys = Vec::new();
    for provider in ["generic", "spare", "azure"] {
        let services =
            ["api", "engine-frontend", "engine-matching", "engine-timer", "engine-worker"];
        for service in services {
            let wanted = stage.definition(provider, &format!("{service}:1.0"), 1).await;
            let adapter = stage.adapter(provider);
            let deployment = adapter.deploy(&wanted).await.unwrap();
            deploys.push((adapter, deployment));
        }
    }
    for (adapter, deployment) in &deploys {
        assert_eq!(super::stage::ended(adapter, deployment).await, Progress::Done);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    stage.stop().await;
}
