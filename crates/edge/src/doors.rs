//! Listening sockets: new ones, and those that another process has had.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Opens listening sockets.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// Those of another process that nobody has asked for yet.
    pub(crate) given: Vec<std::net::TcpListener>,
}

impl Doors {
    /// A socket that listens at `address`: the given one, or a new one.
    pub(crate) async fn open(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let is_there =
            |socket: &std::net::TcpListener| socket.local_addr().is_ok_and(|at| at == address);
        let Some(at) = self.given.iter().position(is_there) else {
            return TcpListener::bind(address).await;
        };
        let socket = self.given.swap_remove(at);
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    }
}
