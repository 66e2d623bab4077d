//! The adapters for servers and for the engine of this machine, against a real Docker, a real sshd and a real registry.

mod engine;
mod rented;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkflow_model::role::{Compute, Job, JobState, Progress, Seen};
use linkflow_model::{
    Definition, EnvValue, FaultKind, Fingerprint, Lifecycle, PinnedImage, RegistryLogin, ReleaseId,
    Secret, ServiceKind, ServiceName, Size,
};
use linkflow_providers::compute::server::{self, Network, Place};
use linkflow_providers::compute::{self, Settings, docker};
use tokio::time::{Instant, sleep};

use super::contract::{self, Address, Versions};
use super::stage::{SECRET, deployed, ended, kit, seen};
use engine::{DRAIN, Engine, Like, PASSWORD, USER};

/// A machine, or `None` after a word on why it is not tested.
fn machine(like: Like) -> Option<Engine> {
    Engine::start(&like).map_err(|why| println!("skipped: {}", why.trim())).ok()
}

fn open(settings: Settings, stack: &str) -> Arc<dyn Compute> {
    compute::open(settings, &kit(None), &stack.parse().unwrap(), &"home".parse().unwrap())
}

/// The adapter with SSH.
fn over_ssh(engine: &Engine, stack: &str) -> Arc<dyn Compute> {
    open(Settings::Server(engine.settings()), stack)
}

/// The adapter without.
fn without_ssh(place: Place, stack: &str) -> Arc<dyn Compute> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let env = [("PATH".to_owned(), path)].into();
    open(Settings::Docker(docker::Settings { env, place }), stack)
}

fn definition(image: PinnedImage, service: &str, release: u64) -> Definition {
    let (kind, port, health) = match service {
        "api" => (ServiceKind::Web, Some(8_000), Some("/api/v1/health")),
        "engine-frontend" => (ServiceKind::Web, Some(8_080), Some("/health")),
        "engine-matching" => (ServiceKind::Grpc, Some(7_235), None),
        _ => (ServiceKind::Worker, None, None),
    };
    let secret = EnvValue::Secret(Secret::new(SECRET));
    Definition {
        stack: "linkflow".parse().unwrap(),
        service: service.parse().unwrap(),
        provider: "home".parse().unwrap(),
        release: ReleaseId(release),
        fingerprint: Fingerprint(format!("{release:x}{:0>31}", "")),
        image,
        command: None,
        login: None,
        kind,
        port,
        health: health.map(str::to_owned),
        env: [("LINKFLOW_SECRET".to_owned(), secret)].into(),
        env_gone: Vec::new(),
        replicas: 1,
        size: Size { cpu_milli: 500, memory_mb: 64 },
    }
}

async fn versions(engine: &Engine, service: &str) -> Versions {
    let version = async |tag: &str, release: u64| {
        definition(engine.push(service, tag, 0).await, service, release)
    };
    Versions {
        first: version("1.0", 1).await,
        second: version("1.1", 2).await,
        broken: version("broken", 3).await,
    }
}

/// All promises, side by side, each with a service of its own.
async fn check(engine: &Engine, ours: &dyn Compute, theirs: &dyn Compute) {
    let api = versions(engine, "api").await;
    let worker = definition(engine.push("engine-worker", "1.0", 0).await, "engine-worker", 1);
    let frontend = versions(engine, "engine-frontend").await;
    let timer = versions(engine, "engine-timer").await;
    tokio::join!(
        contract::comes_and_goes(ours, &api, Address::Moves),
        contract::rests_and_wakes(ours, &worker),
        contract::says_when_a_deploy_fails(ours, &frontend),
        contract::says_when_a_deploy_fails(ours, &timer),
    );
    contract::grows_and_shrinks(ours, &worker, 2).await;
    let image = engine.push("engine-matching", "1.0", 0).await;
    let matching = definition(image, "engine-matching", 1);
    contract::leaves_strangers_alone(ours, theirs, &matching).await;
    // Each work on a service is a process with a number of its own.
    let pid = engine.home().join("linkflow/home/engine-matching/pid");
    let work = || std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    contract::repeats_itself(ours, &matching, work).await;
    ours.delete(&matching.service).await.unwrap();
    theirs.delete(&matching.service).await.unwrap();
    assert_eq!(engine.docker(&["ps", "-aq"]), "", "no container is left");
    assert_eq!(engine.docker(&["images", "-q"]), "", "no image is left");
    let left: Vec<_> = std::fs::read_dir(engine.home()).unwrap().flatten().collect();
    assert!(left.iter().all(|e| e.file_type().unwrap().is_file()), "no folder is left: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_over_ssh_keeps_the_promises() {
    let Some(engine) = machine(Like::default()) else { return };
    check(&engine, &*over_ssh(&engine, "linkflow"), &*over_ssh(&engine, "other")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_of_this_machine_keeps_the_promises_without_ssh() {
    let Some(engine) = machine(Like::default()) else { return };
    let open = |stack| without_ssh(engine.place(), stack);
    check(&engine, &*open("linkflow"), &*open("other")).await;
}

/// What a request is answered with.
async fn get(url: &str) -> Result<String, String> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let answer = client.get(url).send().await.map_err(|e| format!("{url}: {e:?}"))?;
    answer.error_for_status().map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())
}

/// Asks the service at the address that was looked up last, as the edge does, until `stop`. How many were answered.
async fn ask_without_pause(compute: &dyn Compute, service: &ServiceName, stop: &AtomicBool) -> u32 {
    let mut looked = Instant::now();
    let mut address = found(compute, service).await.address.unwrap();
    let mut answered = 0;
    while !stop.load(Ordering::SeqCst) {
        if looked.elapsed() > Duration::from_millis(500) {
            looked = Instant::now();
            address = found(compute, service).await.address.unwrap();
        }
        get(&format!("{address}/slow")).await.unwrap();
        answered += 1;
    }
    answered
}

async fn found(compute: &dyn Compute, service: &ServiceName) -> Seen {
    seen(compute, service, |_| true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_takes_over_without_a_lost_request_and_old_ones_are_removed() {
    let Some(engine) = machine(Like::default()) else { return };
    let compute = without_ssh(engine.place(), "linkflow");
    let mut releases = Vec::new();
    for number in 1..=5_u64 {
        let image = engine.push("api", &format!("1.{number}"), 0).await;
        releases.push(definition(image, "api", number));
    }
    let service = releases[0].service.clone();
    assert_eq!(deployed(&*compute, &releases[0]).await, Progress::Done);
    let stop = AtomicBool::new(false);
    let change = async {
        for release in &releases[1..] {
            assert_eq!(deployed(&*compute, release).await, Progress::Done);
            let told = get(&(found(&*compute, &service).await.address.unwrap() + "/")).await;
            assert_eq!(told, Ok(release.release.to_string()));
            // As long as an edge may take to hear of it.
            sleep(Duration::from_secs(1)).await;
        }
        // The last one drains as well.
        sleep(DRAIN + Duration::from_millis(500)).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (answered, ()) = tokio::join!(ask_without_pause(&*compute, &service, &stop), change);
    assert!(answered > 10, "{answered}");
    let folder = engine.home().join("linkflow/home/api");
    let kept = || {
        let names = std::fs::read_dir(&folder).unwrap().flatten();
        names.filter(|entry| entry.file_type().unwrap().is_dir()).count()
    };
    let images = || engine.docker(&["images", "-q"]).lines().count();
    let end = Instant::now() + DRAIN + Duration::from_secs(20);
    while (engine.docker(&["ps", "-aq"]).lines().count(), kept(), images()) != (1, 3, 3) {
        assert!(Instant::now() < end, "{} {} {}", engine.docker(&["ps", "-a"]), kept(), images());
        sleep(Duration::from_millis(200)).await;
    }
    // Back to one whose folder and image are kept, and to one whose are not.
    for release in [&releases[3], &releases[0]] {
        assert_eq!(deployed(&*compute, release).await, Progress::Done);
        let now = found(&*compute, &service).await;
        assert_eq!(now.release, Some(release.release));
        assert_eq!(get(&now.address.unwrap()).await, Ok(release.release.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_whose_connection_breaks_goes_on_and_a_repeat_joins_it() {
    let Some(engine) = machine(Like::default()) else { return };
    let compute = over_ssh(&engine, "linkflow");
    let image = engine.push("api", "1.0", 20 << 20).await;
    let wanted = definition(image, "api", 1);
    let (first, ()) = tokio::join!(compute.deploy(&wanted), async {
        sleep(Duration::from_millis(60)).await;
        engine.tell("cut_ssh");
    });
    if let Err(fault) = &first {
        assert!(matches!(fault.kind, FaultKind::Unclear | FaultKind::Unreachable), "{fault}");
    }
    let again = compute.deploy(&wanted).await.unwrap();
    engine.tell("cut_ssh");
    assert_eq!(ended(&*compute, &again).await, Progress::Done);
    assert_eq!(compute.deploy(&wanted).await.unwrap(), again);
    assert_eq!(engine.docker(&["ps", "-aq"]).lines().count(), 1, "one container was made");

    // A machine that is not there, and one whose sshd is.
    engine.tell("stop_ssh");
    let silent = over_ssh(&engine, "linkflow").look().await.unwrap_err();
    assert_eq!(silent.kind, FaultKind::Unreachable, "{silent}");
    engine.tell("start_ssh");
    seen(&*over_ssh(&engine, "linkflow"), &wanted.service, |s| s.running == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_with_another_key_and_a_key_that_it_does_not_know_are_refused() {
    let Some(engine) = machine(Like::default()) else { return };
    let with = |host_key: Option<String>| {
        let settings = server::Settings { host_key, ..engine.settings() };
        open(Settings::Server(settings), "linkflow")
    };
    let right = engine.fingerprint();
    with(Some(right.clone())).look().await.unwrap();
    let wrong = "SHA256:0000000000000000000000000000000000000000000".to_owned();
    let fault = with(Some(wrong.clone())).look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    assert!(fault.said.contains(&right) && fault.said.contains(&wrong), "{fault}");
    // Nothing was remembered of the pinned one; now the first sight counts.
    with(None).look().await.unwrap();
    engine.tell("stop_ssh");
    engine.change_key();
    engine.tell("start_ssh");
    let changed = engine.fingerprint();
    let end = Instant::now() + Duration::from_secs(5);
    let fault = loop {
        match with(None).look().await {
            Err(fault) if fault.kind == FaultKind::Unreachable && Instant::now() < end => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    assert!(fault.said.contains(&right) && fault.said.contains(&changed), "{fault}");
    with(Some(changed)).look().await.unwrap();

    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("key");
    let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
    assert!(
        std::process::Command::new("ssh-keygen").args(words).arg(&file).status().unwrap().success()
    );
    let key = Secret::new(std::fs::read_to_string(file).unwrap());
    for key in [key, Secret::new("not a key")] {
        let host_key = Some(engine.fingerprint());
        let settings = server::Settings { key, host_key, ..engine.settings() };
        let fault = open(Settings::Server(settings), "linkflow").look().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ran_runs_again_after_the_machine_began_anew_and_what_rested_rests() {
    let Some(engine) = machine(Like::default()) else { return };
    let compute = over_ssh(&engine, "linkflow");
    let api = definition(engine.push("api", "1.0", 0).await, "api", 1);
    let worker = definition(engine.push("engine-worker", "1.0", 0).await, "engine-worker", 1);
    assert_eq!(deployed(&*compute, &api).await, Progress::Done);
    assert_eq!(deployed(&*compute, &worker).await, Progress::Done);
    compute.scale(&worker.service, 0).await.unwrap();
    seen(&*compute, &worker.service, |seen| seen.lifecycle == Lifecycle::Stopped).await;
    let before = found(&*compute, &api.service).await;

    engine.tell("stop_docker");
    let fault = compute.look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    assert!(fault.said.contains("Docker does not run there"), "{fault}");
    engine.tell("stop_ssh");
    engine.tell("start_ssh");
    engine.tell("start_docker");

    let after = seen(&*compute, &api.service, |seen| seen.running == 1).await;
    assert_eq!(after, Seen { said: after.said.clone(), ..before });
    let address = after.address.unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while get(&address).await != Ok("r1".to_owned()) {
        assert!(Instant::now() < end, "it runs and does not answer: {:?}", get(&address).await);
        sleep(Duration::from_millis(100)).await;
    }
    let rests = found(&*compute, &worker.service).await;
    assert_eq!((rests.lifecycle, rests.running), (Lifecycle::Stopped, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_as_exhausted_and_what_serves_goes_on() {
    let Some(engine) = machine(Like { data: Some("64m"), ..Like::default() }) else { return };
    let compute = without_ssh(engine.place(), "linkflow");
    let good = definition(engine.push("api", "1.0", 0).await, "api", 1);
    assert_eq!(deployed(&*compute, &good).await, Progress::Done);
    let big = definition(engine.push("api", "big", 80 << 20).await, "api", 2);
    let deployment = compute.deploy(&big).await.unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let fault = loop {
        match compute.progress(&deployment).await {
            Ok(Progress::Under { said }) => assert!(Instant::now() < end, "{said}"),
            other => break other.unwrap_err(),
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(fault.kind, FaultKind::Exhausted, "{fault}");
    assert!(fault.said.contains("the disk of the machine is full"), "{fault}");
    let serves = found(&*compute, &good.service).await;
    assert_eq!((serves.release, serves.running), (Some(ReleaseId(1)), 1));
    assert_eq!(get(&serves.address.unwrap()).await, Ok("r1".to_owned()));
    // With room again the next one works.
    let next = definition(engine.push("api", "1.1", 0).await, "api", 3);
    assert_eq!(deployed(&*compute, &next).await, Progress::Done);

    // The disk that our own files are on.
    let home = tempfile::tempdir().unwrap();
    let disk = home.path().to_str().unwrap().to_owned();
    let mount = |words: &[&str]| std::process::Command::new(words[0]).args(&words[1..]).status();
    assert!(mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "test", &disk]).unwrap().success());
    std::fs::write(home.path().join("filling"), vec![0; 1 << 20]).unwrap_err();
    let full = Place { folder: Some(disk.clone()), ..engine.place() };
    let told = without_ssh(full, "linkflow").deploy(&good).await;
    assert!(mount(&["umount", &disk]).unwrap().success());
    let fault = told.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exhausted, "{fault}");
}

/// A job that ends with `code`.
fn job(id: &str, image: &PinnedImage, code: u8) -> Job {
    let command = Some(vec!["end".to_owned(), code.to_string()]);
    Job { id: id.to_owned(), what: Definition { command, ..definition(image.clone(), "api", 1) } }
}

async fn job_ended(compute: &dyn Compute, id: &str) -> JobState {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match compute.job(id).await.unwrap() {
            JobState::Under { said } => assert!(Instant::now() < end, "{said}"),
            other => return other,
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_once_and_tells_its_code_and_its_last_words() {
    let Some(engine) = machine(Like::default()) else { return };
    let compute = over_ssh(&engine, "linkflow");
    let image = engine.push("api", "1.0", 0).await;
    assert_eq!(compute.job("migrate-api-r1").await.unwrap(), JobState::Absent);
    for (id, code) in [("migrate-api-r1", 0), ("migrate-api-r2", 3)] {
        let job = job(id, &image, code);
        let (one, two) = tokio::join!(compute.run_once(&job), compute.run_once(&job));
        one.and(two).unwrap();
        let ended = job_ended(&*compute, id).await;
        compute.run_once(&job).await.unwrap();
        assert_eq!(job_ended(&*compute, id).await, ended, "it ran once");
        let JobState::Ended { code: told, worked, log } = ended else { panic!("{ended:?}") };
        assert_eq!((told, worked), (Some(i32::from(code)), code == 0));
        assert!(log.iter().any(|line| line.text == format!("ends with {code}")), "{log:?}");
        assert!(log.iter().all(|line| line.at.is_some()), "{log:?}");
    }
    assert_eq!(compute.look().await.unwrap(), [], "a job is no service");
    let mut nothing = job("migrate-api-r3", &image, 0);
    nothing.what.image = format!("{}/acme/none@{}", image.registry, image.digest).parse().unwrap();
    compute.run_once(&nothing).await.unwrap();
    let ended = job_ended(&*compute, &nothing.id).await;
    assert!(matches!(ended, JobState::Ended { code: None, worked: false, .. }), "{ended:?}");

    let mut long = job("migrate-api-r4", &image, 0);
    long.what.command = None;
    compute.run_once(&long).await.unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while compute.job(&long.id).await.unwrap() != (JobState::Under { said: "running".to_owned() }) {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(compute.forget_job(&long.id).await.unwrap_err().kind, FaultKind::Conflict);
    engine.docker(&["kill", engine.docker(&["ps", "-q"]).trim()]);
    for id in ["migrate-api-r1", "migrate-api-r2", "migrate-api-r3", "migrate-api-r4"] {
        compute.forget_job(id).await.unwrap();
        compute.forget_job(id).await.unwrap();
        assert_eq!(compute.job(id).await.unwrap(), JobState::Absent);
    }
    assert_eq!(engine.docker(&["ps", "-aq"]), "");

    let usage = compute.usage().await.unwrap();
    let told: Vec<&str> = usage.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(told, ["disk", "load", "memory"]);
    assert!(usage.iter().all(|row| row.limit.is_some_and(|limit| limit > 0.0)), "{usage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_image_is_pulled_with_its_login_and_values_arrive_as_they_are() {
    let Some(engine) = machine(Like { login: true, ..Like::default() }) else { return };
    let compute = over_ssh(&engine, "linkflow");
    let image = engine.push("api", "1.0", 0).await;
    let mut wanted = definition(image, "api", 1);
    let values: BTreeMap<&str, &str> = [
        ("QUOTES", r#"it's "quoted" \'"\"#),
        ("DOLLARS", "$HOME ${HOME} $$ $(id) `id`"),
        ("LINES", "one\ntwo\r\n\tthree\n"),
        ("YAML", "{a: [b, *c, &d]} # no: yes"),
        ("WORDS", " yes "),
        ("EMPTY", ""),
        ("TONGUES", "ü\u{85}\u{2028}\u{1f680}"),
    ]
    .into();
    let env =
        |(name, value): (&&str, &&str)| ((*name).to_owned(), EnvValue::Plain((*value).to_owned()));
    wanted.env.extend(values.iter().map(env));
    let login = |password: &str| {
        let (registry, user) = (engine.registry(), USER.to_owned());
        Some(RegistryLogin { registry, user, password: Secret::new(password) })
    };
    for refused in [None, login("wrong")] {
        let told = deployed(&*compute, &Definition { login: refused, ..wanted.clone() }).await;
        assert!(matches!(told, Progress::Failed { .. }), "{told:?}");
    }
    let wanted = Definition { login: login(PASSWORD), ..wanted };
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let address = found(&*compute, &wanted.service).await.address.unwrap();
    for (name, value) in values.into_iter().chain([("LINKFLOW_SECRET", SECRET), ("PORT", "8000")]) {
        assert_eq!(get(&format!("{address}/env/{name}")).await.as_deref(), Ok(value), "{name}");
    }
    // The values are in one file that only its owner reads, and the password in none.
    let grep = |text: &str| {
        let said =
            std::process::Command::new("grep").args(["-rlF", text]).arg(engine.home()).output();
        String::from_utf8(said.unwrap().stdout).unwrap()
    };
    assert_eq!(grep(PASSWORD), "");
    assert_eq!(grep("bGV0LW1lLSRpb"), "", "nor in the form of HTTP");
    let files = grep("s3cr3t-");
    let only: Vec<&str> = files.lines().collect();
    let [only] = only[..] else { panic!("{files}") };
    assert!(only.ends_with("/env.yml"), "{files}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(only).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_network_of_the_machine_services_listen_where_they_are_told() {
    let Some(engine) = machine(Like::default()) else { return };
    let place = Place { network: Network::Host, ..engine.place() };
    let compute = without_ssh(place.clone(), "linkflow");
    let image = engine.push("api", "1.0", 0).await;
    let wanted = Definition { replicas: 2, ..definition(image.clone(), "api", 1) };
    // Somebody else has the port that is next.
    let next = place.ports.0 + 10;
    std::fs::create_dir_all(engine.home()).unwrap();
    std::fs::write(engine.home().join("port"), format!("{}\n", next - 1)).unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", next)).unwrap();
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let both = found(&*compute, &wanted.service).await;
    assert_eq!((both.running, both.replicas), (2, 2));
    assert_eq!(both.address.as_deref(), Some(format!("http://127.0.0.1:{}", next + 1).as_str()));
    let second = Definition { replicas: 1, ..definition(image, "api", 2) };
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    let address = found(&*compute, &wanted.service).await.address.unwrap();
    assert_eq!(address, format!("http://127.0.0.1:{}", next + 3));
    assert_eq!(get(&address).await, Ok("r2".to_owned()));
    compute.delete(&wanted.service).await.unwrap();
    assert_eq!(compute.look().await.unwrap(), []);
}
