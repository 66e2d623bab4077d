//! What is known of subscribing without looking anything up: who may be told, where the links lead, and who writes.

use linkflow_model::config::{Config, Mailbox};

use super::limit::Limits;
use super::subscriber::{Subscriber, Way};
use super::token::{Purpose, Signer};
use crate::status::gather::{Named, named};

/// Where people subscribe to the status page.
#[derive(Debug)]
pub struct Desk {
    /// The address that all links lead below, without a slash at its end.
    pub(super) at: String,
    pub(super) signer: Signer,
    pub(super) limits: Limits,
    /// The title of the page, and where it is, when it has a host.
    pub(super) title: String,
    pub(super) page: Option<String>,
    pub(super) mails_per_day: u32,
    /// How many text messages a day; 0: no phone is told.
    pub(super) sms_per_day: u32,
    /// How numbers begin that may be told; any when empty.
    pub(super) sms_to: Vec<String>,
    pub(super) webhooks: bool,
    /// Whether a webhook may be without TLS.
    pub(super) plain: bool,
    /// The senders of letters; nobody is told by mail without.
    pub(super) mail: Option<linkflow_model::config::Mail>,
}

impl Desk {
    /// That of `config`, when it lets people subscribe. Its links follow from `key`, which nobody else has.
    pub fn of(config: &Config, key: &[u8; 32]) -> Option<Self> {
        let page = config.status_page.as_ref()?;
        let subscribe = page.subscribe.as_ref()?;
        Some(Self {
            at: subscribe.at.0.trim_end_matches('/').to_owned(),
            signer: Signer::new(key),
            limits: Limits::default(),
            title: page.title.clone().unwrap_or_else(|| config.stack.name.to_string()),
            page: page.host.as_ref().map(|host| format!("https://{}", host.0)),
            mails_per_day: subscribe.mails_per_day,
            sms_per_day: subscribe.sms_per_day,
            sms_to: subscribe.sms_to.clone(),
            webhooks: subscribe.webhooks,
            plain: subscribe.private_webhooks,
            mail: config.mail.clone(),
        })
    }

    /// What somebody typed, when it may be told.
    pub(super) fn way(&self, typed: &str) -> Option<Way> {
        let way = Way::typed(typed)?;
        let may = match &way {
            Way::Mail(to) => {
                let to = Mailbox { name: None, address: to.clone() };
                self.mail.as_ref().is_some_and(|mail| mail.may_go_to(&to))
            }
            Way::Sms(to) => {
                let fits = |start: &String| to.starts_with(start.as_str());
                self.has_phone() && (self.sms_to.is_empty() || self.sms_to.iter().any(fits))
            }
            Way::Webhook(url) => self.webhooks && (self.plain || url.starts_with("https://")),
        };
        may.then_some(way)
    }

    /// Whether phones are told.
    pub(super) fn has_phone(&self) -> bool {
        self.sms_per_day > 0
    }

    /// The page on which `to` confirms.
    pub(super) fn confirm_link(&self, to: &Subscriber) -> String {
        let token = self.signer.token(Purpose::Confirm, &to.id, to.at);
        format!("{}/subscribe/confirm/{token}", self.at)
    }

    /// The page on which `to` changes what they are told.
    pub(super) fn own_link(&self, to: &Subscriber) -> String {
        format!("{}/subscribe/manage/{}", self.at, self.own(to))
    }

    /// The address that ends it.
    pub(super) fn end_link(&self, to: &Subscriber) -> String {
        format!("{}/unsubscribe/{}", self.at, self.own(to))
    }

    pub(super) fn own(&self, to: &Subscriber) -> String {
        self.signer.token(Purpose::Own, &to.id, to.at)
    }
}

/// The names of the components that `to` is told of; none: of all.
pub(super) fn chosen<'a>(config: &'a [Named], to: &Subscriber) -> Vec<&'a str> {
    let all = config.iter().filter(|one| to.components.contains(&one.id));
    all.map(|one| one.name.as_str()).collect()
}

/// The lines of the page of `config`.
pub(super) fn lines(config: &Config) -> Vec<Named> {
    named(config)
}
