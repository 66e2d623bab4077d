//! `linkflow svg TITLE`: what a terminal shows, as a picture for the manual.

use std::io::Read;

use clap::Args;
use linkflow_rehearsal::report::terminal_svg;
use serde_json::json;

use crate::say::answer::Answer;

use super::Answered;

/// Draw text with ANSI colours, from stdin, as the SVG of a terminal window.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  script -qec 'linkflow doctor' /dev/null | linkflow svg 'linkflow doctor' > doctor.svg"
)]
pub(crate) struct SvgArgs {
    /// How the window is called.
    pub(crate) title: String,
}

/// What `svg` answers.
pub(crate) fn answer(args: &SvgArgs) -> Answered {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().lock().read_to_string(&mut text) {
        return Answer::failed(1, &format!("stdin cannot be read: {error}"), "");
    }
    let svg = terminal_svg(&text, &args.title);
    Ok(Answer { result: json!({ "svg": svg }), out: svg, ..Answer::default() })
}
