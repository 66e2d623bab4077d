//! One contract for the books, whichever database keeps them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use linkflow_rehearsal::ledger::{Books, Maker, open_books};
use tokio::task::JoinSet;

use super::{Stack, until};

fn maker() -> Maker {
    Maker { release: "r1".into(), provider: "fly".into(), instance: "m1".into() }
}

/// Holds for every kind of books. `one` and `other` are two connections to the same empty books.
async fn check(one: Arc<dyn Books>, other: Arc<dyn Books>) {
    // A key gets one entry, however many ask at once.
    let mut asking = JoinSet::new();
    for number in 0..20 {
        let books = if number % 2 == 0 { one.clone() } else { other.clone() };
        asking.spawn(async move { books.append("k1", "x", &maker(), 1_000).await.unwrap() });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().filter(|(_, new)| *new).count(), 1);
    let entry = answers[0].0.clone();
    assert!(answers.iter().all(|(other, _)| *other == entry));
    assert_eq!((entry.key.as_str(), entry.name.as_str(), entry.at), ("k1", "x", 1_000));
    assert_eq!(entry.maker, maker());
    assert_eq!(other.entry(entry.id).await.unwrap(), Some(entry.clone()));
    assert_eq!(one.entry(entry.id + 1_000).await.unwrap(), None);
    let (second, new) = one.append("k2", "y", &maker(), 2_000).await.unwrap();
    assert!(new && second.id > entry.id);
    assert_eq!(one.entries(10).await.unwrap(), [second.clone(), entry.clone()]);
    assert_eq!(one.entries(1).await.unwrap(), std::slice::from_ref(&second));

    // An entry gets one task; a claimed task is given again only when the claim ran out.
    assert_eq!(one.without_task(1_500).await.unwrap(), [entry.id]);
    assert!(one.enqueue(entry.id).await.unwrap());
    assert!(!other.enqueue(entry.id).await.unwrap());
    assert_eq!(one.without_task(5_000).await.unwrap(), [second.id]);
    let claimed = one.claim("w1", 100, 200, 5).await.unwrap();
    assert_eq!(claimed.iter().map(|task| task.entry).collect::<Vec<_>>(), [entry.id]);
    assert_eq!(other.claim("w2", 150, 250, 5).await.unwrap(), []);
    assert_eq!(other.claim("w2", 201, 300, 5).await.unwrap(), claimed);

    // A task is completed once, however many say so at once, and is not given again.
    let task = claimed[0].id;
    let mut saying = JoinSet::new();
    for number in 0..10 {
        let books = if number % 2 == 0 { one.clone() } else { other.clone() };
        saying.spawn(async move { books.complete(task, "w", 400).await.unwrap() });
    }
    assert_eq!(saying.join_all().await.into_iter().filter(|first| *first).count(), 1);
    assert_eq!(one.claim("w1", 9_000, 9_100, 5).await.unwrap(), []);

    // Many workers at once never get the same task.
    for number in 0..30 {
        let (entry, _) = one.append(&format!("n{number}"), "z", &maker(), 3_000).await.unwrap();
        one.enqueue(entry.id).await.unwrap();
    }
    let mut claiming = JoinSet::new();
    for number in 0..10 {
        let books = if number % 2 == 0 { one.clone() } else { other.clone() };
        claiming.spawn(async move { books.claim("w", 1_000, 2_000, 3).await.unwrap() });
    }
    let mut given: Vec<i64> =
        claiming.join_all().await.concat().iter().map(|task| task.id).collect();
    let all = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!((given.len(), all), (all, all));

    // A notification about an entry is sent once. A second fire and a second arrival are kept.
    assert!(one.notify(7, "done", 1).await.unwrap());
    assert!(!other.notify(7, "done", 2).await.unwrap());
    assert_eq!(other.take_notifications("q", 3, 10).await.unwrap(), [7]);
    assert_eq!(one.take_notifications("q", 3, 10).await.unwrap(), [0; 0]);
    for _ in 0..2 {
        one.fire(12, &maker(), 1).await.unwrap();
        one.arrive("k1", "api", &maker(), 1).await.unwrap();
    }
}

#[tokio::test]
async fn the_books_hold_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db").display().to_string();
    let open = || open_books(None, Some(&file)).unwrap();
    check(open(), open()).await;
    let rows = |table: &str| {
        let connection = rusqlite::Connection::open(&file).unwrap();
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((rows("fires"), rows("arrivals"), rows("completions")), (2, 2, 1));
}

#[tokio::test]
async fn the_books_hold_in_postgres() {
    let Some(server) = Server::start() else { return };
    let open = || open_books(Some(&server.url()), None).unwrap();
    until("it takes connections", async || open().entries(1).await.is_ok()).await;
    check(open(), open()).await;
}

#[tokio::test]
async fn the_books_find_postgres_again_after_a_restart() {
    let Some(mut server) = Server::start() else { return };
    let books = open_books(Some(&server.url()), None).unwrap();
    until("it takes connections", async || books.entries(1).await.is_ok()).await;
    let (entry, _) = books.append("k1", "x", &maker(), 1).await.unwrap();
    server.stop();
    assert!(books.entries(1).await.is_err());
    server.launch();
    until("it is found again", async || books.entries(1).await.is_ok()).await;
    assert_eq!(books.append("k1", "x", &maker(), 2).await.unwrap(), (entry, false));
}

#[tokio::test]
async fn the_app_runs_on_postgres_too() {
    let Some(server) = Server::start() else { return };
    let books = open_books(Some(&server.url()), None).unwrap();
    until("it takes connections", async || books.entries(1).await.is_ok()).await;
    let stack = Stack::start_on(Some(server.url())).await;
    let made = stack.post("k1", "first").await;
    assert_eq!(made.status, http::StatusCode::CREATED, "{:?}", made.bytes);
    let url = stack.url("api", &format!("/api/v1/workflows/{}", made.json()["id"]));
    assert_eq!(super::get(&url).await.json(), made.json());
    assert_eq!(stack.post("k1", "again").await.json(), made.json());
    let id = made.json()["id"].as_i64().unwrap();
    until("the task is done and told", async || !books.notify(id, "", 1).await.unwrap()).await;
}

/// A private `PostgreSQL` that listens on a socket in its own folder only.
struct Server {
    folder: tempfile::TempDir,
    bin: PathBuf,
    child: Option<Child>,
}

/// `PostgreSQL` refuses to run as root.
const NOBODY: u32 = 65_534;

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
    fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let bins = versions.map(|version| version.path().join("bin"));
        let Some(bin) = bins.filter(|bin| bin.join("initdb").exists()).max() else {
            println!("skipped: no postgres");
            return None;
        };
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut made = as_nobody(&bin.join("initdb"));
        made.args(["-U", "app", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"])
            .arg(folder.path().join("data"));
        assert!(made.current_dir(folder.path()).status().unwrap().success(), "initdb failed");
        let mut server = Self { folder, bin, child: None };
        server.launch();
        Some(server)
    }

    fn launch(&mut self) {
        let mut command = as_nobody(&self.bin.join("postgres"));
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        command.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=8MB"]);
        self.child = Some(command.current_dir(self.folder.path()).spawn().unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            // SIGQUIT: at once, and its own processes with it.
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
            child.wait().ok();
        }
        std::thread::sleep(Duration::from_millis(50));
    }

    fn url(&self) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://app@{socket}/postgres")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
