//! What the tests share: a provider over a fresh folder, a clock moved by hand, and definitions.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linkflow_model::{EnvValue, Fingerprint, Moment, ReleaseId, Secret, Size, Timestamp};
use tempfile::TempDir;

use super::super::keeper::Pace;
use super::super::process;
use super::super::*;

/// The folder that a child process of a test deploys into.
pub(super) const FOLDER: &str = "LINKFLOW_EMBEDDED_TEST_FOLDER";

pub(super) const PACE: Pace = Pace {
    grace: 10_000,
    back_off: 1_000,
    back_off_most: 6_000,
    settle: 0,
    stable: 60_000,
    log_cap: 1000,
};

/// A wall clock that stands still until it is moved.
pub(super) struct Hand(AtomicU64);

impl Hand {
    pub(super) fn at(ms: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(ms)))
    }

    pub(super) fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A folder with the processes that are kept there. All of them are killed at the end, also of a test that fails.
pub(super) struct Stage {
    pub folder: TempDir,
    pub clock: Arc<Hand>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let keeper = provider(self.folder.path(), self.clock.clone()).keeper;
        let delete = |held: &mut Option<State>| {
            for instance in held.iter().flat_map(|state| &state.instances) {
                if let Life::Up(running) = &instance.life {
                    process::kill_left_behind(&running.token);
                }
            }
            held.iter_mut().for_each(|state| state.deleting = true);
            Ok(())
        };
        for service in keeper.home.services().unwrap() {
            while !matches!(keeper.visit(&service, delete), Ok((_, None)) | Err(_)) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

pub(super) fn stage() -> Stage {
    Stage { folder: tempfile::tempdir().unwrap(), clock: Hand::at(1_000_000) }
}

/// A port that nobody has and that Linux gives to nobody who does not ask for it.
pub(super) fn free_port() -> u16 {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let begin = u64::from(std::process::id()) * 7 + ASKED.fetch_add(1, Ordering::Relaxed);
    let ports = (begin..).map(|number| u16::try_from(30_000 + number % 2_000).unwrap());
    let is_free = |port: &u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.take(2_000).find(is_free).unwrap()
}

/// What `linkflow` knows of a new process over `folder`. The image `sh` runs the script in `SCRIPT`; `listen` is this
/// test program, listening on its port.
pub(super) fn provider(folder: &Path, clock: Arc<dyn Clock>) -> Embedded {
    let me = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let name = format!("{}::child_that_listens", module_path!().split_once("::").unwrap().1);
    let listen = [me.as_str(), "--ignored", "--exact", "--nocapture", name.as_str()];
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let settings = Settings {
        folder: folder.to_owned(),
        workdir: folder.to_owned(),
        programs: BTreeMap::from([
            ("example.com/sh".to_owned(), words(&["sh", "-c", "eval \"$SCRIPT\""])),
            ("docker.io/acme/listen".to_owned(), words(&listen)),
            ("example.com/none".to_owned(), words(&["/no/such/program"])),
        ]),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let (stack, provider) = (StackName::new("shop").unwrap(), ProviderName::new("here").unwrap());
    let mut embedded = Embedded::new(settings, clock, &stack, &provider);
    Arc::get_mut(&mut embedded.keeper).unwrap().pace = PACE;
    embedded
}

/// Not a test of its own: a service that listens on `PORT` and says its environment.
#[test]
#[ignore = "other tests start it as a child process"]
fn child_that_listens() {
    let Some(port) = std::env::var_os("PORT") else { return };
    let port: u16 = port.to_str().unwrap().parse().unwrap();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    // A test that fails leaves nothing that stays for long.
    std::thread::sleep(Duration::from_secs(60));
}

/// A service that listens nowhere and runs `script`.
pub(super) fn worker(script: &str) -> Definition {
    Definition {
        stack: StackName::new("shop").unwrap(),
        service: service("api"),
        provider: ProviderName::new("here").unwrap(),
        release: ReleaseId(1),
        image: image("example.com/sh"),
        command: None,
        login: None,
        kind: ServiceKind::Worker,
        port: None,
        health: None,
        env: BTreeMap::from([("SCRIPT".to_owned(), EnvValue::Secret(Secret::new(script)))]),
        env_gone: Vec::new(),
        replicas: 1,
        size: Size::default(),
        fingerprint: Fingerprint(format!("fingerprint of {script}")),
    }
}

/// A service that listens on `port` if it can have it.
pub(super) fn web(name: &str, port: u16) -> Definition {
    Definition {
        service: service(name),
        image: image("acme/listen"),
        login: None,
        kind: ServiceKind::Web,
        port: Some(port),
        ..worker("")
    }
}

pub(super) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub(super) fn image(name: &str) -> PinnedImage {
    format!("{name}@sha256:{}", "a".repeat(64)).parse().unwrap()
}

/// The pids that the state names, by instance.
pub(super) fn pids(embedded: &Embedded) -> Vec<i32> {
    runnings(embedded).into_iter().map(|running| running.process.pid).collect()
}

pub(super) fn runnings(embedded: &Embedded) -> Vec<state::Running> {
    let lives = instances(embedded).into_iter().map(|instance| instance.life);
    lives
        .filter_map(|life| if let Life::Up(running) = life { Some(running) } else { None })
        .collect()
}

pub(super) fn instances(embedded: &Embedded) -> Vec<state::Instance> {
    let state = embedded.keeper.home.load(&service("api")).unwrap();
    state.into_iter().flat_map(|state| state.instances).collect()
}

/// Tends until `done`, for a while.
#[track_caller]
pub(super) fn until<'a>(
    embedded: &'a Embedded,
    what: &'a str,
    mut done: impl FnMut() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..2000 {
            embedded.tend().await.unwrap();
            if done() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("{caller}: waited in vain until {what}");
    }
}

/// Tends until the service has written `line`.
#[track_caller]
pub(super) fn heard<'a>(embedded: &'a Embedded, line: &'a str) -> impl Future<Output = ()> + 'a {
    let log = embedded.keeper.log(&service("api"));
    until(embedded, line, move || log.last(100).unwrap().iter().any(|one| one == line))
}

/// Asks until the deploy is no longer under way.
pub(super) async fn outcome(embedded: &Embedded, deployment: &Deployment) -> Progress {
    for _ in 0..2000 {
        match embedded.progress(deployment).await.unwrap() {
            Progress::Under { .. } => sleep(Duration::from_millis(5)).await,
            ended => return ended,
        }
    }
    panic!("the deploy never ended");
}

pub(super) async fn seen(embedded: &Embedded) -> Seen {
    let mut all = embedded.look().await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The last lines of the service's log.
pub(super) async fn said(embedded: &Embedded) -> String {
    let lines = embedded.logs(&service("api"), 50).await.unwrap();
    lines.into_iter().map(|line| line.text + "\n").collect()
}
