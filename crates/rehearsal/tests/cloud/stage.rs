//! A cloud to test on, and a client for it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use linkflow_model::role::{Compute, ComputeLook, Deployment, Progress};
use linkflow_model::{
    Definition, EnvValue, Fingerprint, ImageRef, ProviderName, ReleaseId, Secret, ServiceKind,
    ServiceName, Size,
};
use linkflow_rehearsal::app;
use linkflow_rehearsal::cloud::generic::Adapter;
use linkflow_rehearsal::cloud::{Cloud, CloudOptions, Endpoints, ProviderEndpoint, Trouble};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Names the service that this test binary is to be.
const BE: &str = "LINKFLOW_TEST_BE";

#[test]
#[ignore = "run by the cloud as a process of the sample app"]
fn this_test_binary_is_the_sample_app() {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let Some(service) = env.get(BE).cloned() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(app::run(&service, env));
    if let Err(why) = &outcome {
        eprintln!("{why}");
        // A failed test would end with another status than the real program.
        end_with_status_1();
    }
}

#[expect(clippy::exit, reason = "the program's own way to say that it could not start")]
fn end_with_status_1() {
    std::process::exit(1);
}

/// A program that takes `app SERVICE`: this test binary, behind a script of two lines. Written once, before anything is
/// started, so that it is never open for writing while it is run.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let write = || {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let this = std::env::current_exe().unwrap();
        let test = "stage::this_test_binary_is_the_sample_app --ignored --nocapture";
        let text = format!("#!/bin/sh\n{BE}=\"$2\" exec {} --exact {test}\n", this.display());
        let part = folder.join(format!("sample-app.{}", std::process::id()));
        std::fs::write(&part, text).unwrap();
        std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755)).unwrap();
        let whole = folder.join("sample-app.sh");
        std::fs::rename(part, &whole).unwrap();
        whole
    };
    PROGRAM.get_or_init(write).clone()
}

/// A running cloud.
pub(crate) struct Stage {
    pub(crate) cloud: Cloud,
    pub(crate) endpoints: Endpoints,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// A cloud with these providers, each of the kind it is named after.
    pub(crate) async fn start(kinds: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path().to_owned(), kinds);
        let cloud = Cloud::start(options).await.unwrap();
        Self { endpoints: cloud.endpoints(), cloud, _folder: folder }
    }

    pub(crate) fn provider(&self, name: &str) -> &ProviderEndpoint {
        &self.endpoints.providers[&name.parse::<ProviderName>().unwrap()]
    }

    /// Sets a fault of a whole provider, or lifts it.
    pub(crate) fn fault(&self, provider: &str, trouble: impl Into<Option<Trouble>>) {
        assert!(self.cloud.set_fault(&provider.parse().unwrap(), None, trouble.into()));
    }

    pub(crate) fn adapter(&self, provider: &str) -> Adapter {
        let endpoint = self.provider(provider);
        let token = Secret::new(endpoint.token.clone());
        Adapter::new(provider.parse().unwrap(), "linkflow".parse().unwrap(), &endpoint.api, token)
    }

    /// The digest of an image, `api:1.0`.
    pub(crate) async fn pinned(&self, image: &str) -> String {
        let (name, tag) = image.split_once(':').unwrap();
        let url = format!("{}/v2/acme/linkflow/{name}/manifests/{tag}", self.endpoints.registry);
        let digest = call(Method::HEAD, &url, None, None).await.header("docker-content-digest");
        format!("ghcr.io/acme/linkflow/{name}@{digest}")
    }

    /// What `service` is to be on `provider`, at `image` and release `release`.
    pub(crate) async fn definition(&self, provider: &str, image: &str, release: u64) -> Definition {
        let service = image.split(':').next().unwrap();
        let (kind, port, health) = match service {
            "api" => (ServiceKind::Web, Some(8000), Some("/api/v1/health")),
            "engine-frontend" => (ServiceKind::Web, Some(8080), Some("/health")),
            "engine-matching" => (ServiceKind::Grpc, Some(7235), None),
            _ => (ServiceKind::Worker, None, None),
        };
        let image: ImageRef = self.pinned(image).await.parse().unwrap();
        let digest = image.digest.clone().unwrap();
        let env = wiring().into_iter().map(|(name, text)| (name, EnvValue::Plain(text)));
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
            env: env.collect(),
            env_gone: Vec::new(),
            replicas: 1,
            size: Size::default(),
        }
    }

    /// Deploys by the generic adapter and waits until that has come to its end.
    pub(crate) async fn deploy(&self, wanted: &Definition) -> Progress {
        let adapter = self.adapter(wanted.provider.as_str());
        let deployment = adapter.deploy(wanted).await.unwrap();
        ended(&adapter, &deployment).await
    }

    /// Asks a public host of `provider` over HTTP/1.1, on a connection of its own.
    pub(crate) async fn visit(
        &self,
        provider: &str,
        host: &str,
        path: &str,
    ) -> Result<Told, String> {
        visit(self.provider(provider), host, path).await
    }

    /// The only process of `provider`: how it really stands, and its id.
    pub(crate) fn process(&self, provider: &str) -> (String, Option<u32>) {
        let all = self.cloud.instances().remove(&provider.parse::<ProviderName>().unwrap());
        let mut rows = all.unwrap();
        if rows.len() > 1 {
            // Those that were replaced are still on their way out.
            rows.retain(|row| row.really != "stopped" && row.really != "stopping");
        }
        assert_eq!(rows.len(), 1, "{rows:?}");
        (rows[0].really.clone(), rows[0].pid)
    }

    pub(crate) async fn stop(self) {
        self.cloud.stop().await;
    }
}

pub(crate) fn options(folder: PathBuf, kinds: &[&str]) -> CloudOptions {
    CloudOptions {
        program: program(),
        folder,
        stack: "linkflow".parse().unwrap(),
        providers: kinds.iter().map(|kind| (kind.parse().unwrap(), (*kind).to_owned())).collect(),
        seed: 7,
    }
}

/// Addresses that lead nowhere, so that each service starts alone.
pub(crate) fn wiring() -> BTreeMap<String, String> {
    ["FRONTEND_ADDR", "HISTORY_ADDR", "MATCHING_ADDR", "API_BASE_URL"]
        .map(|name| (name.to_owned(), "http://127.0.0.1:9".to_owned()))
        .into()
}

/// The environment that an adapter would give `service`.
pub(crate) fn env(service: &str, provider: &str, port: u16, release: u64) -> Value {
    let mut env = serde_json::to_value(wiring()).unwrap();
    env["LINKFLOW_SERVICE"] = json!(service);
    env["LINKFLOW_PROVIDER"] = json!(provider);
    env["LINKFLOW_RELEASE"] = json!(format!("r{release}"));
    env["PORT"] = json!(port.to_string());
    env
}

/// Follows a deploy to its end.
pub(crate) async fn ended(adapter: &Adapter, deployment: &Deployment) -> Progress {
    let end = Instant::now() + PATIENCE;
    loop {
        match adapter.progress(deployment).await.unwrap() {
            Progress::Under { .. } if Instant::now() < end => {
                sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body, when it is JSON.
    pub(crate) json: Value,
    pub(crate) trailers: HeaderMap,
}

impl Told {
    /// A header's text; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

/// Asks an API; it must answer.
pub(crate) async fn call(
    method: Method,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Told {
    try_call(method, url, token, body).await.unwrap()
}

/// Asks an API, on a connection of its own.
pub(crate) async fn try_call(
    method: Method,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Told, String> {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let text = body.map(ToString::to_string).unwrap_or_default();
    let request =
        request.header("content-type", "application/json").body(Bytes::from(text)).unwrap();
    send(request).await
}

pub(crate) async fn visit(
    provider: &ProviderEndpoint,
    host: &str,
    path: &str,
) -> Result<Told, String> {
    let url = format!("http://{}{path}", provider.ingress);
    let request = Request::builder().uri(url).header("host", host).body(Bytes::new()).unwrap();
    send(request).await
}

/// A gRPC call over HTTP/2 with prior knowledge. The host goes where HTTP/2 has it, so the connection is made by hand.
pub(crate) async fn grpc(
    provider: &ProviderEndpoint,
    host: &str,
    path: &str,
    message: &[u8],
) -> Result<Told, String> {
    let stream =
        tokio::net::TcpStream::connect(provider.ingress).await.map_err(|e| e.to_string())?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = shaken.map_err(|e| e.to_string())?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(connection);
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let uri: Uri = format!("http://{host}{path}").parse().unwrap();
    let kind =
        if path.contains("grpc.health") { "application/grpc" } else { "application/grpc+json" };
    let request = Request::post(uri).header("content-type", kind).header("te", "trailers");
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await;
    read(answer.map_err(|e| e.to_string())?).await
}

/// Sends a request over HTTP/1.1, on a connection of its own.
pub(crate) async fn send(request: Request<Bytes>) -> Result<Told, String> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.retry_canceled_requests(false);
    let client: Client<HttpConnector, Full<Bytes>> = builder.build_http();
    let answer = client.request(request.map(Full::new)).await;
    read(answer.map_err(|error| causes(&error))?).await
}

async fn read(answer: http::Response<hyper::body::Incoming>) -> Result<Told, String> {
    let (head, body) = answer.into_parts();
    let collected = body.collect().await.map_err(|e| e.to_string())?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Told { status: head.status.as_u16(), headers: head.headers, body, json, trailers })
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Asks until what is said fits.
pub(crate) async fn until<T, F: Future<Output = T>>(
    what: &str,
    ask: impl Fn() -> F,
    fits: impl Fn(&T) -> bool,
) -> T
where
    T: std::fmt::Debug,
{
    let end = Instant::now() + PATIENCE;
    loop {
        let said = ask().await;
        if fits(&said) {
            return said;
        }
        assert!(Instant::now() < end, "{what}: {said:?}");
        sleep(Duration::from_millis(15)).await;
    }
}

/// A service's name.
pub(crate) fn named(service: &str) -> ServiceName {
    service.parse().unwrap()
}
