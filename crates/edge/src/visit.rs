//! One request from its first to its last byte, as it is counted and logged.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use linkflow_model::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::access_log::{AccessLog, Entry};
use crate::head::REQUEST_ID;
use crate::meter::{EdgeMeter, RouteMeter};
use crate::rest::Turn;
use crate::table::Lane;
use crate::tell::Teller;
use crate::trace;

/// The status that is noted when the client left before an answer began, as nginx has it.
const LEFT: u16 = 499;

/// Why an answer is the edge's own, or is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    BadRequest,
    MethodNotAllowed,
    Overloaded,
    AcmeChallenge,
    OwnHost,
    Denied,
    RateLimited,
    NoRoute,
    NotDeployed,
    HttpsRedirect,
    TooLarge,
    SlowRequest,
    NoTarget,
    TargetFailed,
    Timeout,
    Stale,
    ClientLeft,
    BrokenOff,
}

impl Reason {
    pub(crate) const ALL: [Self; 18] = [
        Self::BadRequest,
        Self::MethodNotAllowed,
        Self::Overloaded,
        Self::AcmeChallenge,
        Self::OwnHost,
        Self::Denied,
        Self::RateLimited,
        Self::NoRoute,
        Self::NotDeployed,
        Self::HttpsRedirect,
        Self::TooLarge,
        Self::SlowRequest,
        Self::NoTarget,
        Self::TargetFailed,
        Self::Timeout,
        Self::Stale,
        Self::ClientLeft,
        Self::BrokenOff,
    ];

    /// The word for it, in the log and in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Overloaded => "overloaded",
            Self::AcmeChallenge => "acme_challenge",
            Self::OwnHost => "own_host",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::NoRoute => "no_route",
            Self::NotDeployed => "not_deployed",
            Self::HttpsRedirect => "https_redirect",
            Self::TooLarge => "too_large",
            Self::SlowRequest => "slow_request",
            Self::NoTarget => "no_target",
            Self::TargetFailed => "target_failed",
            Self::Timeout => "timeout",
            Self::Stale => "stale",
            Self::ClientLeft => "client_left",
            Self::BrokenOff => "broken_off",
        }
    }

    /// Why the edge answers `status` itself, for a request that has been on its way.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            400 => Self::BadRequest,
            403 => Self::Denied,
            404 => Self::NoRoute,
            408 => Self::SlowRequest,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            502 => Self::TargetFailed,
            504 => Self::Timeout,
            _ => Self::NoTarget,
        }
    }
}

/// How often a request was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    /// All tries.
    pub(crate) count: u32,
    /// Those of them that were made beside another one, because it was slow.
    pub(crate) hedges: u32,
}

impl Tries {
    /// Those that were made because another one had failed.
    pub(crate) fn retries(self) -> u32 {
        self.count.saturating_sub(1).saturating_sub(self.hedges)
    }
}

/// Where requests are noted: what all of them share.
pub(crate) struct Watch {
    pub(crate) meter: EdgeMeter,
    pub(crate) log: Option<AccessLog>,
}

/// What only the log wants to know. Texts are shared with the request, not copied.
pub(crate) struct Told {
    pub(crate) at: Timestamp,
    pub(crate) sampled: bool,
    pub(crate) ip: IpAddr,
    pub(crate) secure: bool,
    pub(crate) method: Method,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) version: Version,
    pub(crate) id: Option<HeaderValue>,
    pub(crate) trace: Option<HeaderValue>,
}

/// A request under way. Dropped, it is over, and is noted.
pub(crate) struct Visit(Option<Box<Inner>>);

struct Inner {
    watch: Arc<Watch>,
    began: Instant,
    first_byte_us: Option<u64>,
    status: u16,
    /// Whether the answer has come to its end.
    whole: bool,
    received: Option<Arc<AtomicU64>>,
    sent: u64,
    route: Option<Arc<RouteMeter>>,
    lane: Option<Arc<Lane>>,
    tries: Tries,
    reason: Option<Reason>,
    told: Option<Told>,
    turn: Option<Turn>,
}

impl Visit {
    /// A request has come from `ip`. `dice` decide whether it is among those that are logged.
    pub(crate) fn begin<B>(
        watch: &Arc<Watch>,
        request: &Request<B>,
        (ip, secure): (IpAddr, bool),
        teller: &Teller,
        dice: impl FnOnce() -> u64,
    ) -> Self {
        let told = watch.log.as_ref().map(|log| Told {
            at: teller.wall(),
            sampled: log.takes(dice),
            ip,
            secure,
            method: request.method().clone(),
            host: host(request),
            path: request.uri().path_and_query().cloned(),
            version: request.version(),
            id: None,
            trace: None,
        });
        Self(Some(Box::new(Inner {
            watch: Arc::clone(watch),
            began: Instant::now(),
            first_byte_us: None,
            status: LEFT,
            whole: false,
            received: None,
            sent: 0,
            route: None,
            lane: None,
            tries: Tries::default(),
            reason: None,
            told,
            turn: None,
        })))
    }

    /// It is this turn of its connection.
    pub(crate) fn takes(&mut self, turn: Turn) {
        if let Some(inner) = &mut self.0 {
            inner.turn = Some(turn);
        }
    }

    /// Hands it over to whoever sees the request to its end.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// It goes over this route.
    pub(crate) fn routed(&mut self, route: &Arc<RouteMeter>) {
        if let Some(inner) = &mut self.0 {
            inner.route = Some(Arc::clone(route));
        }
    }

    /// It goes on with these headers.
    pub(crate) fn goes_on(&mut self, headers: &HeaderMap) {
        if let Some(told) = self.0.as_mut().and_then(|inner| inner.told.as_mut()) {
            told.id = headers.get(&REQUEST_ID).cloned();
            told.trace = headers.get(&trace::PARENT).cloned();
        }
    }

    /// Counts what is received of its body.
    pub(crate) fn receives(&mut self) -> Arc<AtomicU64> {
        let count = Arc::new(AtomicU64::new(0));
        if let Some(inner) = &mut self.0 {
            inner.received = Some(Arc::clone(&count));
        }
        count
    }

    /// It was tried so often.
    pub(crate) fn tried(&mut self, tries: Tries) {
        if let Some(inner) = &mut self.0 {
            inner.tries = tries;
        }
    }

    /// This target answers it.
    pub(crate) fn answered_by(&mut self, lane: &Arc<Lane>) {
        if let Some(inner) = &mut self.0 {
            inner.lane = Some(Arc::clone(lane));
        }
    }

    /// The answer begins. `reason`: why it is the edge's own.
    pub(crate) fn answered(&mut self, status: u16, reason: Option<Reason>) {
        let Some(inner) = &mut self.0 else { return };
        inner.first_byte_us = Some(micros(inner.began));
        inner.status = status;
        inner.reason = reason;
    }

    /// So many bytes of the answer have been sent.
    pub(crate) fn sends(&mut self, bytes: usize) {
        if let Some(inner) = &mut self.0 {
            inner.sent += bytes as u64;
        }
    }

    /// The answer has come to its end.
    pub(crate) fn whole(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.whole = true;
        }
    }

    /// The target broke the answer off.
    pub(crate) fn broke_off(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.reason = Some(Reason::BrokenOff);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.over();
        }
    }
}

impl Inner {
    fn over(mut self: Box<Self>) {
        if !self.whole {
            self.reason.get_or_insert(Reason::ClientLeft);
        }
        let received = self.received.as_ref().map_or(0, |count| count.load(Relaxed));
        let meter = self.route.as_deref().unwrap_or(&self.watch.meter.unrouted);
        meter.answers.record(self.status);
        meter.moved(received, self.sent);
        meter.tried(self.tries);
        if let Some(us) = self.first_byte_us {
            meter.first_byte.record(us);
        }
        if let Some(lane) = &self.lane {
            lane.counts.moved(received, self.sent);
        }
        if let Some(reason) = self.reason {
            self.watch.meter.reason(reason);
            if reason == Reason::BrokenOff {
                meter.broken.fetch_add(1, Relaxed);
            }
        }
        let failed = self.status >= 500 || self.reason == Some(Reason::BrokenOff);
        let watch = Arc::clone(&self.watch);
        let Some(told) = self.told.take().filter(|told| told.sampled || failed) else { return };
        if let Some(log) = &watch.log {
            log.write(self.entry(told, received));
        }
    }

    fn entry(self, told: Told, received: u64) -> Entry {
        Entry {
            told,
            status: self.status,
            received,
            sent: self.sent,
            first_byte_us: self.first_byte_us,
            took_us: micros(self.began),
            route: self.route,
            lane: self.lane,
            tries: self.tries,
            reason: self.reason,
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The host as the client wrote it.
fn host<B>(request: &Request<B>) -> Option<HeaderValue> {
    let in_line = request.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    in_line.or_else(|| request.headers().get(header::HOST).cloned())
}

/// A client's connection that speaks another protocol by now, and is counted.
pub(crate) struct Metered<'v, S> {
    pub(crate) inner: S,
    pub(crate) visit: &'v mut Visit,
    pub(crate) received: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        self.visit.sends(written.as_ref().copied().unwrap_or(0));
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
