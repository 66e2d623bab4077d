//! Whatever an element of `Forwarded` holds, reading it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linkflow_edge::outside::forwarded;

fuzz_target!(|element: &str| {
    forwarded(element);
});
