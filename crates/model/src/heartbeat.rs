//! What jobs report of themselves, and what is known of each by that.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::{Condition, CronTable, Timestamp};

/// When reports are due.
#[derive(Clone, Debug, PartialEq)]
pub enum Rhythm {
    /// So many milliseconds after the one before.
    Every(u64),
    /// By a cron expression, in a time zone.
    Cron(CronTable, TimeZone),
}

impl Rhythm {
    /// When the next report is due, where the last one came at `last`. `None` when none ever is.
    pub fn after(&self, last: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(ms) => Some(Timestamp(last.0.saturating_add(*ms))),
            Self::Cron(table, zone) => table.after(last, zone),
        }
    }
}

/// What a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// A run began.
    Run,
    /// A run ended well.
    Complete,
    /// A run failed.
    Fail,
    /// All is well, with no word of a run.
    Ok,
    /// Something for the record, which changes nothing.
    Log,
}

impl Says {
    /// Whether a run is over with it.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Complete | Self::Ok | Self::Fail)
    }

    /// Its word, as Cronitor's addresses have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Ok => "ok",
            Self::Log => "log",
        }
    }
}

/// One report. Until it has been taken in it is a document of the store, under [`Beat::key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Its id, which no other has.
    pub id: String,
    /// Whose it is, without its kind: `backup`.
    pub heartbeat: String,
    /// When it came.
    pub at: Timestamp,
    /// What it says.
    pub says: Says,
    /// What the reports of one run share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// In its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The exit code of what ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// How long the run took, in milliseconds, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// What it counted, by name: `count`, `error_count`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, f64>,
    /// The machine that it ran on, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How many bytes of output came with it. They are kept under [`Output::key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u32>,
}

impl Beat {
    /// The prefix of the keys of all that have not been taken in.
    pub const PREFIX: &'static str = "beat/";

    /// The key of its document. Listed, they come in the order in which they came.
    pub fn key(&self) -> String {
        format!("{}{:014}-{}", Self::PREFIX, self.at.0, self.id)
    }
}

/// What a run printed, as much as was sent. A document of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The bytes in base64: they need not be text.
    pub base64: String,
    /// Whether more was sent than is kept.
    #[serde(default)]
    pub cut: bool,
}

impl Output {
    /// How much of a report's body is kept, in bytes; that of Healthchecks, which tells it in `Ping-Body-Limit`.
    pub const MOST: usize = 100_000;

    /// The prefix of the keys of a heartbeat's outputs; listed, they come oldest first.
    pub fn prefix(heartbeat: &str) -> String {
        format!("beat-output/{heartbeat}/")
    }

    /// The key of the output that came with `beat`.
    pub fn key(beat: &Beat) -> String {
        format!("{}{:014}-{}", Self::prefix(&beat.heartbeat), beat.at.0, beat.id)
    }
}

/// A run that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// What its reports share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// When it began.
    pub since: Timestamp,
    /// Whether it may have ended while nobody listened.
    #[serde(default)]
    pub unsure: bool,
}

/// What is known of a heartbeat. A document of the store, `heartbeat/NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatState {
    /// What is asked of it, in words: `every 10m`, `0 3 * * * in Europe/Berlin`.
    #[serde(default)]
    pub asked: String,
    /// How it is.
    pub condition: Condition,
    /// Since when: what was missed counts from the moment at which it was overdue, not from when that was noticed.
    pub since: Timestamp,
    /// Why, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When the next report is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Timestamp>,
    /// When the last report came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// How long the last run that ended took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// How many in a row failed or did not come.
    #[serde(default)]
    pub failures: u32,
    /// Runs that have not ended, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<OpenRun>,
    /// The newest reports, the oldest first.
    #[serde(default)]
    pub recent: Vec<Beat>,
}

impl HeartbeatState {
    /// The prefix of the keys of all heartbeats.
    pub const PREFIX: &'static str = "heartbeat/";

    /// The prefix of the keys of marks that say that a heartbeat is not waited for; [`Paused`] is what they hold.
    pub const PAUSED: &'static str = "heartbeat-paused/";

    /// The key of the document of `heartbeat`.
    pub fn key(heartbeat: &str) -> String {
        format!("{}{heartbeat}", Self::PREFIX)
    }

    /// The key of the mark that says that `heartbeat` is not waited for.
    pub fn paused(heartbeat: &str) -> String {
        format!("{}{heartbeat}", Self::PAUSED)
    }
}

/// Who had a heartbeat not waited for, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}
