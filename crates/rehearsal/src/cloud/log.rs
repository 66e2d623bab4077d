//! What processes wrote: the last lines in memory, all of it in a file.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use linkflow_model::{Clock, Timestamp};

const KEPT: usize = 1_000;
const LONGEST: usize = 4_000;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The process's standard output.
    Out,
    /// The process's standard error.
    Err,
    /// The provider itself.
    Provider,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Grows by one with each line of this log, from 1.
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) stream: Stream,
    /// The machine, replica or instance that wrote it.
    pub(crate) instance: String,
    /// The vendor's own mark: a Railway deployment.
    pub(crate) tag: String,
    pub(crate) text: String,
}

/// The log of one service at one provider, whatever instance wrote.
pub(crate) struct Log {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

struct Inner {
    lines: VecDeque<Line>,
    written: u64,
    file: Option<File>,
}

impl Log {
    /// A log that also appends to `file`, where that can be opened.
    pub(crate) fn open(file: &Path, clock: Arc<dyn Clock>) -> Arc<Self> {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        if let Err(error) = &opened {
            tracing::warn!(file = %file.display(), %error, "a log is kept in memory only");
        }
        let inner = Inner { lines: VecDeque::new(), written: 0, file: opened.ok() };
        Arc::new(Self { clock, inner: Mutex::new(inner) })
    }

    /// Adds one line.
    pub(crate) fn write(&self, stream: Stream, instance: &str, tag: &str, text: &str) {
        let at = self.clock.wall();
        let text: String = text.trim_end().chars().take(LONGEST).collect();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.written += 1;
        let number = inner.written;
        if let Some(file) = &mut inner.file
            && writeln!(file, "{} {instance} {text}", moment(at)).is_err()
        {
            inner.file = None;
        }
        if inner.lines.len() == KEPT {
            inner.lines.pop_front();
        }
        let (instance, tag) = (instance.to_owned(), tag.to_owned());
        inner.lines.push_back(Line { number, at, stream, instance, tag, text });
    }

    /// The lines after number `after` that are kept, oldest first.
    pub(crate) fn since(&self, after: u64) -> Vec<Line> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.lines.iter().filter(|l| l.number > after).cloned().collect()
    }
}

/// `at` as RFC 3339 in UTC, with milliseconds.
pub(crate) fn moment(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc_with_milliseconds() {
        assert_eq!(moment(Timestamp(1_700_000_000_120)), "2023-11-14T22:13:20.120Z");
    }

    #[test]
    fn the_last_thousand_lines_are_kept_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(linkflow_model::clock::SystemClock::start());
        let log = Log::open(&folder.path().join("api.log"), clock);
        (0..1_001).for_each(|n| log.write(Stream::Out, "i", "", &format!("line {n}\n")));
        let kept = log.since(0);
        assert_eq!((kept.len(), kept[0].text.as_str()), (1_000, "line 1"));
        assert_eq!(log.since(1_000).len(), 1);
        let file = std::fs::read_to_string(folder.path().join("api.log")).unwrap();
        assert_eq!(file.lines().count(), 1_001);
    }
}
