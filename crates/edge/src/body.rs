//! Bodies on their way: a request's that may be sent again from its beginning, an answer's that is watched.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::framing::Framing;
use crate::http1::Arriving;
use crate::stale::Copying;
use crate::visit::Visit;

/// Why a body ended early.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that can be read from its beginning as often as needed, as long as it is small.
///
/// Everything read is kept until it is more than `most` bytes; from then on the one reader there is reads on, and no
/// other can begin.
#[derive(Clone)]
pub(crate) struct Source(Arc<Mutex<Tape>>);

/// What keeping one chunk costs beside its bytes.
const CHUNK: usize = 64;

struct Tape {
    incoming: Incoming,
    framing: Framing,
    /// How many bytes have come, for whoever counts them.
    received: Arc<AtomicU64>,
    kept: Vec<Bytes>,
    size: usize,
    /// How many bytes have been read.
    passed: u64,
    most: usize,
    total: Option<u64>,
    trailers: Option<HeaderMap>,
    /// Something was read and not kept.
    torn: bool,
    /// The client stopped sending within the body, or sent too much.
    failed: bool,
    /// How much of it is taken at all, in bytes.
    limit: u64,
    ended: bool,
    /// The reader that may read; earlier ones were abandoned.
    reader: u32,
}

impl Source {
    /// `framing` is told when all has been read, `received` how much has been.
    pub(crate) fn new(
        incoming: Incoming,
        most: usize,
        limit: u64,
        framing: Framing,
        received: Arc<AtomicU64>,
    ) -> Self {
        let total = incoming.size_hint().exact();
        Self(Arc::new(Mutex::new(Tape {
            incoming,
            framing,
            received,
            kept: Vec::new(),
            size: 0,
            most,
            total,
            trailers: None,
            torn: false,
            failed: false,
            limit,
            passed: 0,
            ended: false,
            reader: 0,
        })))
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the body can still be read from its beginning.
    pub(crate) fn is_whole(&self) -> bool {
        let tape = self.tape();
        !tape.torn && !tape.failed
    }

    /// Whether the client broke it off.
    pub(crate) fn has_failed(&self) -> bool {
        self.tape().failed
    }

    /// Whether it is larger than what is taken.
    pub(crate) fn is_too_large(&self) -> bool {
        let tape = self.tape();
        tape.passed > tape.limit
    }

    /// Whether all of it has been read.
    pub(crate) fn is_read(&self) -> bool {
        self.tape().ended
    }

    /// Grows whenever something of it moves.
    pub(crate) fn progress(&self) -> usize {
        self.tape().size
    }

    /// Reads from the beginning, in place of any earlier reader.
    pub(crate) fn read(&self) -> Reader {
        let mut tape = self.tape();
        tape.reader += 1;
        Reader { source: self.clone(), number: tape.reader, at: 0, given: 0 }
    }
}

/// Reads a [`Source`].
pub(crate) struct Reader {
    source: Source,
    number: u32,
    at: usize,
    given: u64,
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let source = self.source.clone();
        let mut tape = source.tape();
        if tape.reader != self.number {
            return Poll::Ready(Some(Err("the body is being sent elsewhere".into())));
        }
        if let Some(data) = tape.kept.get(self.at).cloned() {
            self.at += 1;
            self.given += data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if tape.ended {
            // Trailers come after the last kept data; whoever is past both has had them.
            let trailers = tape.trailers.clone().filter(|_| self.at == tape.kept.len());
            self.at = usize::MAX;
            return Poll::Ready(trailers.map(|t| Ok(Frame::trailers(t))));
        }
        let frame = ready!(Pin::new(&mut tape.incoming).poll_frame(cx));
        Poll::Ready(tape.take_in(frame, &mut self))
    }

    fn is_end_stream(&self) -> bool {
        let tape = self.source.tape();
        let told = self.at == usize::MAX || tape.trailers.is_none();
        tape.ended && self.at >= tape.kept.len() && told
    }

    fn size_hint(&self) -> SizeHint {
        let total = self.source.tape().total;
        total.map_or_else(SizeHint::default, |t| SizeHint::with_exact(t.saturating_sub(self.given)))
    }
}

impl Tape {
    fn end(&mut self) {
        self.ended = true;
        self.framing.body_over();
    }

    /// Keeps what was read, if there is room, and passes it on.
    fn take_in(
        &mut self,
        frame: Option<Result<Frame<Bytes>, hyper::Error>>,
        reader: &mut Reader,
    ) -> Option<Result<Frame<Bytes>, BoxError>> {
        match frame {
            None => {
                self.end();
                reader.at = usize::MAX;
                None
            }
            Some(Err(error)) => {
                self.failed = true;
                Some(Err(error.into()))
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    // A copy: what was read may be a small part of a large buffer.
                    self.size += data.len() + CHUNK;
                    self.passed += data.len() as u64;
                    self.received.store(self.passed, Relaxed);
                    if self.passed > self.limit {
                        self.failed = true;
                        return Some(Err("the request is too large".into()));
                    }
                    reader.given += data.len() as u64;
                    if self.torn || self.size > self.most {
                        self.torn = true;
                        self.kept = Vec::new();
                        reader.at = 0;
                    } else {
                        self.kept.push(Bytes::copy_from_slice(data));
                        reader.at += 1;
                    }
                    if self.incoming.is_end_stream() {
                        self.end();
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.trailers = Some(trailers.clone());
                    self.end();
                    reader.at = usize::MAX;
                }
                Some(Ok(frame))
            }
        }
    }
}

/// The body of a request to a target.
pub(crate) enum Outgoing {
    /// None.
    Empty,
    /// A few bytes of our own.
    Whole(Full<Bytes>),
    /// A client's.
    Passed(Reader),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Passed(reader) => Pin::new(reader).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(full) => full.is_end_stream(),
            Self::Passed(reader) => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(full) => full.size_hint(),
            Self::Passed(reader) => reader.size_hint(),
        }
    }
}

/// Is told when an answer's body breaks off.
pub(crate) type OnBreak = Box<dyn FnOnce() + Send>;

/// A target's answer on its way to the client.
pub(crate) struct Passing {
    inner: Arriving,
    on_break: Option<OnBreak>,
    idle: Duration,
    heard: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    copy: Option<Box<Copying>>,
}

impl Passing {
    /// Passes `inner` on. When it breaks off, or nothing comes for `idle`, `on_break` is called.
    pub(crate) fn new(inner: Arriving, idle: Duration, on_break: OnBreak) -> Self {
        Self { inner, on_break: Some(on_break), idle, heard: None, sleep: None, copy: None }
    }

    /// Makes a copy on the way.
    pub(crate) fn copied(mut self, copy: Option<Copying>) -> Self {
        self.copy = copy.map(Box::new);
        self
    }

    /// Takes what passes into the copy, which is done when nothing more comes.
    fn note(&mut self, frame: Option<&Frame<Bytes>>) {
        let Some(copy) = &mut self.copy else { return };
        let goes_on = match frame {
            Some(frame) => frame.data_ref().is_some_and(|data| copy.take(data)),
            None => true,
        };
        if !goes_on {
            self.copy = None;
        } else if (frame.is_none() || self.inner.is_end_stream())
            && let Some(copy) = self.copy.take()
        {
            copy.done();
        }
    }

    fn broken(&mut self) {
        if let Some(on_break) = self.on_break.take() {
            on_break();
        }
    }

    /// Ready when nothing has come for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let heard = *self.heard.get_or_insert_with(Instant::now);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            let due = heard + idle;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                self.broken();
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(frame) => {
                self.heard = None;
                self.note(frame.as_ref().and_then(|frame| frame.as_ref().ok()));
                Poll::Ready(frame)
            }
            Poll::Pending => {
                ready!(self.poll_idle(cx));
                self.broken();
                Poll::Ready(Some(Err("the target fell silent within its answer".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer to a client, with whatever has to live as long as it.
pub(crate) struct Answer {
    kind: Kind,
    visit: Option<Visit>,
    _held: Option<Box<dyn Send>>,
}

enum Kind {
    Own(Full<Bytes>),
    Passing(Passing),
}

impl Answer {
    pub(crate) fn own(text: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Own(Full::new(text.into())), visit: None, _held: None }
    }

    pub(crate) fn passing(body: Passing, held: Box<dyn Send>) -> Self {
        Self { kind: Kind::Passing(body), visit: None, _held: Some(held) }
    }

    /// Has `visit` see how it goes. `bodiless`: nothing of it is sent, whatever it holds.
    pub(crate) fn watched(mut self, mut visit: Visit, bodiless: bool) -> Self {
        if bodiless || self.is_end_stream() {
            visit.whole();
        }
        self.visit = Some(visit);
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match &mut this.kind {
            Kind::Own(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Kind::Passing(passing) => Pin::new(passing).poll_frame(cx),
        };
        if let (Poll::Ready(frame), Some(visit)) = (&frame, &mut this.visit) {
            match frame {
                Some(Ok(frame)) => visit.sends(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) => visit.broke_off(),
                None => visit.whole(),
            }
            let is_over = match &this.kind {
                Kind::Own(full) => full.is_end_stream(),
                Kind::Passing(passing) => passing.is_end_stream(),
            };
            if is_over {
                visit.whole();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(full) => full.is_end_stream(),
            Kind::Passing(passing) => passing.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(full) => full.size_hint(),
            Kind::Passing(passing) => passing.size_hint(),
        }
    }
}
