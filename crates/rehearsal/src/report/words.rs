//! Figures and moments as people read them.

use std::collections::BTreeSet;

use linkflow_model::Timestamp;

use super::{BUCKET_MS, Bucket, Mark, MarkKind, ScenarioResult};

/// Milliseconds as people say them: `312 ms`, `4.1 s`, `2 min 05 s`.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..100_000 => format!("{:.1} s", (ms as f64 / 100.0).round() / 10.0),
        _ => {
            let seconds = (ms + 500) / 1_000;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}

/// A latency: `0.8 ms`, `41 ms`, `1.2 s`.
pub(super) fn latency(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { duration(ms.round() as u64) }
}

/// A duration that may not be there.
pub(super) fn maybe(ms: Option<u64>) -> String {
    ms.map_or_else(|| "–".to_owned(), duration)
}

/// A number with its thousands apart: `12 034`, with a space that does not break the line.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut apart = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            apart.push('\u{a0}');
        }
        apart.push(digit);
    }
    apart
}

/// `1 scenario`, `2 scenarios`.
pub(super) fn count(how_many: usize, one: &str) -> String {
    format!("{}\u{a0}{one}{}", number(how_many as u64), if how_many == 1 { "" } else { "s" })
}

/// A moment of a scenario, in seconds from its start: `12.3 s`.
pub(super) fn moment(t_ms: u64) -> String {
    format!("{:.1}\u{a0}s", t_ms as f64 / 1_000.0)
}

/// The time on the wall, in UTC: `2026-11-24 01:20`.
pub(super) fn wall(at: Timestamp) -> String {
    let (days, minutes) = (at.0 / 86_400_000, at.0 / 60_000 % 1_440);
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

/// The date, `days` after 1970-01-01: days are counted from a first of March, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl MarkKind {
    /// What a person calls the moment.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Detected => "noticed",
            Self::Rerouted => "rerouted",
            Self::Cleared => "lifted",
            Self::Back => "back",
        }
    }

    /// What its time is counted from, if not from the start.
    fn since(self) -> Option<Self> {
        match self {
            Self::Detected | Self::Rerouted => Some(Self::Fault),
            Self::Back => Some(Self::Cleared),
            Self::Fault | Self::Cleared => None,
        }
    }
}

/// Each moment of a scenario in a few words: `fault at 5.0 s`, `noticed after 312 ms`.
pub(super) fn marks(scenario: &ScenarioResult) -> Vec<(Mark, String)> {
    let of = |kind| scenario.marks.iter().find(|mark| mark.kind == kind);
    let words = |mark: &Mark| {
        let name = mark.kind.name();
        match mark.kind.since().and_then(of) {
            Some(from) => format!("{name} after {}", duration(mark.t_ms.saturating_sub(from.t_ms))),
            None => format!("{name} at {}", moment(mark.t_ms)),
        }
    };
    scenario.marks.iter().map(|mark| (*mark, words(mark))).collect()
}

/// Who answered from when to when, as sentences: what a chart shows, for those who do not see it.
pub(super) fn told(scenario: &ScenarioResult) -> String {
    let mut sentences = Vec::new();
    for provider in providers(scenario) {
        let by = |bucket: &Bucket| bucket.providers.get(&provider).copied().unwrap_or(0);
        sentences.push(format!("{provider} answered {}", spans(&scenario.timeline, by)));
    }
    if scenario.failed_requests > 0 {
        let failed =
            count(usize::try_from(scenario.failed_requests).unwrap_or(usize::MAX), "request");
        let when = spans(&scenario.timeline, |bucket| bucket.failed);
        sentences.push(format!("{failed} failed {when}"));
    } else {
        sentences.push("no request failed".to_owned());
    }
    let marks = marks(scenario).into_iter().map(|(_, words)| words).collect::<Vec<_>>();
    if !marks.is_empty() {
        sentences.push(marks.join(", "));
    }
    let sentences = sentences.iter().map(|sentence| {
        let mut letters = sentence.chars();
        let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
        // A provider's name is written as it is in the config.
        if providers(scenario).iter().any(|name| sentence.starts_with(name.as_str())) {
            format!("{sentence}.")
        } else {
            format!("{first}{}.", letters.as_str())
        }
    });
    sentences.collect::<Vec<_>>().join(" ")
}

/// The providers that answered in a scenario, by name.
pub(super) fn providers(scenario: &ScenarioResult) -> Vec<String> {
    let names = scenario.timeline.iter().flat_map(|bucket| bucket.providers.keys());
    names.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// When there were any, in words: gaps of under half a second are no gaps, and after four spans the rest is counted.
fn spans(timeline: &[Bucket], how_many: impl Fn(&Bucket) -> u32) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for bucket in timeline.iter().filter(|bucket| how_many(bucket) > 0) {
        match spans.last_mut() {
            Some((_, end)) if bucket.t_ms < *end + 500 => *end = bucket.t_ms + BUCKET_MS,
            _ => spans.push((bucket.t_ms, bucket.t_ms + BUCKET_MS)),
        }
    }
    let words = |(from, to): &(u64, u64)| format!("from {} to {}", moment(*from), moment(*to));
    let mut told = spans.iter().take(4).map(words).collect::<Vec<_>>();
    if spans.len() > 4 {
        told.push(format!("{} later", count(spans.len() - 4, "time")));
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_say_them() {
        let rows = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (4_149, "4.1 s"),
            (99_940, "99.9 s"),
            (125_000, "2 min 05 s"),
        ];
        for (ms, wanted) in rows {
            assert_eq!(duration(ms), wanted);
        }
        assert_eq!(
            (latency(0.84), latency(41.4), latency(1_240.0)),
            ("0.8 ms".into(), "41 ms".into(), "1.2 s".into())
        );
        for (value, wanted) in
            [(0, "0"), (999, "999"), (1_000, "1 000"), (12_034_567, "12 034 567")]
        {
            assert_eq!(number(value).replace('\u{a0}', " "), wanted);
        }
    }

    #[test]
    fn a_date_is_the_date_that_the_calendar_says() {
        let rows = [
            (0, "1970-01-01 00:00"),
            (951_782_400_000, "2000-02-29 00:00"),
            (1_709_251_199_000, "2024-02-29 23:59"),
            (1_709_251_200_000, "2024-03-01 00:00"),
            (4_107_542_400_000, "2100-03-01 00:00"),
        ];
        for (ms, wanted) in rows {
            assert_eq!(wall(Timestamp(ms)), wanted);
        }
    }
}
