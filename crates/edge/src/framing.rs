//! Refuses requests that can be read in two ways: the beginning of request smuggling.
//!
//! hyper lets `Transfer-Encoding` win over `Content-Length`, takes bare line feeds, and drops what it has understood; and
//! what the edge sends on is framed anew, so nothing can be smuggled through it. But such requests are never sent by honest
//! software, and RFC 9112 (2.2, 6.1, 6.3) lets a server refuse them. By the time hyper hands a request over the traces are
//! gone, so the bytes of each head are kept as they are read, and looked at when the request has come.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use memchr::{memchr, memchr2};
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

/// How a connection over HTTP/2 begins.
const HTTP2: &[u8] = b"PRI ";

impl Framing {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        if !kept.off && !kept.other && kept.bytes.len() + bytes.len() <= MOST {
            kept.bytes.extend_from_slice(bytes);
        }
        if !kept.begun && kept.bytes.len() >= HTTP2.len() {
            kept.begun = true;
            kept.other = kept.bytes.starts_with(HTTP2);
        }
        if kept.other {
            kept.bytes = Vec::new();
        }
    }

    /// A request begins, with or without a body. Says what is wrong with its head, if anything.
    pub(crate) fn begins(&self, chunked: bool, has_body: bool) -> Option<&'static str> {
        let mut kept = self.kept();
        if kept.off || kept.other {
            return None;
        }
        let (end, why) = read_head(&kept.bytes, chunked);
        if has_body {
            kept.off = true;
            kept.bytes = Vec::new();
        } else {
            kept.bytes.drain(..end);
        }
        why
    }

    /// Whether something came that no answer was about: a head that is no head, or the rest of a body.
    fn is_unread(&self) -> bool {
        let kept = self.kept();
        !kept.other && (kept.off || !kept.bytes.is_empty())
    }

    /// Whether nothing of a request has come that is not answered yet.
    pub(crate) fn is_quiet(&self) -> bool {
        let kept = self.kept();
        !kept.other && !kept.off && kept.bytes.is_empty()
    }

    /// Whether requests come one after the other, with nothing else over the connection.
    pub(crate) fn is_http1(&self) -> bool {
        !self.kept().other
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

/// The lines of `bytes`, each with its line feed.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at_checked(end).filter(|(line, _)| !line.is_empty())?;
        rest = behind;
        Some(line)
    })
}

/// How long the first head is, including the empty line behind it (everything, if there is no such line), and what makes it
/// doubtful. `chunked`: the request was understood to be.
fn read_head(bytes: &[u8], chunked: bool) -> (usize, Option<&'static str>) {
    let begins = bytes.iter().position(|b| !b"\r\n".contains(b)).unwrap_or(bytes.len());
    let (mut end, mut lengths, mut codings, mut why) = (begins, 0, 0, None);
    for line in lines(bytes.get(begins..).unwrap_or_default()) {
        end += line.len();
        if why.is_none() {
            why = doubt(line, &mut lengths, &mut codings);
        }
        if line == b"\r\n" || line == b"\n" {
            break;
        }
    }
    if begins > 0 && why.is_none() {
        why = lines(bytes.get(..begins).unwrap_or_default())
            .find_map(|line| doubt(line, &mut 0, &mut 0));
    }
    if chunked && end == 0 {
        // It came behind a body, in one piece with its end. No honest client sends that without waiting for an answer.
        return (end, Some("a chunked body right behind another request"));
    }
    let both = || match (lengths, codings) {
        (0, 0 | 1) | (1, 0) => None,
        (0, _) => Some("more than one Transfer-Encoding"),
        (_, 0) => Some("more than one Content-Length"),
        _ => Some("both Content-Length and Transfer-Encoding"),
    };
    (end, why.or_else(both))
}

/// What makes a line of a head doubtful. What it says of the body is counted.
fn doubt(line: &[u8], lengths: &mut u32, codings: &mut u32) -> Option<&'static str> {
    let Some(line) = line.strip_suffix(b"\r\n") else {
        return Some("a line that does not end with CR and LF");
    };
    if memchr2(b'\r', 0, line).is_some() {
        return Some("a bare CR or NUL");
    }
    match line.first() {
        Some(b' ' | b'\t') => return Some("a line that is folded"),
        Some(b'c' | b'C') if value_of(line, b"content-length").is_some() => *lengths += 1,
        Some(b't' | b'T') => {
            let value = value_of(line, b"transfer-encoding")?;
            *codings += 1;
            if !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Some("a Transfer-Encoding other than chunked");
            }
        }
        _ => {}
    }
    None
}

/// What stands behind the colon, in a line about `name`.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (begins, rest) = line.split_at_checked(name.len())?;
    rest.strip_prefix(b":").filter(|_| begins.eq_ignore_ascii_case(name))
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
    use proptest::prelude::*;

    use super::*;

    /// Requests: chunked, with a body, what is wrong.
    #[track_caller]
    fn check(bytes: &str, requests: &[(bool, bool, Option<&str>)]) {
        let framing = Framing::default();
        framing.read(bytes.as_bytes());
        for (chunked, has_body, expected) in requests {
            assert_eq!(framing.begins(*chunked, *has_body), *expected, "{bytes:?}");
        }
    }

    const BOTH: Option<&str> = Some("both Content-Length and Transfer-Encoding");

    #[test]
    fn two_lengths_are_seen_in_either_order() {
        check(
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            &[(true, true, BOTH)],
        );
        check(
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nContent-LENGTH:3\r\n\r\n",
            &[(true, true, BOTH)],
        );
        check(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\ncontent-length: 3\r\n",
            &[(true, true, None)],
        );
    }

    #[test]
    fn what_others_might_read_otherwise_is_seen() {
        let line = "a line that does not end with CR and LF";
        let coding = "a Transfer-Encoding other than chunked";
        let rows = [
            ("GET / HTTP/1.1\nhost: a\r\n\r\n", line),
            ("GET / HTTP/1.1\r\nhost: a\n\r\n", line),
            ("GET / HTTP/1.1\r\nhost: a\r\n\n", line),
            ("GET / HTTP/1.1\r\nhost: a\r\r\n\r\n", "a bare CR or NUL"),
            ("GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n", "a bare CR or NUL"),
            ("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", "a line that is folded"),
            (
                "GET / HTTP/1.1\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
                "more than one Content-Length",
            ),
            ("GET / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", coding),
            ("GET / HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n", coding),
            ("GET / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n\r\n", coding),
        ];
        for (bytes, why) in rows {
            check(bytes, &[(false, false, Some(why))]);
        }
    }

    #[test]
    fn a_request_behind_another_is_looked_at_by_itself() {
        let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let both = "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
        check(&format!("{plain}{both}"), &[(false, false, None), (true, true, BOTH)]);
        check(&format!("\r\n{plain}{plain}"), &[(false, false, None), (false, false, None)]);
    }

    #[test]
    fn http2_is_left_alone_however_it_comes() {
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[(true, true, None)]);
        let framing = Framing::default();
        ["P", "RI", " * HTTP/2.0\r\n"].iter().for_each(|piece| framing.read(piece.as_bytes()));
        assert_eq!(framing.begins(true, false), None);
        assert!(!framing.is_unread(), "nothing of it is kept");
    }

    proptest! {
        #[test]
        fn whatever_comes_a_doubtful_head_is_never_passed(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "GET / HTTP/1.1", "\r\n", "\n", "\r", "\0", " ", "\t", "host: a", "content-length: 1",
                    "transfer-encoding: chunked", "Transfer-Encoding: x", ":", "x",
                ]),
                0..24,
            ),
            cuts in 1..9_usize,
        ) {
            let bytes = pieces.concat();
            let framing = Framing::default();
            bytes.as_bytes().chunks(cuts).for_each(|piece| framing.read(piece));
            let (end, _) = read_head(bytes.as_bytes(), false);
            let head = &bytes[..end];
            let passed = framing.begins(false, false).is_none();
            if passed {
                prop_assert_eq!(head.matches('\n').count(), head.matches("\r\n").count());
                prop_assert_eq!(head.matches('\r').count(), head.matches("\r\n").count());
                prop_assert!(!head.contains('\0'));
            }
            prop_assert_eq!(framing.kept().bytes.len(), bytes.len() - end);
        }

        #[test]
        fn no_bytes_are_too_odd(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            chunked: bool,
        ) {
            let framing = Framing::default();
            for piece in &pieces {
                framing.read(piece);
                framing.begins(chunked, piece.len() % 2 == 0);
                framing.body_over();
            }
        }
    }
}
