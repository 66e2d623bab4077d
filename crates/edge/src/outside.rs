//! What reads bytes from outside, in the open for the fuzz targets in `fuzz/`. Nothing else uses it.

use std::net::IpAddr;

use bytes::Bytes;

pub use crate::proxy_protocol::Parsed;

use crate::framing::Framing;

/// Reads a header of the PROXY protocol at the beginning of `bytes`.
pub fn proxy_protocol(bytes: &[u8]) -> Parsed {
    crate::proxy_protocol::parse(bytes)
}

/// Whether `bytes` are a `traceparent` that is passed on.
pub fn traceparent(bytes: &[u8]) -> bool {
    crate::trace::is_valid(bytes)
}

/// The address that one element of `Forwarded` names.
pub fn forwarded(element: &str) -> Option<IpAddr> {
    crate::visitor::parameter(element, "for").and_then(crate::visitor::address)
}

/// Reads what a target says on a connection, to its end. Says how many bytes of bodies there were, if all could be read.
pub fn answers(bytes: &[u8], to_head: bool) -> Option<usize> {
    crate::http1::read_all(Bytes::copy_from_slice(bytes), to_head).ok()
}

/// Reads the bytes of a connection piece by piece; after each a request begins. Says how many were refused.
pub fn framing<'p>(pieces: impl Iterator<Item = &'p [u8]>, chunked: bool) -> usize {
    let framing = Framing::default();
    let refused = pieces.filter(|piece| {
        framing.read(piece);
        let refused = framing.begins(chunked, piece.len() % 2 == 1).is_some();
        framing.body_over();
        refused
    });
    refused.count()
}
