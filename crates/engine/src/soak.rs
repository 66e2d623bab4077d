//! Watches a placement that has just begun to serve, while the way back is still one step.

use std::time::Duration;

use linkflow_model::{Health, Lifecycle, ProviderName, ServiceName};
use linkflow_store::Fence;
use tokio::time::sleep;

use crate::Engine;

/// How often the probes are read.
const PROBES: Duration = Duration::from_millis(100);
/// How often a provider is asked about what cannot be probed.
const LOOKS_MS: u64 = 5_000;

impl Engine {
    /// Waits for `ms`; an error as soon as the placement is not well.
    pub(crate) async fn soak(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        ms: u64,
        fence: &Fence,
    ) -> Result<String, String> {
        let started = self.parts.clock.now();
        let probed = self.spec(service).is_some_and(|spec| spec.is_probed());
        let _awake = probed.then(|| self.keep_awake(service, provider));
        let mut looked = started;
        loop {
            let now = self.parts.clock.now();
            if let Some(why) = self.unwell(service, provider, probed) {
                let after = now.since(started) / 1_000;
                return Err(format!("it was not well after {after} s: {why}"));
            }
            if now.since(started) >= ms {
                return Ok(format!("well for {} s", ms / 1_000));
            }
            if now.since(looked) >= LOOKS_MS {
                looked = now;
                self.still_holds(fence).await.map_err(|lost| lost.to_string())?;
                if !probed {
                    self.look_at(provider).await;
                }
            }
            sleep(PROBES).await;
        }
    }

    fn unwell(
        &self,
        service: &ServiceName,
        provider: &ProviderName,
        probed: bool,
    ) -> Option<String> {
        if probed {
            let probe = self.probe(service, provider)?;
            let down = probe.health == Health::Down;
            return down.then(|| probe.why.unwrap_or_else(|| "it does not answer".to_owned()));
        }
        let seen = self.seen(service, provider)?;
        let ended =
            matches!(seen.lifecycle, Lifecycle::Failed | Lifecycle::Stopped | Lifecycle::Absent);
        ended.then(|| format!("{provider} says {}", seen.said))
    }
}
