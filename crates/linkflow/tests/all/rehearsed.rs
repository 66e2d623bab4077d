//! Commands on a rehearsal cloud, from plan to rollback, each in its own process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::conversations::{Said, linkflow};
use crate::request::request;

const STACK: &str = r#"
[stack]
name = "shop"
[providers.a]
kind = "embedded"
[providers.b]
kind = "embedded"
[services.api]
image = "ghcr.io/acme/linkflow/api:1.0"
port = 8000
health = "/api/v1/health"
runs_on = ["a", "b"]
start_within = "10s"
env = { LINKFLOW_SECRET = "${secret.SHARED}", FRONTEND_ADDR = "127.0.0.1:1" }
[failover]
probe_every = "200ms"
probe_timeout = "200ms"
probe_in_doubt = "50ms"
look_every = "500ms"
"#;

/// The usual stack, with a route of its service. More of `[failover]` may be written behind it.
pub(crate) fn routed(route: &str) -> String {
    STACK.replace("runs_on =", &format!("route = {route}\nruns_on ="))
}

/// A cloud in its own process, and a folder with a config. Ends with the test.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    cloud: Child,
    pub(crate) control: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::of(STACK)
    }

    pub(crate) fn of(stack: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("linkflow.toml"), stack).unwrap();
        let mut cloud = Command::new(env!("CARGO_BIN_EXE_linkflow"))
            .arg("cloud")
            .current_dir(dir.path())
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(cloud.stdout.take().unwrap()).lines();
        let mut text = String::new();
        for line in lines.map_while(Result::ok) {
            text.push_str(&line);
            if line == "}" {
                break;
            }
        }
        let endpoints: Value = serde_json::from_str(&text).unwrap();
        let control = endpoints["control"].as_str().unwrap().to_owned();
        Self { dir, cloud, control }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        linkflow(self.folder(), &[arguments, &["--cloud", &self.control]].concat())
    }

    /// Tells the control API of the cloud how things are to be.
    #[track_caller]
    pub(crate) fn tell(&self, path: &str, body: &str) {
        let reply = request(&self.control, &format!("PUT {path}"), &[], body);
        assert_eq!(reply.status(), 204, "{}", reply.body);
    }

    /// What stands in the audit, the newest first: what was done, and what came of it.
    #[track_caller]
    pub(crate) fn deeds(&self) -> Vec<(String, String)> {
        let told = self.expect(&["access", "audit", "--json"], 0).value();
        let text = |deed: &Value, key: &str| deed[key].as_str().unwrap().to_owned();
        let deeds = told["result"]["deeds"].as_array().unwrap().clone();
        deeds.iter().map(|deed| (text(deed, "what"), text(deed, "outcome"))).collect()
    }

    #[track_caller]
    pub(crate) fn expect(&self, arguments: &[&str], code: i32) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, code, "{arguments:?}\n{}\n{}", said.out, said.err);
        said
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.cloud.kill().unwrap();
        self.cloud.wait().unwrap();
    }
}

#[test]
fn a_stack_is_planned_applied_changed_and_put_back() {
    let stage = Stage::new();
    let plan = stage.expect(&["plan", "--exit-code", "--out", "plan.json"], 3);
    assert!(plan.out.contains("+ deploy r1 of api on b"), "{}", plan.out);
    assert!(plan.out.contains("${secret.SHARED}"), "{}", plan.out);
    let applied = stage.expect(&["apply", "plan.json"], 0);
    assert!(applied.out.starts_with("r1 is live"), "{}", applied.out);
    assert!(applied.err.contains("serve api from a"), "{}", applied.err);
    let again = stage.expect(&["apply"], 0);
    assert_eq!(again.out, "nothing to do: r1 runs as it should\n");
    let moved = stage.expect(&["apply", "plan.json"], 5);
    assert!(moved.err.contains("what runs at the providers has changed"), "{}", moved.err);

    let deployed = stage.expect(&["deploy", "api=:1.1", "--json"], 0);
    assert_eq!(deployed.value()["result"]["release"], "r2");
    assert_eq!(deployed.value()["warnings"].as_array().unwrap().len(), 1);
    let status = stage.expect(&["status", "--json"], 0).value();
    let placements = status["result"]["services"][0]["placements"].as_array().unwrap().clone();
    let said: Vec<(&Value, &Value)> =
        placements.iter().map(|p| (&p["release"], &p["active"])).collect();
    assert_eq!(said, [(&"r2".into(), &true.into()), (&"r2".into(), &false.into())]);

    let back = stage.expect(&["rollback"], 0);
    assert!(back.out.starts_with("r1 is live"), "{}", back.out);
    let events = stage.expect(&["events", "--json"], 0).value();
    let kinds: Vec<&str> = events["result"]["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["kind"].as_str())
        .collect();
    assert!(kinds.contains(&"release_live"), "{kinds:?}");
    let deeds = stage.deeds();
    assert_eq!(
        deeds,
        [
            ("roll back to r1", "done"),
            ("deploy api=ghcr.io/acme/linkflow/api:1.1", "done"),
            ("apply", "done"),
        ]
        .map(|(what, outcome)| (what.to_owned(), outcome.to_owned()))
    );
}

#[test]
fn a_release_that_does_not_start_is_put_back_and_its_log_is_shown() {
    let stage = Stage::new();
    stage.expect(&["apply"], 0);
    let broken = stage.expect(&["deploy", "--image", "ghcr.io/acme/linkflow/api:broken"], 1);
    assert!(broken.err.contains("failed: deploy r2 of api on b"), "{}", broken.err);
    assert!(broken.err.contains("broken on purpose"), "{}", broken.err);
    assert!(broken.err.contains("what ran before was put back"), "{}", broken.err);
    let nothing = stage.expect(&["plan", "--exit-code"], 0);
    assert_eq!(nothing.out, "nothing to do: r1 runs as it should\n");
    let (what, outcome) = stage.deeds().remove(0);
    assert!(what.starts_with("deploy") && outcome.ends_with("was taken back"), "{what}: {outcome}");
}

fn migrating() -> String {
    STACK.replace("start_within", "migrate = \"php artisan migrate --force\"\nstart_within")
}

#[test]
fn a_migration_is_planned_with_advice_and_stops_the_release_when_it_fails() {
    let stage = Stage::of(&migrating());
    let plan = stage.expect(&["plan"], 0);
    let first = "migrate\n  ! run the migration of api r1 on a  (it was never run)\n";
    assert!(plan.out.starts_with(first), "{}", plan.out);
    assert!(!plan.out.contains("expand"), "nothing serves yet: {}", plan.out);
    stage.expect(&["apply"], 0);
    let failed = stage.expect(&["deploy", "api=:bad-migration"], 1);
    for part in [
        "note: r1 serves while and after the migration of api runs",
        "only add now (expand)",
        "failed: run the migration of api r2 on a",
        "`php artisan migrate --force` exited with 1",
        "the column entries.note is there already",
        "the migration failed, so nothing of r2 was deployed",
    ] {
        assert!(failed.err.contains(part), "{part}: {}", failed.err);
    }
    assert_eq!(stage.expect(&["plan"], 0).out, "nothing to do: r1 runs as it should\n");
    let history = stage.expect(&["history", "--json"], 0).value();
    let rows = history["result"]["releases"].as_array().unwrap();
    let said: Vec<(&Value, &Value, &Value)> = rows
        .iter()
        .map(|row| (&row["release"], &row["state"], &row["migrations"]["api"]["code"]))
        .collect();
    let expected =
        [(&"r2".into(), &"failed".into(), &1.into()), (&"r1".into(), &"live".into(), &0.into())];
    assert_eq!(said, expected);
    assert!(rows[0]["took_ms"].is_u64() && rows[0]["by"]["host"].is_string(), "{rows:?}");
    let shown = stage.expect(&["history", "--last", "1"], 0);
    assert!(shown.out.contains("api: 1") && !shown.out.contains("r1 "), "{}", shown.out);
}

#[test]
fn going_back_goes_one_further_each_time_or_back_on_one_provider() {
    let stage = Stage::new();
    stage.expect(&["apply"], 0);
    stage.expect(&["deploy", "api=:1.1"], 0);
    stage.expect(&["deploy", "api=:1.2"], 0);
    let drift = stage.expect(&["drift"], 0);
    assert_eq!(drift.out, "no drift: everything is as r3 asks\n");
    let only = stage.expect(&["rollback", "r1", "--only", "b"], 0);
    assert!(only.out.starts_with("r1 runs on b, 1 steps"), "{}", only.out);
    let drift = stage.expect(&["drift", "--json"], 2).value();
    let row = &drift["result"]["drift"][0];
    assert_eq!((&row["provider"], &row["field"]), (&"b".into(), &"image".into()), "{drift}");
    let wrong = stage.expect(&["rollback", "--only", "c"], 2);
    assert!(wrong.err.contains("services run on a, b"), "{}", wrong.err);
    let back = stage.expect(&["rollback"], 0);
    assert!(back.err.starts_with("r3 is live; r2 ran before it"), "{}", back.err);
    let back = stage.expect(&["rollback"], 0);
    assert!(back.out.starts_with("r1 is live"), "{}", back.out);
    let none = stage.expect(&["rollback"], 2);
    assert!(none.err.contains("r1 is live, and no release was live before it"), "{}", none.err);
}

#[test]
fn logs_come_from_every_placement_with_its_name() {
    let stage = Stage::new();
    stage.expect(&["apply"], 0);
    let logs = stage.expect(&["logs", "api", "--json"], 0).value();
    let lines = logs["result"]["lines"].as_array().unwrap();
    for provider in ["a", "b"] {
        let started = |line: &&Value| {
            line["provider"] == provider && line["text"].as_str().unwrap().contains("started")
        };
        assert!(lines.iter().any(|line| started(&line)), "{provider}: {lines:?}");
    }
    let one = stage.expect(&["logs", "api", "--on", "b", "--last", "1"], 0);
    assert_eq!(one.out.lines().count(), 1, "{}", one.out);
    assert!(one.out.contains("  b  "), "{}", one.out);
    stage.expect(&["logs", "api", "--on", "c"], 2);
    stage.expect(&["logs", "web"], 2);
}

#[test]
fn a_hook_may_look_and_must_not_deploy() {
    let program = env!("CARGO_BIN_EXE_linkflow");
    let script = format!(
        "echo $LINKFLOW_HOOK $LINKFLOW_RELEASE >> told; {program} status > looked && {program} plan > planned; \
         {program} deploy > deployed 2>&1; test $LINKFLOW_HOOK != before -o ! -e stop"
    );
    let hooks = "[deploy.hooks]\nbefore = \"sh hook\"\nafter = \"sh hook\"\nfailed = \"sh hook\"\n";
    let stage = Stage::of(&format!("{STACK}{hooks}"));
    std::fs::write(stage.folder().join("hook"), script).unwrap();
    stage.expect(&["apply"], 0);
    let read = |name: &str| std::fs::read_to_string(stage.folder().join(name)).unwrap();
    assert_eq!(read("told"), "before r1\nafter r1\n");
    assert!(read("looked").contains("r1 is live"), "{}", read("looked"));
    assert!(read("planned").contains("nothing to do"), "{}", read("planned"));
    let deployed = read("deployed");
    assert!(deployed.contains("cannot be run within the hook `after`"), "{deployed}");
    std::fs::write(stage.folder().join("stop"), "").unwrap();
    let stopped = stage.expect(&["deploy", "api=:1.1"], 5);
    assert!(
        stopped.err.contains("the hook `before` failed, so nothing was changed"),
        "{}",
        stopped.err
    );
    assert_eq!(stage.expect(&["unlock"], 0).out, "nobody holds the lock\n");
    stage.expect(&["unlock", "--id", "1"], 5);
}

#[test]
fn an_image_that_is_not_there_stops_everything_before_anything_is_touched() {
    let stage = Stage::new();
    let said = stage.expect(&["deploy", "api=:9.9"], 1);
    assert!(
        said.err.contains("api: the image ghcr.io/acme/linkflow/api:9.9 is not in its registry"),
        "{}",
        said.err
    );
    let said = stage.expect(&["deploy", "shop=:1.0"], 2);
    assert!(said.err.contains("there is no service `shop`"), "{}", said.err);
    assert_eq!(
        stage.expect(&["events", "--json"], 0).value()["result"]["events"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn faults_are_set_shown_and_lifted() {
    let stage = Stage::new();
    let said = stage.expect(&["drill", "set", "b", "slow", "--ms", "70"], 0);
    assert_eq!(said.out, "b: slow by 70 ms\n");
    stage.expect(&["drill", "set", "c", "killed"], 1);
    assert_eq!(stage.expect(&["drill", "clear"], 0).out, "all is well\n");
    stage.expect(&["drill", "set", "b", "api-down"], 0);
    let plan = stage.expect(&["plan", "--json"], 0).value();
    assert_eq!(plan["warnings"][0]["provider"], "b");
}
