//! What others watch, by the program itself.

use serde_json::Value;

use crate::hooked::{told, until};
use crate::rehearsed::Stage;

const SHOP: &str = r#"
[stack]
name = "shop"
[services.web]
image = "ghcr.io/acme/shop:1.0"
port = 8080
[monitors.web]
http = "https://www.example.com/health"
contains = "ok"
every = "30s"
also_on = ["uptimerobot", "betterstack", "cronitor"]
[monitors.names]
dns = "www.example.com"
also_on = ["uptimerobot"]
[heartbeats.backup]
cron = "0 3 * * *"
grace = "30m"
also_on = ["healthchecks", "cronitor", "betterstack"]
[status_page]
also_on = ["instatus"]
components = [{ name = "Shop", watch = ["monitor.web"] }, { name = "Machine", watch = ["service.web"], group = "Inside" }]
[providers.uptimerobot]
kind = "uptimerobot"
token = "${secret.UPTIMEROBOT_TOKEN}"
[providers.betterstack]
kind = "betterstack"
token = "${secret.BETTERSTACK_TOKEN}"
[providers.cronitor]
kind = "cronitor"
token = "${secret.CRONITOR_TOKEN}"
[providers.healthchecks]
kind = "healthchecks"
token = "${secret.HEALTHCHECKS_TOKEN}"
[providers.instatus]
kind = "instatus"
token = "${secret.INSTATUS_TOKEN}"
"#;

#[test]
fn what_others_watch_is_planned_applied_found_unchanged_and_taken_back() {
    let stage = Stage::of(SHOP);
    let plan = stage.expect(&["watchers", "plan", "--exit-code"], 3);
    for part in [
        "watched at uptimerobot\n  + monitor web  https://www.example.com/health every 300 s, with `ok`\n",
        "watched at betterstack\n  + monitor web  https://www.example.com/health every 180 s, with `ok`\n  ! heartbeat backup  by `0 3 * * *`, 1800 s late at most is left out: Better Stack waits for reports in even steps, not by cron\n",
        "watched at cronitor\n  + monitor web  https://www.example.com/health every 30 s, with `ok`\n  + heartbeat backup  by `0 3 * * *`, 1800 s late at most\n",
        "watched at healthchecks\n  + heartbeat backup",
        "watched at instatus\n  + component Shop  as it is shown\n  + component Machine  under Inside, as it is shown\n",
        "left out: monitors.names: vendors are asked for http, tcp and ping only\n",
    ] {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    let doctor = stage.expect(&["doctor", "uptimerobot"], 0);
    assert!(
        doctor.out.contains("the token is accepted; nothing of this stack is there"),
        "{}",
        doctor.out
    );
    assert!(doctor.out.contains("one thing is not as the config asks"), "{}", doctor.out);
    assert_eq!(stage.expect(&["watchers", "apply", "--dry-run"], 0).out, plan.out);

    let applied = stage.expect(&["watchers", "apply", "--json"], 0).value();
    assert_eq!(applied["result"]["changed"], true);
    let again = stage.expect(&["watchers", "apply", "--json"], 0).value();
    assert_eq!(again["result"]["changed"], false, "{again}");
    stage.expect(&["watchers", "plan", "--exit-code"], 0);
    // What cannot be had is a difference that nobody can put right.
    stage.expect(&["watchers", "drift"], 2);

    let config = stage.folder().join("linkflow.toml");
    let least = SHOP.split("[monitors.names]").next().unwrap().replace("\"uptimerobot\", ", "");
    let providers = &SHOP[SHOP.find("[providers.uptimerobot]").unwrap()..];
    std::fs::write(&config, format!("{least}{providers}")).unwrap();
    let plan = stage.expect(&["watchers", "drift", "--json"], 2).value();
    let removed = |provider: &str| {
        let all = plan["result"]["watchers"].as_array().unwrap();
        let one = all.iter().find(|row| row["provider"] == provider).unwrap();
        one["remove"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(removed("uptimerobot"), ["web"], "a vendor that nothing names any more is cleared");
    assert_eq!(removed("instatus"), ["Machine", "Shop"]);
    stage.expect(&["watchers", "apply"], 0);
    let drift = stage.expect(&["watchers", "drift"], 0);
    let (said, missing) = drift.out.split_once('\n').unwrap();
    assert_eq!(said, "no drift: everything is watched as the config asks");
    assert!(missing.starts_with("betterstack: no webhook is entered there: "), "{missing}");
}

#[test]
fn a_vendor_that_is_away_keeps_no_other_from_being_changed() {
    let stage = Stage::of(SHOP);
    stage.expect(&["drill", "set", "uptimerobot", "api-down"], 0);
    let said = stage.expect(&["watchers", "apply", "--json"], 6).value();
    assert!(said["errors"][0]["message"].as_str().unwrap().starts_with("uptimerobot could not"));
    stage.expect(&["drill", "clear"], 0);
    let said = stage.expect(&["watchers", "apply", "--json"], 0).value();
    let changed = said["result"]["watchers"].as_array().unwrap().iter();
    let changed: Vec<&Value> =
        changed.filter(|row| row["create"] != Value::Array(Vec::new())).collect();
    assert_eq!(changed.len(), 1, "{said}");
    assert_eq!(changed[0]["provider"], "uptimerobot");
}

#[test]
fn whoever_looks_at_monitors_has_an_address_for_hooks_that_can_be_made_anew() {
    let stage = Stage::of(SHOP);
    let addresses = || {
        let said = stage.expect(&["watchers", "hooks", "--json"], 0).value();
        let rows = said["result"]["hooks"].as_array().unwrap().clone();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(row, "provider"), text(row, "address"))).collect::<Vec<_>>()
    };
    let before = addresses();
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    // Healthchecks looks at nothing, and Instatus shows a page.
    assert_eq!(names, ["betterstack", "cronitor", "uptimerobot"]);
    assert!(before[0].1.contains("/hooks/betterstack/"), "{before:?}");
    assert_eq!(addresses(), before, "the same as long as nobody makes one anew");

    let told = stage.expect(&["watchers", "hooks", "--rotate", "cronitor"], 0);
    assert!(told.out.contains("is not answered any more"), "{}", told.out);
    let after = addresses();
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert_ne!(after[1].1, before[1].1);
    assert!(told.out.contains(&after[1].1), "{}", told.out);
    stage.expect(&["watchers", "hooks", "--rotate", "healthchecks"], 2);
}

/// Waits until a vendor holds all that it should.
#[track_caller]
fn kept(stage: &Stage) {
    let is_kept = (0..300).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let plan = stage.expect(&["watchers", "plan", "--json"], 0).value();
        plan["result"]["changed"] == false
    });
    assert!(is_kept, "{}", stage.expect(&["watchers", "plan"], 0).out);
}

#[test]
fn up_tells_the_page_at_a_vendor_of_what_changes_by_itself() {
    let config = "[stack]\nname = \"shop\"\n[services.web]\nimage = \"ghcr.io/acme/shop:1.0\"\nport = 8080\n\
        [status_page]\nalso_on = [\"instatus\"]\ncomponents = [{ name = \"Shop\", watch = \"service.web\" }]\n\
        [providers.instatus]\nkind = \"instatus\"\ntoken = \"${secret.INSTATUS_TOKEN}\"\n\
        [maintenance.backup]\ntitle = \"Backups\"\ncron = \"30 * * * *\"\nlasts = \"10m\"\nahead = \"8h\"\non = \"service.web\"\n";
    let stage = Stage::of(config);
    stage.expect(&["watchers", "plan", "--exit-code"], 3);
    let arguments = ["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control];
    let (up, _) = crate::page::start(stage.folder(), &arguments);
    kept(&stage);
    let opened = stage.expect(&["incident", "open", "Payments fail", "--on", "Shop", "--json"], 0);
    let id = opened.value()["result"]["id"].as_str().unwrap().to_owned();
    kept(&stage);
    stage.expect(&["incident", "resolve", &id], 0);
    kept(&stage);

    // Work goes through its stages there without anybody, and what is called off is gone.
    let schedule = ["maintenance", "schedule", "A new disk", "--on", "Shop", "--json", "--from"];
    let short = stage.expect(&[&schedule[..], &["2s", "--for", "3s"]].concat(), 0).value();
    let short = short["result"]["id"].as_str().unwrap();
    let is = |id: &str, status| (shown(&stage, id).as_deref() == status).then_some(());
    until("the work is over there", || is(short, Some("COMPLETED")));
    let last = announced(&stage).pop().unwrap();
    until("the last time is announced there", || is(&last, Some("NOTSTARTEDYET")));
    stage.expect(&["maintenance", "cancel", &last], 0);
    until("what was called off is gone", || is(&last, None));
    assert_eq!(shown(&stage, short).as_deref(), Some("COMPLETED"), "it is history");

    // It stays so for another process.
    drop(up);
    let (_up, _) = crate::page::start(stage.folder(), &arguments);
    kept(&stage);
    assert!(!announced(&stage).contains(&last) && shown(&stage, &last).is_none());
}

/// How far the work of that id is at Instatus; `None` where it is not there, and once it is there is only one of it.
fn shown(stage: &Stage, id: &str) -> Option<String> {
    let told = told(stage, "instatus", "/v1/{page}/maintenances?per_page=100");
    let is_it = |work: &&Value| {
        work["updates"][0]["message"].as_str().unwrap().ends_with(&format!("linkflow:shop {id}"))
    };
    let all: Vec<&Value> = told.as_array().unwrap().iter().filter(is_it).collect();
    assert!(all.len() <= 1, "{all:?}");
    all.first().map(|work| work["status"].as_str().unwrap().to_owned())
}

/// The ids of what is announced of windows, and was not called off, in order.
fn announced(stage: &Stage) -> Vec<String> {
    let told = stage.expect(&["maintenance", "list", "--json"], 0).value();
    let all = told["result"]["maintenance"].as_array().unwrap().clone();
    let on = all.iter().filter(|work| work["recurs"].is_object() && work["cancelled"] == false);
    let mut ids: Vec<String> = on.map(|work| work["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}
