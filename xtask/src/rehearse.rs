//! The rehearsal as a test: it must end well, and its numbers must be what is promised.

use std::process::Stdio;

use serde_json::Value;

use crate::run::{Done, command};

/// Where the rehearsal's exchanges with the simulated vendors are recorded, secrets masked.
pub(crate) const RECORDING: &str = "target/rehearsal.ndjson";
/// The program, as the tests leave it: a release build takes eight minutes more on two cores and decides the same.
const PROGRAM: &str = "target/debug/linkflow";
/// What LinkFlow may have allocated while nothing happens, in megabytes. With the 37 that a release build maps of its code it is
/// resident with 64; a debug build maps more of its own, which says nothing of what users meet.
const MOST_IDLE_MB: f64 = 27.0;

/// Runs the rehearsal of the example and holds its numbers to the promises.
pub(crate) fn rehearse() -> Done {
    let recording = crate::root().join(RECORDING);
    if recording.exists() {
        std::fs::remove_file(&recording).map_err(|error| format!("{RECORDING}: {error}"))?;
    }
    let program = crate::root().join(PROGRAM);
    let program = program.display().to_string();
    let mut rehearsal = command(&[&program, "rehearse", "--json"]);
    rehearsal.env("LINKFLOW_RECORD", &recording).stderr(Stdio::inherit());
    let output = rehearsal.output().map_err(|error| format!("{program}: {error}"))?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("it did not print one JSON value ({}): {error}", output.status))?;
    show(&answer);
    let mut wrong = Vec::new();
    if !output.status.success() {
        wrong.push(format!("it ended with {}", output.status));
    }
    wrong.extend(broken_promises(&answer));
    match std::fs::read_to_string(&recording) {
        Ok(lines) => wrong.extend(leaks(&lines)),
        Err(error) => wrong.push(format!("nothing was recorded in {RECORDING}: {error}")),
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// One line for each scenario.
fn show(answer: &Value) {
    for scenario in scenarios(answer) {
        let number =
            |field: &str| scenario[field].as_u64().map_or("-".to_owned(), |n| n.to_string());
        println!(
            "{:<28} {:<4} {} requests, {} failed, rerouted in {} ms, back in {} ms, lost {}, doubled {}",
            scenario["name"].as_str().unwrap_or("?"),
            scenario["verdict"].as_str().unwrap_or("?"),
            number("requests"),
            number("failed_requests"),
            number("rerouted_ms"),
            number("back_ms"),
            number("lost_writes"),
            number("doubled_writes"),
        );
    }
}

fn scenarios(answer: &Value) -> &[Value] {
    answer["result"]["scenarios"].as_array().map_or(&[], Vec::as_slice)
}

/// What the answer does not keep of what is promised. A number that is missing counts as broken.
fn broken_promises(answer: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if answer["ok"] != true {
        wrong.push(format!("it does not say that all is well: {}", answer["errors"]));
    }
    if scenarios(answer).is_empty() {
        wrong.push("it rehearsed nothing".to_owned());
    }
    for scenario in scenarios(answer) {
        let name = scenario["name"].as_str().unwrap_or("a scenario without a name");
        if scenario["verdict"] != "pass" {
            wrong.push(format!("{name} did not pass: {}", scenario["broken"]));
        }
        for field in ["lost_writes", "doubled_writes"] {
            if scenario[field] != 0 {
                wrong.push(format!("{name}: {field} is {}", scenario[field]));
            }
        }
        wrong.extend(refused_for_rate(scenario).map(|why| format!("{name}: {why}")));
        wrong.extend(migrated_again(scenario).map(|why| format!("{name}: {why}")));
        if scenario["requests"].as_u64().unwrap_or_default() == 0 {
            wrong.push(format!("{name}: nobody asked for anything"));
        }
    }
    let idle = &answer["result"]["idle_allocated_mb"];
    if !idle.is_null() && idle.as_f64().is_none_or(|mb| mb >= MOST_IDLE_MB) {
        wrong.push(format!(
            "LinkFlow idles with {idle} MB allocated, and {MOST_IDLE_MB} MB is the most"
        ));
    }
    wrong
}

/// Providers that were asked faster than they allow.
fn refused_for_rate(scenario: &Value) -> impl Iterator<Item = String> {
    let asked = scenario["asked"].as_array().map_or(&[][..], Vec::as_slice);
    let unknown = asked.is_empty().then(|| "nobody counted what providers were asked".to_owned());
    let refused = asked.iter().filter(|line| line["refused_for_rate"] != 0);
    let said = |line: &Value| {
        format!("{} refused {} requests", line["provider"], line["refused_for_rate"])
    };
    unknown.into_iter().chain(refused.map(said))
}

/// Releases whose migration was not run exactly once. The scenario that deploys has two, one of them killed on its way.
fn migrated_again(scenario: &Value) -> impl Iterator<Item = String> {
    let rollouts = scenario["rollouts"].as_array().map_or(&[][..], Vec::as_slice);
    let is_deploy = scenario["name"] == "deploy-under-load";
    let killed = rollouts.iter().any(|line| line["kills"].as_u64().is_some_and(|kills| kills > 0));
    let missing = (is_deploy && (rollouts.len() < 2 || !killed))
        .then(|| "no deploy was killed and started again".to_owned());
    let again = rollouts.iter().filter(|line| line["migrations"] != 1);
    let said = |line: &Value| {
        format!("the migration of {} was run {} times", line["release"], line["migrations"])
    };
    missing.into_iter().chain(again.map(said))
}

/// Headers that carry secrets, and whose values a recording may only hold masked.
const SECRET_HEADERS: &[&str] =
    &["authorization", "project-access-token", "cookie", "set-cookie", "fly-machine-lease-nonce"];

/// What a recording tells that it must not.
fn leaks(lines: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, line) in lines.lines().enumerate() {
        let at = index + 1;
        let Ok(exchange) = serde_json::from_str::<Value>(line) else {
            wrong.push(format!("{RECORDING}:{at} is not JSON"));
            continue;
        };
        for part in ["request_headers", "response_headers"] {
            for (name, value) in exchange[part].as_object().into_iter().flatten() {
                let is_secret = SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str());
                let is_masked = value.as_str().is_some_and(|value| value.contains("***"));
                if is_secret && !is_masked {
                    wrong.push(format!("{RECORDING}:{at} shows the header `{name}`"));
                }
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
        let mut answer = json!({"ok": true, "errors": [], "result": {"idle_allocated_mb": 20.5, "scenarios": [
            {
                "name": "kill", "verdict": "pass", "requests": 900, "lost_writes": 0, "doubled_writes": 0, "broken": [],
                "asked": [{"provider": "fly", "requests": 90, "refused_for_rate": 0}],
                "rollouts": [
                    {"release": "r2", "migrations": 1, "kills": 0},
                    {"release": "r3", "migrations": 1, "kills": 40},
                ],
            }
        ]}});
        change(&mut answer);
        assert_eq!(broken_promises(&answer), expected);
    }

    #[test]
    fn a_good_rehearsal_breaks_no_promise() {
        check(|_| (), &[]);
        check(|answer| answer["result"]["idle_allocated_mb"] = Value::Null, &[]);
    }

    #[test]
    fn a_broken_promise_is_told_and_so_is_a_number_that_is_missing() {
        let of = "/result/scenarios/0/lost_writes";
        check(|answer| *answer.pointer_mut(of).unwrap() = 2.into(), &["kill: lost_writes is 2"]);
        check(
            |answer| *answer.pointer_mut(of).unwrap() = Value::Null,
            &["kill: lost_writes is null"],
        );
        check(
            |answer| answer["result"]["scenarios"][0]["verdict"] = "fail".into(),
            &["kill did not pass: []"],
        );
        check(|answer| answer["result"]["scenarios"] = json!([]), &["it rehearsed nothing"]);
        check(|answer| answer["ok"] = false.into(), &["it does not say that all is well: []"]);
        check(
            |answer| answer["result"]["idle_allocated_mb"] = 27.into(),
            &["LinkFlow idles with 27 MB allocated, and 27 MB is the most"],
        );
    }

    #[test]
    fn a_provider_that_was_asked_too_fast_breaks_a_promise() {
        let of = "/result/scenarios/0/asked";
        check(
            |answer| answer.pointer_mut(of).unwrap()[0]["refused_for_rate"] = 3.into(),
            &["kill: \"fly\" refused 3 requests"],
        );
        check(
            |answer| *answer.pointer_mut(of).unwrap() = Value::Null,
            &["kill: nobody counted what providers were asked"],
        );
    }

    #[test]
    fn a_migration_that_was_run_again_or_never_breaks_a_promise_and_so_does_a_deploy_that_nobody_killed()
     {
        let of = "/result/scenarios/0/rollouts";
        for runs in [0, 2] {
            check(
                |answer| answer.pointer_mut(of).unwrap()[1]["migrations"] = runs.into(),
                &[&format!("kill: the migration of \"r3\" was run {runs} times")],
            );
        }
        let deploys = |answer: &mut Value| {
            answer["result"]["scenarios"][0]["name"] = "deploy-under-load".into();
        };
        check(deploys, &[]);
        let unkilled = &["deploy-under-load: no deploy was killed and started again"];
        let none = |answer: &mut Value| {
            deploys(answer);
            answer.pointer_mut(of).unwrap()[1]["kills"] = 0.into();
        };
        check(none, unkilled);
    }

    #[test]
    fn a_recording_may_not_show_a_token() {
        let line = |header: &str| json!({"request_headers": {"authorization": header}}).to_string();
        assert_eq!(leaks(&line("Bearer ***")), Vec::<String>::new());
        assert_eq!(
            leaks(&line("Bearer abc")),
            ["target/rehearsal.ndjson:1 shows the header `authorization`"]
        );
    }
}
