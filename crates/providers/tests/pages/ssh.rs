//! A folder behind SSH, against a real sshd: what is written, what is left alone, and what happens when it is cut off.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkflow_model::role::{Files, Pages, Put};
use linkflow_model::{Fault, FaultKind, Secret};
use linkflow_providers::pages::ssh::{self, Remote, Settings};
use tokio::time::Instant;

use super::super::stage::kit;
use super::files;
use super::sshd::{Sshd, key};

fn settings(sshd: &Sshd, folder: &Path) -> Settings {
    Settings {
        address: "127.0.0.1".to_owned(),
        port: sshd.port,
        user: "root".to_owned(),
        key: Secret::new(sshd.key()),
        host_key: sshd.fingerprint(),
        folder: folder.to_str().unwrap().to_owned(),
        name: "ssh://root@web/status".to_owned(),
    }
}

fn open(settings: Settings) -> Remote {
    ssh::open(settings, &kit(None), &"embedded".parse().unwrap())
}

/// What is in the folder, by its path.
fn held(folder: &Path) -> Files {
    fn add(all: &mut Files, folder: &Path, from: &Path) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                add(all, &entry.path(), from);
            } else {
                let path = entry.path().strip_prefix(from).unwrap().to_str().unwrap().to_owned();
                all.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut all = Files::new();
    add(&mut all, folder, folder);
    all.remove(".linkflow-page");
    all
}

/// Whether something was sent and lies beside the page.
fn beside(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.map(|e| e.path()).find(|path| path.to_string_lossy().contains(".linkflow-page.new-"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_behind_ssh_gets_what_differs_and_what_others_put_there_stays() {
    use std::os::unix::fs::PermissionsExt;
    let Some(sshd) = Sshd::start(false, "") else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("status");
    let place = open(settings(&sshd, &folder));
    let mut first = files(&[("index.html", "a"), ("component/api.html", "b")]);
    first.insert("logo.png".to_owned(), (0..=255).collect());
    assert_eq!(place.put(&first).await.unwrap(), Put { written: 3, removed: 0 });
    assert_eq!(held(&folder), first, "byte for byte");
    let mode = fs::metadata(folder.join("index.html")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "the web server may read it");
    assert_eq!(place.put(&first).await.unwrap(), Put::default());

    fs::write(folder.join("CNAME"), "status.example").unwrap();
    fs::write(folder.join("index.html"), "defaced").unwrap();
    let second = files(&[("index.html", "a"), ("component/web.html", "c")]);
    // Another process knows by the folder's own list.
    let again = open(settings(&sshd, &folder)).put(&second).await.unwrap();
    assert_eq!(again, Put { written: 2, removed: 2 });
    let mut there = second.clone();
    there.insert("CNAME".to_owned(), b"status.example".to_vec());
    assert_eq!(held(&folder), there);
    assert_eq!(beside(&folder), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_told_and_nothing_is_changed() {
    let Some(sshd) = Sshd::start(true, "1m") else { return };
    let dir = tempfile::tempdir().unwrap();
    let page = files(&[("index.html", "a")]);
    let put = async |settings: Settings| -> Fault { open(settings).put(&page).await.unwrap_err() };
    let check = |fault: Fault, kind: FaultKind, said: &str| {
        assert_eq!(fault.kind, kind, "{fault}");
        let text = fault.to_string();
        assert!(text.contains(said) && text.contains("ssh://root@web/status"), "{text}");
    };

    let typo = dir.path().join("srw/status");
    check(put(settings(&sshd, &typo)).await, FaultKind::Missing, "there is no folder");
    // It is root's, and nobody logs in.
    let fault = put(settings(&sshd, &dir.path().join("status"))).await;
    check(fault, FaultKind::Denied, "ermission denied");

    let disk = sshd.folder.join("disk");
    fs::set_permissions(&disk, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    fs::write(disk.join("index.html"), "a shop").unwrap();
    check(put(settings(&sshd, &disk)).await, FaultKind::Conflict, "did not put there");
    assert_eq!(fs::read(disk.join("index.html")).unwrap(), b"a shop");
    fs::remove_file(disk.join("index.html")).unwrap();

    open(settings(&sshd, &disk)).put(&page).await.unwrap();
    let large = noise(4 << 20);
    let fault = open(settings(&sshd, &disk)).put(&large).await.unwrap_err();
    check(fault, FaultKind::Exhausted, "disk of the machine is full");
    assert_eq!(held(&disk), page, "what was there is there, and what was sent is not");

    let wrong = "SHA256:0000000000000000000000000000000000000000000";
    let fault = put(Settings { host_key: wrong.to_owned(), ..settings(&sshd, &disk) }).await;
    check(fault, FaultKind::Denied, &sshd.fingerprint());
    let pinned = settings(&sshd, &disk);
    sshd.tell("stop");
    check(put(pinned.clone()).await, FaultKind::Unreachable, "127.0.0.1");
    let host = sshd.folder.join("host");
    fs::remove_file(&host).unwrap();
    key(&host);
    sshd.tell("start");
    check(put(pinned).await, FaultKind::Denied, "its key was made anew");
    let other = Settings { key: Secret::new("not a key"), ..settings(&sshd, &disk) };
    check(put(other).await, FaultKind::Denied, "no private key");
}

/// A page that does not get smaller by packing.
fn noise(size: usize) -> Files {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let mut file = || (0..size / 4).map(|_| next()).collect::<Vec<u8>>();
    ["a.html", "b.html", "c.html", "index.html"].map(|path| (path.to_owned(), file())).into()
}

/// Puts `page` and ends everything on the machine as soon as `at` says so.
async fn cut(
    sshd: &Sshd,
    place: &Remote,
    page: &Files,
    at: impl Fn() -> bool,
) -> Result<Put, Fault> {
    let put = place.put(page);
    tokio::pin!(put);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        tokio::select! {
            biased;
            done = &mut put => return done,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        assert!(Instant::now() < end, "the moment never came");
        if at() {
            sshd.tell("cut");
            return put.await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_off_while_it_is_sent_changes_nothing_and_is_done_by_the_next_put() {
    let Some(sshd) = Sshd::start(false, "") else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("status");
    let place = open(settings(&sshd, &folder));
    let old = files(&[("index.html", "old"), ("a.html", "old")]);
    place.put(&old).await.unwrap();
    let new = noise(24 << 20);
    let is_sent = || {
        beside(&folder).is_some_and(|path| fs::metadata(path.join("0")).is_ok_and(|m| m.len() > 0))
    };
    let fault = cut(&sshd, &place, &new, is_sent).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    let mut there = held(&folder);
    there.retain(|path, _| !path.starts_with(".linkflow-page.new-"));
    assert_eq!(there, old);
    place.put(&new).await.unwrap();
    assert_eq!(held(&folder), new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_half_a_file_also_when_the_machine_dies_on_the_way() {
    let Some(sshd) = Sshd::start(false, "") else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("status");
    let place = open(settings(&sshd, &folder));
    let page = |word: &str| -> Files {
        let text = format!("{word} ").repeat(2_000).into_bytes();
        (0..400)
            .map(|n| (format!("{n:03}.html"), text.clone()))
            .chain([("index.html".to_owned(), text.clone())])
            .collect()
    };
    let (old, new) = (page("old"), page("new"));
    place.put(&old).await.unwrap();
    let stop = AtomicBool::new(false);
    let whole = |path: &str| {
        let seen = fs::read(folder.join(path)).unwrap();
        assert!(seen == old[path] || seen == new[path], "{path}: {} bytes", seen.len());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                ["index.html", "000.html", "399.html"].into_iter().for_each(whole);
            }
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let moved =
                    || fs::read(folder.join("000.html")).is_ok_and(|now| now == new["000.html"]);
                let fault = cut(&sshd, &place, &new, moved).await.unwrap_err();
                assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
            });
        });
        stop.store(true, Ordering::SeqCst);
    });
    old.keys().for_each(|path| whole(path));
    assert!(
        held(&folder).values().any(|bytes| *bytes == old["index.html"]),
        "it was cut off on the way"
    );
    place.put(&new).await.unwrap();
    let mut there = held(&folder);
    there.retain(|path, _| !path.starts_with(".linkflow-page.new-"));
    assert_eq!(there, new);
}
