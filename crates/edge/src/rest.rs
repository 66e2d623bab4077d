//! Idle connections, kept without the buffers that HTTP needs.
//!
//! hyper keeps 8 KiB to read and 8 KiB to write for a connection as long as it has it, and most connections of browsers are
//! idle most of the time. So a connection is only lent to hyper, and taken back when nothing is under way over it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has been said over a connection.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    begun: AtomicU32,
    over: AtomicU32,
    /// Something waits to be written.
    blocked: AtomicBool,
}

impl Talk {
    /// A request begins; it is over when the [`Turn`] is dropped.
    pub(crate) fn turn(self: &Arc<Self>) -> Turn {
        self.begun.fetch_add(1, Relaxed);
        Turn(Arc::clone(self))
    }

    /// How many requests have begun.
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Relaxed)
    }

    /// Whether a request or its answer is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.blocked.load(Relaxed) || self.begun() != self.over.load(Relaxed)
    }
}

/// A request, until the last byte of its answer.
pub(crate) struct Turn(Arc<Talk>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.over.fetch_add(1, Relaxed);
    }
}

/// Where a connection comes back to.
pub(crate) struct Home<S>(Arc<Mutex<Option<S>>>);

impl<S> Home<S> {
    /// The connection, when it has been given back.
    pub(crate) fn take(self) -> Option<S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection that goes home when it is dropped. What had been read of it already is read first.
pub(crate) struct Lent<S> {
    io: Option<S>,
    ahead: Vec<u8>,
    talk: Arc<Talk>,
    blocked: bool,
    home: Arc<Mutex<Option<S>>>,
}

impl<S> Lent<S> {
    pub(crate) fn new(io: S, ahead: Vec<u8>, talk: Arc<Talk>) -> (Self, Home<S>) {
        let home = Arc::default();
        let lent = Self { io: Some(io), ahead, talk, blocked: false, home: Arc::clone(&home) };
        (lent, Home(home))
    }

    fn wrote<T>(&mut self, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending() != self.blocked {
            self.blocked = polled.is_pending();
            self.talk.blocked.store(self.blocked, Relaxed);
        }
        polled
    }
}

impl<S: Unpin> Lent<S> {
    fn io(&mut self) -> io::Result<Pin<&mut S>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.io.take();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.io()?.poll_read(cx, buf);
        }
        let fits = self.ahead.len().min(buf.remaining());
        let rest = self.ahead.split_off(fits);
        buf.put_slice(&self.ahead);
        self.ahead = rest;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io()?.poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io()?.poll_write_vectored(cx, pieces);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.io()?.poll_flush(cx);
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_connection_comes_home_and_what_was_read_ahead_is_read_first() {
        let (near, mut far) = duplex(64);
        let (mut lent, home) = Lent::new(near, b"abc".to_vec(), Arc::default());
        far.write_all(b"de").await.unwrap();
        let mut read = [0; 2];
        lent.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ab");
        let mut read = [0; 3];
        lent.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"cde");
        drop(lent);
        assert!(home.take().is_some());
    }

    #[tokio::test]
    async fn a_connection_is_busy_while_a_request_is_under_way_or_something_waits_to_be_written() {
        let (near, mut far) = duplex(4);
        let talk = Arc::<Talk>::default();
        let (mut lent, _home) = Lent::new(near, Vec::new(), Arc::clone(&talk));
        let turn = talk.turn();
        assert!(talk.is_busy());
        drop(turn);
        assert!(!talk.is_busy());
        assert_eq!(lent.write(b"abcd").await.unwrap(), 4);
        assert!(!talk.is_busy());
        let waiting = futures_util::poll!(std::pin::pin!(lent.write(b"e")));
        assert!(waiting.is_pending() && talk.is_busy());
        far.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(lent.write(b"e").await.unwrap(), 1);
        assert!(!talk.is_busy());
    }
}
