//! Where images are looked up.

use std::collections::BTreeMap;

use linkflow_model::config::{Config, kinds};
use linkflow_model::role::Registry;
use linkflow_model::{Fault, ImageRef, PinnedImage, ProviderName};
use linkflow_providers::kit::Kit;
use linkflow_providers::registry::{Credentials, Oci, Settings};
use linkflow_rehearsal::cloud::Endpoints;
use sha2::{Digest as _, Sha256};

use super::OpenError;
use super::secrets::Secrets;

/// Every registry, with who pulls where the config says so.
pub(crate) struct Registries {
    oci: Oci,
    rehearsed: bool,
}

impl Registries {
    /// Opens the registries of `config`; in a rehearsal the cloud's stands for all.
    pub(super) fn open(
        config: &Config,
        cloud: Option<&Endpoints>,
        secrets: &Secrets,
        kit: &Kit,
    ) -> Result<Self, OpenError> {
        let wrong = |error: linkflow_model::name::NameError| OpenError::Missing {
            what: error.to_string(),
            help: String::new(),
        };
        let name: ProviderName = "registry".parse().map_err(wrong)?;
        let base = cloud.map(|cloud| cloud.registry.clone());
        let credentials =
            if cloud.is_some() { BTreeMap::new() } else { credentials(config, secrets) };
        let oci = Oci::open(Settings { base, credentials, ..Settings::default() }, kit, &name);
        Ok(Self { oci, rehearsed: cloud.is_some() })
    }

    /// `image` by digest.
    ///
    /// # Errors
    /// What the registry says; [`linkflow_model::FaultKind::Missing`] when there is no such image.
    pub(crate) async fn pin(&self, image: &ImageRef) -> Result<PinnedImage, Fault> {
        Ok(image.at(self.oci.resolve(image).await?))
    }

    /// What the registry tells of `image`.
    ///
    /// # Errors
    /// What the registry says.
    pub(crate) async fn inspect(
        &self,
        image: &PinnedImage,
    ) -> Result<linkflow_model::role::ImageFacts, Fault> {
        let (registry, repository) = (image.registry.clone(), image.repository.clone());
        let digest = Some(image.digest.clone());
        self.oci.inspect(&ImageRef { registry, repository, tag: None, digest }).await
    }

    /// What the registry tells of `image` as it is written.
    ///
    /// # Errors
    /// As [`Registries::pin`].
    pub(crate) async fn look(
        &self,
        image: &ImageRef,
    ) -> Result<linkflow_model::role::ImageFacts, Fault> {
        self.oci.inspect(image).await
    }

    /// `image` of a service that runs only on this machine, where a program stands for it: its name in place of its
    /// content, so that nothing has to be pushed and nobody asked. In a rehearsal the cloud's registry knows it.
    pub(crate) async fn pin_here(&self, image: &ImageRef) -> Result<PinnedImage, Fault> {
        if self.rehearsed {
            return self.pin(image).await;
        }
        let hash = Sha256::digest(image.to_string());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        match format!("sha256:{hex}").parse() {
            Ok(digest) => Ok(image.at(digest)),
            Err(_) => self.pin(image).await,
        }
    }
}

/// Who pulls from GHCR. Public images need nobody, so a secret that is not there is no mistake here.
pub(super) fn credentials(config: &Config, secrets: &Secrets) -> BTreeMap<String, Credentials> {
    let found = config.providers.values().filter_map(|provider| {
        let kinds::Settings::Ghcr(settings) = &provider.settings else { return None };
        let password = secrets.follow(provider.secret()?)?;
        let user = settings.user.clone().unwrap_or_else(|| "linkflow".to_owned());
        Some(("ghcr.io".to_owned(), Credentials { user, password }))
    });
    found.collect()
}
