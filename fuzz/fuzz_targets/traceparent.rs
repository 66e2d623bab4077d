//! A `traceparent` that is passed on has the shape that everybody behind can read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linkflow_edge::outside::traceparent;

fuzz_target!(|bytes: &[u8]| {
    if traceparent(bytes) {
        assert!(bytes.len() >= 55 && bytes[..55].is_ascii() && &bytes[..2] != b"ff");
    }
});
