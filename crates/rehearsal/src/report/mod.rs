//! The drill report: what happened in each scenario, what was expected of it, and how people read it.

use std::collections::BTreeMap;

use linkflow_model::Timestamp;
use serde::{Deserialize, Serialize};

mod arrange;
mod chart;
mod html;
mod machine;
mod markdown;
pub mod measure;
mod terminal;
mod text;
mod words;

pub use html::html;
pub use markdown::markdown;
pub use measure::{Expectations, FaultSpan, Observed, Return, Told, measure};
pub use terminal::terminal_svg;
pub use text::{TextStyle, text};

/// How wide a [`Bucket`] is, in milliseconds.
pub const BUCKET_MS: u64 = 100;

/// A request that took longer than this is slow, in milliseconds.
pub const SLOW_MS: u64 = 1_000;

/// Whether a scenario went as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every expectation was met.
    Pass,
    /// At least one was not.
    Fail,
}

/// One scenario: what was done, what was measured, and what it was held against. Every moment (`t_ms`) is in milliseconds
/// from the start of the scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Its name, as given on the command line.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What is done to the stack, in a sentence or two.
    pub story: String,
    /// From the fault until LinkFlow said that the placement is down or not used any more.
    pub detected_ms: Option<u64>,
    /// From the fault until the last disturbed request was over; none when there was no fault or no end of it. See
    /// [`measure`](measure::measure) for what counts as disturbed.
    pub rerouted_ms: Option<u64>,
    /// How many requests were sent.
    pub requests: u64,
    /// How many of them failed.
    pub failed_requests: u64,
    /// How many of the failed ones were idempotent, so that the edge could have asked another provider.
    pub failed_idempotent: u64,
    /// Writes that were acknowledged and are not in the ledger.
    pub lost_writes: u64,
    /// Writes that arrived or were kept more than once, and tasks that were completed more than once.
    pub doubled_writes: u64,
    /// From the end of the fault until the preferred provider serves again.
    pub back_ms: Option<u64>,
    /// The median latency of all requests, failed ones too, in milliseconds.
    pub p50_ms: f64,
    /// Their 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How many took longer than a second.
    pub slow_requests: u64,
    /// Whether every expectation was met.
    pub verdict: Verdict,
    /// Each expectation that was not met, with what was measured instead, in words.
    pub broken: Vec<String>,
    /// Every expectation with what was measured.
    pub checks: Vec<Check>,
    /// Requests by when they were due.
    pub timeline: Vec<Bucket>,
    /// The moments that the figures are counted from and to.
    pub marks: Vec<Mark>,
    /// What LinkFlow said meanwhile.
    pub events: Vec<EventLine>,
    /// What the API of each provider was asked meanwhile.
    #[serde(default)]
    pub asked: Vec<AskedLine>,
    /// Figures of the releases that went out meanwhile.
    #[serde(default)]
    pub rollouts: Vec<RolloutLine>,
}

/// What the API of one provider was asked during a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedLine {
    /// The provider.
    pub provider: String,
    /// Every request that reached it.
    pub requests: u64,
    /// Those that it refused because they came faster than the vendor allows.
    pub refused_for_rate: u64,
}

/// How a release got out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutLine {
    /// The release.
    pub release: String,
    /// How many times its migration was really run, by the app's own ledger.
    pub migrations: u64,
    /// How often a process that deployed it was killed.
    pub kills: u64,
    /// How long it took, in milliseconds; none when it was not in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// How long the longest chain of its steps took that must follow one another, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_ms: Option<u64>,
    /// The provider whose own steps took longest, stage after stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest: Option<String>,
    /// How long these took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_ms: Option<u64>,
}

/// One expectation and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is expected: "visitors are served again".
    pub what: String,
    /// The limit: "within 3.0 s".
    pub expected: String,
    /// What was measured: "1.2 s".
    pub measured: String,
    /// Whether it was met.
    pub kept: bool,
}

/// The requests that were due within one tenth of a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Where it begins.
    pub t_ms: u64,
    /// How many were answered well, by provider.
    pub providers: BTreeMap<String, u32>,
    /// How many failed.
    pub failed: u32,
}

/// The moments a figure is counted from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The fault was injected.
    Fault,
    /// LinkFlow said so.
    Detected,
    /// The last disturbed request was over.
    Rerouted,
    /// The fault was lifted.
    Cleared,
    /// The preferred provider serves again.
    Back,
}

/// A moment that a figure is counted from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub t_ms: u64,
    /// Which.
    pub kind: MarkKind,
}

/// Something that LinkFlow said during a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// When.
    pub t_ms: u64,
    /// The kind of event, as in the event log.
    pub kind: String,
    /// What it said.
    pub message: String,
}

/// The machine that the rehearsal ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// How many processors it has.
    pub cpus: u64,
    /// How much memory, in megabytes.
    pub memory_mb: u64,
    /// Its system, as it calls itself.
    pub os: String,
}

/// A service of the stack that was rehearsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLine {
    /// Its name.
    pub name: String,
    /// How it is spoken to: web, grpc, worker.
    pub kind: String,
    /// Its cascade, most preferred first.
    pub runs_on: Vec<String>,
}

/// A provider of the stack that was rehearsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderLine {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
}

/// The load that ran meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadLine {
    /// Requests per second.
    pub rate: u32,
    /// Every so many is a write.
    pub write_every: u32,
    /// How long a visitor waits, in milliseconds.
    pub timeout_ms: u64,
}

/// A whole rehearsal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RehearsalReport {
    /// The stack.
    pub stack: String,
    /// What chance was thrown with; the same seed throws the same.
    pub seed: u64,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The version of LinkFlow.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// What ran.
    pub services: Vec<ServiceLine>,
    /// On whose simulated clouds; the order gives each its colour.
    pub providers: Vec<ProviderLine>,
    /// What visitors did meanwhile.
    pub load: LoadLine,
    /// The memory of LinkFlow itself when nothing happens, in megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_memory_mb: Option<f64>,
    /// Of that what it has allocated: the rest is its code, of which a debug build has several times as much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_allocated_mb: Option<f64>,
    /// What was rehearsed, in order.
    pub scenarios: Vec<ScenarioResult>,
}

impl RehearsalReport {
    /// Whether every scenario went as expected, and there was one.
    pub fn verdict(&self) -> Verdict {
        let passed = |scenario: &ScenarioResult| scenario.verdict == Verdict::Pass;
        if !self.scenarios.is_empty() && self.scenarios.iter().all(passed) {
            Verdict::Pass
        } else {
            Verdict::Fail
        }
    }

    /// How many scenarios went as expected.
    pub fn passed(&self) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.verdict == Verdict::Pass).count()
    }
}

#[cfg(test)]
mod tests;
