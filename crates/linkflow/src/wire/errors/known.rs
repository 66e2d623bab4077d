//! What was told of one provider's errors, and which of them are open by it.

use std::collections::BTreeMap;

use linkflow_decide::{Sort, Stands};
use linkflow_model::{Condition, ProviderName, Timestamp};
use linkflow_store::{Store, StoreError};
use linkflow_web::hook::Report;
use serde::{Deserialize, Serialize};

/// How long an issue is not told again, and how long its incident lasts without another, in ms.
pub(super) const QUIET_MS: u64 = 3_600_000;

/// How long it is known that a metric alert was told, in ms: a hook that was recorded may be sent again much later.
const KNOWN_MS: u64 = 30 * 86_400_000;

/// How many of each sort are known at most. The oldest are forgotten.
const MOST: usize = 1_000;

/// What was told of one provider, and when; a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Known {
    /// Issues by their ids.
    issues: BTreeMap<String, Timestamp>,
    /// Metric alerts by id and action.
    metrics: BTreeMap<String, Timestamp>,
    /// Issues that were told and that nobody has resolved since, by their ids: when, and in a few words.
    pub(super) open: BTreeMap<String, (Timestamp, String)>,
    /// When the last of them was over.
    over: Timestamp,
}

impl Known {
    /// The key of the document of `provider`.
    pub(super) fn key(provider: &ProviderName) -> String {
        format!("errors/{provider}")
    }

    /// What was told of `provider`, with the version of the document.
    pub(super) async fn read(
        store: &dyn Store,
        provider: &ProviderName,
    ) -> Result<(Self, Option<u64>), StoreError> {
        let document = store.read(&Self::key(provider)).await?;
        let version = document.as_ref().map(|document| document.version);
        let known = document.and_then(|held| serde_json::from_value(held.body).ok());
        Ok((known.unwrap_or_default(), version))
    }

    /// Whether `report` tells nothing new: it was told lately, or that something is over that nobody told of.
    pub(super) fn has(&self, report: &Report, now: Timestamp) -> bool {
        let is_within =
            |at: Option<&Timestamp>, ms: u64| at.is_some_and(|at| now.0.saturating_sub(at.0) < ms);
        match report {
            Report::Issue { id } => is_within(self.issues.get(id), QUIET_MS),
            Report::Over { id } => !is_within(self.issues.get(id), QUIET_MS),
            Report::Metric { id, action, .. } => {
                is_within(self.metrics.get(&format!("{id} {action}")), KNOWN_MS)
            }
        }
    }

    /// Remembers that `report` was told, of an issue that is `open` in these words, and forgets what is old.
    pub(super) fn add(&mut self, report: &Report, open: Option<String>, now: Timestamp) {
        match report {
            Report::Issue { id } => {
                self.issues.insert(id.clone(), now);
                self.open.extend(open.map(|words| (id.clone(), (now, words))));
            }
            // What comes back is told anew, however soon.
            Report::Over { id } => {
                self.issues.remove(id);
                if self.open.remove(id).is_some() {
                    self.over = now;
                }
            }
            Report::Metric { id, action, .. } => {
                self.metrics.insert(format!("{id} {action}"), now);
            }
        }
        keep(&mut self.issues, |at| now.0.saturating_sub(at.0) < QUIET_MS);
        keep(&mut self.metrics, |at| now.0.saturating_sub(at.0) < KNOWN_MS);
        let ended = self.open.values().map(|(at, _)| Timestamp(at.0.saturating_add(QUIET_MS)));
        self.over = ended.filter(|at| *at <= now).fold(self.over, Ord::max);
        self.open.retain(|id, _| self.issues.contains_key(id));
    }

    /// Whether errors of `provider` come, and since when: for as long as an issue that was told lately is open.
    pub(super) fn stands(&self, provider: &ProviderName, now: Timestamp) -> Stands {
        let lasts = |at: &Timestamp| now.0.saturating_sub(at.0) < QUIET_MS;
        let open = || self.open.values().filter(|(at, _)| lasts(at));
        let ended = self.open.values().map(|(at, _)| Timestamp(at.0.saturating_add(QUIET_MS)));
        let over = ended.filter(|at| *at <= now).fold(self.over, Ord::max);
        let began = open().map(|(at, _)| *at).min();
        let why = open().max_by_key(|(at, _)| *at).map(|(_, words)| words.clone());
        Stands {
            subject: format!("errors.{provider}"),
            name: provider.to_string(),
            condition: if began.is_some() { Condition::Degraded } else { Condition::Up },
            since: began.unwrap_or(over),
            why,
            needs: Vec::new(),
            held: false,
            inner: true,
            sort: Sort::Errors,
        }
    }
}

/// Keeps what `lasts` of `held`, and of that the newest.
fn keep(held: &mut BTreeMap<String, Timestamp>, lasts: impl Fn(&Timestamp) -> bool) {
    held.retain(|_, at| lasts(at));
    while held.len() > MOST {
        let oldest = held.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
        held.remove(&oldest.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(id: usize) -> Report {
        Report::Issue { id: id.to_string() }
    }

    fn over(id: usize) -> Report {
        Report::Over { id: id.to_string() }
    }

    fn metric(action: &str) -> Report {
        let (id, title) = ("4".to_owned(), "Too many errors".to_owned());
        Report::Metric { id, action: action.to_owned(), title }
    }

    #[test]
    fn an_issue_is_told_once_an_hour_and_a_change_of_a_metric_alert_once() {
        let mut known = Known::default();
        let (now, hour) = (Timestamp(1_000), Timestamp(1_000 + QUIET_MS));
        for report in [issue(7), metric("critical")] {
            assert!(!known.has(&report, now));
            known.add(&report, None, now);
            assert!(known.has(&report, Timestamp(hour.0 - 1)));
        }
        assert!(!known.has(&issue(8), now));
        assert!(!known.has(&issue(7), hour));
        assert!(known.has(&metric("critical"), hour), "a recorded hook tells nothing new");
        assert!(!known.has(&metric("resolved"), hour));
    }

    #[test]
    fn an_end_is_told_of_what_was_told_and_what_comes_back_is_told_anew() {
        let (mut known, now) = (Known::default(), Timestamp(1_000));
        assert!(known.has(&over(7), now), "nobody was told of it");
        known.add(&issue(7), None, now);
        assert!(!known.has(&over(7), now));
        known.add(&over(7), None, now);
        assert!(known.has(&over(7), now) && !known.has(&issue(7), now));
    }

    #[test]
    fn errors_come_until_each_issue_is_over_or_an_hour_has_passed() {
        let (mut known, provider) = (Known::default(), ProviderName::new("sentry").unwrap());
        let mut check = |told: Option<(Report, Option<&str>)>,
                         now: u64,
                         expected: (bool, u64, Option<&str>)| {
            if let Some((report, open)) = told {
                known.add(&report, open.map(str::to_owned), Timestamp(now));
            }
            let stands = known.stands(&provider, Timestamp(now));
            let comes = stands.condition == Condition::Degraded;
            assert_eq!((comes, stands.since.0, stands.why.as_deref()), expected, "at {now}");
        };
        check(None, 5, (false, 0, None));
        check(Some((issue(7), Some("seven"))), 10, (true, 10, Some("seven")));
        check(Some((issue(8), Some("eight"))), 20, (true, 10, Some("eight")));
        check(Some((metric("critical"), None)), 25, (true, 10, Some("eight")));
        check(Some((over(7), None)), 30, (true, 20, Some("eight")));
        check(Some((over(8), None)), 40, (false, 40, None));
        check(Some((issue(9), Some("nine"))), 50, (true, 50, Some("nine")));
        check(None, 49 + QUIET_MS, (true, 50, Some("nine")));
        check(None, 50 + QUIET_MS, (false, 50 + QUIET_MS, None));
        check(Some((issue(6), None)), 90 + QUIET_MS, (false, 50 + QUIET_MS, None));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut known = Known::default();
        for id in 0..MOST + 10 {
            known.add(&issue(id), Some("x".to_owned()), Timestamp(id as u64));
        }
        assert_eq!((known.issues.len(), known.open.len()), (MOST, MOST));
        assert!(!known.issues.contains_key("9") && known.issues.contains_key("10"));
        known.add(&issue(1), None, Timestamp(QUIET_MS * 3));
        assert_eq!((known.issues.len(), known.open.len()), (1, 0));
    }
}
