//! What pages and API show, each value gathered by one function: of the store, the config and the operator.

pub mod addresses;
pub mod alerts;
pub mod drains;
pub mod events;
pub mod failovers;
pub mod monitors;
pub mod overview;
pub mod releases;
pub mod search;
pub mod told;

use linkflow_store::{Store, StoreError};
use serde::de::DeserializeOwned;

use crate::operator::{Refusal, Why};

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let help = "see whether the disk is full and the state folder may be written";
        Self::new(Why::Failed, error.to_string(), help)
    }
}

/// Every document under `prefix`. What a newer LinkFlow wrote and this one cannot read is left out.
pub(crate) async fn documents<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<T>, Refusal> {
    let documents = store.list(prefix).await?.into_iter();
    Ok(documents.filter_map(|document| serde_json::from_value(document.body).ok()).collect())
}

/// What is not there.
pub(crate) fn missing(what: &str, name: &str, list: &str) -> Refusal {
    Refusal::new(Why::Missing, format!("there is no {what} `{name}`"), format!("{list} lists all"))
}
