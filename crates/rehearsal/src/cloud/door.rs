//! A port that can be shut and opened again: shut, it refuses connections, and the open ones are reset.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::tasks::Tasks;

const BACKLOG: u32 = 1_024;

/// One listening port on loopback.
pub(crate) struct Door {
    address: SocketAddr,
    open: watch::Sender<bool>,
    /// Cancelled when the connections of now are to be reset.
    cut: Mutex<CancellationToken>,
    /// Bound, never listening: it keeps the port ours while the door is shut.
    _place: TcpSocket,
}

impl Door {
    /// Opens a free port and hands each connection to `serve`.
    pub(crate) fn open<F>(
        tasks: &Tasks,
        serve: impl Fn(Wire) -> F + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let place = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = place.local_addr()?;
        let first = bind(address)?.listen(BACKLOG)?;
        let door =
            Self { address, open: watch::Sender::new(true), cut: Mutex::default(), _place: place };
        let door = Arc::new(door);
        tasks.start(keep(Arc::clone(&door), first, tasks.clone(), serve));
        Ok(door)
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Shuts or opens it. Shutting resets every open connection.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_if_modified(|was| std::mem::replace(was, open) != open);
        if !open {
            let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *cut).cancel();
        }
    }

    fn wire(&self, stream: TcpStream) -> Wire {
        stream.set_nodelay(true).ok();
        let token = self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Wire { stream, cut: Box::pin(token.clone().cancelled_owned()), token }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts while the door is open, and refuses while it is shut.
async fn keep<F>(
    door: Arc<Door>,
    first: TcpListener,
    tasks: Tasks,
    serve: impl Fn(Wire) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut open = door.open.subscribe();
    let mut listener = Some(first);
    loop {
        if !*open.borrow_and_update() {
            listener = None;
        } else if listener.is_none() {
            listener = bind(door.address).and_then(|socket| socket.listen(BACKLOG)).ok();
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accept => if let Ok((stream, _)) = accepted {
                tasks.start(serve(door.wire(stream)));
            },
            changed = open.changed() => if changed.is_err() { return },
        }
    }
}

/// A connection that came through a door.
pub(crate) struct Wire {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    token: CancellationToken,
}

impl Wire {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.token.is_cancelled() || self.cut.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.token.is_cancelled() {
            // The peer is to see a reset, not an end.
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn greet(mut wire: Wire) {
        wire.write_all(b"hello").await.ok();
        wire.read_u8().await.ok();
    }

    #[tokio::test]
    async fn a_shut_door_refuses_resets_and_opens_again_on_the_same_port() {
        let tasks = Tasks::default();
        let door = Door::open(&tasks, greet).unwrap();
        let mut guest = TcpStream::connect(door.address()).await.unwrap();
        guest.read_exact(&mut [0; 5]).await.unwrap();

        door.set_open(false);
        let error = guest.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        while let Ok(late) = TcpStream::connect(door.address()).await {
            drop(late);
            tokio::task::yield_now().await;
        }

        door.set_open(true);
        while TcpStream::connect(door.address()).await.is_err() {
            tokio::task::yield_now().await;
        }
        tasks.stop();
    }
}
