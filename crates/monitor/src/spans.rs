//! The spans of what is watched: one ends as another begins.

use linkflow_model::{Condition, StateSpan, Timestamp};
use linkflow_store::{Store, StoreError};
use serde_json::json;

/// The last span of `subject`, with the version of its document.
pub(crate) async fn last(
    store: &dyn Store,
    subject: &str,
) -> Result<Option<(u64, StateSpan)>, StoreError> {
    let spans = store.list(&StateSpan::prefix(subject)).await?;
    let read = |document: linkflow_store::Document| {
        Some((document.version, serde_json::from_value(document.body).ok()?))
    };
    Ok(spans.into_iter().rev().find_map(read))
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
