//! GitHub's API, asked by hand.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{Stage, Told, call, send, until};

const REPOSITORY: &str = "/repos/acme/linkflow";

async fn ask(stage: &Stage, method: Method, path: &str, body: Option<&Value>) -> Told {
    ask_as(stage, method, path, body, &stage.endpoints.github.token, "2022-11-28").await
}

async fn ask_as(
    stage: &Stage,
    method: Method,
    path: &str,
    body: Option<&Value>,
    token: &str,
    version: &str,
) -> Told {
    let text = body.map(ToString::to_string).unwrap_or_default();
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", stage.endpoints.github.api))
        .header("authorization", format!("Bearer {token}"))
        .header("user-agent", "test")
        .header("x-github-api-version", version)
        .body(text.into());
    send(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn who_asks_and_how_is_checked_first() {
    let stage = Stage::start(&[]).await;
    let path = format!("{REPOSITORY}/actions/secrets");
    let wrong = ask_as(&stage, Method::GET, &path, None, "ghp_other", "2022-11-28").await;
    assert_eq!((wrong.status, &wrong.json["message"]), (401, &json!("Bad credentials")));
    let token = &stage.endpoints.github.token;
    let old = ask_as(&stage, Method::GET, &path, None, token, "2019-01-01").await;
    assert_eq!(old.status, 400);
    let url = format!("{}{path}", stage.endpoints.github.api);
    let nobody = call(Method::GET, &url, Some(token), None);
    assert_eq!(nobody.await.status, 403, "a user agent is due");
    let other = ask(&stage, Method::GET, "/repos/acme/other/actions/secrets", None).await;
    assert_eq!(other.status, 404);
    let good = ask(&stage, Method::GET, &path, None).await;
    assert_eq!((good.status, good.header("x-ratelimit-limit")), (200, "5000".to_owned()));
    stage.stop().await;
}

#[tokio::test]
async fn a_value_that_is_not_sealed_for_this_repository_is_refused() {
    let stage = Stage::start(&[]).await;
    let key =
        ask(&stage, Method::GET, &format!("{REPOSITORY}/actions/secrets/public-key"), None).await;
    let path = format!("{REPOSITORY}/actions/secrets/TOKEN");
    // In base64, but nothing that the key opens.
    let plain = json!({ "encrypted_value": "c2VjcmV0", "key_id": key.json["key_id"] });
    assert_eq!(ask(&stage, Method::PUT, &path, Some(&plain)).await.status, 422);
    let of_other_key = json!({ "encrypted_value": "c2VjcmV0", "key_id": "1" });
    assert_eq!(ask(&stage, Method::PUT, &path, Some(&of_other_key)).await.status, 422);
    assert_eq!(ask(&stage, Method::DELETE, &path, None).await.status, 404);
    stage.stop().await;
}

#[tokio::test]
async fn a_dispatched_run_is_queued_works_and_ends() {
    let stage = Stage::start(&[]).await;
    let path = format!("{REPOSITORY}/actions/workflows/deploy.yml/dispatches");
    let body = json!({ "ref": "main" });
    let bare = ask(&stage, Method::POST, &path, Some(&body)).await;
    assert_eq!((bare.status, bare.body.len()), (204, 0));
    let token = &stage.endpoints.github.token;
    let newer = ask_as(&stage, Method::POST, &path, Some(&body), token, "2026-03-10").await;
    assert_eq!(newer.status, 200);
    let run = format!("{REPOSITORY}/actions/runs/{}", newer.json["workflow_run_id"]);
    let first = ask(&stage, Method::GET, &run, None).await;
    assert_eq!(first.json["status"], "queued");
    let read = || async { ask(&stage, Method::GET, &run, None).await.json["status"].clone() };
    until("works", read, |status| status == "in_progress").await;
    until("ends", read, |status| status == "completed").await;
    let jobs = ask(&stage, Method::GET, &format!("{run}/jobs"), None).await;
    assert_eq!(jobs.json["total_count"], 2);
    let runs =
        ask(&stage, Method::GET, &format!("{REPOSITORY}/actions/runs?per_page=1"), None).await;
    assert_eq!(
        (&runs.json["total_count"], runs.json["workflow_runs"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    assert!(runs.header("link").contains("rel=\"next\""));
    let late = ask(&stage, Method::POST, &format!("{run}/cancel"), None).await;
    assert_eq!(late.status, 409);
    stage.stop().await;
}

#[tokio::test]
async fn a_deployment_waits_for_checks_unless_it_is_told_not_to() {
    let stage = Stage::start(&[]).await;
    let path = format!("{REPOSITORY}/deployments");
    let make = |body: Value| {
        let (stage, path) = (&stage, &path);
        async move { ask(stage, Method::POST, path, Some(&body)).await.status }
    };
    let commit = "4f1c2b3a5d6e7f8091a2b3c4d5e6f708192a3b4c";
    assert_eq!(make(json!({ "ref": "main" })).await, 409);
    assert_eq!(make(json!({ "ref": commit, "required_contexts": [] })).await, 202);
    assert_eq!(make(json!({ "ref": "gone" })).await, 422);
    assert_eq!(
        make(json!({ "ref": commit, "auto_merge": false, "required_contexts": [] })).await,
        201
    );
    stage.stop().await;
}

#[tokio::test]
async fn what_makes_content_has_a_limit_of_its_own() {
    let stage = Stage::start(&[]).await;
    let path = format!("{REPOSITORY}/actions/secrets/NONE");
    let mut limited = None;
    for _ in 0..120 {
        let told = ask(&stage, Method::DELETE, &path, None).await;
        if told.status != 404 {
            limited = Some(told);
            break;
        }
    }
    let limited = limited.unwrap();
    assert_eq!(limited.status, 403);
    assert!(limited.json["message"].as_str().unwrap().contains("secondary rate limit"));
    assert!(!limited.header("retry-after").is_empty());
    stage.stop().await;
}
