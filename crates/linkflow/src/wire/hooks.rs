//! Runs the user's hooks as processes of this machine.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_engine::{Hook, Hooks};
use linkflow_model::config;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::OpenOptions;

/// The variable that tells a process that it runs within a hook, and so under the lock of the stack named by
/// `LINKFLOW_STACK`.
pub(crate) const WITHIN: &str = "LINKFLOW_HOOK";

/// The variable that tells a process that a rehearsal of a whole story started it, so that it runs no hooks: they may
/// reach what is real.
pub(crate) const REHEARSED: &str = "LINKFLOW_REHEARSED";

/// How many of a hook's last lines are told.
const LINES: usize = 20;
/// The longest line that is told, in characters.
const LONGEST: usize = 400;
/// How long its last lines are waited for once it has ended; what it started may keep them open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The hooks of a config.
pub(super) struct Processes {
    hooks: config::Hooks,
    workdir: PathBuf,
    env: BTreeMap<String, String>,
}

impl Processes {
    /// The hooks in `hooks`; `None` when there are none. They have the environment of this process, and find its state
    /// folder and its cloud.
    pub(super) fn of(hooks: &config::Hooks, options: &OpenOptions) -> Option<Arc<dyn Hooks>> {
        if hooks.before.is_none() && hooks.after.is_none() && hooks.failed.is_none() {
            return None;
        }
        let mut env = options.vars.clone();
        let state = std::path::absolute(&options.state).unwrap_or_else(|_| options.state.clone());
        env.insert("LINKFLOW_STATE".to_owned(), state.display().to_string());
        let cloud = options.cloud.as_ref().map(|cloud| cloud.control.clone());
        env.extend(cloud.map(|cloud| ("LINKFLOW_CLOUD".to_owned(), cloud)));
        // It is for this process alone: a command within the hook would end at the same point.
        env.remove("LINKFLOW_CRASH_AT");
        Some(Arc::new(Self { hooks: hooks.clone(), workdir: options.workdir.clone(), env }))
    }
}

#[async_trait]
impl Hooks for Processes {
    async fn run(
        &self,
        hook: Hook,
        env: &BTreeMap<String, String>,
    ) -> Result<Option<String>, String> {
        let line = match hook {
            Hook::Before => &self.hooks.before,
            Hook::After => &self.hooks.after,
            Hook::Failed => &self.hooks.failed,
        };
        let Some((program, arguments)) = line.as_ref().and_then(|line| line.0.split_first()) else {
            return Ok(None);
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.workdir)
            .env_clear()
            .envs(&self.env)
            .envs(env)
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        let tail = Tail::default();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut reading = std::pin::pin!(async {
            tokio::join!(tail.read(out), tail.read(err));
        });
        let mut read = false;
        let end = timeout(self.hooks.within, async {
            loop {
                tokio::select! {
                    status = child.wait() => return status,
                    () = &mut reading, if !read => read = true,
                }
            }
        });
        let end = end.await;
        if end.is_err()
            && let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "the hook ended by itself");
        }
        if !read && timeout(LAST_WORDS, reading).await.is_err() {
            tracing::debug!("something that the hook started goes on writing");
        }
        match end {
            Ok(Ok(status)) if status.success() => Ok(Some(tail.told("\n"))),
            Ok(Ok(status)) => Err(format!("`{program}` {}{}", how(status), tail.told("\n"))),
            Ok(Err(error)) => Err(format!("`{program}` could not be waited for: {error}")),
            Err(_) => Err(format!(
                "`{program}` did not end within {:?} and was killed{}",
                self.hooks.within,
                tail.told("\n")
            )),
        }
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The last lines of both streams, in the order in which they came.
#[derive(Default)]
struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    async fn read(&self, from: Option<impl AsyncRead + Unpin>) {
        let Some(from) = from else { return };
        let mut lines = BufReader::new(from).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line: String =
                String::from_utf8_lossy(&line).trim_end().chars().take(LONGEST).collect();
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if held.len() == LINES {
                held.pop_front();
            }
            held.push_back(line);
        }
    }

    /// The lines, each marked as one of a log, with `before` in front when there are any.
    fn told(&self, before: &str) -> String {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> = held.iter().map(|line| format!("  | {line}")).collect();
        if lines.is_empty() { String::new() } else { format!("{before}{}", lines.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(line: &[&str], within: Duration) -> Processes {
        let text = "[stack]\nname = \"shop\"\n[services.a]\nimage = \"a\"\nport = 1\n";
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text.to_owned())]);
        let config = config::Config::parse(&files, "linkflow.toml", None).config.unwrap();
        let line = config::CommandLine(line.iter().map(|word| (*word).to_owned()).collect());
        let hooks = config::Hooks { before: Some(line), within, ..config.deploy.hooks };
        let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        Processes { hooks, workdir: "/".into(), env }
    }

    async fn run(line: &[&str], within: Duration) -> Result<Option<String>, String> {
        let env = BTreeMap::from([(WITHIN.to_owned(), "before".to_owned())]);
        hooks(line, within).run(Hook::Before, &env).await
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_hook_finds_out_that_it_is_one_and_its_last_lines_are_told() {
        let told = run(&["sh", "-c", "echo in $LINKFLOW_HOOK; pwd"], LONG).await;
        assert_eq!(told, Ok(Some("\n  | in before\n  | /".to_owned())));
        let failed = run(&["sh", "-c", "seq 30; exit 3"], LONG).await.unwrap_err();
        assert!(failed.starts_with("`sh` exited with 3\n  | 11\n"), "{failed}");
        assert!(failed.ends_with("\n  | 30"), "{failed}");
    }

    #[tokio::test]
    async fn a_hook_that_is_not_configured_or_not_there_is_told_apart() {
        let env = BTreeMap::new();
        assert_eq!(hooks(&["true"], LONG).run(Hook::After, &env).await, Ok(None));
        let missing = run(&["/no/such/program"], LONG).await.unwrap_err();
        assert!(missing.contains("`/no/such/program` cannot be started"), "{missing}");
    }

    #[tokio::test]
    async fn a_hook_that_takes_too_long_is_killed_with_all_that_it_started() {
        let line = ["sh", "-c", "echo waits; sleep 60 & sleep 60"];
        let late = run(&line, Duration::from_millis(200)).await.unwrap_err();
        assert!(late.contains("did not end within 200ms and was killed\n  | waits"), "{late}");
    }
}
