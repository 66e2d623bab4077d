//! One history of several subjects: at each moment the worst of them counts.

use linkflow_model::monitor::{Condition, StateSpan};
use linkflow_model::{Maintenance, Timestamp};

use super::page::Stretch;

/// The history of what is watched by `subjects`, each with its spans, oldest first, until `now`.
///
/// While announced work on a subject is under way, whatever it answers is no outage. A subject of which nothing is known at
/// a moment is unknown then, not up.
pub(super) fn merge(
    subjects: &[(&str, Vec<StateSpan>)],
    work: &[Maintenance],
    now: Timestamp,
) -> Vec<Stretch> {
    let mut cuts: Vec<Timestamp> = vec![now];
    for (subject, spans) in subjects {
        cuts.extend(spans.iter().flat_map(|span| [Some(span.from), span.to]).flatten());
        cuts.extend(announced(subject, work).flat_map(|work| [work.from, work.to]));
    }
    cuts.retain(|cut| *cut <= now);
    cuts.sort_unstable();
    cuts.dedup();
    let mut merged: Vec<Stretch> = Vec::new();
    let mut cursors = vec![0; subjects.len()];
    for pair in cuts.windows(2) {
        let &[from, to] = pair else { continue };
        let each = subjects.iter().zip(&mut cursors).map(|((subject, spans), cursor)| {
            if announced(subject, work).any(|work| work.is_on(from)) {
                return Condition::Maintenance;
            }
            seen(spans, cursor, from)
        });
        let condition = each.max().unwrap_or_default();
        match merged.last_mut() {
            Some(last) if last.condition == condition => last.to = to,
            _ => merged.push(Stretch { condition, from, to }),
        }
    }
    merged
}

fn announced<'a>(
    subject: &'a str,
    work: &'a [Maintenance],
) -> impl Iterator<Item = &'a Maintenance> {
    let about = move |work: &&Maintenance| work.subjects.iter().any(|named| named == subject);
    work.iter().filter(|work| !work.cancelled).filter(about)
}

/// How a subject was at `at`, which grows from call to call.
fn seen(spans: &[StateSpan], cursor: &mut usize, at: Timestamp) -> Condition {
    while spans.get(*cursor).is_some_and(|span| span.to.is_some_and(|to| to <= at)) {
        *cursor += 1;
    }
    let span = spans.get(*cursor).filter(|span| span.from <= at);
    span.map_or(Condition::Unknown, |span| span.condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `up:0-10 down:10-20 up:20-` as spans.
    fn spans(subject: &str, text: &str) -> Vec<StateSpan> {
        let one = |word: &str| {
            let (condition, times) = word.split_once(':').unwrap();
            let (from, to) = times.split_once('-').unwrap();
            StateSpan {
                subject: subject.to_owned(),
                condition: serde_json::from_value(condition.into()).unwrap(),
                from: Timestamp(from.parse().unwrap()),
                to: (!to.is_empty()).then(|| Timestamp(to.parse().unwrap())),
                why: None,
            }
        };
        text.split_whitespace().map(one).collect()
    }

    fn check(a: &str, b: &str, work: Option<(u64, u64, &str)>, expected: &str) {
        let mut subjects = vec![("a", spans("a", a))];
        if !b.is_empty() {
            subjects.push(("b", spans("b", b)));
        }
        let work: Vec<Maintenance> = work
            .into_iter()
            .map(|(from, to, subject)| Maintenance {
                id: "m".to_owned(),
                title: "Work".to_owned(),
                text: String::new(),
                from: Timestamp(from),
                to: Timestamp(to),
                subjects: vec![subject.to_owned()],
                cancelled: false,
                sequence: 0,
                changed: Timestamp(0),
                recurs: None,
            })
            .collect();
        let merged = merge(&subjects, &work, Timestamp(100));
        let said: Vec<String> = merged
            .iter()
            .map(|s| {
                let word = serde_json::to_value(s.condition).unwrap();
                format!("{}:{}-{}", word.as_str().unwrap(), s.from.0, s.to.0)
            })
            .collect();
        assert_eq!(said.join(" "), expected, "{a} | {b}");
    }

    #[test]
    fn the_worst_of_several_counts_at_each_moment() {
        check("up:0-10 down:10-20 up:20-", "", None, "up:0-10 down:10-20 up:20-100");
        check(
            "up:0-30 down:30-40 up:40-",
            "up:0-35 degraded:35-50 up:50-",
            None,
            "up:0-30 down:30-40 degraded:40-50 up:50-100",
        );
    }

    #[test]
    fn what_was_not_looked_at_is_unknown_and_not_up() {
        check("up:0-", "up:50-", None, "unknown:0-50 up:50-100");
        check("up:0-10 up:20-", "", None, "up:0-10 unknown:10-20 up:20-100");
    }

    #[test]
    fn announced_work_is_no_outage_of_what_it_is_about() {
        let work = Some((10, 40, "a"));
        check("up:0-15 down:15-30 up:30-", "", work, "up:0-10 maintenance:10-40 up:40-100");
        check(
            "up:0-",
            "up:0-20 down:20-30 up:30-",
            work,
            "up:0-10 maintenance:10-20 down:20-30 maintenance:30-40 up:40-100",
        );
        check("up:0-", "", Some((10, 40, "c")), "up:0-100");
    }

    #[test]
    fn nothing_known_at_all_is_an_empty_history() {
        check("", "", None, "");
    }
}
