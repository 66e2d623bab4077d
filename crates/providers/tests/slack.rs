//! Slack by its webhook, against the rehearsal cloud's.

use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::notify::{self, Settings, slack};
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::canned::{Canned, Reply};
use crate::stage::{Stage, kit};

fn notice() -> Notice {
    Notice {
        tone: Tone::Bad,
        key: None,
        title: "shop: r12 did not pass".to_owned(),
        text: "<api> & more: r11 was put back.".to_owned(),
        facts: (0..12).map(|n| (format!("fact {n}"), format!("value <{n}>"))).collect(),
        lines: vec!["starting".to_owned(), "panic: <none> & \"nothing\"".to_owned()],
        link: Some(("The run".to_owned(), "https://example.com/runs/1?a=b&c=d".to_owned())),
    }
}

fn channel(stage: &Stage, webhook: &str) -> Arc<dyn Notify> {
    let own = slack::Settings { webhook: Secret::new(webhook), api: None };
    notify::open(Settings::Slack(own), &stage.kit, &"slack".parse().unwrap())
}

/// What Slack took, by the control API.
async fn taken(stage: &Stage) -> Vec<Value> {
    let answer = reqwest::get(format!("{}/v1/slack/messages", stage.endpoints.control)).await;
    let mut told: Value = answer.unwrap().json().await.unwrap();
    match told["messages"].take() {
        Value::Array(messages) => messages,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_notice_arrives_whole_and_well_laid_out() {
    let stage = Stage::start(&[]).await;
    let slack = channel(&stage, &stage.endpoints.slack.webhook);
    slack.tell(&notice()).await.unwrap();
    let messages = taken(&stage).await;
    assert_eq!(messages.len(), 1);
    let blocks = messages[0]["message"]["blocks"].as_array().unwrap();
    let kinds: Vec<&str> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["header", "section", "section", "section", "rich_text", "actions", "context"]
    );
    assert_eq!(blocks[1]["text"]["text"], "&lt;api&gt; &amp; more: r11 was put back.");
    assert_eq!(blocks[5]["elements"][0]["url"], "https://example.com/runs/1?a=b&c=d");
    stage.stop().await;
}

#[tokio::test]
async fn a_notice_of_any_size_fits_into_what_slack_takes() {
    let stage = Stage::start(&[]).await;
    let slack = channel(&stage, &stage.endpoints.slack.webhook);
    let long = "& <long> ü ".repeat(2_000);
    let huge = Notice {
        title: long.clone(),
        text: long.clone(),
        facts: vec![(long.clone(), long.clone()); 100],
        lines: vec![long.clone(); 500],
        link: Some((long.clone(), format!("https://example.com/{}", "x".repeat(2_900)))),
        ..notice()
    };
    slack.tell(&huge).await.unwrap();
    let bare = Notice {
        text: String::new(),
        facts: vec![("empty".to_owned(), String::new())],
        lines: vec![String::new()],
        link: None,
        ..notice()
    };
    slack.tell(&bare).await.unwrap();
    assert_eq!(taken(&stage).await.len(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn the_webhook_is_in_no_fault_and_in_no_recording_and_the_path_keeps_its_form() {
    let stage = Stage::start(&[]).await;
    let webhook = stage.endpoints.slack.webhook.clone();
    let parts: Vec<&str> = webhook.rsplit('/').take(3).collect();
    let right = channel(&stage, &webhook);
    let said = Notice { text: format!("the hook is {webhook}"), ..notice() };
    right.tell(&said).await.unwrap();
    let wrong = channel(&stage, &format!("{webhook}x"));
    let fault = wrong.tell(&notice()).await.unwrap_err();
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Denied, "invalid_token"));
    let recording = Value::from(stage.recording());
    assert_eq!(recording[0]["path"], "/services/***/***/***");
    assert_eq!(recording[0]["base"], "https://hooks.slack.com");
    let text = format!("{recording} {fault:?} {}", Value::from(taken(&stage).await));
    for part in parts {
        assert!(!text.contains(part), "{part} is in {text}");
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_secret_of_ours_in_a_log_line_does_not_get_there() {
    let stage = Stage::start(&[]).await;
    stage.kit.learn(&Secret::new("hunter2222"));
    let slack = channel(&stage, &stage.endpoints.slack.webhook);
    let said = Notice { lines: vec!["password=hunter2222".to_owned()], ..notice() };
    slack.tell(&said).await.unwrap();
    let text = Value::from(taken(&stage).await).to_string();
    assert!(text.contains("password=***") && !text.contains("hunter2222"), "{text}");
    stage.stop().await;
}

#[tokio::test]
async fn each_way_slack_refuses_says_what_can_be_done() {
    let stage = Stage::start(&[]).await;
    let slack = channel(&stage, &stage.endpoints.slack.webhook);
    let told = async |trouble: Option<Trouble>| {
        stage.fault("slack", trouble);
        match slack.tell(&notice()).await {
            Ok(()) => "ok".to_owned(),
            Err(fault) => format!("{:?}: {}", fault.kind, fault.said),
        }
    };
    assert_eq!(told(Some(Trouble::OutOfQuota)).await, "Denied: action_prohibited");
    assert_eq!(told(Some(Trouble::AppDown)).await, "Missing: channel_is_archived");
    assert!(told(Some(Trouble::Errors { status: 500 })).await.starts_with("Unclear: "));
    assert_eq!(told(Some(Trouble::RateLimited)).await, "Limited { wait: 30s }: rate_limited");
    // It is left alone as long as it asked, also when it would take messages again.
    assert!(told(None).await.starts_with("Limited"));
    stage.stop().await;
}

#[tokio::test]
async fn a_slack_that_is_away_may_be_tried_again() {
    let stage = Stage::start(&[]).await;
    let slack = channel(&stage, &stage.endpoints.slack.webhook);
    stage.fault("slack", Trouble::ApiDown);
    let fault = slack.tell(&notice()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    stage.stop().await;
}

#[tokio::test]
async fn every_word_of_slack_is_judged() {
    let check = async |status: u16, word: &'static str, expected: &str| {
        let text =
            Reply::Answer(status, vec![("content-type", "text/plain".to_owned())], word.into());
        let server = Canned::start(move |_| text.clone()).await;
        let own = slack::Settings {
            webhook: Secret::new("https://hooks.slack.com/services/T0001/B0001/secret01"),
            api: Some(server.url.clone()),
        };
        let slack = notify::open(Settings::Slack(own), &kit(None), &"slack".parse().unwrap());
        let word = match slack.tell(&notice()).await {
            Ok(()) => "ok".to_owned(),
            Err(fault) => format!("{:?}", fault.kind),
        };
        assert_eq!(word, expected, "{status}");
        assert_eq!(server.lines(), ["POST /services/T0001/B0001/secret01"]);
        assert_eq!(server.asked()[0].json()["unfurl_links"], json!(false));
    };
    check(200, "ok", "ok").await;
    check(200, "hello", "Unclear").await;
    check(400, "invalid_payload", "Invalid").await;
    check(400, "invalid_blocks", "Invalid").await;
    check(403, "action_prohibited", "Denied").await;
    check(404, "no_service", "Denied").await;
    check(404, "channel_not_found", "Missing").await;
    check(410, "channel_is_archived", "Missing").await;
    check(500, "rollup_error", "Unclear").await;
}
