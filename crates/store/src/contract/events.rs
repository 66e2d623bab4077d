//! Promises about events.

use std::sync::Arc;

use linkflow_model::{ProviderName, ReleaseId, ServiceName, Timestamp};
use tokio::task::JoinSet;

use super::{Broken, Check, checks, event, same};
use crate::Store;

checks!(
    events_are_numbered_from_one_without_gaps,
    events_come_back_as_they_were,
    events_are_read_in_pages,
    appends_at_once_leave_no_gap,
    a_refused_write_leaves_no_gap,
    what_is_forgotten_is_gone_and_its_numbers_stay_used,
);

async fn events_are_numbered_from_one_without_gaps(store: Arc<dyn Store>) -> Result<(), Broken> {
    same(store.newest_event().await?, 0)?;
    same(store.events(0, 10).await?, Vec::new())?;
    for expected in 1..=5 {
        same(store.append(&event(7, format!("event {expected}"))).await?, expected)?;
        same(store.newest_event().await?, expected)?;
    }
    Ok(())
}

async fn events_come_back_as_they_were(store: Arc<dyn Store>) -> Result<(), Broken> {
    let mut sent = event(1_790_000_000_123, "“quotes”, 'more', \0, \u{10ffff} and\nlines");
    sent.service = ServiceName::new("api");
    sent.provider = ProviderName::new("fly");
    sent.release = Some(ReleaseId(u64::MAX));
    sent.run = Some("x".repeat(100_000));
    store.append(&sent).await?;
    same(store.events(0, 1).await?, vec![(1, sent)])
}

async fn events_are_read_in_pages(store: Arc<dyn Store>) -> Result<(), Broken> {
    for number in 1..=10 {
        store.append(&event(number, "paged")).await?;
    }
    let numbers = async |after, limit| {
        let found = store.events(after, limit).await?;
        Ok::<_, Broken>(found.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>())
    };
    same(numbers(0, 3).await?, vec![1, 2, 3])?;
    same(numbers(3, 3).await?, vec![4, 5, 6])?;
    same(numbers(8, 100).await?, vec![9, 10])?;
    same(numbers(8, usize::MAX).await?, vec![9, 10])?;
    same(numbers(10, 3).await?, vec![])?;
    same(numbers(u64::MAX, 3).await?, vec![])?;
    same(numbers(0, 0).await?, vec![])
}

async fn appends_at_once_leave_no_gap(store: Arc<dyn Store>) -> Result<(), Broken> {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut numbers = Vec::new();
            for count in 0..25 {
                numbers.push(store.append(&event(count, format!("{writer}:{count}"))).await?);
            }
            Ok::<_, Broken>(numbers)
        });
    }
    let mut given = Vec::new();
    while let Some(numbers) = writers.join_next().await {
        let numbers = numbers.map_err(|error| Broken(error.to_string()))??;
        same(numbers.is_sorted(), true)?;
        given.extend(numbers);
    }
    given.sort_unstable();
    same(given, (1..=200).collect())?;
    let found = store.events(0, 1000).await?;
    same(found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=200).collect())
}

async fn a_refused_write_leaves_no_gap(store: Arc<dyn Store>) -> Result<(), Broken> {
    let (body, beside) = (serde_json::json!(1), event(2, "beside"));
    store.append(&event(1, "before")).await?;
    let (appended, refused, later) = tokio::join!(
        store.append(&beside),
        store.write("none", Some(7), &body, None),
        store.append(&beside),
    );
    same(refused.is_err(), true)?;
    let mut numbers = [appended?, later?];
    numbers.sort_unstable();
    same(numbers, [2, 3])?;
    same(store.append(&event(4, "after")).await?, 4)
}

async fn what_is_forgotten_is_gone_and_its_numbers_stay_used(
    store: Arc<dyn Store>,
) -> Result<(), Broken> {
    for at in [100, 200, 300] {
        store.append(&event(at, "old")).await?;
        store.record("latency", Timestamp(at), 1.0).await?;
        store.record("load", Timestamp(at + 1), 1.0).await?;
    }
    same(store.forget(Timestamp(200)).await?, 3)?;
    let left = store.events(0, 10).await?;
    same(left.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), vec![2, 3])?;
    let all = |name| store.series(name, Timestamp(0), Timestamp(u64::MAX), 1);
    let starts = |buckets: Vec<crate::Bucket>| buckets.iter().map(|b| b.at.0).collect::<Vec<_>>();
    same(starts(all("latency").await?), vec![200, 300])?;
    same(starts(all("load").await?), vec![201, 301])?;
    same(store.forget(Timestamp(200)).await?, 0)?;
    same(store.forget(Timestamp(u64::MAX)).await?, 6)?;
    same(store.events(0, 10).await?, Vec::new())?;
    same(store.newest_event().await?, 3)?;
    same(store.append(&event(400, "new")).await?, 4)
}
