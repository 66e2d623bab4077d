//! How something that must report by itself is, from its reports and from those that did not come.

#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use linkflow_model::{Beat, Condition, HeartbeatState, OpenRun, Rhythm, Says, Timestamp};

/// How many reports are remembered.
pub const RECENT: usize = 50;

/// How many runs may be open; what never ends is forgotten at last.
const OPEN: usize = 20;

/// By how much the end of a run may be dated before its beginning, in ms: a report takes at most 5 s on its way.
const OVERTAKES_MS: u64 = 5_000;

/// How much sooner than due a report may come and still be the one that was due: clocks differ.
const EARLY_MS: u64 = 5_000;

/// What is asked of a heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// When reports are due.
    pub rhythm: Rhythm,
    /// How late one may be.
    pub grace_ms: u64,
    /// How long a run may take.
    pub max_runtime_ms: Option<u64>,
    /// From which time on a run is slow.
    pub slow_ms: Option<u64>,
    /// How many in a row may fail or not come.
    pub failures: u32,
    /// Whether two runs at once are fine.
    pub overlap: bool,
}

/// A time in which nobody listened: what was sent then was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deaf {
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
}

/// A heartbeat that is waited for from `now` on. The first report is due as any other is.
pub fn begin(terms: &Terms, now: Timestamp) -> HeartbeatState {
    HeartbeatState {
        asked: String::new(),
        condition: Condition::Unknown,
        since: now,
        why: Some("it has not reported yet".to_owned()),
        expected: terms.rhythm.after(now),
        last: None,
        took_ms: None,
        failures: 0,
        runs: Vec::new(),
        recent: Vec::new(),
    }
}

/// Takes `beat` in. One that was taken in before changes nothing; says whether this one is new.
pub fn heard(terms: &Terms, state: &mut HeartbeatState, beat: &Beat) -> bool {
    if state.recent.iter().any(|known| known.id == beat.id) {
        return false;
    }
    let mut beat = beat.clone();
    if let Some(end) = overtaken(state, &beat) {
        remember(state, end, beat);
        return true;
    }
    // It is remembered as it came: its output is kept under the time that it had.
    let came = beat.at;
    beat.at = beat.at.max(began(state, &beat).unwrap_or_default());
    if beat.says != Says::Log {
        // What was overdue before it came is so, whenever that is noticed.
        passed(terms, state, beat.at);
        let slot = terms.rhythm.after(Timestamp(beat.at.0.saturating_add(early(terms))));
        state.expected = state.expected.max(slot);
    }
    // What comes late says nothing of how it is now.
    let is_old = state.last.is_some_and(|last| beat.at < last);
    if !is_old && beat.says != Says::Log {
        state.last = Some(beat.at);
        take(terms, state, &mut beat);
    }
    beat.at = came;
    remember(state, state.recent.len(), beat);
    true
}

/// Puts `beat` before the report at `place`, and forgets the oldest.
fn remember(state: &mut HeartbeatState, place: usize, beat: Beat) {
    state.recent.insert(place, beat);
    let more = state.recent.len().saturating_sub(RECENT);
    state.recent.drain(..more);
}

/// Which report ended the run that `beat` begins, where that one came first: two that come at once, or are sent later and
/// dated back, may change places. An end that has its beginning belongs to another run under the same name.
fn overtaken(state: &HeartbeatState, beat: &Beat) -> Option<usize> {
    let series = beat.series.as_ref().filter(|_| beat.says == Says::Run)?;
    let mut same = state
        .recent
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, known)| known.says != Says::Log && known.series.as_ref() == Some(series));
    let (at, end) = same.next().filter(|(_, known)| known.says.is_end())?;
    let has_begun = same.next().is_some_and(|(_, known)| known.says == Says::Run);
    let is_near = beat.at.0 <= end.at.0.saturating_add(OVERTAKES_MS);
    (is_near && !has_begun).then_some(at)
}

/// When the run that `beat` ends began, where that was a little later by the clock: nothing ends before it begins.
fn began(state: &HeartbeatState, beat: &Beat) -> Option<Timestamp> {
    let named = beat.series.is_some() && beat.says.is_end();
    let open = state.runs.iter().find(|open| named && open.series == beat.series)?;
    let is_near = open.since.0 <= beat.at.0.saturating_add(OVERTAKES_MS);
    is_near.then_some(open.since)
}

fn take(terms: &Terms, state: &mut HeartbeatState, beat: &mut Beat) {
    if beat.says.is_end() {
        beat.took_ms = beat.took_ms.or_else(|| ended(state, beat));
        // A run that says itself how long it took is over as well.
        state.runs.retain(|open| open.series != beat.series);
    }
    match beat.says {
        Says::Run => run(terms, state, beat),
        Says::Complete | Says::Ok => well(terms, state, beat),
        Says::Fail => {
            let why = match (beat.exit, &beat.message) {
                (_, Some(message)) => format!("failed: {}", first_line(message)),
                (Some(exit), None) => format!("failed with exit code {exit}"),
                (None, None) => "failed".to_owned(),
            };
            failed(terms, state, beat.at, why);
        }
        Says::Log => {}
    }
}

/// One of our own jobs has done its work once more.
pub fn lives(terms: &Terms, state: &mut HeartbeatState, now: Timestamp) {
    passed(terms, state, now);
    state.last = Some(now);
    state.expected = terms.rhythm.after(now);
    state.failures = 0;
    turn(state, Condition::Up, now, None);
}

/// How much sooner than due a report may come.
fn early(terms: &Terms) -> u64 {
    match terms.rhythm {
        // It is due so long after the one before, whenever that came.
        Rhythm::Every(_) => 0,
        Rhythm::Cron(..) => EARLY_MS.min(terms.grace_ms),
    }
}

fn run(terms: &Terms, state: &mut HeartbeatState, beat: &Beat) {
    let others = !state.runs.is_empty();
    let same = state.runs.iter().position(|open| open.series == beat.series);
    if let Some(before) = same.map(|at| state.runs.remove(at)) {
        // Soon after, it is the same report, sent twice.
        let is_other = beat.at.0 > before.since.0.saturating_add(terms.grace_ms);
        if is_other && !before.unsure {
            failed(terms, state, beat.at, "the run before never ended".to_owned());
        }
    }
    let series = beat.series.clone();
    state.runs.push(OpenRun { series, since: beat.at, unsure: false });
    let more = state.runs.len().saturating_sub(OPEN);
    state.runs.drain(..more);
    if others && !terms.overlap && state.condition != Condition::Down {
        turn(state, Condition::Degraded, beat.at, Some("two runs at once".to_owned()));
    }
}

/// Ends the run that `beat` belongs to; how long it took.
fn ended(state: &mut HeartbeatState, beat: &Beat) -> Option<u64> {
    let at = state.runs.iter().position(|open| open.series == beat.series)?;
    let open = state.runs.remove(at);
    Some(beat.at.0.saturating_sub(open.since.0))
}

fn well(terms: &Terms, state: &mut HeartbeatState, beat: &Beat) {
    state.failures = 0;
    state.took_ms = beat.took_ms.or(state.took_ms);
    let slow = terms.slow_ms.zip(beat.took_ms).filter(|(slow, took)| took > slow);
    let both = !terms.overlap && state.runs.len() > 1;
    match slow {
        Some((slow, took)) => {
            let why = format!("a run took {}, more than {}", words(took), words(slow));
            turn(state, Condition::Degraded, beat.at, Some(why));
        }
        None if both => {}
        None => turn(state, Condition::Up, beat.at, None),
    }
}

/// Counts a failure at `at`, and says that it is down when there were too many in a row.
fn failed(terms: &Terms, state: &mut HeartbeatState, at: Timestamp, why: String) {
    state.failures = state.failures.saturating_add(1);
    if state.failures > terms.failures {
        turn(state, Condition::Down, at, Some(why));
    } else if state.condition == Condition::Unknown {
        turn(state, Condition::Up, at, Some(why));
    }
}

/// Time has passed up to `now`: what is overdue counts from the moment at which it was.
pub fn passed(terms: &Terms, state: &mut HeartbeatState, now: Timestamp) {
    loop {
        let missed = state.expected.map(|due| Timestamp(due.0.saturating_add(terms.grace_ms)));
        let late = late_run(terms, state);
        let next = missed.into_iter().chain(late.map(|(at, _)| at)).min();
        let Some(at) = next.filter(|at| *at <= now) else { return };
        match late.filter(|(late, _)| *late == at) {
            Some((_, index)) => {
                let open = state.runs.remove(index);
                if open.unsure {
                    may_be(state, at, "a run may have ended while nobody listened");
                } else {
                    let long = words(at.0.saturating_sub(open.since.0));
                    failed(terms, state, at, format!("a run has not ended after {long}"));
                }
                if state.expected.is_some_and(|due| due < at && terms.max_runtime_ms.is_none()) {
                    state.expected = next_due(terms, state.expected, now);
                }
            }
            None => {
                let why = format!("no report {} after it was due", words(terms.grace_ms));
                state.expected = next_due(terms, state.expected, now);
                failed(terms, state, at, why);
            }
        }
    }
}

/// What is due after `due`, of which it is known that it did not come.
fn next_due(terms: &Terms, due: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let next = terms.rhythm.after(due?)?;
    // Of many that did not come one says enough.
    let long_ago = now.0.saturating_sub(terms.grace_ms.saturating_mul(2).max(86_400_000));
    if next.0 < long_ago { terms.rhythm.after(Timestamp(long_ago)) } else { Some(next) }
}

/// When the first run takes too long, and which it is. Without a limit it must end before the next one is overdue.
fn late_run(terms: &Terms, state: &HeartbeatState) -> Option<(Timestamp, usize)> {
    let ends = state.runs.iter().enumerate().filter_map(|(index, open)| {
        let at = match terms.max_runtime_ms {
            Some(most) => Timestamp(open.since.0.saturating_add(most)),
            None => {
                let next = terms.rhythm.after(Timestamp(open.since.0 + early(terms)))?;
                Timestamp(next.0.saturating_add(terms.grace_ms))
            }
        };
        Some((at, index))
    });
    ends.min()
}

/// Nobody listened for a while: what may have been sent then counts for nothing, neither well nor missed.
pub fn deaf(terms: &Terms, state: &mut HeartbeatState, deaf: Deaf) {
    passed(terms, state, deaf.from);
    let early = terms.grace_ms.max(EARLY_MS);
    // Where none was heard since nobody listened before, it is not known when the next one comes.
    let is_loose =
        matches!(terms.rhythm, Rhythm::Every(_)) && state.condition == Condition::Unknown;
    let excused =
        is_loose || state.expected.is_some_and(|due| due.0.saturating_sub(early) < deaf.to.0);
    if excused {
        state.expected = match terms.rhythm {
            Rhythm::Every(ms) => Some(Timestamp(deaf.to.0.saturating_add(ms))),
            Rhythm::Cron(..) => terms.rhythm.after(deaf.to),
        };
    }
    state.runs.iter_mut().filter(|open| open.since <= deaf.to).for_each(|open| open.unsure = true);
    if excused {
        may_be(state, deaf.from, "nobody listened when it was due");
    }
}

/// Nobody knows how it is; what was down before is so still.
fn may_be(state: &mut HeartbeatState, since: Timestamp, why: &str) {
    if state.condition != Condition::Down {
        turn(state, Condition::Unknown, since, Some(why.to_owned()));
    }
}

/// The clock was set back to `now`: what lies ahead of it is taken to be now.
pub fn set_back(terms: &Terms, state: &mut HeartbeatState, now: Timestamp) {
    state.last = state.last.map(|last| last.min(now));
    state.since = state.since.min(now);
    for open in &mut state.runs {
        open.since = open.since.min(now);
    }
    state.expected = terms.rhythm.after(now);
}

/// It is waited for again from `now` on.
pub fn resume(terms: &Terms, state: &mut HeartbeatState, now: Timestamp) {
    let recent = core::mem::take(&mut state.recent);
    let asked = core::mem::take(&mut state.asked);
    *state = HeartbeatState { asked, recent, last: state.last, ..begin(terms, now) };
}

fn turn(state: &mut HeartbeatState, condition: Condition, since: Timestamp, why: Option<String>) {
    if state.condition != condition {
        state.condition = condition;
        state.since = since.max(state.since);
    }
    state.why = why;
}

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A time in words: `45 s`, `12 min`, `3 h 5 min`.
fn words(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3_600 if s % 60 != 0 => format!("{} min {} s", s / 60, s % 60),
        s @ 60..3_600 => format!("{} min", s / 60),
        s if s / 60 % 60 == 0 => format!("{} h", s / 3_600),
        s => format!("{} h {} min", s / 3_600, s / 60 % 60),
    }
}
