//! One provider in another's place.
//!
//! A swap is three steps that each stand for themselves, so that one which was cut off is simply asked for again: a
//! release in which both providers are in the cascade; a run that leads the service over and watches it; a release in
//! which only the new one is left.

use std::time::Duration;

use linkflow_decide::{Manner, Swap, Swapped, swap};
use linkflow_model::{Plan, ProviderName, Release, ServiceName};

use crate::run::Errand;
use crate::{Engine, EngineError, RunEnd, RunKind};

/// What is swapped for what, and how.
#[derive(Clone, Debug)]
pub struct Swapping {
    /// The services.
    pub services: Vec<ServiceName>,
    /// The provider that is left.
    pub old: ProviderName,
    /// The provider that takes its place.
    pub new: ProviderName,
    /// How long the new placement serves before the old one is let go, in milliseconds.
    pub soak_ms: u64,
    /// Whether the old placement is deleted.
    pub delete: bool,
    /// Whether a person vouches that nothing runs at an old provider that cannot be asked.
    pub vouched: bool,
}

impl Engine {
    /// Plans a swap to what `release` wants on the new provider. Asks the providers first; changes nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn plan_swap(&self, release: &Release, wish: &Swapping) -> Result<Swap, EngineError> {
        self.look().await;
        let world = self.world().await?;
        let manner = Manner {
            soak_ms: wish.soak_ms,
            delete: wish.delete,
            old_answers: !self.faults().contains_key(&wish.old),
            vouched: wish.vouched,
        };
        let services = wish.services.iter().filter_map(|name| release.services.get(name));
        let rows: Vec<Swapped<'_>> = services
            .filter_map(|service| {
                Some(Swapped {
                    spec: &service.spec,
                    old: &wish.old,
                    new: &wish.new,
                    release: release.id,
                    digest: &service.image.digest,
                    fingerprint: service.fingerprints.get(&wish.new)?,
                })
            })
            .collect();
        Ok(swap(&rows, &world, manner))
    }

    /// Carries out a plan that makes no release.
    ///
    /// # Errors
    /// As [`Engine::carry_out`].
    pub async fn carry_out_plan(
        &self,
        plan: &Plan,
        kind: RunKind,
        why: &str,
        wait_for_lease: Duration,
    ) -> Result<RunEnd, EngineError> {
        let _acting = self.acting.lock().await;
        let fence = self.take_lease(wait_for_lease).await?;
        let errand = Errand { kind, why: why.to_owned(), plan, release: None, begun: None };
        let work = async {
            self.resume_held(&fence).await?;
            self.start(errand, &fence).await
        };
        let end = self.beating(&fence, work).await;
        self.parts.store.free_lease(&fence).await?;
        end
    }
}
