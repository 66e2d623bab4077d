//! A rehearsal cloud, adapters for it, and what they are asked to deploy.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use linkflow_model::clock::SystemClock;
use linkflow_model::role::{Compute, Deployment, Progress, Registry};
use linkflow_model::{
    Definition, EnvValue, Fingerprint, ImageRef, ProviderName, RegistryLogin, ReleaseId, Secret,
    ServiceKind, ServiceName, Size,
};
use linkflow_providers::compute::{
    self, Settings, azure_container_apps, embedded, fly, koyeb, railway, render, zeabur,
};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_providers::registry::{self, Oci};
use linkflow_rehearsal::app;
use linkflow_rehearsal::cloud::generic::Adapter;
use linkflow_rehearsal::cloud::{Cloud, CloudOptions, Endpoints, ProviderEndpoint, Trouble};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names the service that this test binary is to be.
const BE: &str = "LINKFLOW_TEST_BE";

/// A value that must never be seen.
pub(crate) const SECRET: &str = "s3cr3t-\"value\"-of-the-app";

#[test]
#[expect(clippy::exit, reason = "the cloud has to see the app's own exit code")]
#[ignore = "run by the cloud as a process of the sample app"]
fn this_test_binary_is_the_sample_app() {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let Some(service) = env.get(BE).cloned() else { return };
    // What a job runs: it ends by itself.
    match service.as_str() {
        "migrate" => return println!("migrated as {}", env["LINKFLOW_SERVICE"]),
        "migrate-badly" => std::process::exit(3),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Err(why) = runtime.block_on(app::run(&service, env)) {
        eprintln!("{why}");
        std::process::exit(1);
    }
}

/// A program that takes `app SERVICE`: this test binary, behind a script. Written once, before anything is started, so
/// that it is never open for writing while it is run.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let write = || {
        let file =
            std::env::temp_dir().join(format!("linkflow-providers-{}.sh", std::process::id()));
        let this = std::env::current_exe().unwrap();
        let test = "stage::this_test_binary_is_the_sample_app --ignored --nocapture";
        let text = format!("#!/bin/sh\n{BE}=\"$2\" exec {} --exact {test}\n", this.display());
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    };
    PROGRAM.get_or_init(write).clone()
}

pub(crate) fn kit(record: Option<PathBuf>) -> Kit {
    let clock = Arc::new(SystemClock::start());
    Kit::new(KitOptions { record, clock, user_agent: "linkflow-test".to_owned(), limits: None })
        .unwrap()
}

/// Where a stage records: a file of its own in the folder that `LINKFLOW_TEST_RECORD` names, or else in `folder`.
fn recording(folder: &tempfile::TempDir) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    match std::env::var_os("LINKFLOW_TEST_RECORD") {
        Some(kept) => {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            PathBuf::from(kept).join(format!("{}-{number}.ndjson", std::process::id()))
        }
        None => folder.path().join("recording.ndjson"),
    }
}

/// A running cloud with one provider of each kind that is asked for, named after it.
pub(crate) struct Stage {
    pub(crate) cloud: Cloud,
    pub(crate) endpoints: Endpoints,
    pub(crate) kit: Kit,
    recording: PathBuf,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn start(kinds: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let named = |kind: &&str| (kind.parse().unwrap(), (*kind).to_owned());
        let cloud = Cloud::start(CloudOptions {
            program: program(),
            folder: folder.path().to_owned(),
            stack: "linkflow".parse().unwrap(),
            providers: kinds.iter().map(named).collect(),
            seed: 7,
        });
        let cloud = cloud.await.unwrap();
        let recording = recording(&folder);
        let kit = kit(Some(recording.clone()));
        Self { endpoints: cloud.endpoints(), cloud, kit, folder, recording }
    }

    pub(crate) fn provider(&self, name: &str) -> &ProviderEndpoint {
        &self.endpoints.providers[&name.parse::<ProviderName>().unwrap()]
    }

    pub(crate) fn fault(&self, provider: &str, trouble: impl Into<Option<Trouble>>) {
        assert!(self.cloud.set_fault(&provider.parse().unwrap(), None, trouble.into()));
    }

    /// The adapter for a provider, working for `stack`.
    pub(crate) fn adapter(&self, provider: &str, stack: &str) -> Arc<dyn Compute> {
        if provider == "embedded" {
            return self.embedded(stack);
        }
        self.adapter_by(provider, stack, &self.provider(provider).api)
    }

    /// Child processes of this test, with no cloud at all.
    fn embedded(&self, stack: &str) -> Arc<dyn Compute> {
        let services =
            ["api", "engine-frontend", "engine-matching", "engine-worker", "engine-timer"];
        let command = |service: &str| {
            [program().to_str().unwrap(), "app", service].map(str::to_owned).to_vec()
        };
        let ledger = self.folder.path().join("embedded.db").to_str().unwrap().to_owned();
        let settings = Settings::Embedded(embedded::Settings {
            folder: self.folder.path().join("embedded"),
            workdir: self.folder.path().to_owned(),
            programs: services
                .map(|service| (format!("ghcr.io/acme/linkflow/{service}"), command(service)))
                .into(),
            env: [("LINKFLOW_LEDGER".to_owned(), ledger)].into(),
            bind: std::net::Ipv4Addr::LOCALHOST.into(),
        });
        compute::open(settings, &self.kit, &stack.parse().unwrap(), &"embedded".parse().unwrap())
    }

    /// The same, on another way to the API.
    pub(crate) fn adapter_by(&self, provider: &str, stack: &str, api: &str) -> Arc<dyn Compute> {
        let endpoint = self.provider(provider);
        let token = Secret::new(endpoint.token.clone());
        let (name, stack) = (provider.parse().unwrap(), stack.parse().unwrap());
        let settings = match endpoint.kind.as_str() {
            "fly" => Settings::Fly(fly::Settings {
                token,
                organization: endpoint.project.clone().unwrap(),
                region: "fra".to_owned(),
                app_prefix: Some("linkflow".to_owned()),
                api: Some(api.to_owned()),
                logs_api: Some(api.to_owned()),
                registry: endpoint.registry.clone(),
                images: Some(self.endpoints.registry.clone()),
            }),
            "koyeb" => Settings::Koyeb(koyeb::Settings {
                token,
                organization: endpoint.project.clone(),
                region: "fra".to_owned(),
                instance: None,
                app_prefix: Some("linkflow".to_owned()),
                sleep_after: None,
                api: Some(api.to_owned()),
            }),
            "railway" => Settings::Railway(railway::Settings {
                token,
                token_kind: railway::TokenKind::Account,
                project: endpoint.project.clone(),
                environment: endpoint.environment.clone(),
                workspace: None,
                api: Some(format!("{api}/graphql/v2")),
                plan: railway::Plan::Pro,
                sleeps: false,
            }),
            "azure-container-apps" => {
                let credentials: Value = serde_json::from_str(&endpoint.token).unwrap();
                Settings::AzureContainerApps(azure_container_apps::Settings {
                    credentials: token,
                    subscription: credentials["subscriptionId"].as_str().unwrap().to_owned(),
                    tenant: None,
                    resource_group: endpoint.project.clone().unwrap(),
                    environment: endpoint.environment.clone().unwrap(),
                    location: Some("westeurope".to_owned()),
                    api: Some(api.to_owned()),
                    login_api: Some(endpoint.api.clone()),
                })
            }
            "zeabur" => Settings::Zeabur(zeabur::Settings {
                token,
                project: endpoint.project.as_ref().map(|id| format!("project-{id}")),
                environment: endpoint.environment.clone(),
                region: None,
                tcp_host: Some("127.0.0.1".to_owned()),
                api: Some(format!("{api}/graphql")),
            }),
            "render" => Settings::Render(render::Settings {
                token,
                owner: endpoint.project.clone(),
                region: "frankfurt".to_owned(),
                plan: "starter".to_owned(),
                api: Some(api.to_owned()),
            }),
            _ => return Arc::new(Adapter::new(name, stack, api, token)),
        };
        compute::open(settings, &self.kit, &stack, &name)
    }

    /// What `service` is to be on `provider`, with the image of that name and `tag`, in release `release`.
    pub(crate) async fn definition(
        &self,
        provider: &str,
        service: &str,
        tag: &str,
        release: u64,
    ) -> Definition {
        let (kind, port, health) = match service {
            "api" => (ServiceKind::Web, Some(8_000), Some("/api/v1/health")),
            "engine-frontend" => (ServiceKind::Web, Some(8_080), Some("/health")),
            "engine-matching" => (ServiceKind::Grpc, Some(7_235), None),
            _ => (ServiceKind::Worker, None, None),
        };
        let image: ImageRef = format!("ghcr.io/acme/linkflow/{service}:{tag}").parse().unwrap();
        let settings = registry::Settings {
            base: Some(self.endpoints.registry.clone()),
            ..Default::default()
        };
        let oci = Oci::open(settings, &self.kit, &"registry".parse().unwrap());
        let digest = oci.resolve(&image).await.unwrap();
        let wiring = ["FRONTEND_ADDR", "HISTORY_ADDR", "MATCHING_ADDR", "API_BASE_URL"];
        let mut env: BTreeMap<String, EnvValue> = wiring
            .map(|name| (name.to_owned(), EnvValue::Plain("http://127.0.0.1:9".to_owned())))
            .into();
        env.insert("LINKFLOW_SECRET".to_owned(), EnvValue::Secret(Secret::new(SECRET)));
        if provider == "embedded" && tag == "broken" {
            // No registry stands behind a program: it is told here how it behaves.
            let behaviour = EnvValue::Plain("crash".to_owned());
            env.insert("LINKFLOW_APP_BEHAVIOUR".to_owned(), behaviour);
        }
        Definition {
            stack: "linkflow".parse().unwrap(),
            service: service.parse().unwrap(),
            provider: provider.parse().unwrap(),
            release: ReleaseId(release),
            fingerprint: Fingerprint(format!("{release:032x}")),
            image: image.at(digest),
            command: None,
            login: None,
            kind,
            port,
            health: health.map(str::to_owned),
            env,
            env_gone: Vec::new(),
            replicas: 1,
            size: Size::default(),
        }
    }

    /// `wanted`, whose image nobody may pull any more without the login that it has from now on.
    pub(crate) fn private(&self, wanted: Definition) -> Definition {
        self.cloud.make_private(&wanted.image.repository);
        let login = self.endpoints.registry_login.clone();
        let registry = wanted.image.registry.clone();
        let password = Secret::new(login.password);
        Definition { login: Some(RegistryLogin { registry, user: login.user, password }), ..wanted }
    }

    /// Every exchange that was recorded until now.
    pub(crate) fn recording(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.recording).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many of the recorded exchanges changed something.
    pub(crate) fn writes(&self) -> usize {
        let is_write = |exchange: &Value| match exchange["request_body"]["query"].as_str() {
            Some(document) => document.starts_with("mutation"),
            None => !matches!(exchange["method"].as_str().unwrap(), "GET" | "HEAD"),
        };
        self.recording().iter().filter(|e| is_write(e)).count()
    }

    /// The processes of `service` on `provider` that live.
    pub(crate) fn living(&self, provider: &str, service: &str) -> usize {
        let all = self.cloud.instances();
        let rows = &all[&provider.parse::<ProviderName>().unwrap()];
        rows.iter().filter(|row| row.service == service && row.pid.is_some()).count()
    }

    /// Ends the cloud.
    pub(crate) async fn stop(self) {
        self.cloud.stop().await;
    }
}

/// Follows a deploy to its end.
pub(crate) async fn ended(compute: &dyn Compute, deployment: &Deployment) -> Progress {
    let end = Instant::now() + PATIENCE;
    loop {
        match compute.progress(deployment).await.unwrap() {
            Progress::Under { said } => assert!(Instant::now() < end, "still {said}"),
            other => return other,
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Deploys, and follows that to its end.
pub(crate) async fn deployed(compute: &dyn Compute, wanted: &Definition) -> Progress {
    let deployment = compute.deploy(wanted).await.unwrap();
    ended(compute, &deployment).await
}

/// The placement of `service`, once `fits`.
pub(crate) async fn seen(
    compute: &dyn Compute,
    service: &ServiceName,
    fits: impl Fn(&linkflow_model::role::Seen) -> bool,
) -> linkflow_model::role::Seen {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = compute.look().await.unwrap().into_iter().find(|s| s.service == *service);
        match found {
            Some(seen) if fits(&seen) => return seen,
            other => assert!(Instant::now() < end, "{other:?}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the log of `service` has a line: what has just been started runs before it says something.
pub(crate) async fn logged(compute: &dyn Compute, service: &ServiceName) {
    let end = Instant::now() + PATIENCE;
    while compute.logs(service, 5).await.unwrap().is_empty() {
        assert!(Instant::now() < end, "{service} has no log");
        sleep(Duration::from_millis(200)).await;
    }
}
