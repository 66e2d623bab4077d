//! Whatever the bytes: a config or problems, never a panic, and what is printed is read again.

use std::collections::BTreeMap;

use linkflow_model::config::{Config, Parsed};
use proptest::prelude::*;

use super::EXAMPLE;

/// Parses any bytes and checks what holds for all of them.
fn hold(bytes: &[u8], env: Option<&str>) -> Parsed {
    let files = BTreeMap::from([("linkflow.toml".to_owned(), bytes)]);
    let parsed = Config::parse(&files, "linkflow.toml", env);
    let has_error = parsed.problems.iter().any(linkflow_model::config::Problem::is_error);
    assert_eq!(
        parsed.config.is_none(),
        has_error,
        "a config or an error, never both, never neither"
    );
    for problem in &parsed.problems {
        let text = &parsed.sources.files[problem.at.file].text;
        let (start, end) = (problem.at.start, problem.at.end);
        assert!(
            start <= end && text.get(start..end).is_some(),
            "{problem:?} is a place in the text"
        );
        assert!(!problem.what.contains('\n'), "{problem:?} is one line");
    }
    if let Some(config) = &parsed.config {
        let printed = config.to_toml();
        let again = super::parse(&printed, None);
        assert_eq!(again.config.as_ref(), Some(config), "{printed}\n{}", super::told(&again));
    }
    parsed
}

/// The example with some of its lines dropped, doubled, swapped, or with a value of another line.
fn mangled() -> impl Strategy<Value = String> {
    let lines = EXAMPLE.lines().count();
    let change = (0..4u8, 0..lines, 0..lines);
    prop::collection::vec(change, 0..8).prop_map(|changes| {
        let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
        for (how, a, b) in changes {
            let (a, b) = (a % lines.len(), b % lines.len());
            match how {
                0 => {
                    lines.remove(a);
                }
                1 => lines.swap(a, b),
                2 => lines[a] = String::new(),
                _ => {
                    let value = lines[b].split_once(" = ").map(|(_, v)| v.to_owned());
                    if let (Some((key, _)), Some(value)) =
                        (lines[a].clone().split_once(" = "), value)
                    {
                        lines[a] = format!("{key} = {value}");
                    }
                }
            }
        }
        lines.join("\n")
    })
}

/// Any value of TOML, as text.
fn any_value() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        Just("${secret.A}".to_owned()),
        Just("$${x${stack.domain}".to_owned()),
        Just("embedded".to_owned()),
        "[0-9]{1,20}(ms|s|m|h|d|w|MB|GB|KiB|%| USD)?",
        "\\PC{0,4}",
    ];
    let leaf = prop_oneof![
        text.prop_map(|t| linkflow_model::config::quoted(&t)),
        any::<i64>().prop_map(|n| n.to_string()),
        (0..100_000i64).prop_map(|n| n.to_string()),
        any::<bool>().prop_map(|b| b.to_string()),
        Just("1.5".to_owned()),
        Just("inf".to_owned()),
        Just("0xffffffffffffffffff".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = "[a-z_]{1,8}|name|on|url|every|kind|value|type|watch";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|m| {
                let entries: Vec<String> = m.iter().map(|(k, v)| format!("{k} = {v}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

/// Every key of the example, as `section` and `key`.
fn keys() -> Vec<(String, String)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in EXAMPLE.lines() {
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = header.to_owned();
        } else if let Some((key, _)) =
            line.split_once(" = ").filter(|(k, _)| !k.contains([' ', '#', '{']))
        {
            keys.push((section.clone(), key.to_owned()));
        }
    }
    keys
}

/// A sound config, every value of it drawn.
fn sound() -> impl Strategy<Value = String> {
    let duration = || {
        prop::collection::vec((1..500u32, "ms|s|m|h|d"), 1..4).prop_map(|parts| {
            parts.iter().map(|(n, unit)| format!("{n}{unit}")).collect::<String>()
        })
    };
    let variable = (
        "[A-Za-z_][A-Za-z0-9_]{0,8}",
        "(\\PC|[\n\"$\\\\{}]|\\$\\$\\{|\\$\\{(secret.[A-Z]+|stack.name|service.api.url)\\}){0,12}",
    );
    let env = prop::collection::btree_map(variable.0, variable.1, 0..5);
    let size = (10..64_000u32, 1..100_000u32);
    let paths = ("(/[a-z0-9._~-]{1,9}){0,3}", "[a-z][a-z0-9-]{0,20}[a-z0-9]");
    let money = (0..10_000u32, 0..100u32, "USD|EUR", 0..=100u8);
    let kept = (0..1_000u32, 0..1_000u32, "[0-9]{1,9}", "B|KB|MiB|GB");
    (env, duration(), duration(), size, paths, money, kept).prop_map(|(env, a, b, (cpu, memory), (path, name), money, kept)| {
        let mut text = format!(
            "[stack]\nname = \"{name}x\"\ndomain = \"{name}.example.com\"\n\
             [failover]\nconfirm = \"{a}\"\nmin_stay = \"{b}\"\n\
             [budget]\nmonth = \"{}.{:02} {}\"\nwarn_at = \"{}%\"\n\
             [edge]\nmax_body = \"{}{}\"\n\
             [databases.main]\nprimary = {{}}\n\
             [backups.{name}]\nof = [\"database.main\"]\nevery = \"{b}\"\nkeep = {{ hourly = {}, monthly = {} }}\n\
             [services.api]\nimage = \"ghcr.io/acme/{name}:1\"\nport = 80\nroute = [\"${{stack.domain}}{path}\", \"x.{name}.example.com\"]\n\
             start_within = \"{a}\"\nsize = {{ cpu = {}.{:03}, memory = \"{memory}MB\" }}\n[services.api.env]\n",
            money.0, money.1, money.2, money.3, kept.2, kept.3, kept.0, kept.1, cpu / 1000, cpu % 1000,
        );
        for (key, value) in env.iter().filter(|(k, _)| *k != "PORT") {
            // A `${` that opens no reference is written `$${`.
            let open = value.replace("${", "\u{1}").replace("\u{1}secret.", "${secret.").replace("\u{1}stack.", "${stack.");
            let value = open.replace("\u{1}service.", "${service.").replace('\u{1}', "$${");
            text.push_str(&format!("{key} = {}\n", linkflow_model::config::quoted(&value)));
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_bytes_give_a_config_or_problems(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        hold(&bytes, None);
    }

    #[test]
    fn any_text_with_the_marks_of_toml_gives_a_config_or_problems(
        text in "([a-z.]{1,6}|[\\[\\]{}=\",.$\n ]|\"\"\"|\\$\\{|stack|services|env|include|[0-9]|\\PC){0,60}",
    ) {
        hold(text.as_bytes(), Some("staging"));
        hold(text.as_bytes(), None);
    }

    #[test]
    fn a_cut_or_mangled_example_gives_a_config_or_problems(text in mangled(), cut in 0..20_000usize) {
        hold(text.as_bytes(), None);
        hold(text.as_bytes(), Some("rehearsal"));
        let cut = cut.min(EXAMPLE.len());
        hold(&EXAMPLE.as_bytes()[..cut], None);
    }

    #[test]
    fn any_value_under_any_key_gives_a_config_or_problems(
        which in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..6),
    ) {
        let keys = keys();
        let mut text = super::with("");
        for (index, value) in which {
            let (section, key) = &keys[index.index(keys.len())];
            text.push_str(&format!("{section}.{key} = {value}\n"));
        }
        // Keys that stand below a table's header belong to it, so the same lines are tried on top too.
        hold(text.as_bytes(), None);
        let (head, tail) = text.split_at(super::with("").len());
        hold(format!("{tail}{head}").as_bytes(), None);
    }

    #[test]
    fn a_sound_config_is_printed_and_read_again_as_it_was(text in sound()) {
        let parsed = hold(text.as_bytes(), None);
        // What was drawn may look like a reference and be none; all else is sound.
        let odd = parsed.problems.iter().filter(|p| !p.code.as_str().starts_with("LF02")).count();
        prop_assert_eq!(odd, 0, "{}\n{}", text, super::told(&parsed));
        prop_assume!(parsed.config.is_some());
    }
}
