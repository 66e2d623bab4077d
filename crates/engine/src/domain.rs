//! Names of the stack's own domain at a provider, changed under the lock.

use std::time::Duration;

use linkflow_model::role::{Compute, DomainState};
use linkflow_model::{EventKind, Fault, Level, ProviderName, ServiceName};
use linkflow_store::Fence;

use crate::guard::{Patience, guarded};
use crate::{Engine, EngineError};

impl Engine {
    /// Has `host` lead to `service` at `provider`, and says how it stands. What already does is fine.
    ///
    /// # Errors
    /// [`linkflow_model::FaultKind::Missing`] as a fault when the service is not deployed there; as [`Engine::carry_out`].
    pub async fn add_domain(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        host: &str,
        wait_for_lease: Duration,
    ) -> Result<DomainState, EngineError> {
        let call = async |compute: &dyn Compute| compute.add_domain(service, host).await;
        let done = self.under_lock(provider, "add a domain", wait_for_lease, call).await?;
        self.tell_domain(service, provider, format!("{host} leads to {service} on {provider}"))
            .await;
        Ok(done)
    }

    /// Takes `host` away from `service` at `provider`. What is already gone is fine.
    ///
    /// # Errors
    /// As [`Engine::carry_out`].
    pub async fn remove_domain(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        host: &str,
        wait_for_lease: Duration,
    ) -> Result<(), EngineError> {
        let call = async |compute: &dyn Compute| compute.remove_domain(service, host).await;
        self.under_lock(provider, "remove a domain", wait_for_lease, call).await?;
        self.tell_domain(
            service,
            provider,
            format!("{host} does not lead to {service} on {provider} any more"),
        )
        .await;
        Ok(())
    }

    /// One change at one provider, after whatever was cut off before.
    async fn under_lock<T>(
        &self,
        provider: &ProviderName,
        attempt: &str,
        wait_for_lease: Duration,
        call: impl AsyncFn(&dyn Compute) -> Result<T, Fault>,
    ) -> Result<T, EngineError> {
        let compute = self.compute(provider).map_err(EngineError::Missing)?;
        let _acting = self.acting.lock().await;
        let fence: Fence = self.take_lease(wait_for_lease).await?;
        let work = async {
            self.resume_held(&fence).await?;
            self.still_holds(&fence).await?;
            Ok(guarded(provider, attempt, Patience::ACT, || call(compute)).await?)
        };
        let done = self.beating(&fence, work).await;
        self.parts.store.free_lease(&fence).await?;
        done
    }

    async fn tell_domain(&self, service: &ServiceName, provider: &ProviderName, said: String) {
        let event = self.event(EventKind::Control, Level::Notice, said);
        self.tell(event.about(service, provider)).await;
    }
}
