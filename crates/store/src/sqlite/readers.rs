//! The connections that read: a few, opened when first needed, used off the async threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{Trouble, open};
use crate::StoreError;

/// How many read at once. Each connection costs memory, and the machine may be small.
const AT_ONCE: usize = 4;

/// Connections that read, and a limit to their number.
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

impl Readers {
    /// No connection is opened yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Answers `question`, which sees everything that was acknowledged before.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Failed(error.to_string());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|e| failed(&e))?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let answer = tokio::task::spawn_blocking(move || {
            let held = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = held.map_or_else(|| open::reading(&path), Ok)?;
            let answer = question(&connection).map_err(|trouble| trouble.said(&path))?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(place);
            Ok(answer)
        });
        answer.await.unwrap_or_else(|error| Err(failed(&error)))
    }
}
