//! The promises of [`Store`], each as a check that any backend can be held to.
//!
//! A backend's tests run [`all`] with a way to make a fresh, empty store. The checks assume nothing about time and
//! leave nothing behind but the store they were given.

mod documents;
mod events;
mod jobs;
mod leases;
mod readings;
mod series;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use linkflow_model::{Event, EventKind, Level, Timestamp};

use crate::{Store, StoreError};

/// A future that can be kept in a list.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whether a promise was kept.
pub type Verdict = BoxFuture<Result<(), Broken>>;

/// One promise.
pub struct Check {
    /// The promise, as a sentence with underscores.
    pub name: &'static str,
    /// Holds a fresh, empty store to it.
    pub run: fn(Arc<dyn Store>) -> Verdict,
}

/// How a promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<StoreError> for Broken {
    #[track_caller]
    fn from(error: StoreError) -> Self {
        Self(format!("{}: {error}", std::panic::Location::caller()))
    }
}

/// Holds a backend to every promise, each with a fresh store from `make`.
///
/// # Errors
/// Every promise that was broken, by name.
pub async fn all(make: impl Fn() -> BoxFuture<Arc<dyn Store>>) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    for check in every_check() {
        if let Err(why) = (check.run)(make().await).await {
            broken.push(format!("{}: {why}", check.name));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// Every promise.
pub fn every_check() -> impl Iterator<Item = &'static Check> {
    [
        events::CHECKS,
        documents::CHECKS,
        jobs::CHECKS,
        series::CHECKS,
        readings::CHECKS,
        leases::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Names async functions as checks.
macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CHECKS: &[Check] =
            &[$(Check { name: stringify!($name), run: |store| Box::pin($name(store)) }),+];
    };
}
use checks;

#[track_caller]
fn same<T: PartialEq + fmt::Debug>(found: T, expected: T) -> Result<(), Broken> {
    if found == expected {
        return Ok(());
    }
    let at = std::panic::Location::caller();
    Err(Broken(format!("{at}: found {found:?}, expected {expected:?}")))
}

/// An event that happened at `at`.
fn event(at: u64, message: impl Into<String>) -> Event {
    Event::new(Timestamp(at), EventKind::Control, Level::Info, message)
}
