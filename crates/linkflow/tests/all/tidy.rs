//! The shape of the workspace: who uses whom, and what every file has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom when it runs. Every crate has its row.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("decide", &["model"]),
    ("store", &["model"]),
    ("engine", &["model", "decide", "store"]),
    ("providers", &["model"]),
    ("edge", &["model", "store"]),
    ("monitor", &["model", "decide", "store"]),
    ("rehearsal", &["model"]),
    ("sim", &["model", "decide", "engine", "store"]),
    ("web", &["model", "store"]),
    (
        "linkflow",
        &["model", "decide", "store", "engine", "providers", "edge", "monitor", "rehearsal", "web"],
    ),
];

/// Who may use whom in tests only.
const MAY_TEST_WITH: &[(&str, &[&str])] = &[("providers", &["decide", "rehearsal"])];

/// A longer file has more than one subject.
const LONGEST: usize = 900;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn crates_use_only_the_crates_they_may() {
    let row = |table: &[(&str, &[&'static str])], name: &str| {
        let rows: BTreeMap<_, _> = table.iter().copied().collect();
        rows.get(name).map(|used| used.to_vec())
    };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest: toml::Table =
            fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        seen += 1;
        let Some(may) = row(MAY_USE, &name) else {
            wrong.push(format!("{name} has no row in MAY_USE"));
            continue;
        };
        let may_test = row(MAY_TEST_WITH, &name).unwrap_or_default();
        for (used, is_test) in ours(&manifest) {
            let tests_may = is_test && may_test.contains(&used.as_str());
            if !may.contains(&used.as_str()) && !tests_may {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    assert_eq!(seen, MAY_USE.len(), "a row of MAY_USE has no crate");
    assert!(wrong.is_empty(), "see ARCHITECTURE.md, \"The crates\": {wrong:#?}");
}

/// The workspace's crates that a manifest names, and whether only its tests use them. Tables for one platform count.
fn ours(manifest: &toml::Table) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            let ours = table.keys().filter_map(|name| name.strip_prefix("linkflow-"));
            found.extend(ours.map(|name| (name.to_owned(), key.starts_with("dev-"))));
        } else {
            found.extend(ours(table));
        }
    }
    found
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = files(|text| !text.starts_with("//! "));
    assert!(silent.is_empty(), "these do not begin with a `//!` sentence: {silent:#?}");
}

#[test]
fn every_file_has_one_subject() {
    let long = files(|text| text.lines().count() > LONGEST);
    assert!(long.is_empty(), "these are longer than {LONGEST} lines: {long:#?}");
}

#[test]
fn nothing_is_put_off() {
    // Written in two parts, so that this file does not hold them.
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let put_off = files(|text| words.iter().any(|word| text.contains(word)));
    assert!(put_off.is_empty(), "these put something off: {put_off:#?}");
}

#[test]
fn no_test_is_left_out_but_those_that_others_start_as_a_process() {
    let word = concat!("#[ig", "nore");
    let is_started = |line: &str| line.contains("process") || line.contains("another test");
    let left_out = files(|text| text.lines().any(|line| line.contains(word) && !is_started(line)));
    assert!(left_out.is_empty(), "these leave tests out: {left_out:#?}");
}

/// The Rust files of the workspace of which `is_wrong` holds.
fn files(is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let root = root();
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut folders = vec![root.join("crates"), root.join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                seen += 1;
                if is_wrong(&fs::read_to_string(&path).unwrap()) {
                    wrong.push(path.strip_prefix(&root).unwrap().display().to_string());
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} files were found under {}", root.display());
    wrong
}
