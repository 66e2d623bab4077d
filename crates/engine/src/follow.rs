//! What the loop keeps up is what is live, whoever made it so.
//!
//! A release names its services in full. When another process makes one live, with another cascade perhaps, the loop of
//! this one goes by it from its next turn on. Before there is any release it goes by the config.

use std::collections::BTreeSet;
use std::sync::Arc;

use linkflow_model::{ProviderName, Release, ReleaseId, ServiceSpec};

use crate::{Engine, EngineError, locked};

/// The services that are kept up, and the release that says so.
#[derive(Debug)]
pub(crate) struct Specs {
    services: Arc<[ServiceSpec]>,
    of: Option<ReleaseId>,
}

impl Specs {
    /// Those of the config.
    pub(crate) fn of(services: &[ServiceSpec]) -> Self {
        Self { services: services.into(), of: None }
    }
}

impl Engine {
    /// The services as they are to be kept up now.
    pub fn services(&self) -> Arc<[ServiceSpec]> {
        Arc::clone(&locked(&self.specs).services)
    }

    /// Goes by the live release when that is another one than before.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow_live(&self) -> Result<(), EngineError> {
        let Some((id, _)) = self.document::<ReleaseId>("live").await? else { return Ok(()) };
        if locked(&self.specs).of == Some(id) {
            return Ok(());
        }
        // Whoever rolls a release out in this process goes by that one until it is live or taken back.
        let Ok(_nobody_acts) = self.acting.try_lock() else { return Ok(()) };
        self.go_by(&self.release(id).await?);
        self.look().await;
        Ok(())
    }

    /// Goes by `release` from now on.
    pub(crate) fn go_by(&self, release: &Release) {
        let services = release.services.values().map(|service| service.spec.clone()).collect();
        *locked(&self.specs) = Specs { services, of: Some(release.id) };
    }

    /// The providers that any service runs on, may run on, or has not left yet.
    pub(crate) fn providers_in_use(&self) -> BTreeSet<ProviderName> {
        let services = self.services();
        let cascades = services.iter().flat_map(|spec| &spec.runs_on).cloned();
        cascades.chain(self.held_by_actives()).collect()
    }
}
