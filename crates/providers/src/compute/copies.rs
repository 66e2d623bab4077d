//! Copies of images that go on when whoever asked for them has stopped waiting.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use linkflow_model::Fault;
use tokio::sync::watch;
use tokio::task::JoinSet;

type Outcome = Option<Result<(), Fault>>;

/// The copies under way. They end when this is dropped.
///
/// An image may take longer than one call to a provider is waited for. The next call finds its copy going on.
#[derive(Default)]
pub(crate) struct Copies {
    tasks: Mutex<JoinSet<()>>,
    under_way: Mutex<BTreeMap<String, watch::Receiver<Outcome>>>,
}

impl Copies {
    /// Waits for the copy to `target`, begun with `work` when there is none under way. `None`: it was given up.
    pub(crate) async fn have(
        &self,
        target: &str,
        work: impl Future<Output = Result<(), Fault>> + Send + 'static,
    ) -> Option<Result<(), Fault>> {
        let mut told = self.join_or_begin(target, work);
        told.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn join_or_begin(
        &self,
        target: &str,
        work: impl Future<Output = Result<(), Fault>> + Send + 'static,
    ) -> watch::Receiver<Outcome> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, told| told.borrow().is_none() && told.has_changed().is_ok());
        if let Some(told) = under_way.get(target) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let outcome = work.await;
            tell.send_replace(Some(outcome));
        });
        under_way.insert(target.to_owned(), told.clone());
        told
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_copy_goes_on_when_nobody_waits_and_the_next_call_joins_it() {
        let (copies, begun) = (Copies::default(), Arc::new(AtomicU32::new(0)));
        let work = || {
            let begun = Arc::clone(&begun);
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_secs(90)).await;
                Ok(())
            }
        };
        timeout(Duration::from_secs(60), copies.have("a", work())).await.unwrap_err();
        let joined = timeout(Duration::from_secs(60), copies.have("a", work())).await;
        assert_eq!(joined.unwrap(), Some(Ok(())));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        // What is done is looked at anew.
        assert_eq!(copies.have("a", work()).await, Some(Ok(())));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
