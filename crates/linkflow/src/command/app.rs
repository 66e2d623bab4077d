//! `linkflow app SERVICE`: one process of the sample app, as a rehearsal's providers start it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;

use crate::say::output;

/// Run one service of the sample app. The environment says where its neighbours are.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = "Examples:\n  PORT=8000 LINKFLOW_LEDGER=/tmp/ledger.db linkflow app api")]
pub(crate) struct AppArgs {
    /// api, queue, engine-frontend, engine-history, engine-matching, engine-worker or engine-timer; or the words of a
    /// command that migrates.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// Runs the service, or the command, that `words` name until it is told to end.
pub(crate) fn run(words: &[String], vars: BTreeMap<String, String>) -> ExitCode {
    ExitCode::from(serve(words, vars))
}

/// The same, giving the exit code as a number.
pub(crate) fn serve(words: &[String], vars: BTreeMap<String, String>) -> u8 {
    let words = words.join(" ");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(linkflow_rehearsal::app::run(&words, vars)),
        Err(error) => Err(format!("no runtime can be had: {error}")),
    };
    match outcome {
        Ok(()) => 0,
        Err(why) => {
            output::err(&format!("{why}\n"));
            1
        }
    }
}
