//! Whatever comes over a connection, in whatever pieces, each head is looked at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linkflow_edge::outside::framing;

fuzz_target!(|input: (bool, Vec<Vec<u8>>)| {
    let (chunked, pieces) = input;
    assert!(framing(pieces.iter().map(Vec::as_slice), chunked) <= pieces.len());
});
