//! Looks from this machine: a probe, and whether our own network is there when nothing comes.

use std::sync::Arc;
use std::time::Duration;

use linkflow_decide::watch::Seen;

use crate::guard::Guard;
use crate::probe::{Prober, Saw};
use crate::target::Target;

/// Look at things from this machine. A clone is the same eyes.
#[derive(Clone)]
pub struct Eyes {
    prober: Arc<Prober>,
    guard: Arc<Guard>,
}

impl Eyes {
    /// Eyes that probe with `prober`, and ask `guard` whether they see at all.
    pub fn new(prober: Prober, guard: Guard) -> Self {
        Self { prober: Arc::new(prober), guard: Arc::new(guard) }
    }

    /// Learns which anchors answer, before anything is looked at.
    pub async fn learn(&self) {
        self.guard.learn().await;
    }

    /// Looks once at `target`, which may take `limit`.
    pub async fn look(&self, target: &Target, limit: Duration) -> Saw {
        let mut saw = self.prober.look(target, limit).await;
        // Only silence can be our own network's fault.
        if target.is_far() && matches!(saw.seen, Seen::Silent(_)) && self.guard.is_blind().await {
            saw.seen = Seen::Blind;
        }
        saw
    }
}
