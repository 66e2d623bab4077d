//! What the Fly adapter sends, and what it does not, in cases that the rehearsal cloud does not bring about.

use std::sync::Arc;

use linkflow_model::role::{Compute, DomainState, Job, JobState, Progress};
use linkflow_model::{Definition, EnvValue, FaultKind, Secret, ServiceName};
use linkflow_providers::compute::{self, Settings, fly};
use serde_json::{Value, json};

use super::canned::{Asked, Canned, Reply};
use super::stage::{SECRET, Stage, deployed, kit, seen};

fn open(api: &str) -> Arc<dyn Compute> {
    let settings = Settings::Fly(fly::Settings {
        token: Secret::new("the-token"),
        organization: "ours".to_owned(),
        region: "fra".to_owned(),
        app_prefix: None,
        api: Some(api.to_owned()),
        logs_api: Some(api.to_owned()),
        registry: None,
        images: None,
    });
    compute::open(settings, &kit(None), &"linkflow".parse().unwrap(), &"fly".parse().unwrap())
}

fn wanted() -> Definition {
    let image = format!("ghcr.io/acme/linkflow/api@sha256:{}", "1".repeat(64));
    Definition {
        stack: "linkflow".parse().unwrap(),
        service: "api".parse().unwrap(),
        provider: "fly".parse().unwrap(),
        release: linkflow_model::ReleaseId(2),
        fingerprint: linkflow_model::Fingerprint("f2".to_owned()),
        image: image.parse().unwrap(),
        command: None,
        login: None,
        kind: linkflow_model::ServiceKind::Worker,
        port: None,
        health: None,
        env: [("TOKEN".to_owned(), EnvValue::Secret(Secret::new(SECRET)))].into(),
        env_gone: Vec::new(),
        replicas: 1,
        size: linkflow_model::Size::default(),
    }
}

fn api() -> ServiceName {
    "api".parse().unwrap()
}

fn machine(stack: &str) -> Value {
    json!({
        "id": "m1", "name": "api-1", "state": "started", "instance_id": "v7",
        "config": {
            "image": format!("ghcr.io/acme/linkflow/api@sha256:{}", "0".repeat(64)),
            "mounts": [{ "volume": "vol_1", "path": "/data" }],
            "metadata": {
                "linkflow_stack": stack, "linkflow_service": "api",
                "linkflow_fingerprint": "f1", "linkflow_launch": "api-1",
            },
        },
    })
}

/// A Fly with one machine; `lease` and `update` answer those two requests.
fn fly_with(
    lease: impl Fn() -> Reply + Send + Sync + 'static,
    update: impl Fn() -> Reply + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| match asked.line().as_str() {
        "GET /v1/apps/linkflow-api/machines" => Reply::json(200, &json!([machine("linkflow")])),
        "GET /v1/apps/linkflow-api/machines/m1" => Reply::json(200, &machine("linkflow")),
        "GET /v1/apps/linkflow-api/secrets" => {
            let names = ["OLD", "KEPT", "TOKEN"].map(|name| json!({ "name": name }));
            Reply::json(200, &json!({ "secrets": names }))
        }
        "POST /v1/apps/linkflow-api/secrets" => Reply::json(200, &json!({ "version": 41 })),
        "POST /v1/apps/linkflow-api/machines/m1/lease" => lease(),
        "POST /v1/apps/linkflow-api/machines/m1" => update(),
        _ => Reply::json(200, &json!({})),
    }
}

fn leased() -> Reply {
    Reply::json(201, &json!({ "nonce": "lease-9" }))
}

#[tokio::test]
async fn an_update_is_made_under_a_lease_on_the_version_that_was_read() {
    let server = Canned::start(fly_with(leased, || Reply::json(200, &machine("linkflow")))).await;
    let mut wanted = wanted();
    wanted.env_gone = vec!["OLD".to_owned()];
    let deployment = open(&server.url).deploy(&wanted).await.unwrap();
    assert_eq!(deployment.id, "f2 1 m1");
    let expected = [
        "GET /v1/apps/linkflow-api/machines",
        "GET /v1/apps/linkflow-api/secrets",
        "DELETE /v1/apps/linkflow-api/secrets/OLD",
        "POST /v1/apps/linkflow-api/secrets",
        "POST /v1/apps/linkflow-api/machines/m1/lease",
        "GET /v1/apps/linkflow-api/machines/m1",
        "POST /v1/apps/linkflow-api/machines/m1",
        "DELETE /v1/apps/linkflow-api/machines/m1/lease",
    ];
    assert_eq!(server.lines(), expected);
    let asked = server.asked();
    assert_eq!(asked[3].json(), json!({ "values": { "TOKEN": SECRET } }));
    let (update, release) = (&asked[6], &asked[7]);
    assert_eq!(update.header("fly-machine-lease-nonce"), Some("lease-9"));
    assert_eq!(release.header("fly-machine-lease-nonce"), Some("lease-9"));
    let body = update.json();
    assert_eq!(body["current_version"], "v7");
    assert_eq!(body["min_secrets_version"], 41);
    assert_eq!(body["config"]["mounts"][0]["volume"], "vol_1", "a volume is not ours to take");
    assert_eq!(body["config"]["metadata"]["linkflow_fingerprint"], "f2");
    assert_eq!(body["config"]["env"]["LINKFLOW_RELEASE"], "r2");
    assert!(body["config"]["env"].get("TOKEN").is_none(), "secrets are not in the configuration");
}

#[tokio::test]
async fn a_machine_that_somebody_else_holds_is_left_to_them() {
    let held = || Reply::json(409, &json!({ "error": "lease currently held by another" }));
    let server = Canned::start(fly_with(held, || Reply::Cut)).await;
    let fault = open(&server.url).deploy(&wanted()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict);
    assert!(
        !server
            .lines()
            .iter()
            .any(|line| line.ends_with("machines/m1") && line.starts_with("POST"))
    );
}

#[tokio::test]
async fn a_lease_is_given_back_also_when_the_update_fails() {
    let wrapped = || Reply::json(201, &json!({ "status": "success", "data": { "nonce": "n" } }));
    let server = Canned::start(fly_with(wrapped, || Reply::Cut)).await;
    let fault = open(&server.url).deploy(&wanted()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unclear);
    let last = server.asked().pop().unwrap();
    assert_eq!(last.line(), "DELETE /v1/apps/linkflow-api/machines/m1/lease");
    assert_eq!(last.header("fly-machine-lease-nonce"), Some("n"));
}

#[tokio::test]
async fn an_app_with_a_machine_of_somebody_else_is_not_touched() {
    let server = Canned::start(|_| Reply::json(200, &json!([machine("other")]))).await;
    let compute = open(&server.url);
    let refusals = [
        compute.deploy(&wanted()).await.map(drop),
        compute.scale(&api(), 0).await,
        compute.restart(&api()).await,
    ];
    for refusal in refusals {
        let fault = refusal.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid);
        assert!(fault.said.contains("app_prefix"), "{fault}");
    }
    // The burst of the rate limit is used up; that is another reason not to have deleted anything.
    compute.delete(&api()).await.unwrap_err();
    assert!(server.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", server.lines());
}

#[tokio::test]
async fn a_name_that_somebody_else_has_taken_is_explained() {
    let server = Canned::start(|asked| match asked.line().as_str() {
        "POST /v1/apps" => Reply::json(422, &json!({ "error": "Name has already been taken" })),
        "GET /v1/apps/linkflow-api" => Reply::json(
            200,
            &json!({ "name": "linkflow-api", "organization": { "slug": "theirs" } }),
        ),
        _ => Reply::json(404, &json!({ "error": "app not found" })),
    })
    .await;
    let fault = open(&server.url).deploy(&wanted()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(
        fault.to_string(),
        "fly could not create app linkflow-api: somebody else has an app of that name: give [providers.fly] another `app_prefix`"
    );
}

#[tokio::test]
async fn an_empty_app_is_used_but_never_deleted() {
    let server = Canned::start(|asked| match asked.line().as_str() {
        "GET /v1/apps/linkflow-api/machines" => Reply::json(200, &json!([])),
        "GET /v1/apps/linkflow-api" => {
            Reply::json(200, &json!({ "name": "linkflow-api", "organization": { "slug": "ours" } }))
        }
        "POST /v1/apps/linkflow-api/machines" => Reply::json(200, &json!({ "id": "m9" })),
        _ => Reply::json(200, &json!({})),
    })
    .await;
    let compute = open(&server.url);
    compute.delete(&api()).await.unwrap();
    assert_eq!(server.lines(), ["GET /v1/apps/linkflow-api/machines"]);
    assert_eq!(compute.deploy(&wanted()).await.unwrap().id, "f2 1 m9");
    let created = server.asked().pop().unwrap().json();
    assert_eq!((&created["name"], &created["region"]), (&json!("api-1"), &json!("fra")));
}

#[tokio::test]
async fn no_room_in_the_region_is_an_allowance_used_up() {
    let server = Canned::start(|asked| match asked.method.as_str() {
        "POST" if asked.path.ends_with("/machines") => {
            let error = "insufficient_capacity: insufficient resources to create new machine";
            Reply::json(422, &json!({ "error": error, "status": "insufficient_capacity" }))
        }
        "GET" if asked.path.ends_with("/machines") => Reply::json(404, &json!({})),
        _ => Reply::json(200, &json!({})),
    })
    .await;
    let fault = open(&server.url).deploy(&wanted()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exhausted);
}

#[tokio::test]
async fn a_name_that_is_too_long_is_refused_before_anything_is_asked() {
    let server = Canned::start(|_| Reply::Cut).await;
    let service = ServiceName::new(&"s".repeat(40)).unwrap();
    let settings = Settings::Fly(fly::Settings {
        token: Secret::new("t"),
        organization: "o".to_owned(),
        region: "fra".to_owned(),
        app_prefix: Some("p".repeat(30)),
        api: Some(server.url.clone()),
        logs_api: None,
        registry: None,
        images: None,
    });
    let stack = "linkflow".parse().unwrap();
    let compute = compute::open(settings, &kit(None), &stack, &"fly".parse().unwrap());
    assert_eq!(compute.scale(&service, 0).await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn logs_are_unsupported_when_the_endpoint_is_gone() {
    let server = Canned::start(|_| Reply::json(404, &json!({}))).await;
    let fault = open(&server.url).logs(&api(), 10).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unsupported);
    assert_eq!(server.lines(), ["GET /api/v1/apps/linkflow-api/logs"]);
}

#[tokio::test]
async fn what_the_app_logs_of_a_secret_is_masked() {
    let line = json!({ "attributes": { "timestamp": "2026-11-24T00:00:01Z", "message": "token is the-token" } });
    let server = Canned::start(move |_| Reply::json(200, &json!({ "data": [line] }))).await;
    let lines = open(&server.url).logs(&api(), 10).await.unwrap();
    assert_eq!(lines[0].text, "token is ***");
    assert_eq!(lines[0].at.unwrap().0, 1_795_478_401_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_more_is_like_the_others_and_a_deploy_renews_all() {
    let stage = Stage::start(&["fly"]).await;
    let compute = stage.adapter("fly", "linkflow");
    let one = stage.definition("fly", "engine-worker", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &one).await, Progress::Done);
    compute.scale(&one.service, 3).await.unwrap();
    let three = |s: &linkflow_model::role::Seen| s.running == 3;
    let held = seen(&*compute, &one.service, three).await;
    assert_eq!(held.fingerprint.as_ref(), Some(&one.fingerprint), "all three are the same");
    let two =
        Definition { replicas: 2, ..stage.definition("fly", "engine-worker", "1.1", 2).await };
    assert_eq!(deployed(&*compute, &two).await, Progress::Done);
    let pair = |s: &linkflow_model::role::Seen| s.running == 2 && s.replicas == 2;
    let held = seen(&*compute, &two.service, pair).await;
    assert_eq!(held.fingerprint.as_ref(), Some(&two.fingerprint));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_image_is_copied_to_flys_registry_once_and_keeps_its_digest() {
    let stage = Stage::start(&["fly"]).await;
    let compute = stage.adapter("fly", "linkflow");
    let wanted = stage.private(stage.definition("fly", "engine-worker", "1.0", 1).await);
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let held = seen(&*compute, &wanted.service, |seen| seen.running == 1).await;
    assert_eq!(held.digest.as_ref(), Some(&wanted.image.digest));
    let pushes = || {
        let is_push = |e: &&Value| e["provider"] == "oci" && e["method"] == "PUT";
        stage.recording().iter().filter(is_push).count()
    };
    assert_eq!(pushes(), 3, "a configuration, a layer, a manifest");
    let asked = || stage.recording().iter().filter(|e| e["provider"] == "oci").count();
    let before = asked();
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    assert_eq!(asked(), before, "what runs already is not even looked for");

    // Another release of the same image: it is there already.
    let next = Definition {
        release: linkflow_model::ReleaseId(2),
        fingerprint: linkflow_model::Fingerprint("2".repeat(32)),
        ..wanted.clone()
    };
    assert_eq!(deployed(&*compute, &next).await, Progress::Done);
    assert_eq!(pushes(), 3);
    compute.scale(&wanted.service, 2).await.unwrap();
    seen(&*compute, &wanted.service, |seen| seen.running == 2).await;
    let recorded = serde_json::to_string(&stage.recording()).unwrap();
    assert!(!recorded.contains(&stage.endpoints.registry_login.password));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_stops_a_deploy_before_a_machine_is_made() {
    let stage = Stage::start(&["fly"]).await;
    let compute = stage.adapter("fly", "linkflow");
    let mut wanted = stage.private(stage.definition("fly", "engine-worker", "1.0", 1).await);
    wanted.login.as_mut().unwrap().password = Secret::new("not-the-password");
    let fault = compute.deploy(&wanted).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.said.contains("read:packages"), "{fault}");
    assert_eq!(compute.look().await.unwrap(), Vec::new());
    stage.stop().await;
}

#[tokio::test]
async fn a_copy_that_has_not_reached_all_of_flys_registry_yet_is_looked_for_again() {
    let server = Canned::start(|asked| match asked.method.as_str() {
        "POST" if asked.path.ends_with("/machines") => {
            let error = "failed to get manifest registry.fly.io/linkflow-api@sha256:1: request failed: not found [http 404]: {}";
            Reply::json(400, &json!({ "error": error }))
        }
        "GET" if asked.path.ends_with("/machines") => Reply::json(404, &json!({})),
        _ => Reply::json(200, &json!({})),
    })
    .await;
    let fault = open(&server.url).deploy(&wanted()).await.unwrap_err();
    assert!(fault.kind.is_passing(), "{fault}");
}

/// How the job ends.
async fn job_ended(compute: &dyn Compute, id: &str) -> JobState {
    for _ in 0..300 {
        match compute.job(id).await.unwrap() {
            JobState::Under { .. } => {}
            ended => return ended,
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("{id} does not end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_once_tells_its_exit_code_and_is_forgotten() {
    let stage = Stage::start(&["fly"]).await;
    let compute = stage.adapter("fly", "linkflow");
    let wanted = stage.private(stage.definition("fly", "engine-worker", "1.0", 1).await);
    let job = |command: &str, id: &str| {
        let command = Some(vec![command.to_owned()]);
        Job { id: id.to_owned(), what: Definition { command, ..wanted.clone() } }
    };
    let good = job("migrate", "migrate-r1");
    assert_eq!(compute.job(&good.id).await.unwrap(), JobState::Absent);
    for _ in 0..2 {
        compute.run_once(&good).await.unwrap();
    }
    let JobState::Ended { code, worked, log } = job_ended(&*compute, &good.id).await else {
        panic!("it is there")
    };
    assert_eq!((code, worked), (Some(0), true));
    assert!(log.iter().any(|line| line.text.contains("migrated as engine-worker")), "{log:?}");
    compute.run_once(&good).await.unwrap();
    let is_create =
        |e: &&Value| e["method"] == "POST" && e["path"].as_str().unwrap().ends_with("/machines");
    assert_eq!(stage.recording().iter().filter(is_create).count(), 1, "it ran once");
    assert_eq!(compute.look().await.unwrap(), Vec::new(), "a job is no placement");

    let bad = job("migrate-badly", "migrate-r2");
    compute.run_once(&bad).await.unwrap();
    let JobState::Ended { code, worked, .. } = job_ended(&*compute, &bad.id).await else {
        panic!("it is there")
    };
    assert_eq!((code, worked), (Some(3), false));
    for _ in 0..2 {
        compute.forget_job(&good.id).await.unwrap();
    }
    assert_eq!(compute.job(&good.id).await.unwrap(), JobState::Absent);
    assert!(matches!(compute.job(&bad.id).await.unwrap(), JobState::Ended { .. }));
    stage.stop().await;
}

#[tokio::test]
async fn a_job_that_runs_is_not_forgotten_and_a_strangers_app_is_no_job() {
    let machine = |job: &str| json!([{ "id": "m1", "state": "started", "config": { "metadata": { "linkflow_stack": "linkflow", "linkflow_job": job } } }]);
    let ours = Canned::start(move |_| Reply::json(200, &machine("migrate-r1"))).await;
    let fault = open(&ours.url).forget_job("migrate-r1").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict);
    let theirs = Canned::start(move |_| Reply::json(200, &machine("another"))).await;
    let compute = open(&theirs.url);
    assert_eq!(compute.forget_job("migrate-r1").await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(compute.job("migrate-r1").await.unwrap_err().kind, FaultKind::Invalid);
    for server in [ours, theirs] {
        assert!(server.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", server.lines());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_waits_for_dns_serves_and_is_taken_away() {
    let stage = Stage::start(&["fly"]).await;
    let compute = stage.adapter("fly", "linkflow");
    super::contract::serves_own_domains(
        &*compute,
        &stage.definition("fly", "api", "1.0", 1).await,
        "app.example.com",
    )
    .await;
    let DomainState::Absent = compute.domain(&api(), "other.example.com").await.unwrap() else {
        panic!("nobody asked for it")
    };
    stage.stop().await;
}
