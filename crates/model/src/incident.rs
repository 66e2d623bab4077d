//! What went wrong and what is planned, as people are told.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How far an incident has come. The words are those that status pages share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStage {
    /// Something is wrong; why is not known yet.
    Investigating,
    /// The cause is known.
    Identified,
    /// It is mended, and watched.
    Monitoring,
    /// It is over.
    Resolved,
    /// What was learned, written afterwards.
    Postmortem,
}

/// How much of the product an incident takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impact {
    /// Nothing that a visitor would notice.
    None,
    /// Something is slow or partly away.
    Minor,
    /// Something is away.
    Major,
    /// The product is away.
    Critical,
}

/// An incident: one cause, with all that it takes down. A document of the store, `incident/ID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id, which never changes: `20261129-api-2`.
    pub id: String,
    /// One line for the public.
    pub title: String,
    /// How much it takes.
    pub impact: Impact,
    /// How far it has come.
    pub stage: IncidentStage,
    /// When it began: the first bad look, or what a person said.
    pub began: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What is affected, as the config calls it: `monitor.api`, `service.api`.
    pub subjects: Vec<String>,
    /// Which of them is the cause of the others, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whether LinkFlow opened it. Only such ones are resolved by LinkFlow.
    pub automatic: bool,
    /// Whether the status page shows it.
    pub public: bool,
    /// Who has taken it, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// What was said of it, oldest first.
    pub updates: Vec<IncidentUpdate>,
}

/// That somebody looks after an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// Something that was said of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentUpdate {
    /// When.
    pub at: Timestamp,
    /// How far the incident had come.
    pub stage: IncidentStage,
    /// What, in Markdown.
    pub text: String,
    /// Who said it; `linkflow` for its own.
    pub by: String,
    /// Whether the status page shows it. Notes for the team are not shown.
    pub public: bool,
    /// When it was written down, where that was later than what it says: such an update is marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Timestamp>,
    /// Until when the next word is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// Work that was announced. A document of the store, `maintenance/ID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Its id, which never changes.
    pub id: String,
    /// One line for the public.
    pub title: String,
    /// What will be done and what it means, in Markdown.
    pub text: String,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// What is affected, as the config calls it.
    pub subjects: Vec<String>,
    /// Whether it was called off.
    #[serde(default)]
    pub cancelled: bool,
    /// Grows by one with each change: calendars ask for it (RFC 5545, `SEQUENCE`).
    #[serde(default)]
    pub sequence: u32,
    /// When it was announced, or changed last.
    #[serde(default)]
    pub changed: Timestamp,
    /// The window of the config that it is one time of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurs: Option<Recurs>,
}

/// Of which window announced work is one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurs {
    /// The name of the window in the config.
    pub name: String,
    /// Whether feeds and subscribers are left out.
    #[serde(default)]
    pub quiet: bool,
    /// Whether it was called off because the window has this time no more, and not by a person.
    #[serde(default)]
    pub withdrawn: bool,
}

/// The minute of `at` in UTC, as ids of recurring work have it: `20261206-0200`.
pub fn minute_text(at: Timestamp) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or_default().strftime("%Y%m%d-%H%M").to_string()
}

impl Incident {
    /// The prefix of the keys of all incidents.
    pub const PREFIX: &'static str = "incident/";

    /// The key of its document.
    pub fn key(&self) -> String {
        format!("{}{}", Self::PREFIX, self.id)
    }

    /// Whether it is not over.
    pub fn is_open(&self) -> bool {
        self.stage < IncidentStage::Resolved
    }
}

impl Maintenance {
    /// The prefix of the keys of all announced work.
    pub const PREFIX: &'static str = "maintenance/";

    /// The key of its document.
    pub fn key(&self) -> String {
        format!("{}{}", Self::PREFIX, self.id)
    }

    /// Whether feeds and subscribers are told of it.
    pub fn is_news(&self) -> bool {
        self.recurs.as_ref().is_none_or(|recurs| !recurs.quiet)
    }

    /// Whether it is under way at `now`.
    pub fn is_on(&self, now: Timestamp) -> bool {
        !self.cancelled && self.from <= now && now < self.to
    }
}
