//! Slack's webhook, asked by hand.

use http::Method;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};

use crate::stage::{Stage, call};

async fn post(stage: &Stage, body: &Value) -> (u16, String) {
    let told = call(Method::POST, &stage.endpoints.slack.webhook, None, Some(body)).await;
    (told.status, String::from_utf8(told.body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_message_is_taken_with_the_plain_word_ok_and_the_control_api_shows_it() {
    let stage = Stage::start(&[]).await;
    let message = json!({ "text": "hello" });
    assert_eq!(post(&stage, &message).await, (200, "ok".to_owned()));
    assert_eq!(post(&stage, &json!({})).await, (400, "no_text".to_owned()));
    let blocks = json!({ "blocks": [{ "type": "header" }] });
    assert_eq!(post(&stage, &blocks).await, (400, "invalid_blocks".to_owned()));
    assert_eq!(post(&stage, &json!("text")).await, (400, "invalid_payload".to_owned()));
    let url = format!("{}/v1/slack/messages", stage.endpoints.control);
    let shown = call(Method::GET, &url, None, None).await.json;
    assert_eq!(shown["messages"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["messages"][0]["message"], message);
    stage.stop().await;
}

#[tokio::test]
async fn another_address_is_refused_and_too_many_messages_are_too() {
    let stage = Stage::start(&[]).await;
    let hook = stage.endpoints.slack.webhook.clone();
    let at = async |url: String| {
        let told = call(Method::POST, &url, None, Some(&json!({ "text": "x" }))).await;
        (told.status, String::from_utf8(told.body.to_vec()).unwrap())
    };
    assert_eq!(at(format!("{hook}x")).await, (403, "invalid_token".to_owned()));
    assert_eq!(at(hook.replace("/B", "/BX")).await, (404, "no_service".to_owned()));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(at(hook.clone()).await.0);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    stage.stop().await;
}

#[tokio::test]
async fn it_takes_faults_by_its_name_like_any_provider() {
    let stage = Stage::start(&[]).await;
    stage.fault("slack", Trouble::AppDown);
    assert_eq!(post(&stage, &json!({ "text": "x" })).await.0, 410);
    let state =
        call(Method::GET, &format!("{}/v1/state", stage.endpoints.control), None, None).await;
    assert_eq!(
        state.json["beside"]["slack"]["faults"],
        json!([{ "service": null, "trouble": "app_down" }])
    );
    stage.cloud.clear_faults();
    assert_eq!(post(&stage, &json!({ "text": "x" })).await.0, 200);
    stage.stop().await;
}
