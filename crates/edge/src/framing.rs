//! Refuses requests whose length is told in two ways: the beginning of request smuggling.
//!
//! hyper lets `Transfer-Encoding` win over `Content-Length` and drops the latter, and what the edge sends on is framed
//! anew, so nothing can be smuggled through it. But such a request is never sent by honest software, and RFC 9112
//! (6.3) lets a server refuse it. By the time hyper hands it over the second length is gone, so the bytes of each head
//! are kept as they are read and looked at when a request says that it is chunked.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The bytes read since the last request began.
#[derive(Clone, Default)]
pub(crate) struct Framing(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Within a body: nothing to look at.
    off: bool,
    begun: bool,
    /// Not HTTP/1.1, now or for good.
    other: bool,
}

/// How long what a client still sends is read and thrown away after the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// More than any head may have.
const MOST: usize = 256 << 10;

impl Framing {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        if !kept.begun {
            kept.begun = true;
            kept.other = bytes.starts_with(b"PRI ");
        }
        if !kept.off && !kept.other && kept.bytes.len() + bytes.len() <= MOST {
            kept.bytes.extend_from_slice(bytes);
        }
    }

    /// A request begins, with or without a body. Says whether its length is told twice.
    pub(crate) fn begins(&self, chunked: bool, has_body: bool) -> bool {
        let mut kept = self.kept();
        if kept.off || kept.other {
            return false;
        }
        let end = head_length(&kept.bytes);
        let twice = chunked && tells_length(kept.bytes.get(..end).unwrap_or_default());
        if has_body {
            kept.off = true;
            kept.bytes = Vec::new();
        } else {
            kept.bytes.drain(..end);
        }
        twice
    }

    /// Whether something came that no answer was about: a head that is no head, or the rest of a body.
    fn is_unread(&self) -> bool {
        let kept = self.kept();
        !kept.other && (kept.off || !kept.bytes.is_empty())
    }

    /// The connection no longer speaks HTTP.
    pub(crate) fn ends(&self) {
        let mut kept = self.kept();
        kept.other = true;
        kept.bytes = Vec::new();
    }

    /// The body of the request is over: a head comes next.
    pub(crate) fn body_over(&self) {
        self.kept().off = false;
    }
}

/// How long the first head is, including the empty line behind it; everything, if there is no such line.
fn head_length(bytes: &[u8]) -> usize {
    let begins = bytes.iter().position(|b| !b"\r\n".contains(b)).unwrap_or(bytes.len());
    let mut at = begins;
    for line in bytes.get(begins..).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if line == b"\r\n" || line == b"\n" {
            break;
        }
    }
    at
}

fn tells_length(head: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    head.split(|b| *b == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|l| l.eq_ignore_ascii_case(NAME)))
}

/// A connection whose heads are kept for [`Framing`].
pub(crate) struct Framed<S> {
    io: S,
    framing: Framing,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> Framed<S> {
    pub(crate) fn new(io: S, framing: Framing) -> Self {
        Self { io, framing, linger: None }
    }

    /// Reads and throws away until the client has closed, too, or took too long. Closing a connection on which
    /// something is unread would take the last answer away from the client.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(linger) = self.linger.as_mut() else { return Poll::Ready(()) };
        let mut waste = [0; 4 << 10];
        loop {
            if linger.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            self.framing.read(new);
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            if !self.framing.is_unread() {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        self.poll_linger(cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &str, requests: &[(bool, bool, bool)]) {
        let framing = Framing::default();
        framing.read(bytes.as_bytes());
        for (chunked, has_body, expected) in requests {
            assert_eq!(framing.begins(*chunked, *has_body), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn two_lengths_are_seen_in_either_order() {
        check(
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            &[(true, true, true)],
        );
        check(
            "POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-LENGTH:3\n\n",
            &[(true, true, true)],
        );
        check(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\ncontent-length: 3\r\n",
            &[(true, true, false)],
        );
    }

    #[test]
    fn a_request_behind_another_is_looked_at_by_itself() {
        let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let both = "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
        check(&format!("{plain}{both}"), &[(false, false, false), (true, true, true)]);
        check(&format!("\r\n{plain}{plain}"), &[(false, false, false), (false, false, false)]);
    }

    #[test]
    fn http2_is_left_alone() {
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[(true, true, false)]);
    }
}
