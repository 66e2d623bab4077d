//! A header of the PROXY protocol is as long as it says, and no shorter piece of it is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linkflow_edge::outside::{Parsed, proxy_protocol};

fuzz_target!(|bytes: &[u8]| {
    if let Parsed::Whole { length, .. } = proxy_protocol(bytes) {
        assert!(length <= bytes.len());
        assert_eq!(proxy_protocol(&bytes[..length - 1]), Parsed::Partial);
    }
});
