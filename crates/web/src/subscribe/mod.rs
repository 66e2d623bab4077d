//! Subscribing to the status page: who wants to be told, by mail, by text message or by calls to a web address, and telling them.
//!
//! Whoever subscribes proves first that the address is theirs: by a link of a letter, by a
//! code of a text message, or by an answer to a challenge. What
//! there is to tell becomes messages in an outbox of the store before anything is sent, as with alerts. It stands here and not
//! beside those, because what is told are the words of the page, in its languages, of its components.

mod budget;
mod desk;
mod letter;
mod limit;
mod news;
mod outbox;
mod pages;
mod subscriber;
#[cfg(test)]
mod tests;
mod texts;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use linkflow_model::Clock;
use linkflow_model::config::Config;
use linkflow_model::role::{Hook, Mail, Sms};
use linkflow_store::{Store, StoreError};
use tokio::time::sleep;
use tracing::warn;

pub use desk::Desk;
pub(crate) use pages::routes;
pub use subscriber::{Subscriber, Way, forget, subscribers};

/// How often it is looked whether there is news.
const LOOK: Duration = Duration::from_secs(1);

/// How often what is over is forgotten.
const TIDY_MS: u64 = 3_600_000;

/// How many letters, and how many calls, are under way at once: one that is slow does not hold up the rest.
const SENDERS: (usize, usize) = (2, 4);

/// Who carries what subscribers are told; those whom nobody reaches wait.
#[derive(Clone, Default)]
pub struct Couriers {
    /// Letters.
    pub mail: Option<Arc<dyn Mail>>,
    /// Calls to web addresses.
    pub hook: Option<Arc<dyn Hook>>,
    /// Text messages.
    pub sms: Option<Arc<dyn Sms>>,
}

/// Tells subscribers.
pub struct Tellers {
    config: Arc<Config>,
    sender: outbox::Sender,
}

impl Tellers {
    /// Tells those who subscribed at `desk`, by whoever there is.
    pub fn new(
        (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
        config: Arc<Config>,
        desk: &Arc<Desk>,
        couriers: Couriers,
    ) -> Self {
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        let desk = Arc::clone(desk);
        Self { config, sender: outbox::Sender { store, clock, desk, couriers } }
    }

    /// Looks for news and sends it, for as long as it is polled.
    pub async fn run(&self) {
        let (letters, calls) = SENDERS;
        let letters = (0..letters).map(|_| self.sender.run(outbox::MAIL));
        let calls = (0..calls).map(|_| self.sender.run(outbox::WEBHOOK));
        // One at a time: a vendor takes one a second.
        let texts = self.sender.run(outbox::SMS);
        futures_util::future::join4(
            self.look(),
            futures_util::future::join_all(letters),
            futures_util::future::join_all(calls),
            texts,
        )
        .await;
    }

    async fn look(&self) {
        let (mut spread, mut tidied) = (BTreeSet::new(), 0);
        loop {
            let now = self.sender.clock.wall();
            let looked = news::look(&*self.sender.store, &self.config, &mut spread, now).await;
            if let Err(error) = looked {
                warn!("subscribers are not told: {error}");
            }
            if now.0.saturating_sub(tidied) > TIDY_MS {
                tidied = now.0;
                if let Err(error) = self.tidy().await {
                    warn!("old messages to subscribers are kept: {error}");
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let (store, now) = (&*self.sender.store, self.sender.clock.wall());
        subscriber::tidy(store, now).await?;
        outbox::tidy(store, now).await?;
        news::tidy(store, now).await
    }
}
