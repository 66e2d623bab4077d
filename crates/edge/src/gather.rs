//! Connections that are written to with few and simple system calls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// Up to so much is copied together rather than written piece by piece: a head and a small body.
const TOGETHER: usize = 4 << 10;

/// Copies small pieces together: `send` is cheaper than `writev`, and TLS makes one record of it.
pub(crate) struct Gathered<T> {
    io: T,
    room: Vec<u8>,
}

impl<T> Gathered<T> {
    pub(crate) fn new(io: T) -> Self {
        Self { io, room: Vec::new() }
    }
}

impl<T: Read + Unpin> Read for Gathered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Gathered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, room } = &mut *self;
        let io = Pin::new(io);
        match pieces {
            [piece] => io.poll_write(cx, piece),
            _ if put_together(pieces, room) => io.poll_write(cx, room),
            _ => io.poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Puts all of `pieces` one after the other into `room`, unless they are too much.
fn put_together(pieces: &[io::IoSlice<'_>], room: &mut Vec<u8>) -> bool {
    room.clear();
    let fits = pieces.iter().map(|piece| piece.len()).sum::<usize>() <= TOGETHER;
    if fits {
        pieces.iter().for_each(|piece| room.extend_from_slice(piece));
    }
    fits
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    #[test]
    fn small_pieces_are_put_together() {
        let mut room = b"before".to_vec();
        let pieces = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"body")];
        assert!(put_together(&pieces, &mut room));
        assert_eq!(room, b"headbody");
        assert!(!put_together(&[IoSlice::new(b"head"), IoSlice::new(&[0; TOGETHER])], &mut room));
    }
}
