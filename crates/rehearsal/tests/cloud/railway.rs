//! Railway's GraphQL API by raw HTTP.

use std::time::Duration;

use http::Method;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::stage::{Stage, Told, call, env, grpc, until};

async fn ask(stage: &Stage, query: &str, variables: Value) -> Told {
    let endpoint = stage.provider("railway");
    let body = json!({ "query": query, "variables": variables });
    call(Method::POST, &format!("{}/graphql/v2", endpoint.api), Some(&endpoint.token), Some(&body))
        .await
}

/// Asks what must be answered without an error.
async fn data(stage: &Stage, query: &str, variables: Value) -> Value {
    let told = ask(stage, query, variables).await;
    assert_eq!((told.status, told.json.get("errors")), (200, None), "{}", told.json);
    told.json["data"].clone()
}

/// The ids of the project and its environment.
fn home(stage: &Stage) -> (String, String) {
    let endpoint = stage.provider("railway");
    (endpoint.project.clone().unwrap(), endpoint.environment.clone().unwrap())
}

/// A service with its settings and a domain, not yet deployed. Returns its id and its host.
async fn prepared(stage: &Stage, tag: &str) -> (String, String) {
    let (project, environment) = home(stage);
    let create =
        "mutation($input: ServiceCreateInput!) { serviceCreate(input: $input) { id name } }";
    let input = json!({ "projectId": project, "name": "linkflow-engine-frontend" });
    let id = data(stage, create, json!({ "input": input })).await["serviceCreate"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    set(stage, &id, tag, 1).await;
    let domain = "mutation($input: ServiceDomainCreateInput!) { serviceDomainCreate(input: $input) { domain targetPort } }";
    let input = json!({ "serviceId": id, "environmentId": environment, "targetPort": 8080 });
    let row = &data(stage, domain, json!({ "input": input })).await["serviceDomainCreate"];
    assert_eq!(row["domain"], "linkflow-engine-frontend-production.up.railway.app");
    (id, row["domain"].as_str().unwrap().to_owned())
}

/// Sets image, health check and variables, without a deploy.
async fn set(stage: &Stage, id: &str, tag: &str, release: u64) {
    let (project, environment) = home(stage);
    let image = stage.pinned(&format!("engine-frontend:{tag}")).await;
    let update = "mutation($s: String!, $e: String!, $input: ServiceInstanceUpdateInput!) {
        serviceInstanceUpdate(serviceId: $s, environmentId: $e, input: $input) }";
    let input = json!({ "source": { "image": image }, "healthcheckPath": "/health", "healthcheckTimeout": 5, "restartPolicyMaxRetries": 2 });
    data(stage, update, json!({ "s": id, "e": environment, "input": input })).await;
    let upsert = "mutation($input: VariableCollectionUpsertInput!) { variableCollectionUpsert(input: $input) }";
    let variables = env("engine-frontend", "railway", 8080, release);
    let input = json!({ "projectId": project, "environmentId": environment, "serviceId": id, "variables": variables, "skipDeploys": true });
    data(stage, upsert, json!({ "input": input })).await;
}

/// Deploys and follows it to its end. Returns the deployment's id and last status.
async fn deployed(stage: &Stage, id: &str) -> (String, String) {
    let deploy = "mutation($s: String!, $e: String!) { serviceInstanceDeployV2(serviceId: $s, environmentId: $e) }";
    let made = data(stage, deploy, json!({ "s": id, "e": home(stage).1 })).await;
    let deployment = made["serviceInstanceDeployV2"].as_str().unwrap().to_owned();
    (deployment.clone(), ended(stage, &deployment).await)
}

async fn status(stage: &Stage, deployment: &str) -> String {
    let look = "query($id: String!) { deployment(id: $id) { status } }";
    let told = data(stage, look, json!({ "id": deployment })).await;
    told["deployment"]["status"].as_str().unwrap().to_owned()
}

async fn ended(stage: &Stage, deployment: &str) -> String {
    let look = async || {
        sleep(Duration::from_millis(30)).await;
        status(stage, deployment).await
    };
    let moving = ["QUEUED", "INITIALIZING", "BUILDING", "DEPLOYING"];
    until("it ends", look, |status| !moving.contains(&status.as_str())).await
}

async fn release(stage: &Stage, host: &str) -> String {
    stage.visit("railway", host, "/health").await.unwrap().header("x-linkflow-release")
}

#[tokio::test]
async fn a_service_is_made_deployed_replaced_rolled_back_stopped_and_deleted() {
    let stage = Stage::start(&["railway"]).await;
    let (id, host) = prepared(&stage, "1.0").await;
    assert_eq!(stage.visit("railway", &host, "/health").await.unwrap().status, 502);
    let (first, status_of_first) = deployed(&stage, &id).await;
    assert_eq!(
        (status_of_first.as_str(), release(&stage, &host).await.as_str()),
        ("SUCCESS", "r1")
    );

    set(&stage, &id, "1.1", 2).await;
    assert_eq!(release(&stage, &host).await, "r1", "nothing is deployed by setting alone");
    let (second, status_of_second) = deployed(&stage, &id).await;
    assert_eq!(status_of_second, "SUCCESS");
    until("the new one serves", async || release(&stage, &host).await, |r| r == "r2").await;
    until("the first is removed", async || status(&stage, &first).await, |s| s == "REMOVED").await;

    let list = "query($input: DeploymentListInput!) { deployments(first: 1, input: $input) {
        pageInfo { hasNextPage } edges { cursor node { id ...Brief } } } }
        fragment Brief on Deployment { state: status canRollback meta instances { status } service { name } }";
    let told = data(&stage, list, json!({ "input": { "serviceId": id } })).await;
    let edge = &told["deployments"]["edges"][0];
    let image = stage.pinned("engine-frontend:1.1").await;
    assert_eq!(edge["node"]["meta"]["image"], json!(image));
    let brief = json!({ "id": second, "state": "SUCCESS", "canRollback": true, "instances": [{ "status": "RUNNING" }], "service": { "name": "linkflow-engine-frontend" } });
    let mut node = edge["node"].clone();
    node.as_object_mut().unwrap().remove("meta");
    assert_eq!((node, &told["deployments"]["pageInfo"]["hasNextPage"]), (brief, &json!(true)));

    data(&stage, "mutation($id: String!) { deploymentRollback(id: $id) }", json!({ "id": first }))
        .await;
    until("the first release is back", async || release(&stage, &host).await, |r| r == "r1").await;
    let newest =
        data(&stage, list, json!({ "input": { "serviceId": id } })).await["deployments"]["edges"]
            [0]["node"]["id"]
            .clone();
    let newest = newest.as_str().unwrap();
    assert_eq!(ended(&stage, newest).await, "SUCCESS");
    data(&stage, "mutation($id: String!) { deploymentStop(id: $id) }", json!({ "id": newest }))
        .await;
    let stopped = "query($id: String!) { deployment(id: $id) { status deploymentStopped instances { status } } }";
    let look = async || data(&stage, stopped, json!({ "id": newest })).await["deployment"].clone();
    let told = until("it is stopped", look, |d| d["deploymentStopped"] == true).await;
    assert_eq!(
        (&told["status"], &told["instances"][0]["status"]),
        (&json!("SUCCESS"), &json!("STOPPED"))
    );
    data(&stage, "mutation($id: String!) { deploymentRestart(id: $id) }", json!({ "id": newest }))
        .await;
    assert_eq!(ended(&stage, newest).await, "SUCCESS");
    assert_eq!(release(&stage, &host).await, "r1");

    data(&stage, "mutation($id: String!) { serviceDelete(id: $id) }", json!({ "id": id })).await;
    assert_eq!(stage.visit("railway", &host, "/health").await.unwrap().status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn variables_deploy_unless_told_not_to_and_replace_takes_away_what_is_not_listed() {
    let stage = Stage::start(&["railway"]).await;
    let (id, _) = prepared(&stage, "1.0").await;
    let (project, environment) = home(&stage);
    let list = "query($input: DeploymentListInput!) { deployments(input: $input) { edges { node { id } } } }";
    let count = async || {
        data(&stage, list, json!({ "input": { "serviceId": id } })).await["deployments"]["edges"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count().await, 0);
    let upsert = "mutation($input: VariableCollectionUpsertInput!) { variableCollectionUpsert(input: $input) }";
    let input = |variables: Value, replace: bool, skip: bool| {
        json!({ "input": { "projectId": project, "environmentId": environment, "serviceId": id,
                           "variables": variables, "replace": replace, "skipDeploys": skip } })
    };
    data(&stage, upsert, input(json!({ "A": "1" }), false, false)).await;
    assert_eq!(count().await, 1);
    data(&stage, upsert, input(json!({ "B": "2" }), true, true)).await;
    assert_eq!(count().await, 1);
    let read = "query($p: String!, $e: String!, $s: String) { variables(projectId: $p, environmentId: $e, serviceId: $s) }";
    let held =
        &data(&stage, read, json!({ "p": project, "e": environment, "s": id })).await["variables"];
    assert_eq!((&held["A"], &held["B"], &held["PORT"]), (&Value::Null, &json!("2"), &Value::Null));
    assert_eq!(held["RAILWAY_SERVICE_NAME"], "linkflow-engine-frontend");
    stage.stop().await;
}

#[tokio::test]
async fn a_broken_or_sick_image_fails_and_leaves_the_old_one_serving() {
    let stage = Stage::start(&["railway"]).await;
    let (id, host) = prepared(&stage, "1.0").await;
    assert_eq!(deployed(&stage, &id).await.1, "SUCCESS");
    set(&stage, &id, "broken", 2).await;
    let (broken, status) = deployed(&stage, &id).await;
    assert_eq!((status.as_str(), release(&stage, &host).await.as_str()), ("FAILED", "r1"));
    let logs = "query($id: String!) { deploymentLogs(deploymentId: $id, limit: 50) { message severity tags { deploymentId } attributes { key } } }";
    let lines = data(&stage, logs, json!({ "id": broken })).await["deploymentLogs"].clone();
    let reason = lines
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["message"].as_str().unwrap().contains("broken on purpose"));
    assert_eq!(
        reason.map(|line| (&line["severity"], &line["tags"]["deploymentId"])),
        Some((&json!("error"), &json!(broken)))
    );
    stage.stop().await;
}

#[tokio::test]
async fn what_the_schema_does_not_know_is_an_error_and_so_is_a_missing_token() {
    let stage = Stage::start(&["railway"]).await;
    let endpoint = stage.provider("railway");
    let message = |told: &Told| {
        (told.status, told.json["errors"][0]["message"].as_str().unwrap_or_default().to_owned())
    };
    let said = async |query: &str, variables: Value| message(&ask(&stage, query, variables).await);
    let (status, why) = said("{ me { id nickname } }", json!({})).await;
    assert_eq!((status, why.as_str()), (400, "Cannot query field \"nickname\" on type \"User\"."));
    assert!(said("{ me }", json!({})).await.1.contains("must have a selection of subfields"));
    assert!(
        said("{ project { id } }", json!({}))
            .await
            .1
            .contains("is required, but it was not provided")
    );
    assert!(
        said("query($id: String!) { project(id: $id) { id } }", json!({}))
            .await
            .1
            .contains("was not provided")
    );
    assert!(said("{ me { id }", json!({})).await.1.starts_with("Syntax Error"));
    let upsert = "mutation($input: VariableUpsertInput!) { variableUpsert(input: $input) }";
    assert!(
        said(upsert, json!({ "input": { "nome": "x" } }))
            .await
            .1
            .contains("is not defined by type")
    );
    let (status, why) =
        said("query($id: String!) { project(id: $id) { id } }", json!({ "id": "none" })).await;
    assert_eq!((status, why.as_str()), (200, "Project not found"));

    let url = format!("{}/graphql/v2", endpoint.api);
    let me = json!({ "query": "{ me { id } }" });
    for token in [None, Some("wrong")] {
        let told = call(Method::POST, &url, token, Some(&me)).await;
        assert_eq!(message(&told), (200, "Not Authorized".to_owned()));
    }
    let told = ask(
        &stage,
        "{ me { id workspaces { id projects { edges { node { id name } } } } } }",
        json!({}),
    )
    .await;
    let project = &told.json["data"]["me"]["workspaces"][0]["projects"]["edges"][0]["node"];
    assert_eq!((&project["id"], &project["name"]), (&json!(endpoint.project), &json!("linkflow")));
    assert!(told.header("x-ratelimit-remaining").parse::<u32>().unwrap() < 10_000);
    stage.stop().await;
}

#[tokio::test]
async fn limits_and_allowances_are_told_the_vendors_way() {
    let stage = Stage::start(&["railway"]).await;
    let (id, _) = prepared(&stage, "1.0").await;
    stage.fault("railway", Trouble::OutOfQuota);
    let deploy = "mutation($s: String!, $e: String!) { serviceInstanceDeployV2(serviceId: $s, environmentId: $e) }";
    let told = ask(&stage, deploy, json!({ "s": id, "e": home(&stage).1 })).await;
    assert!(
        told.json["errors"][0]["message"].as_str().unwrap().contains("limit exceeded"),
        "{}",
        told.json
    );
    stage.fault("railway", Trouble::RateLimited);
    let told = ask(&stage, "{ me { id } }", json!({})).await;
    assert_eq!((told.status, told.header("retry-after")), (429, "2".to_owned()));
    stage.fault("railway", None);
    let burst = (0..80).map(|_| ask(&stage, "{ platformStatus { isStable } }", json!({})));
    let told = futures_util::future::join_all(burst).await;
    let refused = told
        .iter()
        .filter(|told| told.status == 429 && !told.header("retry-after").is_empty())
        .count();
    assert!((10..=40).contains(&refused), "{refused} of 80");
    stage.stop().await;
}

#[tokio::test]
async fn a_killed_deployment_is_told_of_as_crashed_and_comes_back() {
    let stage = Stage::start(&["railway"]).await;
    let (id, host) = prepared(&stage, "1.0").await;
    let (deployment, _) = deployed(&stage, &id).await;
    stage.fault("railway", Trouble::Hung);
    assert_eq!(status(&stage, &deployment).await, "SUCCESS");
    stage.fault("railway", Trouble::Killed);
    until("it is told", async || status(&stage, &deployment).await, |s| s == "CRASHED").await;
    stage.fault("railway", None);
    until("it is back", async || status(&stage, &deployment).await, |s| s == "SUCCESS").await;
    let visit = async || stage.visit("railway", &host, "/health").await.map(|told| told.status);
    until("it serves", visit, |status| *status == Ok(200)).await.unwrap();
    stage.stop().await;
}

#[tokio::test]
async fn a_tcp_proxy_leads_to_what_is_deployed_after_it_was_made_and_speaks_no_http_of_its_own() {
    let stage = Stage::start(&["railway"]).await;
    let (project, environment) = home(&stage);
    let image = stage.pinned("engine-matching:1.0").await;
    let variables = env("engine-matching", "railway", 7235, 1);
    let create = "mutation($input: ServiceCreateInput!) { serviceCreate(input: $input) { id } }";
    let input = json!({ "projectId": project, "name": "matching", "source": { "image": image }, "variables": variables });
    let id = data(&stage, create, json!({ "input": input })).await["serviceCreate"]["id"].clone();
    let latest =
        "query($s: String!, $e: String!) { serviceInstance(serviceId: $s, environmentId: $e) {
        latestDeployment { id } source { image } } }";
    let told = data(&stage, latest, json!({ "s": id, "e": environment })).await;
    let first = told["serviceInstance"]["latestDeployment"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        ended(&stage, &first).await,
        "SUCCESS",
        "a service made with a source is deployed at once"
    );

    let proxy = "mutation($input: TCPProxyCreateInput!) { tcpProxyCreate(input: $input) { domain proxyPort } }";
    let input = json!({ "serviceId": id, "environmentId": environment, "applicationPort": 7235 });
    let row = data(&stage, proxy, json!({ "input": input })).await["tcpProxyCreate"].clone();
    let mut entrance = stage.provider("railway").clone();
    let port = row["proxyPort"].as_u64().unwrap();
    entrance.ingress = format!("{}:{port}", row["domain"].as_str().unwrap()).parse().unwrap();
    let check = async || {
        let told = grpc(&entrance, "anything", "/grpc.health.v1.Health/Check", b"").await?;
        Ok::<_, String>(told.trailers["grpc-status"].to_str().unwrap().to_owned())
    };
    assert!(check().await.is_err(), "it is not active before the next deploy");
    assert_eq!(deployed(&stage, id.as_str().unwrap()).await.1, "SUCCESS");
    assert_eq!(check().await.as_deref(), Ok("0"));

    stage.fault("railway", Trouble::Killed);
    let refused =
        |said: &Result<String, String>| said.as_ref().is_err_and(|why| why.contains("refused"));
    until("it refuses", check, refused).await.unwrap_err();
    stage.fault("railway", None);
    until("it is back", check, Result::is_ok).await.unwrap();
    stage.stop().await;
}
