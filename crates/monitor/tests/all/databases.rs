//! Looks at PostgreSQL and Redis as Debian has them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use linkflow_decide::watch::Seen;
use linkflow_model::Secret;
use linkflow_monitor::{Saw, Target};
use tokio::time::sleep;

use crate::looks::{look, well, wrong};

const NOBODY: u32 = 65_534;

/// A server in a folder of its own, reached at a socket within it. It ends with the test.
struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_clear();
    command.env("LC_ALL", "C");
    command
}

impl Server {
    fn in_folder() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { folder, child: None }
    }

    fn launch(&mut self, mut command: Command) {
        self.child = Some(command.current_dir(self.folder.path()).spawn().unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
            std::thread::sleep(Duration::from_millis(50));
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is not there is not tested, but where everything must be.
fn missing(what: &str) {
    assert!(std::env::var_os("LINKFLOW_TEST_ALL").is_none(), "{what} is missing");
    println!("skipped: no {what}");
}

/// Looks until it is well: a server takes a moment to start.
async fn until_well(target: &Target) -> Saw {
    for _ in 0..400 {
        let saw = look(target).await;
        if matches!(saw.seen, Seen::Well { .. }) {
            return saw;
        }
        sleep(Duration::from_millis(50)).await;
    }
    look(target).await
}

#[tokio::test]
async fn a_postgres_must_let_us_in_and_answer() {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = versions.map(|version| version.path().join("bin"));
    let Some(bin) = bins.filter(|bin: &PathBuf| bin.join("initdb").exists()).max() else {
        return missing("postgres");
    };
    let mut server = Server::in_folder();
    std::fs::write(server.folder.path().join("password"), "right").unwrap();
    let mut made = as_nobody(&bin.join("initdb"));
    made.args(["-U", "app", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync", "--pwfile"]);
    made.arg(server.folder.path().join("password"));
    made.arg("-D").arg(server.folder.path().join("data"));
    assert!(made.current_dir(server.folder.path()).status().unwrap().success(), "initdb failed");
    let mut command = as_nobody(&bin.join("postgres"));
    command.arg("-D").arg(server.folder.path().join("data")).arg("-k").arg(server.folder.path());
    command.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=8MB"]);
    server.launch(command);

    let socket = server.folder.path().display().to_string().replace('/', "%2F");
    let ask = |password: &str, query: &str| Target::Postgres {
        url: Secret::new(format!("postgres://app:{password}@{socket}/postgres")),
        query: query.to_owned(),
    };
    let saw = until_well(&ask("right", "SELECT 1")).await;
    well(&saw);
    assert!(saw.phases.connect_us.is_some() && saw.phases.first_us.is_some(), "{saw:?}");
    let saw = look(&ask("false", "SELECT 1")).await;
    wrong(&saw, "it does not take the user and password");
    let saw = look(&ask("right", "SELECT 1 FROM orders")).await;
    wrong(&saw, "it says: relation \"orders\" does not exist (42P01)");
    server.stop();
    let saw = look(&ask("right", "SELECT 1")).await;
    assert!(matches!(saw.seen, Seen::Silent(_)), "{saw:?}");
}

#[tokio::test]
async fn a_redis_must_let_us_in_and_answer() {
    let program = Path::new("/usr/bin/redis-server");
    if !program.exists() {
        return missing("redis");
    }
    // Nobody else takes the port between its choice and its use often enough to matter; then another is chosen.
    let mut server = Server::in_folder();
    let mut port = 0;
    for _ in 0..20 {
        port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = as_nobody(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--requirepass", "right"]);
        server.launch(command);
        let tried = Target::Redis { url: Secret::new(format!("redis://:right@127.0.0.1:{port}")) };
        if matches!(until_well(&tried).await.seen, Seen::Well { .. }) {
            break;
        }
        server.stop();
    }
    let ask = |login: &str| Target::Redis {
        url: Secret::new(format!("redis://{login}127.0.0.1:{port}/0")),
    };
    well(&look(&ask(":right@")).await);
    well(&look(&ask("default:right@")).await);
    wrong(&look(&ask(":false@")).await, "it does not take the user and password");
    wrong(&look(&ask("")).await, "it wants a password, and its address has none");
    server.stop();
    let saw = look(&ask(":right@")).await;
    assert!(matches!(saw.seen, Seen::Silent(_)), "{saw:?}");
}
