//! The chores: `cargo xtask test`, `cargo xtask dist`, `cargo xtask docs`, `cargo xtask picture`.

#![expect(clippy::print_stdout, reason = "the chores talk to whoever runs them")]

mod dist;
mod docs;
mod needs;
mod rehearse;
mod run;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask CHORE

  test      everything that has to hold: format, lints, tests, a rehearsal, the vendors' API descriptions, licences;
            installs what the tests need where it is missing. `cargo xtask test format lints` runs only these parts
  dist      builds the binary that is handed out, laid out by what a running one does most: a quarter of an hour
  docs      writes examples/linkflow/linkflow.schema.json and docs/config.md anew
  picture   runs a rehearsal and puts its pictures into docs/pictures";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", parts @ ..] => test::test(parts),
        ["docs"] => docs::docs(),
        ["dist"] => dist::dist(),
        ["picture"] => docs::picture(),
        // Cargo calls this one, for each program of tests.
        ["run-test", program @ ..] => test::run_test(program),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("\nfailed: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}
