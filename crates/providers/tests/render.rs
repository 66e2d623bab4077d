//! What the Render adapter sends, and what it does not, in cases of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use linkflow_model::role::{Compute, DomainState, Job, JobState, PrivateImages, Progress};
use linkflow_model::{Definition, EnvValue, FaultKind, RegistryLogin, Secret, ServiceKind};
use linkflow_providers::compute::{self, Settings, render};
use linkflow_providers::kit::{Account, Auth, Call, Limiter, Vendor};
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::canned::{Asked, Canned, Reply};
use super::stage::{SECRET, Stage, deployed, ended, kit, seen};

fn settings(api: &str) -> render::Settings {
    render::Settings {
        token: Secret::new("the-token"),
        owner: Some("tea-1".to_owned()),
        region: "frankfurt".to_owned(),
        plan: "free".to_owned(),
        api: Some(api.to_owned()),
    }
}

fn open(settings: render::Settings) -> Arc<dyn Compute> {
    let (stack, name) = ("linkflow".parse().unwrap(), "render".parse().unwrap());
    compute::open(Settings::Render(settings), &kit(None), &stack, &name)
}

/// The adapter for the simulated vendor, on the free plan.
fn free(stage: &Stage) -> Arc<dyn Compute> {
    let endpoint = stage.provider("render");
    let own = render::Settings {
        token: Secret::new(endpoint.token.clone()),
        owner: None,
        ..settings(&endpoint.api)
    };
    let (stack, name) = ("linkflow".parse().unwrap(), "render".parse().unwrap());
    compute::open(Settings::Render(own), &stage.kit, &stack, &name)
}

const OLD: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const NEW: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn image(digest: &str) -> String {
    format!("ghcr.io/acme/linkflow/api@sha256:{digest}")
}

fn wanted() -> Definition {
    Definition {
        stack: "linkflow".parse().unwrap(),
        service: "api".parse().unwrap(),
        provider: "render".parse().unwrap(),
        release: linkflow_model::ReleaseId(2),
        fingerprint: linkflow_model::Fingerprint("f2".to_owned()),
        image: image(NEW).parse().unwrap(),
        command: None,
        login: None,
        kind: ServiceKind::Web,
        port: Some(8_000),
        health: Some("/health".to_owned()),
        env: [("TOKEN".to_owned(), EnvValue::Secret(Secret::new(SECRET)))].into(),
        env_gone: Vec::new(),
        replicas: 1,
        size: linkflow_model::Size::default(),
    }
}

fn service(suspenders: &[&str]) -> Value {
    json!({
        "id": "srv-1", "name": "linkflow-api", "slug": "linkflow-api-x1", "type": "web_service",
        "autoDeploy": "no", "imagePath": image(OLD), "updatedAt": "2026-11-24T00:00:00Z",
        "suspended": if suspenders.is_empty() { "not_suspended" } else { "suspended" },
        "suspenders": suspenders,
        "serviceDetails": {
            "plan": "free", "numInstances": 1, "healthCheckPath": "/health",
            "url": "https://linkflow-api-x1.onrender.com",
            "envSpecificDetails": { "dockerCommand": "" },
        },
    })
}

fn variables() -> Value {
    let row =
        |key: &str, value: &str| json!({ "envVar": { "key": key, "value": value }, "cursor": key });
    json!([
        row("LINKFLOW_STACK", "linkflow"),
        row("LINKFLOW_SERVICE", "api"),
        row("LINKFLOW_PROVIDER", "render"),
        row("LINKFLOW_RELEASE", "r1"),
        row("LINKFLOW_FINGERPRINT", "f1"),
        row("PORT", "8000"),
        row("TOKEN", SECRET),
        row("OLD", "gone from the config"),
        row("THEIRS", "somebody else's"),
    ])
}

fn deploy(id: &str, status: &str) -> Value {
    json!({ "id": id, "status": status, "image": { "ref": image(OLD), "sha": format!("sha256:{OLD}") } })
}

/// A Render with one service of ours, suspended by `suspenders`; everything that is written works and nothing follows.
fn render_with(suspenders: &'static [&'static str]) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| match (asked.method.as_str(), asked.path.split('?').next().unwrap()) {
        ("GET", "/v1/services") => {
            Reply::json(200, &json!([{ "service": service(suspenders), "cursor": "c" }]))
        }
        ("GET", "/v1/services/srv-1/env-vars") => Reply::json(200, &variables()),
        ("GET", "/v1/services/srv-1/deploys") => {
            Reply::json(200, &json!([{ "deploy": deploy("dep-1", "live"), "cursor": "c" }]))
        }
        ("POST", "/v1/services/srv-1/deploys") => Reply::json(201, &deploy("dep-2", "created")),
        ("PATCH", "/v1/services/srv-1") => Reply::json(200, &service(suspenders)),
        ("DELETE", _) => Reply::Answer(204, Vec::new(), Vec::new()),
        _ => Reply::json(200, &json!({})),
    }
}

/// Lines of what was written.
fn writes(server: &Canned) -> Vec<String> {
    server.lines().into_iter().filter(|line| !line.starts_with("GET ")).collect()
}

#[tokio::test]
async fn an_update_writes_what_differs_and_asks_for_one_deploy() {
    let server = Canned::start(render_with(&[])).await;
    let mut wanted = wanted();
    wanted.env_gone = vec!["OLD".to_owned()];
    let deployment = open(settings(&server.url)).deploy(&wanted).await.unwrap();
    assert_eq!(deployment.id, "run srv-1 dep-2");
    let expected = [
        "PUT /v1/services/srv-1/env-vars/LINKFLOW_RELEASE",
        "DELETE /v1/services/srv-1/env-vars/OLD",
        "PUT /v1/services/srv-1/env-vars/LINKFLOW_FINGERPRINT",
        "PATCH /v1/services/srv-1",
        "POST /v1/services/srv-1/deploys",
    ];
    assert_eq!(writes(&server), expected);
    let asked = server.asked();
    let patch = asked.iter().find(|asked| asked.method == "PATCH").unwrap().json();
    assert_eq!(patch, json!({ "image": { "ownerId": "tea-1", "imagePath": image(NEW) } }));
}

#[tokio::test]
async fn a_deploy_that_the_change_of_the_settings_started_is_not_asked_for_again() {
    let patched = Arc::new(AtomicBool::new(false));
    let (answers, seen) = (render_with(&[]), Arc::clone(&patched));
    let server = Canned::start(move |asked| {
        if asked.method == "PATCH" {
            seen.store(true, Ordering::SeqCst);
        }
        if seen.load(Ordering::SeqCst) && asked.line().starts_with("GET /v1/services/srv-1/deploys") {
            let rows = json!([{ "deploy": deploy("dep-9", "created") }, { "deploy": deploy("dep-1", "live") }]);
            return Reply::json(200, &rows);
        }
        answers(asked)
    })
    .await;
    let deployment = open(settings(&server.url)).deploy(&wanted()).await.unwrap();
    assert_eq!(deployment.id, "run srv-1 dep-9");
    assert!(!server.lines().iter().any(|line| line.starts_with("POST ")), "{:?}", server.lines());
}

#[tokio::test]
async fn what_the_free_plan_and_the_ingress_cannot_do_is_said_before_anything_is_asked() {
    let server = Canned::start(|_| Reply::Cut).await;
    let compute = open(settings(&server.url));
    let worker = Definition { kind: ServiceKind::Worker, port: None, health: None, ..wanted() };
    let grpc = Definition { kind: ServiceKind::Grpc, ..wanted() };
    let two = Definition { replicas: 2, ..wanted() };
    for (wanted, told) in [(worker, "plan = \"starter\""), (grpc, "gRPC"), (two, "one instance")] {
        let fault = compute.deploy(&wanted).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unsupported);
        assert!(fault.said.contains(told), "{fault}");
    }
    let job = Job { id: "migrate-r2".to_owned(), what: wanted() };
    assert_eq!(compute.run_once(&job).await.unwrap_err().kind, FaultKind::Unsupported);
    assert_eq!(server.lines(), Vec::<String>::new());

    let free = compute.capabilities();
    assert_eq!(
        (free.sleeps_after, free.workers, free.jobs, free.grpc),
        (Some(900), false, false, false)
    );
    let paid = open(render::Settings { plan: "auto".to_owned(), ..settings(&server.url) });
    let paid = paid.capabilities();
    assert_eq!((paid.sleeps_after, paid.workers, paid.jobs), (None, true, true));
    assert_eq!(paid.private_images, PrivateImages::Pulls);
}

#[tokio::test]
async fn a_service_of_somebody_else_under_our_name_is_not_touched() {
    let answers = render_with(&[]);
    let server = Canned::start(move |asked| {
        if asked.path.contains("/env-vars") {
            return Reply::json(
                200,
                &json!([{ "envVar": { "key": "A", "value": "b" }, "cursor": "c" }]),
            );
        }
        answers(asked)
    })
    .await;
    let (compute, api) = (open(settings(&server.url)), wanted().service);
    assert_eq!(compute.look().await.unwrap(), Vec::new());
    let refusals = [
        compute.deploy(&wanted()).await.map(drop),
        compute.scale(&api, 0).await,
        compute.restart(&api).await,
        compute.delete(&api).await,
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().kind, FaultKind::Invalid);
    }
    assert_eq!(writes(&server), Vec::<String>::new());
}

#[tokio::test]
async fn what_render_suspended_for_used_up_hours_is_an_allowance_used_up() {
    let server = Canned::start(render_with(&["billing"])).await;
    let compute = open(settings(&server.url));
    let fault = compute.scale(&wanted().service, 1).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exhausted);
    assert_eq!(writes(&server), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_that_sees_several_workspaces_has_to_be_told_which() {
    let server = Canned::start(|_| {
        let row =
            |id: &str, name: &str| json!({ "owner": { "id": id, "name": name }, "cursor": id });
        Reply::json(200, &json!([row("tea-1", "Acme"), row("tea-2", "Other")]))
    })
    .await;
    let fault =
        open(render::Settings { owner: None, ..settings(&server.url) }).look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(fault.said.contains("`owner`") && fault.said.contains("tea-2 (Other)"), "{fault}");
}

#[tokio::test]
async fn refusals_are_told_for_what_they_are() {
    let cases = [
        (402, "Payment information is required", FaultKind::Exhausted),
        (400, "free usage limit exceeded", FaultKind::Exhausted),
        (400, "cannot deploy suspended service", FaultKind::Conflict),
        (409, "name linkflow-api is already in use", FaultKind::Conflict),
        (401, "Unauthorized", FaultKind::Denied),
        (400, "invalid plan", FaultKind::Invalid),
    ];
    for (status, said, kind) in cases {
        let answers = render_with(&[]);
        let server = Canned::start(move |asked| match asked.method.as_str() {
            "PATCH" => Reply::json(status, &json!({ "id": "e", "message": said })),
            _ => answers(asked),
        })
        .await;
        let fault = open(settings(&server.url)).deploy(&wanted()).await.unwrap_err();
        assert_eq!((fault.kind, fault.said.as_str()), (kind, said));
    }
    let server = Canned::start(|_| {
        Reply::json(429, &json!({ "message": "rate limit exceeded" })).with("ratelimit-reset", "45")
    })
    .await;
    let fault = open(settings(&server.url)).look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Limited { wait: Duration::from_secs(45) });
}

#[tokio::test]
async fn a_long_log_is_read_page_by_page_from_its_end() {
    let answers = render_with(&[]);
    let server = Canned::start(move |asked| {
        if !asked.path.starts_with("/v1/logs") {
            return answers(asked);
        }
        let is_second = asked.path.contains("endTime=");
        let first = if is_second { 50 } else { 150 };
        let rows: Vec<Value> = (0..100)
            .map(|n| json!({ "id": "l", "message": format!("line {}", first - n), "timestamp": "2026-11-24T00:00:01Z", "labels": [] }))
            .collect();
        let next = "2026-11-24T00:00:00Z";
        Reply::json(200, &json!({ "hasMore": true, "nextStartTime": next, "nextEndTime": next, "logs": rows }))
    })
    .await;
    let lines = open(settings(&server.url)).logs(&wanted().service, 120).await.unwrap();
    assert_eq!(
        (lines.len(), lines[119].text.as_str(), lines[0].text.as_str()),
        (120, "line 150", "line 31")
    );
    let pages = server.lines().iter().filter(|line| line.starts_with("GET /v1/logs")).count();
    assert_eq!(pages, 2);
}

/// The simulated vendor, past the adapter.
fn raw(stage: &Stage) -> Vendor {
    let endpoint = stage.provider("render");
    kit(None).vendor(Account {
        provider: "render".parse().unwrap(),
        spec: "render",
        production: String::new(),
        base: format!("{}/v1", endpoint.api),
        auth: Some(Auth::bearer(Secret::new(endpoint.token.clone()))),
        limits: Box::new(Limiter::free),
        judge: |_, _| None,
        hide: |_| {},
    })
}

async fn read(vendor: &Vendor, path: &str) -> Value {
    vendor.send_for(Call::read("read", "", path)).await.unwrap()
}

/// Lines of what the adapter asked for, `POST /services 201`.
fn asked(stage: &Stage, method: &str) -> Vec<String> {
    let line = |e: &Value| {
        format!("{} {} {}", e["method"].as_str().unwrap(), e["path"].as_str().unwrap(), e["status"])
    };
    stage.recording().iter().map(line).filter(|line| line.starts_with(method)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_variable_outlives_every_deploy_and_secrets_are_in_no_recording() {
    let stage = Stage::start(&["render"]).await;
    let (compute, vendor) = (stage.adapter("render", "linkflow"), raw(&stage));
    let mut first = stage.definition("render", "api", "1.0", 1).await;
    first.env.insert("OLD".to_owned(), EnvValue::Plain("1".to_owned()));
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let id = seen(&*compute, &first.service, |_| true).await.id;
    let variable = format!("/services/{id}/env-vars/THEIRS");
    let put = Call::write(Method::PUT, "put", "", variable).json(json!({ "value": "kept" }));
    vendor.send(put).await.unwrap();

    let mut second = stage.definition("render", "api", "1.1", 2).await;
    second.env_gone = vec!["OLD".to_owned(), "NEVER_THERE".to_owned()];
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    let rows = read(&vendor, &format!("/services/{id}/env-vars?limit=100")).await;
    let value = |key: &str| {
        let mut all = rows.as_array().unwrap().iter().map(|row| &row["envVar"]);
        all.find(|row| row["key"] == key).map(|row| row["value"].clone())
    };
    assert_eq!(value("THEIRS"), Some(json!("kept")));
    assert_eq!(value("OLD"), None);
    assert_eq!(value("LINKFLOW_SECRET"), Some(json!(SECRET)));
    assert_eq!(value("LINKFLOW_RELEASE"), Some(json!("r2")));
    let whole = asked(&stage, "PUT").into_iter().filter(|line| line.contains("/env-vars "));
    assert_eq!(whole.count(), 0, "the list of variables is never replaced");
    let recorded = stage.recording().iter().map(Value::to_string).collect::<String>();
    assert!(!recorded.contains("s3cr3t"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_is_queued_without_a_word_is_found() {
    let stage = Stage::start(&["render"]).await;
    let compute = stage.adapter("render", "linkflow");
    let first = stage.definition("render", "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    stage.fault("render", Trouble::DeployStuck);
    let second = stage.definition("render", "api", "1.1", 2).await;
    let stuck = compute.deploy(&second).await.unwrap();
    // Only a variable differs now, so nothing but a deploy that is asked for brings it about.
    let mut third = stage.definition("render", "api", "1.1", 3).await;
    third.env.insert("MORE".to_owned(), EnvValue::Plain("1".to_owned()));
    let queued = compute.deploy(&third).await.unwrap();
    assert_ne!(queued, stuck);
    assert!(asked(&stage, "POST").iter().any(|line| line.ends_with("/deploys 202")));
    stage.fault("render", None);
    assert_eq!(ended(&*compute, &queued).await, Progress::Done);
    let old = compute.progress(&stuck).await.unwrap();
    assert!(matches!(old, Progress::Failed { .. }), "{old:?}");
    assert_eq!(compute.deploy(&third).await.unwrap(), queued);
    let held = seen(&*compute, &third.service, |seen| seen.running == 1).await;
    assert_eq!(held.fingerprint, Some(third.fingerprint));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_change_of_the_image_starts_behind_another_deploy_is_the_one_that_is_followed() {
    let stage = Stage::start(&["render"]).await;
    let compute = stage.adapter("render", "linkflow");
    let first = stage.definition("render", "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    stage.fault("render", Trouble::DeployStuck);
    let second = stage.definition("render", "api", "1.1", 2).await;
    compute.deploy(&second).await.unwrap();
    stage.fault("render", None);
    // Back to the first while the second is not up yet, as when a release is taken back.
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let asked_for = asked(&stage, "POST").into_iter().filter(|line| line.contains("/deploys "));
    assert_eq!(asked_for.collect::<Vec<_>>(), Vec::<String>::new(), "none would cancel it");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_made_to_rest_never_ran() {
    let stage = Stage::start(&["render"]).await;
    let compute = stage.adapter("render", "linkflow");
    let timer = stage.definition("render", "engine-timer", "1.0", 1).await;
    let rests = Definition { replicas: 0, ..timer.clone() };
    assert_eq!(deployed(&*compute, &rests).await, Progress::Done);
    let held = seen(&*compute, &timer.service, |_| true).await;
    assert_eq!((held.running, held.fingerprint), (0, Some(timer.fingerprint.clone())));
    let created = stage
        .recording()
        .into_iter()
        .find(|e| e["path"] == "/services" && e["method"] == "POST")
        .unwrap();
    let details = &created["request_body"]["serviceDetails"];
    assert_eq!(details["envSpecificDetails"]["dockerCommand"], "true");
    // What is changed while it rests is there when it wakes, and no deploy is asked for: resuming makes one.
    let next =
        Definition { replicas: 0, ..stage.definition("render", "engine-timer", "1.1", 2).await };
    assert_eq!(deployed(&*compute, &next).await, Progress::Done);
    compute.scale(&timer.service, 1).await.unwrap();
    let held = seen(&*compute, &timer.service, |seen| seen.running == 1).await;
    assert_eq!(held.digest.as_ref(), Some(&next.image.digest));
    assert_eq!(held.fingerprint, Some(next.fingerprint));
    assert!(!asked(&stage, "POST").iter().any(|line| line.contains("/deploys ")));
    let lines = compute.logs(&timer.service, 100).await.unwrap();
    let told = |release: &str| lines.iter().any(|line| line.text.contains(release));
    assert!(told("started, release r2") && !told("started, release r1"), "{lines:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_again_costs_two_requests_for_each_service() {
    let stage = Stage::start(&["render"]).await;
    let compute = stage.adapter("render", "linkflow");
    for service in ["api", "engine-frontend"] {
        let wanted = stage.definition("render", service, "1.0", 1).await;
        assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    }
    let theirs = stage.adapter("render", "linkflow-other");
    let other = Definition {
        stack: "linkflow-other".parse().unwrap(),
        ..stage.definition("render", "api", "1.0", 1).await
    };
    assert_eq!(deployed(&*theirs, &other).await, Progress::Done);
    assert_eq!(compute.look().await.unwrap().len(), 2);
    let before = stage.recording().len();
    let all = compute.look().await.unwrap();
    assert_eq!(
        stage.recording().len() - before,
        1 + 2 * 2,
        "a stranger of that name costs nothing"
    );
    assert!(all.iter().all(|seen| seen.release == Some(linkflow_model::ReleaseId(1))));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_once_in_the_image_of_its_own_release() {
    let stage = Stage::start(&["render"]).await;
    let compute = stage.adapter("render", "linkflow");
    let api = stage.definition("render", "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &api).await, Progress::Done);
    let mut what = stage.definition("render", "api", "broken", 2).await;
    what.command = Some(vec!["api".to_owned(), "it's a migration".to_owned()]);
    let job = Job { id: "migrate-api-r2".to_owned(), what };
    assert_eq!(compute.job(&job.id).await.unwrap(), JobState::Absent);
    compute.run_once(&job).await.unwrap();
    let before = stage.writes();
    compute.run_once(&job).await.unwrap();
    assert_eq!(stage.writes(), before);
    let end = Instant::now() + Duration::from_secs(20);
    let (worked, log) = loop {
        match compute.job(&job.id).await.unwrap() {
            JobState::Ended { worked, log, .. } => break (worked, log),
            other => assert!(Instant::now() < end, "{other:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert!(!worked);
    assert!(log.iter().any(|line| line.text.contains("api r2: cannot start")), "{log:?}");
    let started = stage
        .recording()
        .into_iter()
        .find(|e| e["path"].as_str().unwrap().ends_with("/jobs") && e["method"] == "POST");
    assert_eq!(
        started.unwrap()["request_body"],
        json!({ "startCommand": r"api 'it'\''s a migration'" })
    );
    assert_eq!(compute.look().await.unwrap().len(), 1, "what holds a job's image is no placement");
    assert_eq!(stage.living("render", "api"), 1, "what serves goes on");
    compute.forget_job(&job.id).await.unwrap();
    assert_eq!(compute.job(&job.id).await.unwrap(), JobState::Absent);
    compute.forget_job(&job.id).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_image_is_not_there_is_told_and_not_waited_for() {
    let stage = Stage::start(&["render"]).await;
    let compute = stage.adapter("render", "linkflow");
    let mut what = stage.definition("render", "api", "1.0", 1).await;
    what.command = Some(vec!["api".to_owned()]);
    what.image = image(NEW).parse().unwrap();
    let job = Job { id: "migrate-api-r1".to_owned(), what };
    assert_eq!(compute.run_once(&job).await.unwrap_err().kind, FaultKind::Invalid);
    let state = compute.job(&job.id).await.unwrap();
    assert_eq!(state, JobState::Ended { code: None, worked: false, log: Vec::new() });
    stage.stop().await;
}

#[tokio::test]
async fn a_job_that_worked_is_told_with_its_last_lines() {
    let server = Canned::start(|asked| {
        let row = |key: &str, value: &str| json!({ "envVar": { "key": key, "value": value }, "cursor": key });
        match asked.path.split('?').next().unwrap() {
            "/v1/services" => {
                let held = json!({ "id": "crn-1", "name": "linkflow-job-m1", "type": "cron_job" });
                Reply::json(200, &json!([{ "service": held, "cursor": "c" }]))
            }
            "/v1/services/crn-1/env-vars" => {
                Reply::json(200, &json!([row("LINKFLOW_STACK", "linkflow"), row("LINKFLOW_JOB", "m1")]))
            }
            "/v1/services/crn-1/jobs" => {
                Reply::json(200, &json!([{ "job": { "id": "job-1", "status": "succeeded" }, "cursor": "c" }]))
            }
            _ => {
                let line = json!({ "id": "l", "message": "3 tables\n", "timestamp": "", "labels": [] });
                Reply::json(200, &json!({ "hasMore": false, "nextStartTime": "", "nextEndTime": "", "logs": [line] }))
            }
        }
    })
    .await;
    let state = open(settings(&server.url)).job("m1").await.unwrap();
    let JobState::Ended { code, worked, log } = state else { panic!("{state:?}") };
    assert_eq!((code, worked, log[0].text.as_str()), (Some(0), true, "3 tables"));
    assert!(server.lines().iter().any(|line| line.contains("resource=job-1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_waits_for_dns_serves_and_goes() {
    let stage = Stage::start(&["render"]).await;
    let compute = stage.adapter("render", "linkflow");
    let api = stage.definition("render", "api", "1.0", 1).await;
    let host = "api.acme.dev";
    assert_eq!(compute.domain(&api.service, host).await.unwrap_err().kind, FaultKind::Missing);
    assert_eq!(deployed(&*compute, &api).await, Progress::Done);
    assert_eq!(compute.domain(&api.service, host).await.unwrap(), DomainState::Absent);
    let state = compute.add_domain(&api.service, host).await.unwrap();
    let DomainState::Waiting { records, .. } = &state else { panic!("{state:?}") };
    let record = (records[0].name.as_str(), records[0].kind.as_str(), records[0].value.as_str());
    assert_eq!(record, (host, "CNAME", "linkflow-api.onrender.com"));
    let apex = compute.add_domain(&api.service, "acme.dev").await.unwrap();
    assert!(
        matches!(&apex, DomainState::Waiting { records, .. } if records[0].kind == "A"),
        "{apex:?}"
    );
    // Asked again, it is checked again.
    compute.add_domain(&api.service, host).await.unwrap();
    assert_eq!(compute.domain(&api.service, host).await.unwrap(), DomainState::Ready);
    let before = stage.writes();
    assert_eq!(compute.add_domain(&api.service, host).await.unwrap(), DomainState::Ready);
    assert_eq!(stage.writes(), before);
    compute.remove_domain(&api.service, host).await.unwrap();
    compute.remove_domain(&api.service, host).await.unwrap();
    assert_eq!(compute.domain(&api.service, host).await.unwrap(), DomainState::Absent);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_kept_once_renewed_when_it_differs_and_goes_with_its_last_service() {
    let stage = Stage::start(&["render"]).await;
    let (compute, vendor) = (stage.adapter("render", "linkflow"), raw(&stage));
    let login = |password: &str| {
        let password = Secret::new(password);
        Some(RegistryLogin { registry: "ghcr.io".to_owned(), user: "acme".to_owned(), password })
    };
    let mut api = stage.definition("render", "api", "1.0", 1).await;
    api.login = login("ghp-first");
    let mut frontend = stage.definition("render", "engine-frontend", "1.0", 1).await;
    frontend.login = login("ghp-first");
    assert_eq!(deployed(&*compute, &api).await, Progress::Done);
    assert_eq!(deployed(&*compute, &frontend).await, Progress::Done);
    let held = read(&vendor, "/registrycredentials").await;
    assert_eq!((held.as_array().unwrap().len(), &held[0]["registry"]), (1, &json!("GITHUB")));
    let name = held[0]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("linkflow-linkflow-ghcr.io-"), "{name}");

    let before = stage.writes();
    compute.deploy(&api).await.unwrap();
    assert_eq!(stage.writes(), before);
    api.login = login("ghp-second");
    compute.deploy(&api).await.unwrap();
    let renewed = read(&vendor, "/registrycredentials").await;
    assert_eq!(renewed[0]["id"], held[0]["id"]);
    assert_ne!(renewed[0]["name"], held[0]["name"]);
    let recorded = stage.recording().iter().map(Value::to_string).collect::<String>();
    assert!(!recorded.contains("ghp-"));

    compute.delete(&api.service).await.unwrap();
    assert_eq!(read(&vendor, "/registrycredentials").await.as_array().unwrap().len(), 1);
    compute.delete(&frontend.service).await.unwrap();
    assert_eq!(read(&vendor, "/registrycredentials").await, json!([]));
    let elsewhere = RegistryLogin { registry: "quay.io".to_owned(), ..login("x").unwrap() };
    api.login = Some(elsewhere);
    assert_eq!(compute.deploy(&api).await.unwrap_err().kind, FaultKind::Unsupported);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_told_with_the_hours_of_the_free_plan() {
    let stage = Stage::start(&["render"]).await;
    let compute = free(&stage);
    let api = stage.definition("render", "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &api).await, Progress::Done);
    let used = compute.usage().await.unwrap();
    let words: Vec<&str> = used.iter().map(|usage| usage.what.as_str()).collect();
    assert_eq!(words, ["egress_bytes", "instance_hours"]);
    assert_eq!((used[1].limit, used[1].unit.as_str()), (Some(750.0), "h"));
    assert!((used[1].used - 1.0).abs() < f64::EPSILON, "{used:?}");
    assert!(used.iter().all(|usage| usage.resets.is_some()));
    let paid = stage.adapter("render", "linkflow").usage().await.unwrap();
    assert_eq!(paid.len(), 1, "hours are counted on the free plan only");
    stage.stop().await;
}
