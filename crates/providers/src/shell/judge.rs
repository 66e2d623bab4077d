//! What a machine's answer means.

use linkflow_model::FaultKind;

use super::Output;

/// Codes of `calls.sh`.
const CODES: [(u32, FaultKind); 3] =
    [(40, FaultKind::Invalid), (44, FaultKind::Missing), (49, FaultKind::Conflict)];

/// Texts of Docker, the shell and the kernel, in lower case, with what they mean and what helps.
const TEXTS: [(&str, FaultKind, &str); 7] = [
    ("no space left on device", FaultKind::Exhausted, FULL),
    ("disk quota exceeded", FaultKind::Exhausted, FULL),
    ("permission denied while trying to connect to the docker", FaultKind::Denied, GROUP),
    ("got permission denied", FaultKind::Denied, GROUP),
    ("cannot connect to the docker daemon", FaultKind::Unreachable, DAEMON),
    ("error during connect", FaultKind::Unreachable, DAEMON),
    ("permission denied", FaultKind::Denied, ""),
];

const FULL: &str = "the disk of the machine is full: ";
const GROUP: &str = "this user may not use Docker (`usermod -aG docker USER` helps): ";
const DAEMON: &str = "Docker does not run there: ";

/// What `output` means: its text, or what is wrong.
pub(crate) fn judge(output: Output, writes: bool) -> Result<String, (FaultKind, String)> {
    if output.code == Some(0) {
        return Ok(output.stdout);
    }
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let ours = CODES.iter().find(|(code, _)| output.code == Some(*code));
    if let Some((_, kind)) = ours {
        return Err((*kind, said.clone()));
    }
    if let Some((kind, text)) = known(said) {
        return Err((kind, text));
    }
    let kind = if writes { FaultKind::Unclear } else { FaultKind::Unreachable };
    let code = output.code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
    Err((kind, format!("the machine's shell ended with {code}: {said}")))
}

/// What a text that is known means.
pub(crate) fn known(said: &str) -> Option<(FaultKind, String)> {
    let lower = said.to_lowercase();
    let found = TEXTS.iter().find(|(text, _, _)| lower.contains(text));
    found.map(|(_, kind, help)| (*kind, format!("{help}{said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: u32, stderr: &str, read: FaultKind, write: FaultKind) {
        let output =
            |_| Output { code: Some(code), stdout: String::new(), stderr: stderr.to_owned() };
        assert_eq!(judge(output(()), false).unwrap_err().0, read, "reading: {stderr}");
        assert_eq!(judge(output(()), true).unwrap_err().0, write, "writing: {stderr}");
    }

    #[test]
    fn a_machine_says_what_can_be_done() {
        use FaultKind::{Conflict, Denied, Exhausted, Invalid, Missing, Unclear, Unreachable};
        let same = |code, said, kind| check(code, said, kind, kind);
        same(40, "docker is not installed", Invalid);
        same(44, "api is not deployed here", Missing);
        same(49, "the job still runs", Conflict);
        same(2, "sh: 1: cannot create x: No space left on device", Exhausted);
        same(
            1,
            "Got permission denied while trying to connect to the Docker daemon socket",
            Denied,
        );
        same(1, "permission denied while trying to connect to the docker API at unix:///x", Denied);
        same(1, "Cannot connect to the Docker daemon at unix:///x. Is it running?", Unreachable);
        same(2, "mkdir: cannot create directory: Permission denied", Denied);
        check(1, "Error response from daemon: something", Unreachable, Unclear);
    }
}
