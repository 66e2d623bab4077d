//! What `SQLite` adds to the contract: several processes, kill -9, full disks, damaged and foreign files.

mod agreement;
mod alternating;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use linkflow_model::{EventKind, Level};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::contract;

/// Names the file that a child process appends to.
const CHILD: &str = "LINKFLOW_STORE_TEST_FILE";

fn happened(message: impl Into<String>) -> Event {
    Event::new(Timestamp(1), EventKind::Control, Level::Info, message)
}

fn file_in(folder: &TempDir) -> PathBuf {
    folder.path().join("store.db")
}

#[track_caller]
fn failure(opened: Result<Sqlite, StoreError>) -> String {
    match opened {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

/// Runs every check on what `open` makes of a fresh path.
async fn keeps_the_contract(open: fn(&Path) -> Arc<dyn Store>) {
    let folder = TempDir::new().unwrap();
    let (next, path) = (AtomicUsize::new(0), folder.path().to_owned());
    let fresh = || -> contract::BoxFuture<Arc<dyn Store>> {
        let path = path.join(next.fetch_add(1, Ordering::Relaxed).to_string());
        Box::pin(async move { open(&path) })
    };
    assert_eq!(contract::all(fresh).await, Ok(()));
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    keeps_the_contract(|path| Arc::new(Sqlite::open(path).unwrap())).await;
}

#[tokio::test]
async fn two_handles_on_one_file_keep_the_contract_together() {
    keeps_the_contract(|path| Arc::new(alternating::Alternating::open(path))).await;
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("made/on/the/way/store.db");
    let store = Sqlite::open(&path).unwrap();
    store.append(&happened("kept")).await.unwrap();
    store.write("k", None, &json!([1]), None).await.unwrap();
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.events(0, 9).await.unwrap(), vec![(1, happened("kept"))]);
    assert_eq!(store.read("k").await.unwrap().unwrap().body, json!([1]));
}

#[cfg(unix)]
#[test]
fn nobody_but_its_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let _store = Sqlite::open(file_in(&folder)).unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[test]
fn a_new_file_can_be_opened_by_many_at_once() {
    for _ in 0..5 {
        let folder = TempDir::new().unwrap();
        let path = file_in(&folder);
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..8).map(|_| scope.spawn(|| Sqlite::open(&path))).collect();
            for opener in openers {
                opener.join().unwrap().map(drop).unwrap();
            }
        });
    }
}

// ---- other files

#[test]
fn a_file_that_is_no_database_is_named() {
    let folder = TempDir::new().unwrap();
    std::fs::write(file_in(&folder), "These are not the bytes you are looking for.".repeat(100))
        .unwrap();
    let said = failure(Sqlite::open(file_in(&folder)));
    assert!(said.contains("store.db is not a database"), "{said}");
}

#[test]
fn another_programs_database_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let other = Connection::open(file_in(&folder)).unwrap();
    other.execute_batch("CREATE TABLE bookmark (url)").unwrap();
    let said = failure(Sqlite::open(file_in(&folder)));
    assert!(said.contains("another program's database"), "{said}");
    let mode: String = other.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(Sqlite::open(file_in(&folder)).unwrap());
    let newer = Connection::open(file_in(&folder)).unwrap();
    newer.pragma_update(None, "user_version", open::newest() + 1).unwrap();
    drop(newer);
    let said = failure(Sqlite::open(file_in(&folder)));
    assert!(said.contains("written by a newer LinkFlow") && said.contains("update"), "{said}");
}

#[tokio::test]
async fn a_file_of_an_older_version_is_brought_up_with_all_that_it_has() {
    let folder = TempDir::new().unwrap();
    let older = Connection::open(file_in(&folder)).unwrap();
    older.execute_batch(&open::MIGRATIONS[..2].concat()).unwrap();
    older.pragma_update(None, "application_id", open::APPLICATION).unwrap();
    older.pragma_update(None, "user_version", 2).unwrap();
    older
        .execute_batch(
            "INSERT INTO document VALUES ('incident/i1', 3, '{}');
             INSERT INTO subject VALUES (7, 'monitor.api');
             INSERT INTO rollup VALUES (7, 60000, 864000000, 1, 1, 5, 5, 5, x'1201');",
        )
        .unwrap();
    drop(older);
    let store = Sqlite::open(file_in(&folder)).unwrap();
    let (first, all) = store.changed("incident/", None).await.unwrap();
    assert_eq!(all.iter().map(|one| one.version).collect::<Vec<_>>(), [3]);
    store.write("incident/i1", Some(3), &json!({}), None).await.unwrap();
    assert_eq!(store.changed("incident/", Some(first)).await.unwrap().1.len(), 1);
    // Its minutes are packed with the first thinning out.
    assert!(!store.thin_out(Timestamp(30 * 86_400_000)).await.unwrap());
    let all = (Timestamp(0), Timestamp(u64::MAX));
    let minutes = store.rollups("monitor.api", Step::Minute, all.0, all.1).await.unwrap();
    assert_eq!(
        minutes.iter().map(|m| (m.at.0, m.bad, m.took.count)).collect::<Vec<_>>(),
        [(864_000_000, 1, 1)]
    );
    let count = |table: &'static str| {
        store.readers.ask(move |c| {
            Ok(c.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get::<_, i64>(0))?)
        })
    };
    assert_eq!((count("rollup").await, count("minutes").await), (Ok(0), Ok(1)));
}

#[tokio::test]
async fn a_damaged_file_is_named_and_not_believed() {
    let folder = TempDir::new().unwrap();
    let store = Sqlite::open(file_in(&folder)).unwrap();
    for number in 0..50 {
        let body = json!("x".repeat(2000));
        store.write(&format!("k/{number}"), None, &body, None).await.unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(file_in(&folder)).unwrap();
    assert!(bytes.len() > 40 * 4096);
    bytes[8192..].fill(0xa5);
    std::fs::write(file_in(&folder), bytes).unwrap();
    let said = match Sqlite::open(file_in(&folder)) {
        Ok(store) => store.list("k/").await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(said.contains("store.db is damaged"), "{said}");
}

#[tokio::test]
async fn an_event_that_a_newer_version_wrote_stops_nobody() {
    let folder = TempDir::new().unwrap();
    let store = Sqlite::open(file_in(&folder)).unwrap();
    store.append(&happened("before")).await.unwrap();
    let newer = Connection::open(file_in(&folder)).unwrap();
    for body in [r#"{"at":2,"kind":"eclipse","level":"info","message":"dark"}"#, r#"{"v":2}"#] {
        newer.execute("INSERT INTO event (at, body) VALUES (2, ?)", [body]).unwrap();
    }
    store.append(&happened("after")).await.unwrap();
    let events = store.events(0, 10).await.unwrap();
    let told: Vec<_> = events.iter().map(|(seq, event)| (*seq, event.kind)).collect();
    assert_eq!(
        told,
        [
            (1, EventKind::Control),
            (2, EventKind::Unknown),
            (3, EventKind::Unknown),
            (4, EventKind::Control)
        ]
    );
    assert_eq!(events[1].1.message, "dark");
}

// ---- a full disk

/// A store whose file may have `pages` more pages than it has now.
fn with_room_for(folder: &TempDir, pages: i64) -> Sqlite {
    let connection = open::writing(&file_in(folder)).unwrap();
    let now: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    connection
        .pragma_update_and_check(None, "max_page_count", now + pages, |row| row.get::<_, i64>(0))
        .unwrap();
    Sqlite::over(connection, &file_in(folder)).unwrap()
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest() {
    let folder = TempDir::new().unwrap();
    let store = with_room_for(&folder, 30);
    let body = json!("x".repeat(10_000));
    let mut written = 0;
    let refused = loop {
        match store.write(&format!("k/{written:04}"), None, &body, None).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Full);
    assert!((5..=10).contains(&written), "{written}");
    let whole = async |store: &Sqlite| {
        let held = store.list("k/").await.unwrap();
        assert!(held.iter().all(|document| document.body == body));
        held.len()
    };
    assert_eq!(whole(&store).await, written);
    // Room that is given back is used again.
    store.remove("k/0000", 1).await.unwrap();
    store.write("k/0000", None, &body, None).await.unwrap();
    drop(store);
    assert_eq!(whole(&Sqlite::open(file_in(&folder)).unwrap()).await, written);
}

#[tokio::test]
async fn a_command_that_does_not_fit_takes_no_other_with_it() {
    let folder = TempDir::new().unwrap();
    let store = with_room_for(&folder, 20);
    let (great, small) = (json!("x".repeat(200_000)), json!(1));
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (_, first, too_great, last, ()) = tokio::join!(
        held_up(&store, held),
        store.write("first", None, &small, None),
        store.write("great", None, &great, None),
        store.write("last", None, &small, None),
        async move { drop(release) },
    );
    assert_eq!((first, too_great, last), (Ok(1), Err(StoreError::Full), Ok(1)));
    assert_eq!(store.list("").await.unwrap().len(), 2);
}

/// Keeps the writer busy until the other end is dropped, so that what is sent meanwhile shares one transaction.
async fn held_up(store: &Sqlite, until: std::sync::mpsc::Receiver<()>) -> Result<(), StoreError> {
    let wait = move |_: &Connection| {
        until.recv().unwrap_or_default();
        Ok(())
    };
    store.writer.change(wait).await
}

#[tokio::test]
async fn when_a_transaction_fails_as_a_whole_each_command_gets_its_own_answer() {
    let folder = TempDir::new().unwrap();
    let connection = open::writing(&file_in(&folder)).unwrap();
    // A promise that is checked at the commit only, so that the commit itself can be made to fail.
    connection
        .execute_batch(
            "CREATE TABLE debt (to_seq INTEGER REFERENCES event DEFERRABLE INITIALLY DEFERRED)",
        )
        .unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    let store = Sqlite::over(connection, &file_in(&folder)).unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (before, after) = (happened("before"), happened("after"));
    let (_, before, wrong, after, ()) = tokio::join!(
        held_up(&store, held),
        store.append(&before),
        store.writer.change(|c| Ok(c.execute("INSERT INTO debt VALUES (99)", [])?)),
        store.append(&after),
        async move { drop(release) },
    );
    assert_eq!((before, after), (Ok(1), Ok(2)));
    assert!(wrong.unwrap_err().to_string().contains("FOREIGN KEY"));
    assert_eq!(store.newest_event().await, Ok(2));
    let debts = store
        .readers
        .ask(|c| Ok(c.query_row("SELECT count(*) FROM debt", [], |r| r.get::<_, i64>(0))?));
    assert_eq!(debts.await, Ok(0));
}

// ---- several processes

/// Not a test of its own: what the child processes of the tests below run. Says each number once it is acknowledged.
#[tokio::test]
#[ignore = "other tests start it as a child process"]
async fn child_that_appends() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = Sqlite::open(PathBuf::from(path)).unwrap();
    let me = std::process::id();
    for number in 0_u64.. {
        let seq = store.append(&happened(format!("{me}:{number}"))).await.unwrap();
        store.write(&format!("{me}/{number}"), None, &json!(seq), None).await.unwrap();
        // The harness may have written to the line already, hence the mark.
        let mut out = std::io::stdout();
        out.write_all(format!("\n>{seq} {number}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

struct Appending {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Appending {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "sqlite::tests::child_that_appends"])
            .env(CHILD, path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next sequence number and count that the child says are acknowledged.
    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            let line = self.lines.next()?.unwrap();
            if let Some((seq, number)) = line.strip_prefix('>').and_then(|l| l.split_once(' ')) {
                return Some((seq.parse().unwrap(), number.parse().unwrap()));
            }
        }
    }

    /// Kills the child at once; gives what it had said until then.
    fn kill(mut self, mut said: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
        self.child.kill().unwrap();
        while let Some(more) = self.next() {
            said.push(more);
        }
        self.child.wait().unwrap();
        said
    }
}

#[tokio::test]
async fn a_writer_killed_in_the_middle_loses_nothing_that_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    for round in 1..=3 {
        let mut writer = Appending::start(&file_in(&folder));
        let pid = writer.child.id();
        let said: Vec<_> = (0..20 * round).map_while(|_| writer.next()).collect();
        let said = writer.kill(said);
        assert!(said.len() >= 20 * round, "{}", said.len());

        let store = Sqlite::open(file_in(&folder)).unwrap();
        for (seq, number) in &said {
            let found = store.events(seq - 1, 1).await.unwrap();
            assert_eq!(found, vec![(*seq, happened(format!("{pid}:{number}")))]);
            let document = store.read(&format!("{pid}/{number}")).await.unwrap().unwrap();
            assert_eq!((document.version, document.body), (1, json!(seq)));
        }
        let newest = store.newest_event().await.unwrap();
        let all = store.events(0, usize::MAX).await.unwrap();
        assert!(all.iter().map(|(seq, _)| *seq).eq(1..=newest));
        // What was cut off is there whole or not at all, and only once.
        let last = said.last().unwrap().0;
        assert!((last..=last + 1).contains(&newest), "{newest} after {last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_write_at_once_share_one_sequence() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(Sqlite::open(file_in(&folder)).unwrap());
    let mut others = [Appending::start(&file_in(&folder)), Appending::start(&file_in(&folder))];
    let firsts: Vec<_> = others.iter_mut().map(|other| vec![other.next().unwrap()]).collect();

    let mut ours = JoinSet::new();
    for number in 0..40 {
        let store = Arc::clone(&store);
        ours.spawn(async move { store.append(&happened(format!("ours:{number}"))).await.unwrap() });
    }
    let mut given = ours.join_all().await;
    for (other, first) in others.into_iter().zip(firsts) {
        given.extend(other.kill(first).into_iter().map(|(seq, _)| seq));
    }
    let said = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), said);
    let all = store.events(0, usize::MAX).await.unwrap();
    assert!(all.iter().map(|(seq, _)| *seq).eq(1..=store.newest_event().await.unwrap()));
    // Each child may have been killed between its commit and its word.
    assert!((said..=said + 2).contains(&all.len()), "{} of {said}", all.len());
}

#[tokio::test]
async fn of_two_handles_that_take_a_lease_at_once_one_wins() {
    let folder = TempDir::new().unwrap();
    let (one, two) =
        (Sqlite::open(file_in(&folder)).unwrap(), Sqlite::open(file_in(&folder)).unwrap());
    for token in 1..=20 {
        let (first, second) =
            tokio::join!(one.take_lease("l", "one", None), two.take_lease("l", "two", None));
        let won: Vec<_> = [first, second].into_iter().flatten().collect();
        assert_eq!(won, [Fence { lease: "l".to_owned(), token }]);
        one.free_lease(&won[0]).await.unwrap();
    }
}
