//! Learns what answers usually take, of the hours that were kept.

use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::watch::{Hour, Usual, usual};
use linkflow_model::{Clock, Timestamp};
use linkflow_store::{Step, Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::watcher::Watched;

/// How often: hours are what is learned of.
const EVERY: Duration = Duration::from_secs(1_800);

/// How far back, in ms: a week and the hour that runs.
const BACK_MS: u64 = 7 * 86_400_000 + 3_600_000;

/// One that is learned of: which of all, and the least that may count as slow.
struct Pupil {
    entry: usize,
    subject: String,
    least_ms: u64,
}

/// Learns in turn of all that want it.
pub(crate) struct Learner {
    pupils: Vec<Pupil>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    learned: mpsc::Sender<(usize, Usual)>,
}

impl Learner {
    /// One for `all` of those whose limit is not said; `learned` is told of which one what is usual.
    pub(crate) fn new(
        all: &[Watched],
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        learned: mpsc::Sender<(usize, Usual)>,
    ) -> Self {
        let pupil = |(entry, watched): (usize, &Watched)| {
            let manner = &watched.manner;
            let least_ms = manner.learn_ms.filter(|_| manner.slow_ms.is_none())?;
            Some(Pupil { entry, subject: watched.subject.clone(), least_ms })
        };
        let pupils = all.iter().enumerate().filter_map(pupil).collect();
        Self { pupils, store: Arc::clone(store), clock: Arc::clone(clock), learned }
    }

    /// Learns until `stop`, or until nobody is told any more.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            for pupil in &self.pupils {
                let said = match self.learn(pupil).await {
                    Ok(usual) => self.learned.send((pupil.entry, usual)).await,
                    Err(error) => {
                        tracing::error!("what {} usually takes: {error}", pupil.subject);
                        Ok(())
                    }
                };
                if said.is_err() || stop.is_cancelled() {
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn learn(&self, pupil: &Pupil) -> Result<Usual, StoreError> {
        let now = self.clock.wall();
        let from = Timestamp(now.0.saturating_sub(BACK_MS));
        let hours = self.store.rollups(&pupil.subject, Step::Hour, from, now).await?;
        let hour = |sum: &linkflow_store::Rollup| Hour {
            at: sum.at,
            looks: sum.took.count,
            p95_ms: u64::from(sum.took.percentile(95).unwrap_or(0)) / 1_000,
        };
        let hours: Vec<Hour> = hours.iter().map(hour).collect();
        Ok(usual(&hours, now, pupil.least_ms))
    }
}
