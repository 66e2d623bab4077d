//! Hands tasks to workers. It keeps them in the ledger, so that it may die at any time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::Role;
use super::answer::Answer;
use super::grpc::{self, Code, Status};
use super::settings::Settings;
use crate::ledger::Books;

/// How long a poll waits for a task.
const LONG_POLL: Duration = Duration::from_secs(1);

/// How often a waiting poll looks for tasks that another instance queued.
const LOOK: Duration = Duration::from_millis(200);

/// How long a worker may take for a task before another one gets it, in milliseconds.
const CLAIM_MS: i64 = 4_000;

/// How many tasks a poll may take.
const MOST: i64 = 20;

pub(super) struct Matching {
    settings: Arc<Settings>,
    books: Arc<dyn Books>,
    queued: Notify,
}

impl Matching {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let books = settings.books()?;
        Ok(Self { settings, books, queued: Notify::new() })
    }

    async fn enqueue(&self, input: &Value) -> Result<Value, Status> {
        let entry = input["entry"].as_i64();
        let entry =
            entry.ok_or_else(|| Status::new(Code::InvalidArgument, "`entry` is required"))?;
        let new = self.books.enqueue(entry).await?;
        self.queued.notify_one();
        Ok(json!({ "task": entry, "new": new }))
    }

    async fn poll(&self, input: &Value) -> Result<Value, Status> {
        let worker = input["worker"].as_str().unwrap_or("unknown");
        let limit = input["limit"].as_i64().unwrap_or(1).clamp(1, MOST);
        let until = Instant::now() + LONG_POLL;
        loop {
            let now = self.settings.wall();
            let tasks = self.books.claim(worker, now, now + CLAIM_MS, limit).await?;
            let left = until.saturating_duration_since(Instant::now());
            if !tasks.is_empty() || left.is_zero() {
                return Ok(json!({ "tasks": tasks }));
            }
            tokio::select! {
                () = self.queued.notified() => {}
                () = sleep(left.min(LOOK)) => {}
            }
        }
    }
}

#[async_trait]
impl Role for Matching {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !self.settings.trusts(request.headers()) {
            let status = Status::new(Code::Unauthenticated, "only the engine may call matching");
            return grpc::refuse(&status);
        }
        let (method, input) = match grpc::read(request, "linkflow.Matching").await {
            Ok(call) => call,
            Err(status) => return grpc::refuse(&status),
        };
        grpc::reply(match method.as_str() {
            "Enqueue" => self.enqueue(&input).await,
            "Poll" => self.poll(&input).await,
            other => Err(Status::new(Code::Unimplemented, format!("there is no {other} here"))),
        })
    }
}
