//! What the Zeabur adapter sends, and what it does not, in cases of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use linkflow_model::role::{Compute, DomainState, Progress};
use linkflow_model::{Definition, EnvValue, FaultKind, Fingerprint, Lifecycle, Secret};
use linkflow_providers::compute::{self, Settings, zeabur};
use linkflow_providers::kit::{Account, Auth, Call, Limiter};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::canned::{Asked, Canned, Reply};
use super::stage::{SECRET, Stage, deployed, kit, seen};

const ID: &str = "0123456789abcdef01234567";

fn settings(api: &str) -> zeabur::Settings {
    zeabur::Settings {
        token: Secret::new("the-token"),
        project: None,
        environment: None,
        region: None,
        tcp_host: None,
        api: Some(api.to_owned()),
    }
}

fn open(settings: zeabur::Settings) -> Arc<dyn Compute> {
    let (stack, provider) = ("linkflow".parse().unwrap(), "zeabur".parse().unwrap());
    compute::open(Settings::Zeabur(settings), &kit(None), &stack, &provider)
}

fn project(name: &str, environments: &[&str]) -> Value {
    let rows: Vec<Value> = environments
        .iter()
        .map(|name| json!({ "_id": format!("id-of-{name}"), "name": name }))
        .collect();
    json!({ "_id": format!("id-of-{name}"), "name": name, "environments": rows })
}

fn page(nodes: &[Value]) -> Value {
    let edges: Vec<Value> = nodes.iter().map(|node| json!({ "node": node })).collect();
    json!({ "edges": edges, "pageInfo": { "hasNextPage": false } })
}

/// The name of the operation that was asked for.
fn name(asked: &Asked) -> String {
    let document = asked.json()["query"].as_str().unwrap().to_owned();
    document.split([' ', '(']).nth(1).unwrap().to_owned()
}

fn data(body: &Value) -> Reply {
    Reply::json(200, &json!({ "data": body }))
}

fn worker() -> Definition {
    let image = format!("ghcr.io/acme/linkflow/engine-worker@sha256:{}", "1".repeat(64));
    Definition {
        stack: "linkflow".parse().unwrap(),
        service: "engine-worker".parse().unwrap(),
        provider: "zeabur".parse().unwrap(),
        release: linkflow_model::ReleaseId(1),
        fingerprint: Fingerprint("f1".to_owned()),
        image: image.parse().unwrap(),
        command: None,
        login: None,
        kind: linkflow_model::ServiceKind::Worker,
        port: None,
        health: None,
        env: BTreeMap::new(),
        env_gone: Vec::new(),
        replicas: 1,
        size: linkflow_model::Size::default(),
    }
}

#[tokio::test]
async fn the_project_of_the_stack_is_found_by_its_name_on_whatever_page() {
    let server = Canned::start(|asked| match name(asked).as_str() {
        "projects" if asked.json()["variables"]["skip"] == 0 => {
            let mut first = page(&[project("other", &["production"])]);
            first["pageInfo"]["hasNextPage"] = json!(true);
            data(&json!({ "projects": first }))
        }
        "projects" => {
            data(&json!({ "projects": page(&[project("linkflow", &["staging", "production"])]) }))
        }
        _ => data(&json!({ "services": page(&[]) })),
    })
    .await;
    let compute = open(settings(&server.url));
    for _ in 0..2 {
        assert_eq!(compute.look().await.unwrap(), Vec::new());
    }
    let asked = server.asked();
    let names: Vec<String> = asked.iter().map(name).collect();
    assert_eq!(names, ["projects", "projects", "look", "look"], "what was found is remembered");
    let expected =
        json!({ "project": "id-of-linkflow", "environment": "id-of-production", "skip": 0 });
    assert_eq!(asked[2].json()["variables"], expected);
    assert_eq!(asked[0].header("authorization"), Some("Bearer the-token"));
}

#[tokio::test]
async fn ids_are_taken_with_the_word_that_the_dashboard_puts_before_them() {
    let server = Canned::start(|asked| match name(asked).as_str() {
        "project" => data(&json!({ "project": { "_id": ID, "name": "p", "environments": null } })),
        "environments" => data(&json!({ "environments": [
            { "_id": ID, "name": "a" }, { "_id": "another", "name": "b" },
        ] })),
        _ => data(&json!({ "services": page(&[]) })),
    })
    .await;
    let own = zeabur::Settings {
        project: Some(format!("project-{ID}")),
        environment: Some(format!("environment-{ID}")),
        ..settings(&server.url)
    };
    open(own.clone()).look().await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[0].json()["variables"]["id"], ID);
    assert_eq!(asked[2].json()["variables"]["environment"], ID);
    let fault = open(zeabur::Settings { environment: None, ..own }).look().await.unwrap_err();
    let expected =
        "project p has the environments a, b: name one as `environment` in [providers.zeabur]";
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Invalid, expected));
}

#[tokio::test]
async fn the_first_deploy_makes_the_project_in_the_region_and_without_one_says_so() {
    let is_made = AtomicBool::new(false);
    let server = Canned::start(move |asked| {
        let made = || project("linkflow", &["production"]);
        match name(asked).as_str() {
            "projects" if is_made.load(Ordering::SeqCst) => {
                data(&json!({ "projects": page(&[made()]) }))
            }
            "projects" => data(&json!({ "projects": page(&[]) })),
            "createProject" => {
                is_made.store(true, Ordering::SeqCst);
                data(&json!({ "createProject": made() }))
            }
            "look" => data(&json!({ "services": page(&[]) })),
            "createService" => data(&json!({ "createService": { "_id": "s" } })),
            "deploy" => data(&json!({ "deployFromSpecification": { "deploymentID": "d" } })),
            _ => data(&json!({ "done": true })),
        }
    })
    .await;
    let fault = open(settings(&server.url)).deploy(&worker()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(fault.said.contains("`region`"), "{fault}");

    let own = zeabur::Settings { region: Some("hnd1".to_owned()), ..settings(&server.url) };
    let deployment = open(own).deploy(&worker()).await.unwrap();
    assert_eq!(deployment.id, "run s d");
    let asked = server.asked().split_off(1);
    let names: Vec<String> = asked.iter().map(name).collect();
    let expected = ["projects", "createProject", "look", "createService", "setVariables", "deploy"];
    assert_eq!(names, expected);
    let variables = &asked[1].json()["variables"];
    assert_eq!(*variables, json!({ "region": "hnd1", "name": "linkflow" }));
    let variables = &asked[4].json()["variables"];
    let first = ["k0", "v0", "k1", "v1", "k2", "v2"].map(|name| variables[name].as_str().unwrap());
    let expected = [
        "LINKFLOW_STACK",
        "linkflow",
        "LINKFLOW_SERVICE",
        "engine-worker",
        "LINKFLOW_BEFORE",
        "none",
    ];
    assert_eq!(first, expected, "what marks it as ours comes first");
    assert_eq!(variables["k6"], "LINKFLOW_FINGERPRINT", "and what says that it is complete, last");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_anything_is_asked() {
    let server = Canned::start(|_| data(&json!({}))).await;
    let compute = open(settings(&server.url));
    let refused = async |wanted: Definition| compute.deploy(&wanted).await.unwrap_err();
    let command = Some(vec!["sh".to_owned()]);
    let fault = refused(Definition { command, ..worker() }).await;
    assert_eq!(fault.kind, FaultKind::Unsupported);
    let secret = EnvValue::Secret(Secret::new("a${b}c"));
    let env = BTreeMap::from([("KEY".to_owned(), secret)]);
    let fault = refused(Definition { env, ..worker() }).await;
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(fault.said.contains("KEY") && !fault.said.contains("a${b}c"), "{fault}");
    let fault = refused(Definition { replicas: 2, ..worker() }).await;
    assert_eq!(fault.kind, FaultKind::Unsupported);
    let kind = linkflow_model::ServiceKind::Grpc;
    let fault = refused(Definition { kind, port: Some(7_235), ..worker() }).await;
    assert_eq!(fault.kind, FaultKind::Unsupported);
    assert!(fault.said.contains("`tcp_host`") && !compute.capabilities().grpc, "{fault}");
    let login = Some(linkflow_model::RegistryLogin {
        registry: "ghcr.io".to_owned(),
        user: "me".to_owned(),
        password: Secret::new("pass"),
    });
    assert_eq!(compute.pull_problem(&worker()).await.unwrap(), None);
    let why = compute.pull_problem(&Definition { login, ..worker() }).await.unwrap().unwrap();
    assert!(why.contains("public"), "{why}");
    assert!(server.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_costs_one_request_once_the_services_are_known() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    for service in ["engine-worker", "engine-timer"] {
        let wanted = stage.definition("zeabur", service, "1.0", 1).await;
        assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    }
    compute.look().await.unwrap();
    let before = stage.recording().len();
    let all = compute.look().await.unwrap();
    assert_eq!((all.len(), stage.recording().len() - before), (2, 1));
    // A service that goes behind our back makes that request fail; the look does not.
    let other = stage.adapter("zeabur", "linkflow");
    other.delete(&"engine-timer".parse().unwrap()).await.unwrap();
    assert_eq!(compute.look().await.unwrap().len(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_and_ports_of_others_stay_and_only_those_gone_from_the_config_go() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    let mut wanted = stage.definition("zeabur", "engine-frontend", "1.0", 1).await;
    wanted.env.insert("OLD".to_owned(), EnvValue::Plain("1".to_owned()));
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let held = seen(&*compute, &wanted.service, |_| true).await;
    let place = json!({ "s": held.id, "e": stage.provider("zeabur").environment });
    let by_hand = "mutation set($s: ObjectID!, $e: ObjectID!) {
      createEnvironmentVariable(serviceID: $s, environmentID: $e, key: \"BY_HAND\", value: \"2\") { key }
      updateServicePorts(serviceID: $s, environmentID: $e, ports: [{ id: \"metrics\", port: 9100, type: \"HTTP\" }])
    }";
    ask(&stage, by_hand, place.clone()).await;

    wanted.env.remove("OLD");
    wanted.env_gone = vec!["OLD".to_owned(), "NEVER_SET".to_owned()];
    wanted.fingerprint = Fingerprint("other".to_owned());
    for _ in 0..2 {
        assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    }
    let text = "query held($s: ObjectID!, $e: ObjectID!) { service(_id: $s) {
      variables(environmentID: $e) { key value } ports(environmentID: $e) { id port } } }";
    let told = ask(&stage, text, place).await["data"]["service"].clone();
    let variables = told["variables"].as_array().unwrap();
    let value = |key: &str| variables.iter().find(|row| row["key"] == key).map(|row| &row["value"]);
    assert_eq!(value("BY_HAND"), Some(&json!("2")));
    assert_eq!(value("LINKFLOW_SECRET"), Some(&json!(SECRET)));
    assert_eq!(value("OLD"), None);
    let expected = json!([{ "id": "metrics", "port": 9100 }, { "id": "web", "port": 8080 }]);
    assert_eq!(told["ports"], expected);

    let recorded = serde_json::to_string(&stage.recording()).unwrap();
    assert_eq!(recorded.matches("deleteSingleEnvironmentVariable").count(), 1);
    assert!(!recorded.contains(" updateEnvironmentVariable("), "it takes away what it is not told");
    assert!(!recorded.contains("s3cr3t"), "a secret is in the recording");
    assert!(!recorded.contains("127.0.0.1:9\""), "a plain value is in the recording");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_service_of_our_name_is_used_and_a_full_one_is_left_alone() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    let create = "mutation make($p: ObjectID!) {
      a: createService(projectID: $p, template: PREBUILT_V2, name: \"linkflow-engine-timer\") { _id }
      b: createService(projectID: $p, template: PREBUILT_V2, name: \"linkflow-engine-worker\") { _id } }";
    let place = json!({ "p": stage.provider("zeabur").project });
    let made = ask(&stage, create, place).await["data"].clone();
    let fill = "mutation fill($s: ObjectID!, $e: ObjectID!) {
      createEnvironmentVariable(serviceID: $s, environmentID: $e, key: \"A\", value: \"1\") { key } }";
    let full = json!({ "s": made["b"]["_id"], "e": stage.provider("zeabur").environment });
    ask(&stage, fill, full).await;
    assert_eq!(compute.look().await.unwrap(), Vec::new());

    let timer = stage.definition("zeabur", "engine-timer", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &timer).await, Progress::Done);
    let held = compute.look().await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(json!(held[0].id), made["a"]["_id"]);

    let worker = stage.definition("zeabur", "engine-worker", "1.0", 1).await;
    let fault = compute.deploy(&worker).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(fault.said.contains("another project"), "{fault}");
    assert_eq!(compute.delete(&worker.service).await.unwrap_err().kind, FaultKind::Invalid);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_wakes_what_is_suspended_and_a_restart_does_not() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    let first = stage.definition("zeabur", "engine-timer", "1.0", 1).await;
    let second = stage.definition("zeabur", "engine-timer", "1.1", 2).await;
    let service = &first.service;
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    compute.scale(service, 0).await.unwrap();
    seen(&*compute, service, |seen| seen.lifecycle == Lifecycle::Stopped).await;
    compute.restart(service).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(stage.living("zeabur", "engine-timer"), 0);

    // A spare is changed without being started.
    let asleep = Definition { replicas: 0, ..second.clone() };
    assert_eq!(deployed(&*compute, &asleep).await, Progress::Done);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(stage.living("zeabur", "engine-timer"), 0);
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    let held = seen(&*compute, service, |seen| seen.running == 1).await;
    assert_eq!(held.digest.as_ref(), Some(&second.image.digest));
    assert_eq!(stage.living("zeabur", "engine-timer"), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_is_a_failed_deploy() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    let mut wanted = stage.definition("zeabur", "engine-timer", "1.0", 1).await;
    let nowhere = format!("ghcr.io/acme/linkflow/engine-timer@sha256:{}", "7".repeat(64));
    wanted.image = nowhere.parse().unwrap();
    let expected = "PULL_FAILED: its image could not be pulled".to_owned();
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Failed { why: expected });
    let held = seen(&*compute, &wanted.service, |_| true).await;
    assert_eq!((held.lifecycle, held.said.as_str()), (Lifecycle::Failed, "PULL_FAILED"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_the_stacks_own_leads_to_its_service_until_it_is_removed() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    let wanted = stage.definition("zeabur", "engine-frontend", "1.0", 1).await;
    let service = &wanted.service;
    let missing = compute.add_domain(service, "app.example.org").await.unwrap_err();
    assert_eq!(missing.kind, FaultKind::Missing);
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let held = seen(&*compute, service, |_| true).await;
    let own = held.address.as_deref().and_then(|a| a.strip_prefix("https://")).unwrap().to_owned();
    let project = stage.provider("zeabur").project.clone().unwrap();
    assert_eq!(own, format!("linkflow-engine-frontend-{}.zeabur.app", &project[18..]));

    let absent = compute.domain(service, "app.example.org").await.unwrap();
    assert_eq!(absent, DomainState::Absent);
    let waiting = compute.add_domain(service, "app.example.org").await.unwrap();
    let DomainState::Waiting { said, records } = waiting else { panic!("{waiting:?}") };
    assert_eq!(said, "PROVISIONING");
    assert_eq!((records[0].kind.as_str(), &records[0].value), ("CNAME", &own));
    sleep(Duration::from_millis(400)).await;
    let writes = stage.writes();
    for _ in 0..2 {
        let ready = compute.add_domain(service, "app.example.org").await.unwrap();
        assert_eq!(ready, DomainState::Ready);
    }
    assert_eq!(stage.writes(), writes);

    // The vendor's own name is not the stack's to remove.
    compute.remove_domain(service, &own).await.unwrap();
    assert_eq!(stage.writes(), writes);
    for _ in 0..2 {
        compute.remove_domain(service, "app.example.org").await.unwrap();
    }
    assert_eq!(stage.writes(), writes + 1);
    let absent = compute.domain(service, "app.example.org").await.unwrap();
    assert_eq!(absent, DomainState::Absent);
    assert_eq!(seen(&*compute, service, |_| true).await.address, held.address);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_credit_that_is_left_is_told_and_jobs_are_not_run() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    let usage = compute.usage().await.unwrap();
    assert_eq!((usage.len(), usage[0].what.as_str(), usage[0].used), (1, "credit_left", 480.0));
    assert_eq!(usage[0].limit, None);
    let can = compute.capabilities();
    assert_eq!((can.jobs, can.domains, can.usage, can.grpc), (false, true, true, true));
    assert_eq!(compute.job("migrate").await.unwrap_err().kind, FaultKind::Unsupported);
    assert!(zeabur::FACTS_ONLY.ends_with('.'));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_service_is_reached_through_a_forwarded_port() {
    let stage = Stage::start(&["zeabur"]).await;
    let compute = stage.adapter("zeabur", "linkflow");
    let wanted = stage.definition("zeabur", "engine-matching", "1.0", 1).await;
    for _ in 0..2 {
        assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    }
    let held = seen(&*compute, &wanted.service, |seen| seen.running == 1).await;
    let address = held.address.unwrap();
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let asked = http2.post(format!("{address}/grpc.health.v1.Health/Check"));
    let asked = asked.header("content-type", "application/grpc").body(vec![0; 5]);
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.headers()["x-linkflow-service"], "engine-matching");
    assert_eq!(answer.bytes().await.unwrap().as_ref(), b"\0\0\0\0\x02\x08\x01");
    stage.stop().await;
}

/// Asks the simulated vendor past the adapter.
async fn ask(stage: &Stage, query: &str, variables: Value) -> Value {
    let endpoint = stage.provider("zeabur");
    let vendor = kit(None).vendor(Account {
        provider: "zeabur".parse().unwrap(),
        spec: "zeabur",
        production: String::new(),
        base: format!("{}/graphql", endpoint.api),
        auth: Some(Auth::bearer(Secret::new(endpoint.token.clone()))),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    });
    let call = Call::write(Method::POST, "ask", "", "");
    let answer: Value = vendor
        .send_for(call.json(json!({ "query": query, "variables": variables })))
        .await
        .unwrap();
    assert_eq!(answer.get("errors"), None, "{answer}");
    answer
}
