//! Text messages to phones of people who asked for them.

use async_trait::async_trait;

use crate::Fault;

/// Sends text messages.
#[async_trait]
pub trait Sms: Send + Sync {
    /// Sends `text` to the number `to`, which is in international form: `+491701234567`. No retries in here.
    ///
    /// # Errors
    /// A [`Fault`]: [`Exhausted`](crate::FaultKind::Exhausted) when a quota is used up, [`Invalid`](crate::FaultKind::Invalid)
    /// when this number cannot be reached or wants nothing from here, [`Unclear`](crate::FaultKind::Unclear) when it may have
    /// gone out.
    async fn send(&self, to: &str, text: &str) -> Result<(), Fault>;
}
