//! A branch of a git repository, which its host shows to the web: GitHub Pages, GitLab Pages, Codeberg Pages, Cloudflare
//! Pages, Netlify.
//!
//! It is pushed by the `git` of this machine, which every one of them understands. They build what is pushed, and count that
//! (GitHub: ten times an hour, <https://docs.github.com/en/pages/getting-started-with-github-pages/github-pages-limits>), so what
//! is new goes at once while there is room, and a page on which only the time is another one goes twice an hour.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use linkflow_model::role::{Files, Pages, Put};
use linkflow_model::{Fault, FaultKind, Moment, ProviderName, Secret};
use tokio::sync::Mutex;

use crate::kit::Kit;
use crate::shell::{Local, Shell, judge, quote, whole};

/// What is done with `git`.
const SCRIPT: &str = include_str!("git.sh");

/// Says which files of the branch were put there, a path on each line.
const LIST: &str = ".linkflow-page";

/// Keeps GitHub from building a site out of what is one already.
const AS_IT_IS: &str = ".nojekyll";

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(120);

/// An hour, and how often a page on which nothing is new is pushed, in ms.
const HOUR_MS: u64 = 3_600_000;
const SELDOM_MS: u64 = HOUR_MS / 2;

/// Texts of git, in lower case, with what they mean and what helps.
const TEXTS: [(&str, FaultKind, &str); 11] = [
    ("authentication failed", FaultKind::Denied, TOKEN),
    ("could not read username", FaultKind::Denied, TOKEN),
    ("requested url returned error: 403", FaultKind::Denied, TOKEN),
    ("requested url returned error: 401", FaultKind::Denied, TOKEN),
    ("protected branch", FaultKind::Denied, "the branch is protected: "),
    ("repository not found", FaultKind::Missing, ""),
    ("not found", FaultKind::Missing, ""),
    ("stale info", FaultKind::Unreachable, OTHERS),
    ("fetch first", FaultKind::Unreachable, OTHERS),
    ("cannot lock ref", FaultKind::Unreachable, OTHERS),
    ("[remote rejected]", FaultKind::Denied, ""),
];

const TOKEN: &str = "the token may not write there: ";
const OTHERS: &str = "somebody else pushed meanwhile: ";

/// Which branch, and who may push there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The repository's address, `https://…`.
    pub url: String,
    /// The branch, which holds nothing else than a page.
    pub branch: String,
    /// The token that pushes.
    pub token: Secret,
    /// How many times an hour it is pushed at most.
    pub per_hour: u32,
    /// The folder in which files are kept while they are pushed.
    pub work: PathBuf,
    /// What `git` finds in its environment beside what is said to it: `PATH`, and how the network is reached.
    pub env: BTreeMap<String, String>,
}

/// A branch.
pub struct Branch {
    settings: Settings,
    name: String,
    shell: Local,
    kit: Kit,
    provider: ProviderName,
    pushed: Mutex<Pushed>,
}

/// What this process has pushed.
#[derive(Default)]
struct Pushed {
    /// What the last page said.
    news: Option<u64>,
    /// When, within the last hour.
    at: VecDeque<Moment>,
}

/// Opens the branch. Nothing is asked before it is written to.
pub fn open(mut settings: Settings, kit: &Kit, provider: &ProviderName) -> Branch {
    // The script goes into it and names it again.
    settings.work = std::path::absolute(&settings.work).unwrap_or(settings.work);
    kit.learn(&settings.token);
    let name = format!("{} ({})", settings.url, settings.branch);
    let shell = Local { env: environment(&settings, kit) };
    let (kit, provider) = (kit.clone(), provider.clone());
    Branch { settings, name, shell, kit, provider, pushed: Mutex::default() }
}

/// No setting of this machine or its user counts, nobody is asked for a password, and no redirect takes the token elsewhere.
fn environment(settings: &Settings, kit: &Kit) -> BTreeMap<String, String> {
    let login = STANDARD.encode(format!("x-access-token:{}", settings.token.expose()));
    kit.learn(&Secret::new(login.as_str()));
    let header = format!("http.{}.extraHeader", settings.url);
    let said = [
        ("HOME", settings.work.display().to_string()),
        ("LC_ALL", "C".to_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("GIT_HTTP_LOW_SPEED_LIMIT", "1".to_owned()),
        ("GIT_HTTP_LOW_SPEED_TIME", "20".to_owned()),
        ("GIT_AUTHOR_NAME", "LinkFlow".to_owned()),
        ("GIT_AUTHOR_EMAIL", "linkflow@localhost".to_owned()),
        ("GIT_COMMITTER_NAME", "LinkFlow".to_owned()),
        ("GIT_COMMITTER_EMAIL", "linkflow@localhost".to_owned()),
        ("GIT_CONFIG_COUNT", "3".to_owned()),
        ("GIT_CONFIG_KEY_0", header),
        ("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {login}")),
        ("GIT_CONFIG_KEY_1", "http.followRedirects".to_owned()),
        ("GIT_CONFIG_VALUE_1", "false".to_owned()),
        ("GIT_CONFIG_KEY_2", "core.autocrlf".to_owned()),
        ("GIT_CONFIG_VALUE_2", "false".to_owned()),
    ];
    let mut env = settings.env.clone();
    env.extend(said.map(|(name, value)| (name.to_owned(), value)));
    env
}

#[async_trait]
impl Pages for Branch {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, files: &Files) -> Result<Put, Fault> {
        let mut pushed = self.pushed.lock().await;
        let (news, now) = (news(files), self.kit.clock().now());
        if !pushed.is_due(news, now, self.settings.per_hour) {
            return Ok(Put::default());
        }
        // A push that fails counts as well: a host that refuses is not asked every minute of the hour.
        pushed.at.push_back(now);
        let done = self.push(files).await?;
        pushed.news = Some(news);
        Ok(done)
    }
}

impl Branch {
    async fn push(&self, files: &Files) -> Result<Put, Fault> {
        let attempt = format!("push the status page to {}", self.name);
        let fault = |kind, said: &str| Fault {
            kind,
            provider: self.provider.clone(),
            attempt: attempt.clone(),
            said: self.kit.mask(said.trim()),
        };
        let (root, files) = (self.settings.work.clone(), files.clone());
        let laid = tokio::task::spawn_blocking(move || lay_out(&root, &files)).await;
        let laid = laid.unwrap_or_else(|error| Err(io::Error::other(error)));
        laid.map_err(|error| fault(FaultKind::Unreachable, &error.to_string()))?;
        let Settings { url, branch, work, .. } = &self.settings;
        let said = [("url", url), ("branch", branch), ("root", &work.display().to_string())];
        let said: String = said.iter().map(|(n, v)| format!("{n}={}\n", quote(v))).collect();
        let output = self.shell.run(&whole(&format!("{said}{SCRIPT}")), LIMIT).await;
        let work = work.clone();
        tokio::task::spawn_blocking(move || fs::remove_dir_all(work)).await.ok();
        let output = output.map_err(|broken| fault(FaultKind::Unreachable, &broken.said))?;
        if output.code == Some(127) {
            let help = "this machine has no `git`: install it, `apt-get install git` for one";
            return Err(fault(FaultKind::Invalid, help));
        }
        let known = known(&output.stderr);
        let said = judge::judge(output, false);
        let changes = said.map_err(|(kind, said)| {
            let (kind, help) = known.unwrap_or((kind, ""));
            fault(kind, &format!("{help}{said}"))
        })?;
        Ok(counted(&changes))
    }
}

/// What a text of git means, and what helps.
fn known(said: &str) -> Option<(FaultKind, &'static str)> {
    let lower = said.to_lowercase();
    let found = TEXTS.iter().find(|(text, _, _)| lower.contains(text));
    found.map(|(_, kind, help)| (*kind, *help))
}

/// Lays the files out in a new folder `root/new`.
fn lay_out(root: &Path, files: &Files) -> io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let new = root.join("new");
    fs::create_dir_all(&new)?;
    let ours: BTreeSet<&str> = files.keys().map(String::as_str).chain([LIST, AS_IT_IS]).collect();
    let list: String = ours.iter().map(|path| format!("{path}\n")).collect();
    fs::write(new.join(LIST), list)?;
    fs::write(new.join(AS_IT_IS), "")?;
    for (path, bytes) in files {
        let at = new.join(path);
        if let Some(above) = at.parent() {
            fs::create_dir_all(above)?;
        }
        fs::write(at, bytes)?;
    }
    Ok(())
}

/// What `git diff-tree --name-status` tells, without what is there for git's sake.
fn counted(changes: &str) -> Put {
    let of_page = changes.lines().filter_map(|line| line.split_once('\t'));
    let of_page = of_page.filter(|(_, path)| ![LIST, AS_IT_IS].contains(path));
    of_page.fold(Put::default(), |mut done, (how, _)| {
        match how {
            "D" => done.removed += 1,
            _ => done.written += 1,
        }
        done
    })
}

impl Pushed {
    /// Whether a page that says `news` is to be pushed at `now`.
    fn is_due(&mut self, news: u64, now: Moment, per_hour: u32) -> bool {
        while self.at.front().is_some_and(|at| now.since(*at) >= HOUR_MS) {
            self.at.pop_front();
        }
        let room = self.at.len() < usize::try_from(per_hour).unwrap_or(usize::MAX);
        let is_old = self.at.back().is_none_or(|at| now.since(*at) >= SELDOM_MS);
        room && (is_old || self.news != Some(news))
    }
}

/// What a page says, by a number that is another one when it says something else than what time it is: how all is, and what is
/// told of it.
fn news(files: &Files) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let tells = |path: &str| {
        let badge = path.strip_prefix("badge/").is_some_and(|name| !name.contains('/'));
        badge || ["badge.json", "feed.atom", "maintenance.ics"].contains(&path)
    };
    files.iter().filter(|(path, _)| tells(path)).for_each(|file| file.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_page_says_something_else_when_a_state_or_an_incident_does() {
        let page =
            [("index.html", "at 14:03"), ("badge/api.json", "up"), ("badge/24h/api.json", "99 %")];
        let said = news(&files(&page));
        let later =
            [("index.html", "at 14:04"), ("badge/api.json", "up"), ("badge/24h/api.json", "98 %")];
        assert_eq!(news(&files(&later)), said);
        let down = [
            ("index.html", "at 14:04"),
            ("badge/api.json", "down"),
            ("badge/24h/api.json", "98 %"),
        ];
        assert_ne!(news(&files(&down)), said);
        let told = [later.as_slice(), &[("feed.atom", "Trouble")]].concat();
        assert_ne!(news(&files(&told)), said);
    }

    #[test]
    fn what_is_new_goes_at_once_while_there_is_room_and_the_rest_seldom() {
        let minute = |n: u64| Moment(n * 60_000);
        let mut pushed = Pushed::default();
        let mut push = |n: u64, news: u64| {
            let due = pushed.is_due(news, minute(n), 3);
            if due {
                pushed.at.push_back(minute(n));
                pushed.news = Some(news);
            }
            due
        };
        assert!(push(0, 1), "the first");
        assert!(!push(1, 1), "nothing is new");
        assert!(push(2, 2) && push(3, 3));
        assert!(!push(4, 4), "there is no room");
        assert!(push(60, 4), "the first is an hour ago");
        assert!(!push(61, 4) && push(90, 4), "what is old goes as well");
    }

    #[test]
    fn a_push_that_failed_is_tried_again() {
        let mut pushed = Pushed { news: None, at: [Moment(0)].into() };
        assert!(pushed.is_due(1, Moment(60_000), 2));
        pushed.at.push_back(Moment(60_000));
        assert!(!pushed.is_due(1, Moment(120_000), 2), "but not all the time");
    }
}
