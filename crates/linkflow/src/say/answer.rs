//! What a command came to: text for people, values for machines, and a code for scripts.

use serde_json::Value;

/// What a command has to say. `--json` prints `result`, `errors` and `warnings`; otherwise `out` and `err` are printed as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// For stdout.
    pub(crate) out: String,
    /// For stderr.
    pub(crate) err: String,
    /// The result, for machines.
    pub(crate) result: Value,
    /// What went wrong, for machines.
    pub(crate) errors: Vec<Value>,
    /// What is likely not as meant, for machines.
    pub(crate) warnings: Vec<Value>,
    /// The exit code: 0 ok, 1 failed, 2 usage or invalid config, 3 changes found, 4 not authorised, 5 refused,
    /// 6 partly done, 7 unknown, 130 interrupted.
    pub(crate) exit: u8,
    /// Whether the result was told already, while the command ran.
    pub(crate) told: bool,
}

impl Answer {
    /// A failure of one sentence.
    pub(crate) fn failure(exit: u8, what: &str, help: &str) -> Self {
        let error = serde_json::json!({ "message": what, "help": help });
        let err = format!("error: {what}\nhelp: {help}\n");
        let err = if help.is_empty() { format!("error: {what}\n") } else { err };
        Self { err, errors: vec![error], exit, ..Self::default() }
    }

    /// What a failure comes as.
    pub(crate) fn failed<T>(exit: u8, what: &str, help: &str) -> Result<T, Box<Self>> {
        Err(Box::new(Self::failure(exit, what, help)))
    }
}
