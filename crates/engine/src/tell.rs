//! Tells what happened: to the store, to whoever listens, to the log.

use linkflow_model::{Event, EventKind, Level};
use tokio::sync::broadcast;
use tracing::{error, info};

use crate::Engine;

impl Engine {
    /// Tells `event`. A store that cannot take it is said in the log; the loop goes on.
    pub async fn tell(&self, event: Event) {
        info!(kind = ?event.kind, level = ?event.level, "{}", event.message);
        if let Err(failed) = self.parts.store.append(&event).await {
            error!("an event could not be kept: {failed}");
        }
        // Nobody listening is fine.
        drop(self.told.send(event));
    }

    /// Every event from now on. A listener that falls 1024 behind misses some; the store has them all.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.told.subscribe()
    }

    pub(crate) fn event(&self, kind: EventKind, level: Level, message: impl Into<String>) -> Event {
        Event::new(self.parts.clock.wall(), kind, level, message)
    }
}
