//! The role of whoever looks for us from another place.

use std::time::Duration;

use async_trait::async_trait;

use crate::Looked;

/// Looks at what is watched, from its own place.
#[async_trait]
pub trait Vantage: Send + Sync {
    /// Looks once at `subject`, as the config that both have calls it: `monitor.api`. `limit` is how long the target may
    /// take. Whoever cannot look, or does not answer, is [`Looked::Blind`]: it has no word on the target.
    async fn look(&self, subject: &str, limit: Duration) -> Looked;
}
