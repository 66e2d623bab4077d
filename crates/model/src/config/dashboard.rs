//! Where the operators' dashboard and the API answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address::Host;
use super::macros::section;

section! {
    /// The operators' dashboard, the API, heartbeats and webhooks that come in.
    pub struct Dashboard as "dashboard" {
        /// Whether `linkflow up` has one.
        on: bool = true,
        /// Where it listens. It speaks plain HTTP: leave it on this machine, and give it a `host` to be reached from outside.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7788),
        /// Its host, which the edge leads to it, like `ops.example.com`.
        host: Option<Host>,
    }
}
