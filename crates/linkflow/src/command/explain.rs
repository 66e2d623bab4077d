//! `linkflow explain`: what a code means, offline.

use clap::Args;
use linkflow_model::config::codes::{self, Explanation};
use linkflow_model::config::nearest;
use serde_json::{Value, json};

use crate::say::answer::Answer;

/// Tell what a code such as LF0102 means and how to put it right.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = "Examples:\n  linkflow explain LF0102\n  linkflow explain")]
pub(crate) struct ExplainArgs {
    /// The code; all are listed when none is given.
    pub(crate) code: Option<String>,
}

/// What `explain` answers.
pub(crate) fn answer(args: &ExplainArgs) -> Answer {
    let Some(code) = &args.code else { return all() };
    match codes::explain(code) {
        Some(explained) => {
            Answer { out: text(explained), result: value(explained), ..Answer::default() }
        }
        None => {
            let known = codes::ALL.iter().map(|e| e.code.as_str());
            let help = match nearest(code, known) {
                Some(near) => format!("did you mean `linkflow explain {near}`?"),
                None => "`linkflow explain` lists all codes".to_owned(),
            };
            Answer::failure(2, &format!("there is no code `{code}`"), &help)
        }
    }
}

fn all() -> Answer {
    let out = codes::ALL.iter().map(|e| format!("{}  {}\n", e.code, e.title)).collect();
    let result = codes::ALL.iter().map(value).collect();
    Answer { out, result, ..Answer::default() }
}

fn text(explained: &Explanation) -> String {
    let mut out =
        format!("{}: {}\n\n{}\n", explained.code, explained.title, wrapped(explained.text));
    if !explained.example.is_empty() {
        out.push_str("\nFor example:\n\n");
        for line in explained.example.lines() {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

fn value(explained: &Explanation) -> Value {
    let (title, text, example) = (explained.title, explained.text, explained.example);
    json!({ "code": explained.code.as_str(), "title": title, "text": text, "example": example })
}

/// `text` in lines of at most 80 letters.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if length > 0 && length + 1 + letters > 80 {
            out.push('\n');
            length = 0;
        } else if length > 0 {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += letters;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: &str) -> Answer {
        answer(&ExplainArgs { code: Some(code.to_owned()) })
    }

    #[test]
    fn a_code_is_explained_with_an_example() {
        insta::assert_snapshot!(explained("lf0108").out, @r"
        LF0108: A duration has no unit.

        A bare number could mean seconds or milliseconds. Every duration is a text with
        units: `500ms`, `10s`, `1h30m`, `1d`, `1w`.

        For example:

            [failover]
            confirm = 5
        ");
    }

    #[test]
    fn a_code_that_is_none_is_told() {
        let answer = explained("LF012");
        assert_eq!(answer.exit, 2);
        insta::assert_snapshot!(answer.err, @r"
        error: there is no code `LF012`
        help: did you mean `linkflow explain LF0102`?
        ");
    }

    #[test]
    fn all_codes_are_listed_when_none_is_given() {
        let answer = answer(&ExplainArgs { code: None });
        assert_eq!(answer.out.lines().count(), codes::ALL.len());
        assert_eq!(answer.result.as_array().map(Vec::len), Some(codes::ALL.len()));
    }
}
