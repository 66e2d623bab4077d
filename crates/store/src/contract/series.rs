//! Promises about series.

use std::sync::Arc;

use linkflow_model::Timestamp;

use super::{Broken, Check, checks, same};
use crate::{Bucket, Store};

checks!(
    samples_are_added_up_by_span,
    a_series_has_its_start_and_not_its_end,
    series_do_not_mix,
    what_is_no_number_is_no_sample,
);

fn bucket(at: u64, count: u64, sum: f64, min: f64, max: f64) -> Bucket {
    Bucket { at: Timestamp(at), count, sum, min, max }
}

async fn fill(store: &Arc<dyn Store>, name: &str, samples: &[(u64, f64)]) -> Result<(), Broken> {
    for (at, value) in samples {
        store.record(name, Timestamp(*at), *value).await?;
    }
    Ok(())
}

async fn samples_are_added_up_by_span(store: Arc<dyn Store>) -> Result<(), Broken> {
    // Out of order, twice in one millisecond, on the first and the last millisecond of a span.
    fill(&store, "s", &[(1119, 4.0), (1110, -1.0), (1005, 2.0), (1005, 2.0), (1009, 8.0)]).await?;
    let found = store.series("s", Timestamp(1000), Timestamp(2000), 10).await?;
    same(found, vec![bucket(1000, 3, 12.0, 2.0, 8.0), bucket(1110, 2, 3.0, -1.0, 4.0)])?;
    let found = store.series("s", Timestamp(1000), Timestamp(2000), 1000).await?;
    same(found, vec![bucket(1000, 5, 15.0, -1.0, 8.0)])?;
    // Spans count from the start that is asked for.
    let found = store.series("s", Timestamp(1005), Timestamp(1111), 5).await?;
    same(found, vec![bucket(1005, 3, 12.0, 2.0, 8.0), bucket(1110, 1, -1.0, -1.0, -1.0)])
}

async fn a_series_has_its_start_and_not_its_end(store: Arc<dyn Store>) -> Result<(), Broken> {
    fill(&store, "s", &[(0, 1.0), (10, 1.0), (20, 1.0)]).await?;
    let found = store.series("s", Timestamp(10), Timestamp(20), 100).await?;
    same(found, vec![bucket(10, 1, 1.0, 1.0, 1.0)])?;
    same(store.series("s", Timestamp(20), Timestamp(10), 1).await?, vec![])?;
    same(store.series("s", Timestamp(10), Timestamp(10), 1).await?, vec![])?;
    let whole = store.series("s", Timestamp(0), Timestamp(u64::MAX), u64::MAX).await?;
    same(whole, vec![bucket(0, 3, 3.0, 1.0, 1.0)])
}

async fn series_do_not_mix(store: Arc<dyn Store>) -> Result<(), Broken> {
    fill(&store, "a", &[(1, 1.0)]).await?;
    fill(&store, "A", &[(1, 2.0)]).await?;
    let of = |name| store.series(name, Timestamp(0), Timestamp(10), 10);
    same(of("a").await?, vec![bucket(0, 1, 1.0, 1.0, 1.0)])?;
    same(of("A").await?, vec![bucket(0, 1, 2.0, 2.0, 2.0)])?;
    same(of("none").await?, vec![])
}

async fn what_is_no_number_is_no_sample(store: Arc<dyn Store>) -> Result<(), Broken> {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        same(store.record("s", Timestamp(1), value).await.is_err(), true)?;
    }
    same(store.series("s", Timestamp(0), Timestamp(10), 0).await.is_err(), true)?;
    same(store.series("s", Timestamp(0), Timestamp(10), 10).await?, vec![])
}
