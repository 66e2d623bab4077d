//! The JSON schema and the manual say what the parser does.

use linkflow_model::config::{manual, schema};
use serde_json::Value;

use super::EXAMPLE;

fn as_json(text: &str) -> Value {
    let value: toml::Value = toml::from_str(text).unwrap();
    serde_json::to_value(value).unwrap()
}

#[track_caller]
fn wrong(change: impl Fn(&mut Value)) -> String {
    let mut config = as_json(EXAMPLE);
    change(&mut config);
    let schema = schema();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&config).map(|e| e.to_string()).collect();
    errors.join("\n")
}

#[test]
fn the_schema_is_one_and_the_example_fits_it() {
    jsonschema::draft202012::meta::validate(&schema()).unwrap();
    assert_eq!(wrong(|_| {}), "");
}

#[test]
fn what_the_parser_refuses_the_schema_refuses_too() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 10] = [
        ("a misspelt section", |c| c["servces"] = c["services"].clone()),
        ("a misspelt key", |c| c["services"]["api"]["helth"] = "/".into()),
        ("a misspelt key of a kind", |c| c["providers"]["fly"]["regoin"] = "fra".into()),
        ("a key of another kind", |c| c["providers"]["fly"]["subscription"] = "x".into()),
        ("a bare number", |c| c["failover"]["confirm"] = 5.into()),
        ("a port in quotes", |c| c["services"]["api"]["port"] = "8000".into()),
        ("an unknown word", |c| c["services"]["api"]["kind"] = "website".into()),
        ("a secret", |c| c["providers"]["fly"]["token"] = "fo1_abc".into()),
        ("a name", |c| c["services"]["My_API"] = c["services"]["api"].clone()),
        ("an overlay's key", |c| c["env"]["rehearsal"]["failover"]["confrm"] = "1s".into()),
    ];
    for (what, change) in changes {
        assert_ne!(wrong(change), "", "{what}");
        let mut config = as_json(EXAMPLE);
        change(&mut config);
        let text = toml::to_string(&config).unwrap();
        assert!(super::parse(&text, None).config.is_none(), "{what}");
    }
}

/// Compares `made` with the file at `path`.
#[track_caller]
fn check_fresh(path: &str, made: &str, command: &str) {
    let held = std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR")))
        .unwrap_or_default();
    assert!(held == made, "{path} is stale; refresh it with `{command} > {path}`");
}

#[test]
fn the_schema_beside_the_example_is_fresh() {
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    check_fresh("examples/linkflow/linkflow.schema.json", &made, "cargo run -- schema");
}

#[test]
fn the_manual_is_fresh() {
    check_fresh("docs/config.md", &manual(), "cargo run -- schema --markdown");
}
