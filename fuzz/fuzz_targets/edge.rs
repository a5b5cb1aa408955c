//! Index arithmetic and the encoding of edges agree with plain arithmetic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tagged_radix_fuzz::edge(data));
