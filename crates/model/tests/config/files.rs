//! Several files, and environments laid over them.

use std::collections::BTreeMap;

use linkflow_model::config::{Config, Parsed};
use linkflow_model::{ServiceKind, ServiceName};

use super::{parse, sound, told, with};

fn parse_all(files: &[(&str, &str)]) -> Parsed {
    let files: BTreeMap<String, &str> = files.iter().map(|(p, t)| ((*p).to_owned(), *t)).collect();
    Config::parse(&files, "conf/linkflow.toml", None)
}

#[test]
fn an_included_file_adds_its_sections() {
    let main =
        with("").replace("[stack]", "include = [\"./data.toml\", \"../more.toml\"]\n[stack]");
    let parsed = parse_all(&[
        ("conf/linkflow.toml", &main),
        (
            "conf/data.toml",
            "[databases.main]\nprimary = {}\n[services.api.env]\nA = \"${database.main.url}\"\n",
        ),
        (
            "more.toml",
            "[services.timer]\nimage = \"t\"\nkind = \"worker\"\n[env.staging.stack]\ndomain = \"s.example.com\"\n",
        ),
    ]);
    // The route is under another domain then, which is a warning in that environment.
    assert_eq!(parsed.environments, ["staging"]);
    let config = parsed.config.unwrap();
    assert_eq!(config.databases.len(), 1);
    assert_eq!(config.services[&ServiceName::new("timer").unwrap()].kind, ServiceKind::Worker);
    assert!(config.env_of(&ServiceName::new("api").unwrap()).contains_key("A"));
}

#[test]
fn problems_are_told_in_the_file_that_has_them() {
    let main = with("").replace("[stack]", "include = \"data.toml\"\n[stack]");
    let parsed = parse_all(&[
        ("conf/linkflow.toml", &main),
        ("conf/data.toml", "\n[databases.main]\nprimry = {}\n"),
    ]);
    assert_eq!(
        told(&parsed),
        "conf/data.toml:3:1 LF0102 unknown key `primry` in `databases.main`; did you mean `primary`?\n"
    );
}

#[test]
fn a_file_cannot_include_itself_and_no_key_is_set_twice() {
    let main = with("").replace("[stack]", "include = \"a.toml\"\n[stack]");
    let parsed = parse_all(&[
        ("conf/linkflow.toml", &main),
        ("conf/a.toml", "include = [\"b.toml\"]\n[stack]\nname = \"other\"\n"),
        ("conf/b.toml", "include = [\"a.toml\", \"gone.toml\"]\n"),
    ]);
    assert_eq!(
        told(&parsed),
        "conf/a.toml:3:1 LF0004 `stack.name` is set in two files; it is also at conf/linkflow.toml:3:1; keep one\n\
         conf/b.toml:1:12 LF0003 `conf/a.toml` includes itself: conf/linkflow.toml → conf/a.toml → conf/b.toml → conf/a.toml; \
         take one of the `include` lines away\n\
         conf/b.toml:1:22 LF0001 `conf/gone.toml` cannot be read: there is no such file; \
         a path in `include` counts from the file that includes it\n"
    );
}

const STAGING: &str = "env = { A = \"1\", B = \"2\" }\n\
    [env.staging.stack]\ndomain = \"staging.example.com\"\n\
    [env.staging.services.api]\nroute = \"api.${stack.domain}\"\nenv = { A = \"\", C = \"3\", D = \"\" }\n\
    [env.staging.services.timer]\nimage = \"t\"\nkind = \"worker\"\nhealth = \"\"\n";

#[test]
fn an_environment_changes_adds_and_takes_away() {
    let base = sound(&with(STAGING), None);
    let staging = sound(&with(STAGING), Some("staging"));
    let api = ServiceName::new("api").unwrap();
    let env = |c: &Config| c.env_of(&api).into_keys().collect::<String>();
    assert_eq!((env(&base).as_str(), env(&staging).as_str()), ("AB", "BC"));
    let host = |c: &Config| c.services()[0].routes[0].host.clone();
    assert_eq!(
        (host(&base).as_str(), host(&staging).as_str()),
        ("api.example.com", "api.staging.example.com")
    );
    assert_eq!((base.services.len(), staging.services.len()), (1, 2));
}

#[test]
fn an_environment_that_is_not_there_is_told() {
    let parsed = parse(&with(STAGING), Some("stagging"));
    assert!(parsed.config.is_none());
    assert_eq!(
        told(&parsed),
        "linkflow.toml:1:1 LF0005 there is no environment `stagging`; did you mean `--env staging`?\n"
    );
}

#[test]
fn an_environment_may_complete_what_the_base_lacks() {
    let text = with("[services.b]\nimage = \"b\"\n[env.staging.services.b]\nport = 1\n");
    assert!(parse(&text, None).config.is_none());
    sound(&text, Some("staging"));
}
