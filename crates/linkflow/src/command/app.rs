//! `linkflow app SERVICE`: one process of the sample app, as a rehearsal's providers start it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;

use crate::say::output;

/// Run one service of the sample app. The environment says where its neighbours are.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = "Examples:\n  PORT=8000 LINKFLOW_LEDGER=/tmp/ledger.db linkflow app api")]
pub(crate) struct AppArgs {
    /// api, queue, engine-frontend, engine-history, engine-matching, engine-worker or engine-timer.
    pub(crate) service: String,
}

/// Runs `service` until it is told to end.
pub(crate) fn run(service: &str, vars: BTreeMap<String, String>) -> ExitCode {
    ExitCode::from(serve(service, vars))
}

/// The same, giving the exit code as a number.
pub(crate) fn serve(service: &str, vars: BTreeMap<String, String>) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(linkflow_rehearsal::app::run(service, vars)),
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
