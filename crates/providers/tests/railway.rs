//! What the Railway adapter sends, and what it does not, in cases of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use linkflow_model::role::{Compute, Progress};
use linkflow_model::{Definition, EnvValue, FaultKind, Secret};
use linkflow_providers::compute::railway::{Plan, TokenKind};
use linkflow_providers::compute::{self, Settings, railway};
use linkflow_providers::kit::{Account, Auth, Call, Limiter};
use serde_json::{Value, json};

use super::canned::{Asked, Canned, Reply};
use super::stage::{Stage, deployed, kit, seen};

fn settings(api: &str) -> railway::Settings {
    railway::Settings {
        token: Secret::new("the-token"),
        token_kind: TokenKind::Account,
        project: None,
        environment: None,
        workspace: None,
        api: Some(api.to_owned()),
        plan: Plan::Free,
        sleeps: false,
    }
}

fn open(settings: railway::Settings) -> Arc<dyn Compute> {
    let (stack, provider) = ("linkflow".parse().unwrap(), "railway".parse().unwrap());
    compute::open(Settings::Railway(settings), &kit(None), &stack, &provider)
}

fn project(name: &str, environments: &[&str]) -> Value {
    let edges: Vec<Value> = environments
        .iter()
        .map(|name| json!({ "node": { "id": format!("id-of-{name}"), "name": name } }))
        .collect();
    json!({ "id": format!("id-of-{name}"), "name": name, "environments": { "edges": edges } })
}

fn page(nodes: &[Value]) -> Value {
    let edges: Vec<Value> = nodes.iter().map(|node| json!({ "node": node })).collect();
    json!({ "edges": edges, "pageInfo": { "hasNextPage": false, "endCursor": null } })
}

/// An environment without services.
fn empty() -> Value {
    json!({ "environment": { "serviceInstances": page(&[]) } })
}

/// The name of the operation that was asked for.
fn name(asked: &Asked) -> String {
    let document = asked.json()["query"].as_str().unwrap().to_owned();
    document.split([' ', '(']).nth(1).unwrap().to_owned()
}

fn data(body: &Value) -> Reply {
    Reply::json(200, &json!({ "data": body }))
}

#[tokio::test]
async fn the_project_of_the_stack_is_found_by_its_name() {
    let server = Canned::start(|asked| match name(asked).as_str() {
        "projects" => data(&json!({ "projects": page(&[
            project("other", &["production"]), project("linkflow", &["staging", "production"]),
        ]) })),
        _ => data(&empty()),
    })
    .await;
    let compute = open(settings(&server.url));
    for _ in 0..2 {
        assert_eq!(compute.look().await.unwrap(), Vec::new());
    }
    let asked = server.asked();
    let names: Vec<String> = asked.iter().map(name).collect();
    assert_eq!(names, ["projects", "look", "look"], "what was found is remembered");
    let expected =
        json!({ "project": "id-of-linkflow", "environment": "id-of-production", "after": null });
    assert_eq!(asked[1].json()["variables"], expected);
    assert_eq!(asked[0].header("authorization"), Some("Bearer the-token"));
}

#[tokio::test]
async fn a_project_token_knows_its_own_place() {
    let server = Canned::start(|asked| match name(asked).as_str() {
        "token" => data(&json!({ "projectToken": { "projectId": "p", "environmentId": "e" } })),
        _ => data(&empty()),
    })
    .await;
    let own = railway::Settings { token_kind: TokenKind::Project, ..settings(&server.url) };
    open(own.clone()).look().await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[1].json()["variables"]["environment"], "e");
    assert_eq!(asked[0].header("project-access-token"), Some("the-token"));
    assert_eq!(asked[0].header("authorization"), None);
    let other = railway::Settings { project: Some("another".to_owned()), ..own };
    assert_eq!(open(other).look().await.unwrap_err().kind, FaultKind::Invalid);
}

#[tokio::test]
async fn an_environment_that_is_not_there_is_explained() {
    let server = Canned::start(|_| data(&json!({ "project": project("p", &["a", "b"]) }))).await;
    let own = settings(&server.url);
    let fault = open(railway::Settings { project: Some("p".to_owned()), ..own });
    let fault = fault.look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    let expected =
        "project p has the environments a, b: name one as `environment` in [providers.railway]";
    assert_eq!(fault.said, expected);
}

#[tokio::test]
async fn without_a_project_nothing_is_deployed_and_the_first_deploy_makes_one() {
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
                data(&json!({ "projectCreate": made() }))
            }
            "look" => data(&empty()),
            "createService" => data(&json!({ "serviceCreate": { "id": "s" } })),
            "deploy" => data(&json!({ "serviceInstanceDeployV2": "d" })),
            _ => data(&json!({ "done": true })),
        }
    })
    .await;
    let compute = open(settings(&server.url));
    assert_eq!(compute.look().await.unwrap(), Vec::new());
    let deployment = compute.deploy(&worker()).await.unwrap();
    assert_eq!(deployment.id, "unchecked d");
    let asked = server.asked();
    let names: Vec<String> = asked.iter().map(name).collect();
    let expected = [
        "projects",
        "projects",
        "createProject",
        "look",
        "createService",
        "limitInstance",
        "updateInstance",
        "deploy",
    ];
    assert_eq!(names, expected);
    let variables = &asked[4].json()["variables"]["input"]["variables"];
    assert_eq!(variables["LINKFLOW_STACK"], "linkflow", "the service is ours from the start");
    assert_eq!(variables["LINKFLOW_BEFORE"], "none");
}

fn worker() -> Definition {
    let image = format!("ghcr.io/acme/linkflow/engine-worker@sha256:{}", "1".repeat(64));
    Definition {
        stack: "linkflow".parse().unwrap(),
        service: "engine-worker".parse().unwrap(),
        provider: "railway".parse().unwrap(),
        release: linkflow_model::ReleaseId(1),
        fingerprint: linkflow_model::Fingerprint("f1".to_owned()),
        image: image.parse().unwrap(),
        command: Some(["sh", "-c", "echo it's fine"].map(str::to_owned).to_vec()),
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
async fn a_refusal_with_status_200_is_a_refusal() {
    let server = Canned::start(|_| {
        Reply::json(200, &json!({ "data": null, "errors": [{ "message": "Not Authorized" }] }))
    });
    let fault = open(settings(&server.await.url)).look().await.unwrap_err();
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Denied, "Not Authorized"));
}

#[tokio::test]
async fn a_size_that_the_plan_does_not_allow_stops_no_deploy() {
    let server = Canned::start(|asked| match name(asked).as_str() {
        "project" => data(&json!({ "project": project("p", &["production"]) })),
        "look" => data(&empty()),
        "createService" => data(&json!({ "serviceCreate": { "id": "s" } })),
        "limitInstance" => Reply::json(200, &json!({ "errors": [{ "message": "Invalid limit" }] })),
        "deploy" => data(&json!({ "serviceInstanceDeployV2": "d" })),
        _ => data(&json!({ "done": true })),
    })
    .await;
    let own = railway::Settings { project: Some("p".to_owned()), ..settings(&server.url) };
    open(own).deploy(&worker()).await.unwrap();
    let update = server.asked().into_iter().find(|asked| name(asked) == "updateInstance");
    let input = update.unwrap().json()["variables"]["input"].clone();
    assert_eq!(input["startCommand"], r"sh -c 'echo it'\''s fine'");
    assert_eq!(input["restartPolicyType"], "ON_FAILURE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_costs_one_request_once_the_services_are_known() {
    let stage = Stage::start(&["railway"]).await;
    let compute = stage.adapter("railway", "linkflow");
    for service in ["engine-worker", "engine-timer"] {
        let wanted = stage.definition("railway", service, "1.0", 1).await;
        assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    }
    compute.look().await.unwrap();
    let before = stage.recording().len();
    let all = compute.look().await.unwrap();
    assert_eq!((all.len(), stage.recording().len() - before), (2, 1));
    // A service that goes behind our back makes that request fail; the look does not.
    let other = stage.adapter("railway", "linkflow");
    other.delete(&"engine-timer".parse().unwrap()).await.unwrap();
    assert_eq!(compute.look().await.unwrap().len(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_service_is_reached_through_a_tcp_proxy() {
    let stage = Stage::start(&["railway"]).await;
    let compute = stage.adapter("railway", "linkflow");
    let wanted = stage.definition("railway", "engine-matching", "1.0", 1).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_variables_that_are_gone_from_the_config_are_removed() {
    let stage = Stage::start(&["railway"]).await;
    let compute = stage.adapter("railway", "linkflow");
    let mut wanted = stage.definition("railway", "engine-worker", "1.0", 1).await;
    wanted.env.insert("OLD".to_owned(), EnvValue::Plain("1".to_owned()));
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let held = seen(&*compute, &wanted.service, |_| true).await;
    let endpoint = stage.provider("railway");
    let place = json!({
        "projectId": endpoint.project, "environmentId": endpoint.environment, "serviceId": held.id,
    });
    let mut by_hand = place.clone();
    by_hand["name"] = json!("BY_HAND");
    by_hand["value"] = json!("2");
    by_hand["skipDeploys"] = json!(true);
    let text = "mutation set($input: VariableUpsertInput!) { variableUpsert(input: $input) }";
    ask(&stage, text, json!({ "input": by_hand })).await;

    wanted.env.remove("OLD");
    wanted.env_gone = vec!["OLD".to_owned(), "NEVER_SET".to_owned()];
    wanted.fingerprint = linkflow_model::Fingerprint("other".to_owned());
    for _ in 0..2 {
        assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    }
    let text = "query vars($projectId: String!, $environmentId: String!, $serviceId: String!) {
      variables(projectId: $projectId, environmentId: $environmentId, serviceId: $serviceId) }";
    let variables = ask(&stage, text, place).await["data"]["variables"].clone();
    assert_eq!(variables["BY_HAND"], "2");
    assert!(variables.get("OLD").is_none(), "{variables}");
    let deletes = |e: &&Value| e["request_body"].to_string().contains("variableDelete");
    assert_eq!(stage.recording().iter().filter(deletes).count(), 1);
    stage.stop().await;
}

/// Asks the simulated vendor past the adapter.
async fn ask(stage: &Stage, query: &str, variables: Value) -> Value {
    let endpoint = stage.provider("railway");
    let vendor = kit(None).vendor(Account {
        provider: "railway".parse().unwrap(),
        spec: "railway",
        production: String::new(),
        base: format!("{}/graphql/v2", endpoint.api),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_image_is_pulled_with_the_login_which_is_told_again_only_when_it_changes() {
    let stage = Stage::start(&["railway"]).await;
    let compute = stage.adapter("railway", "linkflow");
    let wanted = stage.private(stage.definition("railway", "engine-worker", "1.0", 1).await);
    let mut wrong = wanted.clone();
    wrong.login.as_mut().unwrap().password = Secret::new("not-the-password");
    let progress = deployed(&*compute, &wrong).await;
    assert!(matches!(progress, Progress::Failed { .. }), "{progress:?}");
    let told = || {
        let tells = |e: &&Value| e["request_body"].to_string().contains("registryCredentials");
        stage.recording().iter().filter(tells).count()
    };
    assert_eq!(told(), 1);
    let next = Definition { fingerprint: linkflow_model::Fingerprint("2".repeat(32)), ..wanted };
    for _ in 0..2 {
        assert_eq!(deployed(&*compute, &next).await, Progress::Done);
    }
    assert_eq!(told(), 2);
    let recorded = serde_json::to_string(&stage.recording()).unwrap();
    assert!(!recorded.contains(&stage.endpoints.registry_login.password));
    assert!(!recorded.contains("not-the-password"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_told_in_our_words_and_own_domains_are_served() {
    let stage = Stage::start(&["railway"]).await;
    let compute = stage.adapter("railway", "linkflow");
    let api = stage.definition("railway", "api", "1.0", 1).await;
    super::contract::serves_own_domains(&*compute, &api, "app.example.com").await;
    let usage = compute.usage().await.unwrap();
    let cpu = usage.iter().find(|row| row.what == "vcpu_seconds").unwrap();
    assert!(cpu.used > 0.0 && cpu.unit == "s" && cpu.limit.is_none(), "{cpu:?}");
    assert_eq!(usage.len(), 4);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_may_sleep_is_asleep_when_idle_and_awake_after_a_request() {
    let stage = Stage::start(&["railway"]).await;
    let endpoint = stage.provider("railway");
    let awake = railway::Settings {
        token: Secret::new(endpoint.token.clone()),
        project: endpoint.project.clone(),
        environment: endpoint.environment.clone(),
        plan: Plan::Pro,
        ..settings(&format!("{}/graphql/v2", endpoint.api))
    };
    assert_eq!(open(awake.clone()).capabilities().sleeps_after, None);
    let compute = open(railway::Settings { sleeps: true, ..awake });
    assert_eq!(compute.capabilities().sleeps_after, Some(600));
    let api = stage.definition("railway", "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &api).await, Progress::Done);
    let asleep = |s: &linkflow_model::role::Seen| s.lifecycle == linkflow_model::Lifecycle::Asleep;
    let held = seen(&*compute, &api.service, asleep).await;
    assert_eq!((held.running, held.replicas), (0, 1), "it is still meant to run");
    assert_eq!(held.fingerprint.as_ref(), Some(&api.fingerprint));

    let host = held.address.unwrap().trim_start_matches("https://").to_owned();
    let visit = reqwest::Client::new().get(format!("http://{}/api/v1/health", endpoint.ingress));
    let visit = visit.header("host", host);
    assert_eq!(visit.send().await.unwrap().status().as_u16(), 200, "the first one wakes it");
    let running =
        |s: &linkflow_model::role::Seen| s.lifecycle == linkflow_model::Lifecycle::Running;
    seen(&*compute, &api.service, running).await;
    // What is told to rest does so for good.
    compute.scale(&api.service, 0).await.unwrap();
    let stopped =
        |s: &linkflow_model::role::Seen| s.lifecycle == linkflow_model::Lifecycle::Stopped;
    assert_eq!(seen(&*compute, &api.service, stopped).await.running, 0);
    stage.stop().await;
}
