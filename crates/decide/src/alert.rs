//! Who is told of an incident, what and when: a level, a wait, reminders, quiet hours, steps for when nobody takes it, and
//! the all-clear.

use core::time::Duration;

use linkflow_model::{Impact, Incident, IncidentStage, Timestamp};
use serde::{Deserialize, Serialize};

/// A cause that came and went so often within [`FLAPPING_WITHIN`] is told only once it has lasted [`FLAPPING_WAIT`].
const FLAPPING: usize = 3;
/// In which time it came and went.
const FLAPPING_WITHIN: Duration = Duration::from_secs(3_600);
/// How long it then has to last.
const FLAPPING_WAIT: Duration = Duration::from_secs(300);
/// Minutes of a day.
const DAY: u64 = 24 * 60;

/// How much an incident matters. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Everything.
    Info,
    /// What is worth reading.
    Notice,
    /// Something is wrong and handled.
    Warning,
    /// Somebody is needed.
    Alarm,
}

/// When somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertRule {
    /// From which urgency on.
    pub least: Urgency,
    /// Only what has lasted so long.
    pub wait: Duration,
    /// Only when nobody has taken it for so long.
    pub after: Option<Duration>,
    /// Again after so long, until somebody takes it.
    pub repeat: Option<Duration>,
    /// The first and the last quiet minute of the day, in UTC; only alarms are told in it.
    pub quiet: Option<(u16, u16)>,
}

/// What one of them was told of an incident so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How often.
    pub times: u32,
    /// When the last time.
    pub last: Timestamp,
    /// How urgent it was then.
    pub urgency: Option<Urgency>,
    /// Whether that somebody has taken it was told.
    pub taken: bool,
    /// Whether the all-clear was told.
    pub over: bool,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tell {
    /// That it began.
    Began,
    /// That it is worse than was told.
    Worse,
    /// That it lasts.
    Still,
    /// That somebody has taken it.
    Taken,
    /// That it is over.
    Over,
}

/// What is due now, or when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alerting {
    /// To be told now.
    Tell(Tell),
    /// Nothing before this moment, unless the incident changes.
    Later(Timestamp),
    /// Nothing, unless the incident changes.
    Nothing,
}

/// How urgent an incident is.
pub fn urgency(incident: &Incident) -> Urgency {
    match incident.impact {
        Impact::None => Urgency::Notice,
        Impact::Minor => Urgency::Warning,
        Impact::Major | Impact::Critical => Urgency::Alarm,
    }
}

/// What one is told of `incident` at `now`, who goes by `rule` and was `told` so much. `all` are all incidents: a cause that
/// comes and goes is not told each time.
pub fn alert(
    rule: &AlertRule,
    incident: &Incident,
    told: &Told,
    all: &[Incident],
    now: Timestamp,
) -> Alerting {
    let urgency = urgency(incident);
    if told.over || urgency.max(told.urgency.unwrap_or(urgency)) < rule.least {
        return Alerting::Nothing;
    }
    let is_over = incident.stage >= IncidentStage::Resolved;
    let due = match (is_over, told.times) {
        // Who knows nothing of it needs no all-clear.
        (true, 0) => return Alerting::Nothing,
        (true, _) => (now, Tell::Over),
        (false, 0) => match first(rule, incident, all) {
            Some(at) => (at, Tell::Began),
            None => return Alerting::Nothing,
        },
        (false, _) => match next(rule, incident, told, urgency) {
            Some(due) => due,
            None => return Alerting::Nothing,
        },
    };
    let (at, what) = due;
    if at > now {
        return Alerting::Later(at);
    }
    match rule.quiet.filter(|_| urgency < Urgency::Alarm).and_then(|quiet| loud_again(quiet, now)) {
        Some(at) => Alerting::Later(at),
        None => Alerting::Tell(what),
    }
}

/// When the first word is due; never, where somebody took it before.
fn first(rule: &AlertRule, incident: &Incident, all: &[Incident]) -> Option<Timestamp> {
    if rule.after.is_some() && incident.acknowledged.is_some() {
        return None;
    }
    let wait = rule.wait.max(rule.after.unwrap_or_default());
    let wait = if is_flapping(incident, all) { wait.max(FLAPPING_WAIT) } else { wait };
    Some(later(incident.began, wait))
}

/// What is due next to one who was told.
fn next(
    rule: &AlertRule,
    incident: &Incident,
    told: &Told,
    urgency: Urgency,
) -> Option<(Timestamp, Tell)> {
    if told.urgency.is_some_and(|before| before < urgency) {
        return Some((told.last, Tell::Worse));
    }
    if let Some(taken) = &incident.acknowledged {
        return (!told.taken).then_some((taken.at, Tell::Taken));
    }
    rule.repeat.map(|repeat| (later(told.last, repeat), Tell::Still))
}

/// Whether its cause came and went several times lately.
fn is_flapping(incident: &Incident, all: &[Incident]) -> bool {
    let since = incident.began.0.saturating_sub(millis(FLAPPING_WITHIN));
    let same = |other: &&Incident| {
        other.id != incident.id
            && other.cause.as_ref().or(other.subjects.first())
                == incident.cause.as_ref().or(incident.subjects.first())
    };
    let recent = all.iter().filter(same).filter(|other| {
        other.began.0 >= since && other.ended.is_some_and(|ended| ended <= incident.began)
    });
    recent.count() >= FLAPPING
}

/// When the quiet hours end that `now` is in.
fn loud_again((from, to): (u16, u16), now: Timestamp) -> Option<Timestamp> {
    let (from, to) = (u64::from(from), u64::from(to));
    let minute = now.0 / 60_000;
    let of_day = minute % DAY;
    let is_quiet =
        if from < to { (from..to).contains(&of_day) } else { of_day >= from || of_day < to };
    let left = (to + DAY - of_day) % DAY;
    is_quiet.then(|| Timestamp((minute + left) * 60_000))
}

fn later(at: Timestamp, wait: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(millis(wait)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Told {
    /// What was told after `what` of an incident of `urgency`.
    #[must_use]
    pub fn after(&self, what: Tell, urgency: Urgency, now: Timestamp) -> Self {
        Self {
            times: self.times + 1,
            last: now,
            urgency: Some(self.urgency.map_or(urgency, |before| before.max(urgency))),
            taken: self.taken || what == Tell::Taken,
            over: what == Tell::Over,
        }
    }
}

/// Which of `count` is on duty at `now`, each for `turn`. The first turn began at the start of 1970's first Monday, so that
/// turns of a week begin on Mondays.
pub fn on_duty(count: usize, turn: Duration, now: Timestamp) -> usize {
    /// Thursday to Monday.
    const MONDAY: u64 = 4 * 86_400_000;
    let turns = now.0.saturating_sub(MONDAY) / millis(turn).max(1);
    usize::try_from(turns % u64::try_from(count.max(1)).unwrap_or(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
