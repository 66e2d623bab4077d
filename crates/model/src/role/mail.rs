//! Sending mail.

use async_trait::async_trait;

use crate::Fault;
use crate::config::Mailbox;

/// One message to one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Who writes.
    pub from: Mailbox,
    /// Whom it goes to.
    pub to: Mailbox,
    /// Where answers go, when not to `from`.
    pub reply_to: Option<Mailbox>,
    /// One line.
    pub subject: String,
    /// The text, for whoever reads no HTML.
    pub text: String,
    /// The same as HTML.
    pub html: Option<String>,
    /// Further headers, each word of a name with a capital letter (`Message-Id`, `List-Unsubscribe`), values in ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// The same for each try of the same letter, and another for another letter; 256 characters at most.
    pub key: String,
}

/// Sends mail.
#[async_trait]
pub trait Mail: Send + Sync {
    /// Sends `letter`, and gives the vendor's id of it.
    ///
    /// # Errors
    /// A [`Fault`]: [`Exhausted`](crate::FaultKind::Exhausted) when a quota is used up, [`Invalid`](crate::FaultKind::Invalid)
    /// when this letter is refused, [`Unclear`](crate::FaultKind::Unclear) when it may have gone out.
    async fn send(&self, letter: &Letter) -> Result<String, Fault>;
}
