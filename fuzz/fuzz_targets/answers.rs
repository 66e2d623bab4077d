//! Whatever a target says, no more of it is passed on than came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linkflow_edge::outside::answers;

fuzz_target!(|input: (bool, &[u8])| {
    let (to_head, bytes) = input;
    assert!(answers(bytes, to_head).is_none_or(|passed_on| passed_on <= bytes.len()));
});
