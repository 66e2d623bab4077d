//! Zeabur's GraphQL API by raw HTTP.

use std::time::Duration;

use http::Method;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::stage::{Stage, Told, call, env, grpc, until};

async fn ask(stage: &Stage, query: &str, variables: Value) -> Told {
    let endpoint = stage.provider("zeabur");
    let body = json!({ "query": query, "variables": variables });
    call(Method::POST, &format!("{}/graphql", endpoint.api), Some(&endpoint.token), Some(&body))
        .await
}

/// Asks what must be answered without an error.
async fn data(stage: &Stage, query: &str, variables: Value) -> Value {
    let told = ask(stage, query, variables).await;
    assert_eq!((told.status, told.json.get("errors")), (200, None), "{}", told.json);
    told.json["data"].clone()
}

/// What is said against a request, with its status.
async fn refusal(stage: &Stage, query: &str, variables: Value) -> (u16, String) {
    let told = ask(stage, query, variables).await;
    (told.status, told.json["errors"][0]["message"].as_str().unwrap_or_default().to_owned())
}

fn home(stage: &Stage) -> (String, String) {
    let endpoint = stage.provider("zeabur");
    (endpoint.project.clone().unwrap(), endpoint.environment.clone().unwrap())
}

/// Variables that name a service and the environment.
fn place(stage: &Stage, id: &str) -> Value {
    json!({ "s": id, "e": home(stage).1 })
}

/// A service with its variables, port and domain, not yet deployed. Returns its id and its host.
async fn prepared(stage: &Stage) -> (String, String) {
    let create = "mutation($p: ObjectID!) {
        createService(projectID: $p, template: PREBUILT_V2, name: \"frontend\") { _id name template } }";
    let made = data(stage, create, json!({ "p": home(stage).0 })).await["createService"].clone();
    assert_eq!((&made["name"], &made["template"]), (&json!("frontend"), &json!("PREBUILT_V2")));
    let id = made["_id"].as_str().unwrap().to_owned();
    assert_eq!(status(stage, &id).await, "UNKNOWN");
    for (key, value) in env("engine-frontend", "zeabur", 8080, 1).as_object().unwrap() {
        set(stage, "create", &id, key, value.as_str().unwrap()).await;
    }
    let ports = "mutation($s: ObjectID!, $e: ObjectID!) { updateServicePorts(serviceID: $s, environmentID: $e,
        ports: [{ id: \"web\", port: 8080, type: \"HTTP\" }]) }";
    data(stage, ports, place(stage, &id)).await;
    let domain =
        "mutation($s: ObjectID!, $e: ObjectID!) { addDomain(serviceID: $s, environmentID: $e,
        domain: \"the-front\", isGenerated: true, portName: \"web\") { domain status } }";
    let row = data(stage, domain, place(stage, &id)).await["addDomain"].clone();
    assert_eq!(row, json!({ "domain": "the-front.zeabur.app", "status": "PROVISIONED" }));
    (id, "the-front.zeabur.app".to_owned())
}

async fn set(stage: &Stage, how: &str, id: &str, key: &str, value: &str) {
    let text = match how {
        "create" => {
            "mutation($s: ObjectID!, $e: ObjectID!, $k: String!, $v: String!) {
             createEnvironmentVariable(serviceID: $s, environmentID: $e, key: $k, value: $v) { key } }"
        }
        _ => {
            "mutation($s: ObjectID!, $e: ObjectID!, $k: String!, $v: String!) {
             updateSingleEnvironmentVariable(serviceID: $s, environmentID: $e, oldKey: $k, newKey: $k, value: $v) { key } }"
        }
    };
    data(stage, text, json!({ "s": id, "e": home(stage).1, "k": key, "v": value })).await;
}

async fn status(stage: &Stage, id: &str) -> String {
    let look =
        "query($s: ObjectID!, $e: ObjectID!) { service(_id: $s) { status(environmentID: $e) } }";
    let told = data(stage, look, place(stage, id)).await;
    told["service"]["status"].as_str().unwrap().to_owned()
}

/// The newest deployment: its id and its word.
async fn newest(stage: &Stage, id: &str) -> (String, String) {
    let look = "query($s: ObjectID!, $e: ObjectID!) {
        deployments(serviceID: $s, environmentID: $e, perPage: 1) { edges { node { _id status } } } }";
    let told = data(stage, look, place(stage, id)).await;
    let node = &told["deployments"]["edges"][0]["node"];
    (node["_id"].as_str().unwrap().to_owned(), node["status"].as_str().unwrap().to_owned())
}

/// Deploys `tag`, and returns the deployment.
async fn deploy(stage: &Stage, id: &str, tag: &str) -> String {
    let image = stage.pinned(&format!("engine-frontend:{tag}")).await;
    deploy_image(stage, id, &image).await
}

async fn deploy_image(stage: &Stage, id: &str, image: &str) -> String {
    let text = "mutation($s: ObjectID!, $spec: DeploymentSpecification!) {
        deployFromSpecification(serviceID: $s, specification: $spec) { deploymentID } }";
    let spec = json!({ "s": id, "spec": { "source": { "image": image } } });
    let made = data(stage, text, spec).await["deployFromSpecification"].clone();
    made["deploymentID"].as_str().unwrap().to_owned()
}

/// Follows the newest deployment to its end. Returns its word.
async fn ended(stage: &Stage, id: &str) -> String {
    let look = async || {
        sleep(Duration::from_millis(30)).await;
        newest(stage, id).await.1
    };
    until("it ends", look, |word| !["PENDING", "DEPLOYING"].contains(&word.as_str())).await
}

async fn act(stage: &Stage, what: &str, id: &str) {
    let text = format!(
        "mutation($s: ObjectID!, $e: ObjectID!) {{ {what}Service(serviceID: $s, environmentID: $e) }}"
    );
    data(stage, &text, place(stage, id)).await;
}

async fn release(stage: &Stage, host: &str) -> String {
    stage.visit("zeabur", host, "/health").await.unwrap().header("x-linkflow-release")
}

#[tokio::test]
async fn a_service_is_made_deployed_replaced_suspended_resumed_and_deleted() {
    let stage = Stage::start(&["zeabur"]).await;
    let (id, host) = prepared(&stage).await;
    assert_eq!(stage.visit("zeabur", &host, "/health").await.unwrap().status, 502);
    let first = deploy(&stage, &id, "1.0").await;
    assert_eq!(ended(&stage, &id).await, "RUNNING");
    assert_eq!(newest(&stage, &id).await.0, first);
    assert_eq!(status(&stage, &id).await, "RUNNING");
    assert_eq!(release(&stage, &host).await, "r1");

    set(&stage, "update", &id, "LINKFLOW_RELEASE", "r2").await;
    assert_eq!(release(&stage, &host).await, "r1", "variables take effect with the next start");
    let second = deploy(&stage, &id, "1.1").await;
    assert_eq!(newest(&stage, &id).await, (second.clone(), "PENDING".to_owned()));
    assert_eq!(status(&stage, &id).await, "RUNNING", "this is said of the deployment before");
    assert_eq!(ended(&stage, &id).await, "RUNNING");
    until("the new one serves", async || release(&stage, &host).await, |r| r == "r2").await;
    let look = "query($id: ObjectID!) { deployment(id: $id) { status finishedAt serviceID } }";
    let old = data(&stage, look, json!({ "id": first })).await["deployment"].clone();
    assert_eq!((&old["status"], &old["serviceID"]), (&json!("REMOVED"), &json!(id)));
    assert!(old["finishedAt"].is_string(), "{old}");

    act(&stage, "suspend", &id).await;
    until("it rests", async || status(&stage, &id).await, |s| s == "SUSPENDED").await;
    assert_eq!(stage.visit("zeabur", &host, "/health").await.unwrap().status, 502);
    deploy(&stage, &id, "1.2").await;
    sleep(Duration::from_millis(600)).await;
    assert_eq!(status(&stage, &id).await, "SUSPENDED", "a deploy alone does not wake it");
    let before = newest(&stage, &id).await.0;
    act(&stage, "restart", &id).await;
    assert_ne!(newest(&stage, &id).await.0, before, "a restart makes a deployment");
    assert_eq!(ended(&stage, &id).await, "RUNNING");
    assert_eq!(release(&stage, &host).await, "r2");

    data(&stage, "mutation($id: ObjectID!) { deleteService(_id: $id) }", json!({ "id": id })).await;
    assert_eq!(stage.visit("zeabur", &host, "/health").await.unwrap().status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn variables_are_made_once_changed_when_they_are_there_and_replaced_all_at_once() {
    let stage = Stage::start(&["zeabur"]).await;
    let (id, _) = prepared(&stage).await;
    let twice = "mutation($s: ObjectID!, $e: ObjectID!) {
        a: createEnvironmentVariable(serviceID: $s, environmentID: $e, key: \"A\", value: \"1\") { key value }
        b: createEnvironmentVariable(serviceID: $s, environmentID: $e, key: \"A\", value: \"2\") { key value } }";
    let said = refusal(&stage, twice, place(&stage, &id)).await;
    assert_eq!(said, (200, "variable A already exists".to_owned()));
    let none = "mutation($s: ObjectID!, $e: ObjectID!) {
        updateSingleEnvironmentVariable(serviceID: $s, environmentID: $e, oldKey: \"B\", newKey: \"B\", value: \"1\") { key } }";
    assert_eq!(refusal(&stage, none, place(&stage, &id)).await.1, "variable B not found");
    let gone = "mutation($s: ObjectID!, $e: ObjectID!) {
        deleteSingleEnvironmentVariable(serviceID: $s, environmentID: $e, key: \"PORT\") { key value } }";
    let row = data(&stage, gone, place(&stage, &id)).await;
    let expected = json!({ "key": "PORT", "value": "8080" });
    assert_eq!(row["deleteSingleEnvironmentVariable"], expected);
    let held = "query($s: ObjectID!, $e: ObjectID!) {
        service(_id: $s) { variables(environmentID: $e) { key value serviceID } } }";
    let rows = data(&stage, held, place(&stage, &id)).await["service"]["variables"].clone();
    let a = json!({ "key": "A", "value": "1", "serviceID": id });
    assert!(rows.as_array().unwrap().contains(&a), "the first of the two was carried out: {rows}");

    let all = "mutation($s: ObjectID!, $e: ObjectID!, $data: Map!) {
        updateEnvironmentVariable(serviceID: $s, environmentID: $e, data: $data) }";
    let mut variables = place(&stage, &id);
    variables["data"] = json!({ "C": "3" });
    data(&stage, all, variables).await;
    let rows = data(&stage, held, place(&stage, &id)).await["service"]["variables"].clone();
    assert_eq!(rows, json!([{ "key": "C", "value": "3", "serviceID": id }]));
    stage.stop().await;
}

#[tokio::test]
async fn a_broken_or_unknown_image_fails_and_leaves_the_old_one_serving() {
    let stage = Stage::start(&["zeabur"]).await;
    let (id, host) = prepared(&stage).await;
    deploy(&stage, &id, "1.0").await;
    assert_eq!(ended(&stage, &id).await, "RUNNING");
    set(&stage, "update", &id, "LINKFLOW_RELEASE", "r2").await;
    let broken = deploy(&stage, &id, "broken").await;
    assert_eq!(ended(&stage, &id).await, "CRASHED");
    assert_eq!(
        (status(&stage, &id).await.as_str(), release(&stage, &host).await.as_str()),
        ("CRASHED", "r1")
    );
    let logs = "query($s: ObjectID!, $e: ObjectID!, $d: ObjectID) {
        runtimeLogs(serviceID: $s, environmentID: $e, deploymentID: $d) { message timestamp } }";
    let mut variables = place(&stage, &id);
    variables["d"] = json!(broken);
    let lines = data(&stage, logs, variables).await["runtimeLogs"].clone();
    let says = |line: &Value| line["message"].as_str().unwrap().contains("broken on purpose");
    assert!(lines.as_array().unwrap().iter().any(says), "{lines}");

    let unknown = format!("ghcr.io/acme/linkflow/engine-frontend@sha256:{}", "7".repeat(64));
    deploy_image(&stage, &id, &unknown).await;
    assert_eq!(ended(&stage, &id).await, "FAILED");
    assert_eq!(
        (status(&stage, &id).await.as_str(), release(&stage, &host).await.as_str()),
        ("PULL_FAILED", "r1")
    );

    let tag = "mutation($s: ObjectID!, $e: ObjectID!) { updateServiceImage(serviceID: $s, environmentID: $e, tag: \"1.1\") }";
    data(&stage, tag, place(&stage, &id)).await;
    assert_eq!(ended(&stage, &id).await, "RUNNING");
    until("it serves", async || release(&stage, &host).await, |r| r == "r2").await;
    stage.stop().await;
}

#[tokio::test]
async fn names_lead_to_one_service_and_only_to_a_port_that_it_told_of() {
    let stage = Stage::start(&["zeabur"]).await;
    let (id, host) = prepared(&stage).await;
    deploy(&stage, &id, "1.0").await;
    assert_eq!(ended(&stage, &id).await, "RUNNING");
    let add = "mutation($s: ObjectID!, $d: String!, $g: Boolean!) {
        addDomain(serviceID: $s, domain: $d, isGenerated: $g) { domain status isGenerated } }";
    let taken = json!({ "s": id, "d": "the-front", "g": true });
    let said = refusal(&stage, add, taken).await.1;
    assert_eq!(said, "domain the-front.zeabur.app is already taken");
    let check = "mutation { checkDomainAvailable(domain: \"the-front\", isGenerated: true) { isAvailable } }";
    let told = data(&stage, check, json!({})).await;
    assert_eq!(told["checkDomainAvailable"]["isAvailable"], false);

    let own = data(&stage, add, json!({ "s": id, "d": "app.example.org", "g": false })).await;
    assert_eq!(own["addDomain"]["status"], "PROVISIONING");
    let look = "query($s: ObjectID!) { service(_id: $s) { domains { domain status } } }";
    let row = json!({ "domain": "app.example.org", "status": "PROVISIONED" });
    let held =
        async || data(&stage, look, json!({ "s": id })).await["service"]["domains"][1].clone();
    until("it has its certificate", held, |told| *told == row).await;
    assert_eq!(release(&stage, "app.example.org").await, "r1");

    let ports = "mutation($s: ObjectID!, $e: ObjectID!) { updateServicePorts(serviceID: $s, environmentID: $e,
        ports: [{ id: \"web\", port: 9999, type: \"HTTP\" }]) }";
    data(&stage, ports, place(&stage, &id)).await;
    assert_eq!(stage.visit("zeabur", &host, "/health").await.unwrap().status, 502);
    let remove = "mutation { removeDomain(domain: \"the-front.zeabur.app\") }";
    data(&stage, remove, json!({})).await;
    assert_eq!(stage.visit("zeabur", &host, "/health").await.unwrap().status, 404);
    assert_eq!(refusal(&stage, remove, json!({})).await.1, "domain not found");
    stage.stop().await;
}

#[tokio::test]
async fn a_tcp_port_is_forwarded_from_one_that_stays_and_speaks_no_http_of_its_own() {
    let stage = Stage::start(&["zeabur"]).await;
    let create = "mutation($p: ObjectID!) {
        createService(projectID: $p, template: PREBUILT_V2, name: \"matching\") { _id } }";
    let made = data(&stage, create, json!({ "p": home(&stage).0 })).await;
    let id = made["createService"]["_id"].as_str().unwrap().to_owned();
    for (key, value) in env("engine-matching", "zeabur", 7235, 1).as_object().unwrap() {
        set(&stage, "create", &id, key, value.as_str().unwrap()).await;
    }
    let ports = async |rows: &str| {
        let text = format!(
            "mutation($s: ObjectID!, $e: ObjectID!) {{ updateServicePorts(serviceID: $s, environmentID: $e, ports: [{rows}]) }}"
        );
        data(&stage, &text, place(&stage, &id)).await;
        let look = "query($s: ObjectID!, $e: ObjectID!) {
            service(_id: $s) { ports(environmentID: $e) { id forwardedPort } } }";
        data(&stage, look, place(&stage, &id)).await["service"]["ports"].clone()
    };
    let first = ports("{ id: \"grpc\", port: 1, type: \"TCP\" }").await;
    let both = ports(
        "{ id: \"grpc\", port: 7235, type: \"TCP\" }, { id: \"web\", port: 8080, type: \"HTTP\" }",
    )
    .await;
    assert_eq!(both[0]["forwardedPort"], first[0]["forwardedPort"]);
    assert_eq!(both[1], json!({ "id": "web", "forwardedPort": null }));
    let image = stage.pinned("engine-matching:1.0").await;
    deploy_image(&stage, &id, &image).await;
    assert_eq!(ended(&stage, &id).await, "RUNNING");

    let mut entrance = stage.provider("zeabur").clone();
    let port = both[0]["forwardedPort"].as_u64().unwrap();
    entrance.ingress = format!("127.0.0.1:{port}").parse().unwrap();
    let check = async || {
        let told = grpc(&entrance, "anything", "/grpc.health.v1.Health/Check", b"").await?;
        Ok::<_, String>(told.trailers["grpc-status"].to_str().unwrap().to_owned())
    };
    assert_eq!(check().await.as_deref(), Ok("0"));
    ports("").await;
    assert!(check().await.is_err(), "a port that is taken away is shut");
    stage.stop().await;
}

#[tokio::test]
async fn what_the_schema_does_not_know_is_an_error_and_so_are_a_bad_id_and_a_missing_token() {
    let stage = Stage::start(&["zeabur"]).await;
    let said = refusal(&stage, "{ me { nickname } }", json!({})).await;
    assert_eq!(said, (400, "Cannot query field \"nickname\" on type \"User\".".to_owned()));
    let project = "query($id: ObjectID!) { project(_id: $id) { _id name environments { name } } }";
    let (id, _) = home(&stage);
    let bad = refusal(&stage, project, json!({ "id": format!("project-{id}") })).await;
    assert_eq!(bad.0, 400);
    assert!(bad.1.contains("ObjectID cannot represent"), "{bad:?}");
    let none = refusal(&stage, project, json!({ "id": "0".repeat(24) })).await;
    assert_eq!(none, (200, "project not found".to_owned()));
    let held = data(&stage, project, json!({ "id": id })).await["project"].clone();
    let expected =
        json!({ "_id": id, "name": "linkflow", "environments": [{ "name": "production" }] });
    assert_eq!(held, expected);

    let url = format!("{}/graphql", stage.provider("zeabur").api);
    let body = json!({ "query": "{ me { _id } }" });
    assert_eq!(call(Method::POST, &url, Some("other"), Some(&body)).await.status, 401);
    assert_eq!(call(Method::POST, &url, None, Some(&body)).await.status, 401);
    stage.stop().await;
}

#[tokio::test]
async fn pages_are_cut_by_skip_and_limit() {
    let stage = Stage::start(&["zeabur"]).await;
    let make = "mutation($p: ObjectID!) {
        a: createService(projectID: $p, template: PREBUILT_V2, name: \"same\") { _id }
        b: createService(projectID: $p, template: PREBUILT_V2, name: \"same\") { _id }
        c: createProject(region: \"hnd1\", name: \"second\") { _id region { id } } }";
    let made = data(&stage, make, json!({ "p": home(&stage).0 })).await;
    assert_ne!(made["a"]["_id"], made["b"]["_id"], "names are not unique");
    let list = "query($p: ObjectID!, $skip: Int) { services(projectID: $p, skip: $skip, limit: 1) {
        pageInfo { hasNextPage } edges { node { _id } } } }";
    for (skip, name, more) in [(0, "a", true), (1, "b", false)] {
        let variables = json!({ "p": home(&stage).0, "skip": skip });
        let told = data(&stage, list, variables).await["services"].clone();
        let expected =
            json!({ "pageInfo": { "hasNextPage": more }, "edges": [{ "node": made[name] }] });
        assert_eq!(told, expected);
    }
    let names = data(&stage, "{ projects { edges { node { name } } } }", json!({})).await;
    let expected = json!([{ "node": { "name": "linkflow" } }, { "node": { "name": "second" } }]);
    assert_eq!(names["projects"]["edges"], expected);
    stage.stop().await;
}

#[tokio::test]
async fn trouble_is_told_in_the_vendors_way() {
    let stage = Stage::start(&["zeabur"]).await;
    let (id, host) = prepared(&stage).await;
    deploy(&stage, &id, "1.0").await;
    assert_eq!(ended(&stage, &id).await, "RUNNING");

    stage.fault("zeabur", Trouble::OutOfQuota);
    let restart = "mutation($s: ObjectID!, $e: ObjectID!) { restartService(serviceID: $s, environmentID: $e) }";
    let said = refusal(&stage, restart, place(&stage, &id)).await.1;
    assert_eq!(said, "please bind a credit card or recharge credits first");
    assert_eq!(release(&stage, &host).await, "r1", "what runs goes on");

    stage.fault("zeabur", Trouble::RateLimited);
    assert_eq!(ask(&stage, "{ me { _id } }", json!({})).await.status, 429);

    stage.fault("zeabur", Trouble::Killed);
    until("it is told", async || status(&stage, &id).await, |s| s == "CRASHED").await;
    stage.fault("zeabur", Trouble::AppDown);
    assert_eq!(status(&stage, &id).await, "RUNNING", "the API says that all is well");
    stage.fault("zeabur", None);
    until("it is back", async || release(&stage, &host).await, |r| r == "r1").await;

    stage.fault("zeabur", Trouble::DeployStuck);
    deploy(&stage, &id, "1.1").await;
    sleep(Duration::from_millis(700)).await;
    assert_eq!(newest(&stage, &id).await.1, "DEPLOYING");
    stage.fault("zeabur", None);
    assert_eq!(ended(&stage, &id).await, "RUNNING");
    stage.stop().await;
}
