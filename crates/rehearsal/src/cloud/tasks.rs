//! Owns the cloud's tasks, so that stopping it is one call.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every task of one cloud.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `work` until it ends or the cloud stops.
    pub(crate) fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled_owned(work).await;
        });
    }

    /// Runs `work` until it ends: it must look at [`Tasks::stopping`] by itself.
    pub(crate) fn start_to_the_end(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(work);
    }

    /// Is cancelled when the cloud stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Asks every task to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Waits up to `grace` until every task ended. Says whether all did.
    pub(crate) async fn ended(&self, grace: Duration) -> bool {
        timeout(grace, self.tracker.wait()).await.is_ok()
    }
}
