//! Commands that need no provider: what is said, where it is said, and with which exit code.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The one JSON value on stdout.
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|error| {
            panic!("not one JSON value: {error}\n{}\n{}", self.out, self.err)
        });
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["schema", "ok", "result", "errors", "warnings"]);
        assert_eq!(value["schema"], "linkflow/v1");
        assert_eq!(value["ok"], matches!(self.code, 0 | 3));
        assert_eq!(value["errors"].as_array().unwrap().is_empty(), value["ok"] == true);
        value
    }
}

/// Runs `linkflow` in `folder`, with nothing of this environment's LinkFlow settings.
pub(crate) fn linkflow(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkflow"));
    command.current_dir(folder).args(arguments).env_clear();
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn written(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), text).unwrap();
    dir
}

const SHOP: &str = "[stack]\nname = \"shop\"\n[services.api]\nimage = \"a:1\"\nport = 80\n";

#[test]
fn what_init_writes_passes_check() {
    let dir = tempfile::tempdir().unwrap();
    let init = linkflow(dir.path(), &["init", "--name", "shop", "--yes"]);
    assert_eq!((init.code, init.err.as_str()), (0, ""));
    let check = linkflow(dir.path(), &["check", "--deny-warnings"]);
    assert_eq!((check.code, check.err.as_str()), (0, ""));
    assert!(check.out.starts_with("linkflow.toml is sound: stack `shop`"), "{}", check.out);
}

#[test]
fn a_mistake_is_told_with_its_line_on_stderr_and_nothing_on_stdout() {
    let dir = written(&SHOP.replace("port", "prot"));
    for command in [
        "check", "plan", "apply", "status", "up", "events", "deploy", "rollback", "cloud",
        "history", "drift", "unlock",
    ] {
        let said = linkflow(dir.path(), &[command]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{command}");
        assert!(said.err.contains("error[LF0102]: unknown key `prot`"), "{command}: {}", said.err);
    }
}

#[test]
fn json_is_exactly_one_value_also_when_it_fails() {
    let (good, bad) = (written(SHOP), written("[stack]\n"));
    for arguments in [
        &["check"][..],
        &["schema"],
        &["explain"],
        &["completions", "bash"],
        &["events"],
        &["history"],
        &["worker", "show"],
    ] {
        let said = linkflow(good.path(), &[arguments, &["--json"]].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}");
        said.value();
    }
    for arguments in
        [&["check"][..], &["plan"], &["status"], &["drill", "list"], &["deploi"], &["explain", "x"]]
    {
        let said = linkflow(bad.path(), &[arguments, &["--json"]].concat());
        assert_eq!((said.code, said.err.as_str()), (2, ""), "{arguments:?}");
        said.value();
    }
}

#[test]
fn the_worker_is_printed_as_it_is_kept_and_its_config_only_when_something_runs() {
    let dir = written(SHOP);
    let said = linkflow(dir.path(), &["worker", "show"]);
    assert_eq!(said.code, 0);
    assert_eq!(said.out, include_str!("../../../../worker/dist/worker.js"));
    let said = linkflow(dir.path(), &["worker", "config"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("no service runs where a worker could lead"), "{}", said.err);
}

#[test]
fn a_code_is_explained_and_a_wrong_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let said = linkflow(dir.path(), &["explain", "LF0102"]);
    assert_eq!(said.code, 0);
    assert!(said.out.starts_with("LF0102: "), "{}", said.out);
    let said = linkflow(dir.path(), &["explain", "LF0000"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
}

#[test]
fn the_schema_is_one_and_fits_the_example() {
    let dir = tempfile::tempdir().unwrap();
    let said = linkflow(dir.path(), &["schema"]);
    let schema: Value = serde_json::from_str(&said.out).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
}

#[test]
fn a_server_without_a_key_is_named_with_a_way_out() {
    let provider = "[providers.box]\nkind = \"server\"\naddress = \"192.0.2.1\"\n";
    let dir = written(&format!("{SHOP}runs_on = [\"box\"]\n{provider}"));
    let said = linkflow(dir.path(), &["plan"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(said.err.starts_with("error: `box` has no key to log in with"), "{}", said.err);
    assert!(said.err.contains("`[providers.box]`"), "{}", said.err);
}

#[test]
fn a_token_that_is_not_there_is_named_by_its_reference() {
    let text = format!(
        "{SHOP}runs_on = [\"fly\"]\n[providers.fly]\nkind = \"fly\"\ntoken = \"${{secret.FLY}}\"\n"
    );
    let dir = written(&text);
    let said = linkflow(dir.path(), &["plan"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("the token of `fly`, `${secret.FLY}`, is not there"), "{}", said.err);
}

#[test]
fn what_would_wait_for_its_own_hook_is_refused() {
    let dir = written(SHOP);
    for words in [&["apply"][..], &["deploy"], &["rollback"], &["unlock", "--id", "3"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linkflow"));
        command.current_dir(dir.path()).args(words).env_clear();
        let output = command.env("LINKFLOW_HOOK", "before").output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{words:?}");
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains("cannot be run within the hook `before`"), "{words:?}: {err}");
    }
}

#[test]
fn a_cloud_that_is_not_there_is_told() {
    let dir = written(SHOP);
    let said = linkflow(dir.path(), &["status", "--cloud", "http://127.0.0.1:1"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("the rehearsal cloud at http://127.0.0.1:1 does not answer"),
        "{}",
        said.err
    );
}

#[test]
fn the_sample_app_says_why_it_cannot_start() {
    let dir = tempfile::tempdir().unwrap();
    let said = linkflow(dir.path(), &["app", "nothing"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("nothing"), "{}", said.err);
}
