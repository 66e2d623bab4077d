//! Promises about documents.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Broken, Check, checks, same};
use crate::{Document, Fence, Store, StoreError};

checks!(
    a_document_comes_back_as_it_was,
    a_version_grows_by_one_with_each_write,
    a_write_at_the_wrong_version_changes_nothing,
    of_writers_at_once_one_wins_each_version,
    a_document_is_removed_at_its_version_only,
    a_list_has_what_starts_with_its_prefix_in_byte_order,
    the_last_of_a_list_is_found_by_itself,
    what_was_written_since_comes_as_it_is_now,
    a_write_needs_its_fence_to_hold,
    what_cannot_be_read_back_is_not_written,
);

fn conflict(key: &str, expected: Option<u64>, found: Option<u64>) -> StoreError {
    StoreError::Conflict { key: key.to_owned(), expected, found }
}

async fn a_document_comes_back_as_it_was(store: Arc<dyn Store>) -> Result<(), Broken> {
    same(store.read("release/r1").await?, None)?;
    let body = json!({
        "text": "“quotes” \0 \u{10ffff}", "number": -1.5, "great": u64::MAX, "none": null,
        "list": [1, [2, {}]], "": false, "long": "x".repeat(200_000),
    });
    same(store.write("release/r1", None, &body, None).await?, 1)?;
    let key = "release/r1".to_owned();
    same(store.read(&key).await?, Some(Document { key, version: 1, body }))
}

async fn a_version_grows_by_one_with_each_write(store: Arc<dyn Store>) -> Result<(), Broken> {
    let mut expected = None;
    for version in 1..=4 {
        let body = json!(version);
        same(store.write("k", expected, &body, None).await?, version)?;
        expected = Some(version);
        let found = store.read("k").await?;
        same(found, Some(Document { key: "k".to_owned(), version, body }))?;
    }
    Ok(())
}

async fn a_write_at_the_wrong_version_changes_nothing(store: Arc<dyn Store>) -> Result<(), Broken> {
    let wrong = json!("wrong");
    let write = |expected| store.write("k", expected, &wrong, None);
    same(write(Some(1)).await, Err(conflict("k", Some(1), None)))?;
    same(store.read("k").await?, None)?;
    store.write("k", None, &json!("right"), None).await?;
    same(write(None).await, Err(conflict("k", None, Some(1))))?;
    same(write(Some(0)).await, Err(conflict("k", Some(0), Some(1))))?;
    same(write(Some(2)).await, Err(conflict("k", Some(2), Some(1))))?;
    let body = json!("right");
    same(store.read("k").await?, Some(Document { key: "k".to_owned(), version: 1, body }))
}

async fn of_writers_at_once_one_wins_each_version(store: Arc<dyn Store>) -> Result<(), Broken> {
    let mut writers = JoinSet::new();
    for _ in 0..6 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut added = 0;
            while added < 10 {
                let found = store.read("count").await?;
                let version = found.as_ref().map(|document| document.version);
                let count = found.and_then(|document| document.body.as_u64()).unwrap_or(0);
                match store.write("count", version, &json!(count + 1), None).await {
                    Ok(_) => added += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => return Err(other.into()),
                }
            }
            Ok::<_, Broken>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.map_err(|error| Broken(error.to_string()))??;
    }
    let body = json!(60);
    same(store.read("count").await?, Some(Document { key: "count".to_owned(), version: 60, body }))
}

async fn a_document_is_removed_at_its_version_only(store: Arc<dyn Store>) -> Result<(), Broken> {
    same(store.remove("k", 1).await, Err(conflict("k", Some(1), None)))?;
    store.write("k", None, &json!(1), None).await?;
    store.write("k", Some(1), &json!(2), None).await?;
    same(store.remove("k", 1).await, Err(conflict("k", Some(1), Some(2))))?;
    same(store.remove("k", 2).await, Ok(()))?;
    same(store.read("k").await?, None)?;
    same(store.list("").await?, Vec::new())?;
    same(store.write("k", Some(2), &json!(3), None).await, Err(conflict("k", Some(2), None)))?;
    same(store.write("k", None, &json!(3), None).await?, 1)
}

async fn a_list_has_what_starts_with_its_prefix_in_byte_order(
    store: Arc<dyn Store>,
) -> Result<(), Broken> {
    let keys = [
        "a",
        "a%",
        "a%b",
        "a/1",
        "a/10",
        "a/2",
        "a/_",
        "a/é",
        "a/\u{ffff}",
        "a/\u{10ffff}",
        "a/\u{10ffff}z",
        "a0",
        "aB",
        "a\\b",
        "a_",
        "ab",
        "a*",
        "a?",
        "a'\"",
        "b",
        "A/1",
        "\u{d7ff}x",
        "\u{e000}",
        "\u{10ffff}\u{10ffff}",
        "",
    ];
    for key in keys {
        store.write(key, None, &json!(key), None).await?;
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let prefixes = [
        "",
        "a",
        "a/",
        "a%",
        "a_",
        "a/1",
        "a*",
        "a\\",
        "a'",
        "A",
        "a/\u{10ffff}",
        "\u{d7ff}",
        "\u{10ffff}",
        "none",
    ];
    for prefix in prefixes {
        let expected: Vec<_> = sorted.iter().filter(|key| key.starts_with(prefix)).collect();
        let found = store.list(prefix).await?;
        same(
            found.iter().map(|document| document.key.as_str()).collect(),
            expected.iter().map(|key| **key).collect::<Vec<_>>(),
        )?;
        same(found.iter().all(|document| document.body == json!(document.key)), true)?;
    }
    Ok(())
}

async fn the_last_of_a_list_is_found_by_itself(store: Arc<dyn Store>) -> Result<(), Broken> {
    for key in ["a/1", "a/2", "a0", "b/\u{10ffff}", "b/", "\u{10ffff}"] {
        store.write(key, None, &json!(key), None).await?;
    }
    for prefix in ["", "a", "a/", "a/1", "a/3", "b/", "\u{10ffff}", "none"] {
        same(store.last(prefix).await?, store.list(prefix).await?.pop())?;
    }
    Ok(())
}

async fn what_was_written_since_comes_as_it_is_now(store: Arc<dyn Store>) -> Result<(), Broken> {
    same(store.changed("k/", None).await?, (0, Vec::new()))?;
    for key in ["k/1", "k/2", "k/3", "other"] {
        store.write(key, None, &json!(1), None).await?;
    }
    let (first, all) = store.changed("k/", None).await?;
    same(all, store.list("k/").await?)?;
    same(store.changed("k/", Some(first)).await?, (first, Vec::new()))?;
    // The newest is removed, so that its number is free, and the next write must have another one.
    store.remove("other", 1).await?;
    store.write("k/3", Some(1), &json!(2), None).await?;
    store.write("k/1", Some(1), &json!(2), None).await?;
    store.write("k/1", Some(2), &json!(3), None).await?;
    let (second, news) = store.changed("k/", Some(first)).await?;
    let found: Vec<_> = news.iter().map(|one| (one.key.as_str(), one.version)).collect();
    same(found, vec![("k/1", 3), ("k/3", 2)])?;
    same(second > first, true)?;
    store.remove("k/1", 3).await?;
    same(store.changed("k/", Some(second)).await?.1, Vec::new())?;
    store.write("k/1", None, &json!(4), None).await?;
    let found = store.changed("k/", Some(second)).await?.1;
    same(found, store.list("k/1").await?)
}

async fn a_write_needs_its_fence_to_hold(store: Arc<dyn Store>) -> Result<(), Broken> {
    let body = json!(1);
    let fenced = |lease: &str| Err(StoreError::Fenced(lease.to_owned()));
    let never = Fence { lease: "leader".to_owned(), token: 1 };
    same(store.write("k", None, &body, Some(&never)).await, fenced("leader"))?;

    let first = store.take_lease("leader", "one", None).await?;
    same(store.write("k", None, &body, Some(&first)).await, Ok(1))?;
    let second = store.take_lease("leader", "two", Some((first.token, 0))).await?;
    same(store.write("k", Some(1), &body, Some(&first)).await, fenced("leader"))?;
    // Who lost the lease is told so, whatever the version.
    same(store.write("k", Some(9), &body, Some(&first)).await, fenced("leader"))?;
    same(
        store.write("k", Some(9), &body, Some(&second)).await,
        Err(conflict("k", Some(9), Some(1))),
    )?;
    same(store.write("k", Some(1), &body, Some(&second)).await, Ok(2))?;

    store.free_lease(&second).await?;
    same(store.write("k", Some(2), &body, Some(&second)).await, fenced("leader"))?;
    let other = store.take_lease("other", "two", None).await?;
    let mixed = Fence { lease: "leader".to_owned(), ..other };
    same(store.write("k", Some(2), &body, Some(&mixed)).await, fenced("leader"))?;
    same(store.read("k").await?.map(|document| document.version), Some(2))
}

async fn what_cannot_be_read_back_is_not_written(store: Arc<dyn Store>) -> Result<(), Broken> {
    let deep = (0..1000).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    same(store.write("deep", None, &deep, None).await.is_err(), true)?;
    same(store.list("").await?, Vec::new())?;
    same(store.put_job("q", "deep", &deep, linkflow_model::Timestamp(0)).await.is_err(), true)?;
    same(store.open_jobs("q").await?, 0)
}
