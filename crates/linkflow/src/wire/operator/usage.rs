//! What was used of each provider's plan, asked now and then: pages wait for no vendor.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use linkflow_model::ProviderName;
use linkflow_model::role::{self, Compute};
use linkflow_web::operator::{ProviderUsage, Usage, Used};
use tokio::time::sleep;

use super::Running;
use crate::doctor::usage::{ask, is_much, sentence, share};

/// How often the providers are asked.
const EVERY: Duration = Duration::from_secs(900);

impl Running {
    /// Asks every provider of `computes`, again and again.
    pub(super) async fn ask_for_usage(&self, computes: &BTreeMap<ProviderName, Arc<dyn Compute>>) {
        loop {
            let told = join_all(computes.iter().map(|(name, compute)| self.told(name, compute)));
            let providers = told.await;
            let asked = Some(self.clock.wall().0);
            *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Usage { asked, providers };
            sleep(EVERY).await;
        }
    }

    async fn told(&self, name: &ProviderName, compute: &Arc<dyn Compute>) -> ProviderUsage {
        let kind = self.config.provider(name).map(|provider| provider.kind().word);
        let told = ask(&**compute).await;
        let tells = told.is_some();
        let (used, unable) = match told {
            Some(Ok(rows)) => (rows.iter().map(used).collect(), None),
            Some(Err(fault)) => (Vec::new(), Some(fault.to_string())),
            None => (Vec::new(), None),
        };
        let kind = kind.unwrap_or("embedded").to_owned();
        ProviderUsage { provider: name.clone(), kind, tells, used, unable }
    }
}

fn used(row: &role::Usage) -> Used {
    Used {
        what: row.what.clone(),
        used: row.used,
        limit: row.limit,
        unit: row.unit.clone(),
        resets: row.resets.map(|at| at.0),
        percent: share(row),
        much: is_much(row),
        sentence: sentence(row),
    }
}
