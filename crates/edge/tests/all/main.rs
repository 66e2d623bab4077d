//! The edge over real sockets: small upstreams that can be killed, frozen, slowed and made sick, and clients that count.

#![cfg(test)]

mod calls;
mod failures;
mod heads;
mod load;
mod sleeping;
mod stage;
mod streams;
mod table;
mod upstream;
