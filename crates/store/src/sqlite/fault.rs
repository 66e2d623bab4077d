//! `SQLite`'s errors in the store's words.

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::StoreError;

/// The store's word for `error`, met in the file at `path`.
pub(super) fn said(error: &Error, path: &Path) -> StoreError {
    let at = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Failed(format!(
            "{at} is damaged ({error}): put a backup in its place, or move it away to start anew"
        )),
        Some(ErrorCode::NotADatabase) => {
            StoreError::Failed(format!("{at} is not a database, or its beginning is damaged"))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Failed(format!("{at} is kept busy by another process"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            StoreError::Failed(format!("{at} cannot be opened for writing: {error}"))
        }
        _ => StoreError::Failed(format!("{at}: {error}")),
    }
}

/// Says where an `SQLite` error was met.
pub(super) trait Place<T> {
    /// The result in the store's words.
    fn place(self, path: &Path) -> Result<T, StoreError>;
}

impl<T> Place<T> for Result<T, Error> {
    fn place(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| said(&error, path))
    }
}
