//! The edge over real sockets: small upstreams that can be killed, frozen, slowed and made sick, and clients that count.

#![cfg(test)]

mod acme;
mod calls;
mod crowd;
mod failures;
mod front;
mod guard;
mod heads;
mod http2;
mod load;
mod sleeping;
mod smuggling;
mod stage;
mod streams;
mod table;
mod timeouts;
mod tls;
mod upstream;
mod watched;
