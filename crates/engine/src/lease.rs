//! One process acts at a time.
//!
//! The lease `act` has no time in it. Its holder beats; whoever waits watches the beats on its own clock and takes over
//! after [`SILENCE`] without one, so that a jumping wall clock neither frees nor keeps it. A holder on this machine
//! whose process is gone is taken over at once.

use std::time::Duration;

use linkflow_store::{Fence, Lease, StoreError};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{Engine, EngineError};

/// The lease that whoever changes something holds.
const NAME: &str = "act";
/// How long a holder may be silent before it is taken over.
const SILENCE: Duration = Duration::from_secs(25);
/// How often a holder beats.
pub(crate) const BEAT: Duration = Duration::from_secs(3);
/// How often whoever waits looks.
const WATCH: Duration = Duration::from_millis(200);

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Unique among all processes, ever.
    pub id: String,
    /// The machine.
    pub host: String,
    /// The process id on that machine.
    pub pid: u32,
    /// What it does: `linkflow apply`.
    pub what: String,
}

impl Engine {
    /// Takes the lease, waiting up to `patience` for whoever holds it.
    pub(crate) async fn take_lease(&self, patience: Duration) -> Result<Fence, EngineError> {
        let me = serde_json::to_string(&self.parts.owner).unwrap_or_default();
        let started = self.parts.clock.now();
        let mut watched: Option<(u64, u64)> = None;
        let mut since = started;
        loop {
            let now = self.parts.clock.now();
            let silent = Duration::from_millis(now.since(since)) >= SILENCE;
            let replacing = watched.filter(|_| silent);
            let held = match self.parts.store.take_lease(NAME, &me, replacing).await {
                Ok(fence) => return Ok(fence),
                Err(StoreError::Held(lease)) => lease,
                Err(error) => return Err(error.into()),
            };
            let stands = (held.token, held.beat);
            if self.is_gone(&held)
                && let Ok(fence) = self.parts.store.take_lease(NAME, &me, Some(stands)).await
            {
                return Ok(fence);
            }
            if watched != Some(stands) {
                watched = Some(stands);
                since = now;
            }
            if Duration::from_millis(now.since(started)) >= patience {
                return Err(EngineError::Busy(owner_of(&held)));
            }
            sleep(WATCH).await;
        }
    }

    /// Whether the holder is provably gone: its process is, or it is an act of this very process that was dropped in
    /// the middle (acts of one process never overlap).
    fn is_gone(&self, lease: &Lease) -> bool {
        serde_json::from_str::<Owner>(&lease.owner)
            .is_ok_and(|owner| owner.id == self.parts.owner.id || !(self.parts.alive)(&owner))
    }

    /// Proves, right before a provider is written to, that this process still may act.
    pub(crate) async fn still_holds(&self, fence: &Fence) -> Result<(), EngineError> {
        Ok(self.parts.store.beat_lease(fence).await?)
    }
}

fn owner_of(lease: &Lease) -> Owner {
    serde_json::from_str(&lease.owner).unwrap_or_else(|_| Owner {
        id: String::new(),
        host: "an unknown machine".to_owned(),
        pid: 0,
        what: lease.owner.clone(),
    })
}
