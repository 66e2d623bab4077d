//! What is particular to Koyeb: one definition replaced whole, secrets by reference, pausing, sleeping, apps.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use linkflow_model::role::{Compute, DomainState, Progress, Seen};
use linkflow_model::{
    Definition, EnvValue, FaultKind, Lifecycle, RegistryLogin, Secret, ServiceName,
};
use linkflow_providers::compute::{self, Settings, koyeb};
use linkflow_providers::kit::{Account, Auth, Call, Limiter, Vendor};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::canned::{Canned, Reply};
use super::stage::{Stage, deployed, kit, seen};

/// The API as somebody else uses it: a person at the dashboard.
fn person(stage: &Stage) -> Vendor {
    let endpoint = stage.provider("koyeb");
    kit(None).vendor(Account {
        provider: "person".parse().unwrap(),
        spec: "koyeb",
        production: "person".to_owned(),
        base: endpoint.api.clone(),
        auth: Some(Auth::bearer(Secret::new(endpoint.token.clone()))),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    })
}

async fn get(person: &Vendor, path: &str) -> Value {
    person.send_for(Call::read("get", path, path)).await.unwrap()
}

async fn send(person: &Vendor, method: Method, path: &str, body: Value) -> Value {
    person.send_for(Call::write(method, "send", path, path).json(body)).await.unwrap()
}

/// What the only service of `stage` was last told to run, as the vendor keeps it.
async fn definition(person: &Vendor) -> (String, Value) {
    let service = get(person, "/v1/services?limit=100").await["services"][0].take();
    let latest = service["latest_deployment_id"].as_str().unwrap();
    let run = get(person, &format!("/v1/deployments/{latest}")).await;
    (service["id"].as_str().unwrap().to_owned(), run["deployment"]["definition"].clone())
}

async fn secrets(person: &Vendor) -> Vec<String> {
    let listed = get(person, "/v1/secrets?limit=100").await;
    let names =
        listed["secrets"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names
}

fn settings(stage: &Stage) -> koyeb::Settings {
    let endpoint = stage.provider("koyeb");
    koyeb::Settings {
        token: Secret::new(endpoint.token.clone()),
        organization: None,
        region: "fra".to_owned(),
        instance: None,
        app_prefix: None,
        sleep_after: None,
        api: Some(endpoint.api.clone()),
    }
}

fn open(stage: &Stage, settings: koyeb::Settings) -> Arc<dyn Compute> {
    let (stack, name) = ("linkflow".parse().unwrap(), "koyeb".parse().unwrap());
    compute::open(Settings::Koyeb(settings), &stage.kit, &stack, &name)
}

fn entry<'a>(definition: &'a Value, key: &str) -> Option<&'a Value> {
    definition["env"].as_array().unwrap().iter().find(|entry| entry["key"] == key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_go_into_the_store_and_what_a_stranger_set_stays() {
    let stage = Stage::start(&["koyeb"]).await;
    let (compute, person) = (stage.adapter("koyeb", "linkflow"), person(&stage));
    send(
        &person,
        Method::POST,
        "/v1/secrets",
        json!({ "name": "theirs", "type": "SIMPLE", "value": "x" }),
    )
    .await;
    let mut first = stage.definition("koyeb", "api", "1.0", 1).await;
    first.env.insert("OLD".to_owned(), EnvValue::Plain("1".to_owned()));
    first.env.insert("OLD_SECRET".to_owned(), EnvValue::Secret(Secret::new("old-secret-value")));
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let own =
        ["linkflow_linkflow_api_LINKFLOW_SECRET", "linkflow_linkflow_api_OLD_SECRET", "theirs"];
    assert_eq!(secrets(&person).await, own);

    let (id, mut held) = definition(&person).await;
    assert_eq!(entry(&held, "LINKFLOW_SECRET").unwrap()["secret"], own[0]);
    held["env"].as_array_mut().unwrap().push(json!({ "key": "THEIRS", "secret": "theirs" }));
    held["volumes"] = json!([{ "id": "vol", "path": "/data" }]);
    send(&person, Method::PATCH, &format!("/v1/services/{id}"), json!({ "definition": held }))
        .await;

    let mut second = stage.definition("koyeb", "api", "1.1", 2).await;
    second.env_gone = vec!["OLD".to_owned(), "OLD_SECRET".to_owned()];
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    let (_, held) = definition(&person).await;
    assert_eq!(entry(&held, "THEIRS").unwrap()["secret"], "theirs");
    assert_eq!(held["volumes"][0]["id"], "vol");
    assert_eq!((entry(&held, "OLD"), entry(&held, "OLD_SECRET")), (None, None));
    // What ran until now may be started again while it is replaced; the next change removes it.
    assert_eq!(secrets(&person).await, own);
    let third = stage.definition("koyeb", "api", "1.2", 3).await;
    assert_eq!(deployed(&*compute, &third).await, Progress::Done);
    assert_eq!(secrets(&person).await, [own[0], "theirs"]);

    compute.delete(&first.service).await.unwrap();
    assert_eq!(secrets(&person).await, ["theirs"]);
    let said = serde_json::to_string(&stage.recording()).unwrap();
    assert!(
        !said.contains("s3cr3t") && !said.contains("old-secret-value"),
        "a secret was recorded"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_to_rest_never_runs_before_it_is_woken() {
    let stage = Stage::start(&["koyeb"]).await;
    let compute = stage.adapter("koyeb", "linkflow");
    let wanted = stage.definition("koyeb", "engine-timer", "1.0", 1).await;
    let asleep = Definition { replicas: 0, ..wanted.clone() };
    assert_eq!(deployed(&*compute, &asleep).await, Progress::Done);
    let held = seen(&*compute, &wanted.service, |seen| seen.lifecycle == Lifecycle::Stopped).await;
    assert_eq!((held.replicas, held.running), (0, 0));
    assert_eq!(held.fingerprint.as_ref(), Some(&wanted.fingerprint));
    let log = compute.logs(&wanted.service, 100).await.unwrap();
    assert!(
        log.iter().all(|line| line.text.contains("no such file")),
        "nothing of the app ran: {log:?}"
    );

    compute.scale(&wanted.service, 1).await.unwrap();
    seen(&*compute, &wanted.service, |s| s.lifecycle == Lifecycle::Running && s.running == 1).await;

    // Another version that is to rest is stored, and does not run either.
    let second = stage.definition("koyeb", "engine-timer", "1.1", 2).await;
    let resting = Definition { replicas: 0, ..second.clone() };
    assert_eq!(deployed(&*compute, &resting).await, Progress::Done);
    let held = seen(&*compute, &wanted.service, |seen| seen.lifecycle == Lifecycle::Stopped).await;
    assert_eq!(held.digest.as_ref(), Some(&second.image.digest));
    assert_eq!(stage.living("koyeb", "engine-timer"), 0);
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    let held = seen(&*compute, &wanted.service, |s| s.running == 1).await;
    assert_eq!(held.digest.as_ref(), Some(&second.image.digest));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_starts_what_runs_and_not_what_is_stored() {
    let stage = Stage::start(&["koyeb"]).await;
    let (compute, person) = (stage.adapter("koyeb", "linkflow"), person(&stage));
    let wanted = stage.definition("koyeb", "engine-worker", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let (id, mut stored) = definition(&person).await;
    let other = stage.definition("koyeb", "engine-worker", "1.1", 2).await;
    stored["docker"]["image"] = json!(other.image.to_string());
    let body = json!({ "definition": stored, "save_only": true });
    send(&person, Method::PATCH, &format!("/v1/services/{id}"), body).await;
    let active = async || {
        let held = get(&person, &format!("/v1/services/{id}")).await;
        held["service"]["active_deployment_id"].clone()
    };
    let before = active().await;
    compute.restart(&wanted.service).await.unwrap();
    for _ in 0..100 {
        if active().await != before {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(active().await, before, "another deployment runs");
    let held = seen(&*compute, &wanted.service, |s| s.lifecycle == Lifecycle::Running).await;
    assert_eq!(held.digest.as_ref(), Some(&wanted.image.digest));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_nobody_asks_sleeps_and_wakes_with_the_next_request() {
    let stage = Stage::start(&["koyeb"]).await;
    let compute = open(
        &stage,
        koyeb::Settings { sleep_after: Some(Duration::from_secs(1)), ..settings(&stage) },
    );
    assert_eq!(compute.capabilities().sleeps_after, Some(1));
    let wanted = stage.definition("koyeb", "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let held = seen(&*compute, &wanted.service, |seen| seen.lifecycle == Lifecycle::Asleep).await;
    assert_eq!((held.said.as_str(), held.replicas, held.running), ("SLEEPING", 1, 0));
    let before = stage.writes();
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done, "asleep is as good as running");
    assert_eq!(stage.writes(), before);

    let host = held.address.unwrap().strip_prefix("https://").unwrap().to_owned();
    let ingress = format!("http://{}", stage.provider("koyeb").ingress);
    let visitor = kit(None).vendor(Account {
        provider: "visitor".parse().unwrap(),
        spec: "none",
        production: "visitor".to_owned(),
        base: ingress,
        auth: None,
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    });
    let mut status = 0;
    for _ in 0..100 {
        let call = Call::read("visit", "it", "/api/v1/health").header("host", host.clone());
        status = visitor.exchange(&call).await.unwrap().status.as_u16();
        if status == 200 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status, 200);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_login_is_a_secret_of_its_own_and_follows_the_config() {
    let stage = Stage::start(&["koyeb"]).await;
    let (compute, person) = (stage.adapter("koyeb", "linkflow"), person(&stage));
    let login = |password: &str| RegistryLogin {
        registry: "ghcr.io".to_owned(),
        user: "me".to_owned(),
        password: Secret::new(password),
    };
    let mut wanted = stage.definition("koyeb", "engine-worker", "1.0", 1).await;
    wanted.login = Some(login("first-password"));
    assert_eq!(
        compute.pull_problem(&wanted).await.unwrap(),
        None,
        "the vendor has no login to ask with yet"
    );
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let (_, held) = definition(&person).await;
    assert_eq!(held["docker"]["image_registry_secret"], "linkflow-registry_linkflow_engine-worker");
    assert_eq!(compute.pull_problem(&wanted).await.unwrap(), None);

    let before = stage.writes();
    compute.deploy(&wanted).await.unwrap();
    assert_eq!(stage.writes(), before, "the same login is not written again");
    wanted.login = Some(login("second-password"));
    compute.deploy(&wanted).await.unwrap();
    let last = stage.recording().into_iter().rfind(|exchange| exchange["method"] != "GET").unwrap();
    assert_eq!((stage.writes(), &last["method"]), (before + 1, &json!("PATCH")));
    assert_eq!(last["request_body"]["github_registry"]["username"], "me");

    compute.delete(&wanted.service).await.unwrap();
    assert_eq!(secrets(&person).await, Vec::<String>::new());
    let said = serde_json::to_string(&stage.recording()).unwrap();
    assert!(!said.contains("-password"), "a password was recorded");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_is_known_before_and_told_after() {
    let stage = Stage::start(&["koyeb"]).await;
    let compute = stage.adapter("koyeb", "linkflow");
    let mut wanted = stage.definition("koyeb", "engine-worker", "1.0", 1).await;
    assert_eq!(compute.pull_problem(&wanted).await.unwrap(), None);
    let image = format!("ghcr.io/acme/linkflow/engine-worker@sha256:{}", "0".repeat(64));
    wanted.image = image.parse().unwrap();
    let problem = compute.pull_problem(&wanted).await.unwrap().unwrap();
    assert!(problem.starts_with("ANON_NOT_FOUND: "), "{problem}");
    let Progress::Failed { why } = deployed(&*compute, &wanted).await else {
        panic!("it cannot run")
    };
    assert!(why.starts_with("ERROR: Failed to pull"), "{why}");
    let held = seen(&*compute, &wanted.service, |_| true).await;
    assert_eq!(held.lifecycle, Lifecycle::Failed);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_free_instance_and_a_second_leaves_nothing_behind() {
    let stage = Stage::start(&["koyeb"]).await;
    let (person, free) = (person(&stage), Some("free".to_owned()));
    let compute = open(&stage, koyeb::Settings { instance: free, ..settings(&stage) });
    let capabilities = compute.capabilities();
    assert_eq!((capabilities.workers, capabilities.sleeps_after), (false, Some(3_600)));
    let first = stage.definition("koyeb", "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let second = stage.definition("koyeb", "engine-frontend", "1.0", 1).await;
    let fault = compute.deploy(&second).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exhausted, "{fault}");
    sleep(Duration::from_millis(200)).await;
    let apps = get(&person, "/v1/apps").await;
    assert_eq!((&apps["count"], &apps["apps"][0]["name"]), (&json!(1), &json!("linkflow-api")));
    assert_eq!(secrets(&person).await, ["linkflow_linkflow_api_LINKFLOW_SECRET"]);

    let usage = compute.usage().await.unwrap();
    let told: Vec<(&str, Option<f64>)> = usage.iter().map(|u| (u.what.as_str(), u.limit)).collect();
    let expected =
        [("instance_hours", None), ("services", Some(20.0)), ("free_instances", Some(1.0))];
    assert_eq!(told, expected);
    assert!((usage[2].used - 1.0).abs() < 1e-9 && usage[0].used > 0.0, "{usage:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_our_own_belongs_to_the_app() {
    let stage = Stage::start(&["koyeb"]).await;
    let (compute, person) = (stage.adapter("koyeb", "linkflow"), person(&stage));
    let wanted = stage.definition("koyeb", "api", "1.0", 1).await;
    let service = &wanted.service;
    assert_eq!(
        compute.add_domain(service, "api.example.com").await.unwrap_err().kind,
        FaultKind::Missing
    );
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    assert_eq!(compute.domain(service, "api.example.com").await.unwrap(), DomainState::Absent);
    let state = compute.add_domain(service, "api.example.com").await.unwrap();
    let DomainState::Waiting { said, records } = &state else { panic!("{state:?}") };
    assert_eq!((said.as_str(), records[0].kind.as_str()), ("PENDING", "CNAME"));
    assert!(records[0].value.ends_with(".cname.koyeb.app"), "{records:?}");
    assert_eq!(compute.domain(service, "api.example.com").await.unwrap(), state);
    compute.add_domain(service, "api.example.com").await.unwrap();
    assert_eq!(compute.domain(service, "api.example.com").await.unwrap(), DomainState::Ready);
    compute.remove_domain(service, "api.example.com").await.unwrap();
    compute.remove_domain(service, "api.example.com").await.unwrap();
    assert_eq!(compute.domain(service, "api.example.com").await.unwrap(), DomainState::Absent);

    send(
        &person,
        Method::POST,
        "/v1/domains",
        json!({ "name": "theirs.example.com", "type": "CUSTOM" }),
    )
    .await;
    let fault = compute.add_domain(service, "theirs.example.com").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    compute.remove_domain(service, "theirs.example.com").await.unwrap();
    let held = get(&person, "/v1/domains?types=CUSTOM").await;
    assert_eq!(held["domains"][0]["name"], "theirs.example.com");
    let job = compute.job("migrate").await.unwrap_err();
    assert_eq!(job.kind, FaultKind::Unsupported, "there are no one-off jobs");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_somebody_else_uses_too_stays() {
    let stage = Stage::start(&["koyeb"]).await;
    let (compute, person) = (stage.adapter("koyeb", "linkflow"), person(&stage));
    let wanted = stage.definition("koyeb", "engine-worker", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let (_, mut theirs) = definition(&person).await;
    theirs["env"] = json!([]);
    let app = get(&person, "/v1/apps").await["apps"][0]["id"].take();
    let body = json!({ "app_id": app, "name": "theirs", "definition": theirs });
    send(&person, Method::POST, "/v1/services", body).await;

    assert_eq!(compute.look().await.unwrap().len(), 1, "theirs is not listed");
    compute.delete(&wanted.service).await.unwrap();
    let only_theirs = async || {
        let services = get(&person, "/v1/services").await;
        (services["count"].as_u64(), services["services"][0]["name"].clone())
    };
    for _ in 0..100 {
        if only_theirs().await.0 == Some(1) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(only_theirs().await, (Some(1), json!("theirs")));
    assert_eq!(get(&person, "/v1/apps").await["count"], 1);
    let fault = compute.deploy(&wanted).await.unwrap_err();
    assert!(fault.kind == FaultKind::Invalid && fault.said.contains("app_prefix"), "{fault}");
    compute.delete(&wanted.service).await.unwrap_err();
    stage.stop().await;
}

fn canned(api: &str) -> Arc<dyn Compute> {
    let settings = Settings::Koyeb(koyeb::Settings {
        token: Secret::new("the-token"),
        organization: None,
        region: "fra".to_owned(),
        instance: None,
        app_prefix: None,
        sleep_after: None,
        api: Some(api.to_owned()),
    });
    compute::open(settings, &kit(None), &"linkflow".parse().unwrap(), &"koyeb".parse().unwrap())
}

#[tokio::test]
async fn lists_are_read_to_their_end_and_unknown_words_are_let_through() {
    let server = Canned::start(|asked| {
        let is_second = asked.path.contains("offset=100");
        let body = match asked.path.split('?').next().unwrap() {
            "/v1/apps" => {
                let other = |n| json!({ "id": format!("a{n}"), "name": format!("else-{n}"), "domains": null });
                let rows: Vec<Value> = match is_second {
                    false => (0..100).map(other).collect(),
                    true => vec![json!({ "id": "ours", "name": "linkflow-api", "status": "A_NEW_ONE" })],
                };
                json!({ "apps": rows })
            }
            "/v1/services" => json!({ "services": [{
                "id": "s", "name": "api", "app_id": "ours", "status": "A_NEW_ONE",
                "latest_deployment_id": "d", "active_deployment_id": null,
            }] }),
            "/v1/deployments" => json!({ "deployments": null }),
            "/v1/deployments/d" => json!({ "deployment": { "id": "d", "status": "A_NEW_ONE", "definition": { "env": [
                { "key": "LINKFLOW_STACK", "value": "linkflow" }, { "key": "LINKFLOW_SERVICE", "value": "api" },
            ] } } }),
            _ => json!({ "instances": [] }),
        };
        Reply::json(200, &body)
    })
    .await;
    let all: Vec<Seen> = canned(&server.url).look().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].lifecycle, all[0].said.as_str()), (Lifecycle::Unknown, "A_NEW_ONE"));
}

#[tokio::test]
async fn a_refusal_names_the_field_and_says_what_can_be_done() {
    let check = async |status: u16, body: Value, kind: FaultKind, part: &str| {
        let server = Canned::start(move |_| Reply::json(status, &body)).await;
        let service = ServiceName::new("api").unwrap();
        let fault = canned(&server.url).scale(&service, 1).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.said.contains(part), "{fault}");
    };
    let field = |why: &str| {
        json!({ "status": 400, "code": "invalid_argument", "message": "Validation error",
                "fields": [{ "field": "definition.scalings", "description": why }] })
    };
    check(400, field("is odd"), FaultKind::Invalid, "definition.scalings is odd").await;
    check(400, field("exceeds your quota"), FaultKind::Exhausted, "exceeds your quota").await;
    check(400, field("already exists"), FaultKind::Conflict, "already exists").await;
    check(
        401,
        json!({ "status": 401, "message": "Token rejected" }),
        FaultKind::Denied,
        "rejected",
    )
    .await;
    let spent = json!({ "status": 403, "message": "maximum number of free instances" });
    check(403, spent, FaultKind::Exhausted, "free instances").await;
}
