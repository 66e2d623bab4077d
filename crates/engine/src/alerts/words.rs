//! What people are told of an incident.

use linkflow_decide::{Tell, Urgency, urgency};
use linkflow_model::role::{Notice, Tone};
use linkflow_model::{Incident, Timestamp};

/// What is told of `incident` at `now`, by a stack with a status page or without.
pub(super) fn notice(
    (stack, page): (&str, Option<&str>),
    incident: &Incident,
    what: Tell,
    now: Timestamp,
) -> Notice {
    let title = &incident.title;
    let lasted = lasted(incident.ended.unwrap_or(now).0.saturating_sub(incident.began.0));
    let (said, tone) = match what {
        Tell::Began => (title.clone(), tone(incident)),
        Tell::Worse => (format!("{title} (it got worse)"), tone(incident)),
        Tell::Still => (format!("{title} (for {lasted} now)"), tone(incident)),
        Tell::Taken => (format!("{title} (somebody looks after it)"), Tone::Plain),
        Tell::Over => (format!("{title} (over after {lasted})"), Tone::Good),
    };
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    if !incident.subjects.is_empty() {
        fact("affected", incident.subjects.join(", "));
    }
    if let Some(cause) = &incident.cause {
        fact("cause", cause.clone());
    }
    if let Some(taken) = &incident.acknowledged {
        fact("taken by", taken.by.clone());
    }
    if what == Tell::Over {
        fact("lasted", lasted);
    }
    fact("incident", incident.id.clone());
    let link = page.filter(|_| incident.public);
    let link = link
        .map(|page| ("Status page".to_owned(), format!("{page}/incident/{}.html", incident.id)));
    let text = incident.updates.last().map(|update| update.text.clone()).unwrap_or_default();
    Notice {
        tone,
        key: Some(incident.id.clone()),
        title: format!("{stack}: {said}"),
        text,
        facts,
        lines: Vec::new(),
        link,
    }
}

fn tone(incident: &Incident) -> Tone {
    match urgency(incident) {
        Urgency::Alarm => Tone::Bad,
        Urgency::Warning => Tone::Warning,
        Urgency::Notice | Urgency::Info => Tone::Plain,
    }
}

/// `41 s`, `7 min`, `3 h 20 min`, `2 d 4 h`.
fn lasted(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_two_units_at_most() {
        let told = |seconds: u64| lasted(seconds * 1_000);
        assert_eq!(
            [told(41), told(420), told(12_000), told(187_200)],
            ["41 s", "7 min", "3 h 20 min", "2 d 4 h"]
        );
    }
}
