//! The report as Markdown, for a pull request or a wiki.

use super::text::{TextStyle, timeline_text};
use super::words::{count, duration, latency, maybe, number, wall};
use super::{RehearsalReport, ScenarioResult, Verdict};

/// The whole report as GitHub-flavoured Markdown.
pub fn markdown(report: &RehearsalReport) -> String {
    let machine = &report.machine;
    let mut out = format!(
        "# LinkFlow rehearsal of {}: {} of {} drills passed\n\n{} UTC, seed {}, took {}. {}, {} MB, {}. {} on {}; {} requests per second.\n\n",
        plain(&report.stack),
        report.passed(),
        report.scenarios.len(),
        wall(report.started),
        report.seed,
        duration(report.took_ms),
        count(usize::try_from(machine.cpus).unwrap_or(0), "CPU"),
        number(machine.memory_mb),
        plain(&machine.os),
        count(report.services.len(), "service"),
        count(report.providers.len(), "simulated provider"),
        report.load.rate,
    );
    if let Some(idle) = report.idle_memory_mb {
        out.push_str(&format!("LinkFlow itself idles at {idle:.0} MB.\n\n"));
    }
    out.push_str("| | Drill | Noticed | Rerouted | Back | Requests | Failed | Lost | Doubled | p50 | p99 |\n");
    out.push_str("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for scenario in &report.scenarios {
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            sign(scenario.verdict == Verdict::Pass),
            plain(&scenario.title),
            maybe(scenario.detected_ms),
            maybe(scenario.rerouted_ms),
            maybe(scenario.back_ms),
            number(scenario.requests),
            number(scenario.failed_requests),
            number(scenario.lost_writes),
            number(scenario.doubled_writes),
            latency(scenario.p50_ms),
            latency(scenario.p99_ms),
        ));
    }
    for scenario in &report.scenarios {
        out.push_str(&section(scenario));
    }
    out
}

fn section(scenario: &ScenarioResult) -> String {
    let kept = scenario.verdict == Verdict::Pass;
    let timeline = timeline_text(scenario, TextStyle { colour: false, width: 88 });
    // Nothing in it can end the block: names of providers have no backticks.
    let mut out = format!(
        "\n## {} {}\n\n{}\n\n```text\n{timeline}```\n\n| | Expected | | Measured |\n|---|---|---|---|\n",
        sign(kept),
        plain(&scenario.title),
        plain(&scenario.story),
    );
    for check in &scenario.checks {
        out.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            sign(check.kept),
            plain(&check.what),
            plain(&check.expected),
            plain(&check.measured),
        ));
    }
    out
}

fn sign(kept: bool) -> &'static str {
    if kept { "✅" } else { "❌" }
}

/// `text` with what Markdown or HTML would take for itself made plain, on one line.
fn plain(text: &str) -> String {
    let one = |letter: char| match letter {
        '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '!' | '&' => {
            format!("\\{letter}")
        }
        '\n' | '\r' => " ".to_owned(),
        _ => letter.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_markdown_would_take_for_itself_is_made_plain() {
        assert_eq!(plain("a|b <b> *c*\nd"), "a\\|b \\<b\\> \\*c\\* d");
    }
}
