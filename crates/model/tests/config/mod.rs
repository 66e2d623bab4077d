//! Configs in, problems or typed values out.

mod example;

use std::collections::BTreeMap;

use linkflow_model::config::{Config, Parsed};

/// The example stack's file.
pub(crate) const EXAMPLE: &str = include_str!("../../../../examples/linkflow/linkflow.toml");

/// Parses `text` as `linkflow.toml`, with nothing to include.
pub(crate) fn parse(text: &str, env: Option<&str>) -> Parsed {
    let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
    Config::parse(&files, "linkflow.toml", env)
}

/// The problems, one per line: place, code, what, help.
pub(crate) fn told(parsed: &Parsed) -> String {
    let line = |p: &linkflow_model::config::Problem| {
        let (line, column) = parsed.sources.line_and_column(p.at);
        let help = p.help.as_deref().unwrap_or("-");
        format!("{}:{line}:{column} {} {}; {help}\n", parsed.sources.path(p.at.file), p.code, p.what)
    };
    parsed.problems.iter().map(line).collect()
}

/// The config in `text`, which has no problem.
#[track_caller]
pub(crate) fn sound(text: &str, env: Option<&str>) -> Config {
    let parsed = parse(text, env);
    assert_eq!(told(&parsed), "");
    parsed.config.expect("a config without problems")
}
