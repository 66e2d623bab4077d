//! Listening sockets: new ones, and those that another process has had.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use linkflow_model::ServiceName;
use tokio::net::TcpListener;

use crate::proxy::Entrance;
use crate::serve::Way;

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
            let bound = TcpListener::bind(address).await;
            return bound
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")));
        };
        let socket = self.given.swap_remove(at);
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    }

    /// Opens those at which services call each other, into `listeners`. The answer is where each listens.
    pub(crate) async fn open_internal(
        &mut self,
        wanted: BTreeMap<ServiceName, SocketAddr>,
        listeners: &mut Vec<(TcpListener, Way)>,
    ) -> io::Result<BTreeMap<ServiceName, SocketAddr>> {
        let mut opened = BTreeMap::new();
        for (service, address) in wanted {
            let listener = self.open(address).await?;
            opened.insert(service.clone(), listener.local_addr()?);
            let entrance = Entrance::Internal(service);
            listeners.push((listener, Way { entrance, secure: false }));
        }
        Ok(opened)
    }
}
