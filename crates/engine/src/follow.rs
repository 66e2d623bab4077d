//! What the loop keeps up is what is live, whoever made it so.
//!
//! A release names its services in full. When another process makes one live, with another cascade perhaps, the loop of
//! this one goes by it from its next turn on. Before there is any release it goes by the config.

use std::collections::BTreeSet;
use std::sync::Arc;

use linkflow_model::{ProviderName, ReleaseId, ServiceSpec};

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
    pub(crate) fn services(&self) -> Arc<[ServiceSpec]> {
        Arc::clone(&locked(&self.specs).services)
    }

    /// Goes by the live release when that is another one than before.
    pub(crate) async fn follow_live(&self) -> Result<(), EngineError> {
        let Some((id, _)) = self.document::<ReleaseId>("live").await? else { return Ok(()) };
        if locked(&self.specs).of == Some(id) {
            return Ok(());
        }
        let live = self.release(id).await?;
        let services = live.services.into_values().map(|service| service.spec).collect();
        *locked(&self.specs) = Specs { services, of: Some(id) };
        self.look().await;
        Ok(())
    }

    /// The providers that any service runs on, may run on, or has not left yet.
    pub(crate) fn providers_in_use(&self) -> BTreeSet<ProviderName> {
        let services = self.services();
        let cascades = services.iter().flat_map(|spec| &spec.runs_on).cloned();
        cascades.chain(self.held_by_actives()).collect()
    }
}
