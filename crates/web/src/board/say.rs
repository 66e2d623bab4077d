//! Words, marks and numbers of the pages, as people read them.

use linkflow_model::{Condition, Impact, Level, ReleaseState};

use crate::frame::At;
use crate::operator::{
    Certificate, Message, MessageState, Placement, PlacementState, Post, RouteTraffic, Stray,
    TargetTraffic, Traffic, Tried, Used, Watched,
};
use crate::view::addresses::{Address, AddressSort};
use crate::view::drains::Drained;
use crate::view::events::Happened;
use crate::view::failovers::Ordered;
use crate::view::monitors::{Look, Outage, Times, Uptime};
use crate::view::releases::{ReleaseRow, RunRow, RunStep};
use crate::view::told::{IncidentRow, Said, WindowRow, Work};
use linkflow_model::Timestamp;

/// How something is: a class of the style sheet, which gives the colour, and a word that says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) class: &'static str,
    pub(super) glyph: &'static str,
    pub(super) word: &'static str,
}

fn mark(class: &'static str, word: &'static str) -> Mark {
    let glyph = match class {
        "u" => "✓",
        "d" => "▼",
        "p" => "◐",
        "x" => "✕",
        "m" => "◆",
        _ => "○",
    };
    Mark { class, glyph, word }
}

/// The mark of a condition.
pub(super) fn condition(condition: Condition) -> Mark {
    match condition {
        Condition::Up => mark("u", "up"),
        Condition::Maintenance => mark("m", "maintenance"),
        Condition::Unknown => mark("n", "unknown"),
        Condition::Degraded => mark("d", "degraded"),
        Condition::Partial => mark("p", "partial"),
        Condition::Down => mark("x", "down"),
    }
}

fn at(ms: u64) -> At {
    At::new(Timestamp(ms))
}

/// `850 ms`, `12.3 s`, `4 min 5 s`, `3 h 20 min`, `2 d 4 h`.
pub(super) fn took(ms: u64) -> String {
    let parts = |whole: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{whole} {unit}"),
        rest => format!("{whole} {unit} {rest} {small}"),
    };
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 if ms % 1_000 < 100 => format!("{} s", ms / 1_000),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => parts(ms / 60_000, "min", ms % 60_000 / 1_000, "s"),
        3_600_000..86_400_000 => parts(ms / 3_600_000, "h", ms % 3_600_000 / 60_000, "min"),
        _ => parts(ms / 86_400_000, "d", ms % 86_400_000 / 3_600_000, "h"),
    }
}

/// Microseconds as milliseconds: `0.4 ms`, `12 ms`, `1.2 s`.
pub(super) fn ms(us: u32) -> String {
    match us {
        0..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// `0`, `0.4`, `12`, `1200`.
fn rate(per_s: f64) -> String {
    match per_s {
        0.0 => "0".to_owned(),
        ..9.95 => format!("{per_s:.1}"),
        _ => format!("{per_s:.0}"),
    }
}

fn maybe_ms(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms"))
}

impl Placement {
    pub(super) fn mark(&self) -> Mark {
        let class = match self.state {
            PlacementState::Up | PlacementState::Running => "u",
            PlacementState::Down | PlacementState::Failed => "x",
            PlacementState::Waking | PlacementState::Starting => "d",
            PlacementState::Resting
            | PlacementState::Asleep
            | PlacementState::Stopped
            | PlacementState::Absent
            | PlacementState::Unknown => "n",
        };
        mark(class, self.state.word())
    }

    pub(super) fn latency(&self) -> String {
        self.latency_ms.map(|ms| format!("{ms} ms")).unwrap_or_default()
    }

    pub(super) fn short_digest(&self) -> String {
        let digest = self.digest.as_deref().unwrap_or_default();
        digest.get(..19).unwrap_or(digest).to_owned()
    }
}

impl Traffic {
    pub(super) fn rate(&self) -> String {
        rate(self.requests_per_s)
    }
}

impl RouteTraffic {
    pub(super) fn rates(&self) -> [String; 5] {
        let rates = [
            self.requests_per_s,
            self.good_per_s,
            self.refused_per_s,
            self.failed_per_s,
            self.retries_per_s,
        ];
        rates.map(rate)
    }

    pub(super) fn times(&self) -> [String; 2] {
        [self.p50_ms, self.p95_ms].map(maybe_ms)
    }
}

impl TargetTraffic {
    pub(super) fn mark(&self) -> Mark {
        match self.state.as_str() {
            "serving" => mark("u", "serving"),
            "spare" => mark("n", "spare"),
            "ejected" => mark("p", "ejected"),
            "down" => mark("x", "down"),
            "waking" => mark("d", "waking"),
            _ => mark("n", "resting"),
        }
    }

    pub(super) fn rates(&self) -> [String; 2] {
        [self.requests_per_s, self.failures_per_s].map(rate)
    }

    pub(super) fn times(&self) -> [String; 2] {
        [self.p50_ms, self.p95_ms].map(maybe_ms)
    }

    pub(super) fn percent(&self) -> String {
        self.share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
    }

    /// Of a bar of 100.
    pub(super) fn bar(&self) -> u32 {
        (self.share.unwrap_or(0.0) * 100.0).round() as u32
    }
}

impl Post {
    /// Of one that cannot be used.
    pub(super) fn mark(&self) -> Mark {
        mark("x", "unusable")
    }
}

impl Stray {
    pub(super) fn places(&self) -> String {
        self.providers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl Message {
    pub(super) fn mark(&self) -> Mark {
        match self.state {
            MessageState::Sent => mark("u", "sent"),
            MessageState::Sending => mark("n", "being sent"),
            MessageState::Waiting if self.failed == 0 => mark("n", "waits"),
            MessageState::Waiting => mark("p", "waits for another try"),
            MessageState::GivenUp => mark("x", "given up"),
        }
    }

    pub(super) fn when(&self) -> At {
        at(self.at)
    }

    /// How it went, where that is worth a word.
    pub(super) fn about(&self) -> String {
        let failed = match self.failed {
            0 => None,
            1 => Some("failed once".to_owned()),
            times => Some(format!("failed {times} times")),
        };
        let twice = self.may_have_come.then(|| "may have come twice".to_owned());
        let others = self.passed_on.then(|| "others were told instead".to_owned());
        let all = [failed, self.said.clone(), twice, others];
        all.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

impl Tried {
    pub(super) fn mark(&self) -> Mark {
        match self.failed {
            None => mark("u", "arrived"),
            Some(_) => mark("x", "failed"),
        }
    }
}

impl Watched {
    pub(super) fn mark(&self) -> Mark {
        condition(self.condition)
    }

    pub(super) fn when(&self) -> Option<At> {
        self.since.map(at)
    }

    pub(super) fn rhythm(&self) -> String {
        took(self.every_ms)
    }
}

impl Uptime {
    pub(super) fn text(&self) -> &str {
        self.percent.as_deref().unwrap_or("–")
    }

    pub(super) fn down(&self) -> String {
        took(self.down_ms)
    }
}

impl Times {
    /// The shortest, p50, p95 and the longest.
    pub(super) fn texts(&self) -> [String; 4] {
        if self.looks == self.bad {
            return ["–", "–", "–", "–"].map(str::to_owned);
        }
        let of = |us: Option<u32>| ms(us.unwrap_or_default());
        [ms(self.min_us), of(self.p50_us), of(self.p95_us), ms(self.max_us)]
    }
}

impl Outage {
    pub(super) fn mark(&self) -> Mark {
        condition(self.condition)
    }

    pub(super) fn when(&self) -> At {
        at(self.from)
    }

    pub(super) fn lasted(&self) -> String {
        self.to.map_or_else(|| "lasts".to_owned(), |to| took(to.saturating_sub(self.from)))
    }
}

impl Look {
    pub(super) fn when(&self) -> At {
        at(self.at)
    }

    pub(super) fn took(&self) -> String {
        ms(self.took_us)
    }

    pub(super) fn said(&self) -> &str {
        self.why.as_deref().unwrap_or("well")
    }

    /// The phases that there were.
    pub(super) fn phases(&self) -> String {
        let all = [
            ("name", self.name_us),
            ("connection", self.connect_us),
            ("TLS", self.tls_us),
            ("first byte", self.first_us),
        ];
        let there = all.into_iter().filter(|(_, us)| *us > 0);
        there.map(|(name, us)| format!("{name} {}", ms(us))).collect::<Vec<_>>().join(", ")
    }
}

impl IncidentRow {
    pub(super) fn mark(&self) -> Mark {
        if !self.open {
            return mark("u", "over");
        }
        match self.impact {
            Impact::None => mark("n", "no impact"),
            Impact::Minor => mark("d", "minor"),
            Impact::Major => mark("p", "major"),
            Impact::Critical => mark("x", "critical"),
        }
    }

    pub(super) fn when(&self) -> At {
        at(self.began)
    }

    pub(super) fn lasted(&self) -> String {
        self.ended.map_or_else(|| "lasts".to_owned(), |to| took(to.saturating_sub(self.began)))
    }

    pub(super) fn stage_word(&self) -> &'static str {
        stage(self.stage)
    }

    pub(super) fn about(&self) -> String {
        self.subjects.join(", ")
    }
}

fn stage(stage: linkflow_model::IncidentStage) -> &'static str {
    use linkflow_model::IncidentStage as Stage;
    match stage {
        Stage::Investigating => "investigating",
        Stage::Identified => "identified",
        Stage::Monitoring => "monitoring",
        Stage::Resolved => "resolved",
        Stage::Postmortem => "postmortem",
    }
}

impl Said {
    pub(super) fn when(&self) -> At {
        at(self.at)
    }

    pub(super) fn stage_word(&self) -> &'static str {
        stage(self.stage)
    }

    pub(super) fn html(&self) -> String {
        crate::status::markdown::html(&self.text)
    }
}

impl WindowRow {
    pub(super) fn begins_at(&self) -> Option<At> {
        self.next.map(at)
    }

    pub(super) fn lasts(&self) -> String {
        took(self.lasts_ms)
    }
}

impl Work {
    pub(super) fn begins_at(&self) -> At {
        at(self.from)
    }

    pub(super) fn ends_at(&self) -> At {
        at(self.to)
    }

    pub(super) fn html(&self) -> String {
        crate::status::markdown::html(&self.text)
    }

    /// Whether it can still be called off, at `now`.
    pub(super) fn is_to_come(&self, now: &u64) -> bool {
        !self.cancelled && self.to > *now
    }
}

impl Drained {
    pub(super) fn when(&self) -> At {
        at(self.at)
    }

    /// What is kept away, and from where.
    pub(super) fn words(&self) -> String {
        match &self.service {
            Some(service) => format!("{service} is kept away from {}", self.provider),
            None => format!("{} is drained", self.provider),
        }
    }

    pub(super) fn query(&self) -> String {
        match &self.service {
            Some(service) => format!("provider={}&service={service}", self.provider),
            None => format!("provider={}", self.provider),
        }
    }
}

impl Ordered {
    pub(super) fn when(&self) -> At {
        at(self.at)
    }

    pub(super) fn ends_at(&self) -> Option<At> {
        self.until.map(at)
    }

    /// What was ordered.
    pub(super) fn words(&self) -> String {
        match &self.service {
            Some(service) => format!("{service} was failed over to {}", self.to),
            None => format!("Every service was failed over to {}", self.to),
        }
    }

    pub(super) fn query(&self) -> String {
        self.service.as_ref().map(|service| format!("service={service}")).unwrap_or_default()
    }
}

impl Address {
    /// Who reports there.
    pub(super) fn who(&self) -> &str {
        self.name.as_deref().unwrap_or("any job")
    }

    /// What makes it another one than those beside it, on the page and in an address of it.
    pub(super) fn id(&self) -> String {
        let name = self.name.as_deref();
        name.map_or_else(
            || self.sort_word().to_owned(),
            |name| format!("{}-{name}", self.sort_word()),
        )
    }

    fn sort_word(&self) -> &'static str {
        match self.sort {
            AddressSort::Key => "key",
            AddressSort::Heartbeat => "heartbeat",
            AddressSort::Hook => "hook",
        }
    }

    /// What it is for.
    pub(super) fn about(&self) -> String {
        match self.sort {
            AddressSort::Key => {
                "heartbeats, by name: /NAME belongs behind it, as at Cronitor".to_owned()
            }
            AddressSort::Heartbeat => "a heartbeat, as at Healthchecks".to_owned(),
            AddressSort::Hook => {
                let entered = self.entered.as_deref().unwrap_or("by hand").replace('`', "");
                format!("webhooks; the address is entered at the vendor {entered}")
            }
        }
    }

    pub(super) fn when(&self) -> Option<At> {
        self.last.map(at)
    }

    pub(super) fn query(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("&name={name}")).unwrap_or_default();
        format!("sort={}{name}", self.sort_word())
    }
}

impl ReleaseRow {
    pub(super) fn mark(&self) -> Mark {
        match self.state {
            ReleaseState::Rolling => mark("d", "rolling"),
            ReleaseState::Live => mark("u", "live"),
            ReleaseState::Failed => mark("x", "failed"),
            ReleaseState::Superseded => mark("n", "superseded"),
        }
    }

    pub(super) fn when(&self) -> At {
        at(self.at)
    }

    pub(super) fn took(&self) -> String {
        self.took_ms.map(took).unwrap_or_default()
    }

    pub(super) fn who(&self) -> &str {
        self.by.as_deref().unwrap_or_default()
    }

    pub(super) fn is_past(&self) -> bool {
        self.state == ReleaseState::Superseded
    }
}

impl RunRow {
    pub(super) fn mark(&self) -> Mark {
        match self.state.as_str() {
            "running" => mark("d", "running"),
            "done" => mark("u", "done"),
            "rolled_back" => mark("p", "rolled back"),
            _ => mark("x", "failed"),
        }
    }

    pub(super) fn when(&self) -> At {
        at(self.at)
    }
}

impl RunStep {
    pub(super) fn mark(&self) -> Mark {
        match self.state.as_str() {
            "done" => mark("u", "done"),
            "failed" => mark("x", "failed"),
            "intent" => mark("d", "under way"),
            _ => mark("n", "waiting"),
        }
    }

    pub(super) fn took(&self) -> String {
        self.took_ms.map(took).unwrap_or_default()
    }
}

impl Happened {
    pub(super) fn mark(&self) -> Mark {
        match self.level {
            Level::Info => mark("n", "info"),
            Level::Notice => mark("u", "notice"),
            Level::Warning => mark("d", "warning"),
            Level::Alarm => mark("x", "alarm"),
        }
    }

    pub(super) fn when(&self) -> At {
        at(self.at)
    }

    pub(super) fn kind_word(&self) -> String {
        serde_json::json!(self.kind).as_str().unwrap_or_default().replace('_', " ")
    }
}

impl Certificate {
    pub(super) fn mark(&self) -> Mark {
        match self.days_left {
            0 => mark("x", "over"),
            1..14 => mark("d", "ends soon"),
            _ => mark("u", "good"),
        }
    }

    pub(super) fn ends_at(&self) -> At {
        at(self.ends)
    }

    pub(super) fn hosts(&self) -> String {
        self.names.join(", ")
    }
}

impl Used {
    pub(super) fn amount(&self) -> String {
        let limit = self.limit.map(|limit| format!(" of {limit:.0}")).unwrap_or_default();
        format!("{:.0}{limit} {}", self.used, self.unit)
    }

    pub(super) fn part(&self) -> String {
        self.percent.map(|percent| format!("{percent:.0} %")).unwrap_or_default()
    }

    pub(super) fn resets_at(&self) -> String {
        self.resets.map(|resets| at(resets).text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_say_no_more_than_they_hold() {
        let rows = [
            (850, "850 ms"),
            (1_000, "1 s"),
            (12_300, "12.3 s"),
            (300_000, "5 min"),
            (245_000, "4 min 5 s"),
            (12_000_000, "3 h 20 min"),
            (86_400_000, "1 d"),
            (187_200_000, "2 d 4 h"),
        ];
        for (ms, expected) in rows {
            assert_eq!(took(ms), expected);
        }
    }
}
