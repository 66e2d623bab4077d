//! What is asked of those that collect errors, held by each name of the catalogue.

use std::sync::Arc;
use std::time::Duration;

use linkflow_model::role::Errors;
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::errors::{self, Settings, sentry};
use linkflow_rehearsal::cloud::Trouble;

use crate::stage::Stage;

#[test]
fn the_contract_is_held_by_every_name_of_the_catalogue() {
    assert_eq!(errors::KINDS, ["sentry"]);
}

fn of(stage: &Stage, token: &str) -> Arc<dyn Errors> {
    let there = &stage.endpoints.sentry;
    let settings = Settings::Sentry(sentry::Settings {
        token: Secret::new(token),
        organization: there.organization.clone(),
        api: Some(there.api.clone()),
    });
    let (stack, name) = ("shop".parse().unwrap(), "sentry".parse().unwrap());
    errors::open(settings, &stage.kit, &stack, &name)
}

#[tokio::test]
async fn an_issue_is_read_as_it_is_and_one_that_is_not_there_is_none() {
    let stage = Stage::start(&[]).await;
    let sentry = of(&stage, &stage.endpoints.sentry.token);
    sentry.reach().await.unwrap();
    let open = stage.cloud.make_issue("TypeError: x is no function", "unresolved");
    let done = stage.cloud.make_issue("ValueError", "resolved");
    sentry.reach().await.unwrap();
    let issue = sentry.issue(&open).await.unwrap().unwrap();
    assert_eq!(
        (issue.id.as_str(), issue.level.as_str(), issue.is_open),
        (open.as_str(), "error", true)
    );
    assert_eq!(
        (issue.short.as_str(), issue.title.as_str()),
        ("SHOP-1", "TypeError: x is no function")
    );
    assert_eq!(issue.link, format!("https://acme.sentry.io/issues/{open}/"));
    assert!(issue.last_seen.is_some());
    assert!(!sentry.issue(&done).await.unwrap().unwrap().is_open);
    assert_eq!(sentry.issue("999").await.unwrap(), None);
    assert_eq!(stage.writes(), 0, "it only asks");
    stage.stop().await;
}

#[tokio::test]
async fn each_refusal_says_what_can_be_done() {
    let stage = Stage::start(&[]).await;
    let fault = of(&stage, "wrong-token").reach().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    let sentry = of(&stage, &stage.endpoints.sentry.token);
    stage.fault("sentry", Trouble::ApiDown);
    let fault = sentry.issue("7").await.unwrap_err();
    assert!(fault.kind.is_passing(), "{fault}");
    stage.fault("sentry", None);
    stage.fault("sentry", Trouble::RateLimited);
    let fault = sentry.issue("7").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Limited { wait: Duration::from_secs(40) }, "{fault}");
    stage.stop().await;
}
