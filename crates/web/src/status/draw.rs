//! The drawings: bars of days, the line of response times, and the marks of conditions.

use linkflow_model::monitor::Condition;

use super::page::Latency;

/// The letter of a condition in the classes of the style sheet.
pub(super) fn class(condition: Condition) -> &'static str {
    match condition {
        Condition::Up => "u",
        Condition::Maintenance => "m",
        Condition::Unknown => "n",
        Condition::Degraded => "d",
        Condition::Partial => "p",
        Condition::Down => "x",
    }
}

/// The mark of a condition, which tells it apart without colour.
pub(super) fn glyph(condition: Condition) -> &'static str {
    match condition {
        Condition::Up => "✓",
        Condition::Maintenance => "◆",
        Condition::Unknown => "?",
        Condition::Degraded => "▼",
        Condition::Partial => "◐",
        Condition::Down => "✕",
    }
}

/// All conditions, from the best to the worst.
pub(super) const ALL: [Condition; 6] = [
    Condition::Up,
    Condition::Degraded,
    Condition::Partial,
    Condition::Down,
    Condition::Maintenance,
    Condition::Unknown,
];

/// How high a bar is, of 32: trouble stands out of a quiet row.
fn height(condition: Condition) -> usize {
    match condition {
        Condition::Up | Condition::Maintenance | Condition::Unknown => 20,
        Condition::Degraded => 24,
        Condition::Partial => 28,
        Condition::Down => 32,
    }
}

/// The width of a day.
pub(super) const STEP: usize = 5;

/// The bars of `days`, oldest first, as paths: one for each condition.
pub(super) fn bars(days: &[Condition]) -> String {
    let mut out = String::new();
    for condition in ALL {
        let mut path = String::new();
        for (i, _) in days.iter().enumerate().filter(|(_, day)| **day == condition) {
            let high = height(condition);
            path.push_str(&format!("M{} {}h4v{high}h-4z", i * STEP, 32 - high));
        }
        if !path.is_empty() {
            out.push_str(&format!("<path class=\"{}\" d=\"{path}\"/>", class(condition)));
        }
    }
    out
}

/// A line of mean response times in a box of `width` by `height`, and the greatest value it shows.
pub(super) fn line(latency: &[Latency], width: f64, height: f64) -> Option<(String, f64)> {
    let (first, last) = (latency.first()?, latency.last()?);
    let longest = latency.iter().map(|one| one.mean).fold(0.0_f64, f64::max);
    let span = (last.at.0.saturating_sub(first.at.0)) as f64;
    if span <= 0.0 || longest <= 0.0 {
        return None;
    }
    let mut path = String::new();
    for one in latency {
        let x = (one.at.0 - first.at.0) as f64 / span * width;
        let y = height - one.mean / longest * (height - 2.0) - 1.0;
        let mark = if path.is_empty() { 'M' } else { 'L' };
        path.push_str(&format!("{mark}{x:.0} {y:.0}"));
    }
    Some((path, longest))
}

/// The picture in the browser's tab, as a `data:` address.
pub(super) fn favicon(condition: Condition) -> String {
    let colour = match condition {
        Condition::Up => "00a887",
        Condition::Degraded => "9d9805",
        Condition::Partial => "9c6034",
        Condition::Down => "c81d32",
        Condition::Maintenance => "135fff",
        Condition::Unknown => "4f596e",
    };
    let mark = match condition {
        Condition::Up => "M4 8.5l3 3 5-6",
        Condition::Down => "M5 5l6 6M11 5l-6 6",
        _ => "M8 4v5M8 11v1",
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
         %3Crect width='16' height='16' rx='4' fill='%23{colour}'/%3E\
         %3Cpath d='{mark}' fill='none' stroke='%23fff' stroke-width='2'/%3E%3C/svg%3E"
    )
}

#[cfg(test)]
mod tests {
    use linkflow_model::Timestamp;

    use super::*;

    #[test]
    fn each_condition_is_one_path_and_trouble_is_higher() {
        use Condition::{Down, Up};
        assert_eq!(
            bars(&[Up, Down, Up]),
            "<path class=\"u\" d=\"M0 12h4v20h-4zM10 12h4v20h-4z\"/>\
             <path class=\"x\" d=\"M5 0h4v32h-4z\"/>"
        );
    }

    #[test]
    fn a_line_needs_two_moments() {
        let at = |at, mean| Latency { at: Timestamp(at), mean, longest: mean };
        assert_eq!(line(&[at(0, 5.0)], 100.0, 22.0), None);
        let (path, longest) = line(&[at(0, 5.0), at(10, 10.0)], 100.0, 22.0).unwrap();
        assert_eq!((path.as_str(), longest), ("M0 11L100 1", 10.0));
    }
}
