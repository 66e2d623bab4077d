//! Announces work that is done again and again: each of its times, as work of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::{Announced, recurring};
use linkflow_model::config::Window;
use linkflow_model::{Clock, Event, EventKind, ItemName, Level, Maintenance};
use linkflow_store::{Document, Store, StoreError};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a time is to be announced.
const EVERY: Duration = Duration::from_secs(10);

/// Everything that announcing needs.
pub struct Windows {
    /// What is done again and again. What was announced of others before is withdrawn.
    pub all: BTreeMap<ItemName, Window>,
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Is told what was announced, changed or withdrawn.
    pub tell: mpsc::Sender<Event>,
}

impl Windows {
    /// Announces until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.turn().await {
                tracing::warn!("work cannot be announced: {error}");
            }
            if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Writes what has to stand there now. Where somebody else wrote meanwhile, the next turn sees what.
    async fn turn(&self) -> Result<(), StoreError> {
        let documents = self.store.list(Maintenance::PREFIX).await?;
        let read = |document: Document| {
            let work: Maintenance = serde_json::from_value(document.body).ok()?;
            Some((document.version, work))
        };
        let held: Vec<(u64, Maintenance)> = documents.into_iter().filter_map(read).collect();
        let version = |work: &Maintenance| {
            held.iter().find(|(_, held)| held.id == work.id).map(|(version, _)| *version)
        };
        let works: Vec<Maintenance> = held.iter().map(|(_, work)| work.clone()).collect();
        let Announced { write, forget } = recurring(&self.all, &works, self.clock.wall());
        for work in write {
            match self.store.write(&work.key(), version(&work), &json!(work), None).await {
                Ok(_) => self.say(&work).await,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for work in forget {
            let Some(version) = version(&work) else { continue };
            match self.store.remove(&work.key(), version).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells of `work`; the status page is made anew for it.
    async fn say(&self, work: &Maintenance) {
        let what = match work.sequence {
            _ if work.cancelled => "withdrawn",
            0 => "announced",
            _ => "changed",
        };
        let said = format!("work that comes again is {what}, {}: {}", work.id, work.title);
        let event = Event::new(self.clock.wall(), EventKind::Incident, Level::Info, said);
        if self.tell.send(event).await.is_err() {
            tracing::debug!("nobody listens to what is announced");
        }
    }
}
