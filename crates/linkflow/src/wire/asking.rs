//! All that can be asked without changing anything. Each provider is opened by itself, so that one which lacks its token
//! keeps no other from being asked, and the state folder is left as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkflow_engine::{Holder, Run, RunState, holder};
use linkflow_model::clock::SystemClock;
use linkflow_model::config::{Config, Provider};
use linkflow_model::role::ComputeLook;
use linkflow_model::{Clock, ProviderName};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_store::{Sqlite, Store, StoreError};

use super::names::Apart;
use super::parts;
use super::registry::Registries;
use super::secrets::Secrets;
use super::state::Key;
use super::watchers::{self, Opened};
use super::{OpenError, OpenOptions, errors, process};

/// What can be asked.
pub(crate) struct Asking {
    /// The providers that can run services.
    pub(crate) places: BTreeMap<ProviderName, Place>,
    /// Whoever answers for the zone or stands in front of the edge.
    pub(crate) names: Apart,
    /// Whoever watches from outside.
    pub(crate) watchers: Vec<Opened>,
    /// Whoever collects errors.
    pub(crate) errors: Vec<errors::Opened>,
    /// Where images are looked up.
    pub(crate) registries: Registries,
    /// Follows references to secrets.
    pub(crate) secrets: Secrets,
    /// The client that everything is asked with.
    pub(crate) kit: Kit,
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
}

/// A provider that can run services, its reading half.
pub(crate) struct Place {
    /// As the config has it.
    pub(crate) provider: Provider,
    /// Whether a cascade names it, or a migration runs there.
    pub(crate) needed: bool,
    /// The provider, or why it cannot be opened.
    pub(crate) opened: Result<Arc<dyn ComputeLook>, OpenError>,
}

/// What the store says of who acts.
#[derive(Default)]
pub(crate) struct Acting {
    /// Who holds the lock.
    pub(crate) holder: Option<Holder>,
    /// The run that is under way, or was cut off.
    pub(crate) run: Option<String>,
}

impl Asking {
    /// Opens what there is to ask. Nothing is asked yet.
    ///
    /// # Errors
    /// When there is no HTTP client to be had.
    pub(crate) fn open(config: &Config, options: &OpenOptions) -> Result<Self, OpenError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let user_agent = concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned();
        let record = options.record.clone();
        let kit =
            Kit::new(KitOptions { record, clock: Arc::clone(&clock), user_agent, limits: None })?;
        let key = Key::peek(&options.state);
        let secrets = Secrets::new(options.vars.clone(), key, options.cloud.is_some());
        let places = parts::places(config, options, &secrets, &kit);
        let places = places.into_iter().map(|(name, place)| {
            let opened = place.opened.map(|whole| whole as Arc<dyn ComputeLook>);
            (name, Place { provider: place.provider, needed: place.needed, opened })
        });
        let places = places.collect();
        let registries = Registries::open(config, options.cloud.as_ref(), &secrets, &kit)?;
        let names = Apart::open(config, options, &secrets, &kit);
        let watchers = watchers::apart(config, options, &secrets, &kit);
        let errors = errors::apart(config, options, &secrets, &kit);
        Ok(Self { places, names, watchers, errors, registries, secrets, kit, clock })
    }
}

/// Who acts on the stack whose state is in the folder of `options`; nobody where there is no store yet.
///
/// # Errors
/// What the store says.
pub(crate) async fn acting(options: &OpenOptions) -> Result<Acting, StoreError> {
    let file = options.state.join("linkflow.db");
    if !file.exists() {
        return Ok(Acting::default());
    }
    let store = Sqlite::open(file)?;
    let holder = holder(&store, |owner| !process::is_alive(owner)).await?;
    let runs = store.list("run/").await?.into_iter();
    let runs = runs.filter_map(|document| serde_json::from_value::<Run>(document.body).ok());
    let run = runs.filter(|run| run.state == RunState::Running).map(|run| run.id).next();
    Ok(Acting { holder, run })
}
