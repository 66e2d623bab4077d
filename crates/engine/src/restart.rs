//! Starts what runs again, and waits until it answers.

use std::time::Duration;

use linkflow_decide::restart;
use linkflow_model::{Lifecycle, Plan, ProviderName, ServiceName};
use linkflow_store::Fence;
use tokio::time::sleep;

use crate::act::said;
use crate::guard::{Patience, guarded};
use crate::{Engine, EngineError};

/// How long after it was told to a provider may still run the old instance. What answers before that proves nothing.
const SETTLE: Duration = Duration::from_secs(2);

impl Engine {
    /// Plans to start `service` again wherever it runs, or on `only` alone. Asks the providers first; changes nothing.
    ///
    /// # Errors
    /// [`EngineError::Missing`] when there is no such service or nothing of it runs; what the store says.
    pub async fn plan_restart(
        &self,
        service: &ServiceName,
        only: Option<&ProviderName>,
    ) -> Result<Plan, EngineError> {
        let spec = self.spec(service);
        let spec =
            spec.ok_or_else(|| EngineError::Missing(format!("there is no service `{service}`")))?;
        self.look().await;
        let world = self.world().await?;
        let silent = self.faults();
        let mut view = world.services.get(service).cloned().unwrap_or_default();
        let unknown: Vec<ProviderName> = view
            .placements
            .iter()
            .filter(|placement| placement.lifecycle == Lifecycle::Unknown)
            .map(|placement| placement.provider.clone())
            .collect();
        // A provider that answered once and does not now is not told to do anything.
        view.placements.retain(|placement| !silent.contains_key(&placement.provider));
        let mut plan = restart(&spec, &view, only);
        let meant = spec.runs_on.iter().filter(|name| only.is_none_or(|only| only == *name));
        for name in meant {
            let why = match silent.get(name) {
                Some(fault) => fault.to_string(),
                None if unknown.contains(name) => "it does not say how it stands".to_owned(),
                None => continue,
            };
            plan.hold(Some(service), format!("{name} is left as it is: {why}"));
        }
        if plan.is_empty() && plan.held.is_empty() {
            let place = only.map_or_else(|| "anywhere".to_owned(), |only| format!("on {only}"));
            return Err(EngineError::Missing(format!("{service} does not run {place}")));
        }
        Ok(plan)
    }

    /// Has the instances started again, and waits until they run and answer.
    pub(crate) async fn restart(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        fence: &Fence,
    ) -> Result<String, String> {
        let compute = self.compute(provider)?;
        self.still_holds(fence).await.map_err(said)?;
        let call = || compute.restart(service);
        guarded(provider, "restart", Patience::ACT, call).await.map_err(said)?;
        sleep(SETTLE).await;
        self.comes_up(service, provider, self.parts.clock.now(), fence).await?;
        Ok("restarted".to_owned())
    }
}
