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
