//! Processes as Linux tells of them: which one is meant, whether it lives, and how to end all that belongs to it.

use std::fs;
use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

/// The environment variable that names one start of one instance; no two starts share it.
pub(super) const TOKEN: &str = "LINKFLOW_INSTANCE";

/// One process, for ever: a pid is used again, a pid with its start time and boot is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its pid, which is also its process group.
    pub pid: i32,
    /// Its start in clock ticks since the boot (`/proc/PID/stat`, field 22).
    pub started: u64,
    /// The boot it was started in (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

/// What `/proc/PID/stat` tells.
struct Stat {
    ended: bool,
    group: i32,
    started: u64,
}

/// The boot that this machine runs in; proof, too, that `/proc` tells of processes at all.
pub(super) struct Boot {
    id: String,
    /// When this very LinkFlow was started, as [`Process::started`].
    began: u64,
}

impl Boot {
    /// Asks Linux.
    pub(super) fn now() -> io::Result<Self> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let me = i32::try_from(std::process::id()).ok().and_then(stat);
        match (id, me) {
            (Ok(id), Some(me)) => Ok(Self { id: id.trim().to_owned(), began: me.started }),
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "processes can be told apart only on Linux, with /proc",
            )),
        }
    }

    /// A token that no other start has in this boot: it names this LinkFlow for ever, and counts its starts.
    pub(super) fn new_token(&self, what: &str) -> String {
        static STARTS: AtomicU64 = AtomicU64::new(0);
        let count = STARTS.fetch_add(1, Ordering::Relaxed);
        format!("{what}-{}-{}-{count}", std::process::id(), self.began)
    }
}

impl Process {
    /// The process that has `pid` now.
    pub(super) fn at(pid: i32, boot: &Boot) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.started, boot: boot.id.clone() })
    }

    /// The process that was started with `token` and still runs, for when its pid could not be written down.
    pub(super) fn started_with(token: &str, boot: &Boot) -> Option<Self> {
        let (pid, stat) = carriers(token).into_iter().find(|(pid, stat)| *pid == stat.group)?;
        Some(Self { pid, started: stat.started, boot: boot.id.clone() })
    }

    /// Whether this very process still runs.
    pub(super) fn is_alive(&self, boot: &Boot) -> bool {
        let same = stat(self.pid).is_some_and(|stat| !stat.ended && stat.started == self.started);
        same && self.boot == boot.id
    }

    /// Sends `signal` to the process and its group, if this very process lives.
    pub(super) fn signal(&self, signal: Signal, boot: &Boot) {
        if self.is_alive(boot)
            && let Some(pid) = Pid::from_raw(self.pid)
            && let Err(error) = kill_process_group(pid, signal)
        {
            // It ended in between, which is what the signal was for.
            tracing::debug!(pid = self.pid, %error, "not signalled");
        }
    }
}

/// Whether anything lives that was started with `token`, directly or by its children.
pub(super) fn left_behind(token: &str) -> bool {
    !carriers(token).is_empty()
}

/// Kills all that was started with `token`, directly or by its children.
pub(super) fn kill_left_behind(token: &str) {
    for (pid, _) in carriers(token) {
        if let Some(pid) = Pid::from_raw(pid)
            && let Err(error) = kill_process(pid, Signal::KILL)
        {
            tracing::debug!(%error, "not killed");
        }
    }
}

/// Every living process whose environment carries `token`, by pid.
fn carriers(token: &str) -> Vec<(i32, Stat)> {
    let wanted = format!("{TOKEN}={token}");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        // What may not be read belongs to another user, and so not to us.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
    })
    .filter_map(|pid| Some((pid, stat(pid)?)))
    .filter(|(_, stat)| !stat.ended)
    .collect()
}

fn stat(pid: i32) -> Option<Stat> {
    Stat::read(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The second field is the name in brackets, which may hold anything; the rest begins after its last bracket.
        let mut rest = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
        let is_zombie = matches!(rest.next()?, "Z" | "X" | "x");
        let group = rest.nth(1)?.parse().ok()?;
        let threads: u32 = rest.nth(14)?.parse().ok()?;
        let started = rest.nth(1)?.parse().ok()?;
        // Its first thread may be gone while others go on, and hold its port.
        let ended = is_zombie && threads <= 1;
        Some(Self { ended, group, started })
    }
}

/// How a process ended, in words.
pub(super) fn ending(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exited with {code}"),
        Some((None, Some(signal))) => format!("was killed by signal {signal}"),
        Some((None, None)) => "ended".to_owned(),
        None => "ended, nobody saw how".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_that_began_earlier_is_not_it() {
        let boot = Boot::now().unwrap();
        let me = Process::at(i32::try_from(std::process::id()).unwrap(), &boot).unwrap();
        assert!(me.is_alive(&boot));
        assert!(!Process { started: me.started - 1, ..me.clone() }.is_alive(&boot));
        assert!(!Process { boot: "another".to_owned(), ..me }.is_alive(&boot));
    }

    #[test]
    fn a_process_whose_first_thread_ended_lives_until_the_last_one_does() {
        let line = |state: &str, threads: u32| {
            format!("7 (a) b (c) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711 0 0")
        };
        let read = |state, threads| {
            let stat = Stat::read(&line(state, threads)).unwrap();
            assert_eq!((stat.group, stat.started), (7, 4711));
            stat.ended
        };
        assert!(!read("S", 1) && !read("Z", 2));
        assert!(read("Z", 1) && read("X", 0));
    }

    #[test]
    fn a_token_that_nobody_carries_names_no_process() {
        let token = "nobody-carries-this";
        assert_eq!(Process::started_with(token, &Boot::now().unwrap()), None);
        assert!(!left_behind(token));
    }
}
