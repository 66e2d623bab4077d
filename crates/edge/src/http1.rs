//! HTTP/1.1 with a target, over one connection, driven by whoever waits for the answer.
//!
//! Our own rather than hyper's client, for what failover lives on and for what it costs. It knows of every request whether
//! a byte of it has gone out; and a request needs no task of its own, no channel and no waking of one task by another: of
//! the 40,700 instructions that a request took outside the kernel, 14,500 were hyper's client, and `HAProxy` is the measure.
//! Heads are read by httparse, as hyper reads them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use self::answer::{Begun, Extent};
use self::chunked::{Chunks, Piece};
use self::request::Upload;
use crate::address::Place;
use crate::body::{BoxError, Outgoing};
use crate::dial::Stream;
use crate::pool::{Head, Home};

mod answer;
mod chunked;
mod request;
#[cfg(test)]
mod tests;

/// The largest head a target may answer with, in bytes.
pub(crate) const HEAD_MOST: usize = 64 << 10;
/// How much is read at once: at first, and when there is always more.
const READ: (usize, usize) = (8 << 10, 64 << 10);
/// With less room than this, more is made before reading.
const LITTLE: usize = 2 << 10;

/// What a target said that cannot be read, or can in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A connection to a target.
pub(crate) struct Connection {
    io: TokioIo<Stream>,
    /// What was read and belongs to nothing yet.
    read: BytesMut,
    /// How much to read at once.
    at_once: usize,
    /// Where heads are put together.
    room: Vec<u8>,
}

/// What a target answered.
pub(crate) struct Answered {
    pub(crate) response: Response<Arriving>,
    /// The connection, when it is not HTTP any more.
    pub(crate) upgraded: Option<Upgraded>,
}

/// A request that got no answer.
pub(crate) struct Lost {
    /// Whether a byte of it has gone to the target.
    pub(crate) sent: bool,
    /// Its body, when nothing of it was taken.
    pub(crate) body: Option<Outgoing>,
    pub(crate) why: BoxError,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        let (io, read) = (TokioIo::new(stream), BytesMut::new());
        Self { io, read, at_once: READ.0, room: Vec::new() }
    }

    /// Whether it may carry another request: its target has neither closed it nor said anything unasked. Takes no system
    /// call where nothing has come.
    pub(crate) fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let mut unasked = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        self.read.is_empty() && Pin::new(&mut self.io).poll_read(&mut cx, &mut unasked).is_pending()
    }

    /// Sends a request and waits until its answer begins. The connection goes `home` when the answer has ended well.
    pub(crate) async fn exchange(
        mut self: Box<Self>,
        place: &Place,
        head: &Head,
        body: Outgoing,
        home: Home,
    ) -> Result<Answered, Lost> {
        let room = std::mem::take(&mut self.room);
        let mut upload = Upload::new(place, head, body, room);
        let mut sending = true;
        let to_head = head.method == Method::HEAD;
        let answer = poll_fn(|cx| self.poll_answer(&mut upload, &mut sending, to_head, cx)).await;
        let begun = match answer {
            Ok(begun) => begun,
            Err(why) => return Err(Lost { sent: upload.sent, body: upload.give_back(), why }),
        };
        let upload = if sending {
            Some(upload)
        } else {
            self.room = upload.into_room();
            None
        };
        if begun.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.answered(begun, upload, home));
        }
        if !head.headers.contains_key(header::UPGRADE) {
            let why = Malformed("another protocol, which nobody asked for").into();
            return Err(Lost { sent: true, body: None, why });
        }
        let upgraded = Some(Upgraded { connection: self, ahead: begun.rest });
        let mut response = Response::new(Arriving::Whole(None));
        (*response.status_mut(), *response.headers_mut()) = (begun.status, begun.headers);
        Ok(Answered { response, upgraded })
    }

    /// Writes the request on and reads, until the head of the answer is there.
    fn poll_answer(
        &mut self,
        upload: &mut Upload,
        sending: &mut bool,
        to_head: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Begun, BoxError>> {
        let mut broken = None;
        if *sending {
            match upload.poll(&mut self.io, cx) {
                Poll::Ready(Ok(())) => *sending = false,
                // It may have answered before it stopped listening.
                Poll::Ready(Err(why)) => broken = Some(why),
                Poll::Pending => {}
            }
        }
        loop {
            let searched = self.read.len();
            let read = match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Poll::Ready(read) => read,
                Poll::Pending => match broken {
                    Some(why) => return Poll::Ready(Err(why)),
                    None => return Poll::Pending,
                },
            };
            if let Err(why) = read {
                return Poll::Ready(Err(broken.unwrap_or_else(|| why.into())));
            }
            if let Some(begun) = self.begun(searched, to_head)? {
                return Poll::Ready(Ok(begun));
            }
        }
    }

    /// The head of the answer, once it is there.
    fn begun(&mut self, mut searched: usize, to_head: bool) -> Result<Option<Begun>, Malformed> {
        while answer::has_end(&self.read, searched) {
            let all = self.read.split().freeze();
            let Some(begun) = answer::parse(&all, to_head)? else {
                self.read.extend_from_slice(&all);
                break;
            };
            let is_interim = begun.status.is_informational();
            if !is_interim || begun.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(begun));
            }
            self.read.extend_from_slice(&begun.rest);
            searched = 0;
        }
        if self.read.len() >= HEAD_MOST {
            return Err(Malformed("a head that is too long"));
        }
        Ok(None)
    }

    /// Reads what has come. Ready with 0: nothing more will.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < LITTLE {
            self.read.reserve(self.at_once);
        }
        let room = self.read.capacity() - self.read.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read))?;
        if read == room {
            self.at_once = (self.at_once * 2).min(READ.1);
        }
        Poll::Ready(Ok(read))
    }

    fn answered(self: Box<Self>, begun: Begun, upload: Option<Upload>, home: Home) -> Answered {
        let Begun { status, headers, extent, keep, mut rest } = begun;
        let whole = match extent {
            Extent::None => Some(None),
            Extent::Length(length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
                length.map(|length| Some(rest.split_to(length)))
            }
            Extent::Chunked | Extent::Rest => None,
        };
        let flow = Flow {
            connection: Some(self),
            home,
            keep,
            upload,
            left: Left::of(extent),
            ahead: rest,
        };
        let body = match whole {
            Some(whole) => {
                flow.done();
                Arriving::Whole(whole)
            }
            None => Arriving::Flowing(Box::new(flow)),
        };
        let mut response = Response::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Answered { response, upgraded: None }
    }

    /// Makes it as small as it was at first.
    fn rest(&mut self) {
        if self.at_once > READ.0 {
            (self.at_once, self.read) = (READ.0, BytesMut::new());
        }
    }
}

/// A connection that has changed to another protocol, and what came with the answer that said so.
pub(crate) struct Upgraded {
    connection: Box<Connection>,
    ahead: Bytes,
}

impl Upgraded {
    /// What came with the answer is read first.
    pub(crate) fn into_io(self) -> impl AsyncRead + AsyncWrite + Unpin + Send {
        use tokio::io::AsyncReadExt as _;
        let (read, write) = tokio::io::split(self.connection.io);
        tokio::io::join(io::Cursor::new(self.ahead).chain(read), write)
    }
}

/// The body of a target's answer, as it arrives.
pub(crate) enum Arriving {
    /// All of it came with the head.
    Whole(Option<Bytes>),
    Flowing(Box<Flow>),
    Http2(Incoming),
}

/// A body of which more is to come, and the connection that it comes over.
pub(crate) struct Flow {
    /// Gone when the body has ended.
    connection: Option<Box<Connection>>,
    home: Home,
    /// Whether the connection may carry another request.
    keep: bool,
    /// What is left of the request: the target answered before it had all of it.
    upload: Option<Upload>,
    left: Left,
    /// What was read and not taken.
    ahead: Bytes,
}

/// What is left of a body.
enum Left {
    Length(u64),
    Chunked(Chunks),
    Rest,
}

impl Left {
    fn of(extent: Extent) -> Self {
        match extent {
            Extent::None => Self::Length(0),
            Extent::Length(length) => Self::Length(length),
            Extent::Chunked => Self::Chunked(Chunks::default()),
            Extent::Rest => Self::Rest,
        }
    }

    /// The next piece of the body, off the front of `from`.
    fn take(&mut self, from: &mut Bytes) -> Result<Piece, Malformed> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Chunked(chunks) => chunks.take(from),
            Self::Length(_) | Self::Rest if from.is_empty() => Ok(Piece::More),
            Self::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(from.len());
                *left -= most as u64;
                Ok(Piece::Data(from.split_to(most)))
            }
            Self::Rest => Ok(Piece::Data(std::mem::take(from))),
        }
    }
}

/// Reads one answer after the other out of `all`, for the fuzz target: how many bytes of bodies there were.
pub(crate) fn read_all(mut all: Bytes, to_head: bool) -> Result<usize, Malformed> {
    let mut bytes = 0;
    while let Some(Begun { extent, rest, .. }) = answer::parse(&all, to_head)? {
        let mut left = Left::of(extent);
        all = rest;
        loop {
            match left.take(&mut all)? {
                Piece::Data(data) => bytes += data.len(),
                Piece::Trailers(_) => {}
                Piece::End => break,
                Piece::More => return Ok(bytes),
            }
        }
    }
    Ok(bytes)
}

impl Flow {
    /// The body has ended: the connection goes back to where others find it, if nothing is left on it.
    fn done(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.keep && self.ahead.is_empty() && self.upload.is_none() {
            connection.rest();
            self.home.take_back(connection);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.send_on(cx);
        loop {
            match self.left.take(&mut self.ahead) {
                Ok(Piece::Data(data)) => {
                    if matches!(self.left, Left::Length(0)) {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Piece::Trailers(trailers)) => {
                    self.end();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Piece::End) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Ok(Piece::More) => {}
                Err(malformed) => return self.broken(malformed.into()),
            }
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match ready!(connection.poll_fill(cx)) {
                Ok(0) if matches!(self.left, Left::Rest) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Ok(0) => return self.broken(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) => self.ahead = connection.read.split().freeze(),
                Err(why) => return self.broken(why.into()),
            }
        }
    }

    /// Goes on with the request. That it cannot be is no matter: the answer has begun.
    fn send_on(&mut self, cx: &mut Context<'_>) {
        if let (Some(upload), Some(connection)) = (&mut self.upload, &mut self.connection)
            && let Poll::Ready(sent) = upload.poll(&mut connection.io, cx)
        {
            self.keep &= sent.is_ok();
            self.upload = None;
        }
    }

    fn broken(&mut self, why: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.connection = None;
        self.left = Left::Length(0);
        Poll::Ready(Some(Err(why)))
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(whole) => Poll::Ready(whole.take().map(|data| Ok(Frame::data(data)))),
            Self::Flowing(flow) => flow.poll(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_none(),
            Self::Flowing(flow) => matches!(flow.left, Left::Length(0)),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.as_ref().map_or(0, Bytes::len) as u64),
            Self::Flowing(flow) => match flow.left {
                Left::Length(left) => SizeHint::with_exact(left),
                Left::Chunked(_) | Left::Rest => SizeHint::default(),
            },
            Self::Http2(body) => body.size_hint(),
        }
    }
}
