//! The address at which each vendor tells at once what it sees. It follows from the key of the state folder.

use std::collections::BTreeMap;
use std::path::Path;

use linkflow_model::config::{Config, kinds};
use linkflow_model::{ProviderName, Secret, StateSpan};
use linkflow_providers::kit::Kit;
use linkflow_store::{Sqlite, Store, StoreError};
use linkflow_web::order::address::Renewed;

use super::super::errors;
use super::super::state::Key;
use super::lookers;

/// Every provider of `config` that sends webhooks, and who enters its address at the vendor.
pub(crate) fn senders(config: &Config) -> BTreeMap<String, &'static str> {
    let (_, is_public) = base(config);
    let (looked, signing) = (lookers(config), errors::senders(config));
    let entered = |name: &ProviderName| {
        let takes = config.provider(name).and_then(|held| takes(&held.settings));
        let by_itself = takes.unwrap_or_default() && is_public;
        if by_itself { "by `linkflow watchers apply`" } else { "by hand" }
    };
    let names = looked.keys().chain(signing.keys());
    names.map(|name| (name.to_string(), entered(name))).collect()
}

/// Where the dashboard answers, and whether vendors reach it there: `https://ops.example.com`.
pub(crate) fn base(config: &Config) -> (String, bool) {
    let dashboard = &config.dashboard;
    match &dashboard.host {
        Some(host) => (format!("https://{}", host.0), true),
        None => (format!("http://{}", dashboard.listen), false),
    }
}

/// What of a hook is entered at a vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// One to this address.
    To(Secret),
    /// None; the reason, where somebody may wonder.
    None(Option<&'static str>),
    /// Nobody knows here which: what is there stays as it is.
    Unknown(&'static str),
}

/// Why there is none without a public address.
const NOT_REACHED: &str =
    "no webhook is entered there: `dashboard.host` says at which address vendors reach LinkFlow";

/// Why nobody knows. Another state folder has another key, so its address would be answered with 404.
const NOT_HERE: &str = "whether its webhook is entered is not looked at: no `linkflow up` has watched with this state folder, \
    whose key the address follows from";

/// What is to be entered at each provider whose API takes webhooks.
///
/// # Errors
/// What the store says.
pub(crate) async fn entries(
    config: &Config,
    key: &Key,
    store: &Path,
    kit: &Kit,
) -> Result<BTreeMap<ProviderName, Entry>, StoreError> {
    let store = if store.exists() { Some(Sqlite::open(store)?) } else { None };
    let renewed = match &store {
        Some(store) => Renewed::read(store).await?,
        None => Renewed::default(),
    };
    let ((base, is_public), looked) = (base(config), lookers(config));
    let mut entries = BTreeMap::new();
    for name in config.providers.keys() {
        let Some(asked) = config.provider(name).and_then(|held| takes(&held.settings)) else {
            continue;
        };
        let entry = match looked.get(name).filter(|_| asked) {
            None => Entry::None(None),
            Some(_) if !is_public => Entry::None(Some(NOT_REACHED)),
            Some(subjects) if !watched(store.as_ref(), subjects).await? => Entry::Unknown(NOT_HERE),
            Some(_) => {
                let secret = Secret::new(renewed.key_of(name.as_str(), |label| key.derive(label)));
                kit.learn(&secret);
                Entry::To(Secret::new(format!("{base}/hooks/{name}/{}", secret.expose())))
            }
        };
        entries.insert(name.clone(), entry);
    }
    Ok(entries)
}

/// Whether the config has the hook entered; `None` for whoever cannot be told by an API.
pub(crate) fn takes(settings: &kinds::Settings) -> Option<bool> {
    match settings {
        kinds::Settings::Uptimerobot(own) => Some(own.webhook),
        kinds::Settings::Betterstack(own) => Some(own.webhook),
        _ => None,
    }
}

/// Whether a process with this store has watched one of `subjects`.
async fn watched(
    store: Option<&Sqlite>,
    subjects: impl IntoIterator<Item = &String>,
) -> Result<bool, StoreError> {
    let Some(store) = store else { return Ok(false) };
    for subject in subjects {
        if store.last(&StateSpan::prefix(subject)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
