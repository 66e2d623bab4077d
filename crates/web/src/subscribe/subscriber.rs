//! Those who are told: documents of the store, one for each who confirmed, and one for each who has still to.

use linkflow_model::Timestamp;
use linkflow_model::config::{Language, Mailbox, Phone, Url};
use linkflow_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::token::CONFIRM_MS;
use crate::door::documents::{Held, list, read};

/// Before the keys of those who are told.
const CONFIRMED: &str = "subscriber/";

/// Before the keys of those who have still to say that they want to be.
const ASKED: &str = "subscriber-asked/";

/// How often a code may be tried: of a million, a guess hits one.
const TRIES: u32 = 5;

/// How they are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by", content = "to")]
pub enum Way {
    /// By mail, at this address.
    Mail(String),
    /// By a request to this web address.
    Webhook(String),
    /// By a text message to this number, in international form.
    Sms(String),
}

impl Way {
    /// What somebody typed: a mail address, a web address, or a phone number.
    pub(super) fn typed(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > 254 && !text.contains("://") || text.len() > 2_000 {
            return None;
        }
        if text.contains("://") {
            return Url::typed(text).map(|Url(url)| Self::Webhook(url));
        }
        if text.starts_with('+') && !text.contains('@') {
            return Phone::typed(text).map(|Phone(number)| Self::Sms(number));
        }
        let Mailbox { name: None, address } = Mailbox::typed(text)? else { return None };
        Some(Self::Mail(address))
    }

    /// Where it leads, as it was typed.
    pub fn address(&self) -> &str {
        let (Self::Mail(to) | Self::Webhook(to) | Self::Sms(to)) = self;
        to
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Mail(_) => "mail",
            Self::Webhook(_) => "webhook",
            Self::Sms(_) => "sms",
        }
    }

    /// What an id is made of: nobody has two mailboxes that differ in capitals only.
    pub(super) fn source(&self) -> String {
        match self {
            Self::Mail(to) => format!("mail:{}", to.to_lowercase()),
            Self::Webhook(to) => format!("webhook:{to}"),
            Self::Sms(to) => format!("sms:{to}"),
        }
    }
}

/// One who is told, or who asked for it. A document of the store, `subscriber/ID` or `subscriber-asked/ID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// Its id, 32 hex digits, which follows from how they are reached and the key of the state folder.
    pub id: String,
    /// How they are reached.
    pub way: Way,
    /// The components they are told of, by their ids in addresses; all when there is none.
    pub components: Vec<String>,
    /// The language they read.
    pub language: String,
    /// When they confirmed; of one who has still to, when they asked.
    pub at: Timestamp,
    /// Of a phone that has still to confirm: its codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Codes>,
}

/// How many codes a phone was sent, and how often the last one was guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codes {
    /// When the first of them was asked for; a day later it begins anew.
    pub since: Timestamp,
    /// How many were sent since.
    pub sent: u32,
    /// How often the last one was tried.
    pub tries: u32,
}

impl Subscriber {
    /// The language they read; that of the page where it has none of this name.
    pub(super) fn language(&self) -> Language {
        language(&self.language).unwrap_or(crate::status::FALLBACK)
    }

    /// What may become of it: the value for the store.
    fn body(&self) -> serde_json::Value {
        json!(self)
    }
}

/// The language that is called `word`.
pub(super) fn language(word: &str) -> Option<Language> {
    let all = [Language::English, Language::German, Language::French, Language::Spanish];
    all.into_iter().find(|one| one.word() == word)
}

/// Everybody who is told, in the order of their ids.
///
/// # Errors
/// What the store says.
pub async fn subscribers(store: &dyn Store) -> Result<Vec<Subscriber>, StoreError> {
    let all = list::<Subscriber>(store, CONFIRMED).await?;
    Ok(all.into_iter().map(|held| held.value).collect())
}

/// Forgets whoever is reached at `address`, who confirmed or only asked. Says whether there was one.
///
/// # Errors
/// What the store says.
pub async fn forget(store: &dyn Store, address: &str) -> Result<bool, StoreError> {
    let mut was_there = false;
    for prefix in [CONFIRMED, ASKED] {
        for held in list::<Subscriber>(store, prefix).await? {
            let typed = Way::typed(address).map(|way| way.source());
            if held.value.id == address || Some(held.value.way.source()) == typed {
                was_there |= gone(store, &held).await?;
            }
        }
    }
    Ok(was_there)
}

/// The one with this id who is told.
pub(super) async fn find(store: &dyn Store, id: &str) -> Result<Option<Subscriber>, StoreError> {
    let held = read::<Subscriber>(store, &format!("{CONFIRMED}{id}")).await?;
    Ok(held.map(|held| held.value))
}

/// The one with this id who asked and has still to confirm.
pub(super) async fn asked(store: &dyn Store, id: &str) -> Result<Option<Subscriber>, StoreError> {
    let held = read::<Subscriber>(store, &format!("{ASKED}{id}")).await?;
    Ok(held.map(|held| held.value))
}

/// Notes that somebody asks. What they chose before they confirmed is replaced; what they confirmed stays until they do again.
pub(super) async fn ask(store: &dyn Store, wanted: &Subscriber) -> Result<(), StoreError> {
    put(store, &format!("{ASKED}{}", wanted.id), wanted).await
}

/// Makes one who is told of one who asked. `None`: nobody with this id did, or too long ago. Doing it twice is fine.
pub(super) async fn confirm(
    store: &dyn Store,
    id: &str,
    now: Timestamp,
) -> Result<Option<Subscriber>, StoreError> {
    let key = format!("{ASKED}{id}");
    let Some(held) = read::<Subscriber>(store, &key).await? else {
        return find(store, id).await;
    };
    if now.0.saturating_sub(held.value.at.0) > CONFIRM_MS {
        return find(store, id).await;
    }
    let confirmed = Subscriber { at: now, codes: None, ..held.value.clone() };
    put(store, &format!("{CONFIRMED}{id}"), &confirmed).await?;
    gone(store, &held).await?;
    Ok(Some(confirmed))
}

/// Counts one try of the last code that the phone with this id was sent. Gives when that was asked for, when it may still be
/// tried.
pub(super) async fn try_code(store: &dyn Store, id: &str) -> Result<Option<Timestamp>, StoreError> {
    let key = format!("{ASKED}{id}");
    loop {
        let Some(held) = read::<Subscriber>(store, &key).await? else { return Ok(None) };
        let Some(codes) = held.value.codes.filter(|codes| codes.tries < TRIES) else {
            return Ok(None);
        };
        let at = held.value.at;
        let codes = Some(Codes { tries: codes.tries + 1, ..codes });
        let tried = Subscriber { codes, ..held.value };
        match store.write(&key, Some(held.version), &tried.body(), None).await {
            Ok(_) => return Ok(Some(at)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes what somebody chose anew.
pub(super) async fn choose(store: &dyn Store, wanted: &Subscriber) -> Result<(), StoreError> {
    put(store, &format!("{CONFIRMED}{}", wanted.id), wanted).await
}

/// Forgets the one with this id.
pub(super) async fn remove(store: &dyn Store, id: &str) -> Result<(), StoreError> {
    for prefix in [CONFIRMED, ASKED] {
        if let Some(held) = read::<Subscriber>(store, &format!("{prefix}{id}")).await? {
            gone(store, &held).await?;
        }
    }
    Ok(())
}

/// Forgets those who asked and never confirmed.
pub(super) async fn tidy(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    for held in list::<Subscriber>(store, ASKED).await? {
        if now.0.saturating_sub(held.value.at.0) > CONFIRM_MS {
            gone(store, &held).await?;
        }
    }
    Ok(())
}

/// The last one who writes is right: it is their own choice, made twice.
async fn put(store: &dyn Store, key: &str, wanted: &Subscriber) -> Result<(), StoreError> {
    loop {
        let version = store.read(key).await?.map(|document| document.version);
        match store.write(key, version, &wanted.body(), None).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes a document; `false` when somebody else wrote or removed it meanwhile.
async fn gone(store: &dyn Store, held: &Held<Subscriber>) -> Result<bool, StoreError> {
    match store.remove(&held.key, held.version).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_mailbox_or_a_web_address() {
        let mail = |to: &str| Some(Way::Mail(to.to_owned()));
        let hook = |to: &str| Some(Way::Webhook(to.to_owned()));
        let rows = [
            (" ann@example.com ", mail("ann@example.com")),
            ("https://example.com/hook?a=1", hook("https://example.com/hook?a=1")),
            ("+49 (170) 123-45.67", Some(Way::Sms("+491701234567".to_owned()))),
            ("+49170", None),
            ("+1@example.com", mail("+1@example.com")),
            ("Ann <ann@example.com>", None),
            ("ann@example.com\r\nBcc: all@example.com", None),
            ("https://ann:pw@example.com", None),
            ("file:///etc/passwd", None),
            ("", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(Way::typed(text), wanted, "{text:?}");
        }
        let source = |text: &str| Way::typed(text).unwrap().source();
        assert_eq!(source("Ann@Example.com"), source("ann@example.com"));
        assert_ne!(source("https://a.example/A"), source("https://a.example/a"));
    }
}
