//! Running other programs.

use std::process::{Command, Stdio};

/// How a part of a chore went; the error says why not.
pub(crate) type Done = Result<(), String>;

/// The program and its words, run from the workspace.
pub(crate) fn command(words: &[&str]) -> Command {
    let (program, rest) = words.split_first().unwrap_or((&"true", &[]));
    let mut command = Command::new(program);
    command.args(rest).current_dir(crate::root()).stdin(Stdio::null());
    command
}

/// Runs it in plain sight.
pub(crate) fn run(words: &[&str]) -> Done {
    let text = words.join(" ");
    match command(words).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{text}`: {status}")),
        Err(error) => Err(format!("`{text}` could not be started: {error}")),
    }
}

/// Whether it can be run and succeeds; what it says is not shown.
pub(crate) fn works(words: &[&str]) -> bool {
    let mut command = command(words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What it prints.
pub(crate) fn output(words: &[&str]) -> Result<String, String> {
    let text = words.join(" ");
    let output = command(words).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("`{text}` could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{text}`: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{text}` printed what is not text"))
}
