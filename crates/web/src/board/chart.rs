//! The chart of a monitor's times: a band from the shortest to the longest, lines of p50 and p95, and when it was not well.

use linkflow_model::{Condition, Timestamp};

use super::say::{condition, ms};
use crate::frame::At;
use crate::view::monitors::{History, HistoryStep};

/// The box that is drawn in, and what is left for words at the left and below.
const WIDE: f64 = 720.0;
const HIGH: f64 = 200.0;
const LEFT: f64 = 56.0;
const BELOW: f64 = 22.0;

/// A drawn chart.
pub(super) struct Chart {
    /// What a screen reader says.
    pub(super) label: String,
    /// The band, the lines of p95 and p50: paths.
    pub(super) band: String,
    pub(super) p95: String,
    pub(super) p50: String,
    /// Where it was not well: class, from the left, width.
    pub(super) troubles: Vec<(&'static str, String, String)>,
    /// Lines across, with what they stand for: from above, text.
    pub(super) lines: Vec<(String, String)>,
    /// Words below: from the left, text.
    pub(super) times: Vec<(String, String)>,
    /// The same as numbers: when, looks, not well, shortest, p50, p95, longest.
    pub(super) rows: Vec<(At, u64, u64, [String; 4])>,
}

/// The scale of a chart.
struct Scale {
    from: u64,
    to: u64,
    most: f64,
}

impl Scale {
    fn x(&self, at: u64) -> f64 {
        let share = at.saturating_sub(self.from) as f64 / (self.to - self.from).max(1) as f64;
        LEFT + share.clamp(0.0, 1.0) * (WIDE - LEFT)
    }

    fn y(&self, us: u32) -> f64 {
        let share = (f64::from(us) / self.most).min(1.0);
        4.0 + (1.0 - share) * (HIGH - BELOW - 4.0)
    }
}

/// Draws `history` of the last `days`, which ends at `now`.
pub(super) fn draw(history: &History, days: u32, now: u64) -> Chart {
    let good: Vec<&HistoryStep> =
        history.steps.iter().filter(|step| step.took.looks > step.took.bad).collect();
    // A single look that took long must not press all others into the floor.
    let p95 = good.iter().filter_map(|step| step.took.p95_us).max().unwrap_or(1_000);
    let longest = good.iter().map(|step| step.took.max_us).max().unwrap_or(1_000);
    let most = round(f64::from(longest.min(p95.saturating_mul(3))).max(1_000.0));
    let scale = Scale { from: now.saturating_sub(u64::from(days) * 86_400_000), to: now, most };
    let x = |step: &HistoryStep| scale.x(step.at + history.step_ms / 2);
    let line =
        |of: fn(&HistoryStep) -> u32| path(&good, history.step_ms, |s| (x(s), scale.y(of(s))));
    let lines = [1.0, 0.5, 0.0].map(|share| {
        let us = (most * share) as u32;
        (format!("{:.0}", scale.y(us)), ms(us))
    });
    let rows = history.steps.iter().rev().map(|step| {
        (At::new(Timestamp(step.at)), step.took.looks, step.took.bad, step.took.texts())
    });
    Chart {
        label: label(history, days),
        band: band(&good, history.step_ms, |s| {
            (x(s), scale.y(s.took.max_us), scale.y(s.took.min_us))
        }),
        p95: line(|step| step.took.p95_us.unwrap_or_default()),
        p50: line(|step| step.took.p50_us.unwrap_or_default()),
        troubles: troubles(history, &scale),
        lines: lines.into(),
        times: times(&scale, days),
        rows: rows.collect(),
    }
}

/// The next round number of microseconds.
fn round(us: f64) -> f64 {
    let tens = 10_f64.powf(us.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * tens).find(|n| *n >= us).unwrap_or(us)
}

/// Stretches of steps without a gap.
fn stretches<'a>(
    steps: &'a [&'a HistoryStep],
    step_ms: u64,
) -> impl Iterator<Item = &'a [&'a HistoryStep]> {
    steps.chunk_by(move |a, b| b.at - a.at <= step_ms)
}

fn path(steps: &[&HistoryStep], step_ms: u64, at: impl Fn(&HistoryStep) -> (f64, f64)) -> String {
    let mut out = String::new();
    for stretch in stretches(steps, step_ms) {
        for (i, step) in stretch.iter().enumerate() {
            let (x, y) = at(step);
            out.push_str(&format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }));
        }
        if stretch.len() == 1 {
            // A step alone is a dot.
            out.push_str("h.1");
        }
    }
    out
}

fn band(
    steps: &[&HistoryStep],
    step_ms: u64,
    at: impl Fn(&HistoryStep) -> (f64, f64, f64),
) -> String {
    let mut out = String::new();
    for stretch in stretches(steps, step_ms).filter(|stretch| stretch.len() > 1) {
        for (i, step) in stretch.iter().enumerate() {
            let (x, above, _) = at(step);
            out.push_str(&format!("{}{x:.1} {above:.1}", if i == 0 { 'M' } else { 'L' }));
        }
        for step in stretch.iter().rev() {
            let (x, _, below) = at(step);
            out.push_str(&format!("L{x:.1} {below:.1}"));
        }
        out.push('Z');
    }
    out
}

fn troubles(history: &History, scale: &Scale) -> Vec<(&'static str, String, String)> {
    let bad = history.spans.iter().filter(|span| span.condition >= Condition::Degraded);
    let drawn = bad.map(|span| {
        let (from, to) = (scale.x(span.from), scale.x(span.to.unwrap_or(scale.to)));
        // What is too short to be seen is drawn as wide as can be seen.
        let wide = (to - from).max(2.0);
        (condition(span.condition).class, format!("{from:.1}"), format!("{wide:.1}"))
    });
    drawn.collect()
}

fn times(scale: &Scale, days: u32) -> Vec<(String, String)> {
    let parts = 4;
    let each = (0..parts).map(|i| {
        let at = scale.from + (scale.to - scale.from) / parts * i;
        let moment =
            i64::try_from(at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let form = if days == 1 { "%H:%M" } else { "%-d %b" };
        let text = moment.map(|moment| moment.strftime(form).to_string()).unwrap_or_default();
        (format!("{:.0}", scale.x(at)), text)
    });
    each.collect()
}

fn label(history: &History, days: u32) -> String {
    let looks: u64 = history.steps.iter().map(|step| step.took.looks).sum();
    let bad: u64 = history.steps.iter().map(|step| step.took.bad).sum();
    let longest = history.steps.iter().map(|step| step.took.max_us).max().unwrap_or(0);
    let p95 = history.steps.iter().filter_map(|step| step.took.p95_us).max();
    let p95 = p95.map_or_else(|| "–".to_owned(), ms);
    let span = if days == 1 { "24 hours".to_owned() } else { format!("{days} days") };
    format!(
        "Times of {} in the last {span}: {looks} looks, {bad} of them not well; p95 at most {p95}, the longest {}. The table below has the numbers.",
        history.subject,
        ms(longest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::monitors::{Span, Times};

    fn step(at: u64, us: u32, bad: u64) -> HistoryStep {
        let took = Times {
            looks: 10,
            bad,
            min_us: us / 2,
            max_us: us * 2,
            p50_us: Some(us),
            p95_us: Some(us),
        };
        HistoryStep { at, took }
    }

    #[test]
    fn a_gap_in_the_looks_is_a_gap_in_the_lines() {
        let day = 86_400_000;
        let history = History {
            subject: "monitor.api".to_owned(),
            step_ms: 900_000,
            steps: vec![step(0, 1_000, 0), step(900_000, 2_000, 0), step(9_000_000, 1_000, 1)],
            spans: vec![Span {
                condition: Condition::Down,
                from: 9_000_000,
                to: Some(9_060_000),
                why: None,
            }],
        };
        let chart = draw(&history, 1, day);
        assert_eq!(chart.p50.matches('M').count(), 2, "{}", chart.p50);
        assert_eq!(chart.band.matches('Z').count(), 1, "{}", chart.band);
        assert_eq!(chart.troubles, [("x", "125.2".to_owned(), "2.0".to_owned())]);
        assert!(chart.label.contains("30 looks, 1 of them not well"), "{}", chart.label);
        assert_eq!(chart.rows.len(), 3);
        assert_eq!(chart.lines[0].1, "5.0 ms");
    }

    #[test]
    fn without_a_look_there_is_nothing_but_the_frame() {
        let history = History {
            subject: "monitor.api".to_owned(),
            step_ms: 900_000,
            steps: Vec::new(),
            spans: Vec::new(),
        };
        let chart = draw(&history, 90, 90 * 86_400_000);
        assert_eq!((chart.p50.as_str(), chart.band.as_str()), ("", ""));
        assert!(chart.label.contains("0 looks"), "{}", chart.label);
    }
}
