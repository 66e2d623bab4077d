//! Ways to have a script carried out: by a shell on this machine, or by one behind SSH.

pub(crate) mod host_key;
pub(crate) mod judge;
pub(crate) mod ssh;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::FaultKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// The most of one stream that is kept, in bytes.
pub(crate) const LARGEST: usize = 8 << 20;

/// What a script came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<u32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Why a script has no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// [`FaultKind::Unclear`] once the script may have begun.
    pub(crate) kind: FaultKind,
    pub(crate) said: String,
}

impl Broken {
    pub(crate) fn new(kind: FaultKind, said: impl Into<String>) -> Self {
        Self { kind, said: said.into() }
    }

    /// The way broke, or was too slow, after the script may have begun.
    pub(crate) fn unclear(said: impl Into<String>) -> Self {
        Self::new(FaultKind::Unclear, said)
    }
}

/// Carries scripts out.
#[async_trait]
pub(crate) trait Shell: Send + Sync {
    /// Has `sh` carry out `script`, which it reads from its standard input, within `limit`.
    async fn run(&self, script: &str, limit: Duration) -> Result<Output, Broken>;
}

/// `text` as one word of a shell, whatever is in it.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `body` so that a shell that gets it by its standard input begins only when it has all of it.
pub(crate) fn whole(body: &str) -> String {
    format!("linkflow() {{\n{body}\n}}\nlinkflow </dev/null\n")
}

/// The shell of this machine.
pub(crate) struct Local {
    /// All that scripts find in their environment.
    pub(crate) env: BTreeMap<String, String>,
}

#[async_trait]
impl Shell for Local {
    async fn run(&self, script: &str, limit: Duration) -> Result<Output, Broken> {
        let mut command = Command::new("/bin/sh");
        command.arg("-s").env_clear().envs(&self.env).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let no_shell = |error| Broken::new(FaultKind::Invalid, format!("/bin/sh: {error}"));
        let mut child = command.spawn().map_err(no_shell)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let done = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    stdin.write_all(script.as_bytes()).await?;
                }
                Ok::<(), std::io::Error>(())
            };
            let (written, out, err) = tokio::join!(write, text(stdout), text(stderr));
            written?;
            let status = child.wait().await?;
            let code = status.code().and_then(|code| u32::try_from(code).ok());
            Ok(Output { code, stdout: out?, stderr: err? })
        };
        match timeout(limit, done).await {
            Ok(done) => done.map_err(|error: std::io::Error| Broken::unclear(error.to_string())),
            Err(_) => Err(Broken::unclear(format!("no answer within {} s", limit.as_secs()))),
        }
    }
}

/// All that comes out of `pipe`.
async fn text(pipe: Option<impl AsyncReadExt + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(LARGEST as u64).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(script: &str) -> Output {
        let env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
        Local { env }.run(script, Duration::from_secs(10)).await.unwrap()
    }

    #[tokio::test]
    async fn whatever_is_quoted_stays_one_word() {
        let hostile = [
            "",
            " ",
            "a b",
            "it's",
            "'; touch /tmp/owned; '",
            "$(id)",
            "`id`",
            "${HOME}",
            "\\",
            "\\'",
            "line\nline\n",
            "-n",
            "*",
            "~",
            "\"",
            "ü\u{1f680}\t\r",
            "!!",
            "#",
            "a;b&c|d>e<f",
        ];
        for text in hostile {
            let said = check(&whole(&format!("printf '<%s>' {}", quote(text)))).await;
            assert_eq!(said.stdout, format!("<{text}>"), "{said:?}");
            assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
        }
    }

    #[tokio::test]
    async fn half_a_script_does_nothing() {
        let script = whole("echo one\necho two");
        for cut in 1..script.len() - "\nlinkflow </dev/null\n".len() {
            let said = check(&script[..cut]).await;
            assert_eq!(said.stdout, "", "cut after {cut} bytes: {:?}", &script[..cut]);
        }
        assert_eq!(check(&script).await.stdout, "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_script_that_takes_too_long_is_unclear() {
        let shell = Local { env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into() };
        let broken = shell.run("sleep 5", Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(broken.kind, FaultKind::Unclear);
    }
}
