//! The client of a generic provider, also from another process.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use linkflow_model::role::{
    Capabilities, Compute, ComputeLook, Deployment, LogLine, PrivateImages, Progress, Seen,
};
use linkflow_model::{Definition, Fault, FaultKind, ProviderName, Secret, ServiceName, StackName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Row, Scale, Wanted};

const WITHIN: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Runs containers on one generic provider, for one stack.
pub struct Adapter {
    provider: ProviderName,
    stack: StackName,
    api: String,
    token: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer: its status, what it says, and how long to wait when it says so.
struct Told {
    status: StatusCode,
    body: Bytes,
    wait: Option<u64>,
}

impl Adapter {
    /// An adapter for the provider whose API is at `api` (see [`crate::cloud::ProviderEndpoint::api`]).
    pub fn new(provider: ProviderName, stack: StackName, api: &str, token: Secret) -> Self {
        let client =
            Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        Self { provider, stack, api: api.trim_end_matches('/').to_owned(), token, client }
    }

    fn fault(&self, kind: FaultKind, attempt: &str, said: impl Into<String>) -> Fault {
        Fault {
            kind,
            provider: self.provider.clone(),
            attempt: attempt.to_owned(),
            said: said.into(),
        }
    }

    /// Asks the API once.
    async fn ask(
        &self,
        attempt: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Told, Fault> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.api))
            .header("authorization", format!("Bearer {}", self.token.expose()))
            .header("content-type", "application/json")
            .body(Full::new(body));
        let request =
            request.map_err(|error| self.fault(FaultKind::Invalid, attempt, error.to_string()))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let kind =
                    if error.is_connect() { FaultKind::Unreachable } else { FaultKind::Unclear };
                self.fault(kind, attempt, root(&error))
            })?;
            let wait =
                response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
            let body =
                body.map_err(|error| self.fault(FaultKind::Unclear, attempt, error.to_string()))?;
            Ok(Told { status, body: body.to_bytes(), wait })
        };
        let told = timeout(WITHIN, exchange).await;
        let told = told.map_err(|_| {
            self.fault(FaultKind::Unclear, attempt, format!("no answer within {WITHIN:?}"))
        })??;
        if told.status.is_success() { Ok(told) } else { Err(self.refused(attempt, &told)) }
    }

    fn refused(&self, attempt: &str, told: &Told) -> Fault {
        let kind = match told.status.as_u16() {
            401 | 403 => FaultKind::Denied,
            402 => FaultKind::Exhausted,
            404 => FaultKind::Missing,
            409 | 412 => FaultKind::Conflict,
            429 => FaultKind::Limited { wait: Duration::from_secs(told.wait.unwrap_or(1)) },
            408 | 500..=599 => FaultKind::Unclear,
            _ => FaultKind::Invalid,
        };
        let said = serde_json::from_slice::<serde_json::Value>(&told.body).ok();
        let said = said.and_then(|body| body["error"].as_str().map(str::to_owned));
        self.fault(kind, attempt, said.unwrap_or_else(|| told.status.to_string()))
    }

    async fn get<T: DeserializeOwned>(&self, attempt: &str, path: &str) -> Result<T, Fault> {
        let told = self.ask(attempt, Method::GET, path, Bytes::new()).await?;
        self.read(attempt, &told)
    }

    fn read<T: DeserializeOwned>(&self, attempt: &str, told: &Told) -> Result<T, Fault> {
        serde_json::from_slice(&told.body)
            .map_err(|error| self.fault(FaultKind::Unclear, attempt, error.to_string()))
    }

    fn write(&self, attempt: &str, body: &impl Serialize) -> Result<Bytes, Fault> {
        let written = serde_json::to_vec(body).map(Bytes::from);
        written.map_err(|error| self.fault(FaultKind::Invalid, attempt, error.to_string()))
    }

    /// The service, when it is there and ours.
    async fn find(&self, attempt: &str, service: &ServiceName) -> Result<Option<Row>, Fault> {
        match self.get::<Row>(attempt, &format!("/v1/services/{service}")).await {
            Ok(row) if row.stack == self.stack => Ok(Some(row)),
            Ok(row) => {
                let said = format!("{service} belongs to the stack {}", row.stack);
                Err(self.fault(FaultKind::Conflict, attempt, said))
            }
            Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The service, which must be there.
    async fn found(&self, attempt: &str, service: &ServiceName) -> Result<Row, Fault> {
        let found = self.find(attempt, service).await?;
        found.ok_or_else(|| {
            self.fault(FaultKind::Missing, attempt, format!("{service} is not deployed"))
        })
    }
}

#[async_trait]
impl ComputeLook for Adapter {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            grpc: true,
            workers: true,
            scale_to_zero: true,
            logs: true,
            private_images: PrivateImages::Pulls,
            requests_per_deploy: 6,
            requests_per_hour: None,
            ..Capabilities::LEAST
        }
    }

    async fn look(&self) -> Result<Vec<Seen>, Fault> {
        let rows: Vec<Row> = self.get("list services", "/v1/services").await?;
        Ok(rows.into_iter().filter(|row| row.stack == self.stack).map(|row| row.seen).collect())
    }

    async fn progress(&self, deployment: &Deployment) -> Result<Progress, Fault> {
        match self.get("look at a deploy", &format!("/v1/deployments/{}", deployment.id)).await {
            Err(fault) if fault.kind == FaultKind::Missing => {
                Ok(Progress::Failed { why: "the deployment is gone".to_owned() })
            }
            told => told,
        }
    }

    async fn logs(&self, service: &ServiceName, last: usize) -> Result<Vec<LogLine>, Fault> {
        self.get("read logs", &format!("/v1/services/{service}/logs?last={last}")).await
    }
}

#[async_trait]
impl Compute for Adapter {
    async fn deploy(&self, wanted: &Definition) -> Result<Deployment, Fault> {
        let attempt = "deploy";
        let service = wanted.service.clone();
        if let Some(row) = self.find(attempt, &service).await?
            && !row.failed
            && row.seen.fingerprint.as_ref() == Some(&wanted.fingerprint)
            && row.seen.digest.as_ref() == Some(&wanted.image.digest)
            && row.seen.release == Some(wanted.release)
            && row.seen.replicas == wanted.replicas
        {
            return Ok(Deployment { service, id: row.deployment });
        }
        let mut env = wanted.markers();
        env.extend(
            wanted.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())),
        );
        let body = Wanted {
            stack: wanted.stack.clone(),
            release: wanted.release,
            fingerprint: wanted.fingerprint.clone(),
            image: wanted.image.clone(),
            command: wanted.command.clone(),
            kind: wanted.kind,
            port: wanted.port,
            health: wanted.health.clone(),
            env,
            env_gone: wanted.env_gone.clone(),
            replicas: wanted.replicas,
            size: wanted.size,
        };
        let body = self.write(attempt, &body)?;
        let told = self.ask(attempt, Method::PUT, &format!("/v1/services/{service}"), body).await?;
        let row: Row = self.read(attempt, &told)?;
        Ok(Deployment { service, id: row.deployment })
    }

    async fn scale(&self, service: &ServiceName, replicas: u32) -> Result<(), Fault> {
        let attempt = "scale";
        if self.found(attempt, service).await?.seen.replicas == replicas {
            return Ok(());
        }
        let body = self.write(attempt, &Scale { replicas })?;
        self.ask(attempt, Method::POST, &format!("/v1/services/{service}/scale"), body)
            .await
            .map(drop)
    }

    async fn restart(&self, service: &ServiceName) -> Result<(), Fault> {
        let attempt = "restart";
        self.found(attempt, service).await?;
        self.ask(attempt, Method::POST, &format!("/v1/services/{service}/restart"), Bytes::new())
            .await
            .map(drop)
    }

    async fn delete(&self, service: &ServiceName) -> Result<(), Fault> {
        let attempt = "delete";
        if self.find(attempt, service).await?.is_none() {
            return Ok(());
        }
        match self
            .ask(attempt, Method::DELETE, &format!("/v1/services/{service}"), Bytes::new())
            .await
        {
            Err(fault) if fault.kind == FaultKind::Missing => Ok(()),
            told => told.map(drop),
        }
    }
}

/// The first cause of an error, which says more than its wrappers.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
