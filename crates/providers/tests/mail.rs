//! Mail by Resend and Brevo, against the rehearsal cloud's, and by the next one where one cannot.

use linkflow_model::FaultKind;
use linkflow_model::config::Mailbox;
use linkflow_model::role::{Delivery, Letter, Mail, Notice, Tone};
use linkflow_providers::mail::{self, Settings, Several, Via, brevo, embedded, resend};
use linkflow_providers::notify;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::Value;

use crate::canned::{Canned, Reply};
use crate::stage::{Stage, kit};

fn mailbox(address: &str) -> Mailbox {
    Mailbox { name: None, address: address.to_owned() }
}

pub(crate) fn letter(key: &str) -> Letter {
    Letter {
        from: Mailbox { name: Some("The shop".to_owned()), address: "shop@example.com".to_owned() },
        to: mailbox("ada@example.org"),
        reply_to: Some(mailbox("help@example.com")),
        subject: "API is away".to_owned(),
        text: "It is.\n.\n..and a dot".to_owned(),
        html: Some("<p>It is.</p>".to_owned()),
        headers: vec![("Auto-Submitted", "auto-generated".to_owned())],
        key: key.to_owned(),
    }
}

fn at(stage: &Stage, kind: &str) -> Settings {
    let there = &stage.endpoints.mail[kind];
    let (token, api) = (linkflow_model::Secret::new(&there.token), Some(there.api.clone()));
    match kind {
        "resend" => Settings::Resend(resend::Settings { token, api }),
        _ => Settings::Brevo(brevo::Settings { token, api }),
    }
}

fn via(stage: &Stage) -> Via {
    let one = |kind: &str| (kind.parse().unwrap(), at(stage, kind));
    Via { first: one("resend"), others: vec![one("brevo")] }
}

/// What `kind` was given, by the control API.
async fn given(stage: &Stage, kind: &str) -> Vec<Value> {
    let answer = reqwest::get(format!("{}/v1/mail", stage.endpoints.control)).await;
    let told: Value = answer.unwrap().json().await.unwrap();
    told[kind].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_letter_arrives_whole_at_each_vendor() {
    let stage = Stage::start(&[]).await;
    for kind in ["resend", "brevo"] {
        let sender = mail::open(at(&stage, kind), &stage.kit, &kind.parse().unwrap());
        let id = sender.send(&letter("one")).await.unwrap();
        let given = given(&stage, kind).await;
        assert_eq!((given.len(), given[0]["id"].as_str()), (1, Some(id.as_str())));
    }
    let resend = &given(&stage, "resend").await[0]["letter"];
    assert_eq!(resend["from"], "The shop <shop@example.com>");
    assert_eq!(resend["headers"]["Auto-Submitted"], "auto-generated");
    let brevo = &given(&stage, "brevo").await[0]["letter"];
    assert_eq!(brevo["replyTo"]["email"], "help@example.com");
    assert_eq!(brevo["textContent"], letter("one").text);
    stage.stop().await;
}

#[tokio::test]
async fn resend_sends_a_letter_with_the_same_key_once() {
    let stage = Stage::start(&[]).await;
    let sender = mail::open(at(&stage, "resend"), &stage.kit, &"resend".parse().unwrap());
    let first = sender.send(&letter("one")).await.unwrap();
    assert_eq!(sender.send(&letter("one")).await.unwrap(), first);
    let other = Letter { text: "another".to_owned(), ..letter("one") };
    assert_eq!(sender.send(&other).await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(given(&stage, "resend").await.len(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn the_next_provider_sends_what_one_cannot_and_only_then() {
    let stage = Stage::start(&[]).await;
    let several = Several::open(via(&stage), &stage.kit);
    several.send(&letter("one")).await.unwrap();
    for (index, trouble) in [Trouble::OutOfQuota, Trouble::Denied].into_iter().enumerate() {
        stage.fault("resend", trouble);
        several.send(&letter("two")).await.unwrap();
        assert_eq!(given(&stage, "brevo").await.len(), index + 1, "{trouble:?}");
    }
    stage.fault("brevo", Trouble::OutOfQuota);
    assert_eq!(several.send(&letter("three")).await.unwrap_err().kind, FaultKind::Exhausted);
    assert_eq!(given(&stage, "resend").await.len(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn what_may_have_gone_out_goes_to_nobody_else() {
    let stage = Stage::start(&[]).await;
    let cut = Canned::start(|_| Reply::Cut).await;
    let settings =
        brevo::Settings { token: linkflow_model::Secret::new("key"), api: Some(cut.url.clone()) };
    let first = ("brevo-cut".parse().unwrap(), Settings::Brevo(settings));
    let others = vec![("resend".parse().unwrap(), at(&stage, "resend"))];
    let several = Several::open(Via { first, others }, &stage.kit);
    assert_eq!(several.send(&letter("one")).await.unwrap_err().kind, FaultKind::Unclear);
    assert_eq!(given(&stage, "resend").await.len(), 0);
    assert_eq!(cut.lines(), ["POST /smtp/email"]);
    stage.stop().await;
}

#[tokio::test]
async fn at_resend_an_answer_that_was_lost_is_asked_for_again_with_the_same_key() {
    let lost = Canned::start(|_| Reply::Cut).await;
    let settings =
        resend::Settings { token: linkflow_model::Secret::new("key"), api: Some(lost.url.clone()) };
    let sender = mail::open(Settings::Resend(settings), &kit(None), &"resend".parse().unwrap());
    assert_eq!(sender.send(&letter("one")).await.unwrap_err().kind, FaultKind::Unclear);
    let keys: Vec<_> =
        lost.asked().iter().map(|a| a.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys, ["one", "one"]);
}

#[tokio::test]
async fn updates_of_an_incident_are_one_thread() {
    let stage = Stage::start(&[]).await;
    let settings = notify::mail::Settings {
        via: via(&stage),
        from: mailbox("shop@example.com"),
        reply_to: None,
        to: mailbox("ada@example.org"),
    };
    let name = "team-email-1".parse().unwrap();
    let channel = notify::open(notify::Settings::Mail(settings), &stage.kit, &name);
    let notice = Notice {
        tone: Tone::Bad,
        key: Some("20261129-api-1".to_owned()),
        title: "shop: API is away".to_owned(),
        text: "503".to_owned(),
        facts: vec![("affected".to_owned(), "monitor.api".to_owned())],
        lines: Vec::new(),
        link: Some(("Status page".to_owned(), "https://status.example.com/".to_owned())),
    };
    let mut held = None;
    for (id, again) in [("i.team.1", false), ("i.team.2", false), ("i.team.2", true)] {
        let delivery = Delivery { notice: &notice, id, again, held: held.as_deref() };
        held = channel.deliver(&delivery).await.unwrap();
    }
    let given = given(&stage, "resend").await;
    let header = |at: usize, name: &str| given[at]["letter"]["headers"][name].clone();
    let root = header(0, "Message-Id");
    assert!(root.as_str().unwrap().ends_with("@example.com>"), "{root}");
    assert_eq!([header(1, "In-Reply-To"), header(2, "References")], [root.clone(), root.clone()]);
    assert!(header(1, "Message-Id") != root && header(0, "References").is_null());
    let text = |at: usize| given[at]["letter"]["text"].as_str().unwrap().to_owned();
    assert!(text(0).contains("affected: monitor.api\n\nStatus page: https://"), "{}", text(0));
    assert!(text(2).contains("again:") && !text(1).contains("again:"), "{}", text(2));
    stage.stop().await;
}

#[tokio::test]
async fn without_a_provider_letters_are_kept_in_a_maildir() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("mail");
    let settings = Settings::Embedded(embedded::Settings { folder: folder.clone() });
    let sender = mail::open(settings, &kit(None), &"embedded".parse().unwrap());
    let id = sender.send(&letter("one")).await.unwrap();
    sender.send(&letter("one")).await.unwrap();
    let kept: Vec<_> = std::fs::read_dir(folder.join("new")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    let text = std::fs::read_to_string(folder.join("new").join(id)).unwrap();
    assert!(text.contains("\nSubject: API is away\n") && !text.contains('\r'), "{text}");
}
