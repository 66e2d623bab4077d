//! Configs in, problems or typed values out.

mod any;
mod codes;
mod example;
mod files;
mod problems;
mod schema;

use std::collections::BTreeMap;

use linkflow_model::config::{Config, Parsed, Problem};

/// The example stack's file.
pub(crate) const EXAMPLE: &str = include_str!("../../../../examples/linkflow/linkflow.toml");

/// Parses `text` as `linkflow.toml`, with nothing to include.
pub(crate) fn parse(text: &str, env: Option<&str>) -> Parsed {
    let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
    Config::parse(&files, "linkflow.toml", env)
}

/// The problems, one per line: place, code, what, help.
pub(crate) fn told(parsed: &Parsed) -> String {
    let line = |p: &Problem| {
        let (line, column) = parsed.sources.line_and_column(p.at);
        let help = p.help.as_deref().unwrap_or("-");
        format!(
            "{}:{line}:{column} {} {}; {help}\n",
            parsed.sources.path(p.at.file),
            p.code,
            p.what
        )
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

/// A stack with one sound service, to which a test adds what it is about.
pub(crate) fn with(more: &str) -> String {
    format!(
        "[stack]\nname = \"shop\"\ndomain = \"example.com\"\n\
         [services.api]\nimage = \"ghcr.io/acme/api:1\"\nport = 8000\nroute = \"api.example.com\"\n{more}"
    )
}
