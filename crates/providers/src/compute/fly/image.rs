//! Private images: Fly pulls them from its own registry only (docs: blueprints/using-the-fly-docker-registry).

use std::borrow::Cow;
use std::collections::BTreeMap;

use linkflow_model::{Definition, Fault, FaultKind, ImageRef, PinnedImage, Secret};

use super::Fly;
use crate::compute::copies::Copies;
use crate::registry::{Credentials, Oci, Settings};

/// Fly's own registry. Each app has a repository there, which goes with it.
pub(super) const HOST: &str = "registry.fly.io";

/// The user of Fly's registry; the password is the token.
const USER: &str = "x";

/// What copying needs.
pub(super) struct OwnRegistry {
    pub(super) token: Secret,
    /// In place of `https://registry.fly.io`.
    pub(super) address: Option<String>,
    /// In place of every other registry.
    pub(super) images: Option<String>,
    pub(super) copies: Copies,
}

impl Fly {
    /// `wanted` with an image that machines of `app` can pull: its own, or where that takes a login, a copy of it in
    /// Fly's registry, the same by digest. What is there already is not copied again; blobs that the app `near` has are
    /// taken from there.
    pub(super) async fn pullable<'a>(
        &self,
        app: &str,
        wanted: &'a Definition,
        near: Option<&str>,
    ) -> Result<Cow<'a, Definition>, Fault> {
        let Some(login) = &wanted.login else { return Ok(Cow::Borrowed(wanted)) };
        let own = &self.own_registry;
        let user = |user: &str, password: &Secret| Credentials {
            user: user.to_owned(),
            password: password.clone(),
        };
        let settings = Settings {
            base: own.images.clone(),
            bases: own.address.iter().map(|at| (HOST.to_owned(), at.clone())).collect(),
            credentials: BTreeMap::from([
                (login.registry.clone(), user(&login.user, &login.password)),
                (HOST.to_owned(), user(USER, &bare(&own.token))),
            ]),
        };
        let oci = Oci::open(settings, &self.kit, &self.provider);
        let image = PinnedImage {
            registry: HOST.to_owned(),
            repository: app.to_owned(),
            digest: wanted.image.digest.clone(),
        };
        let attempt = format!("copy {} to {image}", wanted.image);
        let from = wanted.image.clone();
        let to = ImageRef {
            registry: HOST.to_owned(),
            repository: app.to_owned(),
            tag: None,
            digest: Some(image.digest.clone()),
        };
        let near = near.map(str::to_owned);
        let work = async move { oci.copy_near(&from, &to, near.as_deref()).await };
        match own.copies.have(&image.to_string(), work).await {
            Some(copied) => copied?,
            None => return Err(self.api.fault(FaultKind::Unclear, attempt, "it was given up")),
        }
        Ok(Cow::Owned(Definition { image, ..wanted.clone() }))
    }
}

/// The token as the registry takes it: without the scheme that `fly tokens create` writes before it.
fn bare(token: &Secret) -> Secret {
    let text = token.expose().trim();
    Secret::new(text.strip_prefix("FlyV1 ").or(text.strip_prefix("Bearer ")).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_takes_a_token_without_its_scheme() {
        for written in ["FlyV1 fm2_a,fm2_b", "Bearer fm2_a,fm2_b", "fm2_a,fm2_b"] {
            assert_eq!(bare(&Secret::new(written)).expose(), "fm2_a,fm2_b");
        }
    }
}
