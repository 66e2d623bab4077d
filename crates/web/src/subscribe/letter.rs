//! What subscribers are told, as a letter and as the body of a call.

use linkflow_model::config::Mailbox;
use linkflow_model::role::Letter;
use linkflow_model::{IncidentStage, Timestamp};
use linkflow_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::desk::Desk;
use super::subscriber::{Subscriber, Way};
use crate::door::documents::read;
use crate::status::time::utc;
use crate::status::words::{Words, fill};

/// Before the keys of news.
pub(super) const NEWS: &str = "subscriber-news/";

/// Longest subject, in characters.
const SUBJECT: usize = 200;

/// How far what is told of has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// An update of an incident.
    Incident(IncidentStage),
    /// Work was announced, or what was announced changed.
    Announced,
    /// It has begun.
    Begun,
    /// It is over.
    Over,
    /// It will not be.
    Cancelled,
}

/// Something that is told. A document of the store, `subscriber-news/ID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct News {
    /// Its id: `incident.20261130-api.2`.
    pub(super) id: String,
    /// When it happened.
    pub(super) at: Timestamp,
    /// What it belongs to: letters of the same are one thread.
    pub(super) thread: String,
    pub(super) step: Step,
    pub(super) title: String,
    /// Markdown.
    pub(super) text: String,
    /// The names of the components that it is about, and their ids.
    pub(super) names: Vec<String>,
    pub(super) components: Vec<String>,
    /// From when until when, of work.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// The path of its page.
    pub(super) path: String,
    /// Whether everybody has a message of it.
    pub(super) spread: bool,
}

impl News {
    pub(super) async fn read(store: &dyn Store, id: &str) -> Result<Option<Self>, StoreError> {
        let held = read::<Self>(store, &format!("{NEWS}{id}")).await?;
        Ok(held.map(|held| held.value))
    }

    /// Whether `to` is told of it: what is about no component is about all.
    pub(super) fn is_for(&self, to: &Subscriber) -> bool {
        let about = |id| self.components.contains(id);
        let all = to.components.is_empty() || self.components.is_empty();
        to.at <= self.at && (all || to.components.iter().any(about))
    }

    pub(super) fn step(&self, w: &Words) -> &'static str {
        match self.step {
            Step::Incident(stage) => w.stage(stage),
            Step::Announced => w.telling.announced,
            Step::Begun => w.telling.begun,
            Step::Over => w.telling.over,
            Step::Cancelled => w.cancelled,
        }
    }
}

impl Desk {
    fn letter(&self, to: &Subscriber, subject: &str, text: String, key: &str) -> Option<Letter> {
        let (mail, Way::Mail(address)) = (self.mail.as_ref()?, &to.way) else { return None };
        let one_line: String = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Letter {
            from: mail.from.clone(),
            to: Mailbox { name: None, address: address.clone() },
            reply_to: mail.reply_to.clone(),
            subject: one_line.chars().take(SUBJECT).collect(),
            text,
            html: None,
            headers: vec![("Auto-Submitted", "auto-generated".to_owned())],
            key: key.to_owned(),
        })
    }

    /// Asks `to` whether they want to be told. It says nothing that a stranger typed.
    pub(super) fn question(&self, to: &Subscriber, key: &str) -> Option<Letter> {
        let t = Words::of(to.language()).telling;
        let text = format!(
            "{}\n\n{}\n\n{}\n",
            fill(t.letter_confirm_text, &[&self.title]),
            self.confirm_link(to),
            t.letter_confirm_not
        );
        self.letter(to, &fill(t.letter_confirm, &[&self.title]), text, key)
    }

    /// Tells `to` of `news`; `again`: it may have come before.
    pub(super) fn news(
        &self,
        to: &Subscriber,
        news: &News,
        (key, again): (&str, bool),
    ) -> Option<Letter> {
        let w = Words::of(to.language());
        let t = w.telling;
        let step = news.step(w);
        let mut parts = vec![format!("{}: {step}", news.title)];
        parts.extend(again.then(|| t.again.to_owned()));
        parts.extend((!news.text.trim().is_empty()).then(|| news.text.trim().to_owned()));
        if let Some((from, to)) = news.span {
            parts.push(format!("{} – {}", utc(from), utc(to)));
        }
        if !news.names.is_empty() {
            parts.push(format!("{}: {}", w.affected, news.names.join(", ")));
        }
        parts.extend(self.page.as_ref().map(|page| format!("{page}/{}", news.path)));
        parts.push(format!(
            "-- \n{}\n{}: {}\n{}: {}",
            fill(t.letter_foot, &[&self.title]),
            t.change,
            self.own_link(to),
            t.unsubscribe,
            self.end_link(to)
        ));
        let subject = format!("[{}] {}: {step}", self.title, news.title);
        // Under the same key those who keep keys would refuse what says another thing.
        let key = format!("{key}{}", if again { ".again" } else { "" });
        let mut letter = self.letter(to, &subject, parts.join("\n\n") + "\n", &key)?;
        let id = |of: &str| message_id(&letter.from, of, &to.id);
        let more = [
            ("Message-Id", id(&key)),
            ("References", id(&news.thread)),
            ("List-Unsubscribe", format!("<{}>", self.end_link(to))),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
        ];
        letter.headers.extend(more);
        Some(letter)
    }
}

/// An id of a message, which is of the sender's domain and says nothing else.
fn message_id(from: &Mailbox, of: &str, to: &str) -> String {
    let digest = Sha256::digest(format!("{of}\n{to}"));
    let number: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let domain = from.address.rsplit_once('@').map_or("localhost", |(_, host)| host);
    format!("<{number}@{domain}>")
}

/// Asks a web address whether it wants to be told. What later calls are signed with goes along: only the address sees it.
pub(super) fn challenge(desk: &Desk, to: &Subscriber, challenge: &str, secret: &str) -> Value {
    json!({
        "schema": "linkflow/subscription/v1", "event": "challenge", "page": desk.title,
        "challenge": challenge, "secret": secret, "manage": desk.own_link(to), "unsubscribe": desk.end_link(to),
    })
}

/// Whether a web address answered with the challenge: as it is, or as the field of an object.
pub(super) fn answers(said: &str, challenge: &str) -> bool {
    let field = || serde_json::from_str::<Value>(said).ok();
    said.trim() == challenge || field().is_some_and(|said| said["challenge"] == challenge)
}

/// Tells a web address of `news`.
pub(super) fn call(desk: &Desk, to: &Subscriber, news: &News, (id, again): (&str, bool)) -> Value {
    let w = Words::of(to.language());
    let (sort, step) = match news.step {
        Step::Incident(stage) => ("incident", json!(stage)),
        step => ("maintenance", json!(step)),
    };
    json!({
        "schema": "linkflow/subscription/v1", "event": sort, "page": desk.title, "id": id, "again": again,
        "of": news.thread, "at": utc(news.at), "step": step, "said": news.step(w), "title": news.title,
        "text": news.text, "components": news.names,
        "from": news.span.map(|(from, _)| utc(from)), "to": news.span.map(|(_, to)| utc(to)),
        "link": desk.page.as_ref().map(|page| format!("{page}/{}", news.path)),
        "manage": desk.own_link(to), "unsubscribe": desk.end_link(to),
    })
}
