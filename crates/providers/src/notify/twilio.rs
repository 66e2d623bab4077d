//! Twilio: one text message. <https://www.twilio.com/docs/messaging/api/message-resource>

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use linkflow_model::role::{Notice, Notify, Sms};
use linkflow_model::{Fault, FaultKind, ProviderName, Secret};

use super::post::{Place, TELL};
use super::text::{cut, one_line, plain, web, word};
use crate::kit::{Auth, Call, Kit, Vendor, encode};

/// The API.
const API: &str = "https://api.twilio.com";

/// Two segments of a message with letters beyond GSM 03.38: what costs twice is enough to know where to look.
const MOST: usize = 134;

/// What Twilio needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who sends.
    pub sender: Sender,
    /// Whom they go to.
    pub to: String,
}

/// Who sends text messages.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The account's SID, `AC…`.
    pub account: String,
    /// The account's token.
    pub token: Secret,
    /// The number that messages come from, or the SID of a messaging service, `MG…`.
    pub from: String,
    /// In place of `https://api.twilio.com`.
    pub api: Option<String>,
}

/// One phone.
pub struct Twilio {
    texts: Texts,
    kit: Kit,
    to: String,
}

/// Any phone.
pub struct Texts {
    vendor: Vendor,
    sender: Sender,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Twilio {
    Twilio { texts: texts(settings.sender, kit, provider), kit: kit.clone(), to: settings.to }
}

/// Sends text messages from `sender`, which the config calls `provider`.
pub fn texts(sender: Sender, kit: &Kit, provider: &ProviderName) -> Texts {
    kit.learn(&sender.token);
    let basic = format!("{}:{}", sender.account, sender.token.expose());
    let value = Secret::new(BASE64_STANDARD.encode(basic));
    let vendor = Place {
        spec: "twilio",
        production: API,
        base: sender.api.clone().unwrap_or_else(|| API.to_owned()),
        auth: Some(Auth { header: "authorization", scheme: "Basic ", value }),
        every: Duration::from_secs(1),
        burst: 10,
        judge,
    };
    Texts { vendor: vendor.open(kit, provider), sender }
}

/// A number that cannot be reached stays so, and one that answered STOP wants nothing more (21610); a trial or a day that is used
/// up is not down.
fn judge(status: StatusCode, said: &str) -> Option<FaultKind> {
    let said = said.to_lowercase();
    match status {
        StatusCode::BAD_REQUEST if said.contains("exceeded") => Some(FaultKind::Exhausted),
        StatusCode::BAD_REQUEST if said.contains("unsubscribed recipient") => {
            Some(FaultKind::Missing)
        }
        StatusCode::BAD_REQUEST => Some(FaultKind::Invalid),
        _ => None,
    }
}

/// The message: what matters most first, as long as it may be.
fn message(notice: &Notice) -> String {
    let link = web(notice).map(|(_, address)| format!(" {address}"));
    let link = link.filter(|link| link.chars().count() < MOST / 2).unwrap_or_default();
    let text = format!("{}: {}. {}", word(notice.tone), notice.title, notice.text);
    let text = one_line(&text);
    cut(text.trim_end_matches([' ', '.']), MOST - link.chars().count(), plain) + &link
}

#[async_trait]
impl Sms for Texts {
    async fn send(&self, to: &str, text: &str) -> Result<(), Fault> {
        let Sender { account, from, .. } = &self.sender;
        let sender = if from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
        let path = format!("/2010-04-01/Accounts/{}/Messages.json", encode(account));
        let call = Call::write(Method::POST, TELL, "", path)
            .form(&[("To", to), (sender, from), ("Body", text)])
            .within(Duration::from_secs(10));
        self.vendor.send(call).await.map(drop)
    }
}

#[async_trait]
impl Notify for Twilio {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        self.texts.send(&self.to, &self.kit.mask(&message(notice))).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::example;
    use super::*;

    #[test]
    fn a_message_is_two_segments_at_most_and_ends_with_where_there_is_more() {
        let text = message(&example());
        assert_eq!(
            text,
            "ALARM: shop: <api> is *down*. 503 & no answer https://status.example.com/?a=1&b=2"
        );
        let long = message(&Notice { text: "é".repeat(500), ..example() });
        assert_eq!(long.chars().count(), MOST);
        assert!(long.ends_with("… https://status.example.com/?a=1&b=2"), "{long}");
    }

    #[test]
    fn what_is_used_up_is_told_from_what_is_wrong() {
        let said = "Account exceeded the 9 daily messages limit";
        assert_eq!(judge(StatusCode::BAD_REQUEST, said), Some(FaultKind::Exhausted));
        let said = "Attempt to send to unsubscribed recipient";
        assert_eq!(judge(StatusCode::BAD_REQUEST, said), Some(FaultKind::Missing));
        let said = "Invalid 'To' Phone Number";
        assert_eq!(judge(StatusCode::BAD_REQUEST, said), Some(FaultKind::Invalid));
    }
}
