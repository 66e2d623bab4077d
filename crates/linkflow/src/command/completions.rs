//! `linkflow completions`: lets a shell complete commands and options.

use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;

use crate::say::answer::Answer;

/// Print a script that lets a shell complete linkflow's commands and options.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow completions bash > ~/.local/share/bash-completion/completions/linkflow\n  linkflow completions zsh > ~/.zfunc/_linkflow"
)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: Shell,
}

/// What `completions` answers.
pub(crate) fn answer(args: &CompletionsArgs, command: &mut Command) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "linkflow", &mut script);
    let out = String::from_utf8_lossy(&script).into_owned();
    let result = json!({ "shell": args.shell.to_string(), "script": out });
    Answer { out, result, ..Answer::default() }
}
