//! Turns what visitors saw, what LinkFlow said and what the ledger holds into a result. Pure.

use std::collections::BTreeMap;

use linkflow_model::{Event, EventKind, Moment, ProviderName, ServiceName, Timestamp};

use super::words::{duration, number};
use super::{
    BUCKET_MS, Bucket, Check, EventLine, Mark, MarkKind, SLOW_MS, ScenarioResult, Verdict,
};
use crate::ledger::LedgerCount;
use crate::load::{Kind, Sample, percentile};

/// How a scenario is called and told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name on the command line.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What is done to the stack.
    pub story: String,
}

/// A fault and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpan {
    /// When the call that injects it was made: the figures rather count too much than too little.
    pub at: Moment,
    /// When the call that lifts it was made. `None`: it stays.
    pub cleared: Option<Moment>,
    /// The provider it struck.
    pub provider: ProviderName,
    /// The service it struck; `None`: all of them there.
    pub service: Option<ServiceName>,
    /// Whether public requests ought to leave that provider, so that one it still answers, well or not, is disturbed.
    pub drives_off: bool,
}

/// How one sees that the preferred provider serves again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Return {
    /// Public answers come from this provider again.
    Answers(ProviderName),
    /// LinkFlow says that it moved back or uses the target again, for services behind that visitors do not see.
    Events(ProviderName),
}

/// What was seen of a scenario.
#[derive(Clone, Copy)]
pub struct Observed<'a> {
    /// When it began: `t_ms` 0.
    pub from: Moment,
    /// The same moment on the wall clock, by which events are placed.
    pub from_wall: Timestamp,
    /// Every request of the scenario, whatever became of it.
    pub samples: &'a [Sample],
    /// The fault, if there was one.
    pub fault: Option<&'a FaultSpan>,
    /// How the return of the preferred provider is seen, if it is to return.
    pub back: Option<&'a Return>,
    /// What LinkFlow said, from `from` on.
    pub events: &'a [Event],
    /// What the ledger holds.
    pub ledger: LedgerCount,
    /// Acknowledged writes that the ledger does not hold.
    pub lost: &'a [String],
}

/// What a scenario is held against. `None`: whatever it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectations {
    /// The longest time until LinkFlow says that something is wrong, in milliseconds.
    pub detected_within_ms: Option<u64>,
    /// The longest time until no request is disturbed, in milliseconds.
    pub rerouted_within_ms: Option<u64>,
    /// The longest time until the preferred provider serves again, in milliseconds.
    pub back_within_ms: Option<u64>,
    /// The most requests that may fail.
    pub failed_at_most: Option<u64>,
    /// The most idempotent requests that may fail.
    pub failed_idempotent_at_most: Option<u64>,
    /// The most requests that may take longer than a second.
    pub slow_at_most: Option<u64>,
    /// The longest 99th percentile, in milliseconds.
    pub p99_at_most_ms: Option<f64>,
    /// The most periods the timer may miss.
    pub missed_fires_at_most: Option<u64>,
    /// Further expectations, checked by the caller.
    pub also: Vec<Check>,
}

/// The keys of the writes that were acknowledged: these must be in the ledger.
pub fn acknowledged(samples: &[Sample]) -> impl Iterator<Item = &str> {
    let good = |sample: &&Sample| sample.kind == Kind::Write && sample.failure.is_none();
    samples.iter().filter(good).filter_map(|sample| sample.key.as_deref())
}

/// What a scenario comes to.
///
/// - `detected_ms` is from the fault to the first event from then on that says that a placement on the struck provider is
///   down or ejected.
/// - A request is *disturbed* when it failed, took longer than a second, or was due after the fault and yet answered by a
///   provider that the fault ought to drive requests off. `rerouted_ms` is from the fault to the end of the last disturbed
///   request among those that were due before the fault was lifted and over after it began; so requests in flight at that
///   moment count, and one late straggler counts in full. Of a write that no other provider answered it is when that was
///   due: once sent it is never sent elsewhere, so how long it hangs or what becomes of it says nothing of the way that
///   requests take (it counts as slow or failed). It is 0 when none was disturbed, and none when no request was due
///   after that end while the fault lasted: then nobody saw that it was over.
/// - `back_ms` is from the lifting of the fault to when the first of a *good second* was due: a request that the preferred
///   provider answered, and from which on it gives more than half of the good answers for a second. One canary does not
///   count, and one hedged request does not spoil it. Of services that visitors do not see, it is to the first event that
///   says that they moved back.
/// - Latencies are those of all requests, failed ones with the time until they failed, and count from when each was due.
/// - What providers' APIs were asked, and how releases got out, is not seen here: whoever knows adds it.
/// - Lost writes were acknowledged and are not in the ledger. Doubled ones have two entries, or arrived at an api twice
///   (nobody but the edge could have sent them again); a task that was completed twice counts too.
pub fn measure(told: &Told, seen: &Observed<'_>, wanted: &Expectations) -> ScenarioResult {
    let failed = |kind: Option<Kind>| {
        let counts = |s: &&Sample| s.failure.is_some() && kind.is_none_or(|kind| s.kind == kind);
        seen.samples.iter().filter(counts).count() as u64
    };
    let mut latencies: Vec<f64> = seen.samples.iter().map(|sample| sample.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    let detected_ms = seen.fault.and_then(|fault| detected(seen, fault));
    let rerouted_ms = seen.fault.and_then(|fault| rerouted(seen, fault));
    let cleared = seen.fault.and_then(|fault| fault.cleared);
    let back_ms = cleared.zip(seen.back).and_then(|(cleared, back)| returned(seen, cleared, back));
    let mut result = ScenarioResult {
        name: told.name.clone(),
        title: told.title.clone(),
        story: told.story.clone(),
        detected_ms,
        rerouted_ms,
        requests: seen.samples.len() as u64,
        failed_requests: failed(None),
        failed_idempotent: failed(Some(Kind::Read)),
        lost_writes: seen.lost.len() as u64,
        doubled_writes: seen.ledger.doubled_writes(),
        back_ms,
        p50_ms: tenths(percentile(&latencies, 50)),
        p99_ms: tenths(percentile(&latencies, 99)),
        max_ms: tenths(latencies.last().copied().unwrap_or_default()),
        slow_requests: seen.samples.iter().filter(|sample| is_slow(sample)).count() as u64,
        verdict: Verdict::Pass,
        broken: Vec::new(),
        checks: Vec::new(),
        timeline: timeline(seen),
        marks: marks(seen, detected_ms, rerouted_ms, back_ms),
        events: seen.events.iter().map(|event| line(event, seen.from_wall)).collect(),
        asked: Vec::new(),
        rollouts: Vec::new(),
    };
    result.checks = checks(&result, seen, wanted);
    let broken = result.checks.iter().filter(|check| !check.kept);
    let words = |c: &Check| format!("{}: {} expected, {} measured", c.what, c.expected, c.measured);
    result.broken = broken.map(words).collect();
    if !result.broken.is_empty() {
        result.verdict = Verdict::Fail;
    }
    result
}

fn tenths(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

fn is_slow(sample: &Sample) -> bool {
    sample.latency_ms > SLOW_MS as f64
}

/// The moment of an event, in milliseconds from the start.
fn placed(event: &Event, from_wall: Timestamp) -> u64 {
    event.at.0.saturating_sub(from_wall.0)
}

fn line(event: &Event, from_wall: Timestamp) -> EventLine {
    let kind = serde_json::to_value(event.kind).ok();
    let kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    EventLine { t_ms: placed(event, from_wall), kind, message: event.message.clone() }
}

fn detected(seen: &Observed<'_>, fault: &FaultSpan) -> Option<u64> {
    let struck_at = fault.at.since(seen.from);
    let says_so = |event: &&Event| {
        matches!(event.kind, EventKind::Down | EventKind::Ejected)
            && event.provider.as_ref() == Some(&fault.provider)
            && (fault.service.is_none() || event.service == fault.service)
    };
    let told = seen.events.iter().filter(says_so).map(|event| placed(event, seen.from_wall));
    told.filter(|at| *at >= struck_at).min().map(|at| at - struck_at)
}

fn rerouted(seen: &Observed<'_>, fault: &FaultSpan) -> Option<u64> {
    let lasts = |due: Moment| fault.cleared.is_none_or(|cleared| due < cleared);
    let by_struck = |sample: &Sample| sample.provider.as_deref() == Some(fault.provider.as_str());
    let is_disturbed = |sample: &&Sample| {
        let by_struck = by_struck(sample);
        sample.failure.is_some()
            || is_slow(sample)
            || (fault.drives_off && by_struck && sample.due >= fault.at)
    };
    let under_fault = seen.samples.iter().filter(|s| lasts(s.due) && s.ended() >= fault.at);
    let until = |sample: &Sample| match sample.kind {
        Kind::Write if sample.provider.is_none() || by_struck(sample) => sample.due.max(fault.at),
        Kind::Read | Kind::Write => sample.ended(),
    };
    let last = under_fault.filter(is_disturbed).map(until).max();
    let Some(last) = last else {
        let any = seen.samples.iter().any(|s| s.due >= fault.at && lasts(s.due));
        return any.then_some(0);
    };
    let saw_it_over = seen.samples.iter().any(|s| s.due >= last && lasts(s.due));
    saw_it_over.then(|| last.since(fault.at))
}

fn returned(seen: &Observed<'_>, cleared: Moment, back: &Return) -> Option<u64> {
    let preferred = match back {
        Return::Events(provider) => {
            let from = cleared.since(seen.from);
            let says_so = |event: &&Event| {
                matches!(event.kind, EventKind::Failback | EventKind::Readmitted)
                    && event.provider.as_ref() == Some(provider)
            };
            let told = seen.events.iter().filter(says_so).map(|e| placed(e, seen.from_wall));
            return told.filter(|at| *at >= from).min().map(|at| at - from);
        }
        Return::Answers(provider) => provider.as_str(),
    };
    let good = |s: &&Sample| s.failure.is_none() && s.provider.is_some() && s.due >= cleared;
    let mut answers: Vec<(Moment, bool)> = seen
        .samples
        .iter()
        .filter(good)
        .map(|s| (s.due, s.provider.as_deref() == Some(preferred)))
        .collect();
    answers.sort_by_key(|(due, _)| *due);
    let last = answers.last()?.0;
    // A window that slides over the answers: those due within the second from answer `first` on.
    let (mut end, mut ours) = (0, 0_usize);
    for (first, (due, is_ours)) in answers.iter().enumerate() {
        while let Some((_, next_ours)) = answers.get(end).filter(|(at, _)| at.since(*due) < 1_000) {
            ours += usize::from(*next_ours);
            end += 1;
        }
        let is_whole = last.since(*due) >= 1_000;
        if *is_ours && is_whole && ours * 2 > end - first {
            return Some(due.since(cleared));
        }
        ours -= usize::from(*is_ours);
    }
    None
}

fn timeline(seen: &Observed<'_>) -> Vec<Bucket> {
    let place = |sample: &Sample| sample.due.since(seen.from) / BUCKET_MS;
    let Some(last) = seen.samples.iter().map(place).max() else { return Vec::new() };
    let mut buckets: Vec<Bucket> = (0..=last)
        .map(|number| Bucket { t_ms: number * BUCKET_MS, providers: BTreeMap::new(), failed: 0 })
        .collect();
    for sample in seen.samples {
        let number = usize::try_from(place(sample)).unwrap_or(usize::MAX);
        let Some(bucket) = buckets.get_mut(number) else { continue };
        if sample.failure.is_some() {
            bucket.failed += 1;
        } else {
            let provider = sample.provider.as_deref().unwrap_or("unknown");
            *bucket.providers.entry(provider.to_owned()).or_default() += 1;
        }
    }
    buckets
}

fn marks(
    seen: &Observed<'_>,
    detected: Option<u64>,
    rerouted: Option<u64>,
    back: Option<u64>,
) -> Vec<Mark> {
    let Some(fault) = seen.fault else { return Vec::new() };
    let struck = fault.at.since(seen.from);
    let cleared = fault.cleared.map(|cleared| cleared.since(seen.from));
    let later = |from: Option<u64>, ms: Option<u64>| from.zip(ms).map(|(from, ms)| from + ms);
    // What was not disturbed was not rerouted, and what never left did not come back.
    let [rerouted, back] = [rerouted, back].map(|ms| ms.filter(|ms| *ms > 0));
    let marks = [
        (MarkKind::Fault, Some(struck)),
        (MarkKind::Detected, later(Some(struck), detected)),
        (MarkKind::Rerouted, later(Some(struck), rerouted)),
        (MarkKind::Cleared, cleared),
        (MarkKind::Back, later(cleared, back)),
    ];
    let mut marks: Vec<Mark> =
        marks.into_iter().filter_map(|(kind, t_ms)| Some(Mark { t_ms: t_ms?, kind })).collect();
    marks.sort_by_key(|mark| (mark.t_ms, mark.kind));
    marks
}

fn checks(result: &ScenarioResult, seen: &Observed<'_>, wanted: &Expectations) -> Vec<Check> {
    let within = |what: &str, limit: Option<u64>, measured: Option<u64>| {
        limit.map(|limit| Check {
            what: what.to_owned(),
            expected: format!("within {}", duration(limit)),
            measured: measured.map_or_else(|| "never".to_owned(), duration),
            kept: measured.is_some_and(|measured| measured <= limit),
        })
    };
    let at_most = |what: &str, limit: Option<u64>, measured: u64| {
        limit.map(|limit| Check {
            what: what.to_owned(),
            expected: if limit == 0 {
                "none".to_owned()
            } else {
                format!("{} at most", number(limit))
            },
            measured: if measured == 0 { "none".to_owned() } else { number(measured) },
            kept: measured <= limit,
        })
    };
    let asked = Check {
        what: "visitors asked".to_owned(),
        expected: "all the time".to_owned(),
        measured: format!("{} requests", number(result.requests)),
        kept: result.requests > 0,
    };
    let quick = wanted.p99_at_most_ms.map(|limit| Check {
        what: "99 of 100 requests were answered".to_owned(),
        expected: format!("within {limit} ms"),
        measured: format!("{} ms", result.p99_ms),
        kept: result.p99_ms <= limit,
    });
    let ledger = &seen.ledger;
    let rows = [
        Some(asked),
        within("the fault was noticed", wanted.detected_within_ms, result.detected_ms),
        within("requests went elsewhere", wanted.rerouted_within_ms, result.rerouted_ms),
        within("the preferred provider served again", wanted.back_within_ms, result.back_ms),
        at_most("failed requests", wanted.failed_at_most, result.failed_requests),
        at_most(
            "failed idempotent requests",
            wanted.failed_idempotent_at_most,
            result.failed_idempotent,
        ),
        at_most("requests slower than 1 s", wanted.slow_at_most, result.slow_requests),
        quick,
        at_most("lost writes", Some(0), result.lost_writes),
        at_most("doubled writes", Some(0), result.doubled_writes),
        at_most("timer periods fired twice", Some(0), ledger.doubled_fires),
        at_most("timer periods missed", wanted.missed_fires_at_most, ledger.missed_fires),
    ];
    rows.into_iter().flatten().chain(wanted.also.iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
