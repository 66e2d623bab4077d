//! One incident for each cause: what is opened, what joins it, and what is over.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use linkflow_model::{Condition, Impact, Incident, IncidentStage, IncidentUpdate, Timestamp};

#[cfg(test)]
mod tests;

/// Who speaks in what LinkFlow says of an incident by itself.
pub const AUTHOR: &str = "linkflow";

/// How long something has to be down until the public is told without a person: shorter ones are over before anybody reads.
const PUBLIC_AFTER_MS: u64 = 120_000;

/// How something that is watched stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// As the config calls it: `monitor.api`, `database.main`.
    pub subject: String,
    /// What people call it.
    pub name: String,
    /// How it is.
    pub condition: Condition,
    /// Since when.
    pub since: Timestamp,
    /// Why, in a few words.
    pub why: Option<String>,
    /// What it needs, as the config calls it.
    pub needs: Vec<String>,
    /// Whether something that it needs may be about to be down: then that is waited for.
    pub held: bool,
    /// Whether it is not the public's business, such as a job at night.
    pub inner: bool,
    /// What sort of thing it is.
    pub sort: Sort,
}

/// What sort of thing is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// It answers when it is looked at.
    #[default]
    Answers,
    /// It reports by itself.
    Reports,
    /// It tells of errors that happened.
    Errors,
    /// It is registered for a time.
    Domain {
        /// Whether so little is left that somebody is needed now.
        grave: bool,
    },
}

impl Stands {
    fn is_bad(&self) -> bool {
        matches!(self.condition, Condition::Degraded | Condition::Partial | Condition::Down)
    }

    fn impact(&self) -> Impact {
        let grave = matches!(self.sort, Sort::Domain { grave: true });
        if self.condition == Condition::Down || grave { Impact::Major } else { Impact::Minor }
    }

    /// One line for the public.
    fn title(&self) -> String {
        let how = match (self.sort, self.condition) {
            (Sort::Domain { .. }, Condition::Down) => "is not registered any more",
            (Sort::Domain { .. }, _) => "may be lost",
            (Sort::Errors, _) => "tells of errors",
            (Sort::Reports, Condition::Degraded) => "does not run as it should",
            (Sort::Reports, _) => "does not report as it should",
            (Sort::Answers, Condition::Degraded) => "answers slowly",
            (Sort::Answers, Condition::Partial) => "answers only some",
            (
                Sort::Answers,
                Condition::Down | Condition::Up | Condition::Maintenance | Condition::Unknown,
            ) => "does not answer",
        };
        format!("{} {how}", self.name)
    }
}

/// The incidents that begin or change by how everything `stands` at `now`. `day` begins the ids of new ones, `20261129`;
/// `all` are those that there are.
///
/// Only what LinkFlow opened is changed. What cannot be seen opens nothing and ends nothing.
pub fn incidents(stands: &[Stands], all: &[Incident], now: Timestamp, day: &str) -> Vec<Incident> {
    let by_subject: BTreeMap<&str, &Stands> =
        stands.iter().map(|one| (one.subject.as_str(), one)).collect();
    let mut open: Vec<Incident> =
        all.iter().filter(|one| one.automatic && one.is_open()).cloned().collect();
    let mut ids: BTreeSet<String> = all.iter().map(|one| one.id.clone()).collect();
    for (cause, bad) in causes(stands, &by_subject) {
        let known = open.iter_mut().find(|one| {
            one.subjects.contains(&cause.subject)
                || bad.iter().any(|bad| one.cause.as_ref() == Some(&bad.subject))
        });
        match known {
            Some(known) => join(known, cause, &bad, now),
            None if cause.held => {}
            None => {
                let id = id_of(&format!("{day}-{}", slug(&cause.subject)), &ids);
                ids.insert(id.clone());
                open.push(begin(id, cause, &bad, now));
            }
        }
    }
    for incident in &mut open {
        tell_the_public(incident, &by_subject, now);
        end(incident, &by_subject, now);
    }
    open.retain(|one| all.iter().all(|before| before != one));
    open
}

/// What is bad, under what is the cause of it.
fn causes<'s>(
    stands: &'s [Stands],
    by_subject: &BTreeMap<&str, &'s Stands>,
) -> Vec<(&'s Stands, Vec<&'s Stands>)> {
    let mut causes: Vec<(&Stands, Vec<&Stands>)> = Vec::new();
    for bad in stands.iter().filter(|one| one.is_bad()) {
        let cause = cause_of(bad, by_subject);
        match causes.iter_mut().find(|(known, _)| known.subject == cause.subject) {
            Some((_, all)) => all.push(bad),
            None => causes.push((cause, vec![bad])),
        }
    }
    causes
}

/// What `bad` needs and is down, and what that needs, as far as it goes. Where needs go round in a circle, the first of it by
/// name.
fn cause_of<'s>(bad: &'s Stands, by_subject: &BTreeMap<&str, &'s Stands>) -> &'s Stands {
    let mut way = vec![bad];
    while let Some(need) = way.last().and_then(|last| need_that_is_down(last, by_subject)) {
        match way.iter().position(|before| before.subject == need.subject) {
            Some(circle) => {
                let round = way.split_off(circle);
                return round.into_iter().min_by(|a, b| a.subject.cmp(&b.subject)).unwrap_or(need);
            }
            None => way.push(need),
        }
    }
    way.pop().unwrap_or(bad)
}

fn need_that_is_down<'s>(
    one: &Stands,
    by_subject: &BTreeMap<&str, &'s Stands>,
) -> Option<&'s Stands> {
    let mut needs = one.needs.iter().filter_map(|need| by_subject.get(need.as_str()).copied());
    needs.find(|need| need.condition == Condition::Down && need.subject != one.subject)
}

fn begin(id: String, cause: &Stands, bad: &[&Stands], now: Timestamp) -> Incident {
    let began = bad.iter().map(|one| one.since).chain([cause.since]).min().unwrap_or(now);
    let mut incident = Incident {
        id,
        title: cause.title(),
        impact: cause.impact(),
        stage: IncidentStage::Investigating,
        began,
        ended: None,
        subjects: vec![cause.subject.clone()],
        cause: Some(cause.subject.clone()),
        automatic: true,
        public: false,
        acknowledged: None,
        updates: Vec::new(),
    };
    let text = format!("{}.", cause.title());
    say(&mut incident, now, IncidentStage::Investigating, text, true);
    if let Some(why) = &cause.why {
        let text = format!("{}: {why}", cause.subject);
        say(&mut incident, now, IncidentStage::Investigating, text, false);
    }
    join(&mut incident, cause, bad, now);
    incident
}

/// What else is affected, or more than before.
fn join(incident: &mut Incident, cause: &Stands, bad: &[&Stands], now: Timestamp) {
    // What was taken for the cause is itself taken down by another.
    let is_new = incident.cause.as_ref() != Some(&cause.subject)
        && bad.iter().any(|bad| incident.cause.as_ref() == Some(&bad.subject));
    if is_new {
        incident.cause = Some(cause.subject.clone());
        let text = format!("The cause is {}: {}.", cause.subject, cause.title());
        say(incident, now, IncidentStage::Identified, text, false);
    }
    let mut names = Vec::new();
    for one in bad.iter().copied().chain([cause]) {
        incident.impact = incident.impact.max(one.impact());
        if !incident.subjects.contains(&one.subject) {
            incident.subjects.push(one.subject.clone());
            names.push(one.name.as_str());
        }
    }
    if !names.is_empty() {
        let text = format!("Also affected: {}.", names.join(", "));
        let stage = incident.stage;
        say(incident, now, stage, text, true);
    }
}

fn tell_the_public(incident: &mut Incident, by_subject: &BTreeMap<&str, &Stands>, now: Timestamp) {
    let is_down = |subject: &String| {
        let one = by_subject.get(subject.as_str());
        one.is_some_and(|one| one.condition == Condition::Down && !one.inner)
    };
    let lasts = now.0.saturating_sub(incident.began.0) >= PUBLIC_AFTER_MS;
    if lasts && incident.subjects.iter().any(is_down) {
        incident.public = true;
    }
}

/// It is over when everything that it took answers again.
fn end(incident: &mut Incident, by_subject: &BTreeMap<&str, &Stands>, now: Timestamp) {
    let subjects = incident.subjects.iter();
    let known: Vec<&&Stands> = subjects.filter_map(|s| by_subject.get(s.as_str())).collect();
    let is_over = |one: &&&Stands| matches!(one.condition, Condition::Up | Condition::Maintenance);
    if !known.iter().all(is_over) {
        return;
    }
    let ended = known.iter().map(|one| one.since).max().unwrap_or(now).max(incident.began);
    incident.ended = Some(ended);
    let text = match known.is_empty() {
        true => "It is watched no more.".to_owned(),
        false => format!("It was over after {}.", words((ended.0 - incident.began.0) / 1_000)),
    };
    say(incident, now, IncidentStage::Resolved, text, true);
}

fn say(incident: &mut Incident, at: Timestamp, stage: IncidentStage, text: String, public: bool) {
    incident.stage = incident.stage.max(stage);
    let (stage, by) = (incident.stage, AUTHOR.to_owned());
    let (written, next) = (None, None);
    incident.updates.push(IncidentUpdate { at, stage, text, by, public, written, next });
}

/// A time in words: `45 s`, `12 min`, `3 h 5 min`.
fn words(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A subject without its kind, for an id: `api` of `monitor.api`, `example-com` of `domain.example.com`.
fn slug(subject: &str) -> String {
    subject.split_once('.').map_or(subject, |(_, name)| name).replace('.', "-")
}

/// `wanted`, or with a number behind it when there is one already.
fn id_of(wanted: &str, ids: &BTreeSet<String>) -> String {
    let numbered = (2..).map(|n: u32| format!("{wanted}-{n}"));
    [wanted.to_owned()].into_iter().chain(numbered).find(|id| !ids.contains(id)).unwrap_or_default()
}
