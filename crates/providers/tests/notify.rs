//! What each channel sends, held against what its vendor publishes, and what each refusal means.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use linkflow_model::role::{Notice, Notify, Tone};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::notify::{
    self, Settings, command, discord, ntfy, pagerduty, teams, telegram, twilio, webhook,
};
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::canned::{Asked, Canned, Reply};
use crate::stage::{Stage, kit};

/// Where a Discord webhook is.
const HOOK: &str = "/api/webhooks/1234567890123456789/a-long-secret-token";

fn notice() -> Notice {
    Notice {
        tone: Tone::Bad,
        key: Some("20261129-api-1".to_owned()),
        title: "shop: <api> is *down*".to_owned(),
        text: "503 & no answer".to_owned(),
        facts: vec![("since".to_owned(), "12:00 UTC".to_owned())],
        lines: vec!["one".to_owned(), "@everyone".to_owned()],
        link: Some(("Status".to_owned(), "https://status.example.com/".to_owned())),
    }
}

/// A notice of which every part is far too long.
fn huge() -> Notice {
    let long = |letter: &str| letter.repeat(50_000);
    Notice {
        title: long("<"),
        text: long("*"),
        facts: (0..200).map(|_| (long("&"), long("ü"))).collect(),
        lines: vec![long("`"); 20],
        ..notice()
    }
}

const NAMES: [&str; 7] = ["telegram", "discord", "teams", "ntfy", "pagerduty", "webhook", "twilio"];

/// A channel at `url`.
fn open(name: &str, url: &str) -> Arc<dyn Notify> {
    let api = Some(url.to_owned());
    let secret = |text: &str| Secret::new(text);
    let settings = match name {
        "telegram" => Settings::Telegram(telegram::Settings {
            token: secret("110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"),
            chat: "-100200300".to_owned(),
            api,
        }),
        "discord" => Settings::Discord(discord::Settings {
            webhook: secret(&format!("https://discord.com{HOOK}")),
            api,
        }),
        "teams" => Settings::Teams(teams::Settings {
            webhook: secret(
                "https://prod-00.westeurope.logic.azure.com/workflows/0123456789abcdef/triggers/manual/paths/invoke?sig=a-long-signature",
            ),
            api,
        }),
        "ntfy" => Settings::Ntfy(ntfy::Settings {
            topic: secret("shop-alerts-7f3k"),
            token: Some(secret("tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2")),
            api,
        }),
        "pagerduty" => Settings::Pagerduty(pagerduty::Settings {
            routing_key: secret("e93facc04764012d7bfb002500d5d1a6"),
            api,
        }),
        "webhook" => Settings::Webhook(webhook::Settings {
            address: secret(&format!("{url}/hooks/a-long-secret-path")),
            secret: Some(secret("the-signing-secret")),
        }),
        _ => Settings::Twilio(twilio::Settings {
            sender: twilio::Sender {
                account: "AC0123456789abcdef0123456789abcdef".to_owned(),
                token: secret("the-auth-token-of-twilio"),
                from: "+15005550006".to_owned(),
                api,
            },
            to: "+491701234567".to_owned(),
        }),
    };
    notify::open(settings, &kit(None), &format!("team-{name}").parse().unwrap())
}

/// What a channel asks for when it tells `notice`.
async fn sent(name: &str, notice: &Notice) -> Asked {
    let server = Canned::start(|_| Reply::json(200, &json!({ "ok": true }))).await;
    open(name, &server.url).tell(notice).await.unwrap();
    server.asked().remove(0)
}

/// Every name in `value` is one of `known`.
#[track_caller]
fn only(value: &Value, known: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{key} is no field of {known:?}");
    }
}

fn length(value: &Value) -> usize {
    value.as_str().unwrap().chars().count()
}

#[tokio::test]
async fn telegram_is_sent_a_message_that_its_bot_api_takes() {
    let asked = sent("telegram", &notice()).await;
    assert_eq!(asked.line(), "POST /bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage");
    let body = asked.json();
    only(&body, &["chat_id", "text", "parse_mode", "link_preview_options"]);
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("&lt;api&gt;") && text.contains("503 &amp; no answer"), "{text}");
    let big = sent("telegram", &huge()).await.json();
    assert!(length(&big["text"]) <= 4_096);
}

#[tokio::test]
async fn discord_is_sent_an_embed_within_its_limits() {
    let asked = sent("discord", &notice()).await;
    assert_eq!(asked.line(), format!("POST {HOOK}"));
    let body = asked.json();
    only(&body, &["embeds", "allowed_mentions", "content", "username"]);
    assert_eq!(body["allowed_mentions"]["parse"], json!([]), "nobody is called by a log line");
    only(&body["embeds"][0], &["title", "description", "url", "color", "fields", "timestamp"]);
    let big = sent("discord", &huge()).await.json();
    let embed = &big["embeds"][0];
    let fields = embed["fields"].as_array().unwrap();
    let of_fields: usize = fields.iter().map(|f| length(&f["name"]) + length(&f["value"])).sum();
    assert!(fields.len() <= 25 && length(&embed["title"]) <= 256);
    assert!(of_fields + length(&embed["title"]) + length(&embed["description"]) <= 6_000);
}

#[tokio::test]
async fn teams_is_sent_an_adaptive_card() {
    let asked = sent("teams", &notice()).await;
    assert!(asked.line().starts_with("POST /workflows/0123456789abcdef/triggers/manual/"));
    let body = asked.json();
    assert_eq!(body["type"], "message");
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    only(&attachment["content"], &["$schema", "type", "version", "body", "actions"]);
    let big = sent("teams", &huge()).await;
    assert!(big.body.len() < 28 * 1_024, "{}", big.body.len());
}

#[tokio::test]
async fn ntfy_is_sent_a_message_for_its_topic() {
    let asked = sent("ntfy", &notice()).await;
    assert_eq!(asked.line(), "POST /");
    assert_eq!(asked.header("authorization"), Some("Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"));
    let body = asked.json();
    only(&body, &["topic", "title", "message", "priority", "tags", "click"]);
    assert_eq!((&body["topic"], &body["priority"]), (&json!("shop-alerts-7f3k"), &json!(5)));
    let big = sent("ntfy", &huge()).await.json();
    assert!(big["message"].as_str().unwrap().len() <= 4_096);
}

#[tokio::test]
async fn pagerduty_is_sent_events_of_one_alert() {
    let asked = sent("pagerduty", &notice()).await;
    assert_eq!(asked.line(), "POST /v2/enqueue");
    let body = asked.json();
    only(&body, &["routing_key", "event_action", "dedup_key", "payload", "client", "links"]);
    only(&body["payload"], &["summary", "source", "severity", "custom_details"]);
    let over = sent("pagerduty", &Notice { tone: Tone::Good, ..notice() }).await.json();
    assert_eq!(
        (&over["event_action"], &over["dedup_key"]),
        (&json!("resolve"), &body["dedup_key"])
    );
    let big = sent("pagerduty", &huge()).await;
    assert!(big.body.len() < 512 * 1_024 && length(&big.json()["payload"]["summary"]) <= 1_024);
}

#[tokio::test]
async fn a_webhook_is_signed_over_its_time_and_its_body() {
    let asked = sent("webhook", &notice()).await;
    assert_eq!(asked.line(), "POST /hooks/a-long-secret-path");
    let timestamp = asked.header("linkflow-timestamp").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"the-signing-secret").unwrap();
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(&asked.body);
    let due: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(asked.header("linkflow-signature"), Some(format!("v1={due}").as_str()));
    assert_eq!(asked.json()["notice"]["key"], "20261129-api-1");
}

#[tokio::test]
async fn each_refusal_says_what_can_be_done() {
    let wait = Duration::from_secs(7);
    for name in NAMES {
        let limited = Canned::start(|_| {
            let body = json!({ "ok": false, "description": "Too Many Requests: retry after 7", "message": "slow down" });
            Reply::json(429, &body).with("retry-after", "7")
        });
        let fault = open(name, &limited.await.url).tell(&notice()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Limited { wait }, "{name}: {fault}");
        let broken = Canned::start(|_| Reply::Answer(502, Vec::new(), Vec::new())).await;
        let fault = open(name, &broken.url).tell(&notice()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unclear, "{name}: it may have come: {fault}");
        let cut = Canned::start(|_| Reply::Cut).await;
        let fault = open(name, &cut.url).tell(&notice()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unclear, "{name}: {fault}");
        let refused = Canned::start(|_| Reply::json(403, &json!({ "message": "no" }))).await;
        let fault = open(name, &refused.url).tell(&notice()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied, "{name}: {fault}");
        let fault = open(name, "http://127.0.0.1:1").tell(&notice()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable, "{name}: {fault}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }
}

#[tokio::test]
async fn twilio_takes_a_text_message_and_says_what_is_wrong_with_one() {
    let stage = Stage::start(&[]).await;
    let there = stage.endpoints.twilio.clone();
    let open = |to: &str| {
        let sender = twilio::Sender {
            account: there.account.clone(),
            token: Secret::new(&there.token),
            from: there.from.clone(),
            api: Some(there.api.clone()),
        };
        let settings = Settings::Twilio(twilio::Settings { sender, to: to.to_owned() });
        notify::open(settings, &stage.kit, &"team-sms".parse().unwrap())
    };
    open("+491701234567").tell(&huge()).await.unwrap();
    let fault = open("+12").tell(&notice()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    let fault = open("+15005550004").tell(&notice()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing, "it answered STOP: {fault}");
    stage.fault("twilio", Trouble::OutOfQuota);
    let fault = open("+491701234567").tell(&notice()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exhausted, "{fault}");
    let recorded =
        stage.recording().into_iter().find(|exchange| exchange["status"] == 201).unwrap();
    let text = recorded["response_body"]["body"].as_str().unwrap();
    assert!(text.chars().count() <= 134, "{text}");
    stage.stop().await;
}

#[tokio::test]
async fn a_program_is_told_on_its_standard_input_and_its_exit_code_is_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let open = |script: &str| {
        let settings = Settings::Command(command::Settings {
            words: ["sh", "-c", script].map(str::to_owned).to_vec(),
            folder: dir.path().to_owned(),
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        });
        notify::open(settings, &kit(None), &"team-command".parse().unwrap())
    };
    open("cat > told; echo \"$LINKFLOW_TONE $LINKFLOW_KEY\" > env").tell(&notice()).await.unwrap();
    let told: Notice =
        serde_json::from_slice(&std::fs::read(dir.path().join("told")).unwrap()).unwrap();
    assert_eq!(told, notice());
    let env = std::fs::read_to_string(dir.path().join("env")).unwrap();
    assert_eq!(env, "ALARM 20261129-api-1\n");
    let fault = open("echo the modem is busy >&2; exit 3").tell(&notice()).await.unwrap_err();
    assert!(
        fault.kind == FaultKind::Unclear && fault.said.contains("the modem is busy"),
        "{fault}"
    );
    // One that reads nothing is free to.
    let silent = open("exit 4").tell(&notice()).await.unwrap_err();
    assert_eq!(silent.said, "exit status: 4, and it said nothing");
    open("exit 0").tell(&huge()).await.unwrap();
}
