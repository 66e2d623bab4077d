//! Render's API by raw HTTP.

use std::time::Duration;

use http::Method;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::stage::{Stage, Told, call, env, until};

async fn ask(stage: &Stage, method: Method, path: &str, body: Option<Value>) -> Told {
    let endpoint = stage.provider("render");
    let url = format!("{}/v1{path}", endpoint.api);
    call(method, &url, Some(&endpoint.token), body.as_ref()).await
}

async fn get(stage: &Stage, path: &str) -> Value {
    let told = ask(stage, Method::GET, path, None).await;
    assert_eq!(told.status, 200, "{path}: {}", told.json);
    told.json
}

async fn post(stage: &Stage, path: &str, body: Value) -> Told {
    ask(stage, Method::POST, path, Some(body)).await
}

fn owner(stage: &Stage) -> String {
    stage.provider("render").project.clone().unwrap()
}

fn variables(service: &str, release: u64) -> Value {
    let env = env(service, "render", 8_080, release);
    env.as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect()
}

/// What makes a service, in the image `service:tag`.
async fn order(stage: &Stage, service: &str, tag: &str) -> Value {
    let image = stage.pinned(&format!("{service}:{tag}")).await;
    let is_web = service == "engine-frontend";
    let mut details =
        json!({ "runtime": "image", "region": "frankfurt", "plan": "starter", "numInstances": 1 });
    if is_web {
        details["healthCheckPath"] = json!("/health");
    }
    json!({
        "type": if is_web { "web_service" } else { "background_worker" },
        "name": service,
        "ownerId": owner(stage),
        "autoDeploy": "no",
        "image": { "ownerId": owner(stage), "imagePath": image },
        "envVars": variables(service, 1),
        "serviceDetails": details,
    })
}

/// Makes a service. Returns its id and the first deploy's.
async fn made(stage: &Stage, order: Value) -> (String, String) {
    let told = post(stage, "/services", order).await;
    assert_eq!(told.status, 201, "{}", told.json);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&told.json["service"]["id"]), text(&told.json["deployId"]))
}

async fn ended(stage: &Stage, id: &str, deploy: &str) -> String {
    let look = async || {
        let held = get(stage, &format!("/services/{id}/deploys/{deploy}")).await;
        held["status"].as_str().unwrap().to_owned()
    };
    let moving = ["created", "queued", "build_in_progress", "update_in_progress"];
    until("it ends", look, |status| !moving.contains(&status.as_str())).await
}

async fn instances(stage: &Stage, id: &str) -> usize {
    get(stage, &format!("/services/{id}/instances")).await.as_array().unwrap().len()
}

/// Ids of deploys, newest first.
async fn deploys(stage: &Stage, id: &str) -> Vec<String> {
    let rows = get(stage, &format!("/services/{id}/deploys")).await;
    let id = |row: &Value| row["deploy"]["id"].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(id).collect()
}

async fn release(stage: &Stage, host: &str) -> String {
    let told = stage.visit("render", host, "/health").await.unwrap();
    told.header("x-linkflow-release")
}

#[tokio::test]
async fn a_service_is_made_changed_suspended_resumed_and_deleted() {
    let stage = Stage::start(&["render"]).await;
    let endpoint = stage.provider("render");
    let url = format!("{}/v1/services", endpoint.api);
    assert_eq!(call(Method::GET, &url, Some("another"), None).await.status, 401);
    let host = "engine-frontend.onrender.com";
    assert_eq!(stage.visit("render", host, "/health").await.unwrap().status, 404);
    let (id, first) = made(&stage, order(&stage, "engine-frontend", "1.0").await).await;
    assert_eq!(ended(&stage, &id, &first).await, "live");
    assert_eq!(release(&stage, host).await, "r1");
    let taken = post(&stage, "/services", order(&stage, "engine-frontend", "1.0").await).await;
    assert_eq!(taken.status, 409);

    // A variable by itself deploys nothing; changed settings do.
    let path = format!("/services/{id}/env-vars/LINKFLOW_RELEASE");
    let put = ask(&stage, Method::PUT, &path, Some(json!({ "value": "r2" }))).await;
    assert_eq!(
        (put.status, &put.json),
        (200, &json!({ "key": "LINKFLOW_RELEASE", "value": "r2" }))
    );
    assert_eq!(deploys(&stage, &id).await.len(), 1);
    let image = stage.pinned("engine-frontend:1.1").await;
    let change = json!({ "image": { "ownerId": owner(&stage), "imagePath": image } });
    let changed = ask(&stage, Method::PATCH, &format!("/services/{id}"), Some(change)).await;
    assert_eq!((changed.status, &changed.json["imagePath"]), (200, &json!(image)));
    let second = deploys(&stage, &id).await[0].clone();
    assert_eq!(ended(&stage, &id, &second).await, "live");
    until("the new one serves", async || release(&stage, host).await, |r| r == "r2").await;
    assert_eq!(ended(&stage, &id, &first).await, "deactivated");

    assert_eq!(post(&stage, &format!("/services/{id}/suspend"), json!({})).await.status, 202);
    until("nothing runs", async || instances(&stage, &id).await, |n| *n == 0).await;
    assert_eq!(get(&stage, &format!("/services/{id}")).await["suspenders"], json!(["user"]));
    assert_eq!(stage.visit("render", host, "/health").await.unwrap().status, 503);
    let refused = post(&stage, &format!("/services/{id}/deploys"), json!({})).await;
    assert_eq!(
        (refused.status, &refused.json["message"]),
        (400, &json!("cannot deploy suspended service"))
    );
    assert_eq!(post(&stage, &format!("/services/{id}/resume"), json!({})).await.status, 202);
    let rows = get(&stage, &format!("/services/{id}/deploys")).await;
    assert_eq!(rows[0]["deploy"]["trigger"], "service_resumed");
    until("it serves again", async || release(&stage, host).await, |r| r == "r2").await;

    assert_eq!(ask(&stage, Method::DELETE, &format!("/services/{id}"), None).await.status, 204);
    assert_eq!(ask(&stage, Method::GET, &format!("/services/{id}"), None).await.status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn a_deploy_over_another_is_queued_without_a_word_and_takes_its_place() {
    let stage = Stage::start(&["render"]).await;
    let (id, first) = made(&stage, order(&stage, "engine-timer", "1.0").await).await;
    assert_eq!(ended(&stage, &id, &first).await, "live");
    stage.fault("render", Trouble::DeployStuck);
    let path = format!("/services/{id}/deploys");
    let second = post(&stage, &path, json!({})).await;
    assert_eq!(second.status, 201);
    let third = post(&stage, &path, json!({})).await;
    assert_eq!((third.status, third.body.len()), (202, 0));
    let all =
        until("it is listed", async || deploys(&stage, &id).await, |all| all.len() == 3).await;
    assert_eq!(ended(&stage, &id, &all[1]).await, "canceled");
    stage.fault("render", None);
    assert_eq!(ended(&stage, &id, &all[0]).await, "live");

    let other = stage.pinned("engine-worker:1.0").await;
    let refused = post(&stage, &path, json!({ "imageUrl": other })).await;
    let said = "only the image tag or digest can be updated when creating a deploy";
    assert_eq!((refused.status, &refused.json["message"]), (400, &json!(said)));
    stage.stop().await;
}

#[tokio::test]
async fn a_list_of_variables_replaces_all_and_is_told_in_pages() {
    let stage = Stage::start(&["render"]).await;
    let (id, _) = made(&stage, order(&stage, "engine-timer", "1.0").await).await;
    let path = format!("/services/{id}/env-vars");
    let first = get(&stage, &format!("{path}?limit=2")).await;
    let cursor = first[1]["cursor"].as_str().unwrap();
    let next = get(&stage, &format!("{path}?limit=100&cursor={cursor}")).await;
    let count = variables("engine-timer", 1).as_array().unwrap().len();
    assert_eq!(next.as_array().unwrap().len(), count - 2);
    let list = json!([{ "key": "ONLY", "value": "this" }]);
    assert_eq!(ask(&stage, Method::PUT, &path, Some(list)).await.status, 200);
    let rows = get(&stage, &path).await;
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["envVar"]["key"]), (1, &json!("ONLY")));
    let only = format!("{path}/ONLY");
    assert_eq!(ask(&stage, Method::DELETE, &only, None).await.status, 204);
    assert_eq!(ask(&stage, Method::DELETE, &only, None).await.status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn a_failed_deploy_says_why_and_leaves_what_ran() {
    let stage = Stage::start(&["render"]).await;
    let (id, first) = made(&stage, order(&stage, "engine-timer", "1.0").await).await;
    assert_eq!(ended(&stage, &id, &first).await, "live");
    let path = format!("/services/{id}/deploys");
    for (tag, known) in [("broken", true), ("1.0", false)] {
        let mut image = stage.pinned(&format!("engine-timer:{tag}")).await;
        if !known {
            image = image.replace(|c: char| c.is_ascii_digit(), "9");
        }
        let deploy = post(&stage, &path, json!({ "imageUrl": image })).await.json["id"].clone();
        assert_eq!(ended(&stage, &id, deploy.as_str().unwrap()).await, "update_failed");
        assert_eq!(instances(&stage, &id).await, 1);
    }
    let events = get(&stage, &format!("/services/{id}/events?limit=100")).await;
    let rows = events.as_array().unwrap();
    let of =
        |kind: &str| rows.iter().filter(|row| row["event"]["type"] == kind).collect::<Vec<_>>();
    assert_eq!(of("image_pull_failed").len(), 1);
    let exits = of("deploy_ended")
        .iter()
        .map(|row| row["event"]["details"]["reason"]["failure"]["nonZeroExit"].clone())
        .collect::<Vec<_>>();
    assert!(exits.contains(&json!(1)), "{exits:?}");
    stage.stop().await;
}

#[tokio::test]
async fn a_killed_instance_is_told_by_its_absence_and_an_event() {
    let stage = Stage::start(&["render"]).await;
    let (id, first) = made(&stage, order(&stage, "engine-timer", "1.0").await).await;
    assert_eq!(ended(&stage, &id, &first).await, "live");
    let newest = async || {
        let events = get(&stage, &format!("/services/{id}/events?limit=1")).await;
        events[0]["event"]["type"].as_str().unwrap().to_owned()
    };
    stage.fault("render", Trouble::Killed);
    until("it is gone", async || instances(&stage, &id).await, |n| *n == 0).await;
    until("it is told", &newest, |kind| kind == "server_failed").await;
    stage.fault("render", Trouble::AppDown);
    assert_eq!(instances(&stage, &id).await, 1, "a liar says that all is well");
    stage.fault("render", None);
    until("it is back", &newest, |kind| kind == "server_available").await;
    stage.stop().await;
}

#[tokio::test]
async fn the_count_of_instances_is_scaled_and_not_patched() {
    let stage = Stage::start(&["render"]).await;
    let (id, first) = made(&stage, order(&stage, "engine-timer", "1.0").await).await;
    assert_eq!(ended(&stage, &id, &first).await, "live");
    let change = json!({ "serviceDetails": { "numInstances": 2 } });
    let refused = ask(&stage, Method::PATCH, &format!("/services/{id}"), Some(change)).await;
    assert_eq!(refused.status, 400);
    let scale = format!("/services/{id}/scale");
    assert_eq!(post(&stage, &scale, json!({ "numInstances": 101 })).await.status, 400);
    assert_eq!(post(&stage, &scale, json!({ "numInstances": 2 })).await.status, 202);
    until("two run", async || instances(&stage, &id).await, |n| *n == 2).await;
    assert_eq!(deploys(&stage, &id).await.len(), 1, "scaling deploys nothing");
    assert_eq!(post(&stage, &scale, json!({ "numInstances": 1 })).await.status, 202);
    until("one runs", async || instances(&stage, &id).await, |n| *n == 1).await;
    let worker = json!({ "plan": "free", "runtime": "image" });
    let mut order = order(&stage, "engine-worker", "1.0").await;
    order["serviceDetails"] = worker;
    assert_eq!(post(&stage, "/services", order).await.status, 400, "no free workers");
    stage.stop().await;
}

#[tokio::test]
async fn one_service_is_changed_ten_times_a_minute_and_headers_say_so() {
    let stage = Stage::start(&["render"]).await;
    let (id, _) = made(&stage, order(&stage, "engine-timer", "1.0").await).await;
    let path = format!("/services/{id}/suspend");
    for left in (0..10).rev() {
        let told = post(&stage, &path, json!({})).await;
        assert_eq!((told.status, told.header("ratelimit-remaining")), (202, left.to_string()));
        assert_eq!(told.header("ratelimit-limit"), "10");
    }
    let refused = post(&stage, &path, json!({})).await;
    assert_eq!((refused.status, &refused.json["message"]), (429, &json!("rate limit exceeded")));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    // Others are not held back by that.
    assert_eq!(get(&stage, "/owners").await[0]["owner"]["id"], json!(owner(&stage)));
    sleep(Duration::from_millis(1)).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_job_runs_in_the_image_of_the_newest_good_deploy() {
    let stage = Stage::start(&["render"]).await;
    let mut order = order(&stage, "engine-timer", "broken").await;
    order["type"] = json!("cron_job");
    order["serviceDetails"] =
        json!({ "runtime": "image", "plan": "starter", "schedule": "0 0 31 2 *" });
    let (id, first) = made(&stage, order).await;
    let jobs = format!("/services/{id}/jobs");
    assert_eq!(
        post(&stage, &jobs, json!({ "startCommand": "engine-timer" })).await.status,
        400,
        "too soon"
    );
    assert_eq!(ended(&stage, &id, &first).await, "live");
    assert_eq!(instances(&stage, &id).await, 0, "a cron job runs nothing by itself");
    let job = post(&stage, &jobs, json!({ "startCommand": "engine-timer" })).await;
    assert_eq!(job.status, 201);
    let job = job.json["id"].as_str().unwrap().to_owned();
    let look = async || get(&stage, &format!("{jobs}/{job}")).await["status"].clone();
    until("it ends", look, |status| *status == json!("failed")).await;
    let logs = get(&stage, &format!("/logs?ownerId={}&resource={job}", owner(&stage))).await;
    assert!(logs["logs"].to_string().contains("cannot start"), "{logs}");
    assert_eq!(get(&stage, &jobs).await[0]["job"]["id"], json!(job));
    stage.stop().await;
}

#[tokio::test]
async fn a_log_is_told_in_pages_from_either_end() {
    let stage = Stage::start(&["render"]).await;
    let (id, first) = made(&stage, order(&stage, "engine-timer", "1.0").await).await;
    assert_eq!(ended(&stage, &id, &first).await, "live");
    post(&stage, &format!("/services/{id}/suspend"), json!({})).await;
    until("nothing runs", async || instances(&stage, &id).await, |n| *n == 0).await;
    for direction in ["forward", "backward"] {
        let base = format!("/logs?ownerId={}&resource={id}&direction={direction}", owner(&stage));
        let whole = get(&stage, &format!("{base}&limit=100")).await["logs"].clone();
        let whole = whole.as_array().unwrap().clone();
        assert!(whole.len() > 2, "{whole:?}");
        let (mut told, mut more) = (Vec::new(), String::new());
        loop {
            let page = get(&stage, &format!("{base}&limit=2{more}")).await;
            told.extend(page["logs"].as_array().unwrap().iter().cloned());
            if page["hasMore"] == false {
                break;
            }
            let text = |name: &str| page[name].as_str().unwrap().to_owned();
            more = format!("&startTime={}&endTime={}", text("nextStartTime"), text("nextEndTime"));
        }
        assert_eq!(told, whole, "{direction}");
    }
    stage.stop().await;
}
