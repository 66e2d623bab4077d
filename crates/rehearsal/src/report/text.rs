//! The report for a terminal.

use std::collections::BTreeMap;

use super::words::{count, duration, latency, marks, maybe, moment, number, providers, wall};
use super::{Mark, RehearsalReport, ScenarioResult, Verdict};

/// How a terminal wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// Whether colours may be used (ANSI).
    pub colour: bool,
    /// How many columns there are.
    pub width: usize,
}

impl Default for TextStyle {
    fn default() -> Self {
        Self { colour: false, width: 100 }
    }
}

impl TextStyle {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The sign of a verdict.
    fn sign(self, kept: bool) -> String {
        if kept { self.good("✓") } else { self.bad("✗") }
    }
}

/// The whole report: a summary, then each scenario with its timeline and its expectations.
pub fn text(report: &RehearsalReport, style: TextStyle) -> String {
    let mut out = head(report, style);
    out.push('\n');
    out.push_str(&summary(report, style));
    for scenario in &report.scenarios {
        out.push('\n');
        out.push_str(&scenario_text(scenario, style));
    }
    out
}

fn head(report: &RehearsalReport, style: TextStyle) -> String {
    let passed = format!("{} of {} drills passed", report.passed(), report.scenarios.len());
    let passed = match report.verdict() {
        Verdict::Pass => style.paint("1;32", &passed),
        Verdict::Fail => style.bad(&passed),
    };
    let machine = &report.machine;
    let idle = report.idle_memory_mb.map(|mb| format!(" · LinkFlow itself idles at {mb:.0} MB"));
    let load = &report.load;
    let writes = match load.write_every {
        0 => "no writes".to_owned(),
        every => format!("1 in {every} a write"),
    };
    let lines = [
        format!(
            "{} UTC · seed {} · took {}",
            wall(report.started),
            report.seed,
            duration(report.took_ms)
        ),
        format!(
            "{} · {} MB · {}",
            count(usize::try_from(machine.cpus).unwrap_or(0), "CPU"),
            number(machine.memory_mb),
            machine.os
        ),
        format!(
            "{} on {} · {} requests/s, {writes}{}",
            count(report.services.len(), "service"),
            count(report.providers.len(), "simulated provider"),
            load.rate,
            idle.unwrap_or_default()
        ),
    ];
    let title = style.strong(&format!("LinkFlow rehearsal of {}", clean(&report.stack)));
    let lines = lines.iter().flat_map(|line| wrap(line, style.width.max(40)));
    let lines: String = lines.map(|line| format!("{}\n", style.dim(&line))).collect();
    format!("{title} · {passed}\n{lines}")
}

const COLUMNS: [&str; 8] =
    ["noticed", "rerouted", "back", "requests", "failed", "lost", "doubled", "p99"];

fn summary(report: &RehearsalReport, style: TextStyle) -> String {
    let rows: Vec<[String; 8]> = report.scenarios.iter().map(figures).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([COLUMNS[column].len()]).max().unwrap_or(0) + 2
        })
        .collect();
    let taken = widths.iter().sum::<usize>() + 2;
    let longest = report.scenarios.iter().map(|s| s.title.chars().count()).max().unwrap_or(0);
    let first = longest.min(style.width.saturating_sub(taken)).max(12);
    let mut out = format!("  {:first$}", "drill");
    for (column, width) in COLUMNS.iter().zip(&widths) {
        out.push_str(&format!("{column:>width$}"));
    }
    let mut out = format!("{}\n", style.dim(&out));
    for (scenario, row) in report.scenarios.iter().zip(&rows) {
        let kept = scenario.verdict == Verdict::Pass;
        let title = cut(&clean(&scenario.title), first);
        out.push_str(&format!("{} {title:first$}", style.sign(kept)));
        for (cell, width) in row.iter().zip(&widths) {
            out.push_str(&format!("{cell:>width$}"));
        }
        out.push('\n');
    }
    out
}

fn figures(scenario: &ScenarioResult) -> [String; 8] {
    [
        maybe(scenario.detected_ms),
        maybe(scenario.rerouted_ms),
        maybe(scenario.back_ms),
        number(scenario.requests),
        number(scenario.failed_requests),
        number(scenario.lost_writes),
        number(scenario.doubled_writes),
        latency(scenario.p99_ms),
    ]
}

/// One scenario: its story, its timeline, and each expectation with what was measured.
fn scenario_text(scenario: &ScenarioResult, style: TextStyle) -> String {
    let kept = scenario.verdict == Verdict::Pass;
    let mut out = format!(
        "{} {}  {}\n",
        style.sign(kept),
        style.strong(&clean(&scenario.title)),
        style.dim(&scenario.name)
    );
    for line in wrap(&scenario.story, style.width.saturating_sub(2).max(30)) {
        out.push_str(&format!("  {line}\n"));
    }
    out.push('\n');
    out.push_str(&timeline_text(scenario, style));
    out.push('\n');
    let width = |cell: fn(&super::Check) -> &str| {
        scenario.checks.iter().map(|check| cell(check).chars().count()).max().unwrap_or(0)
    };
    let (what, expected) = (width(|check| &check.what), width(|check| &check.expected));
    for check in &scenario.checks {
        let measured = clean(&check.measured);
        let measured = if check.kept { measured } else { style.bad(&measured) };
        out.push_str(&format!(
            "  {} {:what$}  {}  {measured}\n",
            style.sign(check.kept),
            clean(&check.what),
            style.dim(&format!("{:expected$}", clean(&check.expected))),
        ));
    }
    out
}

/// The colours of the providers in a terminal; failures are red.
const COLOURS: [&str; 6] = ["36", "33", "34", "35", "32", "37"];

/// A line of blocks for each provider, as high as it answered, one for the failures, and where the marks are.
pub(super) fn timeline_text(scenario: &ScenarioResult, style: TextStyle) -> String {
    let Some(last) = scenario.timeline.last() else {
        return "  nobody asked\n".to_owned();
    };
    let names = providers(scenario);
    let label = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(6);
    let columns = style.width.saturating_sub(label + 5).clamp(10, 72);
    let end = last.t_ms + super::BUCKET_MS;
    let place =
        |t_ms: u64| usize::try_from(t_ms * columns as u64 / end).unwrap_or(0).min(columns - 1);
    let (mut wide, mut all) = (vec![0_u32; columns], vec![0_u32; columns]);
    let mut failed = vec![0_u32; columns];
    let mut answered: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for bucket in &scenario.timeline {
        let column = place(bucket.t_ms);
        wide[column] += 1;
        failed[column] += bucket.failed;
        all[column] += bucket.failed + bucket.providers.values().sum::<u32>();
        for (name, how_many) in &bucket.providers {
            answered.entry(name).or_insert_with(|| vec![0; columns])[column] += how_many;
        }
    }
    // Columns may hold one bucket more than others: what counts is how many there were in each.
    let each = |how_many: u32, column: usize| f64::from(how_many) / f64::from(wide[column].max(1));
    let most = (0..columns).map(|column| each(all[column], column)).fold(0.0, f64::max);
    let row = |name: &str, counts: &[u32], colour: &str| {
        let heights = counts.iter().enumerate().map(|(column, count)| each(*count, column));
        let blocks: String = heights.map(|height| block(height, most)).collect();
        format!("  {name:label$} {}\n", style.paint(colour, blocks.trim_end()))
    };
    let mut out = String::new();
    for (name, colour) in names.iter().zip(COLOURS.iter().cycle()) {
        out.push_str(&row(name, answered.get(name.as_str()).map_or(&[], Vec::as_slice), colour));
    }
    if scenario.failed_requests > 0 {
        out.push_str(&row("failed", &failed, "1;31"));
    }
    let told = marks(scenario);
    if !told.is_empty() {
        let moments: Vec<Mark> = told.iter().map(|(mark, _)| *mark).collect();
        let line = mark_line(&moments, columns, place);
        out.push_str(&format!("  {:label$} {}\n", "", style.strong(&line)));
    }
    let scale = format!("0 s{:>width$}", moment(end), width = columns - 3);
    out.push_str(&format!("  {:label$} {}\n", "", style.dim(&scale)));
    let legend: Vec<String> = told
        .iter()
        .map(|(mark, words)| format!("{} {words}", letter(*mark)).replace(' ', "\u{a0}"))
        .collect();
    for line in wrap(&legend.join(" · "), style.width.saturating_sub(label + 3).max(30)) {
        out.push_str(&format!("  {:label$} {}\n", "", style.dim(&line)));
    }
    out
}

/// The letter of each mark at its column, or at the next free one.
fn mark_line(moments: &[Mark], columns: usize, place: impl Fn(u64) -> usize) -> String {
    let mut line = vec![' '; columns + moments.len()];
    for mark in moments {
        let wanted = place(mark.t_ms);
        if let Some(free) = (wanted..line.len()).find(|column| line[*column] == ' ') {
            line[free] = letter(*mark);
        }
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

fn letter(mark: Mark) -> char {
    mark.kind.name().chars().next().map_or('?', |letter| letter.to_ascii_uppercase())
}

/// A block as high as `part` is of `whole`; never empty when there is any.
fn block(part: f64, whole: f64) -> char {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if part <= 0.0 {
        return ' ';
    }
    BLOCKS[((part * 8.0 / whole).round() as usize).clamp(1, 8)]
}

/// `text` without what a terminal would take for a command.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// `text` in lines of at most `width` columns, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in clean(text).split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
