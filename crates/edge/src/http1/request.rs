//! A request on its way to a target: its head and its body, written as fast as the target takes them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::Malformed;
use crate::address::Place;
use crate::body::{BoxError, Outgoing};
use crate::pool::Head;

/// Up to so much is copied together rather than written piece by piece: a head and a small body.
const TOGETHER: usize = 4 << 10;

/// How the body is told from what follows.
#[derive(Debug)]
enum Form {
    /// By its length: so much is left.
    Length(u64),
    /// In chunks, with the trailers that the head announced.
    Chunked(Vec<HeaderName>),
}

/// A request, and how much of it is written.
pub(super) struct Upload {
    /// What is written first: the head, the line of a chunk, a small body.
    front: Vec<u8>,
    written: usize,
    /// What comes behind it.
    data: Bytes,
    /// And behind that.
    tail: &'static [u8],
    /// What is left of the body; `None`: all of it was taken.
    body: Option<Outgoing>,
    form: Form,
    /// Whether any byte has gone to the target.
    pub(super) sent: bool,
    /// Whether anything of the body was taken.
    pub(super) begun: bool,
}

impl Upload {
    /// `room`: where the head is put together.
    pub(super) fn new(place: &Place, head: &Head, body: Outgoing, mut room: Vec<u8>) -> Self {
        room.clear();
        let body = (!body.is_end_stream()).then_some(body);
        let form = match body.as_ref().map(|body| body.size_hint().exact()) {
            None => Form::Length(0),
            Some(Some(length)) => Form::Length(length),
            Some(None) => Form::Chunked(announced(&head.headers)),
        };
        write_head(&mut room, place, head, &form);
        let (data, tail) = (Bytes::new(), &b""[..]);
        Self { front: room, written: 0, data, tail, body, form, sent: false, begun: false }
    }

    /// The body, for another connection: nothing of it was taken.
    pub(super) fn give_back(self) -> Option<Outgoing> {
        if self.begun { None } else { Some(self.body.unwrap_or(Outgoing::Empty)) }
    }

    /// The room that the head was put together in, for the next one.
    pub(super) fn into_room(self) -> Vec<u8> {
        if self.front.capacity() > TOGETHER { Vec::new() } else { self.front }
    }

    /// Writes until the target takes no more, or nothing more is there. Ready when all is written.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>> {
        loop {
            if self.takes_more()
                && let Some(body) = &mut self.body
                && let Poll::Ready(frame) = Pin::new(body).poll_frame(cx)
            {
                self.begun = true;
                self.add(frame.transpose()?)?;
            } else if self.is_written() {
                ready!(Pin::new(&mut *io).poll_flush(cx))?;
                return if self.body.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            } else {
                let written = ready!(self.poll_write(io, cx))?;
                self.advance(written)?;
            }
        }
    }

    fn is_written(&self) -> bool {
        self.front.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether there is room for another part of the body.
    fn takes_more(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.front.len() < TOGETHER
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let front = self.front.get(self.written..).unwrap_or_default();
        if self.data.is_empty() && self.tail.is_empty() {
            return Pin::new(io).poll_write(cx, front);
        }
        let pieces = [front, &self.data, self.tail].map(IoSlice::new);
        let first = pieces.iter().position(|piece| !piece.is_empty()).unwrap_or(0);
        Pin::new(io).poll_write_vectored(cx, pieces.get(first..).unwrap_or_default())
    }

    fn advance(&mut self, mut by: usize) -> io::Result<()> {
        if by == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent = true;
        let front = by.min(self.front.len() - self.written);
        self.written += front;
        by -= front;
        if self.written == self.front.len() {
            self.front.clear();
            self.written = 0;
        }
        let data = by.min(self.data.len());
        self.data.advance(data);
        self.tail = self.tail.get(by - data..).unwrap_or_default();
        Ok(())
    }

    /// Takes a part of the body in, or its end.
    fn add(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), BoxError> {
        match frame.map(Frame::into_data) {
            None => self.end(None),
            Some(Ok(data)) => {
                if !data.is_empty() {
                    self.add_data(data)?;
                }
                match &self.body {
                    Some(body) if body.is_end_stream() => self.end(None),
                    _ => Ok(()),
                }
            }
            Some(Err(frame)) => self.end(frame.into_trailers().ok()),
        }
    }

    fn add_data(&mut self, data: Bytes) -> Result<(), BoxError> {
        let tail: &'static [u8] = match &mut self.form {
            Form::Length(left) => {
                let more = Malformed("more of a request than it said");
                *left = left.checked_sub(data.len() as u64).ok_or(more)?;
                b""
            }
            Form::Chunked(_) => {
                let size = format!("{:x}\r\n", data.len());
                self.front.extend_from_slice(size.as_bytes());
                b"\r\n"
            }
        };
        if data.len() <= TOGETHER {
            self.front.extend_from_slice(&data);
            self.front.extend_from_slice(tail);
        } else {
            (self.data, self.tail) = (data, tail);
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), BoxError> {
        self.body = None;
        match &self.form {
            Form::Length(0) => Ok(()),
            Form::Length(_) => Err(Malformed("less of a request than it said").into()),
            Form::Chunked(announced) => {
                let end = [&b"0\r\n"[..], &told(announced, trailers), b"\r\n"].concat();
                if self.data.is_empty() {
                    self.front.extend_from_slice(&end);
                } else {
                    // Rare: a last part that is large. What follows it is put behind it.
                    self.data = Bytes::from([&self.data, self.tail, &end].concat());
                    self.tail = b"";
                }
                Ok(())
            }
        }
    }
}

/// The trailers that a head announces (RFC 9110, 6.6.2).
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect()
}

fn told(announced: &[HeaderName], trailers: Option<HeaderMap>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in trailers.iter().flatten() {
        if announced.contains(name) {
            write_field(&mut text, name, value);
        }
    }
    text
}

fn write_field(text: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    text.extend_from_slice(name.as_str().as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value.as_bytes());
    text.extend_from_slice(b"\r\n");
}

fn write_head(text: &mut Vec<u8>, place: &Place, head: &Head, form: &Form) {
    text.extend_from_slice(head.method.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(head.path.as_str().as_bytes());
    text.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(text, &header::HOST, &place.host);
    for (name, value) in &head.headers {
        // How long it is, is said below.
        let told = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        if !told.contains(name) {
            write_field(text, name, value);
        }
    }
    let is_usual = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    match form {
        Form::Chunked(_) => text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Form::Length(0) if !is_usual && !head.headers.contains_key(header::CONTENT_LENGTH) => {}
        Form::Length(length) => {
            text.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
    }
    text.extend_from_slice(b"\r\n");
}
