//! Files that LinkFlow writes and that people may change: a mark in each says what was written.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::wire::state::hex;

/// Before the hash of what was written.
const HASH: &str = "# linkflow-hash: ";
/// Before the options that it was written with.
const OPTIONS: &str = "# linkflow-options:";

/// How a file on disk stands to what would be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is none.
    Missing,
    /// It is as it would be written.
    Same,
    /// It was written by LinkFlow, and would be written otherwise now.
    Outdated,
    /// Somebody changed what LinkFlow wrote.
    Changed,
    /// LinkFlow never wrote it.
    Foreign,
}

impl Standing {
    /// For people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Same => "in sync",
            Self::Outdated => "out of date",
            Self::Changed => "changed by hand",
            Self::Foreign => "not written by LinkFlow",
        }
    }
}

/// The whole text of a file: who writes it, with which options, the hash of the rest, and the rest.
pub(crate) fn sealed(command: &str, options: &str, body: &str) -> String {
    let head = format!(
        "# Written by `{command}`. Run it again to bring this file up to date; `--check` tells whether it is.\n{OPTIONS} {options}"
    );
    let text = format!("{}\n\n{body}", head.trim_end());
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    format!("{first}\n{HASH}{}\n{rest}", hash(&text))
}

/// The hash of a sealed text without its hash. Which version of an action is pinned does not count: a bot keeps those.
fn hash(text: &str) -> String {
    hex(&Sha256::digest(without_pins(text)))
}

fn without_pins(text: &str) -> String {
    let bare = |line: &str| match pinned(line) {
        Some((action, _)) => format!("{action}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(bare).collect()
}

/// `      - uses: actions/checkout` and `3d3c… # v7.0.1` of a line that uses an action.
fn pinned(line: &str) -> Option<(&str, &str)> {
    let (action, pin) = line.split_once('@')?;
    action.trim_start().trim_start_matches("- ").starts_with("uses: ").then_some((action, pin))
}

/// How `held` stands to `wanted`, which is sealed.
pub(crate) fn standing(held: Option<&str>, wanted: &str) -> Standing {
    let Some(held) = held else { return Standing::Missing };
    let Some(was) = held.lines().find_map(|line| line.strip_prefix(HASH)) else {
        return Standing::Foreign;
    };
    let rest: Vec<&str> = held.lines().filter(|line| !line.starts_with(HASH)).collect();
    if hash(&rest.join("\n")) != was.trim() {
        return Standing::Changed;
    }
    if without_pins(held) == without_pins(wanted) { Standing::Same } else { Standing::Outdated }
}

/// `wanted` with the pins of `held`, which a bot may have brought up to date.
pub(crate) fn with_pins_of(held: Option<&str>, wanted: &str) -> String {
    let name = |action: &str| action.trim_start().trim_start_matches("- ").to_owned();
    let held: Vec<(String, &str)> = held
        .into_iter()
        .flat_map(str::lines)
        .filter_map(pinned)
        .map(|(action, pin)| (name(action), pin))
        .collect();
    let line = |line: &str| match pinned(line) {
        Some((action, own)) => {
            let pin =
                held.iter().find(|(held, _)| *held == name(action)).map_or(own, |(_, pin)| pin);
            format!("{action}@{pin}\n")
        }
        None => format!("{line}\n"),
    };
    wanted.lines().map(line).collect()
}

/// The options that a file was written with; `None` when LinkFlow did not write it.
pub(crate) fn options_of(text: &str) -> Option<Vec<String>> {
    let line = text.lines().find_map(|line| line.strip_prefix(OPTIONS))?;
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// The text of a file; `None` when there is none.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Writes a file and the folders that lead to it.
///
/// # Errors
/// Why it cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let wrong = |error| format!("{} cannot be written: {error}", path.display());
    folder.and_then(|()| std::fs::write(path, text)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "on: push\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@aaaa # v1\n      - run: true\n";

    fn text(body: &str) -> String {
        sealed("linkflow ci github", "--branch main", body)
    }

    #[test]
    fn a_file_is_missing_the_same_outdated_changed_or_somebody_elses() {
        let wanted = text(BODY);
        assert_eq!(standing(None, &wanted), Standing::Missing);
        assert_eq!(standing(Some(&wanted), &wanted), Standing::Same);
        assert_eq!(standing(Some(&text("on: pull_request\n")), &wanted), Standing::Outdated);
        assert_eq!(
            standing(Some(&wanted.replace("run: true", "run: make")), &wanted),
            Standing::Changed
        );
        assert_eq!(standing(Some("on: push\n"), &wanted), Standing::Foreign);
        assert_eq!(options_of(&wanted).unwrap(), ["--branch", "main"]);
        assert_eq!(options_of("on: push\n"), None);
    }

    #[test]
    fn a_pin_that_a_bot_changed_is_kept_and_is_no_change() {
        let wanted = text(BODY);
        let newer = wanted.replace("aaaa # v1", "bbbb # v2");
        assert_eq!(standing(Some(&newer), &wanted), Standing::Same);
        let next = text(&BODY.replace("run: true", "run: make"));
        let merged = with_pins_of(Some(&newer), &next);
        assert!(
            merged.contains("actions/checkout@bbbb # v2") && merged.contains("run: make"),
            "{merged}"
        );
        assert_eq!(standing(Some(&merged), &next), Standing::Same);
    }
}
