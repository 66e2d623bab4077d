//! Where images come from.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Digest, Fault, ImageRef};

/// What a registry tells of an image before anything is deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// The image for `linux/amd64`, as [`Registry::resolve`] gives it.
    pub digest: Digest,
    /// The index that it was found in; `None` when the reference names the image itself.
    pub index: Option<Digest>,
    /// What it was built for, `linux/amd64`: of an index every image, of an image its own configuration.
    pub platforms: Vec<String>,
    /// Whether nobody may pull it without a login. Known only where there is a login that may.
    pub private: bool,
    /// What has to be pulled: the layers as they are stored, in bytes.
    pub bytes: u64,
}

/// Resolves images.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The digest that `image` names now. A reference that already has a digest is looked up too, so that a
    /// missing image is a [`crate::FaultKind::Missing`] before anything is touched.
    async fn resolve(&self, image: &ImageRef) -> Result<Digest, Fault>;

    /// What `image` is. One that is not for `linux/amd64` is a [`crate::FaultKind::Invalid`] that says what it is for.
    async fn inspect(&self, image: &ImageRef) -> Result<ImageFacts, Fault>;
}
