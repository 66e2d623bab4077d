//! Slack by its bot, against the rehearsal cloud's: one message for each incident, and its story below it.

use std::sync::Arc;

use linkflow_model::role::{Delivery, Notice, Notify, Tone};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::notify::{self, Settings, slack_bot};
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};

use crate::canned::{Canned, Reply};
use crate::stage::{Stage, kit};

fn notice(title: &str, tone: Tone) -> Notice {
    Notice {
        tone,
        key: Some("20261129-api-1".to_owned()),
        title: title.to_owned(),
        text: "503 & no answer".to_owned(),
        facts: vec![("affected".to_owned(), "monitor.api".to_owned())],
        lines: Vec::new(),
        link: None,
    }
}

fn bot(stage: &Stage, token: &str) -> Arc<dyn Notify> {
    let there = &stage.endpoints.slack;
    let (channel, api) = (there.channel.clone(), Some(there.api.clone()));
    let settings = slack_bot::Settings { token: Secret::new(token), channel, api };
    notify::open(Settings::SlackBot(settings), &stage.kit, &"slack".parse().unwrap())
}

/// What Slack shows now, by the control API.
async fn shown(stage: &Stage) -> Vec<Value> {
    let answer = reqwest::get(format!("{}/v1/slack/messages", stage.endpoints.control)).await;
    let told: Value = answer.unwrap().json().await.unwrap();
    told["messages"].as_array().unwrap().clone()
}

async fn deliver(bot: &Arc<dyn Notify>, notice: &Notice, held: Option<&str>) -> Option<String> {
    let delivery = Delivery { notice, id: "i.1", again: false, held };
    bot.deliver(&delivery).await.unwrap()
}

#[tokio::test]
async fn an_incident_is_one_message_that_changes_and_its_story_is_below_it() {
    let stage = Stage::start(&[]).await;
    let slack = bot(&stage, &stage.endpoints.slack.token);
    let held = deliver(&slack, &notice("API is away", Tone::Bad), None).await;
    // As after a restart: only what was given back is known.
    let slack = bot(&stage, &stage.endpoints.slack.token);
    let over = notice("API is away (over after 41 s)", Tone::Good);
    assert_eq!(deliver(&slack, &over, held.as_deref()).await, held);
    let shown = shown(&stage).await;
    assert_eq!(shown.len(), 2);
    let root = shown[0]["ts"].clone();
    let texts: Vec<&Value> = shown.iter().map(|told| &told["message"]["text"]).collect();
    assert_eq!(texts, ["✅ API is away (over after 41 s)"; 2]);
    assert_eq!(shown[1]["message"]["thread_ts"], root);
    stage.stop().await;
}

#[tokio::test]
async fn an_incident_whose_message_was_taken_away_begins_anew() {
    let stage = Stage::start(&[]).await;
    let slack = bot(&stage, &stage.endpoints.slack.token);
    let first = deliver(&slack, &notice("API is away", Tone::Bad), None).await.unwrap();
    let gone = json!({ "channel": serde_json::from_str::<Value>(&first).unwrap()["channel"], "ts": "1.000009" });
    let gone = gone.to_string();
    let held = deliver(&slack, &notice("API is away", Tone::Bad), Some(&gone)).await;
    assert!(held.is_some_and(|held| held != first && held != gone));
    assert_eq!(shown(&stage).await.len(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn each_way_slack_refuses_a_bot_says_what_can_be_done() {
    let stage = Stage::start(&[]).await;
    let told = notice("API is away", Tone::Bad);
    let wrong = bot(&stage, "xoxb-wrong");
    let fault = wrong.tell(&told).await.unwrap_err();
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Denied, "invalid_auth"));
    let slack = bot(&stage, &stage.endpoints.slack.token);
    stage.fault("slack", Trouble::AppDown);
    assert_eq!(slack.tell(&told).await.unwrap_err().kind, FaultKind::Missing);
    stage.fault("slack", Trouble::OutOfQuota);
    let kind = slack.tell(&told).await.unwrap_err().kind;
    assert!(matches!(kind, FaultKind::Limited { .. }), "{kind:?}");
    let text = Value::from(stage.recording()).to_string();
    assert!(!text.contains(&stage.endpoints.slack.token), "the token is in the recording");
    stage.stop().await;
}

#[tokio::test]
async fn a_wait_that_slack_asks_for_is_kept() {
    let busy =
        Canned::start(|_| Reply::Answer(429, vec![("retry-after", "17".to_owned())], Vec::new()))
            .await;
    let settings = slack_bot::Settings {
        token: Secret::new("xoxb-1"),
        channel: "#alerts".to_owned(),
        api: Some(format!("{}/api", busy.url)),
    };
    let slack = notify::open(Settings::SlackBot(settings), &kit(None), &"slack".parse().unwrap());
    for _ in 0..2 {
        let kind = slack.tell(&notice("API is away", Tone::Bad)).await.unwrap_err().kind;
        let FaultKind::Limited { wait } = kind else { panic!("{kind:?}") };
        assert!((10..=17).contains(&wait.as_secs()), "{wait:?}");
    }
    assert_eq!(busy.lines(), ["POST /api/chat.postMessage"], "it is left alone meanwhile");
}
