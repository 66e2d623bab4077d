//! Tells what the edge noticed, without ever waiting for a listener.

use std::sync::Arc;

use linkflow_model::{
    Clock, Event, EventKind, Level, Moment, ProviderName, ServiceName, Timestamp,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::steer::Effect;

/// Turns effects into events.
pub(crate) struct Teller {
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<Event>,
}

impl Teller {
    pub(crate) fn new(clock: Arc<dyn Clock>, events: mpsc::Sender<Event>) -> Self {
        Self { clock, events }
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Tells something about the edge's own certificates.
    pub(crate) fn of_certificates(&self, level: Level, message: String) {
        if level >= Level::Warning {
            warn!("{message}");
        }
        self.send(Event::new(self.clock.wall(), EventKind::Certificate, level, message));
    }

    /// Sends an event. With the listener behind, it is dropped and noted in the log: requests go first.
    pub(crate) fn tell(&self, effect: &Effect, service: &ServiceName, provider: &ProviderName) {
        let (kind, level, message) = match effect {
            Effect::Ejected { for_ms, why, .. } => {
                let message = format!(
                    "the edge leaves {service} on {provider} for {} s at least: {why}",
                    for_ms / 1_000
                );
                (EventKind::Ejected, Level::Warning, message)
            }
            Effect::Readmitted { why, .. } => {
                let message = format!("the edge uses {service} on {provider} again: {why}");
                (EventKind::Readmitted, Level::Notice, message)
            }
            Effect::Up { again: true, .. } => {
                (EventKind::Up, Level::Notice, format!("{service} on {provider} answers again"))
            }
            Effect::Up { again: false, .. } => {
                (EventKind::Up, Level::Info, format!("{service} on {provider} answers"))
            }
            Effect::Down { why, .. } => {
                let message = format!("{service} on {provider} does not answer: {why}");
                (EventKind::Down, Level::Warning, message)
            }
            Effect::CheckNow { .. } => return,
        };
        debug!("{message}");
        self.send(Event::new(self.clock.wall(), kind, level, message).about(service, provider));
    }

    fn send(&self, event: Event) {
        if let Err(error) = self.events.try_send(event) {
            warn!(%error, "an event of the edge found no listener");
        }
    }
}
