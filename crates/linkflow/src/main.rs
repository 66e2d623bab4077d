//! The `linkflow` binary: reads the environment once, dispatches the command, and answers with an exit code.

mod ci;
mod command;
mod doctor;
mod drill;
mod say;
mod swap;
mod wire;

use std::collections::BTreeMap;
use std::process::ExitCode;

/// The edge allocates two dozen times for each request: the system's allocator takes several times as long for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_panics_short();
    let vars = variables();
    let arguments: Vec<String> =
        std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    // The sample app is started by the dozen, so it sets up nothing else.
    if let [_, command, words @ ..] = arguments.as_slice()
        && command == "app"
        && words.first().is_some_and(|word| !word.starts_with('-'))
    {
        return command::app::run(words, vars);
    }
    ExitCode::from(command::dispatch(vars))
}

/// The environment of this process, read here and nowhere else. What is not text is nothing that LinkFlow asks for.
fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A panic tells where it happened and not what it was about, which might hold a secret.
fn keep_panics_short() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        say::output::err(&format!("error: linkflow made a mistake at {place}; please report it\n"));
    }));
}
