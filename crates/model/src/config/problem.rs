//! Something wrong in the config, said so that it can be fixed.

use super::codes::Code;

/// A stretch of one config file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as an index into [`super::Sources`].
    pub file: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// Whether a problem stops everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The config is not used.
    Error,
    /// The config is used; this is likely not what was meant.
    Warning,
}

/// One mistake in the config: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its stable code; `linkflow explain CODE` tells more.
    pub code: Code,
    /// Whether it stops everything.
    pub severity: Severity,
    /// What is wrong, one line, without secrets.
    pub what: String,
    /// Where.
    pub at: Place,
    /// What would put it right.
    pub help: Option<String>,
}

impl Problem {
    /// A problem with the severity of its code.
    pub fn new(code: Code, at: Place, what: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), what: what.into(), at, help: None }
    }

    /// The same problem with the way to put it right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it stops everything.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The candidate that `word` was most likely meant to be.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = (word.chars().count() / 3).clamp(1, 4);
    let near = |c: &'a str| {
        let away = distance(&word, &c.to_lowercase());
        let begins = word.len() >= 3 && c.starts_with(&word);
        (away <= most || begins).then_some((away, c))
    };
    candidates.into_iter().filter_map(near).min_by_key(|(away, _)| *away).map(|(_, c)| c)
}

/// How many letters must be typed, dropped, changed or swapped to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let words = ["health", "port", "runs_on", "replicas"];
        assert_eq!(nearest("helth", words), Some("health"));
        assert_eq!(nearest("prot", words), Some("port"));
        assert_eq!(nearest("runson", words), Some("runs_on"));
        assert_eq!(nearest("rep", words), Some("replicas"));
        assert_eq!(nearest("colour", words), None);
    }
}
