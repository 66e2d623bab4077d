//! Mail: a plain text to one person. What is of one incident is one thread in mail programs (RFC 5322, section 3.6.4).

use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::config::Mailbox;
use linkflow_model::role::{Delivery, Letter, Mail as _, Notice, Notify, Tone};
use linkflow_model::{Fault, ProviderName};
use sha2::{Digest, Sha256};

use super::text::{cut, masked, one_line, plain, web};
use crate::kit::Kit;
use crate::mail::{Several, Via};

/// Longest subject, in characters.
const SUBJECT: usize = 200;

/// What mail needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who sends it.
    pub via: Via,
    /// Who writes.
    pub from: Mailbox,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// Whom it goes to.
    pub to: Mailbox,
}

/// One person's mail.
pub struct Mail {
    senders: Several,
    kit: Kit,
    provider: ProviderName,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    to: Mailbox,
}

pub(super) fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Mail {
    let Settings { via, from, reply_to, to } = settings;
    let (kit, provider) = (kit.clone(), provider.clone());
    Mail { senders: Several::open(via, &kit), kit, provider, from, reply_to, to }
}

impl Mail {
    /// An id of a message, which is of the sender's domain and says nothing else.
    fn id(&self, of: &str) -> String {
        let digest = Sha256::digest(format!("{of}\n{}\n{}", self.provider, self.to.address));
        let number: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let domain = self.from.address.rsplit_once('@').map_or("localhost", |(_, host)| host);
        format!("<{number}@{domain}>")
    }

    /// `notice` as a letter. `first`: nothing was told of the same before.
    fn letter(&self, notice: &Notice, id: &str, first: bool) -> Letter {
        let notice = masked(notice, |text| self.kit.mask(text));
        let mut headers = vec![("Auto-Submitted", "auto-generated".to_owned())];
        if notice.tone == Tone::Bad {
            headers.push(("Importance", "high".to_owned()));
        }
        match &notice.key {
            Some(key) if first => headers.push(("Message-Id", self.id(key))),
            Some(key) => {
                headers.push(("Message-Id", self.id(id)));
                headers.push(("In-Reply-To", self.id(key)));
                headers.push(("References", self.id(key)));
            }
            None => {}
        }
        Letter {
            from: self.from.clone(),
            to: self.to.clone(),
            reply_to: self.reply_to.clone(),
            subject: cut(&one_line(&notice.title), SUBJECT, plain),
            text: text(&notice),
            html: None,
            headers,
            key: id.to_owned(),
        }
    }
}

/// The notice as text.
fn text(notice: &Notice) -> String {
    let mut parts = vec![notice.title.trim().to_owned()];
    if !notice.text.trim().is_empty() {
        parts.push(notice.text.trim().to_owned());
    }
    let width = notice.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
    let facts = notice.facts.iter();
    let facts: Vec<String> =
        facts.map(|(name, value)| format!("{:width$} {value}", format!("{name}:"))).collect();
    parts.extend((!facts.is_empty()).then(|| facts.join("\n")));
    parts.extend((!notice.lines.is_empty()).then(|| notice.lines.join("\n")));
    parts.extend(web(notice).map(|(name, address)| format!("{}: {address}", one_line(name))));
    parts.join("\n\n") + "\n"
}

#[async_trait]
impl Notify for Mail {
    async fn tell(&self, notice: &Notice) -> Result<(), Fault> {
        let id = format!("{}.{}", self.provider, self.kit.clock().wall().0);
        self.senders.send(&self.letter(notice, &id, true)).await.map(drop)
    }

    async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Option<String>, Fault> {
        // What is marked is another letter: whoever keeps keys would refuse it under the same one.
        let again = if delivery.again { ".again" } else { "" };
        let id = format!("{}.{}{again}", self.provider, delivery.id);
        let letter = self.letter(&delivery.marked(), &id, delivery.held.is_none());
        self.senders.send(&letter).await?;
        Ok(delivery.notice.key.as_ref().map(|key| self.id(key)))
    }

    fn patience(&self) -> Duration {
        // One that is away, and the next one.
        Duration::from_secs(30)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::example;
    use super::*;

    #[test]
    fn a_notice_is_a_text_that_is_read_at_a_glance() {
        assert_eq!(
            text(&example()),
            "shop: <api> is *down*\n\n503 & no answer\n\nsince: 12:00 UTC\n\none\ntwo\n\nStatus: https://status.example.com/?a=1&b=2\n"
        );
    }
}
