//! Tokens and lists, against a server that answers what a test tells it to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use linkflow_model::{FaultKind, Secret};
use linkflow_providers::compute::azure_container_apps;
use serde_json::json;

use super::open;
use crate::canned::{Canned, Reply};

/// Settings for a server that a test makes up.
fn made_up(api: &str) -> azure_container_apps::Settings {
    let credentials =
        json!({ "appId": "app", "password": "the-client-secret", "tenant": "the-tenant" });
    azure_container_apps::Settings {
        credentials: Secret::new(credentials.to_string()),
        subscription: "sub".to_owned(),
        tenant: None,
        resource_group: "group".to_owned(),
        environment: "linkflow".to_owned(),
        location: None,
        api: Some(api.to_owned()),
        login_api: Some(api.to_owned()),
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_renewed_once_when_it_is_refused() {
    let granted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&granted);
    let server = Canned::start(move |asked| {
        if asked.path == "/the-tenant/oauth2/v2.0/token" {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let token = json!({ "access_token": format!("token-{number}"), "expires_in": 3_599 });
            return Reply::json(200, &token);
        }
        let header = asked.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        match header.1.as_str() {
            // The first one was revoked, the third and all after it will be.
            "Bearer token-2" => Reply::json(200, &json!({ "value": [] })),
            _ => Reply::json(
                401,
                &json!({ "error": { "code": "ExpiredAuthenticationToken", "message": "expired" } }),
            ),
        }
    })
    .await;
    let compute = open(made_up(&server.url));
    for _ in 0..3 {
        assert_eq!(compute.look().await.unwrap(), Vec::new());
    }
    assert_eq!(granted.load(Ordering::SeqCst), 2);
    let login = &server.asked()[0];
    let form = String::from_utf8(login.body.clone()).unwrap();
    assert_eq!(
        form,
        "grant_type=client_credentials&client_id=app&client_secret=the-client-secret&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
    );
}

#[tokio::test]
async fn a_token_that_is_refused_twice_is_a_refused_credential() {
    let server = Canned::start(|asked| {
        if asked.path.ends_with("/token") {
            return Reply::json(200, &json!({ "access_token": "a-token", "expires_in": 3_599 }));
        }
        Reply::json(
            401,
            &json!({ "error": { "code": "InvalidAuthenticationToken", "message": "no: a-token" } }),
        )
    })
    .await;
    let fault = open(made_up(&server.url)).look().await.unwrap_err();
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Denied, "no: ***"));
    assert_eq!(server.lines().len(), 4, "two tokens, two tries");
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let server = Canned::start(|asked| {
        if asked.path.ends_with("/token") {
            return Reply::json(200, &json!({ "access_token": "a-token", "expires_in": 3_599 }));
        }
        if asked.path.contains("/revisions") {
            return Reply::json(200, &json!({ "value": [] }));
        }
        let app = |service: &str| {
            json!({
                "name": format!("linkflow-{service}"), "location": "l",
                "tags": { "linkflow-stack": "linkflow", "linkflow-service": service },
                "properties": { "provisioningState": "Succeeded", "runningStatus": "Stopped" },
            })
        };
        if asked.path.contains("skiptoken=2") {
            return Reply::json(200, &json!({ "value": [app("b")] }));
        }
        let next = "https://management.azure.com/subscriptions/sub/next?api-version=1&$skiptoken=2";
        Reply::json(200, &json!({ "value": [app("a")], "nextLink": next }))
    })
    .await;
    let seen = open(made_up(&server.url)).look().await.unwrap();
    let services: Vec<&str> = seen.iter().map(|seen| seen.service.as_str()).collect();
    assert_eq!(services, ["a", "b"]);
}

#[tokio::test]
async fn who_may_not_ask_about_the_subscription_is_told_of_the_environment() {
    let server = Canned::start(|asked| {
        if asked.path.ends_with("/token") {
            return Reply::json(200, &json!({ "access_token": "a-token", "expires_in": 3_599 }));
        }
        if asked.path.contains("/locations/") {
            let error = json!({ "code": "AuthorizationFailed", "message": "no authorization" });
            return Reply::json(403, &json!({ "error": error }));
        }
        let cores = json!({ "unit": "Count", "currentValue": 2, "limit": 100, "name": { "value": "Cores" } });
        Reply::json(200, &json!({ "value": [cores] }))
    })
    .await;
    let location = Some("westeurope".to_owned());
    let own = azure_container_apps::Settings { location, ..made_up(&server.url) };
    let usage = open(own).usage().await.unwrap();
    assert_eq!((usage.len(), usage[0].used), (1, 2.0));
}
