//! Fires once per period. Two timers at once would show: each fire is a row of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use hyper::Request;
use hyper::body::Incoming;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Role;
use super::answer::{Answer, refuse};
use super::settings::Settings;
use crate::ledger::Books;

pub(super) struct Timer {
    settings: Arc<Settings>,
    books: Arc<dyn Books>,
}

impl Timer {
    pub(super) fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let books = settings.books()?;
        Ok(Self { settings, books })
    }

    fn period(&self) -> i64 {
        self.settings.wall() / i64::try_from(self.settings.timer_ms).unwrap_or(i64::MAX)
    }

    /// Until the next period begins.
    fn rest(&self) -> Duration {
        let into = self.settings.wall().unsigned_abs() % self.settings.timer_ms;
        Duration::from_millis(self.settings.timer_ms - into)
    }
}

#[async_trait]
impl Role for Timer {
    async fn answer(&self, _: Request<Incoming>) -> Answer {
        refuse(StatusCode::NOT_FOUND, "there is nothing here but the health")
    }

    async fn work(&self, stop: CancellationToken) {
        // The period under way when it starts belongs to the timer before it, which may have fired and died.
        let mut last = self.period();
        while stop.run_until_cancelled(sleep(self.rest())).await.is_some() {
            let period = self.period();
            // The wall clock may step back; a sleep may end a little early.
            if period <= last {
                continue;
            }
            last = period;
            if let Err(error) =
                self.books.fire(period, &self.settings.me, self.settings.wall()).await
            {
                self.settings.log(&format!("period {period} is missed: {error}"));
            }
        }
    }
}
