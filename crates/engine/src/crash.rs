//! Points of the journal at which a process can be made to die, to see what the next one makes of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::journal::{Run, StepState};

/// Ends the process at the first of some points of the journal that it comes to.
#[derive(Clone)]
pub struct Crash {
    /// The points.
    pub at: Vec<CrashPoint>,
    /// Ends the process; told the point.
    pub kill: Arc<dyn Fn(&CrashPoint) + Send + Sync>,
}

/// A point of the journal: just before a row of it is written, or just after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The so many-th that the process comes to, from 1. Each row has two.
    Number(u64),
    /// At the first row that says this of a step of that stage.
    Row {
        /// The stage.
        stage: String,
        /// What the row says of the step.
        state: StepState,
        /// Whether the row is written by then.
        written: bool,
    },
}

impl CrashPoint {
    /// The four points that the first step of `stage` to come to them has: before and after the row that says that it
    /// is begun, and before and after the one that says that it is done.
    pub fn of_stage(stage: &str) -> impl Iterator<Item = Self> {
        let rows = [StepState::Intent, StepState::Done].into_iter();
        rows.flat_map(move |state| {
            [false, true].map(|written| Self::Row { stage: stage.to_owned(), state, written })
        })
    }

    /// Whether the process is at this point: the `number`-th, where `run` becomes `next`.
    fn is_here(&self, number: u64, run: &Run, next: &Run, is_written: bool) -> bool {
        let Self::Row { stage, state, written } = self else {
            return *self == Self::Number(number);
        };
        let named = |held: &Run| {
            let stages = held.stages.iter().filter(|held| held.name == *stage);
            let steps = stages.flat_map(|held| &held.steps);
            steps.filter(|step| step.state == *state).count()
        };
        is_written == *written && named(next) > named(run)
    }
}

impl Crash {
    /// Ends the process when it is at one of the points: at its `number`-th, where `run` becomes `next`.
    pub(crate) fn look(&self, number: u64, run: &Run, next: &Run, is_written: bool) {
        if let Some(point) = self.at.iter().find(|at| at.is_here(number, run, next, is_written)) {
            (self.kill)(point);
        }
    }
}

impl fmt::Debug for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crash at {:?}", self.at)
    }
}

/// `12`, or `before:rollout:intent`.
impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Row { stage, state, written } => {
                let when = if *written { "after" } else { "before" };
                let state = if *state == StepState::Done { "done" } else { "intent" };
                write!(f, "{when}:{stage}:{state}")
            }
        }
    }
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let words: Vec<&str> = text.split(':').collect();
        let row =
            |written, stage: &str, state| Self::Row { stage: stage.to_owned(), state, written };
        match words[..] {
            ["before", stage, "intent"] => Ok(row(false, stage, StepState::Intent)),
            ["after", stage, "intent"] => Ok(row(true, stage, StepState::Intent)),
            ["before", stage, "done"] => Ok(row(false, stage, StepState::Done)),
            ["after", stage, "done"] => Ok(row(true, stage, StepState::Done)),
            _ => Err(format!(
                "`{text}` is no point of the journal: write a number, or such as `before:rollout:intent`, `after:fence:done`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_is_written() {
        let points = [CrashPoint::Number(12)].into_iter().chain(CrashPoint::of_stage("fence"));
        let texts = [
            "12",
            "before:fence:intent",
            "after:fence:intent",
            "before:fence:done",
            "after:fence:done",
        ];
        for (point, text) in points.zip(texts) {
            assert_eq!(point.to_string(), text);
            assert_eq!(text.parse(), Ok(point));
        }
        for text in ["", "fence", "during:fence:done", "after:fence:failed"] {
            assert!(text.parse::<CrashPoint>().unwrap_err().contains("no point"), "{text}");
        }
    }
}
