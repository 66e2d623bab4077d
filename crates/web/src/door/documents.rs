//! Values as documents of the store, which others may write at the same time.

use linkflow_store::{Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::AccessError;

/// How often a document is read again when somebody else wrote it meanwhile.
const TRIES: usize = 10;

/// A value and the version of its document.
pub(crate) struct Held<T> {
    pub(crate) key: String,
    pub(crate) version: u64,
    pub(crate) value: T,
}

fn body<T: Serialize>(value: &T) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|error| StoreError::Failed(error.to_string()))
}

fn value<T: DeserializeOwned>(key: &str, body: Value) -> Result<T, StoreError> {
    let unreadable =
        |error| StoreError::Failed(format!("`{key}` cannot be read by this version: {error}"));
    serde_json::from_value(body).map_err(unreadable)
}

/// The value under `key`.
pub(crate) async fn read<T: DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<Held<T>>, StoreError> {
    let Some(document) = store.read(key).await? else { return Ok(None) };
    let value = value(key, document.body)?;
    Ok(Some(Held { key: document.key, version: document.version, value }))
}

/// All values whose keys begin with `prefix`.
pub(crate) async fn list<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<Held<T>>, StoreError> {
    let documents = store.list(prefix).await?.into_iter();
    let held = documents.map(|document| {
        let value = value(&document.key, document.body)?;
        Ok(Held { key: document.key, version: document.version, value })
    });
    held.collect()
}

/// Writes a new document; `false` when there is one already.
pub(crate) async fn create<T: Serialize>(
    store: &dyn Store,
    key: &str,
    value: &T,
) -> Result<bool, StoreError> {
    match store.write(key, None, &body(value)?, None).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Changes the value under `key`, with what is there at that very moment; what `how` refuses is not written. `None`: there
/// is no such document.
pub(crate) async fn change<T: Serialize + DeserializeOwned, R>(
    store: &dyn Store,
    key: &str,
    mut how: impl FnMut(&mut T) -> Result<R, AccessError>,
) -> Result<Option<R>, AccessError> {
    for _ in 0..TRIES {
        let Some(mut held) = read::<T>(store, key).await? else { return Ok(None) };
        let result = how(&mut held.value)?;
        match store.write(key, Some(held.version), &body(&held.value)?, None).await {
            Ok(_) => return Ok(Some(result)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AccessError::no("others change this all the time: try again"))
}

/// Takes `held` away; `false` when it was changed or taken meanwhile.
pub(crate) async fn take<T>(store: &dyn Store, held: &Held<T>) -> Result<bool, StoreError> {
    match store.remove(&held.key, held.version).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the document under `key`, whatever it is.
pub(crate) async fn remove(store: &dyn Store, key: &str) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let Some(document) = store.read(key).await? else { return Ok(()) };
        match store.remove(key, document.version).await {
            Err(StoreError::Conflict { .. }) => {}
            done => return done,
        }
    }
    Err(StoreError::Failed(format!("`{key}` is being written by others all the time")))
}
