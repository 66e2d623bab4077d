//! Who this process is, whether another still lives, and how it dies in tests.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use linkflow_engine::{Crash, CrashPoint, Owner};
use rustix::process::{Signal, getpid, kill_process};

use crate::say::output;

/// This process, as others find it in the lease.
pub(crate) fn owner(what: &str, vars: &BTreeMap<String, String>) -> Owner {
    let pid = std::process::id();
    let id = id(pid).unwrap_or_else(|| pid.to_string());
    Owner { id, host: host(), pid, what: what.to_owned(), who: who(vars), url: url(vars) }
}

/// The person, as CI or the shell says.
fn who(vars: &BTreeMap<String, String>) -> Option<String> {
    let names = ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "USER", "LOGNAME"];
    names.iter().find_map(|name| vars.get(*name).filter(|value| !value.is_empty()).cloned())
}

/// The address of the CI run: GitHub Actions gives its parts, GitLab gives it whole.
fn url(vars: &BTreeMap<String, String>) -> Option<String> {
    let get = |name: &str| vars.get(name).filter(|value| !value.is_empty());
    let github = || {
        let (server, repository) = (get("GITHUB_SERVER_URL")?, get("GITHUB_REPOSITORY")?);
        Some(format!("{server}/{repository}/actions/runs/{}", get("GITHUB_RUN_ID")?))
    };
    github().or_else(|| get("CI_JOB_URL").cloned())
}

/// Whether `owner` may still live: `false` only when it ran on this machine and is provably gone.
pub(crate) fn is_alive(owner: &Owner) -> bool {
    if owner.host != host() || !owner.id.starts_with(&space()) {
        return true;
    }
    // A number is given again one day, a number and a start are not.
    id(owner.pid).is_some_and(|id| owner.id == id)
}

/// What no other process has: its number, when it started, and in which space of numbers.
fn id(pid: u32) -> Option<String> {
    Some(format!("{} {pid} {}", space(), started(pid)?))
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The space that process numbers count in: a container has its own.
fn space() -> String {
    fs::read_link("/proc/self/ns/pid").unwrap_or_default().display().to_string()
}

/// When the process started, in the kernel's ticks; `None` when it is gone, also when only its entry is left.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may itself have blanks and brackets. proc(5): state is field 3, starttime field 22.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = fields.first()?;
    (!matches!(*state, "Z" | "X")).then(|| fields.get(19).map(|f| (*f).to_owned()))?
}

/// What a process says that dies at a point of its journal, with the point after it.
pub(crate) const DIES: &str = "killed at ";

/// Kills this process at the first of the points `at` that it comes to, as a power cut would, but for a last word.
pub(crate) fn crash_at(at: Vec<CrashPoint>) -> Crash {
    let kill = |point: &CrashPoint| {
        output::err(&format!("{DIES}{point}\n"));
        if let Err(error) = kill_process(getpid(), Signal::KILL) {
            tracing::error!(%error, "this process cannot kill itself");
        }
    };
    Crash { at, kill: Arc::new(kill) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ci_run_is_found_by_what_ci_says_of_itself() {
        let vars = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let github = vars(&[
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_RUN_ID", "42"),
            ("GITHUB_ACTOR", "ada"),
            ("USER", "runner"),
        ]);
        let me = owner("linkflow deploy", &github);
        assert_eq!(me.url.as_deref(), Some("https://github.com/acme/shop/actions/runs/42"));
        assert_eq!(me.who.as_deref(), Some("ada"));
        let gitlab = vars(&[("CI_JOB_URL", "https://gitlab.com/acme/shop/-/jobs/7")]);
        let me = owner("linkflow deploy", &gitlab);
        assert_eq!(me.url.as_deref(), Some("https://gitlab.com/acme/shop/-/jobs/7"));
        assert_eq!(me.who, None);
    }

    #[test]
    fn this_process_lives_and_one_that_ended_does_not() {
        let me = owner("linkflow test", &BTreeMap::new());
        assert!(is_alive(&me));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(!is_alive(&Owner { pid, ..me.clone() }));
        assert!(!is_alive(&Owner { id: format!("{}0", me.id), ..me.clone() }));
        assert!(is_alive(&Owner { host: "elsewhere".to_owned(), pid, ..me }));
    }
}
