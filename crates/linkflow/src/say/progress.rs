//! How a run goes, as it goes: a bar on a terminal, one line for each event elsewhere. And a sign of life while
//! something is asked.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linkflow_model::{Event, EventKind, Level, Timestamp};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::output::{Voice, err};
use super::table::Tone;
use super::time::local;

/// Shows a run.
pub(crate) struct Progress {
    events: Receiver<Event>,
    bar: Option<ProgressBar>,
    started: Timestamp,
    colours: bool,
}

impl Progress {
    /// Shows what `events` tell, of a run with this many steps that began at `started`.
    pub(crate) fn new(
        events: Receiver<Event>,
        steps: usize,
        started: Timestamp,
        voice: Voice,
    ) -> Self {
        let bar = (voice.terminal && !voice.json).then(|| {
            let bar = ProgressBar::with_draw_target(
                Some(u64::try_from(steps).unwrap_or(u64::MAX)),
                ProgressDrawTarget::stderr(),
            );
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { events, bar, started, colours: voice.colours_err }
    }

    /// Shows what `events` tell for as long as a stack is served, with the time of day.
    pub(crate) async fn for_ever(mut events: Receiver<Event>, colours: bool) {
        loop {
            match events.recv().await {
                Ok(event) => err(&format!("{}  {}\n", local(event.at), told(&event, colours))),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Shows events while `work` is done, and those that are left at its end.
    pub(crate) async fn during<T>(mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                event = self.events.recv() => match event {
                    Ok(event) => self.show(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break work.await,
                },
            }
        };
        loop {
            match self.events.try_recv() {
                Ok(event) => self.show(&event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        outcome
    }

    fn show(&self, event: &Event) {
        let line = line(event, self.started, self.colours);
        match &self.bar {
            Some(bar) => {
                if event.kind == EventKind::StepDone {
                    bar.inc(1);
                }
                if event.level == Level::Info {
                    bar.set_message(event.message.clone());
                } else {
                    bar.println(line);
                }
            }
            None => err(&format!("{line}\n")),
        }
    }
}

/// A sign of life on a terminal while several are asked, when that takes longer than a moment.
pub(crate) struct Waiting {
    bar: Option<ProgressBar>,
    open: Mutex<BTreeSet<String>>,
}

/// What is over by then was not worth a sign.
const MOMENT: Duration = Duration::from_secs(1);

impl Waiting {
    /// A sign as `voice` allows.
    pub(crate) fn new(voice: Voice) -> Self {
        let bar = (voice.terminal && !voice.json).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            let style = ProgressStyle::with_template("{spinner} {elapsed} waits for {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { bar, open: Mutex::default() }
    }

    /// Does `work`, and shows who is waited for after a moment.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let show = async {
            tokio::time::sleep(MOMENT).await;
            if let Some(bar) = &self.bar {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            std::future::pending().await
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            never = show => never,
        };
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        outcome
    }

    /// Does the part of the work that `name` is waited for.
    pub(crate) async fn for_one<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        self.note(|open| open.insert(name.to_owned()));
        let outcome = work.await;
        self.note(|open| open.remove(name));
        outcome
    }

    fn note(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut open);
        if let Some(bar) = &self.bar {
            bar.set_message(open.iter().cloned().collect::<Vec<_>>().join(", "));
        }
    }
}

/// `   1.2 s  deploy r2 of api on azure`.
fn line(event: &Event, started: Timestamp, colours: bool) -> String {
    let ms = event.at.0.saturating_sub(started.0);
    let time = Tone::Faint.paint(&format!("{:>4}.{} s", ms / 1_000, ms % 1_000 / 100), colours);
    format!("{time}  {}", told(event, colours))
}

fn told(event: &Event, colours: bool) -> String {
    let tone = match event.level {
        Level::Info | Level::Notice => Tone::Plain,
        Level::Warning => Tone::Notable,
        Level::Alarm => Tone::Bad,
    };
    tone.paint(&event.message, colours)
}
