//! What each service of a release is: its image by digest, its environment as written, its fingerprints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use linkflow_engine::{Draft, Engine, EngineError, Facts, ImageFacts};
use linkflow_model::{
    Fault, FaultKind, ImageRef, PinnedImage, ProviderName, Release, ServiceName, ServiceRelease,
    ServiceSpec,
};

use linkflow_model::config::Config;
use linkflow_model::role::Compute;

use super::OpenOptions;
use super::registry::Registries;
use super::render::{Renderer, Stray};

/// Why a release cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// An image is not there, or its registry does not answer.
    #[error("{service}: the image {image} {}", said(.fault))]
    Image {
        /// Whose image.
        service: ServiceName,
        /// Which.
        image: String,
        /// What the registry says.
        fault: Box<Fault>,
    },
    /// A reference leads nowhere.
    #[error("{0}")]
    Render(String),
    /// There is no such service.
    #[error("there is no service `{0}`")]
    NoService(ServiceName),
}

fn said(fault: &Fault) -> String {
    match fault.kind {
        FaultKind::Missing => "is not in its registry".to_owned(),
        FaultKind::Denied => format!("may not be read: {}", fault.said),
        _ => format!("could not be looked up: {}", fault.said),
    }
}

/// Makes releases of what the config and the user ask for.
pub(crate) struct Releases {
    engine: Arc<Engine>,
    registry: Arc<Registries>,
    pub(super) computes: BTreeMap<ProviderName, Arc<dyn Compute>>,
    renderer: Arc<Renderer>,
    pub(super) config: Config,
    /// What the user knows better of vendors' plans.
    catalogue: PathBuf,
}

impl Releases {
    pub(super) fn new(
        engine: &Arc<Engine>,
        registry: Arc<Registries>,
        (computes, renderer): (&BTreeMap<ProviderName, Arc<dyn Compute>>, &Arc<Renderer>),
        config: &Config,
        options: &OpenOptions,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            registry,
            computes: computes.clone(),
            renderer: Arc::clone(renderer),
            config: config.clone(),
            catalogue: options.workdir.join("catalogue"),
        }
    }

    /// What would be done to have `services` run.
    ///
    /// # Errors
    /// As [`linkflow_engine::Engine::draft`].
    pub(crate) async fn draft(
        &self,
        services: BTreeMap<ServiceName, ServiceRelease>,
        why: &str,
    ) -> Result<Draft, EngineError> {
        let facts = self.facts(&services).await;
        let mut draft = self.engine.draft(services, why, &facts).await?;
        match self.warmth(&self.catalogue) {
            Ok(costs) => draft.findings.extend(costs),
            Err(why) => tracing::warn!("what `keep_warm` costs cannot be told: {why}"),
        }
        Ok(draft)
    }

    /// What registries tell of the images of `services`, each asked once. What cannot be had is not there.
    async fn facts(&self, services: &BTreeMap<ServiceName, ServiceRelease>) -> Facts {
        let asked: BTreeSet<&PinnedImage> = services
            .values()
            .filter(|service| !self.is_here(&service.spec))
            .map(|service| &service.image)
            .collect();
        let told = join_all(asked.into_iter().map(|image| async move {
            let facts = self.registry.inspect(image).await.ok()?;
            let facts = ImageFacts { private: Some(facts.private), platforms: facts.platforms };
            Some((image, facts))
        }));
        let told: BTreeMap<&PinnedImage, ImageFacts> = told.await.into_iter().flatten().collect();
        let images = services
            .iter()
            .filter_map(|(name, service)| Some((name.clone(), told.get(&service.image)?.clone())));
        Facts { images: images.collect() }
    }

    /// Every service as the config has it, with `images` in place of its own images.
    ///
    /// # Errors
    /// Every image that cannot be found, or the first reference that leads nowhere.
    pub(crate) async fn service_releases(
        &self,
        images: &BTreeMap<ServiceName, ImageRef>,
    ) -> Result<BTreeMap<ServiceName, ServiceRelease>, Vec<ReleaseError>> {
        let services = self.config.services.iter().map(|(name, service)| {
            let env = service.env.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
            (service.spec(name), env)
        });
        self.pinned(services.collect(), images).await
    }

    /// Every service as `release` has it, with `images` in place of its own images: tags are looked up anew only there.
    ///
    /// # Errors
    /// As [`Releases::service_releases`].
    pub(crate) async fn releases_like(
        &self,
        release: &Release,
        images: &BTreeMap<ServiceName, ImageRef>,
    ) -> Result<BTreeMap<ServiceName, ServiceRelease>, Vec<ReleaseError>> {
        let mut services = release.services.clone();
        let chosen = release.services.values().filter(|s| images.contains_key(&s.spec.name));
        let chosen = chosen.map(|s| (s.spec.clone(), s.env.clone())).collect();
        services.extend(self.pinned(chosen, images).await?);
        Ok(services)
    }

    /// Every service as `release` has it, with other cascades for some of them.
    ///
    /// # Errors
    /// The first reference that leads nowhere.
    pub(crate) fn releases_with(
        &self,
        release: &Release,
        cascades: &BTreeMap<ServiceName, Vec<ProviderName>>,
    ) -> Result<BTreeMap<ServiceName, ServiceRelease>, Vec<ReleaseError>> {
        let mut services = release.services.clone();
        for (name, cascade) in cascades {
            let Some(service) = services.get(name) else { continue };
            let mut changed = service.clone();
            changed.spec.runs_on.clone_from(cascade);
            let changed = self.with_fingerprints(changed).map_err(|error| vec![error])?;
            services.insert(name.clone(), changed);
        }
        Ok(services)
    }

    /// Services of `release` whose environment comes to other values now than it was made with.
    pub(crate) fn strays(&self, release: &Release) -> Vec<Stray> {
        self.renderer.strays(release)
    }

    async fn pinned(
        &self,
        services: Vec<(ServiceSpec, BTreeMap<String, String>)>,
        images: &BTreeMap<ServiceName, ImageRef>,
    ) -> Result<BTreeMap<ServiceName, ServiceRelease>, Vec<ReleaseError>> {
        let each = services.into_iter().map(|(mut spec, env)| async move {
            if let Some(image) = images.get(&spec.name) {
                spec.image = image.clone();
            }
            let pinned = if self.is_here(&spec) {
                self.registry.pin_here(&spec.image).await
            } else {
                self.registry.pin(&spec.image).await
            };
            let image = pinned.map_err(|fault| {
                let (service, image) = (spec.name.clone(), spec.image.to_string());
                ReleaseError::Image { service, image, fault: Box::new(fault) }
            })?;
            self.with_fingerprints(ServiceRelease {
                spec,
                image,
                env,
                fingerprints: BTreeMap::new(),
            })
        });
        let (mut made, mut errors) = (BTreeMap::new(), Vec::new());
        for one in join_all(each).await {
            match one {
                Ok(service) => {
                    made.insert(service.spec.name.clone(), service);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(made) } else { Err(errors) }
    }

    /// Whether a service runs on this machine and nowhere else.
    fn is_here(&self, spec: &ServiceSpec) -> bool {
        let here = |name: &ProviderName| {
            self.config.provider(name).is_some_and(|p| p.kind().word == "embedded")
        };
        spec.runs_on.iter().all(here)
    }

    fn with_fingerprints(
        &self,
        mut service: ServiceRelease,
    ) -> Result<ServiceRelease, ReleaseError> {
        let each = service.spec.runs_on.iter().map(|provider| {
            let fingerprint = self.renderer.fingerprint(&service, provider)?;
            Ok((provider.clone(), fingerprint))
        });
        let fingerprints = each.collect::<Result<BTreeMap<ProviderName, _>, String>>();
        service.fingerprints = fingerprints.map_err(ReleaseError::Render)?;
        Ok(service)
    }

    /// The image that `text` means for `service`: a whole reference, or only `:TAG` or `@DIGEST` of its own image.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub(crate) fn image_for(&self, service: &ServiceName, text: &str) -> Result<ImageRef, String> {
        let Some(own) = self.config.services.get(service) else {
            return Err(ReleaseError::NoService(service.clone()).to_string());
        };
        let whole = if text.starts_with([':', '@']) {
            format!("{}/{}{text}", own.image.registry, own.image.repository)
        } else {
            text.to_owned()
        };
        whole.parse().map_err(|error: linkflow_model::image::ImageError| error.to_string())
    }
}
