//! How releases get out: order, limits, migrations, hooks, and who is told.

use std::time::Duration;

use super::codes::{self, Code};
use super::macros::{choice, section};
use super::node::{Node, Raw};
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::stack::ms;
use super::values::{Written, written};
use crate::{Allowed, OnFailure, ProviderName, RolloutPolicy};

choice! {
    for OnFailure {
        /// What was updated stays, what was not stays too; the release counts as failed.
        Halt = "halt",
        /// The release before is put back where the new one failed, and nowhere else.
        RollbackFailed = "rollback_failed",
        /// The release before is put back everywhere.
        RollbackAll = "rollback_all",
    }
}

section! {
    /// How a release gets out.
    pub struct Deploy as "deploy" {
        /// What is done when a step of a rollout does not work. A migration is never taken back.
        on_failure: OnFailure = OnFailure::RollbackAll,
        /// How many working spares of one service may be updated at once: a number, or a share of its placements like `"50%"`; at least one. What is not there yet, or is down, is not counted.
        max_unavailable: Allowed = Allowed::Count(1),
        /// The provider that runs the commands of `migrate`. When not said: the first of the service's cascade that runs jobs, or else `embedded`, where a program stands for the image.
        migrate_on: Option<ProviderName>,
        /// How long a migration may take.
        migrate_within: Duration = Duration::from_secs(600),
        /// How long requests in flight get to end where visitors were led away from.
        drain: Duration = Duration::from_millis(500),
        /// How long a new placement must go on answering well until its step counts.
        soak: Duration = Duration::ZERO,
        /// Providers that tell people how a deploy ended.
        notify: Vec<ProviderName>,
        /// Commands that the deploying machine runs.
        hooks: Hooks = Hooks::blank(),
    }
}

section! {
    /// Commands that the deploying machine runs while it holds the lock of the stack. They are started without a shell, in the folder of this file.
    pub struct Hooks as "hooks" {
        /// Before anything is changed. When it fails, nothing is.
        before: Option<CommandLine>,
        /// After a release became the live one.
        after: Option<CommandLine>,
        /// After a release failed and was taken back, or was not.
        failed: Option<CommandLine>,
        /// How long each may take.
        within: Duration = Duration::from_secs(60),
    }
}

impl Deploy {
    /// The rules as the engine wants them.
    pub fn policy(&self) -> RolloutPolicy {
        RolloutPolicy {
            on_failure: self.on_failure,
            max_unavailable: self.max_unavailable,
            migrate_on: self.migrate_on.clone(),
            migrate_within_ms: ms(self.migrate_within),
            drain_ms: ms(self.drain),
            soak_ms: ms(self.soak),
        }
    }
}

impl Field for Allowed {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let due = "a number from 1, or a share like `\"50%\"`";
        let count = match &node.value {
            Raw::Integer(number) => number.and_then(|n| u32::try_from(n).ok()).map(Self::Count),
            _ => {
                let Some(text) = node.text() else { return reader.wrong_type(node, due, None) };
                let percent = text.strip_suffix('%').and_then(|n| n.trim().parse().ok());
                percent.filter(|p| *p <= 100).map(Self::Share)
            }
        };
        match count {
            Some(Self::Count(0) | Self::Share(0)) | None => {
                let what = format!("`{}` is out of range", reader.key());
                reader.wrong(codes::OUT_OF_RANGE, node.at, what, format!("it takes {due}"))
            }
            some => some,
        }
    }

    fn blank() -> Self {
        Self::Count(1)
    }

    fn print(&self) -> Printed {
        match self {
            Self::Count(count) => Printed::Integer(i64::from(*count)),
            Self::Share(percent) => Printed::Text(format!("{percent}%")),
        }
    }

    fn shape(_: &mut Book) -> Shape {
        Shape::Any(vec![
            Shape::Integer { least: 1, most: 1_000_000 },
            Shape::Text { what: "a share, like `50%`", pattern: Some("^([1-9][0-9]?|100) ?%$") },
        ])
    }
}

/// A program and its arguments, as one text: `php artisan migrate --force`. Quotes and `\` keep blanks together; nothing
/// else is special, as no shell reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandLine(pub Vec<String>);

impl Written for CommandLine {
    const WHAT: &'static str = "a command line, like `php artisan migrate --force`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let help = || "write the program and its arguments, with quotes around blanks".to_owned();
        if text.contains("${") {
            let what = format!("`{text}` cannot have a reference in it");
            return Err((what, "put the value into the environment of the service".to_owned()));
        }
        match words(text) {
            Some(words) if !words.is_empty() => Ok(Self(words)),
            Some(_) => Err(("the command line has no program".to_owned(), help())),
            None => Err((format!("`{text}` has a quote that does not end"), help())),
        }
    }

    fn write(&self) -> String {
        let quoted = |word: &String| {
            let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%^".contains(c);
            match !word.is_empty() && word.chars().all(plain) {
                true => word.clone(),
                false => format!("'{}'", word.replace('\'', "'\\''")),
            }
        };
        self.0.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn blank() -> Self {
        Self(vec!["true".to_owned()])
    }
}

written!(CommandLine);

/// The words of a command line; `None` when a quote does not end.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                let held = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        end if end == letter => break,
                        '\\' if letter == '"' => held.push(letters.next()?),
                        other => held.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            blank if blank.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_would_and_written_back() {
        for (text, expected) in [
            ("php artisan migrate --force", &["php", "artisan", "migrate", "--force"][..]),
            ("  a   'b c'\"d e\" ", &["a", "b cd e"]),
            (r#"a "x \" y" b\ c '' "#, &["a", "x \" y", "b c", ""]),
        ] {
            let line = CommandLine::parse(text).unwrap();
            assert_eq!(line.0, expected, "{text}");
            assert_eq!(CommandLine::parse(&line.write()).unwrap(), line, "{text}");
        }
        assert!(CommandLine::parse("echo 'x").is_err());
        assert!(CommandLine::parse("   ").is_err());
        assert!(CommandLine::parse("echo ${secret.X}").is_err());
    }
}
