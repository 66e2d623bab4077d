//! Problems of the config, shown with the line they are about.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use linkflow_model::config::{Place, Problem, Sources};
use serde_json::{Value, json};

/// Every problem with its line, a caret and what helps; then how many there are.
pub(crate) fn render(problems: &[Problem], sources: &Sources, colours: bool) -> String {
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for problem in problems {
        let level = if problem.is_error() { Level::ERROR } else { Level::WARNING };
        let title = level.primary_title(problem.what.as_str()).id(problem.code.as_str());
        let mut group = place(Group::with_title(title), problem.at, sources);
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out.push_str(&count(problems));
    out
}

/// Adds the line that `at` is in, marked; of a stretch of several lines, the first.
fn place<'a>(group: Group<'a>, at: Place, sources: &'a Sources) -> Group<'a> {
    let path = sources.path(at.file);
    let text = sources.files.get(at.file).map_or("", |f| f.text.as_str());
    if at == Place::default() || text.is_empty() {
        return group.element(Origin::path(path));
    }
    let (line, _) = sources.line_and_column(at);
    let before = text.get(..at.start).unwrap_or_default();
    let from = before.rfind('\n').map_or(0, |n| n + 1);
    let line_text = text.get(from..).unwrap_or_default();
    let line_text = line_text.split(['\n', '\r']).next().unwrap_or_default();
    let start = (at.start - from).min(line_text.len());
    let end = at.end.saturating_sub(from).clamp(start, line_text.len());
    let mark = AnnotationKind::Primary.span(start..end);
    group.element(Snippet::source(line_text).path(path).line_start(line).annotation(mark))
}

/// `2 errors, 1 warning`, and how to learn more; nothing when there are none.
fn count(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|p| p.is_error()).count();
    let warnings = problems.len() - errors;
    let some = |n: usize, word: &str| match n {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    };
    let parts: Vec<String> =
        [some(errors, "error"), some(warnings, "warning")].into_iter().flatten().collect();
    match problems.first() {
        Some(first) => {
            format!("{}; `linkflow explain {}` tells more\n", parts.join(", "), first.code)
        }
        None => String::new(),
    }
}

/// The problems that are errors, or those that are not, for machines.
pub(crate) fn values(problems: &[Problem], sources: &Sources, errors: bool) -> Vec<Value> {
    let chosen = problems.iter().filter(|p| p.is_error() == errors);
    chosen
        .map(|p| {
            let (line, column) = sources.line_and_column(p.at);
            json!({
                "code": p.code.as_str(),
                "message": p.what,
                "help": p.help,
                "file": sources.path(p.at.file),
                "line": line,
                "column": column,
                "start": p.at.start,
                "end": p.at.end,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linkflow_model::config::Config;

    use super::*;

    fn rendered(text: &str) -> String {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        let parsed = Config::parse(&files, "linkflow.toml", None);
        render(&parsed.problems, &parsed.sources, false)
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_what_helps() {
        let text = "[stack]\nname = \"shop\"\n\n[services.api]\nimage = \"api:1\"\nport = 8000\nhelth = \"/health\"\nroute = \"api.example.com:80\"\n";
        insta::assert_snapshot!(rendered(text), @r#"
        error[LF0102]: unknown key `helth` in `services.api`
         --> linkflow.toml:7:1
          |
        7 | helth = "/health"
          | ^^^^^
          |
          = help: did you mean `health`?

        error[LF0112]: `api.example.com:80` is not a host name
         --> linkflow.toml:8:9
          |
        8 | route = "api.example.com:80"
          |         ^^^^^^^^^^^^^^^^^^^^
          |
          = help: write it without the port

        2 errors; `linkflow explain LF0102` tells more
        "#);
    }

    #[test]
    fn what_has_no_line_names_the_file() {
        insta::assert_snapshot!(rendered("\n"), @r"
        error[LF0104]: `[stack]` is missing
        --> linkflow.toml
         = help: add a section `[stack]`

        1 error; `linkflow explain LF0104` tells more
        ");
    }

    #[test]
    fn a_value_of_several_lines_and_wide_letters_are_marked_well() {
        let text = "[stack]\nname = \"shop\"\n[services.api]\nimage = \"api:1\"\nport = [\n  1,\n  2,\n]\n\
                    env = { \"Ä漢字\" = \"\", B = \"漢字 ${secret.ü}\", C = \"${x\" }\n";
        insta::assert_snapshot!(rendered(text), @r#"
        error[LF0103]: `port` takes an integer from 1 to 65535, and this is a list
         --> linkflow.toml:5:8
          |
        5 | port = [
          |        ^

        error[LF0116]: `Ä漢字` is not the name of a variable
         --> linkflow.toml:9:9
          |
        9 | env = { "Ä漢字" = "", B = "漢字 ${secret.ü}", C = "${x" }
          |         ^^^^^^^
          |
          = help: letters, digits and `_` make such a name

        error[LF0201]: `ü` is not the name of a secret or a variable
         --> linkflow.toml:9:29
          |
        9 | env = { "Ä漢字" = "", B = "漢字 ${secret.ü}", C = "${x" }
          |                                 ^^^^^^^^^^^
          |
          = help: letters, digits and `_` make such a name

        error[LF0201]: `${` without its `}`
         --> linkflow.toml:9:48
          |
        9 | env = { "Ä漢字" = "", B = "漢字 ${secret.ü}", C = "${x" }
          |                                                    ^^^
          |
          = help: close it with `}`, or write `$${` for a plain `${`

        4 errors; `linkflow explain LF0103` tells more
        "#);
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        let files = BTreeMap::from([("linkflow.toml".to_owned(), "x = 1\n")]);
        let parsed = Config::parse(&files, "linkflow.toml", None);
        assert!(render(&parsed.problems, &parsed.sources, true).contains('\u{1b}'));
        assert!(!render(&parsed.problems, &parsed.sources, false).contains('\u{1b}'));
    }

    #[test]
    fn machines_get_the_same_with_numbers() {
        let files =
            BTreeMap::from([("linkflow.toml".to_owned(), "[stack]\nname = \"shop\"\nx = 1\n")]);
        let parsed = Config::parse(&files, "linkflow.toml", None);
        let errors = values(&parsed.problems, &parsed.sources, true);
        assert_eq!(errors.len(), 1);
        assert_eq!(
            (errors[0]["code"].as_str(), errors[0]["line"].as_u64()),
            (Some("LF0102"), Some(3))
        );
        assert!(values(&parsed.problems, &parsed.sources, false).is_empty());
    }
}
