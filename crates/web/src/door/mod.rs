//! Lets people and programs in: one-time links, passwords, codes, passkeys, sessions, tokens, and an audit of it all.
//!
//! Whatever is asked goes through [`guard`]; what is behind it finds a [`Caller`](linkflow_model::access::Caller) in the
//! request, asks [`needs`] for a scope, and tells [`audit`] what it did.

mod audit;
mod cbor;
mod challenge;
mod cookies;
mod csrf;
pub(crate) mod documents;
mod error;
mod guard;
mod invites;
mod limits;
mod origin;
mod pages;
mod passkey;
mod password;
mod people;
mod random;
mod refused;
mod seal;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;
mod totp;

use std::time::Duration;

use linkflow_model::Timestamp;
use linkflow_store::Store;
use tracing::warn;

pub use audit::{Deed, at_terminal, deeds, month};
pub(crate) use audit::{audited, doing};
pub use error::AccessError;
pub(crate) use guard::guard;
pub use invites::{GOOD_MS as INVITE_MS, Invite, first, invite};
pub(crate) use origin::Origin;
pub(crate) use pages::routes;
pub use people::{Person, everybody, remove as remove_person};
pub(crate) use refused::Refused;
pub use seal::Seal;
pub use tokens::{Token, create as create_token, every as every_token, revoke as revoke_token};

use crate::Site;

/// How often what is over is removed from the store.
const TIDY: Duration = Duration::from_secs(600);

/// What a form that changes something proves itself by; empty where nobody is signed in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Csrf(pub(crate) String);

/// What the door remembers while the process runs. What has to outlive it is in the store.
pub(crate) struct Door {
    hasher: password::Hasher,
    limits: limits::Limits,
    challenges: challenge::Challenges,
    failures: limits::Few,
}

impl Door {
    /// A door that remembers nothing.
    pub(crate) fn new() -> Self {
        Self {
            hasher: password::Hasher::new(),
            limits: limits::Limits::default(),
            challenges: challenge::Challenges::default(),
            failures: limits::Few::default(),
        }
    }
}

/// Removes what is over, now and then, for as long as it is polled.
pub(crate) async fn tidy_up(site: &Site) {
    loop {
        if let Err(error) = tidy(&*site.store, site.clock.wall()).await {
            warn!(%error, "ended sessions, links and tokens could not be removed");
        }
        tokio::time::sleep(TIDY).await;
    }
}

/// Removes what is over at `now`: sessions, links, tokens, and what the audit kept long enough.
async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), AccessError> {
    sessions::tidy(store, now).await?;
    invites::tidy(store, now).await?;
    tokens::tidy(store, now).await?;
    audit::tidy(store, now).await
}
