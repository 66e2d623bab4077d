//! Where images come from.

use async_trait::async_trait;

use crate::{Digest, Fault, ImageRef};

/// Resolves images.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The digest that `image` names now. A reference that already has a digest is looked up too, so that a
    /// missing image is a [`crate::FaultKind::Missing`] before anything is touched.
    async fn resolve(&self, image: &ImageRef) -> Result<Digest, Fault>;
}
