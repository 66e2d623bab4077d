//! Promises about jobs.

use std::collections::BTreeSet;
use std::sync::Arc;

use linkflow_model::Timestamp;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Broken, Check, checks, same};
use crate::{Job, Store, StoreError};

checks!(
    a_job_is_put_once_by_its_id_for_ever,
    jobs_are_claimed_in_the_order_they_are_due,
    a_claimed_job_is_nobody_elses_until_its_claim_runs_out,
    a_claim_that_was_taken_over_ends_nothing,
    a_job_given_back_is_due_again_when_said,
    a_finished_job_never_comes_back,
    queues_do_not_mix,
    of_claimers_at_once_each_gets_another_job,
);

async fn claim(store: &Arc<dyn Store>, now: u64, until: u64) -> Result<Option<Job>, StoreError> {
    store.claim_job("mail", Timestamp(now), Timestamp(until)).await
}

async fn put(store: &Arc<dyn Store>, id: &str, due: u64) -> Result<bool, StoreError> {
    store.put_job("mail", id, &json!({ "to": id }), Timestamp(due)).await
}

fn due(job: Option<Job>) -> Result<Job, Broken> {
    job.ok_or_else(|| Broken("no job is due".to_owned()))
}

fn fenced<T>(id: &str) -> Result<T, StoreError> {
    Err(StoreError::Fenced(format!("job mail/{id}")))
}

async fn a_job_is_put_once_by_its_id_for_ever(store: Arc<dyn Store>) -> Result<(), Broken> {
    same(put(&store, "a", 5).await?, true)?;
    let other = json!("other");
    same(store.put_job("mail", "a", &other, Timestamp(1)).await?, false)?;
    same(store.open_jobs("mail").await?, 1)?;
    same(claim(&store, 4, 10).await?, None)?;
    let job = due(claim(&store, 5, 10).await?)?;
    same((job.body.clone(), job.tries), (json!({ "to": "a" }), 1))?;
    same(put(&store, "a", 0).await?, false)?;
    store.finish_job(&job).await?;
    same(put(&store, "a", 0).await?, false)?;
    same(claim(&store, 1000, 2000).await?, None)
}

async fn jobs_are_claimed_in_the_order_they_are_due(store: Arc<dyn Store>) -> Result<(), Broken> {
    for (id, due) in [("late", 30), ("z", 10), ("a", 10), ("early", 5), ("future", 31)] {
        put(&store, id, due).await?;
    }
    let mut ids = Vec::new();
    while let Some(job) = claim(&store, 30, 1000).await? {
        ids.push(job.id);
    }
    // Those due at once come in the order they were put.
    same(ids, ["early", "z", "a", "late"].map(str::to_owned).to_vec())
}

async fn a_claimed_job_is_nobody_elses_until_its_claim_runs_out(
    store: Arc<dyn Store>,
) -> Result<(), Broken> {
    put(&store, "a", 0).await?;
    let first = due(claim(&store, 0, 100).await?)?;
    same(claim(&store, 99, 200).await?, None)?;
    same(store.open_jobs("mail").await?, 1)?;
    let second = due(claim(&store, 100, 200).await?)?;
    same((first.tries, second.tries), (1, 2))?;
    same(first.claim == second.claim, false)?;
    same(second.body, first.body)
}

async fn a_claim_that_was_taken_over_ends_nothing(store: Arc<dyn Store>) -> Result<(), Broken> {
    put(&store, "a", 0).await?;
    put(&store, "b", 1).await?;
    let stale = due(claim(&store, 0, 100).await?)?;
    let fresh = due(claim(&store, 100, 200).await?)?;
    // b was due at 1, so it came before the claim that ran out at 100.
    same((stale.id.as_str(), fresh.id.as_str()), ("a", "b"))?;
    let fresh = due(claim(&store, 100, 200).await?)?;
    same(fresh.id.as_str(), "a")?;
    same(store.finish_job(&stale).await, fenced("a"))?;
    same(store.return_job(&stale, Timestamp(0)).await, fenced("a"))?;
    same(store.open_jobs("mail").await?, 2)?;
    same(store.finish_job(&fresh).await, Ok(()))?;
    same(store.open_jobs("mail").await?, 1)?;
    let unknown = Job { id: "unknown".to_owned(), ..fresh };
    same(store.finish_job(&unknown).await, fenced("unknown"))
}

async fn a_job_given_back_is_due_again_when_said(store: Arc<dyn Store>) -> Result<(), Broken> {
    put(&store, "a", 0).await?;
    let job = due(claim(&store, 0, 100).await?)?;
    same(store.return_job(&job, Timestamp(50)).await, Ok(()))?;
    same(claim(&store, 49, 60).await?, None)?;
    // Given back, the claim is worth nothing any more.
    same(store.finish_job(&job).await, fenced("a"))?;
    same(store.return_job(&job, Timestamp(0)).await, fenced("a"))?;
    let again = due(claim(&store, 50, 60).await?)?;
    same(again.tries, 2)?;
    same(store.finish_job(&job).await, fenced("a"))?;
    // A claim that ran out and that nobody took since still ends the job.
    same(store.finish_job(&again).await, Ok(()))
}

async fn a_finished_job_never_comes_back(store: Arc<dyn Store>) -> Result<(), Broken> {
    put(&store, "a", 0).await?;
    let job = due(claim(&store, 0, 10).await?)?;
    same(store.finish_job(&job).await, Ok(()))?;
    // The answer may have been lost; asked again it is the same.
    same(store.finish_job(&job).await, Ok(()))?;
    same(store.return_job(&job, Timestamp(0)).await, fenced("a"))?;
    same(claim(&store, u64::MAX, u64::MAX).await?, None)?;
    same(store.open_jobs("mail").await?, 0)
}

async fn queues_do_not_mix(store: Arc<dyn Store>) -> Result<(), Broken> {
    put(&store, "a", 0).await?;
    same(store.put_job("sync", "a", &json!(2), Timestamp(0)).await?, true)?;
    same(store.open_jobs("sync").await?, 1)?;
    same(store.open_jobs("none").await?, 0)?;
    same(store.claim_job("none", Timestamp(9), Timestamp(10)).await?, None)?;
    let job = due(store.claim_job("sync", Timestamp(9), Timestamp(10)).await?)?;
    same((job.queue.as_str(), job.body.clone()), ("sync", json!(2)))?;
    store.finish_job(&job).await?;
    same(store.open_jobs("sync").await?, 0)?;
    same(store.open_jobs("mail").await?, 1)
}

async fn of_claimers_at_once_each_gets_another_job(store: Arc<dyn Store>) -> Result<(), Broken> {
    for number in 0..40 {
        put(&store, &format!("job-{number}"), number).await?;
    }
    let mut claimers = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        claimers.spawn(async move {
            let mut ids = Vec::new();
            while let Some(job) = claim(&store, 100, 1000).await? {
                ids.push(job.id.clone());
                store.finish_job(&job).await?;
            }
            Ok::<_, Broken>(ids)
        });
    }
    let mut done = Vec::new();
    while let Some(ids) = claimers.join_next().await {
        done.extend(ids.map_err(|error| Broken(error.to_string()))??);
    }
    same(done.len(), 40)?;
    same(done.into_iter().collect::<BTreeSet<_>>().len(), 40)
}
