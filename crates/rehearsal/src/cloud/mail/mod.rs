//! Vendors that send mail: they keep what they are given, as strictly as their descriptions say, and send nothing.

mod brevo;
mod resend;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::beside::{Beside, Ground};
use super::endpoints::MailEndpoint;
use super::log::moment;

/// Letters that are kept.
const KEPT: usize = 1_000;

/// A vendor that sends mail.
pub(crate) trait Sends: Beside {
    /// How it is reached at `api`.
    fn endpoint(&self, api: String) -> MailEndpoint;

    /// What it was given.
    fn letters(&self) -> &Letters;
}

/// Every such vendor, by its name.
pub(crate) fn all(ground: impl Fn(&str) -> Ground) -> Vec<(&'static str, Arc<dyn Sends>)> {
    vec![
        ("resend", Arc::new(resend::Resend::new(ground("resend")))),
        ("brevo", Arc::new(brevo::Brevo::new(ground("brevo")))),
    ]
}

/// Letters as they were given, oldest first.
#[derive(Default)]
pub(crate) struct Letters(Mutex<Vec<Value>>);

impl Letters {
    fn add(&self, ground: &Ground, id: &str, letter: &Value) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() == KEPT {
            held.remove(0);
        }
        held.push(json!({ "at": moment(ground.clock.wall()), "id": id, "letter": letter }));
    }

    pub(crate) fn all(&self) -> Value {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

/// Whether `text` is an address, with a name in front or without.
fn is_address(text: &str) -> bool {
    let address = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text,
    };
    let mut parts = address.split('@');
    let user = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    !user.is_empty() && host.contains('.') && parts.next().is_none() && is_plain(address)
}
