//! Executes tasks: at least once each, and reports each to history, which counts the first report only.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Role;
use super::answer::{Answer, refuse};
use super::grpc::Status;
use super::peer::{GrpcPeer, HttpPeer, Repeat};
use super::settings::Settings;
use crate::ledger::Task;

/// How many tasks are taken at once.
const BATCH: i64 = 10;

/// How long the worker waits after matching failed.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one task takes.
const TOIL: Duration = Duration::from_millis(2);

pub(super) struct Worker {
    settings: Arc<Settings>,
    matching: GrpcPeer,
    history: GrpcPeer,
    api: Option<HttpPeer>,
}

impl Worker {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let pass = settings.pass();
        let matching = GrpcPeer::new(settings.address("MATCHING_ADDR")?, pass.clone());
        let history = GrpcPeer::new(settings.address("HISTORY_ADDR")?, pass.clone());
        let api = settings.optional_address("API_BASE_URL")?;
        let api = api.map(|address| HttpPeer::new(address, pass));
        Ok(Self { settings, matching, history, api })
    }

    /// Takes tasks and executes them.
    async fn turn(&self) -> Result<(), Status> {
        let message = json!({ "worker": self.settings.me.instance, "limit": BATCH });
        let polled =
            self.matching.call("/linkflow.Matching/Poll", &message, Repeat::Unsafe).await?;
        let tasks: Vec<Task> = serde_json::from_value(polled["tasks"].clone()).unwrap_or_default();
        for task in tasks {
            sleep(TOIL).await;
            self.report(task).await?;
        }
        Ok(())
    }

    /// Reports a task done. If that fails, its claim runs out and it is executed again.
    async fn report(&self, task: Task) -> Result<(), Status> {
        let message = json!({ "task": task.id, "instance": self.settings.me.instance });
        self.history.call("/linkflow.History/Complete", &message, Repeat::Safe).await?;
        let Some(api) = &self.api else { return Ok(()) };
        let body = json!({ "entry": task.entry });
        let told = api.call(&Method::POST, "/internal/completed", &[], Some(&body), Repeat::Safe);
        match told.await {
            Ok((status, _)) if status.is_success() => {}
            Ok((status, body)) => {
                let reason = body["reason"].as_str().unwrap_or_default();
                self.settings.log(&format!("the API refused: {status} {reason}"));
            }
            Err(why) => self.settings.log(&format!("the API was not told: {why}")),
        }
        Ok(())
    }
}

#[async_trait]
impl Role for Worker {
    async fn answer(&self, _: Request<Incoming>) -> Answer {
        refuse(StatusCode::NOT_FOUND, "there is nothing here but the health")
    }

    async fn work(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // A turn that began is finished: it is short, and what it took would else wait until its claim runs out.
            if let Err(status) = self.turn().await {
                self.settings.log(&format!("no work for now: {}", status.message));
                stop.run_until_cancelled(sleep(PAUSE)).await;
            }
        }
    }
}
