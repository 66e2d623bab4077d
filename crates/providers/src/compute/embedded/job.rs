//! Commands that are run to their end once: a migration.
//!
//! A small script of `/bin/sh` stands around the command. First of all it makes a file that may not be there yet, so of
//! any number of them one runs the command; at its end it writes the exit code down. So LinkFlow may be killed at any
//! moment, and the command is neither run twice nor is its end lost.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use linkflow_model::role::{JobState, LogLine};
use serde::{Deserialize, Serialize};

use super::home::{gone, private};
use super::keeper::Keeper;
use super::log::Log;
use super::process::{self, Boot, TOKEN};

/// Runs its arguments once, whoever else is told to: `$0` is where the job's files are. What follows the claim is
/// written as one line, so that half a number is never read as one.
const SCRIPT: &str = r#"( set -C; : > "$0.started" ) 2>/dev/null || exit 0
"$@"
code=$?
echo "$code" > "$0.code"
exit "$code""#;

/// How many of a job's last lines are told.
const LAST_LINES: usize = 200;

/// What is written down before a job is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Launch {
    /// All its processes carry it: see [`TOKEN`].
    token: String,
}

impl Keeper {
    /// Starts `line` as the job `id`, unless it was started before.
    pub(super) fn run_job(
        &self,
        id: &str,
        line: &[String],
        env: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        let _alone = self.home.lock_jobs()?;
        let file = |kind| self.home.job_file(id, kind);
        if file("code").exists() || file("started").exists() {
            return Ok(());
        }
        let token = match self.launch_of(id)? {
            Some(launch) => launch.token,
            None => {
                let launch = Launch { token: Boot::now()?.new_token(id) };
                self.save_launch(id, &launch)?;
                launch.token
            }
        };
        if process::left_behind(&token) {
            return Ok(());
        }
        let log = self.job_log(id).open()?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT])
            .arg(file("job").with_extension(""))
            .args(line)
            .current_dir(&self.settings.workdir)
            .env_clear()
            .envs(&self.settings.env)
            .envs(env)
            .env("LINKFLOW_BIND", self.settings.bind.to_string())
            .env(TOKEN, token)
            // Its own group: what ends LinkFlow does not end the job.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.adopt(command.spawn()?);
        Ok(())
    }

    /// How the job `id` stands.
    pub(super) fn job_state(&self, id: &str) -> io::Result<JobState> {
        if let Some(code) = self.code_of(id)? {
            return self.ended_job(id, Some(code));
        }
        let Some(launch) = self.launch_of(id)? else { return Ok(JobState::Absent) };
        if process::left_behind(&launch.token) {
            return Ok(JobState::Under { said: "running".to_owned() });
        }
        // It may have ended in between.
        match self.code_of(id)? {
            Some(code) => self.ended_job(id, Some(code)),
            None if self.home.job_file(id, "started").exists() => self.ended_job(id, None),
            // Nobody claimed it: it was not started, or not yet.
            None => Ok(JobState::Absent),
        }
    }

    /// Takes away what is left of an ended job; `false` when it still runs.
    pub(super) fn forget_job(&self, id: &str) -> io::Result<bool> {
        let _alone = self.home.lock_jobs()?;
        if matches!(self.job_state(id)?, JobState::Under { .. }) {
            return Ok(false);
        }
        self.job_log(id).remove()?;
        // The claim goes last but one: as long as something is left, the job is not started again.
        for kind in ["code", "started", "job"] {
            gone(fs::remove_file(self.home.job_file(id, kind)))?;
        }
        Ok(true)
    }

    fn ended_job(&self, id: &str, code: Option<i32>) -> io::Result<JobState> {
        let lines = self.job_log(id).last(LAST_LINES)?;
        let log = lines.into_iter().map(|text| LogLine { at: None, text }).collect();
        Ok(JobState::Ended { code, worked: code == Some(0), log })
    }

    fn job_log(&self, id: &str) -> Log {
        Log { path: self.home.job_file(id, "log"), cap: self.pace.log_cap }
    }

    fn launch_of(&self, id: &str) -> io::Result<Option<Launch>> {
        match fs::read(self.home.job_file(id, "job")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => serde_json::from_slice(&read?)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    /// Puts `launch` on disk, whole or not at all.
    fn save_launch(&self, id: &str, launch: &Launch) -> io::Result<()> {
        let aside = self.home.job_file(id, "new");
        let mut file = private().write(true).create(true).truncate(true).open(&aside)?;
        file.write_all(&serde_json::to_vec(launch)?)?;
        file.sync_all()?;
        fs::rename(aside, self.home.job_file(id, "job"))?;
        File::open(self.home.jobs())?.sync_all()
    }

    fn code_of(&self, id: &str) -> io::Result<Option<i32>> {
        match fs::read_to_string(self.home.job_file(id, "code")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(read?.strip_suffix('\n').and_then(|code| code.parse().ok())),
        }
    }
}

impl super::home::Home {
    /// The folder of the jobs.
    fn jobs(&self) -> PathBuf {
        self.folder().join("jobs")
    }

    /// A file of the job `id`.
    fn job_file(&self, id: &str, kind: &str) -> PathBuf {
        self.jobs().join(format!("{id}.{kind}"))
    }

    /// Keeps every other LinkFlow off the jobs until the file is dropped.
    fn lock_jobs(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.jobs())?;
        self.lock_file(self.folder().join("jobs.lock"))
    }
}
