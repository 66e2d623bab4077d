//! Every code has an example that has the problem, so that `linkflow explain` never shows a wrong one.

use std::collections::BTreeMap;

use linkflow_model::config::{Config, Severity, codes};

#[test]
fn each_example_has_the_problem_that_it_explains() {
    for explained in codes::ALL {
        if [codes::NOT_TEXT, codes::BAD_CERTIFICATE, codes::CERTIFICATE_ENDS]
            .contains(&explained.code)
        {
            assert_eq!(explained.example, "", "no text shows what is not text, or in other files");
            continue;
        }
        let files = BTreeMap::from([
            ("linkflow.toml".to_owned(), explained.example),
            ("other.toml".to_owned(), "[stack]\nname = \"shop\"\n"),
        ]);
        let env = (explained.code == codes::NO_ENVIRONMENT).then_some("stagging");
        let parsed = Config::parse(&files, "linkflow.toml", env);
        let problem = parsed.problems.iter().find(|p| p.code == explained.code);
        let problem =
            problem.unwrap_or_else(|| panic!("{}: {}", explained.code, super::told(&parsed)));
        assert_eq!(problem.severity, explained.code.severity());
        // What cannot be read as TOML has no more to say than where.
        let helps = problem.help.is_some() || explained.code == codes::SYNTAX;
        assert!(helps, "{} says what helps", explained.code);
    }
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    let files =
        BTreeMap::from([("linkflow.toml".to_owned(), b"[stack]\nname = \"\xff\"\n".to_vec())]);
    let parsed = Config::parse(&files, "linkflow.toml", None);
    assert_eq!(parsed.problems.len(), 1);
    assert_eq!(parsed.problems[0].code, codes::NOT_TEXT);
    assert_eq!(parsed.problems[0].what, "`linkflow.toml` is not UTF-8 text: byte 17 is wrong");
}

#[test]
fn only_warnings_let_a_config_pass() {
    for severity in [Severity::Error, Severity::Warning] {
        let route =
            if severity == Severity::Warning { "a.example.org" } else { "a.example.com:80" };
        let text = super::with("").replace("api.example.com", route);
        let parsed = super::parse(&text, None);
        assert_eq!(parsed.problems.len(), 1);
        assert_eq!(parsed.problems[0].severity, severity);
        assert_eq!(parsed.config.is_some(), severity == Severity::Warning);
    }
}
