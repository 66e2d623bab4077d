//! The spans of what is watched: one ends as another begins.

use linkflow_model::{Condition, StateSpan, Timestamp};
use linkflow_store::{Document, Store, StoreError};
use serde_json::json;

/// The last span of `subject`, with the version of its document.
pub(crate) async fn last(
    store: &dyn Store,
    subject: &str,
) -> Result<Option<(u64, StateSpan)>, StoreError> {
    let prefix = StateSpan::prefix(subject);
    let read =
        |document: Document| Some((document.version, serde_json::from_value(document.body).ok()?));
    let Some(last) = store.last(&prefix).await? else { return Ok(None) };
    match read(last) {
        Some(last) => Ok(Some(last)),
        // A newer version wrote it: the last that can be read counts.
        None => Ok(store.list(&prefix).await?.into_iter().rev().find_map(read)),
    }
}

/// From `from` on `subject` is in `condition`. The spans follow each other without gap and without overlap.
pub(crate) async fn turn(
    store: &dyn Store,
    subject: &str,
    condition: Condition,
    from: Timestamp,
    why: Option<String>,
) -> Result<(), StoreError> {
    let mut span = StateSpan { subject: subject.to_owned(), condition, from, to: None, why };
    if let Some((version, mut last)) = last(store, subject).await? {
        if last.condition == condition && last.to.is_none() {
            return Ok(());
        }
        span.from = last.to.unwrap_or(span.from.max(Timestamp(last.from.0 + 1)));
        if last.to.is_none() {
            last.to = Some(span.from);
            store.write(&last.key(), Some(version), &json!(last), None).await?;
        }
    }
    store.write(&span.key(), None, &json!(span), None).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use linkflow_store::{Counting, Memory};

    use super::*;

    #[tokio::test]
    async fn the_last_span_costs_the_same_however_many_there_were() {
        let store = Counting::of(Arc::new(Memory::default()));
        for from in 0..500 {
            let condition = if from % 2 == 0 { Condition::Up } else { Condition::Down };
            turn(&store, "monitor.api", condition, Timestamp(from), None).await.unwrap();
        }
        store.take();
        let (_, found) = last(&store, "monitor.api").await.unwrap().unwrap();
        assert_eq!(
            (found.condition, found.from, found.to),
            (Condition::Down, Timestamp(499), None)
        );
        assert_eq!(store.take(), (1, 1));
        // One that cannot be read is not the end of it.
        let key = format!("{}{:014}", StateSpan::prefix("monitor.api"), 500);
        store.write(&key, None, &json!("of a newer version"), None).await.unwrap();
        let (_, found) = last(&store, "monitor.api").await.unwrap().unwrap();
        assert_eq!(found.from, Timestamp(499));
    }
}
