//! The engine's memory: appends entries, once per key, and sees to it that each gets its task.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Role;
use super::answer::Answer;
use super::grpc::{self, Code, Status};
use super::peer::{GrpcPeer, Repeat};
use super::settings::Settings;
use crate::ledger::Books;

/// How old an entry without a task is when it is queued again, in milliseconds: whoever appended it had its chance.
const FORGOTTEN_AFTER: i64 = 3_000;

pub(super) struct History {
    settings: Arc<Settings>,
    books: Arc<dyn Books>,
    matching: GrpcPeer,
}

impl History {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let matching = GrpcPeer::new(settings.address("MATCHING_ADDR")?, settings.pass());
        let books = settings.books()?;
        Ok(Self { settings, books, matching })
    }

    /// Appends an entry and queues its task. When matching cannot be reached the caller is told so, though the entry
    /// is kept: with the same key it gets the same entry, and its task is queued in the end.
    async fn append(&self, input: &Value) -> Result<Value, Status> {
        let (Some(key), Some(name)) = (input["key"].as_str(), input["name"].as_str()) else {
            return Err(Status::new(Code::InvalidArgument, "`key` and `name` are required"));
        };
        let at = self.settings.wall();
        let (entry, new) = self.books.append(key, name, &self.settings.me, at).await?;
        self.enqueue(entry.id).await?;
        Ok(json!({ "entry": entry, "new": new }))
    }

    /// Queues a task; matching keeps one per entry, so this may be repeated.
    async fn enqueue(&self, entry: i64) -> Result<(), Status> {
        let message = json!({ "entry": entry });
        let queued = self.matching.call("/linkflow.Matching/Enqueue", &message, Repeat::Safe).await;
        queued.map(|_| ()).map_err(|status| {
            Status::new(status.code, format!("engine-matching: {}", status.message))
        })
    }

    async fn get(&self, input: &Value) -> Result<Value, Status> {
        let id = input["id"].as_i64().unwrap_or_default();
        let absent = || Status::new(Code::NotFound, format!("there is no workflow {id}"));
        let entry = self.books.entry(id).await?.ok_or_else(absent)?;
        Ok(json!(entry))
    }

    async fn complete(&self, input: &Value) -> Result<Value, Status> {
        let (Some(task), Some(instance)) = (input["task"].as_i64(), input["instance"].as_str())
        else {
            return Err(Status::new(Code::InvalidArgument, "`task` and `instance` are required"));
        };
        let first = self.books.complete(task, instance, self.settings.wall()).await?;
        Ok(json!({ "task": task, "first": first }))
    }

    /// Queues the tasks of entries whose appender was cut off between the two.
    async fn remember(&self) -> Result<(), Status> {
        for entry in self.books.without_task(self.settings.wall() - FORGOTTEN_AFTER).await? {
            self.enqueue(entry).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Role for History {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !self.settings.trusts(request.headers()) {
            let status = Status::new(Code::Unauthenticated, "only the engine may call history");
            return grpc::refuse(&status);
        }
        let (method, input) = match grpc::read(request, "linkflow.History").await {
            Ok(call) => call,
            Err(status) => return grpc::refuse(&status),
        };
        grpc::reply(match method.as_str() {
            "Append" => self.append(&input).await,
            "Get" => self.get(&input).await,
            "List" => {
                let listed = self.books.entries(input["limit"].as_i64().unwrap_or(20)).await;
                listed.map(|entries| json!({ "workflows": entries })).map_err(Status::from)
            }
            "Complete" => self.complete(&input).await,
            other => Err(Status::new(Code::Unimplemented, format!("there is no {other} here"))),
        })
    }

    async fn work(&self, stop: CancellationToken) {
        let mut every = tokio::time::interval(Duration::from_secs(2));
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            if let Some(Err(status)) = stop.run_until_cancelled(self.remember()).await {
                self.settings.log(&format!("entries without a task wait: {}", status.message));
            }
        }
    }
}
