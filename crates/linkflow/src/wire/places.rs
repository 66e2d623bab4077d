//! Who looks from where: this machine for others, and others for this one.

use std::sync::{Arc, OnceLock};

use linkflow_model::ProviderName;
use linkflow_model::config::Config;
use linkflow_model::role::Vantage;
use linkflow_providers::kit::Kit;
use linkflow_providers::vantage::{self, Settings};

use super::secrets::Secrets;
use super::{OpenError, OpenOptions};

/// The places from which it is looked.
#[derive(Clone, Default)]
pub(crate) struct Places {
    /// This machine, once it looks at anything.
    pub(crate) here: Arc<OnceLock<Arc<dyn Vantage>>>,
    /// Others that look for this one.
    pub(crate) others: Vec<Arc<dyn Vantage>>,
}

impl Places {
    /// The places of `config`. In a rehearsal nobody real is asked.
    ///
    /// # Errors
    /// When the token of one is not there.
    pub(super) fn open(
        config: &Config,
        options: &OpenOptions,
        secrets: &Secrets,
        kit: &Kit,
    ) -> Result<Self, OpenError> {
        let mut places = Self::default();
        for (name, place) in config.vantages.iter().filter(|_| options.cloud.is_none()) {
            let token = secrets.follow(&place.token).ok_or_else(|| OpenError::Missing {
                what: format!("the `token` of `vantages.{name}` is not there"),
                help: "put it into the environment; `linkflow access token create` on the other machine makes one"
                    .to_owned(),
            })?;
            let Some(provider) = ProviderName::new(name.as_str()) else { continue };
            let other = vantage::open(Settings { url: place.url.0.clone(), token }, kit, &provider);
            places.others.push(Arc::from(other));
        }
        Ok(places)
    }
}
