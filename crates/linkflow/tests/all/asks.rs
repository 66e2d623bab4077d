//! What is asked of providers: doctor, usage, domains, restarts; on a rehearsal cloud and, where nobody is needed, without.

use std::path::Path;

use serde_json::Value;

use crate::conversations::{Said, linkflow};
use crate::rehearsed::Stage;

/// Accounts at vendors with each of what can be told apart: own domains, usage, an API that nobody describes.
const STACK: &str = r#"
[stack]
name = "shop"
domain = "example.com"
[providers.railway]
kind = "railway"
token = "${secret.RAILWAY_TOKEN}"
[providers.koyeb]
kind = "koyeb"
token = "${secret.KOYEB_TOKEN}"
[providers.zeabur]
kind = "zeabur"
token = "${secret.ZEABUR_TOKEN}"
[providers.github]
kind = "github"
repository = "acme/linkflow"
token = "${secret.GITHUB_TOKEN}"
[providers.slack]
kind = "slack"
webhook = "${secret.SLACK_WEBHOOK}"
[services.api]
image = "ghcr.io/acme/linkflow/api:1.0"
port = 8000
health = "/api/v1/health"
route = "api.example.com"
runs_on = ["railway", "koyeb", "embedded"]
start_within = "20s"
env = { LINKFLOW_SECRET = "${secret.SHARED}", FRONTEND_ADDR = "127.0.0.1:1" }
[failover]
probe_every = "200ms"
probe_timeout = "200ms"
probe_in_doubt = "50ms"
look_every = "500ms"
"#;

/// The chapter about `about`.
#[track_caller]
fn chapter(said: &Said, about: &str) -> Value {
    let value = said.value();
    let chapters = value["result"]["chapters"].as_array().unwrap();
    chapters.iter().find(|chapter| chapter["about"] == about).unwrap().clone()
}

/// `well: nobody holds the lock`, one for each finding.
fn lines(chapter: &Value) -> Vec<String> {
    let findings = chapter["findings"].as_array().unwrap().iter();
    let line = |finding: &Value| {
        format!("{}: {}", finding["state"].as_str().unwrap(), finding["what"].as_str().unwrap())
    };
    findings.map(line).collect()
}

#[track_caller]
fn says(lines: &[String], begin: &str) {
    assert!(lines.iter().any(|line| line.starts_with(begin)), "{begin}: {lines:#?}");
}

#[test]
fn a_doctor_finds_all_well_and_changes_nothing() {
    let page = "[services.page]\nimage = \"ghcr.io/acme/linkflow/api:1.0\"\nport = 8001\nruns_on = [\"zeabur\"]\n";
    let stage = Stage::of(&STACK.replace("[failover]", &format!("{page}[failover]")));
    let said = stage.expect(&["doctor"], 0);
    // A long sentence is broken where its line ends.
    let text = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "this machine ✓ linkflow.toml is sound: 2 services on 4 providers",
        "✓ nobody holds the lock",
        "✓ the clock agrees with the providers', to ",
        "railway Railway ✓ answers and accepts the token, in ",
        "Zeabur publishes no description of its API; LinkFlow speaks what Zeabur's own command line and SDK speak → docs/providers/zeabur.md",
        "github GitHub ✓ the token is accepted, and sees acme/linkflow (public)",
        "whether Slack takes it cannot be asked without posting a message",
        "images ✓ the image is there",
    ] {
        assert!(text.contains(part), "{part}\n{}", said.out);
    }
    let widest = said.out.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80, "{widest} columns\n{}", said.out);
    let json = stage.expect(&["doctor", "--json"], 0);
    assert_eq!(json.value()["result"]["well"], true);
    let zeabur = chapter(&json, "zeabur");
    assert_eq!(
        (&zeabur["facts"]["needed"], &zeabur["facts"]["kind"]),
        (&true.into(), &"zeabur".into())
    );
}

#[test]
fn a_provider_that_is_away_is_told_from_one_that_is_well() {
    let stage = Stage::of(STACK);
    stage.expect(&["drill", "set", "koyeb", "api-down"], 0);
    let said = stage.expect(&["doctor", "--json"], 1);
    says(&lines(&chapter(&said, "koyeb")), "broken: is away: ");
    says(&lines(&chapter(&said, "railway")), "well: answers and accepts the token");
    assert_eq!(said.value()["errors"][0]["about"], "koyeb");
    // Only one that is not asked about.
    let one = stage.expect(&["doctor", "railway", "--json"], 0);
    let chapters = one.value()["result"]["chapters"].as_array().unwrap().len();
    assert_eq!(chapters, 1, "{}", one.out);
    let wrong = stage.expect(&["doctor", "koyebb"], 2);
    assert!(wrong.err.contains("did you mean `koyeb`?"), "{}", wrong.err);
}

#[test]
fn an_image_that_is_not_there_is_told_with_its_service() {
    let stage = Stage::of(&STACK.replace("api:1.0", "api:9.9"));
    let said = stage.expect(&["doctor", "--json"], 1);
    says(
        &lines(&chapter(&said, "images")),
        "broken: api: ghcr.io/acme/linkflow/api:9.9 is not there: ",
    );
}

/// A config whose providers are all on this machine, with nothing in the environment.
fn alone(folder: &Path, more: &str) -> String {
    format!(
        "[stack]\nname = \"here\"\n[providers.embedded]\nkind = \"embedded\"\nprograms = {{ \"ghcr.io/acme/job\" = [\"sleep\", \"5\"] }}\n\
         [providers.engine]\nkind = \"docker\"\ndocker_host = \"unix://{}/none.sock\"\n\
         [services.job]\nimage = \"ghcr.io/acme/job:1\"\nkind = \"worker\"\nrequired = 1\n{more}",
        folder.display()
    )
    .replace("required = 1\n", "")
}

#[test]
fn an_absent_engine_and_a_missing_secret_are_told_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let more = "runs_on = [\"embedded\"]\nenv = { A = \"${secret.API_KEY}\" }\n";
    std::fs::write(dir.path().join("linkflow.toml"), alone(dir.path(), more)).unwrap();
    let said = linkflow(dir.path(), &["doctor", "--json"]);
    assert_eq!(said.code, 1, "{}", said.out);
    says(&lines(&chapter(&said, "machine")), "broken: 1 of 1 secrets are not there: API_KEY");
    says(&lines(&chapter(&said, "embedded")), "well: answers, in ");
    let engine = lines(&chapter(&said, "engine"));
    let told = ["docker is not installed", "Docker does not run there"];
    assert!(engine.iter().any(|line| told.iter().any(|text| line.contains(text))), "{engine:#?}");
    assert!(engine[0].starts_with("doubtful: "), "no service names it: {engine:#?}");
    assert!(!dir.path().join(".linkflow").exists(), "it made a state folder");
}

#[test]
fn a_program_that_no_image_has_is_told_before_a_deploy_fails_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        alone(dir.path(), "runs_on = [\"embedded\"]\n").replace("acme/job:1", "acme/other:1");
    std::fs::write(dir.path().join("linkflow.toml"), text).unwrap();
    let said = linkflow(dir.path(), &["doctor", "embedded", "--json"]);
    assert_eq!(said.code, 1, "{}", said.out);
    says(
        &lines(&chapter(&said, "embedded")),
        "broken: no program stands for the image of job, ghcr.io/acme/other:1",
    );
}

#[test]
fn usage_is_shown_with_what_happens_at_its_end() {
    let stage = Stage::of(STACK);
    let said = stage.expect(&["usage"], 0);
    assert!(said.out.starts_with("PROVIDER  WHAT"), "{}", said.out);
    assert!(said.out.contains("Hobby: it goes on and costs money"), "{}", said.out);
    assert!(said.out.contains("its API does not tell what was used"), "{}", said.out);
    let json = stage.expect(&["usage", "railway", "--json"], 0).value();
    let rows = json["result"]["providers"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["provider"]), (1, &"railway".into()));
    assert!(rows[0]["usage"][0]["used"].is_number(), "{json}");
    stage.expect(&["drill", "set", "railway", "api-down"], 0);
    let away = stage.expect(&["usage", "--json"], 0).value();
    assert!(away["warnings"].to_string().contains("railway could not"), "{away}");
    stage.expect(&["usage", "railway"], 1);
    let none = stage.expect(&["usage", "github"], 2);
    assert!(none.err.contains("these run services: "), "{}", none.err);
}

#[test]
fn a_restart_goes_through_the_spares_first_and_each_answers_again() {
    let stage = Stage::of(STACK);
    let nowhere = stage.expect(&["restart", "api"], 2);
    assert!(nowhere.err.contains("api does not run anywhere"), "{}", nowhere.err);
    stage.expect(&["apply"], 0);
    let dry = stage.expect(&["restart", "api", "--dry-run"], 0);
    let steps: Vec<&str> = dry.out.lines().filter(|line| line.starts_with("  ")).collect();
    let steps: Vec<&str> =
        steps.iter().filter_map(|line| line.trim().split("  (").next()).collect();
    let expected = [
        "restart api on koyeb",
        "restart api on embedded",
        "serve api from koyeb",
        "restart api on railway",
        "serve api from railway",
    ];
    assert_eq!(steps, expected);
    let done = stage.expect(&["restart", "api"], 0);
    assert!(done.out.starts_with("api was restarted in "), "{}", done.out);
    let one = stage.expect(&["restart", "api", "--on", "embedded", "--json"], 0).value();
    assert_eq!(one["result"]["state"], "done");
    let status = stage.expect(&["status", "--json"], 0).value();
    assert_eq!(status["result"]["services"][0]["active"], "railway");
    assert_eq!(stage.expect(&["plan"], 0).out, "nothing to do: r1 runs as it should\n");
    stage.expect(&["restart", "shop"], 2);
    let wrong = stage.expect(&["restart", "api", "--on", "zeabur"], 2);
    assert!(wrong.err.contains("it runs on railway, koyeb, embedded"), "{}", wrong.err);
}

#[test]
fn a_name_is_added_waited_for_and_taken_away() {
    let stage = Stage::of(STACK);
    let name = "api.example.com";
    let at = |verb: &'static str, on: &'static str| {
        vec!["domain", verb, name, "--service", "api", "--on", on]
    };
    let early = stage.expect(&at("add", "koyeb"), 2);
    assert!(early.err.contains("api is not deployed on koyeb"), "{}", early.err);
    stage.expect(&["apply"], 0);
    let cannot = stage.expect(&at("add", "embedded"), 2);
    assert!(cannot.err.contains("embedded serves no names of your own domain"), "{}", cannot.err);
    assert!(cannot.err.contains("of its cascade these do: railway, koyeb"), "{}", cannot.err);
    let added = stage.expect(&at("add", "koyeb"), 0);
    assert!(added.out.contains("once DNS says this:\n\n  TYPE"), "{}", added.out);
    assert!(added.out.contains("  CNAME"), "{}", added.out);
    let ready = stage.expect(&[at("add", "koyeb"), vec!["--wait", "60"]].concat(), 0);
    assert!(ready.out.contains("leads to api on koyeb, with a certificate"), "{}", ready.out);
    let listed = stage.expect(&["domain", "list", "--json"], 0).value();
    let rows = listed["result"]["names"].as_array().unwrap();
    let said: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["provider"].as_str().unwrap(), row["state"]["is"].as_str().unwrap()))
        .collect();
    assert_eq!(said, [("railway", "absent"), ("koyeb", "ready")]);
    stage.expect(&at("remove", "koyeb"), 0);
    stage.expect(&at("remove", "koyeb"), 0);
    let listed = stage.expect(&["domain", "list", name, "--on", "koyeb"], 0);
    assert!(listed.out.contains("absent"), "{}", listed.out);
}

#[test]
fn containers_of_this_machine_when_an_engine_answers_and_processes_otherwise() {
    let text = "[stack]\nname = \"shop\"\n[services.api]\nimage = \"ghcr.io/acme/linkflow/api:1.0\"\nport = 8000\n\
                health = \"/api/v1/health\"\nruns_on = [\"docker\", \"embedded\"]\nstart_within = \"10s\"\n\
                env = { LINKFLOW_SECRET = \"x\", FRONTEND_ADDR = \"127.0.0.1:1\" }\n\
                [failover]\nprobe_every = \"200ms\"\nprobe_timeout = \"200ms\"\nprobe_in_doubt = \"50ms\"\n";
    let stage = Stage::of(text);
    stage.expect(&["drill", "set", "docker", "api-down"], 0);
    let plan = stage.expect(&["plan"], 0);
    assert!(plan.out.contains("waits: docker is left as it is: docker could not"), "{}", plan.out);
    stage.expect(&["apply"], 0);
    let active = || {
        let status = stage.expect(&["status", "--json"], 0).value();
        status["result"]["services"][0]["active"].clone()
    };
    assert_eq!(active(), "embedded");
    stage.expect(&["drill", "clear"], 0);
    let back = stage.expect(&["apply"], 0);
    assert!(back.err.contains("+ deploy r1 of api on docker"), "{}", back.err);
    assert_eq!(active(), "embedded", "the loop leads back, once it has been well for a while");
}
