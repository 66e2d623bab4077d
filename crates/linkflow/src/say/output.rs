//! Writes to stdout and stderr: the one place that does.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};

use super::answer::Answer;

/// The form of every value that `--json` prints.
pub(crate) const SCHEMA: &str = "linkflow/v1";

/// Which of the two streams are for people, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voice {
    /// Print JSON on stdout and nothing else there.
    pub(crate) json: bool,
    /// Colours on stdout.
    pub(crate) colours: bool,
    /// Colours on stderr.
    pub(crate) colours_err: bool,
    /// Whether stderr is a terminal, which shows progress as a bar.
    pub(crate) terminal: bool,
}

impl Voice {
    /// How to speak, given the options and what the streams are.
    pub(crate) fn new(json: bool, no_color: bool) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let colours = out && !no_color && !json;
        Self { json, colours, colours_err: err && !no_color, terminal: err }
    }

    /// Prints `answer` and gives its exit code.
    pub(crate) fn tell(self, answer: &Answer) -> u8 {
        if !answer.told {
            if self.json {
                out(&format!("{:#}\n", value(answer)));
            } else {
                out(&answer.out);
            }
        }
        if !self.json {
            err(&answer.err);
        }
        answer.exit
    }

    /// Prints a result while the command goes on; the answer at its end is then `told`.
    pub(crate) fn tell_now(self, text: &str, result: Value) {
        let answer = Answer { out: text.to_owned(), result, ..Answer::default() };
        self.tell(&answer);
    }
}

/// The one value that `--json` prints.
pub(crate) fn value(answer: &Answer) -> Value {
    // Changes that were found are no failure.
    let ok = matches!(answer.exit, 0 | 3);
    let Answer { result, errors, warnings, .. } = answer;
    json!({ "schema": SCHEMA, "ok": ok, "result": result, "errors": errors, "warnings": warnings })
}

/// Writes to stdout. Whoever does not read any more does not miss it.
pub(crate) fn out(text: &str) {
    let mut to = std::io::stdout().lock();
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).unwrap_or_default();
}

/// Writes to stderr.
pub(crate) fn err(text: &str) {
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_same_form_as_a_success() {
        let failed = value(&Answer::failure(2, "no", "try"));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&failed), keys(&value(&Answer::default())));
        assert_eq!(
            (failed["ok"].as_bool(), failed["schema"].as_str()),
            (Some(false), Some(SCHEMA))
        );
    }
}
