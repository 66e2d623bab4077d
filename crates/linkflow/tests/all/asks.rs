//! What is asked of providers: doctor, usage, domains, restarts; on a rehearsal cloud and, where nobody is needed, without.

use std::path::Path;

use serde_json::Value;

use crate::conversations::{Said, linkflow};
use crate::dns::at_cloudflare;
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
    assert!(none.err.contains("these do: embedded, koyeb, railway"), "{}", none.err);
}

/// What all Workers of the simulated account were asked today, ours most.
const MUCH: &str =
    r#"{ "worker_requests": { "linkflow-shop": 79000, "theirs": 1000 }, "value_writes": 799 }"#;

#[test]
fn usage_warns_of_the_workers_requests_when_four_fifths_are_gone_and_says_what_happens_then() {
    let stage = at_cloudflare();
    let early = stage.expect(&["usage", "cloudflare"], 0);
    assert_eq!(early.err, "", "nothing was used");
    stage.tell("/v1/cloudflare", MUCH);
    let said = stage.expect(&["usage", "cloudflare"], 0);
    let rows: Vec<String> = said
        .out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| line.contains('%') || line.contains("this stack"))
        .collect();
    let begins = [
        "cloudflare worker requests 80000 100000 80 % 20",
        "worker requests of this stack 79000 20",
        "kv writes 799 1000 80 % 20",
    ];
    assert_eq!(rows.len(), begins.len(), "{}", said.out);
    for (row, begin) in rows.iter().zip(begins) {
        assert!(row.starts_with(begin), "{row}");
    }
    let warning =
        "warning: cloudflare: 80 % of worker requests are used, 80000 of 100000, anew on 20";
    assert!(said.err.starts_with(warning), "{}", said.err);
    let end = "the routes fail open, so visitors go past the Worker to the edge that DNS names";
    assert!(said.err.contains(end), "{}", said.err);
    let json = stage.expect(&["usage", "--json"], 0).value();
    let providers = json["result"]["providers"].as_array().unwrap();
    let told = providers.iter().find(|row| row["provider"] == "cloudflare").unwrap();
    assert_eq!(
        (&told["kind"], &told["usage"][0]["used"]),
        (&"cloudflare".into(), &80_000.0.into())
    );
    let warnings = json["warnings"].as_array().unwrap().iter();
    let warnings = warnings.filter(|row| row["provider"] == "cloudflare").count();
    assert_eq!(warnings, 1, "799 of 1000 are not much yet");
    let doctor = stage.expect(&["doctor", "cloudflare", "--json"], 0);
    let lines = lines(&chapter(&doctor, "cloudflare"));
    says(&lines, "doubtful: 80 % of worker requests are used, 80000 of 100000");
    says(&lines, "well: used: worker requests of this stack 79000, kv writes 80 %");
    says(&lines, "known: at the end of an allowance: Workers Free: the routes fail open");
}

#[test]
fn a_doctor_asks_whoever_answers_for_the_zone_and_stands_in_front() {
    let stage = at_cloudflare();
    let before = stage.expect(&["doctor", "--json"], 1);
    let cloudflare = lines(&chapter(&before, "cloudflare"));
    says(&cloudflare, "well: answers and accepts the token, in ");
    says(&cloudflare, "doubtful: 3 records are not as the config asks");
    says(&cloudflare, "doubtful: www.example.com has no record: there is no tunnel yet");
    assert!(!stage.folder().join(".linkflow/zones").exists(), "it wrote a zone");
    stage.expect(&["dns", "apply"], 0);
    for name in ["cloudflare", "desec"] {
        let lines = lines(&chapter(&stage.expect(&["doctor", name, "--json"], 0), name));
        assert!(lines.iter().all(|line| !line.starts_with("doubtful")), "{lines:#?}");
        says(&lines, "well: its records are as the config asks");
    }
    let said = stage.expect(&["doctor", "cloudflare"], 0);
    for part in [
        "cloudflare  Cloudflare, zone example.com, in front of the edge\n",
        "✓ what stands in front is as the config asks\n",
        "✓ used: worker requests 0 %, worker requests of this stack 0, kv writes 0 %\n",
        "all is well\n",
    ] {
        assert!(said.out.contains(part), "{part}\n{}", said.out);
    }
    // One that is away keeps the other from nothing.
    stage.expect(&["drill", "set", "desec", "api-down"], 0);
    let away = stage.expect(&["doctor", "--json"], 1);
    says(&lines(&chapter(&away, "desec")), "broken: is away: ");
    says(&lines(&chapter(&away, "cloudflare")), "well: its records are as the config asks");
}

#[test]
fn a_permission_that_a_token_lacks_is_named_by_the_doctor() {
    let stage = at_cloudflare();
    stage.tell("/v1/cloudflare", r#"{ "lacks": ["analytics"] }"#);
    let lines_of = |code| {
        lines(&chapter(&stage.expect(&["doctor", "cloudflare", "--json"], code), "cloudflare"))
    };
    let analytics = "doubtful: what the worker used could not be read: not authorized for that account; the token lacks the permission `Account · Account Analytics · Read`";
    says(&lines_of(0), analytics);
    stage.expect(&["usage", "cloudflare"], 4);
    stage.tell("/v1/cloudflare", r#"{ "lacks": ["dns", "bots", "tunnels"] }"#);
    let lines = lines_of(4);
    let refused = "refused: the token, `${secret.CLOUDFLARE_TOKEN}`, is refused: Authentication error; the token lacks the permission ";
    for permission in ["Zone · DNS", "Zone · Bot Management", "Account · Cloudflare Tunnel"] {
        says(&lines, &format!("{refused}`{permission}`"));
    }
    assert_eq!(lines.iter().filter(|line| line.starts_with("refused")).count(), 3, "{lines:#?}");
    let plan = stage.expect(&["dns", "plan"], 4);
    assert!(plan.err.contains("the token lacks the permission `Zone · DNS`"), "{}", plan.err);
}

#[test]
fn a_token_that_is_missing_keeps_no_other_provider_from_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let names = "[edge]\naddress = \"https://edge.example.com\"\n[dns]\nzone = \"example.com\"\non = \"embedded\"\nalso_on = [\"desec\"]\n\
                 [providers.desec]\nkind = \"desec\"\ntoken = \"${secret.DESEC_TOKEN}\"\n";
    let text = alone(dir.path(), &format!("runs_on = [\"embedded\"]\n{names}"));
    std::fs::write(dir.path().join("linkflow.toml"), text).unwrap();
    let said = linkflow(dir.path(), &["doctor", "--json"]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let missing = "broken: the token of `desec`, `${secret.DESEC_TOKEN}`, is not there";
    says(&lines(&chapter(&said, "desec")), missing);
    let value = said.value();
    let chapters = value["result"]["chapters"].as_array().unwrap();
    let zone = chapters.iter().find(|c| c["title"] == "the zone in a file").unwrap();
    says(&lines(zone), "well: answers, in ");
    assert!(!dir.path().join(".linkflow").exists(), "it made a state folder");
}

#[test]
fn a_refused_token_is_told_by_whoever_asks_with_exit_code_4() {
    let stage = Stage::of(&STACK.replace("\"embedded\"]", "\"zeabur\", \"embedded\"]"));
    for name in ["railway", "koyeb", "zeabur", "github"] {
        stage.expect(&["drill", "set", name, "denied"], 0);
        let said = stage.expect(&["doctor", name, "--json"], 4);
        let lines = lines(&chapter(&said, name));
        assert!(lines[0].starts_with("refused: the token"), "{name}: {lines:#?}");
        stage.expect(&["drill", "clear"], 0);
    }
    stage.expect(&["drill", "set", "koyeb", "denied"], 0);
    let doctor = stage.expect(&["doctor"], 4);
    let text = doctor.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("✗ the token, `${secret.KOYEB_TOKEN}`, is refused: "), "{}", doctor.out);
    assert!(text.contains("railway Railway ✓ answers and accepts the token"), "{}", doctor.out);
    for words in [["usage", "--json"], ["plan", "--json"]] {
        let value = stage.expect(&words, 4).value();
        let message = value["errors"][0]["message"].as_str().unwrap();
        assert!(message.starts_with("koyeb could not "), "{words:?}: {value}");
    }
    let plan = stage.expect(&["plan"], 4);
    assert!(plan.err.contains("error: koyeb could not "), "{}", plan.err);
    let help = "help: `linkflow doctor koyeb` tells which token it is";
    assert!(plan.err.contains(help), "{}", plan.err);
    assert!(plan.out.contains("deploy r1 of api on railway"), "{}", plan.out);

    let stage = at_cloudflare();
    stage.expect(&["drill", "set", "desec", "denied"], 0);
    let desec = stage.expect(&["dns", "plan"], 4);
    assert!(desec.err.starts_with("error: desec could not look up zone"), "{}", desec.err);
    assert!(desec.out.contains("names at cloudflare\n"), "{}", desec.out);
    stage.expect(&["doctor", "desec"], 4);
    stage.expect(&["drill", "clear"], 0);
    stage.expect(&["drill", "set", "cloudflare", "denied"], 0);
    for words in [["dns", "plan"], ["usage", "cloudflare"]] {
        let said = stage.expect(&words, 4);
        let line = "error: cloudflare could not look up zone example.com: Authentication error\n";
        assert!(said.err.starts_with(line), "{words:?}: {}", said.err);
    }
    let lines = lines(&chapter(&stage.expect(&["doctor", "--json"], 4), "cloudflare"));
    let refused =
        "refused: the token, `${secret.CLOUDFLARE_TOKEN}`, is refused: Authentication error";
    assert_eq!(lines[0], refused, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("refused")).count(), 1, "{lines:#?}");
}

#[test]
fn a_clock_that_differs_from_a_providers_is_told() {
    let stage = Stage::of(STACK);
    stage.expect(&["drill", "set", "koyeb", "clock-ahead", "--ms", "3600000"], 0);
    let said = stage.expect(&["doctor", "--json"], 0);
    let machine = chapter(&said, "machine");
    let line = lines(&machine).into_iter().find(|line| line.contains("the clock ")).unwrap();
    let apart = line.strip_prefix("doubtful: the clock is ").unwrap();
    let (seconds, rest) = apart.split_once(" s ").unwrap();
    assert_eq!(rest, "behind that of koyeb");
    // The vendor tells whole seconds, and asking takes some.
    assert!((3_540..=3_601).contains(&seconds.parse::<u64>().unwrap()), "{line}");
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
    let noted: Vec<String> = stage.deeds().into_iter().map(|(what, _)| what).collect();
    assert_eq!(noted, ["restart api on embedded", "restart api", "apply"]);
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
