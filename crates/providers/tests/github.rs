//! GitHub, against the rehearsal cloud's and against canned answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_model::role::{Ci, CiRun, CiState, Rollout, RolloutState};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::ci::{self, Settings, github};
use linkflow_providers::kit::Kit;
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use crate::canned::{Canned, Reply};
use crate::stage::{Stage, kit};

fn at(kit: &Kit, api: &str, token: &str, repository: &str) -> Arc<dyn Ci> {
    let own = github::Settings {
        repository: repository.to_owned(),
        token: Secret::new(token),
        api: Some(api.to_owned()),
    };
    ci::open(Settings::Github(own), kit, &"github".parse().unwrap())
}

fn github(stage: &Stage) -> Arc<dyn Ci> {
    let there = &stage.endpoints.github;
    at(&stage.kit, &there.api, &there.token, &there.repository)
}

/// The same without a recording: for what the description does not speak of.
fn unrecorded(stage: &Stage) -> Arc<dyn Ci> {
    let there = &stage.endpoints.github;
    at(&kit(None), &there.api, &there.token, &there.repository)
}

/// What GitHub holds, by the control API.
async fn held(stage: &Stage) -> Value {
    let answer = reqwest::get(format!("{}/v1/github", stage.endpoints.control)).await;
    answer.unwrap().json().await.unwrap()
}

async fn until(github: &dyn Ci, id: &str, fits: impl Fn(&CiRun) -> bool) -> CiRun {
    for _ in 0..500 {
        let run = github.run(id).await.unwrap();
        if fits(&run) {
            return run;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", github.run(id).await);
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_workflow_is_started_named_and_followed_to_its_end() {
    let stage = Stage::start(&[]).await;
    let github = github(&stage);
    let inputs = BTreeMap::from([("dry_run".to_owned(), "true".to_owned())]);
    let run = github.dispatch("deploy.yml", "main", &inputs).await.unwrap();
    assert!(matches!(run.state, CiState::Waiting { .. }), "{run:?}");
    assert!(run.page.as_deref().unwrap().ends_with(&run.id), "{run:?}");
    until(&*github, &run.id, |run| run.state == CiState::Running).await;
    let run = until(&*github, &run.id, |run| run.state.is_ended()).await;
    assert_eq!(run.state, CiState::Ended { worked: true, said: "success".to_owned() });
    let names: Vec<&str> = run.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["build (api)", "deploy"]);
    assert!(run.jobs.iter().all(|job| job.state.is_ended()), "{run:?}");
    assert_eq!(github.latest("deploy.yml").await.unwrap().unwrap().id, run.id);
    assert_eq!(held(&stage).await["runs"][0]["inputs"], json!({ "dry_run": "true" }));
    // One that has ended cannot be cancelled any more, and need not.
    github.cancel(&run.id).await.unwrap();
    stage.stop().await;
}

#[tokio::test]
async fn a_run_that_fails_and_one_that_hangs_are_told_apart() {
    let stage = Stage::start(&[]).await;
    let github = github(&stage);
    stage.fault("github", Trouble::AppDown);
    let failing = github.dispatch("deploy.yml", "main", &BTreeMap::new()).await.unwrap();
    let failed = until(&*github, &failing.id, |run| run.state.is_ended()).await;
    assert_eq!(failed.state, CiState::Ended { worked: false, said: "failure".to_owned() });
    assert_eq!(failed.jobs[0].state, CiState::Ended { worked: true, said: "success".to_owned() });
    stage.fault("github", Trouble::DeployStuck);
    let stuck = github.dispatch("deploy.yml", "main", &BTreeMap::new()).await.unwrap();
    sleep(Duration::from_millis(900)).await;
    assert_eq!(github.run(&stuck.id).await.unwrap().state, CiState::Running);
    github.cancel(&stuck.id).await.unwrap();
    let ended = github.run(&stuck.id).await.unwrap().state;
    assert_eq!(ended, CiState::Ended { worked: false, said: "cancelled".to_owned() });
    stage.stop().await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let stage = Stage::start(&[]).await;
    let github = unrecorded(&stage);
    let start = async |workflow: &str, branch: &str, input: &str| {
        let inputs = BTreeMap::from([(input.to_owned(), "x".to_owned())]);
        let fault = github.dispatch(workflow, branch, &inputs).await.unwrap_err();
        format!("{:?}: {}", fault.kind, fault.said)
    };
    assert_eq!(start("none.yml", "main", "dry_run").await, "Missing: Not Found");
    assert_eq!(start("deploy.yml", "gone", "dry_run").await, "Invalid: No ref found for: gone");
    let odd = start("deploy.yml", "main", "colour").await;
    assert!(odd.starts_with("Invalid: Unexpected inputs provided"), "{odd}");
    stage.fault("github", Trouble::OutOfQuota);
    let spent = start("deploy.yml", "main", "dry_run").await;
    assert!(spent.starts_with("Exhausted: Recent account payments"), "{spent}");
    stage.stop().await;
}

/// A run as GitHub lists it, as far as it is read.
fn listed(id: u64) -> Value {
    json!({ "id": id, "head_sha": "4f1c", "status": "queued", "conclusion": null, "html_url": "https://github.com/x" })
}

#[tokio::test(start_paused = true)]
async fn a_server_that_names_no_run_is_asked_for_the_one_that_is_new() {
    // It does not know the newer field, and lists the run only at the third look.
    let looks = std::sync::atomic::AtomicU64::new(0);
    let server = Canned::start(move |asked| {
        if asked.method == "GET" {
            let look = looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let id = if look >= 3 { 8 } else { 7 };
            return Reply::json(200, &json!({ "total_count": 1, "workflow_runs": [listed(id)] }));
        }
        if asked.json().get("return_run_details").is_some() {
            let message = "Invalid request. \"return_run_details\" is not a permitted key.";
            return Reply::json(422, &json!({ "message": message }));
        }
        Reply::Answer(204, Vec::new(), Vec::new())
    });
    let server = server.await;
    let github = at(&kit(None), &server.url, "token", "acme/shop");
    let run = github.dispatch("deploy.yml", "main", &BTreeMap::new()).await.unwrap();
    assert_eq!(run.id, "8");
    let posts = server.asked().into_iter().filter(|asked| asked.method == "POST").count();
    assert_eq!(posts, 2, "{:?}", server.lines());
}

#[tokio::test]
async fn an_older_api_answers_without_a_body_and_the_run_is_found() {
    let stage = Stage::start(&[]).await;
    let api = stage.endpoints.github.api.clone();
    // As an older server: without the field that asks for the run's name.
    let client = reqwest::Client::new();
    let path = format!("{api}/repos/acme/linkflow/actions/workflows/deploy.yml/dispatches");
    let answer = client
        .post(path)
        .bearer_auth(&stage.endpoints.github.token)
        .header("user-agent", "test")
        .json(&json!({ "ref": "main" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 204);
    let github = github(&stage);
    assert_eq!(github.latest("deploy.yml").await.unwrap(), None, "it is not listed at once");
    sleep(Duration::from_millis(200)).await;
    assert!(github.latest("deploy.yml").await.unwrap().is_some());
    stage.stop().await;
}

#[tokio::test]
async fn secrets_are_sealed_so_that_github_can_open_them() {
    let stage = Stage::start(&[]).await;
    let github = github(&stage);
    let value = "s3cr3t \"with\" ünïcode\nand lines";
    github.set_secret("TOKEN", &Secret::new(value)).await.unwrap();
    assert_eq!(held(&stage).await["secrets"]["TOKEN"], hash(value));
    github.set_secret("TOKEN", &Secret::new("another")).await.unwrap();
    assert_eq!(held(&stage).await["secrets"], json!({ "TOKEN": hash("another") }));
    let names: Vec<String> = github.secrets().await.unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["TOKEN"]);
    github.delete_secret("TOKEN").await.unwrap();
    github.delete_secret("TOKEN").await.unwrap();
    assert_eq!(github.secrets().await.unwrap(), Vec::new());
    let text = Value::from(stage.recording()).to_string();
    assert!(!text.contains("s3cr3t") && !text.contains("another"), "{text}");
    let keys = stage
        .recording()
        .iter()
        .filter(|e| e["path"].as_str().unwrap().ends_with("/public-key"))
        .count();
    assert_eq!(keys, 1, "the key is asked for once");
    stage.stop().await;
}

#[tokio::test]
async fn more_secrets_than_fit_on_a_page_are_all_listed() {
    let stage = Stage::start(&[]).await;
    let github = github(&stage);
    // 80 writes a minute are what GitHub allows; two pages of 100 need a pause that no test should take.
    for n in 0..3 {
        github.set_secret(&format!("NAME_{n}"), &Secret::new(format!("value {n}"))).await.unwrap();
    }
    let pages = Canned::start(|asked| {
        let second = asked.path.contains("page=2");
        let rows: Vec<Value> = (0..if second { 1 } else { 100 })
            .map(|n| json!({ "name": format!("S{second}{n}"), "created_at": "", "updated_at": "2026-01-01T00:00:00Z" }))
            .collect();
        let reply = Reply::json(200, &json!({ "total_count": 101, "secrets": rows }));
        if second {
            reply
        } else {
            reply.with("link", "<https://api.github.com/x?page=2>; rel=\"next\", <https://api.github.com/x?page=2>; rel=\"last\"")
        }
    });
    let pages = pages.await;
    let paged = at(&kit(None), &pages.url, "token", "acme/shop");
    assert_eq!(paged.secrets().await.unwrap().len(), 101);
    assert_eq!(pages.asked().len(), 2);
    assert_eq!(github.secrets().await.unwrap().len(), 3);
    stage.stop().await;
}

#[tokio::test]
async fn a_key_that_github_changed_is_read_anew_and_a_name_it_refuses_is_told() {
    let stage = Stage::start(&[]).await;
    let refused = unrecorded(&stage).set_secret("GITHUB_X", &Secret::new("x")).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Invalid);
    assert!(refused.said.starts_with("Secret names can only contain"), "{refused}");
    // The first key is not the one that is accepted.
    let asked_keys = std::sync::atomic::AtomicU64::new(0);
    let server = Canned::start(move |asked| {
        if asked.method == "GET" {
            let id = asked_keys.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
            let key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
            return Reply::json(200, &json!({ "key_id": id, "key": key }));
        }
        match asked.json()["key_id"].as_str() {
            Some("1") => Reply::json(201, &json!({})),
            _ => Reply::json(422, &json!({ "message": "Invalid key_id" })),
        }
    });
    let server = server.await;
    let github = at(&kit(None), &server.url, "token", "acme/shop");
    github.set_secret("TOKEN", &Secret::new("x")).await.unwrap();
    assert_eq!(server.asked().len(), 4, "{:?}", server.lines());
    stage.stop().await;
}

#[tokio::test]
async fn a_package_tells_its_digests_by_tag_whoever_owns_it() {
    let stage = Stage::start(&[]).await;
    let versions = github(&stage).versions("linkflow/api").await.unwrap();
    let tagged = versions.iter().find(|version| version.tags == ["1.1"]).unwrap();
    let image = stage.cloud.add_image("ada/tool", "2.0", "good");
    assert_ne!(Some(&tagged.digest), image.digest.as_ref());
    let there = &stage.endpoints.github;
    let of_person = at(&stage.kit, &there.api, &there.token, "ada/tool");
    let versions = of_person.versions("tool").await.unwrap();
    assert_eq!(Some(&versions[0].digest), image.digest.as_ref());
    let fault = github(&stage).versions("none").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing);
    stage.stop().await;
}

fn rollout(release: &str, state: RolloutState, text: &str) -> Rollout {
    Rollout {
        release: release.to_owned(),
        commit: "main".to_owned(),
        environment: "production".to_owned(),
        state,
        text: text.to_owned(),
        address: Some("https://shop.example.com".to_owned()),
        log: None,
    }
}

#[tokio::test]
async fn a_rollout_is_one_deployment_and_each_state_is_said_once() {
    let stage = Stage::start(&[]).await;
    let github = github(&stage);
    for state in [RolloutState::Running, RolloutState::Running, RolloutState::Live] {
        github.tell(&rollout("r1", state, "all is well")).await.unwrap();
    }
    github.tell(&rollout("r1", RolloutState::Live, "all is well")).await.unwrap();
    github.tell(&rollout("r2", RolloutState::Live, &"x".repeat(200))).await.unwrap();
    github.tell(&rollout("r3", RolloutState::Failed, "")).await.unwrap();
    let shown = held(&stage).await["deployments"].clone();
    let states = |n: usize| shown[n]["states"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 3, "{shown}");
    assert_eq!(states(0), json!(["in_progress", "success", "inactive"]));
    assert_eq!((states(1), states(2)), (json!(["success"]), json!(["failure"])));
    stage.stop().await;
}

#[tokio::test]
async fn a_limit_is_no_refusal_and_is_kept_to() {
    let stage = Stage::start(&[]).await;
    let github = github(&stage);
    stage.fault("github", Trouble::RateLimited);
    let fault = github.secrets().await.unwrap_err();
    let FaultKind::Limited { wait } = fault.kind else { panic!("{fault:?}") };
    assert!((20..=31).contains(&wait.as_secs()), "{wait:?}");
    let before = stage.recording().len();
    stage.fault("github", None);
    let fault = github.delete_secret("X").await.unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Limited { .. }), "{fault:?}");
    assert_eq!(stage.recording().len(), before, "the second was held back");
    stage.stop().await;
}

#[tokio::test]
async fn a_secondary_limit_says_its_own_time_and_not_that_of_the_hour() {
    let reply = |wait: Option<&'static str>, message: &'static str| {
        move |_: &_| {
            let reply = Reply::json(403, &json!({ "message": message }))
                .with("x-ratelimit-remaining", "4000")
                .with("x-ratelimit-reset", "9999999999");
            match wait {
                Some(wait) => reply.with("retry-after", wait),
                None => reply,
            }
        }
    };
    let kind = async |wait, message| {
        let server = Canned::start(reply(wait, message)).await;
        let github = at(&kit(None), &server.url, "token", "acme/shop");
        github.delete_secret("X").await.unwrap_err().kind
    };
    let limited = |seconds| FaultKind::Limited { wait: Duration::from_secs(seconds) };
    assert_eq!(kind(Some("17"), "You have exceeded a secondary rate limit.").await, limited(17));
    assert_eq!(kind(None, "You have exceeded a secondary rate limit.").await, limited(60));
    let denied = kind(None, "Resource not accessible by personal access token").await;
    assert_eq!(denied, FaultKind::Denied);
}

#[tokio::test]
async fn a_repository_that_is_seen_is_told_from_one_that_is_not_there() {
    let stage = Stage::start(&[]).await;
    let seen = github(&stage).repository().await.unwrap();
    assert_eq!(
        (seen.name.as_str(), seen.private, seen.may_push),
        ("acme/linkflow", false, Some(true))
    );
    let there = &stage.endpoints.github;
    let other = at(&kit(None), &there.api, &there.token, "acme/other");
    assert_eq!(other.repository().await.unwrap_err().kind, FaultKind::Missing);
    let stranger = at(&kit(None), &there.api, "ghp_wrong-token", &there.repository);
    assert_eq!(stranger.repository().await.unwrap_err().kind, FaultKind::Denied);
    stage.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_every_request_names_its_version() {
    let stage = Stage::start(&[]).await;
    let there = &stage.endpoints.github;
    let github = at(&stage.kit, &there.api, "ghp_wrong-token", &there.repository);
    let fault = github.secrets().await.unwrap_err();
    assert_eq!((fault.kind, fault.said.as_str()), (FaultKind::Denied, "Bad credentials"));
    for exchange in stage.recording() {
        assert_eq!(exchange["request_headers"]["x-github-api-version"], "2022-11-28");
        assert_eq!(exchange["request_headers"]["accept"], "application/vnd.github+json");
    }
    stage.stop().await;
}
