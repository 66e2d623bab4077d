//! What is seen of a rehearsal while it runs: bars on a terminal, one line for each event elsewhere.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use linkflow_model::{Event, EventKind, Level};
use linkflow_rehearsal::load::Live;
use linkflow_rehearsal::report::{ScenarioResult, Verdict};

use crate::say::output::err;

/// Shows progress on stderr.
#[derive(Clone)]
pub(crate) struct Show {
    bars: Option<Bars>,
    colours: bool,
}

#[derive(Clone)]
struct Bars {
    all: MultiProgress,
    /// What is done now.
    step: ProgressBar,
    /// What visitors meet.
    load: ProgressBar,
}

impl Show {
    /// Bars when `terminal`, lines otherwise.
    pub(crate) fn new(terminal: bool, colours: bool) -> Self {
        Self { bars: terminal.then(Bars::new), colours }
    }

    /// Says what is done now.
    pub(crate) fn step(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.step.set_message(text.to_owned()),
            None => self.line(text),
        }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        match &self.bars {
            // Where the terminal is gone there is nobody to tell.
            Some(bars) => bars.all.println(text).unwrap_or_default(),
            None => err(&format!("{text}\n")),
        }
    }

    /// Something that LinkFlow said.
    pub(crate) fn event(&self, event: &Event) {
        let sign = match event.level {
            Level::Alarm => self.paint("1;31", "!"),
            Level::Warning => self.paint("33", "!"),
            Level::Info | Level::Notice => self.paint("2", "·"),
        };
        let is_detail = matches!(event.kind, EventKind::Up | EventKind::Readmitted);
        if self.bars.is_some() && is_detail {
            return;
        }
        self.line(&format!("  {sign} {}", event.message));
    }

    /// How visitors fare.
    pub(crate) fn load(&self, live: &Live) {
        if let Some(bars) = &self.bars {
            let from = live.provider.as_deref().unwrap_or("nobody yet");
            bars.load.set_message(format!(
                "{} requests, {} failed, {}/s, p50 {:.1} ms, p99 {:.1} ms, from {from}",
                live.requests, live.failed, live.last_second, live.p50_ms, live.p99_ms
            ));
        }
    }

    /// How a scenario ended.
    pub(crate) fn result(&self, result: &ScenarioResult) {
        let sign = match result.verdict {
            Verdict::Pass => self.paint("32", "✓"),
            Verdict::Fail => self.paint("1;31", "✗"),
        };
        let seconds = |ms: Option<u64>| ms.map_or("–".to_owned(), |ms| format!("{ms} ms"));
        self.line(&format!(
            "{sign} {}: {} requests, {} failed; noticed {}, rerouted {}, back {}",
            result.name,
            result.requests,
            result.failed_requests,
            seconds(result.detected_ms),
            seconds(result.rerouted_ms),
            seconds(result.back_ms),
        ));
        for broken in &result.broken {
            self.line(&format!("    {broken}"));
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.step.finish_and_clear();
            bars.load.finish_and_clear();
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let bar = || {
            let bar = all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        };
        let (step, load) = (bar(), bar());
        step.enable_steady_tick(Duration::from_millis(120));
        Self { step, load, all }
    }
}
