//! Sends the queued notifications.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use hyper::Request;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::Role;
use super::answer::{Answer, refuse};
use super::settings::Settings;
use crate::ledger::Books;

/// How often the queue is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// How many are sent at a time.
const BATCH: i64 = 100;

pub(super) struct Queue {
    settings: Arc<Settings>,
    books: Arc<dyn Books>,
}

impl Queue {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let books = settings.books()?;
        Ok(Self { settings, books })
    }

    async fn turn(&self) {
        let (instance, at) = (&self.settings.me.instance, self.settings.wall());
        match self.books.take_notifications(instance, at, BATCH).await {
            Ok(sent) => {
                for entry in sent.iter().filter(|entry| *entry % 100 == 0) {
                    self.settings.log(&format!("sent: workflow {entry} is done (1 of 100)"));
                }
            }
            Err(error) => self.settings.log(&error.to_string()),
        }
    }
}

#[async_trait]
impl Role for Queue {
    async fn answer(&self, _: Request<Incoming>) -> Answer {
        refuse(StatusCode::NOT_FOUND, "there is nothing here but the health")
    }

    async fn work(&self, stop: CancellationToken) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            self.turn().await;
        }
    }
}
