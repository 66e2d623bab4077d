//! What is watched: its uptime, its times, its outages with what was seen.

use linkflow_model::Timestamp;
use linkflow_model::monitor::{Condition, StateSpan};
use linkflow_store::{Histogram, Rollup, Step};

use super::{documents, missing};
use crate::Site;
use crate::operator::{Refusal, Watched};
use crate::shape::shapes;
use crate::status::Tally;

shapes! {
    /// Something that is watched, with how it was.
    pub struct Monitor {
        /// What it is, and how it is now.
        pub watched: Watched,
        /// Its uptime over the last 1, 7, 30 and 90 days.
        pub uptime: Vec<Uptime>,
        /// How long good looks took within the asked time.
        pub took: Times,
        /// The last outages, the newest first.
        pub outages: Vec<Outage>,
        /// The last looks, the newest first.
        pub looks: Vec<Look>,
    }

    /// Uptime within a time.
    pub struct Uptime {
        /// How many days back.
        pub days: u32,
        /// In words, cut off and never rounded up: `99.95 %`. None: nobody looked.
        pub percent: Option<String>,
        /// How long it was down, in milliseconds.
        pub down_ms: u64,
        /// How long it was only partly there, in milliseconds.
        pub partial_ms: u64,
        /// How long nobody looked, in milliseconds.
        pub unknown_ms: u64,
    }

    /// How long many looks took, in microseconds.
    pub struct Times {
        /// How many.
        pub looks: u64,
        /// How many were not well.
        pub bad: u64,
        /// The shortest.
        pub min_us: u32,
        /// The longest.
        pub max_us: u32,
        /// What half of them were not longer than, to an eighth.
        pub p50_us: Option<u32>,
        /// What 95 of 100 were not longer than, to an eighth.
        pub p95_us: Option<u32>,
    }

    /// A time in which it was not well.
    pub struct Outage {
        /// How it was.
        pub condition: Condition,
        /// From when, in milliseconds since 1970.
        pub from: u64,
        /// Until when; it lasts when there is none.
        pub to: Option<u64>,
        /// Why.
        pub why: Option<String>,
        /// Looks that saw it, the first ones; they are kept for two days.
        pub evidence: Vec<Look>,
    }

    /// One look.
    pub struct Look {
        /// When it ended, in milliseconds since 1970.
        pub at: u64,
        /// Whether all was well.
        pub well: bool,
        /// How long it took, in microseconds.
        pub took_us: u32,
        /// Until the name was known, in microseconds; 0 where there was no such phase.
        pub name_us: u32,
        /// Until the connection stood, in microseconds.
        pub connect_us: u32,
        /// Until TLS was agreed on, in microseconds.
        pub tls_us: u32,
        /// Until the answer began, in microseconds.
        pub first_us: u32,
        /// Why it was not well.
        pub why: Option<String>,
    }

    /// Looks added up in equal times.
    pub struct History {
        /// What was looked at.
        pub subject: String,
        /// How long each time is, in milliseconds.
        pub step_ms: u64,
        /// Each time, the oldest first; those without a look are left out.
        pub steps: Vec<HistoryStep>,
        /// The spans of its condition within the time, the oldest first.
        pub spans: Vec<Span>,
    }

    /// Looks of one time.
    pub struct HistoryStep {
        /// When it began, in milliseconds since 1970.
        pub at: u64,
        /// How long they took.
        pub took: Times,
    }

    /// A time in which it was in one condition.
    pub struct Span {
        /// How it was.
        pub condition: Condition,
        /// From when, in milliseconds since 1970.
        pub from: u64,
        /// Until when; it lasts when there is none.
        pub to: Option<u64>,
        /// Why.
        pub why: Option<String>,
    }
}

const DAY_MS: u64 = 86_400_000;

/// How many outages and looks are shown, and how many looks of an outage.
const OUTAGES: usize = 20;
const LOOKS: usize = 20;
const EVIDENCE: usize = 3;

/// The times that a chart may show, in days, each with the steps that it is drawn of.
pub(crate) const RANGES: [(u32, Step, u64); 4] = [
    (1, Step::Minute, 15 * 60_000),
    (7, Step::Hour, 2 * 3_600_000),
    (30, Step::Hour, 6 * 3_600_000),
    (90, Step::Day, DAY_MS),
];

/// What is watched, those in trouble first.
pub(crate) fn monitors(site: &Site) -> Vec<Watched> {
    let mut all = site.operator.watched();
    all.sort_by(|a, b| b.condition.cmp(&a.condition).then(a.subject.cmp(&b.subject)));
    all
}

/// The one called `name`, with or without its kind.
pub(crate) fn one(site: &Site, name: &str) -> Result<Watched, Refusal> {
    let all = site.operator.watched();
    let short = |one: &&Watched| one.subject.split_once('.').is_some_and(|(_, s)| s == name);
    let found = all.iter().find(|one| one.subject == name).or_else(|| all.iter().find(short));
    found.cloned().ok_or_else(|| missing("monitor", name, "/api/v1/monitors"))
}

async fn spans(site: &Site, subject: &str) -> Result<Vec<StateSpan>, Refusal> {
    documents(&*site.store, &StateSpan::prefix(subject)).await
}

/// All of the monitor called `name`.
pub(crate) async fn monitor(site: &Site, name: &str) -> Result<Monitor, Refusal> {
    let watched = one(site, name)?;
    let now = site.clock.wall();
    let spans = spans(site, &watched.subject).await?;
    let (from, to) = (Timestamp(now.0.saturating_sub(DAY_MS)), Timestamp(now.0 + 1));
    let hours = site.store.rollups(&watched.subject, Step::Minute, from, to).await?;
    let looks = site.store.readings(&watched.subject, Timestamp(0), to, LOOKS).await?;
    let mut outages = Vec::new();
    let bad = |span: &&StateSpan| span.condition >= Condition::Degraded;
    for span in spans.iter().rev().filter(bad).take(OUTAGES) {
        outages.push(outage(site, span, now).await?);
    }
    Ok(Monitor {
        uptime: [1, 7, 30, 90].map(|days| uptime(site, &spans, days, now)).into(),
        took: times(hours.iter()),
        outages,
        looks: looks.iter().rev().map(look).collect(),
        watched,
    })
}

async fn outage(site: &Site, span: &StateSpan, now: Timestamp) -> Result<Outage, Refusal> {
    let to = span.to.unwrap_or(Timestamp(now.0 + 1));
    // Those of the first quarter of an hour say why; a long outage has thousands.
    let end = Timestamp(to.0.min(span.from.0 + 900_000));
    let readings = site.store.readings(&span.subject, span.from, end, 1_000).await?;
    Ok(Outage {
        condition: span.condition,
        from: span.from.0,
        to: span.to.map(|to| to.0),
        why: span.why.clone(),
        evidence: readings.iter().filter(|one| !one.well).take(EVIDENCE).map(look).collect(),
    })
}

fn look(reading: &linkflow_store::Reading) -> Look {
    let [name_us, connect_us, tls_us, first_us] = reading.phases_us;
    Look {
        at: reading.at.0,
        well: reading.well,
        took_us: reading.took_us,
        name_us,
        connect_us,
        tls_us,
        first_us,
        why: reading.why.clone(),
    }
}

fn uptime(site: &Site, spans: &[StateSpan], days: u32, now: Timestamp) -> Uptime {
    let tally = Tally::of_spans(spans, days, now);
    Uptime {
        days,
        percent: tally.uptime(site.config.partial_counts()).map(|share| format!("{share} %")),
        down_ms: tally.down,
        partial_ms: tally.partial,
        unknown_ms: tally.unknown,
    }
}

fn times<'a>(rollups: impl Iterator<Item = &'a Rollup>) -> Times {
    let (mut took, mut bad) = (Histogram::default(), 0);
    for one in rollups {
        took.merge(&one.took);
        bad += one.bad;
    }
    Times {
        looks: took.count + bad,
        bad,
        min_us: took.min_us,
        max_us: took.max_us,
        p50_us: took.percentile(50),
        p95_us: took.percentile(95),
    }
}

/// How `name` was in the last `days`: one of [`RANGES`].
pub(crate) async fn history(site: &Site, name: &str, days: u32) -> Result<History, Refusal> {
    let subject = one(site, name)?.subject;
    let range = RANGES.iter().find(|(range, ..)| *range >= days).unwrap_or(&RANGES[3]);
    let (days, step, width) = *range;
    let now = site.clock.wall();
    // Steps begin at whole ones, so that the picture does not tremble.
    let end = now.0 - now.0 % width + width;
    let from = Timestamp(end.saturating_sub(u64::from(days) * DAY_MS));
    let rollups = site.store.rollups(&subject, step, from, Timestamp(end)).await?;
    let steps = rollups.chunk_by(|a, b| a.at.0 / width == b.at.0 / width);
    let steps = steps.filter_map(|of| {
        let first = of.first()?;
        Some(HistoryStep { at: first.at.0 - first.at.0 % width, took: times(of.iter()) })
    });
    let spans = spans(site, &subject).await?.into_iter();
    let spans = spans.filter(|span| span.to.is_none_or(|to| to > from)).map(|span| Span {
        condition: span.condition,
        from: span.from.0,
        to: span.to.map(|to| to.0),
        why: span.why,
    });
    Ok(History { step_ms: width, steps: steps.collect(), spans: spans.collect(), subject })
}

/// The newest looks of `name` within a time, the newest first.
pub(crate) async fn looks(
    site: &Site,
    name: &str,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Vec<Look>, Refusal> {
    let subject = one(site, name)?.subject;
    let readings = site.store.readings(&subject, from, to, limit).await?;
    Ok(readings.iter().rev().map(look).collect())
}
