//! Promises about leases.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Broken, Check, checks, same};
use crate::{Fence, Lease, Store, StoreError};

checks!(
    a_lease_is_taken_once_and_freed_by_its_holder,
    a_beat_shows_that_the_holder_lives,
    a_lease_that_stood_still_is_taken_over,
    of_takers_at_once_one_wins,
);

fn held(owner: &str, token: u64, beat: u64) -> Lease {
    Lease { name: "leader".to_owned(), owner: owner.to_owned(), token, beat, held: true }
}

fn taken(by: Lease) -> Result<Fence, StoreError> {
    Err(StoreError::Held(Box::new(by)))
}

fn fenced() -> Result<(), StoreError> {
    Err(StoreError::Fenced("leader".to_owned()))
}

async fn a_lease_is_taken_once_and_freed_by_its_holder(
    store: Arc<dyn Store>,
) -> Result<(), Broken> {
    same(store.lease("leader").await?, None)?;
    let first = store.take_lease("leader", "one", None).await?;
    same(first.clone(), Fence { lease: "leader".to_owned(), token: 1 })?;
    same(store.lease("leader").await?, Some(held("one", 1, 0)))?;
    same(store.take_lease("leader", "two", None).await, taken(held("one", 1, 0)))?;
    same(store.take_lease("leader", "one", None).await, taken(held("one", 1, 0)))?;

    let forged = Fence { token: 2, ..first.clone() };
    same(store.free_lease(&forged).await, Ok(()))?;
    same(store.lease("leader").await?, Some(held("one", 1, 0)))?;

    same(store.free_lease(&first).await, Ok(()))?;
    same(store.free_lease(&first).await, Ok(()))?;
    let free = store.lease("leader").await?.map(|lease| (lease.held, lease.owner, lease.token));
    same(free, Some((false, String::new(), 1)))?;
    same(store.beat_lease(&first).await, fenced())?;
    same(store.take_lease("leader", "two", None).await?.token, 2)?;
    same(store.take_lease("other", "two", None).await?.token, 1)?;
    // The one before does not free what is another's now.
    same(store.free_lease(&first).await, Ok(()))?;
    same(store.lease("leader").await?, Some(held("two", 2, 0)))
}

async fn a_beat_shows_that_the_holder_lives(store: Arc<dyn Store>) -> Result<(), Broken> {
    let never = Fence { lease: "leader".to_owned(), token: 1 };
    same(store.beat_lease(&never).await, fenced())?;
    same(store.free_lease(&never).await, Ok(()))?;
    same(store.lease("leader").await?, None)?;
    let fence = store.take_lease("leader", "one", None).await?;
    for beat in 1..=3 {
        same(store.beat_lease(&fence).await, Ok(()))?;
        same(store.lease("leader").await?, Some(held("one", 1, beat)))?;
    }
    Ok(())
}

async fn a_lease_that_stood_still_is_taken_over(store: Arc<dyn Store>) -> Result<(), Broken> {
    let first = store.take_lease("leader", "one", None).await?;
    store.beat_lease(&first).await?;
    for moved in [(1, 0), (1, 2), (0, 1), (2, 1)] {
        same(store.take_lease("leader", "two", Some(moved)).await, taken(held("one", 1, 1)))?;
    }
    let second = store.take_lease("leader", "two", Some((1, 1))).await?;
    same(second.token, 2)?;
    same(store.beat_lease(&first).await, fenced())?;
    same(store.lease("leader").await?, Some(held("two", 2, 0)))?;
    // What stood at (1, 1) does no longer, so a slower taker does not push out the faster one.
    same(store.take_lease("leader", "three", Some((1, 1))).await, taken(held("two", 2, 0)))?;
    // A free lease is free for all, whatever they watched.
    store.free_lease(&second).await?;
    same(store.take_lease("leader", "three", Some((1, 1))).await?.token, 3)
}

async fn of_takers_at_once_one_wins(store: Arc<dyn Store>) -> Result<(), Broken> {
    for round in 0..10 {
        let replacing = store.lease("leader").await?.map(|lease| (lease.token, lease.beat));
        let mut takers = JoinSet::new();
        for taker in 0..8 {
            let store = Arc::clone(&store);
            takers.spawn(async move {
                store.take_lease("leader", &format!("{round}:{taker}"), replacing).await
            });
        }
        let mut won = Vec::new();
        while let Some(ended) = takers.join_next().await {
            match ended.map_err(|error| Broken(error.to_string()))? {
                Ok(fence) => won.push(fence.token),
                Err(StoreError::Held(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        same(won, vec![round + 1])?;
    }
    Ok(())
}
