//! What the adapter for Azure Container Apps does with what is Azure's own: arrays that are replaced whole, secrets,
//! environments, jobs, domains, tokens.

use std::sync::Arc;
use std::time::Duration;

use linkflow_model::role::{Compute, DomainState, Job, JobState, Progress};
use linkflow_model::{
    Definition, EnvValue, FaultKind, Fingerprint, Lifecycle, RegistryLogin, Secret, ServiceKind,
    Size,
};
use linkflow_providers::compute::{self, Settings, azure_container_apps};
use linkflow_rehearsal::cloud::ProviderEndpoint;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::lossy::Lossy;
use super::stage::{SECRET, Stage, deployed, ended, kit, seen};

mod login;

const AZURE: &str = "azure-container-apps";

fn credentials(endpoint: &ProviderEndpoint) -> Value {
    serde_json::from_str(&endpoint.token).unwrap()
}

fn settings(endpoint: &ProviderEndpoint) -> azure_container_apps::Settings {
    azure_container_apps::Settings {
        credentials: Secret::new(endpoint.token.clone()),
        subscription: credentials(endpoint)["subscriptionId"].as_str().unwrap().to_owned(),
        tenant: None,
        resource_group: "rehearsal".to_owned(),
        environment: "rehearsal".to_owned(),
        location: Some("westeurope".to_owned()),
        api: Some(endpoint.api.clone()),
        login_api: Some(endpoint.api.clone()),
    }
}

fn open(settings: azure_container_apps::Settings) -> Arc<dyn Compute> {
    let settings = Settings::AzureContainerApps(settings);
    compute::open(settings, &kit(None), &"linkflow".parse().unwrap(), &AZURE.parse().unwrap())
}

/// Somebody else, with the same rights, who does not go by LinkFlow.
struct Somebody {
    http: reqwest::Client,
    group: String,
    token: String,
}

impl Somebody {
    async fn of(stage: &Stage) -> Self {
        let endpoint = stage.provider(AZURE);
        let own = credentials(endpoint);
        let text = |name: &str| own[name].as_str().unwrap();
        let http = reqwest::Client::new();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default",
            text("clientId"),
            text("clientSecret")
        );
        let granted: Value = http
            .post(format!("{}/{}/oauth2/v2.0/token", endpoint.api, text("tenantId")))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let group = format!(
            "{}/subscriptions/{}/resourceGroups/rehearsal/providers/Microsoft.App",
            endpoint.api,
            text("subscriptionId")
        );
        Self { http, group, token: granted["access_token"].as_str().unwrap().to_owned() }
    }

    async fn ask(&self, method: &str, tail: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/{tail}?api-version=2026-07-01", self.group);
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn get(&self, tail: &str) -> Value {
        self.ask("GET", tail, None).await.1
    }

    /// Changes an app, and waits until that is carried out.
    async fn change(&self, app: &str, properties: Value) {
        let body = json!({ "location": "westeurope", "tags": { "team": "theirs" }, "properties": properties });
        let (status, why) = self.ask("PATCH", &format!("containerApps/{app}"), Some(body)).await;
        assert_eq!(status, 202, "{why}");
        let end = Instant::now() + Duration::from_secs(20);
        while self.get(&format!("containerApps/{app}")).await["properties"]["provisioningState"]
            == "InProgress"
        {
            assert!(Instant::now() < end);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn secrets(&self, app: &str) -> Vec<(String, String)> {
        let told = self.ask("POST", &format!("containerApps/{app}/listSecrets"), None).await.1;
        let rows = told["value"].as_array().unwrap().clone();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (text(row, "name"), text(row, "value"))).collect()
    }
}

fn env<'a>(app: &'a Value, name: &str) -> Option<&'a Value> {
    let all = app.pointer("/properties/template/containers/0/env")?.as_array()?;
    all.iter().find(|entry| entry["name"] == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_put_there_stays_there() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    let mut first = stage.definition(AZURE, "api", "1.0", 1).await;
    first.env.insert("OLD".to_owned(), EnvValue::Plain("1".to_owned()));
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let somebody = Somebody::of(&stage).await;
    let app = somebody.get("containerApps/linkflow-api").await;
    let mut containers = app["properties"]["template"]["containers"].clone();
    let theirs = json!({ "name": "THEIRS", "secretRef": "theirs" });
    containers[0]["env"].as_array_mut().unwrap().push(theirs.clone());
    let mut secrets: Vec<Value> = somebody
        .secrets("linkflow-api")
        .await
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    secrets.push(json!({ "name": "theirs", "value": "their-secret" }));
    let registry =
        json!({ "server": "theirs.example", "username": "them", "passwordSecretRef": "theirs" });
    let template = json!({ "revisionSuffix": "theirs", "containers": containers });
    let configuration = json!({ "secrets": secrets, "registries": [registry] });
    somebody
        .change("linkflow-api", json!({ "template": template, "configuration": configuration }))
        .await;

    let mut second = stage.definition(AZURE, "api", "1.1", 2).await;
    second.env_gone = vec!["OLD".to_owned()];
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    let app = somebody.get("containerApps/linkflow-api").await;
    assert_eq!(env(&app, "THEIRS"), Some(&theirs));
    assert_eq!(env(&app, "OLD"), None);
    assert_eq!(env(&app, "LINKFLOW_RELEASE").unwrap()["value"], "r2");
    assert_eq!(app["tags"]["team"], "theirs");
    assert_eq!(app["properties"]["configuration"]["registries"], json!([registry]));
    let secrets = somebody.secrets("linkflow-api").await;
    assert!(secrets.contains(&("theirs".to_owned(), "their-secret".to_owned())), "{secrets:?}");
    // The client's secret and all tokens begin with that word here.
    let recorded = serde_json::to_string(&stage.recording()).unwrap();
    for secret in ["rehearsal-", "of-the-app", "their-secret"] {
        assert!(!recorded.contains(secret), "{secret}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_in_the_secret_store_alone_and_each_revision_has_its_own() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    let first = stage.definition(AZURE, "engine-timer", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let somebody = Somebody::of(&stage).await;
    let name = |app: &Value| {
        env(app, "LINKFLOW_SECRET").unwrap()["secretRef"].as_str().unwrap().to_owned()
    };
    let app = somebody.get("containerApps/linkflow-engine-timer").await;
    let old = name(&app);
    assert!(!app.to_string().contains("of-the-app"), "{app}");
    assert_eq!(somebody.secrets("linkflow-engine-timer").await, [(old.clone(), SECRET.to_owned())]);

    let changed = |release: u64, value: &str| {
        let mut wanted = first.clone();
        wanted.fingerprint = Fingerprint(format!("{release:032x}"));
        wanted.env.insert("LINKFLOW_SECRET".to_owned(), EnvValue::Secret(Secret::new(value)));
        wanted
    };
    assert_eq!(deployed(&*compute, &changed(2, "second-value")).await, Progress::Done);
    let secrets = somebody.secrets("linkflow-engine-timer").await;
    assert!(
        secrets.contains(&(old.clone(), SECRET.to_owned())),
        "what ran until now keeps its own"
    );
    let new = name(&somebody.get("containerApps/linkflow-engine-timer").await);
    assert!(secrets.contains(&(new, "second-value".to_owned())));
    assert_eq!(deployed(&*compute, &changed(3, "third-value")).await, Progress::Done);
    let secrets = somebody.secrets("linkflow-engine-timer").await;
    assert!(secrets.len() == 2 && !secrets.iter().any(|(name, _)| *name == old), "{secrets:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_login_is_kept_as_it_is_wanted_without_a_deploy() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    let login = |password: &str| {
        Some(RegistryLogin {
            registry: "ghcr.io".to_owned(),
            user: "acme".to_owned(),
            password: Secret::new(password),
        })
    };
    let mut wanted = stage.definition(AZURE, "engine-timer", "1.0", 1).await;
    wanted.login = login("first-password");
    let deployment = compute.deploy(&wanted).await.unwrap();
    assert_eq!(ended(&*compute, &deployment).await, Progress::Done);
    let somebody = Somebody::of(&stage).await;
    let app = somebody.get("containerApps/linkflow-engine-timer").await;
    let held = &app["properties"]["configuration"]["registries"][0];
    assert_eq!((&held["server"], &held["username"]), (&json!("ghcr.io"), &json!("acme")));
    let secret = held["passwordSecretRef"].as_str().unwrap().to_owned();
    assert!(
        somebody
            .secrets("linkflow-engine-timer")
            .await
            .contains(&(secret.clone(), "first-password".to_owned()))
    );

    wanted.login = login("second-password");
    assert_eq!(compute.deploy(&wanted).await.unwrap(), deployment);
    let after = somebody.get("containerApps/linkflow-engine-timer").await;
    assert_eq!(after["properties"]["template"], app["properties"]["template"], "no new revision");
    assert!(
        somebody
            .secrets("linkflow-engine-timer")
            .await
            .contains(&(secret, "second-password".to_owned()))
    );
    assert_eq!(ended(&*compute, &deployment).await, Progress::Done);
    let is_change =
        |exchange: &&Value| matches!(exchange["method"].as_str().unwrap(), "PUT" | "PATCH");
    let before = stage.recording().iter().filter(is_change).count();
    compute.deploy(&wanted).await.unwrap();
    assert_eq!(stage.recording().iter().filter(is_change).count(), before);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_that_is_not_there_is_made_and_taken_away_with_the_last_app() {
    let stage = Stage::start(&[AZURE]).await;
    let somebody = Somebody::of(&stage).await;
    let own = azure_container_apps::Settings {
        environment: "own".to_owned(),
        ..settings(stage.provider(AZURE))
    };
    let nowhere = open(azure_container_apps::Settings { location: None, ..own.clone() });
    let wanted = stage.definition(AZURE, "engine-timer", "1.0", 1).await;
    let fault = nowhere.deploy(&wanted).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(fault.said.contains("`location`"), "{fault}");

    let compute = open(own);
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let made = somebody.get("managedEnvironments/own").await;
    assert_eq!(made["tags"]["linkflow-stack"], "linkflow");
    let other = stage.definition(AZURE, "engine-worker", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &other).await, Progress::Done);
    compute.delete(&wanted.service).await.unwrap();
    assert_eq!(
        somebody.get("managedEnvironments/own").await["properties"]["provisioningState"],
        "Succeeded"
    );
    compute.delete(&other.service).await.unwrap();
    let left = somebody.get("managedEnvironments/own").await;
    let gone = left["error"]["code"] == "ResourceNotFound";
    assert!(gone || left["properties"]["provisioningState"] == "ScheduledForDelete", "{left}");

    // The one that was there before is nobody's to delete.
    let compute = stage.adapter(AZURE, "linkflow");
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    compute.delete(&wanted.service).await.unwrap();
    assert_eq!(
        somebody.get("managedEnvironments/rehearsal").await["properties"]["provisioningState"],
        "Succeeded"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_of_somebody_else_is_not_touched_though_it_has_the_name() {
    let stage = Stage::start(&[AZURE]).await;
    // `link-flow` with `api` and `link` with `flow-api` both ask for the name `link-flow-api`.
    let theirs = stage.adapter(AZURE, "link-flow");
    let ours = stage.adapter(AZURE, "link");
    let mut wanted = stage.definition(AZURE, "api", "1.0", 1).await;
    wanted.stack = "link-flow".parse().unwrap();
    assert_eq!(deployed(&*theirs, &wanted).await, Progress::Done);
    let mut other = wanted.clone();
    (other.stack, other.service) = ("link".parse().unwrap(), "flow-api".parse().unwrap());
    let service = &other.service;
    assert_eq!(ours.look().await.unwrap(), Vec::new());
    assert_eq!(ours.deploy(&other).await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(ours.scale(service, 0).await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(ours.restart(service).await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(ours.logs(service, 5).await.unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(ours.delete(service).await.unwrap_err().kind, FaultKind::Invalid);
    seen(&*theirs, &wanted.service, |seen| seen.lifecycle == Lifecycle::Running).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deployed_to_rest_never_runs() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    let mut wanted = stage.definition(AZURE, "engine-timer", "1.0", 1).await;
    wanted.replicas = 0;
    // Another version of what rests does not wake it either.
    let mut second = stage.definition(AZURE, "engine-timer", "1.1", 2).await;
    second.replicas = 0;
    let watch = async {
        loop {
            let instances = stage.cloud.instances();
            assert_eq!(instances[&AZURE.parse().unwrap()], Vec::new());
            sleep(Duration::from_millis(5)).await;
        }
    };
    let deploys =
        async { [deployed(&*compute, &wanted).await, deployed(&*compute, &second).await] };
    tokio::select! {
        () = watch => {}
        progress = deploys => assert_eq!(progress, [Progress::Done, Progress::Done]),
    }
    let held = seen(&*compute, &wanted.service, |_| true).await;
    assert_eq!((held.lifecycle, held.replicas, held.running), (Lifecycle::Stopped, 0, 0));
    assert_eq!(held.digest.as_ref(), Some(&second.image.digest));

    second.replicas = 1;
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    assert_eq!(stage.living(AZURE, "engine-timer"), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_new_revision_does_not_come_up_the_old_one_is_what_runs() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    let first = stage.definition(AZURE, "api", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let broken = stage.definition(AZURE, "api", "broken", 2).await;
    let progress = deployed(&*compute, &broken).await;
    assert!(
        matches!(&progress, Progress::Failed { why } if why.contains("its process ended")),
        "{progress:?}"
    );
    let held = seen(&*compute, &first.service, |seen| seen.lifecycle == Lifecycle::Running).await;
    assert_eq!(held.fingerprint.as_ref(), Some(&first.fingerprint));
    assert_eq!(held.digest.as_ref(), Some(&first.image.digest));

    // Back to the release before, by its own definition.
    assert_eq!(deployed(&*compute, &first).await, Progress::Done);
    let held = seen(&*compute, &first.service, |seen| seen.running == 1).await;
    assert_eq!((held.lifecycle, held.release), (Lifecycle::Running, Some(first.release)));
    let nowhere = format!("ghcr.io/acme/linkflow/api@sha256:{}", "e".repeat(64));
    let fingerprint = Fingerprint("nowhere".to_owned());
    let missing = Definition { image: nowhere.parse().unwrap(), fingerprint, ..first };
    let fault = compute.deploy(&missing).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(fault.said.contains("MANIFEST_UNKNOWN"), "{fault}");
    stage.stop().await;
}

async fn job(stage: &Stage, id: &str, command: &str) -> Job {
    let mut what = stage.definition(AZURE, "api", "1.0", 1).await;
    what.command = Some(vec![command.to_owned()]);
    Job { id: id.to_owned(), what }
}

async fn job_ended(compute: &dyn Compute, id: &str) -> JobState {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match compute.job(id).await.unwrap() {
            JobState::Under { said } => assert!(Instant::now() < end, "still {said}"),
            other => return other,
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_run_once_whichever_answer_is_lost() {
    let stage = Stage::start(&[AZURE]).await;
    let somebody = Somebody::of(&stage).await;
    for place in 0..2 {
        let way = Lossy::to(&stage.provider(AZURE).api).await;
        let compute = stage.adapter_by(AZURE, "linkflow", &way.url);
        let id = format!("migrate-the-database-of-the-api-r{place}");
        let job = job(&stage, &id, "migrate").await;
        assert_eq!(compute.job(&id).await.unwrap(), JobState::Absent);
        way.lose_after(place);
        assert!(compute.run_once(&job).await.unwrap_err().kind.is_passing(), "write {place}");
        assert!(way.has_lost());
        compute.run_once(&job).await.unwrap();
        let state = job_ended(&*compute, &id).await;
        assert_eq!(state, JobState::Ended { code: Some(0), worked: true, log: Vec::new() });
        let before = way.writes();
        compute.run_once(&job).await.unwrap();
        assert_eq!(way.writes(), before);

        let instances = stage.cloud.instances();
        let rows = &instances[&AZURE.parse().unwrap()];
        assert_eq!(rows.iter().map(|row| row.starts).collect::<Vec<_>>(), [1], "{rows:?}");
        let name = &rows[0].service;
        assert!(name.len() <= 32, "{name}");
        let held = somebody.get(&format!("jobs/{name}")).await;
        assert_eq!(held["tags"]["linkflow-job"], id);
        compute.forget_job(&id).await.unwrap();
        assert_eq!(compute.job(&id).await.unwrap(), JobState::Absent);
        compute.forget_job(&id).await.unwrap();
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_says_so_and_is_not_tried_again() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    compute.run_once(&job(&stage, "bad-r1", "no-such-service").await).await.unwrap();
    match job_ended(&*compute, "bad-r1").await {
        JobState::Ended { code: Some(1), worked: false, log } => {
            assert!(log[0].text.contains("BackoffLimitExceeded"), "{log:?}");
        }
        other => panic!("{other:?}"),
    }
    compute.run_once(&job(&stage, "bad-r1", "no-such-service").await).await.unwrap();
    let instances = stage.cloud.instances();
    assert_eq!(instances[&AZURE.parse().unwrap()].len(), 1);
    // A job of another stack is its own.
    let theirs = stage.adapter(AZURE, "other");
    assert_eq!(theirs.job("bad-r1").await.unwrap(), JobState::Absent);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_bound_once_dns_proves_it_and_taken_away_with_its_certificate() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    let wanted = stage.definition(AZURE, "api", "1.0", 1).await;
    let service = &wanted.service;
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let host = "api.acme.example";
    assert_eq!(compute.domain(service, host).await.unwrap(), DomainState::Absent);
    let unproven = compute.add_domain(service, "api.acme.invalid").await.unwrap();
    let DomainState::Waiting { records, .. } = unproven else { panic!("{unproven:?}") };
    let kinds: Vec<(&str, &str)> =
        records.iter().map(|r| (r.kind.as_str(), r.name.as_str())).collect();
    assert_eq!(kinds, [("CNAME", "api.acme.invalid"), ("TXT", "asuid.api.acme.invalid")]);
    assert!(records[0].value.ends_with("azurecontainerapps.io"), "{records:?}");
    assert_eq!(compute.domain(service, "api.acme.invalid").await.unwrap(), DomainState::Absent);

    compute.add_domain(service, host).await.unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while compute.domain(service, host).await.unwrap() != DomainState::Ready {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(50)).await;
    }
    let before = stage.writes();
    assert_eq!(compute.add_domain(service, host).await.unwrap(), DomainState::Ready);
    assert_eq!(stage.writes(), before);
    // A deploy leaves it as it is.
    let second = stage.definition(AZURE, "api", "1.1", 2).await;
    assert_eq!(deployed(&*compute, &second).await, Progress::Done);
    assert_eq!(compute.domain(service, host).await.unwrap(), DomainState::Ready);
    let ingress = stage.provider(AZURE).ingress;
    let visit =
        reqwest::Client::new().get(format!("http://{ingress}/api/v1/health")).header("host", host);
    assert_eq!(visit.send().await.unwrap().status().as_u16(), 200);

    compute.remove_domain(service, host).await.unwrap();
    assert_eq!(compute.domain(service, host).await.unwrap(), DomainState::Absent);
    let certificates = "managedEnvironments/rehearsal/managedCertificates";
    let somebody = Somebody::of(&stage).await;
    assert_eq!(somebody.get(certificates).await["value"], json!([]));
    compute.remove_domain(service, host).await.unwrap();
    compute.add_domain(service, host).await.unwrap();
    compute.delete(service).await.unwrap();
    assert_eq!(
        somebody.get(certificates).await["value"],
        json!([]),
        "what was made around an app goes with it"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_told_as_usage() {
    let stage = Stage::start(&[AZURE]).await;
    let compute = stage.adapter(AZURE, "linkflow");
    let wanted = stage.definition(AZURE, "engine-timer", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let usage = compute.usage().await.unwrap();
    let said: Vec<(&str, f64, Option<f64>, &str)> =
        usage.iter().map(|u| (u.what.as_str(), u.used, u.limit, u.unit.as_str())).collect();
    let expected = [
        ("ManagedEnvironmentConsumptionCores", 0.25, Some(100.0), "count"),
        ("ManagedEnvironmentCount", 1.0, Some(15.0), "count"),
    ];
    assert_eq!(said, expected);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_becomes_a_worker_is_not_reached_any_more() {
    let stage = Stage::start(&[AZURE]).await;
    // Not recorded: the description knows no null, which takes a field away in a merge.
    let compute = open(settings(stage.provider(AZURE)));
    let wanted = stage.definition(AZURE, "engine-matching", "1.0", 1).await;
    assert_eq!(deployed(&*compute, &wanted).await, Progress::Done);
    let fingerprint = Fingerprint("another".to_owned());
    let worker = Definition { kind: ServiceKind::Worker, port: None, fingerprint, ..wanted };
    assert_eq!(deployed(&*compute, &worker).await, Progress::Done);
    let held = seen(&*compute, &worker.service, |seen| seen.running == 1).await;
    assert_eq!(held.address, None);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_azure_cannot_give_is_refused_in_words() {
    let stage = Stage::start(&[AZURE]).await;
    let endpoint = stage.provider(AZURE);
    let compute = open(settings(endpoint));
    let size = Size { cpu_milli: 5_000, memory_mb: 512 };
    let wanted = Definition { size, ..stage.definition(AZURE, "engine-timer", "1.0", 1).await };
    let fault = compute.deploy(&wanted).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");

    let mut own = credentials(endpoint);
    own["clientSecret"] = json!("a-wrong-secret");
    let wrong = Secret::new(own.to_string());
    let compute = open(azure_container_apps::Settings { credentials: wrong, ..settings(endpoint) });
    let fault = compute.look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(
        fault.said.contains("AADSTS7000215") && !fault.said.contains("a-wrong-secret"),
        "{fault}"
    );

    let none = Secret::new("a-token-in-place-of-credentials");
    let compute = open(azure_container_apps::Settings { credentials: none, ..settings(endpoint) });
    let fault = compute.look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.said.contains("az ad sp create-for-rbac"), "{fault}");

    let group = "elsewhere".to_owned();
    let compute =
        open(azure_container_apps::Settings { resource_group: group, ..settings(endpoint) });
    let fault = compute.look().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing);
    assert!(fault.said.contains("Resource group 'elsewhere'"), "{fault}");
    stage.stop().await;
}
