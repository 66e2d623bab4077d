//! Any registry that speaks the OCI distribution protocol.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use http::Method;
use linkflow_model::role::{ImageFacts, Registry};
use linkflow_model::{Digest, Fault, FaultKind, ImageRef, ProviderName, Secret};
use serde_json::Value;

use super::access::{Access, Place, Proofs, hide_tokens};
use super::manifest::{Blob, Manifest, PLATFORM, hash, is_index, is_ours, platform};
use crate::kit::{Account, Kit, Limiter, Vendor};

/// Largest configuration of an image that is read, in bytes.
const LARGEST_CONFIG: usize = 8 << 20;

/// What registries need.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// One address that answers in place of every registry.
    pub base: Option<String>,
    /// An address that answers in place of one registry, by its host. Goes before `base`.
    pub bases: BTreeMap<String, String>,
    /// Who pulls, by registry host. Public images need nobody.
    pub credentials: BTreeMap<String, Credentials>,
}

/// Who pulls from one registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password, or a token in its place.
    pub password: Secret,
}

impl Settings {
    /// What answers in place of the registry `host`.
    fn in_place_of(&self, host: &str) -> Option<&String> {
        self.bases.get(host).or(self.base.as_ref())
    }

    pub(super) fn stands_in(&self, host: &str) -> bool {
        self.in_place_of(host).is_some()
    }
}

/// Resolves images at whatever registry they name, and copies them from one to another.
///
/// An index is resolved to its `linux/amd64` image, because that is what providers pull and what they then report:
/// only so can what runs be compared with what was asked for.
pub struct Oci {
    pub(super) kit: Kit,
    provider: ProviderName,
    pub(super) settings: Settings,
    pub(super) proofs: Mutex<Proofs>,
}

impl Oci {
    /// A client for every registry. `provider` is the name that faults carry.
    pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Self {
        for credentials in settings.credentials.values() {
            kit.learn(&credentials.password);
        }
        Self { kit: kit.clone(), provider: provider.clone(), settings, proofs: Mutex::default() }
    }

    pub(super) fn vendor(&self, production: String, base: String) -> Vendor {
        self.kit.vendor(Account {
            provider: self.provider.clone(),
            spec: "oci",
            production,
            base,
            auth: None,
            limits: Box::new(Limiter::free),
            judge: |_, _| None,
            hide: hide_tokens,
        })
    }

    /// `repository` at the registry `host`, where something is done about `about`.
    pub(super) fn place(&self, host: &str, repository: &str, about: String) -> Place {
        let server = if host == "docker.io" { "registry-1.docker.io" } else { host };
        // As every container tool has it: a registry on this machine needs no TLS.
        let scheme = if is_loopback(server) { "http" } else { "https" };
        let production = format!("{scheme}://{server}");
        let base = self.settings.in_place_of(host).unwrap_or(&production);
        let base = base.trim_end_matches('/').to_owned();
        let registry = self.vendor(production, base);
        Place { host: host.to_owned(), repository: known_as(host, repository), about, registry }
    }

    /// A manifest, with its digest proven.
    pub(super) async fn manifest(&self, place: &Place, reference: &str) -> Result<Manifest, Fault> {
        let answer = self.look_up(place, &Method::GET, reference, Access::Pull).await?;
        let fault =
            |kind, said: &str| place.registry.fault(kind, format!("look up {}", place.about), said);
        let named = answer.header("docker-content-digest").map(str::to_owned);
        let kind = answer.header("content-type").map(str::to_owned);
        let manifest = Manifest::read(kind.as_deref(), answer.body)
            .ok_or_else(|| fault(FaultKind::Unclear, "the manifest cannot be read"))?;
        let own = &manifest.digest;
        if named.is_some_and(|named| named.starts_with("sha256:") && named != own.as_str()) {
            return Err(fault(FaultKind::Invalid, "the manifest is not what its digest says"));
        }
        match reference.parse::<Digest>() {
            Ok(asked) if asked != *own => {
                let said = format!("the registry gave {own} instead");
                Err(fault(FaultKind::Invalid, &said))
            }
            _ => Ok(manifest),
        }
    }

    /// The platform that an image's configuration names.
    async fn platform(&self, place: &Place, image: &Manifest) -> Result<String, Fault> {
        let fault = |said: &str| {
            let attempt = format!("look up {}", place.about);
            Err(place.registry.fault(FaultKind::Invalid, attempt, said))
        };
        let Some(config) = image.config() else {
            return fault("it is no container image: its manifest has no configuration");
        };
        let config: Value = self.read_config(place, &config).await?;
        match platform(&config) {
            Some(platform) => Ok(platform),
            None => fault("it is no container image: its configuration names no platform"),
        }
    }

    async fn read_config(&self, place: &Place, config: &Blob) -> Result<Value, Fault> {
        let body = self.open_blob(place, config).await?.read(LARGEST_CONFIG).await;
        let body = body.filter(|body| hash(body).as_ref() == Some(&config.digest));
        body.and_then(|body| serde_json::from_slice(&body).ok()).ok_or_else(|| {
            let attempt = format!("look up {}", place.about);
            let said = "its configuration cannot be read, or is not what its digest says";
            place.registry.fault(FaultKind::Unclear, attempt, said)
        })
    }

    /// Whether somebody without a login is refused where ours is let in.
    async fn is_private(&self, place: &Place, digest: &Digest) -> Result<bool, Fault> {
        if self.credentials(place, Access::Pull).is_none() {
            return Ok(false);
        }
        match self.look_up(place, &Method::HEAD, digest.as_str(), Access::Anyone).await {
            Ok(_) => Ok(false),
            Err(fault) if matches!(fault.kind, FaultKind::Denied | FaultKind::Missing) => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    fn place_of(&self, image: &ImageRef) -> Place {
        self.place(&image.registry, &image.repository, image.to_string())
    }
}

#[async_trait]
impl Registry for Oci {
    async fn resolve(&self, image: &ImageRef) -> Result<Digest, Fault> {
        let place = self.place_of(image);
        let reference = reference(image);
        let head = self.look_up(&place, &Method::HEAD, reference, Access::Pull).await?;
        let named = head.header("docker-content-digest").and_then(|text| text.parse().ok());
        match named.filter(|_| !is_index(head.header("content-type"))) {
            Some(digest) => checked(&place, image, digest),
            None => {
                let manifest = self.manifest(&place, reference).await?;
                if manifest.is_index() {
                    manifest.ours().ok_or_else(|| no_image(&place, &manifest.platforms()))
                } else {
                    Ok(manifest.digest)
                }
            }
        }
    }

    async fn inspect(&self, image: &ImageRef) -> Result<ImageFacts, Fault> {
        let place = self.place_of(image);
        let top = self.manifest(&place, reference(image)).await?;
        let (index, platforms, own) = if top.is_index() {
            let platforms = top.platforms();
            let Some(ours) = top.ours() else { return Err(no_image(&place, &platforms)) };
            (Some(top.digest), platforms, self.manifest(&place, ours.as_str()).await?)
        } else {
            let platforms = vec![self.platform(&place, &top).await?];
            if !platforms.iter().any(|platform| is_ours(platform)) {
                return Err(no_image(&place, &platforms));
            }
            (None, platforms, top)
        };
        Ok(ImageFacts {
            private: self.is_private(&place, &own.digest).await?,
            bytes: own.layers().iter().map(|layer| layer.bytes).sum(),
            digest: own.digest,
            index,
            platforms,
        })
    }
}

/// The digest of `image`, or else its tag.
fn reference(image: &ImageRef) -> &str {
    let tag = image.tag.as_deref().unwrap_or("latest");
    image.digest.as_ref().map_or(tag, Digest::as_str)
}

/// `digest`, unless another was asked for.
fn checked(place: &Place, image: &ImageRef, digest: Digest) -> Result<Digest, Fault> {
    match &image.digest {
        Some(asked) if *asked != digest => {
            let said = format!("the registry gave {digest} instead");
            let attempt = format!("look up {}", place.about);
            Err(place.registry.fault(FaultKind::Invalid, attempt, &said))
        }
        _ => Ok(digest),
    }
}

fn no_image(place: &Place, platforms: &[String]) -> Fault {
    let attempt = format!("look up {}", place.about);
    let said = match platforms.is_empty() {
        true => format!("it has no {PLATFORM} image, nor any other"),
        false => format!("it has no {PLATFORM} image, only {}", platforms.join(", ")),
    };
    place.registry.fault(FaultKind::Invalid, attempt, &said)
}

/// The repository as the registry knows it: Docker Hub's own images live under `library`.
fn known_as(host: &str, repository: &str) -> String {
    if host == "docker.io" && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost" || name.starts_with("127.")
}
