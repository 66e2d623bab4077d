//! A program of one's own: the notice as JSON on its standard input.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{Notice, Notify};
use linkflow_model::{Fault, FaultKind, ProviderName};
use tokio::io::AsyncWriteExt;
use tokio::process::Command as Process;
use tokio::time::timeout;

use super::post::TELL;
use super::text::{masked, one_line, word};
use crate::kit::Kit;

/// How long it may run.
const WITHIN: Duration = Duration::from_secs(10);

/// What a program needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Its folder.
    pub folder: std::path::PathBuf,
    /// Its environment.
    pub env: Vec<(String, String)>,
}

/// One program.
pub struct Command {
    settings: Settings,
    kit: Kit,
    provider: ProviderName,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Command {
    Command { settings, kit: kit.clone(), provider: provider.clone() }
}

impl Command {
    fn fault(&self, kind: FaultKind, said: &str) -> Fault {
        let said = one_line(&self.kit.mask(said));
        Fault { kind, provider: self.provider.clone(), attempt: TELL.to_owned(), said }
    }

    async fn run(&self, notice: &Notice) -> Result<(), Fault> {
        let Some((program, arguments)) = self.settings.words.split_first() else {
            return Err(self.fault(FaultKind::Invalid, "there is no program"));
        };
        let mut process = Process::new(program)
            .args(arguments)
            .current_dir(&self.settings.folder)
            .env_clear()
            .envs(self.settings.env.iter().cloned())
            .env("LINKFLOW_TITLE", &notice.title)
            .env("LINKFLOW_TONE", word(notice.tone))
            .env("LINKFLOW_KEY", notice.key.as_deref().unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.fault(FaultKind::Missing, &format!("{program}: {error}")))?;
        let text = serde_json::to_vec(notice).unwrap_or_default();
        if let Some(mut stdin) = process.stdin.take() {
            // A program that does not read what it is told is free to.
            stdin.write_all(&text).await.ok();
        }
        let ended = process.wait_with_output().await;
        let ended = ended.map_err(|error| self.fault(FaultKind::Unclear, &error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.trim().lines().next_back();
        let said = last.map_or_else(
            || format!("{}, and it said nothing", ended.status),
            |last| format!("{}: {last}", ended.status),
        );
        Err(self.fault(FaultKind::Unclear, &said))
    }
}

#[async_trait]
impl Notify for Command {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let notice = masked(notice, |text| self.kit.mask(text));
        match timeout(WITHIN, self.run(&notice)).await {
            Ok(done) => done,
            Err(_) => {
                let said = format!("it did not end within {} s", WITHIN.as_secs());
                Err(self.fault(FaultKind::Unclear, &said))
            }
        }
    }
}
