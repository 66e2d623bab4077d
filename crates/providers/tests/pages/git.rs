//! A branch that a host shows to the web, against a real git behind HTTP: what is pushed, what is left alone, what is refused.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use linkflow_model::role::{Pages, Put};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::pages::git::{self, Branch, Settings};

use super::super::canned::{Asked, Canned, Reply};
use super::super::stage::kit;
use super::files;

const TOKEN: &str = "token-that-nobody-sees";

/// Where programs are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// While a file of this name is in the folder of a [`Host`], somebody else pushes just before the next push comes in.
const BUSY: &str = "busy";

/// A host of repositories, with one of them: `shop/status`.
struct Host {
    server: Canned,
    folder: tempfile::TempDir,
}

impl Host {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        git(&root, &["init", "-q", "--bare", "shop/status"]);
        git(&root.join("shop/status"), &["config", "http.receivepack", "true"]);
        let server = Canned::start(move |asked| answer(&root, asked)).await;
        Self { server, folder }
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("shop/status")
    }

    fn open(&self, token: &str, per_hour: u32) -> Branch {
        let settings = Settings {
            url: format!("{}/shop/status", self.server.url),
            branch: "gh-pages".to_owned(),
            token: Secret::new(token),
            per_hour,
            work: self.folder.path().join("it's work"),
            env: [("PATH".to_owned(), PATH.to_owned())].into(),
        };
        git::open(settings, &kit(None), &"embedded".parse().unwrap())
    }

    /// What is in the branch, a path on each line.
    fn held(&self) -> String {
        git(&self.repository(), &["ls-tree", "-r", "--name-only", "gh-pages"])
    }

    fn read(&self, path: &str) -> String {
        git(&self.repository(), &["cat-file", "-p", &format!("gh-pages:{path}")])
    }
}

/// Somebody else commits a file to the branch.
fn others_put(repository: &Path, path: &str, text: &str) {
    let clone = tempfile::tempdir().unwrap();
    let (at, there) = (clone.path(), repository.to_str().unwrap());
    git(at, &["init", "-q"]);
    if git(at, &["ls-remote", there, "gh-pages"]).is_empty() {
        git(at, &["checkout", "-q", "-b", "gh-pages"]);
    } else {
        git(at, &["fetch", "-q", there, "gh-pages"]);
        git(at, &["checkout", "-q", "-b", "gh-pages", "FETCH_HEAD"]);
    }
    std::fs::write(at.join(path), text).unwrap();
    git(at, &["add", path]);
    git(at, &["commit", "-q", "-m", "by hand"]);
    git(at, &["push", "-q", there, "gh-pages"]);
}

/// What git says, with nobody's settings.
fn git(folder: &Path, words: &[&str]) -> String {
    let said = Command::new("git")
        .args(["-c", "user.name=Somebody", "-c", "user.email=somebody@localhost"])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

/// Has git's own server program answer, for whoever has the token.
fn answer(root: &Path, asked: &Asked) -> Reply {
    // `x-access-token:` and the token.
    let login = "Basic eC1hY2Nlc3MtdG9rZW46dG9rZW4tdGhhdC1ub2JvZHktc2Vlcw==";
    if asked.header("authorization") != Some(login) {
        let ask = vec![("www-authenticate", "Basic realm=\"git\"".to_owned())];
        return Reply::Answer(401, ask, Vec::new());
    }
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    if path.ends_with("/git-receive-pack") && std::fs::remove_file(root.join(BUSY)).is_ok() {
        others_put(&root.join("shop/status"), "CNAME", "at the same time");
    }
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("REQUEST_METHOD", &asked.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", asked.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", asked.header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", asked.header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&asked.body).unwrap();
    let said = child.wait_with_output().unwrap().stdout;
    let end = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (mut status, mut kind) = (200, String::new());
    for line in String::from_utf8_lossy(&said[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", code)) => status = code[..3].parse().unwrap(),
            Some(("Content-Type", value)) => value.clone_into(&mut kind),
            _ => {}
        }
    }
    Reply::Answer(status, vec![("content-type", kind)], said[end + 4..].to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_holds_the_page_as_one_commit_and_what_others_put_there() {
    let host = Host::start().await;
    let first = files(&[("index.html", "a"), ("component/api.html", "b"), ("badge.json", "up")]);
    let done = host.open(TOKEN, 8).put(&first).await.unwrap();
    assert_eq!(done, Put { written: 3, removed: 0 });
    assert_eq!(
        host.held(),
        ".linkflow-page\n.nojekyll\nbadge.json\ncomponent/api.html\nindex.html\n"
    );
    assert_eq!(host.read("index.html"), "a");
    others_put(&host.repository(), "CNAME", "status.example.com");

    let second = files(&[("index.html", "c"), ("it's new.html", "d"), ("badge.json", "down")]);
    // Another process knows by the branch's own list.
    let done = host.open(TOKEN, 8).put(&second).await.unwrap();
    assert_eq!(done, Put { written: 3, removed: 1 });
    assert_eq!(
        host.held(),
        ".linkflow-page\n.nojekyll\nCNAME\nbadge.json\nindex.html\nit's new.html\n"
    );
    assert_eq!(host.read("CNAME"), "status.example.com");
    let count = git(&host.repository(), &["rev-list", "--count", "gh-pages"]);
    assert_eq!(count, "1\n", "it does not grow");
    assert_eq!(host.open(TOKEN, 8).put(&second).await.unwrap(), Put::default());
    assert!(!host.folder.path().join("it's work").exists(), "nothing is left lying about");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_on_which_only_the_time_is_new_is_pushed_seldom() {
    let host = Host::start().await;
    let place = host.open(TOKEN, 2);
    let page = |time: &str, state: &str| files(&[("index.html", time), ("badge.json", state)]);
    place.put(&page("14:03", "up")).await.unwrap();
    let asked = host.server.lines().len();
    assert_eq!(place.put(&page("14:04", "up")).await.unwrap(), Put::default());
    assert_eq!(host.server.lines().len(), asked, "nobody was asked");
    place.put(&page("14:05", "down")).await.unwrap();
    assert_eq!(host.read("index.html"), "14:05");
    assert_eq!(place.put(&page("14:06", "up")).await.unwrap(), Put::default(), "twice an hour");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_pushes_at_the_same_time_is_not_lost() {
    let host = Host::start().await;
    let place = host.open(TOKEN, 8);
    place.put(&files(&[("index.html", "a")])).await.unwrap();
    std::fs::write(host.folder.path().join(BUSY), "").unwrap();
    let page = files(&[("index.html", "b"), ("badge.json", "down")]);
    let fault = place.put(&page).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    assert_eq!(
        (host.read("CNAME").as_str(), host.read("index.html").as_str()),
        ("at the same time", "a")
    );
    place.put(&page).await.unwrap();
    assert_eq!(
        (host.read("CNAME").as_str(), host.read("index.html").as_str()),
        ("at the same time", "b")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_told_and_nothing_is_put_over_it() {
    let host = Host::start().await;
    others_put(&host.repository(), "index.html", "a shop");
    let page = files(&[("index.html", "a")]);
    let fault = host.open(TOKEN, 8).put(&page).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict, "{fault}");
    assert!(fault.to_string().contains("did not put there"), "{fault}");
    assert_eq!(host.read("index.html"), "a shop");

    let fault = host.open("other", 8).put(&page).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    assert!(fault.to_string().contains("the token may not write there"), "{fault}");
    let settings = |host: &Host| Settings {
        url: format!("{}/shop/nowhere", host.server.url),
        branch: "gh-pages".to_owned(),
        token: Secret::new(TOKEN),
        per_hour: 8,
        work: host.folder.path().join("work"),
        env: [("PATH".to_owned(), PATH.to_owned())].into(),
    };
    let nowhere = git::open(settings(&host), &kit(None), &"embedded".parse().unwrap());
    let fault = nowhere.put(&page).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    let without =
        Settings { env: [("PATH".to_owned(), "/nowhere".to_owned())].into(), ..settings(&host) };
    let without = git::open(without, &kit(None), &"embedded".parse().unwrap());
    let fault = without.put(&page).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    assert!(fault.to_string().contains("has no `git`"), "{fault}");
    for fault in [nowhere.put(&page).await, without.put(&page).await] {
        assert!(!fault.unwrap_err().to_string().contains(TOKEN));
    }
}
