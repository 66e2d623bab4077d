//! A stack that can only be looked at: no call that changes anything at a provider can be made with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_engine::{Drift, drift};
use linkflow_model::clock::SystemClock;
use linkflow_model::config::Config;
use linkflow_model::role::ComputeLook;
use linkflow_model::{Clock, ProviderName, Release, ReleaseId, ServiceName};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_store::{Sqlite, Store};
use serde_json::Value;

use super::secrets::Secrets;
use super::state::Home;
use super::{LIMITS, OpenError, OpenOptions, parts};

/// The providers' reading halves, and what was deployed last.
pub(crate) struct Looking {
    looks: BTreeMap<ProviderName, Arc<dyn ComputeLook>>,
    /// The live release.
    pub(crate) live: Option<Release>,
    serving: BTreeMap<ServiceName, ProviderName>,
}

impl Looking {
    /// Opens what there is to look at. Nothing is asked of a provider yet.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub(crate) async fn open(config: &Config, options: &OpenOptions) -> Result<Self, OpenError> {
        let in_folder = |source| OpenError::State { folder: options.state.clone(), source };
        let home = Home::open(&options.state).map_err(in_folder)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let user_agent = concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned();
        let kit = Kit::new(KitOptions {
            record: options.record.clone(),
            clock,
            user_agent,
            limits: Some(home.path(LIMITS)),
        })?;
        let secrets = Secrets::new(options.vars.clone(), home.key(), options.cloud.is_some());
        let computes = parts::computes(config, options, &secrets, &kit)?;
        let looks = computes.into_iter().map(|(name, whole)| (name, whole as Arc<dyn ComputeLook>));
        let store = Sqlite::open(home.path("linkflow.db"))?;
        let live = store.read("live").await?.and_then(|document| read::<ReleaseId>(document.body));
        let live = match live {
            Some(id) => store.read(&format!("release/{id}")).await?,
            None => None,
        };
        let mut serving = BTreeMap::new();
        for document in store.list("active/").await? {
            let name = ServiceName::new(document.key.trim_start_matches("active/"));
            let at = document.body["provider"].as_str().and_then(ProviderName::new);
            serving.extend(name.zip(at));
        }
        let live = live.and_then(|document| read(document.body));
        Ok(Self { looks: looks.collect(), live, serving })
    }

    /// What the providers run that `release` does not ask for.
    pub(crate) async fn drift(&self, release: &Release) -> Drift {
        drift(release, &self.serving, &self.looks).await
    }
}

/// A document, as far as this version can read it.
fn read<T: serde::de::DeserializeOwned>(body: Value) -> Option<T> {
    serde_json::from_value(body).ok()
}
