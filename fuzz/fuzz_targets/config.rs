//! Whatever stands in a `linkflow.toml`, reading it ends, and each problem points into the text.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use linkflow_model::config::Config;

fuzz_target!(|text: &str| {
    let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
    let parsed = Config::parse(&files, "linkflow.toml", None);
    for problem in &parsed.problems {
        assert!(text.get(problem.at.start..problem.at.end).is_some(), "{problem:?}");
    }
});
