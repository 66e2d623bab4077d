//! The access log: one line of JSON for each request, written by a thread of its own that nobody waits for.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{HeaderValue, Version};
use linkflow_model::{ProviderName, ServiceName, Timestamp};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::meter::RouteMeter;
use crate::table::Lane;
use crate::visit::{Reason, Told, Tries};

/// Lines that may wait to be written. More are dropped, and counted.
const WAITING_MOST: usize = 8_192;
/// Lines that are written at once.
const BATCH: usize = 256;

/// Whether requests are logged, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogOptions {
    /// Where lines go.
    pub to: LogTo,
    /// The share of requests that are logged, 0 to 1. Those that failed always are.
    pub sample: f64,
    /// Whose paths are not logged whole.
    pub hidden: Option<HiddenPaths>,
}

/// A service that has secrets in its paths, and what of them is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenPaths {
    /// The service.
    pub service: ServiceName,
    /// First parts of paths that are logged whole: `monitors`.
    pub plain: &'static [&'static str],
    /// First parts that are logged without what is behind them: `hooks`. Of any other path nothing is.
    pub keyed: &'static [&'static str],
}

impl HiddenPaths {
    /// `path` as it is logged.
    fn shown<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        if first.is_empty() || self.plain.contains(&first) {
            Cow::Borrowed(path)
        } else if self.keyed.contains(&first) {
            Cow::Owned(format!("/{first}/***"))
        } else {
            Cow::Borrowed("/***")
        }
    }
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// To this process's stderr.
    Stderr,
    /// To the end of this file. When it has been moved away, a new one is made.
    File(PathBuf),
}

/// How the log did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLogStats {
    /// Lines that were written.
    pub written: u64,
    /// Lines that were dropped because too many were waiting.
    pub dropped_full: u64,
    /// Lines that could not be written: the disk is full, the folder is gone.
    pub dropped_write: u64,
}

#[derive(Default)]
struct Tally {
    written: AtomicU64,
    full: AtomicU64,
    write: AtomicU64,
}

/// Takes lines, and never waits.
pub(crate) struct AccessLog {
    /// Requests whose dice are below this are logged.
    below: u64,
    lines: mpsc::Sender<Entry>,
    tally: Arc<Tally>,
    /// Cancelled when no more lines are to come.
    end: CancellationToken,
    writing: TaskTracker,
}

/// A request that is over.
pub(crate) struct Entry {
    pub(crate) told: Told,
    pub(crate) status: u16,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) took_us: u64,
    pub(crate) route: Option<Arc<RouteMeter>>,
    pub(crate) lane: Option<Arc<Lane>>,
    pub(crate) tries: Tries,
    pub(crate) reason: Option<Reason>,
}

impl AccessLog {
    /// Opens the log, and begins to write.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub(crate) fn open(options: &AccessLogOptions) -> Result<Self, String> {
        let (lines, waiting) = mpsc::channel(WAITING_MOST);
        let tally = Arc::new(Tally::default());
        let out = match &options.to {
            LogTo::Stderr => Out::Stderr,
            LogTo::File(path) => {
                let because =
                    |error| format!("the access log {} cannot be written: {error}", path.display());
                let file = Some(opened(path).map_err(because)?);
                Out::File { file, path: path.clone() }
            }
        };
        let hidden = options.hidden.clone();
        let writer = Writer { out, hidden, tally: Arc::clone(&tally), torn: false, failing: false };
        let (end, writing) = (CancellationToken::new(), TaskTracker::new());
        let (stop, runtime) = (end.clone(), Handle::current());
        writing.spawn_blocking(move || writer.run(&runtime, waiting, &stop));
        Ok(Self { below: threshold(options.sample), lines, tally, end, writing })
    }

    /// Writes what is waiting, and ends.
    pub(crate) async fn close(&self) {
        self.end.cancel();
        self.writing.close();
        self.writing.wait().await;
    }

    /// Whether a request is among those that are logged, as `dice` fall.
    pub(crate) fn takes(&self, dice: impl FnOnce() -> u64) -> bool {
        self.below == u64::MAX || self.below > 0 && dice() < self.below
    }

    pub(crate) fn write(&self, entry: Entry) {
        if self.lines.try_send(entry).is_err() {
            self.tally.full.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn stats(&self) -> AccessLogStats {
        AccessLogStats {
            written: self.tally.written.load(Relaxed),
            dropped_full: self.tally.full.load(Relaxed),
            dropped_write: self.tally.write.load(Relaxed),
        }
    }
}

/// The number that so great a share of evenly spread numbers is below.
fn threshold(share: f64) -> u64 {
    // From 1 on it is all of them; what is no number is none.
    if share >= 1.0 { u64::MAX } else { (share.max(0.0) * 2f64.powi(64)) as u64 }
}

/// Writes what comes until nothing more is to come.
struct Writer {
    out: Out,
    hidden: Option<HiddenPaths>,
    tally: Arc<Tally>,
    /// The last line in the file may lack its end.
    torn: bool,
    /// The last lines could not be written, which has been said.
    failing: bool,
}

enum Out {
    Stderr,
    File { path: PathBuf, file: Option<File> },
}

impl Writer {
    fn run(mut self, on: &Handle, mut waiting: mpsc::Receiver<Entry>, stop: &CancellationToken) {
        let (mut batch, mut text) = (Vec::with_capacity(BATCH), Vec::new());
        loop {
            let more = stop.run_until_cancelled(waiting.recv_many(&mut batch, BATCH));
            match on.block_on(more) {
                Some(0) => return,
                Some(_) => {}
                None => {
                    // What is waiting already is written all the same.
                    waiting.close();
                    while let Ok(entry) = waiting.try_recv() {
                        batch.push(entry);
                    }
                }
            }
            if batch.is_empty() {
                return;
            }
            text.clear();
            if self.torn {
                text.push(b'\n');
            }
            let lines = batch.len() as u64;
            batch.drain(..).for_each(|entry| line(&entry, self.hidden.as_ref(), &mut text));
            match self.put(&text) {
                Ok(()) => {
                    (self.torn, self.failing) = (false, false);
                    self.tally.written.fetch_add(lines, Relaxed);
                }
                Err(error) => {
                    self.tally.write.fetch_add(lines, Relaxed);
                    self.torn = true;
                    if !self.failing {
                        warn!(%error, "the access log cannot be written; lines are dropped");
                    }
                    self.failing = true;
                }
            }
        }
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::Stderr => io::stderr().lock().write_all(text),
            Out::File { path, file } => {
                if file.as_ref().is_none_or(|file| was_moved(file, path)) {
                    *file = None;
                    *file = Some(opened(path)?);
                }
                file.as_mut().map_or(Ok(()), |file| file.write_all(text))
            }
        }
    }
}

fn opened(path: &PathBuf) -> io::Result<File> {
    // Addresses of visitors are for its owner, and for the group that ships logs.
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Whether `path` leads to another file by now, or to none.
fn was_moved(file: &File, path: &PathBuf) -> bool {
    let id = |data: std::fs::Metadata| (data.dev(), data.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(there)) => id(held) != id(there),
        _ => true,
    }
}

/// What a line says, in this order. Nothing of it is left out; what there is not is null.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: Option<&'a str>,
    trace_id: Option<&'a str>,
    client_ip: IpAddr,
    method: &'a str,
    scheme: &'static str,
    host: Option<&'a str>,
    path: Cow<'a, str>,
    protocol: &'static str,
    status: u16,
    bytes_received: u64,
    bytes_sent: u64,
    first_byte_ms: Option<f64>,
    duration_ms: f64,
    route: Option<&'a str>,
    service: Option<&'a ServiceName>,
    target: Option<&'a ProviderName>,
    tries: u32,
    hedged: bool,
    stale: bool,
    why: Option<&'static str>,
}

fn line(entry: &Entry, hidden: Option<&HiddenPaths>, out: &mut Vec<u8>) {
    let told = &entry.told;
    let route = entry.route.as_deref();
    let service = route.and_then(|route| route.service.as_ref());
    // Without the query, which may hold what is secret.
    let path = told.path.as_ref().map_or("", |path| path.path());
    let hidden = hidden.filter(|hidden| service == Some(&hidden.service));
    let line = Line {
        time: time(told.at),
        request_id: text(told.id.as_ref()),
        // `00-<trace id>-…`
        trace_id: text(told.trace.as_ref()).and_then(|parent| parent.get(3..35)),
        client_ip: told.ip,
        method: told.method.as_str(),
        scheme: if told.secure { "https" } else { "http" },
        host: text(told.host.as_ref()),
        path: hidden.map_or(Cow::Borrowed(path), |hidden| hidden.shown(path)),
        protocol: protocol(told.version),
        status: entry.status,
        bytes_received: entry.received,
        bytes_sent: entry.sent,
        first_byte_ms: entry.first_byte_us.map(ms),
        duration_ms: ms(entry.took_us),
        route: route.map(|route| route.route.as_str()),
        service,
        target: entry.lane.as_ref().map(|lane| &lane.provider),
        tries: entry.tries.count,
        hedged: entry.tries.hedges > 0,
        stale: entry.reason == Some(Reason::Stale),
        why: entry.reason.map(Reason::word),
    };
    let before = out.len();
    if serde_json::to_writer(&mut *out, &line).is_err() {
        // Plain data always has a JSON form; half a line would be worse than none.
        out.truncate(before);
        return;
    }
    out.push(b'\n');
}

/// In RFC 3339.
fn time(at: Timestamp) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map(|moment| format!("{moment:.3}")).unwrap_or_default()
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_as_many_as_it_says() {
        let step = u64::MAX / 1_000;
        let spread: Vec<u64> = (0..1_000).map(|i| i * step + step / 2).collect();
        for (share, expected) in [(0.0, 0), (-1.0, 0), (f64::NAN, 0), (0.1, 100), (0.5, 500)] {
            let below = threshold(share);
            assert_eq!(spread.iter().filter(|dice| **dice < below).count(), expected, "{share}");
        }
        assert_eq!((threshold(1.0), threshold(7.0)), (u64::MAX, u64::MAX));
    }

    fn entry() -> Entry {
        let told = Told {
            at: Timestamp(1_782_907_200_250),
            sampled: true,
            ip: "192.0.2.1".parse().unwrap(),
            secure: true,
            method: http::Method::GET,
            host: Some(HeaderValue::from_static("a.example")),
            path: Some("/a\"b?secret".parse().unwrap()),
            version: Version::HTTP_2,
            id: None,
            trace: None,
        };
        Entry {
            told,
            status: 200,
            received: 0,
            sent: 7,
            first_byte_us: Some(1_250),
            took_us: 2_000,
            route: None,
            lane: None,
            tries: Tries::default(),
            reason: None,
        }
    }

    #[test]
    fn a_line_is_json_in_the_order_of_the_manual() {
        let mut out = Vec::new();
        line(&entry(), None, &mut out);
        let expected = r#"{"time":"2026-07-01T12:00:00.250Z","request_id":null,"trace_id":null,"client_ip":"192.0.2.1","method":"GET","scheme":"https","host":"a.example","path":"/a\"b","protocol":"HTTP/2.0","status":200,"bytes_received":0,"bytes_sent":7,"first_byte_ms":1.25,"duration_ms":2.0,"route":null,"service":null,"target":null,"tries":0,"hedged":false,"stale":false,"why":null}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn a_path_with_a_secret_in_it_is_not_whole() {
        let hidden = HiddenPaths {
            service: ServiceName::new("ops").unwrap(),
            plain: &["monitors"],
            keyed: &["hooks"],
        };
        for (path, expected) in [
            ("/", "/"),
            ("/monitors", "/monitors"),
            ("/monitors/api", "/monitors/api"),
            ("/hooks/sentry/a-key", "/hooks/***"),
            ("//hooks/sentry/a-key", "/hooks/***"),
            ("/0189f6a0-uuid/fail", "/***"),
            ("/monitorsx", "/***"),
        ] {
            assert_eq!(hidden.shown(path), expected);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_up_with_is_dropped_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // A reader that reads nothing: the writer stands still as soon as the pipe is full.
        let reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let options = AccessLogOptions { to: LogTo::File(pipe), sample: 1.0, hidden: None };
        let log = AccessLog::open(&options).unwrap();
        for _ in 0..20_000 {
            log.write(entry());
        }
        let stats = log.stats();
        assert!(stats.dropped_full > 10_000, "{stats:?}");
        assert!(stats.written < 1_000, "{stats:?}");
        drop(reader);
        log.close().await;
        let stats = log.stats();
        assert_eq!(stats.written + stats.dropped_full + stats.dropped_write, 20_000);
    }
}
